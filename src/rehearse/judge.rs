//! The verdict on each workload of a namespace.

use std::collections::BTreeSet;

use serde::Serialize;

use super::finding::Remedy;
use super::last_time::LastTime;
use super::namespace::{Answer, Namespace, Read};
use super::objects::Pod;
use super::workload::{Workload, workloads};
use super::{Finding, Severity, accept, budgets, ending, places, replicas};
use crate::words::{MESSAGE, words};

/// What a reboot of a node with a pod of it would do to a workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Nobody notices.
    NobodyNotices,
    /// Somebody may notice.
    Warns,
    /// It could not be told.
    CouldNotTell,
    /// The node does not reboot.
    Blocks,
}

impl Verdict {
    /// In words for people.
    pub fn words(self) -> &'static str {
        match self {
            Verdict::NobodyNotices => "nobody notices",
            Verdict::Warns => "warns",
            Verdict::CouldNotTell => "could not tell",
            Verdict::Blocks => "blocks",
        }
    }
}

impl Severity {
    /// What it means for the whole.
    pub fn verdict(self) -> Verdict {
        match self {
            Severity::Note => Verdict::NobodyNotices,
            Severity::Warns => Verdict::Warns,
            Severity::Unknown => Verdict::CouldNotTell,
            Severity::Blocks => Verdict::Blocks,
        }
    }
}

/// The verdict on a workload, or on the namespace itself.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Judged {
    /// As `kubectl` names it: `deployment/api`; `namespace/shop` for what is about no workload.
    pub workload: String,
    /// What would be noticed.
    pub verdict: Verdict,
    /// How many replicas there should be, if something says so.
    pub replicas: Option<i64>,
    /// How many are Ready.
    pub ready: usize,
    /// The nodes that its pods are on.
    pub nodes: BTreeSet<String>,
    /// How it went last time; nothing where no node tells of it.
    pub last_time: Option<LastTime>,
    /// What was found, the worst first.
    pub findings: Vec<Finding>,
    /// What was not looked at, and why.
    pub not_looked_at: Vec<String>,
}

/// Of a workload on so many nodes, each is asked for: budgets and webhooks say the same of the others.
const MOST_ASKED: usize = 20;

