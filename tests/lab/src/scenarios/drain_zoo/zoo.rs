//! The zoo: pods of all kinds on one Node that no kubelet looks after, so that each stays as it was made.

use std::fmt;

use anyhow::Result;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::control_plane::ControlPlane;
use crate::dice::Dice;
use crate::simulated::client::{Client, MERGE};

/// The Node of all pods.
pub(super) const NODE: &str = "zoo";
/// The label by which a pod can be chosen: its own name.
pub(super) const LABEL: &str = "zoo-pod";
/// The budget of half of the pods, which allows nothing.
pub(super) const BUDGET: &str = "guard";
/// The second one is being deleted by the time that anybody is asked.
const NAMESPACES: [&str; 2] = ["default", "ending"];
const PHASES: [&str; 5] = ["Pending", "Running", "Succeeded", "Failed", "Unknown"];
const AT_ONCE: usize = 8;

/// What a pod's ownerReferences say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    Nobody,
    /// An owner that is not its controller.
    NoController,
    ReplicaSet,
    ReplicationController,
    StatefulSet,
    Job,
    DaemonSet,
    /// A DaemonSet of `apps/v1` that does not exist.
    LostDaemonSet,
    /// A DaemonSet of another API group.
    OtherDaemonSet,
    /// A resource that the cluster does not know.
    Custom,
    /// As mirror pods have it.
    Node,
    /// A DaemonSet, named after an owner that is not the controller.
    DaemonSetAsSecond,
}

const OWNERS: [Owner; 12] = [
    Owner::Nobody,
    Owner::NoController,
    Owner::ReplicaSet,
    Owner::ReplicationController,
    Owner::StatefulSet,
    Owner::Job,
    Owner::DaemonSet,
    Owner::LostDaemonSet,
    Owner::OtherDaemonSet,
    Owner::Custom,
    Owner::Node,
    Owner::DaemonSetAsSecond,
];

impl Owner {
    fn is_bare(self) -> bool {
        matches!(self, Owner::Nobody | Owner::NoController)
    }

    fn references(self) -> Value {
        let owner = |version: &str, kind: &str, name: &str, controller: bool| {
            let uid = format!("00000000-0000-0000-0000-{:012}", self as usize);
            json!({"apiVersion": version, "kind": kind, "name": name, "uid": uid, "controller": controller})
        };
        let only = |version: &str, kind: &str, name: &str| json!([owner(version, kind, name, true)]);
        match self {
            Owner::Nobody => json!([]),
            Owner::NoController => json!([owner("apps/v1", "ReplicaSet", "web", false)]),
            Owner::ReplicaSet => only("apps/v1", "ReplicaSet", "web"),
            Owner::ReplicationController => only("v1", "ReplicationController", "web"),
            Owner::StatefulSet => only("apps/v1", "StatefulSet", "db"),
            Owner::Job => only("batch/v1", "Job", "import"),
            Owner::DaemonSet => only("apps/v1", "DaemonSet", "agent"),
            Owner::LostDaemonSet => only("apps/v1", "DaemonSet", "lost"),
            Owner::OtherDaemonSet => only("apps.example.org/v1", "DaemonSet", "agent"),
            Owner::Custom => only("example.org/v1", "Flock", "sheep"),
            Owner::Node => only("v1", "Node", NODE),
            Owner::DaemonSetAsSecond => json!([
                owner("example.org/v1", "Flock", "sheep", false),
                owner("apps/v1", "DaemonSet", "agent", true)
            ]),
        }
    }
}

/// A pod, as far as anybody's decision may rest on it.
#[derive(Clone)]
pub(super) struct ZooPod {
    pub(super) namespace: &'static str,
    pub(super) name: String,
    pub(super) owner: Owner,
    pub(super) mirror: bool,
    phase: &'static str,
    pub(super) empty_dir: bool,
    pub(super) terminating: bool,
    pub(super) guarded: bool,
    /// Its containers are not started again.
    pub(super) runs_once: bool,
    object: Value,
}

impl ZooPod {
    /// Namespace and name, as kubectl prints them.
    pub(super) fn key(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    pub(super) fn is_finished(&self) -> bool {
        ["Succeeded", "Failed"].contains(&self.phase)
    }

    pub(super) fn is_bare(&self) -> bool {
        self.owner.is_bare()
    }

    pub(super) fn is_of_daemon_set(&self) -> bool {
        [Owner::DaemonSet, Owner::DaemonSetAsSecond].contains(&self.owner)
    }
}

impl fmt::Display for ZooPod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let terminating = if self.terminating { ", terminating" } else { "" };
        write!(f, "{} ({}{terminating}): {:#}", self.key(), self.phase, self.object)
    }
}

