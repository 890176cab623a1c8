//! `lab bench faults`: how often a promise is broken while so many things go wrong. See [`crate::faults`].

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use clap::Args;

use crate::faults;
use crate::lab::LabConfig;
use crate::scenarios::stage::Stage;

/// What to run.
#[derive(Args, Debug)]
pub struct Options {
    /// How many faults have to take effect.
    #[arg(long, default_value_t = 1000)]
    faults: usize,
    /// The plan of an earlier run, which printed this; by default a new one.
    #[arg(long)]
    seed: Option<u64>,
    /// Keep logs, audit log and evidence in this directory.
    #[arg(long)]
    keep: Option<PathBuf>,
}

/// Prints the figures as the last line; fails where a promise was broken or something did not settle.
pub async fn run(package: PathBuf, options: &Options) -> Result<ExitCode> {
    let seed = match options.seed {
        Some(seed) => seed,
        None => SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs(),
    };
    let stage =
        Stage::start(LabConfig::with_hosts(0), package, options.keep.clone().unwrap_or_default()).await?;
    let plan = faults::Options { faults: options.faults, seed };
    let report = faults::run(&stage.lab, &stage.observer, &stage.package, plan).await;
    if let Some(keep) = &options.keep {
        fs::create_dir_all(keep)?;
        faults::keep(&stage.lab, keep)?;
        fs::copy(stage.lab.control_plane.audit_log(), keep.join("audit.log"))?;
    }
    let report = report?;
    println!("{}", report.figures);
    let is_well = report.violations.is_empty() && report.unconverged.is_empty();
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
