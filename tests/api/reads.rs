//! Every reading, of objects as a real API server gives them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rebootd::cluster::ApiError;
use rebootd::decide::settings::{ObjectField, Prometheus, Query};
use rebootd::decide::{Failure, Owner};
use serde_json::json;

use crate::server::{Server, with_server};

pub const NODES: &str = "/api/v1/nodes";
pub const SLOTS: &str = "/apis/coordination.k8s.io/v1/namespaces/rebootd/leases";
pub const PODS: &str = "/api/v1/namespaces/default/pods";

pub async fn node(server: &Server, name: &str, metadata: serde_json::Value) -> serde_json::Value {
    let mut metadata = metadata;
    metadata["name"] = json!(name);
    server.create(NODES, json!({ "metadata": metadata })).await
}

pub async fn ready(server: &Server, name: &str, ready: &str) {
    let condition = json!({
        "type": "Ready", "status": ready, "reason": "x", "message": "y",
        "lastHeartbeatTime": "2026-11-27T17:00:00Z", "lastTransitionTime": "2026-11-27T16:00:00Z",
    });
    let status = json!({ "status": {
        "conditions": [condition],
        "allocatable": { "cpu": "4", "memory": "8Gi" },
        "nodeInfo": { "bootID": "0F1E2D3C-0000-4000-8000-000000000001", "machineID": "c".repeat(32) },
    } });
    server.patch(&format!("{NODES}/{name}/status"), status).await;
}

pub fn pod(name: &str, node: &str) -> serde_json::Value {
    json!({
        "metadata": { "name": name, "labels": { "app": name } },
        "spec": { "nodeName": node, "containers": [{ "name": "c", "image": "i" }] },
    })
}

#[test]
fn the_own_node() {
    with_server(async |server| {
        let mut api = server.api("read-1");
        assert_eq!(api.node().await.unwrap(), None);
        let annotations = json!({
            "rebootd.io/hold": "a disk\n is\u{1b}[5m replaced\u{202e}", "rebootd.io/request": "firmware",
            "cluster-autoscaler.kubernetes.io/scale-down-disabled": "true", "other": "x".repeat(200 << 10),
        });
        let labels = json!({ "rebootd.io/pool": "reads", "node-role.kubernetes.io/control-plane": "" });
        node(server, "read-1", json!({ "annotations": annotations, "labels": labels })).await;
        let taint = json!({ "key": "dedicated", "value": "db", "effect": "NoSchedule" });
        server.patch(&format!("{NODES}/read-1"), json!({ "spec": { "taints": [taint] } })).await;
        ready(server, "read-1", "True").await;
        let read = api.node().await.unwrap().unwrap();
        assert!(!read.uid.is_empty() && !read.resource_version.is_empty());
        assert!(read.ready && !read.unschedulable && !read.network_unavailable);
        assert_eq!(read.pool_label.as_deref(), Some("reads"));
        assert_eq!(read.boot_id, "0f1e2d3c000040008000000000000001");
        assert_eq!((read.machine_id, read.heartbeat), ("c".repeat(32), "2026-11-27T17:00:00Z".to_owned()));
        assert_eq!(read.allocatable.get("memory").map(String::as_str), Some("8Gi"));
        assert_eq!(read.hold.as_deref(), Some("a disk is [5m replaced"));
        assert_eq!(read.request.as_deref(), Some("firmware"));
        assert!(read.taints.iter().any(|taint| taint.contains("dedicated")), "{:?}", read.taints);
        assert_eq!(read.removal, None);
        ready(server, "read-1", "Unknown").await;
        assert!(!api.node().await.unwrap().unwrap().ready);
    });
}

#[test]
fn who_may_not_read_is_told_why() {
    with_server(async |server| {
        let refused = server.api_of("read-2", "nothing").node().await.unwrap_err();
        assert!(refused.is_about_the_request(), "{refused}");
        assert!(
            refused.to_string().starts_with("403 nodes \"read-2\" is forbidden: User \"nobody\""),
            "{refused}"
        );
        let unknown = server.api_of("read-2", "wrong").node().await.unwrap_err();
        assert!(!unknown.is_about_the_request());
        assert!(unknown.to_string().contains("the credential is not accepted"), "{unknown}");
    });
}

