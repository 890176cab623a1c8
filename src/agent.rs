//! The loop: the only place where the pieces meet. It observes, decides, acts and reports; it judges nothing.

mod requests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;

use crate::cluster::{Api, ApiError, Watch, WatchTarget};
use crate::config::{ConfigError, Files, FleetPolicy};
use crate::decide::settings::{Host, Settings};
use crate::decide::{
    AfterReadings, Decision, Effect, Event, Eviction, EvictionOutcome, Failure, How, LookPart, Next,
    NodeChange, Outcome, Phase, Planned, PodKey, Reads, Reason, Target, Verdict, Watches, World,
    budget_namespaces, clock_matters, decide, holders, observe, plan, pods_have,
};
use crate::host::logind::{Bus, told};
use crate::host::{clock, dpkg, hold, hooks, kernel, livepatch, memory};
use crate::report::{status, systemd};
use requests::Requests;

/// An idle daemon keeps neither connections nor their memory.
const DISCONNECT_WHEN_WAITING_LONGER_THAN: Duration = Duration::from_secs(30);

/// Where a daemon keeps and shows things. The one-shot `step-back` has none.
#[derive(Debug, Clone, Default)]
pub struct Places {
    /// The file of [`memory`].
    pub memory: Option<PathBuf>,
    /// The file of [`crate::config::Files::store`].
    pub configuration: Option<PathBuf>,
    /// The file of [`status`].
    pub status: Option<PathBuf>,
}

/// Reads the configuration anew, with the settings that it makes; the error is the text for people.
pub type Reload = Box<dyn Fn() -> Result<(Files, Settings), String>>;

/// The daemon's loop and everything that it holds.
pub struct Agent {
    files: Files,
    /// The latest that was understood, and the labels that it was last applied for.
    fleet: Option<FleetPolicy>,
    labels: BTreeMap<String, String>,
    /// What the files say, and over them the fleet's policy.
    settings: Settings,
    reload: Reload,
    places: Places,
    world: World,
    api: Option<Api>,
    bus: Bus,
    watching: Watching,
    evictions: JoinSet<Asked>,
    requests: Requests,
    hangup: Signal,
    reported: Option<Reported>,
}

/// An eviction that was asked for.
struct Asked {
    pod: PodKey,
    how: How,
    outcome: EvictionOutcome,
}

/// The watches that are under way.
#[derive(Default)]
struct Watching {
    slots: Option<Watch>,
    node: Option<Watch>,
    pods: Option<Watch>,
    kubelet: Option<Watch>,
    annotations: Option<Watch>,
    policy: Option<Watch>,
}

/// What was last reported, so that nothing is said twice.
#[derive(PartialEq)]
struct Reported {
    line: String,
    phase: Phase,
    kinds: Vec<&'static str>,
}

impl Agent {
    /// An agent that has seen nothing yet. Fails where signals cannot be received.
    pub fn new(
        (files, settings): (Files, Settings),
        reload: Reload,
        places: Places,
        world: World,
    ) -> std::io::Result<Agent> {
        Ok(Agent {
            files,
            fleet: None,
            labels: BTreeMap::new(),
            requests: Requests::new(&settings.host),
            api: api(&settings),
            hangup: signal(SignalKind::hangup())?,
            settings,
            reload,
            places,
            world,
            bus: Bus::default(),
            watching: Watching::default(),
            evictions: JoinSet::new(),
            reported: None,
        })
    }

    /// Runs until `stop` resolves: then nothing is undone, since our own shutdown stops us too.
    pub async fn run(mut self, stop: impl Future<Output = ()>) {
        tokio::pin!(stop);
        self.keep_configuration();
        self.observe_requests();
        systemd::ready();
        loop {
            tokio::select! {
                biased;
                () = &mut stop => break,
                () = self.step() => {}
            }
        }
        systemd::stopping();
    }

