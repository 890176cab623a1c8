//! What a node's credential must not do, act by act, and who refuses it: the table of docs/rights.md.

use serde_json::{Value, json};

use super::cluster::{Cluster, HERE, LEASES, SLOTS, THERE};
use crate::simulated::client::{APPLY, JSON, MERGE, STRATEGIC};

/// Who refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// No role grants it.
    Role,
    /// One of these policies. Where several refuse, the API server names any of them.
    Policy(&'static [&'static str]),
    /// The API server does not accept the credential.
    Login,
}

/// Whose credential is used.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Who {
    /// A token that is bound to the Node `here`.
    #[default]
    Bound,
    /// A token of the same account that is bound to nothing.
    Unbound,
    /// A token that was bound to a pod which is gone.
    OfDeletedPod,
    /// A token that was bound to a Node which is gone.
    OfDeletedNode,
    /// The bound token, with a header to act for this user.
    For(&'static str),
    /// The same, for a member of this group.
    ForGroup(&'static str),
}

/// A request.
pub(super) struct Ask {
    pub(super) who: Who,
    pub(super) method: &'static str,
    pub(super) path: String,
    pub(super) content_type: &'static str,
    pub(super) body: Value,
}

impl Ask {
    fn with(self, who: Who) -> Ask {
        Ask { who, ..self }
    }
}

/// Something that has to be refused. All are dry runs where there is such a thing.
pub(super) struct Act {
    pub(super) what: &'static str,
    pub(super) by: By,
    pub(super) ask: fn(&Cluster) -> Ask,
}

const fn act(what: &'static str, by: By, ask: fn(&Cluster) -> Ask) -> Act {
    Act { what, by, ask }
}

fn request(method: &'static str, path: String, content_type: &'static str, body: Value) -> Ask {
    let path = match method {
        "GET" => path,
        _ => format!("{path}{}dryRun=All", if path.contains('?') { '&' } else { '?' }),
    };
    Ask { who: Who::Bound, method, path, content_type, body }
}

fn merge(path: String, patch: Value) -> Ask {
    request("PATCH", path, MERGE, patch)
}

fn post(path: &str, body: Value) -> Ask {
    request("POST", path.to_owned(), JSON, body)
}

fn get(path: &str) -> Ask {
    request("GET", path.to_owned(), JSON, Value::Null)
}

fn delete(path: String) -> Ask {
    request("DELETE", path, JSON, json!({}))
}

fn apply(path: String, object: Value) -> Ask {
    request("PATCH", format!("{path}?fieldManager=thief&force=true"), APPLY, object)
}

fn node(name: &str) -> String {
    format!("/api/v1/nodes/{name}")
}

fn slot(name: &str) -> String {
    format!("{SLOTS}/{name}")
}

fn pod(name: &str) -> String {
    format!("/api/v1/namespaces/tenant/pods/{name}")
}

fn metadata(of: Value) -> Value {
    json!({ "metadata": of })
}

/// Of an object with an owner that does not exist, the garbage collector makes an end.
fn owner() -> Value {
    metadata(
        json!({ "ownerReferences": [{ "apiVersion": "v1", "kind": "Pod", "name": "none", "uid": "none" }] }),
    )
}

fn finalizer() -> Value {
    metadata(json!({ "finalizers": ["example.com/never"] }))
}

fn labels(labels: Value) -> Value {
    metadata(json!({ "labels": labels }))
}

fn annotations(annotations: Value) -> Value {
    metadata(json!({ "annotations": annotations }))
}

fn holder(name: Value) -> Value {
    json!({ "spec": { "holderIdentity": name } })
}

/// As the daemon takes a slot back.
fn reclaim() -> Value {
    json!({ "metadata": { "labels": { "rebootd.io/reclaimed": "true" } }, "spec": { "holderIdentity": null } })
}

fn cordon() -> Value {
    json!({ "spec": { "unschedulable": true } })
}

fn no_execute(key: &str) -> Value {
    json!({ "spec": { "taints": [{ "key": key, "effect": "NoExecute" }] } })
}

fn condition() -> Value {
    json!({ "status": { "conditions": [{ "type": "Ready", "status": "False" }] } })
}

fn reboot_required() -> Value {
    json!({ "status": { "conditions": [{ "type": "RebootRequired", "status": "True" }] } })
}

/// An Event as an agent reports it about its Node.
fn event(reporter: &str, instance: &str, kind: &str, name: &str) -> Ask {
    let namespace = if kind == "Pod" { "tenant" } else { "default" };
    let event = json!({
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": { "name": "told", "namespace": namespace },
        "eventTime": "2026-01-01T00:00:00.000000Z",
        "reportingController": reporter,
        "reportingInstance": instance,
        "action": "Reboot",
        "reason": "Rebooting",
        "type": "Normal",
        "regarding": { "kind": kind, "name": name, "namespace": namespace },
    });
    post(&format!("/apis/events.k8s.io/v1/namespaces/{namespace}/events"), event)
}

fn addresses() -> Value {
    json!({ "status": { "addresses": [{ "type": "InternalIP", "address": "10.6.6.6" }] } })
}

fn replace(path: &str, value: Value) -> Value {
    json!([{ "op": "add", "path": path, "value": value }])
}

fn evict(name: &str, uid: &str) -> Ask {
    post(&format!("{}/eviction", pod(name)), eviction(name, json!({ "preconditions": { "uid": uid } })))
}

fn eviction(name: &str, options: Value) -> Value {
    json!({
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": { "namespace": "tenant", "name": name, "labels": { "rebootd.io/by": "agent" } },
        "deleteOptions": options,
    })
}

fn evict_with(cluster: &Cluster, options: Value) -> Ask {
    let mut all = json!({ "preconditions": { "uid": cluster.uid("pod-here") } });
    if let (Some(all), Some(options)) = (all.as_object_mut(), options.as_object()) {
        all.extend(options.clone());
    }
    post(&format!("{}/eviction", pod("pod-here")), eviction("pod-here", all))
}

fn token(namespace: &str, account: &str, spec: Value) -> Ask {
    let body = json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec });
    post(&format!("/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token"), body)
}

