//! What is asked besides the nodes themselves: alerts before a reboot, and after it whatever has to be well again.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::stage::{CONFIG, CYCLE, SLOT, SOON, Stage, request_reboot, slot_of};
use super::status::{Status, wait_status};
use super::verdict;
use crate::host::Host;
use crate::progress::say;
use crate::prometheus::{self, Prometheus};

const AUTHORITY: &str = "/etc/rebootd/prometheus.pem";
const MEASURE: &str = "measure = \"vector(42)\"\n";
/// A ConfigMap stands for a storage system's own kind of object: a field of a text.
const CONFIG_MAP: &str = "/api/v1/namespaces/default/configmaps/storage";
const RIGHTS: &str = "
{apiVersion: rbac.authorization.k8s.io/v1, kind: Role, metadata: {name: storage, namespace: default},
 rules: [{apiGroups: [''], resources: [configmaps], resourceNames: [storage], verbs: [get]}]}
---
{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {name: storage, namespace: default},
 roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: storage},
 subjects: [{kind: ServiceAccount, name: rebootd, namespace: rebootd}]}
";

/// Alerts that fire, and a Prometheus that does not answer, keep the node from its cordon.
pub(super) async fn alerts(stage: &Stage) -> Result<()> {
    let host = stage.host(1);
    let mut prometheus = Prometheus::new(&stage.lab).await?;
    prometheus.start(&["Watchdog", "KnownForLong", "LabOnFire"], &[]).await?;
    let authority = std::fs::read_to_string(stage.lab.control_plane.pki.ca())?;
    let config = format!(
        "{CONFIG}[prometheus]\nurl = \"{}\"\ncertificate_authority = \"{AUTHORITY}\"\n{MEASURE}\
         [gates]\nalerts = true\nignore_alerts = [\"KnownForLong\"]\n",
        prometheus::url()
    );
    stage.install_alone(host, &config).await?;
    request_reboot(host).await?;
    // No file of that name: what cannot be asked shuts the gate, too.
    waits(host, "unreadable", &["Prometheus", AUTHORITY]).await?;
    host.write_file(AUTHORITY, authority).await?;
    let told = waits(host, "alerts", &["LabOnFire"]).await?;
    ensure!(!told.contains("Watchdog") && !told.contains("KnownForLong"), "{told}");
    let node = stage.node(host.name())?;
    ensure!(!node.unschedulable, "it is cordoned beside an alert");
    ensure!(stage.observer.state().holder(&slot_of(host)).is_some(), "it asks without its slot");
    prometheus.stop().await?;
    waits(host, "unreadable", &["Prometheus"]).await?;
    verdict::booted(host, 1)?;

    prometheus.start(&["Watchdog", "KnownForLong"], &[]).await?;
    host.wait_boot_number(2, CYCLE).await?;
    verdict::settled(stage, host).await?;
    // Nothing had to leave, so the reboot may come before the first answer.
    measured(host, &[json!("42"), json!(null)]).await?;
    verdict::booted(host, 2)
}

/// The slot is kept after the uncordon while one thing after the other is not well.
pub(super) async fn after(stage: &Stage) -> Result<()> {
    let (first, second) = (stage.host(1), stage.host(2));
    let mut prometheus = Prometheus::new(&stage.lab).await?;
    prometheus.start(&[], &["lab_degraded"]).await?;
    let cluster = &stage.lab.control_plane;
    prometheus::serve(cluster).await?;
    cluster.apply(&storage("HEALTH_WARN")).await?;
    let config = format!(
        "{CONFIG}[prometheus]\nservice = \"monitoring/https:prometheus:web\"\n{MEASURE}\
         [after]\nsoak = \"3s\"\nquery = \"lab_degraded > 0\"\npods = [\"app=only-on-node1\"]\n\
         object = {{ path = \"{CONFIG_MAP}\", field = \"data.health\", equals = \"HEALTH_OK\" }}\n"
    );
    stage.install(first, &config).await?;
    stage.install(second, CONFIG).await?;
    let pods = stage.pods_on(first, 1, 0).await?;
    request_reboot(first).await?;
    first.wait_boot_number(2, CYCLE).await?;
    request_reboot(second).await?;

    // Neither right is there yet.
    waits(first, "after-check", &["Prometheus", "403"]).await?;
    let manifest = first.run_ok(&["cat", "/usr/share/rebootd/manifests/optional/prometheus.yaml"]).await?;
    ensure!(manifest.contains("\"prometheus:9090\""), "the manifest names another Service:\n{manifest}");
    let manifest = manifest.replace("\"prometheus:9090\"", "\"https:prometheus:web\"");
    let apply = ["apply", "--namespace=monitoring", "-f", "-"];
    cluster.kubectl_with_input(&apply, Some(&manifest)).await?;
    cluster.apply(RIGHTS).await?;
    waits(first, "after-check", &["Prometheus finds", "lab_degraded 3"]).await?;
    let name = first.name().to_owned();
    stage
        .wait_for(
            "the pods are on their node again",
            move |state| state.pods_on(&name).next().is_some(),
            SOON,
        )
        .await?;
    kept(stage, first)?;

    prometheus.start(&[], &[]).await?;
    waits(first, "after-check", &["data.health", "HEALTH_WARN"]).await?;
    kept(stage, first)?;
    let waiting = |status: &Status| status.says("no-free-slot", &["node1"]);
    wait_status(second, "waiting for node1", waiting, SOON).await?;
    cluster.kubectl(&["scale", "deployment", &pods.name, "--replicas=0"]).await?;
    cluster.apply(&storage("HEALTH_OK")).await?;
    waits(first, "after-check", &["no pod"]).await?;
    kept(stage, first)?;
    verdict::booted(second, 1)?;

    cluster.kubectl(&["scale", "deployment", &pods.name, "--replicas=1"]).await?;
    second.wait_boot_number(2, CYCLE + SOON).await?;
    for host in [first, second] {
        verdict::settled(stage, host).await?;
        verdict::booted(host, 2)?;
    }
    // Prometheus could be asked only after the reboot.
    measured(first, &[json!(null)]).await?;
    verdict::one_at_a_time(&stage.observer.history())
}

/// The record of the reboot has what Prometheus gave.
async fn measured(host: &Host, before: &[Value]) -> Result<()> {
    let records = host.run_ok(&["rebootctl", "report", "--json"]).await?;
    let records: Value = serde_json::from_str(&records)?;
    let figure = &records[0]["figure"];
    let is_right = ["lowest", "highest", "after"].iter().all(|it| figure[it] == "42");
    ensure!(is_right && before.contains(&figure["before"]), "{}: {records:#}", host.name());
    Ok(())
}

fn storage(health: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: ConfigMap, metadata: {{name: storage, namespace: default}}, data: {{health: {health}}}}}"
    )
}

/// Waits for a reason with these words; gives its text.
async fn waits(host: &Host, kind: &str, words: &[&str]) -> Result<String> {
    let wanted = |status: &Status| status.says(kind, words);
    let status = wait_status(host, &format!("{kind} {}", words.join(" ")), wanted, SOON).await?;
    Ok(status.reason(kind).context("the reason is gone")?.to_owned())
}

/// It is uncordoned, and holds its slot.
fn kept(stage: &Stage, host: &Host) -> Result<()> {
    let node = stage.node(host.name())?;
    ensure!(!node.unschedulable, "{} is cordoned", host.name());
    ensure!(
        stage.observer.state().holder(SLOT) == Some(host.name()),
        "{} has given its slot back",
        host.name()
    );
    say(format!("{} is uncordoned and keeps its slot", host.name()));
    Ok(())
}
