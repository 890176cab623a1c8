//! A node that comes back without something that it had: it keeps its slot, says what is missing, and after a while
//! that a person has to look.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::stage::{CONFIG, CYCLE, SLOT, SOON, Stage, request_reboot};
use super::status::{Status, wait_status};
use super::verdict;
use crate::observer::{PodState, State};
use crate::progress::say;

/// What makes the kubelet call a pod ready, besides its containers: a condition that somebody else sets.
const GATE: &str = "lab.rebootd.io/ready";
const OFF: Duration = Duration::from_secs(5);
const NO_MORE: Duration = Duration::from_secs(15);

/// A DaemonSet's pod that becomes ready late, beside one that was not ready before either.
pub(super) async fn daemon_sets(stage: &Stage) -> Result<()> {
    let host = stage.host(1);
    stage.install(host, &format!("{CONFIG}return_timeout = \"40s\"\n")).await?;
    for name in ["late", "broken"] {
        daemon_set(stage, name).await?;
    }
    set_ready(stage, "late", true).await?;
    stage.wait_for("the pod of late is ready", |state| is(state, "late", true), SOON).await?;

    host.boot_after(OFF);
    request_reboot(host).await?;
    host.wait_off(CYCLE).await?;
    set_ready(stage, "late", false).await?;
    host.wait_boot_number(2, CYCLE).await?;
    let waits =
        |status: &Status| status.phase == "returning" && status.says("daemonset-pods", &["default/late-"]);
    let status = wait_status(host, "waiting for the pod of late", waits, CYCLE).await?;
    ensure!(!status.line.contains("broken"), "waits for what was not ready before: {}", status.line);
    let slot = stage.observer.state().leases.get(SLOT).cloned().context("no slot")?;
    let recorded = slot.annotation("rebootd.io/daemonsets").unwrap_or_default();
    let unready: Vec<&str> = recorded.split(',').filter(|it| it.ends_with("=unready")).collect();
    ensure!(unready == ["default/broken=unready"], "recorded as not ready before: {recorded}");

    let cries = |status: &Status| {
        status.says("return-overdue", &["a person has to look"]) && status.says("daemonset-pods", &["late-"])
    };
    wait_status(host, "calling for a person", cries, SOON).await?;
    let errors = ["journalctl", "--unit=rebootd", "--priority=3", "--quiet", "--output=cat"];
    let errors = host.run_ok(&errors).await?;
    ensure!(errors.matches("a person has to look").count() == 1, "told as an error: {errors}");
    host.run_ok(&["systemctl", "restart", "rebootd"]).await?;
    wait_status(host, "calling again after a restart", cries, Duration::from_secs(30)).await?;
    stage.never("it hands on", handed_on, NO_MORE).await?;

    set_ready(stage, "late", true).await?;
    say("the pod of late is ready");
    verdict::settled(stage, host).await?;
    verdict::booted(host, 2)?;
    verdict::cordoned(&stage.observer.history(), host.name(), 1)
}

/// A device that is gone after the reboot, as the kubelet reports it.
pub(super) async fn device(stage: &Stage) -> Result<()> {
    let host = stage.host(1);
    // A claim records the Node as it was read up to 10 s before.
    set_devices(stage, 2).await?;
    stage.install(host, &format!("{CONFIG}return_timeout = \"20s\"\n")).await?;
    host.boot_after(OFF);
    request_reboot(host).await?;
    host.wait_off(CYCLE).await?;
    set_devices(stage, 1).await?;
    host.wait_boot_number(2, CYCLE).await?;
    let cries = |status: &Status| {
        status.says("return-overdue", &["a person has to look"])
            && status.says("fewer-resources", &["1 of example.com/gpu", "2 before"])
    };
    wait_status(host, "naming the device and calling for a person", cries, CYCLE).await?;
    stage.never("it hands on", handed_on, NO_MORE).await?;
    set_devices(stage, 2).await?;
    say("the device is back");
    verdict::settled(stage, host).await?;
    verdict::booted(host, 2)?;
    verdict::cordoned(&stage.observer.history(), host.name(), 1)
}

fn handed_on(state: &State) -> bool {
    state.holder(SLOT) != Some("node1") || state.node("node1").is_none_or(|node| !node.unschedulable)
}

fn pod_of<'a>(state: &'a State, name: &str) -> Option<&'a PodState> {
    let labelled = |pod: &&PodState| pod.labels.get("app").is_some_and(|app| app == name);
    state.pods_on("node1").find(labelled)
}

fn is(state: &State, name: &str, ready: bool) -> bool {
    pod_of(state, name).is_some_and(|pod| pod.ready == ready && pod.phase == "Running")
}

/// The hollow kubelet asks no probes, but it honours readiness gates.
async fn daemon_set(stage: &Stage, name: &'static str) -> Result<()> {
    let labels = json!({"app": name});
    let daemon_set = json!({
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": name},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {
                "tolerations": [{"operator": "Exists"}],
                "readinessGates": [{"conditionType": GATE}],
                "containers": [{"name": "main", "image": "registry.k8s.io/pause:3.10"}],
            }},
        },
    });
    stage.lab.control_plane.apply(&daemon_set.to_string()).await?;
    let runs = move |state: &State| is(state, name, false);
    stage.wait_for(&format!("the pod of {name} runs, and is not ready"), runs, SOON).await?;
    Ok(())
}

async fn set_ready(stage: &Stage, name: &str, yes: bool) -> Result<()> {
    let state = stage.observer.state();
    let pod = pod_of(&state, name).with_context(|| format!("no pod of {name}"))?;
    let condition = json!({"type": GATE, "status": if yes { "True" } else { "False" }});
    patch_status(stage, "pod", &pod.name, "strategic", &json!({"status": {"conditions": [condition]}})).await
}

/// What a device plugin would make the kubelet report.
async fn set_devices(stage: &Stage, number: u32) -> Result<()> {
    let resources = json!({"example.com/gpu": number.to_string()});
    let patch = json!({"status": {"capacity": resources, "allocatable": resources}});
    patch_status(stage, "node", stage.host(1).name(), "merge", &patch).await
}

async fn patch_status(stage: &Stage, kind: &str, name: &str, form: &str, patch: &Value) -> Result<()> {
    let (form, patch) = (format!("--type={form}"), patch.to_string());
    stage.lab.kubectl(&["patch", kind, name, "--subresource=status", &form, "--patch", &patch]).await?;
    Ok(())
}
