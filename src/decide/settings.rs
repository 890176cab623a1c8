//! The settings: complete, checked, and the only part of the configuration that the rest of the program sees.
//!
//! Each struct in `table!` is a table of the configuration file, and each field a key with its limits and its
//! default. To add a key, add it here, in the manual page and in the sample; nothing else needs to know. A skipped
//! field is put together from several keys by `config/parts.rs`.

#[macro_use]
pub(crate) mod written;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use self::written::{AnyTime, AtLeast, Between, Ignorable, ZeroIsNone};
use super::{Hook, Windows};
use crate::access::ApiAccess;
use crate::notation::Selector;

/// Everything that a person can set, with defaults filled in.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// The name of this host's Node in the cluster.
    pub node_name: String,
    /// The pool of nodes whose slots this node takes.
    pub pool: String,
    /// Whether to act, or only to say what would be done.
    pub mode: Mode,
    /// How to reach the cluster; None until a person says how.
    pub api: Option<ApiAccess>,
    /// What asks for a reboot, and what prevents it.
    pub host: Host,
    /// When and how to reboot.
    pub policy: Policy,
    /// How to drain.
    pub drain: Drain,
    /// What the Node shows while a reboot waits.
    pub signs: Signs,
    /// What else must be well before a reboot.
    pub gates: Gates,
    /// What must be well again after a reboot.
    pub after: After,
    /// The administrator's own steps.
    pub hooks: Hooks,
    /// The files that these settings were read from: the configuration files in their order, then the kubeconfig.
    /// Files that these only refer to are not included.
    pub sources: Vec<PathBuf>,
}

/// Whether to act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Drain and reboot this node when its turn comes.
    #[default]
    Active,
    /// Write nothing and reboot nothing, but say what would be done.
    Observe,
}

table! {
    /// What asks for a reboot, and what prevents it.
    pub struct Host {
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

table! {
    /// When and how to reboot.
    pub struct Policy {
        /// When reboots may start; None means never, because nobody said when.
        #[serde(skip)]
        pub windows: Option<Windows> = None,
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
        /// How long the node must be healthy without interruption before it counts as back.
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
    }
}

/// Whether pods have to leave before a reboot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DrainMode {
    /// They leave; the only node of a cluster or of its control plane does not reboot.
    Auto,
    /// They leave, and any node reboots.
    Always,
    /// They stay, and the reboot ends them.
    Never,
}

/// A gate that may yield to an overdue request. Not among these gates: what people are saying right now (hold,
/// pause), what is at work on the host, the other nodes, and what prevents one reboot after another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Yielding {
    /// The window, if one is configured.
    Window,
    /// Freezes.
    Freeze,
    /// How long the host has been up.
    MinUptime,
    /// Pods that must not be interrupted.
    BlockingPods,
    /// What Prometheus finds.
    Alerts,
}

impl Yielding {
    /// Its word in the configuration.
    pub fn word(self) -> String {
        struct Word(Yielding);
        impl std::fmt::Display for Word {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.serialize(formatter)
            }
        }
        Word(self).to_string()
    }
}

table! {
    /// How to drain.
    pub struct Drain {
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
        /// Labels that the Node has from the cordon to the uncordon.
        #[serde(deserialize_with = "written::labels")]
        pub labels: BTreeMap<String, String> = BTreeMap::new(),
        /// The label for load balancers outside the cluster is one of them, and they get this much time before the
        /// first pod leaves.
        #[serde(with = "AnyTime")]
        pub leave_load_balancers: Option<Duration> = None,
        /// Annotations from the cordon to the uncordon: otherwise autoscalers might remove the empty node.
        pub keep_from_autoscalers: bool = true,
    }
}

/// What happens when a drain takes too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnTimeout {
    /// The node is uncordoned and gives its slot back.
    Abort,
    /// It reboots, which ends the remaining pods.
    Reboot,
}

/// What happens to pods without a controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum BarePods {
    /// They stay: the kubelet starts them again after the reboot.
    Leave,
    /// They are evicted, and nothing recreates them.
    Evict,
    /// They stand in the way of the reboot.
    Refuse,
}

