//! `apt-get remove` in the middle of a drain: it steps back where it can, and never hangs where it cannot.

use std::time::Instant;

use anyhow::{Result, ensure};

use super::stage::{CONFIG, CYCLE, SENTINEL, SOON, Stage, is_absent, request_reboot, run_anyway};
use super::status::{Status, wait_status};
use super::verdict;
use crate::host::Host;
use crate::network::Cut;
use crate::progress::say;

/// More than apt, the daemon's end and stepping back take together.
const LONGEST: f64 = 75.0;

pub(super) async fn in_drain(stage: &Stage) -> Result<()> {
    stage.install_everywhere(CONFIG).await?;
    let [host, other] = [1, 2].map(|number| stage.host(number));
    stuck_in_drain(stage, host).await?;
    request_reboot(other).await?;
    let text = remove(host).await?;
    ensure!(!text.contains("kubectl"), "it left something behind:\n{text}");
    ensure!(text.contains("release slot worker-1"), "it does not say what it gives back:\n{text}");
    let node = stage.node(host.name())?;
    ensure!(!node.unschedulable && !node.cordon_mark, "still cordoned: {:#}", node.raw);
    verdict::holds_nothing(stage, host.name())?;
    verdict::booted(host, 1)?;
    verdict::cordoned(&stage.observer.history(), host.name(), 1)?;
    ensure!(!is_absent(host, SENTINEL).await?, "the sentinel is gone");
    say(format!("{} stepped back", host.name()));

    other.wait_boot_number(2, CYCLE).await?;
    verdict::settled(stage, other).await?;
    verdict::booted(host, 1)?;
    verdict::one_at_a_time(&stage.observer.history())
}

pub(super) async fn unreachable(stage: &Stage) -> Result<()> {
    stage.install_everywhere(CONFIG).await?;
    let host = stage.host(1);
    stuck_in_drain(stage, host).await?;
    host.cut_network(Cut::Silent).await?;
    let text = remove(host).await?;
    say(format!("{} prints:\n{text}", host.name()));
    for line in ["kubectl -n rebootd", &format!("kubectl uncordon {}", host.name()), "rebootctl free SLOT"] {
        ensure!(text.contains(line), "it does not say: {line}");
    }
    host.restore_network().await?;
    let node = stage.node(host.name())?;
    ensure!(node.cordoned_by_us(), "the cordon is gone: {:#}", node.raw);
    ensure!(stage.holder().as_deref() == Some(host.name()), "the slot is free, the node cordoned");
    verdict::booted(host, 1)?;
    say("slot and cordon stay until a person has looked");
    Ok(())
}

/// Claimed, cordoned, and waiting for pods that may not leave.
async fn stuck_in_drain(stage: &Stage, host: &Host) -> Result<()> {
    let pods = stage.stuck_pods_on(host, 2).await?;
    request_reboot(host).await?;
    let stuck = |status: &Status| status.phase == "draining" && status.says("pods-left", &[&pods.name]);
    wait_status(host, "stuck in its drain", stuck, SOON).await?;
    Ok(())
}

/// Removes the package; gives what that printed.
async fn remove(host: &Host) -> Result<String> {
    let began = Instant::now();
    let (code, text) = run_anyway(host, &["apt-get", "remove", "-y", "rebootd"]).await?;
    let took = began.elapsed().as_secs_f64();
    ensure!(code == Some(0), "apt-get remove ended with {code:?}:\n{text}");
    ensure!(took < LONGEST, "the removal took {took:.1} s:\n{text}");
    ensure!(is_absent(host, "/usr/bin/rebootd").await?, "the program is still there");
    say(format!("{}: removed in {took:.1} s", host.name()));
    Ok(text)
}
