//! The status: the daemon publishes it in `/run/rebootd/status.json`, and `rebootctl status` prints it.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::decide::settings::{Mode, Settings};
use crate::decide::{Confinement, Decision, LastReboot, Next, Phase, Update, World, requests};
use crate::replace::replace;
use crate::words::words;

/// systemd reads at most 4096 bytes, and a character takes up to four.
const LONGEST_LINE: usize = 1000;

/// Where the daemon publishes its status.
pub const PATH: &str = "/run/rebootd/status.json";

/// What the daemon reports about itself. Fields are added, never changed or removed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The name of this host's Node.
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
    /// The updates that are installed and not live; nothing if that is not known.
    #[serde(default)]
    pub not_live: Option<Vec<Update>>,
    /// The slots that this node holds.
    pub slots: Vec<String>,
    /// The latest reboot that rebootd asked for, as far as it is remembered.
    #[serde(default)]
    pub last_reboot: Option<StatusReboot>,
    /// How this node reaches the cluster, if it has a way.
    #[serde(default)]
    pub credential: Option<StatusCredential>,
    /// Whether the cluster's policies confine this node's credential, once that was tried.
    #[serde(default)]
    pub policies_in_force: Option<bool>,
    /// This boot's id.
    pub boot_id: String,
    /// When this was written: seconds since 1970.
    pub written: u64,
}

/// How the node reaches the cluster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StatusCredential {
    /// The API server's address.
    pub server: String,
    /// The Node that the credential is bound to, if it tells.
    pub node: Option<String>,
    /// When it expires, of one that the node has got for itself: seconds since 1970. Of one in files, nothing is said.
    pub ends: Option<u64>,
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

/// A reboot that was asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StatusReboot {
    /// When: seconds since 1970.
    pub at: u64,
    /// Why, for people; empty if it is not known.
    pub why: String,
    /// How long our cordon was on the Node, if it is gone and the time is known.
    pub cordoned_seconds: Option<u64>,
    /// How it ended, if that is known: `under-way`, `well`, `stayed-up` or `slot-lost`.
    pub outcome: Option<String>,
}

impl From<&LastReboot> for StatusReboot {
    fn from(last: &LastReboot) -> StatusReboot {
        StatusReboot {
            at: last.at.as_secs(),
            why: last.why.clone(),
            cordoned_seconds: last.cordoned_for().map(|time| time.as_secs()),
            outcome: last.ending.map(|ending| ending.word().to_owned()),
        }
    }
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
            not_live: world.host.updates.clone(),
            slots: slots
                .filter(|slot| slot.holder.as_ref() == Some(node))
                .map(|slot| slot.name.clone())
                .collect(),
            last_reboot: world.memory.last_reboot.as_ref().map(StatusReboot::from),
            credential: settings.api.as_ref().map(|access| StatusCredential {
                server: access.server.clone(),
                node: settings.credential_node.clone(),
                ends: settings.credential_ends.map(|ends| ends.as_secs()),
            }),
            policies_in_force: match world.cluster.confinement.last() {
                Some(Confinement::Tried { missing, .. }) => Some(missing.is_empty()),
                Some(Confinement::OtherAccount) | None => None,
            },
            boot_id: world.host.boot_id.clone(),
            written: world.now.wall.as_secs(),
        }
    }

    /// Replaces the published status, whatever the unit's umask is: everybody may read it. The file disappears with
    /// the boot, as does what it reports.
    pub fn publish(&self, path: &Path) -> std::io::Result<()> {
        let text = serde_json::to_string_pretty(self)? + "\n";
        replace(path, text.as_bytes(), 0o644)
    }
}

/// Phase and reasons in one line, the phase first; if there is no reason to wait, what is being done.
///
/// Text from others in it was cleaned when it was read. But systemd ignores a message that is too long, and a line
/// break would begin another message in our name: so a fact that was not cleaned by mistake must not get through
/// here.
pub fn line(decision: &Decision) -> String {
    words(&text(decision), LONGEST_LINE)
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

/// An idle node.
#[cfg(test)]
pub(crate) fn example() -> Status {
    Status {
        node: "node1".into(),
        pool: "worker".into(),
        mode: "active".into(),
        phase: "idle".into(),
        line: "idle: nothing asks for a reboot".into(),
        reasons: vec![],
        request: None,
        requests: vec![],
        not_live: None,
        slots: vec![],
        last_reboot: None,
        credential: None,
        policies_in_force: None,
        boot_id: "b".into(),
        written: 0,
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
            wants_slot: false,
        };
        let line = line(&decision);
        assert!(line.contains("y MAINPID=1") && !line.contains('\n'), "{line}");
    }

    #[test]
    fn a_line_is_never_too_long_for_systemd() {
        let decision = Decision {
            phase: Phase::Waiting,
            reasons: vec![Reason::ApiFailing { why: "\u{1d11e}".repeat(256 << 10), again: None }],
            next: Next::Wait(None),
            watched: Parts::NONE,
            wants_slot: false,
        };
        let line = line(&decision);
        assert!("STATUS=".len() + line.len() <= 4096 && line.ends_with('…'), "{}", line.len());
    }
}
