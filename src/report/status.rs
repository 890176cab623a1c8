//! The status: what the daemon publishes in `/run/rebootd/status.json`, and `rebootctl status` prints.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::decide::settings::{Mode, Settings};
use crate::decide::{Decision, Next, Phase, World, requests};

/// Where the daemon publishes its status.
pub const PATH: &str = "/run/rebootd/status.json";

/// What the daemon says of itself. Fields are added, never changed or removed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The Node of this host.
    pub node: String,
    /// Its pool.
    pub pool: String,
    /// `active` or `observe`.
    pub mode: String,
    /// The phase's word.
    pub phase: String,
    /// Phase and reasons in one line.
    pub line: String,
    /// What it waits for, the most important first.
    pub reasons: Vec<StatusReason>,
    /// The first of the requests, if there is one.
    pub request: Option<StatusRequest>,
    /// All requests.
    #[serde(default)]
    pub requests: Vec<StatusRequest>,
    /// The slots that this node holds.
    pub slots: Vec<String>,
    /// This boot's id.
    pub boot_id: String,
    /// When this was written: seconds since 1970.
    pub written: u64,
}

/// One reason.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StatusReason {
    /// A short, stable name.
    pub kind: String,
    /// For people.
    pub message: String,
}

/// Why this host should reboot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StatusRequest {
    /// Where it comes from.
    #[serde(default)]
    pub source: String,
    /// For people.
    pub reason: String,
    /// The packages that ask.
    pub packages: Vec<String>,
    /// Since when: seconds since 1970.
    pub since: Option<u64>,
}

impl Status {
    /// The status that follows from a decision.
    pub fn new(world: &World, settings: &Settings, decision: &Decision) -> Status {
        let node = &settings.node_name;
        let slots = world.cluster.slots.last().into_iter().flatten();
        let requests: Vec<StatusRequest> = requests(world, settings)
            .into_iter()
            .map(|(source, request)| StatusRequest {
                source: source.word().to_owned(),
                reason: request.reason,
                packages: request.packages,
                since: request.since.map(|since| since.as_secs()),
            })
            .collect();
        Status {
            node: node.clone(),
            pool: settings.pool.clone(),
            mode: match settings.mode {
                Mode::Active => "active",
                Mode::Observe => "observe",
            }
            .to_owned(),
            phase: decision.phase.word().to_owned(),
            line: line(decision),
            reasons: decision
                .reasons
                .iter()
                .map(|reason| StatusReason { kind: reason.kind().to_owned(), message: reason.to_string() })
                .collect(),
            request: requests.first().cloned(),
            requests,
            slots: slots
                .filter(|slot| slot.holder.as_ref() == Some(node))
                .map(|slot| slot.name.clone())
                .collect(),
            boot_id: world.host.boot_id.clone(),
            written: world.now.wall.as_secs(),
        }
    }

    /// Replaces the published status; everybody may read it.
    pub fn publish(&self, path: &Path) -> std::io::Result<()> {
        let new = path.with_extension("json.new");
        let mut file = std::fs::File::create(&new)?;
        // The unit's umask keeps everything else private.
        file.set_permissions(std::fs::Permissions::from_mode(0o644))?;
        file.write_all(serde_json::to_string_pretty(self)?.as_bytes())?;
        file.write_all(b"\n")?;
        std::fs::rename(new, path)
    }
}

/// Phase and reasons in one line, the phase first; without a reason to wait, what is being done.
///
/// Reasons hold words of others: of whoever inhibits a shutdown, or writes an annotation. A line break among them
/// would begin a message of its own to systemd, in our name.
pub fn line(decision: &Decision) -> String {
    text(decision).replace(char::is_control, " ")
}

fn text(decision: &Decision) -> String {
    let phase = decision.phase.word();
    let reasons: Vec<String> = decision.reasons.iter().map(ToString::to_string).collect();
    match (&decision.next, decision.phase) {
        _ if !reasons.is_empty() => format!("{phase}: {}", reasons.join("; ")),
        (Next::Act(effect), _) => format!("{phase}: {effect}"),
        (_, Phase::Idle) => format!("{phase}: nothing asks for a reboot"),
        _ => phase.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::{Inhibitor, Parts, Reason};

    #[test]
    fn words_of_others_stay_on_the_line() {
        let inhibitor = Inhibitor { who: "x".into(), why: "y\nMAINPID=1".into(), delays: false };
        let decision = Decision {
            phase: Phase::Waiting,
            reasons: vec![Reason::Inhibited { inhibitor }],
            next: Next::Wait(None),
            watched: Parts::NONE,
        };
        let line = line(&decision);
        assert!(line.contains("y MAINPID=1") && !line.contains('\n'), "{line}");
    }
}
