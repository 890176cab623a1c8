//! What is true now, in small types; each keeps the whole object beside them.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

/// The kinds that are followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Kind {
    Node,
    Lease,
    Pod,
}

const CORDON: &str = "/metadata/annotations/rebootd.io~1cordon";
const WAITING: &str = "/metadata/labels/rebootd.io~1waiting";
const POOL: &str = "/metadata/labels/rebootd.io~1pool";

fn text(object: &Value, pointer: &str) -> Option<String> {
    object.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
}

fn condition(object: &Value, name: &str) -> bool {
    object.pointer("/status/conditions").and_then(Value::as_array).into_iter().flatten().any(|condition| {
        condition.get("type").and_then(Value::as_str) == Some(name)
            && condition.get("status").and_then(Value::as_str) == Some("True")
    })
}

/// A Node.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeState {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// The label `rebootd.io/pool`.
    pub pool: Option<String>,
    /// `spec.unschedulable`.
    pub unschedulable: bool,
    /// Whether the annotation `rebootd.io/cordon` is there.
    pub cordon_mark: bool,
    /// Whether the label `rebootd.io/waiting` is there.
    pub waiting: bool,
    /// Condition Ready is True.
    pub ready: bool,
    /// Condition RebootRequired is True.
    pub reboot_required: bool,
    /// `status.nodeInfo.bootID`.
    pub boot_id: Option<String>,
    /// `status.nodeInfo.machineID`.
    pub machine_id: Option<String>,
    /// The whole object.
    pub raw: Arc<Value>,
}

impl NodeState {
    /// Our cordon stands: mark and unschedulable, and not put there by somebody else. A person who uncordons and
    /// cordons again leaves our mark beside a cordon of his own.
    pub fn cordoned_by_us(&self) -> bool {
        self.cordon_mark
            && self.unschedulable
            && self.unschedulable_by().is_none_or(|manager| manager == "rebootd")
    }

    /// The field manager of `spec.unschedulable`, where the object tells.
    fn unschedulable_by(&self) -> Option<&str> {
        let managers = self.raw.pointer("/metadata/managedFields")?.as_array()?;
        let owner =
            managers.iter().find(|entry| entry.pointer("/fieldsV1/f:spec/f:unschedulable").is_some())?;
        owner.get("manager")?.as_str()
    }

    /// An annotation's value.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.raw.get("metadata")?.get("annotations")?.get(key)?.as_str()
    }

    /// A label's value.
    pub fn label(&self, key: &str) -> Option<&str> {
        self.raw.get("metadata")?.get("labels")?.get(key)?.as_str()
    }
}

/// A slot, or another Lease in its namespace.
#[derive(Clone, Debug, PartialEq)]
pub struct LeaseState {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// The label `rebootd.io/pool`.
    pub pool: Option<String>,
    /// `spec.holderIdentity`; an empty one is none.
    pub holder: Option<String>,
    /// The whole object.
    pub raw: Arc<Value>,
}

impl LeaseState {
    /// An annotation's value.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.raw.get("metadata")?.get("annotations")?.get(key)?.as_str()
    }
}

/// A Pod.
#[derive(Clone, Debug, PartialEq)]
pub struct PodState {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// The node that it is bound to.
    pub node: Option<String>,
    /// Kind of its controlling owner.
    pub owner_kind: Option<String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// `status.phase`.
    pub phase: String,
    /// Condition Ready is True.
    pub ready: bool,
    /// Deletion was asked for.
    pub terminating: bool,
    /// The whole object.
    pub raw: Arc<Value>,
}

impl NodeState {
    pub(super) fn read(raw: Arc<Value>) -> Option<NodeState> {
        Some(NodeState {
            name: text(&raw, "/metadata/name")?,
            uid: text(&raw, "/metadata/uid").unwrap_or_default(),
            pool: text(&raw, POOL),
            unschedulable: raw.pointer("/spec/unschedulable").and_then(Value::as_bool).unwrap_or_default(),
            cordon_mark: raw.pointer(CORDON).is_some(),
            waiting: raw.pointer(WAITING).is_some(),
            ready: condition(&raw, "Ready"),
            reboot_required: condition(&raw, "RebootRequired"),
            boot_id: text(&raw, "/status/nodeInfo/bootID"),
            machine_id: text(&raw, "/status/nodeInfo/machineID"),
            raw,
        })
    }
}

