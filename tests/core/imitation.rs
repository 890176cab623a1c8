//! Nodes, slots, pods and hosts in memory, around the real loop and the real core.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use rebootd::access::{ApiAccess, Credential, PemSource};
use rebootd::agent::{Agent, Edge};
use rebootd::decide::settings::{
    self, AfterSettings, DrainSettings, GatesSettings, HooksSettings, Mode, NotifySettings, PolicySettings,
    Settings, SignsSettings,
};
use rebootd::decide::*;

/// What the API server's clock says at the beginning.
const SERVERS_CLOCK: u64 = 1_700_000_000;

pub fn id(letter: char) -> String {
    letter.to_string().repeat(32)
}

pub fn settings(name: &str) -> Settings {
    Settings {
        node_name: name.into(),
        pool: "worker".into(),
        pool_is_written: true,
        node_is_written: true,
        credential_node: None,
        credential_ends: None,
        token_life: Duration::from_secs(86_400),
        mode: Mode::Active,
        api: Some(ApiAccess {
            server: "https://x".into(),
            certificate_authority: PemSource::Inline(vec![]),
            credential: Credential::TokenFile(PathBuf::from("/x")),
        }),
        host: settings::HostSettings::default(),
        policy: PolicySettings {
            windows: Some(Windows::always()),
            min_interval: Duration::ZERO,
            deadline: None,
            ..PolicySettings::default()
        },
        drain: DrainSettings { keep_from_autoscalers: false, ..DrainSettings::default() },
        signs: SignsSettings { waiting_label: false, ..SignsSettings::default() },
        gates: GatesSettings { require_synchronized_clock: false, ..GatesSettings::default() },
        after: AfterSettings::default(),
        measure: None,
        hooks: HooksSettings::default(),
        notify: NotifySettings::default(),
        sources: vec![],
    }
}

/// The refusal of a budget that allows nothing.
pub fn kept_by(budget: &str) -> EvictionOutcome {
    let by = Refuser::Budget { name: budget.into(), counts: Some((1, 1)) };
    let message = format!("The disruption budget {budget} needs 1 healthy pods and has 1 currently");
    EvictionOutcome::Refused(EvictionRefusal { by, message, retry_after: None })
}

/// One host with its Node, its pods and its agent.
pub struct Host {
    pub settings: Settings,
    pub world: World,
    pub boot: u32,
    pub machine: char,
    pub booted_at: Duration,
    /// What the sources of requests say.
    pub requests: BTreeMap<Source, Answer>,
    /// The file of a person who holds the node.
    pub hold: Result<Option<String>, String>,
    pub scheduled: Option<ScheduledShutdown>,
    pub kernel: Kernel,
    pub half_installed: Names,
    /// Whether policies confine its credential, where that is tried.
    pub confinement: Option<Result<Confinement, String>>,
    /// Why nothing can be written to the disk.
    pub disk_failure: Option<String>,
    /// What is written to the disk is gone after each boot.
    pub forgets: bool,
    /// What the disk's image says at each boot, if what is written is gone.
    pub image: Memory,
    /// Why the API server refuses every write to the Node.
    pub node_writes_refused: Option<String>,
    /// How far this host's clock is from the right one, in seconds.
    pub clock_off: i64,
    /// That of the next boot.
    pub next_clock_off: Option<i64>,
    /// How long a boot takes.
    pub boot_takes: Duration,
    /// The kernel and the taints of the next boot.
    pub next_kernel: Option<Kernel>,
    pub next_taint: Option<String>,
    pub livepatched: Result<bool, String>,
    pub going_down: Result<bool, String>,
    pub package_manager: Option<String>,
    /// logind accepts a reboot, but the machine stays up.
    pub stays_up: bool,
    pub never_returns: bool,
    /// dpkg begins to work while the stamp is on its way.
    pub dpkg_at_stamp: bool,
    pub up: bool,
    /// The Node was deleted.
    pub node_gone: bool,
    pub node: NodeView,
    pub pods: BTreeMap<String, PodView>,
    pub budgets: Result<Vec<Budget>, String>,
    /// When each pod was asked for, in which way.
    pub asked: Vec<(Duration, String, How)>,
    /// The answers about some pods, by name; the others may go, unless all are kept.
    pub answers: BTreeMap<String, EvictionOutcome>,
    pub inhibitors: Vec<Inhibitor>,
    /// Whether the fleet's policy is understood.
    pub policy: Result<(), String>,
    /// What Prometheus finds before a reboot.
    pub alerts: Result<Names, String>,
    /// What the gates after a reboot find.
    pub after: AfterReadings,
    pub clock_synchronized: Result<bool, String>,
    pub sessions: Vec<String>,
    pub hooks: BTreeMap<Hook, HookUnit>,
    /// Hooks that systemd does not start, for a condition of theirs.
    pub deaf: bool,
    /// No object of a pod ever goes.
    pub finalizers: bool,
    /// Pods that a budget keeps.
    pub kept: bool,
    /// Uids of pods that the next boot makes not ready.
    pub unready_after_boot: Vec<String>,
    /// Uids of pods of which the kubelet has not said yet that they were started again.
    pub leftover_after_boot: Vec<String>,
    /// Uids of pods that the kubelet's graceful shutdown ends, and whose controller has not made others yet.
    pub gone_after_boot: Vec<String>,
    pub renewals: u64,
    pub last: Option<Decision>,
    /// What it watched when it last decided.
    pub watched: Parts,
    /// What the agent has written down for its next start.
    pub remembered: Memory,
    processes: u32,
}

