//! Writes as merge patches (RFC 7386): each names what it changes; `null` removes.
//!
//! All of them carry uid and resourceVersion, which makes them compare-and-swap, and a nonce: if a patch does not
//! change the object, the server writes nothing, and its answer would settle nothing.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::objects::{
    ALLOCATABLE, BACK_WITHIN, BOOT_ID, CANARY, CLAIMED_AT, CORDON, DAEMON_SETS, HEARTBEAT, MACHINE_ID, NEXT,
    NODE_UID, NONCE, POOL, REASON, REBOOTING, RECLAIMED, REQUEST, RETURNED, STEP_BACK, TAINTS, WAITING_NODES,
    ZONE,
};
use super::slots::{format_daemon_sets, format_quantities, format_seconds, format_stamp, format_taints};
use crate::decide::{
    Claim, NodeChange, NodeWrite, SignsWrite, SlotChange, SlotView, SlotWrite, Taints, WAITING,
};

/// Of a claim nothing is left once the slot is given back, but who may claim next.
const CLAIMED: [&str; 16] = [
    MACHINE_ID,
    NODE_UID,
    BOOT_ID,
    CLAIMED_AT,
    ALLOCATABLE,
    TAINTS,
    HEARTBEAT,
    REASON,
    REBOOTING,
    DAEMON_SETS,
    REQUEST,
    STEP_BACK,
    ZONE,
    CANARY,
    BACK_WITHIN,
    RETURNED,
];

/// `transitions` and the wall time `now` become the fields that a Lease has by convention, for tools that read them; nothing
/// rests on them (`coordination.k8s.io/v1`, LeaseSpec).
pub(super) fn slot_patch(write: &SlotWrite, node: &str, transitions: Option<i32>, now: Duration) -> Value {
    let mut labels = json!({});
    let (mut annotations, spec) = match &write.change {
        SlotChange::Claim(claim) => {
            labels = json!({ RECLAIMED: null });
            let mut spec = json!({ "holderIdentity": node, "acquireTime": micro_time(now) });
            if let (Some(spec), Some(count)) = (spec.as_object_mut(), transitions) {
                spec.insert("leaseTransitions".to_owned(), json!(count));
            }
            (claim_annotations(claim), spec)
        }
        SlotChange::Stamp(stamp, next) => {
            let daemon_sets = Some(format_daemon_sets(&stamp.daemon_sets)).filter(|text| !text.is_empty());
            let all = [
                (REBOOTING, json!(format_stamp(stamp))),
                (RETURNED, Value::Null),
                (DAEMON_SETS, json!(daemon_sets)),
                (REQUEST, json!(stamp.request)),
                (NEXT, json!(Some(next.names.join(",")).filter(|names| !names.is_empty()))),
                (WAITING_NODES, json!(next.waiting.to_string())),
            ];
            (Map::from_iter(all.map(|(name, value)| (name.to_owned(), value))), json!({}))
        }
        SlotChange::Returned => (Map::from_iter([(RETURNED.to_owned(), json!("true"))]), json!({})),
        SlotChange::Release { .. } | SlotChange::Free { .. } => {
            if matches!(write.change, SlotChange::Free { .. }) {
                labels = json!({ RECLAIMED: "true" });
            }
            let nothing = CLAIMED.map(|name| (name.to_owned(), Value::Null));
            (Map::from_iter(nothing), json!({ "holderIdentity": null, "acquireTime": null }))
        }
    };
    annotations.insert(NONCE.to_owned(), json!(write.nonce));
    json!({
        "metadata": {
            "uid": write.uid,
            "resourceVersion": write.resource_version,
            "labels": labels,
            "annotations": annotations,
        },
        "spec": spec,
    })
}

/// As `metav1.MicroTime` is written; `None` for a time that no calendar has.
pub(super) fn micro_time(wall: Duration) -> Option<String> {
    let time = Timestamp::from_second(i64::try_from(wall.as_secs()).ok()?).ok()?;
    Some(format!("{time:.6}"))
}

/// Asks the holder to step back; `who` is for people.
pub(super) fn step_back_patch(slot: &SlotView, who: &str) -> Value {
    json!({
        "metadata": {
            "uid": slot.uid,
            "resourceVersion": slot.resource_version,
            "annotations": { STEP_BACK: who },
        },
    })
}

