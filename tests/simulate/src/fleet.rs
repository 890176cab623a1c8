//! Hosts, Nodes, slots and the promises.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::future::{Future, pending};
use std::path::PathBuf;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Waker};
use std::time::Duration;

use rebootd::access::{ApiAccess, Credential, PemSource};
use rebootd::agent::Agent;
use rebootd::decide::settings::{
    AfterSettings, DrainSettings, GatesSettings, HooksSettings, HostSettings, Mode, NotifySettings,
    PolicySettings, Settings, Share, SignsSettings,
};
use rebootd::decide::{
    Event, Memory, NodeView, Now, Owner, Part, Parts, Phase, PodKey, PodView, Request, SlotView, Source,
    WAITING, Windows, World,
};

use crate::clock::{Clock, Due};
use crate::dice::Dice;
use crate::edge::At;
use crate::picture::Sample;

/// What the clocks say at the beginning.
const WALL: u64 = 1_800_000_000;
/// apt's timer spreads its runs over an hour.
const PATCH_HOUR: u64 = 60 * 60 * 1000;
/// A control plane takes a node for dead after this time.
const MISSED: Duration = Duration::from_secs(45);
const RENEWAL: Duration = Duration::from_secs(10);
/// A person looks at a node that does not come back.
const PERSON: Duration = Duration::from_secs(30 * 60);
/// Nobody but those who are named claims a slot before.
const NAMED: Duration = Duration::from_millis(1450);
const SAMPLE: Duration = Duration::from_secs(60);
/// A run that takes longer has hung.
const LONGEST: Duration = Duration::from_secs(14 * 24 * 60 * 60);
pub const POOL: &str = "worker";

/// What to simulate.
pub struct Plan {
    pub nodes: usize,
    pub slots: usize,
    pub lost: usize,
    pub seed: u64,
}

pub struct Host {
    pub settings: Rc<Settings>,
    pub node: NodeView,
    pub pods: BTreeMap<String, PodView>,
    /// Until when a budget refuses the eviction of a pod, counted from the first request.
    pub refused: BTreeMap<String, Duration>,
    pub boot: u32,
    pub booted_at: Duration,
    pub up: bool,
    pub going_down: bool,
    pub asks: bool,
    pub memory: Memory,
    pub watched: Parts,
    /// The version of each slot that its daemon knows.
    pub seen: Vec<u64>,
    pub events: Vec<Event>,
    pub phase: Phase,
    pub kubelet_since: Option<Duration>,
    processes: u32,
    is_lost: bool,
    /// A person has freed its slot.
    is_excused: bool,
    pub is_done: bool,
}

impl Host {
    pub fn boot_id(&self) -> String {
        format!("{:032x}", self.boot)
    }

    /// As the promises have it: cordoned by us, or not back.
    fn is_disrupted(&self) -> bool {
        let ours = self.node.unschedulable && self.node.mark.is_some();
        ours || !self.up || self.node.boot_id != self.boot_id() || !self.node.ready
    }

    pub fn requests(&self) -> BTreeMap<Source, rebootd::decide::Answer> {
        let request =
            Request { reason: "linux-image".into(), packages: vec!["linux-image".into()], since: None };
        BTreeMap::from([(Source::SentinelFile, Some(Ok(self.asks.then_some(request))))])
    }
}

pub struct Fleet {
    pub clock: Clock,
    pub dice: Dice,
    pub hosts: Vec<Host>,
    pub slots: Vec<SlotView>,
    pub versions: Vec<u64>,
    version: u64,
    /// Since when each slot is free.
    freed_at: Vec<Option<Duration>>,
    pub not_ready: BTreeSet<usize>,
    /// By the label on the Node.
    pub waiting: BTreeSet<(String, usize)>,
    /// Those whose daemon neither waits nor has nothing to do.
    active: BTreeSet<usize>,
    disrupted: BTreeSet<usize>,
    numbers: BTreeMap<String, usize>,
    left: usize,
    finished_at: Duration,
    pub counts: BTreeMap<&'static str, u64>,
    in_second: (u64, u64),
    peak: u64,
    handoffs: Vec<Duration>,
    pub violations: Vec<String>,
    pub samples: Vec<Sample>,
    most: usize,
}

