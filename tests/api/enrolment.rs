//! How a node comes to a token of its own, on a real API server: which tokens count, and what it gets.

use std::time::Duration;

use rebootd::cluster::BoundNode;
use serde_json::{Value, json};

use crate::reads::{NODES, PODS};
use crate::server::{Server, with_server};

const MACHINE: &str = "0123456789abcdef0123456789abcdef";
const LIFE: Duration = Duration::from_secs(3600);

/// For both tests: who comes first makes it.
static ACCOUNT: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

async fn account(server: &Server, namespace: &str, name: &str) {
    let _one_at_a_time = ACCOUNT.lock().await;
    let accounts = format!("/api/v1/namespaces/{namespace}/serviceaccounts");
    if server.get(&format!("{accounts}/{name}")).await.0 != 200 {
        server.create(&accounts, json!({ "metadata": { "name": name } })).await;
    }
    let subjects = json!([{ "kind": "ServiceAccount", "name": name, "namespace": namespace }]);
    let role =
        json!({ "kind": "ClusterRole", "name": "cluster-admin", "apiGroup": "rbac.authorization.k8s.io" });
    let binding = json!({ "metadata": { "name": format!("{namespace}-{name}") }, "subjects": subjects, "roleRef": role });
    let bindings = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
    if server.get(&format!("{bindings}/{namespace}-{name}")).await.0 != 200 {
        server.create(bindings, binding).await;
    }
}

async fn node(server: &Server, name: &str, machine_id: &str) -> String {
    let node = server.create(NODES, json!({ "metadata": { "name": name } })).await;
    let status = json!({ "status": { "nodeInfo": {
        "machineID": machine_id, "bootID": "b", "systemUUID": "", "kernelVersion": "", "osImage": "",
        "containerRuntimeVersion": "", "kubeletVersion": "", "kubeProxyVersion": "", "operatingSystem": "",
        "architecture": "",
    } } });
    server.patch(&format!("{NODES}/{name}/status"), status).await;
    node["metadata"]["uid"].as_str().unwrap().to_owned()
}

/// As the kubelet lays it into a pod.
async fn pods_token(server: &Server, namespace: &str, account: &str, pod: &str, node: &str) -> String {
    let container = json!({ "name": "c", "image": "i" });
    let spec = json!({ "nodeName": node, "serviceAccountName": account, "containers": [container] });
    let pods = PODS.replace("/default/", &format!("/{namespace}/"));
    let created = server.create(&pods, json!({ "metadata": { "name": pod }, "spec": spec })).await;
    let bound = json!({ "kind": "Pod", "apiVersion": "v1", "name": pod, "uid": created["metadata"]["uid"] });
    let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token");
    let request = json!({ "spec": { "boundObjectRef": bound, "expirationSeconds": 3600 } });
    let token: Value = server.create(&path, request).await;
    token["status"]["token"].as_str().unwrap().to_owned()
}

#[test]
fn the_token_that_the_kubelet_brings_gives_one_of_its_own() {
    with_server(async |server| {
        account(server, "rebootd", "rebootd").await;
        let uid = node(server, "enrol-1", MACHINE).await;
        let brought = pods_token(server, "rebootd", "rebootd", "enrol", "enrol-1").await;
        let mut api = server.api_of("", &brought);
        let bound = BoundNode { name: "enrol-1".into(), uid };
        assert_eq!(api.own_node(MACHINE).await, Ok(bound.clone()));
        let other = api.own_node(&"f".repeat(32)).await.unwrap_err();
        assert!(other.why.contains("enrol-1, which is another machine"), "{other}");
        let own = api.issue(&bound, LIFE).await.unwrap();
        assert_eq!(own.life, LIFE);
        // It is bound to the Node: it goes on without the pod, renews itself, and ends with the Node.
        server.delete("/api/v1/namespaces/rebootd/pods/enrol?gracePeriodSeconds=0").await;
        let mut renewed = server.api_of("enrol-1", own.token.expose());
        assert_eq!(renewed.own_node(MACHINE).await, Ok(bound.clone()));
        assert!(renewed.issue(&bound, LIFE).await.is_ok());
        server.delete(&format!("{NODES}/enrol-1")).await;
        let gone = async {
            while renewed.issue(&bound, LIFE).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), gone).await.expect("the token outlives its Node");
    });
}

#[test]
fn what_others_bring_counts_for_nothing() {
    with_server(async |server| {
        account(server, "rebootd", "rebootd").await;
        account(server, "default", "tenant").await;
        node(server, "enrol-2", MACHINE).await;
        let tenants = pods_token(server, "default", "tenant", "enrol-tenant", "enrol-2").await;
        let why = server.api_of("", &tenants).own_node(MACHINE).await.unwrap_err();
        assert!(why.why.contains("a token is of system:serviceaccount:default:tenant"), "{why}");
        let unbound = "/api/v1/namespaces/rebootd/serviceaccounts/rebootd/token";
        let unbound = server.create(unbound, json!({ "spec": { "expirationSeconds": 3600 } })).await;
        let unbound = unbound["status"]["token"].as_str().unwrap().to_owned();
        let why = server.api_of("", &unbound).own_node(MACHINE).await.unwrap_err();
        assert!(why.why.contains("bound to no Node"), "{why}");
        let why = server.api_of("", "made up").own_node(MACHINE).await.unwrap_err();
        assert!(why.why.starts_with("401"), "{why}");
    });
}