#[test]
fn whether_a_node_exists() {
    with_server(async |server| {
        node(server, "read-3", json!({})).await;
        let mut api = server.api("x");
        assert!(api.node_exists("read-3").await.unwrap());
        let long = "n".repeat(300);
        for name in ["read-4", "a?b", "read-3?x=y", "read-3#c", "read-3 ", "ä", "\u{1b}[1m", &long] {
            assert!(!api.node_exists(name).await.unwrap(), "{name:?}");
        }
        // The API server would read `%2F` as the end of the name, and answer for something else.
        for name in ["../namespaces/default", "read-3/status", "", ".", "..", "%2e%2e", "read-3%2Fstatus"] {
            let error = api.node_exists(name).await.unwrap_err();
            assert!(matches!(error, ApiError::Client(_)), "{name:?}: {error}");
        }
    });
}

#[test]
fn the_slots() {
    with_server(async |server| {
        let spec =
            json!({ "holderIdentity": "node-1", "leaseDurationSeconds": 1, "leaseTransitions": i32::MAX });
        let annotations = json!({ "rebootd.io/claimed-at": "12.5", "rebootd.io/boot-id": "b", "rebootd.io/reason": "a\nb" });
        let metadata = json!({ "name": "read-slot-1", "labels": { "rebootd.io/pool": "reads" }, "annotations": annotations });
        server.create(SLOTS, json!({ "metadata": metadata, "spec": spec })).await;
        server.create(SLOTS, json!({ "metadata": { "name": "read-slot-2" } })).await;
        for (number, holder) in ["../x", "a?b", "node-1\u{1b}[2J"].iter().enumerate() {
            let metadata = json!({ "name": format!("read-slot-odd-{number}") });
            server.create(SLOTS, json!({ "metadata": metadata, "spec": { "holderIdentity": holder } })).await;
        }
        let slots = server.api("node-1").slots().await.unwrap();
        let slot = |name: &str| slots.iter().find(|slot| slot.name == name).unwrap();
        let held = slot("read-slot-1");
        assert_eq!((held.holder.as_deref(), held.pool.as_deref()), (Some("node-1"), Some("reads")));
        assert_eq!(held.claim.at, Some(Duration::from_millis(12_500)));
        assert_eq!((held.claim.reason.as_str(), held.stamp.is_some()), ("a b", false));
        assert!(!held.uid.is_empty() && !held.resource_version.is_empty());
        assert_eq!(
            (slot("read-slot-2").holder.as_deref(), slot("read-slot-2").pool.as_deref()),
            (None, None)
        );
        assert_eq!(slot("read-slot-odd-0").holder.as_deref(), Some("../x"));
        assert_eq!(slot("read-slot-odd-1").holder.as_deref(), Some("a?b"));
        assert_eq!(slot("read-slot-odd-2").holder.as_deref(), Some("\"node-1 [2J\""));
        let held = server.api("node-1").held_slots().await.unwrap();
        let since = held.iter().find(|held| held.slot.name == "read-slot-1").unwrap().since.clone();
        assert!(since.is_some_and(|since| since.ends_with('Z') && since.len() == 20));
    });
}

