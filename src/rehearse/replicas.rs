//! Whether enough of it stays when the pods of one node leave, and whether requests find it.

use std::collections::BTreeSet;

use super::finding::{Finding, Severity};
use super::namespace::Namespace;
use super::workload::{Workload, known};
use super::{budgets, places};
use crate::notation::is_node_name;

/// Everything of it leaves at the same time.
pub(super) fn few(workload: &Workload<'_>, namespace: &Namespace) -> Vec<Finding> {
    if workload.stays() || workload.ends() || workload.is_bare {
        return Vec::new();
    }
    let count = workload.wanted().unwrap_or_else(|| i64::try_from(workload.pods.len()).unwrap_or(i64::MAX));
    match count {
        ..=0 => Vec::new(),
        1 => single(workload),
        _ => one_node(workload, namespace),
    }
}

fn single(workload: &Workload<'_>) -> Vec<Finding> {
    let (found, what, object, yaml) = match workload.autoscaler {
        Some(scaler) => (
            "its autoscaler may leave one replica: while that moves to another node, there is none",
            "never scale below two",
            format!("horizontalpodautoscaler/{}", scaler.metadata.name),
            "spec:\n  minReplicas: 2\n",
        ),
        None => (
            "there is one replica: while it moves to another node, there is none",
            "have a second one, on another node",
            workload.to_change(),
            if workload.operated.is_some() { "" } else { "spec:\n  replicas: 2\n" },
        ),
    };
    let mut findings =
        vec![Finding::new("single-replica", Severity::Warns, found).remedy(what, object, yaml)];
    let has_empty_dir =
        workload.spec().is_some_and(|spec| spec.volumes.iter().any(|it| it.empty_dir.is_some()));
    if has_empty_dir {
        let found = "what its only pod has in an emptyDir volume is lost";
        let what = "keep there only what may be lost, or use a PersistentVolumeClaim";
        findings.push(Finding::new("empty-dir", Severity::Warns, found).remedy(
            what,
            workload.to_change(),
            "",
        ));
    }
    findings
}

/// A budget would have them leave one after the other.
fn one_node(workload: &Workload<'_>, namespace: &Namespace) -> Vec<Finding> {
    let nodes: BTreeSet<&str> = workload.ready().map(|pod| pod.spec.node_name.as_str()).collect();
    let (Some(node), 1) = (nodes.first(), nodes.len()) else { return Vec::new() };
    let count = workload.ready().count();
    let some_stay = budgets::lets_go(workload, namespace)
        .is_some_and(|most| i64::try_from(count).is_ok_and(|count| most < count));
    if count < 2 || some_stay || workload.is_rolling() {
        return Vec::new();
    }
    let found = format!(
        "all its {count} pods are on node {node}, and no budget keeps them from leaving at the same time"
    );
    let finding = Finding::new("one-node", Severity::Warns, found);
    // A second budget over a pod would block it, and so would one of pods that can go nowhere else. And nobody has checked the
    // name that a pod gives its owner.
    let is_stuck = places::elsewhere(workload, namespace).iter().any(|it| it.id == "nowhere-to-go");
    if is_stuck || budgets::covers(workload, namespace) || !is_node_name(workload.name) {
        let what = "spread them over nodes (topologySpreadConstraints), or have a budget of their own keep some of them";
        return vec![finding.remedy(what, workload.to_change(), "")];
    }
    vec![finding.remedy(
        "have them leave one after the other, by a new budget; better, spread them over nodes as well (topologySpreadConstraints)",
        format!("poddisruptionbudget/{}", workload.name),
        new_budget(workload),
    )]
}

/// One that has them leave one after the other; nothing if they have no labels that last.
fn new_budget(workload: &Workload<'_>) -> String {
    let labels = workload.labels().into_iter().flatten();
    let labels = labels.filter(|(name, _)| !name.ends_with("-hash") && !name.contains("pod-"));
    let selector: String = labels.map(|(name, value)| format!("      {name}: {}\n", quoted(value))).collect();
    if selector.is_empty() {
        return selector;
    }
    format!(
        "apiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata:\n  name: {}\nspec:\n  maxUnavailable: 1\n  selector:\n    matchLabels:\n{selector}",
        workload.name
    )
}