fn bound_to(cluster: &Cluster, node: &str, uid_of: &str) -> Value {
    json!({ "boundObjectRef": { "kind": "Node", "apiVersion": "v1", "name": node, "uid": cluster.uid(uid_of) } })
}

fn container() -> Value {
    json!({ "name": "c", "image": "i", "securityContext": { "privileged": true } })
}

const NODES: By = By::Policy(&["rebootd-nodes"]);
const OF_SLOTS: By = By::Policy(&["rebootd-slots"]);
const HOLDERS: By = By::Policy(&["rebootd-holders"]);
const SLOTS_AND_HOLDERS: By = By::Policy(&["rebootd-slots", "rebootd-holders"]);
const EVICTIONS: By = By::Policy(&["rebootd-evictions"]);
const EVICTIONS_HERE: By = By::Policy(&["rebootd-evictions-here"]);
const ALL_EVICTIONS: By = By::Policy(&["rebootd-evictions", "rebootd-evictions-here"]);
const DELETIONS: By = By::Policy(&["rebootd-deletions"]);
const EVENTS: By = By::Policy(&["rebootd-events"]);
const TOKENS: By = By::Policy(&["rebootd-tokens"]);

/// Sections of the document, each with its acts.
pub(super) const ACTS: &[(&str, &[Act])] = &[
    ("Other Nodes", OTHER_NODES),
    ("Its own Node", OWN_NODE),
    ("Slots", SLOT),
    ("The pause and the fleet's policy", PAUSE),
    ("Pods", PODS),
    ("Tokens and identities", IDENTITIES),
    ("The rest of the cluster", REST),
];

