//! Somebody inhibits shutdown while the node is being drained: rebootd waits for him and says so.

use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::try_join;

use super::stage::{CONFIG, CYCLE, SOON, Stage, request_reboot};
use super::status::{Status, wait_status};
use super::verdict;
use crate::host::Host;
use crate::observer::State;
use crate::progress::say;

const WHO: &str = "backup";
const WHY: &str = "the nightly backup runs";
const SECONDS: u32 = 40;
const PODS: u32 = 3;
/// More than a pod takes to leave.
const DRAINED: Duration = Duration::from_secs(15);

pub(super) async fn run(stage: &Stage) -> Result<()> {
    stage.install_everywhere(CONFIG).await?;
    for host in &stage.lab.hosts {
        stage.pods_on(host, PODS, 10).await?;
    }
    // Both releases: versions of logind before 257 let root pass over inhibitors.
    for host in &stage.lab.hosts {
        request_reboot(host).await?;
        stage.wait_mid_drain(host.name()).await?;
        try_join!(inhibit(host), waits(stage, host))?;
        host.wait_boot_number(2, CYCLE).await?;
        verdict::settled(stage, host).await?;
        verdict::booted(host, 2)?;
        verdict::cordoned(&stage.observer.history(), host.name(), 1)?;
        verdict::evicted_once(stage, host.name())?;
    }
    verdict::one_at_a_time(&stage.observer.history())
}

async fn inhibit(host: &Host) -> Result<()> {
    let (who, why, seconds) = (format!("--who={WHO}"), format!("--why={WHY}"), SECONDS.to_string());
    let inhibit = ["systemd-inhibit", "--what=shutdown", "--mode=block", &who, &why, "sleep", &seconds];
    host.run_ok(&inhibit).await?;
    ensure!(host.boots().len() == 1, "{} rebooted although shutdown was inhibited", host.name());
    say(format!("{}: the inhibitor ends", host.name()));
    Ok(())
}

async fn waits(stage: &Stage, host: &Host) -> Result<()> {
    let names_it = |status: &Status| status.says("inhibited", &[WHO, WHY]);
    wait_status(host, "waiting for the inhibitor", names_it, SOON).await?;
    let gone = host.name().to_owned();
    let drained =
        move |state: &State| state.pods_on(&gone).all(|pod| pod.owner_kind.as_deref() == Some("DaemonSet"));
    // The drain itself is held up, too: either way nothing but the inhibitor is left to wait for in the end.
    let _ = stage.observer.wait_for(drained, DRAINED).await;
    let status = wait_status(host, "still waiting for the inhibitor", names_it, SOON).await?;
    ensure!(status.phase == "draining", "{}: {}", host.name(), status.line);
    let node = stage.node(host.name())?;
    ensure!(node.cordoned_by_us() && stage.holder().as_deref() == Some(host.name()), "it stepped back");
    Ok(())
}