    /// Gives back what this node holds, as far as that is allowed. Returns when nothing is left.
    pub async fn step_back(mut self) {
        // Whoever asks for this may be root, who must not run what was meant for our own user.
        self.requests = Requests::new(&Host { sentinel_command: Vec::new(), ..self.settings.host.clone() });
        self.observe(Event::StepBack);
        self.observe_requests();
        loop {
            let decision = self.decide();
            if decision.phase == Phase::Idle && matches!(decision.next, Next::Wait(_)) && self.has_looked() {
                return;
            }
            self.carry_out(decision).await;
        }
    }

    fn has_looked(&self) -> bool {
        self.world.cluster.look.is_some()
    }

    /// One turn of the loop.
    async fn step(&mut self) {
        systemd::alive();
        let decision = self.decide();
        self.carry_out(decision).await;
    }

    fn decide(&mut self) -> Decision {
        let decision = decide(&self.world, &self.settings);
        self.report(&decision);
        decision
    }

    async fn carry_out(&mut self, decision: Decision) {
        match decision.next {
            Next::Read(reads) => self.look(reads).await,
            Next::Act(effect) => {
                let (node, phase) = (&self.settings.node_name, decision.phase.word());
                tracing::info!(node, phase, "{phase}: {effect}");
                self.act(&effect).await;
            }
            Next::Wait(until) => {
                self.follow(decision.watches);
                self.rest(until);
                self.wait(until).await;
            }
        }
    }

    fn observe(&mut self, event: Event) {
        let before = self.world.memory.clone();
        let gone = self.world.cluster.drain.gone.len();
        observe(&mut self.world, event, clock::now());
        if self.world.memory != before {
            self.remember();
        }
        if self.reported.as_ref().is_some_and(|reported| reported.phase == Phase::Draining) {
            self.world.cluster.drain.gone.iter().skip(gone).for_each(|pod| tracing::info!("{pod}"));
        }
    }

    fn remember(&self) {
        let Some(path) = &self.places.memory else { return };
        if let Err(error) = memory::store(path, &self.world.memory) {
            tracing::warn!(%error, path = %path.display(), "cannot write down what to remember");
        }
    }

    /// What works is there for a start beside files that do not.
    fn keep_configuration(&self) {
        let Some(path) =
            self.places.configuration.as_ref().filter(|_| self.world.host.configuration.is_none())
        else {
            return;
        };
        if let Err(error) = self.files.store(path) {
            tracing::warn!(%error, path = %path.display(), "cannot keep the configuration");
        }
    }

    fn observe_requests(&mut self) {
        let idle = self.reported.as_ref().is_none_or(|reported| reported.phase == Phase::Idle);
        let answers = self.requests.read(!idle);
        self.observe(Event::Kernel(kernel::read()));
        self.observe(Event::Requests(answers));
        if self.settings.host.livepatched_min_age.is_some() {
            let covered = livepatch::read(Path::new(livepatch::PATH), &self.settings.host.sentinel);
            self.observe(Event::Livepatch(covered));
        }
        let hold = hold::read(&self.settings.host.hold);
        self.observe(Event::Hold(hold));
    }

    // ---- look ----

    async fn look(&mut self, reads: Reads) {
        if reads.cluster {
            self.observe(Event::LookBegun);
            if self.look_at_cluster(reads).await.is_err() {
                let annotations = self.watching.annotations.take();
                self.watching = Watching { annotations, ..Watching::default() };
            }
            self.observe(Event::LookEnded(reads));
        } else if reads.pods {
            // The look that there is stays, and so do the watches, which follow an earlier list.
            let _ = self.look_at_cluster(reads).await;
            return;
        }
        self.look_at_host().await;
    }

    /// What follows a failed read would only fail too.
    async fn look_at_cluster(&mut self, reads: Reads) -> Result<(), ()> {
        let Some(mut api) = self.api.take() else { return Err(()) };
        let result = self.read_cluster(&mut api, reads).await;
        self.api = Some(api);
        result
    }

    async fn read_cluster(&mut self, api: &mut Api, reads: Reads) -> Result<(), ()> {
        for part in reads.in_order() {
            self.read_part(api, part).await?;
        }
        Ok(())
    }

