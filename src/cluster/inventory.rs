//! What people have put into the cluster that matters to all nodes: rebootd's own objects, and others that reboot nodes.
//!
//! Read for people only, by `rebootctl check --fleet`, each by a request of its own: a right that is missing hides no more
//! than it has to.

use serde::Deserialize;

use super::api::Api;
use super::confinement::version;
use super::error::ApiError;
use super::objects::{List, Meta, NAMESPACE};
use super::paths::{NODES, with};
use crate::decide::control_plane_labels;
use crate::words::{NOTE, name, words};

/// The policies of the manifests; each has a binding of its own name.
pub const POLICIES: [&str; 8] = [
    "rebootd-nodes",
    "rebootd-slots",
    "rebootd-holders",
    "rebootd-evictions",
    "rebootd-evictions-here",
    "rebootd-deletions",
    "rebootd-tokens",
    "rebootd-events",
];
const ADMISSION: &str = "/apis/admissionregistration.k8s.io/v1";
const DAEMON_SETS: &str = "/apis/apps/v1/daemonsets";
/// How kured's DaemonSet is labelled, by its manifest and by its chart.
const KURED: [&str; 2] = ["name=kured", "app.kubernetes.io/name=kured"];
/// kured's lock, unless it was told another name.
const KURED_LOCK: &str = "weave.works/kured-node-lock";
/// What tells Rancher's system-upgrade-controller to upgrade nodes, and often to drain and reboot them.
const PLANS: &str = "/apis/upgrade.cattle.io/v1/plans";
/// More objects of one kind than any cluster has of these.
const MANY: (&str, &str) = ("limit", "500");

/// A policy of the manifests, as it is in the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PolicyState {
    /// Its name.
    pub name: String,
    /// Why it does not refuse what it should, if it does not.
    pub lacks: Option<String>,
    /// The version of the manifests, which one of them tells.
    pub manifests: Option<u32>,
}

/// A DaemonSet of kured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kured {
    /// Namespace and name.
    pub name: String,
    /// What its lock says, if it is held.
    pub lock: Option<String>,
}

