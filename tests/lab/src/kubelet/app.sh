#!/bin/sh
# What runs in the lab's pods. Each of its steps is a line in /log/events, which the host keeps: the seconds since the
# boot of the outer machine, the pod's name, and START, PRESTOP, TERM, DONE or END. Without an END it was killed.
#
# END_AFTER    how many seconds it takes to end after TERM
# IGNORE_TERM  not empty: it does not end by TERM
# RUN_FOR      after so many seconds it has done its work, as a Job does
note() { echo "$(cut -d ' ' -f 1 /proc/uptime) $HOSTNAME $1" | tee -a /log/events; }

if [ "${1:-}" = prestop ]; then
    note PRESTOP
    sleep "$2"
    exit
fi

term() {
    note TERM
    [ -z "${IGNORE_TERM:-}" ] || return 0
    sleep "${END_AFTER:-0}"
    note END
    # A Job's work is not done.
    [ -z "${RUN_FOR:-}" ] || exit 143
    exit 0
}
trap term TERM
note START
if [ -n "${RUN_FOR:-}" ]; then
    sleep "$RUN_FOR" &
    wait $!
    note DONE
    exit 0
fi
while :; do
    sleep 3600 &
    wait $!
done
