//! What was read of a namespace.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::civil::Date;

use super::last_time::LastTime;
use super::objects::{Autoscaler, Budget, Claim, Controller, Node, Pod, Service};

/// What could be read, or why it could not.
pub type Read<T> = Result<Vec<T>, String>;

/// All that is judged.
#[derive(Debug, Clone)]
pub struct Namespace {
    /// Its name.
    pub name: String,
    /// The date of the day, by which what was accepted ends.
    pub today: Date,
    /// Its pods.
    pub pods: Vec<Pod>,
    /// Its Deployments.
    pub deployments: Read<Controller>,
    /// Its ReplicaSets.
    pub replica_sets: Read<Controller>,
    /// Its StatefulSets.
    pub stateful_sets: Read<Controller>,
    /// Its Jobs.
    pub jobs: Read<Controller>,
    /// Its PodDisruptionBudgets.
    pub budgets: Read<Budget>,
    /// Its Services.
    pub services: Read<Service>,
    /// Its HorizontalPodAutoscalers.
    pub autoscalers: Read<Autoscaler>,
    /// Its PersistentVolumeClaims.
    pub claims: Read<Claim>,
    /// The Nodes of the cluster.
    pub nodes: Read<Node>,
    /// What became of workloads in the last reboots of the Nodes, as far as these tell.
    pub last_times: Vec<LastTime>,
    /// How long a drain may take, where it is known; by default long enough for each grace period.
    pub deadline: Option<Duration>,
    /// Whether the kubelet of the node in question shuts down gracefully, which ends pods that stay for good; `None` where
    /// that is not known.
    pub graceful: Option<bool>,
    /// What the API server answered when it was asked for the eviction of a pod as a dry run, by the pod's uid.
    pub answers: BTreeMap<String, Answer>,
}

/// The answer to a dry run of an eviction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The pod might leave now.
    Granted,
    /// It may not: a budget, in these words.
    ByBudget(String),
    /// It may not: somebody else says so, in these words.
    ByOthers(String),
    /// Nobody knows, for this reason: no right to ask, no answer.
    None(String),
}
