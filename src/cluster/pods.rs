//! Pods and their disruption budgets, with the fields that we read, and how they become facts.

use std::time::Duration;

use serde::Deserialize;

use super::objects::{Condition, Meta};
use crate::decide::{Budget, Owner, PodKey, PodView, Replica, hash};
use crate::notation::{LabelSelector, Selector};
use crate::words::name;

/// The taints of a Node whose kubelet is silent or says that it is not ready: pods that do not tolerate them are deleted.
const WITHOUT_NODE: [&str; 2] = ["node.kubernetes.io/unreachable", "node.kubernetes.io/not-ready"];
/// What no value in a selector is longer than, as for labels.
const LONGEST_VALUE: usize = 63;
/// In the place of a longer value: a selector cannot contain these parentheses, so this equals no value in one.
const TOO_LONG: &str = "(too long)";
/// The value of the PriorityClass `system-cluster-critical`; `system-node-critical` is higher.
const SYSTEM_CRITICAL: i64 = 2_000_000_000;
/// The API server's own default, in seconds.
const DEFAULT_GRACE: i64 = 30;
/// Longer than any drain, and short enough that nothing counted from it overflows.
const LONGEST_GRACE: i64 = 10 * 365 * 86_400;

/// A number in one object; if it is odd, the rest of the list must still be readable. Absent if it is not a 64-bit
/// integer.
#[derive(Deserialize, Default)]
#[serde(from = "AnyNumber")]
struct Number(Option<i64>);

#[derive(Deserialize)]
#[serde(untagged)]
enum AnyNumber {
    Whole(i64),
    Other(serde::de::IgnoredAny),
}