    async fn read_part(&mut self, api: &mut Api, part: LookPart) -> Result<(), ()> {
        match part {
            LookPart::Policy => self.read_policy(api).await,
            LookPart::Others => {
                let node = self.world.cluster.node.last().and_then(Option::as_ref);
                let control_plane = node.is_some_and(|node| node.control_plane);
                let others = api.others(&self.settings.pool, control_plane).await;
                // A failure shuts their gate only: what follows is read all the same.
                let _ = self.observe_read(others, Event::Others);
                Ok(())
            }
            LookPart::Alerts => {
                if let Some(query) = self.settings.gates.query.clone() {
                    let _ = self.observe_read(api.query(&query).await, Event::Alerts);
                }
                Ok(())
            }
            LookPart::After => {
                let readings = self.read_after(api).await;
                self.observe(Event::After(readings));
                Ok(())
            }
            LookPart::Node => {
                self.observe_read(api.node().await, Event::Node)?;
                self.see_labels();
                Ok(())
            }
            LookPart::Slots => self.observe_read(api.slots().await, Event::Slots),
            LookPart::Holders => {
                for name in holders(&self.world, &self.settings) {
                    let exists = api.node_exists(&name).await;
                    self.observe_read(exists, |exists| Event::Holder { name, exists })?;
                }
                Ok(())
            }
            LookPart::Kubelet => self.observe_read(api.kubelet().await, Event::Kubelet),
            LookPart::Pods => self.observe_read(api.pods().await, Event::Pods),
            LookPart::Budgets => {
                let namespaces = budget_namespaces(&self.world, &self.settings);
                // A failure refuses the pods that it is about.
                let _ = self.observe_read(api.budgets(&namespaces).await, Event::Budgets);
                Ok(())
            }
        }
    }

    /// A policy that is not understood, or that we may not read, shuts a gate, and what it said before stays. One for which
    /// there is no answer ends the look, as everything does then.
    async fn read_policy(&mut self, api: &mut Api) -> Result<(), ()> {
        systemd::alive();
        match api.policy().await {
            Ok(data) => match data.as_ref().map(FleetPolicy::from_config_map).transpose() {
                Ok(fleet) => {
                    self.fleet = fleet;
                    self.apply_policy();
                }
                Err(error) => self.refuse_policy(&error),
            },
            Err(error) if error.is_about_the_request() => {
                let why = format!("cannot read ConfigMap rebootd/policy: {error}");
                self.observe(Event::Policy(Err(why)));
            }
            Err(error) => {
                self.observe(Event::PolicyUnanswered(error.into()));
                return Err(());
            }
        }
        Ok(())
    }

    /// By its labels the policy may name this node.
    fn see_labels(&mut self) {
        let Some(Some(node)) = self.world.cluster.node.last() else { return };
        if node.labels != self.labels {
            self.labels = node.labels.clone();
            if self.world.cluster.policy.current().is_some() {
                self.apply_policy();
            }
        }
    }

    fn apply_policy(&mut self) {
        match self.files.policy(self.fleet.as_ref(), &self.labels) {
            Ok(policy) => {
                self.settings.policy = policy;
                self.observe(Event::Policy(Ok(())));
            }
            Err(error) => self.refuse_policy(&error),
        }
    }

    fn refuse_policy(&mut self, error: &ConfigError) {
        self.observe(Event::Policy(Err(error.to_string())));
    }

    /// A failure of one shuts a gate, and the others are read all the same.
    async fn read_after(&self, api: &mut Api) -> AfterReadings {
        let mut readings = AfterReadings::default();
        if let Some(query) = &self.settings.after.query {
            readings.query = Some(api.query(query).await.map_err(|error| error.to_string()));
        }
        for object in &self.settings.after.objects {
            systemd::alive();
            readings.objects.push(api.values(object).await.map_err(|error| error.to_string()));
        }
        readings
    }

    fn observe_read<T>(
        &mut self,
        result: Result<T, ApiError>,
        event: impl FnOnce(Result<T, Failure>) -> Event,
    ) -> Result<(), ()> {
        systemd::alive();
        let ok = if result.is_ok() { Ok(()) } else { Err(()) };
        self.observe(event(result.map_err(Failure::from)));
        ok
    }

