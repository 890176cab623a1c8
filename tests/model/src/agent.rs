//! One agent: the daemon's own `observe` and `decide`, with an edge that imitates `src/agent.rs`.
//!
//! Between two steps of the model an agent is a [`Local`]: where its loop stands, and its World, reduced to what
//! can still matter ([`Agents::store`] says what is left out and why that loses no behaviour). The core is pure, so
//! the outcome of a step is worked out once and then remembered: it is the daemon's code all the same.
//!
//! Time. Every reading is made `NOW`; what was earlier becomes `LONG_AGO`. That a time has passed is an event of
//! its own in the model, and may come at any moment: no interleaving is missed because a number was too small.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::time::Duration;

use rebootd::access::{ApiAccess, Credential, PemSource};
use rebootd::decide::settings::{
    self, AfterSettings, DrainSettings, ForeignCordon, GatesSettings, HooksSettings, Mode, NotifySettings,
    PolicySettings, Prometheus, Query, Settings, SignsSettings, Zones,
};
use rebootd::decide::{
    AfterReadings, Claim, DrainState, Effect, Event, Eviction, EvictionOutcome, EvictionRefusal, Failure,
    Health, KubeletLease, LastReboot, Memory, Names, Next, NodeChange, NodeView, Now, Open, Others, Outcome,
    Part, Parts, Phase, Reads, Refuser, Request, SlotChange, SlotView, SlotWrite, Source, Target, Windows,
    World, decide, holders, observe,
};

use crate::searches::Search;
use crate::state::{Node, Slot};
use crate::views::{
    IGNORED_TAINT, has_new_taint, node_view, pod_uid, pod_view, slot_name, slot_uid, slot_views,
};

pub const NOW: Duration = Duration::from_secs(1_000_000);
pub const LONG_AGO: Duration = Duration::ZERO;
/// Longer than the time within which the call follows the stamp.
const TOO_LATE: Duration = Duration::from_secs(6);
const TIME: Now = Now { boot: NOW, wall: NOW };

pub const THIS_BOOT: &str = "cccccccccccccccccccccccccccccccc";
pub const FORMER_BOOT: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
pub const THIS_MACHINE: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
pub const OTHER_MACHINE: &str = "ffffffffffffffffffffffffffffffff";
pub const ME: &str = "me";
pub const OTHERS: [&str; 2] = ["other-0", "other-1"];
/// Longer than a holder's Node has to be missing.
const LONG: Duration = Duration::from_secs(86_400);
pub const NODE: &str = "node";
const FORMER_NODE: &str = "former-node";
const PROCESS: &str = "p";
/// What the nonce of a next write is, after `store` has set the count back.
const NEXT_NONCE: &str = "p-0";
pub const POOLS: [&str; 2] = ["a", "b"];
/// The number of the pod that has no controller.
pub const BARE: u8 = 2;
/// Reads everything there is, so that no second look is needed for a part.
const EVERYTHING: Parts = Parts::only(Part::Policy)
    .with(Part::Others)
    .with(Part::Waiters)
    .with(Part::Alerts)
    .with(Part::After)
    .with(Part::Node)
    .with(Part::Slots)
    .with(Part::Holders)
    .with(Part::Kubelet)
    .with(Part::Pods)
    .with(Part::Budgets);

/// A write on its way, reduced to what it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Write {
    /// Takes a slot; `again` keeps the time of the claim before it.
    Claim {
        slot: u8,
        current_uid: bool,
        again: bool,
    },
    Stamp {
        slot: u8,
        attempt: u8,
    },
    /// Says that the Node is well again.
    Returned {
        slot: u8,
    },
    Release {
        slot: u8,
    },
    /// Takes it from a holder whose Node is gone.
    Free {
        slot: u8,
    },
    Cordon,
    Uncordon,
    RemoveMark,
    Confirm,
}

impl Write {
    /// The slot that it writes; none for the Node.
    pub fn slot(self) -> Option<usize> {
        match self {
            Write::Claim { slot, .. }
            | Write::Stamp { slot, .. }
            | Write::Returned { slot }
            | Write::Release { slot }
            | Write::Free { slot } => Some(usize::from(slot)),
            _ => None,
        }
    }
}

