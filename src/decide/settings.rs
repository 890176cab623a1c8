//! The settings: complete, checked, and the only part of the configuration that the rest of the program sees.
//!
//! Each struct in `table!` is a table of the configuration file, and each field a key with its limits and its
//! default. To add a key, add it here, in the manual page and in the sample; nothing else needs to know. A skipped
//! field is put together from several keys by `config/parts.rs`.

mod values;
#[macro_use]
pub(crate) mod written;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use self::values::{
    AtLimit, BarePods, BlockingPodsAfter, Breaker, Canary, DeleteRefused, DrainMode, EmptyDirPods,
    ForeignCordon, Mode, ObjectField, OnHookFailure, OnTimeout, Prometheus, Query, Share, WebhookEvents,
    WebhookFormat, Yielding, Zones,
};
use self::written::{AnyTime, AtLeast, Between, Ignorable, ZeroIsNone};
use super::{Hook, Windows, ZONE};
use crate::access::ApiAccess;
use crate::notation::Selector;

/// Everything that a person can set, with defaults filled in.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// The name of this host's Node in the cluster.
    pub node_name: String,
    /// The pool of nodes whose slots this node takes.
    pub pool: String,
    /// Whether this host's files name it. Otherwise the fleet's policy may.
    pub pool_is_written: bool,
    /// Whether the files name this host's Node.
    pub node_is_written: bool,
    /// The Node that the credential is bound to, if it tells. Only for this one anything may be written.
    pub credential_node: Option<String>,
    /// When the credential that the node has got for itself ends: wall time since 1970.
    pub credential_ends: Option<Duration>,
    /// Whether to act, or only to say what would be done.
    pub mode: Mode,
    /// How to reach the cluster; None until a person says how.
    pub api: Option<ApiAccess>,
    /// For how long the tokens are valid that the node gets for itself.
    pub token_life: Duration,
    /// What asks for a reboot, and what prevents it.
    pub host: HostSettings,
    /// When and how to reboot.
    pub policy: PolicySettings,
    /// How to drain.
    pub drain: DrainSettings,
    /// What the Node shows while a reboot waits.
    pub signs: SignsSettings,
    /// What else must be well before a reboot.
    pub gates: GatesSettings,
    /// What must be well again after a reboot.
    pub after: AfterSettings,
    /// What the administrator wants to see measured around a reboot.
    pub measure: Option<Query>,
    /// The administrator's own steps.
    pub hooks: HooksSettings,
    /// Whom to tell.
    pub notify: NotifySettings,
    /// The files that these settings were read from: the configuration files in their order, then the kubeconfig.
    /// Files that these only refer to are not included.
    pub sources: Vec<PathBuf>,
}

table! {
    /// What asks for a reboot, and what prevents it.
    pub struct HostSettings {
        /// The file whose existence says that the host wants a reboot.
        #[serde(deserialize_with = "written::absolute_path")]
        pub sentinel: PathBuf = PathBuf::from("/run/reboot-required"),
        /// The program, with its arguments, that says whether a reboot is needed; empty for none.
        #[serde(deserialize_with = "written::command")]
        pub sentinel_command: Vec<String> = Vec::new(),
        /// How old its answer may become.
        // If it ran more often, an idle host would do little else.
        #[serde(with = "AtLeast::<10>")]
        // Requests are seldom in a hurry, and each run wakes the host.
        pub sentinel_command_interval: Duration = minutes(10),
        /// Whether an installed kernel that is newer than the running one asks.
        pub newer_kernel: bool = false,
        /// How long a request waits that only the sentinel makes and that Livepatch covers; None: it does not wait.
        #[serde(with = "AnyTime")]
        pub livepatched_min_age: Option<Duration> = None,
        /// Whether needrestart asks when it finds something outdated.
        pub needrestart: bool = false,
        /// Whether the Node's annotation `rebootd.io/request` asks for a reboot.
        pub request_annotation: bool = true,
        /// A host that has been up for longer asks; None for no limit.
        // With less, a fleet would do little else than reboot.
        #[serde(with = "AtLeast::<3600>")]
        pub max_uptime: Option<Duration> = None,
        /// The file with which a person holds this node.
        #[serde(skip)]
        pub hold: PathBuf = PathBuf::from(HOLD),
    }
}