type Loop = Pin<Box<dyn Future<Output = ()>>>;

impl Fleet {
    /// Until all have rebooted.
    pub fn roll(plan: &Plan) -> Rc<RefCell<Fleet>> {
        let fleet = Rc::new(RefCell::new(Fleet::new(plan)));
        let mut loops: Vec<Option<Loop>> = (0..plan.nodes).map(|node| Some(begin(&fleet, node))).collect();
        loop {
            let due = {
                let mut fleet = fleet.borrow_mut();
                if fleet.left == 0 || fleet.clock.now > LONGEST {
                    break;
                }
                fleet.clock.next()
            };
            let Some(due) = due else { break };
            match due {
                Due::Loop(node) => {
                    if let Some(its) = &mut loops[node] {
                        let _ = its.as_mut().poll(&mut Context::from_waker(Waker::noop()));
                    }
                }
                Due::Down(node) => {
                    loops[node] = None;
                    fleet.borrow_mut().goes_down(node);
                }
                Due::Boots(node) => {
                    fleet.borrow_mut().boots(node);
                    loops[node] = Some(begin(&fleet, node));
                }
                Due::Killed(node) => {
                    if fleet.borrow().hosts[node].up {
                        loops[node] = Some(begin(&fleet, node));
                    }
                }
                other => fleet.borrow_mut().happens(other),
            }
        }
        fleet
    }

    fn new(plan: &Plan) -> Fleet {
        let mut dice = Dice(plan.seed);
        let mut clock = Clock::default();
        let lost: BTreeSet<usize> = (0..plan.lost).map(|_| dice.one_of(plan.nodes)).collect();
        let slots = (1..=plan.slots).map(|number| SlotView {
            name: format!("worker-{number}"),
            uid: format!("slot-{number}"),
            resource_version: "0".into(),
            pool: Some(POOL.into()),
            ..SlotView::default()
        });
        let slots: Vec<SlotView> = slots.collect();
        let mut hosts = Vec::new();
        for number in 0..plan.nodes {
            clock.at(dice.millis(0, PATCH_HOUR), Due::Asks(number));
            hosts.push(host(number, plan, &mut dice, lost.contains(&number)));
        }
        clock.at(Duration::ZERO, Due::Sample);
        Fleet {
            versions: vec![0; slots.len()],
            freed_at: vec![None; slots.len()],
            slots,
            version: 1,
            not_ready: BTreeSet::new(),
            waiting: BTreeSet::new(),
            active: BTreeSet::new(),
            disrupted: BTreeSet::new(),
            numbers: hosts
                .iter()
                .enumerate()
                .map(|(number, it)| (it.settings.node_name.clone(), number))
                .collect(),
            left: plan.nodes - lost.len(),
            finished_at: Duration::ZERO,
            counts: BTreeMap::new(),
            in_second: (0, 0),
            peak: 0,
            handoffs: Vec::new(),
            violations: Vec::new(),
            samples: Vec::new(),
            most: plan.slots,
            clock,
            dice,
            hosts,
        }
    }

    pub fn now(&self, node: usize) -> Now {
        let wall = Duration::from_secs(WALL) + self.clock.now;
        // A host is up for some days before.
        let boot = self.clock.now + Duration::from_secs(5 * 86_400) - self.hosts[node].booted_at;
        Now { boot, wall }
    }

    /// The time of day of a time since the boot of this node.
    pub fn at(&self, node: usize, boot: Duration) -> Duration {
        (boot + self.hosts[node].booted_at).saturating_sub(Duration::from_secs(5 * 86_400))
    }

