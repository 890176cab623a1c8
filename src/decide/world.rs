//! The World: everything that the core knows, folded from events.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::drain::DrainState;
use super::health::Health;
use super::reboot::LastReboot;
use super::{
    AbortReason, AfterReadings, Budget, Confinement, CredentialState, Hook, HookRun, HookUnit, Inhibitor,
    Kernel, Measured, Names, NodeView, Now, Others, Parts, PodView, Proven, Reading, Request,
    ScheduledShutdown, SlotView, Source, Target, Update,
};

/// A write to a slot or the Node may rest on a look that ended at most this long ago.
const LOOK_IS_FRESH: Duration = Duration::from_secs(10);
/// How old the host's readings may be then: apt may have begun to work a moment ago.
const HOST_IS_FRESH: Duration = Duration::from_secs(1);
/// A write that comes later than this after a failure is not a repetition; our own pauses are shorter.
const SOON_AFTER: Duration = Duration::from_secs(5 * 60);
/// An unanswered claim may be applied late: this long afterwards we look for it. Also after each start.
pub(super) const SECOND_LOOK: Duration = Duration::from_secs(120);

/// Everything that the core knows.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct World {
    /// The time of the latest event.
    pub now: Now,
    /// Drawn at random once per process: a nonce is this and a count.
    pub process: String,
    /// This host.
    pub host: Host,
    /// The cluster, as far as this node sees it.
    pub cluster: Cluster,
    /// What survives a restart. Losing it may make the daemon less polite, never less safe.
    pub memory: Memory,
    /// Somebody asked this node to give back its slots and to claim nothing.
    pub step_back: bool,
}

/// Facts of this host.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Host {
    /// This boot's id, without dashes.
    pub boot_id: String,
    /// This machine's id, without dashes.
    pub machine_id: String,
    /// The machine gets another id at each boot, so no reboot could ever be proven.
    pub machine_id_is_transient: bool,
    /// Why it should reboot, by source, if it should.
    pub requests: BTreeMap<Source, Reading<Option<Request>>>,
    /// What is wrong with this host's configuration; if anything, the settings stay as they were.
    pub configuration: Option<String>,
    /// What the hold file says, if a person holds this node.
    pub hold: Reading<Option<String>>,
    /// Whether Livepatch covers what the sentinel asks for, if that matters.
    pub livepatched: Reading<bool>,
    /// Which kernel runs, and which would run after a reboot.
    pub kernel: Reading<Kernel>,
    /// Which updates are installed and not live; `None` if nobody has worked it out. Only shown.
    pub updates: Option<Vec<Update>>,
    /// What was measured of this turn so far. Only told.
    pub measured: Measured,
    /// Whether it is shutting down.
    pub going_down: Reading<bool>,
    /// The file that dpkg or apt holds a lock on, while either of them is at work.
    pub package_manager: Reading<Option<String>>,
    /// Inhibitors on shutdown.
    pub inhibitors: Reading<Vec<Inhibitor>>,
    /// Whether logind would allow us to reboot.
    pub may_reboot: Reading<bool>,
    /// The shutdown that somebody has scheduled.
    pub scheduled: Reading<Option<ScheduledShutdown>>,
    /// Whether the clock is synchronised, when last asked; see [`super::clock_matters`].
    pub clock_synchronized: Reading<bool>,
    /// Who is logged in, if that matters.
    pub sessions: Reading<Vec<String>>,
    /// When people who are logged in were last asked to log out.
    pub people_told: Option<Duration>,
    /// Why the latest attempt to keep [`Memory`] failed, if it did.
    pub memory_failure: Option<String>,
    /// What dpkg has left half done, if anything.
    pub unfinished_packages: Reading<Names>,
    /// The units of the hooks that are wanted.
    pub hooks: BTreeMap<Hook, Reading<HookUnit>>,
    /// The hook that this process asked for last, and when.
    pub hook_told: Option<(Hook, Duration)>,
    /// How it stands with this node's own credential.
    pub credential: CredentialState,
    /// When all of this host was last read.
    pub read_at: Option<Duration>,
}

