//! Where its pods would go, and whether their replacements stay away from the node that is drained.

use std::collections::BTreeSet;

use super::finding::{Finding, Severity};
use super::namespace::Namespace;
use super::objects::{Claim, Node, PodSpec, PodTerm, Toleration};
use super::workload::{Workload, known};
use crate::notation::Selector;

const HOST_NAME: &str = "kubernetes.io/hostname";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
/// Which provisioner has made the volume of a claim.
const PROVISIONERS: [&str; 2] =
    ["volume.kubernetes.io/storage-provisioner", "volume.beta.kubernetes.io/storage-provisioner"];
/// Parts of the names of provisioners whose volumes stay on their node.
const LOCAL: [&str; 6] =
    ["no-provisioner", "local-path", "local.csi.openebs", "openebs.io/local", "topolvm", "hostpath"];

/// Nodes that would take its pods.
pub(super) fn elsewhere(workload: &Workload<'_>, namespace: &Namespace) -> Vec<Finding> {
    let (Ok(nodes), Some(spec)) = (&namespace.nodes, workload.spec()) else { return Vec::new() };
    if workload.stays() || workload.kind == "Pod" || workload.pods.is_empty() {
        return Vec::new();
    }
    let fitting: Vec<&Node> = nodes.iter().filter(|node| takes(node, spec)).collect();
    let placed = workload.pods.iter().map(|pod| pod.spec.node_name.as_str()).filter(|node| !node.is_empty());
    let here: BTreeSet<&str> = placed.collect();
    let is_elsewhere = |node: &&&Node| !here.contains(node.metadata.name.as_str());
    let stuck = here.iter().find(|name| !fitting.iter().any(|node| node.metadata.name != **name));
    if let Some(node) = stuck {
        let found = format!("no other node would take its pod from {node}: it waits until that is back");
        return vec![
            Finding::new("nowhere-to-go", Severity::Warns, found).seen(demands(spec, nodes.len())).remedy(
                "let it run on more than one node",
                workload.to_change(),
                "",
            ),
        ];
    }
    let alone = keeps_apart(workload, spec) && !fitting.iter().any(|node| is_elsewhere(&node));
    if !alone {
        return Vec::new();
    }
    let found = format!(
        "each of the {} nodes that it may run on has a pod of it already: there is one replica less until the node is back",
        fitting.len()
    );
    vec![Finding::new("no-free-node", Severity::Note, found)]
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
    let by = if demands.is_empty() { "taints and cordons".to_owned() } else { demands.join(" and ") };
    format!("by {by}, of {nodes} nodes")
}

/// Whether this node, uncordoned and Ready, takes pods like these: an estimate that leaves out their resources.
fn takes(node: &Node, spec: &PodSpec) -> bool {
    let labels = &node.metadata.labels;
    let is_ready = node.status.conditions.iter().any(|it| it.kind == "Ready" && it.status == "True");
    let selected = spec.node_selector.iter().all(|(name, value)| labels.get(name) == Some(value));
    let terms = spec.affinity.node_affinity.required.as_ref();
    let fits = terms.is_none_or(|terms| {
        let mut terms = terms.node_selector_terms.iter();
        terms.any(|term| Selector::from(term.clone()).selects(labels))
    });
    let repels = |taint: &&Toleration| {
        matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute")
            && !spec.tolerations.iter().any(|it| tolerates(it, &taint.key, &taint.value, &taint.effect))
    };
    is_ready && !node.spec.unschedulable && selected && fits && !node.spec.taints.iter().any(|it| repels(&it))
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
    if workload.stays() || workload.ends() || workload.kind == "Pod" {
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
    let Some(spec) = workload.spec().filter(|_| !workload.stays() && workload.kind != "Pod") else {
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
