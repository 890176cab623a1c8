//! What happens in the middle of a drain of real containers: the kubelet stops, the Node is deleted, a person drains
//! or reboots, another machine comes.

use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::try_join;

use super::super::node_object;
use super::super::stage::{CONFIG, CYCLE, SOON, Stage, request_reboot, slot_of};
use super::super::status::{Status, wait_status};
use super::super::verdict;
use super::{pods, processes};
use crate::host::Host;
use crate::observer::State;
use crate::progress::say;
use crate::workload;

const PRE_STOP: u32 = 5;
const GRACE: u32 = 10;
const PODS: usize = 3;
/// More than its pods would take to leave.
const STAYS: Duration = Duration::from_secs(15);

/// On three hosts, beside each other.
pub(in crate::scenarios) async fn run(stage: &Stage) -> Result<()> {
    let [stopped, deleted, person] = [1, 2, 3].map(|number| stage.host(number));
    for host in [stopped, deleted, person] {
        stage.install_alone(host, CONFIG).await?;
    }
    let stopped = async {
        kubelet_stops(stage, stopped).await?;
        node_object::reinstalled_in_mid_drain(stage, stopped).await
    };
    let deleted = async {
        node_object::while_draining(stage, deleted).await?;
        verdict::booted(deleted, 2)
    };
    let person = async {
        person_drains(stage, person).await?;
        person_reboots(stage, person).await
    };
    try_join!(stopped, deleted, person)?;
    let history = stage.observer.history();
    for host in &stage.lab.hosts {
        verdict::cordoned_under_slot(&history, host.name(), &slot_of(host))?;
    }
    Ok(())
}

/// Pods that leave when they have noted so, on one host only.
async fn leaving_pods(stage: &Stage, host: &Host) -> Result<()> {
    let name = format!("web-{}", host.name());
    let spec = pods::with_pre_stop(pods::spec(GRACE, &[("END_AFTER", "1")]), PRE_STOP);
    let web = pods::controlled("Deployment", &name, u32::try_from(PODS)?, pods::on(host, spec));
    pods::create(&stage.lab.control_plane, &[web]).await?;
    workload::wait_running(&stage.lab.control_plane, &name, PODS, SOON).await
}

/// Pods that were told to leave stay while nobody ends them, and the node waits, whatever logind does meanwhile.
async fn kubelet_stops(stage: &Stage, host: &Host) -> Result<()> {
    leaving_pods(stage, host).await?;
    request_reboot(host).await?;
    stage.wait_mid_drain(host.name()).await?;
    host.run_ok(&["systemctl", "stop", "kubelet"]).await?;
    host.run_ok(&["systemctl", "restart", "systemd-logind"]).await?;
    say(format!("{}: the kubelet is stopped and logind restarted in mid-drain", host.name()));
    let (name, slot) = (host.name().to_owned(), slot_of(host));
    let goes_on = move |state: &State| {
        let stamped = |slot: &str| {
            state.leases.get(slot).is_some_and(|slot| slot.annotation("rebootd.io/rebooting").is_some())
        };
        let drains = state.node(&name).is_some_and(|node| node.cordoned_by_us())
            && state.holder(&slot) == Some(&name)
            && state.pods_on(&name).any(|pod| pod.terminating);
        !drains || stamped(&slot)
    };
    stage.never("the drain goes on, or back", goes_on, STAYS).await?;
    let stuck = |status: &Status| status.says("pods-stuck", &["default/web-node1"]);
    wait_status(host, "naming pods past their grace", stuck, SOON).await?;
    host.run_ok(&["systemctl", "start", "kubelet"]).await?;
    host.wait_boot_number(2, CYCLE).await?;
    verdict::settled(stage, host).await?;
    verdict::booted(host, 2)?;
    verdict::cordoned(&stage.observer.history(), host.name(), 1)?;
    verdict::evicted_once(stage, host.name())?;
    let ended = processes::none_killed(stage, host, "").await?;
    ensure!(ended >= PODS, "only {ended} processes ended after TERM");
    Ok(())
}

/// Both ask for the same pods to leave. The cordon is ours, so it goes afterwards.
async fn person_drains(stage: &Stage, host: &Host) -> Result<()> {
    leaving_pods(stage, host).await?;
    request_reboot(host).await?;
    stage.wait_mid_drain(host.name()).await?;
    let drain = ["drain", host.name(), "--ignore-daemonsets", "--delete-emptydir-data"];
    let said = stage.lab.kubectl(&drain).await?;
    say(format!("{}: a person's kubectl: {}", host.name(), said.lines().last().unwrap_or_default()));
    host.wait_boot_number(2, CYCLE).await?;
    verdict::settled(stage, host).await?;
    verdict::booted(host, 2)?;
    verdict::cordoned(&stage.observer.history(), host.name(), 1)?;
    let ended = processes::none_killed(stage, host, "").await?;
    ensure!(ended >= PODS, "only {ended} processes ended after TERM");
    Ok(())
}

/// The kubelet's shutdown ends what the drain had not: the request is gone, the slot is given back, and no second
/// reboot follows.
async fn person_reboots(stage: &Stage, host: &Host) -> Result<()> {
    let name = format!("web-{}", host.name());
    workload::wait_running(&stage.lab.control_plane, &name, PODS, SOON).await?;
    request_reboot(host).await?;
    stage.wait_mid_drain(host.name()).await?;
    host.run_ok(&["systemctl", "reboot"]).await?;
    say(format!("{}: a person reboots in mid-drain", host.name()));
    host.wait_boot_number(3, CYCLE).await?;
    verdict::settled(stage, host).await?;
    verdict::booted(host, 3)?;
    verdict::cordoned(&stage.observer.history(), host.name(), 2)?;
    processes::none_killed(stage, host, "").await?;
    Ok(())
}