const OTHER_NODES: &[Act] = &[
    act("cordon one", NODES, |_| merge(node(THERE), cordon())),
    act("cordon one by a JSON patch", NODES, |_| {
        request(
            "PATCH",
            node(THERE),
            "application/json-patch+json",
            replace("/spec/unschedulable", json!(true)),
        )
    }),
    act("cordon one by a server-side apply", NODES, |_| {
        let object = json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": THERE }, "spec": { "unschedulable": true } });
        apply(node(THERE), object)
    }),
    act("uncordon one", NODES, |_| merge(node(THERE), json!({ "spec": { "unschedulable": null } }))),
    act("taint one with NoExecute, which ends its pods past all budgets", NODES, |_| {
        merge(node(THERE), no_execute("thief"))
    }),
    act("taint one by a strategic merge patch", NODES, |_| {
        request("PATCH", node(THERE), STRATEGIC, no_execute("thief"))
    }),
    act("move one into another pool", NODES, |_| {
        merge(node(THERE), labels(json!({ "rebootd.io/pool": "x" })))
    }),
    act("ask for a reboot of one", NODES, |_| {
        merge(node(THERE), annotations(json!({ "rebootd.io/request": "x" })))
    }),
    act("hold one", NODES, |_| merge(node(THERE), annotations(json!({ "rebootd.io/hold": "x" })))),
    act("label one as a member of the control plane", NODES, |_| {
        merge(node(THERE), labels(json!({ "node-role.kubernetes.io/control-plane": "" })))
    }),
    act("give one a label of node-restriction.kubernetes.io", NODES, |_| {
        merge(node(THERE), labels(json!({ "node-restriction.kubernetes.io/secret": "yes" })))
    }),
    act("give one an owner that does not exist, so that it is deleted", NODES, |_| {
        merge(node(THERE), owner())
    }),
    act("give one a finalizer", NODES, |_| merge(node(THERE), finalizer())),
    act("write the conditions of one", NODES, |_| merge(node(THERE) + "/status", condition())),
    act("write the addresses of one", NODES, |_| merge(node(THERE) + "/status", addresses())),
    act("write the condition RebootRequired of one", NODES, |_| {
        request("PATCH", node(THERE) + "/status", STRATEGIC, reboot_required())
    }),
    act("label one through its status", NODES, |_| {
        merge(node(THERE) + "/status", labels(json!({ "x": "y" })))
    }),
    act("replace one", By::Role, |_| {
        request(
            "PUT",
            node(THERE),
            JSON,
            json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": THERE } }),
        )
    }),
    act("delete one", By::Role, |_| delete(node(THERE))),
    act("delete all", By::Role, |_| delete("/api/v1/nodes".to_owned())),
    act("create one", By::Role, |_| post("/api/v1/nodes", metadata(json!({ "name": "new" })))),
    act("create one by a server-side apply", By::Role, |_| {
        apply(node("new"), json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": "new" } }))
    }),
    act("ask the kubelet of one through the API server", By::Role, |_| get(&(node(THERE) + "/proxy/pods"))),
];

const OWN_NODE: &[Act] = &[
    act("taint it with NoExecute", NODES, |_| merge(node(HERE), no_execute("thief"))),
    act("taint it with rebootd.io/waiting, but NoExecute", NODES, |_| {
        let taints = json!([
            { "key": "of-others", "effect": "NoSchedule" },
            { "key": "rebootd.io/waiting", "effect": "NoExecute" },
        ]);
        merge(node(HERE), json!({ "spec": { "taints": taints } }))
    }),
    act("remove a taint of others, to draw pods", NODES, |_| {
        merge(node(HERE), json!({ "spec": { "taints": [] } }))
    }),
    act("remove a taint of others by a JSON patch", NODES, |_| {
        request("PATCH", node(HERE), "application/json-patch+json", replace("/spec/taints", json!([])))
    }),
    act("remove a taint of others by a strategic merge patch", NODES, |_| {
        request("PATCH", node(HERE), STRATEGIC, json!({ "spec": { "taints": null } }))
    }),
    act("label it as a member of the control plane", NODES, |_| {
        merge(node(HERE), labels(json!({ "node-role.kubernetes.io/control-plane": "" })))
    }),
    act("label it to draw pods", NODES, |_| merge(node(HERE), labels(json!({ "disk": "fast" })))),
    act("label it by a server-side apply", NODES, |_| {
        let object = json!({ "name": HERE, "labels": { "disk": "fast" } });
        apply(node(HERE), json!({ "apiVersion": "v1", "kind": "Node", "metadata": object }))
    }),
    act("give it a label whose name only resembles ours", NODES, |_| {
        merge(node(HERE), labels(json!({ "x.rebootd.io/pool": "x" })))
    }),
    act("change a label of others", NODES, |_| merge(node(HERE), labels(json!({ "zone": "b" })))),
    act("remove a label of others", NODES, |_| merge(node(HERE), labels(json!({ "zone": null })))),
    act("set an annotation of others", NODES, |_| {
        merge(node(HERE), annotations(json!({ "example.com/x": "y" })))
    }),
    act("remove an annotation of others", NODES, |_| {
        merge(node(HERE), annotations(json!({ "example.com/kept": null })))
    }),
    act("give it an owner that does not exist", NODES, |_| merge(node(HERE), owner())),
    act("give it a finalizer", NODES, |_| merge(node(HERE), finalizer())),
    act("set its podCIDR", NODES, |_| {
        merge(node(HERE), json!({ "spec": { "podCIDR": "10.9.0.0/24", "podCIDRs": ["10.9.0.0/24"] } }))
    }),
    act("set its providerID", NODES, |_| {
        merge(node(HERE), json!({ "spec": { "providerID": "cloud://thief" } }))
    }),
    act("write its Ready condition", NODES, |_| merge(node(HERE) + "/status", condition())),
    act("write its addresses, to draw what people type into kubectl exec", NODES, |_| {
        merge(node(HERE) + "/status", addresses())
    }),
    act("write its capacity", NODES, |_| {
        merge(node(HERE) + "/status", json!({ "status": { "capacity": { "cpu": "999" } } }))
    }),
    act("write its condition RebootRequired with a token that is bound to nothing", NODES, |_| {
        merge(node(HERE) + "/status", reboot_required()).with(Who::Unbound)
    }),
    act("delete it", By::Role, |_| delete(node(HERE))),
    act("cordon it with a token that is bound to nothing", NODES, |_| {
        merge(node(HERE), cordon()).with(Who::Unbound)
    }),
];

const SLOT: &[Act] = &[
    act("claim one for another node", OF_SLOTS, |_| merge(slot("free"), holder(json!(THERE)))),
    act("claim one for a node that does not exist", OF_SLOTS, |_| {
        merge(slot("free"), holder(json!("nobody")))
    }),
    act("claim one for another node by a server-side apply", OF_SLOTS, |_| {
        let object = json!({ "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": { "name": "free", "namespace": "rebootd" }, "spec": { "holderIdentity": THERE } });
        apply(slot("free"), object)
    }),
    act("claim one with a token that is bound to nothing", OF_SLOTS, |_| {
        merge(slot("free"), holder(json!(HERE))).with(Who::Unbound)
    }),
    act("take one that another node holds", OF_SLOTS, |_| merge(slot("there"), holder(json!(HERE)))),
    act("take it by a JSON patch", OF_SLOTS, |_| {
        request(
            "PATCH",
            slot("there"),
            "application/json-patch+json",
            replace("/spec/holderIdentity", json!(HERE)),
        )
    }),
    act("free one that another node holds", HOLDERS, |_| merge(slot("there"), reclaim())),
    act("free it without the mark of a reclaim", OF_SLOTS, |_| merge(slot("there"), holder(Value::Null))),
    act("free it with a token that is bound to nothing", SLOTS_AND_HOLDERS, |_| {
        merge(slot("there"), reclaim()).with(Who::Unbound)
    }),
    act("free a stamped one whose holder's Node is gone", OF_SLOTS, |_| {
        merge(slot("gone-stamped"), reclaim())
    }),
    act("remove its stamp first", OF_SLOTS, |_| {
        merge(slot("gone-stamped"), annotations(json!({ "rebootd.io/rebooting": null })))
    }),
    act("free a stamped one with a token that is bound to nothing", OF_SLOTS, |_| {
        merge(slot("gone-stamped"), reclaim()).with(Who::Unbound)
    }),
    act("stamp one that another node holds", OF_SLOTS, |_| {
        merge(slot("there"), annotations(json!({ "rebootd.io/rebooting": "x 1 1" })))
    }),
    act("stamp a free one", OF_SLOTS, |_| {
        merge(slot("free"), annotations(json!({ "rebootd.io/rebooting": "x 1 1" })))
    }),
    act("annotate one that another node holds", OF_SLOTS, |_| {
        merge(slot("there"), annotations(json!({ "rebootd.io/step-back": "x" })))
    }),
    act("hand its own to another node", OF_SLOTS, |_| merge(slot("here"), holder(json!(THERE)))),
    act("free its own and leave the stamp", OF_SLOTS, |_| merge(slot("here"), holder(Value::Null))),
    act("move a free one into another pool", OF_SLOTS, |_| {
        merge(slot("free"), labels(json!({ "rebootd.io/pool": "x" })))
    }),
    act("move its own into another pool", OF_SLOTS, |_| {
        merge(slot("here"), labels(json!({ "rebootd.io/pool": "x" })))
    }),
    act("take one out of its pool", OF_SLOTS, |_| {
        merge(slot("free"), labels(json!({ "rebootd.io/pool": null })))
    }),
    act("give one another label", OF_SLOTS, |_| merge(slot("here"), labels(json!({ "x": "y" })))),
    act("give one an owner that does not exist, so that it is deleted", OF_SLOTS, |_| {
        merge(slot("free"), owner())
    }),
    act("give its own an owner that does not exist", OF_SLOTS, |_| merge(slot("here"), owner())),
    act("give one a finalizer", OF_SLOTS, |_| merge(slot("free"), finalizer())),
    act("replace one", By::Role, |_| {
        let object = json!({ "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": { "name": "free" } });
        request("PUT", slot("free"), JSON, object)
    }),
    act("create one", By::Role, |_| {
        post(SLOTS, metadata(json!({ "name": "more", "labels": { "rebootd.io/pool": "worker" } })))
    }),
    act("create one by a server-side apply", By::Role, |_| {
        let object =
            json!({ "name": "more", "namespace": "rebootd", "labels": { "rebootd.io/pool": "worker" } });
        apply(
            slot("more"),
            json!({ "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": object }),
        )
    }),
    act("delete one", By::Role, |_| delete(slot("free"))),
    act("delete all", By::Role, |_| delete(SLOTS.to_owned())),
    act("write the Lease of a kubelet", By::Role, |_| {
        merge(format!("{LEASES}/kube-node-lease/leases/{THERE}"), holder(json!("x")))
    }),
    act("take the Lease of the controller manager", By::Role, |_| {
        merge(format!("{LEASES}/kube-system/leases/kube-controller-manager"), holder(json!("x")))
    }),
];

const PAUSE: &[Act] = &[
    act("empty the pause's reason", OF_SLOTS, |_| merge(slot("pause"), holder(Value::Null))),
    act("write another reason", OF_SLOTS, |_| merge(slot("pause"), holder(json!(HERE)))),
    act("end the pause by an owner that does not exist", OF_SLOTS, |_| merge(slot("pause"), owner())),
    act("make the pause unendable by a finalizer", OF_SLOTS, |_| merge(slot("pause"), finalizer())),
    act("make a slot of the pause", OF_SLOTS, |_| {
        merge(slot("pause"), labels(json!({ "rebootd.io/pool": "worker" })))
    }),
    act("write a pause that bears a pool's label", OF_SLOTS, |_| {
        merge(slot("pause"), annotations(json!({ "x": "y" })))
    }),
    act("delete the pause", By::Role, |_| delete(slot("pause"))),
    act("pause the fleet", By::Role, |_| post(SLOTS, metadata(json!({ "name": "pause-2" })))),
    act("write the fleet's policy", By::Role, |_| {
        merge(
            "/api/v1/namespaces/rebootd/configmaps/policy".to_owned(),
            json!({ "data": { "policy.toml": "" } }),
        )
    }),
    act("create a policy of the fleet", By::Role, |_| {
        post("/api/v1/namespaces/rebootd/configmaps", metadata(json!({ "name": "policy" })))
    }),
];

const PODS: &[Act] = &[
    act("evict one of another node", EVICTIONS_HERE, |cluster| evict("pod-there", cluster.uid("pod-there"))),
    act("evict one of another node by the older policy/v1beta1", EVICTIONS_HERE, |cluster| {
        let mut ask = evict("pod-there", cluster.uid("pod-there"));
        ask.body["apiVersion"] = json!("policy/v1beta1");
        ask
    }),
    act("evict one of another node, without the mark", EVICTIONS, |cluster| {
        let mut ask = evict("pod-there", cluster.uid("pod-there"));
        ask.body["metadata"]["labels"] = json!({});
        ask
    }),
    act("evict one that no node has yet", EVICTIONS_HERE, |cluster| {
        evict("pod-pending", cluster.uid("pod-pending"))
    }),
    act("evict one of its own by the uid of another", EVICTIONS_HERE, |cluster| {
        evict("pod-here", cluster.uid("pod-there"))
    }),
    act("evict one of its own without a uid", ALL_EVICTIONS, |_| {
        post(&(pod("pod-here") + "/eviction"), eviction("pod-here", json!({})))
    }),
    act("evict one of its own without a grace period", EVICTIONS, |cluster| {
        evict_with(cluster, json!({ "gracePeriodSeconds": 0 }))
    }),
    act("evict one of its own with a negative grace period", EVICTIONS, |cluster| {
        evict_with(cluster, json!({ "gracePeriodSeconds": -1 }))
    }),
    act("evict one with a token that is bound to nothing", ALL_EVICTIONS, |cluster| {
        evict("pod-here", cluster.uid("pod-here")).with(Who::Unbound)
    }),
    act("delete one of its own", By::Role, |_| delete(pod("pod-here"))),
    act("delete one of another node where delete-pods.yaml is applied", DELETIONS, |_| {
        delete("/api/v1/namespaces/deletable/pods/pod-there".to_owned())
    }),
    act("delete one of its own there without a grace period", DELETIONS, |_| {
        let path = "/api/v1/namespaces/deletable/pods/pod-here";
        request("DELETE", path.to_owned(), JSON, json!({ "gracePeriodSeconds": 0 }))
    }),
    act("delete one there with a token that is bound to nothing", DELETIONS, |_| {
        delete("/api/v1/namespaces/deletable/pods/pod-here".to_owned()).with(Who::Unbound)
    }),
    act("delete all there", By::Role, |_| delete("/api/v1/namespaces/deletable/pods".to_owned())),
    act("create one on its own node", By::Role, |_| {
        post(
            "/api/v1/namespaces/tenant/pods",
            json!({ "metadata": { "name": "new" }, "spec": { "nodeName": HERE, "containers": [container()] } }),
        )
    }),
    act("create one in the namespace rebootd", By::Role, |_| {
        post(
            "/api/v1/namespaces/rebootd/pods",
            json!({ "metadata": { "name": "new" }, "spec": { "serviceAccountName": "rebootd", "containers": [container()] } }),
        )
    }),
    act("create a mirror pod of its node", By::Role, |_| {
        let mirror = json!({ "name": "new", "annotations": { "kubernetes.io/config.mirror": "x" } });
        post(
            "/api/v1/namespaces/kube-system/pods",
            json!({ "metadata": mirror, "spec": { "nodeName": HERE, "containers": [container()] } }),
        )
    }),
    act("bind one to its own node", By::Role, |_| {
        let target = json!({ "apiVersion": "v1", "kind": "Node", "name": HERE });
        post(
            &(pod("pod-pending") + "/binding"),
            json!({ "metadata": { "name": "pod-pending" }, "target": target }),
        )
    }),
    act("add an ephemeral container to one", By::Role, |_| {
        let patch = json!({ "spec": { "ephemeralContainers": [{ "name": "e", "image": "i" }] } });
        request("PATCH", pod("pod-here") + "/ephemeralcontainers", STRATEGIC, patch)
    }),
    act("run a command in one", By::Role, |_| get(&(pod("pod-here") + "/exec?command=id&stdout=true"))),
    act("attach to one", By::Role, |_| get(&(pod("pod-here") + "/attach?stdout=true"))),
    act("forward a port to one", By::Role, |_| get(&(pod("pod-here") + "/portforward?ports=80"))),
    act("read the log of one", By::Role, |_| get(&(pod("pod-here") + "/log"))),
    act("label one into a Service", By::Role, |_| merge(pod("pod-here"), labels(json!({ "app": "bank" })))),
    act("write the status of one", By::Role, |_| {
        merge(pod("pod-here") + "/status", json!({ "status": { "podIP": "10.6.6.6" } }))
    }),
    act("resize one", By::Role, |_| merge(pod("pod-here") + "/resize", json!({ "spec": {} }))),
    act("create a DaemonSet", By::Role, |_| {
        post("/apis/apps/v1/namespaces/kube-system/daemonsets", metadata(json!({ "name": "new" })))
    }),
    act("create a Job", By::Role, |_| {
        post("/apis/batch/v1/namespaces/tenant/jobs", metadata(json!({ "name": "new" })))
    }),
    act("delete a budget", By::Role, |_| {
        delete("/apis/policy/v1/namespaces/tenant/poddisruptionbudgets/web".to_owned())
    }),
];

const IDENTITIES: &[Act] = &[
    act("get a token that is bound to nothing", TOKENS, |_| token("rebootd", "rebootd", json!({}))),
    act("get one that is bound to another Node", TOKENS, |cluster| {
        token("rebootd", "rebootd", bound_to(cluster, THERE, THERE))
    }),
    act("get one that is bound to its Node's name, with another uid", TOKENS, |cluster| {
        token("rebootd", "rebootd", bound_to(cluster, HERE, THERE))
    }),
    act("get one that is bound to its Node's name only", TOKENS, |_| {
        token(
            "rebootd",
            "rebootd",
            json!({ "boundObjectRef": { "kind": "Node", "apiVersion": "v1", "name": HERE } }),
        )
    }),
    act("get one that is bound to a pod", TOKENS, |cluster| {
        let pod =
            json!({ "kind": "Pod", "apiVersion": "v1", "name": "pod-here", "uid": cluster.uid("pod-here") });
        token("rebootd", "rebootd", json!({ "boundObjectRef": pod }))
    }),
    act("get one for longer than 24 hours", TOKENS, |cluster| {
        let mut spec = bound_to(cluster, HERE, HERE);
        spec["expirationSeconds"] = json!(86401);
        token("rebootd", "rebootd", spec)
    }),
    act("get any token with one that is bound to nothing", TOKENS, |cluster| {
        token("rebootd", "rebootd", bound_to(cluster, HERE, HERE)).with(Who::Unbound)
    }),
    act("get one of another account of the namespace", By::Role, |_| token("rebootd", "default", json!({}))),
    act("get one of a tenant's account", By::Role, |_| token("tenant", "default", json!({}))),
    act("get one of a controller's account", By::Role, |_| {
        token("kube-system", "clusterrole-aggregation-controller", json!({}))
    }),
    act("have a token put into a Secret", By::Role, |_| {
        let secret =
            json!({ "name": "s", "annotations": { "kubernetes.io/service-account.name": "rebootd" } });
        post(
            "/api/v1/namespaces/rebootd/secrets",
            json!({ "metadata": secret, "type": "kubernetes.io/service-account-token" }),
        )
    }),
    act("ask for a certificate of a kubelet", By::Role, |_| {
        post("/apis/certificates.k8s.io/v1/certificatesigningrequests", metadata(json!({ "name": "c" })))
    }),
    act("act for an administrator", By::Role, |_| get("/api/v1/namespaces").with(Who::For("lab-admin"))),
    act("act for the kubelet of another node", By::Role, |_| {
        get(&node(THERE)).with(Who::For("system:node:there"))
    }),
    act("act for the group of administrators", By::Role, |_| {
        get("/api/v1/secrets").with(Who::ForGroup("system:masters"))
    }),
    act("use a token of a pod that is gone", By::Login, |_| get(SLOTS).with(Who::OfDeletedPod)),
    act("use a token of a Node that is gone", By::Login, |_| get(SLOTS).with(Who::OfDeletedNode)),
];

const REST: &[Act] = &[
    act("report an Event in the name of a kubelet", EVENTS, |_| event("kubelet", HERE, "Node", HERE)),
    act("report an Event in the name of another node", EVENTS, |_| {
        event("rebootd.io/rebootd", THERE, "Node", HERE)
    }),
    act("report an Event about another Node", EVENTS, |_| event("rebootd.io/rebootd", HERE, "Node", THERE)),
    act("report an Event about something else than Nodes and pods", EVENTS, |_| {
        event("rebootd.io/rebootd", HERE, "Secret", "x")
    }),
    act("report an Event with a token that is bound to nothing", EVENTS, |_| {
        event("rebootd.io/rebootd", HERE, "Pod", "pod-here").with(Who::Unbound)
    }),
    act("delete Events", By::Role, |_| delete("/apis/events.k8s.io/v1/namespaces/default/events".to_owned())),
    act("read Secrets of its pods' namespace", By::Role, |_| get("/api/v1/namespaces/tenant/secrets")),
    act("read all Secrets", By::Role, |_| get("/api/v1/secrets")),
    act("read a pod by its name", By::Role, |_| get(&pod("pod-here"))),
    act("read other ConfigMaps", By::Role, |_| get("/api/v1/namespaces/kube-system/configmaps")),
    act("read Leases elsewhere", By::Role, |_| get(&format!("{LEASES}/kube-system/leases"))),
    act("remove these policies", By::Role, |_| {
        delete("/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies/rebootd-nodes".to_owned())
    }),
    act("remove their bindings", By::Role, |_| {
        delete(
            "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings/rebootd-nodes"
                .to_owned(),
        )
    }),
    act("weaken a binding", By::Role, |_| {
        let path = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings/rebootd-nodes";
        merge(path.to_owned(), json!({ "spec": { "validationActions": ["Audit"] } }))
    }),
    act("register a webhook", By::Role, |_| {
        let path = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations";
        post(path, metadata(json!({ "name": "w" })))
    }),
    act("bind itself to a role", By::Role, |_| {
        let path = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
        let role = json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin" });
        post(path, json!({ "metadata": { "name": "b" }, "roleRef": role }))
    }),
    act("widen its own role", By::Role, |_| {
        merge("/apis/rbac.authorization.k8s.io/v1/clusterroles/rebootd".to_owned(), json!({ "rules": [] }))
    }),
    act("relabel the namespace rebootd", By::Role, |_| {
        merge("/api/v1/namespaces/rebootd".to_owned(), labels(json!({ "kubernetes.io/metadata.name": "x" })))
    }),
    act("delete the namespace rebootd", By::Role, |_| delete("/api/v1/namespaces/rebootd".to_owned())),
    act("change its account", By::Role, |_| {
        merge("/api/v1/namespaces/rebootd/serviceaccounts/rebootd".to_owned(), finalizer())
    }),
];