/// Applies what others shall see; tells it.
fn show(node: &mut NodeView, signs: &SignsWrite) -> String {
    let mut told = String::new();
    for (name, value) in &signs.labels {
        match value {
            Some(value) => drop(node.labels.insert(name.clone(), value.clone())),
            None => drop(node.labels.remove(name)),
        }
    }
    for (name, value) in &signs.annotations {
        if name == ADDED {
            node.added = value.iter().flat_map(|names| names.split(' ')).map(str::to_owned).collect();
            continue;
        }
        match value {
            Some(_) => drop(node.annotations.insert(name.clone())),
            None => drop(node.annotations.remove(name)),
        }
    }
    for (name, value) in signs.labels.iter().chain(&signs.annotations).filter(|(name, _)| *name != ADDED) {
        match value {
            Some(value) => told.push_str(&format!(" +{name}={value}")),
            None => told.push_str(&format!(" -{name}")),
        }
    }
    if let Some(Taints { waiting, others }) = &signs.taints {
        assert_eq!(*others, node.taints, "it changes the taints of others");
        node.waiting_taint = *waiting;
        told.push_str(if *waiting { " +taint" } else { " -taint" });
    }
    told
}

/// The cluster.
pub struct Cluster {
    pub hosts: Vec<Host>,
    pub slots: Vec<SlotView>,
    pub time: Duration,
    pub version: u64,
    pub story: Vec<String>,
    /// Reads and writes fail.
    pub api_down: bool,
    /// Looking for other nodes fails.
    pub holders_unreadable: bool,
    /// What there is besides the hosts: nodes without an agent, a control plane.
    pub others: Result<Others, String>,
    /// The answer of the write with this number is lost, though it is applied.
    pub lose_answer_of: Option<u64>,
    pub writes: u64,
    /// What has to hold at every moment is checked by this.
    pub most_disrupted: usize,
    /// A person has taken a slot away: whoever had it may still be disrupted.
    pub freed_by_hand: bool,
}

impl Host {
    pub fn boot_id(&self) -> String {
        format!("{:032x}", self.boot * 256 + u32::from(self.machine as u8))
    }
}

/// One host's agent at its place in the cluster: what the loop needs of the world outside.
struct At<'a> {
    cluster: &'a mut Cluster,
    number: usize,
    /// It waits, until then.
    waits: Option<Option<Duration>>,
    /// logind has accepted a reboot, and does it.
    reboots: bool,
}

/// Nothing here takes time.
fn at_once<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("the cluster in memory made somebody wait"),
    }
}

fn failure(message: &str) -> Failure {
    Failure { message: message.into(), retry_after: None }
}

fn failed<T: Clone>(result: &Result<T, String>) -> Result<T, Failure> {
    result.clone().map_err(|message| failure(&message))
}

