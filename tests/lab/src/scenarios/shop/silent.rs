//! What only looks like a fault: nothing is to be said of it, before and after the faults are mended.

use serde_json::{Value, json};

use super::Expected;
use super::faults::unprobed;
use crate::shop::{
    accepts, apart, autoscaler, budget, daemon_set, deployment, pod, service, stateful_set, with,
};
use crate::simulated::kubelet::{BECOMES, NOT_READY};

/// An operator's kind of object.
pub(super) const KIND: &str = "clusters.postgresql.cnpg.io";
const GROUP: &str = "postgresql.cnpg.io";

/// A template of the next version, which never becomes ready.
fn next() -> String {
    json!({"spec": {"template": {"metadata": {"annotations": {BECOMES: NOT_READY}}}}}).to_string()
}

fn silent(workload: &'static str, objects: Vec<Value>) -> Expected {
    Expected::new(workload, &[], objects)
}

pub(super) fn all() -> Vec<Expected> {
    let rolls = |workload, name: &str, strategy| {
        let objects = vec![
            with(deployment(name, 3), json!({"spec": {"strategy": {"rollingUpdate": strategy}}})),
            budget(name, json!({"maxUnavailable": 1})),
        ];
        silent(workload, objects).then(&["patch", "deployment", name, "--patch", &next()])
    };
    let noted = |mut expected: Expected, findings: &'static [&'static str]| {
        (expected.findings, expected.left) = (findings, Some(findings));
        expected
    };
    let headless = json!({"spec": {"clusterIP": "None", "publishNotReadyAddresses": true}});
    let by_hand = json!({"spec": {"updateStrategy": {"type": "OnDelete"}}});
    vec![
        rolls("deployment/rolling", "rolling", json!({"maxSurge": 1, "maxUnavailable": 0})),
        // One is not there because of the rollout: whether the budget lets one go is seen after it.
        noted(
            rolls("deployment/rolling-hard", "rolling-hard", json!({"maxSurge": 0, "maxUnavailable": 1})),
            &["unknown budget-not-now"],
        ),
        silent(
            "deployment/rounded-up",
            vec![deployment("rounded-up", 3), budget("rounded-up", json!({"maxUnavailable": "1%"}))],
        ),
        silent(
            "deployment/half",
            vec![deployment("half", 3), budget("half", json!({"minAvailable": "51%"}))],
        ),
        silent("deployment/annex", vec![]),
        noted(
            silent(
                "deployment/night",
                vec![with(deployment("night", 1), accepts("downtime-3m until 2199-12-31: one is enough"))],
            ),
            &["accepted single-replica"],
        ),
        noted(silent("deployment/queue", vec![unprobed(deployment("queue", 2))]), &["note no-budget"]),
        noted(
            silent("deployment/front", vec![deployment("front", 2), service("front")]),
            &["note no-budget"],
        ),
        silent(
            "deployment/elastic",
            vec![
                deployment("elastic", 3),
                budget("elastic", json!({"maxUnavailable": 1})),
                autoscaler("elastic", 2),
            ],
        ),
        silent(
            "deployment/asleep",
            vec![deployment("asleep", 0), budget("asleep", json!({"minAvailable": 1}))],
        ),
        // Once the cordon of the fourth node is rebootd's, that one will be free again.
        noted(
            silent(
                "statefulset/database",
                vec![
                    with(unprobed(stateful_set("database", 3)), apart("database")),
                    budget("database", json!({"maxUnavailable": 1})),
                    with(service("database"), headless),
                ],
            ),
            &["note no-free-node"],
        )
        .left(&[]),
        silent(
            "statefulset/by-hand",
            vec![with(stateful_set("by-hand", 2), by_hand), budget("by-hand", json!({"maxUnavailable": 1}))],
        )
        .then(&["patch", "statefulset", "by-hand", "--patch", &next()]),
        silent("daemonset/logs", vec![daemon_set("logs")]),
        noted(silent("cluster/customers", vec![]), &["note operator"]),
    ]
}

pub(super) fn operators_kind() -> Value {
    let schema = json!({"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": KIND},
        "spec": {
            "group": GROUP, "scope": "Namespaced",
            "names": {"kind": "Cluster", "plural": "clusters", "singular": "cluster"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": schema}],
        },
    })
}

pub(super) fn operators_object() -> Value {
    json!({"apiVersion": format!("{GROUP}/v1"), "kind": "Cluster", "metadata": {"name": "customers"}})
}

/// As CloudNativePG does: a budget keeps the primary until it is moved.
pub(super) fn made_by_operator(uid: &str) -> Vec<Value> {
    let owner = json!({
        "apiVersion": format!("{GROUP}/v1"), "kind": "Cluster", "name": "customers", "uid": uid, "controller": true,
    });
    let owned = |object: Value| with(object, json!({"metadata": {"ownerReferences": [owner]}}));
    let one = |name: &str, role: &str| {
        owned(with(pod(name), json!({"metadata": {"labels": {"app": "customers", "role": role}}})))
    };
    let primary = json!({"spec": {"selector": {"matchLabels": {"role": "primary"}}}});
    vec![
        one("customers-1", "primary"),
        one("customers-2", "replica"),
        owned(with(budget("customers", json!({"minAvailable": 1})), primary)),
    ]
}
