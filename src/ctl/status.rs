//! `rebootctl status`: what the daemon on this node does, and what it waits for.

use std::io::ErrorKind;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::anyhow;
use clap::Args;
use jiff::Timestamp;

use crate::decide::span;
use crate::read::read_text;
use crate::report::status::{self, StatusCredential, StatusReboot};

/// A status has a few kilobytes.
const MOST: u64 = 1 << 20;

/// Show what the daemon on this node does, and what it waits for
#[derive(Debug, Args)]
pub(super) struct Status {
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
}

impl Status {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let text = published()?;
        if self.json {
            print!("{text}");
        } else {
            lines(&serde_json::from_str(&text)?).iter().for_each(|line| println!("{line}"));
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// What the daemon on this host has published.
pub(super) fn read() -> anyhow::Result<status::Status> {
    Ok(serde_json::from_str(&published()?)?)
}

fn published() -> anyhow::Result<String> {
    read_text(Path::new(status::PATH), MOST).map_err(|error| match error.kind() {
        ErrorKind::NotFound => anyhow!(unpublished(Path::new(status::PATH))),
        _ => anyhow!("{}: {error}", status::PATH),
    })
}

/// Why there is no status. systemd makes its directory when the daemon starts, and removes it when the daemon ends.
fn unpublished(path: &Path) -> &'static str {
    if path.parent().is_some_and(Path::is_dir) {
        "rebootd runs on this host, but has not published its status: it has just started or is about to end, as around each \
         reboot; if it lasts, /run may be full (df -h /run); see: systemctl status rebootd"
    } else {
        "rebootd does not run on this host; see: systemctl status rebootd"
    }
}

fn lines(status: &status::Status) -> Vec<String> {
    let mut lines = Vec::new();
    let mut tell = |label: &str, text: &str| lines.push(format!("{label:<12} {text}"));
    tell("node", &format!("{} (pool {}, mode {})", status.node, status.pool, status.mode));
    tell("phase", &status.phase);
    for (number, reason) in status.reasons.iter().enumerate() {
        tell(if number == 0 { "because" } else { "" }, &reason.message);
    }
    if status.reasons.iter().any(|reason| reason.message.contains("` in [")) {
        tell("", "(settings are in /etc/rebootd/config.d/; after a change: systemctl reload rebootd)");
    }
    if status.requests.is_empty() {
        tell("request", "none");
    }
    for (number, request) in status.requests.iter().enumerate() {
        tell(if number == 0 { "request" } else { "" }, &request.reason);
    }
    for (number, update) in status.not_live.iter().flatten().enumerate() {
        tell(if number == 0 { "not live" } else { "" }, &update.in_words());
    }
    if !status.slots.is_empty() {
        tell("holds", &status.slots.join(", "));
    }
    if let Some(last) = &status.last_reboot {
        tell("last reboot", &reboot(last));
    }
    if let Some(way) = &status.credential {
        tell("credential", &credential(way));
    }
    lines
}

pub(super) fn credential(way: &StatusCredential) -> String {
    let of = way.node.as_ref().map(|node| format!(" of the Node {node}")).unwrap_or_default();
    let what = match way.ends {
        Some(ends) => format!("its own{of} until {}, renewed by itself", time(ends)),
        None => format!("from the files of this host{of}"),
    };
    format!("{what}; at {}", way.server)
}

pub(super) fn time(since_1970: u64) -> String {
    let time = i64::try_from(since_1970).ok().and_then(|it| Timestamp::from_second(it).ok());
    time.unwrap_or(Timestamp::MAX).strftime("%F %H:%M UTC").to_string()
}

fn reboot(last: &StatusReboot) -> String {
    let mut text = time(last.at);
    if !last.why.is_empty() {
        text += &format!(", for {}", last.why);
    }
    if let Some(seconds) = last.cordoned_seconds {
        text += &format!("; cordoned for {}", span(Duration::from_secs(seconds)));
    }
    match last.outcome.as_deref() {
        Some("under-way") => text += "; not over yet",
        Some("well") => text += "; ended well",
        Some("stayed-up") => text += "; the machine stayed up",
        Some("slot-lost") => text += "; the slot was lost before the node was healthy",
        _ => {}
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_that_could_not_publish_is_told_from_one_that_does_not_run() {
        assert!(unpublished(Path::new("/no/such/status.json")).contains("does not run"));
        assert!(unpublished(Path::new("/proc/status.json")).contains("has not published"));
    }

    #[test]
    fn a_credential_is_told_with_its_end_if_it_is_our_own() {
        let told = |node: Option<&str>, ends| {
            credential(&StatusCredential {
                server: "https://a:6443".into(),
                node: node.map(str::to_owned),
                ends,
            })
        };
        assert_eq!(
            told(Some("n1"), Some(1_795_662_720)),
            "its own of the Node n1 until 2026-11-26 03:12 UTC, renewed by itself; at https://a:6443"
        );
        assert_eq!(told(None, None), "from the files of this host; at https://a:6443");
    }

    #[test]
    fn the_last_reboot_is_told_as_far_as_it_is_known() {
        let told = |why: &str, cordoned_seconds, outcome: Option<&str>| {
            let outcome = outcome.map(str::to_owned);
            reboot(&StatusReboot { at: 1_795_662_720, why: why.into(), cordoned_seconds, outcome })
        };
        let at = "2026-11-26 03:12 UTC";
        assert_eq!(
            told("/run/reboot-required by libc6 and 2 more", Some(72), Some("well")),
            format!("{at}, for /run/reboot-required by libc6 and 2 more; cordoned for 1min 12s; ended well")
        );
        assert_eq!(told("kernel", None, Some("under-way")), format!("{at}, for kernel; not over yet"));
        assert_eq!(told("", None, None), at);
        assert_eq!(told("", None, Some("of a later version")), at);
    }
}
