//! Evictions, as a real API server judges them. No controller counts pods here: the tests write what it would.

use std::time::Duration;

use rebootd::cluster::Api;
use rebootd::decide::{EvictionOutcome, How, PodKey, Refuser};
use serde_json::json;

use crate::reads::{PODS, pod};
use crate::server::{Server, with_server};

pub const BUDGETS: &str = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";

pub async fn running(server: &Server, name: &str, node: &str) -> PodKey {
    let created = server.create(PODS, pod(name, node)).await;
    let ready = json!([{ "type": "Ready", "status": "True" }]);
    let status = json!({ "status": { "phase": "Running", "conditions": ready } });
    server.patch(&format!("{PODS}/{name}/status"), status).await;
    let uid = created["metadata"]["uid"].as_str().unwrap().to_owned();
    PodKey { namespace: "default".into(), name: name.into(), uid }
}

pub async fn budget(server: &Server, name: &str, app: &str) {
    let spec = json!({ "minAvailable": 1, "selector": { "matchLabels": { "app": app } } });
    server.create(BUDGETS, json!({ "metadata": { "name": name }, "spec": spec })).await;
}

pub async fn counted(server: &Server, name: &str, allowed: u32) {
    let status = json!({ "status": {
        "observedGeneration": 1, "disruptionsAllowed": allowed, "currentHealthy": 1 + allowed,
        "desiredHealthy": 1, "expectedPods": 1 + allowed,
    } });
    server.patch(&format!("{BUDGETS}/{name}/status"), status).await;
}

async fn terminating(api: &mut Api, name: &str) -> Option<bool> {
    let pods = api.pods().await.unwrap();
    pods.iter().find(|pod| pod.key.name == name).map(|pod| pod.terminating)
}

#[test]
fn a_pod_is_evicted_and_ends_with_its_grace() {
    with_server(async |server| {
        let pod = running(server, "evict-1", "evict-a").await;
        let mut api = server.api("evict-a");
        let tried = api.eviction(&pod, How::DryRun, None).await;
        assert_eq!((tried, terminating(&mut api, "evict-1").await), (EvictionOutcome::Granted, Some(false)));
        let evicted = api.eviction(&pod, How::Evict, None).await;
        assert_eq!((evicted, terminating(&mut api, "evict-1").await), (EvictionOutcome::Granted, Some(true)));
    });
}

#[test]
fn what_is_gone_or_another_is_not_evicted() {
    with_server(async |server| {
        let pod = running(server, "evict-2", "evict-b").await;
        let mut api = server.api("evict-b");
        for how in [How::Evict, How::DryRun, How::Delete] {
            let another = PodKey { uid: "another".into(), ..pod.clone() };
            assert_eq!(api.eviction(&another, how, None).await, EvictionOutcome::Outdated, "{how:?}");
            let gone = PodKey { name: "evict-none".into(), ..pod.clone() };
            assert_eq!(api.eviction(&gone, how, None).await, EvictionOutcome::Outdated, "{how:?}");
        }
        assert_eq!(terminating(&mut api, "evict-2").await, Some(false));
        let deleted = api.eviction(&pod, How::Delete, Some(Duration::from_secs(1))).await;
        assert_eq!((deleted, terminating(&mut api, "evict-2").await), (EvictionOutcome::Granted, Some(true)));
    });
}

#[test]
fn a_budget_refuses_with_its_name_and_numbers_and_a_delay() {
    with_server(async |server| {
        let pod = running(server, "evict-3", "evict-c").await;
        budget(server, "evict-web", "evict-3").await;
        let mut api = server.api("evict-c");
        let mut refusal = async || match api.eviction(&pod, How::Evict, None).await {
            EvictionOutcome::Refused(refusal) => refusal,
            other => panic!("{other:?}"),
        };
        // Nobody has counted yet: the server asks for patience.
        let uncounted = refusal().await;
        assert_eq!(uncounted.by, Refuser::Budget { name: "evict-web".into(), counts: None }, "{uncounted:?}");
        assert_eq!(uncounted.retry_after, Some(Duration::from_secs(10)));
        counted(server, "evict-web", 0).await;
        let counts = Some((1, 1));
        assert_eq!(refusal().await.by, Refuser::Budget { name: "evict-web".into(), counts });
        budget(server, "evict-too", "evict-3").await;
        assert_eq!(refusal().await.by, Refuser::SeveralBudgets);
        server.delete(&format!("{BUDGETS}/evict-too")).await;
        counted(server, "evict-web", 1).await;
        assert_eq!(api.eviction(&pod, How::Evict, None).await, EvictionOutcome::Granted);
    });
}

#[test]
fn who_may_not_evict_is_refused_by_nobody_in_particular() {
    with_server(async |server| {
        let pod = running(server, "evict-4", "evict-d").await;
        let outcome = server.api_of("evict-d", "nothing").eviction(&pod, How::Evict, None).await;
        let EvictionOutcome::Refused(refusal) = outcome else { panic!("{outcome:?}") };
        assert_eq!(refusal.by, Refuser::Other);
        assert!(refusal.message.starts_with("403 "), "{refusal:?}");
        let unknown = server.api_of("evict-d", "wrong").eviction(&pod, How::Evict, None).await;
        assert!(matches!(unknown, EvictionOutcome::Overloaded { .. }), "{unknown:?}");
    });
}