#[test]
fn the_fleet() {
    with_server(async |server| {
        let labels = json!({ "rebootd.io/pool": "reads", "rebootd.io/waiting": "2026-11-24T0740Z" });
        let annotations = json!({ "rebootd.io/hold": "a disk\n\u{1b}[5m", "rebootd.io/cordon": "x" });
        node(server, "fleet-1", json!({ "annotations": annotations, "labels": labels })).await;
        ready(server, "fleet-1", "True").await;
        node(server, "fleet-2", json!({})).await;
        ready(server, "fleet-2", "Unknown").await;
        server.patch(&format!("{NODES}/fleet-2"), json!({ "spec": { "unschedulable": true } })).await;
        // More than one page.
        for number in 0..600 {
            node(server, &format!("fleet-many-{number}"), json!({})).await;
        }
        let nodes = server.api("fleet-1").fleet("").await.unwrap();
        assert_eq!(nodes.iter().filter(|node| node.name.starts_with("fleet-many-")).count(), 600);
        let find = |name: &str| nodes.iter().find(|node| node.name == name).unwrap();
        let first = find("fleet-1");
        assert!(first.is_ready && !first.is_cordoned && first.is_cordoned_by_us);
        assert_eq!(first.pool.as_deref(), Some("reads"));
        assert_eq!(first.waiting_since.as_deref(), Some("2026-11-24T0740Z"));
        assert_eq!((first.hold.as_deref(), first.request.as_deref()), (Some("a disk [5m"), None));
        let second = find("fleet-2");
        assert!(!second.is_ready && second.is_cordoned && !second.is_cordoned_by_us && second.pool.is_none());
        for number in 0..600 {
            server.delete(&format!("{NODES}/fleet-many-{number}")).await;
        }
    });
}

#[test]
fn the_kubelets_lease() {
    with_server(async |server| {
        let mut api = server.api("read-5");
        assert_eq!(api.kubelet().await.unwrap(), Default::default());
        let spec = json!({ "holderIdentity": "read-5", "renewTime": "2026-11-27T17:00:00.000000Z" });
        let leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
        server.create(leases, json!({ "metadata": { "name": "read-5" }, "spec": spec })).await;
        let lease = api.kubelet().await.unwrap();
        assert_eq!(lease.renewed, "2026-11-27T17:00:00.000000Z");
        assert!(!lease.uid.is_empty() && !lease.resource_version.is_empty());
    });
}

#[test]
fn the_pods_of_the_node() {
    with_server(async |server| {
        let mut plain = pod("read-plain", "read-6");
        plain["spec"]["terminationGracePeriodSeconds"] = json!(7);
        plain["spec"]["volumes"] = json!([{ "name": "v", "emptyDir": {} }]);
        server.create(PODS, plain).await;
        let mut owned = pod("read-owned", "read-6");
        let owner = json!({ "apiVersion": "apps/v1", "kind": "DaemonSet", "name": "cni\u{1b}[1m", "uid": "u", "controller": true });
        owned["metadata"]["ownerReferences"] = json!([owner]);
        server.create(PODS, owned).await;
        server.create(PODS, pod("read-elsewhere", "read-7")).await;
        // A server takes this, though its documentation says otherwise.
        let mut negative = pod("read-negative", "read-6");
        negative["spec"]["terminationGracePeriodSeconds"] = json!(-1);
        server.create(PODS, negative).await;
        let mut endless = pod("read-endless", "read-6");
        endless["spec"]["terminationGracePeriodSeconds"] = json!(i64::MAX);
        server.create(PODS, endless).await;

        let pods = server.api("read-6").pods().await.unwrap();
        let names: BTreeSet<&str> = pods.iter().map(|pod| pod.key.name.as_str()).collect();
        assert_eq!(names, BTreeSet::from(["read-endless", "read-negative", "read-owned", "read-plain"]));
        let pod = |name: &str| pods.iter().find(|pod| pod.key.name == name).unwrap();
        assert_eq!((pod("read-plain").owner, pod("read-plain").grace.as_secs()), (Owner::Nobody, 7));
        assert!(pod("read-plain").empty_dir && !pod("read-plain").terminating && !pod("read-plain").ready);
        assert_eq!(pod("read-owned").owner, Owner::DaemonSet);
        assert_eq!(
            (pod("read-owned").controller.as_str(), pod("read-owned").grace.as_secs()),
            ("\"cni [1m\"", 30)
        );
        assert_eq!(pod("read-negative").grace.as_secs(), 1);
        assert!(pod("read-endless").grace > Duration::from_secs(86_400));
    });
}

