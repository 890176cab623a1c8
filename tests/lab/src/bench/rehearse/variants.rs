//! Workloads of which a rehearsal says this or that. Each has a name of its own.

use serde_json::{Value, json};

use crate::shop::{
    apart, budget, daemon_set, deployment, job, of_template, only_on, pod, stateful_set, with,
};

/// Never Ready.
pub(super) const SICK: &str = "sick";

/// Pods that nobody looks after, and that keep a node from its turn.
pub(super) fn refused() -> Vec<Value> {
    let mut once = pod("once");
    once["spec"]["restartPolicy"] = json!("Never");
    vec![once, pod("guarded"), budget("guarded", json!({"minAvailable": 0}))]
}

/// None of them keeps a node from its reboot.
pub(super) fn drained() -> Vec<Value> {
    let ordered = json!({"spec": {"podManagementPolicy": "OrderedReady"}});
    vec![
        deployment("three", 3),
        budget("three", json!({"maxUnavailable": 1})),
        deployment("two", 2),
        slow(deployment("slow", 2)),
        budget("slow", json!({"minAvailable": 1})),
        slow(deployment("slow-alone", 2)),
        slow(deployment("many", 6)),
        budget("many", json!({"maxUnavailable": "25%"})),
        deployment("half", 3),
        budget("half", json!({"minAvailable": "51%"})),
        with(stateful_set("apart", 3), apart("apart")),
        budget("apart", json!({"maxUnavailable": 1})),
        with(stateful_set("ordered", 2), ordered),
        budget("ordered", json!({"minAvailable": 1})),
        daemon_set("logs"),
        job("counts", 1),
        with(job("may-not-fail", 1), json!({"spec": {"backoffLimit": 0}})),
        slow(deployment("one", 1)),
        with(slow(deployment("pinned", 2)), only_on("node2")),
        with(
            with(deployment("together", 2), only_on("node3")),
            of_template(json!({"tolerations": [{"operator": "Exists"}]})),
        ),
        pod("bare"),
    ]
}

/// Each of them keeps each node that it is on from its reboot.
pub(super) fn blocking(node: &str) -> Vec<Value> {
    let gate = json!({"readinessGates": [{"conditionType": "lab.rebootd.io/never"}]});
    vec![
        deployment("all", 3),
        budget("all", json!({"minAvailable": "100%"})),
        deployment("number", 3),
        budget("number", json!({"minAvailable": 3})),
        deployment("none", 3),
        budget("none", json!({"maxUnavailable": 0})),
        deployment("rounds-up", 3),
        budget("rounds-up", json!({"minAvailable": "67%"})),
        deployment("single", 1),
        budget("single", json!({"minAvailable": 1})),
        deployment("twice", 3),
        budget("twice", json!({"maxUnavailable": 1})),
        with(budget("twice", json!({"minAvailable": 1})), json!({"metadata": {"name": "twice-too"}})),
        job("scaleless", 3),
        budget("scaleless", json!({"maxUnavailable": 1})),
        with(deployment(SICK, 3), of_template(gate)),
        budget(SICK, json!({"maxUnavailable": 1})),
        with(deployment("stuck", 2), only_on(node)),
        budget("stuck", json!({"maxUnavailable": 1})),
    ]
}

/// Its pods are Ready some seconds after their start.
fn slow(mut workload: Value) -> Value {
    if let Some(probe) = workload.pointer_mut("/spec/template/spec/containers/0/readinessProbe") {
        probe["initialDelaySeconds"] = json!(4);
    }
    workload
}
