//! Named cases of a drain, many at a time on one control plane: see `docs/development.md`.
//!
//! Each has a node, pool, slot and namespaces of its own, on a [simulated](crate::simulated) machine. Its name is that of its
//! function; it reads like a story.

mod answers;
mod case;
mod creation;
mod denials;
mod kubectl;
mod meddling;
mod objects;
mod ours;
mod server;
mod waits;
mod wire;

use std::collections::VecDeque;
use std::fs;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::lab::ELSEWHERE;
use crate::progress::say;
use crate::scenarios::stage::Stage;
use crate::simulated::Ground;
use crate::simulated::client::Client;

use case::{Audited, Case, Shared};

/// Only cases whose name holds this are run.
const ONLY: &str = "REBOOTD_LAB_CASES";
/// They wait more than they work.
const AT_ONCE: usize = 8;
/// Only what hangs takes so long: beside four other labs on two cores each step takes several times as long as alone.
const LIMIT: Duration = Duration::from_secs(480);
/// For those that take long by their nature.
const LONG_LIMIT: Duration = Duration::from_secs(900);

type Run = for<'case> fn(&'case mut Case) -> Pin<Box<dyn Future<Output = Result<()>> + Send + 'case>>;

/// One case.
struct Named {
    name: &'static str,
    run: Run,
}

/// The list of a file's cases: `cases![a_bare_pod_stays, …]`.
macro_rules! cases {
    ($($name:ident),+ $(,)?) => {
        pub(super) const CASES: &[crate::drain_cases::Named] = &[$(crate::drain_cases::Named {
            name: stringify!($name),
            run: |case| Box::pin($name(case)),
        }),+];
    };
}
use cases;

/// All of them; those that take longest come first.
const ALL: [&[&[Named]]; 4] = [&wire::CASES, &ours::CASES, &kubectl::CASES, &server::CASES];

/// Those that take minutes each.
const LONG: [&[&[Named]]; 1] = [&wire::LONG];

/// Runs all but those that take minutes each.
pub(crate) async fn run(stage: &Stage) -> Result<()> {
    run_these(stage, &ALL, LIMIT).await
}

/// Runs those that take minutes each.
pub(crate) async fn run_long(stage: &Stage) -> Result<()> {
    run_these(stage, &LONG, LONG_LIMIT).await
}

/// Runs all, or those that the environment names, and fails if one of them failed.
async fn run_these(stage: &Stage, cases: &[&'static [&'static [Named]]], limit: Duration) -> Result<()> {
    let only = std::env::var(ONLY).unwrap_or_default();
    let chosen: VecDeque<(usize, &'static Named)> = cases
        .iter()
        .copied()
        .flatten()
        .copied()
        .flatten()
        .enumerate()
        .filter(|(_, case)| case.name.contains(&only))
        .collect();
    ensure!(!chosen.is_empty(), "no case's name holds {only:?}");
    // One case alone would have the only node of a cluster, which does not reboot.
    stage.lab.control_plane.apply(ELSEWHERE).await?;
    let ground = Ground::prepare(&stage.lab, &stage.package, stage.lab.directory().join("cases")).await?;
    let shared = Arc::new(Shared {
        audited: Mutex::new(Audited::new(&stage.lab.control_plane.audit_log())),
        person: Client::new(&stage.lab.control_plane, "lab-person")?,
        lab: Arc::clone(&stage.lab),
        observer: Arc::clone(&stage.observer),
        ground,
    });
    say(format!("{} cases, {AT_ONCE} at a time", chosen.len()));
    let count = chosen.len();
    let waiting = Arc::new(Mutex::new(chosen));
    let mut workers = JoinSet::new();
    for _ in 0..AT_ONCE {
        let (shared, waiting, results) =
            (Arc::clone(&shared), Arc::clone(&waiting), stage.results.join("cases"));
        workers.spawn(async move {
            let mut failed = Vec::new();
            loop {
                let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                let Some((number, case)) = next else { return failed };
                if let Err(error) = one(&shared, number, case, limit, &results).await {
                    failed.push(format!("{}: {error:#}", case.name));
                }
            }
        });
    }
    let failed = workers.join_all().await.concat();
    say(format!("{} of {count} cases are ok", count - failed.len()));
    ensure!(failed.is_empty(), "{} failed: {}", failed.len(), failed.join("; "));
    Ok(())
}

/// What it said is kept in any case.
///
/// # Errors
///
/// If it failed.
async fn one(
    shared: &Arc<Shared>,
    number: usize,
    named: &Named,
    limit: Duration,
    results: &Path,
) -> Result<()> {
    let began = Instant::now();
    let (shared, run) = (Arc::clone(shared), named.run);
    // In a task of its own: one that panics takes no other along.
    let played = tokio::spawn(async move {
        let mut case = Case::new(&shared, number).await.context("its machine does not come up")?;
        let outcome = timeout(limit, run(&mut case)).await;
        let outcome = outcome.unwrap_or_else(|_| bail!("not over within {limit:?}"));
        Ok((outcome, case.close().await, case.log()))
    });
    let nothing = |error| (Err(error), String::new(), String::new());
    let (outcome, story, log) =
        played.await.unwrap_or_else(|panic| Err(panic.into())).unwrap_or_else(nothing);
    let seconds = began.elapsed().as_secs_f64();
    let _ = fs::create_dir_all(results);
    let _ = fs::write(results.join(format!("{}.story", named.name)), &story);
    let _ = fs::write(results.join(format!("{}.log", named.name)), &log);
    match &outcome {
        Ok(()) => say(format!("ok {} ({seconds:.0} s)", named.name)),
        // Its own log last: there most causes are.
        Err(error) => say(format!(
            "FAILED {} ({seconds:.0} s): {error:#}\n{}{}",
            named.name,
            indented("story", &story),
            indented("rebootd", &log),
        )),
    }
    outcome
}

fn indented(title: &str, text: &str) -> String {
    text.lines().map(|line| format!("    {title}: {line}\n")).collect()
}