/// What happens to pods with emptyDir volumes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum EmptyDirPods {
    /// They are evicted, and the content of the volumes is lost.
    Evict,
    /// They stand in the way of the reboot.
    Refuse,
}

/// Pods whose eviction is refused for too long are deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeleteRefused {
    /// This long after the claim.
    pub after: Duration,
    /// In these namespaces.
    pub namespaces: BTreeSet<String>,
}

table! {
    /// What the Node shows to others while a reboot is waiting.
    pub struct Signs {
        /// A label.
        pub waiting_label: bool = true,
        /// A taint, so that the scheduler prefers other nodes.
        pub waiting_taint: bool = false,
    }
}

table! {
    /// What else must be well before a reboot may start.
    pub struct Gates {
        /// This many of the pool's other nodes may be NotReady.
        pub max_nodes_not_ready: u32 = 0,
        /// Whether a node that is Ready but cordoned counts as NotReady.
        pub count_cordoned: bool = false,
        /// How long this host must have been up.
        #[serde(with = "AnyTime")]
        pub min_uptime: Duration = Duration::ZERO,
        /// No pod on this node may match any of these.
        #[serde(skip_serializing)]
        pub blocking_pods: Vec<Selector> = Vec::new(),
        /// This query must find nothing.
        #[serde(skip)]
        pub query: Option<Query> = None,
        /// How long people who are logged in are waited for; None: not at all.
        #[serde(with = "Ignorable")]
        pub sessions: Option<Duration> = None,
        /// Whether windows and freezes need a clock that is synchronised.
        pub require_synchronized_clock: bool = true,
    }
}

table! {
    /// What must be well after a reboot and the uncordon, before the next node may go down.
    pub struct After {
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
    }
}

impl After {
    /// Whether the slot is given back as soon as the node is uncordoned.
    pub fn is_empty(&self) -> bool {
        let After { soak, query, objects, pods, limit: _, at_limit: _ } = self;
        soak.is_zero() && query.is_none() && objects.is_empty() && pods.is_empty()
    }
}

/// What happens to the slot of a node if something does not become well after its reboot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum AtLimit {
    /// It is kept until a person has looked.
    Keep,
    /// It is given back, and the next node may reboot.
    Release,
}

/// A field of a Kubernetes object, and the values that it must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectField {
    /// The path of the object, or of a list, at the API server.
    pub path: String,
    /// Names from the top down, separated by points; `*` stands for each item of a list.
    pub field: String,
    /// One of these.
    pub equals: Vec<String>,
}

/// A question to Prometheus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// The query, in PromQL.
    pub expression: String,
    /// Which Prometheus is asked.
    pub server: Prometheus,
}

/// How Prometheus is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Prometheus {
    /// Directly.
    Url {
        /// `http://` or `https://`, without a trailing slash.
        url: String,
        /// The file with the bearer token; it may be replaced at any time.
        token_file: Option<PathBuf>,
        /// Who must have signed its certificate.
        certificate_authority: PathBuf,
    },
    /// As a Service, through the API server and with the credential for the API server.
    Service {
        /// Its namespace.
        namespace: String,
        /// `NAME:PORT` or `SCHEME:NAME:PORT`, as a request through the API server names it.
        port: String,
    },
}

table! {
    /// The administrator's own steps.
    pub struct Hooks {
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

/// What happens when a hook fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnHookFailure {
    /// Before the reboot, the turn is undone; after the boot, the node stays cordoned and keeps its slot until a
    /// person has looked.
    Stop,
    /// The turn goes on as if there were no hook.
    Continue,
}

/// Where `rebootctl hold` puts its file: next to the administrator's configuration.
pub const HOLD: &str = "/etc/rebootd/hold";

const fn minutes(number: u64) -> Duration {
    Duration::from_secs(number * 60)
}

const fn days(number: u64) -> Duration {
    minutes(number * 24 * 60)
}
