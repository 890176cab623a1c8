//! The daemon's edge: this host, and the cluster it belongs to.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;

use super::announce::{self, Announcer};
use super::configuration::Configuration;
use super::enrolment::Enrolment;
use super::event_loop::Edge;
use super::journal::{self, Journal};
use super::measuring::Measuring;
use super::metrics::Metrics;
use super::sources::{Sources, sleep};
use super::watches::Watches;
use crate::cluster::{Api, ApiError};
use crate::decide::settings::Mode;
use crate::decide::{
    AfterReadings, Decision, Effect, Event, Eviction, EvictionOutcome, Failure, Hook, How, Memory,
    NodeChange, NodeView, NodeWrite, Now, Outcome, Part, Parts, PodKey, Settings, SlotView, SlotWrite,
    Waiters, World, budget_namespaces, clock_matters, holders, news, refusing_budgets, requests,
};
use crate::host::logind::{Bus, told};
use crate::host::packages::{self, HalfInstalled};
use crate::host::{clock, dpkg, hold, hooks, identity, kernel, live, livepatch, memory};
use crate::report::dbus::Served;
use crate::report::{messages, systemd};

/// An idle daemon keeps neither connections nor the memory that they take.
const DISCONNECT_WHEN_WAITING_LONGER_THAN: Duration = Duration::from_secs(30);

/// With which looks it is tried whether policies confine our credential: the next one after this time, if they do, and if
/// they do not or it is not known. The core sees to it that there is one.
const CONFINEMENT_HOLDS: Duration = Duration::from_secs(24 * 60 * 60);
const CONFINEMENT_AGAIN: Duration = Duration::from_secs(10);

/// Where a daemon keeps its memory and publishes its status. The one-shot `step-back` does neither.
#[derive(Debug, Clone, Default)]
pub struct Places {
    /// The file of [`memory`].
    pub memory: Option<PathBuf>,
    /// The file of [`crate::report::status`].
    pub status: Option<PathBuf>,
    /// The file of [`crate::report::kept`].
    pub reboots: Option<PathBuf>,
    /// Whether the status is served on D-Bus, see [`crate::report::dbus`].
    pub bus: bool,
    /// The directory of the node's own credential.
    pub credential: Option<PathBuf>,
    /// The file of [`crate::report::metrics`].
    pub metrics: Option<PathBuf>,
    /// Where the metrics' counts are kept.
    pub counts: Option<PathBuf>,
}

/// Everything that a daemon has besides what it knows.
pub struct DaemonEdge {
    configuration: Configuration,
    memory: Option<PathBuf>,
    journal: Journal,
    metrics: Metrics,
    announcer: Announcer,
    measuring: Measuring,
    api: Option<Api>,
    bus: Bus,
    watches: Watches,
    evictions: JoinSet<Asked>,
    sources: Sources,
    hangup: Signal,
    /// systemd knows that the daemon runs.
    is_ready: bool,
    /// This host's name when the configuration was last read.
    host_name: String,
    packages: HalfInstalled,
    /// When is tried again whether policies confine our credential, in time since boot.
    confinement_due: Duration,
    enrolment: Enrolment,
}

/// An eviction that was asked for.
struct Asked {
    pod: PodKey,
    how: How,
    outcome: EvictionOutcome,
}

impl DaemonEdge {
    /// Fails if signals cannot be received.
    pub fn new(mut configuration: Configuration, places: Places) -> std::io::Result<DaemonEdge> {
        let mut enrolment = Enrolment::new(places.credential);
        enrolment.begin(&mut configuration.settings, true);
        let settings = &configuration.settings;
        Ok(DaemonEdge {
            sources: Sources::new(&settings.host),
            api: api(settings),
            memory: places.memory,
            journal: Journal::new(places.status, places.reboots, places.bus.then(Served::start)),
            metrics: Metrics::new(places.metrics, places.counts),
            announcer: Announcer::default(),
            measuring: Measuring::default(),
            bus: Bus::default(),
            watches: Watches::default(),
            evictions: JoinSet::new(),
            hangup: signal(SignalKind::hangup())?,
            is_ready: false,
            host_name: host_name(),
            packages: HalfInstalled::default(),
            confinement_due: Duration::ZERO,
            enrolment,
            configuration,
        })
    }

    fn settings(&self) -> &Settings {
        &self.configuration.settings
    }