/// Where the loop of an agent stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// The host is down.
    Off,
    /// It waits, and looks when it is woken.
    Waiting,
    /// In the middle of a look: it has read its Node, and is about to read the slots.
    HalfRead,
    /// It waits for pods with a look that still counts, and is told of pods by a watch.
    Draining,
    /// A write was sent, and not yet answered. `fresh`: it changes the object whatever it holds.
    Pending { write: Write, fresh: bool },
}

/// An agent between two steps.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Local {
    pub stage: Stage,
    /// The write that it waits for, as the core made it.
    effect: Option<Effect>,
    /// The next look is to confirm that nothing is left to drain.
    confirms: bool,
    world: World,
}

/// What an agent goes on with.
struct Goes {
    stage: Stage,
    effect: Option<Effect>,
    confirms: bool,
    /// Its health still matters.
    keeps_health: bool,
}

impl Goes {
    fn on(stage: Stage, keeps_health: bool) -> Goes {
        Goes { stage, effect: None, confirms: false, keeps_health }
    }
}

/// The index of a [`Local`].
pub type Id = u32;

type Quick = BuildHasherDefault<QuickHasher>;

/// The tables are asked many million times, by nobody with bad intentions.
#[derive(Default)]
struct QuickHasher(u64);

impl Hasher for QuickHasher {
    fn finish(&self) -> u64 {
        self.0 ^ self.0 >> 32
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u8(&mut self, number: u8) {
        self.write_u64(u64::from(number));
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(u64::from(number));
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0.rotate_left(5) ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }

    fn write_isize(&mut self, number: isize) {
        self.write_u64(number as u64);
    }
}

/// How the readings of the host end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Readings {
    Open,
    /// dpkg is at work.
    Closed,
    /// A person holds the node.
    Held,
    /// D-Bus does not answer.
    NoBus,
    /// The sentinel cannot be read.
    NoRequest,
    /// The locks cannot be read.
    NoLocks,
    /// Whether a person holds the node cannot be read.
    NoHold,
    /// Another node of the pool is NotReady.
    OtherNodeDown,
    /// The other nodes cannot be read.
    NoOthers,
    /// The fleet's policy is not understood.
    NoPolicy,
    /// No window is open: that needs no reading, it may be so at any moment.
    NoWindow,
    /// What is asked after a reboot is not well.
    NotWell,
}

/// What a step needs to know of the world around the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Around {
    pub readings: Readings,
    pub request: bool,
    pub going_down: bool,
    /// Whether a budget lets pods go.
    pub may_evict: bool,
    /// Whether logind says yes, should it be asked to reboot.
    pub may_reboot: bool,
    pub pool: u8,
}

/// What an agent did in a step, besides changing its mind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Did {
    pub evicted: bool,
    pub called: bool,
    /// A rule that this step broke.
    pub broke: Option<&'static str>,
}

/// What the model offers to be seen of the cluster in the second half of a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Seen {
    pub slots: [Slot; 2],
    pub slot_count: u8,
    /// The agent's number, by which slots name their holder.
    pub me: u8,
    /// The Node, where the slots were read before it.
    pub node: Option<Node>,
    pub kubelet_renews: bool,
    pub pod: Option<u8>,
    /// Slot 1 belongs to the second pool.
    pub two_pools: bool,
    /// The holder of this slot has no Node.
    pub holder_missing: [bool; 2],
    /// The drain's deadline is over.
    pub overdue: bool,
    /// `reboot_timeout` is over since the stamp.
    pub stamp_over: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Step {
    ReadNode(Node),
    ReadSlots(Seen),
    ReadFailed { node_too: bool },
    ReadRest(Seen, Around),
    Wake(Around),
    PodGone(u8),
    LookAgain,
    Answered { late: bool, around: Around },
    Refused { conflict: bool },
    Unanswered,
    NodeRecreated,
    SlotRecreated(u8),
    Reloaded,
}

/// All agents: each [`Local`] once, and what became of it at each step.
pub struct Agents {
    locals: Vec<Local>,
    ids: HashMap<Local, Id, Quick>,
    done: HashMap<(Id, Step), (Id, Did), Quick>,
    settings: [Settings; 2],
    /// The same outside every window.
    outside: [Settings; 2],
    /// What every process finds remembered.
    memory: Memory,
    /// Nodes report no boot id, as kubemark's and some others do.
    empty_boot_ids: bool,
    members: bool,
    drains: bool,
    waits_for_cordons: bool,
}

