//! A host is gone for good, and its Node with it: what becomes of its slot.

use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::time::Instant;

use super::stage::{CONFIG, CYCLE, SLOT, SOON, Stage, request_reboot};
use super::status::{Status, wait_status};
use super::verdict;
use crate::host::Host;
use crate::progress::say;
use crate::rebootd;

/// Ten minutes after somebody has noticed, which takes five at most.
const RECLAIMED: Duration = Duration::from_secs(16 * 60);

/// The other host takes the slot back after ten minutes, and has its turn.
pub(super) async fn run(stage: &Stage) -> Result<()> {
    let [lost, other] = [stage.host(1), stage.host(2)];
    stage.install_everywhere(CONFIG).await?;
    abandon(stage, lost).await?;
    request_reboot(other).await?;
    let notices = |status: &Status| status.says("holder-missing", &["node1", "freed in"]);
    wait_status(other, "missing the holder's Node", notices, Duration::from_secs(320)).await?;
    let noticed = Instant::now();
    stage
        .wait_for("the slot is taken from node1", |state| state.holder(SLOT) != Some("node1"), RECLAIMED)
        .await?;
    let seconds = noticed.elapsed().as_secs();
    say(format!("the slot was taken back {seconds} s after the status had named it"));
    ensure!(seconds > 500, "much too soon");
    other.wait_boot_number(2, CYCLE).await?;
    verdict::settled(stage, other).await?;
    verdict::booted(other, 2)?;

    say("node1 comes back after all, with the name of old");
    lost.boot();
    lost.wait_boot_number(2, SOON).await?;
    lost.wait_booted(SOON).await?;
    stage.lab.wait_node_ready("node1", SOON).await?;
    // Its token died with its Node.
    let server = stage.lab.server_for("node1");
    rebootd::enroll(&stage.lab.control_plane, lost, &server).await?;
    verdict::settled(stage, lost).await
}

/// Loses its power for good; its Node is deleted.
async fn go_down(stage: &Stage, host: &Host) -> Result<()> {
    host.stay_down(true);
    host.power_off_abruptly().await?;
    stage.lab.kubectl(&["delete", "node", host.name()]).await?;
    say(format!("{} is off, and its Node deleted", host.name()));
    Ok(())
}

async fn abandon(stage: &Stage, host: &Host) -> Result<()> {
    stage.stuck_drain(host).await?;
    go_down(stage, host).await
}