    async fn look_at_host(&mut self) {
        self.observe_requests();
        let going_down = self.bus.going_down().await.map_err(told);
        systemd::alive();
        let inhibitors = self.bus.inhibitors().await.map_err(told);
        let may_reboot = self.bus.may_reboot().await.map_err(told);
        let scheduled = self.bus.scheduled().await.map_err(told);
        let failed = [going_down.is_err(), inhibitors.is_err(), may_reboot.is_err(), scheduled.is_err()];
        if failed.contains(&true) {
            // The bus may have been restarted: connect anew next time.
            self.bus = Bus::default();
        }
        if clock_matters(&self.world, &self.settings) {
            let synchronized = self.bus.clock_synchronized().await.map_err(told);
            self.observe(Event::Clock(synchronized));
        }
        if self.settings.gates.sessions.is_some() {
            let sessions = self.bus.sessions().await.map_err(told);
            self.observe(Event::Sessions(sessions));
        }
        if !self.settings.hooks.wanted.is_empty() {
            let units = hooks::read(&self.bus, &self.settings.hooks.wanted).await;
            self.observe(Event::Hooks(units));
        }
        let package_manager = dpkg::held_lock();
        self.observe(Event::Host { going_down, package_manager, inhibitors, may_reboot, scheduled });
    }

    // ---- act ----

    async fn act(&mut self, effect: &Effect) {
        let sent = clock::now().boot;
        match effect {
            Effect::WriteSlot(write) => {
                self.observe(Event::WriteBegun(Target(write.uid.clone())));
                let Some(api) = &mut self.api else { return };
                let outcome = api.write_slot(write).await;
                self.written(effect, sent, outcome);
            }
            Effect::WriteNode(write) => {
                if matches!(write.change, NodeChange::Cordon { .. }) {
                    self.tell_plan();
                }
                self.observe(Event::WriteBegun(Target(write.uid.clone())));
                let Some(api) = &mut self.api else { return };
                let outcome = api.write_node(write).await;
                self.written(effect, sent, outcome);
            }
            Effect::Evict(eviction) => self.evict(eviction),
            Effect::StartHook { hook, turn } => {
                // First written down: a daemon that dies here sees whether the unit has begun since.
                self.observe(Event::HookBegun { hook: *hook, turn: *turn });
                start_unit(hook.word());
            }
            Effect::TellPeople => {
                self.observe(Event::PeopleTold);
                start_unit(hooks::WALL);
            }
            Effect::Reboot { not_after, kexec } => self.reboot(*not_after, *kexec).await,
        }
    }

    fn written(&mut self, effect: &Effect, sent: Duration, outcome: Outcome) {
        match &outcome {
            Outcome::Answered => {}
            Outcome::Refused { failure, conflict } => {
                tracing::info!(conflict, "refused: {effect}: {}", failure.message);
            }
            Outcome::Unanswered(failure) => {
                tracing::warn!("no answer, so it may still happen: {effect}: {}", failure.message);
            }
        }
        self.observe(Event::WriteEnded { effect: effect.clone(), sent, outcome });
    }

    /// What becomes of each pod, before the first is touched.
    fn tell_plan(&self) {
        // A cordon that is only repeated needs no list of the pods.
        let Some(plan) = plan(&self.world, &self.settings) else { return };
        let mut stay = 0;
        for Planned { pod, verdict } in &plan {
            match verdict {
                Verdict::Leave(_) => {
                    stay += 1;
                    tracing::debug!("{} {verdict}", pod.key);
                }
                Verdict::Warn(_) | Verdict::Refuse(_) => tracing::warn!("{} {verdict}", pod.key),
                Verdict::Evict => {}
            }
        }
        tracing::info!("{} to leave, {stay} stay", pods_have(plan.len() - stay));
    }

    fn evict(&mut self, eviction: &Eviction) {
        let Eviction { pods, how, grace } = eviction;
        let how = *how;
        if how == How::Delete {
            tracing::warn!("refused for longer than `delete_after`: {}", Effect::Evict(eviction.clone()));
        }
        self.observe(Event::EvictionsBegun { pods: pods.clone(), how });
        let Some(api) = &mut self.api else { return };
        for pod in pods {
            let request = api.eviction(pod, how, *grace);
            let pod = pod.clone();
            self.evictions.spawn(async move { Asked { pod, how, outcome: request.await } });
        }
    }