    fn read_requests(&mut self) -> Vec<Event> {
        let answers = self.sources.read(!self.journal.is_idle());
        let host = &self.configuration.settings.host;
        let mut events = vec![Event::Kernel(kernel::read()), Event::Requests(answers)];
        if host.livepatched_min_age.is_some() {
            let covered = livepatch::read(Path::new(livepatch::PATH), &host.sentinel);
            events.push(Event::Livepatch(covered));
        }
        events.push(Event::Hold(hold::read(&host.hold)));
        events.push(Event::Updates(live::read(Path::new(live::PATH))));
        events.push(Event::Measured(self.measuring.now()));
        events
    }

    async fn read_part(&mut self, api: &mut Api, part: Part, world: &World) -> Vec<Event> {
        let settings = self.settings();
        match part {
            Part::Policy => vec![self.read_policy(api).await],
            Part::Others => {
                let node = world.cluster.node.last().and_then(Option::as_ref);
                let labels = node.map(|node| node.labels.clone()).unwrap_or_default();
                let added = &settings.gates.control_plane_labels;
                vec![Event::Others(failed(api.others(&settings.pool, &labels, added).await))]
            }
            Part::Waiters => {
                let zone = world.cluster.node.last().and_then(Option::as_ref).map_or("", NodeView::zone);
                let read = api.waiters(&settings.pool, |labels| settings.policy.rank(labels, zone)).await;
                vec![Event::Waiters(read.unwrap_or_else(|error| {
                    tracing::debug!("cannot read which nodes wait, so none is named as the next: {error}");
                    Waiters::default()
                }))]
            }
            Part::Proven => {
                let what = news(world, settings).unwrap_or_default();
                let most = settings.policy.canary.as_ref().map_or(1, |canary| canary.nodes);
                vec![Event::Proven(failed(api.proven(&settings.pool, &what, most).await))]
            }
            Part::Alerts => match &settings.gates.query {
                Some(query) => vec![Event::Alerts(failed(api.query(query).await))],
                None => vec![],
            },
            Part::After => vec![Event::After(self.read_after(api).await)],
            Part::Node => {
                let node = api.node().await;
                let labels = node.as_ref().ok().and_then(Option::as_ref).map(|node| node.labels.clone());
                let policy_is_known = world.cluster.policy.current().is_some();
                let policy =
                    labels.and_then(|labels| self.configuration.labels_seen(&labels, policy_is_known));
                [Event::Node(failed(node))].into_iter().chain(policy).collect()
            }
            Part::Slots => {
                let slots = failed(api.slots().await);
                let confinement = self.read_confinement(api, slots.as_deref().ok(), world).await;
                [Event::Slots(slots)].into_iter().chain(confinement).collect()
            }
            Part::Holders => {
                let mut events = Vec::new();
                for name in holders(world, settings) {
                    systemd::alive();
                    let exists = failed(api.node_exists(&name).await);
                    let is_over = exists.is_err();
                    events.push(Event::Holder { name, exists });
                    if is_over {
                        break;
                    }
                }
                events
            }
            Part::Kubelet => vec![Event::Kubelet(failed(api.kubelet().await))],
            Part::Pods => vec![Event::Pods(failed(api.pods().await))],
            Part::Budgets => {
                vec![Event::Budgets(failed(api.budgets(&budget_namespaces(world, settings)).await))]
            }
            Part::Annotations => vec![],
        }
    }

    /// Not while only observing: then nothing is sent that could be a write.
    async fn read_confinement(
        &mut self,
        api: &mut Api,
        slots: Option<&[SlotView]>,
        world: &World,
    ) -> Option<Event> {
        let now = clock::now().boot;
        let observes = self.settings().mode == Mode::Observe || world.step_back;
        // A clone of another machine writes nothing, and tries nothing either.
        let node = world.cluster.node.current().and_then(Option::as_ref);
        let node = node.filter(|node| ["", &world.host.machine_id].contains(&node.machine_id.as_str()));
        let uid = node.map(|node| node.uid.clone());
        let (Some(slots), Some(uid), false) = (slots, uid, observes || now < self.confinement_due) else {
            return None;
        };
        systemd::alive();
        let read = api.confinement(&uid, slots).await.map_err(|error| error.to_string());
        let holds =
            read.as_ref().is_ok_and(|found| found.missing().is_empty() && !found.is_of_other_manifests());
        self.confinement_due = now + if holds { CONFINEMENT_HOLDS } else { CONFINEMENT_AGAIN };
        Some(Event::Confinement(read))
    }

