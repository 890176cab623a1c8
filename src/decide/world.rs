//! The World: everything that the core knows, folded from events.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::drain::Drain;
use super::health::Health;
use super::{
    AbortReason, AfterReadings, Budget, Hook, HookRun, HookUnit, Inhibitor, Kernel, Names, NodeView, Now,
    Others, Parts, PodView, Reading, Request, ScheduledShutdown, SlotView, Source, Target,
};

/// How long ago a look may have ended when a write to a slot or the Node rests on it.
const LOOK_IS_FRESH: Duration = Duration::from_secs(10);
/// How old the host's readings may be then: apt may have begun to work a moment ago.
const HOST_IS_FRESH: Duration = Duration::from_secs(1);
/// A claim that went unanswered may land late: this long afterwards we look for it. Each start, too.
pub(super) const SECOND_LOOK: Duration = Duration::from_secs(120);

/// Everything that the core knows.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct World {
    /// The time of the latest event.
    pub now: Now,
    /// Drawn at random once per process: nonces are this and a count.
    pub process: String,
    /// This host.
    pub host: Host,
    /// The cluster, as far as this node sees it.
    pub cluster: Cluster,
    /// What survives a restart; losing it costs politeness, never safety.
    pub memory: Memory,
    /// Somebody asked this node to give back what it holds and to claim nothing.
    pub step_back: bool,
}

/// Facts of this host.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Host {
    /// This boot's id, without dashes.
    pub boot_id: String,
    /// This machine's id, without dashes.
    pub machine_id: String,
    /// Why it should reboot, if it should, by source.
    pub requests: BTreeMap<Source, Reading<Option<Request>>>,
    /// What is wrong with the configuration of this host; the settings are those of before.
    pub configuration: Option<String>,
    /// What the file of a person who holds this node says, if there is one.
    pub hold: Reading<Option<String>>,
    /// Whether Livepatch covers what the sentinel asks for, where that matters.
    pub livepatched: Reading<bool>,
    /// Which kernel runs, and which would after a reboot.
    pub kernel: Reading<Kernel>,
    /// Whether it is shutting down.
    pub going_down: Reading<bool>,
    /// The file that dpkg or apt holds a lock on, while one of them is at work.
    pub package_manager: Reading<Option<String>>,
    /// Inhibitors on shutdown.
    pub inhibitors: Reading<Vec<Inhibitor>>,
    /// Whether logind would let us reboot.
    pub may_reboot: Reading<bool>,
    /// The shutdown that somebody has scheduled.
    pub scheduled: Reading<Option<ScheduledShutdown>>,
    /// Whether the clock is synchronised, as last asked; see [`super::clock_matters`].
    pub clock_synchronized: Reading<bool>,
    /// Who is logged in, where that matters.
    pub sessions: Reading<Vec<String>>,
    /// When those who are logged in were last asked to log out.
    pub people_told: Option<Duration>,
    /// The units of the hooks that are wanted.
    pub hooks: BTreeMap<Hook, Reading<HookUnit>>,
    /// The hook that this process asked for last, and when.
    pub hook_told: Option<(Hook, Duration)>,
    /// When all of these were last read.
    pub read_at: Option<Duration>,
}

