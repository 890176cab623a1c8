//! Nodes that are gone, removed by a person or an autoscaler, and what the cluster still knows of their reboots.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context;

use crate::cluster::{Api, NodeEvent};
use crate::words::{NOTE, words};

/// A Node that is gone, and has had something to do with a reboot.
#[derive(Debug, Default)]
pub(super) struct Gone {
    /// The slots that are still held under its name.
    slots: Vec<String>,
    /// What its rebootd has told, the latest last.
    events: Vec<NodeEvent>,
}

/// By their names: all that are none of these Nodes.
pub(super) async fn gone(api: &mut Api, nodes: &BTreeSet<String>) -> anyhow::Result<BTreeMap<String, Gone>> {
    let mut gone: BTreeMap<String, Gone> = BTreeMap::new();
    for held in api.held_slots().await.context("cannot read the slots")? {
        if let Some(holder) = held.slot.holder.filter(|it| !nodes.contains(it)) {
            gone.entry(words(&holder, NOTE)).or_default().slots.push(held.slot.name);
        }
    }
    for event in api.events_of_nodes().await.context("cannot read the Events")? {
        if !nodes.contains(&event.node) {
            gone.entry(event.node.clone()).or_default().events.push(event);
        }
    }
    Ok(gone)
}

impl Gone {
    /// All that is known, for people.
    pub(super) fn lines(&self, node: &str) -> Vec<String> {
        let mut lines = vec![format!("There is no Node {node} any more. What the cluster still knows:")];
        lines.extend(self.slots.iter().map(|slot| format!("  slot {slot} is held under its name")));
        lines.extend(self.events.iter().map(told));
        lines
    }

    /// The same in a line.
    pub(super) fn line(&self, node: &str) -> String {
        let slots = self.slots.iter().map(|slot| format!("; slot {slot} is held under its name"));
        let last = self.events.last().map(|event| format!("; it last told:{}", told(event)));
        format!("There is no Node {node} any more{}{}", slots.collect::<String>(), last.unwrap_or_default())
    }
}

fn told(event: &NodeEvent) -> String {
    format!("  {}  {}: {}", event.at, event.reason, event.note)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_is_gone_is_told_of_by_its_slots_and_its_events() {
        let event = |second: i64, reason: &str| NodeEvent {
            node: "node9".into(),
            at: jiff::Timestamp::from_second(1_795_662_720 + second).unwrap(),
            reason: reason.into(),
            note: "of pool worker".into(),
        };
        let gone = Gone {
            slots: vec!["worker-1".into()],
            events: vec![event(0, "SlotClaimed"), event(9, "Rebooting")],
        };
        assert_eq!(
            gone.lines("node9").join("\n"),
            "There is no Node node9 any more. What the cluster still knows:\n  slot worker-1 is held under its name\n  \
             2026-11-26T03:12:00Z  SlotClaimed: of pool worker\n  2026-11-26T03:12:09Z  Rebooting: of pool worker"
        );
        assert_eq!(
            gone.line("node9"),
            "There is no Node node9 any more; slot worker-1 is held under its name; it last told:  \
             2026-11-26T03:12:09Z  Rebooting: of pool worker"
        );
    }
}
