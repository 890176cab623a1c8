//! What real kubelets have taught: static pods count, a kubelet may take long to start, what only a person can change is
//! not waited for in mid-drain, and somebody may be at work on the node.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;
use tokio::try_join;

use super::super::after_boot::stays;
use super::super::stage::{CONFIG, CYCLE, SOON, Stage, request_reboot, slot_of};
use super::super::status::{Status, wait_phase, wait_status};
use super::super::verdict;
use super::pods;
use crate::host::Host;
use crate::observer::State;
use crate::progress::say;
use crate::workload;

/// More than a node takes to settle.
const STAYS: Duration = Duration::from_secs(30);
const LATE: &str = "/etc/systemd/system/kubelet.service.d/late.conf";
/// As where a kubelet waits for a network or a disk: its unit is not started before.
const WAITS: &str = "[Service]
ExecStartPre=sh -c 'until [ -e /run/kubelet-may-start ]; do sleep 1; done'
TimeoutStartSec=infinity
";

/// On three hosts, beside each other.
pub(in crate::scenarios) async fn run(stage: &Stage) -> Result<()> {
    let [late, bare, person] = [1, 2, 3].map(|number| stage.host(number));
    for host in [late, bare, person] {
        stage.install_alone(host, CONFIG).await?;
    }
    try_join!(
        async {
            kubelet_waits(stage, late).await?;
            static_pod_is_not_ready(stage, late).await
        },
        bare_pod_is_refused_late(stage, bare),
        person_has_drained(stage, person)
    )?;
    let history = stage.observer.history();
    for host in &stage.lab.hosts {
        verdict::cordoned_under_slot(&history, host.name(), &slot_of(host))?;
    }
    Ok(())
}

/// rebootd runs and says what it waits for while the kubelet's unit is still starting. The static pod is ready as long as
/// a file is there that no boot survives.
async fn kubelet_waits(stage: &Stage, host: &Host) -> Result<()> {
    let mut spec = pods::spec(10, &[]);
    spec["volumes"][0]["hostPath"]["path"] = json!("/run/lab-static");
    spec["containers"][0]["readinessProbe"] =
        json!({"exec": {"command": ["ls", "/log/is-well"]}, "periodSeconds": 1});
    host.write_file("/run/lab-static/is-well", "").await?;
    pods::make_static(host, spec).await?;
    let name = format!("static-{}", host.name());
    let ready = move |state: &State| state.pods.values().any(|pod| pod.name == name && pod.ready);
    stage.wait_for("the static pod is Ready", ready, SOON).await?;
    host.write_file(LATE, WAITS).await?;
    request_reboot(host).await?;
    host.wait_boot_number(2, CYCLE).await?;
    wait_phase(host, "returning", SOON).await?;
    let state = host.run(&["systemctl", "is-active", "kubelet"]).await?;
    ensure!(state.stdout.starts_with(b"activating"), "the kubelet does not wait: nothing is shown");
    stays(stage, host, Duration::from_secs(5)).await?;
    host.run_ok(&["touch", "/run/kubelet-may-start"]).await?;
    stage.lab.wait_node_ready(host.name(), SOON).await
}

/// It was Ready at the stamp, so it has to be Ready again.
async fn static_pod_is_not_ready(stage: &Stage, host: &Host) -> Result<()> {
    stays(stage, host, STAYS).await?;
    let pod = format!("default/static-{}", host.name());
    let misses = |status: &Status| status.says("daemonset-pods", &[&pod]);
    wait_status(host, "waiting for the static pod", misses, SOON).await?;
    host.write_file("/run/lab-static/is-well", "").await?;
    say(format!("{}: the static pod is well again", host.name()));
    verdict::settled(stage, host).await?;
    verdict::booted(host, 2)?;
    verdict::cordoned(&stage.observer.history(), host.name(), 1)
}

/// At the claim the kubelet is down, and so is its inhibitor: a bare pod may stay, as its kubelet will start it again. Once
/// it runs, its shutdown would end the pod for good. Only a person can change that, so slot and cordon go at once.
async fn bare_pod_is_refused_late(stage: &Stage, host: &Host) -> Result<()> {
    let name = format!("web-{}", host.name());
    let web = pods::controlled("Deployment", &name, 2, pods::on(host, pods::spec(20, &[("END_AFTER", "1")])));
    let bare = pods::bare("lonely", pods::on(host, pods::spec(10, &[])));
    pods::create(&stage.lab.control_plane, &[web, bare]).await?;
    workload::wait_running(&stage.lab.control_plane, &name, 2, SOON).await?;
    workload::wait_running(&stage.lab.control_plane, "lonely", 1, SOON).await?;
    host.run_ok(&["systemctl", "stop", "kubelet"]).await?;
    request_reboot(host).await?;
    stage.wait_mid_drain(host.name()).await?;
    host.run_ok(&["systemctl", "start", "kubelet"]).await?;
    say(format!("{}: the kubelet runs again, and would end the bare pod", host.name()));
    let (node, slot) = (host.name().to_owned(), slot_of(host));
    let given_back = move |state: &State| {
        state.holder(&slot).is_none() && state.node(&node).is_some_and(|node| !node.unschedulable)
    };
    stage.wait_for("slot and cordon are given back", given_back, SOON).await?;
    verdict::booted(host, 1)?;
    let runs = stage.observer.state().pods.values().any(|pod| pod.name == "lonely" && !pod.terminating);
    ensure!(runs, "the bare pod was ended");
    Ok(())
}

/// Somebody is at work on the node: it does not reboot until he has uncordoned it.
async fn person_has_drained(stage: &Stage, host: &Host) -> Result<()> {
    let drain = ["drain", host.name(), "--ignore-daemonsets", "--delete-emptydir-data", "--force"];
    stage.lab.kubectl(&drain).await?;
    request_reboot(host).await?;
    let cordoned = |status: &Status| status.says("foreign-cordon", &["kubectl uncordon"]);
    wait_status(host, "waiting for a person", cordoned, SOON).await?;
    let slot = slot_of(host);
    stage
        .never("it claims under a person's hands", move |state| state.holder(&slot).is_some(), STAYS)
        .await?;
    verdict::booted(host, 1)?;
    stage.lab.kubectl(&["uncordon", host.name()]).await?;
    host.wait_boot_number(2, CYCLE).await?;
    verdict::settled(stage, host).await?;
    verdict::booted(host, 2)
}
