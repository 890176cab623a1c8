//! Something goes wrong at every single step of a cycle (P5): the end is the same, without help.
//!
//! Clean cycles are recorded first: every request (seen by the host's proxy) and every D-Bus call (seen by
//! [`crate::bus`]), by names that are the same in every run. Each of these points then meets each [`Fault`] that can
//! happen to it, in a cycle of its own. Hosts work in parallel, each in a pool of its own.
//!
//! A cycle has room for two faults, one before its boot and one after it: what runs after a boot remembers nothing.
//! Not so where the power fails before it. Where a cycle with two fails, each is tried again alone.

mod cycle;
mod faults;
mod steps;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::fs;
use std::future::poll_fn;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use super::stage::Stage;
use crate::progress::say;
use crate::proxy::Action;
use cycle::{Reached, Recording, Rig};
use faults::{Case, Fault};
use steps::{Class, Point, Seen, Step, merge};

/// Only cases whose name holds this are tried by [`every_point`]: `claim/get node 1`, `release 1: killed`.
const ONLY: &str = "REBOOTD_LAB_POINTS";
/// The name of the table in the directory of results.
const TABLE: &str = "points";
/// What the clean cycles went through, there as well.
const STEPS: &str = "steps";

/// One point of each kind.
pub(super) async fn each_kind(stage: &Stage) -> Result<()> {
    sweep(stage, 1, one_of_each_kind).await
}

/// Every point, and every fault that can happen to it.
pub(super) async fn every_point(stage: &Stage) -> Result<()> {
    sweep(stage, 2, |all| match std::env::var(ONLY) {
        Ok(part) => all.into_iter().filter(|case| case.to_string().contains(&part)).collect(),
        Err(_) => all,
    })
    .await
}

/// Each answer of a cycle gets lost once, and on the other host each request, all in one cycle.
pub(super) async fn each_lost(stage: &Stage) -> Result<()> {
    let (rigs, points) = record_all(stage, 1).await?;
    let requests = |wanted_after: bool| -> Vec<Point> {
        let requests = points.points().filter(|(step, _)| !matches!(step.class, Class::Ask | Class::Reboot));
        requests.filter(|(_, after)| *after == wanted_after).map(|(step, _)| step.point.clone()).collect()
    };
    let lose = |(rig, action)| Rig::run_all(rig, requests(false), requests(true), action);
    together(rigs.iter().zip([Action::DropAfter, Action::DropBefore]).map(lose)).await?;
    Ok(())
}

/// Each kind of step once, with another fault each time.
fn one_of_each_kind(all: Vec<Case>) -> Vec<Case> {
    let mut by_kind: BTreeMap<String, Vec<Case>> = BTreeMap::new();
    // Minutes, where all else takes seconds.
    for case in all.into_iter().filter(|case| case.fault != Fault::PowerLostBeforeVeryLate) {
        by_kind.entry(case.point.kind.clone()).or_default().push(case);
    }
    // Another fault each time: the number of the kind chooses among its cases.
    let one = |(number, mut cases): (usize, Vec<Case>)| cases.swap_remove(number % cases.len());
    by_kind.into_values().enumerate().map(one).collect()
}

async fn sweep(stage: &Stage, recordings: usize, choose: impl Fn(Vec<Case>) -> Vec<Case>) -> Result<()> {
    let (rigs, points) = record_all(stage, recordings).await?;
    let cases = choose(points.cases());
    ensure!(!cases.is_empty(), "no case is chosen");
    let work = Work::new(points, cases, stage.results.join(TABLE));
    together(rigs.iter().map(|rig| work.share(rig))).await?;
    eprintln!("{}", work.table());
    work.verdict()
}

/// Makes every host ready and lets it go through so many clean cycles.
async fn record_all(stage: &Stage, cycles: usize) -> Result<(Vec<Rig<'_>>, Points)> {
    // The first one applies the manifests; two that do so at one time would meet.
    let mut rigs = vec![Rig::set_up(stage, 1).await?];
    rigs.extend(together((2..=stage.lab.hosts.len()).map(|number| Rig::set_up(stage, number))).await?);
    let recorded = together(rigs.iter().map(|rig| record(rig, cycles))).await?;
    let points = Points::of(recorded.into_iter().flatten());
    fs::write(stage.results.join(STEPS), points.to_string())?;
    let (all, tried) = (points.all().count(), points.points().count());
    say(format!("{} clean cycles: {all} steps, {tried} points", points.cycles));
    Ok((rigs, points))
}

