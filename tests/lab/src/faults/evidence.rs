//! What the checker is given: the audit log's writes with their outcome, reads, and the watch history of pods.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::checker::{Author, Event, NodeWrite, PodStay, SlotWrite, What};
use crate::observer::{Change, History, Object};
use crate::simulated::AGENT;

/// The user name by which the audit log tells that a person wrote.
pub(super) const PERSON: &str = "lab-person";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    stage: String,
    verb: String,
    #[serde(rename = "requestURI")]
    request_uri: String,
    user: User,
    object_ref: Option<ObjectReference>,
    #[serde(default)]
    response_status: Status,
    response_object: Option<Value>,
    request_received_timestamp: Timestamp,
    stage_timestamp: Timestamp,
}

#[derive(Deserialize)]
struct User {
    username: String,
}

#[derive(Default, Deserialize)]
struct Status {
    #[serde(default)]
    code: u16,
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct ObjectReference {
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
}

impl Line {
    fn author(&self) -> Author {
        match self.user.username.strip_prefix(AGENT) {
            Some(node) => Author::Agent(node.to_owned()),
            None if self.user.username == PERSON => Author::Person,
            None => Author::Other,
        }
    }

    /// What it is to the checker, and the revision that it made, if it made one.
    fn into_what(self) -> Option<(What, Option<u64>)> {
        let target = self.object_ref.as_ref()?;
        if !target.subresource.is_empty() {
            return None;
        }
        let writes = matches!(self.verb.as_str(), "create" | "update" | "patch");
        match (target.resource.as_str(), self.verb.as_str()) {
            ("leases", _) if target.namespace == "rebootd" && writes => {
                let write = self.slot_write()?;
                let revision = write.revision;
                Some((What::Slot(write), Some(revision)))
            }
            ("nodes", "delete") => {
                let (node, author, answered) = (target.name.clone(), self.author(), self.stage_timestamp);
                let gone = NodeWrite { node, unschedulable: false, mark: false, author, answered };
                Some((What::Node(gone), None))
            }
            ("nodes", _) if writes => {
                let revision = revision(self.response_object.as_ref()?);
                Some((What::Node(self.node_write()?), revision))
            }
            ("nodes", "get") => match self.author() {
                Author::Agent(node) => Some((What::NodeRead(node), None)),
                _ => None,
            },
            ("pods", "list") if self.request_uri.contains("spec.nodeName") => match self.author() {
                Author::Agent(node) => Some((What::PodsRead(node), None)),
                _ => None,
            },
            _ => None,
        }
    }

    fn slot_write(&self) -> Option<SlotWrite> {
        let lease = self.response_object.as_ref()?;
        let stamp = text(lease, "/metadata/annotations/rebootd.io~1rebooting");
        Some(SlotWrite {
            slot: text(lease, "/metadata/name")?,
            pool: text(lease, "/metadata/labels/rebootd.io~1pool").unwrap_or_default(),
            holder: text(lease, "/spec/holderIdentity").filter(|holder| !holder.is_empty()),
            stamp: stamp.map(|stamp| stamp.split(' ').next().unwrap_or_default().to_owned()),
            author: self.author(),
            revision: revision(lease)?,
            answered: self.stage_timestamp,
        })
    }

    fn node_write(&self) -> Option<NodeWrite> {
        let node = self.response_object.as_ref()?;
        Some(NodeWrite {
            node: text(node, "/metadata/name")?,
            unschedulable: node.pointer("/spec/unschedulable").and_then(Value::as_bool).unwrap_or_default(),
            mark: node.pointer("/metadata/annotations/rebootd.io~1cordon").is_some(),
            author: self.author(),
            answered: self.stage_timestamp,
        })
    }
}

fn text(object: &Value, pointer: &str) -> Option<String> {
    object.pointer(pointer).and_then(Value::as_str).map(str::to_owned)
}

fn revision(object: &Value) -> Option<u64> {
    text(object, "/metadata/resourceVersion")?.parse().ok()
}

/// All writes and reads of the audit log that were carried out.
///
/// The writes are in the order of their revisions: each gets the earliest time that this order allows.
pub(super) fn from_audit_log(path: &Path) -> Result<Vec<Event>> {
    let mut writes: BTreeMap<u64, (Event, Timestamp)> = BTreeMap::new();
    let mut others = Vec::new();
    for (number, line) in BufReader::new(File::open(path)?).lines().enumerate() {
        let line: Line = serde_json::from_str(&line?)
            .with_context(|| format!("{}, line {}", path.display(), number + 1))?;
        if line.stage != "ResponseComplete" || !(200..300).contains(&line.response_status.code) {
            continue;
        }
        let (at, answered) = (line.request_received_timestamp, line.stage_timestamp);
        match line.into_what() {
            // A write that changes nothing makes no revision: the one that made it comes first in the log, or not at
            // all if it is of no concern to the checker.
            Some((what, Some(revision))) => {
                writes.entry(revision).or_insert((Event { at, what }, answered));
            }
            Some((what, None)) => others.push(Event { at, what }),
            None => {}
        }
    }
    let mut events = in_order(writes);
    events.extend(others);
    Ok(events)
}

/// The writes, given with the times of their answers, in the order of their revisions.
///
/// Left out are writes that changed nothing and came back with a revision of long ago: they were received when a
/// later revision had been answered already, and would take what followed that revision along to their own time.
fn in_order(writes: BTreeMap<u64, (Event, Timestamp)>) -> Vec<Event> {
    let mut later_answered = Timestamp::MAX;
    let mut events: Vec<Event> = Vec::new();
    for (event, answered) in writes.into_values().rev() {
        if event.at <= later_answered {
            later_answered = later_answered.min(answered);
            events.push(event);
        }
    }
    events.reverse();
    for next in 1..events.len() {
        events[next].at = events[next].at.max(events[next - 1].at);
    }
    events
}

/// When which pods of a controller were on which node. `zero` is the observer's start.
pub(super) fn pods(history: &History, zero: Timestamp) -> Vec<PodStay> {
    let mut stays: BTreeMap<String, PodStay> = BTreeMap::new();
    for entry in history.entries() {
        let Object::Pod(pod) = &entry.object else { continue };
        let (Some(node), Some("ReplicaSet")) = (&pod.node, pod.owner_kind.as_deref()) else { continue };
        let seen = zero + jiff::SignedDuration::try_from(entry.at).unwrap_or_default();
        let stay = stays.entry(pod.uid.clone()).or_insert_with(|| PodStay {
            pod: pod.name.clone(),
            node: node.clone(),
            seen,
            gone: None,
        });
        if entry.change == Change::Deleted {
            stay.gone = Some(entry.resource_version);
        }
    }
    stays.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn read(at: i64, node: &str) -> Event {
        Event { at: second(at), what: What::NodeRead(node.to_owned()) }
    }

    #[test]
    fn a_write_that_changed_nothing_moves_no_other() {
        // Revision 5 is of a status of long ago, which the log does not name; at 20 somebody writes what is there.
        let writes = BTreeMap::from([
            (5, (read(20, "nothing changed"), second(21))),
            (6, (read(8, "a"), second(10))),
            (7, (read(7, "b"), second(9))),
        ]);
        let order: Vec<_> =
            in_order(writes).iter().map(|event| format!("{} {:?}", event.at, event.what)).collect();
        assert_eq!(order, ["1970-01-01T00:00:08Z NodeRead(\"a\")", "1970-01-01T00:00:08Z NodeRead(\"b\")",]);
    }
}
