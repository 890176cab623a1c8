//! A cluster without hosts for acts to be tried on: two Nodes, their pods, slots of every kind, and the tokens.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::acts::{Ask, Who};
use crate::control_plane::ControlPlane;
use crate::simulated::client::{Answer, Client};

/// The Node whose credential is tried.
pub(crate) const HERE: &str = "here";
/// Another one.
pub(super) const THERE: &str = "there";
pub(super) const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces";
pub(crate) const SLOTS: &str = "/apis/coordination.k8s.io/v1/namespaces/rebootd/leases";

/// The uids of what acts name, and clients with each kind of credential.
pub(super) struct Cluster {
    uids: HashMap<String, String>,
    /// The token of the Node [`HERE`].
    pub(super) token: String,
    bound: Client,
    unbound: Client,
    of_deleted_pod: Client,
    of_deleted_node: Client,
}

/// Where the package has its manifests, in the source tree.
pub(crate) fn manifests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/usr/share/rebootd/manifests")
}

impl Cluster {
    pub(super) async fn build(control_plane: &ControlPlane, admin: &Client) -> Result<Self> {
        control_plane.apply_directory(&manifests()).await?;
        for namespace in ["tenant", "deletable"] {
            admin.post("/api/v1/namespaces", &json!({ "metadata": { "name": namespace } })).await?;
            let account = json!({ "metadata": { "name": "default" } });
            // The controller manager makes one as well.
            let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts");
            let _ = admin.ask("POST", &path, "application/json", account.to_string()).await?;
        }
        let delete_pods = fs::read_to_string(manifests().join("optional/delete-pods.yaml"))?;
        let delete_pods = Some(delete_pods.as_str());
        control_plane.kubectl_with_input(&["apply", "-n", "deletable", "-f", "-"], delete_pods).await?;
        let mut uids = HashMap::new();
        for node in [HERE, THERE, "earlier"] {
            uids.insert(node.to_owned(), create(admin, "/api/v1/nodes", &a_node(node)).await?);
        }
        let pods = [("pod-here", HERE), ("pod-there", THERE), ("pod-pending", ""), ("pod-deleted", HERE)];
        for (name, node) in pods {
            let pod = a_pod(name, node);
            uids.insert(name.to_owned(), create(admin, "/api/v1/namespaces/tenant/pods", &pod).await?);
            create(admin, "/api/v1/namespaces/deletable/pods", &pod).await?;
        }
        for slot in slots() {
            create(admin, SLOTS, &slot).await?;
        }
        let token = token(admin, Some(("Node", HERE, &uids[HERE]))).await?;
        let with = |token: &str| Client::with_token(control_plane, token);
        let mut agent = a_pod("agent", HERE);
        agent["spec"]["serviceAccountName"] = json!("rebootd");
        let uid = create(admin, "/api/v1/namespaces/rebootd/pods", &agent).await?;
        let of_pod = self::token(admin, Some(("Pod", "agent", &uid))).await?;
        let of_node = self::token(admin, Some(("Node", "earlier", &uids["earlier"]))).await?;
        let cluster = Self {
            unbound: with(&self::token(admin, None).await?)?,
            of_deleted_pod: with(&of_pod)?,
            of_deleted_node: with(&of_node)?,
            bound: with(&token)?,
            token,
            uids,
        };
        let at_once = json!({ "gracePeriodSeconds": 0 });
        admin.delete("/api/v1/namespaces/rebootd/pods/agent", &at_once).await?;
        admin.delete("/api/v1/nodes/earlier", &json!({})).await?;
        Ok(cluster)
    }

    /// Of a Node, or a pod in the namespace `tenant`.
    pub(super) fn uid(&self, name: &str) -> &str {
        &self.uids[name]
    }

    pub(super) async fn ask(&self, ask: &Ask) -> Result<Answer> {
        let client = match ask.who {
            Who::Bound => self.bound.clone(),
            Who::Unbound => self.unbound.clone(),
            Who::OfDeletedPod => self.of_deleted_pod.clone(),
            Who::OfDeletedNode => self.of_deleted_node.clone(),
            Who::For(user) => self.bound.with("impersonate-user", user),
            Who::ForGroup(group) => {
                self.bound.with("impersonate-user", "nobody").with("impersonate-group", group)
            }
        };
        let body = if ask.body.is_null() { String::new() } else { ask.body.to_string() };
        client.ask(ask.method, &ask.path, ask.content_type, body).await
    }
}

/// Gives the uid.
pub(crate) async fn create(admin: &Client, path: &str, object: &Value) -> Result<String> {
    let created = admin.post(path, object).await?;
    Ok(created["metadata"]["uid"].as_str().context("an object without uid")?.to_owned())
}

/// A token of the agents' account, bound to an object of this kind, name and uid.
pub(crate) async fn token(admin: &Client, bound: Option<(&str, &str, &str)>) -> Result<String> {
    let object =
        bound.map(|(kind, name, uid)| json!({ "kind": kind, "apiVersion": "v1", "name": name, "uid": uid }));
    let path = "/api/v1/namespaces/rebootd/serviceaccounts/rebootd/token";
    let answer = admin.post(path, &json!({ "spec": { "boundObjectRef": object } })).await?;
    Ok(answer["status"]["token"].as_str().context("no token")?.to_owned())
}

pub(crate) fn a_node(name: &str) -> Value {
    json!({
        "metadata": {
            "name": name,
            "labels": { "zone": "a" },
            "annotations": { "example.com/kept": "yes" },
        },
        "spec": { "taints": [{ "key": "of-others", "effect": "NoSchedule" }] },
    })
}

pub(crate) fn a_pod(name: &str, node: &str) -> Value {
    let node = Some(node).filter(|node| !node.is_empty());
    json!({
        "metadata": { "name": name },
        "spec": {
            "nodeName": node,
            // Pending where no node is named.
            "schedulerName": "none",
            "containers": [{ "name": "c", "image": "i" }],
            "tolerations": [{ "operator": "Exists" }],
        },
    })
}

fn slots() -> Vec<Value> {
    let slot = |name: &str, holder: Option<&str>, annotations: Value| {
        let metadata =
            json!({ "name": name, "labels": { "rebootd.io/pool": "worker" }, "annotations": annotations });
        json!({ "metadata": metadata, "spec": { "holderIdentity": holder } })
    };
    let stamp = json!({ "rebootd.io/rebooting": "x 1 1" });
    vec![
        slot("free", None, json!({})),
        slot("cycle", None, json!({})),
        slot("here", Some(HERE), stamp.clone()),
        slot("there", Some(THERE), json!({})),
        slot("gone", Some("gone"), json!({})),
        slot("gone-stamped", Some("gone"), stamp),
        json!({ "metadata": { "name": "pause" }, "spec": { "holderIdentity": "an incident" } }),
    ]
}