    pub fn servers_clock(&self) -> Duration {
        Duration::from_secs(WALL) + self.clock.now
    }

    pub fn new_version(&mut self) -> u64 {
        self.version += 1;
        self.version
    }

    /// Counts requests to the API server.
    pub fn requested(&mut self, what: &'static str, count: u64) {
        *self.counts.entry(what).or_default() += count;
        let second = self.clock.now.as_secs();
        if self.in_second.0 != second {
            self.in_second = (second, 0);
        }
        self.in_second.1 += count;
        self.peak = self.peak.max(self.in_second.1);
    }

    /// Something has happened that this daemon waits for.
    pub fn tell(&mut self, node: usize, event: Option<Event>) {
        if !self.hosts[node].up {
            return;
        }
        self.hosts[node].events.extend(event);
        let soon = self.dice.millis(2, 20);
        self.clock.after(soon, Due::Loop(node));
    }

    /// What its daemon is told the next time that it waits.
    pub fn take_events(&mut self, node: usize) -> Vec<Event> {
        let host = &mut self.hosts[node];
        let mut events = std::mem::take(&mut host.events);
        if host.watched.has(Part::Slots) {
            for (number, slot) in self.slots.iter().enumerate() {
                if host.seen[number] != self.versions[number] {
                    host.seen[number] = self.versions[number];
                    events.push(Event::SlotSeen(slot.clone()));
                }
            }
        }
        events
    }

    pub fn slot_changed(&mut self, number: usize, holder_before: Option<&str>) {
        let version = self.new_version();
        self.versions[number] = version;
        self.slots[number].resource_version = version.to_string();
        self.slots[number].written = Some(self.servers_clock());
        let now = self.clock.now;
        if self.slots[number].holder.is_some() {
            if holder_before.is_none()
                && let Some(freed) = self.freed_at[number].take()
            {
                self.handoffs.push(now - freed);
            }
        } else {
            // Only while somebody waits is it a hand-off.
            self.freed_at[number] = Some(now).filter(|_| !self.waiting.is_empty());
            let names = self.slots[number].next.names.clone();
            let named: Vec<usize> = names.iter().filter_map(|name| self.numbers.get(name).copied()).collect();
            named.into_iter().for_each(|node| self.tell(node, None));
            self.clock.after(NAMED, Due::StillFree(number, version));
        }
        let active: Vec<usize> = self.active.iter().copied().collect();
        for node in active {
            if self.hosts[node].watched.has(Part::Slots) {
                self.tell(node, None);
            }
        }
    }

    pub fn phase_is(&mut self, node: usize, phase: Phase) {
        if self.hosts[node].phase == phase {
            return;
        }
        self.hosts[node].phase = phase;
        match phase {
            Phase::Idle | Phase::Waiting | Phase::Starting => drop(self.active.remove(&node)),
            _ => drop(self.active.insert(node)),
        }
        let may_die = matches!(phase, Phase::Cordoning | Phase::Draining | Phase::Returning);
        if may_die && self.dice.per_thousand(20.0) {
            let soon = self.dice.millis(0, 30_000);
            self.clock.after(soon, Due::Killed(node));
        }
    }

    pub fn labelled(&mut self, node: usize, before: Option<String>) {
        if let Some(since) = before {
            self.waiting.remove(&(since, node));
        }
        if let Some(since) = self.hosts[node].node.labels.get(WAITING) {
            self.waiting.insert((since.clone(), node));
        }
    }

    pub fn rebooted(&mut self, node: usize) {
        let host = &mut self.hosts[node];
        if host.boot > 1 && !host.is_done && !host.is_lost {
            host.is_done = true;
            self.left -= 1;
            self.finished_at = self.clock.now;
        }
    }

    pub fn reboot_asked(&mut self, node: usize) {
        self.hosts[node].going_down = true;
        let soon = self.dice.millis(2_000, 20_000);
        self.clock.after(soon, Due::Down(node));
    }

