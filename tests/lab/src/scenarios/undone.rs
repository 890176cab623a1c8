//! Drains that have to be undone: the request goes away, the slot is lost, a person uncordons.

use anyhow::{Result, ensure};

use super::stage::{CONFIG, SENTINEL, SLOT, SOON, Stage, request_reboot};
use super::status::{Status, wait_phase, wait_status};
use super::verdict;
use crate::host::Host;
use crate::observer::State;
use crate::progress::say;

/// In each of three drains something takes away the ground that it stands on.
pub(super) async fn run(stage: &Stage) -> Result<()> {
    stage.install_everywhere(CONFIG).await?;
    let [first, second, third] = [stage.host(1), stage.host(2), stage.host(3)];
    for host in [first, second, third] {
        stage.stuck_pods_on(host, 1).await?;
    }

    drain(stage, first).await?;
    first.run_ok(&["rm", SENTINEL]).await?;
    undone(stage, first, "the sentinel is removed").await?;
    wait_phase(first, "idle", SOON).await?;

    drain(stage, second).await?;
    stage.set_holder("null").await?;
    undone(stage, second, "a person frees the slot").await?;
    pauses(second, "the slot was lost").await?;

    drain(stage, third).await?;
    stage.lab.kubectl(&["uncordon", third.name()]).await?;
    undone(stage, third, "a person uncordons").await?;
    pauses(third, "somebody uncordoned the node").await?;

    say("node1: the sentinel is back");
    drain(stage, first).await?;
    for host in [first, second, third] {
        verdict::booted(host, 1)?;
    }
    verdict::one_at_a_time(&stage.observer.history())
}

/// Asks for a reboot and waits until the drain is under way, and blocked by a budget.
pub(super) async fn drain(stage: &Stage, host: &Host) -> Result<()> {
    request_reboot(host).await?;
    wait_status(host, "naming the budget", |status| status.says("pods-left", &["blocked by budget"]), SOON)
        .await?;
    let node = stage.node(host.name())?;
    ensure!(node.cordoned_by_us() && stage.holder().as_deref() == Some(host.name()), "not in a drain");
    Ok(())
}

/// Waits until nothing of the drain is left.
pub(super) async fn undone(stage: &Stage, host: &Host, why: &str) -> Result<()> {
    let name = host.name().to_owned();
    let is_undone = move |state: &State| {
        let node = state.node(&name).is_some_and(|node| !node.unschedulable && !node.cordon_mark);
        node && state.holder(SLOT).is_none()
    };
    let what = format!("{} is uncordoned and its slot free", host.name());
    stage.wait_for(&what, is_undone, SOON).await?;
    say(format!("{}: {why}, and all is undone", host.name()));
    Ok(())
}

async fn pauses(host: &Host, because: &str) -> Result<()> {
    let says = |status: &Status| status.says("backing-off", &[because]);
    wait_status(host, "backing off", says, SOON).await?;
    Ok(())
}
