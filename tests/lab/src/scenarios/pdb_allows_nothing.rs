//! A budget that allows nothing: the drain ends at its deadline and is undone, and the others get their turn.

use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::try_join;

use super::rehearse;
use super::stage::{CONFIG, CYCLE, SOON, Stage, request_reboot};
use super::status::{Status, wait_phase, wait_status};
use super::verdict;
use crate::progress::say;

pub(super) async fn run(stage: &Stage) -> Result<()> {
    stage.install_everywhere(&format!("{CONFIG}[drain]\ntimeout = \"20s\"\n")).await?;
    let [stuck, second, third] = [1, 2, 3].map(|number| stage.host(number));
    let pods = stage.stuck_pods_on(stuck, 2).await?;
    rehearse::it_blocks(stage, stuck, &pods.name).await?;
    try_join!(request_reboot(stuck), request_reboot(second), request_reboot(third))?;

    let names_budget = |status: &Status| status.says("pods-left", &[&pods.name, "blocked by budget"]);
    // In the worst case the two others come first.
    wait_status(stuck, "naming the budget", names_budget, CYCLE).await?;
    ensure!(stage.node(stuck.name())?.cordoned_by_us(), "drained without a cordon");
    let claimed = stage.observer.now();
    let backs_off = |status: &Status| status.says("backing-off", &["drain"]);
    wait_status(stuck, "backing off", backs_off, SOON).await?;
    let gave_up = stage.observer.now().saturating_sub(claimed);
    ensure!(gave_up < Duration::from_secs(40), "gave up only after {gave_up:?}");
    let node = stage.node(stuck.name())?;
    ensure!(!node.unschedulable && !node.cordon_mark, "still cordoned: {:#}", node.raw);

    for host in [second, third] {
        host.wait_boot_number(2, CYCLE).await?;
    }
    for host in [second, third] {
        verdict::settled(stage, host).await?;
        verdict::booted(host, 2)?;
    }
    wait_phase(stuck, "waiting", SOON).await?;
    verdict::booted(stuck, 1)?;
    verdict::holds_nothing(stage, stuck.name())?;
    let history = stage.observer.history();
    verdict::cordoned(&history, stuck.name(), 1)?;
    let lost = history.pod_deletions().into_iter().filter(|it| it.pod.labels.get("app") == Some(&pods.name));
    ensure!(lost.count() == 0, "pods under the budget were evicted");
    say("the pods under the budget were not touched");
    rehearse::the_remedy_helps(stage, stuck, &pods.name).await?;
    verdict::one_at_a_time(&history)
}
