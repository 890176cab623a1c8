//! What the audit log tells of the agents: who held which slot from when to when, and what was asked.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use anyhow::Result;
use jiff::Timestamp;
use serde_json::Value;

use crate::audit::{AuditedRequest, Follower};

const AGENTS: &str = "system:serviceaccount:rebootd:rebootd";

/// Everything that the agents have asked so far, in few bytes each.
pub(super) struct Ledger {
    log: Follower,
    names: Names,
    pub(super) requests: Vec<Request>,
    /// By the revision that each made.
    slots: BTreeMap<u64, SlotWrite>,
    /// When each cordon was answered.
    cordons: Vec<(Timestamp, usize)>,
}

/// One request of an agent.
pub(super) struct Request {
    pub(super) at: Timestamp,
    pub(super) node: usize,
    /// Verb and resource.
    pub(super) what: usize,
    pub(super) status: u16,
    /// It would make a free slot the agent's.
    pub(super) claims: bool,
}

struct SlotWrite {
    slot: String,
    holder: String,
    sent: Timestamp,
    answered: Timestamp,
}

/// Of one node with one slot.
#[derive(Clone, Debug)]
pub(super) struct Turn {
    pub(super) node: usize,
    /// When the claim was sent, and when it was answered.
    pub(super) begun: Timestamp,
    pub(super) claimed: Timestamp,
    pub(super) cordoned: Option<Timestamp>,
    pub(super) released: Option<Timestamp>,
}

impl Turn {
    /// From the answer to the claim to the answer to the release.
    pub(super) fn seconds(&self) -> Option<f64> {
        self.released.map(|released| released.duration_since(self.claimed).as_secs_f64())
    }
}

/// Each text once.
#[derive(Default)]
struct Names {
    known: HashMap<String, usize>,
    all: Vec<String>,
}

impl Names {
    fn number(&mut self, name: &str) -> usize {
        if let Some(number) = self.known.get(name) {
            return *number;
        }
        self.all.push(name.to_owned());
        self.known.insert(name.to_owned(), self.all.len() - 1);
        self.all.len() - 1
    }
}

impl Ledger {
    pub(super) fn new(audit_log: &Path) -> Self {
        Self {
            log: Follower::new(audit_log),
            names: Names::default(),
            requests: Vec::new(),
            slots: BTreeMap::new(),
            cordons: Vec::new(),
        }
    }

    /// Takes what the log has more of than the last time.
    pub(super) fn read_on(&mut self) -> Result<()> {
        let Self { log, names, requests, slots, cordons } = self;
        log.added(|request| {
            let is_of_agent = request.user == AGENTS;
            let is_of_slots = request.resource == "leases" && request.namespace == "rebootd";
            let is_write = (200..300).contains(&request.status) && !request.is_dry_run;
            if is_of_slots && is_write {
                slots.extend(slot_write(&request));
            }
            if !is_of_agent {
                return;
            }
            let node = names.number(&request.node);
            if request.resource == "nodes" && is_write && cordons_it(&request) {
                cordons.push((request.answered, node));
            }
            let holder = request.sent.as_ref().and_then(|sent| sent.pointer("/spec/holderIdentity"));
            requests.push(Request {
                at: request.received,
                node,
                what: names.number(&format!("{} {}{}", request.verb, request.resource, dry_run(&request))),
                status: request.status,
                claims: is_of_slots && !request.is_dry_run && holder.is_some_and(Value::is_string),
            });
        })
    }

    /// The name that a number in here stands for.
    pub(super) fn name(&self, number: usize) -> &str {
        self.names.all.get(number).map_or("", String::as_str)
    }

    /// The turns of each slot whose name begins so, in their order.
    pub(super) fn turns(&self, prefix: &str) -> BTreeMap<&str, Vec<Turn>> {
        let mut turns: BTreeMap<&str, Vec<Turn>> = BTreeMap::new();
        let mut holders: BTreeMap<&str, &str> = BTreeMap::new();
        for write in self.slots.values().filter(|write| write.slot.starts_with(prefix)) {
            let before = holders.insert(&write.slot, &write.holder).unwrap_or_default();
            if before == write.holder {
                continue;
            }
            let turns = turns.entry(&write.slot).or_default();
            // A person holds it first, and is no node.
            let known = |name: &str| self.names.known.get(name).copied();
            if let (Some(turn), Some(node)) = (turns.last_mut(), known(before))
                && turn.node == node
            {
                turn.released = Some(write.answered);
            }
            if let Some(node) = known(&write.holder) {
                turns.push(Turn {
                    node,
                    begun: write.sent,
                    claimed: write.answered,
                    cordoned: None,
                    released: None,
                });
            }
        }
        for turn in turns.values_mut().flatten() {
            let is_of_turn = |(at, node): &&(Timestamp, usize)| {
                *node == turn.node
                    && *at >= turn.claimed
                    && turn.released.is_none_or(|released| *at <= released)
            };
            turn.cordoned = self.cordons.iter().find(is_of_turn).map(|(at, _)| *at);
        }
        turns
    }
}