/// What is found out about a workload.
type Check = fn(&Workload<'_>, &Namespace) -> Vec<Finding>;
const CHECKS: [Check; 13] = [
    budgets::of_workload,
    budgets::answers,
    ending::bare,
    ending::job,
    ending::grace,
    ending::killed,
    replicas::few,
    replicas::no_budget,
    replicas::not_ready,
    replicas::readiness,
    places::elsewhere,
    places::volumes,
    places::comes_back,
];

/// Judges each workload, the worst first; then the namespace, if there is something to say about it.
pub fn judge(namespace: &Namespace) -> Vec<Judged> {
    let workloads = workloads(namespace);
    let mut judged: Vec<Judged> = workloads.iter().map(|workload| one(workload, namespace)).collect();
    let left = budgets::without_pods(&workloads, namespace);
    if !left.is_empty() {
        judged.push(Judged {
            workload: format!("namespace/{}", words(&namespace.name, MESSAGE)),
            verdict: worst(&left),
            replicas: None,
            ready: 0,
            nodes: BTreeSet::new(),
            last_time: None,
            findings: left,
            not_looked_at: Vec::new(),
        });
    }
    judged.sort_unstable_by(|a, b| b.verdict.cmp(&a.verdict).then_with(|| a.workload.cmp(&b.workload)));
    judged
}

fn one(workload: &Workload<'_>, namespace: &Namespace) -> Judged {
    let mut findings: Vec<Finding> =
        CHECKS.iter().flat_map(|check| check(workload, namespace)).map(clean).collect();
    accept::accept(workload, namespace.today, &mut findings);
    findings.sort_by(|a, b| b.severity.cmp(&a.severity).then_with(|| a.id.cmp(b.id)));
    Judged {
        workload: words(&workload.key(), MESSAGE),
        verdict: worst(&findings),
        replicas: workload.specified(),
        ready: workload.ready().count(),
        nodes: workload.pods.iter().map(|pod| words(&pod.spec.node_name, MESSAGE)).collect(),
        last_time: last_time(workload, namespace),
        findings,
        not_looked_at: not_asked(workload, namespace).into_iter().chain(not_looked_at(namespace)).collect(),
    }
}

/// The latest of a workload, if a node tells of one.
fn last_time(workload: &Workload<'_>, namespace: &Namespace) -> Option<LastTime> {
    let labels = workload.labels()?;
    let of_it =
        namespace.last_times.iter().filter(|it| it.impact.is_of(&namespace.name, workload.name, labels));
    of_it.max_by_key(|it| it.at).cloned()
}

/// Without dry runs, it is arithmetic on budgets.
fn not_asked(workload: &Workload<'_>, namespace: &Namespace) -> Option<String> {
    let why = workload.pods.iter().find_map(|pod| match namespace.answers.get(&pod.metadata.uid)? {
        Answer::None(why) => Some(why),
        _ => None,
    })?;
    Some(words(
        &format!("what the API server says to an eviction, so budgets are judged by their numbers: {why}"),
        MESSAGE,
    ))
}

fn worst(findings: &[Finding]) -> Verdict {
    let open = findings.iter().filter(|finding| finding.accepted.is_none());
    open.map(|finding| finding.severity.verdict()).max().unwrap_or(Verdict::NobodyNotices)
}

/// Whatever others wrote in it is made fit for people here; YAML has only names that the API server has checked, but for the
/// name that a pod gives its owner, which [`replicas`] checks.
fn clean(finding: Finding) -> Finding {
    let remedy = finding.remedy.map(|it| Remedy {
        what: words(&it.what, MESSAGE),
        object: words(&it.object, MESSAGE),
        ..it
    });
    Finding {
        remedy,
        about: finding.about.map(|text| words(&text, MESSAGE)),
        found: words(&finding.found, MESSAGE),
        evidence: finding.evidence.iter().map(|text| words(text, MESSAGE)).collect(),
        ..finding
    }
}

/// What bears on every workload and could not be read.
fn not_looked_at(namespace: &Namespace) -> Vec<String> {
    fn why<T>(what: &str, read: &Read<T>) -> Option<String> {
        read.as_ref().err().map(|why| words(&format!("{what}: {why}"), MESSAGE))
    }
    [
        why("Deployments", &namespace.deployments),
        why("ReplicaSets", &namespace.replica_sets),
        why("StatefulSets", &namespace.stateful_sets),
        why("Jobs", &namespace.jobs),
        why("Services, and with them readiness", &namespace.services),
        why("HorizontalPodAutoscalers", &namespace.autoscalers),
        why("PersistentVolumeClaims", &namespace.claims),
        why(
            "Nodes, and with them whether others would take its pods, and how it went last time",
            &namespace.nodes,
        ),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The pods to ask for as a dry run: of each workload one on each node and for each of its budgets, or on this node, Ready ones first; on so many nodes
/// at most.
pub fn to_ask(namespace: &Namespace, node: Option<&str>) -> Vec<Pod> {
    let mut asked = Vec::new();
    for workload in workloads(namespace) {
        if workload.stays() {
            continue;
        }
        let mut places = BTreeSet::new();
        let (ready, others): (Vec<&Pod>, Vec<&Pod>) = workload.pods.iter().partition(|pod| pod.is_ready());
        for pod in ready.into_iter().chain(others) {
            let place = &pod.spec.node_name;
            let is_wanted = !place.is_empty() && node.is_none_or(|node| place == node);
            let is_there = is_wanted && pod.metadata.deletion_timestamp.is_none();
            // Pods of one workload may have different budgets, by labels of their own.
            let place = (place, budgets::names_of(pod, namespace));
            if is_there && places.len() < MOST_ASKED && places.insert(place) {
                asked.push(pod.clone());
            }
        }
    }
    asked
}
