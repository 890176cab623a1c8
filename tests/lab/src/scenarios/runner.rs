//! Runs scenarios, several at a time, each by starting this program again inside namespaces of its own.

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::LocalSet;
use tokio::time::timeout;

use super::stage::Stage;
use super::{ALL, KEXEC, Scenario, remains};
use crate::kubelet::Kind;
use crate::lab::{self, LabConfig};
use crate::namespaces::Inner;
use crate::progress::say;
use crate::{cache, command, package, virtual_machine};

/// What a scenario says, in its directory of results.
const OUTPUT: &str = "output.log";
const SHOWN_LINES: usize = 60;
/// How much longer than a scenario's own limit its process may take: to end in order and keep its journals.
const GRACE: Duration = Duration::from_secs(60);

/// What to run.
#[derive(Args, Debug)]
pub struct Options {
    /// Also run what takes long.
    #[arg(long)]
    long: bool,
    /// Only say what there is.
    #[arg(long)]
    list: bool,
    /// How many at a time: they wait more than they work, each takes about a fifth of a core and 1 GB.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u8).range(1..=8))]
    jobs: u8,
    /// Where to keep what each one printed, and the journals; by default in the lab's cache.
    #[arg(long)]
    results: Option<PathBuf>,
    /// Only these.
    names: Vec<String>,
}

impl Options {
    fn chosen(&self) -> Result<Vec<&'static Scenario>> {
        let known = |name: &String| ALL.iter().any(|scenario| scenario.name == name);
        if let Some(unknown) = self.names.iter().find(|name| !known(name)) {
            bail!("there is no scenario {unknown}; see `lab test --list`");
        }
        let is_chosen = |scenario: &&Scenario| match self.names.is_empty() {
            true => self.long || !scenario.long,
            false => self.names.iter().any(|name| name == scenario.name),
        };
        let mut chosen: Vec<_> = ALL.iter().filter(is_chosen).collect();
        // So that all workers end at about the same time.
        chosen.sort_by_key(|scenario| Reverse(scenario.usual));
        Ok(chosen)
    }

    /// By default the same place each time, so that old results do not pile up. It is held as long as the file
    /// is; a run beside another one takes a place of its own.
    fn results(&self) -> Result<(PathBuf, Option<File>)> {
        if let Some(path) = &self.results {
            return Ok((std::path::absolute(path)?, None));
        }
        let cache = cache::directory()?;
        let lock = File::create(cache.join("test-results.lock"))?;
        let name = match lock.try_lock() {
            Ok(()) => "test-results".to_owned(),
            Err(_) => format!("test-results-{}", std::process::id()),
        };
        Ok((cache.join(name), Some(lock)))
    }
}

/// Runs all that was asked for, and says how each one went; to be called outside of a lab.
pub async fn run_all(options: Options) -> Result<ExitCode> {
    let chosen = options.chosen()?;
    if options.list {
        for scenario in ALL {
            let long = if scenario.long { " (with --long)" } else { "" };
            println!("{:>5} s  {:<20} {}{long}", scenario.usual, scenario.name, scenario.expects);
        }
        return Ok(ExitCode::SUCCESS);
    }
    for kind in [Kind::Hollow, Kind::Real] {
        if chosen.iter().any(|scenario| scenario.hosts.kind == kind) {
            lab::prepare(&LabConfig::of_kind(kind, 2)).await?;
        }
    }
    if chosen.iter().any(|scenario| scenario.name == KEXEC) {
        virtual_machine::fetch().await?;
    }
    let (results, _held) = options.results()?;
    let run = Rc::new(Run {
        package: package::given_or_built().await?,
        results,
        waiting: Mutex::new(chosen.into_iter().collect()),
        done: Mutex::new(Vec::new()),
    });
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    // All on this thread, which the labs live no longer than.
    let workers = LocalSet::new();
    for _ in 0..options.jobs {
        let run = Rc::clone(&run);
        workers.spawn_local(async move { run.work().await });
    }
    tokio::select! {
        () = workers => {}
        _ = interrupt.recv() => bail!("interrupted"),
        _ = terminate.recv() => bail!("terminated"),
    };
    Ok(run.summary())
}

struct Run {
    package: PathBuf,
    results: PathBuf,
    waiting: Mutex<VecDeque<&'static Scenario>>,
    done: Mutex<Vec<Done>>,
}

/// A scenario that has ended, and what it took.
struct Done {
    name: &'static str,
    /// Why it failed.
    failure: Option<String>,
    time: Duration,
    processor_time: Duration,
}

