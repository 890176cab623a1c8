//! Kubernetes objects, as far as we read them, and how they become facts.
//!
//! They are read only: a write is a merge patch that names what it changes, so that no field unknown to us is lost.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use crate::decide::{
    ADDED, Claim, Event, KEEP_FROM_AUTOSCALERS, KubeletLease, NodeView, SlotView, Stamp, WAITING,
};
use crate::host::identity::plain_id;

/// Where the slots are. Not kube-system: API priority and fairness treats Leases there in another way.
pub(super) const NAMESPACE: &str = "rebootd";
/// Where each kubelet renews its own Lease.
pub(super) const KUBELET_LEASES: &str = "kube-node-lease";

/// Our field manager: `managedFields` tells by it whose cordon it is.
pub(super) const FIELD_MANAGER: &str = "rebootd";
/// The field manager of a person's writes.
pub(super) const PERSONS_FIELD_MANAGER: &str = "rebootctl";

pub(super) const POOL: &str = "rebootd.io/pool";
pub(super) const NONCE: &str = "rebootd.io/nonce";
/// On a Node: the cordon is ours.
pub(super) const CORDON: &str = "rebootd.io/cordon";
pub(super) const MACHINE_ID: &str = "rebootd.io/machine-id";
pub(super) const NODE_UID: &str = "rebootd.io/node-uid";
pub(super) const BOOT_ID: &str = "rebootd.io/boot-id";
pub(super) const CLAIMED_AT: &str = "rebootd.io/claimed-at";
pub(super) const ALLOCATABLE: &str = "rebootd.io/allocatable";
pub(super) const HEARTBEAT: &str = "rebootd.io/heartbeat";
pub(super) const REASON: &str = "rebootd.io/reason";
pub(super) const REBOOTING: &str = "rebootd.io/rebooting";
/// On a slot: a person asks the holder to step back; the text says who.
pub(super) const STEP_BACK: &str = "rebootd.io/step-back";
/// Beside a stamp: the DaemonSets that were not ready then.
pub(super) const UNREADY: &str = "rebootd.io/unready-daemonsets";

/// Where the fleet's policy is: one ConfigMap.
pub(super) const POLICY_MAPS: &str = "/api/v1/namespaces/rebootd/configmaps";
pub(super) const POLICY_SELECTOR: &str = "metadata.name%3Dpolicy";

/// On a Node: somebody asks for a reboot; the text says why. On a slot: what that text was at the stamp.
pub(super) const REQUEST: &str = "rebootd.io/request";
/// On a Node: a person wants it not to reboot; the text says why.
const HOLD: &str = "rebootd.io/hold";
/// Taints of nodes that are about to be removed: the cluster autoscaler's, and Karpenter's of versions 1 and 0.
const REMOVAL_TAINTS: [&str; 3] =
    ["ToBeDeletedByClusterAutoscaler", "karpenter.sh/disrupted", "karpenter.sh/disruption"];

/// On the Nodes of a control plane, by kubeadm and everybody after it.
pub(super) const CONTROL_PLANE: &str = "node-role.kubernetes.io/control-plane";

#[derive(Deserialize)]
pub(super) struct List<T> {
    pub(super) metadata: Meta,
    /// Go writes an empty list as `null` at times; but what has no items at all is no list.
    #[serde(deserialize_with = "Option::deserialize", bound(deserialize = "T: Deserialize<'de>"))]
    pub(super) items: Option<Vec<T>>,
}

#[derive(Deserialize, Default, Debug)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Meta {
    pub(super) name: String,
    pub(super) namespace: String,
    pub(super) uid: String,
    pub(super) resource_version: String,
    pub(super) annotations: BTreeMap<String, String>,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) deletion_timestamp: Option<String>,
    pub(super) owner_references: Vec<OwnerReference>,
    pub(super) managed_fields: Vec<ManagedFields>,
}

