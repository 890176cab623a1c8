//! The settings: complete, checked, and the only part of the configuration that the rest of the program sees.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

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
    /// What the Node shows to others.
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Mode {
    /// Drain and reboot this node in its turn.
    Active,
    /// Write nothing and reboot nothing, but say what would be done.
    Observe,
}

/// What asks for a reboot, and what keeps from one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// The file that exists while the host wants to be rebooted.
    pub sentinel: PathBuf,
    /// The program, and its arguments, that says whether it does; empty for none.
    pub sentinel_command: Vec<String>,
    /// How old its answer may become.
    pub sentinel_command_interval: Duration,
    /// Whether an installed kernel that is newer than the running one asks.
    pub newer_kernel: bool,
    /// What the sentinel asks for alone, and Livepatch covers, waits so long; None for no difference.
    pub livepatched_min_age: Option<Duration>,
    /// Whether what needrestart finds outdated asks.
    pub needrestart: bool,
    /// Whether the Node's annotation `rebootd.io/request` asks for a reboot.
    pub request_annotation: bool,
    /// A host that is up for longer asks; None for no limit.
    pub max_uptime: Option<Duration>,
    /// The file that exists while a person holds this node.
    pub hold: PathBuf,
}

impl Default for Host {
    fn default() -> Host {
        Host {
            sentinel: PathBuf::from("/run/reboot-required"),
            sentinel_command: Vec::new(),
            sentinel_command_interval: DEFAULT_COMMAND_INTERVAL,
            newer_kernel: false,
            livepatched_min_age: None,
            needrestart: false,
            request_annotation: true,
            max_uptime: None,
            hold: PathBuf::from(HOLD),
        }
    }
}

/// When and how to reboot.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// When reboots may start; None means never, because nobody said when.
    pub windows: Option<Windows>,
    /// Whether pods leave before a reboot.
    pub drain: DrainMode,
    /// A drain starts only with so much of the window left.
    pub window_left: Duration,
    /// At most one reboot of our own in this time; zero for no limit.
    pub min_interval: Duration,
    /// At most so many within a day; None for no more limit than `min_interval`.
    pub max_reboots_per_day: Option<u32>,
    /// A request waits so long before anything is done about it.
    pub min_age: Duration,
    /// A request that has been open for longer is told as overdue; None for never.
    pub deadline: Option<Duration>,
    /// The gates that no longer hold an overdue request.
    pub yielding: Vec<Yielding>,
    /// Whether a kernel that is loaded for kexec is started without the firmware.
    pub kexec: bool,
    /// How long the node must be healthy without a gap before it counts as back.
    pub settle: Duration,
    /// How long a reboot that was asked for may take to begin.
    pub reboot_timeout: Duration,
    /// How often a reboot is asked for before a person has to look; at least 1.
    pub reboot_tries: u32,
    /// How long a rebooted node may take to be healthy before a person is told to look.
    pub return_timeout: Duration,
}

/// Whether pods leave before a reboot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
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
    pub fn word(self) -> &'static str {
        match self {
            Yielding::Window => "window",
            Yielding::Freeze => "freeze",
            Yielding::MinUptime => "min_uptime",
            Yielding::BlockingPods => "blocking_pods",
            Yielding::Alerts => "alerts",
        }
    }

    pub(crate) const ALL: [Yielding; 5] =
        [Yielding::Window, Yielding::Freeze, Yielding::MinUptime, Yielding::BlockingPods, Yielding::Alerts];
}

/// How to drain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drain {
    /// How long it may take, counted from the claim; None for what the pods' grace periods suggest.
    pub timeout: Option<Duration>,
    /// What happens then.
    pub on_timeout: OnTimeout,
    /// What becomes of pods without a controller.
    pub bare_pods: BarePods,
    /// What becomes of pods with emptyDir volumes.
    pub empty_dir_pods: EmptyDirPods,
    /// Instead of the pods' own grace; at least a second.
    pub grace_period: Option<Duration>,
    /// Which pods are deleted where a refused eviction goes on for too long; None for none.
    pub delete: Option<DeleteRefused>,
    /// How long the volumes of drained pods may take to leave the node before the reboot comes all the same.
    pub volume_timeout: Duration,
}

/// What happens when a drain takes too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum OnTimeout {
    /// The node is uncordoned and hands its slot on.
    Abort,
    /// It reboots, and ends the pods that are left.
    Reboot,
}

/// What becomes of pods without a controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum BarePods {
    /// They stay: the kubelet starts them again after the reboot.
    Leave,
    /// They are evicted, and nobody makes them anew.
    Evict,
    /// They stand in the way of the reboot.
    Refuse,
}

/// What becomes of pods with emptyDir volumes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
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

impl Default for Drain {
    fn default() -> Drain {
        Drain {
            timeout: None,
            on_timeout: OnTimeout::Abort,
            bare_pods: BarePods::Leave,
            empty_dir_pods: EmptyDirPods::Evict,
            grace_period: None,
            delete: None,
            volume_timeout: DEFAULT_VOLUME_TIMEOUT,
        }
    }
}