    /// A policy that we may not read closes a gate, like one that cannot be understood. If the server does not
    /// answer, the look ends, as with every other part.
    async fn read_policy(&mut self, api: &mut Api) -> Event {
        match api.policy().await {
            Ok(data) => self.configuration.fleet_read(data.as_ref()),
            Err(error) if error.is_about_the_request() => {
                Event::Policy(Err(format!("cannot read ConfigMap rebootd/policy: {error}")))
            }
            Err(error) => Event::PolicyUnanswered(error.into()),
        }
    }

    /// If one cannot be read, a gate closes, and the others are read anyway.
    async fn read_after(&self, api: &mut Api) -> AfterReadings {
        let after = &self.settings().after;
        let mut readings = AfterReadings::default();
        if let Some(query) = &after.query {
            readings.query = Some(api.query(query).await.map_err(|error| error.to_string()));
        }
        for object in &after.objects {
            systemd::alive();
            readings.objects.push(api.values(object).await.map_err(|error| error.to_string()));
        }
        readings
    }

    fn wrote(&mut self, effect: &Effect, outcome: &Outcome, world: &World) {
        journal::tell_write(effect, outcome);
        self.announcer.wrote(effect, outcome, world, &self.configuration.settings);
    }

    fn evicted(&mut self, Asked { pod, how, outcome }: Asked, world: &World) -> Event {
        self.journal.eviction_ended(&pod, &outcome);
        self.announcer.evicted(&pod, how, &outcome, world, &self.configuration.settings);
        if matches!(outcome, EvictionOutcome::Unanswered { .. })
            && let Some(api) = &mut self.api
        {
            api.disconnect();
        }
        Event::EvictionEnded { pod, how, outcome }
    }

    /// A daemon that waits for long and watches nothing keeps nothing open.
    fn rest(&mut self, until: Option<Duration>) {
        let now = clock::now().boot;
        let long = until.is_none_or(|until| until > now + DISCONNECT_WHEN_WAITING_LONGER_THAN);
        let is_busy = !self.evictions.is_empty() || self.announcer.is_busy();
        if long && !self.watches.any() && !is_busy {
            if let Some(api) = &mut self.api {
                api.disconnect();
            }
            self.bus = Bus::default();
        }
    }

    fn reload(&mut self) -> Vec<Event> {
        self.host_name = host_name();
        match self.configuration.reload() {
            Err(error) => {
                let message_id = messages::CONFIGURATION_REFUSED;
                tracing::error!(message_id, "the new configuration is not used: {}", error.summary());
                vec![Event::Configuration(Some(error.summary()))]
            }
            Ok(()) => {
                tracing::info!(message_id = messages::CONFIGURATION_LOADED, "configuration reloaded");
                let is_answered = self.api.as_ref().is_none_or(|api| api.is_answered);
                self.enrolment.begin(&mut self.configuration.settings, is_answered);
                [Event::Configuration(None)].into_iter().chain(self.begin_anew()).collect()
            }
        }
    }

    fn begin_anew(&mut self) -> Vec<Event> {
        self.sources = Sources::new(&self.configuration.settings.host);
        self.api = api(&self.configuration.settings);
        self.watches = Watches::default();
        self.confinement_due = Duration::ZERO;
        let mut events = vec![Event::Reloaded, Event::Credential(self.enrolment.state())];
        events.extend(self.read_requests());
        events
    }

    /// What the API server's last answer says of the credential, if that is something else than before.
    fn credential_answered(&mut self) -> Option<Event> {
        let is_accepted = self.api.as_ref()?.is_accepted?;
        self.enrolment.answered(is_accepted).then(|| Event::Credential(self.enrolment.state()))
    }

    /// The next step towards a credential, or of its renewal.
    async fn enrol(&mut self) -> Vec<Event> {
        systemd::alive();
        let is_new = self.enrolment.step(self.configuration.settings.token_life).await;
        self.enrolment.complete(&mut self.configuration.settings);
        if is_new {
            return self.begin_anew();
        }
        vec![Event::Credential(self.enrolment.state())]
    }

    /// An event of a watch. The Node's labels matter, because the policy may select this node by them.
    fn watched(&mut self, event: Event, world: &World) -> Vec<Event> {
        let policy = match &event {
            // Those of a Node that is gone, or of another one of its name, are not ours.
            Event::Annotations { uid, labels, .. } if is_own(world, uid) => {
                self.configuration.labels_seen(labels, world.cluster.policy.current().is_some())
            }
            _ => None,
        };
        [event].into_iter().chain(policy).collect()
    }
}

impl Edge for DaemonEdge {
    fn now(&self) -> Now {
        clock::now()
    }