/// Every combination of what decides once; all else as the dice fall.
pub(super) fn pods(seed: u64) -> Vec<ZooPod> {
    let mut dice = Dice::new(seed);
    let mut pods = Vec::new();
    for owner in OWNERS {
        for phase in PHASES {
            // Of a pod that has a controller nobody asks for its budget or its restart policy.
            let combinations = if owner.is_bare() { 32 } else { 8 };
            for bits in 0..combinations {
                let [mirror, empty_dir, terminating, guarded, runs_once] =
                    [1, 2, 4, 8, 16].map(|bit| bits & bit != 0);
                let mut pod = ZooPod {
                    namespace: dice.one_of(&[NAMESPACES[0], NAMESPACES[0], NAMESPACES[1]]),
                    name: format!("pod-{}", pods.len()),
                    owner,
                    mirror,
                    phase,
                    empty_dir,
                    terminating,
                    guarded: guarded || !owner.is_bare() && dice.roll(2) == 0,
                    runs_once: runs_once || !owner.is_bare() && dice.roll(3) == 0,
                    object: Value::Null,
                };
                pod.object = object(&pod, &mut dice);
                pods.push(pod);
            }
        }
    }
    pods
}

fn object(pod: &ZooPod, dice: &mut Dice) -> Value {
    let mut metadata = json!({
        "name": pod.name,
        "labels": {LABEL: pod.name, "guarded": pod.guarded.to_string()},
        "ownerReferences": pod.owner.references(),
        // What is deleted stays, and is terminating.
        "finalizers": ["zoo.example.org/keep"],
    });
    if pod.mirror {
        metadata["annotations"] = json!({"kubernetes.io/config.mirror": "0123456789abcdef"});
    }
    let mut volumes = match dice.roll(4) {
        0 => vec![json!({"name": "host", "hostPath": {"path": "/var/lib"}})],
        1 => vec![json!({"name": "config", "configMap": {"name": "config"}})],
        2 if !pod.mirror => vec![json!({"name": "claim", "persistentVolumeClaim": {"claimName": "data"}})],
        _ => Vec::new(),
    };
    if pod.empty_dir {
        volumes.push(json!({"name": "scratch", "emptyDir": {"medium": dice.one_of(&["", "Memory"])}}));
    }
    let tolerations = match dice.roll(3) {
        0 => json!([{"operator": "Exists"}]),
        1 => {
            json!([{"key": "node.kubernetes.io/unschedulable", "operator": "Exists", "effect": "NoSchedule"}])
        }
        _ => json!([]),
    };
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {
            "nodeName": NODE,
            "restartPolicy": if pod.runs_once { "Never" } else { dice.one_of(&["Always", "OnFailure"]) },
            "containers": [{"name": "main", "image": "pause"}],
            "volumes": volumes,
            "tolerations": tolerations,
            "priorityClassName": dice.one_of(&["", "", "system-cluster-critical", "system-node-critical"]),
            "terminationGracePeriodSeconds": dice.one_of(&[0, 1, 30, 3600]),
            "automountServiceAccountToken": false,
        },
    })
}

/// Makes Node, owners, budgets and pods. Nobody else may act upon them: a controller would see pods too many, and
/// pods whose owners are gone.
pub(super) async fn build(control_plane: &ControlPlane, pods: &[ZooPod]) -> Result<()> {
    let client = Client::new(control_plane, "lab-zoo-keeper")?;
    client.post("/api/v1/nodes", &json!({"metadata": {"name": NODE}})).await?;
    for namespace in NAMESPACES {
        let items = [
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}),
            json!({
                "apiVersion": "v1",
                "kind": "ServiceAccount",
                "metadata": {"name": "default", "namespace": namespace},
            }),
            json!({
                "apiVersion": "apps/v1",
                "kind": "DaemonSet",
                "metadata": {"name": "agent", "namespace": namespace},
                "spec": {
                    "selector": {"matchLabels": {"app": "agent"}},
                    "template": {
                        "metadata": {"labels": {"app": "agent"}},
                        "spec": {"containers": [{"name": "main", "image": "pause"}]},
                    },
                },
            }),
            json!({
                "apiVersion": "policy/v1",
                "kind": "PodDisruptionBudget",
                "metadata": {"name": BUDGET, "namespace": namespace},
                "spec": {"maxUnavailable": 0, "selector": {"matchLabels": {"guarded": "true"}}},
            }),
        ];
        let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
        control_plane.apply(&list.to_string()).await?;
    }
    let mut keepers = JoinSet::new();
    for share in pods.chunks(pods.len().div_ceil(AT_ONCE)) {
        let (client, share) = (client.clone(), share.to_vec());
        keepers.spawn(async move {
            for pod in &share {
                house(&client, pod).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(housed) = keepers.join_next().await {
        housed??;
    }
    client.delete(&format!("/api/v1/namespaces/{}", NAMESPACES[1]), &json!({})).await?;
    Ok(())
}

async fn house(client: &Client, pod: &ZooPod) -> Result<()> {
    let pods = format!("/api/v1/namespaces/{}/pods", pod.namespace);
    client.post(&pods, &pod.object).await?;
    let path = format!("{pods}/{}", pod.name);
    client.patch(&format!("{path}/status"), MERGE, &json!({"status": {"phase": pod.phase}})).await?;
    if pod.terminating {
        client.delete(&path, &json!({})).await?;
    }
    Ok(())
}
