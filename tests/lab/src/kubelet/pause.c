/* What holds a pod's namespaces: it waits for TERM, and for the children that come to it. */
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static void end(int signal) { (void)signal; _exit(0); }
static void reap(int signal) { (void)signal; while (waitpid(-1, NULL, WNOHANG) > 0) {} }

int main(void) {
    if (sigaction(SIGINT, &(struct sigaction){.sa_handler = end}, NULL) ||
        sigaction(SIGTERM, &(struct sigaction){.sa_handler = end}, NULL) ||
        sigaction(SIGCHLD, &(struct sigaction){.sa_handler = reap, .sa_flags = SA_NOCLDSTOP}, NULL))
        return EXIT_FAILURE;
    for (;;) pause();
}
