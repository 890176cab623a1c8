//! Faults without end on simulated machines: [`crate::faults`]. `tests/bench faults --seed N` runs one again.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Result, ensure};

use super::stage::Stage;
use crate::faults::{self, Options};
use crate::progress::say;

pub(super) async fn run(stage: &Stage, faults: usize) -> Result<()> {
    let seed = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let options = Options { faults, seed };
    let report = faults::run(&stage.lab, &stage.observer, &stage.package, options).await?;
    say(report.figures.to_string());
    ensure!(report.violations.is_empty(), "a promise was broken:\n{}", report.violations.join("\n"));
    ensure!(report.unconverged.is_empty(), "not as it should be:\n{}", report.unconverged.join("\n"));
    Ok(())
}