impl At<'_> {
    fn host(&mut self) -> &mut Host {
        &mut self.cluster.hosts[self.number]
    }

    fn name(&self) -> String {
        self.settings().node_name.clone()
    }

    /// As if nobody answered.
    fn unanswered(part: Part) -> Event {
        let failure = || failure("connection refused");
        match part {
            Part::Policy => Event::PolicyUnanswered(failure()),
            Part::Others => Event::Others(Err(failure())),
            Part::Waiters => Event::Waiters(Waiters::default()),
            Part::Proven => Event::Proven(Err(failure())),
            Part::Alerts => Event::Alerts(Err(failure())),
            Part::After => Event::After(AfterReadings::default()),
            Part::Node => Event::Node(Err(failure())),
            Part::Slots => Event::Slots(Err(failure())),
            Part::Holders => Event::Holder { name: "anybody".into(), exists: Err(failure()) },
            Part::Kubelet => Event::Kubelet(Err(failure())),
            Part::Pods => Event::Pods(Err(failure())),
            Part::Budgets => Event::Budgets(Err(failure())),
            Part::Annotations => Event::Tick,
        }
    }

    fn holders(&self, world: &World) -> Vec<Event> {
        let mut events = Vec::new();
        for name in holders(world, self.settings()) {
            let is_there = |host: &Host| host.settings.node_name == name && !host.node_gone;
            let exists = match self.cluster.holders_unreadable {
                true => Err(failure("timed out")),
                false => Ok(self.cluster.hosts.iter().any(is_there)),
            };
            events.push(Event::Holder { name, exists });
        }
        events
    }
}

impl Edge for At<'_> {
    fn now(&self) -> Now {
        self.cluster.now(self.number)
    }

    fn settings(&self) -> &Settings {
        &self.cluster.hosts[self.number].settings
    }

    fn begin(&mut self, _: &World) -> Vec<Event> {
        vec![]
    }

    fn report(&mut self, _: &World, decision: &Decision) {
        let host = self.host();
        let changed = host.last.as_ref().is_none_or(|last| {
            last.phase != decision.phase
                || last.reasons.iter().map(Reason::kind).ne(decision.reasons.iter().map(Reason::kind))
        });
        let quiet = decision.reasons.is_empty() && !matches!(decision.next, Next::Wait(_));
        if changed && !quiet {
            let reasons: Vec<_> = decision.reasons.iter().map(Reason::kind).collect();
            let text = format!("{} {} {}", host.settings.node_name, decision.phase.word(), reasons.join(" "));
            host.last = Some(decision.clone());
            self.cluster.tell(text.trim_end().to_owned());
        }
    }

    fn remember(&mut self, memory: &Memory) -> Result<(), String> {
        let host = self.host();
        if let Some(why) = &host.disk_failure {
            return Err(why.clone());
        }
        host.remembered = memory.clone();
        Ok(())
    }

    async fn read(&mut self, part: Part, world: &World) -> Vec<Event> {
        if self.cluster.api_down {
            return vec![At::unanswered(part)];
        }
        let host = &self.cluster.hosts[self.number];
        vec![match part {
            Part::Policy => Event::Policy(host.policy.clone()),
            Part::Others => Event::Others(self.cluster.others_of(self.number)),
            Part::Waiters => Event::Waiters(self.cluster.waiters_of(self.number)),
            Part::Proven => Event::Proven(Ok(self.cluster.proven_of(self.number, world))),
            Part::Alerts => Event::Alerts(failed(&host.alerts)),
            Part::After => Event::After(host.after.clone()),
            Part::Node => Event::Node(Ok((!host.node_gone).then(|| host.node.clone()))),
            Part::Slots => {
                let confinement = host.confinement.clone().map(Event::Confinement);
                let slots = Event::Slots(Ok(self.cluster.slots.clone()));
                return [slots].into_iter().chain(confinement).collect();
            }
            Part::Holders => return self.holders(world),
            Part::Kubelet => Event::Kubelet(Ok(KubeletLease {
                renewed: host.renewals.to_string(),
                ..KubeletLease::default()
            })),
            Part::Pods => Event::Pods(Ok(host.pods.values().cloned().collect())),
            Part::Budgets => Event::Budgets(failed(&host.budgets)),
            Part::Annotations => return vec![],
        }]
    }

    async fn read_host(&mut self, _: &World) -> Vec<Event> {
        let host = self.host();
        vec![
            Event::Requests(host.requests.clone()),
            Event::Hold(host.hold.clone()),
            Event::Kernel(Ok(host.kernel.clone())),
            Event::Packages(Ok(host.half_installed.clone())),
            Event::Livepatch(host.livepatched.clone()),
            Event::Clock(host.clock_synchronized.clone()),
            Event::Sessions(Ok(host.sessions.clone())),
            Event::Hooks(host.hooks.iter().map(|(hook, unit)| (*hook, Ok(unit.clone()))).collect()),
            Event::Host {
                going_down: host.going_down.clone(),
                package_manager: Ok(host.package_manager.clone()),
                inhibitors: Ok(host.inhibitors.clone()),
                may_reboot: Ok(true),
                scheduled: Ok(host.scheduled.clone()),
            },
        ]
    }

    fn look_failed(&mut self) {
        let host = self.host();
        host.watched = Parts::NONE.with_if(Part::Annotations, host.watched.has(Part::Annotations));
    }

    fn watch(&mut self, parts: Parts, _: &World) {
        self.host().watched = parts;
    }

    async fn write_slot(&mut self, write: &SlotWrite, _: &World) -> Outcome {
        let name = self.name();
        let outcome = self.cluster.write_slot(&name, write);
        self.cluster.answer(outcome)
    }

    async fn write_node(&mut self, write: &NodeWrite, _: &World) -> Outcome {
        let outcome = self.cluster.write_node(self.number, write);
        self.cluster.answer(outcome)
    }

    fn evict(&mut self, eviction: &Eviction) -> Vec<Event> {
        let how = eviction.how;
        let time = self.cluster.time;
        let host = self.host();
        let mut events = Vec::new();
        for key in &eviction.pods {
            host.asked.push((time, key.name.clone(), how));
            let answer = host.answers.get(&key.name).cloned().or_else(|| host.kept.then(|| kept_by("db")));
            let outcome = answer.filter(|_| how != How::Delete).unwrap_or(EvictionOutcome::Granted);
            if outcome == EvictionOutcome::Granted && how != How::DryRun {
                host.pods.get_mut(&key.uid).unwrap().terminating = true;
            }
            events.push(Event::EvictionEnded { pod: key.clone(), how, outcome });
        }
        events
    }

    fn start_hook(&mut self, hook: Hook) {
        self.cluster.tell(format!("{} starts {}", self.name(), hook.unit()));
        let version = self.cluster.bump();
        let host = self.host();
        let unit = host.hooks.get_mut(&hook).unwrap();
        if !host.deaf && unit.state != UnitState::Runs {
            (unit.invocation, unit.state) = (version, UnitState::Runs);
        }
    }

    fn tell_people(&mut self) {
        self.cluster.tell(format!("{} asks people to log out", self.name()));
    }

    async fn reboot(&mut self, _kexec: bool) -> Result<(), String> {
        self.cluster.tell(format!("{} calls Reboot", self.name()));
        self.reboots = !self.host().stays_up;
        Ok(())
    }

    async fn wait(&mut self, until: Option<Duration>, _: &World) -> Vec<Event> {
        self.waits = Some(until);
        vec![]
    }
}