impl Agents {
    pub fn new(search: &Search) -> Agents {
        let settings = POOLS.map(|pool| settings(pool, search));
        let outside = settings.clone().map(|mut settings| {
            settings.policy.windows = Some(Windows { open: Open::During(Vec::new()), freezes: Vec::new() });
            settings
        });
        // Only bare pods ask how long the host was away.
        let last_reboot = search.faults.bare_pods.then(|| LastReboot {
            boot_id: "of-an-earlier-turn".into(),
            ready_at: Some(LONG),
            ..LastReboot::default()
        });
        Agents {
            memory: Memory { last_reboot, ..Memory::default() },
            locals: Vec::new(),
            ids: HashMap::default(),
            done: HashMap::default(),
            settings,
            outside,
            empty_boot_ids: search.empty_boot_ids,
            members: search.members,
            drains: search.drains,
            waits_for_cordons: search.waits_for_cordons,
        }
    }

    pub fn get(&self, id: Id) -> &Local {
        &self.locals[id as usize]
    }

    pub fn count(&self) -> usize {
        self.locals.len()
    }

    /// A host that is down.
    pub fn off(&mut self) -> Id {
        self.store(Goes::on(Stage::Off, false), self.new_world())
    }

    /// A process that has just begun.
    pub fn started(&mut self) -> Id {
        self.store(Goes::on(Stage::Waiting, false), self.new_world())
    }

    pub fn read_node(&mut self, id: Id, node: Node) -> Id {
        self.step(id, Step::ReadNode(node)).0
    }

    pub fn read_slots(&mut self, id: Id, seen: Seen) -> Id {
        self.step(id, Step::ReadSlots(seen)).0
    }

    /// Whether the core wants its Node read before the slots.
    pub fn node_comes_first() -> bool {
        let mut parts = EVERYTHING.in_order().filter(|part| matches!(part, Part::Node | Part::Slots));
        parts.next() == Some(Part::Node)
    }

    pub fn read_failed(&mut self, id: Id, node_too: bool) -> Id {
        self.step(id, Step::ReadFailed { node_too }).0
    }

    pub fn read_rest(&mut self, id: Id, seen: Seen, around: Around) -> (Id, Did) {
        self.step(id, Step::ReadRest(seen, around))
    }

    /// Draining: the host is read again, the look still counts.
    pub fn wake(&mut self, id: Id, around: Around) -> (Id, Did) {
        self.step(id, Step::Wake(around))
    }

    /// Draining: the watch tells that this pod has left.
    pub fn pod_gone(&mut self, id: Id, pod: u8) -> Id {
        self.step(id, Step::PodGone(pod)).0
    }

    /// Draining: the look has grown old, or a watch says that something else changed.
    pub fn look_again(&mut self, id: Id) -> Id {
        self.step(id, Step::LookAgain).0
    }

    pub fn answered(&mut self, id: Id, late: bool, around: Around) -> (Id, Did) {
        self.step(id, Step::Answered { late, around })
    }

    pub fn refused(&mut self, id: Id, conflict: bool) -> Id {
        self.step(id, Step::Refused { conflict }).0
    }

    pub fn unanswered(&mut self, id: Id) -> Id {
        self.step(id, Step::Unanswered).0
    }

    /// The Node of this agent is another object from now on.
    pub fn node_recreated(&mut self, id: Id) -> Id {
        self.step(id, Step::NodeRecreated).0
    }

    /// This slot is another object from now on.
    pub fn slot_recreated(&mut self, id: Id, slot: u8) -> Id {
        self.step(id, Step::SlotRecreated(slot)).0
    }

    /// The settings changed: the pool.
    pub fn reloaded(&mut self, id: Id) -> Id {
        self.step(id, Step::Reloaded).0
    }

    /// The pods that an agent believes to be on its node.
    pub fn pods_seen(&self, id: Id) -> [bool; 3] {
        let pods = self.get(id).world.cluster.pods.last();
        [0, 1, BARE].map(|pod: u8| pods.is_some_and(|pods| pods.contains_key(pod_uid(pod))))
    }

    fn step(&mut self, id: Id, step: Step) -> (Id, Did) {
        if let Some(done) = self.done.get(&(id, step)) {
            return *done;
        }
        let result = self.take(id, step);
        self.done.insert((id, step), result);
        result
    }

