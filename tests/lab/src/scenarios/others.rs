//! Other nodes that are not well: nothing starts beside them, and whoever waits for them says so.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tokio::try_join;

use super::stage::{CONFIG, CYCLE, SLOT, SOON, Stage, request_reboot};
use super::status::{Status, wait_status};
use super::verdict;
use crate::host::Host;
use crate::observer::State;
use crate::progress::say;
use crate::proxy::Verb;

/// The control plane takes about 50 s to notice a dead kubelet.
const NOTICED: Duration = Duration::from_secs(120);
/// A closed gate of others is looked at every 30 s.
const LOOKED: Duration = Duration::from_secs(60);
const NO_MORE: Duration = Duration::from_secs(15);

/// A kubelet that is dead, then a host without power; neither holds a slot.
pub(super) async fn run(stage: &Stage) -> Result<()> {
    stage.install_everywhere(CONFIG).await?;
    let [first, second, sick] = [1, 2, 3].map(|number| stage.host(number));
    let pools = |state: &State| state.nodes.values().all(|node| node.pool.as_deref() == Some("worker"));
    stage.wait_for("all Nodes are in the pool", pools, SOON).await?;

    sick.run_ok(&["systemctl", "stop", "kubelet"]).await?;
    stage.lab.wait_node_condition(sick.name(), "Unknown", NOTICED).await?;
    say("node3 is NotReady: its kubelet is dead");
    request_reboot(first).await?;
    held_up(stage, first, "node3").await?;
    request_reboot(second).await?;
    let waits = |status: &Status| status.says("no-free-slot", &["node1"]);
    wait_status(second, "waiting for node1", waits, SOON).await?;
    stage.never("node1 or node2 is cordoned", cordoned_among(&["node1", "node2"]), NO_MORE).await?;
    ensure!(lists_of_nodes(stage, first) > 0, "node1 lists no nodes, so this test sees nothing");
    ensure!(lists_of_nodes(stage, second) == 0, "node2 lists nodes although it only waits");

    sick.run_ok(&["systemctl", "start", "kubelet"]).await?;
    say("node3: the kubelet runs again");
    for host in [first, second] {
        host.wait_boot_number(2, NOTICED + CYCLE).await?;
        verdict::settled(stage, host).await?;
    }
    verdict::one_at_a_time(&stage.observer.history())?;

    sick.power_off_abruptly().await?;
    stage.lab.wait_node_condition(sick.name(), "Unknown", NOTICED).await?;
    say("node3 is NotReady: it has no power");
    let allowed = format!("{CONFIG}[gates]\nmax_nodes_not_ready = 1\n");
    first.write_file("/etc/rebootd/config.toml", &allowed).await?;
    first.run_ok(&["systemctl", "reload", "rebootd"]).await?;
    request_reboot(second).await?;
    held_up(stage, second, "node3").await?;
    say("node2 gives up its turn; node1 may reboot beside one node that is NotReady");
    second.run_ok(&["rm", "/run/reboot-required"]).await?;
    request_reboot(first).await?;
    first.wait_boot_number(3, CYCLE).await?;
    verdict::settled(stage, first).await?;
    verdict::booted(first, 3)?;
    verdict::booted(second, 2)?;
    let history = stage.observer.history();
    verdict::cordoned(&history, first.name(), 2)?;
    verdict::cordoned(&history, second.name(), 1)
}

/// One node of the control plane asks for a reboot while another one, or its etcd, is not ready.
pub(super) async fn control_plane(stage: &Stage) -> Result<()> {
    let [host, other] = [1, 2].map(|number| stage.host(number));
    for name in [host.name(), other.name()] {
        let label = "node-role.kubernetes.io/control-plane=";
        stage.lab.kubectl(&["label", "node", name, label]).await?;
        for part in ["etcd", "kube-apiserver"] {
            // That of node2 comes when its kubelet is dead: it stays as it is, 0/1 Pending.
            if (name, part) != ("node2", "etcd") {
                static_pod(stage, part, name).await?;
            }
        }
    }
    let running = |state: &State| {
        let names = ["etcd-node1", "kube-apiserver-node1", "kube-apiserver-node2"];
        names.iter().all(|name| state.pods.get(&format!("kube-system/{name}")).is_some_and(|pod| pod.ready))
    };
    stage.wait_for("the control plane's pods run", running, SOON).await?;
    other.run_ok(&["systemctl", "stop", "kubelet"]).await?;
    static_pod(stage, "etcd", other.name()).await?;

    // node2 is in no pool: only the control plane speaks.
    // Two members are too few for a quorum; without this, node1 would not even ask about the other one.
    stage.install(host, &format!("{CONFIG}drain = \"always\"\n[node]\npool = \"control-plane\"\n")).await?;
    request_reboot(host).await?;
    let names_pod = |status: &Status| {
        status.phase == "cordoning"
            && status.says("control-plane-not-ready", &["pod etcd-node2 (0/1 Pending)"])
    };
    wait_status(host, "naming the pod", names_pod, SOON).await?;
    let names_both = |status: &Status| {
        status.says("control-plane-not-ready", &["node node2 (NotReady)", "pod etcd-node2"])
    };
    wait_status(host, "naming the node as well", names_both, NOTICED + LOOKED).await?;
    stage.never("node1 is cordoned", cordoned_among(&["node1"]), NO_MORE).await?;

    other.run_ok(&["systemctl", "start", "kubelet"]).await?;
    say("node2: the kubelet runs again");
    host.wait_boot_number(2, LOOKED + CYCLE).await?;
    verdict::settled(stage, host).await?;
    verdict::booted(host, 2)?;
    verdict::cordoned(&stage.observer.history(), host.name(), 1)
}

