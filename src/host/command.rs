//! The sentinel command: exit status 0 asks for a reboot, 1 does not, and anything else means unknown.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;

use crate::decide::Request;
use crate::words::{NOTE, words};

/// It only looks at this host: if it takes longer, it hangs.
const TIMEOUT: Duration = Duration::from_secs(60);
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// More output than this is read but dropped, so that it neither fills our memory nor blocks the command.
const MOST_READ: usize = 4096;

/// Runs the command, without a shell and without any of our own environment.
pub async fn ask(command: &[String]) -> Result<Option<Request>, String> {
    ask_within(command, TIMEOUT).await
}

async fn ask_within(command: &[String], limit: Duration) -> Result<Option<Request>, String> {
    let [program, arguments @ ..] = command else { return Err("there is no command".to_owned()) };
    let mut child = Command::new(program)
        .args(arguments)
        .env_clear()
        .env("PATH", PATH)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(|error| format!("{program}: {error}"))?;
    let mut group = Group(child.id());
    let (told, complained) = (child.stdout.take(), child.stderr.take());
    // A process that it leaves running must not keep our pipes open either; otherwise the command has not ended.
    let ended = async { tokio::join!(first_line(told), first_line(complained), child.wait()) };
    let Ok((told, complained, status)) = tokio::time::timeout(limit, ended).await else {
        return Err(format!("{program} did not end within {} s", limit.as_secs()));
    };
    group.0 = None;
    let status = status.map_err(|error| format!("{program}: {error}"))?;
    match status.code() {
        Some(0) => {
            let reason = if told.is_empty() { program.clone() } else { told };
            Ok(Some(Request { reason, packages: Vec::new(), since: None }))
        }
        Some(1) => Ok(None),
        _ => Err(unknown(program, status, &complained)),
    }
}

fn unknown(program: &str, status: ExitStatus, complained: &str) -> String {
    let colon = if complained.is_empty() { "" } else { ": " };
    format!("{program} ended with {status}{colon}{complained}")
}

/// A command and everything that it has started: killed unless it has ended.
struct Group(Option<u32>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.0.and_then(|id| i32::try_from(id).ok()) {
            // Fails only if none of its processes is left.
            let _ = killpg(Pid::from_raw(leader), Signal::SIGKILL);
        }
    }
}

/// The first line, made fit for people; the rest is read too.
async fn first_line(pipe: Option<impl AsyncRead + Unpin>) -> String {
    let (mut kept, mut buffer) = (Vec::new(), [0; MOST_READ]);
    if let Some(mut pipe) = pipe {
        while let Ok(count @ 1..) = pipe.read(&mut buffer).await {
            let room = MOST_READ.saturating_sub(kept.len());
            kept.extend(buffer.iter().take(count.min(room)));
        }
    }
    let text = String::from_utf8_lossy(&kept);
    text.lines().map(|line| words(line, NOTE)).find(|line| !line.is_empty()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Result<Option<String>, String> {
        let words = ["/bin/sh", "-c", script].map(str::to_owned);
        run(&words)
    }

    fn run(words: &[String]) -> Result<Option<String>, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let asked = runtime.block_on(ask_within(words, Duration::from_secs(30)));
        asked.map(|request| request.map(|request| request.reason))
    }

    #[test]
    fn only_nought_and_one_are_answers() {
        assert_eq!(shell("exit 1"), Ok(None));
        assert_eq!(shell("exit 0"), Ok(Some("/bin/sh".to_owned())));
        assert_eq!(shell("echo; echo ' old firmware\x07 '; echo more"), Ok(Some("old firmware".to_owned())));
        assert_eq!(
            shell("echo no such disk >&2; exit 2"),
            Err("/bin/sh ended with exit status: 2: no such disk".to_owned())
        );
        assert_eq!(shell("printf '\\033[1m\\342\\200\\256bold\\n'"), Ok(Some("[1mbold".to_owned())));
        assert!(shell("kill -9 $$").unwrap_err().starts_with("/bin/sh ended with signal: 9"));
        assert!(run(&["/no/such/program".to_owned()]).unwrap_err().starts_with("/no/such/program: "));
    }

    #[test]
    fn much_output_is_cut_and_blocks_nothing() {
        let reason = shell("head -c 3000000 /dev/zero | tr '\\0' x").unwrap().unwrap();
        assert_eq!(reason.chars().count(), NOTE);
    }

    #[test]
    fn it_has_no_input_and_nothing_of_our_environment() {
        assert_eq!(shell("cat; env | grep -v -e ^PATH= -e ^PWD= -e ^_= -e ^SHLVL= -e ^OLDPWD="), Ok(None));
    }

    #[test]
    fn what_takes_too_long_is_not_waited_for() {
        let words = ["/bin/sleep", "1000"].map(str::to_owned);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let asked = runtime.block_on(ask_within(&words, Duration::from_millis(1)));
        assert_eq!(asked, Err("/bin/sleep did not end within 0 s".to_owned()));
    }

    #[test]
    fn what_is_not_waited_for_is_killed_with_all_that_it_started() {
        let path = std::env::temp_dir().join(format!("rebootd-command-{}", std::process::id()));
        let script = format!("sleep 1000 & echo $! > {0}.new; mv {0}.new {0}; wait", path.display());
        let words = ["/bin/sh", "-c", &script].map(str::to_owned);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let moment = || tokio::time::sleep(Duration::from_millis(10));
            let child = async {
                loop {
                    match std::fs::read_to_string(&path) {
                        Ok(child) => break child.trim().to_owned(),
                        Err(_) => moment().await,
                    }
                }
            };
            let child = tokio::select! {
                asked = ask(&words) => panic!("it ended: {asked:?}"),
                child = child => child,
            };
            // Gone, or a zombie that its new parent has yet to reap.
            let stat = format!("/proc/{child}/stat");
            while std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z ")) {
                moment().await;
            }
        });
        std::fs::remove_file(&path).unwrap();
    }
}