/// Facts of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Cluster {
    /// The own Node; `None` if there is none of that name.
    pub node: Reading<Option<NodeView>>,
    /// All slots, of all pools.
    pub slots: Reading<Vec<SlotView>>,
    /// Somebody has paused the fleet, with these words. It is read together with the slots and as current as they
    /// are.
    pub pause: Option<String>,
    /// Whether policies confine this node's credential.
    pub confinement: Reading<Confinement>,
    /// How often in a row it was found that they do not.
    pub unconfined: u32,
    /// The other nodes.
    pub others: Reading<Others>,
    /// Who has tried what this node would make live, as far as that was asked.
    pub proven: Reading<Proven>,
    /// Whether the fleet's policy is understood; what it says is in the settings. Not current until it has been read,
    /// and after a watch has reported that it changed.
    pub policy: Reading<()>,
    /// When the API server last gave no answer about it.
    pub policy_unanswered: Option<Duration>,
    /// Whatever Prometheus finds that keeps a reboot from starting.
    pub alerts: Reading<Names>,
    /// What the gates after a reboot found.
    pub after: AfterReadings,
    /// The pods of this node by uid.
    pub pods: Reading<BTreeMap<String, PodView>>,
    /// The budgets that may cover bare pods of this node.
    pub budgets: Reading<Vec<Budget>>,
    /// How far their eviction has come.
    pub drain: DrainState,
    /// How long the node has been well.
    pub health: Health,
    /// When the current look began; `None` after a write has ended or something has changed.
    pub look: Option<Look>,
    /// Uids of the objects for which this process's latest write was answered 2xx. All others are in doubt.
    pub settled: BTreeSet<String>,
    /// The write that is under way.
    pub pending: Option<Pending>,
    /// How many writes this process has begun.
    pub writes: u64,
    /// This process has sent a stamp and has not yet asked for the reboot.
    pub stamped: bool,
    /// Until when that stamp allows the call. A look ends this early: what it finds may speak against the reboot.
    pub may_call_until: Option<Duration>,
    /// When a look is due, whatever else happens.
    pub second_look: Option<Duration>,
    /// How many looks failed in a row.
    pub reads_failed: u32,
    /// Why the latest look failed, if it did.
    pub read_failure: Option<String>,
    /// How many writes failed in a row; a lost race is not a failure.
    pub writes_failed: u32,
    /// Why the latest write failed, if it did.
    pub write_failure: Option<String>,
    /// The first and the last of the failures in a row; see [`World::failing_since`].
    pub write_failures: Option<(Duration, Duration)>,
    /// This process has sent a release, for this reason, and has got no answer.
    pub release_unanswered: Option<Option<AbortReason>>,
    /// When the Node was last seen not to be back from our reboot.
    pub away_until: Option<Duration>,
    /// Since when there has been no Node of our name, as far as it was read.
    pub node_missing: Option<Duration>,
    /// When the Node was last written outside a turn and only for its signs.
    pub shown: Option<Duration>,
    /// No look and no write before this time since boot: what the server asked for, and our own backoff.
    pub retry_at: Option<Duration>,
    /// What logind answered to the latest call, if that was an error.
    pub reboot_failure: Option<String>,
    /// When it last waited, this node waited for something else than a slot, or for nothing.
    pub gated: bool,
    /// What it watched then.
    pub watched: Parts,
    /// When it last did: no slot counts as free for it since earlier.
    pub opened: Option<Duration>,
    /// Free slots by name.
    pub free: BTreeMap<String, Free>,
    /// Held slots, by uid, whose holder's Node was missing when we last looked for it.
    pub missing: BTreeMap<String, Missing>,
}

/// A write that is under way.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Pending {
    /// Its object.
    pub target: Target,
    /// Whether the object was settled before it.
    pub settled: bool,
    /// The look that it rests on.
    pub look: Option<Look>,
}

/// A slot that is free.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Free {
    /// The resourceVersion in which it was seen free.
    pub resource_version: String,
    /// When that was first seen.
    pub since: Duration,
    /// It was seen held before: its last holder may have named who claims next.
    pub seen_held: bool,
}

