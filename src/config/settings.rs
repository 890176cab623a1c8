//! The settings: complete, checked, and the only part of the configuration that
//! the rest of the program sees.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::checks;
use super::error::ConfigError;
use super::kubeconfig;
use super::merge::{Located, Merged};
use super::secret::Secret;
use super::value::NodeName;
use crate::decide::{Hook, Selector, Windows};

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
            hold: PathBuf::from(crate::host::hold::PATH),
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

    pub(super) const ALL: [Yielding; 5] =
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

/// How to reach the API server.
#[derive(Debug, Clone, PartialEq)]
pub struct ApiAccess {
    /// `https://host[:port][/path]`, without a slash at the end.
    pub server: String,
    /// Who must have signed the server's certificate. The system's certificate
    /// authorities are not asked.
    pub certificate_authority: PemSource,
    /// Who we are.
    pub credential: Credential,
}

/// Where certificates or keys in PEM form are.
#[derive(Clone, PartialEq)]
pub enum PemSource {
    /// In this file, which may be replaced at any time.
    File(PathBuf),
    /// Here.
    Inline(Vec<u8>),
}

impl std::fmt::Debug for PemSource {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => formatter.debug_tuple("File").field(path).finish(),
            // May be a private key.
            Self::Inline(_) => formatter.write_str("Inline"),
        }
    }
}

/// How we prove to the API server who we are.
#[derive(Debug, Clone, PartialEq)]
pub enum Credential {
    /// With the bearer token in this file, which may be replaced at any time.
    TokenFile(PathBuf),
    /// With this bearer token.
    Token(Secret),
    /// With a TLS client certificate.
    ClientCertificate {
        /// The certificate, with those that lead to its authority.
        certificate: PemSource,
        /// Its private key.
        key: PemSource,
    },
}

const DEFAULT_POOL: &str = "worker";
/// What asks is seldom in a hurry, and each run wakes the host.
const DEFAULT_COMMAND_INTERVAL: Duration = Duration::from_secs(10 * 60);
const DEFAULT_WINDOW_LEFT: Duration = Duration::from_secs(30 * 60);
const DEFAULT_MIN_INTERVAL: Duration = Duration::from_secs(24 * 3600);
const DEFAULT_DEADLINE: Duration = Duration::from_secs(14 * 24 * 60 * 60);
const DEFAULT_SETTLE: Duration = Duration::from_secs(60);
const DEFAULT_REBOOT_TIMEOUT: Duration = Duration::from_secs(600);
const DEFAULT_REBOOT_TRIES: u32 = 2;
const DEFAULT_HOOK_TIMEOUT: Duration = Duration::from_secs(5 * 60);
const DEFAULT_RETURN_TIMEOUT: Duration = Duration::from_secs(15 * 60);
/// Storage that rebuilds for longer is worth a look.
const DEFAULT_AFTER_LIMIT: Duration = Duration::from_secs(30 * 60);
/// A volume that takes longer is stuck.
const DEFAULT_VOLUME_TIMEOUT: Duration = Duration::from_secs(2 * 60);

const SHORTEST_HOOK_TIMEOUT: Duration = Duration::from_secs(1);
const SHORTEST_SETTLE: Duration = Duration::from_secs(1);
/// Sooner, every return would cry for a person.
const SHORTEST_RETURN_TIMEOUT: Duration = Duration::from_secs(10);
/// More often, and an idle host would hardly do anything else.
const SHORTEST_COMMAND_INTERVAL: Duration = Duration::from_secs(10);
/// Sooner, a fleet would hardly do anything else.
const SHORTEST_MAX_UPTIME: Duration = Duration::from_secs(3600);
/// A shutdown takes that long on many hosts before the kernel restarts.
const SHORTEST_REBOOT_TIMEOUT: Duration = Duration::from_secs(30);
/// A drain that may take no time would be given up before its first eviction.
const SHORTEST_DRAIN_TIMEOUT: Duration = Duration::from_secs(1);
/// None at all would remove the pod's object at once, without waiting for the kubelet.
const SHORTEST_GRACE_PERIOD: Duration = Duration::from_secs(1);
/// More than anyone means, and little enough that no sum of times overflows.
const LONGEST: Duration = Duration::from_secs(10 * 31_557_600);
const MOST_REBOOT_TRIES: u32 = 10;
/// As many as are remembered.
const MOST_REBOOTS_PER_DAY: u32 = 10;

