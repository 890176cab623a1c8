//! On a node where kured's pod runs rebootd claims nothing: over to rebootd and back, by the commands of `docs/kured.md`.
//!
//! kured itself is not in the lab: a DaemonSet that is named and labelled as its own is.

use anyhow::{Result, ensure};
use serde_json::json;

use super::stage::{CONFIG, CYCLE, SENTINEL, SOON, Stage, request_reboot, slot_of};
use super::status::{Status, wait_status};
use super::verdict;
use crate::host::Host;
use crate::kubelet::containers;

const AFFINITY: &str = r#"{"spec": {"template": {"spec": {"affinity": {"nodeAffinity":
    {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions":
    [{"key": "reboots-by", "operator": "NotIn", "values": ["rebootd"]}]}]}}}}}}}"#;

pub(super) async fn run(stage: &Stage) -> Result<()> {
    let host = stage.host(1);
    let labels = json!({"name": "kured"});
    let kured = json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet",
        "metadata": {"name": "kured", "namespace": "kube-system"},
        "spec": {"selector": {"matchLabels": labels}, "template": {
            "metadata": {"labels": labels},
            "spec": {"containers": [{"name": "kured", "image": containers::PAUSE}]},
        }},
    });
    stage.lab.control_plane.apply(&kured.to_string()).await?;
    kubectl(stage, &["rollout", "status", "daemonset", "kured"]).await?;
    stage.install_alone(host, CONFIG).await?;
    request_reboot(host).await?;
    waits_beside_kured(host).await?;
    ensure!(stage.observer.state().holder(&slot_of(host)).is_none(), "it has claimed beside kured");

    kubectl(stage, &["annotate", "daemonset", "kured", r#"weave.works/kured-node-lock={"nodeID":"moving"}"#])
        .await?;
    kubectl(stage, &["patch", "daemonset", "kured", "--type=merge", "-p", AFFINITY]).await?;
    kubectl(stage, &["rollout", "status", "daemonset", "kured"]).await?;
    waits_beside_kured(host).await?;
    verdict::booted(host, 1)?;
    let pool = format!("rebootd.io/pool={}", host.name());
    stage.lab.kubectl(&["label", "nodes", "-l", &pool, "reboots-by=rebootd"]).await?;
    kubectl(stage, &["annotate", "daemonset", "kured", "weave.works/kured-node-lock-"]).await?;
    host.wait_boot_number(2, CYCLE).await?;
    verdict::settled(stage, host).await?;

    stage.lab.kubectl(&["label", "nodes", "-l", &pool, "reboots-by-"]).await?;
    kubectl(stage, &["rollout", "status", "daemonset", "kured"]).await?;
    request_reboot(host).await?;
    waits_beside_kured(host).await?;
    host.run_ok(&["rm", SENTINEL]).await?;
    verdict::settled(stage, host).await?;
    verdict::booted(host, 2)
}

async fn kubectl(stage: &Stage, arguments: &[&str]) -> Result<()> {
    stage.lab.kubectl(&[&["-n", "kube-system"], arguments].concat()).await?;
    Ok(())
}

async fn waits_beside_kured(host: &Host) -> Result<()> {
    let waits = |status: &Status| status.says("kured-here", &["kured-", "docs/kured.md"]);
    wait_status(host, "waiting beside kured", waits, SOON).await?;
    Ok(())
}
