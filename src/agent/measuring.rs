//! Measures what a turn costs: what the node waits for before it, and what becomes of the workloads whose pods leave.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::sync::watch::{self, Receiver, Sender};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::cluster::{Api, Replicas};
use crate::decide::{
    Decision, Ending, Impact, Measured, Phase, Planned, PodView, Reason, Restarts, Settings, Verdict, World,
    plan,
};
use crate::host::clock;

/// Often enough to see a dip, and a few requests for a node that is in its turn.
const EVERY: Duration = Duration::from_secs(5);
/// An API server that is overloaded or away is left alone by what only measures.
const AFTER_FAILURE: Duration = Duration::from_secs(60);

#[derive(Default)]
pub(super) struct Measuring {
    measured: Measured,
    /// What it waits for, and since when that is not counted yet, in time since boot.
    waits: Option<(&'static str, Duration)>,
    looks: Option<Looks>,
}

/// Looks at workloads until it is dropped.
struct Looks {
    seen: Receiver<Vec<Impact>>,
    _task: JoinSet<()>,
}

impl Measuring {
    /// What was measured before the reboot goes on after it.
    pub(super) fn begin(&mut self, world: &World) {
        let last = world.memory.last_reboot.as_ref();
        let is_after =
            last.filter(|it| it.ending == Some(Ending::UnderWay) && it.boot_id != world.host.boot_id);
        if let Some(last) = is_after {
            self.measured = last.measured.clone();
        }
    }

    /// Until now.
    pub(super) fn now(&self) -> Measured {
        let mut measured = self.measured.clone();
        if let Some(looks) = &self.looks {
            measured.workloads.clone_from(&looks.seen.borrow());
        }
        measured
    }

    pub(super) fn decided(&mut self, api: &mut Api, world: &World, settings: &Settings, decision: &Decision) {
        let now = world.now.boot;
        let waits = decision.reasons.first().filter(|_| decision.phase == Phase::Waiting).map(Reason::kind);
        if let Some((reason, since)) = self.waits.take()
            && let seconds @ 1.. = now.as_secs().saturating_sub(since.as_secs())
        {
            let sum = self.measured.waited.entry(reason.to_owned()).or_default();
            *sum = sum.saturating_add(seconds);
        }
        self.waits = waits.map(|reason| (reason, now));
        match decision.phase {
            Phase::Idle => *self = Measuring::default(),
            Phase::Waiting | Phase::Restoring => self.looks = None,
            Phase::Draining => self.look_at_leaving(api, world, settings),
            Phase::Returning => self.look_again(api, world),
            _ => {}
        }
    }

    /// Looks at the workloads whose pods are about to leave, if nobody does yet.
    pub(super) fn look_at_leaving(&mut self, api: &mut Api, world: &World, settings: &Settings) {
        if self.looks.is_some() {
            return;
        }
        let Some(plan) = plan(world, settings) else { return };
        let leaves = |it: &&Planned<'_>| !matches!(it.verdict, Verdict::Leave(_) | Verdict::Refuse(_));
        let leaving: Vec<&PodView> = plan.iter().filter(leaves).map(|it| it.pod).collect();
        let left = self.measured.begin(&leaving);
        self.look(api, left);
    }

    /// The same ones, after the reboot.
    fn look_again(&mut self, api: &mut Api, world: &World) {
        let Some(last) = world.memory.last_reboot.as_ref().filter(|_| self.looks.is_none()) else { return };
        if !self.measured.workloads.is_empty() {
            let down = world.now.wall.saturating_sub(last.at).as_secs();
            self.measured.unseen.get_or_insert(down);
            self.look(api, BTreeSet::new());
        }
    }

    fn look(&mut self, api: &mut Api, left: BTreeSet<String>) {
        // Without a credential nothing else works, either; the next decision tries again.
        let Ok(replicas) = api.replicas() else { return };
        let (told, seen) = watch::channel(self.measured.workloads.clone());
        let mut task = JoinSet::new();
        task.spawn(look(replicas, left, told));
        self.looks = Some(Looks { seen, _task: task });
    }
}

/// One request at a time. A look that fails says nothing.
async fn look(replicas: Replicas, left: BTreeSet<String>, told: Sender<Vec<Impact>>) {
    let mut last: BTreeMap<usize, (u64, Option<Restarts>)> = BTreeMap::new();
    loop {
        let workloads = told.borrow().clone();
        let mut pause = EVERY;
        for (number, mut impact) in workloads.into_iter().enumerate() {
            let Ok(found) = replicas.read(&impact.namespace, &impact.pods).await else {
                pause = AFTER_FAILURE;
                break;
            };
            let now = clock::now().boot.as_secs();
            let (since, mut restarts) = last.remove(&number).unwrap_or((now, None));
            impact.seen(&found, &left, &mut restarts, now.saturating_sub(since));
            last.insert(number, (now, restarts));
            told.send_modify(|all| all.iter_mut().skip(number).take(1).for_each(|it| it.clone_from(&impact)));
        }
        sleep(pause).await;
    }
}
