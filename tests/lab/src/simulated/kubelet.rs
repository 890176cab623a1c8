//! The kubelet of a simulated machine: its Node, its Lease, and pods that run and end without containers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::client::{Client, MERGE, STRATEGIC};
use super::machine::Machine;

/// Annotation of a pod: how many seconds it takes to end once it has to, or [`NEVER`].
pub(crate) const ENDS_AFTER: &str = "lab/ends-after";
pub(crate) const NEVER: &str = "never";
/// Annotation of a pod: what becomes of it instead of running and being ready. A phase, or [`NOT_READY`].
pub(crate) const BECOMES: &str = "lab/becomes";
pub(crate) const NOT_READY: &str = "NotReady";

/// How often a kubelet asks for what.
#[derive(Clone, Copy)]
pub(super) struct Pace {
    /// It renews its Lease so often, and posts its Node where that has changed.
    beat: Duration,
    /// It posts its Node in any case so often. More often would only be in the way of others who write it.
    post: Duration,
    /// It looks for something to do so often.
    look: Duration,
    /// It looks at its pods as well. A real one is told of them.
    has_pods: bool,
}

impl Pace {
    /// For tests, which have a few of them and do not want to wait.
    pub(super) const QUICK: Pace = Pace {
        beat: Duration::from_millis(800),
        post: Duration::from_secs(3),
        look: Duration::from_millis(200),
        has_pods: true,
    };
    /// That of a real one, without pods: for so many that they would cost the API server more than what is measured.
    pub(super) const REAL: Pace = Pace {
        beat: Duration::from_secs(10),
        post: Duration::from_secs(300),
        look: Duration::from_millis(500),
        has_pods: false,
    };
}

/// A pod that says nothing else takes this long to end.
const POD_ENDS: Duration = Duration::from_millis(600);

pub(super) struct Kubelet {
    machine: Arc<Machine>,
    client: Client,
    pace: Pace,
    renewed: Option<Instant>,
    /// When it posted its Node, in which boot and whether as Ready.
    posted: Option<(Instant, String, bool)>,
    /// Since when each pod is known to be leaving.
    leaving: BTreeMap<String, Instant>,
}

impl Kubelet {
    pub(super) fn new(machine: Arc<Machine>, client: Client, pace: Pace) -> Self {
        Self { machine, client, pace, renewed: None, posted: None, leaving: BTreeMap::new() }
    }

    pub(super) async fn run(mut self) {
        loop {
            match self.machine.kubelet() {
                // What fails is tried again at the next beat, as a kubelet does.
                Some(boot) => drop(self.beat(&boot).await),
                None => {
                    self.leaving.clear();
                    self.renewed = None;
                }
            }
            sleep(self.pace.look).await;
        }
    }

    async fn beat(&mut self, boot: &str) -> Result<()> {
        if self.renewed.is_none_or(|renewed| renewed.elapsed() >= self.pace.beat) {
            self.renewed = Some(Instant::now());
            let ready = self.machine.kubelet_is_ready();
            let is_posted = self.posted.as_ref().is_some_and(|(at, posted_boot, as_ready)| {
                at.elapsed() < self.pace.post && posted_boot == boot && *as_ready == ready
            });
            if !is_posted {
                self.posted = None;
                self.node(boot, ready).await?;
                self.posted = Some((Instant::now(), boot.to_owned(), ready));
            }
            self.lease().await?;
        }
        if self.pace.has_pods { self.pods().await } else { Ok(()) }
    }

    async fn node(&self, boot: &str, ready: bool) -> Result<()> {
        let name = &self.machine.name;
        let path = format!("/api/v1/nodes/{name}");
        let node = match self.client.get(&path).await {
            Ok(node) => node,
            Err(_) => {
                let labels = json!({"kubernetes.io/hostname": name});
                let node = json!({"metadata": {"name": name, "labels": labels}});
                self.client.post("/api/v1/nodes", &node).await?
            }
        };
        let (boot_id, machine_id) = match self.machine.tells_ids {
            true => (boot, self.machine.machine_id.as_str()),
            false => ("", ""),
        };
        let resources = json!({"cpu": "4", "memory": "8Gi", "pods": "110"});
        let status = json!({"status": {
            "capacity": resources,
            "allocatable": resources,
            "nodeInfo": {"bootID": boot_id, "machineID": machine_id},
            "conditions": [condition(&node, if ready { "True" } else { "False" })],
        }});
        if self.machine.kubelet().as_deref() != Some(boot) {
            return Ok(());
        }
        if ready {
            self.machine.becomes_healthy(boot);
        }
        self.client.patch(&format!("{path}/status"), STRATEGIC, &status).await?;
        Ok(())
    }

