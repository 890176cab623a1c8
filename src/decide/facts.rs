//! The facts that the core judges, as plain data: what the adapters read.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::notation::Selector;

/// The time of an event, as read by the edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Now {
    /// Time since this boot (`CLOCK_BOOTTIME`): all deadlines are counted in it.
    pub boot: Duration,
    /// Wall time since 1970, UTC. Only ever compared with this host's own earlier wall time.
    pub wall: Duration,
}

/// What is known about one thing, and whether the latest attempt to read it succeeded.
///
/// A failed attempt keeps the last known fact, but [`Reading::current`] no longer returns it. An effect rests on
/// `current`; a report may show `last`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Reading<T> {
    last: Option<T>,
    failure: Option<String>,
}

impl<T> Default for Reading<T> {
    fn default() -> Self {
        Reading { last: None, failure: None }
    }
}

impl<T> Reading<T> {
    /// Takes in the result of an attempt to read.
    pub fn take(&mut self, result: Result<T, String>) {
        match result {
            Ok(fact) => *self = Reading { last: Some(fact), failure: None },
            Err(failure) => self.failure = Some(failure),
        }
    }

    /// The fact, if the latest attempt succeeded.
    pub fn current(&self) -> Option<&T> {
        self.last.as_ref().filter(|_| self.failure.is_none())
    }

    /// The fact as last known, no matter how the latest attempt ended.
    pub fn last(&self) -> Option<&T> {
        self.last.as_ref()
    }

    /// Whether no attempt has ended yet.
    pub(super) fn is_unread(&self) -> bool {
        self.last.is_none() && self.failure.is_none()
    }

    /// The same reading of something that follows from the fact.
    pub(super) fn map<U>(&self, follows: impl FnOnce(&T) -> U) -> Reading<U> {
        Reading { last: self.last.as_ref().map(follows), failure: self.failure.clone() }
    }

    /// Changes the last known fact, if there is one, by what a watch has reported.
    pub(super) fn change(&mut self, change: impl FnOnce(&mut T)) {
        if let Some(fact) = &mut self.last {
            change(fact);
        }
    }

    /// Why the latest attempt failed.
    pub fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }
}

/// Why this host should reboot.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Request {
    /// One line for people, such as `/run/reboot-required`.
    pub reason: String,
    /// The packages that ask for it, if they are named; sorted, without duplicates.
    pub packages: Vec<String>,
    /// When the request was made: wall time since 1970.
    pub since: Option<Duration>,
}

/// The kernels of this host.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Kernel {
    /// The running release, such as `6.1.0-44-amd64`.
    pub running: String,
    /// The newest installed release of its flavour, if it is newer.
    pub newer: Option<NewerKernel>,
    /// What keeps the kernel that will start from starting, if something does.
    pub cannot_start: Option<String>,
}

/// An installed kernel that is not running yet.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct NewerKernel {
    /// Its release.
    pub release: String,
    /// When it was installed: wall time since 1970.
    pub since: Option<Duration>,
}

/// An inhibitor on shutdown, as logind lists it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Inhibitor {
    /// Who holds it, in their own words.
    pub who: String,
    /// Why, in their own words.
    pub why: String,
    /// It only delays the shutdown; otherwise it blocks the shutdown.
    pub delays: bool,
}

/// A shutdown that somebody has scheduled with logind.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ScheduledShutdown {
    /// `reboot`, `poweroff` and the like.
    pub kind: String,
    /// When: wall time since 1970.
    pub at: Duration,
}

