//! A small shop in its namespace, as the API server would show it: each case breaks one thing of it.

use std::collections::BTreeMap;

use rebootd::rehearse::{Answer, LastTime, Namespace};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Objects by the plural of their kind.
pub struct Shop {
    pub objects: BTreeMap<&'static str, Vec<Value>>,
    /// What must not be read, and why.
    pub unread: BTreeMap<&'static str, &'static str>,
    pub answers: BTreeMap<String, Answer>,
    pub last_times: Vec<LastTime>,
    pub deadline: Option<std::time::Duration>,
    pub graceful: Option<bool>,
}

impl Shop {
    /// Three Ready nodes and nothing on them.
    pub fn empty() -> Shop {
        let mut shop = Shop {
            objects: BTreeMap::new(),
            unread: BTreeMap::new(),
            answers: BTreeMap::new(),
            last_times: Vec::new(),
            deadline: None,
            graceful: Some(false),
        };
        for name in ["n1", "n2", "n3"] {
            shop.add(
                "nodes",
                json!({
                    "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
                    "spec": {},
                    "status": {"conditions": [{"type": "Ready", "status": "True"}]},
                }),
            );
        }
        shop
    }

    pub fn add(&mut self, kind: &'static str, object: Value) {
        self.objects.entry(kind).or_default().push(object);
    }

    /// The object of a kind and name.
    pub fn get(&mut self, kind: &'static str, name: &str) -> &mut Value {
        let objects = self.objects.get_mut(kind).unwrap();
        objects.iter_mut().find(|it| it["metadata"]["name"] == name).unwrap()
    }

    /// A Deployment of well-made pods, one on each of these nodes.
    pub fn deployment(&mut self, name: &str, nodes: &[&str]) {
        let spec = pod_spec();
        self.add("deployments", controller(name, nodes.len(), &spec, Value::Null));
        let set = format!("{name}-5d9c");
        let owner =
            json!([{"apiVersion": "apps/v1", "kind": "Deployment", "name": name, "controller": true}]);
        self.add("replicasets", controller(&set, nodes.len(), &spec, owner));
        self.pods(name, ("apps/v1", "ReplicaSet", &set), nodes);
    }

    /// A StatefulSet of well-made pods, one on each of these nodes.
    pub fn stateful_set(&mut self, name: &str, nodes: &[&str]) {
        self.add("statefulsets", controller(name, nodes.len(), &pod_spec(), Value::Null));
        self.pods(name, ("apps/v1", "StatefulSet", name), nodes);
    }

    /// Ready pods `APP-0`, `APP-1`, … of this owner.
    pub fn pods(&mut self, app: &str, (api, kind, owner): (&str, &str, &str), nodes: &[&str]) {
        for (number, node) in nodes.iter().enumerate() {
            let mut spec = pod_spec();
            spec["nodeName"] = json!(node);
            let name = format!("{app}-{number}");
            self.add(
                "pods",
                json!({
                    "metadata": {
                        "name": name, "uid": name, "labels": {"app": app},
                        "ownerReferences": [{"apiVersion": api, "kind": kind, "name": owner, "controller": true}],
                    },
                    "spec": spec,
                    "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
                }),
            );
        }
    }

    /// A budget over the pods of this app, with its status as the disruption controller would write it.
    pub fn budget(&mut self, app: &str, spec: Value, (healthy, desired, expected): (i64, i64, i64)) {
        let mut spec = spec;
        spec["selector"] = json!({"matchLabels": {"app": app}});
        self.add(
            "poddisruptionbudgets",
            json!({
                "metadata": {"name": app, "generation": 1},
                "spec": spec,
                "status": {
                    "observedGeneration": 1, "currentHealthy": healthy, "desiredHealthy": desired,
                    "expectedPods": expected, "disruptionsAllowed": (healthy - desired).max(0),
                },
            }),
        );
    }

    pub fn service(&mut self, app: &str) {
        self.add("services", json!({"metadata": {"name": app}, "spec": {"selector": {"app": app}}}));
    }

    pub fn autoscaler(&mut self, app: &str, least: i64) {
        self.add(
            "horizontalpodautoscalers",
            json!({
                "metadata": {"name": app},
                "spec": {"scaleTargetRef": {"kind": "Deployment", "name": app}, "minReplicas": least, "maxReplicas": 10},
            }),
        );
    }

    /// Changes the template of a Deployment or StatefulSet, and all its pods.
    pub fn each_spec(&mut self, app: &str, change: impl Fn(&mut Value)) {
        for kind in ["deployments", "statefulsets"] {
            for object in self.objects.get_mut(kind).into_iter().flatten() {
                if object["metadata"]["name"] == app {
                    change(&mut object["spec"]["template"]["spec"]);
                }
            }
        }
        for pod in self.objects.get_mut("pods").into_iter().flatten() {
            if pod["metadata"]["labels"]["app"] == app {
                change(&mut pod["spec"]);
            }
        }
    }

    pub fn namespace(&self) -> Namespace {
        Namespace {
            name: "shop".into(),
            today: jiff::civil::date(2026, 11, 28),
            pods: self.read("pods").unwrap(),
            deployments: self.read("deployments"),
            replica_sets: self.read("replicasets"),
            stateful_sets: self.read("statefulsets"),
            jobs: self.read("jobs"),
            budgets: self.read("poddisruptionbudgets"),
            services: self.read("services"),
            autoscalers: self.read("horizontalpodautoscalers"),
            claims: self.read("persistentvolumeclaims"),
            nodes: self.read("nodes"),
            last_times: self.last_times.clone(),
            deadline: self.deadline,
            graceful: self.graceful,
            answers: self.answers.clone(),
        }
    }

    fn read<T: DeserializeOwned>(&self, kind: &str) -> Result<Vec<T>, String> {
        if let Some(why) = self.unread.get(kind) {
            return Err((*why).to_owned());
        }
        let objects = self.objects.get(kind).cloned().unwrap_or_default();
        Ok(objects.into_iter().map(|it| serde_json::from_value(it).unwrap()).collect())
    }
}

fn pod_spec() -> Value {
    json!({"containers": [{"name": "main", "readinessProbe": {"httpGet": {}}}], "terminationGracePeriodSeconds": 30})
}

fn controller(name: &str, replicas: usize, spec: &Value, owners: Value) -> Value {
    let app = name.trim_end_matches("-5d9c");
    json!({
        "metadata": {"name": name, "generation": 2, "ownerReferences": owners},
        "spec": {"replicas": replicas, "template": {"metadata": {"labels": {"app": app}}, "spec": spec}},
        "status": {"observedGeneration": 2, "replicas": replicas, "updatedReplicas": replicas},
    })
}
