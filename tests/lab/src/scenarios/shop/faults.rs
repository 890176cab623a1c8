//! One fault of each kind, what is to be said of it, and how it is mended.

use serde_json::{Value, json};

use super::{Expected, NODES};
use crate::shop::{
    accepts, autoscaler, budget, deployment, job, of_template, pod, service, stateful_set, with,
};
use crate::simulated::kubelet::{BECOMES, NOT_READY};

/// How many pods [`on_one_node`] has.
pub(super) const ON_ONE_NODE: usize = 4;

const SICK: &str = r#"{"status":{"conditions":[{"type":"Ready","status":"False"},{"type":"ContainersReady","status":"False"}]}}"#;
/// As a kubelet tells of a container that it has killed.
const KILLED: &str = r#"{"status":{"containerStatuses":[{"name":"main","image":"app","imageID":"app","ready":true,"restartCount":1,
    "state":{"running":{"startedAt":"2026-11-28T10:00:05Z"}},
    "lastState":{"terminated":{"exitCode":137,"reason":"Error","finishedAt":"2026-11-28T10:00:00Z"}}}]}}"#;
const NIGHT: &str = "single-replica until 2199-12: closed at night";

/// Created while there is one node.
pub(super) fn on_one_node() -> Vec<Value> {
    vec![deployment("cellar", 2), deployment("annex", 2), budget("annex", json!({"maxUnavailable": 1}))]
}

/// What a fault needs that is no workload.
pub(super) fn around() -> Vec<Value> {
    let policy = "admissionregistration.k8s.io/v1";
    let eviction = json!({"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods/eviction"]});
    let volume = |name: &str, class: &str, source: Value| {
        let spec = json!({"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": class});
        with(
            json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": spec}),
            json!({"spec": source}),
        )
    };
    vec![
        json!({
            "apiVersion": policy, "kind": "ValidatingAdmissionPolicy", "metadata": {"name": "ledger"},
            "spec": {
                "matchConstraints": {
                    "resourceRules": [eviction],
                    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": super::NAMESPACE}},
                },
                "validations": [{
                    "expression": "!object.metadata.name.startsWith('ledger')",
                    "message": "the books are being closed",
                }],
            },
        }),
        json!({
            "apiVersion": policy, "kind": "ValidatingAdmissionPolicyBinding", "metadata": {"name": "ledger"},
            "spec": {"policyName": "ledger", "validationActions": ["Deny"]},
        }),
        volume("local", "local-path", json!({"hostPath": {"path": "/var/lib/shop"}})),
        volume("shared", "shared", json!({"nfs": {"server": "files.example.com", "path": "/shop"}})),
    ]
}

/// Each fault once.
pub(super) fn all() -> Vec<Expected> {
    [of_budgets(), of_replicas(), of_ends(), of_places()].into_iter().flatten().collect()
}

