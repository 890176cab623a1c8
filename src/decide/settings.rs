//! The settings: complete, checked, and the only part of the configuration that the rest of the program sees.
//!
//! A struct in `table!` is a table of the configuration file: each field is a key, with its limits and its default. A new
//! key is written here, in the manual page and in the sample, and nothing else has to know it. A field that is skipped is
//! made of several keys, which `config/parts.rs` has.

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

/// Everything that a person can set, with the defaults filled in.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// The name of this host's Node in the cluster.
    pub node_name: String,
    /// The pool of nodes whose slots this node takes.
    pub pool: String,
    /// Whether to act or only to say what would be done.
    pub mode: Mode,
    /// How to reach the cluster; None until a person says how.
    pub api: Option<ApiAccess>,
    /// What asks for a reboot, and what keeps from one.
    pub host: Host,
    /// When and how to reboot.
    pub policy: Policy,
    /// How to drain.
    pub drain: Drain,
    /// What the Node shows while a reboot waits.
    pub signs: Signs,
    /// What else has to be well.
    pub gates: Gates,
    /// What has to be well again after a reboot.
    pub after: After,
    /// Steps of the administrator's own.
    pub hooks: Hooks,
    /// The files that these settings were read from: those of the configuration in
    /// their order, then the kubeconfig. Files that these merely name are not among them.
    pub sources: Vec<PathBuf>,
}

/// Whether to act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Drain and reboot this node in its turn.
    #[default]
    Active,
    /// Write nothing and reboot nothing, but say what would be done.
    Observe,
}

table! {
    /// What asks for a reboot, and what keeps from one.
    pub struct Host {
        /// The file that exists while the host wants to be rebooted.
        #[serde(deserialize_with = "written::absolute_path")]
        pub sentinel: PathBuf = PathBuf::from("/run/reboot-required"),
        /// The program, and its arguments, that says whether it does; empty for none.
        #[serde(deserialize_with = "written::command")]
        pub sentinel_command: Vec<String> = Vec::new(),
        /// How old its answer may become.
        // More often, and an idle host would hardly do anything else.
        #[serde(with = "AtLeast::<10>")]
        // What asks is seldom in a hurry, and each run wakes the host.
        pub sentinel_command_interval: Duration = minutes(10),
        /// Whether an installed kernel that is newer than the running one asks.
        pub newer_kernel: bool = false,
        /// What the sentinel asks for alone, and Livepatch covers, waits so long; None for no difference.
        #[serde(with = "AnyTime")]
        pub livepatched_min_age: Option<Duration> = None,
        /// Whether what needrestart finds outdated asks.
        pub needrestart: bool = false,
        /// Whether the Node's annotation `rebootd.io/request` asks for a reboot.
        pub request_annotation: bool = true,
        /// A host that is up for longer asks; None for no limit.
        // Sooner, a fleet would hardly do anything else.
        #[serde(with = "AtLeast::<3600>")]
        pub max_uptime: Option<Duration> = None,
        /// The file that exists while a person holds this node.
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
        /// A drain starts only with so much of the window left.
        #[serde(with = "AnyTime")]
        pub window_left: Duration = minutes(30),
        /// Whether pods leave before a reboot.
        pub drain: DrainMode = DrainMode::Auto,
        /// At most one reboot of our own in this time; zero for no limit.
        #[serde(with = "AnyTime")]
        pub min_interval: Duration = days(1),
        /// At most so many within a day; None for no more limit than `min_interval`.
        // As many as are remembered.
        #[serde(with = "Between::<1, 10>")]
        pub max_reboots_per_day: Option<u32> = None,
        /// A request waits so long before anything is done about it.
        #[serde(with = "AnyTime")]
        pub min_age: Duration = Duration::ZERO,
        /// A request that has been open for longer is told as overdue; None for never.
        #[serde(with = "ZeroIsNone")]
        pub deadline: Option<Duration> = Some(days(14)),
        /// The gates that no longer hold an overdue request.
        #[serde(rename = "give_up_after_deadline")]
        pub yielding: Vec<Yielding> = Vec::new(),
        /// Whether a kernel that is loaded for kexec is started without the firmware.
        pub kexec: bool = false,
        /// How long the node must be healthy without a gap before it counts as back.
        #[serde(with = "AtLeast::<1>")]
        pub settle: Duration = minutes(1),
        /// How long a reboot that was asked for may take to begin.
        // A shutdown takes this long on many hosts before the kernel restarts.
        #[serde(with = "AtLeast::<30>")]
        pub reboot_timeout: Duration = minutes(10),
        /// How often a reboot is asked for before a person has to look; at least 1.
        #[serde(with = "Between::<1, 10>")]
        pub reboot_tries: u32 = 2,
        /// How long a rebooted node may take to be healthy before a person is told to look.
        // Sooner, every return would call for a person.
        #[serde(with = "AtLeast::<10>")]
        pub return_timeout: Duration = minutes(15),
    }
}