    fn settings(&self) -> &Settings {
        self.settings()
    }

    fn begin(&mut self, world: &World) -> Vec<Event> {
        if world.host.configuration.is_none() {
            self.configuration.keep();
        }
        self.measuring.begin(world);
        if world.step_back {
            // The caller may be root, and root must not run what was meant for our own user.
            let mut host = self.settings().host.clone();
            host.sentinel_command.clear();
            self.sources = Sources::new(&host);
        }
        let credential = Event::Credential(self.enrolment.state());
        [credential].into_iter().chain(self.read_requests()).collect()
    }

    fn report(&mut self, world: &World, decision: &Decision) {
        systemd::alive();
        self.journal.decided(world, &self.configuration.settings, decision);
        self.metrics.decided(world, &self.configuration.settings, decision);
        if let Some(api) = &mut self.api {
            self.announcer.decided(api, world, &self.configuration.settings, decision);
            self.measuring.decided(api, world, &self.configuration.settings, decision);
        }
        // Whoever waits for the start to end finds a status.
        if !std::mem::replace(&mut self.is_ready, true) {
            systemd::ready();
        }
    }

    fn remember(&mut self, memory: &Memory) -> Result<(), String> {
        let Some(path) = &self.memory else { return Ok(()) };
        memory::store(path, memory).map_err(|error| format!("{}: {error}", path.display()))
    }

    async fn read(&mut self, part: Part, world: &World) -> Vec<Event> {
        systemd::alive();
        let is_missing = matches!(world.cluster.node.last(), Some(None));
        if part == Part::Node && is_missing && self.host_name != host_name() {
            return self.reload();
        }
        let Some(mut api) = self.api.take() else { return vec![] };
        let mut events = self.read_part(&mut api, part, world).await;
        self.api = Some(api);
        events.extend(self.credential_answered());
        events
    }

    async fn read_host(&mut self, world: &World) -> Vec<Event> {
        let mut events = self.read_requests();
        let going_down = self.bus.going_down().await.map_err(told);
        systemd::alive();
        let (inhibitors, may_reboot, scheduled) = match &going_down {
            Ok(_) => (
                self.bus.inhibitors().await.map_err(told),
                self.bus.may_reboot().await.map_err(asking_polkit),
                self.bus.scheduled().await.map_err(told),
            ),
            // Who does not answer this does not answer the rest, and each would be waited for.
            Err(why) => (Err(why.clone()), Err(why.clone()), Err(why.clone())),
        };
        let failed = [going_down.is_err(), inhibitors.is_err(), may_reboot.is_err(), scheduled.is_err()];
        if failed.contains(&true) {
            // The bus may have been restarted: connect again next time.
            self.bus = Bus::default();
        }
        let settings = &self.configuration.settings;
        if clock_matters(world, settings) {
            events.push(Event::Clock(self.bus.clock_synchronized().await.map_err(told)));
        }
        if settings.gates.sessions.is_some() {
            events.push(Event::Sessions(self.bus.sessions().await.map_err(told)));
        }
        if !settings.hooks.wanted.is_empty() {
            events.push(Event::Hooks(hooks::read(&self.bus, &settings.hooks.wanted).await));
        }
        if settings.gates.require_installed_packages && !requests(world, settings).is_empty() {
            events.push(Event::Packages(self.packages.read(Path::new(packages::STATUS))));
        }
        let package_manager = dpkg::held_lock();
        events.push(Event::Host { going_down, package_manager, inhibitors, may_reboot, scheduled });
        events
    }

    fn look_failed(&mut self) {
        self.watches.end();
    }

    fn watch(&mut self, parts: Parts, world: &World) {
        if let Some(api) = &mut self.api {
            let budgets = refusing_budgets(world);
            self.watches.follow(parts, &budgets, api, world.cluster.look.is_some());
        }
    }

    async fn write_slot(&mut self, write: &SlotWrite, world: &World) -> Outcome {
        let Some(api) = &mut self.api else { return no_api() };
        let outcome = api.write_slot(write, clock::now().wall).await;
        self.wrote(&Effect::WriteSlot(write.clone()), &outcome, world);
        outcome
    }

    async fn write_node(&mut self, write: &NodeWrite, world: &World) -> Outcome {
        let Some(api) = &mut self.api else { return no_api() };
        if matches!(write.change, NodeChange::Cordon { .. }) {
            journal::tell_plan(world, &self.configuration.settings);
            self.measuring.look_at_leaving(api, world, &self.configuration.settings);
        }
        let outcome = api.write_node(write).await;
        self.wrote(&Effect::WriteNode(write.clone()), &outcome, world);
        outcome
    }

