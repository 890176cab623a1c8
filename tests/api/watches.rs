//! Each watch, on a real API server: how it begins, what it tells of a change, and how it ends.

use std::time::Duration;

use rebootd::cluster::Watch;
use rebootd::decide::{Event, Part, PodKey, SlotView};
use serde_json::{Value, json};

use crate::evictions::{BUDGETS, budget, counted};
use crate::journal::Journal;
use crate::reads::{NODES, PODS, SLOTS, node, pod};
use crate::server::with_server;

const LONG: Duration = Duration::from_secs(30);

async fn next(watch: &mut Watch) -> Event {
    tokio::time::timeout(LONG, crate::next(watch)).await.expect("no event").expect("no end told")
}

/// Tests run side by side: what happens to other objects is no matter of this one.
async fn next_of(watch: &mut Watch, object: &Value) -> Event {
    loop {
        match next(watch).await {
            Event::Changed { uid, .. } if object["metadata"]["uid"] != uid => {}
            Event::SlotSeen(slot) if object["metadata"]["uid"] != slot.uid => {}
            event => return event,
        }
    }
}

async fn nothing_comes(watch: &mut Watch) {
    let event = tokio::time::timeout(Duration::from_millis(500), crate::next(watch)).await;
    assert!(event.is_err(), "{event:?}");
}

fn changed(object: &Value) -> Event {
    let text = |name: &str| object["metadata"][name].as_str().unwrap().to_owned();
    Event::Changed { uid: text("uid"), resource_version: text("resourceVersion") }
}

/// A slot of no pool that somebody holds, with all that is known of it.
fn held_by(holder: &str, object: &Value) -> Event {
    let text = |name: &str| object["metadata"][name].as_str().unwrap().to_owned();
    Event::SlotSeen(SlotView {
        name: text("name"),
        uid: text("uid"),
        resource_version: text("resourceVersion"),
        holder: Some(holder.into()),
        ..SlotView::default()
    })
}

/// In one test: compaction breaks whatever else would begin to watch slots at that moment.
#[test]
fn of_the_slots_from_a_list_on_until_etcd_has_forgotten_it() {
    with_server(async |server| {
        let journal = Journal::new();
        let slot = server.create(SLOTS, json!({ "metadata": { "name": "watch-1" } })).await;
        let path = format!("{SLOTS}/watch-1");
        let mut api = server.api("watch-node");
        api.slots().await.unwrap();
        let mut watch = api.watch(Part::Slots).unwrap();
        let held = server.patch(&path, json!({ "spec": { "holderIdentity": "x" } })).await;
        // The list is where it begins: what was before is not told again.
        assert_eq!(next_of(&mut watch, &slot).await, held_by("x", &held));

        api.slots().await.unwrap();
        let held = server.patch(&path, json!({ "spec": { "holderIdentity": "y" } })).await;
        server.compact().await;
        let mut late = api.watch(Part::Slots).unwrap();
        assert_eq!(next(&mut late).await, Event::WatchEnded);
        assert_eq!(crate::next(&mut late).await, None);
        let told = journal.text();
        assert!(told.contains("the watch of the slots ended: 410 "), "{told}");
        assert!(told.contains("too old"), "{told}");

        // From a new list on it goes on.
        api.slots().await.unwrap();
        let mut again = api.watch(Part::Slots).unwrap();
        server.delete(&path).await;
        assert!(matches!(next_of(&mut again, &slot).await, Event::Changed { .. }));
        // The one from before the compaction has seen all of it.
        assert_eq!(next_of(&mut watch, &slot).await, held_by("y", &held));
        assert!(matches!(next_of(&mut watch, &slot).await, Event::Changed { .. }));
    });
}

#[test]
fn of_the_own_node_from_the_node_as_it_is() {
    with_server(async |server| {
        let created = node(server, "watch-2", json!({})).await;
        node(server, "watch-3", json!({})).await;
        let mut watch = server.api("watch-2").watch(Part::Node).unwrap();
        assert_eq!(
            next_of(&mut watch, &created).await,
            changed(&server.get(&format!("{NODES}/watch-2")).await.1)
        );
        server.patch(&format!("{NODES}/watch-3"), json!({ "spec": { "unschedulable": true } })).await;
        nothing_comes(&mut watch).await;
        let cordoned =
            server.patch(&format!("{NODES}/watch-2"), json!({ "spec": { "unschedulable": true } })).await;
        loop {
            let event = next(&mut watch).await;
            // The server's own taint comes beside it.
            if event == changed(&cordoned) {
                break;
            }
        }
    });
}

#[test]
fn of_the_kubelets_lease_from_the_lease_as_it_is() {
    with_server(async |server| {
        let leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
        let lease = server.create(leases, json!({ "metadata": { "name": "watch-4" } })).await;
        let mut watch = server.api("watch-4").watch(Part::Kubelet).unwrap();
        assert_eq!(next(&mut watch).await, changed(&lease));
        let renewed = json!({ "spec": { "renewTime": "2026-11-27T17:00:00.000000Z" } });
        let renewed = server.patch(&format!("{leases}/watch-4"), renewed).await;
        assert_eq!(next(&mut watch).await, changed(&renewed));
    });
}

