//! A node that does not come back stops the rollout; it never lets the next one fall.

use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::try_join;

use super::stage::{CONFIG, CYCLE, SLOT, SOON, Stage, request_reboot};
use super::status::{Status, status, wait_status};
use super::verdict;
use crate::observer::State;
use crate::progress::say;

/// Much longer than a host takes to follow once the slot is free.
const LONG_ENOUGH: Duration = Duration::from_secs(60);

pub(super) async fn run(stage: &Stage) -> Result<()> {
    stage.install_everywhere(CONFIG).await?;
    let [lost, second, third] = [1, 2, 3].map(|number| stage.host(number));
    lost.stay_down(true);
    request_reboot(lost).await?;
    stage.wait_for("node1 claims", |state| state.holder(SLOT) == Some("node1"), SOON).await?;
    try_join!(request_reboot(second), request_reboot(third))?;
    lost.wait_off(SOON).await?;
    for host in [second, third] {
        let names_it = |status: &Status| status.says("no-free-slot", &["node1", "rebooting"]);
        wait_status(host, "waiting for node1", names_it, SOON).await?;
    }
    let goes_on = |state: &State| {
        let moved = |name: &str| state.node(name).is_none_or(|node| node.unschedulable || !node.ready);
        state.holder(SLOT) != Some("node1") || moved("node2") || moved("node3")
    };
    stage.never("another host starts, or the slot is free", goes_on, LONG_ENOUGH).await?;
    ensure!(!lost.is_on(), "node1 came back by itself");
    for host in [second, third] {
        verdict::booted(host, 1)?;
        let line = status(host).await.map(|status| status.line).unwrap_or_default();
        ensure!(line.contains("node1"), "{} does not name node1 any more: {line}", host.name());
    }

    say("node1 is switched on again");
    lost.boot();
    for host in [lost, second, third] {
        host.wait_boot_number(2, CYCLE).await?;
    }
    for host in [lost, second, third] {
        verdict::settled(stage, host).await?;
        verdict::booted(host, 2)?;
        verdict::cordoned(&stage.observer.history(), host.name(), 1)?;
    }
    verdict::one_at_a_time(&stage.observer.history())
}