fn of_budgets() -> Vec<Expected> {
    let never = |workload, name: &str, count, spec| {
        Expected::new(workload, &["blocks budget-never"], vec![deployment(name, count), budget(name, spec)])
            .paste("budget-never")
    };
    vec![
        never("deployment/web", "web", 3, json!({"minAvailable": "100%"})),
        never("deployment/cart", "cart", 2, json!({"maxUnavailable": 0})),
        never("deployment/search", "search", 2, json!({"minAvailable": "51%"})),
        Expected::new(
            "deployment/login",
            &["blocks budget-never", "warns single-replica"],
            vec![deployment("login", 1), budget("login", json!({"minAvailable": 1}))],
        )
        .paste("budget-never")
        .paste("single-replica"),
        // A Job has no scale: a budget over its pods can only have a number.
        Expected::new(
            "job/stocktaking",
            &["blocks budget-never", "note job-begins-again"],
            vec![job("stocktaking", 1), budget("stocktaking", json!({"minAvailable": 1}))],
        )
        .paste("budget-never")
        .left(&["note job-begins-again"]),
        Expected::new(
            "job/import",
            &["blocks budget-broken", "note job-begins-again"],
            vec![job("import", 2), budget("import", json!({"maxUnavailable": 1}))],
        )
        .paste("budget-broken")
        .left(&["note job-begins-again"]),
        Expected::new(
            "statefulset/stock",
            &["blocks budget-not-now"],
            vec![stateful_set("stock", 3), budget("stock", json!({"maxUnavailable": 1}))],
        )
        .then(&["annotate", "pod", "stock-1", &format!("{BECOMES}={NOT_READY}")])
        .then(&["patch", "pod", "stock-1", "--subresource=status", "--patch", SICK])
        .paste("budget-not-now")
        .by(&["annotate", "pod", "stock-1", &format!("{BECOMES}-")]),
        // All are sick: the remedy's YAML lets them go, and that they are sick is left.
        Expected::new(
            "statefulset/payment",
            &["blocks budget-not-now"],
            vec![
                with(
                    stateful_set("payment", 2),
                    json!({"spec": {"template": {"metadata": {"annotations": {BECOMES: NOT_READY}}}}}),
                ),
                budget("payment", json!({"maxUnavailable": 1})),
            ],
        )
        .paste("budget-not-now")
        .left(&["warns not-ready"]),
        // The disruption controller counts the budget that stays only once it is changed, or a pod of it.
        Expected::new(
            "deployment/prices",
            &["blocks two-budgets"],
            vec![
                deployment("prices", 2),
                budget("prices", json!({"maxUnavailable": 1})),
                with(
                    budget("prices", json!({"minAvailable": 1})),
                    json!({"metadata": {"name": "prices-too"}}),
                ),
            ],
        )
        .by(&["delete", "poddisruptionbudget", "prices-too"])
        .by(&["annotate", "poddisruptionbudget", "prices", "shop/counted=again"]),
        Expected::new(
            "deployment/api",
            &["warns budget-never-at-minimum"],
            vec![deployment("api", 3), budget("api", json!({"minAvailable": 2})), autoscaler("api", 2)],
        )
        .paste("budget-never-at-minimum"),
        Expected::new(
            "namespace/shop",
            &["warns budget-without-pods"],
            vec![budget("renamed", json!({"maxUnavailable": 1}))],
        )
        .by(&["delete", "poddisruptionbudget", "renamed"])
        .gone(),
        Expected::new(
            "deployment/ledger",
            &["blocks refused", "note no-budget"],
            vec![deployment("ledger", 2)],
        )
        .by(&["delete", "validatingadmissionpolicybinding", "ledger"])
        .paste("no-budget"),
    ]
}

fn of_replicas() -> Vec<Expected> {
    let sick = format!("{BECOMES}={NOT_READY}");
    vec![
        Expected::new("deployment/mail", &["warns single-replica"], vec![deployment("mail", 1)])
            .paste("single-replica")
            .left(&["note no-budget"]),
        Expected::new(
            "deployment/press",
            &["warns single-replica"],
            vec![deployment("press", 2), autoscaler("press", 1)],
        )
        .paste("single-replica")
        .left(&["note no-budget"]),
        Expected::new("deployment/cellar", &["warns one-node"], vec![]).paste("one-node"),
        Expected::new(
            "statefulset/courier",
            &["warns not-ready", "note no-budget"],
            vec![stateful_set("courier", 3)],
        )
        .then(&["annotate", "pod", "courier-1", &sick])
        .then(&["patch", "pod", "courier-1", "--subresource=status", "--patch", SICK])
        .by(&["annotate", "pod", "courier-1", &format!("{BECOMES}-")])
        .paste("no-budget"),
        Expected::new(
            "deployment/catalog",
            &["warns no-readiness", "note no-budget"],
            vec![unprobed(deployment("catalog", 2)), service("catalog")],
        )
        .paste("no-readiness")
        .paste("no-budget"),
        Expected::new(
            "deployment/sessions",
            &["warns empty-dir", "warns single-replica"],
            vec![with(
                deployment("sessions", 1),
                of_template(json!({"volumes": [{"name": "cache", "emptyDir": {}}]})),
            )],
        )
        .by(&[
            "patch",
            "deployment",
            "sessions",
            "--patch",
            r#"{"spec":{"template":{"spec":{"volumes":null}}}}"#,
        ])
        .paste("single-replica")
        .left(&["note no-budget"]),
        Expected::new(
            "deployment/lamps",
            &["warns accept-unread", "warns single-replica"],
            vec![with(deployment("lamps", 1), accepts("it may be so"))],
        )
        .by(&["annotate", "--overwrite", "deployment", "lamps", &format!("rebootd.io/accept={NIGHT}")])
        .left(&["accepted single-replica"]),
    ]
}

