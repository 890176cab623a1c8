//! Pods, by what looks after them.

use std::collections::BTreeMap;

use super::namespace::{Namespace, Read};
use super::objects::{Autoscaler, Controller, OwnerReference, Pod, PodSpec};
use super::operators;

/// The annotation of the kubelet's mirrors of static pods.
const MIRROR: &str = "kubernetes.io/config.mirror";

/// Something that runs pods: a Deployment, a StatefulSet, an operator's own kind, or a pod of its own.
#[derive(Debug)]
pub(super) struct Workload<'a> {
    /// Its kind, as objects name it.
    pub(super) kind: &'a str,
    /// It is a pod that nothing looks after. (A pod may look after other pods.)
    pub(super) is_bare: bool,
    pub(super) name: &'a str,
    /// The operator's object that it belongs to, if it is not of a built-in kind or not its own master.
    pub(super) operated: Option<(&'a str, &'a str, &'a str)>,
    /// Its kind is of an API group that is not Kubernetes' own.
    pub(super) is_foreign: bool,
    /// The object itself, where it is of a kind that is read.
    pub(super) object: Option<&'a Controller>,
    /// Those that run, or will.
    pub(super) pods: Vec<&'a Pod>,
    pub(super) autoscaler: Option<&'a Autoscaler>,
}

impl<'a> Workload<'a> {
    /// As `kubectl` names it.
    pub(super) fn key(&self) -> String {
        let of = if self.kind == "Pod" && !self.is_bare { "pods-of-" } else { "" };
        format!("{of}{}/{}", self.kind.to_lowercase(), self.name)
    }

    /// The object to change, as `kubectl` names it: an operator would undo a change of what it has made.
    pub(super) fn to_change(&self) -> String {
        match self.operated {
            Some((_, kind, name)) => format!("{}/{name}", kind.to_lowercase()),
            None => self.key(),
        }
    }

    /// YAML to paste into its template, or nothing where that is not to be changed: a Job's never, an operator's by him, and
    /// a pod of its own has none.
    pub(super) fn in_template<'yaml>(&self, yaml: &'yaml str) -> &'yaml str {
        if self.operated.is_some() || self.ends() || self.is_bare { "" } else { yaml }
    }

    /// How many replicas there should be now.
    pub(super) fn specified(&self) -> Option<i64> {
        let object = self.object.filter(|_| !self.ends() && !self.stays())?;
        Some(object.spec.replicas.unwrap_or(1))
    }

    /// How many replicas there should be at least: what scales it may go down to its minimum at any time.
    pub(super) fn wanted(&self) -> Option<i64> {
        let by_autoscaler = self.autoscaler.map(|it| it.spec.min_replicas.unwrap_or(1));
        match (by_autoscaler, self.specified()) {
            // Scaled to none by a person: then it does not scale.
            (_, Some(0)) => Some(0),
            (Some(least), _) => Some(least),
            (None, by_object) => by_object,
        }
    }

    pub(super) fn ready(&self) -> impl Iterator<Item = &'a Pod> {
        self.pods.iter().copied().filter(|pod| pod.is_ready())
    }

    /// What its pods are like: the template's, or one of them.
    pub(super) fn spec(&self) -> Option<&'a PodSpec> {
        let of_template = self.object.filter(|_| self.kind != "CronJob").map(|it| &it.spec.template.spec);
        let of_template = of_template.filter(|spec| !spec.containers.is_empty());
        of_template.or_else(|| self.pods.first().map(|pod| &pod.spec))
    }

    pub(super) fn labels(&self) -> Option<&'a BTreeMap<String, String>> {
        let of_pod = self.pods.first().map(|pod| &pod.metadata.labels);
        of_pod.or_else(|| self.object.map(|it| &it.spec.template.metadata.labels))
    }

    /// Its pods stay through a drain, whatever happens to others.
    pub(super) fn stays(&self) -> bool {
        self.kind == "DaemonSet"
    }

    /// Its pods are to end, and not to be there all the time.
    pub(super) fn ends(&self) -> bool {
        matches!(self.kind, "Job" | "CronJob") && !self.is_foreign
    }

    /// Its numbers of pods are on the way from one to another.
    pub(super) fn is_rolling(&self) -> bool {
        let Some(object) = self.object.filter(|_| !self.ends()) else { return false };
        let (spec, status) = (&object.spec, &object.status);
        let is_stuck = |it: &super::objects::Condition| it.kind == "Progressing" && it.status == "False";
        let is_behind = status.observed_generation < object.metadata.generation
            || status.replicas > spec.replicas.unwrap_or(1)
            || (matches!(self.kind, "Deployment" | "StatefulSet")
                && status.updated_replicas < status.replicas);
        // These keep old pods until a person acts.
        let by_hand = spec.paused
            || spec.update_strategy.kind == "OnDelete"
            || spec.update_strategy.rolling_update.partition.is_some_and(|it| it > 0);
        is_behind && !by_hand && !status.conditions.iter().any(is_stuck)
    }

    /// Its latest version has never been complete: it has just been created, or its pods are never Ready for long.
    pub(super) fn is_unfinished(&self) -> bool {
        let Some(object) = self.object.filter(|_| self.kind == "Deployment") else { return false };
        object.status.conditions.iter().any(|it| {
            it.kind == "Progressing" && it.status == "True" && it.reason != "NewReplicaSetAvailable"
        })
    }

    pub(super) fn operator(&self) -> Option<&'static str> {
        self.operated.and_then(|(api_version, ..)| operators::of(api_version))
    }
}