impl Cluster {
    pub fn new(names: &[&str], slots: usize) -> Cluster {
        let mut cluster = Cluster {
            hosts: vec![],
            slots: (1..=slots)
                .map(|number| SlotView {
                    name: format!("worker-{number}"),
                    uid: format!("slot-{number}"),
                    resource_version: number.to_string(),
                    pool: Some("worker".into()),
                    ..SlotView::default()
                })
                .collect(),
            time: Duration::from_secs(1000),
            version: 100,
            story: vec![],
            api_down: false,
            holders_unreadable: false,
            others: Ok(Others::default()),
            lose_answer_of: None,
            writes: 0,
            most_disrupted: 0,
            freed_by_hand: false,
        };
        for (number, name) in names.iter().enumerate() {
            let machine = char::from(b'a' + u8::try_from(number).unwrap());
            let mut host = Host {
                settings: settings(name),
                world: World::new(
                    Now::default(),
                    String::new(),
                    String::new(),
                    String::new(),
                    Memory::default(),
                ),
                boot: 1,
                machine,
                booted_at: cluster.time,
                requests: BTreeMap::from([(Source::SentinelFile, Some(Ok(None)))]),
                hold: Ok(None),
                scheduled: None,
                livepatched: Ok(false),
                kernel: Kernel { running: "6.1.0-40-amd64".into(), ..Kernel::default() },
                half_installed: Names::default(),
                confinement: None,
                disk_failure: None,
                forgets: false,
                image: Memory::default(),
                node_writes_refused: None,
                clock_off: 0,
                next_clock_off: None,
                boot_takes: Duration::ZERO,
                next_kernel: None,
                next_taint: None,
                going_down: Ok(false),
                package_manager: None,
                stays_up: false,
                never_returns: false,
                dpkg_at_stamp: false,
                policy: Ok(()),
                alerts: Ok(Names::default()),
                after: AfterReadings::default(),
                up: true,
                node_gone: false,
                node: NodeView {
                    uid: format!("node-{name}"),
                    resource_version: "1".into(),
                    ready: true,
                    ready_since: "t0".into(),
                    heartbeat: "h0".into(),
                    machine_id: id(machine),
                    pool_label: Some("worker".into()),
                    allocatable: BTreeMap::from([
                        ("cpu".into(), "4".into()),
                        ("memory".into(), "9Gi".into()),
                    ]),
                    ..NodeView::default()
                },
                pods: BTreeMap::new(),
                budgets: Ok(vec![]),
                asked: vec![],
                answers: BTreeMap::new(),
                inhibitors: vec![],
                clock_synchronized: Ok(true),
                sessions: vec![],
                hooks: BTreeMap::new(),
                deaf: false,
                finalizers: false,
                kept: false,
                unready_after_boot: vec![],
                leftover_after_boot: vec![],
                gone_after_boot: vec![],
                renewals: 0,
                last: None,
                watched: Parts::NONE,
                remembered: Memory::default(),
                processes: 0,
            };
            host.node.boot_id = host.boot_id();
            cluster.hosts.push(host);
            cluster.restart(number);
        }
        cluster
    }