/// Without a readiness probe.
pub(super) fn unprobed(mut workload: Value) -> Value {
    if let Some(container) = workload.pointer_mut("/spec/template/spec/containers/0") {
        container["readinessProbe"] = Value::Null;
    }
    workload
}

fn of_ends() -> Vec<Expected> {
    let mut once = pod("migration");
    once["spec"]["restartPolicy"] = json!("Never");
    vec![
        Expected::new(
            "statefulset/print",
            &["warns killed", "note no-budget"],
            vec![stateful_set("print", 2)],
        )
        .then(&["patch", "pod", "print-0", "--subresource=status", "--patch", KILLED])
        .paste("killed")
        .paste("no-budget"),
        Expected::new("pod/debug", &["warns bare"], vec![pod("debug")])
            .by(&["delete", "pod", "debug"])
            .gone(),
        Expected::new(
            "pod/relay",
            &["blocks bare-under-budget"],
            vec![pod("relay"), budget("relay", json!({"minAvailable": 0}))],
        )
        .by(&["delete", "pod,poddisruptionbudget", "relay"])
        .gone(),
        Expected::new("pod/migration", &["blocks runs-once"], vec![once])
            .by(&["delete", "pod", "migration"])
            .gone(),
        Expected::new(
            "job/report",
            &["warns job-fails"],
            vec![with(job("report", 1), json!({"spec": {"backoffLimit": 0}}))],
        )
        .again("job-fails")
        .left(&["note job-begins-again"]),
    ]
}

fn of_places() -> Vec<Expected> {
    let claim = |name: &str, class: &str| {
        let spec = json!({
            "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, "storageClassName": class,
        });
        json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": spec})
    };
    let of_claim = |name: &str| {
        let volume = json!({"name": "data", "persistentVolumeClaim": {"claimName": name}});
        with(with(deployment("orders", 1), of_template(json!({"volumes": [volume]}))), accepts(NIGHT))
    };
    let hostname = "kubernetes.io/hostname";
    vec![
        Expected::new(
            "deployment/vault",
            &["blocks nowhere-to-go"],
            vec![
                with(deployment("vault", 2), of_template(json!({"nodeSelector": {hostname: NODES[1]}}))),
                budget("vault", json!({"maxUnavailable": 1})),
            ],
        )
        .by(&[
            "patch",
            "deployment",
            "vault",
            "--patch",
            r#"{"spec":{"template":{"spec":{"nodeSelector":null}}}}"#,
        ]),
        // The other node that could take it is cordoned by a person, and then by rebootd, whose cordon ends by itself.
        Expected::new(
            "deployment/images",
            &["warns nowhere-to-go", "accepted single-replica"],
            vec![with(
                with(deployment("images", 1), of_template(json!({"nodeSelector": {"disk": "ssd"}}))),
                accepts(NIGHT),
            )],
        )
        .by(&["annotate", "node", NODES[3], "rebootd.io/cordon=shop"])
        .left(&["accepted single-replica"]),
        Expected::new(
            "deployment/orders",
            &["warns local-volume", "accepted single-replica"],
            vec![claim("local", "local-path"), claim("shared", "shared"), of_claim("local")],
        )
        .apply(of_claim("shared"))
        .left(&["accepted single-replica"]),
        Expected::new(
            "deployment/proxy",
            &["warns comes-back", "note no-budget"],
            vec![with(deployment("proxy", 2), of_template(json!({"tolerations": [{"operator": "Exists"}]})))],
        )
        .by(&[
            "patch",
            "deployment",
            "proxy",
            "--patch",
            r#"{"spec":{"template":{"spec":{"tolerations":null}}}}"#,
        ])
        .paste("no-budget"),
    ]
}
