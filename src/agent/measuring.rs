//! Measures what a turn costs: what the node waits for before it, and what becomes of the workloads whose pods leave.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::sync::watch::{self, Receiver, Sender};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::cluster::{Api, ApiError, Measurer};
use crate::decide::settings::Query;
use crate::decide::{
    Decision, Ending, Figure, Impact, Measured, Phase, Planned, PodView, Reason, Restarts, Settings, Verdict,
    World, plan,
};
use crate::host::clock;

/// Often enough to see a dip, and a few requests for a node that is in its turn.
const EVERY: Duration = Duration::from_secs(5);
/// A turn that takes longer than this is looked at less often: a budget may hold a drain up for days.
const OFTEN: Duration = Duration::from_secs(10 * 60);
const LATER: Duration = Duration::from_secs(60);
/// An API server that is overloaded or away is left alone by what only measures.
const AFTER_FAILURE: Duration = Duration::from_secs(60);

#[derive(Default)]
pub(super) struct Measuring {
    measured: Measured,
    /// Pods that were there before: those that are asked to leave before the first look were ready.
    left: BTreeSet<String>,
    /// What it waits for, and since when that is not counted yet, in time since boot.
    waits: Option<(&'static str, Duration)>,
    looks: Option<Looks>,
    /// Until when it was looked, in time since boot, where the looks have stopped.
    seen_until: Option<Duration>,
    /// A phase before the drain was seen.
    was_before_drain: bool,
    /// When to look again after a look that failed, in time since boot.
    again: Duration,
    /// The turn of a reboot is under way after it.
    was_after_reboot: bool,
}

/// Looks at workloads until it is dropped, or a look fails.
struct Looks {
    seen: Receiver<Seen>,
    task: JoinSet<()>,
}

/// What is looked at.
#[derive(Clone)]
struct Seen {
    workloads: Vec<Impact>,
    figure: Option<Figure>,
    /// When each of them was looked at last, in time since boot.
    at: Duration,
    /// When the next look begins.
    due: Duration,
}

impl Seen {
    fn note(self, measured: &mut Measured) {
        measured.workloads = self.workloads;
        // A key that was taken out meanwhile takes nothing away.
        measured.figure = self.figure.or(measured.figure.take());
    }
}

/// Whether the latest reboot has happened, and its turn has not ended.
fn is_after_reboot(world: &World) -> bool {
    let last = world.memory.last_reboot.as_ref();
    last.is_some_and(|it| it.ending == Some(Ending::UnderWay) && it.boot_id != world.host.boot_id)
}

/// Whether nothing has left in this phase. A daemon that is started in a drain confirms its cordon first.
fn is_before_drain(phase: Phase, is_cordoned: bool) -> bool {
    match phase {
        Phase::Starting | Phase::Draining | Phase::Rebooting => false,
        Phase::Cordoning => !is_cordoned,
        _ => true,
    }
}

impl Measuring {
    /// What was measured before the reboot goes on after it.
    pub(super) fn begin(&mut self, world: &World) {
        if let Some(last) = world.memory.last_reboot.as_ref().filter(|_| is_after_reboot(world)) {
            self.measured = last.measured.clone();
        }
    }

    /// Until now.
    pub(super) fn now(&self) -> Measured {
        let mut measured = self.measured.clone();
        if let Some(looks) = &self.looks {
            looks.seen.borrow().clone().note(&mut measured);
        }
        measured.unanswered = measured.unanswered.saturating_add(self.gap());
        measured
    }

    /// For how long a look is overdue, in seconds: as long as this lasts, nobody knows what happens.
    fn gap(&self) -> u64 {
        let due = match &self.looks {
            Some(looks) => Some(looks.seen.borrow().due + EVERY),
            None => self.seen_until,
        };
        due.map_or(0, |due| clock::now().boot.saturating_sub(due).as_secs())
    }

    pub(super) fn decided(&mut self, api: &mut Api, world: &World, settings: &Settings, decision: &Decision) {
        let is_after = is_after_reboot(world);
        if std::mem::replace(&mut self.was_after_reboot, is_after) && !is_after {
            // Its record has all of it: the next turn begins with nothing, also where no idle moment is between them.
            *self = Measuring { was_before_drain: true, ..Measuring::default() };
        }
        let node = world.cluster.node.last().and_then(Option::as_ref);
        self.was_before_drain |= is_before_drain(decision.phase, node.is_some_and(|it| it.unschedulable));
        self.count_wait(world.now.boot, decision, is_after);
        if self.looks.as_mut().is_some_and(|looks| looks.task.try_join_next().is_some()) {
            self.stop_looking();
            self.again = world.now.boot + AFTER_FAILURE;
        }
        match decision.phase {
            Phase::Idle => *self = Measuring { was_before_drain: true, ..Measuring::default() },
            Phase::Draining => self.look_at_leaving(api, world, settings),
            Phase::Returning => self.look_again(api, world, settings),
            Phase::Rebooting => self.measured.began_late |= !self.was_before_drain && !is_after,
            Phase::Cordoning | Phase::Aborting => {}
            _ => self.stop_looking(),
        }
        if decision.phase == Phase::Waiting && !is_after {
            self.seen_until = None;
            // What an earlier turn has measured, which was called off.
            self.measured =
                Measured { waited: std::mem::take(&mut self.measured.waited), ..Measured::default() };
        }
    }