/// As in [`crate::host::hold::PATH`].
const HOLD: &str = "hold";

/// Completes what the files say to settings; `administrators` is the administrator's own directory.
pub(super) fn complete(
    merged: Merged,
    host_name: &str,
    administrators: &Path,
) -> Result<Settings, ConfigError> {
    let (api, kubeconfig) = api_access(&merged, &administrators.join("kubeconfig"))?;
    let host = host(&merged, administrators)?;
    let policy = policy(&merged)?;
    let drain = drain(&merged)?;
    let signs = signs(&merged)?;
    checks::prometheus(&merged)?;
    let after = checks::after(&merged)?;
    let gates = gates(&merged)?;
    let pool = pool(&merged).to_owned();
    let hooks = hooks(&merged)?;
    let node_name = match merged.node_name {
        Some(name) => name.value,
        None => node_name_of(host_name)?,
    };
    Ok(Settings {
        node_name,
        pool,
        mode: value_or(merged.mode, Mode::Active),
        api,
        host,
        policy,
        drain,
        signs,
        gates,
        after,
        hooks,
        sources: merged.sources.into_iter().chain(kubeconfig).collect(),
    })
}

fn value_or<T>(given: Option<Located<T>>, default: T) -> T {
    given.map_or(default, |given| given.value)
}

/// The name that the kubelet registers this host under, unless it is told another.
fn node_name_of(host_name: &str) -> Result<String, ConfigError> {
    NodeName::try_from(host_name.trim().to_lowercase()).map(|name| name.0).map_err(|message| {
        ConfigError::nowhere(format!("{message}; this is the host name, set \"name\" in [node]"))
    })
}

fn host(merged: &Merged, administrators: &Path) -> Result<Host, ConfigError> {
    let default = Host::default();
    let interval = &merged.sentinel_command_interval;
    let interval = within("sentinel_command_interval", interval, SHORTEST_COMMAND_INTERVAL)?;
    Ok(Host {
        sentinel: merged.sentinel.as_ref().map_or(default.sentinel, |path| path.value.clone()),
        sentinel_command: merged
            .sentinel_command
            .as_ref()
            .map_or(Vec::new(), |command| command.value.clone()),
        sentinel_command_interval: interval.unwrap_or(default.sentinel_command_interval),
        newer_kernel: merged.newer_kernel.as_ref().is_some_and(|yes| yes.value),
        livepatched_min_age: within("livepatched_min_age", &merged.livepatched_min_age, Duration::ZERO)?,
        needrestart: merged.needrestart.as_ref().is_some_and(|yes| yes.value),
        request_annotation: merged.request_annotation.as_ref().is_none_or(|yes| yes.value),
        max_uptime: within("max_uptime", &merged.max_uptime, SHORTEST_MAX_UPTIME)?,
        hold: administrators.join(HOLD),
    })
}

/// Checks all that can be checked without this host and its credential.
pub(super) fn check(merged: &Merged, administrators: &Path) -> Result<(), ConfigError> {
    match &merged.server {
        Some(server) => drop(access_by_keys(merged, server)?),
        None => refuse_without_server(merged)?,
    }
    host(merged, administrators)?;
    policy(merged)?;
    drain(merged)?;
    signs(merged)?;
    checks::prometheus(merged)?;
    checks::after(merged)?;
    gates(merged)?;
    hooks(merged)?;
    Ok(())
}

pub(super) fn pool(merged: &Merged) -> &str {
    merged.pool.as_ref().map_or(DEFAULT_POOL, |pool| &pool.value)
}

