//! Where its pods would go, and whether their replacements stay away from the node that is drained.

use std::collections::BTreeSet;

use super::budgets;
use super::finding::{Finding, Severity};
use super::namespace::Namespace;
use super::objects::{Claim, Node, NodeRequirement, NodeTerm, PodSpec, PodTerm, Toleration};
use super::workload::{Workload, known};
use crate::notation::Selector;

const HOST_NAME: &str = "kubernetes.io/hostname";
/// The mark of rebootd's own cordon.
const CORDON: &str = "rebootd.io/cordon";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
/// Which provisioner has made the volume of a claim.
const PROVISIONERS: [&str; 2] =
    ["volume.kubernetes.io/storage-provisioner", "volume.beta.kubernetes.io/storage-provisioner"];
/// Parts of the names of provisioners whose volumes stay on their node.
const LOCAL: [&str; 6] =
    ["no-provisioner", "local-path", "local.csi.openebs", "openebs.io/local", "topolvm", "hostpath"];

/// Nodes that would take its pods.
pub(super) fn elsewhere(workload: &Workload<'_>, namespace: &Namespace) -> Vec<Finding> {
    let Some(spec) = workload.spec().filter(|_| !workload.stays() && !workload.is_bare) else {
        return Vec::new();
    };
    let placed = workload.pods.iter().map(|pod| pod.spec.node_name.as_str()).filter(|node| !node.is_empty());
    let here: BTreeSet<&str> = placed.collect();
    let Ok(nodes) = &namespace.nodes else { return pinned(workload, namespace, spec, &here) };
    let could: Vec<&Node> = nodes.iter().filter(|node| could_take(node, spec)).collect();
    let would: Vec<&Node> = could.iter().copied().filter(|node| is_open(node)).collect();
    let other = |among: &[&Node], name: &str| among.iter().any(|node| node.metadata.name != name);
    if let Some(node) = here.iter().find(|name| !other(&could, name)) {
        return vec![stuck(workload, namespace, node, &demands(spec, nodes.len()))];
    }
    if let Some(node) = here.iter().find(|name| !other(&would, name)) {
        let found = format!(
            "the other nodes that could take its pod from {node} are cordoned or not Ready now: it waits until one of them is back"
        );
        return vec![Finding::new("nowhere-to-go", Severity::Warns, found)];
    }
    if !keeps_apart(workload, spec) || would.iter().any(|node| !here.contains(node.metadata.name.as_str())) {
        return Vec::new();
    }
    let found = format!(
        "each of the {} nodes that it may run on has a pod of it already: there is one replica less until the node is back",
        would.len()
    );
    vec![Finding::new("no-free-node", Severity::Note, found)]
}

/// Its own words name a single node: for that the Nodes need not be read.
fn pinned(
    workload: &Workload<'_>,
    namespace: &Namespace,
    spec: &PodSpec,
    here: &BTreeSet<&str>,
) -> Vec<Finding> {
    match here.first() {
        Some(node) if spec.node_selector.contains_key(HOST_NAME) => {
            vec![stuck(workload, namespace, node, "by its nodeSelector")]
        }
        _ => Vec::new(),
    }
}

/// What leaves does not come back before the node does. So a budget that lets fewer go than there are never lets the last
/// ones go.
fn stuck(workload: &Workload<'_>, namespace: &Namespace, node: &str, seen: &str) -> Finding {
    let there = workload.pods.iter().filter(|pod| pod.spec.node_name == node).count();
    let (severity, what) = match budgets::lets_go(workload, namespace) {
        Some(most) if i64::try_from(there).is_ok_and(|there| there > most) => (
            Severity::Blocks,
            format!(
                "its {there} pods wait until that is back, and their budget lets {most} of them go: the others never leave"
            ),
        ),
        _ => (Severity::Warns, "it waits until that is back".to_owned()),
    };
    let found = format!("no other node would take its pod from {node}: {what}");
    let finding = Finding::new("nowhere-to-go", severity, found).seen(seen);
    finding.remedy("let it run on more than one node", workload.to_change(), "")
}

fn demands(spec: &PodSpec, nodes: usize) -> String {
    let mut demands: Vec<String> = Vec::new();
    let selector = spec.node_selector.iter().map(|(name, value)| format!("{name}={value}"));
    let selector = selector.collect::<Vec<_>>().join(",");
    if !selector.is_empty() {
        demands.push(format!("nodeSelector {selector}"));
    }
    if spec.affinity.node_affinity.required.is_some() {
        demands.push("required nodeAffinity".to_owned());
    }
    let by = if demands.is_empty() { "taints".to_owned() } else { demands.join(" and ") };
    format!("by {by}, of {nodes} nodes")
}

/// Whether this node takes pods like these, once it is Ready and uncordoned: an estimate that leaves out their resources.
fn could_take(node: &Node, spec: &PodSpec) -> bool {
    let labels = &node.metadata.labels;
    let selected = spec.node_selector.iter().all(|(name, value)| labels.get(name) == Some(value));
    let terms = spec.affinity.node_affinity.required.as_ref();
    let fits = terms.is_none_or(|terms| terms.node_selector_terms.iter().any(|term| meets(node, term)));
    let passing = |taint: &&Toleration| taint.key.starts_with("node.kubernetes.io/");
    let repels = |taint: &Toleration| {
        matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute")
            && !spec.tolerations.iter().any(|it| tolerates(it, &taint.key, &taint.value, &taint.effect))
    };
    selected && fits && !node.spec.taints.iter().filter(|it| !passing(it)).any(repels)
}