    /// Before the turn only.
    fn count_wait(&mut self, now: Duration, decision: &Decision, is_after: bool) {
        let is_waiting = decision.phase == Phase::Waiting && !is_after;
        let waits = decision.reasons.first().filter(|_| is_waiting).map(Reason::kind);
        if let Some((reason, since)) = self.waits.take()
            && let seconds @ 1.. = now.as_secs().saturating_sub(since.as_secs())
        {
            let sum = self.measured.waited.entry(reason.to_owned()).or_default();
            *sum = sum.saturating_add(seconds);
        }
        self.waits = waits.map(|reason| (reason, now));
    }

    /// Looks at the workloads whose pods are about to leave, if nobody does yet.
    pub(super) fn look_at_leaving(&mut self, api: &mut Api, world: &World, settings: &Settings) {
        if self.looks.is_some() || world.now.boot < self.again {
            return;
        }
        if self.measured.workloads.is_empty() {
            let Some(plan) = plan(world, settings) else { return };
            let leaves = |it: &&Planned<'_>| !matches!(it.verdict, Verdict::Leave(_) | Verdict::Refuse(_));
            let leaving: Vec<&PodView> = plan.iter().filter(leaves).map(|it| it.pod).collect();
            self.left = self.measured.begin(&leaving);
            self.measured.began_late = !self.was_before_drain;
        }
        self.look(api, settings, !self.measured.began_late);
    }

    /// The same ones, after the reboot.
    fn look_again(&mut self, api: &mut Api, world: &World, settings: &Settings) {
        let Some(last) = world.memory.last_reboot.as_ref() else { return };
        if self.looks.is_none() && world.now.boot >= self.again {
            self.look(api, settings, false);
            let down = world.now.wall.saturating_sub(last.at).as_secs();
            if self.looks.is_some() {
                self.measured.unseen.get_or_insert(down);
            }
        }
    }

    fn look(&mut self, api: &mut Api, settings: &Settings, is_first: bool) {
        // A node that nothing leaves is not woken for it.
        if self.measured.workloads.is_empty() && settings.measure.is_none() {
            return;
        }
        // Without a credential nothing else works, either; the next decision tries again.
        let Ok(measurer) = api.measurer() else { return };
        let is_first = is_first && self.measured.figure.is_none();
        let figure = settings.measure.is_some().then(|| self.measured.figure.clone().unwrap_or_default());
        let now = clock::now().boot;
        self.measured.unanswered = self.measured.unanswered.saturating_add(self.gap());
        self.seen_until = None;
        let workloads = self.measured.workloads.clone();
        let (told, seen) = watch::channel(Seen { workloads, figure, at: now, due: now });
        let mut task = JoinSet::new();
        if let Some(query) = settings.measure.clone() {
            task.spawn(ask(measurer.clone(), query, is_first, told.clone()));
        }
        task.spawn(look(measurer, self.left.clone(), told));
        self.looks = Some(Looks { seen, task });
    }

    fn stop_looking(&mut self) {
        if let Some(looks) = self.looks.take() {
            let seen = looks.seen.borrow().clone();
            self.seen_until = Some(seen.at);
            seen.note(&mut self.measured);
        }
    }
}

/// One request at a time, until one fails: whoever goes on then has a new connection, and the time between counts as unanswered.
async fn look(measurer: Measurer, left: BTreeSet<String>, told: Sender<Seen>) {
    let began = clock::now().boot;
    let mut last: BTreeMap<usize, (u64, Option<Restarts>)> = BTreeMap::new();
    loop {
        let round = clock::now().boot;
        let workloads = told.borrow().workloads.clone();
        for (number, mut impact) in workloads.into_iter().enumerate() {
            let found = match measurer.replicas(&impact.namespace, &impact.pods).await {
                Ok(found) => found,
                // Very many pods: this one is not looked at, and the others are.
                Err(ApiError::Garbled(_)) => continue,
                Err(_) => return,
            };
            let now = clock::now().boot.as_secs();
            let (since, mut restarts) = last.remove(&number).unwrap_or((now, None));
            impact.seen(&found, &left, &mut restarts, now.saturating_sub(since));
            last.insert(number, (now, restarts));
            told.send_modify(|all| {
                all.workloads.iter_mut().skip(number).take(1).for_each(|it| it.clone_from(&impact));
            });
        }
        let now = clock::now().boot;
        // Many workloads with many pods must not keep an API server busy.
        let pause = pause(began).max(now.saturating_sub(round) * 10);
        told.send_modify(|all| (all.at, all.due) = (now, now + pause));
        sleep(pause).await;
    }
}

fn pause(began: Duration) -> Duration {
    if clock::now().boot.saturating_sub(began) > OFTEN { LATER } else { EVERY }
}

/// Asks Prometheus as often, whatever becomes of it, beside the looks: a slow one must not hold these up.
async fn ask(measurer: Measurer, query: Query, mut is_first: bool, told: Sender<Seen>) {
    let began = clock::now().boot;
    let mut is_told = false;
    loop {
        match measurer.number(&query).await {
            Ok(number) => {
                told.send_modify(|all| all.figure.iter_mut().for_each(|it| it.seen(number, is_first)));
            }
            Err(error) if !is_told => {
                tracing::warn!("what `measure` in [prometheus] asks for is not measured now: {error}");
                is_told = true;
            }
            Err(_) => {}
        }
        is_first = false;
        sleep(pause(began)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_that_is_started_in_a_drain_has_not_seen_what_was_before() {
        // Its phases, with whether its Node is cordoned.
        let restarted = [(Phase::Starting, true), (Phase::Cordoning, true), (Phase::Draining, true)];
        assert!(!restarted.into_iter().any(|(phase, cordoned)| is_before_drain(phase, cordoned)));
        assert!(is_before_drain(Phase::Cordoning, false) && is_before_drain(Phase::Waiting, true));
    }
}
