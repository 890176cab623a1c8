//! Kubernetes objects, with the fields that we read, and how they become facts.
//!
//! They are only read: a write is a merge patch that names what it changes, so that no field unknown to us is lost.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::Value;

pub(super) use crate::decide::POOL;
use crate::decide::{ADDED, Event, KEEP_FROM_AUTOSCALERS, NodeView, WAITING};
use crate::notation::plain_id;
use crate::words::{NOTE, name, words};

/// Where the slots are. Not in kube-system, because API priority and fairness treats Leases there differently.
pub(super) const NAMESPACE: &str = "rebootd";
/// Where each kubelet renews its own Lease.
pub(super) const KUBELET_LEASES: &str = "kube-node-lease";

/// Our field manager: `managedFields` shows by it whose cordon it is.
pub(super) const FIELD_MANAGER: &str = "rebootd";
/// The field manager of a person's writes.
pub(super) const PERSONS_FIELD_MANAGER: &str = "rebootctl";

pub(super) const NONCE: &str = "rebootd.io/nonce";
/// On a Node: the cordon is ours.
pub(super) const CORDON: &str = "rebootd.io/cordon";
/// The API server's name for what it no longer names one by one.
const MERGED_MANAGERS: &str = "ancient-changes";
pub(super) const MACHINE_ID: &str = "rebootd.io/machine-id";
pub(super) const NODE_UID: &str = "rebootd.io/node-uid";
pub(super) const BOOT_ID: &str = "rebootd.io/boot-id";
pub(super) const CLAIMED_AT: &str = "rebootd.io/claimed-at";
pub(super) const ALLOCATABLE: &str = "rebootd.io/allocatable";
pub(super) const TAINTS: &str = "rebootd.io/taints";
pub(super) const HEARTBEAT: &str = "rebootd.io/heartbeat";
pub(super) const REASON: &str = "rebootd.io/reason";
pub(super) const REBOOTING: &str = "rebootd.io/rebooting";
/// What the rebootd of a Node says about itself, see [`super::Heartbeat`].
pub(super) const AGENT: &str = "rebootd.io/agent";
/// A label of slots that were taken back from a holder whose Node is gone, until the next claim. The policy that asks
/// whether it is gone concerns only slots with it: it is asked once for each Node.
pub(super) const RECLAIMED: &str = "rebootd.io/reclaimed";
/// A label of our evictions: the policy that allows only pods of the own node concerns only evictions with it.
pub(super) const BY: &str = "rebootd.io/by";
/// On a slot: a person asks the holder to step back; the text says who.
pub(super) const STEP_BACK: &str = "rebootd.io/step-back";
/// Beside a stamp, and left by the release: who may claim next.
pub(super) const NEXT: &str = "rebootd.io/next";
/// Beside a claim: the zone of its Node.
pub(super) const ZONE: &str = "rebootd.io/zone";
/// Beside a claim: what the node tries before others do.
pub(super) const CANARY: &str = "rebootd.io/canary";
/// Beside a claim: for how many seconds the slot may be stamped until it is free or [`RETURNED`].
pub(super) const BACK_WITHIN: &str = "rebootd.io/back-within";
/// Beside a stamp: the node is well again.
pub(super) const RETURNED: &str = "rebootd.io/returned";
/// How many nodes of the pool waited then.
pub(super) const WAITING_NODES: &str = "rebootd.io/waiting-nodes";
/// Beside a stamp: the DaemonSets and static pods that had a pod on the node, and whether it was ready.
pub(super) const DAEMON_SETS: &str = "rebootd.io/daemonsets";

/// The fleet's policy: one ConfigMap, selected by its name.
pub(super) const POLICY: &str = "metadata.name=policy";

/// On a Node: somebody asks for a reboot; the text says why. On a slot: that text as it was at the stamp.
pub(super) const REQUEST: &str = "rebootd.io/request";
/// On a Node: a person does not want it to reboot; the text says why.
pub(super) const HOLD: &str = "rebootd.io/hold";
/// Taints of nodes that are about to be removed: by the cluster autoscaler, and by Karpenter 1 and 0.
const REMOVAL_TAINTS: [&str; 3] =
    ["ToBeDeletedByClusterAutoscaler", "karpenter.sh/disrupted", "karpenter.sh/disruption"];