    fn take(&mut self, id: Id, step: Step) -> (Id, Did) {
        let Local { stage, effect, confirms, mut world } = self.get(id).clone();
        let mut did = Did::default();
        let mut see = |event| observe(&mut world, event, TIME);
        let next = match step {
            Step::ReadNode(node) => {
                see(Event::LookBegun);
                let view = node_view(node, self.empty_boot_ids);
                see(Event::Node(Ok(view)));
                Goes { confirms, ..Goes::on(Stage::HalfRead, true) }
            }
            Step::ReadSlots(seen) => {
                see(Event::LookBegun);
                see(Event::Slots(Ok(slot_views(&seen))));
                Goes { confirms, ..Goes::on(Stage::HalfRead, true) }
            }
            Step::ReadFailed { node_too } => {
                let failure = Failure { message: "connection refused".into(), retry_after: None };
                if node_too {
                    see(Event::LookBegun);
                    see(Event::Node(Err(failure)));
                } else {
                    see(Event::Slots(Err(failure)));
                }
                see(Event::LookEnded(Reads { parts: EVERYTHING, confirms_drained: false }));
                // What failed is looked at again; nothing else can come of it.
                Goes::on(Stage::Waiting, true)
            }
            Step::ReadRest(seen, around) => {
                if seen.stamp_over || seen.overdue {
                    world.cluster.may_call_until = None;
                }
                let mut see = |event| observe(&mut world, event, TIME);
                see(Event::Policy(policy(around.readings)));
                see(Event::Others(others(around.readings, self.members)));
                see(Event::After(after(around.readings)));
                match seen.node {
                    Some(node) => see(Event::Node(Ok(node_view(node, self.empty_boot_ids)))),
                    None => see(Event::Slots(Ok(slot_views(&seen)))),
                }
                for name in holders(&world, &self.settings[usize::from(around.pool)]) {
                    let exists =
                        !OTHERS.iter().zip(seen.holder_missing).any(|(other, gone)| gone && *other == name);
                    observe(&mut world, Event::Holder { name, exists: Ok(exists) }, TIME);
                }
                // As long as it takes: the ten minutes are patience, no rule that safety rests on.
                world.cluster.missing.values_mut().for_each(|missing| missing.lasted = LONG);
                let mut see = |event| observe(&mut world, event, TIME);
                let renewed = if seen.kubelet_renews { "later" } else { "r" };
                see(Event::Kubelet(Ok(KubeletLease { renewed: renewed.into(), ..KubeletLease::default() })));
                see(Event::Pods(Ok(seen.pod.into_iter().map(pod_view).collect())));
                see(Event::Budgets(Ok(Vec::new())));
                see(Event::LookEnded(Reads { parts: EVERYTHING, confirms_drained: confirms }));
                // The spread of claims is over: a claim may come at once.
                world.cluster.free.values_mut().for_each(|free| free.since = LONG_AGO);
                read_host(&mut world, around);
                self.go_on(&mut world, around, &mut did)
            }
            Step::Wake(around) => {
                read_host(&mut world, around);
                self.go_on(&mut world, around, &mut did)
            }
            Step::PodGone(pod) => {
                see(Event::PodGone(pod_view(pod).key));
                Goes::on(if world.cluster.look.is_some() { Stage::Draining } else { Stage::Waiting }, false)
            }
            Step::LookAgain => Goes::on(Stage::Waiting, false),
            Step::Answered { late, around } => {
                let Some(effect) = effect else { return (id, did) };
                let sent = if late { NOW - TOO_LATE } else { NOW };
                see(Event::WriteEnded { effect, sent, outcome: Outcome::Answered });
                Goes { keeps_health: true, ..self.go_on(&mut world, around, &mut did) }
            }
            Step::Refused { conflict } => {
                let Some(effect) = effect else { return (id, did) };
                let failure = Failure { message: "no".into(), retry_after: None };
                let outcome = Outcome::Refused { failure, conflict };
                see(Event::WriteEnded { effect, sent: NOW, outcome });
                Goes::on(Stage::Waiting, true)
            }
            Step::Unanswered => {
                let Some(effect) = effect else { return (id, did) };
                let failure = Failure { message: "timed out".into(), retry_after: None };
                see(Event::WriteEnded { effect, sent: NOW, outcome: Outcome::Unanswered(failure) });
                Goes::on(Stage::Waiting, true)
            }
            Step::NodeRecreated => {
                world.cluster.settled.remove(NODE);
                if let Some(pending) = &mut world.cluster.pending
                    && pending.target.0 == NODE
                {
                    pending.target.0 = FORMER_NODE.into();
                }
                if let Some(Some(node)) = world.cluster.node.last().cloned() {
                    world.cluster.node.take(Ok(Some(NodeView { uid: FORMER_NODE.into(), ..node })));
                }
                let stage = match stage {
                    Stage::Pending { write: Write::Claim { slot, again, .. }, fresh } => {
                        Stage::Pending { write: Write::Claim { slot, again, current_uid: false }, fresh }
                    }
                    // What it drains by is out of date: it looks again.
                    Stage::Draining => Stage::Waiting,
                    other => other,
                };
                Goes { stage, effect, confirms, keeps_health: true }
            }
            Step::SlotRecreated(slot) => {
                let uid = slot_uid(slot);
                world.cluster.settled.remove(uid);
                if let Some(pending) = &mut world.cluster.pending
                    && pending.target.0 == uid
                {
                    pending.target.0 = "former-slot".into();
                }
                let stage = if stage == Stage::Draining { Stage::Waiting } else { stage };
                Goes { stage, effect, confirms, keeps_health: true }
            }
            Step::Reloaded => {
                see(Event::Reloaded);
                Goes::on(Stage::Waiting, false)
            }
        };
        (self.store(next, world), did)
    }