    async fn lease(&self) -> Result<()> {
        let name = &self.machine.name;
        let leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
        let spec = json!({
            "holderIdentity": name, "leaseDurationSeconds": 40,
            "renewTime": format!("{:.6}", Timestamp::now()),
        });
        let patch = json!({"spec": spec});
        if self.client.patch(&format!("{leases}/{name}"), MERGE, &patch).await.is_err() {
            self.client.post(leases, &json!({"metadata": {"name": name}, "spec": spec})).await?;
        }
        Ok(())
    }

    async fn pods(&mut self) -> Result<()> {
        // From the server's cache: a look costs it next to nothing.
        let node = &self.machine.name;
        let path = format!("/api/v1/pods?fieldSelector=spec.nodeName%3D{node}&resourceVersion=0");
        let pods = self.client.get(&path).await?;
        for pod in pods["items"].as_array().into_iter().flatten() {
            // One pod that cannot be served holds up no other.
            let _ = self.pod(pod).await;
        }
        Ok(())
    }

    async fn pod(&mut self, pod: &Value) -> Result<()> {
        let text = |pointer: &str| pod.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let (namespace, name, uid) =
            (text("/metadata/namespace"), text("/metadata/name"), text("/metadata/uid"));
        let path = format!("/api/v1/namespaces/{namespace}/pods/{name}");
        if text("/metadata/deletionTimestamp").is_empty() {
            let becomes = text(&format!("/metadata/annotations/{}", BECOMES.replace('/', "~1")));
            // Once a Node has not been Ready for a while, the control plane says so of its pods too (Kubernetes'
            // pkg/controller/util/node/controller_utils.go, MarkPodsNotReady). A kubelet that is back says otherwise.
            let is_told_wrong = becomes.is_empty() && text("/status/phase") == "Running" && !is_ready(pod);
            let is_new = text("/status/startTime").is_empty() && becomes != "Pending";
            if is_new || is_told_wrong {
                self.client.patch(&format!("{path}/status"), STRATEGIC, &status(becomes)).await?;
            }
            return Ok(());
        }
        let since = *self.leaving.entry(uid.to_owned()).or_insert_with(Instant::now);
        let ends_after = text(&format!("/metadata/annotations/{}", ENDS_AFTER.replace('/', "~1")));
        let is_over = match ends_after.parse().map(Duration::from_secs_f64) {
            _ if ends_after == NEVER => false,
            Ok(wanted) => since.elapsed() >= wanted,
            Err(_) => since.elapsed() >= POD_ENDS,
        };
        if is_over { end(&self.client, &path, uid).await } else { Ok(()) }
    }
}

/// What a kubelet does once the last container has ended: the phase says so, then the object goes.
pub(crate) async fn end(client: &Client, path: &str, uid: &str) -> Result<()> {
    let ended = json!({"metadata": {"uid": uid}, "status": status("Failed")["status"]});
    client.patch(&format!("{path}/status"), STRATEGIC, &ended).await?;
    let now = json!({"gracePeriodSeconds": 0, "preconditions": {"uid": uid}});
    client.delete(path, &now).await?;
    Ok(())
}

/// The condition Ready; its transition stays where the status does.
fn condition(node: &Value, status: &str) -> Value {
    let now = format!("{:.0}", Timestamp::now());
    let conditions = node.pointer("/status/conditions").and_then(Value::as_array).into_iter().flatten();
    let known = conditions.filter(|known| known["type"] == "Ready" && known["status"] == status);
    let since = known.filter_map(|known| known["lastTransitionTime"].as_str()).next().unwrap_or(&now);
    json!({
        "type": "Ready", "status": status, "reason": "Simulated", "message": "",
        "lastHeartbeatTime": now, "lastTransitionTime": since,
    })
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod.pointer("/status/conditions").and_then(Value::as_array).into_iter().flatten();
    conditions.into_iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

/// The status of a pod that became so; by default it runs and is ready.
fn status(becomes: &str) -> Value {
    let now = format!("{:.0}", Timestamp::now());
    let is_ready = becomes.is_empty();
    let phase = if is_ready || becomes == NOT_READY { "Running" } else { becomes };
    let ready = if is_ready { "True" } else { "False" };
    let condition = |name: &str| json!({"type": name, "status": ready, "lastTransitionTime": now});
    let conditions = [condition("Ready"), condition("ContainersReady")];
    json!({"status": {"phase": phase, "startTime": now, "conditions": conditions}})
}