#[test]
fn the_budgets_of_namespaces() {
    with_server(async |server| {
        let budgets = "/apis/policy/v1/namespaces/kube-system/poddisruptionbudgets";
        let spec = json!({ "maxUnavailable": 1, "selector": { "matchLabels": { "app": "db" } } });
        server.create(budgets, json!({ "metadata": { "name": "read-db" }, "spec": spec })).await;
        let namespaces = BTreeSet::from(["kube-system".to_owned(), "there-is-none".to_owned()]);
        let read = server.api("x").budgets(&namespaces).await.unwrap();
        let budget = read.iter().find(|budget| budget.name == "read-db").unwrap();
        let labels = BTreeMap::from([("app".to_owned(), "db".to_owned())]);
        assert!(budget.namespace == "kube-system" && budget.selector.as_ref().unwrap().selects(&labels));
    });
}

#[test]
fn the_other_nodes_as_tables() {
    with_server(async |server| {
        let labels = json!({ "rebootd.io/pool": "others" });
        for (name, condition) in
            [("others-1", "True"), ("others-2", "True"), ("others-3", "False"), ("others-4", "True")]
        {
            node(server, name, json!({ "labels": labels })).await;
            ready(server, name, condition).await;
        }
        server.patch(&format!("{NODES}/others-2"), json!({ "spec": { "unschedulable": true } })).await;
        let role = json!({ "node-role.kubernetes.io/control-plane": "" });
        node(server, "others-5", json!({ "labels": role })).await;
        ready(server, "others-5", "Unknown").await;
        let mut etcd = pod("etcd-others-5", "others-5");
        etcd["metadata"]["labels"] = json!({ "tier": "control-plane", "component": "etcd" });
        server.create("/api/v1/namespaces/kube-system/pods", etcd).await;

        let role = BTreeMap::from([("node-role.kubernetes.io/control-plane".to_owned(), String::new())]);
        let others = server.api("others-1").others("others", &role, &[]).await.unwrap();
        assert_eq!(
            (others.cordoned.first, others.not_ready.first),
            (vec!["others-2".into()], vec!["others-3".into()])
        );
        assert!(!others.only_node);
        // Other tests make members, too.
        let members = others.members.first;
        assert!(others.members_ready.is_some() && members.contains(&"others-5".to_owned()), "{members:?}");
        let parts = others.control_plane.first;
        assert!(parts.contains(&"node others-5 (NotReady)".to_owned()), "{parts:?}");
        assert!(parts.contains(&"pod etcd-others-5 (0/1 Pending)".to_owned()), "{parts:?}");
        // Its own parts are none of the others'.
        let own = server.api("others-5").others("others", &role, &[]).await.unwrap();
        assert!(!own.control_plane.first.iter().any(|part| part.contains("others-5")), "{own:?}");
        // Alone in its pool, but not in the cluster.
        let alone = server.api("others-1").others("nobody-else", &BTreeMap::new(), &[]).await.unwrap();
        assert!(!alone.only_node && alone.members_ready.is_none() && alone.control_plane.count() == 0);
        // Members by other labels, and by one that people have added.
        for (number, label) in
            ["node-role.kubernetes.io/master", "node.kubernetes.io/microk8s-controlplane", "example.com/etcd"]
                .into_iter()
                .enumerate()
        {
            let name = format!("members-{number}");
            node(server, &name, json!({ "labels": { label: "" } })).await;
            ready(server, &name, "True").await;
        }
        let added = ["example.com/etcd".to_owned()];
        let members = server.api("others-5").others("others", &role, &added).await.unwrap();
        assert!(members.members_ready.is_some_and(|ready| ready >= 3), "{members:?}");
        // Where etcd has nodes of its own, no other node counts for its quorum.
        let etcd = BTreeMap::from([("node-role.kubernetes.io/etcd".to_owned(), String::new())]);
        let alone = server.api("etcd-1").others("others", &etcd, &added).await.unwrap();
        assert_eq!(alone.members_ready, Some(0));
        for (number, condition) in [(2, "True"), (3, "False")] {
            let name = format!("etcd-{number}");
            node(server, &name, json!({ "labels": etcd })).await;
            ready(server, &name, condition).await;
        }
        for (own, labels) in [("etcd-1", &etcd), ("others-5", &role)] {
            let members = server.api(own).others("others", labels, &added).await.unwrap();
            assert_eq!(members.members_ready, Some(1), "{members:?}");
            // They still go down one at a time, and all have to be ready.
            assert!(members.members.first.contains(&"members-0".to_owned()), "{members:?}");
            assert!(
                members.control_plane.first.contains(&"node etcd-3 (NotReady)".to_owned()),
                "{members:?}"
            );
        }
    });
}