    /// Decides and acts until there is something to wait for.
    fn go_on(&self, world: &mut World, around: Around, did: &mut Did) -> Goes {
        let of_now = if around.readings == Readings::NoWindow { &self.outside } else { &self.settings };
        let settings = &of_now[usize::from(around.pool)];
        for _ in 0..8 {
            let decision = decide(world, settings);
            let keeps_health = matches!(decision.phase, Phase::Returning | Phase::Restoring);
            match decision.next {
                Next::Wait(_) => {
                    if decision.reasons.is_empty() && decision.phase != Phase::Idle {
                        did.broke = Some("P9: it waits without a reason");
                    }
                    let drains = self.drains && decision.phase == Phase::Draining;
                    let stage = match world.cluster.look {
                        Some(_) if drains => Stage::Draining,
                        _ => Stage::Waiting,
                    };
                    return Goes::on(stage, keeps_health);
                }
                // Where the pods alone are to be listed, the model reads everything.
                Next::Read(reads) if reads.parts != Parts::NONE => {
                    let confirms = reads.confirms_drained;
                    return Goes { confirms, ..Goes::on(Stage::Waiting, keeps_health) };
                }
                Next::Read(_) => read_host(world, around),
                Next::Act(Effect::Evict(eviction)) => {
                    did.broke = did.broke.or(unread(around, true, false)).or(self.in_the_way(world));
                    if eviction.pods.iter().any(|pod| pod.uid == pod_uid(BARE)) {
                        did.broke = Some("a pod is lost: it evicts one that nothing recreates");
                    }
                    evict(world, eviction, around.may_evict);
                    did.evicted |= around.may_evict;
                }
                Next::Act(Effect::Reboot { .. }) => {
                    did.broke = did.broke.or(unread(around, true, false));
                    did.called = true;
                    observe(world, Event::RebootBegun, TIME);
                    let result = if around.may_reboot { Ok(()) } else { Err("no".into()) };
                    observe(world, Event::RebootEnded(result), TIME);
                    return Goes::on(Stage::Waiting, false);
                }
                Next::Act(effect) => {
                    let (write, nonce, target) = reduce(&effect);
                    did.broke = did.broke.or(self.broken(world, around, write, &effect));
                    observe(world, Event::WriteBegun(target), TIME);
                    let fresh = nonce == NEXT_NONCE && world.cluster.writes == 1;
                    let stage = Stage::Pending { write, fresh };
                    return Goes { effect: Some(effect), ..Goes::on(stage, keeps_health) };
                }
            }
        }
        did.broke = Some("it turns in a circle");
        Goes::on(Stage::Waiting, false)
    }