/// Whether it takes pods now. A cordon of rebootd's own ends by itself.
fn is_open(node: &Node) -> bool {
    let is_ready = node.status.conditions.iter().any(|it| it.kind == "Ready" && it.status == "True");
    let is_in_turn = node.metadata.annotations.contains_key(CORDON);
    is_in_turn || is_ready && !node.spec.unschedulable
}

/// As the scheduler reads it (`nodeaffinity.NewNodeSelector` in k8s.io/component-helpers): a term that says nothing fits none.
fn meets(node: &Node, term: &NodeTerm) -> bool {
    let labels = &node.metadata.labels;
    let of_labels = term.match_expressions.iter().map(|it| (it, labels.get(&it.key)));
    let of_fields = term.match_fields.iter().map(|it| (it, Some(&node.metadata.name)));
    let mut all = of_labels.chain(of_fields).peekable();
    all.peek().is_some() && all.all(|(requirement, value)| is_met(requirement, value))
}

fn is_met(requirement: &NodeRequirement, value: Option<&String>) -> bool {
    let NodeRequirement { operator, values, .. } = requirement;
    let number = |text: &String| text.parse::<i64>().ok();
    let compared = || Some((number(value?)?, number(values.first()?)?));
    match operator.as_str() {
        "In" => value.is_some_and(|value| values.contains(value)),
        "NotIn" => value.is_none_or(|value| !values.contains(value)),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => compared().is_some_and(|(value, bound)| value > bound),
        "Lt" => compared().is_some_and(|(value, bound)| value < bound),
        _ => true,
    }
}

/// `v1.Toleration.ToleratesTaint` in k8s.io/api.
fn tolerates(toleration: &Toleration, key: &str, value: &str, effect: &str) -> bool {
    let exists = toleration.operator == "Exists";
    let of_key = toleration.key == key || (toleration.key.is_empty() && exists);
    let of_effect = toleration.effect.is_empty() || toleration.effect == effect;
    of_key && of_effect && (exists || toleration.value == value)
}

/// Whether no two of its pods may be on one node.
fn keeps_apart(workload: &Workload<'_>, spec: &PodSpec) -> bool {
    let of_itself = |term: &PodTerm| {
        let selector = term.label_selector.clone().map(Selector::from);
        let labels = workload.labels();
        term.topology_key == HOST_NAME
            && selector.zip(labels).is_some_and(|(selector, labels)| selector.selects(labels))
    };
    spec.affinity.pod_anti_affinity.required.iter().any(of_itself)
}

/// Volumes that do not move with their pod.
pub(super) fn volumes(workload: &Workload<'_>, namespace: &Namespace) -> Vec<Finding> {
    if workload.stays() || workload.ends() || workload.is_bare {
        return Vec::new();
    }
    let pods = workload.pods.iter();
    let names: BTreeSet<String> = pods
        .flat_map(|pod| {
            pod.spec.volumes.iter().filter_map(|volume| match &volume.persistent_volume_claim {
                Some(claim) => Some(claim.claim_name.clone()),
                // The claim of an ephemeral volume is named after its pod and volume.
                None => volume.ephemeral.map(|_| format!("{}-{}", pod.metadata.name, volume.name)),
            })
        })
        .collect();
    let claims = known(&namespace.claims).iter().filter(|claim| names.contains(&claim.metadata.name));
    let Some((claim, by)) = claims.filter_map(|claim| Some((claim, local(claim)?))).next() else {
        return Vec::new();
    };
    let only = workload.wanted().is_none_or(|wanted| wanted < 2);
    let found = format!(
        "volume claim {} stays on its node ({by}): its pod waits until that is back{}",
        claim.metadata.name,
        if only { "" } else { ", and there is one replica less meanwhile" }
    );
    let severity = if only { Severity::Warns } else { Severity::Note };
    let finding = Finding::new("local-volume", severity, found)
        .about(format!("persistentvolumeclaim/{}", claim.metadata.name));
    vec![finding.remedy(
        "use a storage class whose volumes other nodes reach, or keep a copy on another node",
        workload.to_change(),
        "",
    )]
}

fn local(claim: &Claim) -> Option<String> {
    let annotations = &claim.metadata.annotations;
    let provisioner = PROVISIONERS.iter().find_map(|key| annotations.get(*key));
    let by = provisioner.map_or(claim.spec.storage_class_name.as_str(), String::as_str);
    LOCAL.iter().any(|part| by.contains(part)).then(|| by.to_owned())
}

/// Replacements that do not heed the cordon.
pub(super) fn comes_back(workload: &Workload<'_>, _: &Namespace) -> Vec<Finding> {
    let Some(spec) = workload.spec().filter(|_| !workload.stays() && !workload.is_bare) else {
        return Vec::new();
    };
    let named = workload.object.is_some_and(|it| !it.spec.template.spec.node_name.is_empty());
    let ignores = spec.tolerations.iter().any(|it| tolerates(it, UNSCHEDULABLE, "", "NoSchedule"));
    let found = match (named, ignores) {
        (true, _) => {
            "its template names a node: what is evicted there comes straight back, and ends with the reboot"
        }
        (false, true) => {
            "it tolerates the cordon: what is evicted may come straight back to the node, and ends with the reboot"
        }
        (false, false) => return Vec::new(),
    };
    vec![Finding::new("comes-back", Severity::Warns, found).remedy(
        if named {
            "leave the node to the scheduler (no spec.nodeName)"
        } else {
            "tolerate single taints, not all, and not node.kubernetes.io/unschedulable"
        },
        workload.to_change(),
        "",
    )]
}