#[test]
fn of_the_pods_of_the_node_only() {
    with_server(async |server| {
        server.create(PODS, pod("watch-before", "watch-5")).await;
        let mut api = server.api("watch-5");
        assert_eq!(api.pods().await.unwrap().len(), 1);
        let mut watch = api.watch(Part::Pods).unwrap();
        server.create(PODS, pod("watch-elsewhere", "watch-6")).await;
        nothing_comes(&mut watch).await;
        let created = server.create(PODS, pod("watch-here", "watch-5")).await;
        let key = PodKey {
            namespace: "default".into(),
            name: "watch-here".into(),
            uid: created["metadata"]["uid"].as_str().unwrap().into(),
        };
        let Event::PodSeen(seen) = next(&mut watch).await else { panic!("no pod was told of") };
        assert_eq!((&seen.key, seen.terminating), (&key, false));
        server.delete(&format!("{PODS}/watch-here")).await;
        let Event::PodSeen(seen) = next(&mut watch).await else { panic!("no pod was told of") };
        assert!(seen.key == key && seen.terminating);
        server.delete(&format!("{PODS}/watch-here?gracePeriodSeconds=0")).await;
        loop {
            match next(&mut watch).await {
                Event::PodGone(gone) => break assert_eq!(gone, key),
                Event::PodSeen(seen) => assert_eq!(seen.key, key),
                other => panic!("{other:?}"),
            }
        }
    });
}

#[test]
fn of_a_budget_from_the_budget_as_it_is() {
    with_server(async |server| {
        budget(server, "watch-budget", "watch").await;
        let mut api = server.api("watch-8");
        let mut watch = api.watch_budget("default/watch-budget").unwrap();
        let seen = |opens| Event::BudgetSeen { budget: "default/watch-budget".into(), opens };
        assert_eq!(next(&mut watch).await, seen(false));
        counted(server, "watch-budget", 1).await;
        assert_eq!(next(&mut watch).await, seen(true));
        counted(server, "watch-budget", 0).await;
        assert_eq!(next(&mut watch).await, seen(false));
        server.delete(&format!("{BUDGETS}/watch-budget")).await;
        assert_eq!(next(&mut watch).await, seen(true));
        // Without the right it never opens, and nothing waits for it.
        let mut refused = server.api_of("watch-8", "nothing").watch_budget("default/watch-budget").unwrap();
        assert_eq!(next(&mut refused).await, seen(false));
        nothing_comes(&mut refused).await;
    });
}

/// With its reading, in one test: there is but one policy.
#[test]
fn of_the_policy_from_when_there_was_none() {
    with_server(async |server| {
        let mut nobody = server.api_of("x", "nothing");
        assert!(
            nobody.policy().await.unwrap_err().is_about_the_request() && nobody.watch(Part::Policy).is_none()
        );
        let maps = "/api/v1/namespaces/rebootd/configmaps";
        server.create(maps, json!({ "metadata": { "name": "another" }, "data": { "x": "y" } })).await;
        let mut api = server.api("x");
        assert_eq!(api.policy().await.unwrap(), None);
        let mut watch = api.watch(Part::Policy).unwrap();
        nothing_comes(&mut watch).await;
        server
            .create(maps, json!({ "metadata": { "name": "policy" }, "data": { "policy.toml": "x" } }))
            .await;
        assert_eq!(next(&mut watch).await, Event::PolicyChanged);
        let data = api.policy().await.unwrap().unwrap();
        assert_eq!(data.get("policy.toml").map(String::as_str), Some("x"));
        server.patch(&format!("{maps}/policy"), json!({ "data": { "policy.toml": "y" } })).await;
        assert_eq!(next(&mut watch).await, Event::PolicyChanged);
        server.delete(&format!("{maps}/policy")).await;
        assert_eq!(next(&mut watch).await, Event::PolicyChanged);
    });
}

#[test]
fn of_what_people_write_on_the_node() {
    with_server(async |server| {
        let annotations = json!({ "rebootd.io/hold": "disk\n\u{1b}[2J", "other": "x" });
        node(server, "watch-7", json!({ "annotations": annotations, "labels": { "a": "b" } })).await;
        let path = format!("{NODES}/watch-7");
        let mut watch = server.api("watch-7").watch(Part::Annotations).unwrap();
        let mut told = async || match next(&mut watch).await {
            Event::Annotations { uid, hold, request, labels } => (uid, hold, request, labels),
            other => panic!("{other:?}"),
        };
        let (uid, hold, request, labels) = told().await;
        assert_eq!((hold.as_deref(), request), (Some("disk [2J"), None));
        assert!(!uid.is_empty() && labels.get("a").is_some_and(|value| value == "b"));
        let change = json!({ "rebootd.io/hold": null, "rebootd.io/request": "x".repeat(100 << 10) });
        server.patch(&path, json!({ "metadata": { "annotations": change } })).await;
        let request = loop {
            // The server's own taint may come in between.
            let (_, hold, request, _) = told().await;
            if let (None, Some(request)) = (hold, request) {
                break request;
            }
        };
        assert!(request.ends_with('…') && request.chars().count() < 1000);
        server.delete(&path).await;
        assert_eq!(told().await.0, "");
    });
}

#[test]
fn one_that_may_not_be_had_says_so_once_and_ends() {
    with_server(async |server| {
        let journal = Journal::new();
        let mut api = server.api_of("watch-8", "nothing");
        for _ in 0..2 {
            let mut watch = api.watch(Part::Node).unwrap();
            assert_eq!(next(&mut watch).await, Event::WatchEnded);
        }
        let told = journal.text();
        assert_eq!(
            told.matches("the watch of the Node ended: 403 nodes \"watch-8\" is forbidden").count(),
            1,
            "{told}"
        );
    });
}