/// All workloads: those with pods, and those that should have some.
pub(super) fn workloads(namespace: &Namespace) -> Vec<Workload<'_>> {
    let mut found: BTreeMap<(&str, &str, bool), Workload<'_>> = BTreeMap::new();
    for (kind, read) in [("Deployment", &namespace.deployments), ("StatefulSet", &namespace.stateful_sets)] {
        for object in known(read) {
            let workload = of_object(kind, object);
            found.insert((workload.kind, workload.name, false), workload);
        }
    }
    let is_of_kubelet = |pod: &&Pod| pod.metadata.annotations.contains_key(MIRROR);
    for pod in namespace.pods.iter().filter(|pod| !is_of_kubelet(pod) && !pod.has_ended()) {
        let workload = match pod.metadata.controller() {
            None => Workload { is_bare: true, ..empty("Pod", &pod.metadata.name) },
            Some(owner) => of_owner(namespace, owner),
        };
        let key = (workload.kind, workload.name, workload.is_bare);
        found.entry(key).or_insert(workload).pods.push(pod);
    }
    let mut workloads: Vec<Workload<'_>> = found.into_values().collect();
    for workload in &mut workloads {
        workload.autoscaler = known(&namespace.autoscalers).iter().find(|it| {
            let target = &it.spec.scale_target_ref;
            (target.kind.as_str(), target.name.as_str()) == (workload.kind, workload.name)
        });
    }
    workloads
}

fn empty<'a>(kind: &'a str, name: &'a str) -> Workload<'a> {
    Workload {
        kind,
        name,
        is_bare: false,
        operated: None,
        is_foreign: false,
        object: None,
        pods: Vec::new(),
        autoscaler: None,
    }
}

fn of_object<'a>(kind: &'a str, object: &'a Controller) -> Workload<'a> {
    let operated = object.metadata.controller().map(operated);
    Workload { object: Some(object), operated, ..empty(kind, &object.metadata.name) }
}

fn operated(owner: &OwnerReference) -> (&str, &str, &str) {
    (&owner.api_version, &owner.kind, &owner.name)
}

/// What could be read; what could not is told for itself.
pub(super) fn known<T>(read: &Read<T>) -> &[T] {
    read.as_ref().map_or(&[], Vec::as_slice)
}

/// A ReplicaSet counts for its Deployment, and a Job for its CronJob.
fn of_owner<'a>(namespace: &'a Namespace, owner: &'a OwnerReference) -> Workload<'a> {
    let named = |read: &'a Read<Controller>| known(read).iter().find(|it| it.metadata.name == owner.name);
    let group = owner.api_version.split_once('/').map_or("", |(group, _)| group);
    // Other groups have kinds of the same names.
    let object = match (group, owner.kind.as_str()) {
        ("apps", "ReplicaSet") => named(&namespace.replica_sets),
        ("apps", "StatefulSet") => named(&namespace.stateful_sets),
        ("batch", "Job") => named(&namespace.jobs),
        // The drain leaves those of any group, as they would come straight back.
        (_, "DaemonSet") | ("", "ReplicationController") => return empty(&owner.kind, &owner.name),
        _ => {
            let operated = Some(operated(owner));
            return Workload { operated, is_foreign: true, ..empty(&owner.kind, &owner.name) };
        }
    };
    let Some(object) = object else { return empty(&owner.kind, &owner.name) };
    match (owner.kind.as_str(), object.metadata.controller()) {
        ("Job", Some(above)) => Workload { object: Some(object), ..empty(&above.kind, &above.name) },
        // An Argo Rollout, for one.
        ("ReplicaSet", Some(above)) if above.kind != "Deployment" => Workload {
            object: Some(object),
            operated: Some(operated(above)),
            ..empty(&above.kind, &above.name)
        },
        ("ReplicaSet", Some(above)) => empty(&above.kind, &above.name),
        _ => of_object(&owner.kind, object),
    }
}