/// One node after the other reboots, and the next drain asks budgets only whether the pods that left the last one are ready.
pub(super) fn no_budget(workload: &Workload<'_>, namespace: &Namespace) -> Vec<Finding> {
    let is_covered = namespace.budgets.is_err() || budgets::covers(workload, namespace);
    let is_meant = workload.operated.is_none() && !workload.ends() && !workload.stays() && !workload.is_bare;
    let is_named = is_node_name(workload.name);
    let one_node = one_node(workload, namespace);
    if is_covered
        || !is_meant
        || !is_named
        || !one_node.is_empty()
        || workload.wanted().is_none_or(|it| it < 2)
    {
        return Vec::new();
    }
    let found = "no budget covers it: when several nodes reboot in a row, the next one does not wait until the pods that left the last \
                 one are ready";
    let finding = Finding::new("no-budget", Severity::Note, found);
    if places::elsewhere(workload, namespace).iter().any(|it| it.id == "nowhere-to-go") {
        return vec![finding];
    }
    let object = format!("poddisruptionbudget/{}", workload.name);
    vec![finding.remedy("have it wait, by a new budget", object, new_budget(workload))]
}

/// As YAML has a text that could be taken for a number or a word of its own.
fn quoted(value: &str) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// It is short of replicas as it is. Where a budget says so, that tells more.
pub(super) fn not_ready(workload: &Workload<'_>, namespace: &Namespace) -> Vec<Finding> {
    let Some(wanted) = workload.specified().filter(|wanted| *wanted > 0) else { return Vec::new() };
    let ready = i64::try_from(workload.ready().count()).unwrap_or(i64::MAX);
    // A Deployment says when its rollout is stuck, a StatefulSet does not.
    let is_rolling = workload.is_rolling();
    let passes = is_rolling && workload.kind == "Deployment";
    if ready >= wanted || passes || budgets::tell(workload, namespace) {
        return Vec::new();
    }
    let found = format!("only {ready} of {wanted} replicas are Ready as it is");
    let severity = if is_rolling || workload.is_unfinished() { Severity::Unknown } else { Severity::Warns };
    let sick = workload.pods.iter().find(|pod| !pod.is_ready());
    let seen = sick.map(|pod| format!("pod {} is not Ready ({})", pod.metadata.name, pod.status.phase));
    let finding = Finding::new("not-ready", severity, found);
    let finding = seen.into_iter().fold(finding, Finding::seen);
    vec![finding.remedy("mend it first", workload.key(), "")]
}

/// Requests reach a pod that has just been started elsewhere before it can answer them.
pub(super) fn readiness(workload: &Workload<'_>, namespace: &Namespace) -> Vec<Finding> {
    let (Some(spec), Some(labels)) = (workload.spec(), workload.labels()) else { return Vec::new() };
    let tells =
        spec.containers.iter().any(|it| it.readiness_probe.is_some()) || !spec.readiness_gates.is_empty();
    if tells || workload.ends() || workload.stays() || workload.is_bare {
        return Vec::new();
    }
    let selects = |selector: &std::collections::BTreeMap<String, String>| {
        !selector.is_empty() && selector.iter().all(|(name, value)| labels.get(name) == Some(value))
    };
    let mut services =
        known(&namespace.services).iter().map(|service| (&service.metadata.name, &service.spec));
    let found = services.find(|(_, spec)| selects(&spec.selector) && !spec.publish_not_ready_addresses);
    let (Some((service, _)), Some(container)) = (found, spec.containers.first()) else { return Vec::new() };
    let found = format!(
        "no container has a readinessProbe: service {service} sends requests to a new pod as soon as it runs, also before it can answer"
    );
    let yaml = format!(
        "spec:\n  template:\n    spec:\n      containers:\n      - name: {}\n        readinessProbe:\n          httpGet: {{path: /healthz, port: {}}}   # what it answers when it is ready\n",
        container.name,
        container.ports.first().map_or(8080, |it| it.container_port)
    );
    vec![Finding::new("no-readiness", Severity::Warns, found).about(format!("service/{service}")).remedy(
        "say when it is ready",
        workload.to_change(),
        workload.in_template(&yaml),
    )]
}