    /// The rule that a write breaks.
    fn broken(&self, world: &World, around: Around, write: Write, effect: &Effect) -> Option<&'static str> {
        let is_progress = is_progress(world, write);
        let unread = unread(around, is_progress, needs_others(world, write));
        if unread.is_some() {
            return unread;
        }
        // Read in a look only, on which each write rests.
        if around.readings == Readings::NoPolicy && is_progress {
            return Some("P8: it goes on beside a policy that is not understood");
        }
        let handed_on = hands_on(world, write);
        if around.readings == Readings::NotWell && handed_on.is_some_and(|slot| slot.stamp.is_some()) {
            return Some("P3: it hands its slot on while a gate after its reboot is shut");
        }
        let node = node(world);
        if handed_on.is_some() && node.is_some_and(has_new_taint) {
            return Some("P3: it hands its slot on beside a taint that was not there at the claim");
        }
        if let Some(claim) = claim_of(effect)
            && claim.taints.as_ref() != node.map(|node| &node.repelling_taints)
        {
            return Some("P3: its claim does not say which taints its Node has");
        }
        self.in_the_way(world).filter(|_| is_progress)
    }

    /// What only a person can change, as last read, stops progress.
    fn in_the_way(&self, world: &World) -> Option<&'static str> {
        let foreign = node(world).is_some_and(|node| node.unschedulable && !node.unschedulable_is_ours);
        if self.waits_for_cordons && foreign {
            return Some("P2: it goes on while somebody else has cordoned its Node");
        }
        let pods = world.cluster.pods.last();
        let bare = pods.is_some_and(|pods| pods.contains_key(pod_uid(BARE)));
        bare.then_some("P2: it goes on while a pod stands in the way")
    }

    fn new_world(&self) -> World {
        World::new(TIME, PROCESS.into(), THIS_BOOT.into(), THIS_MACHINE.into(), self.memory.clone())
    }

    /// Keeps what can still matter, and nothing else:
    ///
    /// - In `Waiting` and `Pending` the next step is a new look. What was read of cluster and host is dropped: no
    ///   effect but the call of Reboot passes without a look, and that one reads the host itself; until then the
    ///   request counts that the stamp was sent for.
    /// - Failures in a row, backoffs, setbacks and the second look only delay; here a step may come at any time.
    /// - The count of writes begins again, as after the process has got a new name; `Pending` says whether the
    ///   nonce was a new one.
    /// - Health is kept only where a phase asks for it.
    fn store(&mut self, goes: Goes, mut world: World) -> Id {
        let Goes { stage, effect, confirms, keeps_health } = goes;
        let new = self.new_world();
        world.memory = new.memory;
        let cluster = &mut world.cluster;
        let fresh = new.cluster;
        cluster.writes = 0;
        (cluster.reads_failed, cluster.writes_failed, cluster.retry_at) = (0, 0, None);
        (cluster.read_failure, cluster.write_failure, cluster.reboot_failure) = (None, None, None);
        cluster.second_look = fresh.second_look;
        if stage != Stage::HalfRead {
            cluster.free.clear();
        }
        // Only whether the cordon of this turn was answered.
        let cordoned = cluster.drain.cordoned.map(|_| LONG_AGO);
        cluster.drain = DrainState { cordoned, ..fresh.drain };
        (cluster.write_failures, cluster.away_until) = (None, None);
        cluster.missing.clear();
        (cluster.shown, cluster.node_missing) = (None, None);
        // An answered cordon goes on with what was read before it.
        let cordons = self.drains && matches!(stage, Stage::Pending { write: Write::Cordon, .. });
        if stage != Stage::Draining && !cordons {
            let requests = std::mem::take(&mut world.host.requests);
            world.host = new.host;
            // The answered stamp is judged before the sentinel is read again.
            if matches!(stage, Stage::Pending { write: Write::Stamp { .. }, .. }) {
                world.host.requests = requests;
            }
            cluster.others = fresh.others;
            if stage != Stage::HalfRead {
                cluster.slots = fresh.slots;
            }
            cluster.pods = fresh.pods;
            cluster.budgets = fresh.budgets;
        }
        if !matches!(stage, Stage::Draining | Stage::HalfRead) && !cordons {
            cluster.node = fresh.node;
            cluster.look = None;
        }
        if let Some(pending) = &mut cluster.pending
            && !cordons
        {
            pending.look = None;
        }
        // The next step begins with a look.
        cluster.may_call_until = None;
        let health = &mut cluster.health;
        if !keeps_health {
            *health = Health::default();
        } else if stage != Stage::HalfRead {
            health.ready_since = health.ready_since.map(|_| LONG_AGO);
        }
        if stage != Stage::HalfRead {
            health.renewed_at = None;
        }
        health.kubelet_failed = false;
        health.renewals = if self.empty_boot_ids { health.renewals.min(2) } else { 0 };
        if let Some(lease) = &mut health.lease {
            lease.renewed = "r".into();
        }
        let local = Local { stage, effect, confirms, world };
        if let Some(id) = self.ids.get(&local) {
            return *id;
        }
        let id = Id::try_from(self.locals.len()).unwrap_or(Id::MAX);
        self.locals.push(local.clone());
        self.ids.insert(local, id);
        id
    }
}

