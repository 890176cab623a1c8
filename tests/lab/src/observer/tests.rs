use super::*;
use serde_json::json;

const POOL: &str = "worker";

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn node(name: &str, mark: bool, unschedulable: bool) -> Value {
    let mut node = json!({
        "metadata": {"name": name, "uid": format!("uid-{name}"), "resourceVersion": "7",
                     "labels": {"rebootd.io/pool": POOL}, "annotations": {}},
        "spec": {"unschedulable": unschedulable},
        "status": {"conditions": [{"type": "Ready", "status": "True"}], "nodeInfo": {"bootID": "b", "machineID": ""}},
    });
    if mark {
        node["metadata"]["annotations"]["rebootd.io/cordon"] = "nonce".into();
    }
    node
}

fn lease(name: &str, pool: &str, holder: &str) -> Value {
    json!({"metadata": {"name": name, "uid": name, "labels": {"rebootd.io/pool": pool}},
           "spec": {"holderIdentity": holder}})
}

fn pod(name: &str, owner: &str, ready: bool) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "d", "uid": format!("uid-{name}"), "labels": {"app": "web"},
                     "resourceVersion": if ready { "2" } else { "1" },
                     "ownerReferences": [{"kind": owner, "controller": true}]},
        "spec": {"nodeName": "a"},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}]},
    })
}

fn terminating(mut pod: Value) -> Value {
    pod["metadata"]["deletionTimestamp"] = "2026-07-30T10:00:00Z".into();
    pod
}

fn modified(kind: Kind, object: Value) -> Input {
    Input::Changed(kind, Change::Modified, object)
}

fn history(inputs: impl IntoIterator<Item = (u64, Input)>) -> History {
    let mut history = History::new();
    for (at, input) in inputs {
        history.observe(seconds(at), input);
    }
    history
}

#[test]
fn disruption_joins_our_cordon_and_the_host_being_down() {
    let history = history([
        (0, Input::Listed(Kind::Node, vec![node("a", false, false), node("b", false, true)])),
        (1, modified(Kind::Node, node("a", true, true))),
        (2, Input::HostDown("a".into())),
        (3, Input::HostBooted("a".into())),
        (4, modified(Kind::Node, node("a", false, false))),
        // A person's cordon, then a mark that a person's uncordon left.
        (5, modified(Kind::Node, node("a", false, true))),
        (6, modified(Kind::Node, node("a", true, false))),
        (7, Input::HostDown("a".into())),
        (8, modified(Kind::Node, node("b", true, true))),
        (9, Input::HostBooted("a".into())),
    ]);
    let times: Vec<_> =
        history.disruptions().into_iter().map(|found| (found.node, found.from, found.until)).collect();
    assert_eq!(
        times,
        [
            ("a".to_owned(), seconds(1), Some(seconds(4))),
            ("a".to_owned(), seconds(7), Some(seconds(9))),
            ("b".to_owned(), seconds(8), None),
        ]
    );
    let most = history.max_disrupted_at_once();
    assert_eq!((most.count(), most.from, most.until), (2, seconds(8), Some(seconds(9))));
    assert_eq!(history.max_disrupted_at_once_in(POOL), most);
    assert_eq!(history.max_disrupted_at_once_in("other").count(), 0);
    assert_eq!(history.disrupted_more_than(1, POOL), [most]);
    assert_eq!(history.disrupted_more_than(2, POOL), []);
    assert!(history.state().disrupted("b") && !history.state().disrupted("a"));
}

#[test]
fn one_after_the_other_is_never_two() {
    let history = history([
        (1, modified(Kind::Node, node("a", true, true))),
        (2, modified(Kind::Node, node("a", false, false))),
        (2, modified(Kind::Node, node("b", true, true))),
        (3, Input::Changed(Kind::Node, Change::Deleted, node("b", true, true))),
        (3, modified(Kind::Node, node("a", true, true))),
    ]);
    assert_eq!(history.max_disrupted_at_once().count(), 1);
    assert_eq!(history.disruptions().len(), 3);
    assert_eq!(History::new().max_disrupted_at_once().count(), 0);
}

fn versioned(mut object: Value, version: u64) -> Value {
    object["metadata"]["resourceVersion"] = version.to_string().into();
    object
}

#[test]
fn a_cordon_without_a_slot_is_found_in_the_order_of_the_server() {
    let cordoned = |version| modified(Kind::Node, versioned(node("a", true, true), version));
    let held = |holder, version| modified(Kind::Lease, versioned(lease("s", POOL, holder), version));
    // The claim is told after the cordon that followed it.
    let in_order = history([(1, cordoned(11)), (2, held("a", 10))]);
    assert_eq!(in_order.cordoned_without_slot("a"), Vec::<u64>::new());
    let before = history([(1, cordoned(11)), (2, held("a", 12))]);
    assert_eq!(before.cordoned_without_slot("a"), [11]);
    let lost = history([(1, held("a", 10)), (2, cordoned(11)), (3, held("", 12)), (4, held("b", 13))]);
    assert_eq!(lost.cordoned_without_slot("a"), [12]);
}

