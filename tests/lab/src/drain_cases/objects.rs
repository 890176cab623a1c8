//! What cases create: pods of all kinds, and what owns them.

use serde_json::{Value, json};

use crate::simulated::kubelet::{BECOMES, ENDS_AFTER, NEVER};

/// A pod to be. It runs on the case's node and is ready, its label `app` is its name, and it has no controller.
#[derive(Clone, Debug)]
pub(super) struct Pod {
    pub(super) name: String,
    pub(super) manifest: Value,
}

impl Pod {
    pub(super) fn named(name: &str) -> Self {
        let manifest = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "labels": {"app": name}, "annotations": {}},
            "spec": {
                "containers": [{"name": "pause", "image": "registry.k8s.io/pause:3.10"}],
                "automountServiceAccountToken": false,
            },
        });
        Self { name: name.to_owned(), manifest }
    }

    fn annotated(mut self, annotation: &str, value: &str) -> Self {
        self.manifest["metadata"]["annotations"][annotation] = json!(value);
        self
    }

    /// In this namespace instead of the case's own.
    pub(super) fn namespace(mut self, namespace: &str) -> Self {
        self.manifest["metadata"]["namespace"] = json!(namespace);
        self
    }

    pub(super) fn app(mut self, app: &str) -> Self {
        self.manifest["metadata"]["labels"]["app"] = json!(app);
        self
    }

    /// An owner that is not there. The garbage collector deletes its pods if the kind is one that the server knows.
    pub(super) fn owner(version: &str, kind: &str) -> Value {
        let uid = "00000000-0000-4000-8000-000000000001";
        json!({"apiVersion": version, "kind": kind, "name": "absent", "uid": uid})
    }

    /// Its controller: an owner reference as [`super::case::Case::owner`] gives it, or any other.
    pub(super) fn controlled_by(mut self, owner: &Value) -> Self {
        let mut owner = owner.clone();
        owner["controller"] = json!(true);
        self.manifest["metadata"]["ownerReferences"] = json!([owner]);
        self
    }

    /// As the kubelet makes one of a static pod.
    pub(super) fn mirror(self) -> Self {
        self.annotated("kubernetes.io/config.mirror", "0123456789abcdef")
    }

    /// Once ended it does not run again.
    pub(super) fn runs_once(mut self) -> Self {
        self.manifest["spec"]["restartPolicy"] = json!("Never");
        self
    }

    pub(super) fn empty_dir(mut self) -> Self {
        self.manifest["spec"]["volumes"] = json!([{"name": "cache", "emptyDir": {}}]);
        self
    }

    /// What becomes of it instead of running and being ready: a phase, or `NotReady`.
    pub(super) fn becomes(self, what: &str) -> Self {
        self.annotated(BECOMES, what)
    }

    /// So many seconds after it was asked to.
    pub(super) fn ends_after(self, seconds: f64) -> Self {
        self.annotated(ENDS_AFTER, &seconds.to_string())
    }

    /// It hangs: only [`super::case::Case::end`] ends it.
    pub(super) fn never_ends(self) -> Self {
        self.annotated(ENDS_AFTER, NEVER)
    }

    pub(super) fn grace(mut self, seconds: u32) -> Self {
        self.manifest["spec"]["terminationGracePeriodSeconds"] = json!(seconds);
        self
    }

    pub(super) fn finalizer(mut self, finalizer: &str) -> Self {
        self.manifest["metadata"]["finalizers"] = json!([finalizer]);
        self
    }

    /// One of the cluster's own classes.
    pub(super) fn priority_class(mut self, class: &str) -> Self {
        self.manifest["spec"]["priorityClassName"] = json!(class);
        self
    }

    /// The cordon is nothing to it.
    pub(super) fn tolerates_everything(mut self) -> Self {
        self.manifest["spec"]["tolerations"] = json!([{"operator": "Exists"}]);
        self
    }
}

/// Manifest of something that makes so many of these pods on this node, and keeps making them.
pub(super) fn controller(kind: &str, count: u32, pod: &Pod, node: &str) -> Value {
    let labels = &pod.manifest["metadata"]["labels"];
    let mut spec = pod.manifest["spec"].clone();
    spec["nodeSelector"] = json!({"kubernetes.io/hostname": node});
    if kind == "Job" {
        spec["restartPolicy"] = json!("Never");
    }
    let metadata = json!({
        "labels": labels,
        "annotations": pod.manifest["metadata"]["annotations"],
        "finalizers": pod.manifest["metadata"]["finalizers"],
    });
    let selector = match kind {
        "ReplicationController" => labels.clone(),
        _ => json!({"matchLabels": labels}),
    };
    let template = json!({"metadata": metadata, "spec": spec});
    let spec = match kind {
        "Job" => json!({"parallelism": count, "completions": count, "template": template}),
        "DaemonSet" => json!({"selector": selector, "template": template}),
        "StatefulSet" => json!({
            "replicas": count, "selector": selector, "template": template, "serviceName": pod.name,
            "podManagementPolicy": "Parallel",
        }),
        _ => json!({"replicas": count, "selector": selector, "template": template}),
    };
    let version = match kind {
        "ReplicationController" => "v1",
        "Job" => "batch/v1",
        _ => "apps/v1",
    };
    json!({"apiVersion": version, "kind": kind, "metadata": {"name": pod.name}, "spec": spec})
}

/// Where objects of this kind are, below their namespace.
pub(super) fn collection(kind: &str, namespace: &str) -> String {
    let group = match kind {
        "Job" => "apis/batch/v1",
        "PodDisruptionBudget" => "apis/policy/v1",
        "Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet" => "apis/apps/v1",
        _ => "api/v1",
    };
    format!("/{group}/namespaces/{namespace}/{}s", kind.to_lowercase())
}