/// Facts of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Cluster {
    /// The own Node; `None` where there is none of that name.
    pub node: Reading<Option<NodeView>>,
    /// All slots, of all pools.
    pub slots: Reading<Vec<SlotView>>,
    /// Somebody has paused the fleet, in these words; as current as the slots, which it is read with.
    pub pause: Option<String>,
    /// The other nodes.
    pub others: Reading<Others>,
    /// Whether the fleet's policy is understood: what it says is in the settings. Not current before it is read, and
    /// once a watch has told that it is another.
    pub policy: Reading<()>,
    /// What Prometheus finds that keeps a reboot from starting.
    pub alerts: Reading<Names>,
    /// What the gates after a reboot found.
    pub after: AfterReadings,
    /// The pods of this node by uid.
    pub pods: Reading<BTreeMap<String, PodView>>,
    /// The budgets that may cover bare pods of this node.
    pub budgets: Reading<Vec<Budget>>,
    /// How their eviction goes.
    pub drain: Drain,
    /// How long the node has been well.
    pub health: Health,
    /// When the current look began; `None` once a write ended or something changed.
    pub look: Option<Look>,
    /// Uids of the objects whose latest write of this process was answered 2xx. All others are in doubt.
    pub settled: BTreeSet<String>,
    /// The write on its way.
    pub pending: Option<Pending>,
    /// How many writes this process has begun.
    pub writes: u64,
    /// This process has sent a stamp and has not asked for the reboot since.
    pub stamped: bool,
    /// Until then that stamp allows the call. A look ends it: what it finds may speak against the reboot.
    pub may_call_until: Option<Duration>,
    /// A look is due then, whatever else happens.
    pub second_look: Option<Duration>,
    /// Looks that failed in a row.
    pub reads_failed: u32,
    /// Why the latest look failed, if it did.
    pub read_failure: Option<String>,
    /// Writes that failed in a row; a lost race is no failure.
    pub writes_failed: u32,
    /// Why the latest write failed, if it did.
    pub write_failure: Option<String>,
    /// When the Node was last written without a change of its own, out of turn: what others see was put right then.
    pub shown: Option<Duration>,
    /// Neither look nor write before this time since boot: what the server asked for, and our own backoff.
    pub retry_at: Option<Duration>,
    /// What logind answered to the latest call, if it was an error.
    pub reboot_failure: Option<String>,
    /// Free slots by name: the resourceVersion seen free, and when it was first seen.
    pub free: BTreeMap<String, (String, Duration)>,
    /// Held slots whose holder's Node was missing when it was last looked for, by the slot's uid.
    pub missing: BTreeMap<String, Missing>,
}

/// A write on its way.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Pending {
    /// Its object.
    pub target: Target,
    /// The object was settled before it.
    pub settled: bool,
    /// The look that it rests on.
    pub look: Option<Look>,
}

/// One complete look at the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Look {
    /// When its first read began.
    pub begun: Duration,
    /// When it ended.
    pub ended: Option<Duration>,
    /// What it has read; the pods may have been listed since.
    pub read: Parts,
    /// A watch has told of a pod since: enough to go on evicting, not enough to reboot.
    pub pods_changed: bool,
    /// A list of pods before it showed nothing left to drain, and it was to confirm that.
    pub confirms_drained: bool,
    /// Our cordon has been answered since: enough to evict, not enough to write.
    pub is_before_cordon: bool,
}

/// A held slot whose holder's Node is missing.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Missing {
    /// The slot's resourceVersion: any write to the slot begins this anew.
    pub resource_version: String,
    /// When this was last seen.
    pub seen: Duration,
    /// How long it has been so, as far as looks were close enough to one another to show it.
    pub lasted: Duration,
}

/// What is kept across restarts. Advisory.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Memory {
    /// The latest attempt that came to nothing.
    pub setback: Option<Setback>,
    /// The latest reboot that we asked for.
    pub last_reboot: Option<LastReboot>,
    /// When our cordon was confirmed that is on the Node now: wall time since 1970, by this host's clock.
    pub cordoned_at: Option<Duration>,
    /// When the reboots before that were asked for: wall time since 1970. Those of a day, and not more than
    /// anybody may allow in one.
    pub earlier_reboots: Vec<Duration>,
    /// Since when this boot is known.
    pub first_start: Option<FirstStart>,
    /// Since when no cordon of ours is on the Node after this boot: the soak counts from here.
    pub uncordoned: Option<Uncordoned>,
    /// Since when those sources ask that do not say so themselves: wall time since 1970, by this host's clock.
    pub asked_since: BTreeMap<Source, Duration>,
    /// The latest time that each hook was asked for.
    pub hooks: BTreeMap<Hook, HookRun>,
}

/// The first start of the agent in a boot. Not the boot itself: a container's clock is that of its host.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FirstStart {
    /// The boot.
    pub boot_id: String,
    /// When, in time since that boot.
    pub at: Duration,
}

/// The first answered write to the Node in a boot that left no cordon of ours on it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Uncordoned {
    /// The boot.
    pub boot_id: String,
    /// When, in time since that boot.
    pub at: Duration,
}

/// An attempt that came to nothing.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Setback {
    /// The boot in which it happened; in another one it no longer counts.
    pub boot_id: String,
    /// When, in time since that boot.
    pub at: Duration,
    /// The how-many-th in a row.
    pub count: u32,
    /// What went wrong.
    pub because: AbortReason,
}

