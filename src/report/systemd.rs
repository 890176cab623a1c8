//! sd_notify: ready, the status line, the watchdog.

use std::time::Duration;

use sd_notify::NotifyState;

use crate::words::words;

/// systemd ignores a message of more than 4096 bytes, and goes on showing the status before it.
const LONGEST_STATUS: usize = 2048;

/// Tells systemd that the daemon runs.
pub fn ready() {
    send(&[NotifyState::Ready]);
}

/// Tells systemd what `systemctl status` should show.
pub fn status(line: &str) {
    send(&[NotifyState::Status(&fit(line))]);
}

/// One line that systemd takes: a line break would begin another message in our name.
fn fit(line: &str) -> String {
    let mut line = words(line, LONGEST_STATUS);
    if line.len() > LONGEST_STATUS {
        let most = LONGEST_STATUS - '…'.len_utf8();
        let end = (0..=most).rev().find(|end| line.is_char_boundary(*end));
        line.truncate(end.unwrap_or_default());
        line.push('…');
    }
    line
}

/// Tells systemd that the loop is alive. Must not be called from anywhere else: a loop that hangs has to be detected.
pub fn alive() {
    send(&[NotifyState::Watchdog]);
}

/// Tells systemd that the daemon is about to end.
pub fn stopping() {
    send(&[NotifyState::Stopping]);
}

/// How often [`alive`] has to be called at least, if systemd watches.
pub fn watchdog_interval() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|timeout| timeout / 2)
}

fn send(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "sd_notify failed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_one_line_that_systemd_takes() {
        for letter in ["x", "ä", "…", "\u{1d11e}"] {
            let line = fit(&letter.repeat(LONGEST_STATUS));
            assert!(line.len() <= LONGEST_STATUS && line.len() > LONGEST_STATUS - 8, "{}", line.len());
            assert_eq!(line.ends_with('…'), letter != "x");
            // Nothing changes any more.
            assert_eq!(fit(&line), line);
        }
        assert_eq!(fit("bad configuration: a\nMAINPID=1.toml"), "bad configuration: a MAINPID=1.toml");
    }
}