/// The taint of a cordoned Node.
pub(super) const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

#[derive(Deserialize)]
pub(super) struct List<T> {
    pub(super) metadata: Meta,
    /// Go sometimes writes an empty list as `null`; but something that has no items at all is not a list.
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
    /// Of a list: what to ask for its next page with; empty after the last one.
    #[serde(rename = "continue")]
    pub(super) next: String,
}

impl Meta {
    /// When the one who set a Lease's holder last wrote to the Lease.
    pub(super) fn holder_set_at(&self) -> Option<&str> {
        let sets_holder = |it: &&ManagedFields| it.fields_v1.spec.holder_identity.is_some();
        self.managed_fields.iter().find(sets_holder)?.time.as_deref()
    }
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
    #[serde(rename = "f:metadata")]
    metadata: MetadataFields,
    #[serde(rename = "f:spec")]
    spec: SpecFields,
}

#[derive(Deserialize, Default, Debug)]
#[serde(default)]
struct MetadataFields {
    #[serde(rename = "f:annotations")]
    annotations: BTreeMap<String, serde::de::IgnoredAny>,
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
    pub(super) metadata: Meta,
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
    message: String,
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

impl Node {
    /// Whether this condition says so; `None` where there is none.
    pub(super) fn is(&self, kind: &str) -> Option<bool> {
        let condition = self.status.conditions.iter().find(|it| it.kind == kind);
        condition.map(|it| it.status == "True")
    }
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
        let deleted = node.metadata.deletion_timestamp.map(|at| format!("deleted at {}", words(&at, NOTE)));
        let cordon_is_ours = sets_unschedulable(&node.metadata.managed_fields);
        NodeView {
            unschedulable: node.spec.unschedulable,
            unschedulable_is_ours: cordon_is_ours,
            mark: node.metadata.annotations.remove(CORDON),
            pool_label: node.metadata.labels.get(POOL).cloned(),
            labels: node.metadata.labels,
            boot_id: id(&node.status.node_info.boot_id),
            machine_id: id(&node.status.node_info.machine_id),
            ready: ready.is_some_and(|condition| condition.status == "True"),
            ready_since: ready.and_then(|it| it.last_transition_time.clone()).map(name).unwrap_or_default(),
            heartbeat: ready.and_then(|it| it.last_heartbeat_time.clone()).map(name).unwrap_or_default(),
            network_unavailable: condition("NetworkUnavailable").is_some_and(|it| it.status == "True"),
            allocatable: quantities(node.status.allocatable),
            volumes: volumes.len(),
            hold: note(&mut node.metadata.annotations, HOLD),
            request: note(&mut node.metadata.annotations, REQUEST),
            annotations: keeping,
            added,
            waiting_taint: !our_taints.is_empty(),
            repelling_taints: taints.iter().filter_map(repelling).collect(),
            not_ready_because: ready.map(not_ready_because).unwrap_or_default(),
            taints: taints.iter().map(Value::to_string).collect(),
            removal: deleted.or(taint),
            uid: node.metadata.uid,
            resource_version: node.metadata.resource_version,
        }
    }
}

/// Whether `spec.unschedulable` was set by us. The API server names ten managers of updates; what the others had set it
/// merges under a name of its own (`CapManagersManager` in apimachinery's managedfields). If our mark went there, so did
/// the cordon that was written with it.
fn sets_unschedulable(managed: &[ManagedFields]) -> bool {
    managed.iter().any(|managed| {
        let fields = &managed.fields_v1;
        let marks = fields.metadata.annotations.contains_key(&format!("f:{CORDON}"));
        let ours = managed.manager == FIELD_MANAGER || managed.manager == MERGED_MANAGERS && marks;
        ours && fields.spec.unschedulable.is_some()
    })
}

/// A taint that keeps pods away, as `key:effect`. That of a cordon is left out: it comes and goes with every turn.
fn repelling(taint: &Value) -> Option<String> {
    let field = |name: &str| taint.get(name).and_then(Value::as_str);
    let (key, effect) = (field("key")?, field("effect")?);
    let repels = key != UNSCHEDULABLE && (effect == "NoSchedule" || effect == "NoExecute");
    repels.then(|| words(&format!("{key}:{effect}"), NOTE))
}

