//! `simulate`: how thousands of nodes share some slots, in virtual time.
//!
//! Real are the core and its loop, one for each node. Hosts, API server and people are imitated: requests take milliseconds and some are
//! not answered, pods leave and hosts boot in times like those of real ones, daemons are killed, a few hosts never come back. Whatever
//! happens, the promises are checked at each change.

mod clock;
mod dice;
mod edge;
mod fleet;
mod picture;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use serde_json::json;

use fleet::{Fleet, Plan};

/// How thousands of nodes share some slots, in virtual time.
#[derive(Parser)]
struct Options {
    /// A run with each of these numbers of nodes
    #[arg(long, value_delimiter = ',', default_value = "3000,10000")]
    nodes: Vec<usize>,
    /// So many slots
    #[arg(long, default_value_t = 50)]
    slots: usize,
    /// So many hosts never come back; a person frees the slot of each half an hour later
    #[arg(long, default_value_t = 2)]
    lost: usize,
    /// The same number gives the same run
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Write a picture of each run, nodes over time by phase, into this directory
    #[arg(long)]
    pictures: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(options: &Options) -> Result<bool> {
    ensure!(
        options.slots > 0 && options.nodes.iter().all(|nodes| *nodes > options.slots),
        "more nodes than slots"
    );
    let mut runs = Vec::new();
    let mut all_is_well = true;
    for nodes in &options.nodes {
        let began = Instant::now();
        let plan = Plan { nodes: *nodes, slots: options.slots, lost: options.lost, seed: options.seed };
        let fleet = Fleet::roll(&plan);
        let seconds = began.elapsed().as_secs_f64();
        let figures = fleet.borrow().figures();
        println!("\n{nodes} nodes, {} slots, {} lost hosts, seed {}", plan.slots, plan.lost, plan.seed);
        for (what, value) in figures.lines() {
            println!("  {what:<48} {value:>12}");
        }
        println!("  {:<48} {seconds:>10.1} s", "this took");
        for violation in fleet.borrow().violations.iter().take(10) {
            println!("  VIOLATION {violation}");
        }
        if let Some(directory) = &options.pictures {
            let path = directory.join(format!("{nodes}-nodes.svg"));
            std::fs::write(&path, picture::svg(&fleet.borrow().samples, *nodes))
                .with_context(|| path.display().to_string())?;
        }
        all_is_well &= figures.violations == 0 && figures.unfinished == 0;
        runs.push(json!({
            "nodes": nodes, "slots": plan.slots, "seed": plan.seed,
            "rollout_seconds": figures.rollout.as_secs(), "peak_requests_per_s": figures.peak,
            "requests_per_node": figures.per_node(), "conflicts_per_claim": figures.conflicts_per_claim(),
            "handoff_p50_ms": millis(figures.handoff[0]), "handoff_p99_ms": millis(figures.handoff[1]),
            "violations": figures.violations, "unfinished": figures.unfinished, "seconds": (seconds * 10.0).round() / 10.0,
        }));
    }
    println!("\n{}", json!({ "runs": runs }));
    Ok(all_is_well)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