    fn evicted(&mut self, asked: Asked) {
        let Asked { pod, how, outcome } = asked;
        match &outcome {
            EvictionOutcome::Granted => {}
            EvictionOutcome::Outdated => tracing::debug!("{pod} is not what it was"),
            EvictionOutcome::Refused(refusal) => {
                tracing::info!("{pod} may not leave: {} ({})", refusal.by, refusal.message);
            }
            EvictionOutcome::Overloaded { message, .. } => {
                tracing::info!("the server grants no evictions: {message}");
            }
            EvictionOutcome::Unanswered { message } => {
                tracing::info!("no answer about {pod}: {message}");
                if let Some(api) = &mut self.api {
                    api.disconnect();
                }
            }
        }
        self.observe(Event::EvictionEnded { pod, how, outcome });
    }

    async fn reboot(&mut self, not_after: Duration, kexec: bool) {
        let kexec = kexec && kernel::is_loaded_for_kexec();
        // First written down, then done: after the call there may be no time left.
        self.observe(Event::RebootBegun);
        let result = if clock::now().boot > not_after {
            Err("the stamp is too old by now".to_owned())
        } else {
            self.bus.reboot(kexec).await.map_err(told)
        };
        match &result {
            Ok(()) if kexec => tracing::info!("logind reboots this host, by kexec"),
            Ok(()) => tracing::info!("logind reboots this host"),
            Err(error) => tracing::error!("logind does not reboot this host: {error}"),
        }
        self.observe(Event::RebootEnded(result));
    }

    // ---- wait ----

    /// Starts the watches that the phase needs, and ends the others.
    fn follow(&mut self, wanted: Watches) {
        // A watch follows a list: before there is a whole look there is nothing to start from.
        let from_here = self.has_looked();
        let Some(api) = &mut self.api else { return };
        let knows_policy = api.knows_policy();
        let Watching { slots, node, pods, kubelet, annotations, policy } = &mut self.watching;
        if !wanted.annotations {
            *annotations = None;
        } else if annotations.is_none() {
            *annotations = Some(api.watch_annotations());
        }
        for (wanted, watch, target) in [
            (wanted.slots, slots, WatchTarget::Slots),
            (wanted.node, node, WatchTarget::Node),
            (wanted.pods, pods, WatchTarget::Pods),
            (wanted.kubelet, kubelet, WatchTarget::Kubelet),
            // Without a list there is nothing to watch from.
            (wanted.policy && knows_policy, policy, WatchTarget::Policy),
        ] {
            if !wanted {
                *watch = None;
            } else if watch.is_none() && from_here {
                *watch = api.watch(target).ok();
            }
        }
    }

    /// A daemon that waits for long, and watches nothing, holds nothing.
    fn rest(&mut self, until: Option<Duration>) {
        let now = self.world.now.boot;
        let long = until.is_none_or(|until| until > now + DISCONNECT_WHEN_WAITING_LONGER_THAN);
        if long && !self.watching.any() && self.evictions.is_empty() {
            if let Some(api) = &mut self.api {
                api.disconnect();
            }
            self.bus = Bus::default();
        }
    }

    async fn wait(&mut self, until: Option<Duration>) {
        let timeout = until.map(|until| until.saturating_sub(clock::now().boot));
        let watchdog = systemd::watchdog_interval();
        let Agent { watching, evictions, requests, hangup, .. } = self;
        let woken = tokio::select! {
            () = requests.changed() => Woken::Requests,
            Some(()) = hangup.recv() => Woken::Hangup,
            event = watching.next() => Woken::Event(event),
            Some(ended) = evictions.join_next() => Woken::Eviction(ended.ok()),
            () = sleep(timeout) => Woken::Event(Event::Tick),
            () = sleep(watchdog) => Woken::Event(Event::Tick),
        };
        match woken {
            Woken::Requests => self.observe_requests(),
            Woken::Hangup => self.reload(),
            Woken::Event(event) => {
                self.observe(event);
                self.see_labels();
            }
            Woken::Eviction(None) => {}
            Woken::Eviction(Some(asked)) => self.evicted(asked),
        }
    }