    fn now(&self, host: usize) -> Now {
        Now {
            boot: self.time - self.hosts[host].booted_at,
            wall: Duration::from_secs(
                (self.time.as_secs() + SERVERS_CLOCK).saturating_add_signed(self.hosts[host].clock_off),
            ) + Duration::from_nanos(self.time.subsec_nanos().into()),
        }
    }

    pub fn tell(&mut self, text: String) {
        self.story.push(format!("{:>5}s {text}", self.time.as_secs() - 1000));
    }

    /// A new process of the agent; its memory file survives.
    pub fn restart(&mut self, number: usize) {
        let now = self.now(number);
        let host = &mut self.hosts[number];
        host.processes += 1;
        let process = format!("{}{}", host.machine, host.processes);
        let memory = host.remembered.clone();
        host.world = World::new(now, process, host.boot_id(), id(host.machine), memory);
        let requests = host.requests.clone();
        observe(&mut host.world, Event::Requests(requests), now);
        observe(&mut host.world, Event::Kernel(Ok(host.kernel.clone())), now);
        host.last = None;
    }

    /// The package is removed: a process of its own, which remembers nothing, gives back what the node holds.
    pub fn step_back(&mut self, number: usize) {
        self.hosts[number].remembered = Memory::default();
        self.restart(number);
        self.event(number, Event::StepBack);
    }

    /// Whether the budget keeps all pods; a watch of it tells.
    pub fn keep(&mut self, number: usize, kept: bool) {
        self.hosts[number].kept = kept;
        if self.hosts[number].watched.has(Part::Budgets) {
            for budget in refusing_budgets(&self.hosts[number].world) {
                self.event(number, Event::BudgetSeen { budget, opens: !kept });
            }
        }
    }

    pub fn request(&mut self, number: usize) {
        self.says(number, Source::SentinelFile, Ok(Some("/run/reboot-required")));
    }

    pub fn withdraw(&mut self, number: usize) {
        self.says(number, Source::SentinelFile, Ok(None));
    }

    /// What a source of requests says from now on.
    pub fn says(&mut self, number: usize, source: Source, answer: Result<Option<&str>, &str>) {
        let request = |reason: &str| Request { reason: reason.into(), packages: vec![], since: None };
        let answer = answer.map(|reason| reason.map(request)).map_err(str::to_owned);
        self.hosts[number].requests.insert(source, Some(answer));
        let requests = self.hosts[number].requests.clone();
        self.event(number, Event::Requests(requests));
    }

    /// A person puts the file there that holds this node, or takes it away; the daemon is told at once.
    pub fn hold(&mut self, number: usize, hold: Result<Option<String>, String>) {
        self.hosts[number].hold = hold.clone();
        self.event(number, Event::Hold(hold));
    }

    /// Somebody writes the Node.
    pub fn change_node(&mut self, number: usize, change: impl FnOnce(&mut NodeView)) {
        let resource_version = self.bump();
        let host = &mut self.hosts[number];
        change(&mut host.node);
        host.node.resource_version = resource_version.clone();
        let uid = host.node.uid.clone();
        let (hold, request, labels) =
            (host.node.hold.clone(), host.node.request.clone(), host.node.labels.clone());
        if host.watched.has(Part::Node) {
            self.event(number, Event::Changed { uid, resource_version });
        } else if host.watched.has(Part::Annotations) {
            self.event(number, Event::Annotations { uid, hold, request, labels });
        }
    }

    /// The windows of a host, for a change of its configuration.
    /// Somebody has edited the fleet's policy.
    pub fn policy(&mut self, number: usize, policy: Result<(), String>) {
        self.hosts[number].policy = policy;
        if self.hosts[number].watched.has(Part::Policy) {
            self.event(number, Event::PolicyChanged);
        }
    }