#[test]
fn the_values_of_a_field() {
    with_server(async |server| {
        node(server, "read-8", json!({ "labels": { "tier": "x" } })).await;
        let mut api = server.api("x");
        let mut values = async |path: &str, field: &str| {
            let object = ObjectField { path: path.into(), field: field.into(), equals: vec![] };
            api.values(&object).await
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(values("/api/v1/nodes/read-8", "metadata.labels.tier").await.unwrap(), [some("x")]);
        assert_eq!(values("/api/v1/nodes/read-8", "metadata.labels.none").await.unwrap(), [None]);
        assert_eq!(values("/api/v1/nodes/none-such", "metadata.name").await.unwrap(), [None]);
        assert_eq!(values("/apis/not.there/v1/things", "items.*.x").await.unwrap(), [None]);
        let names = values("/api/v1/namespaces", "items.*.metadata.name").await.unwrap();
        assert!(names.contains(&some("kube-system")), "{names:?}");
    });
}

#[test]
fn a_service_that_nobody_serves_is_no_answer_of_prometheus() {
    with_server(async |server| {
        let services = "/api/v1/namespaces/default/services";
        server
            .create(
                services,
                json!({ "metadata": { "name": "prometheus" }, "spec": { "ports": [{ "port": 9090 }] } }),
            )
            .await;
        let port = "http:prometheus:9090".to_owned();
        let query = Query {
            expression: "ALERTS{severity=\"page\"} > 0 # a&b=c".to_owned(),
            server: Prometheus::Service { namespace: "default".into(), port },
        };
        let failure = Failure::from(server.api("x").query(&query).await.unwrap_err());
        assert!(
            failure.message.starts_with("503 no endpoints available for service \"prometheus\""),
            "{failure:?}"
        );
    });
}

#[test]
fn the_nodes_that_wait_are_read_page_by_page_and_in_their_order() {
    with_server(async |server| {
        let of = |pool: &str, since: &str| json!({ "metadata": { "labels": { "rebootd.io/pool": pool, "rebootd.io/waiting": since } } });
        for (name, pool, since) in [
            ("queue-me", "queue", "2026-11-29T0300Z"),
            ("queue-a", "queue", "2026-11-29T0310Z"),
            ("queue-b", "queue", "2026-11-29T0309Z"),
            ("queue-c", "another", "2026-11-29T0301Z"),
        ] {
            node(server, name, json!({})).await;
            server.patch(&format!("{NODES}/{name}"), of(pool, since)).await;
        }
        node(server, "queue-d", json!({})).await;
        let labels = json!({ "metadata": { "labels": { "rebootd.io/pool": "queue" } } });
        server.patch(&format!("{NODES}/queue-d"), labels).await;
        let waiters = server.api("queue-me").waiters("queue", |_| ()).await.unwrap();
        assert_eq!((waiters.first, waiters.count), (vec!["queue-b".to_owned(), "queue-a".to_owned()], 2));

        for number in 0..250 {
            node(server, &format!("queue-x-{number}"), json!({})).await;
            server.patch(&format!("{NODES}/queue-x-{number}"), of("queue", "2026-11-29T0400Z")).await;
        }
        let waiters = server.api("queue-me").waiters("queue", |_| ()).await.unwrap();
        assert_eq!((waiters.first.len(), waiters.count), (200, 252));
        assert_eq!(waiters.first.first().map(String::as_str), Some("queue-b"));
    });
}