    fn reload(&mut self) {
        match (self.reload)() {
            Err(error) => {
                tracing::error!("the new configuration is not used: {error}");
                self.observe(Event::Configuration(Some(error)));
            }
            Ok((files, settings)) => {
                tracing::info!("configuration reloaded");
                self.requests = Requests::new(&settings.host);
                self.api = api(&settings);
                self.watching = Watching::default();
                (self.files, self.fleet, self.settings) = (files, None, settings);
                self.observe(Event::Configuration(None));
                self.keep_configuration();
                self.observe(Event::Reloaded);
                self.observe_requests();
            }
        }
    }

    // ---- report ----

    fn report(&mut self, decision: &Decision) {
        let new = Reported {
            line: status::line(decision),
            phase: decision.phase,
            kinds: decision.reasons.iter().map(Reason::kind).collect(),
        };
        if self.reported.as_ref() == Some(&new) {
            return;
        }
        // What is about to be read anew may be out of date: it is told when it has been read.
        if matches!(decision.next, Next::Read(_)) && self.reported.is_some() {
            return;
        }
        if self.reported.as_ref().is_some_and(|old| old.phase == Phase::Draining && new.phase != old.phase)
            && let Some(summary) = self.world.cluster.drain.summary()
        {
            tracing::info!("{summary}");
        }
        systemd::status(&new.line);
        if let Some(path) = &self.places.status
            && let Err(error) = status::Status::new(&self.world, &self.settings, decision).publish(path)
        {
            tracing::debug!(%error, path = %path.display(), "cannot publish the status");
        }
        // What is done is logged when it is done; numbers that change in a reason are no news.
        let told = self.reported.as_ref().is_some_and(|old| old.phase == new.phase && old.kinds == new.kinds);
        let is_done = matches!(decision.next, Next::Act(_)) && new.kinds.is_empty();
        let (node, phase) = (&self.settings.node_name, new.phase.word());
        let alarm = decision.reasons.iter().find(|reason| reason.is_alarm()).map(Reason::kind);
        let is_new = |kind| self.reported.as_ref().is_none_or(|old| !old.kinds.contains(kind));
        if alarm.as_ref().is_some_and(is_new) {
            tracing::error!(node, phase, "{}", new.line);
        } else if !told && !is_done {
            tracing::info!(node, phase, "{}", new.line);
        }
        self.reported = Some(new);
    }
}

/// What is not started is seen not to run, and asked for again.
fn start_unit(name: &str) {
    if let Err(error) = hooks::start(name) {
        tracing::warn!(%error, "cannot have systemd start rebootd-{name}.service");
    }
}

enum Woken {
    Requests,
    Hangup,
    Event(Event),
    Eviction(Option<Asked>),
}

impl Watching {
    /// Whether any but that of the annotations, which has a connection of its own.
    fn any(&self) -> bool {
        [&self.slots, &self.node, &self.pods, &self.kubelet, &self.policy].into_iter().any(Option::is_some)
    }

    /// The next event of any of them. Waits for ever where there is none.
    async fn next(&mut self) -> Event {
        let event = tokio::select! {
            event = next(&mut self.slots) => event,
            event = next(&mut self.node) => event,
            event = next(&mut self.pods) => event,
            event = next(&mut self.kubelet) => event,
            event = next(&mut self.annotations) => event,
            event = next(&mut self.policy) => event,
        };
        if event == Event::WatchEnded {
            // The look that follows starts them all anew, from one point.
            *self = Watching { annotations: self.annotations.take(), ..Watching::default() };
        }
        event
    }
}

async fn next(watch: &mut Option<Watch>) -> Event {
    match watch {
        Some(watch) => watch.next().await.unwrap_or(Event::WatchEnded),
        None => std::future::pending().await,
    }
}

async fn sleep(time: Option<Duration>) {
    match time {
        Some(time) => tokio::time::sleep(time).await,
        None => std::future::pending().await,
    }
}

fn api(settings: &Settings) -> Option<Api> {
    settings.api.clone().map(|access| Api::new(access, settings.node_name.clone()))
}