/// A person wants the nodes that need a reboot to have it now: until its end, no window and no `min_age` holds them back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Urgent {
    /// Why, and who says so.
    pub why: String,
    /// Since when: wall time since 1970.
    pub from: Duration,
    /// Until when: wall time since 1970.
    pub until: Duration,
}

/// Where some nodes of the pool stand among those that wait.
#[derive(Debug, Clone, PartialEq)]
pub struct Priority {
    /// Which; None for all.
    pub selector: Option<Selector>,
    /// The highest goes first; nodes without one have 0.
    pub priority: i32,
}

impl PolicySettings {
    /// Where a node with these labels stands among those that wait while one of this zone has its turn: lower goes first.
    pub fn rank(&self, labels: &BTreeMap<String, String>, zone: &str) -> (Reverse<i32>, bool) {
        let is_for = |it: &&Priority| it.selector.as_ref().is_none_or(|selector| selector.selects(labels));
        let priority = self.order.iter().rev().find(is_for).map_or(0, |it| it.priority);
        let is_elsewhere = labels.get(ZONE).map_or("", String::as_str) != zone;
        (Reverse(priority), self.zones == Zones::One && is_elsewhere)
    }
}

table! {
    /// When and how to reboot.
    pub struct PolicySettings {
        /// When reboots may start; None means never, because nobody said when.
        #[serde(skip)]
        pub windows: Option<Windows> = None,
        /// The request of a person to reboot now, for this node.
        #[serde(skip)]
        pub urgent: Option<Urgent> = None,
        /// Who of those that wait goes first, as the fleet's policy says: the last entry that is for a node counts.
        #[serde(skip)]
        pub order: Vec<Priority> = Vec::new(),
        /// A drain starts only if this much of the window is left.
        #[serde(with = "AnyTime")]
        pub window_left: Duration = minutes(30),
        /// Whether pods have to leave before a reboot.
        pub drain: DrainMode = DrainMode::Auto,
        /// At most one of our own reboots in this time; zero for no limit.
        #[serde(with = "AnyTime")]
        pub min_interval: Duration = days(1),
        /// At most this many reboots within a day; None for no limit besides `min_interval`.
        // As many as are remembered.
        #[serde(with = "Between::<1, 10>")]
        pub max_reboots_per_day: Option<u32> = None,
        /// A request waits this long before anything is done about it.
        #[serde(with = "AnyTime")]
        pub min_age: Duration = Duration::ZERO,
        /// A request that has been open for longer is reported as overdue; None for never.
        #[serde(with = "ZeroIsNone")]
        pub deadline: Option<Duration> = Some(days(14)),
        /// The gates that no longer hold back an overdue request.
        #[serde(rename = "give_up_after_deadline")]
        pub yielding: Vec<Yielding> = Vec::new(),
        /// Whether a kernel that is loaded for kexec is started without going through the firmware.
        pub kexec: bool = false,
        /// How long the node must be Ready without interruption before it gives its slot back.
        #[serde(with = "AtLeast::<1>")]
        pub settle: Duration = minutes(1),
        /// How long a reboot that was asked for may take to begin.
        // On many hosts, a shutdown takes this long before the kernel restarts.
        #[serde(with = "AtLeast::<30>")]
        pub reboot_timeout: Duration = minutes(10),
        /// How often a reboot is asked for before a person has to look; at least once.
        #[serde(with = "Between::<1, 10>")]
        pub reboot_tries: u32 = 2,
        /// How long a rebooted node may take to become healthy before a person is told to look.
        // With less, every return would call a person.
        #[serde(with = "AtLeast::<10>")]
        pub return_timeout: Duration = minutes(15),
        /// Which nodes stay up while one has not come back from its reboot.
        pub breaker: Breaker = Breaker::Cluster,
        /// Of how many zones nodes of the pool may have their turn at the same time.
        pub zones: Zones = Zones::Any,
        /// Which nodes of the pool go first when there is something new; None for no such nodes.
        pub canary: Option<Canary> = None,
    }
}