/// Every annotation of a claim, and no stamp, so that nothing of an earlier claim is left.
fn claim_annotations(claim: &Claim) -> Map<String, Value> {
    let all = [
        (MACHINE_ID, json!(claim.machine_id)),
        (NODE_UID, json!(claim.node_uid)),
        (BOOT_ID, json!(claim.boot_id)),
        (CLAIMED_AT, json!(claim.at.map(format_seconds))),
        (ALLOCATABLE, json!(format_quantities(&claim.allocatable))),
        (TAINTS, json!(claim.taints.as_ref().map(format_taints))),
        (HEARTBEAT, json!(claim.heartbeat)),
        (REASON, json!(claim.reason)),
        (ZONE, json!(claim.zone)),
        (CANARY, json!(claim.canary)),
        (BACK_WITHIN, json!(claim.back_within.map(format_seconds))),
        (REBOOTING, Value::Null),
        (RETURNED, Value::Null),
        (STEP_BACK, Value::Null),
        (DAEMON_SETS, Value::Null),
        (REQUEST, Value::Null),
        (NEXT, Value::Null),
        (WAITING_NODES, Value::Null),
    ];
    all.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

pub(super) fn node_patch(write: &NodeWrite) -> Value {
    let mut annotations = Map::from_iter([(NONCE.to_owned(), json!(write.nonce))]);
    let mut labels = Map::from_iter([(POOL.to_owned(), json!(write.pool))]);
    let mut spec = Map::new();
    let SignsWrite { labels: signs, annotations: others, taints } = &write.signs;
    labels.extend(signs.iter().map(|(name, value)| (name.clone(), json!(value))));
    annotations.extend(others.iter().map(|(name, value)| (name.clone(), json!(value))));
    if write.fulfils_request {
        annotations.insert(REQUEST.to_owned(), Value::Null);
    }
    match &write.change {
        NodeChange::Cordon { why } => {
            annotations.insert(CORDON.to_owned(), json!(why));
            spec.insert("unschedulable".to_owned(), json!(true));
        }
        NodeChange::Uncordon { .. } => {
            annotations.insert(CORDON.to_owned(), Value::Null);
            spec.insert("unschedulable".to_owned(), Value::Null);
        }
        NodeChange::RemoveMark => {
            annotations.insert(CORDON.to_owned(), Value::Null);
        }
        NodeChange::Confirm { .. } => {}
    }
    if let Some(taints) = taints {
        spec.insert("taints".to_owned(), taint_list(taints));
    }
    json!({
        "metadata": {
            "uid": write.uid,
            "resourceVersion": write.resource_version,
            "labels": labels,
            "annotations": annotations,
        },
        "spec": spec,
    })
}

/// The whole list: the API has no other way to write taints.
fn taint_list(taints: &Taints) -> Value {
    // What was JSON when it was read is still JSON.
    let others = taints.others.iter().filter_map(|taint| serde_json::from_str(taint).ok());
    let ours = taints.waiting.then(|| json!({ "key": WAITING, "effect": "PreferNoSchedule" }));
    Value::Array(others.chain(ours).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_overwrites_all_that_a_release_removes() {
        let claimed: Vec<String> =
            claim_annotations(&Claim::default()).into_iter().map(|(name, _)| name).collect();
        for name in CLAIMED {
            assert!(claimed.iter().any(|it| it == name), "{name} of an earlier claim would stay");
        }
    }

    #[test]
    fn the_taints_of_others_stay_as_they_are() {
        let other = json!({ "key": "x", "value": "y", "effect": "NoExecute", "timeAdded": "2026-11-24T07:40:00Z", "new": 1 });
        let taints = |waiting| taint_list(&Taints { waiting, others: vec![other.to_string()] });
        assert_eq!(taints(true), json!([other, { "key": WAITING, "effect": "PreferNoSchedule" }]));
        assert_eq!(taints(false), json!([other]));
    }

    #[test]
    fn every_write_is_conditional_and_changes_something() {
        let write = |change| NodeWrite {
            uid: "u".into(),
            resource_version: "7".into(),
            nonce: "n-1".into(),
            pool: "worker".into(),
            fulfils_request: false,
            signs: SignsWrite::default(),
            change,
        };
        let why = "x".to_owned();
        for change in [
            NodeChange::Cordon { why },
            NodeChange::Uncordon { because: None },
            NodeChange::RemoveMark,
            NodeChange::Confirm { in_turn: false },
        ] {
            let patch = node_patch(&write(change));
            assert_eq!(patch["metadata"]["resourceVersion"], "7");
            assert_eq!(patch["metadata"]["uid"], "u");
            assert_eq!(patch["metadata"]["annotations"][NONCE], "n-1");
        }
    }
}