/// What the core needs to know about this host's Node object.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct NodeView {
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.resourceVersion`, opaque.
    pub resource_version: String,
    /// `spec.unschedulable`.
    pub unschedulable: bool,
    /// Whether `metadata.managedFields` says that we set `spec.unschedulable`.
    pub unschedulable_is_ours: bool,
    /// Our cordon mark, if it is there.
    pub mark: Option<String>,
    /// The pool in the Node's label.
    pub pool_label: Option<String>,
    /// `status.nodeInfo.bootID` without dashes; empty if the kubelet reports none.
    pub boot_id: String,
    /// `status.nodeInfo.machineID` without dashes; empty if the kubelet reports none.
    pub machine_id: String,
    /// Condition `Ready` is `True`.
    pub ready: bool,
    /// `lastTransitionTime` of that condition: only ever compared for equality.
    pub ready_since: String,
    /// `lastHeartbeatTime` of that condition: only ever compared for equality.
    pub heartbeat: String,
    /// Condition `NetworkUnavailable` is `True`.
    pub network_unavailable: bool,
    /// `status.allocatable`: resource → quantity, as written.
    pub allocatable: BTreeMap<String, String>,
    /// How many volumes are attached to the node, or in use on it.
    pub volumes: usize,
    /// A person's annotation that keeps this node from rebooting, with its text.
    pub hold: Option<String>,
    /// A person's or a provider's annotation that asks for a reboot, with its text.
    pub request: Option<String>,
    /// Its labels, by which the fleet's policy may select it.
    pub labels: BTreeMap<String, String>,
    /// Which of [`super::KEEP_FROM_AUTOSCALERS`] it has.
    pub annotations: BTreeSet<String>,
    /// The labels and annotations that we have put there, as listed in [`super::ADDED`].
    pub added: BTreeSet<String>,
    /// It has our taint, [`super::WAITING`].
    pub waiting_taint: bool,
    /// Its other taints, each as the JSON that was read, opaque.
    pub taints: Vec<String>,
    /// Those of them that keep pods away (`NoSchedule`, `NoExecute`), without that of a cordon, as `key:effect`.
    pub repelling_taints: BTreeSet<String>,
    /// What condition `Ready` says if it is not `True`.
    pub not_ready_because: String,
    /// What says that the node is about to be removed from the cluster, if anything does.
    pub removal: Option<String>,
}

impl NodeView {
    /// The zone that its label names; empty if it has none: all such nodes are in one zone.
    pub fn zone(&self) -> &str {
        self.labels.get(ZONE).map_or("", String::as_str)
    }
}

/// The label of a Node's zone: one of Kubernetes' well-known ones.
pub const ZONE: &str = "topology.kubernetes.io/zone";

/// While a Lease of this name exists beside the slots, the fleet is paused. A Lease, because every version of rebootd
/// reads those anyway and sees this one at the same moment as the slots. Its holder is the text for people.
pub const PAUSE: &str = "pause";

/// One slot: a Lease of the namespace `rebootd`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct SlotView {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.resourceVersion`, opaque.
    pub resource_version: String,
    /// The pool in its label; a Lease without one belongs to no pool.
    pub pool: Option<String>,
    /// The node that holds it.
    pub holder: Option<String>,
    /// What the holder recorded when it claimed.
    pub claim: Claim,
    /// The stamp of a reboot that was asked for.
    pub stamp: Option<Stamp>,
    /// Who asks the holder to step back before it reboots, if anybody does.
    pub step_back: Option<String>,
    /// Who may claim first once it is free.
    pub next: Successors,
    /// The holder has rebooted and is well again, and keeps the slot for what comes after that.
    pub returned: bool,
    /// When the holder last wrote to it, by the API server's clock: wall time since 1970.
    pub written: Option<Duration>,
}

/// Who may claim a slot first once it is free, as its holder saw it before its reboot. A wrong or stale name costs the others
/// seconds, and nothing rests on one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Successors {
    /// The nodes, in their order.
    pub names: Vec<String>,
    /// How many nodes of the pool were waiting.
    pub waiting: u32,
}

/// The other nodes of the pool that say that they wait.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Waiters {
    /// Those that have waited longest, by what they say themselves, the longest first; not all, if they are many.
    pub first: Vec<String>,
    /// How many there are.
    pub count: u32,
}

/// How many Nodes of the pool say that they have tried something well.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Proven {
    /// What, see [`super::news`].
    pub what: String,
    /// No more than were asked for.
    pub nodes: usize,
}

/// What a claim records in the slot. Each claim overwrites every field.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Claim {
    /// The machine that claimed; `None` if absent or garbled.
    pub machine_id: Option<String>,
    /// The uid of its Node.
    pub node_uid: Option<String>,
    /// The boot in which it claimed; `None` if absent or garbled.
    pub boot_id: Option<String>,
    /// When, in time since that boot. Deadlines count from here.
    pub at: Option<Duration>,
    /// The Node's allocatable resources, without those that may change slightly from boot to boot.
    pub allocatable: BTreeMap<String, String>,
    /// The taints that kept pods away at that time, see [`NodeView::repelling_taints`]; `None` if not recorded.
    pub taints: Option<BTreeSet<String>>,
    /// The kubelet's heartbeat at that time.
    pub heartbeat: String,
    /// The request's reason.
    pub reason: String,
    /// The zone of the Node, see [`NodeView::zone`]; `None` if not recorded.
    pub zone: Option<String>,
    /// What this node tries before others do, see [`super::news`]; `None` if it is no canary.
    pub canary: Option<String>,
    /// For how long the slot may be stamped until it is free, or the node well; `None` if not recorded.
    pub back_within: Option<Duration>,
}

/// Written into the slot right before the reboot is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Stamp {
    /// The boot in which the reboot was asked for.
    pub boot_id: String,
    /// The number of the try within this claim: 1, 2, …
    pub attempt: u32,
    /// When, in time since that boot.
    pub at: Duration,
    /// The DaemonSets that had a pod on this node at that time, and the static pods, as `namespace/name`; no more than fit into an
    /// annotation. The return waits for all that were ready.
    pub daemon_sets: BTreeMap<String, Before>,
    /// What the Node's annotation that asks for a reboot said at that time: the reboot fulfils it.
    pub request: Option<String>,
}

/// The pod of a DaemonSet, or a static pod, before the reboot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Before {
    /// It was not ready.
    Unready,
    /// It was, with these containers, see [`PodView::instance`].
    Ready(Option<u64>),
}

