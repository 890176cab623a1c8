//! Leases: the slots, with everything that a claim and a stamp write into them, and the kubelet's own Lease.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;

use super::objects::{
    ALLOCATABLE, BACK_WITHIN, BOOT_ID, CANARY, CLAIMED_AT, DAEMON_SETS, HEARTBEAT, MACHINE_ID, Meta, NEXT,
    NODE_UID, POOL, REASON, REBOOTING, REQUEST, RETURNED, STEP_BACK, TAINTS, WAITING_NODES, ZONE, note,
    quantities,
};
use crate::decide::{Before, Claim, KubeletLease, PAUSE, SlotView, Stamp, Successors};
use crate::words::{MESSAGE, NOTE, name, words};

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Lease {
    metadata: Meta,
    spec: LeaseSpec,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct LeaseSpec {
    holder_identity: Option<String>,
    renew_time: Option<String>,
    /// Whatever it is: nothing rests on it.
    lease_transitions: serde_json::Value,
}

impl Lease {
    /// When the one who set the holder last wrote to the slot: its claim or its stamp. As the server writes times.
    pub(super) fn held_since(&self) -> Option<String> {
        self.metadata.holder_set_at().map(|time| words(time, NOTE))
    }

    /// The slot's name, and how often it has changed hands once it is claimed next; `None` if nobody can count on from there.
    pub(super) fn transitions(&self) -> (String, Option<i32>) {
        let is_free = self.spec.holder_identity.as_ref().is_none_or(String::is_empty);
        let count = self.spec.lease_transitions.as_i64().unwrap_or_default();
        let count = i32::try_from(count).ok().and_then(|count| count.checked_add(i32::from(is_free)));
        (self.metadata.name.clone(), count.filter(|count| *count >= 0))
    }
}

impl From<Lease> for KubeletLease {
    fn from(lease: Lease) -> KubeletLease {
        KubeletLease {
            uid: lease.metadata.uid,
            resource_version: lease.metadata.resource_version,
            renewed: lease.spec.renew_time.map(name).unwrap_or_default(),
        }
    }
}

impl From<Lease> for SlotView {
    fn from(mut lease: Lease) -> SlotView {
        // A pause has its reason in the place of a holder.
        let holder =
            |text: String| if lease.metadata.name == PAUSE { words(&text, MESSAGE) } else { name(text) };
        let holder = lease.spec.holder_identity.filter(|text| !text.is_empty()).map(holder);
        let step_back = note(&mut lease.metadata.annotations, STEP_BACK);
        let stamped_request = note(&mut lease.metadata.annotations, REQUEST);
        let reason = note(&mut lease.metadata.annotations, REASON).unwrap_or_default();
        // Ids and times are compared, so what had to be cleaned must equal no other.
        let mut take = |key: &str| lease.metadata.annotations.remove(key);
        let claim = Claim {
            machine_id: take(MACHINE_ID).map(name),
            node_uid: take(NODE_UID).map(name),
            boot_id: take(BOOT_ID).map(name),
            at: take(CLAIMED_AT).and_then(|text| seconds(&text)),
            allocatable: take(ALLOCATABLE).map(|text| parse_quantities(&text)).unwrap_or_default(),
            taints: take(TAINTS).map(|text| parse_taints(&text)),
            heartbeat: take(HEARTBEAT).map(name).unwrap_or_default(),
            reason,
            zone: take(ZONE).map(name),
            canary: take(CANARY).map(name),
            back_within: take(BACK_WITHIN).and_then(|text| seconds(&text)),
        };
        SlotView {
            stamp: take(REBOOTING).map(|text| {
                let daemon_sets = take(DAEMON_SETS).unwrap_or_default();
                Stamp { request: stamped_request, ..parse_stamp(&text, &daemon_sets) }
            }),
            next: Successors {
                names: take(NEXT).map(|text| parse_names(&text)).unwrap_or_default(),
                waiting: take(WAITING_NODES).and_then(|text| text.parse().ok()).unwrap_or_default(),
            },
            returned: take(RETURNED).is_some(),
            written: lease.metadata.holder_set_at().and_then(since_1970),
            step_back,
            claim,
            pool: lease.metadata.labels.remove(POOL),
            holder,
            name: lease.metadata.name,
            uid: lease.metadata.uid,
            resource_version: lease.metadata.resource_version,
        }
    }
}

/// A time since boot, as written in an annotation.
pub(super) fn format_seconds(time: Duration) -> String {
    format!("{}.{:03}", time.as_secs(), time.subsec_millis())
}

/// A time as the API server writes it.
fn since_1970(text: &str) -> Option<Duration> {
    let time: Timestamp = text.parse().ok()?;
    Some(Duration::from_secs(u64::try_from(time.as_second()).ok()?))
}

/// No host is up for longer than this, and nothing counted from here overflows.
const LONGEST_BOOT: Duration = Duration::from_secs(100 * 365 * 86_400);

fn seconds(text: &str) -> Option<Duration> {
    Duration::try_from_secs_f64(text.parse().ok()?).ok().filter(|time| *time < LONGEST_BOOT)
}

/// The most bytes of a list in an annotation: all annotations of an object may have 256 KiB together.
const LONGEST_LIST: usize = 32 << 10;

/// As many as fit: a Node may have any number of resources and taints, and a claim must not fail because of them.
fn list(items: impl Iterator<Item = String>) -> String {
    let mut text = String::new();
    for item in items {
        let gap = if text.is_empty() { "" } else { "," };
        if text.len() + gap.len() + item.len() > LONGEST_LIST {
            break;
        }
        text.extend([gap, &item]);
    }
    text
}

pub(super) fn format_quantities(quantities: &BTreeMap<String, String>) -> String {
    list(quantities.iter().map(|(name, quantity)| format!("{name}={quantity}")))
}

fn parse_quantities(text: &str) -> BTreeMap<String, String> {
    let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
    quantities(pairs.map(|(name, quantity)| (name.to_owned(), quantity.to_owned())))
}

pub(super) fn format_taints(taints: &BTreeSet<String>) -> String {
    list(taints.iter().cloned())
}

fn parse_taints(text: &str) -> BTreeSet<String> {
    text.split(',').filter(|taint| !taint.is_empty()).map(|taint| words(taint, NOTE)).collect()
}

/// `<boot id> <try> <time since boot>`
pub(super) fn format_stamp(stamp: &Stamp) -> String {
    format!("{} {} {}", stamp.boot_id, stamp.attempt, format_seconds(stamp.at))
}

/// A stamp that was changed by hand is still a stamp, but of no known boot, so that nobody takes the slot for
/// unstamped.
fn parse_stamp(text: &str, daemon_sets: &str) -> Stamp {
    let mut words = text.split(' ');
    let parsed = (|| {
        let boot_id = name(words.next()?.to_owned());
        let (attempt, at) = (words.next()?.parse().ok()?, seconds(words.next()?)?);
        Some(Stamp { boot_id, attempt, at, daemon_sets: parse_daemon_sets(daemon_sets), request: None })
    })();
    parsed.unwrap_or(Stamp {
        boot_id: String::new(),
        attempt: 0,
        at: Duration::ZERO,
        daemon_sets: BTreeMap::new(),
        request: None,
    })
}

/// `kube-system/cni=INSTANCE,default/logs=unready`; no name has such a sign.
pub(super) fn format_daemon_sets(all: &BTreeMap<String, Before>) -> String {
    list(all.iter().map(|(name, before)| match before {
        Before::Unready => format!("{name}={UNREADY}"),
        Before::Ready(Some(instance)) => format!("{name}={instance:x}"),
        Before::Ready(None) => name.clone(),
    }))
}

/// A slot that a person wrote into may name any number.
const MOST_NAMES: usize = 10;

fn parse_names(text: &str) -> Vec<String> {
    text.split(',').filter(|it| !it.is_empty()).take(MOST_NAMES).map(|it| name(it.to_owned())).collect()
}

const UNREADY: &str = "unready";

fn parse_daemon_sets(text: &str) -> BTreeMap<String, Before> {
    let parse = |item: &str| {
        let (named, before) = item.split_once('=').unwrap_or((item, ""));
        let before = match before {
            UNREADY => Before::Unready,
            instance => Before::Ready(u64::from_str_radix(instance, 16).ok()),
        };
        // Only compared: a name that was cleaned would be missing for ever. It is cleaned where it is shown.
        (named.to_owned(), before)
    };
    text.split(',').filter(|item| !item.is_empty()).map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_reads_back_what_was_written() {
        let daemon_sets = BTreeMap::from([
            ("default/x".to_owned(), Before::Unready),
            ("kube-system/cni".to_owned(), Before::Ready(Some(0xfeed))),
            ("kube-system/dns".to_owned(), Before::Ready(None)),
        ]);
        let request = Some("a new kernel".to_owned());
        let at = Duration::from_millis(12_345);
        let stamp = Stamp { boot_id: "b".repeat(32), attempt: 2, at, daemon_sets, request };
        let quantities = BTreeMap::from([("cpu".to_owned(), "4".to_owned())]);
        let lease = serde_json::json!({
            "metadata": {"name": "worker-1", "labels": {"rebootd.io/pool": "worker"}, "annotations": {
                REBOOTING: format_stamp(&stamp), DAEMON_SETS: format_daemon_sets(&stamp.daemon_sets), CLAIMED_AT: format_seconds(Duration::from_millis(99)),
                REQUEST: "a new kernel", TAINTS: "dedicated:NoSchedule,x:NoExecute", ALLOCATABLE: format_quantities(&quantities), BOOT_ID: "c".repeat(32),
            }},
            "spec": {"holderIdentity": ""}
        });
        let slot: SlotView = serde_json::from_value::<Lease>(lease).unwrap().into();
        assert_eq!(slot.stamp, Some(stamp));
        assert_eq!(slot.claim.at, Some(Duration::from_millis(99)));
        assert_eq!(slot.claim.allocatable, quantities);
        assert_eq!(format_taints(&slot.claim.taints.unwrap()), "dedicated:NoSchedule,x:NoExecute");
        assert_eq!((slot.holder, slot.pool.as_deref()), (None, Some("worker")));
    }

    #[test]
    fn a_garbled_stamp_is_still_a_stamp() {
        assert_eq!(parse_stamp("rebooting soon", "").boot_id, "");
    }

    fn slot(holder: &str, annotations: serde_json::Value) -> SlotView {
        let metadata = serde_json::json!({ "name": "worker-1", "annotations": annotations });
        let lease = serde_json::json!({ "metadata": metadata, "spec": { "holderIdentity": holder } });
        serde_json::from_value::<Lease>(lease).unwrap().into()
    }

    #[test]
    fn a_holder_that_has_to_be_cleaned_is_no_nodes_name() {
        let holder = |text: &str| slot(text, serde_json::json!({})).holder;
        assert_eq!(holder("node-1").as_deref(), Some("node-1"));
        assert_eq!(holder("../x").as_deref(), Some("../x"));
        for dirty in ["node-1\n", "\x1b[1mnode-1", "\u{202e}node-1", " node-1"] {
            let holder = holder(dirty).unwrap();
            assert!(holder.starts_with('"') && !holder.contains(char::is_control), "{holder}");
        }
        assert!(holder(&"n".repeat(300)).is_some_and(|holder| holder.starts_with('"')));
        // Somebody holds it, whoever that may be.
        assert_eq!(holder("\n").as_deref(), Some("\"\""));
        assert_eq!(holder(""), None);
    }

    #[test]
    fn what_people_and_nodes_write_into_a_slot_is_made_fit_for_people() {
        let much = "x\n\x1b[2J".repeat(32 << 10);
        let annotations = serde_json::json!({
            REASON: much, STEP_BACK: much, REQUEST: much, REBOOTING: much,
            ALLOCATABLE: format!("cpu=4\n,{much}=7"), DAEMON_SETS: "default/x",
        });
        let slot = slot("node-1", annotations);
        let fit = |text: &str| !text.contains(char::is_control) && text.chars().count() <= NOTE;
        assert!(fit(&slot.claim.reason) && fit(&slot.step_back.unwrap()));
        assert!(fit(&slot.stamp.unwrap().request.unwrap()));
        assert!(slot.claim.allocatable.iter().all(|(name, quantity)| fit(name) && fit(quantity)));
        assert_eq!(slot.claim.allocatable.get("cpu").map(String::as_str), Some("4"));
    }

    #[test]
    fn a_pause_tells_why_on_one_line() {
        let lease = serde_json::json!({ "metadata": { "name": PAUSE }, "spec": { "holderIdentity": "move\nof racks " } });
        let pause: SlotView = serde_json::from_value::<Lease>(lease).unwrap().into();
        assert_eq!(pause.holder.as_deref(), Some("move of racks"));
    }

    #[test]
    fn numbers_out_of_range_are_absent_and_nothing_counted_from_a_claim_overflows() {
        for text in ["-1", "1e19", "1e999", "NaN", "inf", "1e30", "soon", ""] {
            let slot =
                slot("node-1", serde_json::json!({ CLAIMED_AT: text, REBOOTING: format!("b 1 {text}") }));
            assert_eq!(slot.claim.at, None, "{text}");
            assert_eq!(slot.stamp.unwrap().boot_id, "", "{text}");
        }
        // Fields that we do not read may contain anything.
        let lease =
            serde_json::json!({ "spec": { "leaseTransitions": -1e300, "leaseDurationSeconds": u64::MAX } });
        assert!(serde_json::from_value::<Lease>(lease).is_ok());
    }
}