/// What the condition says about itself if it is not `True`.
fn not_ready_because(condition: &Condition) -> String {
    if condition.status == "True" { String::new() } else { words(&condition.message, NOTE) }
}

/// What somebody wrote into an annotation for people to read. Two that read the same are equal.
pub(super) fn note(annotations: &mut BTreeMap<String, String>, name: &str) -> Option<String> {
    annotations.remove(name).map(|text| words(&text, NOTE))
}

/// An id as systemd writes it. If the text cannot be an id, the result is no host's id, but not empty either: empty
/// would mean that there is none.
fn id(text: &str) -> String {
    let id = plain_id(text);
    let can_be_one = id.len() <= 64 && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if can_be_one { id } else { "?".to_owned() }
}

/// Resources and their quantities, as somebody wrote them.
pub(super) fn quantities(written: impl IntoIterator<Item = (String, String)>) -> BTreeMap<String, String> {
    written.into_iter().map(|(name, quantity)| (words(&name, NOTE), words(&quantity, NOTE))).collect()
}

/// What people have written on the own Node, as a watch reports it; nothing if the Node is gone.
pub(super) fn annotations(mut event: WatchEvent<Something>) -> Event {
    let mut take = |name: &str| note(&mut event.object.metadata.annotations, name);
    let (hold, request) = (take(HOLD), take(REQUEST));
    let gone = event.kind == "DELETED";
    let uid = if gone { String::new() } else { event.object.metadata.uid };
    Event::Annotations { uid, hold, request, labels: event.object.metadata.labels }
}

/// The part of a ConfigMap that the fleet's policy uses.
#[derive(Deserialize)]
pub(super) struct ConfigMap {
    #[serde(default)]
    pub(super) metadata: Meta,
    #[serde(default)]
    pub(super) data: BTreeMap<String, String>,
}

/// A watch event for any kind of object.
#[derive(Deserialize)]
pub(super) struct WatchEvent<T> {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) object: T,
}

/// The part of an object that a watch needs if its event only says "look".
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
            |text| serde_json::from_str::<List<ConfigMap>>(text).map(|list| list.items.map(|it| it.len()));
        assert_eq!(items(r#"{"metadata":{"resourceVersion":"1"},"items":[]}"#).unwrap(), Some(0));
        assert_eq!(items(r#"{"metadata":{"resourceVersion":"1"},"items":null}"#).unwrap(), None);
        for strange in ["{}", r#"{"metadata":{}}"#, r#"{"items":[]}"#] {
            assert!(items(strange).is_err(), "{strange}");
        }
    }

    #[test]
    fn what_others_write_on_a_node_is_made_fit_for_people() {
        let much = "\u{202e}a\r\n\u{1b}]0;x\u{7}".repeat(32 << 10);
        let read = node(serde_json::json!({
            "metadata": {"annotations": {HOLD: much, REQUEST: "\n"}, "deletionTimestamp": much},
            "status": {"allocatable": {much.clone(): much}},
        }));
        let fit = |text: &str| !text.contains(char::is_control) && text.chars().count() < 2 * NOTE;
        assert!(fit(&read.hold.unwrap()) && fit(&read.removal.unwrap()));
        assert!(read.allocatable.iter().all(|(name, quantity)| fit(name) && fit(quantity)));
        // Empty, but present: it holds, or asks, all the same.
        assert_eq!(read.request.as_deref(), Some(""));
    }

    #[test]
    fn an_id_that_cannot_be_one_is_another_hosts_and_not_absent() {
        let info = |id: &str| {
            let read = node(serde_json::json!({"status": {"nodeInfo": {"bootID": id, "machineID": id}}}));
            assert_eq!(read.boot_id, read.machine_id);
            read.machine_id
        };
        assert_eq!(info("F1B2-c3"), "f1b2c3");
        assert_eq!(info(""), "");
        for odd in ["f1b2c3\u{7}", "\u{200b}f1b2c3", "\u{1b}[1m", &"f".repeat(65)] {
            assert_eq!(info(odd), "?", "{odd:?}");
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
}