/// What the Node shows to others while a reboot is ahead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signs {
    /// A label while the node waits.
    pub waiting_label: bool,
    /// A taint while it waits, so that the scheduler prefers others.
    pub waiting_taint: bool,
    /// Labels from the cordon to the uncordon.
    pub labels: BTreeMap<String, String>,
    /// The label for load balancers outside the cluster is one of them, and they have so much time before the first pod
    /// leaves.
    pub leave_load_balancers: Option<Duration>,
    /// Annotations from the cordon to the uncordon: an empty node is what autoscalers remove.
    pub keep_from_autoscalers: bool,
}

impl Default for Signs {
    fn default() -> Signs {
        Signs {
            waiting_label: true,
            waiting_taint: false,
            labels: BTreeMap::new(),
            leave_load_balancers: None,
            keep_from_autoscalers: true,
        }
    }
}

/// What else has to be well for a reboot to start.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Gates {
    /// So many of the pool's other nodes may be NotReady.
    pub max_nodes_not_ready: u32,
    /// Whether a node that is Ready but cordoned counts as one that is not.
    pub count_cordoned: bool,
    /// How long this host must have been up.
    pub min_uptime: Duration,
    /// No pod that one of these selects may be on this node.
    pub blocking_pods: Vec<Selector>,
    /// Nothing may be found by this.
    pub query: Option<Query>,
    /// How long people who are logged in are waited for; None for not at all.
    pub sessions: Option<Duration>,
    /// Whether windows and freezes need a clock that is synchronised.
    pub require_synchronized_clock: bool,
}

/// What has to be well after a reboot and the uncordon, before the next node may go down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct After {
    /// Nothing is asked before so much time has passed since the uncordon.
    pub soak: Duration,
    /// Nothing may be found by this.
    pub query: Option<Query>,
    /// These have to be as they are wanted.
    pub objects: Vec<ObjectField>,
    /// Of each of these a pod has to be on this node, and all that are have to be ready.
    pub pods: Vec<Selector>,
    /// How long that may take once the soak is over.
    pub limit: Duration,
    /// What happens to the slot then.
    pub at_limit: AtLimit,
}

impl Default for After {
    fn default() -> After {
        After {
            soak: Duration::ZERO,
            query: None,
            objects: Vec::new(),
            pods: Vec::new(),
            limit: DEFAULT_AFTER_LIMIT,
            at_limit: AtLimit::Keep,
        }
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
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

/// Steps of the administrator's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hooks {
    /// Those that there are.
    pub wanted: BTreeSet<Hook>,
    /// How long each may take.
    pub timeout: Duration,
    /// What a failure before the reboot means.
    pub on_failure: OnHookFailure,
    /// What one after the boot means.
    pub on_failure_after_boot: OnHookFailure,
}

/// What happens when a hook fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum OnHookFailure {
    /// Before the reboot the turn is undone; after the boot node and slot are kept until a person has looked.
    Stop,
    /// It goes on as if there were no hook.
    Continue,
}

impl Default for Hooks {
    fn default() -> Hooks {
        Hooks {
            wanted: BTreeSet::new(),
            timeout: DEFAULT_HOOK_TIMEOUT,
            on_failure: OnHookFailure::Stop,
            on_failure_after_boot: OnHookFailure::Stop,
        }
    }
}

/// Where `rebootctl hold` puts its file: beside the administrator's configuration.
pub const HOLD: &str = "/etc/rebootd/hold";
pub(crate) const DEFAULT_POOL: &str = "worker";
/// What asks is seldom in a hurry, and each run wakes the host.
pub(crate) const DEFAULT_COMMAND_INTERVAL: Duration = Duration::from_secs(10 * 60);
pub(crate) const DEFAULT_WINDOW_LEFT: Duration = Duration::from_secs(30 * 60);
pub(crate) const DEFAULT_MIN_INTERVAL: Duration = Duration::from_secs(24 * 3600);
pub(crate) const DEFAULT_DEADLINE: Duration = Duration::from_secs(14 * 24 * 60 * 60);
pub(crate) const DEFAULT_SETTLE: Duration = Duration::from_secs(60);
pub(crate) const DEFAULT_REBOOT_TIMEOUT: Duration = Duration::from_secs(600);
pub(crate) const DEFAULT_REBOOT_TRIES: u32 = 2;
pub(crate) const DEFAULT_HOOK_TIMEOUT: Duration = Duration::from_secs(5 * 60);
pub(crate) const DEFAULT_RETURN_TIMEOUT: Duration = Duration::from_secs(15 * 60);
/// Storage that rebuilds for longer is worth a look.
pub(crate) const DEFAULT_AFTER_LIMIT: Duration = Duration::from_secs(30 * 60);
/// A volume that takes longer is stuck.
pub(crate) const DEFAULT_VOLUME_TIMEOUT: Duration = Duration::from_secs(2 * 60);
