//! A node that a person has cordoned waits; if it is to reboot, the cordon stays his: it is there before the reboot, and
//! after it.

use anyhow::{Result, ensure};

use super::stage::{CONFIG, CYCLE, SENTINEL, SLOT, SOON, Stage, is_absent, request_reboot};
use super::status::{Status, wait_phase, wait_status};
use super::verdict;
use crate::observer::State;
use crate::progress::say;

pub(super) async fn run(stage: &Stage) -> Result<()> {
    stage.install_everywhere(CONFIG).await?;
    let host = stage.host(1);
    stage.pods_on(host, 3, 2).await?;
    stage.lab.kubectl(&["cordon", host.name()]).await?;
    request_reboot(host).await?;
    let waits =
        |status: &Status| status.phase == "waiting" && status.says("foreign-cordon", &["kubectl uncordon"]);
    wait_status(host, "waiting for its cordon to go", waits, SOON).await?;
    let reboots = format!("{CONFIG}[gates]\nforeign_cordon = \"reboot\"\n");
    host.write_file("/etc/rebootd/config.toml", reboots).await?;
    host.run_ok(&["systemctl", "reload", "rebootd"]).await?;
    host.wait_boot_number(2, CYCLE).await?;
    let free = |state: &State| state.holder(SLOT).is_none();
    stage.wait_for("the slot is free again", free, CYCLE).await?;
    wait_phase(host, "idle", CYCLE).await?;
    verdict::booted(host, 2)?;
    ensure!(is_absent(host, SENTINEL).await?, "the sentinel is still there");
    let node = stage.node(host.name())?;
    ensure!(node.unschedulable, "the administrator's cordon is gone");
    ensure!(!node.cordon_mark, "our mark is on his cordon");
    verdict::cordoned(&stage.observer.history(), host.name(), 0)?;
    let evicted = verdict::evicted_once(stage, host.name())?;
    ensure!(evicted == 3, "3 pods were to be evicted");
    say("the node rebooted and is still cordoned, without a mark of ours");
    Ok(())
}