#[test]
fn what_stood_in_the_slot_when_the_host_went_down_is_told_for_each_time() {
    let history = history([
        (1, Input::HostDown("a".into())),
        (2, Input::HostBooted("a".into())),
        (3, modified(Kind::Lease, lease("s", POOL, "a"))),
        (4, Input::HostDown("b".into())),
        (5, Input::HostDown("a".into())),
    ]);
    let held: Vec<bool> = history.slots_when_down("a").iter().map(Option::is_some).collect();
    assert_eq!(held, [false, true]);
}

#[test]
fn handoffs_pair_a_release_with_the_next_claim_of_the_pool() {
    let slot = |name, holder| modified(Kind::Lease, lease(name, POOL, holder));
    let history = history([
        (
            0,
            Input::Listed(
                Kind::Lease,
                vec![lease("1", POOL, ""), lease("2", POOL, ""), lease("3", "other", "")],
            ),
        ),
        (1, slot("1", "a")),
        (1, slot("2", "b")),
        (2, slot("1", "a")),
        (10, slot("1", "")),
        (11, modified(Kind::Lease, lease("3", "other", "z"))),
        (12, slot("1", "c")),
        (20, slot("2", "d")),
        (30, slot("2", "")),
    ]);
    let handoffs: Vec<_> = history
        .handoffs()
        .iter()
        .map(|it| format!("{} {} {}", it.released_by, it.claimed_by, it.seconds()))
        .collect();
    assert_eq!(handoffs, ["a c 2", "b d 0"]);
    let holdings: Vec<_> =
        history.holdings().into_iter().map(|it| (it.lease, it.holder, it.from.as_secs(), it.until)).collect();
    let held = |lease: &str, holder: &str, from, until: Option<u64>| {
        (lease.to_owned(), holder.to_owned(), from, until.map(seconds))
    };
    assert_eq!(
        holdings,
        [
            held("1", "a", 1, Some(10)),
            held("2", "b", 1, Some(20)),
            held("3", "z", 11, None),
            held("1", "c", 12, None),
            held("2", "d", 20, Some(30)),
        ]
    );
    assert_eq!(history.state().holder("1"), Some("c"));
    assert_eq!(history.state().holder("2"), None);
}

#[test]
fn deleted_pods_are_told_by_owner() {
    let history = history([
        (0, Input::Listed(Kind::Pod, vec![pod("web", "ReplicaSet", true), pod("log", "DaemonSet", true)])),
        (1, modified(Kind::Pod, terminating(pod("web", "ReplicaSet", true)))),
        (2, modified(Kind::Pod, terminating(pod("web", "ReplicaSet", false)))),
        (3, Input::Changed(Kind::Pod, Change::Deleted, terminating(pod("web", "ReplicaSet", false)))),
        (4, modified(Kind::Pod, terminating(pod("log", "DaemonSet", true)))),
    ]);
    let deleted = history.pods_deleted_by_owner_kind("ReplicaSet");
    assert_eq!(deleted.len(), 1);
    assert_eq!((deleted[0].asked_at, deleted[0].gone_at), (seconds(1), Some(seconds(3))));
    assert_eq!(deleted[0].pod.node.as_deref(), Some("a"));
    let deleted = history.pods_deleted_by_owner_kind("DaemonSet");
    assert_eq!((deleted.len(), deleted[0].gone_at), (1, None));
    assert_eq!(history.pods_deleted_by_owner_kind("").len(), 0);
}

#[test]
fn min_ready_judges_every_moment_and_no_list_half_way() {
    let web: Selector = "app=web".parse().unwrap();
    assert_eq!(History::new().min_ready(&web), None);
    let history = history([
        (0, Input::Listed(Kind::Pod, vec![])),
        (1, Input::Changed(Kind::Pod, Change::Added, pod("x", "ReplicaSet", true))),
        (2, Input::Changed(Kind::Pod, Change::Added, pod("y", "ReplicaSet", true))),
        (3, Input::Changed(Kind::Pod, Change::Added, pod("z", "ReplicaSet", true))),
        (5, modified(Kind::Pod, terminating(pod("x", "ReplicaSet", true)))),
        (6, Input::Changed(Kind::Pod, Change::Deleted, pod("x", "ReplicaSet", true))),
        (7, Input::Changed(Kind::Pod, Change::Added, pod("x", "ReplicaSet", true))),
        (8, Input::Listed(Kind::Pod, vec![pod("u", "ReplicaSet", true), pod("v", "ReplicaSet", true)])),
    ]);
    let minimum =
        |since| history.min_ready_since(&web, seconds(since)).map(|found| (found.count, found.at.as_secs()));
    assert_eq!(minimum(0), Some((0, 0)));
    assert_eq!(minimum(1), Some((1, 1)));
    assert_eq!(minimum(2), Some((2, 2)));
    assert_eq!(minimum(4), Some((2, 5)));
    assert_eq!(minimum(7), Some((2, 8)));
    assert_eq!(minimum(9), Some((2, 9)));
    assert_eq!(history.gaps(), [Gap { kind: Kind::Pod, from: seconds(8), until: seconds(8) }]);
    assert_eq!(history.min_ready(&"app=none".parse().unwrap()).unwrap().count, 0);
}