fn gates(merged: &Merged) -> Result<Gates, ConfigError> {
    Ok(Gates {
        max_nodes_not_ready: merged.max_nodes_not_ready.as_ref().map_or(0, |number| number.value),
        count_cordoned: merged.count_cordoned.as_ref().is_some_and(|yes| yes.value),
        min_uptime: within("min_uptime", &merged.min_uptime, Duration::ZERO)?.unwrap_or_default(),
        blocking_pods: merged.blocking_pods.as_ref().map(|given| given.value.clone()).unwrap_or_default(),
        query: checks::before(merged)?,
        sessions: merged.sessions.as_ref().and_then(|wait| wait.value),
        require_synchronized_clock: merged.require_synchronized_clock.as_ref().is_none_or(|yes| yes.value),
    })
}

pub(super) fn policy(merged: &Merged) -> Result<Policy, ConfigError> {
    let min_interval = within("min_interval", &merged.min_interval, Duration::ZERO)?;
    let min_age = within("min_age", &merged.min_age, Duration::ZERO)?;
    let settle = within("settle", &merged.settle, SHORTEST_SETTLE)?;
    let reboot_timeout = within("reboot_timeout", &merged.reboot_timeout, SHORTEST_REBOOT_TIMEOUT)?;
    let return_timeout = within("return_timeout", &merged.return_timeout, SHORTEST_RETURN_TIMEOUT)?;
    Ok(Policy {
        windows: windows(merged),
        drain: merged.drain.as_ref().map_or(DrainMode::Auto, |it| it.value),
        window_left: window_left(merged)?,
        min_interval: min_interval.unwrap_or(DEFAULT_MIN_INTERVAL),
        max_reboots_per_day: max_reboots_per_day(&merged.max_reboots_per_day)?,
        min_age: min_age.unwrap_or_default(),
        deadline: deadline(merged)?,
        yielding: merged.yielding.as_ref().map(|gates| gates.value.clone()).unwrap_or_default(),
        kexec: merged.kexec.as_ref().is_some_and(|yes| yes.value),
        settle: settle.unwrap_or(DEFAULT_SETTLE),
        reboot_timeout: reboot_timeout.unwrap_or(DEFAULT_REBOOT_TIMEOUT),
        reboot_tries: reboot_tries(&merged.reboot_tries)?,
        return_timeout: return_timeout.unwrap_or(DEFAULT_RETURN_TIMEOUT),
    })
}

/// Zero is none.
fn deadline(merged: &Merged) -> Result<Option<Duration>, ConfigError> {
    let given = within("deadline", &merged.deadline, Duration::ZERO)?;
    let deadline = Some(given.unwrap_or(DEFAULT_DEADLINE)).filter(|deadline| !deadline.is_zero());
    match &merged.yielding {
        Some(yielding) if deadline.is_none() && !yielding.value.is_empty() => {
            let message = "\"give_up_after_deadline\" has no effect where \"deadline\" is 0";
            Err(ConfigError::at(yielding.place.clone(), message))
        }
        _ => Ok(deadline),
    }
}

/// What is configured, else the drain's timeout where that is.
fn window_left(merged: &Merged) -> Result<Duration, ConfigError> {
    let given = within("window_left", &merged.window_left, Duration::ZERO)?;
    let timeout = merged.drain_timeout.as_ref().map(|timeout| timeout.value);
    Ok(given.or(timeout).unwrap_or(DEFAULT_WINDOW_LEFT))
}

/// When reboots may start; without a window never, whatever is frozen.
pub(super) fn windows(merged: &Merged) -> Option<Windows> {
    let open = merged.window.as_ref()?.value.clone();
    Some(Windows { open, freezes: merged.freeze.as_ref().map_or(vec![], |freezes| freezes.value.clone()) })
}

fn drain(merged: &Merged) -> Result<Drain, ConfigError> {
    let default = Drain::default();
    let volume_timeout = within("volume_timeout", &merged.volume_timeout, Duration::ZERO)?;
    Ok(Drain {
        timeout: within("timeout", &merged.drain_timeout, SHORTEST_DRAIN_TIMEOUT)?,
        on_timeout: merged.on_timeout.as_ref().map_or(default.on_timeout, |it| it.value),
        bare_pods: merged.bare_pods.as_ref().map_or(default.bare_pods, |it| it.value),
        empty_dir_pods: merged.empty_dir_pods.as_ref().map_or(default.empty_dir_pods, |it| it.value),
        grace_period: within("grace_period", &merged.grace_period, SHORTEST_GRACE_PERIOD)?,
        delete: delete_refused(merged)?,
        volume_timeout: volume_timeout.unwrap_or(default.volume_timeout),
    })
}