fn settings(pool: &str, search: &Search) -> Settings {
    let server = Prometheus::Service { namespace: "monitoring".into(), port: "prometheus:9090".into() };
    let query = search.after.then(|| Query { expression: "degraded > 0".into(), server });
    Settings {
        node_name: ME.into(),
        pool: pool.into(),
        pool_is_written: true,
        node_is_written: true,
        credential_node: None,
        credential_ends: None,
        token_life: Duration::from_secs(86_400),
        mode: Mode::Active,
        api: Some(ApiAccess {
            server: "https://model".into(),
            certificate_authority: PemSource::Inline(Vec::new()),
            credential: Credential::TokenFile("/token".into()),
        }),
        host: settings::HostSettings::default(),
        policy: PolicySettings {
            windows: Some(Windows::always()),
            min_interval: Duration::ZERO,
            deadline: None,
            reboot_tries: search.reboot_tries,
            zones: if search.zones { Zones::One } else { Zones::Any },
            ..PolicySettings::default()
        },
        drain: DrainSettings { keep_from_autoscalers: false, ..DrainSettings::default() },
        signs: SignsSettings { waiting_label: false, ..SignsSettings::default() },
        gates: GatesSettings {
            require_synchronized_clock: false,
            require_installed_packages: false,
            foreign_cordon: match search.waits_for_cordons {
                true => ForeignCordon::Wait,
                false => ForeignCordon::Reboot,
            },
            ..GatesSettings::default()
        },
        after: AfterSettings {
            query,
            ignore_taints: vec![IGNORED_TAINT.to_owned()],
            ..AfterSettings::default()
        },
        measure: None,
        hooks: HooksSettings::default(),
        notify: NotifySettings::default(),
        sources: Vec::new(),
    }
}

fn read_host(world: &mut World, around: Around) {
    fn no<T>(what: &str) -> Result<T, String> {
        Err(format!("cannot read {what}"))
    }
    let request =
        Request { reason: "/run/reboot-required".into(), packages: Vec::new(), since: Some(Duration::ZERO) };
    let request = match around.readings {
        Readings::NoRequest => no("the sentinel"),
        _ => Ok(around.request.then_some(request)),
    };
    observe(world, Event::Requests([(Source::SentinelFile, Some(request))].into()), TIME);
    let hold = match around.readings {
        Readings::NoHold => no("the hold"),
        Readings::Held => Ok(Some(String::new())),
        _ => Ok(None),
    };
    observe(world, Event::Hold(hold), TIME);
    let package_manager = match around.readings {
        Readings::NoLocks => no("the locks"),
        Readings::Closed => Ok(Some("/var/lib/dpkg/lock".into())),
        _ => Ok(None),
    };
    let event = match around.readings {
        Readings::NoBus => Event::Host {
            going_down: no("going down"),
            package_manager,
            inhibitors: no("inhibitors"),
            may_reboot: no("rights"),
            scheduled: no("shutdowns"),
        },
        _ => Event::Host {
            going_down: Ok(around.going_down),
            package_manager,
            inhibitors: Ok(Vec::new()),
            may_reboot: Ok(true),
            scheduled: Ok(None),
        },
    };
    observe(world, event, TIME);
}

fn others(readings: Readings, members: bool) -> Result<Others, Failure> {
    let mut others = Others::default();
    if members {
        OTHERS.iter().for_each(|name| others.members.push((*name).to_owned()));
        // A third one, without an agent, is always well.
        others.members_ready = Some(2);
    }
    match readings {
        Readings::NoOthers => return Err(Failure { message: "forbidden".into(), retry_after: None }),
        Readings::OtherNodeDown => others.not_ready.push("elsewhere".into()),
        _ => {}
    }
    Ok(others)
}

fn after(readings: Readings) -> AfterReadings {
    let mut found = Names::default();
    if readings == Readings::NotWell {
        found.push("degraded".into());
    }
    AfterReadings { query: Some(Ok(found)), ..AfterReadings::default() }
}

fn policy(readings: Readings) -> Result<(), String> {
    match readings {
        Readings::NoPolicy => Err("unknown key".into()),
        _ => Ok(()),
    }
}

