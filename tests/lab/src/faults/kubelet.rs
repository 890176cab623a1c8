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

const BEAT: Duration = Duration::from_millis(800);
/// A pod takes so long to end.
const POD_ENDS: Duration = Duration::from_millis(600);

pub(super) struct Kubelet {
    pub(super) machine: Arc<Machine>,
    pub(super) client: Client,
    /// Since when each pod is known to be leaving.
    pub(super) leaving: BTreeMap<String, Instant>,
}

impl Kubelet {
    pub(super) async fn run(mut self) {
        loop {
            match self.machine.kubelet() {
                // What fails is tried again at the next beat, as a kubelet does.
                Some(boot) => drop(self.beat(&boot).await),
                None => self.leaving.clear(),
            }
            sleep(BEAT).await;
        }
    }

    async fn beat(&mut self, boot: &str) -> Result<()> {
        self.node(boot).await?;
        self.lease().await?;
        self.pods().await
    }

    async fn node(&self, boot: &str) -> Result<()> {
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
        let ready = self.machine.kubelet_is_ready();
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
        let path = format!("/api/v1/pods?fieldSelector=spec.nodeName%3D{}", self.machine.name);
        let pods = self.client.get(&path).await?;
        for pod in pods["items"].as_array().into_iter().flatten() {
            let text = |pointer: &str| pod.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
            let (namespace, name, uid) =
                (text("/metadata/namespace"), text("/metadata/name"), text("/metadata/uid"));
            let path = format!("/api/v1/namespaces/{namespace}/pods/{name}");
            if text("/metadata/deletionTimestamp").is_empty() {
                if text("/status/phase") != "Running" {
                    self.client.patch(&format!("{path}/status"), STRATEGIC, &running()).await?;
                }
            } else if self.leaving.entry(uid.to_owned()).or_insert_with(Instant::now).elapsed() >= POD_ENDS {
                let now = json!({"gracePeriodSeconds": 0, "preconditions": {"uid": uid}});
                self.client.delete(&path, &now).await?;
            }
        }
        Ok(())
    }
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

fn running() -> Value {
    let now = format!("{:.0}", Timestamp::now());
    let condition = |name: &str| json!({"type": name, "status": "True", "lastTransitionTime": now});
    json!({"status": {
        "phase": "Running",
        "startTime": now,
        "conditions": [condition("Ready"), condition("ContainersReady")],
    }})
}