/// Whether pods leave before a reboot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DrainMode {
    /// They do; the only node of a cluster or of its control plane does not reboot.
    Auto,
    /// They do, and any node reboots.
    Always,
    /// They stay, and the reboot ends them.
    Never,
}

/// A gate that may yield to a request that is overdue. Not among them: what people say just now (hold, pause), what is
/// at work on the host, the other nodes, and what keeps a host from rebooting again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Yielding {
    /// The window, where one is configured.
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
        /// How long it may take, counted from the claim; None for what the pods' grace periods suggest.
        // A drain without any time would be given up before its first eviction.
        #[serde(with = "AtLeast::<1>")]
        pub timeout: Option<Duration> = None,
        /// What happens then.
        pub on_timeout: OnTimeout = OnTimeout::Abort,
        /// What becomes of pods without a controller.
        pub bare_pods: BarePods = BarePods::Leave,
        /// What becomes of pods with emptyDir volumes.
        pub empty_dir_pods: EmptyDirPods = EmptyDirPods::Evict,
        /// Instead of the pods' own grace; at least a second.
        // With none, the pod would be deleted without waiting for the kubelet.
        #[serde(with = "AtLeast::<1>")]
        pub grace_period: Option<Duration> = None,
        /// Which pods are deleted where a refused eviction goes on for too long; None for none.
        #[serde(skip)]
        pub delete: Option<DeleteRefused> = None,
        /// How long the volumes of drained pods may take to leave the node before the reboot comes all the same.
        #[serde(with = "AnyTime")]
        // A volume that takes longer is stuck.
        pub volume_timeout: Duration = minutes(2),
        /// Labels of the Node from the cordon to the uncordon.
        #[serde(deserialize_with = "written::labels")]
        pub labels: BTreeMap<String, String> = BTreeMap::new(),
        /// The label for load balancers outside the cluster is one of them, and they have so much time before the first pod
        /// leaves.
        #[serde(with = "AnyTime")]
        pub leave_load_balancers: Option<Duration> = None,
        /// Annotations from the cordon to the uncordon: an empty node is what autoscalers remove.
        pub keep_from_autoscalers: bool = true,
    }
}

/// What happens when a drain takes too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnTimeout {
    /// The node is uncordoned and hands its slot on.
    Abort,
    /// It reboots, and ends the pods that are left.
    Reboot,
}

/// What becomes of pods without a controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum BarePods {
    /// They stay: the kubelet starts them again after the reboot.
    Leave,
    /// They are evicted, and nobody makes them anew.
    Evict,
    /// They stand in the way of the reboot.
    Refuse,
}

/// What becomes of pods with emptyDir volumes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum EmptyDirPods {
    /// They are evicted, and what is in the volumes is lost.
    Evict,
    /// They stand in the way of the reboot.
    Refuse,
}

/// Pods whose eviction goes on being refused are deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeleteRefused {
    /// So long after the claim.
    pub after: Duration,
    /// In these namespaces.
    pub namespaces: BTreeSet<String>,
}

table! {
    /// What the Node shows to others while a reboot waits.
    pub struct Signs {
        /// A label.
        pub waiting_label: bool = true,
        /// A taint, so that the scheduler prefers others.
        pub waiting_taint: bool = false,
    }
}