fn signs(merged: &Merged) -> Result<Signs, ConfigError> {
    let default = Signs::default();
    let leave = within("leave_load_balancers", &merged.leave_load_balancers, Duration::ZERO)?;
    if let (Some(given), Some(timeout)) = (&merged.leave_load_balancers, &merged.drain_timeout)
        && given.value >= timeout.value
    {
        let message =
            "\"leave_load_balancers\" must be shorter than \"timeout\": nothing leaves before it is over";
        return Err(ConfigError::at(given.place.clone(), message));
    }
    Ok(Signs {
        waiting_label: merged.waiting_label.as_ref().map_or(default.waiting_label, |yes| yes.value),
        waiting_taint: merged.waiting_taint.as_ref().map_or(default.waiting_taint, |yes| yes.value),
        labels: merged.drain_labels.as_ref().map_or(default.labels, |labels| labels.value.clone()),
        leave_load_balancers: leave,
        keep_from_autoscalers: merged
            .keep_from_autoscalers
            .as_ref()
            .map_or(default.keep_from_autoscalers, |yes| yes.value),
    })
}

fn hooks(merged: &Merged) -> Result<Hooks, ConfigError> {
    let default = Hooks::default();
    let keys = [
        (Hook::BeforeDrain, &merged.before_drain),
        (Hook::BeforeReboot, &merged.before_reboot),
        (Hook::AfterBoot, &merged.after_boot),
    ];
    let wanted = keys.into_iter().filter(|(_, given)| given.as_ref().is_some_and(|yes| yes.value));
    let timeout = within("timeout", &merged.hook_timeout, SHORTEST_HOOK_TIMEOUT)?;
    Ok(Hooks {
        wanted: wanted.map(|(hook, _)| hook).collect(),
        timeout: timeout.unwrap_or(default.timeout),
        on_failure: merged.on_hook_failure.as_ref().map_or(default.on_failure, |it| it.value),
        on_failure_after_boot: merged
            .on_failure_after_boot
            .as_ref()
            .map_or(default.on_failure_after_boot, |it| it.value),
    })
}

/// Either key alone is a mistake: one would delete everywhere, or nowhere.
fn delete_refused(merged: &Merged) -> Result<Option<DeleteRefused>, ConfigError> {
    let after = within("delete_after", &merged.delete_after, SHORTEST_DRAIN_TIMEOUT)?;
    match (after, &merged.delete_after, &merged.delete_namespaces) {
        (Some(after), _, Some(namespaces)) => {
            Ok(Some(DeleteRefused { after, namespaces: namespaces.value.clone() }))
        }
        (None, _, None) | (Some(_), None, None) => Ok(None),
        (Some(_), Some(given), None) => {
            Err(ConfigError::at(given.place.clone(), "\"delete_after\" needs \"delete_namespaces\" as well"))
        }
        (None, _, Some(given)) => {
            Err(ConfigError::at(given.place.clone(), "\"delete_namespaces\" needs \"delete_after\" as well"))
        }
    }
}

/// Checks that a time, if one is given, is at least `shortest` and not absurd.
pub(super) fn within(
    key: &str,
    given: &Option<Located<Duration>>,
    shortest: Duration,
) -> Result<Option<Duration>, ConfigError> {
    let Some(given) = given else { return Ok(None) };
    if given.value < shortest {
        let message = format!("\"{key}\" must be at least {}s", shortest.as_secs());
        return Err(ConfigError::at(given.place.clone(), message));
    }
    if given.value > LONGEST {
        let message = format!("\"{key}\" must be at most 10 years");
        return Err(ConfigError::at(given.place.clone(), message));
    }
    Ok(Some(given.value))
}