    pub fn windows(&mut self, number: usize) -> &mut Windows {
        self.hosts[number].settings.policy.windows.get_or_insert_with(Windows::always)
    }

    /// A person pauses the fleet, or ends the pause.
    pub fn pause(&mut self, why: Option<&str>) {
        self.slots.retain(|slot| slot.name != PAUSE);
        let resource_version = self.bump();
        if let Some(why) = why {
            self.slots.push(SlotView {
                name: PAUSE.into(),
                uid: "pause".into(),
                resource_version: resource_version.clone(),
                holder: Some(why.into()),
                ..SlotView::default()
            });
        }
        for number in 0..self.hosts.len() {
            let resource_version = resource_version.clone();
            if self.hosts[number].watched.has(Part::Slots) {
                self.event(number, Event::Changed { uid: "pause".into(), resource_version });
            }
        }
    }

    pub fn pod(&mut self, number: usize, name: &str, owner: Owner) {
        let key = PodKey { namespace: "default".into(), name: name.into(), uid: format!("pod-{name}") };
        let pod = PodView {
            instance: Some(self.time.as_millis() as u64),
            key: key.clone(),
            owner,
            controller: name.into(),
            controller_uid: name.into(),
            ready: true,
            grace: Duration::from_secs(30),
            ..PodView::default()
        };
        self.hosts[number].pods.insert(key.uid, pod);
    }

    pub fn event(&mut self, number: usize, event: Event) {
        let now = self.now(number);
        let host = &mut self.hosts[number];
        observe(&mut host.world, event, now);
        host.remembered = host.world.memory.clone();
    }

    fn bump(&mut self) -> String {
        self.version += 1;
        self.version.to_string()
    }

    /// One step of one agent. Returns when it wants to be called again, if it waits.
    pub fn step(&mut self, number: usize) -> Option<Option<Duration>> {
        if !self.hosts[number].up {
            return Some(None);
        }
        self.event(number, Event::Tick);
        // Meanwhile nobody looks at what lies there in its place.
        let idle = World::new(Now::default(), String::new(), String::new(), String::new(), Memory::default());
        let world = std::mem::replace(&mut self.hosts[number].world, idle);
        let mut agent = Agent::new(world, At { cluster: self, number, waits: None, reboots: false });
        at_once(agent.step());
        let (world, At { waits, reboots, .. }) = agent.into_parts();
        self.hosts[number].world = world;
        if reboots {
            self.power_cycle(number);
        }
        self.check();
        waits.map(|until| until.map(|until| until + self.hosts[number].booted_at))
    }

    /// A person deletes the Node, and its cordon with it.
    pub fn delete_node(&mut self, number: usize) {
        let host = &mut self.hosts[number];
        host.node_gone = true;
        (host.node.unschedulable, host.node.unschedulable_is_ours, host.node.mark) = (false, false, None);
        self.tell(format!("{number}: its Node is deleted"));
    }

    /// The kubelet registers a Node of the same name: another object.
    pub fn register_node(&mut self, number: usize) {
        let resource_version = self.bump();
        let host = &mut self.hosts[number];
        host.node_gone = false;
        host.node.uid.push_str("-again");
        host.node.resource_version = resource_version;
    }

