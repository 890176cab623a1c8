//! Four stories of one host each, side by side: each host has a pool of its own.

use anyhow::Result;
use tokio::try_join;

use super::stage::Stage;
use super::{hooks, livepatch, webhook};

pub(super) async fn run(stage: &Stage) -> Result<()> {
    let [first, second, third, fourth] = [1, 2, 3, 4].map(|number| stage.host(number));
    try_join!(
        hooks::people(stage, first),
        hooks::clock(stage, second),
        livepatch::run(stage, third),
        webhook::run(stage, fourth),
    )?;
    Ok(())
}
