//! The cases, by what they are about.

use std::time::Duration;

use rebootd::decide::Impact;
use rebootd::rehearse::{Answer, LastTime, Verdict};
use serde_json::{Value, json};

use super::shop::Shop;

pub struct Case {
    pub name: &'static str,
    pub expects: Expects,
    pub make: fn(&mut Shop),
}

pub enum Expects {
    /// The verdict on all of it, and the findings that are more than notes, the worst first.
    Is(Verdict, &'static [&'static str]),
    /// It may look like a fault, and is none.
    Silence,
}

use Expects::{Is, Silence};
use Verdict::{Blocks, CouldNotTell, Warns};

const fn case(name: &'static str, expects: Expects, make: fn(&mut Shop)) -> Case {
    Case { name, expects, make }
}

fn at<'a>(object: &'a mut Value, path: &str) -> &'a mut Value {
    path.split('.').fold(object, |value, key| &mut value[key])
}

/// The status of a pod that is not Ready.
fn sick(shop: &mut Shop, pod: &str) {
    *at(shop.get("pods", pod), "status.conditions") = json!([{"type": "Ready", "status": "False"}]);
}

fn operated(shop: &mut Shop, kind: &'static str, name: &str, api: &str, owner: &str) {
    *at(shop.get(kind, name), "metadata.ownerReferences") =
        json!([{"apiVersion": api, "kind": owner, "name": "main", "controller": true}]);
}