    fn goes_down(&mut self, node: usize) {
        let host = &mut self.hosts[node];
        (host.up, host.kubelet_since, host.watched) = (false, None, Parts::NONE);
        host.events.clear();
        self.active.remove(&node);
        self.clock.after(MISSED, Due::Missed(node));
        if host.is_lost {
            self.clock.after(PERSON, Due::Released(node));
        } else {
            // Most are virtual machines; some servers take long.
            let slow = self.dice.per_thousand(50.0);
            let takes =
                if slow { self.dice.millis(240_000, 600_000) } else { self.dice.millis(20_000, 120_000) };
            self.clock.after(takes, Due::Boots(node));
        }
        self.check(node);
    }

    fn boots(&mut self, node: usize) {
        let now = self.clock.now;
        let host = &mut self.hosts[node];
        host.boot += 1;
        (host.up, host.going_down, host.asks) = (true, false, false);
        host.booted_at = now + Duration::from_secs(5 * 86_400);
        let soon = self.dice.millis(5_000, 40_000);
        self.clock.after(soon, Due::Kubelet(node));
    }

    fn happens(&mut self, due: Due) {
        match due {
            Due::Asks(node) => {
                self.hosts[node].asks = true;
                let requests = Event::Requests(self.hosts[node].requests());
                self.tell(node, Some(requests));
            }
            Due::Kubelet(node) => {
                let (now, version) = (self.clock.now, self.new_version().to_string());
                let host = &mut self.hosts[node];
                if !host.up {
                    return;
                }
                host.kubelet_since = Some(now);
                host.node.boot_id = host.boot_id();
                (host.node.ready, host.node.ready_since) = (true, version.clone());
                (host.node.heartbeat, host.node.resource_version) = (version.clone(), version);
                self.not_ready.remove(&node);
                self.node_changed(node);
                self.clock.after(RENEWAL, Due::Renews(node));
            }
            Due::Missed(node) if self.hosts[node].kubelet_since.is_none() => {
                let version = self.new_version().to_string();
                let host = &mut self.hosts[node].node;
                (host.ready, host.ready_since, host.resource_version) = (false, version.clone(), version);
                self.not_ready.insert(node);
                self.node_changed(node);
            }
            Due::Renews(node) if self.hosts[node].kubelet_since.is_some() => {
                if self.hosts[node].watched.has(Part::Kubelet) {
                    let resource_version = self.clock.now.as_secs().to_string();
                    let changed = Event::Changed { uid: "kubelet".into(), resource_version };
                    self.tell(node, Some(changed));
                }
                // Afterwards nobody looks.
                if self.active.contains(&node) {
                    self.clock.after(RENEWAL, Due::Renews(node));
                }
            }
            Due::PodGone(node, number) => {
                let pod = self.hosts[node].pods.remove(&pod_uid(number));
                if let Some(pod) = pod.filter(|_| self.hosts[node].watched.has(Part::Pods)) {
                    self.tell(node, Some(Event::PodGone(pod.key)));
                }
            }
            Due::StillFree(slot, version) if self.versions[slot] == version => {
                let waiting: Vec<usize> = self.waiting.iter().map(|(_, node)| *node).collect();
                waiting.into_iter().for_each(|node| self.tell(node, None));
            }
            Due::Released(node) => {
                self.hosts[node].is_excused = true;
                self.check(node);
                let name = self.hosts[node].settings.node_name.clone();
                for number in 0..self.slots.len() {
                    if self.slots[number].holder.as_ref() == Some(&name) {
                        let slot = &mut self.slots[number];
                        (slot.holder, slot.stamp, slot.claim) = (None, None, Default::default());
                        self.slot_changed(number, Some(&name));
                    }
                }
            }
            Due::Sample => {
                let mut counts = [0; 5];
                for host in &self.hosts {
                    let place = match host.phase {
                        _ if host.is_done => 0,
                        _ if !host.up || host.node.boot_id != host.boot_id() => 2,
                        Phase::Returning => 1,
                        Phase::Cordoning | Phase::Draining | Phase::Rebooting | Phase::Aborting => 3,
                        _ => 4,
                    };
                    counts[place] += 1;
                }
                self.samples.push((self.clock.now, counts));
                self.clock.after(SAMPLE, Due::Sample);
            }
            _ => {}
        }
    }