impl From<AnyNumber> for Number {
    fn from(number: AnyNumber) -> Number {
        match number {
            AnyNumber::Whole(number) => Number(Some(number)),
            AnyNumber::Other(_) => Number(None),
        }
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Pod {
    metadata: Meta,
    spec: PodSpec,
    status: PodStatus,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct PodSpec {
    termination_grace_period_seconds: Number,
    node_name: String,
    restart_policy: String,
    priority: Number,
    volumes: Option<Vec<Volume>>,
    tolerations: Option<Vec<Toleration>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Volume {
    name: String,
    empty_dir: Option<serde::de::IgnoredAny>,
    ephemeral: Option<serde::de::IgnoredAny>,
    persistent_volume_claim: Option<ClaimReference>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct ClaimReference {
    claim_name: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Toleration {
    key: String,
    operator: String,
    effect: String,
    value: String,
    #[serde(rename = "tolerationSeconds")]
    seconds: Number,
}

impl Toleration {
    /// Whether it tolerates this taint of effect NoExecute (`v1.Toleration.ToleratesTaint` in k8s.io/api).
    fn tolerates(&self, taint: &str) -> bool {
        let key = self.key == taint || (self.key.is_empty() && self.operator == "Exists");
        let effect = self.effect.is_empty() || self.effect == "NoExecute";
        key && effect && (self.operator == "Exists" || self.value.is_empty())
    }
}

/// How long a pod with these tolerations is kept while its node is silent; `None`: for ever. As the taint eviction
/// controller counts it: the shortest of those that fit (`getMinTolerationTime` in its `taint_eviction.go`).
fn kept_without_node(tolerations: &[Toleration]) -> Option<Duration> {
    let kept = |taint: &&str| {
        let fits = tolerations.iter().filter(|it| it.tolerates(taint));
        let seconds: Vec<Option<i64>> = fits.map(|it| it.seconds.0).collect();
        if seconds.is_empty() { Some(0) } else { seconds.into_iter().flatten().min() }
    };
    WITHOUT_NODE
        .iter()
        .filter_map(kept)
        .min()
        .map(|it| Duration::from_secs(it.clamp(0, LONGEST_GRACE).unsigned_abs()))
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct PodStatus {
    phase: String,
    /// Go sometimes writes an empty list as `null`.
    conditions: Option<Vec<Condition>>,
    container_statuses: Option<Vec<ContainerStatus>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct ContainerStatus {
    #[serde(rename = "containerID")]
    container_id: String,
    restart_count: Number,
}

impl Pod {
    pub(super) fn node(&self) -> &str {
        &self.spec.node_name
    }
}

impl From<Pod> for Replica {
    fn from(pod: Pod) -> Replica {
        let Pod { metadata, status, .. } = pod;
        let leaving = metadata.deletion_timestamp.is_some();
        let statuses = status.container_statuses.iter().flatten();
        let restarts = statuses.filter_map(|it| it.restart_count.0).map(|it| it.max(0).unsigned_abs());
        Replica {
            uid: metadata.uid,
            ready: !leaving && is_ready(&status.conditions),
            leaving,
            pending: status.phase == "Pending",
            restarts: restarts.fold(0, u64::saturating_add),
        }
    }
}

/// A hash of the ids of all containers, if the kubelet tells any.
fn instance(statuses: &[ContainerStatus]) -> Option<u64> {
    let ids: Vec<&str> = statuses.iter().map(|it| it.container_id.as_str()).collect();
    ids.iter().any(|id| !id.is_empty()).then(|| hash(&ids))
}

fn is_ready(conditions: &Option<Vec<Condition>>) -> bool {
    conditions.iter().flatten().any(|it| it.kind == "Ready" && it.status == "True")
}

impl From<Pod> for PodView {
    fn from(pod: Pod) -> PodView {
        let Pod { metadata, spec, status } = pod;
        let controller = metadata.owner_references.into_iter().find(|owner| owner.controller);
        let owner = if metadata.annotations.contains_key("kubernetes.io/config.mirror") {
            Owner::Kubelet
        } else {
            match &controller {
                None => Owner::Nobody,
                Some(it) if it.kind == "DaemonSet" => Owner::DaemonSet,
                Some(_) => Owner::Controller,
            }
        };
        // The API server accepts any text as the name of an owner.
        let (controller, controller_uid) = controller.map(|it| (name(it.name), it.uid)).unwrap_or_default();
        let pod_name = metadata.name;
        let volumes = spec.volumes.unwrap_or_default();
        // The claim of an ephemeral volume is named after its pod and volume.
        let claim = |volume: &Volume| match &volume.persistent_volume_claim {
            Some(claim) => Some(claim.claim_name.clone()),
            None => volume.ephemeral.map(|_| format!("{pod_name}-{}", volume.name)),
        };
        PodView {
            owner,
            controller,
            controller_uid,
            labels: metadata.labels,
            annotations: metadata.annotations.into_iter().map(bounded).collect(),
            ready: is_ready(&status.conditions),
            running: status.phase == "Running",
            instance: instance(status.container_statuses.as_deref().unwrap_or_default()),
            finished: status.phase == "Succeeded" || status.phase == "Failed",
            terminating: metadata.deletion_timestamp.is_some(),
            grace: grace(spec.termination_grace_period_seconds),
            critical: spec.priority.0.is_some_and(|priority| priority >= SYSTEM_CRITICAL),
            runs_once: spec.restart_policy == "Never",
            empty_dir: volumes.iter().any(|volume| volume.empty_dir.is_some()),
            deleted_without_node: kept_without_node(spec.tolerations.as_deref().unwrap_or_default()),
            claims: volumes.iter().filter_map(claim).collect(),
            key: PodKey { namespace: metadata.namespace, name: pod_name, uid: metadata.uid },
        }
    }
}

/// The key stays, however long the value is: somebody has marked the pod with it.
fn bounded((key, value): (String, String)) -> (String, String) {
    (key, if value.len() <= LONGEST_VALUE { value } else { TOO_LONG.to_owned() })
}

/// As Kubernetes treats it: a negative one counts as a second (`CheckGracefulDelete` of
/// `pkg/registry/core/pod/strategy.go`).
fn grace(seconds: Number) -> Duration {
    let seconds = match seconds.0.unwrap_or(DEFAULT_GRACE).min(LONGEST_GRACE) {
        negative if negative < 0 => 1,
        seconds => seconds,
    };
    Duration::from_secs(seconds.unsigned_abs())
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct DisruptionBudget {
    metadata: Meta,
    spec: DisruptionBudgetSpec,
    status: DisruptionBudgetStatus,
}

impl DisruptionBudget {
    /// Whether it lets a pod go now.
    pub(super) fn opens(&self) -> bool {
        self.status.disruptions_allowed.0.is_some_and(|allowed| allowed > 0)
    }
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct DisruptionBudgetStatus {
    disruptions_allowed: Number,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct DisruptionBudgetSpec {
    selector: Option<LabelSelector>,
}

impl From<DisruptionBudget> for Budget {
    fn from(budget: DisruptionBudget) -> Budget {
        Budget {
            namespace: budget.metadata.namespace,
            name: budget.metadata.name,
            selector: budget.spec.selector.map(Selector::from),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;

    fn pod(spec: serde_json::Value) -> PodView {
        serde_json::from_value::<Pod>(json!({"metadata": {"name": "db-0"}, "spec": spec})).unwrap().into()
    }

    #[test]
    fn a_pod_is_kept_without_its_node_for_as_long_as_it_tolerates_that() {
        let kept = |tolerations: serde_json::Value| {
            pod(json!({ "tolerations": tolerations })).deleted_without_node.map(|time| time.as_secs())
        };
        let of = |key: &str, seconds: serde_json::Value| json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds});
        let [unreachable, not_ready] = WITHOUT_NODE;
        // What the API server adds to every pod.
        assert_eq!(kept(json!([of(not_ready, json!(300)), of(unreachable, json!(300))])), Some(300));
        assert_eq!(kept(json!([of(not_ready, json!(300)), of(unreachable, json!(60))])), Some(60));
        assert_eq!(kept(json!([of(not_ready, json!(null)), of(unreachable, json!(null))])), None);
        assert_eq!(kept(json!([{"operator": "Exists"}])), None);
        assert_eq!(kept(json!([of(unreachable, json!(-5)), {"operator": "Exists"}])), Some(0));
        assert_eq!(kept(json!([])), Some(0));
    }

    #[test]
    fn an_annotation_selects_its_pod_however_long_its_value_is() {
        let why = "a simulation that runs until Friday evening; please ask maria@example.com before";
        let annotations = json!({ "example.com/do-not-reboot": why, "example.com/team": "db" });
        let pod = json!({ "metadata": { "name": "db-0", "annotations": annotations } });
        let view = PodView::from(serde_json::from_value::<Pod>(pod).unwrap());
        let selects = |text: &str| text.parse::<Selector>().unwrap().selects(&view.annotations);
        for text in ["example.com/do-not-reboot", "example.com/do-not-reboot!=no", "example.com/team=db"] {
            assert!(selects(text), "{text}");
        }
        for text in [
            "!example.com/do-not-reboot",
            "example.com/do-not-reboot=yes",
            "example.com/do-not-reboot=",
            "example.com/do-not-reboot in (yes,(too long)",
        ] {
            assert!(!selects(text), "{text}");
        }
        assert!(view.annotations.values().all(|value| value.len() <= LONGEST_VALUE));
    }

    #[test]
    fn volumes_tell_what_is_lost_and_what_is_attached() {
        let volumes = json!([
            {"name": "scratch", "ephemeral": {"volumeClaimTemplate": {}}},
            {"name": "data", "persistentVolumeClaim": {"claimName": "data-db-0"}},
            {"name": "logs", "hostPath": {"path": "/var/log"}},
        ]);
        let view = pod(json!({"volumes": volumes, "priority": 2_000_000_000}));
        assert!(view.claims.iter().eq(["data-db-0", "db-0-scratch"]));
        assert!(!view.empty_dir && view.critical);
        let view = pod(json!({"volumes": [{"name": "cache", "emptyDir": {"medium": "Memory"}}]}));
        assert!(view.empty_dir && view.claims.is_empty() && !view.critical);
    }

    #[test]
    fn one_odd_number_makes_no_list_unreadable() {
        let grace = |number: &str| {
            let list = format!(
                r#"{{"metadata": {{}}, "items": [{{"spec": {{"terminationGracePeriodSeconds": {number}}}}}, {{}}]}}"#
            );
            let list: super::super::objects::List<Pod> = serde_json::from_str(&list).unwrap();
            let pods: Vec<PodView> = list.items.unwrap().into_iter().map(PodView::from).collect();
            assert_eq!(pods[1].grace, Duration::from_secs(30));
            pods[0].grace.as_secs()
        };
        assert_eq!((grace("0"), grace("7"), grace("3600")), (0, 7, 3600));
        assert_eq!((grace("-1"), grace("-9223372036854775808")), (1, 1));
        let longest = LONGEST_GRACE.unsigned_abs();
        assert_eq!(grace("9223372036854775807"), longest);
        for absent in ["null", "18446744073709551615", "1e300", "7.5", "\"7\"", "{}"] {
            assert_eq!(grace(absent), 30, "{absent}");
        }
        let critical = |priority| pod(json!({ "priority": priority })).critical;
        assert!(critical(json!(2_000_001_000)) && critical(json!(i64::MAX)));
        assert!(!critical(json!(-5)) && !critical(json!(null)) && !critical(json!(1e300)));
    }

    #[test]
    fn an_owners_name_is_made_fit_for_people() {
        let owners = json!([{ "kind": "DaemonSet", "name": "cni\u{1b}[1m", "controller": true }]);
        let pod = json!({ "metadata": { "ownerReferences": owners } });
        let view = PodView::from(serde_json::from_value::<Pod>(pod).unwrap());
        assert_eq!((view.owner, view.controller.as_str()), (Owner::DaemonSet, "\"cni [1m\""));
    }

    #[test]
    fn a_budget_without_a_selector_selects_nothing_and_an_empty_one_everything() {
        let budget = |spec| Budget::from(serde_json::from_value::<DisruptionBudget>(spec).unwrap());
        assert_eq!(budget(json!({"spec": {"minAvailable": 1}})).selector, None);
        let empty = budget(json!({"spec": {"selector": {}}})).selector.unwrap();
        assert!(empty.selects(&BTreeMap::new()));
        let expressions = json!([{"key": "app", "operator": "In", "values": ["db"]}]);
        let both = json!({"matchLabels": {"tier": "x"}, "matchExpressions": expressions});
        let selector = budget(json!({"spec": {"selector": both}})).selector.unwrap();
        let labels = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        assert!(selector.selects(&labels(&[("app", "db"), ("tier", "x")])));
        assert!(!selector.selects(&labels(&[("app", "db")])));
    }
}