/// The pods that bring nodes their tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenPods {
    /// On how many nodes there should be one.
    pub wanted: u64,
    /// On how many there is one that is Ready.
    pub ready: u64,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Policy {
    metadata: Meta,
    spec: PolicySpec,
    status: PolicyStatus,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct PolicySpec {
    failure_policy: String,
    validations: Vec<Validation>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Validation {
    message: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct PolicyStatus {
    type_checking: TypeChecking,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct TypeChecking {
    expression_warnings: Vec<serde::de::IgnoredAny>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Binding {
    spec: BindingSpec,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct BindingSpec {
    policy_name: String,
    validation_actions: Vec<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Object {
    metadata: Meta,
    status: DaemonSetStatus,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct DaemonSetStatus {
    desired_number_scheduled: u64,
    number_ready: u64,
}

impl Api {
    /// Reads how the policies of the manifests are. Whether they are in force for a node is for its own agent to try.
    pub async fn policies(&mut self) -> Result<Vec<PolicyState>, ApiError> {
        let policies: List<Policy> =
            self.get(&with(&format!("{ADMISSION}/validatingadmissionpolicies"), &[MANY])).await?;
        let bindings: List<Binding> =
            self.get(&with(&format!("{ADMISSION}/validatingadmissionpolicybindings"), &[MANY])).await?;
        let policies = policies.items.unwrap_or_default();
        let bindings = bindings.items.unwrap_or_default();
        let state = |name: &str| state(name, policies.iter().find(|it| it.metadata.name == name), &bindings);
        Ok(POLICIES.into_iter().map(state).collect())
    }

    /// Reads the DaemonSets of kured.
    pub async fn kured(&mut self) -> Result<Vec<Kured>, ApiError> {
        let mut found = Vec::new();
        let labelled = KURED.map(|label| ("labelSelector", label));
        // Its own manifest labels the pods only.
        for selector in labelled.into_iter().chain([("fieldSelector", "metadata.name=kured")]) {
            let path = with(DAEMON_SETS, &[selector, MANY]);
            let list: List<Object> = self.get(&path).await?;
            found.extend(list.items.into_iter().flatten().map(|it| Kured {
                name: words(&format!("{}/{}", it.metadata.namespace, it.metadata.name), NOTE),
                lock: it.metadata.annotations.get(KURED_LOCK).and_then(|lock| holder(lock)),
            }));
        }
        found.sort_unstable_by(|a: &Kured, b| a.name.cmp(&b.name));
        found.dedup();
        Ok(found)
    }

    /// Reads the names of system-upgrade-controller's Plans; none where there is no such kind.
    pub async fn upgrade_plans(&mut self) -> Result<Vec<String>, ApiError> {
        match self.get::<List<Object>>(&with(PLANS, &[MANY])).await {
            Ok(list) => Ok(list
                .items
                .into_iter()
                .flatten()
                .map(|it| words(&format!("{}/{}", it.metadata.namespace, it.metadata.name), NOTE))
                .collect()),
            Err(ApiError::Status { code: 404, .. }) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// Reads how far the pods that bring tokens are; `None` where there is no such DaemonSet.
    pub async fn token_pods(&mut self) -> Result<Option<TokenPods>, ApiError> {
        let path = format!("/apis/apps/v1/namespaces/{NAMESPACE}/daemonsets/rebootd-credential");
        match self.get::<Object>(&path).await {
            Ok(Object { status, .. }) => {
                Ok(Some(TokenPods { wanted: status.desired_number_scheduled, ready: status.number_ready }))
            }
            Err(ApiError::Status { code: 404, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads the names of the Nodes that are members of the control plane by the well-known labels.
    pub async fn members(&mut self) -> Result<Vec<String>, ApiError> {
        let mut members = Vec::new();
        // A selector cannot say "this label or that one".
        for label in control_plane_labels(&[]) {
            let list: List<Object> = self.get(&with(NODES, &[("labelSelector", label), MANY])).await?;
            members.extend(list.items.into_iter().flatten().map(|it| name(it.metadata.name)));
        }
        members.sort_unstable();
        members.dedup();
        Ok(members)
    }
}

fn state(name: &str, policy: Option<&Policy>, bindings: &[Binding]) -> PolicyState {
    let denies = |it: &Binding| {
        it.spec.policy_name == name && it.spec.validation_actions.iter().any(|it| it == "Deny")
    };
    let lacks = match policy {
        None => Some("is missing"),
        Some(_) if !bindings.iter().any(denies) => Some("has no binding that denies"),
        // Fail is the default, which the server writes.
        Some(policy) if policy.spec.failure_policy == "Ignore" => Some("lets through what it cannot judge"),
        Some(policy) if !policy.status.type_checking.expression_warnings.is_empty() => {
            Some("has expressions that the API server does not understand")
        }
        Some(_) => None,
    };
    let messages = policy.into_iter().flat_map(|it| &it.spec.validations);
    PolicyState {
        name: name.to_owned(),
        lacks: lacks.map(str::to_owned),
        manifests: messages.filter_map(|it| version(&it.message)).next(),
    }
}

/// Who holds kured's lock: a node, or with `--concurrency` several.
fn holder(lock: &str) -> Option<String> {
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Lock {
        #[serde(rename = "nodeID")]
        node: String,
        locks: Option<Vec<Lock>>,
    }
    if lock.is_empty() {
        return None;
    }
    // What is not understood is shown.
    let Ok(parsed) = serde_json::from_str::<Lock>(lock) else { return Some(words(lock, NOTE)) };
    let several = parsed.locks.into_iter().flatten().map(|it| it.node);
    let holders: Vec<String> =
        [parsed.node].into_iter().chain(several).filter(|node| !node.is_empty()).collect();
    (!holders.is_empty()).then(|| words(&holders.join(", "), NOTE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policies_that_are_looked_for_are_those_of_the_manifests() {
        let files = [
            include_str!("../../packaging/usr/share/rebootd/manifests/policies.yaml"),
            include_str!("../../packaging/usr/share/rebootd/manifests/policies-evictions.yaml"),
        ];
        let lines: Vec<&str> = files.iter().flat_map(|file| file.lines()).collect();
        let names = lines.windows(3).filter(|it| it[0] == "kind: ValidatingAdmissionPolicy");
        let mut names: Vec<&str> = names.filter_map(|it| it[2].strip_prefix("  name: ")).collect();
        let mut known = POLICIES;
        names.sort_unstable();
        known.sort_unstable();
        assert_eq!(names, known);
    }

    #[test]
    fn a_policy_that_refuses_nothing_is_told() {
        let policy = |json: &str| serde_json::from_str::<Policy>(json).unwrap();
        let binding = |json: &str| serde_json::from_str::<Binding>(json).unwrap();
        let denies = [binding(r#"{"spec": {"policyName": "p", "validationActions": ["Audit", "Deny"]}}"#)];
        let warns = [binding(r#"{"spec": {"policyName": "p", "validationActions": ["Warn"]}}"#)];
        let well = policy(
            r#"{"metadata": {"name": "p"}, "spec": {"failurePolicy": "Fail", "validations": [
                {"message": "an agent does this; manifests version 7"}]}, "status": {"observedGeneration": 1}}"#,
        );
        assert_eq!(
            state("p", Some(&well), &denies),
            PolicyState { name: "p".into(), lacks: None, manifests: Some(7) }
        );
        let lacks =
            |policy: Option<&Policy>, bindings: &[Binding]| state("p", policy, bindings).lacks.unwrap();
        assert_eq!(lacks(None, &denies), "is missing");
        assert_eq!(lacks(Some(&well), &warns), "has no binding that denies");
        assert!(
            lacks(Some(&policy(r#"{"spec": {"failurePolicy": "Ignore"}}"#)), &denies)
                .contains("cannot judge")
        );
        let odd = policy(r#"{"status": {"typeChecking": {"expressionWarnings": [{"warning": "x"}]}}}"#);
        assert!(lacks(Some(&odd), &denies).contains("not understand"));
    }

    #[test]
    fn kureds_lock_is_held_by_one_or_by_several() {
        let one =
            r#"{"nodeID":"n1","metadata":{"unschedulable":false},"created":"2026-11-28T10:00:00Z","TTL":0}"#;
        assert_eq!(holder(one).as_deref(), Some("n1"));
        let several = r#"{"maxOwners":2,"locks":[{"nodeID":"n1"},{"nodeID":"n2"}]}"#;
        assert_eq!(holder(several).as_deref(), Some("n1, n2"));
        assert_eq!(holder(r#"{"maxOwners":2,"locks":[]}"#), None);
        assert_eq!(holder(""), None);
        assert_eq!(holder("by \x1b[2Jhand").as_deref(), Some("by [2Jhand"));
    }
}