    fn node_changed(&mut self, node: usize) {
        let host = &self.hosts[node];
        if host.watched.has(Part::Node) {
            let (uid, resource_version) = (host.node.uid.clone(), host.node.resource_version.clone());
            self.tell(node, Some(Event::Changed { uid, resource_version }));
        }
        self.check(node);
    }

    /// The promises: who is disrupted holds a slot, and no more are than there are slots.
    pub fn check(&mut self, node: usize) {
        let host = &self.hosts[node];
        if !host.is_disrupted() {
            self.disrupted.remove(&node);
            return;
        }
        let name = &host.settings.node_name;
        let holds = self.slots.iter().any(|slot| slot.holder.as_ref() == Some(name));
        if !host.is_excused {
            self.disrupted.insert(node);
            if !holds {
                self.violations.push(format!("{:?}: {name} is disrupted without a slot", self.clock.now));
            }
        } else {
            self.disrupted.remove(&node);
        }
        if self.disrupted.len() > self.most {
            self.violations.push(format!(
                "{:?}: {} nodes are disrupted",
                self.clock.now,
                self.disrupted.len()
            ));
        }
    }

    pub fn figures(&self) -> Figures {
        let mut handoffs = self.handoffs.clone();
        handoffs.sort_unstable();
        let at = |share: usize| handoffs.get(handoffs.len() * share / 100).copied().unwrap_or_default();
        let count = |what: &str| self.counts.get(what).copied().unwrap_or_default();
        let besides = ["claims", "conflicts", "evictions"];
        Figures {
            nodes: self.hosts.len(),
            rollout: self.finished_at,
            requests: self
                .counts
                .iter()
                .filter(|(what, _)| !besides.contains(what))
                .map(|(_, count)| count)
                .sum(),
            evictions: count("evictions"),
            peak: self.peak,
            claims: count("claims"),
            conflicts: count("conflicts"),
            handoffs: handoffs.len(),
            handoff: [at(50), at(99)],
            violations: self.violations.len(),
            unfinished: self.left,
        }
    }
}

/// What came of it.
pub struct Figures {
    nodes: usize,
    pub rollout: Duration,
    requests: u64,
    evictions: u64,
    pub peak: u64,
    claims: u64,
    conflicts: u64,
    handoffs: usize,
    /// Median, and 99 in a hundred.
    pub handoff: [Duration; 2],
    pub violations: usize,
    pub unfinished: usize,
}

impl Figures {
    pub fn per_node(&self) -> f64 {
        (self.requests as f64 / self.nodes as f64 * 10.0).round() / 10.0
    }

    pub fn conflicts_per_claim(&self) -> f64 {
        (self.conflicts as f64 / self.claims.max(1) as f64 * 1000.0).round() / 1000.0
    }

    pub fn lines(&self) -> Vec<(&'static str, String)> {
        let hours = self.rollout.as_secs_f64() / 3600.0;
        vec![
            ("rollout", format!("{hours:.1} h")),
            ("requests per node, besides evictions", self.per_node().to_string()),
            ("evictions per node", format!("{:.1}", self.evictions as f64 / self.nodes as f64)),
            ("most requests in a second", self.peak.to_string()),
            ("conflicts per claim", self.conflicts_per_claim().to_string()),
            ("hand-offs", self.handoffs.to_string()),
            ("  median", format!("{} ms", self.handoff[0].as_millis())),
            ("  99 %", format!("{} ms", self.handoff[1].as_millis())),
            ("broken promises", self.violations.to_string()),
            ("nodes that have not rebooted", self.unfinished.to_string()),
        ]
    }
}