    /// What this agent says that it waits for.
    pub fn reasons(&self, number: usize) -> Vec<&'static str> {
        self.hosts[number].last.iter().flat_map(|last| &last.reasons).map(Reason::kind).collect()
    }

    /// The list of nodes, as one of the hosts reads it.
    fn waiters_of(&self, number: usize) -> Waiters {
        let others =
            self.hosts.iter().enumerate().filter(|(other, host)| *other != number && !host.node_gone);
        let of_pool = others.filter(|(_, host)| host.node.pool_label == self.hosts[number].node.pool_label);
        let since = |host: &Host| host.node.labels.get(WAITING).cloned();
        let mut all: Vec<_> =
            of_pool.filter_map(|(_, host)| Some((since(host)?, host.settings.node_name.clone()))).collect();
        all.sort();
        let count = all.len() as u32;
        Waiters { first: all.into_iter().map(|(_, name)| name).collect(), count }
    }

    fn proven_of(&self, number: usize, world: &World) -> Proven {
        let me = &self.hosts[number];
        let what = news(world, &me.settings).unwrap_or_default();
        let of_pool = self.hosts.iter().filter(|host| host.node.pool_label == me.node.pool_label);
        let nodes = of_pool.filter(|host| host.node.labels.get(PROVEN) == Some(&what)).count();
        Proven { what, nodes }
    }

    fn others_of(&self, number: usize) -> Result<Others, Failure> {
        let failure = |message: &String| Failure { message: message.clone(), retry_after: None };
        let mut others = self.others.as_ref().map_err(failure)?.clone();
        let name = &self.hosts[number].settings.node_name;
        others.members.first.retain(|member| member != name);
        for (_, host) in
            self.hosts.iter().enumerate().filter(|(other, host)| *other != number && !host.node_gone)
        {
            let name = host.settings.node_name.clone();
            if !host.up || !host.node.ready {
                others.not_ready.push(name);
            } else if host.node.unschedulable {
                others.cordoned.push(name);
            }
        }
        Ok(others)
    }

    /// The host goes down and, unless it never returns, boots again.
    pub fn power_cycle(&mut self, number: usize) {
        let name = self.hosts[number].settings.node_name.clone();
        self.hosts[number].up = false;
        self.check();
        if self.hosts[number].never_returns {
            return self.tell(format!("{name} is down for good"));
        }
        self.boots(number);
    }

    /// The host boots, though rebootd has nothing to do with it.
    pub fn boots(&mut self, number: usize) {
        let name = self.hosts[number].settings.node_name.clone();
        self.tell(format!("{name} boots"));
        self.time += self.hosts[number].boot_takes;
        let (time, version) = (self.time, self.bump());
        let host = &mut self.hosts[number];
        host.kernel = host.next_kernel.take().unwrap_or_else(|| host.kernel.clone());
        host.node.repelling_taints.extend(host.next_taint.take());
        if host.forgets {
            host.remembered = host.image.clone();
        }
        host.clock_off = host.next_clock_off.take().unwrap_or(host.clock_off);
        host.up = true;
        host.boot += 1;
        host.booted_at = time;
        host.requests.insert(Source::SentinelFile, Some(Ok(None)));
        host.sessions.clear();
        for unit in host.hooks.values_mut() {
            (unit.invocation, unit.state) = (String::new(), UnitState::Ended { failure: None });
        }
        let started = time.as_millis() as u64;
        for pod in host.pods.values_mut().filter(|pod| !host.leftover_after_boot.contains(&pod.key.uid)) {
            pod.instance = Some(started);
        }
        for uid in std::mem::take(&mut host.gone_after_boot) {
            host.pods.remove(&uid);
        }
        for uid in std::mem::take(&mut host.unready_after_boot) {
            host.pods.get_mut(&uid).unwrap().ready = false;
        }
        host.node.boot_id = host.boot_id();
        host.node.resource_version = version;
        self.restart(number);
    }

    fn answer(&mut self, outcome: Outcome) -> Outcome {
        self.writes += 1;
        if self.lose_answer_of == Some(self.writes) {
            return Outcome::Unanswered(Failure { message: "timed out".into(), retry_after: None });
        }
        outcome
    }

    fn conflict() -> Outcome {
        let failure = Failure { message: "409 conflict".into(), retry_after: None };
        Outcome::Refused { failure, conflict: true }
    }

    fn write_slot(&mut self, name: &str, write: &SlotWrite) -> Outcome {
        let version = self.bump();
        let time = Duration::from_secs(SERVERS_CLOCK) + self.time;
        let Some(slot) = self.slots.iter_mut().find(|slot| slot.name == write.slot) else {
            return Cluster::conflict();
        };
        if slot.resource_version != write.resource_version || slot.uid != write.uid {
            return Cluster::conflict();
        }
        (slot.resource_version, slot.written) = (version, Some(time));
        let what = match &write.change {
            SlotChange::Claim(claim) => {
                slot.holder = Some(name.into());
                slot.claim = claim.clone();
                (slot.stamp, slot.step_back, slot.next) = (None, None, Default::default());
                slot.returned = false;
                "claims"
            }
            SlotChange::Stamp(stamp, next) => {
                let host = self.hosts.iter_mut().find(|host| host.settings.node_name == name).unwrap();
                if host.dpkg_at_stamp {
                    host.package_manager = Some("/var/lib/dpkg/lock".into());
                }
                (slot.stamp, slot.next) = (Some(stamp.clone()), next.clone());
                slot.returned = false;
                "stamps"
            }
            SlotChange::Returned => {
                slot.returned = true;
                "marks as back"
            }
            SlotChange::Release { .. } => {
                (slot.holder, slot.claim) = (None, Claim::default());
                (slot.stamp, slot.step_back) = (None, None);
                "releases"
            }
            SlotChange::Free { holder } => {
                assert!(slot.holder.as_ref() == Some(holder) && slot.stamp.is_none(), "freed a stamped slot");
                let host = self.hosts.iter().find(|host| host.settings.node_name == *holder).unwrap();
                assert!(host.node_gone, "freed the slot of a Node that exists");
                (slot.holder, slot.claim, slot.step_back) = (None, Claim::default(), None);
                "frees"
            }
        };
        self.tell(format!("{name} {what} {}", write.slot));
        Outcome::Answered
    }

    fn write_node(&mut self, number: usize, write: &NodeWrite) -> Outcome {
        let version = self.bump();
        let name = self.hosts[number].settings.node_name.clone();
        if let Some(why) = &self.hosts[number].node_writes_refused {
            let failure = Failure { message: why.clone(), retry_after: None };
            return Outcome::Refused { failure, conflict: false };
        }
        let node = &mut self.hosts[number].node;
        if node.resource_version != write.resource_version || node.uid != write.uid {
            return Cluster::conflict();
        }
        node.resource_version = version;
        node.pool_label = Some(write.pool.clone());
        if write.fulfils_request {
            node.request = None;
        }
        let what = match &write.change {
            NodeChange::Cordon { why } => {
                node.unschedulable = true;
                node.unschedulable_is_ours = true;
                node.mark = Some(why.clone());
                "cordons"
            }
            NodeChange::Uncordon { .. } => {
                assert!(node.unschedulable_is_ours || !node.unschedulable, "P4: uncordoned another's");
                node.unschedulable = false;
                node.mark = None;
                "uncordons"
            }
            NodeChange::RemoveMark => {
                node.mark = None;
                "removes its mark"
            }
            NodeChange::Confirm { .. } => "confirms its Node",
        };
        let shown = show(node, &write.signs);
        self.tell(format!("{name} {what}{shown}"));
        Outcome::Answered
    }

    /// P1 and P3: whoever is disrupted holds a slot.
    fn check(&mut self) {
        let mut disrupted = 0;
        for host in &self.hosts {
            let ours = host.node.unschedulable && host.node.mark.is_some();
            // A machine without a Node is down for the cluster's pods already, whoever has its slot.
            if ours || (!host.up && !host.node_gone) {
                disrupted += 1;
                let name = &host.settings.node_name;
                let holds = self.slots.iter().any(|slot| slot.holder.as_ref() == Some(name));
                assert!(
                    holds || self.freed_by_hand,
                    "{name} is disrupted without a slot:\n{}",
                    self.story.join("\n")
                );
            }
        }
        self.most_disrupted = self.most_disrupted.max(disrupted);
    }

    /// Everything that happens by itself: kubelets renew, pods leave, watches tell.
    fn tick(&mut self) {
        self.time += Duration::from_secs(1);
        for number in 0..self.hosts.len() {
            if !self.hosts[number].up {
                continue;
            }
            if self.time.as_secs().is_multiple_of(10) {
                self.hosts[number].renewals += 1;
                let resource_version = self.bump();
                if self.hosts[number].watched.has(Part::Kubelet) {
                    self.event(number, Event::Changed { uid: "kubelet".into(), resource_version });
                }
            }
            let gone: Vec<PodKey> = self.hosts[number]
                .pods
                .values()
                .filter(|pod| pod.terminating && !self.hosts[number].finalizers)
                .map(|pod| pod.key.clone())
                .collect();
            for key in gone {
                self.hosts[number].pods.remove(&key.uid);
                self.event(number, Event::PodGone(key));
            }
            for slot in self.slots.clone() {
                if self.hosts[number].watched.has(Part::Slots) {
                    self.event(number, Event::SlotSeen(slot));
                }
            }
        }
    }

    /// Runs all agents for so many seconds.
    pub fn run(&mut self, seconds: u64) {
        for _ in 0..seconds {
            for number in 0..self.hosts.len() {
                // An agent that never waits would turn its processor into heat.
                let waits = (0..60).any(|_| self.step(number).is_some());
                assert!(waits, "a busy loop:\n{}", self.story.join("\n"));
            }
            self.tick();
        }
    }

    /// Nothing is left behind: no slot held, no cordon, no mark.
    pub fn is_clean(&self) -> bool {
        self.slots.iter().all(|slot| slot.holder.is_none())
            && self.hosts.iter().all(|host| host.node.mark.is_none() && !host.node.unschedulable)
    }
}