impl Run {
    async fn work(&self) {
        loop {
            let next = self.waiting.lock().expect("no panic holds it").pop_front();
            let Some(scenario) = next else { return };
            let began = Instant::now();
            let results = self.results.join(scenario.name);
            let mut processor_time = Duration::ZERO;
            let outcome = self.one(scenario, &results, &mut processor_time).await;
            let time = began.elapsed();
            let seconds = time.as_secs();
            let failure = match outcome {
                Ok(()) => {
                    println!("ok {} ({seconds} s)", scenario.name);
                    None
                }
                Err(error) => {
                    let output = results.join(OUTPUT);
                    let shown = command::tail(&output, SHOWN_LINES);
                    println!("FAILED {} ({seconds} s): {error:#}", scenario.name);
                    println!("{shown}\n  … all of it, and the journals: {}", results.display());
                    let all = command::tail(&output, usize::MAX);
                    let why = all.lines().rfind(|line| line.contains("FAILED: ")).unwrap_or_default();
                    Some(format!("{error:#}: {}", why.trim_start()))
                }
            };
            let done = Done { name: scenario.name, failure, time, processor_time };
            self.done.lock().expect("no panic holds it").push(done);
        }
    }

    async fn one(&self, scenario: &Scenario, results: &Path, processor_time: &mut Duration) -> Result<()> {
        // What an earlier run left would be taken for this one's.
        let _ = fs::remove_dir_all(results);
        fs::create_dir_all(results)?;
        let output = File::create(results.join(OUTPUT))?;
        let arguments = ["test", "--results"].map(OsString::from).into_iter();
        let arguments: Vec<OsString> = arguments.chain([results.into(), scenario.name.into()]).collect();
        let mut inner = Inner::start(&arguments, Some(&self.package), Some(output))?;
        let limit = scenario.limit + GRACE;
        let ended = timeout(limit, inner.wait()).await;
        *processor_time = inner.processor_time()?;
        inner.remove().await?;
        let code = ended.with_context(|| format!("did not end within {} s", limit.as_secs()))??;
        ensure!(code == 0, "exit code {code}");
        Ok(())
    }

    /// Says how long each one took, the longest first: those are worth shortening. Figures only, nothing fails on them.
    fn summary(&self) -> ExitCode {
        let mut done = self.done.lock().expect("no panic holds it");
        done.sort_by_key(|done| Reverse(done.time));
        println!("\n    time  processor");
        for Done { name, failure, time, processor_time } in done.iter() {
            let failed = if failure.is_some() { " (FAILED)" } else { "" };
            println!("{:>6} s {:>8} s  {name}{failed}", time.as_secs(), processor_time.as_secs());
        }
        let time: Duration = done.iter().map(|done| done.time).sum();
        let processor_time: Duration = done.iter().map(|done| done.processor_time).sum();
        println!("{:>6} s {:>8} s  one after the other\n", time.as_secs(), processor_time.as_secs());
        let mut failed = 0;
        // Once more, where they are not lost among the rest.
        for Done { name, failure, .. } in done.iter() {
            if let Some(failure) = failure {
                println!("FAILED {name}: {failure}");
                failed += 1;
            }
        }
        println!("{} passed, {failed} failed", done.len() - failed);
        if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// Runs the one scenario that is named; to be called inside the lab's namespaces.
pub async fn run_one(options: Options) -> Result<ExitCode> {
    let chosen = options.chosen()?;
    let [scenario] = chosen[..] else { bail!("inside a lab runs one scenario") };
    say(format!("{}: {}", scenario.name, scenario.expects));
    let package = package::given().context("no package was given")?;
    let (results, _) = options.results()?;
    let deadline = tokio::time::Instant::now() + scenario.limit;
    let hosts = LabConfig::of_kind(scenario.hosts.kind, scenario.hosts.count);
    let starting = Stage::start(hosts, package, results.clone());
    let started = tokio::time::timeout_at(deadline, starting).await;
    let stage = started.context("the lab did not start in time")??;
    let outcome = tokio::time::timeout_at(deadline, (scenario.run)(&stage)).await;
    let outcome = outcome.unwrap_or_else(|_| bail!("not over within {} s", scenario.limit.as_secs()));
    if let Err(error) = &outcome {
        say(format!("FAILED: {error:#}"));
    }
    // Kept in any case: what a success looked like is worth as much as a failure.
    remains::keep(&stage, &results).await;
    Ok(if outcome.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
