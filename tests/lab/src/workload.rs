//! What runs on the cluster, to be drained.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, bail};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::control_plane::ControlPlane;
use crate::kubelet::containers;

const READY_GATE: &str = "lab.rebootd.io/ready";

/// A Deployment in the namespace `default`, spread over the nodes as evenly as can be.
#[derive(Clone, Debug)]
pub struct Deployment {
    /// Its name, which is also the value of its pods' label `app`.
    pub name: String,
    /// How many pods.
    pub replicas: u32,
    /// How long a pod takes to end. The hollow kubelet ignores the grace period but not this.
    pub pre_stop_seconds: u32,
    /// A PodDisruptionBudget with this `minAvailable`, under the same name.
    pub min_available: Option<u32>,
    /// Whether its pods are ready only once [`make_ready`] says so.
    pub ready_on_demand: bool,
    /// The only node that may run its pods; they wait for it while it is cordoned.
    pub only_on: Option<String>,
}

impl Deployment {
    /// A Deployment whose pods end after a second.
    pub fn new(name: &str, replicas: u32) -> Self {
        Self {
            name: name.to_owned(),
            replicas,
            pre_stop_seconds: 1,
            min_available: None,
            ready_on_demand: false,
            only_on: None,
        }
    }

    /// Creates it, with its budget.
    pub async fn create(&self, control_plane: &ControlPlane) -> Result<()> {
        let labels = json!({"app": self.name});
        let mut pod = pod_spec(self.pre_stop_seconds);
        if self.ready_on_demand {
            pod["readinessGates"] = json!([{"conditionType": READY_GATE}]);
        }
        pod["topologySpreadConstraints"] = json!([{
            "maxSkew": 1,
            "topologyKey": "kubernetes.io/hostname",
            // A cordoned node does not count as an empty one that must be filled first.
            "nodeTaintsPolicy": "Honor",
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": labels},
        }]);
        if let Some(node) = &self.only_on {
            pod["nodeSelector"] = json!({"kubernetes.io/hostname": node});
        }
        let mut items = vec![json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": self.name},
            "spec": {
                "replicas": self.replicas,
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": pod},
            },
        })];
        if let Some(min_available) = self.min_available {
            items.push(json!({
                "apiVersion": "policy/v1",
                "kind": "PodDisruptionBudget",
                "metadata": {"name": self.name},
                "spec": {"minAvailable": min_available, "selector": {"matchLabels": labels}},
            }));
        }
        apply(control_plane, items).await
    }
}

/// Makes the pods with this `app` label ready that have run for this long, of those with [`Deployment::ready_on_demand`].
pub async fn make_ready(control_plane: &ControlPlane, app: &str, after: Duration) -> Result<()> {
    let pods = control_plane.kubectl_json(&["get", "pods", "-l", &format!("app={app}")]).await?;
    let patch = json!({"status": {"conditions": [{"type": READY_GATE, "status": "True"}]}}).to_string();
    for pod in pods["items"].as_array().into_iter().flatten() {
        let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
        let is_ready = conditions.into_iter().any(|condition| condition["type"] == READY_GATE);
        let started = pod.pointer("/status/startTime").and_then(Value::as_str);
        let started = started.and_then(|at| at.parse::<Timestamp>().ok());
        let is_due = started.is_some_and(|at| {
            Timestamp::now().duration_since(at) >= SignedDuration::try_from(after).unwrap_or_default()
        });
        if let Some(name) = pod["metadata"]["name"].as_str().filter(|_| is_due && !is_ready) {
            let arguments = ["patch", "pod", name, "--subresource=status", "--type=strategic", "-p", &patch];
            // The pod may have left meanwhile.
            let _ = control_plane.kubectl_output(&arguments, None).await?;
        }
    }
    Ok(())
}

/// Creates a DaemonSet that tolerates everything, as a CNI or a log collector does.
pub async fn create_daemon_set(control_plane: &ControlPlane, name: &str) -> Result<()> {
    let labels = json!({"app": name});
    let mut pod = pod_spec(1);
    pod["tolerations"] = json!([{"operator": "Exists"}]);
    let daemon_set = json!({
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": name},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    });
    apply(control_plane, vec![daemon_set]).await
}

/// Creates a pod that no controller would replace, on a given node.
pub async fn create_bare_pod(control_plane: &ControlPlane, name: &str, node: &str) -> Result<()> {
    let mut pod = pod_spec(1);
    pod["nodeName"] = json!(node);
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": pod,
    });
    apply(control_plane, vec![pod]).await
}

/// Waits until so many pods with this `app` label run, not counting those that are on their way out.
pub async fn wait_running(
    control_plane: &ControlPlane,
    app: &str,
    count: usize,
    limit: Duration,
) -> Result<()> {
    let deadline = Instant::now() + limit;
    loop {
        let running = pods_by_node(control_plane, app).await?;
        let sum: usize = running.values().sum();
        if sum == count {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("after {limit:?} {sum} of {count} pods of {app} run: {running:?}");
        }
        sleep(Duration::from_millis(300)).await;
    }
}

/// How many running pods with this `app` label each node has.
pub async fn pods_by_node(control_plane: &ControlPlane, app: &str) -> Result<BTreeMap<String, usize>> {
    let pods = control_plane.kubectl_json(&["get", "pods", "-l", &format!("app={app}")]).await?;
    let mut nodes = BTreeMap::new();
    for pod in pods["items"].as_array().into_iter().flatten() {
        if pod["status"]["phase"] == "Running" && pod["metadata"]["deletionTimestamp"].is_null() {
            *nodes.entry(pod["spec"]["nodeName"].as_str().unwrap_or_default().to_owned()).or_default() += 1;
        }
    }
    Ok(nodes)
}

fn pod_spec(pre_stop_seconds: u32) -> Value {
    let mut container = json!({"name": "main", "image": containers::APP});
    if pre_stop_seconds > 0 {
        container["lifecycle"] = json!({"preStop": {"sleep": {"seconds": pre_stop_seconds}}});
    }
    json!({"terminationGracePeriodSeconds": pre_stop_seconds + 30, "containers": [container]})
}

async fn apply(control_plane: &ControlPlane, items: Vec<Value>) -> Result<()> {
    control_plane.apply(&json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string()).await
}
