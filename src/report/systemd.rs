//! sd_notify: ready, the status line, the watchdog.

use std::time::Duration;

use sd_notify::NotifyState;

/// Tells systemd that the daemon runs.
pub fn ready() {
    send(&[NotifyState::Ready]);
}

/// Tells systemd what `systemctl status` should show.
pub fn status(line: &str) {
    send(&[NotifyState::Status(line)]);
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