/// One complete look at the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Look {
    /// When its first read began.
    pub begun: Duration,
    /// When it ended.
    pub ended: Option<Duration>,
    /// What it has read; pods may have been listed after it.
    pub read: Parts,
    /// A watch has reported on a pod since: the look is enough to go on evicting, but not enough to reboot.
    pub pods_changed: bool,
    /// A watch has reported on a slot since: the look is enough to go on waiting, and for nothing else.
    pub slots_changed: bool,
    /// The list of pods before it showed nothing left to drain, and this look was to confirm that.
    pub confirms_drained: bool,
    /// Our cordon has been answered since: the look is enough to evict, but not enough to write.
    pub is_before_cordon: bool,
}

/// A held slot whose holder's Node is missing.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Missing {
    /// The slot's resourceVersion: any write to the slot restarts this.
    pub resource_version: String,
    /// When it was last seen to be so.
    pub seen: Duration,
    /// For how long it has been so, counting only time between looks that were close enough to each other.
    pub lasted: Duration,
}

/// What is kept across restarts. Losing it does no harm to safety.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Memory {
    /// The latest attempt that failed.
    pub setback: Option<Setback>,
    /// The latest reboot that we asked for.
    pub last_reboot: Option<LastReboot>,
    /// When our cordon that is on the Node now was confirmed: wall time since 1970, by this host's clock.
    pub cordoned_at: Option<Duration>,
    /// When the earlier reboots were asked for: wall time since 1970. Those of one day, at most as many as the
    /// configuration can allow in a day.
    pub earlier_reboots: Vec<Duration>,
    /// Since when this boot is known.
    pub first_start: Option<FirstStart>,
    /// Since when the Node has been well in this boot.
    pub well: Option<Well>,
    /// Which kernel this boot runs, and which ran in the boot before.
    pub kernels: Option<Kernels>,
    /// Since when, in this boot, no cordon of ours has been on the Node: the soak counts from here.
    pub uncordoned: Option<Uncordoned>,
    /// For sources that do not say so themselves, since when they ask: wall time since 1970, by this host's clock.
    pub asked_since: BTreeMap<Source, Duration>,
    /// When each hook was last asked for.
    pub hooks: BTreeMap<Hook, HookRun>,
}

impl Memory {
    /// Since when this source asks: since `now`, by wall time, if it was not heard before.
    pub(super) fn hear(&mut self, source: Source, now: Duration) -> Duration {
        if let Some(first) = self.first_start.as_mut().filter(|_| !self.asked_since.contains_key(&source)) {
            first.heard.insert(source);
        }
        *self.asked_since.entry(source).or_insert(now)
    }

    /// This source does not ask any more.
    pub(super) fn forget(&mut self, source: Source) {
        self.asked_since.remove(&source);
        if let Some(first) = &mut self.first_start {
            first.heard.remove(&source);
        }
    }
}

/// The agent's first start in a boot. Not the boot itself: in a container, the clock is that of its host.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FirstStart {
    /// The boot.
    pub boot_id: String,
    /// When, in time since that boot.
    pub at: Duration,
    /// The sources that were first heard in it: none of them has asked for longer than it lasts.
    pub heard: BTreeSet<Source>,
    /// The wall clock was set in it: times that were written before that say nothing.
    pub clock_was_set: bool,
}

/// Since when the Node has been well, so that a restart of the agent does not begin `settle` again.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Well {
    /// In this boot.
    pub boot_id: String,
    /// `lastTransitionTime` of Ready then.
    pub transition: String,
    /// When this was first seen, in time since that boot.
    pub at: Duration,
}

/// The kernels of this boot and of the one before, as far as this agent ran in both.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Kernels {
    /// This boot.
    pub boot_id: String,
    /// The release that runs in it.
    pub running: String,
    /// The release that ran before it.
    pub before: Option<String>,
}

/// The first answered write to the Node in a boot after which no cordon of ours was on it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Uncordoned {
    /// The boot.
    pub boot_id: String,
    /// When, in time since that boot.
    pub at: Duration,
}