/// A new process of its daemon.
fn begin(fleet: &Rc<RefCell<Fleet>>, node: usize) -> Loop {
    let mut its = fleet.borrow_mut();
    let now = its.now(node);
    let host = &mut its.hosts[node];
    host.processes += 1;
    host.events.clear();
    host.watched = Parts::NONE;
    let process = format!("{node}-{}", host.processes);
    let world = World::new(now, process, host.boot_id(), host.node.machine_id.clone(), host.memory.clone());
    let settings = Rc::clone(&host.settings);
    let soon = its.dice.millis(0, 2000);
    its.clock.after(soon, Due::Loop(node));
    drop(its);
    let edge = At { fleet: Rc::clone(fleet), node, settings };
    Box::pin(Agent::new(world, edge).run(pending()))
}

pub fn pod_uid(number: usize) -> String {
    format!("pod-{number}")
}

fn host(number: usize, plan: &Plan, dice: &mut Dice, is_lost: bool) -> Host {
    let name = format!("node-{number:05}");
    let mut pods = BTreeMap::new();
    let mut refused = BTreeMap::new();
    for pod in 0..10 + dice.one_of(30) {
        let uid = pod_uid(pod);
        let key = PodKey { namespace: "default".into(), name: uid.clone(), uid: uid.clone() };
        let controller = format!("app-{pod}");
        let view = PodView {
            key,
            owner: Owner::Controller,
            controller_uid: controller.clone(),
            controller,
            ready: true,
            running: true,
            grace: Duration::from_secs(30),
            ..PodView::default()
        };
        if dice.per_thousand(10.0) {
            refused.insert(uid.clone(), dice.millis(20_000, 180_000));
        }
        pods.insert(uid, view);
    }
    let node = NodeView {
        uid: format!("uid-{number}"),
        resource_version: "1".into(),
        ready: true,
        ready_since: "1".into(),
        heartbeat: "1".into(),
        boot_id: format!("{:032x}", 1),
        machine_id: format!("{:032x}", number + 1),
        pool_label: Some(POOL.into()),
        ..NodeView::default()
    };
    Host {
        settings: Rc::new(settings(&name, plan)),
        node,
        pods,
        refused,
        boot: 1,
        booted_at: Duration::ZERO,
        up: true,
        going_down: false,
        asks: false,
        memory: Memory::default(),
        watched: Parts::NONE,
        seen: vec![0; plan.slots],
        events: Vec::new(),
        phase: Phase::Starting,
        kubelet_since: Some(Duration::ZERO),
        processes: 0,
        is_lost,
        is_excused: false,
        is_done: false,
    }
}

fn settings(name: &str, plan: &Plan) -> Settings {
    Settings {
        node_name: name.to_owned(),
        pool: POOL.to_owned(),
        pool_is_written: true,
        node_is_written: true,
        credential_node: None,
        credential_ends: None,
        token_life: Duration::from_secs(86_400),
        mode: Mode::Active,
        api: Some(ApiAccess {
            server: "https://simulated".into(),
            certificate_authority: PemSource::Inline(vec![]),
            credential: Credential::TokenFile(PathBuf::from("/token")),
        }),
        host: HostSettings::default(),
        policy: PolicySettings { windows: Some(Windows::always()), ..PolicySettings::default() },
        drain: DrainSettings { keep_from_autoscalers: false, ..DrainSettings::default() },
        signs: SignsSettings::default(),
        gates: GatesSettings {
            require_synchronized_clock: false,
            max_nodes_not_ready: Share::Nodes(u32::try_from(plan.lost).unwrap_or(u32::MAX)),
            ..GatesSettings::default()
        },
        after: AfterSettings::default(),
        measure: None,
        hooks: HooksSettings::default(),
        notify: NotifySettings::default(),
        sources: vec![],
    }
}
