//! What a host's rebootd says of itself, as `rebootctl status --json` prints it.

use std::time::Duration;

use anyhow::{Result, bail};
use serde::Deserialize;
use tokio::time::{Instant, sleep};

use crate::host::Host;
use crate::progress::say;

const PAUSE: Duration = Duration::from_millis(200);

/// What a program that asks rebootd may rely on.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Status {
    pub(super) phase: String,
    pub(super) line: String,
    pub(super) reasons: Vec<Reason>,
    pub(super) request: Option<Request>,
    pub(super) not_live: Option<Vec<serde_json::Value>>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Reason {
    kind: String,
    pub(super) message: String,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Request {
    pub(super) packages: Vec<String>,
}

impl Status {
    /// The text of a reason of this kind, where there is one.
    pub(super) fn reason(&self, kind: &str) -> Option<&str> {
        self.reasons.iter().find(|reason| reason.kind == kind).map(|reason| reason.message.as_str())
    }

    /// Whether there is a reason of this kind whose text holds all these words.
    pub(super) fn says(&self, kind: &str, words: &[&str]) -> bool {
        self.reason(kind).is_some_and(|message| words.iter().all(|word| message.contains(word)))
    }
}

/// The status now; nothing where the host is off or rebootd does not run.
pub(super) async fn status(host: &Host) -> Option<Status> {
    let output = host.run(&["rebootctl", "status", "--json"]).await.ok()?;
    serde_json::from_slice(&output.stdout).ok()
}

/// Waits until the status is as wanted, and prints it.
pub(super) async fn wait_status(
    host: &Host,
    what: &str,
    mut accept: impl FnMut(&Status) -> bool,
    limit: Duration,
) -> Result<Status> {
    let deadline = Instant::now() + limit;
    loop {
        let now = status(host).await;
        match now {
            Some(status) if accept(&status) => {
                say(format!("{} says: {}", host.name(), status.line));
                return Ok(status);
            }
            now if Instant::now() > deadline => {
                let line = now.map_or_else(|| "nothing".to_owned(), |status| status.line);
                bail!("{}: after {limit:?} not {what}; rebootd says: {line}", host.name());
            }
            _ => sleep(PAUSE).await,
        }
    }
}

/// Waits until rebootd is in this phase.
pub(super) async fn wait_phase(host: &Host, phase: &str, limit: Duration) -> Result<Status> {
    wait_status(host, phase, |status| status.phase == phase, limit).await
}