table! {
    /// How to drain.
    pub struct DrainSettings {
        /// How long it may take, counted from the claim; None: as long as the pods' grace periods suggest.
        // With no time at all, a drain would be given up before its first eviction.
        #[serde(with = "AtLeast::<1>")]
        pub timeout: Option<Duration> = None,
        /// What happens after that time.
        pub on_timeout: OnTimeout = OnTimeout::Abort,
        /// What happens to pods without a controller.
        pub bare_pods: BarePods = BarePods::Leave,
        /// What happens to pods with emptyDir volumes.
        pub empty_dir_pods: EmptyDirPods = EmptyDirPods::Evict,
        /// Replaces the pods' own grace period; at least a second.
        // With zero, the pod would be deleted without waiting for the kubelet.
        #[serde(with = "AtLeast::<1>")]
        pub grace_period: Option<Duration> = None,
        /// Which pods are deleted if their eviction is refused for too long; None for none.
        #[serde(skip)]
        pub delete: Option<DeleteRefused> = None,
        /// How long the volumes of drained pods may take to leave the node; then it reboots anyway.
        #[serde(with = "AnyTime")]
        // A volume that takes longer is stuck.
        pub volume_timeout: Duration = minutes(2),
        /// Pods that match any of these stay, and the reboot ends them.
        #[serde(skip_serializing)]
        pub leave_pods: Vec<Selector> = Vec::new(),
        /// A pod that is being deleted is waited for until this long after its grace period; None: until it is gone.
        #[serde(with = "ZeroIsNone")]
        pub leaving_pods: Option<Duration> = None,
        /// Labels that the Node has from the cordon to the uncordon.
        #[serde(deserialize_with = "written::labels")]
        pub labels: BTreeMap<String, String> = BTreeMap::new(),
        /// The label for load balancers outside the cluster is one of them, and they get this much time before the
        /// first pod leaves.
        #[serde(with = "AnyTime")]
        pub leave_load_balancers: Option<Duration> = None,
        /// Annotations from the cordon to the uncordon: otherwise autoscalers might remove the empty node.
        pub keep_from_autoscalers: bool = true,
        /// How much longer it has those annotations: it is as empty after the uncordon as before.
        #[serde(with = "AnyTime")]
        pub keep_from_autoscalers_for: Duration = Duration::ZERO,
    }
}

table! {
    /// What the Node shows to others while a reboot is waiting.
    pub struct SignsSettings {
        /// A label.
        pub waiting_label: bool = true,
        /// A taint, so that the scheduler prefers other nodes.
        pub waiting_taint: bool = false,
    }
}

table! {
    /// What else must be well before a reboot may start.
    pub struct GatesSettings {
        /// This many of the pool's nodes may be NotReady.
        pub max_nodes_not_ready: Share = Share::Nodes(0),
        /// Whether a node that is Ready but cordoned counts as NotReady.
        pub count_cordoned: bool = false,
        /// How long this host must have been up.
        #[serde(with = "AnyTime")]
        pub min_uptime: Duration = Duration::ZERO,
        /// No pod on this node may match any of these.
        #[serde(skip_serializing)]
        pub blocking_pods: Vec<Selector> = Vec::new(),
        /// No pod on this node may have annotations that match any of these.
        #[serde(skip_serializing)]
        pub blocking_annotations: Vec<Selector> = Vec::new(),
        /// After which step the pods that match are waited for.
        pub blocking_pods_after: BlockingPodsAfter = BlockingPodsAfter::Request,
        /// How long they are waited for if that step is the cordon, counted from the claim.
        #[serde(with = "AtLeast::<1>")]
        // Jobs that run for longer are seldom.
        pub blocking_pods_limit: Duration = minutes(6 * 60),
        /// This query must find nothing.
        #[serde(skip)]
        pub query: Option<Query> = None,
        /// What a node does that a person or another program has cordoned.
        pub foreign_cordon: ForeignCordon = ForeignCordon::Wait,
        /// Labels of Nodes that are members of the control plane, besides the well-known ones.
        pub control_plane_labels: Vec<String> = Vec::new(),
        /// How long people who are logged in are waited for; None: not at all.
        #[serde(with = "Ignorable")]
        pub sessions: Option<Duration> = None,
        /// Whether a host with half-installed packages waits.
        pub require_installed_packages: bool = true,
        /// Whether nothing is claimed unless policies confine this node's credential.
        pub require_policies: bool = false,
        /// Whether windows and freezes need a clock that is synchronised.
        pub require_synchronized_clock: bool = true,
    }
}