/// The state of the other nodes, as far as it may stand in the way.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Others {
    /// Nodes of the pool that are NotReady, or whose state is unknown.
    pub not_ready: Names,
    /// Nodes of the pool that are Ready but cordoned.
    pub cordoned: Names,
    /// How many other nodes the pool has.
    pub of_pool: usize,
    /// The cluster has no other node.
    pub only_node: bool,
    /// If this node is a member of the control plane: how many others that count for the quorum are Ready.
    pub members_ready: Option<usize>,
    /// The other members, if this node is one.
    pub members: Names,
    /// If this node is a control plane node: the control plane nodes and pods elsewhere that are not ready, each with
    /// its state.
    pub control_plane: Names,
}

/// Some things: the first by name, the rest as a number.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Names {
    /// The first ones.
    pub first: Vec<String>,
    /// How many more there are.
    pub more: usize,
}

impl Names {
    /// More names than any pool has slots, because slot holders have to be told from the rest.
    const MOST: usize = 500;

    /// Adds one.
    pub fn push(&mut self, name: String) {
        if self.first.len() < Names::MOST { self.first.push(name) } else { self.more += 1 }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.first.len() + self.more
    }

    /// The same with at most this many names.
    pub(super) fn shortened(mut self, most: usize) -> Names {
        self.more += self.first.len().saturating_sub(most);
        self.first.truncate(most);
        self
    }
}

impl std::fmt::Display for Names {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.first.join(", "))?;
        if self.more > 0 { write!(f, " and {} more", self.more) } else { Ok(()) }
    }
}

/// What the gates after a reboot found, as far as they are configured.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct AfterReadings {
    /// What Prometheus finds.
    pub query: Option<Result<Names, String>>,
    /// The values of each object's field, in the order of the settings; `None` if there is no such object or field.
    pub objects: Vec<Result<Vec<Option<String>>, String>>,
}

/// The kubelet's own Lease in `kube-node-lease`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct KubeletLease {
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.resourceVersion`, opaque.
    pub resource_version: String,
    /// `spec.renewTime`, by the kubelet's clock. Only ever compared for equality.
    pub renewed: String,
}

/// A pod's name, and the uid that distinguishes it from a later pod of the same name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct PodKey {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// `metadata.uid`.
    pub uid: String,
}

impl std::fmt::Display for PodKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// What looks after a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Owner {
    /// No controller: it is not recreated elsewhere, but the kubelet starts it again after the boot.
    Nobody,
    /// A DaemonSet, of any API group: the pod would come straight back to this node.
    DaemonSet,
    /// The kubelet itself, from a file: the API object is only a mirror.
    Kubelet,
    /// Any other controller.
    #[default]
    Controller,
}

/// What the core needs to know about a pod on this node.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct PodView {
    /// Its name and uid.
    pub key: PodKey,
    /// What looks after it.
    pub owner: Owner,
    /// The name of its controller; empty if it has none.
    pub controller: String,
    /// The uid of its controller; empty if it has none.
    pub controller_uid: String,
    /// Its labels, by which budgets and `blocking_pods` select it.
    pub labels: BTreeMap<String, String>,
    /// Its annotations, by which `blocking_annotations` selects it; in the place of a long value, one that equals
    /// nothing.
    pub annotations: BTreeMap<String, String>,
    /// Condition `Ready` is `True`.
    pub ready: bool,
    /// `status.phase` is `Running`: each of its containers has been started.
    pub running: bool,
    /// Made of the ids of its containers: another one once they were started again. `None`: the kubelet tells no ids.
    pub instance: Option<u64>,
    /// `status.phase` is `Succeeded` or `Failed`: none of its containers runs or will run again.
    pub finished: bool,
    /// `metadata.deletionTimestamp` is set.
    pub terminating: bool,
    /// `spec.terminationGracePeriodSeconds`.
    pub grace: Duration,
    /// Its priority is that of `system-cluster-critical` or above.
    pub critical: bool,
    /// Its `restartPolicy` is `Never`: once it has ended, even by a reboot, it does not run again.
    pub runs_once: bool,
    /// It has a volume whose content is lost when the pod ends.
    pub empty_dir: bool,
    /// This long after its node has gone silent it is deleted (its tolerations of `not-ready` and `unreachable`);
    /// `None`: never.
    pub deleted_without_node: Option<Duration>,
    /// The names of the PersistentVolumeClaims that it uses.
    pub claims: BTreeSet<String>,
}

/// How it stands with this node's own credential.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub enum CredentialState {
    /// It is used, or the files name another one.
    #[default]
    Good,
    /// There is none yet, for this reason.
    Missing(String),
    /// There is one, which does not work any more or soon will not, for this reason.
    Failing(String),
}

/// What the core needs to know about a PodDisruptionBudget.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Budget {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// `spec.selector`; without one, the budget selects no pod.
    pub selector: Option<Selector>,
}
