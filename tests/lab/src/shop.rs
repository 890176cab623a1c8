//! Objects of a made shop, well made until a fault is put in: for the scenario `shop` and `lab bench rehearse`.

use serde_json::{Value, json};

use crate::kubelet::containers;

/// Replicas of a Deployment or StatefulSet on different nodes, which say when they are ready.
pub(crate) fn replicas(kind: &str, name: &str, count: u32) -> Value {
    let labels = json!({"app": name});
    let mut pod = pod_spec();
    pod["topologySpreadConstraints"] = json!([{
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        // A cordoned node does not count as an empty one that must be filled first.
        "nodeTaintsPolicy": "Honor",
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": labels},
    }]);
    json!({
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": name},
        "spec": {
            "replicas": count,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    })
}

pub(crate) fn deployment(name: &str, count: u32) -> Value {
    replicas("Deployment", name, count)
}

/// Its pods have names that are known: `NAME-0` and so on.
pub(crate) fn stateful_set(name: &str, count: u32) -> Value {
    with(replicas("StatefulSet", name, count), json!({"spec": {"podManagementPolicy": "Parallel"}}))
}

/// One pod on each node.
pub(crate) fn daemon_set(name: &str) -> Value {
    let none = json!({"spec": {"replicas": null}});
    with(with(replicas("DaemonSet", name, 1), none), of_template(json!({"topologySpreadConstraints": null})))
}

/// A Job whose pods take their time.
pub(crate) fn job(name: &str, count: u32) -> Value {
    let mut pod = pod_spec();
    pod["restartPolicy"] = json!("Never");
    let template = json!({"metadata": {"labels": {"app": name}}, "spec": pod});
    json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {"parallelism": count, "completions": count, "template": template},
    })
}

/// A pod that nothing looks after.
pub(crate) fn pod(name: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": pod_spec(),
    })
}

/// A PodDisruptionBudget over the pods of this name.
pub(crate) fn budget(name: &str, spec: Value) -> Value {
    let selector = json!({"spec": {"selector": {"matchLabels": {"app": name}}}});
    let budget =
        json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": name}});
    with(with(budget, selector), json!({"spec": spec}))
}

pub(crate) fn service(name: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"selector": {"app": name}, "ports": [{"port": 80, "targetPort": 8080}]},
    })
}

/// May scale the Deployment of this name down to so many.
pub(crate) fn autoscaler(name: &str, least: u32) -> Value {
    json!({
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": name},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "minReplicas": least,
            "maxReplicas": 10,
        },
    })
}

/// An object, changed by a merge patch.
pub(crate) fn with(mut object: Value, patch: Value) -> Value {
    merge(&mut object, patch);
    object
}

/// A patch of what pods are made by.
pub(crate) fn of_template(patch: Value) -> Value {
    json!({"spec": {"template": {"spec": patch}}})
}

/// A patch by which pods run on this node only.
pub(crate) fn only_on(node: &str) -> Value {
    of_template(json!({"nodeSelector": {"kubernetes.io/hostname": node}}))
}

/// A patch by which no two of a workload are on one node.
pub(crate) fn apart(name: &str) -> Value {
    let term =
        json!({"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": name}}});
    let rule = json!({"requiredDuringSchedulingIgnoredDuringExecution": [term]});
    of_template(json!({"affinity": {"podAntiAffinity": rule}}))
}

/// A patch of the annotation by which findings are accepted.
pub(crate) fn accepts(text: &str) -> Value {
    json!({"metadata": {"annotations": {"rebootd.io/accept": text}}})
}

/// The pod ends fast and says when it is ready: a kubelet without containers takes each command to succeed.
fn pod_spec() -> Value {
    json!({
        "automountServiceAccountToken": false,
        "containers": [{
            "name": "main",
            "image": containers::APP,
            "ports": [{"containerPort": 8080}],
            "readinessProbe": {"exec": {"command": ["true"]}, "periodSeconds": 1},
        }],
    })
}

fn merge(object: &mut Value, patch: Value) {
    let Value::Object(changes) = patch else {
        *object = patch;
        return;
    };
    if !object.is_object() {
        *object = json!({});
    }
    for (key, change) in changes {
        match change {
            Value::Null => drop(object.as_object_mut().and_then(|it| it.remove(&key))),
            change => merge(&mut object[&key], change),
        }
    }
}
