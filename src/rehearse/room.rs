//! Whether other nodes have room for the pods that leave a node: an estimate by what pods request, as the scheduler counts
//! (https://kubernetes.io/docs/concepts/configuration/manage-resources-containers/). Affinity and taints are not in it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::objects::{Meta, NodeSpec, NodeStatus, or_default};

/// A Node, with what pods may request of it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct RoomyNode {
    metadata: Meta,
    spec: NodeSpec,
    status: NodeStatus,
}

/// A pod, with what it requests.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct AskingPod {
    metadata: Meta,
    spec: AskingSpec,
    status: AskingStatus,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct AskingSpec {
    node_name: String,
    #[serde(deserialize_with = "or_default")]
    containers: Vec<AskingContainer>,
    #[serde(deserialize_with = "or_default")]
    init_containers: Vec<AskingContainer>,
    #[serde(deserialize_with = "or_default")]
    overhead: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct AskingContainer {
    /// `Always` of an init container: a sidecar, which runs beside the others.
    restart_policy: String,
    #[serde(deserialize_with = "or_default")]
    resources: Resources,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Resources {
    #[serde(deserialize_with = "or_default")]
    requests: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct AskingStatus {
    phase: String,
}

/// CPUs and bytes of memory, and how many pods.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(super) struct Amount {
    cpus: f64,
    memory_bytes: f64,
    pods: f64,
}

/// Room on other nodes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Room {
    /// What the pods that leave request together.
    leaving: Amount,
    /// What the other nodes have left that are Ready and not cordoned.
    left: Amount,
    /// How many these are.
    nodes: usize,
    /// How many of the pods that leave find none with room, the largest placed first.
    without: usize,
}

impl Amount {
    fn of(quantities: &BTreeMap<String, String>) -> Amount {
        let of = |name: &str| quantities.get(name).and_then(|it| quantity(it)).unwrap_or_default();
        Amount { cpus: of("cpu"), memory_bytes: of("memory"), pods: of("pods") }
    }

    fn add(&mut self, other: Amount, times: f64) {
        self.cpus += other.cpus * times;
        self.memory_bytes += other.memory_bytes * times;
        self.pods += other.pods * times;
    }

    fn plus(mut self, other: Amount) -> Amount {
        self.add(other, 1.0);
        self
    }

    fn max(self, other: Amount) -> Amount {
        let Amount { cpus, memory_bytes, pods } = other;
        Amount {
            cpus: self.cpus.max(cpus),
            memory_bytes: self.memory_bytes.max(memory_bytes),
            pods: self.pods.max(pods),
        }
    }

    fn fits(&self, room: &Amount) -> bool {
        self.cpus <= room.cpus && self.memory_bytes <= room.memory_bytes && self.pods <= room.pods
    }

    fn in_words(&self) -> String {
        format!("{:.1} CPUs and {:.1} GiB", self.cpus, self.memory_bytes / f64::from(1 << 30))
    }
}

impl AskingPod {
    fn asks(&self) -> Amount {
        let (mut beside, mut most) = (Amount::default(), Amount::default());
        for it in &self.spec.init_containers {
            let asks = Amount::of(&it.resources.requests);
            match it.restart_policy == "Always" {
                true => beside.add(asks, 1.0),
                false => most = most.max(beside.plus(asks)),
            }
        }
        self.spec.containers.iter().for_each(|it| beside.add(Amount::of(&it.resources.requests), 1.0));
        Amount { pods: 1.0, ..most.max(beside).plus(Amount::of(&self.spec.overhead)) }
    }
}

impl Room {
    /// For the pods of these uids, which leave this node.
    pub fn elsewhere(node: &str, leave: &[&str], nodes: &[RoomyNode], pods: &[AskingPod]) -> Room {
        let is_open = |it: &&RoomyNode| {
            let is_ready = it.status.conditions.iter().any(|it| it.kind == "Ready" && it.status == "True");
            it.metadata.name != node && is_ready && !it.spec.unschedulable
        };
        let open = nodes.iter().filter(is_open);
        let mut rooms: BTreeMap<&str, Amount> =
            open.map(|it| (it.metadata.name.as_str(), Amount::of(&it.status.allocatable))).collect();
        let (mut leaving, mut all) = (Vec::new(), Amount::default());
        for pod in pods.iter().filter(|it| !matches!(it.status.phase.as_str(), "Succeeded" | "Failed")) {
            let asks = pod.asks();
            if leave.contains(&pod.metadata.uid.as_str()) {
                all.add(asks, 1.0);
                leaving.push(asks);
            } else if let Some(room) = rooms.get_mut(pod.spec.node_name.as_str()) {
                room.add(asks, -1.0);
            }
        }
        let mut left = Amount::default();
        rooms.values().for_each(|room| left.add(*room, 1.0));
        leaving.sort_by(|a, b| b.memory_bytes.total_cmp(&a.memory_bytes).then(b.cpus.total_cmp(&a.cpus)));
        let mut without = 0;
        for asks in leaving {
            match rooms.values_mut().find(|room| asks.fits(room)) {
                Some(room) => room.add(asks, -1.0),
                None => without += 1,
            }
        }
        Room { leaving: all, left, nodes: rooms.len(), without }
    }

    /// In a sentence, for people.
    pub fn in_words(&self) -> String {
        let fit = match self.without {
            0 => "they fit".to_owned(),
            count => format!("{count} of them would find no node with room"),
        };
        let nodes = match self.nodes {
            1 => "the other node that is open has".to_owned(),
            count => format!("the {count} other nodes that are open have"),
        };
        format!(
            "Room elsewhere, an estimate by requests, without taints and affinity: the pods that leave ask for {}, and {nodes} {} left: {fit}.",
            self.leaving.in_words(),
            self.left.in_words()
        )
    }
}

/// A quantity of Kubernetes, as `500m`, `1Gi` or `1e3` (`k8s.io/apimachinery/pkg/api/resource/quantity.go`).
fn quantity(text: &str) -> Option<f64> {
    const SUFFIXES: [(&str, f64); 15] = [
        ("Ki", 1024.0),
        ("Mi", 1_048_576.0),
        ("Gi", 1_073_741_824.0),
        ("Ti", 1_099_511_627_776.0),
        ("Pi", 1_125_899_906_842_624.0),
        ("Ei", 1_152_921_504_606_846_976.0),
        ("n", 1e-9),
        ("u", 1e-6),
        ("m", 1e-3),
        ("k", 1e3),
        ("M", 1e6),
        ("G", 1e9),
        ("T", 1e12),
        ("P", 1e15),
        ("E", 1e18),
    ];
    let with = SUFFIXES.iter().find_map(|(suffix, factor)| Some((text.strip_suffix(suffix)?, factor)));
    let (number, factor) = with.unwrap_or((text, &1.0));
    let number: f64 = number.parse().ok()?;
    (number.is_finite() && number >= 0.0).then_some(number * factor)
}

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json};

    use super::*;

    #[test]
    fn quantities_are_those_of_kubernetes() {
        for (text, expected) in [
            ("500m", 0.5),
            ("2", 2.0),
            ("1Gi", 1_073_741_824.0),
            ("1e3", 1000.0),
            ("1.5k", 1500.0),
            ("2E", 2e18),
        ] {
            assert_eq!(quantity(text), Some(expected), "{text}");
        }
        for text in ["", "x", "-1", "inf", "NaN", "1 Gi"] {
            assert_eq!(quantity(text), None, "{text}");
        }
    }

    #[test]
    fn pods_fit_where_requests_leave_room() {
        let node = |name: &str, ready: &str| -> RoomyNode {
            let conditions = json!([{"type": "Ready", "status": ready}]);
            let allocatable = json!({"cpu": "2", "memory": "4Gi", "pods": "10"});
            from_value(json!({
                "metadata": {"name": name}, "status": {"conditions": conditions, "allocatable": allocatable},
            }))
            .unwrap()
        };
        let pod = |uid: &str, node: &str, cpu: &str, phase: &str| -> AskingPod {
            let resources = json!({"requests": {"cpu": cpu, "memory": "1Gi"}});
            from_value(json!({
                "metadata": {"uid": uid}, "spec": {"nodeName": node, "containers": [{"resources": resources}]},
                "status": {"phase": phase},
            }))
            .unwrap()
        };
        let nodes = [node("n1", "True"), node("n2", "True"), node("n3", "False")];
        let pods = [
            pod("a", "n1", "500m", "Running"),
            pod("b", "n1", "1", "Running"),
            pod("c", "n2", "1", "Running"),
            pod("over", "n2", "2", "Succeeded"),
        ];
        let room = Room::elsewhere("n1", &["a", "b"], &nodes, &pods);
        assert_eq!((room.nodes, room.without), (1, 1));
        assert_eq!(
            room.in_words(),
            "Room elsewhere, an estimate by requests, without taints and affinity: the pods that leave ask for 1.5 CPUs and 2.0 GiB, and the other node that is open has 1.0 CPUs \
             and 3.0 GiB left: 1 of them would find no node with room."
        );
        let asks = |cpu: &str| json!({"resources": {"requests": {"cpu": cpu}}});
        let sidecar = json!({"restartPolicy": "Always", "resources": {"requests": {"cpu": "1"}}});
        let spec = json!({"containers": [asks("1")], "initContainers": [sidecar, asks("4")]});
        let with_init: AskingPod = from_value(json!({"spec": spec})).unwrap();
        assert_eq!(with_init.asks(), Amount { cpus: 5.0, memory_bytes: 0.0, pods: 1.0 });
        assert_eq!(Room::elsewhere("n1", &["a"], &nodes, &pods).without, 0);
    }
}