async fn record(rig: &Rig<'_>, times: usize) -> Result<Vec<Recording>> {
    let mut recordings = Vec::new();
    for _ in 0..times {
        recordings.push(rig.record().await.context("a clean cycle")?);
    }
    Ok(recordings)
}

/// Runs the same on several hosts at one time.
async fn together<T>(each: impl Iterator<Item = impl Future<Output = Result<T>>>) -> Result<Vec<T>> {
    let mut all: Vec<_> = each.map(|future| (Box::pin(future), None)).collect();
    poll_fn(|context| {
        for (future, result) in all.iter_mut().filter(|(_, result)| result.is_none()) {
            if let Poll::Ready(ready) = future.as_mut().poll(context) {
                *result = Some(ready);
            }
        }
        if all.iter().all(|(_, result)| result.is_some()) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    all.into_iter().filter_map(|(_, result)| result).collect()
}

/// What the clean cycles went through.
struct Points {
    before_boot: Vec<Seen>,
    after_boot: Vec<Seen>,
    cycles: usize,
}

impl Points {
    fn of(recordings: impl Iterator<Item = Recording>) -> Points {
        let halves = recordings.map(|recording| (recording.before_boot, recording.after_boot));
        let (before, after): (Vec<_>, Vec<_>) = halves.unzip();
        Points { before_boot: merge(&before), after_boot: merge(&after), cycles: before.len() }
    }

    fn all(&self) -> impl Iterator<Item = &Seen> {
        self.before_boot.iter().chain(&self.after_boot)
    }

    /// The points to be tried, and whether they follow the boot.
    fn points(&self) -> impl Iterator<Item = (&Step, bool)> {
        let halves = [(&self.before_boot, false), (&self.after_boot, true)];
        let steps = halves.into_iter().flat_map(|(seen, after)| seen.iter().map(move |seen| (seen, after)));
        steps.filter(|(seen, _)| seen.is_point).map(|(seen, after)| (&seen.step, after))
    }

    fn cases(&self) -> Vec<Case> {
        self.points().flat_map(|(step, after)| cases(step, after)).collect()
    }
}

fn cases(step: &Step, follows_boot: bool) -> impl Iterator<Item = Case> {
    Fault::of(step.class).iter().map(move |fault| Case {
        point: step.point.clone(),
        fault: *fault,
        follows_boot,
    })
}

impl fmt::Display for Points {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Seen { step, runs, is_point } in self.all() {
            let repeats = if *is_point { "" } else { ", repeated while time passes: not tried" };
            writeln!(
                formatter,
                "{} ({:?}), in {runs} of {} cycles{repeats}",
                step.point, step.class, self.cycles
            )?;
        }
        Ok(())
    }
}

/// How a case ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Passed,
    Failed,
    /// The point did not come in this run.
    NotReached,
}

impl fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Outcome::Passed => "ok",
            Outcome::Failed => "FAILED",
            Outcome::NotReached => "not reached",
        })
    }
}

/// What one cycle is to go through.
struct Errand {
    before: Option<Case>,
    after: Option<Case>,
    is_second_try: bool,
}

impl Errand {
    fn alone(case: Case, is_second_try: bool) -> Errand {
        let (before, after) = if case.follows_boot { (None, Some(case)) } else { (Some(case), None) };
        Errand { before, after, is_second_try }
    }

    fn cases(&self) -> impl Iterator<Item = &Case> {
        self.before.iter().chain(&self.after)
    }
}

impl fmt::Display for Errand {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> = self.cases().map(ToString::to_string).collect();
        formatter.write_str(&names.join(" + "))
    }
}

/// All cases, shared by the hosts.
struct Work {
    points: Points,
    total: usize,
    table: PathBuf,
    began: Instant,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Errand>,
    outcomes: BTreeMap<String, Outcome>,
    failures: Vec<String>,
    cycles: usize,
}

