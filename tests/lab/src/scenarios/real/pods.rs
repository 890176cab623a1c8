//! Pods whose process notes on its host what happens to it.

use anyhow::Result;
use serde_json::{Value, json};

use crate::control_plane::ControlPlane;
use crate::host::Host;
use crate::kubelet::containers;

/// Where hosts keep the notes.
pub(super) const LOG: &str = "/var/log/lab-app";

/// A pod's spec: how long it may take to end, and how its process behaves (see `app.sh`).
pub(super) fn spec(grace: u32, settings: &[(&str, &str)]) -> Value {
    let settings: Vec<Value> =
        settings.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
    json!({
        "terminationGracePeriodSeconds": grace,
        "volumes": [{"name": "log", "hostPath": {"path": LOG, "type": "DirectoryOrCreate"}}],
        "containers": [{
            "name": "main",
            "image": containers::APP,
            "imagePullPolicy": "Never",
            "env": settings,
            "volumeMounts": [{"name": "log", "mountPath": "/log"}],
        }],
    })
}

/// The same, held up by a hook before TERM.
pub(super) fn with_pre_stop(mut spec: Value, seconds: u32) -> Value {
    let command = ["/bin/sh", "/app", "prestop", &seconds.to_string()].map(str::to_owned);
    spec["containers"][0]["lifecycle"] = json!({"preStop": {"exec": {"command": command}}});
    spec
}

/// The same, with a volume whose content goes with the pod.
pub(super) fn with_empty_dir(mut spec: Value) -> Value {
    if let Some(volumes) = spec["volumes"].as_array_mut() {
        volumes.push(json!({"name": "scratch", "emptyDir": {}}));
    }
    spec["containers"][0]["volumeMounts"]
        .as_array_mut()
        .into_iter()
        .for_each(|mounts| mounts.push(json!({"name": "scratch", "mountPath": "/scratch"})));
    spec
}

/// The same, on this host only.
pub(super) fn on(host: &Host, mut spec: Value) -> Value {
    spec["nodeSelector"] = json!({"kubernetes.io/hostname": host.name()});
    spec
}

/// A Deployment or StatefulSet with so many pods, spread over the nodes, or a DaemonSet.
pub(super) fn controlled(kind: &str, name: &str, replicas: u32, mut spec: Value) -> Value {
    let labels = json!({"app": name});
    if kind == "DaemonSet" {
        spec["tolerations"] = json!([{"operator": "Exists"}]);
    } else {
        spec["topologySpreadConstraints"] = json!([{
            "maxSkew": 1,
            "topologyKey": "kubernetes.io/hostname",
            "nodeTaintsPolicy": "Honor",
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": labels},
        }]);
    }
    let mut object = json!({
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": name},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": spec},
        },
    });
    if kind != "DaemonSet" {
        object["spec"]["replicas"] = json!(replicas);
    }
    if kind == "StatefulSet" {
        object["spec"]["serviceName"] = json!(name);
    }
    object
}

/// A budget for the pods of this name.
pub(super) fn budget(name: &str, max_unavailable: u32) -> Value {
    json!({
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": name},
        "spec": {"maxUnavailable": max_unavailable, "selector": {"matchLabels": {"app": name}}},
    })
}

/// A Job with one pod, which starts again elsewhere when it is evicted.
pub(super) fn job(name: &str, mut spec: Value) -> Value {
    spec["restartPolicy"] = json!("Never");
    json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {
            "backoffLimit": 10,
            "template": {"metadata": {"labels": {"app": name}}, "spec": spec},
        },
    })
}

/// A pod that no controller would replace.
pub(super) fn bare(name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": spec,
    })
}

/// Gives a host a static pod; the API server sees it under the name `static-` and the host's.
pub(super) async fn make_static(host: &Host, spec: Value) -> Result<()> {
    host.write_file("/etc/kubernetes/manifests/static.json", bare("static", spec).to_string()).await
}

/// Creates them all.
pub(super) async fn create(control_plane: &ControlPlane, items: &[Value]) -> Result<()> {
    control_plane.apply(&json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string()).await
}