table! {
    /// What else has to be well for a reboot to start.
    pub struct Gates {
        /// So many of the pool's other nodes may be NotReady.
        pub max_nodes_not_ready: u32 = 0,
        /// Whether a node that is Ready but cordoned counts as one that is not.
        pub count_cordoned: bool = false,
        /// How long this host must have been up.
        #[serde(with = "AnyTime")]
        pub min_uptime: Duration = Duration::ZERO,
        /// No pod that one of these selects may be on this node.
        #[serde(skip_serializing)]
        pub blocking_pods: Vec<Selector> = Vec::new(),
        /// Nothing may be found by this.
        #[serde(skip)]
        pub query: Option<Query> = None,
        /// How long people who are logged in are waited for; None for not at all.
        #[serde(with = "Ignorable")]
        pub sessions: Option<Duration> = None,
        /// Whether windows and freezes need a clock that is synchronised.
        pub require_synchronized_clock: bool = true,
    }
}

table! {
    /// What has to be well after a reboot and the uncordon, before the next node may go down.
    pub struct After {
        /// Nothing is asked before so much time has passed since the uncordon.
        #[serde(with = "AnyTime")]
        pub soak: Duration = Duration::ZERO,
        /// Nothing may be found by this.
        #[serde(skip)]
        pub query: Option<Query> = None,
        /// These have to be as they are wanted.
        #[serde(skip)]
        pub objects: Vec<ObjectField> = Vec::new(),
        /// Of each of these a pod has to be on this node, and all that are have to be ready.
        #[serde(skip_serializing)]
        pub pods: Vec<Selector> = Vec::new(),
        /// How long that may take once the soak is over.
        #[serde(with = "AnyTime")]
        // Storage that rebuilds for longer is worth a look.
        pub limit: Duration = minutes(30),
        /// What happens to the slot then.
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

/// What happens to the slot of a node after whose reboot something does not become well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum AtLimit {
    /// It is kept until a person has looked.
    Keep,
    /// It is given back: the next node may reboot.
    Release,
}

/// A field of a Kubernetes object, and what it has to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectField {
    /// Of the object, or of a list, at the API server.
    pub path: String,
    /// Names from the top down, with points between them; `*` is each item of a list.
    pub field: String,
    /// One of these.
    pub equals: Vec<String>,
}

/// A question to Prometheus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// In PromQL.
    pub expression: String,
    /// Who is asked.
    pub server: Prometheus,
}

/// How Prometheus is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Prometheus {
    /// Directly.
    Url {
        /// `http://` or `https://`, without a slash at the end.
        url: String,
        /// The bearer token is in this file, which may be replaced at any time.
        token_file: Option<PathBuf>,
        /// Who must have signed its certificate.
        certificate_authority: PathBuf,
    },
    /// As a Service, through the API server and with the credential for it.
    Service {
        /// Its namespace.
        namespace: String,
        /// `NAME:PORT` or `SCHEME:NAME:PORT`, as a request for it has to name it.
        port: String,
    },
}

table! {
    /// Steps of the administrator's own.
    pub struct Hooks {
        /// Those that there are.
        #[serde(skip)]
        pub wanted: BTreeSet<Hook> = BTreeSet::new(),
        /// How long each may take.
        #[serde(with = "AtLeast::<1>")]
        pub timeout: Duration = minutes(5),
        /// What a failure before the reboot means.
        pub on_failure: OnHookFailure = OnHookFailure::Stop,
        /// What one after the boot means.
        pub on_failure_after_boot: OnHookFailure = OnHookFailure::Stop,
    }
}

/// What happens when a hook fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnHookFailure {
    /// Before the reboot the turn is undone; after the boot node and slot are kept until a person has looked.
    Stop,
    /// It goes on as if there were no hook.
    Continue,
}

/// Where `rebootctl hold` puts its file: beside the administrator's configuration.
pub const HOLD: &str = "/etc/rebootd/hold";

const fn minutes(number: u64) -> Duration {
    Duration::from_secs(number * 60)
}

const fn days(number: u64) -> Duration {
    minutes(number * 24 * 60)
}