/// What it costs to list 5,000 nodes.
pub(super) async fn many(stage: &Stage) -> Result<()> {
    const NODES: usize = 5_000;
    let host = stage.host(1);
    stage.install(host, CONFIG).await?;
    let in_pool = |state: &State| state.node("node1").is_some_and(|node| node.pool.is_some());
    stage.wait_for("node1 is in its pool", in_pool, SOON).await?;
    let pss = memory(host).await?;
    // kubectl alone asks no more than 50 times a second.
    let create = async |part: usize| {
        let items: Vec<Value> = (part * NODES / 5..(part + 1) * NODES / 5).map(node).collect();
        let list = json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string();
        stage.lab.control_plane.kubectl_with_input(&["create", "-f", "-"], Some(&list)).await
    };
    try_join!(create(0), create(1), create(2), create(3), create(4))?;
    say(format!("there are {NODES} more nodes in the pool; rebootd takes {pss}"));

    request_reboot(host).await?;
    let many = |status: &Status| status.says("other-nodes-not-ready", &["and 4", "0 may be"]);
    // The control plane finds out one by one that they have no kubelets.
    wait_status(host, "naming some and counting the rest", many, Duration::from_secs(300)).await?;
    let closed = memory(host).await?;
    let config = format!("{CONFIG}[gates]\nmax_nodes_not_ready = {NODES}\n");
    host.write_file("/etc/rebootd/config.toml", &config).await?;
    let before = lists_of_nodes(stage, host);
    let began = stage.observer.now();
    host.run_ok(&["systemctl", "reload", "rebootd"]).await?;
    stage.wait_for("node1 is cordoned", cordoned_among(&["node1"]), SOON).await?;
    let cordoned = stage.observer.now().saturating_sub(began);
    host.wait_boot_number(2, CYCLE).await?;
    let lists = lists_of_nodes(stage, host) - before;
    verdict::settled(stage, host).await?;
    let after = memory(host).await?;
    say(format!(
        "memory: {pss} before; {closed} with {NODES} nodes NotReady; {after} after the reboot. \
         {lists} pages listed for one reboot; cordoned {:.1} s after the gate was opened",
        cordoned.as_secs_f64()
    ));
    ensure!(lists <= 40, "{lists} pages were listed for one reboot");
    verdict::booted(host, 2)
}

/// The host holds the slot and waits for a node that is not Ready, uncordoned.
async fn held_up(stage: &Stage, host: &Host, by: &str) -> Result<()> {
    let names_it = |status: &Status| {
        status.phase == "cordoning" && status.says("other-nodes-not-ready", &[by, "0 may be"])
    };
    wait_status(host, &format!("waiting for {by}"), names_it, SOON).await?;
    ensure!(stage.holder().as_deref() == Some(host.name()), "{} does not hold {SLOT}", host.name());
    Ok(())
}

fn cordoned_among(names: &'static [&'static str]) -> impl FnMut(&State) -> bool + Send + 'static {
    move |state| names.iter().any(|name| state.node(name).is_none_or(|node| node.unschedulable))
}

/// How many pages of Nodes this host's rebootd has listed.
fn lists_of_nodes(stage: &Stage, host: &Host) -> usize {
    let requests = stage.lab.proxy(host.name()).requests();
    let is_list = |verb: Verb, resource: &str| verb == Verb::List && resource == "nodes";
    requests
        .iter()
        .filter(|it| is_list(it.verb, &it.resource) && it.user_agent.starts_with("rebootd/"))
        .count()
}

/// A pod as kubeadm's, bound to its node from the start.
async fn static_pod(stage: &Stage, part: &str, node: &str) -> Result<()> {
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": format!("{part}-{node}"),
            "namespace": "kube-system",
            "labels": {"tier": "control-plane", "component": part},
        },
        "spec": {
            "nodeName": node,
            "tolerations": [{"operator": "Exists"}],
            "containers": [{"name": "main", "image": "registry.k8s.io/pause:3.10"}],
        },
    });
    stage.lab.control_plane.apply(&pod.to_string()).await
}

/// A Node that was well when its kubelet died.
fn node(number: usize) -> Value {
    let time = "2026-01-01T00:00:00Z";
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": format!("ip-10-0-{number}.eu-central-1.compute.internal"),
            "labels": {"rebootd.io/pool": "worker"},
        },
        "status": {
            "conditions": [{
                "type": "Ready", "status": "True", "reason": "KubeletReady",
                "lastHeartbeatTime": time, "lastTransitionTime": time,
            }],
            "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}],
            "nodeInfo": {
                "kubeletVersion": "v1.37.1", "kernelVersion": "6.8.0-1021-aws",
                "osImage": "Ubuntu 24.04.3 LTS", "containerRuntimeVersion": "containerd://2.1.4",
                "architecture": "amd64", "bootID": "", "machineID": "", "systemUUID": "",
                "kubeProxyVersion": "", "operatingSystem": "linux",
            },
        },
    })
}

/// The daemon's memory: its share of all that it maps, and heap and stacks alone.
async fn memory(host: &Host) -> Result<String> {
    let script = "cat /proc/$(systemctl show --property=MainPID --value rebootd)/smaps_rollup";
    let text = host.run_ok(&["sh", "-c", script]).await?;
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.map(|line| line.trim().to_owned()).with_context(|| format!("smaps_rollup has no {name}"))
    };
    Ok(format!("{} (heap and stacks {})", field("Pss")?, field("Pss_Anon")?))
}
