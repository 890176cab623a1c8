//! What others see of a node that waits or has its turn, and the only node of a cluster.

use anyhow::{Result, ensure};
use serde_json::Value;

use super::stage::{CONFIG, CYCLE, SOON, Stage, request_reboot};
use super::status::{Status, wait_phase, wait_status};
use super::verdict;
use crate::host::Host;
use crate::lab::ELSEWHERE;
use crate::progress::say;

const FILE: &str = "/etc/rebootd/config.toml";
const SHOWS: &str = "[node]\nwaiting_taint = true\n[drain]\nleave_load_balancers = \"10s\"\n\
    labels = { \"example.com/maintenance\" = \"reboot\" }\n";
const WAITING: &str = "rebootd.io/waiting";
const LOAD_BALANCERS: &str = "node.kubernetes.io/exclude-from-external-load-balancers";
const AUTOSCALER: &str = "cluster-autoscaler.kubernetes.io/scale-down-disabled";
const OWN: &[&str] = &[WAITING, LOAD_BALANCERS, "example.com/maintenance"];
const IN_TURN: &[&str] = &[LOAD_BALANCERS, "example.com/maintenance"];
const KARPENTER: &str = "karpenter.sh/do-not-disrupt";

pub(super) async fn run(stage: &Stage) -> Result<()> {
    let host = stage.host(1);
    let kubectl = &stage.lab.control_plane;
    kubectl.kubectl(&["delete", "node", "elsewhere"]).await?;
    // Somebody else's, of the same name as ours; and a taint beside which ours has to stand.
    let karpenter = format!("{KARPENTER}=mine");
    kubectl.kubectl(&["annotate", "node", host.name(), &karpenter]).await?;
    kubectl.kubectl(&["taint", "node", host.name(), "lab=x:PreferNoSchedule"]).await?;
    stage.install(host, &format!("{CONFIG}{SHOWS}")).await?;
    // As docs/rights.md says of a label that `[drain] labels` names.
    let listed = r#"[{"op": "replace", "path": "/spec/variables/0/expression", "value":
        "['node.kubernetes.io/exclude-from-external-load-balancers', 'example.com/maintenance']"}]"#;
    let policy = ["patch", "validatingadmissionpolicy", "rebootd-nodes", "--type=json", "--patch", listed];
    kubectl.kubectl(&policy).await?;
    stage.pods_on(host, 1, 0).await?;

    request_reboot(host).await?;
    let only = |status: &Status| status.says("only-node", &["drain = \"never\""]);
    wait_status(host, "only-node", only, SOON).await?;
    wait_shown(stage, host, &[WAITING], &["lab", WAITING]).await?;
    verdict::holds_nothing(stage, host.name())?;

    say("another node joins");
    kubectl.apply(ELSEWHERE).await?;
    host.run_ok(&["systemctl", "reload", "rebootd"]).await?;
    let leaves = |status: &Status| status.says("leaving-load-balancers", &["another"]);
    wait_status(host, "leaving-load-balancers", leaves, SOON).await?;
    // Now it has its turn, and waits no longer.
    wait_shown(stage, host, IN_TURN, &["lab"]).await?;
    let node = stage.node(host.name())?.raw;
    let annotations = &node["metadata"]["annotations"];
    ensure!(annotations[AUTOSCALER] == "true" && annotations[KARPENTER] == "mine", "{annotations:#}");
    let state = stage.observer.state();
    ensure!(!state.pods_on(host.name()).any(|pod| pod.terminating), "a pod left before load balancers knew");
    host.wait_boot_number(2, CYCLE).await?;
    verdict::settled(stage, host).await?;
    wait_shown(stage, host, &[], &["lab"]).await?;
    let node = stage.node(host.name())?.raw;
    let annotations = &node["metadata"]["annotations"];
    ensure!(annotations[AUTOSCALER].is_null() && annotations[KARPENTER] == "mine", "{annotations:#}");
    ensure!(annotations["rebootd.io/added"].is_null(), "{annotations:#}");

    without_a_drain(stage, host).await
}

/// The only node reboots with its pods, where somebody has said so.
async fn without_a_drain(stage: &Stage, host: &Host) -> Result<()> {
    stage.lab.kubectl(&["delete", "node", "elsewhere"]).await?;
    host.write_file(FILE, format!("{CONFIG}drain = \"never\"\n{SHOWS}")).await?;
    host.run_ok(&["systemctl", "reload", "rebootd"]).await?;
    wait_phase(host, "idle", SOON).await?;
    let deleted = stage.observer.history().pod_deletions().len();
    // Under the budget nobody may leave: it is not asked.
    stage.stuck_pods_on(host, 2).await?;
    request_reboot(host).await?;
    host.wait_boot_number(3, CYCLE).await?;
    verdict::settled(stage, host).await?;
    verdict::booted(host, 3)?;
    let history = stage.observer.history();
    ensure!(history.pod_deletions().len() == deleted, "pods were evicted: {:#?}", history.pod_deletions());
    verdict::cordoned(&history, host.name(), 2)?;
    verdict::one_at_a_time(&history)
}

/// Waits until the Node has these labels of ours, and no other, and these taints; a cordon's aside.
async fn wait_shown(
    stage: &Stage,
    host: &Host,
    labels: &'static [&str],
    taints: &'static [&str],
) -> Result<()> {
    let name = host.name().to_owned();
    let what = format!("{name} has labels {labels:?} and taints {taints:?}");
    let shown = move |state: &crate::observer::State| {
        let Some(node) = state.node(&name) else { return false };
        let there = &node.raw["metadata"]["labels"];
        let mut keys: Vec<&str> =
            node.raw["spec"]["taints"].as_array().into_iter().flatten().filter_map(key).collect();
        keys.retain(|key| !key.starts_with("node.kubernetes.io/"));
        keys.sort_unstable();
        OWN.iter().all(|label| there[*label].is_null() != labels.contains(label)) && keys == taints
    };
    stage.wait_for(&what, shown, SOON).await?;
    say(what_of(stage, host)?);
    Ok(())
}

fn key(taint: &Value) -> Option<&str> {
    taint["key"].as_str()
}

fn what_of(stage: &Stage, host: &Host) -> Result<String> {
    let node = stage.node(host.name())?.raw;
    Ok(format!("labels {}, taints {}", node["metadata"]["labels"], node["spec"]["taints"]))
}