table! {
    /// What must be well after a reboot and the uncordon, before the next node may go down.
    pub struct AfterSettings {
        /// Nothing is checked before this time has passed since the uncordon.
        #[serde(with = "AnyTime")]
        pub soak: Duration = Duration::ZERO,
        /// This query must find nothing.
        #[serde(skip)]
        pub query: Option<Query> = None,
        /// These fields must have the values that are given.
        #[serde(skip)]
        pub objects: Vec<ObjectField> = Vec::new(),
        /// For each of these selectors, at least one pod must be on this node, and all such pods must be ready.
        #[serde(skip_serializing)]
        pub pods: Vec<Selector> = Vec::new(),
        /// How long that may take after the soak.
        #[serde(with = "AnyTime")]
        // Storage that rebuilds for longer is worth a look.
        pub limit: Duration = minutes(30),
        /// What happens to the slot after that time.
        pub at_limit: AtLimit = AtLimit::Keep,
        /// DaemonSets, and static pods, as `namespace/name`, whose pods need not be ready again.
        pub ignore_daemon_sets: Vec<String> = Vec::new(),
        /// Resources that the node may have less of than before.
        pub ignore_resources: Vec<String> = Vec::new(),
        /// Keys of taints that the node may have gained.
        pub ignore_taints: Vec<String> = Vec::new(),
    }
}

impl AfterSettings {
    /// Whether the slot is given back as soon as the node is uncordoned.
    pub fn is_empty(&self) -> bool {
        let AfterSettings { soak, query, objects, pods, .. } = self;
        soak.is_zero() && query.is_none() && objects.is_empty() && pods.is_empty()
    }
}

table! {
    /// The administrator's own steps.
    pub struct HooksSettings {
        /// The hooks that exist.
        #[serde(skip)]
        pub wanted: BTreeSet<Hook> = BTreeSet::new(),
        /// How long each may take.
        #[serde(with = "AtLeast::<1>")]
        pub timeout: Duration = minutes(5),
        /// What a failure before the reboot means.
        pub on_failure: OnHookFailure = OnHookFailure::Stop,
        /// What a failure after the boot means.
        pub on_failure_after_boot: OnHookFailure = OnHookFailure::Stop,
    }
}

table! {
    /// Whom to tell what happens to this node.
    pub struct NotifySettings {
        /// The file that contains the address of a webhook; None for no webhook.
        #[serde(deserialize_with = "written::absolute_path")]
        pub webhook_file: Option<PathBuf> = None,
        /// What its receiver understands.
        pub webhook_format: WebhookFormat = WebhookFormat::Json,
        /// What it is told.
        pub webhook_events: WebhookEvents = WebhookEvents::Failures,
    }
}

/// Where `rebootctl hold` puts its file: next to the administrator's configuration.
pub const HOLD: &str = "/etc/rebootd/hold";

const fn minutes(number: u64) -> Duration {
    Duration::from_secs(number * 60)
}

const fn days(number: u64) -> Duration {
    minutes(number * 24 * 60)
}