pub const CASES: &[Case] = &[
    // Budgets.
    case("a shop in which all is well", Silence, |shop| {
        shop.deployment("web", &["n1", "n2", "n3"]);
        shop.budget("web", json!({"maxUnavailable": 1}), (3, 2, 3));
        shop.service("web");
        shop.stateful_set("db", &["n1", "n2", "n3"]);
        shop.budget("db", json!({"minAvailable": 2}), (3, 2, 3));
    }),
    case("a budget that wants all of them", Is(Blocks, &["budget-never"]), |shop| {
        shop.deployment("api", &["n1", "n2", "n3"]);
        shop.budget("api", json!({"minAvailable": "100%"}), (3, 3, 3));
    }),
    case("a budget that lets none be unavailable", Is(Blocks, &["budget-never"]), |shop| {
        shop.deployment("api", &["n1", "n2"]);
        shop.budget("api", json!({"maxUnavailable": 0}), (2, 2, 2));
    }),
    case("a budget of no per cent", Is(Blocks, &["budget-never"]), |shop| {
        shop.deployment("api", &["n1", "n2"]);
        shop.budget("api", json!({"maxUnavailable": "0%"}), (2, 2, 2));
    }),
    case("a budget that wants more than there are", Is(Blocks, &["budget-never"]), |shop| {
        shop.deployment("api", &["n1", "n2"]);
        shop.budget("api", json!({"minAvailable": 3}), (2, 3, 2));
    }),
    case(
        "the only pod under a budget that wants one",
        Is(Blocks, &["budget-never", "single-replica"]),
        |shop| {
            shop.deployment("api", &["n1"]);
            shop.budget("api", json!({"minAvailable": 1}), (1, 1, 1));
        },
    ),
    case("a share that rounds up to all of them", Is(Blocks, &["budget-never"]), |shop| {
        shop.deployment("api", &["n1", "n2"]);
        shop.budget("api", json!({"minAvailable": "51%"}), (2, 2, 2));
    }),
    case("a share that rounds up to one that may go", Silence, |shop| {
        shop.deployment("api", &["n1", "n2", "n3"]);
        shop.budget("api", json!({"maxUnavailable": "1%"}), (3, 2, 3));
    }),
    case("a share that keeps two of three", Silence, |shop| {
        shop.deployment("api", &["n1", "n2", "n3"]);
        shop.budget("api", json!({"minAvailable": "51%"}), (3, 2, 3));
    }),
    case("a budget that lets nobody go now", Is(Blocks, &["budget-not-now"]), |shop| {
        shop.deployment("api", &["n1", "n2", "n3"]);
        shop.budget("api", json!({"maxUnavailable": 1}), (2, 2, 3));
        sick(shop, "api-2");
        shop.answers.insert(
            "api-0".into(),
            Answer::ByBudget("The disruption budget api needs 2 healthy pods and has 2 currently".into()),
        );
    }),
    case("the same, while a rollout is under way", Is(CouldNotTell, &["budget-not-now"]), |shop| {
        shop.deployment("api", &["n1", "n2", "n3"]);
        shop.budget("api", json!({"maxUnavailable": 1}), (2, 2, 3));
        *at(shop.get("deployments", "api"), "status.updatedReplicas") = json!(1);
    }),
    case("a budget whose sick pods the API server lets go", Silence, |shop| {
        shop.deployment("api", &["n1", "n2"]);
        shop.budget(
            "api",
            json!({"maxUnavailable": 1, "unhealthyPodEvictionPolicy": "AlwaysAllow"}),
            (1, 1, 2),
        );
        shop.answers.insert("api-0".into(), Answer::Granted);
    }),
    case("two budgets over one pod", Is(Blocks, &["two-budgets"]), |shop| {
        shop.deployment("api", &["n1", "n2"]);
        shop.budget("api", json!({"maxUnavailable": 1}), (2, 1, 2));
        shop.budget("api", json!({"maxUnavailable": 1}), (2, 1, 2));
    }),
    case("a budget that counts owners without a scale", Is(Blocks, &["budget-broken"]), |shop| {
        shop.pods("runner", ("example.com/v1", "Runner", "r"), &["n1", "n2"]);
        shop.budget("runner", json!({"maxUnavailable": 1}), (0, 0, 0));
        *at(shop.get("poddisruptionbudgets", "runner"), "status.conditions") = json!([{
            "type": "DisruptionAllowed", "status": "False", "reason": "SyncFailed",
            "message": "found no controllers for pod \"runner-0\""
        }]);
    }),
    case("a budget that counts a Job's pods by what they have not", Is(Blocks, &["budget-broken"]), |shop| {
        shop.add("jobs", json!({"metadata": {"name": "import"}, "spec": {"backoffLimit": 6}}));
        shop.pods("import", ("batch/v1", "Job", "import"), &["n1"]);
        shop.budget("import", json!({"maxUnavailable": 1}), (0, 0, 0));
        *at(shop.get("poddisruptionbudgets", "import"), "status.conditions") = json!([{
            "type": "DisruptionAllowed", "status": "False", "reason": "SyncFailed",
            "message": "jobs.batch does not implement the scale subresource"
        }]);
    }),
    case("a budget that wants all pods of a Job", Is(Blocks, &["budget-never"]), |shop| {
        shop.add("jobs", json!({"metadata": {"name": "import"}, "spec": {"backoffLimit": 6}}));
        shop.pods("import", ("batch/v1", "Job", "import"), &["n1", "n2", "n3"]);
        shop.budget("import", json!({"minAvailable": "100%"}), (3, 3, 3));
    }),
    case("a budget whose count is old", Is(Blocks, &["budget-not-now"]), |shop| {
        shop.deployment("api", &["n1", "n2"]);
        shop.budget("api", json!({"maxUnavailable": 1}), (1, 1, 2));
    }),
    case("a budget without pods", Is(Warns, &["budget-without-pods"]), |shop| {
        shop.deployment("api", &["n1", "n2"]);
        shop.budget("apii", json!({"maxUnavailable": 1}), (0, 0, 0));
    }),
    case("a budget of a deployment that is scaled to none", Silence, |shop| {
        shop.deployment("api", &[]);
        shop.budget("api", json!({"maxUnavailable": 1}), (0, 0, 0));
    }),
    case("a budget that wants all at night", Is(Warns, &["budget-never-at-minimum"]), |shop| {
        shop.deployment("api", &["n1", "n2", "n3"]);
        shop.autoscaler("api", 2);
        shop.budget("api", json!({"minAvailable": 2}), (3, 2, 3));
    }),
    case("an autoscaler whose minimum the budget leaves room for", Silence, |shop| {
        shop.deployment("api", &["n1", "n2", "n3"]);
        shop.autoscaler("api", 3);
        shop.budget("api", json!({"minAvailable": 2}), (3, 2, 3));
    }),
    case("budgets that may not be read", Is(CouldNotTell, &["budgets-unread"]), |shop| {
        shop.deployment("api", &["n1", "n2"]);
        shop.unread.insert("poddisruptionbudgets", "no right to list poddisruptionbudgets");
    }),
    case("a webhook that refuses", Is(Blocks, &["refused"]), |shop| {
        shop.deployment("api", &["n1", "n2"]);
        let why = "admission webhook \"guard.example.com\" denied the request: not today";
        shop.answers.insert("api-1".into(), Answer::ByOthers(why.into()));
    }),
    case("a budget over one pod of several, as of a primary", Is(Blocks, &["budget-never"]), |shop| {
        shop.stateful_set("pg", &["n1", "n2", "n3"]);
        shop.get("pods", "pg-1")["metadata"]["labels"] = json!({"app": "pg", "role": "primary"});
        shop.budget("pg", json!({"minAvailable": 1}), (1, 1, 1));
        *at(shop.get("poddisruptionbudgets", "pg"), "spec.selector") =
            json!({"matchLabels": {"role": "primary"}});
    }),
    case("the same, before the disruption controller has counted", Is(Blocks, &["budget-never"]), |shop| {
        shop.stateful_set("pg", &["n1", "n2", "n3"]);
        shop.get("pods", "pg-1")["metadata"]["labels"] = json!({"app": "pg", "role": "primary"});
        let selector = json!({"matchLabels": {"role": "primary"}});
        let budget = json!({"metadata": {"name": "pg", "generation": 1}, "spec": {"minAvailable": 1, "selector": selector}});
        shop.add("poddisruptionbudgets", budget);
    }),
    case("one pod of several under two budgets", Is(Blocks, &["two-budgets"]), |shop| {
        shop.deployment("api", &["n1", "n2"]);
        shop.get("pods", "api-1")["metadata"]["labels"] = json!({"app": "api", "track": "canary"});
        shop.budget("api", json!({"maxUnavailable": 1}), (2, 1, 2));
        shop.add("poddisruptionbudgets", json!({
            "metadata": {"name": "canary"}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"track": "canary"}}},
        }));
    }),
    case("a refusal that the numbers do not explain", Is(Blocks, &["refused"]), |shop| {
        shop.deployment("api", &["n1", "n2"]);
        shop.budget("api", json!({"maxUnavailable": 1}), (2, 1, 2));
        shop.answers.insert(
            "api-0".into(),
            Answer::ByBudget("The disruption budget api is still being processed".into()),
        );
    }),
    case("a budget over everything, and all of one on a node", Is(Warns, &["one-node"]), |shop| {
        shop.deployment("api", &["n1", "n1", "n1"]);
        shop.deployment("web", &["n1", "n2", "n3"]);
        shop.add("poddisruptionbudgets", json!({
            "metadata": {"name": "all", "generation": 1}, "spec": {"minAvailable": 1, "selector": {}},
            "status": {"observedGeneration": 1, "currentHealthy": 6, "desiredHealthy": 1, "expectedPods": 6, "disruptionsAllowed": 5},
        }));
    }),
    case("pods that a pod looks after", Is(Blocks, &["budget-never"]), |shop| {
        shop.pods("exec", ("v1", "Pod", "driver"), &["n1", "n2"]);
        shop.budget("exec", json!({"minAvailable": 2}), (2, 2, 2));
    }),
    case("an owner whose name is no name", Is(Warns, &["one-node"]), |shop| {
        shop.pods(
            "x",
            ("evil.example.com/v1", "Foo\u{1b}[2J", "a\nspec: {}\n---\nkind: ClusterRoleBinding"),
            &["n1", "n1"],
        );
    }),
    // Replicas and requests.
    case("one replica", Is(Warns, &["single-replica"]), |shop| shop.deployment("web", &["n1"])),
    case("an autoscaler that may leave one", Is(Warns, &["single-replica"]), |shop| {
        shop.deployment("web", &["n1", "n2"]);
        shop.autoscaler("web", 1);
    }),
    case("one replica that was accepted", Silence, |shop| {
        shop.deployment("web", &["n1"]);
        let why = "downtime-3m until 2027-06: nobody shops at night";
        *at(shop.get("deployments", "web"), "metadata.annotations") = json!({"rebootd.io/accept": why});
    }),
    case("one replica that was accepted until last month", Is(Warns, &["single-replica"]), |shop| {
        shop.deployment("web", &["n1"]);
        let why = "single-replica until 2026-10: nobody shops at night";
        *at(shop.get("deployments", "web"), "metadata.annotations") = json!({"rebootd.io/accept": why});
    }),
    case("something else was accepted", Is(Warns, &["single-replica"]), |shop| {
        shop.deployment("web", &["n1"]);
        *at(shop.get("deployments", "web"), "metadata.annotations") =
            json!({"rebootd.io/accept": "killed: a prototype"});
    }),
    case("what was accepted is not understood", Is(Warns, &["accept-unread", "single-replica"]), |shop| {
        shop.deployment("web", &["n1"]);
        *at(shop.get("deployments", "web"), "metadata.annotations") =
            json!({"rebootd.io/accept": "single-replica"});
    }),
    case("what blocks cannot be accepted", Is(Blocks, &["budget-never"]), |shop| {
        shop.deployment("api", &["n1", "n2"]);
        shop.budget("api", json!({"maxUnavailable": 0}), (2, 2, 2));
        *at(shop.get("deployments", "api"), "metadata.annotations") =
            json!({"rebootd.io/accept": "downtime: ours"});
    }),
    case("all on one node, without a budget", Is(Warns, &["one-node"]), |shop| {
        shop.deployment("web", &["n1", "n1"])
    }),
    case("all on one node, under a budget", Silence, |shop| {
        shop.deployment("web", &["n1", "n1"]);
        shop.budget("web", json!({"maxUnavailable": 1}), (2, 1, 2));
    }),
    case("one that is not Ready", Is(Warns, &["not-ready"]), |shop| {
        shop.deployment("web", &["n1", "n2", "n3"]);
        sick(shop, "web-1");
    }),
    case("one that is not Ready in a rollout", Silence, |shop| {
        shop.deployment("web", &["n1", "n2", "n3"]);
        sick(shop, "web-1");
        *at(shop.get("deployments", "web"), "status.observedGeneration") = json!(1);
    }),
    case("the first pods of a Deployment under a budget", Is(CouldNotTell, &["budget-not-now"]), |shop| {
        shop.deployment("web", &["n1", "n2"]);
        shop.budget("web", json!({"maxUnavailable": 1}), (0, 1, 2));
        ["web-0", "web-1"].iter().for_each(|pod| sick(shop, pod));
        *at(shop.get("deployments", "web"), "status.conditions") =
            json!([{"type": "Progressing", "status": "True", "reason": "ReplicaSetUpdated"}]);
    }),
    case("a rollout that is stuck", Is(Warns, &["not-ready"]), |shop| {
        shop.deployment("web", &["n1", "n2", "n3"]);
        sick(shop, "web-1");
        *at(shop.get("deployments", "web"), "status.updatedReplicas") = json!(1);
        *at(shop.get("deployments", "web"), "status.conditions") =
            json!([{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}]);
    }),
    case("a StatefulSet that rolls, or seems to", Is(CouldNotTell, &["not-ready"]), |shop| {
        shop.stateful_set("db", &["n1", "n2", "n3"]);
        sick(shop, "db-1");
        *at(shop.get("statefulsets", "db"), "status.updatedReplicas") = json!(1);
    }),
    case("a StatefulSet that a person rolls", Is(Warns, &["not-ready"]), |shop| {
        shop.stateful_set("db", &["n1", "n2", "n3"]);
        sick(shop, "db-1");
        *at(shop.get("statefulsets", "db"), "status.updatedReplicas") = json!(1);
        *at(shop.get("statefulsets", "db"), "spec.updateStrategy") = json!({"type": "OnDelete"});
    }),
    case("a service without readiness", Is(Warns, &["no-readiness"]), |shop| {
        shop.deployment("web", &["n1", "n2"]);
        shop.service("web");
        shop.each_spec("web", |spec| spec["containers"] = json!([{"name": "nginx"}]));
    }),
    case("a worker without readiness and without a service", Silence, |shop| {
        shop.deployment("worker", &["n1", "n2"]);
        shop.each_spec("worker", |spec| spec["containers"] = json!([{"name": "worker"}]));
    }),
    case("a service that asks for pods that are not ready", Silence, |shop| {
        shop.deployment("peers", &["n1", "n2"]);
        shop.service("peers");
        *at(shop.get("services", "peers"), "spec.publishNotReadyAddresses") = json!(true);
        shop.each_spec("peers", |spec| spec["containers"] = json!([{"name": "main"}]));
    }),
    case("a deployment that is scaled to none", Silence, |shop| shop.deployment("off", &[])),
    // Ends.
    case("a container that was killed the last time", Is(Warns, &["killed"]), |shop| {
        shop.deployment("web", &["n1", "n2"]);
        let ended =
            json!({"terminated": {"exitCode": 137, "reason": "Error", "finishedAt": "2026-11-27T02:00:00Z"}});
        *at(shop.get("pods", "web-0"), "status.containerStatuses") =
            json!([{"name": "main", "lastState": ended}]);
    }),
    case("a container that ran out of memory", Silence, |shop| {
        shop.deployment("web", &["n1", "n2"]);
        let ended = json!({"terminated": {"exitCode": 137, "reason": "OOMKilled"}});
        *at(shop.get("pods", "web-0"), "status.containerStatuses") =
            json!([{"name": "main", "lastState": ended}]);
    }),
    case("a container whose end nobody saw, as after a reboot", Silence, |shop| {
        shop.deployment("web", &["n1", "n2"]);
        let ended =
            json!({"terminated": {"exitCode": 137, "reason": "ContainerStatusUnknown", "finishedAt": null}});
        *at(shop.get("pods", "web-0"), "status.containerStatuses") =
            json!([{"name": "main", "lastState": ended}]);
    }),
    case("a grace period longer than a drain", Is(Blocks, &["grace-too-long"]), |shop| {
        shop.deployment("slow", &["n1", "n2"]);
        shop.each_spec("slow", |spec| spec["terminationGracePeriodSeconds"] = json!(3600));
        shop.deadline = Some(Duration::from_secs(900));
    }),
    case("a pod of its own", Is(Warns, &["bare"]), |shop| {
        shop.pods("tool", ("", "", ""), &["n1"]);
        *at(shop.get("pods", "tool-0"), "metadata.ownerReferences") = json!(null);
    }),
    case("a pod of its own that runs once", Is(Blocks, &["runs-once"]), |shop| {
        shop.pods("tool", ("", "", ""), &["n1"]);
        *at(shop.get("pods", "tool-0"), "metadata.ownerReferences") = json!([]);
        *at(shop.get("pods", "tool-0"), "spec.restartPolicy") = json!("Never");
    }),
    case("a pod of its own at a graceful shutdown", Is(Blocks, &["bare-ends"]), |shop| {
        shop.pods("once", ("", "", ""), &["n1"]);
        *at(shop.get("pods", "once-0"), "metadata.ownerReferences") = json!([]);
        shop.graceful = Some(true);
    }),
    case("a Job of another API group", Is(Warns, &["single-replica"]), |shop| {
        shop.pods("fake", ("batch.volcano.sh/v1alpha1", "Job", "fake"), &["n1"]);
    }),
    case("two that may run on one node only", Is(Warns, &["nowhere-to-go", "one-node"]), |shop| {
        shop.deployment("pinned", &["n1", "n1"]);
        shop.each_spec("pinned", |spec| spec["nodeSelector"] = json!({"kubernetes.io/hostname": "n1"}));
    }),
    case("a pod of its own under a budget", Is(Blocks, &["bare-under-budget"]), |shop| {
        shop.pods("tool", ("", "", ""), &["n1"]);
        *at(shop.get("pods", "tool-0"), "metadata.ownerReferences") = json!([]);
        shop.budget("tool", json!({"minAvailable": 0}), (1, 0, 1));
    }),
    case("a job that may not fail", Is(Warns, &["job-fails"]), |shop| {
        shop.add("jobs", json!({"metadata": {"name": "report"}, "spec": {"backoffLimit": 0}}));
        shop.pods("report", ("batch/v1", "Job", "report"), &["n1"]);
    }),
    case("a job that may, and one that ignores disruptions", Silence, |shop| {
        shop.add("jobs", json!({"metadata": {"name": "report"}, "spec": {"backoffLimit": 6}}));
        shop.pods("report", ("batch/v1", "Job", "report"), &["n1"]);
        let rule = json!({"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]});
        shop.add("jobs", json!({"metadata": {"name": "bill"}, "spec": {"backoffLimit": 0, "podFailurePolicy": {"rules": [rule]}}}));
        shop.pods("bill", ("batch/v1", "Job", "bill"), &["n2"]);
    }),
    case("a job that has ended", Silence, |shop| {
        shop.add("jobs", json!({"metadata": {"name": "report"}, "spec": {"backoffLimit": 0}}));
        shop.pods("report", ("batch/v1", "Job", "report"), &["n1"]);
        *at(shop.get("pods", "report-0"), "status.phase") = json!("Succeeded");
    }),
    // Places.
    case("nowhere else to go", Is(Blocks, &["nowhere-to-go"]), |shop| {
        shop.deployment("gpu", &["n1", "n1"]);
        shop.budget("gpu", json!({"maxUnavailable": 1}), (2, 1, 2));
        shop.each_spec("gpu", |spec| spec["nodeSelector"] = json!({"kubernetes.io/hostname": "n1"}));
    }),
    case("the others are cordoned or tainted", Is(Warns, &["nowhere-to-go"]), |shop| {
        shop.deployment("web", &["n1", "n1"]);
        shop.budget("web", json!({"maxUnavailable": 1}), (2, 1, 2));
        *at(shop.get("nodes", "n2"), "spec.unschedulable") = json!(true);
        *at(shop.get("nodes", "n3"), "spec.taints") = json!([{"key": "gpu", "effect": "NoSchedule"}]);
    }),
    case("nowhere else to go, and a budget for the others", Is(Blocks, &["nowhere-to-go"]), |shop| {
        shop.deployment("gpu", &["n1", "n1", "n1"]);
        shop.budget("gpu", json!({"maxUnavailable": 1}), (3, 2, 3));
        shop.each_spec("gpu", |spec| spec["nodeSelector"] = json!({"kubernetes.io/hostname": "n1"}));
        shop.unread.insert("nodes", "no right to list nodes");
    }),
    case(
        "a node by its field, and one by a number",
        Is(Warns, &["nowhere-to-go", "one-node", "nowhere-to-go", "one-node"]),
        |shop| {
            for (name, terms) in [
                (
                    "field",
                    json!([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]}]),
                ),
                (
                    "cores",
                    json!([{"matchExpressions": [{"key": "cores", "operator": "Gt", "values": ["5"]}]}]),
                ),
            ] {
                shop.deployment(name, &["n1", "n1"]);
                shop.budget(name, json!({"minAvailable": 0}), (2, 0, 2));
                let required =
                    json!({"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}});
                shop.each_spec(name, |spec| spec["affinity"] = json!({"nodeAffinity": required}));
            }
            shop.get("nodes", "n1")["metadata"]["labels"]["cores"] = json!("8");
            shop.get("nodes", "n2")["metadata"]["labels"]["cores"] = json!("2");
        },
    ),
    case("the others are in their turn", Silence, |shop| {
        shop.deployment("web", &["n1", "n2"]);
        for node in ["n2", "n3"] {
            *at(shop.get("nodes", node), "spec.unschedulable") = json!(true);
            *at(shop.get("nodes", node), "metadata.annotations") = json!({"rebootd.io/cordon": "x"});
            *at(shop.get("nodes", node), "spec.taints") =
                json!([{"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}]);
        }
    }),
    case("taints that it tolerates", Silence, |shop| {
        shop.deployment("web", &["n1", "n2"]);
        for node in ["n1", "n2", "n3"] {
            *at(shop.get("nodes", node), "spec.taints") =
                json!([{"key": "shop", "value": "yes", "effect": "NoSchedule"}]);
        }
        shop.each_spec("web", |spec| spec["tolerations"] = json!([{"key": "shop", "operator": "Exists"}]));
    }),
    case("one on each node, and kept apart", Silence, |shop| {
        shop.stateful_set("db", &["n1", "n2", "n3"]);
        shop.each_spec("db", |spec| {
            let term = json!({"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "db"}}});
            spec["affinity"] = json!({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}});
        });
    }),
    case("nodes that may not be read", Silence, |shop| {
        shop.deployment("web", &["n1", "n2"]);
        shop.unread.insert("nodes", "no right to list nodes");
        shop.answers.insert("web-0".into(), Answer::None("no right to create pods/eviction".into()));
    }),
    case("how it went last time, of which several nodes tell", Silence, |shop| {
        shop.deployment("web", &["n1", "n2"]);
        shop.deployment("web-admin", &["n1", "n2"]);
        let impact = |workload: &str, pods: &str, below| Impact {
            namespace: "shop".into(),
            workload: workload.into(),
            pods: pods.into(),
            ready_before: Some(2),
            fewest_ready: 1,
            below,
            recovered: true,
            ..Impact::default()
        };
        for (node, day, impact) in [
            ("n1", "26", impact("web-5d9c", "app=web", 3)),
            ("n2", "27", impact("web-77aa", "app=web", 12)),
            ("n3", "25", impact("web-5d9c", "app=web", 50)),
            ("n3", "28", impact("web-5d9c", "app=other", 50)),
            ("n3", "28", Impact { namespace: "elsewhere".into(), ..impact("web-5d9c", "app=web", 50) }),
        ] {
            let at = format!("2026-11-{day}T03:12:00Z").parse().unwrap();
            shop.last_times.push(LastTime { node: node.into(), at, impact });
        }
    }),
    case("a local volume", Is(Warns, &["local-volume", "single-replica"]), |shop| {
        shop.stateful_set("db", &["n1"]);
        shop.each_spec("db", |spec| {
            spec["volumes"] = json!([{"name": "data", "persistentVolumeClaim": {"claimName": "data-db-0"}}])
        });
        let annotations = json!({"volume.kubernetes.io/storage-provisioner": "rancher.io/local-path"});
        shop.add(
            "persistentvolumeclaims",
            json!({"metadata": {"name": "data-db-0", "annotations": annotations}}),
        );
    }),
    case("a volume that moves", Silence, |shop| {
        shop.stateful_set("db", &["n1", "n2"]);
        shop.each_spec("db", |spec| {
            spec["volumes"] = json!([{"name": "data", "persistentVolumeClaim": {"claimName": "data-db-0"}}])
        });
        shop.add(
            "persistentvolumeclaims",
            json!({"metadata": {"name": "data-db-0"}, "spec": {"storageClassName": "ceph"}}),
        );
    }),
    case("scratch space of the only replica", Is(Warns, &["empty-dir", "single-replica"]), |shop| {
        shop.deployment("web", &["n1"]);
        shop.each_spec("web", |spec| spec["volumes"] = json!([{"name": "cache", "emptyDir": {}}]));
    }),
    case("scratch space of several", Silence, |shop| {
        shop.deployment("web", &["n1", "n2"]);
        shop.each_spec("web", |spec| spec["volumes"] = json!([{"name": "cache", "emptyDir": {}}]));
    }),
    case("one that tolerates everything", Is(Warns, &["comes-back"]), |shop| {
        shop.deployment("web", &["n1", "n2"]);
        shop.each_spec("web", |spec| spec["tolerations"] = json!([{"operator": "Exists"}]));
    }),
    case("one that names its node", Is(Warns, &["comes-back"]), |shop| {
        shop.deployment("web", &["n1", "n2"]);
        *at(shop.get("deployments", "web"), "spec.template.spec.nodeName") = json!("n1");
    }),
    // Others that look after pods.
    case("CloudNativePG's primary, as the API server refuses it", Silence, |shop| {
        let owner = ("postgresql.cnpg.io/v1", "Cluster", "pg");
        shop.pods("pg", owner, &["n1"]);
        shop.pods("replica", owner, &["n2"]);
        shop.budget("pg", json!({"minAvailable": 1}), (1, 1, 1));
        let why = "The disruption budget pg needs 1 healthy pods and has 1 currently";
        shop.answers.insert("pg-0".into(), Answer::ByBudget(why.into()));
        shop.answers.insert("replica-0".into(), Answer::Granted);
    }),
    case(
        "an operator's pods that do not say when they are ready",
        Is(Warns, &["killed", "no-readiness"]),
        |shop| {
            shop.pods("pg", ("postgresql.cnpg.io/v1", "Cluster", "pg"), &["n1", "n2"]);
            shop.service("pg");
            shop.each_spec("pg", |spec| spec["containers"] = json!([{"name": "postgres"}]));
            *at(shop.get("pods", "pg-0"), "status.containerStatuses") = json!([{"name": "postgres", "lastState": {"terminated": {"exitCode": 137, "reason": "Error"}}}]);
        },
    ),
    case("CloudNativePG's primary under its budget", Silence, |shop| {
        shop.pods("pg", ("postgresql.cnpg.io/v1", "Cluster", "pg"), &["n1", "n2", "n3"]);
        shop.budget("pg", json!({"minAvailable": 1}), (1, 1, 1));
        operated(shop, "poddisruptionbudgets", "pg", "postgresql.cnpg.io/v1", "Cluster");
    }),
    case("Rook's budgets of a failure domain", Silence, |shop| {
        shop.deployment("osd", &["n1", "n2"]);
        shop.budget("osd", json!({"maxUnavailable": 0}), (2, 2, 2));
        operated(shop, "deployments", "osd", "ceph.rook.io/v1", "CephCluster");
    }),
    case("KubeVirt moves its virtual machine", Silence, |shop| {
        shop.pods("vm", ("kubevirt.io/v1", "VirtualMachineInstance", "vm"), &["n1", "n2"]);
        let why = "admission webhook \"virt-launcher-eviction-interceptor.kubevirt.io\" denied the request: Eviction triggered evacuation";
        shop.answers.insert("vm-0".into(), Answer::ByOthers(why.into()));
    }),
    case("an unknown operator's only pod", Is(Warns, &["single-replica"]), |shop| {
        shop.pods("mon", ("monitoring.example.com/v1", "Monitor", "mon"), &["n1"]);
    }),
    case("a DaemonSet", Silence, |shop| {
        shop.pods("agent", ("apps/v1", "DaemonSet", "agent"), &["n1", "n2", "n3"]);
        shop.service("agent");
        shop.each_spec("agent", |spec| {
            spec["containers"] = json!([{"name": "agent"}]);
            spec["tolerations"] = json!([{"operator": "Exists"}]);
        });
    }),
    case("a static pod's mirror", Silence, |shop| {
        shop.pods("proxy", ("v1", "Node", "n1"), &["n1"]);
        *at(shop.get("pods", "proxy-0"), "metadata.annotations") =
            json!({"kubernetes.io/config.mirror": "x"});
    }),
];