#[test]
fn the_state_at_the_beginning_counts() {
    let web: Selector = "app=web".parse().unwrap();
    let history = history([
        (0, Input::Listed(Kind::Pod, vec![pod("x", "ReplicaSet", true)])),
        (5, Input::Changed(Kind::Pod, Change::Added, pod("y", "ReplicaSet", true))),
        (6, Input::Changed(Kind::Pod, Change::Added, pod("z", "ReplicaSet", true))),
    ]);
    assert_eq!(history.min_ready_since(&web, seconds(3)), Some(MinimumReady { count: 1, at: seconds(3) }));
}

#[test]
fn a_second_list_tells_what_was_missed() {
    let mut changed = node("a", true, true);
    changed["metadata"]["resourceVersion"] = "8".into();
    let mut reborn = node("b", false, false);
    reborn["metadata"]["uid"] = "another".into();
    let history = history([
        (
            0,
            Input::Listed(
                Kind::Node,
                vec![node("a", false, false), node("b", false, false), node("c", false, false)],
            ),
        ),
        (0, Input::WatchLost(Kind::Node)),
        (0, Input::WatchResumed(Kind::Node)),
        (0, Input::WatchLost(Kind::Pod)),
        (0, Input::WatchLost(Kind::Node)),
        (1, Input::Listed(Kind::Node, vec![changed, reborn])),
    ]);
    let log: Vec<_> = history
        .entries()
        .iter()
        .filter(|entry| entry.at == seconds(1))
        .map(|entry| match &entry.object {
            Object::Node(node) => format!("{:?} {} {}", entry.change, node.name, node.uid),
            other => format!("{other:?}"),
        })
        .collect();
    assert_eq!(log, ["Deleted b uid-b", "Deleted c uid-c", "Modified a uid-a", "Added b another"]);
    assert_eq!(history.state().nodes.keys().collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(history.gaps(), [Gap { kind: Kind::Node, from: seconds(0), until: seconds(1) }]);
}

#[test]
fn selectors() {
    let labels =
        [("app", "web"), ("tier", "front")].map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    let matches = |text: &str| text.parse::<Selector>().unwrap().matches(&labels);
    for text in ["app=web", "app==web", "app = web, tier=front", "app", "!old", "old!=x", "tier!=back,app"] {
        assert!(matches(text), "{text}");
    }
    for text in ["app=db", "old", "!app", "app!=web", "app=web,tier=back"] {
        assert!(!matches(text), "{text}");
    }
    for text in ["", "=x", "app in (web)"] {
        assert!(text.parse::<Selector>().is_err(), "{text}");
    }
}

fn unconnected() -> Observer {
    let following = Mutex::new(Following { history: History::new(), waiters: Vec::new() });
    Observer { shared: Arc::new(Shared { started: Instant::now(), following }), _watches: JoinSet::new() }
}

#[tokio::test]
async fn wait_for_sees_states_that_last_no_time() {
    let observer = unconnected();
    let shared = observer.shared.clone();
    let waiting = observer.wait_for(|state| state.disrupted("a"), seconds(5));
    let events = async {
        tokio::task::yield_now().await;
        shared.observe(modified(Kind::Node, node("a", true, true)));
        shared.observe(modified(Kind::Node, node("a", false, false)));
    };
    let (met, ()) = tokio::join!(waiting, events);
    met.unwrap();
    assert!(!observer.state().disrupted("a"));
    observer.wait_for(|state| !state.disrupted("a"), Duration::ZERO).await.unwrap();
}

#[tokio::test]
async fn wait_for_tells_the_state_when_time_is_up() {
    let observer = unconnected();
    observer.shared.observe(modified(Kind::Node, node("a", true, true)));
    observer.shared.observe(modified(Kind::Lease, lease("slot", POOL, "a")));
    observer.host_down("a");
    let error = observer.wait_for(|_| false, Duration::from_millis(1)).await.unwrap_err().to_string();
    assert!(error.contains("node a: ready, our cordon, host down, 0 pods"), "{error}");
    assert!(error.contains("lease slot (worker): a"), "{error}");
}

#[tokio::test]
async fn a_predicate_that_panics_fails_its_own_wait_alone() {
    let observer = unconnected();
    let mut asked = 0;
    let waiting = observer.wait_for(
        move |_| {
            asked += 1;
            assert!(asked == 1, "a test's own mistake");
            false
        },
        seconds(5),
    );
    let events = async {
        tokio::task::yield_now().await;
        observer.host_down("a");
    };
    let (met, ()) = tokio::join!(waiting, events);
    assert!(met.unwrap_err().to_string().contains("panicked"));
    assert!(observer.state().hosts_down.contains("a"));
}