/// By these an agent finds out at its start whether the policies refuse what they have to.
fn dry_run(request: &AuditedRequest) -> &'static str {
    if request.is_dry_run { " (dry run)" } else { "" }
}

fn slot_write(request: &AuditedRequest) -> Option<(u64, SlotWrite)> {
    let lease = request.became.as_ref()?;
    let text = |pointer: &str| lease.pointer(pointer).and_then(Value::as_str);
    let write = SlotWrite {
        slot: text("/metadata/name")?.to_owned(),
        holder: text("/spec/holderIdentity").unwrap_or_default().to_owned(),
        sent: request.received,
        answered: request.answered,
    };
    Some((text("/metadata/resourceVersion")?.parse().ok()?, write))
}

fn cordons_it(request: &AuditedRequest) -> bool {
    let unschedulable = request.sent.as_ref().and_then(|sent| sent.pointer("/spec/unschedulable"));
    unschedulable.and_then(Value::as_bool) == Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::fs;

    /// One answered write of an agent, in this second.
    fn write(second: u32, node: &str, path: (&str, &str), status: u16, sent: Value, became: Value) -> String {
        let (resource, namespace) = path;
        let at = |fraction: u32| format!("2026-07-30T10:00:{second:02}.{fraction:06}Z");
        let event = json!({
            "stage": "ResponseComplete", "verb": "patch", "requestURI": "/x", "auditID": second.to_string(),
            "user": {"username": AGENTS, "extra": {"authentication.kubernetes.io/node-name": [node]}},
            "objectRef": {"resource": resource, "namespace": namespace},
            "responseStatus": {"code": status}, "requestObject": sent, "responseObject": became,
            "requestReceivedTimestamp": at(0), "stageTimestamp": at(500_000),
        });
        format!("{event}\n")
    }

    fn slot(second: u32, node: &str, status: u16, holder: Option<&str>) -> String {
        let metadata = json!({"name": "s-1", "resourceVersion": (100 + second).to_string()});
        let sent = json!({"spec": {"holderIdentity": holder}});
        let became = json!({"metadata": metadata, "spec": {"holderIdentity": holder}});
        write(
            second,
            node,
            ("leases", "rebootd"),
            status,
            sent,
            if status == 200 { became } else { json!({}) },
        )
    }

    fn cordon(second: u32, node: &str) -> String {
        let sent = json!({"spec": {"unschedulable": true}});
        write(second, node, ("nodes", ""), 200, sent, json!({}))
    }

    #[test]
    fn turns_follow_from_the_writes() {
        let log = [
            slot(1, "a", 200, Some("a")),
            slot(2, "b", 409, Some("b")),
            // The same claim again is no other turn.
            slot(3, "a", 200, Some("a")),
            cordon(4, "a"),
            slot(5, "a", 200, None),
            slot(7, "b", 200, Some("b")),
            cordon(8, "b"),
        ];
        let path = std::env::temp_dir().join(format!("rebootd-lab-ledger-{}", std::process::id()));
        fs::write(&path, log.concat()).unwrap();
        let mut ledger = Ledger::new(&path);
        ledger.read_on().unwrap();
        fs::remove_file(&path).unwrap();
        let second = |at: Timestamp| {
            at.subsec_nanosecond() / 500_000_000 + at.strftime("%S").to_string().parse::<i32>().unwrap() * 10
        };
        let turns = ledger.turns("s-");
        let told: Vec<_> = turns["s-1"]
            .iter()
            .map(|turn| {
                let name = ledger.name(turn.node);
                (
                    name,
                    second(turn.begun),
                    second(turn.claimed),
                    turn.cordoned.map(second),
                    turn.released.map(second),
                )
            })
            .collect();
        assert_eq!(told, [("a", 10, 11, Some(41), Some(51)), ("b", 70, 71, Some(81), None)]);
        assert_eq!(turns["s-1"][0].seconds(), Some(4.0));
        let claims: Vec<u16> =
            ledger.requests.iter().filter(|request| request.claims).map(|request| request.status).collect();
        assert_eq!(claims, [200, 409, 200, 200]);
        assert!(ledger.turns("t-").is_empty());
    }
}