    fn evict(&mut self, eviction: &Eviction) -> Vec<Event> {
        let Eviction { pods, how, grace } = eviction;
        let how = *how;
        if how == How::Delete {
            tracing::warn!("refused for longer than `delete_after`: {}", Effect::Evict(eviction.clone()));
        }
        let Some(api) = &mut self.api else { return vec![] };
        for pod in pods {
            let request = api.eviction(pod, how, *grace);
            let pod = pod.clone();
            self.evictions.spawn(async move { Asked { pod, how, outcome: request.await } });
        }
        vec![]
    }

    fn start_hook(&mut self, hook: Hook) {
        start_unit(hook.word());
    }

    fn tell_people(&mut self) {
        start_unit(hooks::WALL);
    }

    async fn reboot(&mut self, kexec: bool) -> Result<(), String> {
        let kexec = kexec && kernel::is_loaded_for_kexec();
        let result = self.bus.reboot(kexec).await.map_err(told);
        match &result {
            Ok(()) => {
                let how = if kexec { ", by kexec" } else { "" };
                tracing::info!(message_id = messages::REBOOT_GRANTED, "logind reboots this host{how}");
            }
            Err(error) => {
                let message_id = messages::REBOOT_REFUSED;
                tracing::error!(message_id, "logind does not reboot this host: {error}");
            }
        }
        result
    }

    async fn leave(&mut self, world: &World) {
        let (Some(api), Some(uid)) = (&mut self.api, announce::own_node(world)) else { return };
        if self.configuration.settings.mode == Mode::Observe {
            return;
        }
        if let Err(error) = api.show_nothing(uid).await {
            tracing::warn!("the Node still has rebootd's heartbeat and condition: {error}");
        }
    }

    async fn wait(&mut self, until: Option<Duration>, world: &World) -> Vec<Event> {
        self.rest(until);
        let due = self.enrolment.due().filter(|_| !world.step_back);
        let due = due.map(|due| due.saturating_sub(clock::now().boot));
        let timeout = until.map(|until| until.saturating_sub(clock::now().boot));
        let watchdog = systemd::watchdog_interval();
        let DaemonEdge { watches, evictions, sources, hangup, announcer, .. } = self;
        let woken = tokio::select! {
            () = sources.changed() => Woken::Requests,
            Some(()) = hangup.recv() => Woken::Hangup,
            event = watches.next() => Woken::Watch(event),
            Some(ended) = evictions.join_next() => Woken::Eviction(ended.ok()),
            () = announcer.sent() => Woken::Time,
            () = sleep(timeout) => Woken::Time,
            () = sleep(due) => Woken::Enrolment,
            () = sleep(watchdog) => Woken::Time,
        };
        match woken {
            Woken::Requests => self.read_requests(),
            Woken::Hangup => self.reload(),
            Woken::Watch(event) => self.watched(event, world),
            Woken::Eviction(asked) => asked.map(|asked| self.evicted(asked, world)).into_iter().collect(),
            Woken::Time => vec![Event::Tick],
            Woken::Enrolment => self.enrol().await,
        }
    }
}

/// logind waits for polkit, whose rules are scripts that may hang.
fn asking_polkit(error: zbus::Error) -> String {
    format!("{}; logind asks polkit about it: systemctl status polkit", told(error))
}

/// This host's name, or nothing if it has none. Some hosts get theirs late in the boot.
fn host_name() -> String {
    identity::host_name().unwrap_or_default()
}

enum Woken {
    Requests,
    Hangup,
    Watch(Event),
    Eviction(Option<Asked>),
    Time,
    Enrolment,
}

/// If the start fails, the core sees that the unit does not run, and asks for it again.
fn start_unit(name: &str) {
    if let Err(error) = hooks::start(name) {
        tracing::warn!(%error, "cannot make systemd start rebootd-{name}.service");
    }
}

fn is_own(world: &World, uid: &str) -> bool {
    world.cluster.node.last().and_then(Option::as_ref).is_some_and(|node| node.uid == uid)
}

fn no_api() -> Outcome {
    Outcome::Unanswered(Failure { message: "no API server is configured".to_owned(), retry_after: None })
}

fn failed<T>(result: Result<T, ApiError>) -> Result<T, Failure> {
    result.map_err(Failure::from)
}

fn api(settings: &Settings) -> Option<Api> {
    settings.api.clone().map(|access| Api::new(access, settings.node_name.clone()))
}