fn evict(world: &mut World, Eviction { pods, how, grace: _ }: Eviction, may_evict: bool) {
    observe(world, Event::EvictionsBegun { pods: pods.clone(), how }, TIME);
    for pod in pods {
        let outcome = if may_evict {
            EvictionOutcome::Granted
        } else {
            let by = Refuser::Budget { name: "web".into(), counts: None };
            EvictionOutcome::Refused(EvictionRefusal { by, message: "the budget".into(), retry_after: None })
        };
        observe(world, Event::EvictionEnded { pod, how, outcome }, TIME);
    }
}

/// P8: what could not be read, or is shut, stops progress; what says whether the host goes down stops everything.
fn unread(around: Around, is_progress: bool, needs_others: bool) -> Option<&'static str> {
    match around.readings {
        Readings::NoBus => Some("P8: it acts while it cannot tell whether the host goes down"),
        _ if around.going_down => Some("going down: it acts while the host goes down"),
        Readings::NoRequest if is_progress => Some("P8: it goes on while the request cannot be read"),
        Readings::NoLocks | Readings::NoHold if is_progress => {
            Some("P8: it goes on while a gate cannot be read")
        }
        Readings::NoOthers if needs_others => Some("P8: it goes on while the other nodes cannot be read"),
        Readings::OtherNodeDown if needs_others => Some("P2: it goes on while another node is not ready"),
        Readings::Closed | Readings::Held | Readings::NoWindow if is_progress => {
            Some("P2: it goes on while a gate is shut")
        }
        _ => None,
    }
}

/// The slot that a write gives back, if the host has rebooted since its claim.
fn hands_on(world: &World, write: Write) -> Option<&SlotView> {
    let Write::Release { slot } = write else { return None };
    let slot = world.cluster.slots.last().into_iter().flatten().find(|it| it.name == slot_name(slot));
    slot.filter(|slot| slot.claim.boot_id.as_deref() != Some(THIS_BOOT))
}

fn claim_of(effect: &Effect) -> Option<&Claim> {
    match effect {
        Effect::WriteSlot(SlotWrite { change: SlotChange::Claim(claim), .. }) => Some(claim),
        _ => None,
    }
}

/// The Node as last read.
fn node(world: &World) -> Option<&NodeView> {
    world.cluster.node.last().and_then(Option::as_ref)
}

/// Whether a write brings the reboot nearer. A repeated one does not.
fn is_progress(world: &World, write: Write) -> bool {
    match write {
        Write::Claim { again, .. } => !again,
        Write::Stamp { .. } => true,
        Write::Cordon => node(world).is_some_and(|node| !node.unschedulable),
        _ => false,
    }
}

/// The other nodes are asked for before the cordon and before the stamp.
fn needs_others(world: &World, write: Write) -> bool {
    matches!(write, Write::Cordon | Write::Stamp { .. }) && is_progress(world, write)
}

fn reduce(effect: &Effect) -> (Write, String, Target) {
    let target = |uid: &str| Target(uid.to_owned());
    match effect {
        Effect::WriteSlot(write) => {
            let slot = u8::from(write.slot == slot_name(1));
            let reduced = match &write.change {
                SlotChange::Claim(claim) => {
                    let current_uid = claim.node_uid.as_deref() == Some(NODE);
                    // The time of an earlier claim is `LONG_AGO` only where it is overdue: see `slot_view`.
                    Write::Claim { slot, current_uid, again: claim.at != Some(NOW) }
                }
                SlotChange::Stamp(stamp, _) => Write::Stamp { slot, attempt: stamp.attempt.min(2) as u8 },
                SlotChange::Returned => Write::Returned { slot },
                SlotChange::Release { .. } => Write::Release { slot },
                SlotChange::Free { .. } => Write::Free { slot },
            };
            (reduced, write.nonce.clone(), target(&write.uid))
        }
        Effect::WriteNode(write) => {
            let reduced = match &write.change {
                NodeChange::Cordon { .. } => Write::Cordon,
                NodeChange::Uncordon { .. } => Write::Uncordon,
                NodeChange::RemoveMark => Write::RemoveMark,
                NodeChange::Confirm { .. } => Write::Confirm,
            };
            (reduced, write.nonce.clone(), target(&write.uid))
        }
        Effect::Evict(_) | Effect::Reboot { .. } | Effect::StartHook { .. } | Effect::TellPeople => {
            (Write::Confirm, String::new(), target(""))
        }
    }
}