/// A reboot that we asked for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct LastReboot {
    /// The boot that it was to end.
    pub boot_id: String,
    /// When: wall time since 1970, by this host's clock.
    pub at: Duration,
    /// The sources of this host that asked for it, but for those that have said no since.
    pub asked: BTreeSet<Source>,
    /// The newer kernel that it was to start.
    pub kernel: Option<String>,
    /// Why, for people: what the claim said. Empty where it is not known.
    pub why: String,
    /// When our cordon for it was confirmed, if there was one: as [`LastReboot::at`].
    pub cordoned_at: Option<Duration>,
    /// When it was confirmed that this cordon is gone.
    pub uncordoned_at: Option<Duration>,
    /// How its turn ended; `None` where an earlier version did not write it down.
    pub ending: Option<Ending>,
}

impl LastReboot {
    /// How long the Node was cordoned for it.
    pub fn cordoned_for(&self) -> Option<Duration> {
        // A clock that went back meanwhile tells nothing.
        self.uncordoned_at?.checked_sub(self.cordoned_at?)
    }
}

/// How the turn of a reboot ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ending {
    /// It has not ended yet.
    UnderWay,
    /// The machine rebooted, the node was healthy, and the slot was given back.
    Well,
    /// The machine stayed up, and the slot was given back.
    StayedUp,
    /// A person freed the slot before the node gave it back.
    SlotLost,
}

impl Ending {
    /// Every ending.
    pub const ALL: [Ending; 4] = [Ending::UnderWay, Ending::Well, Ending::StayedUp, Ending::SlotLost];

    /// A short, stable name.
    pub fn word(self) -> &'static str {
        match self {
            Ending::UnderWay => "under-way",
            Ending::Well => "well",
            Ending::StayedUp => "stayed-up",
            Ending::SlotLost => "slot-lost",
        }
    }
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
                requests: BTreeMap::from([(Source::SentinelFile, Reading::default())]),
                configuration: None,
                hold: Reading::default(),
                livepatched: Reading::default(),
                kernel: Reading::default(),
                going_down: Reading::default(),
                package_manager: Reading::default(),
                inhibitors: Reading::default(),
                may_reboot: Reading::default(),
                scheduled: Reading::default(),
                clock_synchronized: Reading::default(),
                sessions: Reading::default(),
                people_told: None,
                hooks: BTreeMap::new(),
                hook_told: None,
                read_at: None,
            },
            cluster: Cluster { second_look: Some(now.boot + SECOND_LOOK), ..Cluster::default() },
            memory,
            step_back: false,
        }
    }

    /// How long ago this was, by wall time.
    ///
    /// Where the wall clock went back since (no battery, or it was ahead then), what is sure is the time since boot:
    /// so a wait is never longer than it would be counted from this boot.
    pub(super) fn elapsed_since(&self, wall: Duration) -> Duration {
        self.now.wall.checked_sub(wall).unwrap_or(self.now.boot)
    }

    /// The latest reboot that we asked for, if this boot came of it, or of a later one.
    pub(super) fn rebooted(&self) -> Option<&LastReboot> {
        // A reboot that this boot asked for has not happened.
        self.memory.last_reboot.as_ref().filter(|last| last.boot_id != self.host.boot_id)
    }

    /// A nonce that no earlier write carried.
    pub(super) fn nonce(&self) -> String {
        format!("{}-{}", self.process, self.cluster.writes)
    }

    /// Whether the latest write of this process to the object with this uid was answered.
    pub(super) fn is_settled(&self, uid: &str) -> bool {
        self.cluster.settled.contains(uid)
    }

    /// Whether a write may rest on what was last read: the cluster first, then the host, both just now.
    ///
    /// Counted from the end of the look, so that a slow API server delays a write and does not prevent it.
    pub(super) fn look_is_fresh(&self) -> bool {
        let look = self.cluster.look.filter(|look| !look.is_before_cordon);
        let Some(ended) = look.and_then(|look| look.ended) else { return false };
        let host = self.host.read_at;
        self.now.boot < ended + LOOK_IS_FRESH
            && host.is_some_and(|at| ended <= at && self.now.boot <= at + HOST_IS_FRESH)
    }
}