#[derive(Deserialize, Default, Debug)]
#[serde(default)]
pub(super) struct OwnerReference {
    pub(super) kind: String,
    pub(super) name: String,
    pub(super) uid: String,
    pub(super) controller: bool,
}

#[derive(Deserialize, Default, Debug)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ManagedFields {
    manager: String,
    time: Option<String>,
    fields_v1: FieldsV1,
}

#[derive(Deserialize, Default, Debug)]
#[serde(default)]
struct FieldsV1 {
    #[serde(rename = "f:spec")]
    spec: SpecFields,
}

#[derive(Deserialize, Default, Debug)]
#[serde(default)]
struct SpecFields {
    #[serde(rename = "f:unschedulable")]
    unschedulable: Option<serde::de::IgnoredAny>,
    #[serde(rename = "f:holderIdentity")]
    holder_identity: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Node {
    metadata: Meta,
    spec: NodeSpec,
    status: NodeStatus,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct NodeSpec {
    unschedulable: bool,
    taints: Option<Vec<Value>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct NodeStatus {
    allocatable: BTreeMap<String, String>,
    conditions: Vec<Condition>,
    node_info: NodeInfo,
    volumes_in_use: Option<Vec<String>>,
    volumes_attached: Option<Vec<Named>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Named {
    name: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Condition {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) status: String,
    last_heartbeat_time: Option<String>,
    last_transition_time: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct NodeInfo {
    #[serde(rename = "bootID")]
    boot_id: String,
    #[serde(rename = "machineID")]
    machine_id: String,
}

impl From<Node> for NodeView {
    fn from(mut node: Node) -> NodeView {
        let conditions = &node.status.conditions;
        let condition = |kind: &str| conditions.iter().find(|condition| condition.kind == kind);
        let ready = condition("Ready");
        let attached = node.status.volumes_attached.into_iter().flatten().map(|volume| volume.name);
        let volumes: BTreeSet<String> =
            node.status.volumes_in_use.into_iter().flatten().chain(attached).collect();
        let key = |taint: &Value| taint.get("key").and_then(Value::as_str).unwrap_or_default().to_owned();
        let (our_taints, taints): (Vec<Value>, Vec<Value>) =
            node.spec.taints.into_iter().flatten().partition(|taint| key(taint) == WAITING);
        let taint = taints.iter().map(key).find(|key| REMOVAL_TAINTS.contains(&key.as_str()));
        let taint = taint.map(|key| format!("taint {key}"));
        let annotations = &node.metadata.annotations;
        let keeping = KEEP_FROM_AUTOSCALERS.into_iter().filter(|name| annotations.contains_key(*name));
        let keeping = keeping.map(str::to_owned).collect();
        let added = annotations.get(ADDED).map(String::as_str).unwrap_or_default();
        let added = added.split_whitespace().map(str::to_owned).collect();
        let deleted = node.metadata.deletion_timestamp.map(|at| format!("deleted at {at}"));
        let ours = |managed: &ManagedFields| {
            managed.manager == FIELD_MANAGER && managed.fields_v1.spec.unschedulable.is_some()
        };
        NodeView {
            unschedulable: node.spec.unschedulable,
            unschedulable_is_ours: node.metadata.managed_fields.iter().any(ours),
            mark: node.metadata.annotations.remove(CORDON),
            pool_label: node.metadata.labels.get(POOL).cloned(),
            control_plane: node.metadata.labels.contains_key(CONTROL_PLANE),
            labels: node.metadata.labels,
            boot_id: plain_id(&node.status.node_info.boot_id),
            machine_id: plain_id(&node.status.node_info.machine_id),
            ready: ready.is_some_and(|condition| condition.status == "True"),
            ready_since: ready.and_then(|it| it.last_transition_time.clone()).unwrap_or_default(),
            heartbeat: ready.and_then(|it| it.last_heartbeat_time.clone()).unwrap_or_default(),
            network_unavailable: condition("NetworkUnavailable").is_some_and(|it| it.status == "True"),
            allocatable: node.status.allocatable,
            volumes: volumes.len(),
            hold: node.metadata.annotations.remove(HOLD),
            request: node.metadata.annotations.remove(REQUEST),
            annotations: keeping,
            added,
            waiting_taint: !our_taints.is_empty(),
            taints: taints.iter().map(Value::to_string).collect(),
            removal: deleted.or(taint),
            uid: node.metadata.uid,
            resource_version: node.metadata.resource_version,
        }
    }
}

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
}

impl Lease {
    /// When whoever put the holder there last wrote: its claim, or its stamp.
    pub(super) fn held_since(&self) -> Option<String> {
        let sets_holder = |it: &&ManagedFields| it.fields_v1.spec.holder_identity.is_some();
        self.metadata.managed_fields.iter().find(sets_holder)?.time.clone()
    }
}

impl From<Lease> for KubeletLease {
    fn from(lease: Lease) -> KubeletLease {
        KubeletLease {
            uid: lease.metadata.uid,
            resource_version: lease.metadata.resource_version,
            renewed: lease.spec.renew_time.unwrap_or_default(),
        }
    }
}

impl From<Lease> for SlotView {
    fn from(mut lease: Lease) -> SlotView {
        let mut take = |name: &str| lease.metadata.annotations.remove(name);
        let claim = Claim {
            machine_id: take(MACHINE_ID),
            node_uid: take(NODE_UID),
            boot_id: take(BOOT_ID),
            at: take(CLAIMED_AT).and_then(|text| seconds(&text)),
            allocatable: take(ALLOCATABLE).map(|text| parse_quantities(&text)).unwrap_or_default(),
            heartbeat: take(HEARTBEAT).unwrap_or_default(),
            reason: take(REASON).unwrap_or_default(),
        };
        SlotView {
            stamp: take(REBOOTING).map(|text| {
                let unready = take(UNREADY).unwrap_or_default();
                Stamp { request: take(REQUEST), ..parse_stamp(&text, &unready) }
            }),
            step_back: take(STEP_BACK),
            claim,
            pool: lease.metadata.labels.remove(POOL),
            holder: lease.spec.holder_identity.filter(|holder| !holder.is_empty()),
            name: lease.metadata.name,
            uid: lease.metadata.uid,
            resource_version: lease.metadata.resource_version,
        }
    }
}

/// A time since boot, as an annotation holds it.
pub(super) fn format_seconds(time: Duration) -> String {
    format!("{}.{:03}", time.as_secs(), time.subsec_millis())
}

fn seconds(text: &str) -> Option<Duration> {
    Duration::try_from_secs_f64(text.parse().ok()?).ok()
}

pub(super) fn format_quantities(quantities: &BTreeMap<String, String>) -> String {
    quantities.iter().map(|(name, quantity)| format!("{name}={quantity}")).collect::<Vec<_>>().join(",")
}

fn parse_quantities(text: &str) -> BTreeMap<String, String> {
    let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, quantity)| (name.to_owned(), quantity.to_owned())).collect()
}

/// `<boot id> <try> <time since boot>`
pub(super) fn format_stamp(stamp: &Stamp) -> String {
    format!("{} {} {}", stamp.boot_id, stamp.attempt, format_seconds(stamp.at))
}

/// A stamp changed by hand is still a stamp: one of no known boot, so that nobody takes the slot for unstamped.
fn parse_stamp(text: &str, unready: &str) -> Stamp {
    let mut words = text.split(' ');
    let parsed = (|| {
        let boot_id = words.next()?.to_owned();
        let (attempt, at) = (words.next()?.parse().ok()?, seconds(words.next()?)?);
        let unready = unready.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
        Some(Stamp { boot_id, attempt, at, unready, request: None })
    })();
    parsed.unwrap_or(Stamp {
        boot_id: String::new(),
        attempt: 0,
        at: Duration::ZERO,
        unready: BTreeSet::new(),
        request: None,
    })
}

pub(super) fn format_unready(unready: &BTreeSet<String>) -> String {
    unready.iter().map(String::as_str).collect::<Vec<_>>().join(",")
}

/// What people write on the own Node, as a watch tells of it; without a word where the Node is gone.
pub(super) fn annotations(mut event: WatchEvent<Something>) -> Event {
    let mut take = |name: &str| event.object.metadata.annotations.remove(name);
    let (hold, request) = (take(HOLD), take(REQUEST));
    let gone = event.kind == "DELETED";
    let uid = if gone { String::new() } else { event.object.metadata.uid };
    Event::Annotations { uid, hold, request, labels: event.object.metadata.labels }
}

/// As much of a ConfigMap as the fleet's policy has.
#[derive(Deserialize)]
pub(super) struct ConfigMap {
    #[serde(default)]
    pub(super) data: BTreeMap<String, String>,
}

/// A watch event of any kind of object.
#[derive(Deserialize)]
pub(super) struct WatchEvent<T> {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) object: T,
}

/// The part of an object that a watch needs where its event only says "look".
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Something {
    pub(super) metadata: Meta,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(json: serde_json::Value) -> NodeView {
        serde_json::from_value::<Node>(json).unwrap().into()
    }

    #[test]
    fn what_has_no_items_is_no_list() {
        let items =
            |text| serde_json::from_str::<List<Lease>>(text).map(|list| list.items.map(|it| it.len()));
        assert_eq!(items(r#"{"metadata":{"resourceVersion":"1"},"items":[]}"#).unwrap(), Some(0));
        assert_eq!(items(r#"{"metadata":{"resourceVersion":"1"},"items":null}"#).unwrap(), None);
        for strange in ["{}", r#"{"metadata":{}}"#, r#"{"items":[]}"#] {
            assert!(items(strange).is_err(), "{strange}");
        }
    }

    #[test]
    fn a_cordon_is_ours_only_where_managed_fields_say_so() {
        let managed = |manager: &str| {
            serde_json::json!({
                "metadata": {
                    "annotations": {"rebootd.io/cordon": "x"},
                    "managedFields": [
                        {"manager": "kubelet", "fieldsV1": {"f:status": {}}},
                        {"manager": manager, "fieldsV1": {"f:spec": {"f:unschedulable": {}}}}
                    ]
                },
                "spec": {"unschedulable": true}
            })
        };
        assert!(node(managed("rebootd")).unschedulable_is_ours);
        assert!(!node(managed("kubectl")).unschedulable_is_ours);
    }

    #[test]
    fn a_slot_reads_back_what_was_written() {
        let unready = BTreeSet::from(["default/x".to_owned(), "kube-system/cni".to_owned()]);
        let request = Some("a new kernel".to_owned());
        let at = Duration::from_millis(12_345);
        let stamp = Stamp { boot_id: "b".repeat(32), attempt: 2, at, unready, request };
        let quantities = BTreeMap::from([("cpu".to_owned(), "4".to_owned())]);
        let lease = serde_json::json!({
            "metadata": {"name": "worker-1", "labels": {"rebootd.io/pool": "worker"}, "annotations": {
                REBOOTING: format_stamp(&stamp), UNREADY: format_unready(&stamp.unready), CLAIMED_AT: format_seconds(Duration::from_millis(99)),
                REQUEST: "a new kernel", ALLOCATABLE: format_quantities(&quantities), BOOT_ID: "c".repeat(32),
            }},
            "spec": {"holderIdentity": ""}
        });
        let slot: SlotView = serde_json::from_value::<Lease>(lease).unwrap().into();
        assert_eq!(slot.stamp, Some(stamp));
        assert_eq!(slot.claim.at, Some(Duration::from_millis(99)));
        assert_eq!(slot.claim.allocatable, quantities);
        assert_eq!((slot.holder, slot.pool.as_deref()), (None, Some("worker")));
    }

    #[test]
    fn a_garbled_stamp_is_still_a_stamp() {
        assert_eq!(parse_stamp("rebooting soon", "").boot_id, "");
    }
}