fn max_reboots_per_day(given: &Option<Located<u32>>) -> Result<Option<u32>, ConfigError> {
    match given {
        Some(given) if !(1..=MOST_REBOOTS_PER_DAY).contains(&given.value) => {
            let message = format!("\"max_reboots_per_day\" must be between 1 and {MOST_REBOOTS_PER_DAY}");
            Err(ConfigError::at(given.place.clone(), message))
        }
        given => Ok(given.as_ref().map(|given| given.value)),
    }
}

fn reboot_tries(given: &Option<Located<u32>>) -> Result<u32, ConfigError> {
    match given {
        None => Ok(DEFAULT_REBOOT_TRIES),
        Some(given) if (1..=MOST_REBOOT_TRIES).contains(&given.value) => Ok(given.value),
        Some(given) => {
            let message = format!("\"reboot_tries\" must be between 1 and {MOST_REBOOT_TRIES}");
            Err(ConfigError::at(given.place.clone(), message))
        }
    }
}

/// How to reach the cluster, and the kubeconfig that says so, if one does.
fn api_access(
    merged: &Merged,
    default_kubeconfig: &Path,
) -> Result<(Option<ApiAccess>, Option<PathBuf>), ConfigError> {
    if let Some(server) = &merged.server {
        return Ok((Some(access_by_keys(merged, server)?), None));
    }
    refuse_without_server(merged)?;
    let (path, written_at) = match &merged.kubeconfig {
        Some(given) => (given.value.as_path(), Some(&given.place)),
        None => (default_kubeconfig, None),
    };
    match (kubeconfig::read(path)?, written_at) {
        (Some(access), _) => Ok((Some(access), Some(path.to_owned()))),
        // Nobody promised the default one.
        (None, None) => Ok((None, None)),
        (None, Some(place)) => {
            Err(ConfigError::at(place.clone(), format!("there is no kubeconfig {}", path.display())))
        }
    }
}

/// The access that `server` and the keys beside it describe.
fn access_by_keys(merged: &Merged, server: &Located<String>) -> Result<ApiAccess, ConfigError> {
    if let Some(kubeconfig) = &merged.kubeconfig {
        let message = format!("either \"kubeconfig\" or \"server\" ({}), not both", server.place);
        return Err(ConfigError::at(kubeconfig.place.clone(), message));
    }
    let missing = |key| ConfigError::at(server.place.clone(), format!("\"server\" needs {key} as well"));
    let authority = merged.certificate_authority.as_ref();
    let authority = authority.ok_or_else(|| missing("\"certificate_authority\""))?;
    let credential = match (&merged.token_file, &merged.client_certificate, &merged.client_key) {
        (Some(token), None, None) => Credential::TokenFile(token.value.clone()),
        (None, Some(certificate), Some(key)) => Credential::ClientCertificate {
            certificate: PemSource::File(certificate.value.clone()),
            key: PemSource::File(key.value.clone()),
        },
        (Some(_), Some(other), _) | (Some(_), _, Some(other)) => {
            let message = "either \"token_file\" or a client certificate, not both";
            return Err(ConfigError::at(other.place.clone(), message));
        }
        (None, Some(_), None) => return Err(missing("\"client_key\"")),
        (None, None, Some(_)) => return Err(missing("\"client_certificate\"")),
        (None, None, None) => {
            return Err(missing("\"token_file\", or \"client_certificate\" and \"client_key\""));
        }
    };
    Ok(ApiAccess {
        server: server.value.clone(),
        certificate_authority: PemSource::File(authority.value.clone()),
        credential,
    })
}

/// Keys that would silently do nothing are mistakes.
fn refuse_without_server(merged: &Merged) -> Result<(), ConfigError> {
    let keys =
        [&merged.certificate_authority, &merged.token_file, &merged.client_certificate, &merged.client_key];
    match keys.into_iter().flatten().next() {
        Some(key) => Err(ConfigError::at(
            key.place.clone(),
            "this has no effect without \"server\"; a kubeconfig brings its own credential",
        )),
        None => Ok(()),
    }
}
