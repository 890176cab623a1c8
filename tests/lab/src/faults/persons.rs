//! What people do to the cluster, as with kubectl, at bad moments.

use anyhow::Result;
use serde_json::{Value, json};

use crate::simulated::client::{APPLY, Client, MERGE, STRATEGIC};

const SLOTS: &str = "/apis/coordination.k8s.io/v1/namespaces/rebootd/leases";
const BOOT_ID: &str = "/metadata/annotations/rebootd.io~1boot-id";
const GARBLED: &str = "somebody wrote this";
const OF_A_CLAIM: [&str; 8] =
    ["machine-id", "node-uid", "boot-id", "claimed-at", "allocatable", "heartbeat", "reason", "rebooting"];

/// A slot that a node holds, or whichever comes first.
pub(super) async fn slot_of(client: &Client, node: &str) -> Result<Option<Value>> {
    let slots = client.get(SLOTS).await?;
    let held = |slot: &&Value| slot.pointer("/spec/holderIdentity").and_then(Value::as_str) == Some(node);
    Ok(slots["items"].as_array().and_then(|slots| slots.iter().find(held).cloned()))
}

/// `kubectl apply` of the slots' manifests: they have no spec.
pub(super) async fn apply_slots(client: &Client, slots: &[(&str, &str)]) -> Result<()> {
    for (name, pool) in slots {
        let slot = json!({
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": name, "namespace": "rebootd", "labels": {"rebootd.io/pool": pool}},
        });
        let path = format!("{SLOTS}/{name}?fieldManager=kubectl&force=true");
        client.patch(&path, APPLY, &slot).await?;
    }
    Ok(())
}

/// `kubectl delete node`: its kubelet makes a new one.
pub(super) async fn delete_node(client: &Client, name: &str) -> Result<()> {
    client.delete(&format!("/api/v1/nodes/{name}"), &json!({})).await?;
    Ok(())
}

/// `kubectl cordon` and `uncordon`: they read first, and write nothing where nothing is to do.
pub(super) async fn set_unschedulable(client: &Client, name: &str, unschedulable: bool) -> Result<bool> {
    let path = format!("/api/v1/nodes/{name}");
    let node = client.get(&path).await?;
    if node.pointer("/spec/unschedulable").and_then(Value::as_bool).unwrap_or_default() == unschedulable {
        return Ok(false);
    }
    let value = if unschedulable { json!(true) } else { Value::Null };
    let patch = json!({"spec": {"unschedulable": value}});
    client.patch(&format!("{path}?fieldManager=kubectl-cordon"), STRATEGIC, &patch).await?;
    Ok(true)
}

/// Writes something harmless into the slot that a node holds: whoever rests on its resourceVersion has to look.
pub(super) async fn rewrite_slot(client: &Client, node: &str) -> Result<bool> {
    annotate_slot(client, node, "reason").await
}

/// Writes into the slot that a node holds so that it proves nothing any more: a person has to decide then.
pub(super) async fn garble_slot(client: &Client, node: &str) -> Result<bool> {
    annotate_slot(client, node, "boot-id").await
}

async fn annotate_slot(client: &Client, node: &str, annotation: &str) -> Result<bool> {
    let Some(slot) = slot_of(client, node).await? else { return Ok(false) };
    let (annotation, version) = (format!("rebootd.io/{annotation}"), &slot["metadata"]["resourceVersion"]);
    let metadata = json!({"resourceVersion": version, "annotations": {annotation: GARBLED}});
    client.patch(&path_of(&slot), MERGE, &json!({"metadata": metadata})).await?;
    Ok(true)
}

/// Gives back the garbled slot of a node, as `docs/procedures.md` says. Only for a node that is surely well.
pub(super) async fn repair_slot(client: &Client, node: &str) -> Result<()> {
    let Some(slot) = slot_of(client, node).await? else { return Ok(()) };
    if slot.pointer(BOOT_ID).and_then(Value::as_str) != Some(GARBLED) {
        return Ok(());
    }
    set_unschedulable(client, node, false).await?;
    let unmarked = json!({"metadata": {"annotations": {"rebootd.io/cordon": null}}});
    client.patch(&format!("/api/v1/nodes/{node}"), MERGE, &unmarked).await?;
    let annotations: serde_json::Map<String, Value> =
        OF_A_CLAIM.iter().map(|name| (format!("rebootd.io/{name}"), Value::Null)).collect();
    let version = &slot["metadata"]["resourceVersion"];
    let freed = json!({
        "metadata": {"resourceVersion": version, "annotations": annotations},
        "spec": {"holderIdentity": null},
    });
    client.patch(&path_of(&slot), MERGE, &freed).await?;
    Ok(())
}

fn path_of(slot: &Value) -> String {
    format!("{SLOTS}/{}", slot["metadata"]["name"].as_str().unwrap_or_default())
}