impl Work {
    fn new(points: Points, cases: Vec<Case>, table: PathBuf) -> Work {
        let total = cases.len();
        let (mut before, mut after, mut alone) = (VecDeque::new(), VecDeque::new(), VecDeque::new());
        for case in cases {
            match case.follows_boot {
                true => after.push_back(case),
                false if case.fault.takes_power() => alone.push_back(case),
                false => before.push_back(case),
            }
        }
        // The longest first, so that no host ends long after the others.
        alone.make_contiguous().sort_by_key(|case| case.fault != Fault::PowerLostBeforeVeryLate);
        let mut waiting: VecDeque<Errand> =
            alone.into_iter().map(|case| Errand::alone(case, false)).collect();
        while !before.is_empty() || !after.is_empty() {
            let (before, after) = (before.pop_front(), after.pop_front());
            waiting.push_back(Errand { before, after, is_second_try: false });
        }
        let state = Mutex::new(State { waiting, ..State::default() });
        Work { points, total, table, began: Instant::now(), state }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does cycle after cycle on one host, until there are none.
    async fn share(&self, rig: &Rig<'_>) -> Result<()> {
        loop {
            let Some(errand) = self.state().waiting.pop_front() else { return Ok(()) };
            let began = Instant::now();
            rig.say(errand.to_string());
            let result = rig.run(errand.before.as_ref(), errand.after.as_ref()).await;
            if let Err(error) = &result {
                let number = self.failed(format!("{}: {errand}: {error:#}", rig.host.name()));
                rig.keep_journal(&format!("failure-{number}")).await;
                rig.mend().await?;
            }
            self.note(rig, errand, result.ok(), began.elapsed().as_secs());
            // Each time: whatever ends this, what was found out is there.
            fs::write(&self.table, self.table())?;
        }
    }

    fn failed(&self, failure: String) -> usize {
        let mut state = self.state();
        say(format!("FAILED: {failure}"));
        state.failures.push(failure);
        state.failures.len()
    }

    fn note(&self, rig: &Rig<'_>, errand: Errand, reached: Option<Reached>, seconds: u64) {
        let mut state = self.state();
        state.cycles += 1;
        let Errand { before, after, is_second_try } = errand;
        let is_pair = before.is_some() && after.is_some();
        for case in before.into_iter().chain(after) {
            let outcome = match &reached {
                None => Outcome::Failed,
                Some(reached) if reached.case(&case) => Outcome::Passed,
                Some(_) => Outcome::NotReached,
            };
            // Which of the two was it? And does a point that did not come this time come next time?
            let again =
                (outcome == Outcome::Failed && is_pair) || (outcome == Outcome::NotReached && !is_second_try);
            if again {
                state.waiting.push_back(Errand::alone(case, true));
                continue;
            }
            state.outcomes.insert(case.to_string(), outcome);
            let (done, total) = (state.outcomes.len(), self.total);
            rig.say(format!("{outcome} after {seconds} s ({done} of {total}): {case}"));
        }
    }

    /// A line for each point, a column for each fault.
    fn table(&self) -> String {
        let state = self.state();
        let count = |wanted| state.outcomes.values().filter(|outcome| **outcome == wanted).count();
        let mut table = format!(
            "{} points, {} of {} cases in {} cycles and {} s: {} ok, {} cycles failed, {} not reached\n\n",
            self.points.points().count(),
            state.outcomes.len(),
            self.total,
            state.cycles,
            self.began.elapsed().as_secs(),
            count(Outcome::Passed),
            state.failures.len(),
            count(Outcome::NotReached),
        );
        for (number, fault) in Fault::ALL.iter().enumerate() {
            table.push_str(&format!("  {}: {fault}\n", number + 1));
        }
        let columns: Vec<String> = (1..=Fault::ALL.len()).map(|number| format!("{number:<12}")).collect();
        table.push_str(&format!("\n{:<44}{}\n", "", columns.concat().trim_end()));
        for (step, follows_boot) in self.points.points() {
            let mut cells = [""; Fault::ALL.len()].map(|_| "-".to_owned());
            for case in cases(step, follows_boot) {
                if let Some(outcome) = state.outcomes.get(&case.to_string()) {
                    cells[case.fault as usize] = outcome.to_string();
                }
            }
            let cells: String = cells.iter().map(|cell| format!("{cell:<12}")).collect();
            table.push_str(&format!("{:<44}{}\n", step.point.to_string(), cells.trim_end()));
        }
        for failure in &state.failures {
            table.push_str(&format!("\nFAILED {failure}\n"));
        }
        table
    }

    fn verdict(&self) -> Result<()> {
        let state = self.state();
        ensure!(
            state.failures.is_empty(),
            "{} cycles failed:\n{}",
            state.failures.len(),
            state.failures.join("\n")
        );
        ensure!(state.outcomes.values().any(|it| *it == Outcome::Passed), "no point was reached");
        Ok(())
    }
}