/// An attempt that failed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Setback {
    /// The boot in which it happened; in another boot it no longer counts.
    pub boot_id: String,
    /// When, in time since that boot.
    pub at: Duration,
    /// Its number among the failures in a row.
    pub count: u32,
    /// What went wrong.
    pub because: AbortReason,
}

impl World {
    /// The World of a process that has seen nothing yet.
    pub fn new(now: Now, process: String, boot_id: String, machine_id: String, memory: Memory) -> World {
        World {
            now,
            process,
            host: Host {
                boot_id,
                machine_id,
                machine_id_is_transient: false,
                requests: BTreeMap::from([(Source::SentinelFile, Reading::default())]),
                configuration: None,
                hold: Reading::default(),
                livepatched: Reading::default(),
                kernel: Reading::default(),
                updates: None,
                measured: Measured::default(),
                going_down: Reading::default(),
                package_manager: Reading::default(),
                inhibitors: Reading::default(),
                may_reboot: Reading::default(),
                scheduled: Reading::default(),
                clock_synchronized: Reading::default(),
                sessions: Reading::default(),
                people_told: None,
                memory_failure: None,
                unfinished_packages: Reading::default(),
                hooks: BTreeMap::new(),
                hook_told: None,
                credential: CredentialState::Good,
                read_at: None,
            },
            cluster: Cluster { second_look: Some(now.boot + SECOND_LOOK), ..Cluster::default() },
            memory,
            step_back: false,
        }
    }

    /// How long ago this was, by wall time.
    ///
    /// If the wall clock was set back since (no battery, or it was ahead before), only the time since boot is
    /// certain. So a wait never becomes longer than if it were counted from this boot.
    pub(super) fn elapsed_since(&self, wall: Duration) -> Duration {
        self.now.wall.checked_sub(wall).unwrap_or(self.now.boot)
    }

    /// The latest reboot that we asked for, if this boot came from it or from a later one.
    pub(super) fn rebooted(&self) -> Option<&LastReboot> {
        // A reboot asked for in this boot has not happened yet.
        self.memory.last_reboot.as_ref().filter(|last| last.boot_id != self.host.boot_id)
    }

    /// For how long this boot is known; less than it lasts, since in a container the clock is that of its host.
    pub(super) fn known_for(&self) -> Option<Duration> {
        let first = self.memory.first_start.as_ref().filter(|first| first.boot_id == self.host.boot_id)?;
        Some(self.now.boot.saturating_sub(first.at))
    }

    /// How long ago this reboot was. In the boot that it led to, that boot tells: a clock that is set meanwhile, on a
    /// host without a battery, would end every interval at once.
    pub(super) fn since_reboot(&self, last: &LastReboot) -> Duration {
        let is_of_this_boot = last.led_to.as_ref() == Some(&self.host.boot_id);
        let of_this_boot = self.known_for().filter(|_| is_of_this_boot);
        of_this_boot.unwrap_or_else(|| self.elapsed_since(last.at))
    }

    /// Since when writes have failed, one soon after the other. A failure that nothing followed, because nothing more
    /// was to be written, is not one that lasts.
    pub(super) fn failing_since(&self) -> Option<Duration> {
        let (first, last) = self.cluster.write_failures?;
        (self.now.boot <= last + SOON_AFTER).then_some(first)
    }

    /// A nonce that no earlier write has used.
    pub(super) fn nonce(&self) -> String {
        format!("{}-{}", self.process, self.cluster.writes)
    }

    /// Whether this process's latest write to the object with this uid was answered.
    pub(super) fn is_settled(&self, uid: &str) -> bool {
        self.cluster.settled.contains(uid)
    }

    /// Whether a write may rest on the latest readings: the cluster first, then the host, both just now.
    ///
    /// Counted from the end of the look, so that a slow API server delays a write but does not prevent it.
    pub(super) fn look_is_fresh(&self) -> bool {
        let look = self.cluster.look.filter(|look| !look.is_before_cordon);
        let Some(ended) = look.and_then(|look| look.ended) else { return false };
        let host = self.host.read_at;
        self.now.boot < ended + LOOK_IS_FRESH
            && host.is_some_and(|at| ended <= at && self.now.boot <= at + HOST_IS_FRESH)
    }
}
