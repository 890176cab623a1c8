//! What a shutdown and a boot bring with a real kubelet: one that comes late, a runtime that is broken, and a shutdown
//! that pods hold up.

use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::try_join;

use super::super::after_boot::stays;
use super::super::delay_inhibitor::undone;
use super::super::stage::{CONFIG, CYCLE, SOON, Stage, request_reboot, slot_of};
use super::super::status::{Status, wait_phase, wait_status};
use super::super::verdict;
use super::{back_before_uncordon, pods, processes, set_shutdown_grace};
use crate::host::Host;
use crate::observer::State;
use crate::progress::say;
use crate::workload;

/// More than a node takes to settle.
const STAYS: Duration = Duration::from_secs(15);
/// How long the slow pod takes to end: longer than `reboot_timeout`, after which a reboot that does not begin is undone.
const SLOW: &str = "35";
const MOST_OF_SLOW: Duration = Duration::from_secs(32);

/// On three hosts, beside each other.
pub(in crate::scenarios) async fn run(stage: &Stage) -> Result<()> {
    let [late, broken, slow] = [1, 2, 3].map(|number| stage.host(number));
    stage.install_alone(late, CONFIG).await?;
    stage.install_alone(broken, &CONFIG.replace("\"5s\"", "\"20s\"")).await?;
    stage.install_alone(slow, &format!("{CONFIG}reboot_timeout = \"30s\"\n")).await?;
    set_shutdown_grace(stage, late, 0, 0).await?;
    set_shutdown_grace(stage, slow, 60, 10).await?;
    let objects = [
        pods::controlled("DaemonSet", "agent", 0, pods::spec(10, &[("END_AFTER", "1")])),
        pods::controlled("DaemonSet", "slow", 0, pods::on(slow, pods::spec(45, &[("END_AFTER", SLOW)]))),
        pods::bare("lonely", pods::on(late, pods::spec(10, &[]))),
    ];
    pods::create(&stage.lab.control_plane, &objects).await?;
    for (app, count) in [("agent", 3), ("slow", 1), ("lonely", 1)] {
        workload::wait_running(&stage.lab.control_plane, app, count, SOON).await?;
    }
    try_join!(kubelet_is_late(stage, late), runtime_is_broken(stage, broken), pods_hold_it_up(stage, slow))?;
    let history = stage.observer.history();
    for host in [late, broken, slow] {
        verdict::booted(host, 2)?;
        verdict::cordoned(&history, host.name(), 1)?;
        verdict::cordoned_under_slot(&history, host.name(), &slot_of(host))?;
        back_before_uncordon(stage, host, "agent-").await?;
    }
    for host in [broken, slow] {
        processes::none_killed(stage, host, "").await?;
    }
    back_before_uncordon(stage, slow, "slow-").await
}

/// Without graceful shutdown the Node stays Ready through the whole reboot, and so do its pods, as far as the API server
/// knows. A bare pod is left in place: the kubelet starts it again.
async fn kubelet_is_late(stage: &Stage, host: &Host) -> Result<()> {
    host.run_ok(&["systemctl", "disable", "kubelet"]).await?;
    request_reboot(host).await?;
    host.wait_boot_number(2, CYCLE).await?;
    let unseen = |status: &Status| status.says("boot-not-reported", &["this boot"]);
    wait_status(host, "missing the kubelet", unseen, SOON).await?;
    ensure!(stage.node(host.name())?.ready, "the Node is not Ready any more: nothing is shown");
    let agent = |state: &State, node: &str| {
        state.pods_on(node).any(|pod| pod.name.starts_with("agent-") && pod.ready)
    };
    ensure!(agent(&stage.observer.state(), host.name()), "its pods are not Ready any more: nothing is shown");
    stays(stage, host, STAYS).await?;
    host.run_ok(&["systemctl", "enable", "--now", "kubelet"]).await?;
    say(format!("{}: the kubelet starts", host.name()));
    verdict::settled(stage, host).await?;
    workload::wait_running(&stage.lab.control_plane, "lonely", 1, SOON).await?;
    let lonely = processes::of(host)?.iter().filter(|it| it.pod == "lonely").count();
    ensure!(lonely == 2, "the bare pod ran {lonely} times");
    Ok(())
}

/// Its kubelet cannot even start, and is started again and again; once it runs, it soon dies.
async fn runtime_is_broken(stage: &Stage, host: &Host) -> Result<()> {
    host.run_ok(&["systemctl", "mask", "containerd"]).await?;
    request_reboot(host).await?;
    host.wait_boot_number(2, CYCLE).await?;
    wait_phase(host, "returning", SOON).await?;
    stays(stage, host, STAYS).await?;
    let restarts = host.run_ok(&["systemctl", "show", "--property=NRestarts", "--value", "kubelet"]).await?;
    say(format!(
        "{}: without containerd the kubelet was started again {} times",
        host.name(),
        restarts.trim()
    ));
    ensure!(restarts.trim() != "0", "the kubelet runs without containerd: nothing is shown");
    host.run_ok(&["systemctl", "unmask", "containerd"]).await?;
    host.run_ok(&["systemctl", "start", "containerd"]).await?;

    wait_status(host, "settling", |status| status.says("settling", &["is Ready"]), SOON).await?;
    host.run_ok(&["systemctl", "stop", "kubelet"]).await?;
    say(format!("{}: the kubelet has reported this boot, and is dead", host.name()));
    let dead = |status: &Status| status.says("kubelet-not-renewing", &["renew"]);
    wait_status(host, "waiting for a renewal", dead, SOON).await?;
    stays(stage, host, STAYS).await?;
    host.run_ok(&["systemctl", "start", "kubelet"]).await?;
    verdict::settled(stage, host).await
}

/// The kubelet has raised logind's limit, and holds the shutdown up until its pods have ended, for longer than
/// `reboot_timeout`. The reboot is accepted and cannot be called back: nothing is undone.
async fn pods_hold_it_up(stage: &Stage, host: &Host) -> Result<()> {
    const LOGIND: [&str; 3] =
        ["org.freedesktop.login1", "/org/freedesktop/login1", "org.freedesktop.login1.Manager"];
    let limit = [&["busctl", "get-property"], &LOGIND[..], &["InhibitDelayMaxUSec"]].concat();
    let limit = host.run_ok(&limit).await?;
    ensure!(limit.trim() == "t 60000000", "logind's limit is {limit}");
    request_reboot(host).await?;
    wait_phase(host, "going-down", SOON).await?;
    stage.never(&format!("{} undoes something", host.name()), undone(host), MOST_OF_SLOW).await?;
    ensure!(host.boots().len() == 1, "{} did not wait for its pods", host.name());
    // All the while the controller made pods that the kubelet rejected; it waits longer each time before the next one,
    // which might come just now.
    stage.lab.control_plane.restart_controllers_without("daemonset-controller").await?;
    host.wait_boot_number(2, CYCLE).await?;
    let misses = |status: &Status| status.says("daemonset-pods", &["agent"]);
    wait_status(host, "waiting for the DaemonSet's next pod", misses, SOON).await?;
    stage.lab.control_plane.restart_controllers().await?;
    verdict::settled(stage, host).await?;
    let all = processes::of(host)?;
    let first = all.iter().find(|it| it.pod.starts_with("slow-"));
    let took = first.and_then(|it| Some(it.ended? - it.term?)).unwrap_or_default();
    ensure!(took >= SLOW.parse()?, "the slow pod ended after {took} s: {all:#?}");
    Ok(())
}
