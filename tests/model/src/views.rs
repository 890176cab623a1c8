//! Nodes, slots and pods of the model as the core sees them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rebootd::decide::{Claim, NodeView, Owner, PodKey, PodView, SlotView, Stamp};

use crate::agent::{
    BARE, FORMER_BOOT, LONG_AGO, ME, NODE, NOW, OTHER_MACHINE, OTHERS, POOLS, Seen, THIS_BOOT, THIS_MACHINE,
};
use crate::state::{Boot, Cordon, HolderKind, Node, SlotStamp, Taint};

/// The only resourceVersion there is: whether it is still the object's is kept beside the agent.
const VERSION: &str = "v";
/// A taint that every Node always has, so every claim records it.
const STANDING_TAINT: &str = "standing:NoSchedule";
const NEW_TAINT: &str = "new:NoSchedule";
pub const IGNORED_TAINT: &str = "ignored";

pub fn node_view(node: Node, empty_boot_ids: bool) -> Option<NodeView> {
    if !node.exists {
        return None;
    }
    let boot_id = match (empty_boot_ids, node.this_boot) {
        (true, _) => "",
        (false, true) => THIS_BOOT,
        (false, false) => FORMER_BOOT,
    };
    Some(NodeView {
        volumes: 0,
        hold: None,
        labels: BTreeMap::new(),
        request: None,
        removal: None,
        annotations: BTreeSet::new(),
        added: BTreeSet::new(),
        waiting_taint: false,
        taints: Vec::new(),
        uid: NODE.into(),
        resource_version: VERSION.into(),
        unschedulable: node.cordon != Cordon::None,
        unschedulable_is_ours: node.cordon == Cordon::Ours,
        mark: node.mark.then(|| "reboot".into()),
        pool_label: Some(POOLS[usize::from(node.pool)].into()),
        boot_id: boot_id.into(),
        machine_id: if node.other_machine { OTHER_MACHINE } else { THIS_MACHINE }.into(),
        ready: node.ready,
        ready_since: "t".into(),
        heartbeat: if node.this_boot { "of this boot" } else { "former" }.into(),
        network_unavailable: false,
        allocatable: BTreeMap::new(),
        repelling_taints: taints(node.taint),
        not_ready_because: String::new(),
    })
}

fn taints(taint: Taint) -> BTreeSet<String> {
    let added = match taint {
        Taint::None => None,
        Taint::New => Some(NEW_TAINT.to_owned()),
        Taint::Ignored => Some(format!("{IGNORED_TAINT}:NoSchedule")),
    };
    added.into_iter().chain([STANDING_TAINT.to_owned()]).collect()
}

/// Whether the Node has a taint that was not there at the claim and is not ignored.
pub fn has_new_taint(node: &NodeView) -> bool {
    node.repelling_taints.contains(NEW_TAINT)
}

pub fn slot_views(seen: &Seen) -> Vec<SlotView> {
    (0..usize::from(seen.slot_count)).filter_map(|number| slot_view(seen, number)).collect()
}

fn slot_view(seen: &Seen, number: usize) -> Option<SlotView> {
    let slot = seen.slots[number];
    let kind = slot.kind(seen.me);
    if kind == HolderKind::Gone {
        return None;
    }
    let mut view = SlotView {
        name: slot_name(number as u8).into(),
        uid: slot_uid(number as u8).into(),
        resource_version: VERSION.into(),
        pool: Some(POOLS[usize::from(seen.two_pools && number == 1)].into()),
        ..SlotView::default()
    };
    let stamp = |boot: &str, attempt, over| Stamp {
        boot_id: boot.into(),
        attempt,
        at: if over { LONG_AGO } else { NOW },
        daemon_sets: Default::default(),
        request: None,
    };
    match kind {
        HolderKind::Gone | HolderKind::Free => {}
        HolderKind::Other => {
            view.holder = Some(OTHERS[number].into());
            view.claim.node_uid = Some("of-the-other".into());
            view.stamp = (slot.stamp != SlotStamp::None).then(|| stamp(FORMER_BOOT, 1, false));
        }
        HolderKind::Me => {
            view.holder = Some(ME.into());
            let (machine, boot) = match slot.boot {
                Boot::This => (THIS_MACHINE, Some(THIS_BOOT)),
                Boot::Former => (THIS_MACHINE, Some(FORMER_BOOT)),
                Boot::OtherMachine => (OTHER_MACHINE, Some(FORMER_BOOT)),
                Boot::Garbled => (THIS_MACHINE, None),
            };
            view.claim = Claim {
                machine_id: Some(machine.into()),
                node_uid: Some(if slot.current_uid { NODE } else { "another-node" }.into()),
                boot_id: boot.map(str::to_owned),
                // A second before now, so that a repeated claim can be told from a new one.
                at: Some(if seen.overdue { LONG_AGO } else { NOW - Duration::from_secs(1) }),
                heartbeat: "former".into(),
                taints: Some(taints(Taint::None)),
                ..Claim::default()
            };
            view.stamp = match slot.stamp {
                SlotStamp::None => None,
                SlotStamp::First => Some(stamp(THIS_BOOT, 1, seen.stamp_over)),
                SlotStamp::Second => Some(stamp(THIS_BOOT, 2, seen.stamp_over)),
                SlotStamp::Former | SlotStamp::Returned => Some(stamp(FORMER_BOOT, 1, true)),
            };
            view.returned = slot.stamp == SlotStamp::Returned;
        }
    }
    Some(view)
}

pub fn pod_view(pod: u8) -> PodView {
    let key = PodKey { namespace: "default".into(), name: pod_uid(pod).into(), uid: pod_uid(pod).into() };
    if pod == BARE {
        // Shorter than what [`crate::agent::Agents`] remembers of the last reboot.
        let deleted_without_node = Some(Duration::from_secs(300));
        let owner = Owner::Nobody;
        return PodView {
            key,
            owner,
            ready: true,
            running: true,
            deleted_without_node,
            ..PodView::default()
        };
    }
    PodView {
        key,
        owner: Owner::Controller,
        controller: "web".into(),
        controller_uid: "web".into(),
        grace: Duration::from_secs(30),
        ready: true,
        ..PodView::default()
    }
}

pub fn pod_uid(pod: u8) -> &'static str {
    match pod {
        0 => "pod-0",
        BARE => "bare",
        _ => "pod-1",
    }
}

pub fn slot_name(slot: u8) -> &'static str {
    if slot == 0 { "slot-0" } else { "slot-1" }
}

pub fn slot_uid(slot: u8) -> &'static str {
    if slot == 0 { "uid-0" } else { "uid-1" }
}
