//! Nodes that people stop: a hold by file and by annotation, a pause of the fleet, a shutdown that somebody has
//! scheduled, a node that is about to be removed.

use anyhow::{Result, ensure};

use super::stage::{CONFIG, CYCLE, SLOT, SOON, Stage, request_reboot};
use super::status::{Status, wait_status};
use super::undone::{drain, undone};
use super::verdict;
use crate::host::Host;
use crate::progress::say;

const KUBECONFIG: &str = "/root/.kube/config";

pub(super) async fn run(stage: &Stage) -> Result<()> {
    let [first, second] = [stage.host(1), stage.host(2)];
    stage.install_everywhere(CONFIG).await?;
    let admin = stage.lab.control_plane.pki.client("person", "a-person", &["system:masters"])?;
    let kubeconfig = stage.lab.control_plane.kubeconfig(&stage.lab.server_for(second.name()), &admin)?;
    second.write_file(KUBECONFIG, kubeconfig).await?;

    let budget = stage.stuck_pods_on(first, 1).await?;
    say("a file holds a node in mid-drain, and survives a power loss");
    drain(stage, first).await?;
    first.run_ok(&["rebootctl", "hold", "bug 4711"]).await?;
    undone(stage, first, "rebootctl hold").await?;
    held(first, &["/etc/rebootd/hold", "bug 4711 (root@node1)"]).await?;
    first.power_off_abruptly().await?;
    first.boot();
    first.wait_boot_number(2, SOON).await?;
    first.wait_booted(SOON).await?;
    request_reboot(first).await?;
    held(first, &["/etc/rebootd/hold", "bug 4711"]).await?;
    first.run_ok(&["rebootctl", "unhold"]).await?;
    drains(first).await?;

    say("an annotation holds it");
    annotate(stage, "rebootd.io/hold=a disk is being replaced").await?;
    undone(stage, first, "the annotation").await?;
    held(first, &["annotation rebootd.io/hold", "a disk is being replaced"]).await?;
    annotate(stage, "rebootd.io/hold-").await?;
    drains(first).await?;

    say("the fleet is paused beside one that drains and one that waits");
    request_reboot(second).await?;
    wait_status(second, "waiting for the slot", |status| status.says("no-free-slot", &["node1"]), SOON)
        .await?;
    second.run_ok(&["rebootctl", "fleet", "pause", "incident 42"]).await?;
    undone(stage, first, "rebootctl fleet pause").await?;
    for host in [first, second] {
        let paused = |status: &Status| status.says("paused", &["incident 42 (root@node2)", "fleet resume"]);
        wait_status(host, "paused", paused, SOON).await?;
    }
    let slots = stage.lab.kubectl(&["get", "leases", "--namespace=rebootd"]).await?;
    say(format!("what people see:\n{slots}"));
    ensure!(slots.contains("incident 42"), "the pause does not show among the slots");
    let fleet = second.run_ok(&["rebootctl", "fleet"]).await?;
    say(format!("and by rebootctl:\n{fleet}"));
    let words = [
        "node1",
        "node2",
        "waiting",
        "2 waiting (the longest for ",
        "The fleet is paused: incident 42 (root@node2).",
    ];
    ensure!(words.iter().all(|word| fleet.contains(word)), "rebootctl fleet says {fleet}");
    ensure!(stage.holder().is_none(), "somebody has claimed beside the pause");
    stage.lab.kubectl(&["delete", "deployment,pdb", &budget.name]).await?;
    shut_by_others(stage, first).await?;
    let again = second.run_ok(&["rebootctl", "fleet", "resume"]).await?;
    ensure!(again.contains("goes on"), "{again}");
    second.wait_boot_number(2, CYCLE).await?;
    second.wait_booted(SOON).await?;
    let again = second.run_ok(&["rebootctl", "fleet", "resume"]).await?;
    ensure!(again.contains("was not paused"), "{again}");

    say("what others have announced is theirs to do");
    let scheduled = |status: &Status| status.says("shutdown-scheduled", &["reboot", "shutdown -c"]);
    wait_status(first, "leaving it to others", scheduled, SOON).await?;
    first.run_ok(&["shutdown", "-c"]).await?;
    let removed = |status: &Status| status.says("node-is-removed", &["ToBeDeletedByClusterAutoscaler"]);
    wait_status(first, "leaving it to the autoscaler", removed, SOON).await?;
    ensure!(first.boots().len() == 2, "it rebooted all the same");
    stage.lab.kubectl(&["taint", "node", "node1", "ToBeDeletedByClusterAutoscaler-"]).await?;
    first.wait_boot_number(3, CYCLE).await?;
    for host in [first, second] {
        verdict::settled(stage, host).await?;
    }
    verdict::one_at_a_time(&stage.observer.history())
}

async fn shut_by_others(stage: &Stage, host: &Host) -> Result<()> {
    host.run_ok(&["shutdown", "-r", "+60"]).await?;
    let taint = ["taint", "node", host.name(), "ToBeDeletedByClusterAutoscaler=now:NoSchedule"];
    stage.lab.kubectl(&taint).await?;
    Ok(())
}

async fn annotate(stage: &Stage, annotation: &str) -> Result<()> {
    stage.lab.kubectl(&["annotate", "node", "node1", annotation]).await?;
    Ok(())
}

async fn held(host: &Host, words: &[&str]) -> Result<()> {
    wait_status(host, "held", |status| status.says("held", words), SOON).await?;
    Ok(())
}

async fn drains(host: &Host) -> Result<()> {
    let blocked = |status: &Status| status.says("pods-left", &["blocked by budget"]);
    wait_status(host, "draining again", blocked, SOON).await?;
    say(format!("{} goes on, with slot {SLOT}", host.name()));
    Ok(())
}