impl LeaseState {
    pub(super) fn read(raw: Arc<Value>) -> Option<LeaseState> {
        Some(LeaseState {
            name: text(&raw, "/metadata/name")?,
            uid: text(&raw, "/metadata/uid").unwrap_or_default(),
            pool: text(&raw, POOL),
            holder: text(&raw, "/spec/holderIdentity"),
            raw,
        })
    }
}

impl PodState {
    pub(super) fn read(raw: Arc<Value>) -> Option<PodState> {
        let owners = raw.pointer("/metadata/ownerReferences").and_then(Value::as_array);
        let owner_kind = owners.into_iter().flatten().find_map(|owner| {
            let controls = owner.get("controller").and_then(Value::as_bool).unwrap_or_default();
            controls.then(|| owner.get("kind").and_then(Value::as_str).map(str::to_owned)).flatten()
        });
        let labels = raw.pointer("/metadata/labels").and_then(Value::as_object).into_iter().flatten();
        Some(PodState {
            namespace: text(&raw, "/metadata/namespace").unwrap_or_default(),
            name: text(&raw, "/metadata/name")?,
            uid: text(&raw, "/metadata/uid").unwrap_or_default(),
            node: text(&raw, "/spec/nodeName"),
            owner_kind,
            labels: labels
                .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
                .collect(),
            phase: text(&raw, "/status/phase").unwrap_or_default(),
            ready: condition(&raw, "Ready"),
            terminating: text(&raw, "/metadata/deletionTimestamp").is_some(),
            raw,
        })
    }

    pub(super) fn key(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
}

/// Everything that is followed, as it is now.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// Nodes by name.
    pub nodes: BTreeMap<String, Arc<NodeState>>,
    /// Leases by name.
    pub leases: BTreeMap<String, Arc<LeaseState>>,
    /// Pods by `namespace/name`.
    pub pods: BTreeMap<String, Arc<PodState>>,
    /// Hosts that the test told to be down.
    pub hosts_down: BTreeSet<String>,
}

impl State {
    /// A node by name.
    pub fn node(&self, name: &str) -> Option<&NodeState> {
        self.nodes.get(name).map(Arc::as_ref)
    }

    /// Who holds this Lease.
    pub fn holder(&self, lease: &str) -> Option<&str> {
        self.leases.get(lease)?.holder.as_deref()
    }

    /// The pods bound to a node.
    pub fn pods_on<'state>(&'state self, node: &'state str) -> impl Iterator<Item = &'state PodState> {
        self.pods.values().map(Arc::as_ref).filter(move |pod| pod.node.as_deref() == Some(node))
    }

    /// Whether a node is disrupted: our cordon stands, or its host is down.
    pub fn disrupted(&self, node: &str) -> bool {
        self.hosts_down.contains(node) || self.node(node).is_some_and(NodeState::cordoned_by_us)
    }
}

/// A few lines for the message of a test that failed.
impl fmt::Display for State {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for node in self.nodes.values() {
            let words = [
                (node.ready, "ready"),
                (!node.ready, "NOT ready"),
                (node.cordoned_by_us(), "our cordon"),
                (node.unschedulable && !node.cordon_mark, "cordoned by another"),
                (node.cordon_mark && !node.unschedulable, "cordon mark alone"),
                (node.waiting, "waiting"),
                (node.reboot_required, "reboot required"),
                (self.hosts_down.contains(&node.name), "host down"),
            ];
            let words: Vec<&str> = words.iter().filter(|(holds, _)| *holds).map(|(_, word)| *word).collect();
            let pods = self.pods_on(&node.name).count();
            writeln!(formatter, "  node {}: {}, {pods} pods", node.name, words.join(", "))?;
        }
        for lease in self.leases.values() {
            let holder = lease.holder.as_deref().unwrap_or("free");
            writeln!(
                formatter,
                "  lease {} ({}): {holder}",
                lease.name,
                lease.pool.as_deref().unwrap_or("no pool")
            )?;
        }
        write!(
            formatter,
            "  {} pods, {} of them ready",
            self.pods.len(),
            self.pods.values().filter(|pod| pod.ready).count()
        )
    }
}
