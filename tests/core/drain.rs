//! The drain: what is touched, in which order, and how often.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rebootd::decide::settings::{BarePods, DeleteRefused, EmptyDirPods, OnTimeout};
use rebootd::decide::*;
use rebootd::notation::*;

use crate::imitation::{Cluster, kept_by};
use crate::stories::told;

/// One node with these pods, which asks for a reboot.
fn node(pods: &[&str]) -> Cluster {
    let mut cluster = Cluster::new(&["n1"], 1);
    for name in pods {
        cluster.pod(0, name, Owner::Controller);
    }
    cluster.request(0);
    cluster
}

fn pod<'a>(cluster: &'a mut Cluster, name: &str) -> &'a mut PodView {
    cluster.hosts[0].pods.get_mut(&format!("pod-{name}")).unwrap()
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("web-{number:02}")).collect()
}

/// How often a pod, or all, were asked for in this way.
fn asked(cluster: &Cluster, name: Option<&str>, how: How) -> usize {
    let asked = cluster.hosts[0].asked.iter();
    asked.filter(|(_, pod, it)| *it == how && name.is_none_or(|name| name == pod)).count()
}

fn story(cluster: &Cluster) -> String {
    cluster.story.join("\n")
}

fn reason(cluster: &Cluster, kind: &str) -> String {
    let decision = decide(&cluster.hosts[0].world, &cluster.hosts[0].settings);
    let reason = decision.reasons.iter().find(|reason| reason.kind() == kind);
    reason.unwrap_or_else(|| panic!("{:?}\n{}", decision.reasons, story(cluster))).to_string()
}

fn rebooted(cluster: &Cluster) -> bool {
    cluster.hosts[0].boot == 2
}

fn budget(name: &str, label: &str) -> Budget {
    let operator = Operator::In(BTreeSet::from([label.to_owned()]));
    let requirements = vec![Requirement { label: "app".into(), operator }];
    Budget { namespace: "default".into(), name: name.into(), selector: Some(Selector { requirements }) }
}

// ---- the plan ----

#[test]
fn what_stays_is_not_touched() {
    let mut cluster = node(&["web"]);
    for (name, owner) in [("static", Owner::Kubelet), ("cni", Owner::DaemonSet), ("bare", Owner::Nobody)] {
        cluster.pod(0, name, owner);
    }
    cluster.pod(0, "done", Owner::Controller);
    pod(&mut cluster, "done").finished = true;
    cluster.run(20);
    assert!(rebooted(&cluster), "{}", story(&cluster));
    let asked: Vec<&str> = cluster.hosts[0].asked.iter().map(|(_, name, _)| name.as_str()).collect();
    assert_eq!(asked, ["web"]);
}

#[test]
fn a_bare_pod_that_a_budget_covers_holds_back_the_claim_and_is_named() {
    let mut cluster = node(&["web"]);
    cluster.pod(0, "bare", Owner::Nobody);
    pod(&mut cluster, "bare").labels = BTreeMap::from([("app".into(), "db".into())]);
    cluster.hosts[0].budgets = Ok(vec![budget("other", "web"), budget("db", "db")]);
    cluster.run(300);
    assert_eq!((cluster.writes, cluster.hosts[0].asked.len()), (0, 0), "{}", story(&cluster));
    let reason = reason(&cluster, "pods-refused");
    assert!(reason.contains("default/bare") && reason.contains("budget db covers it"), "{reason}");
    cluster.hosts[0].pods.remove("pod-bare");
    cluster.run(60);
    assert!(rebooted(&cluster), "{}", story(&cluster));
}

#[test]
fn a_bare_pod_that_the_kubelets_shutdown_would_end_holds_back_the_claim() {
    let mut cluster = node(&[]);
    cluster.pod(0, "bare", Owner::Nobody);
    let why = "Kubelet needs time to handle node shutdown".into();
    cluster.hosts[0].inhibitors = vec![Inhibitor { who: "kubelet".into(), why, delays: true }];
    cluster.run(60);
    assert_eq!(cluster.writes, 0, "{}", story(&cluster));
    assert!(reason(&cluster, "pods-refused").contains("graceful shutdown"));
    cluster.hosts[0].settings.drain.bare_pods = BarePods::Evict;
    cluster.run(60);
    assert!(rebooted(&cluster) && asked(&cluster, Some("bare"), How::Evict) == 1, "{}", story(&cluster));
}

#[test]
fn a_bare_pod_that_would_not_run_again_holds_back_the_claim_until_it_has_finished() {
    let mut cluster = node(&[]);
    cluster.pod(0, "once", Owner::Nobody);
    pod(&mut cluster, "once").runs_once = true;
    cluster.run(60);
    assert_eq!(cluster.writes, 0, "{}", story(&cluster));
    assert!(reason(&cluster, "pods-refused").contains("restartPolicy is Never"));
    pod(&mut cluster, "once").finished = true;
    cluster.run(60);
    assert!(rebooted(&cluster), "{}", story(&cluster));
}

#[test]
fn a_pod_that_is_refused_after_the_claim_gives_the_slot_back_before_the_cordon() {
    let mut cluster = node(&["web"]);
    while cluster.slots[0].holder.is_none() {
        if cluster.step(0).is_some() {
            cluster.time += Duration::from_millis(100);
        }
    }
    cluster.hosts[0].settings.drain.empty_dir_pods = EmptyDirPods::Refuse;
    pod(&mut cluster, "web").empty_dir = true;
    cluster.run(20);
    assert!(cluster.is_clean() && !told(&cluster, "n1 cordons"), "{}", story(&cluster));
    assert!(told(&cluster, "n1 releases worker-1"), "{}", story(&cluster));
    assert!(reason(&cluster, "pods-refused").contains("emptyDir"));
}

#[test]
fn a_pod_that_comes_back_to_the_cordoned_node_is_left_in_the_end() {
    let mut cluster = node(&["agent"]);
    let original = pod(&mut cluster, "agent").clone();
    for round in 0..20 {
        cluster.run(1);
        let host = &mut cluster.hosts[0];
        if host.boot == 1 && host.pods.is_empty() {
            let uid = format!("pod-agent-{round}");
            let key = PodKey { uid: uid.clone(), ..original.key.clone() };
            let again = PodView { key, ..original.clone() };
            host.pods.insert(uid, again.clone());
            let now = host.world.now;
            observe(&mut host.world, Event::PodSeen(again), now);
        }
    }
    assert!(rebooted(&cluster), "{}", story(&cluster));
    assert_eq!(asked(&cluster, Some("agent"), How::Evict), 3);
}

#[test]
fn a_pod_that_has_ended_is_waited_for_until_its_object_is_gone_but_not_for_a_finalizer() {
    let mut cluster = node(&["web"]);
    // Its object stays, whatever the kubelet does.
    cluster.hosts[0].finalizers = true;
    while asked(&cluster, Some("web"), How::Evict) == 0 {
        if cluster.step(0).is_some() {
            cluster.time += Duration::from_millis(100);
        }
    }
    let ended = PodView { finished: true, ..pod(&mut cluster, "web").clone() };
    cluster.hosts[0].pods.insert(ended.key.uid.clone(), ended.clone());
    let now = cluster.hosts[0].world.now;
    observe(&mut cluster.hosts[0].world, Event::PodSeen(ended), now);
    cluster.run(25);
    assert!(!rebooted(&cluster), "{}", story(&cluster));
    cluster.run(15);
    assert!(rebooted(&cluster), "{}", story(&cluster));
}

// ---- the order and the number of requests ----

#[test]
fn a_budget_that_blocks_twenty_pods_costs_few_requests() {
    let names = names(20);
    let mut cluster = node(&names.iter().map(String::as_str).collect::<Vec<_>>());
    for name in &names {
        pod(&mut cluster, name).controller_uid = "web".into();
    }
    cluster.hosts[0].kept = true;
    cluster.run(60);
    let first_minute = cluster.hosts[0].asked.len();
    cluster.run(120);
    let later = (cluster.hosts[0].asked.len() - first_minute) as f64 / 2.0;
    // As often as `kubectl drain` asks for a single one of them.
    assert!(first_minute <= 20 && later <= 16.0, "{first_minute}, then {later} a minute");
    let reason = reason(&cluster, "pods-left");
    assert!(reason.starts_with("20 of 20 pods still to leave within "), "{reason}");
    assert!(reason.contains("; default/web-"), "{reason}");
    assert!(reason.contains(" blocked by budget db (0 of 1 may go)"), "{reason}");
    // Each gets its turn: the budget may let a sick one go and no other.
    let pods: BTreeSet<&String> = cluster.hosts[0].asked.iter().map(|(_, name, _)| name).collect();
    assert!(pods.len() >= 12, "{pods:?}");
    cluster.hosts[0].kept = false;
    cluster.run(120);
    assert!(rebooted(&cluster), "{}", story(&cluster));
}

#[test]
fn a_budget_that_refuses_is_watched_and_asked_at_once_when_it_opens() {
    let mut cluster = node(&["db-0", "db-1"]);
    for name in ["db-0", "db-1"] {
        pod(&mut cluster, name).controller_uid = "db".into();
    }
    cluster.hosts[0].kept = true;
    let count = |cluster: &Cluster| asked(cluster, None, How::Evict);
    let seen = |opens| Event::BudgetSeen { budget: "default/db".into(), opens };
    assert!(!cluster.hosts[0].watched.has(Part::Budgets));
    cluster.run(60);
    assert!(cluster.hosts[0].watched.has(Part::Budgets));
    assert_eq!(refusing_budgets(&cluster.hosts[0].world), BTreeSet::from(["default/db".to_owned()]));
    // The one that is asked may be refused all the same: the budget's controller counts again.
    let before = count(&cluster);
    cluster.event(0, seen(true));
    cluster.step(0);
    assert_eq!(count(&cluster), before + 1);
    // Events that repeat what is known cause no requests.
    for _ in 0..20 {
        cluster.event(0, seen(true));
        cluster.step(0);
    }
    assert_eq!(count(&cluster), before + 1);
    // It is open, so it is asked each second; and seldom once it has closed.
    let before = count(&cluster);
    cluster.run(10);
    let each_second = count(&cluster) - before;
    assert!((9..=12).contains(&each_second), "{each_second}");
    cluster.event(0, seen(false));
    let before = count(&cluster);
    cluster.run(60);
    assert!(count(&cluster) - before <= 8, "{}", count(&cluster) - before);
    cluster.hosts[0].kept = false;
    cluster.event(0, seen(true));
    cluster.run(5);
    assert!(rebooted(&cluster), "{}", story(&cluster));
}

#[test]
fn a_budget_that_opens_while_its_request_is_on_its_way_is_asked_again_soon() {
    let mut cluster = node(&["db"]);
    cluster.hosts[0].kept = true;
    cluster.run(60);
    let key = pod(&mut cluster, "db").key.clone();
    let how = How::Evict;
    cluster.event(0, Event::EvictionsBegun { pods: vec![key.clone()], how });
    cluster.event(0, Event::BudgetSeen { budget: "default/db".into(), opens: true });
    cluster.event(0, Event::EvictionEnded { pod: key, how, outcome: kept_by("db") });
    let before = asked(&cluster, None, how);
    cluster.run(2);
    assert!(asked(&cluster, None, how) > before, "{}", story(&cluster));
}

#[test]
fn one_blocked_pod_does_not_stop_the_others() {
    let mut cluster = node(&["db", "web", "cache"]);
    cluster.hosts[0].answers.insert("db".into(), kept_by("db"));
    cluster.run(20);
    let left: Vec<&String> = cluster.hosts[0].pods.keys().collect();
    assert_eq!(left, ["pod-db"]);
    let reason = reason(&cluster, "pods-left");
    assert!(reason.starts_with("1 of 3 pods still to leave within 14min "), "{reason}");
    assert!(reason.contains("; default/db blocked by budget db"), "{reason}");
}

#[test]
fn what_the_cluster_rests_on_is_asked_for_once_all_others_have_been_granted() {
    let mut cluster = node(&["dns", "db", "web"]);
    pod(&mut cluster, "dns").critical = true;
    cluster.hosts[0].answers.insert("db".into(), kept_by("db"));
    cluster.run(60);
    assert_eq!((asked(&cluster, Some("dns"), How::Evict), asked(&cluster, Some("web"), How::Evict)), (0, 1));
    // Granted is enough: the grace of the others is not waited for.
    cluster.hosts[0].answers.clear();
    cluster.run(90);
    assert!(rebooted(&cluster) && asked(&cluster, Some("dns"), How::Evict) == 1, "{}", story(&cluster));
}

#[test]
fn an_overloaded_server_is_asked_nothing_until_it_wants_to_be() {
    let names = names(12);
    let mut cluster = node(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let retry_after = Some(Duration::from_secs(20));
    let overloaded = EvictionOutcome::Overloaded { message: "429 too many requests".into(), retry_after };
    cluster.hosts[0].answers = names.iter().map(|name| (name.clone(), overloaded.clone())).collect();
    cluster.run(18);
    assert_eq!(cluster.hosts[0].asked.len(), 5, "{}", story(&cluster));
    assert!(reason(&cluster, "evictions-held-up").contains("too many requests"));
    assert!(reason(&cluster, "pods-left").starts_with("12 of 12 pods still to leave"));
    cluster.hosts[0].answers.clear();
    cluster.run(60);
    assert!(rebooted(&cluster), "{}", story(&cluster));
}

#[test]
fn a_lost_answer_is_asked_for_again() {
    let mut cluster = node(&["web"]);
    cluster.hosts[0]
        .answers
        .insert("web".into(), EvictionOutcome::Unanswered { message: "timed out".into() });
    cluster.run(5);
    cluster.hosts[0].answers.clear();
    cluster.run(30);
    assert!(rebooted(&cluster), "{}", story(&cluster));
}

#[test]
fn a_pod_that_is_not_what_it_was_is_asked_for_again_if_it_is_still_there() {
    let mut cluster = node(&["web"]);
    cluster.hosts[0].answers.insert("web".into(), EvictionOutcome::Outdated);
    cluster.run(12);
    assert_eq!(asked(&cluster, None, How::Evict), 3);
    cluster.hosts[0].answers.clear();
    cluster.run(30);
    assert!(rebooted(&cluster), "{}", story(&cluster));
}

// ---- the deadline and what follows it ----

#[test]
fn a_drain_that_fails_is_tried_again_ever_more_rarely_and_a_dry_run_only_delays_it() {
    let mut cluster = node(&["db", "web"]);
    cluster.hosts[0].answers.insert("db".into(), kept_by("db"));
    let minutes = |count: u64| count * 60;
    cluster.run(minutes(16));
    assert!(cluster.is_clean() && cluster.reasons(0) == ["backing-off"], "{}", story(&cluster));
    let evictions = |cluster: &Cluster| asked(cluster, Some("web"), How::Evict);
    // `web` has moved on; it comes back, as its pods would to a node that is schedulable again.
    cluster.pod(0, "web", Owner::Controller);
    assert_eq!((evictions(&cluster), asked(&cluster, None, How::DryRun)), (1, 0));
    cluster.run(minutes(31));
    assert!(reason(&cluster, "would-be-blocked").contains("default/db would still be blocked by budget db"));
    assert_eq!((evictions(&cluster), asked(&cluster, None, How::DryRun)), (1, 2), "{}", story(&cluster));
    // After twice the pause it tries all the same: some operators move their pod only once they see the cordon.
    cluster.run(minutes(31));
    assert!(told(&cluster, "n1 draining pods-left") && evictions(&cluster) == 2, "{}", story(&cluster));
    cluster.run(minutes(16));
    cluster.pod(0, "web", Owner::Controller);
    cluster.run(minutes(119));
    assert_eq!(evictions(&cluster), 2, "{}", story(&cluster));
    // A dry run that finds nothing in the way ends the wait.
    cluster.hosts[0].answers.clear();
    cluster.run(minutes(32));
    assert!(rebooted(&cluster), "{}", story(&cluster));
}

#[test]
fn a_webhook_that_refuses_counts_for_the_dry_run() {
    let mut cluster = node(&["vm", "web"]);
    let by = Refuser::Webhook { name: "virt".into() };
    let refusal = EvictionRefusal { by, message: "denied".into(), retry_after: None };
    cluster.hosts[0].answers.insert("vm".into(), EvictionOutcome::Refused(refusal));
    cluster.run(47 * 60);
    let told = reason(&cluster, "would-be-blocked");
    assert!(told.contains("default/vm would still be blocked by admission webhook virt"), "{told}");
    assert_eq!(asked(&cluster, Some("web"), How::Evict), 1, "{}", story(&cluster));
}

#[test]
fn a_pod_with_a_long_grace_that_has_left_does_not_shorten_the_deadline() {
    let mut cluster = node(&["db", "slow"]);
    pod(&mut cluster, "slow").grace = Duration::from_secs(3600);
    cluster.hosts[0].answers.insert("db".into(), kept_by("db"));
    cluster.run(20 * 60);
    assert!(cluster.hosts[0].node.unschedulable, "{}", story(&cluster));
    cluster.run(46 * 60);
    assert!(told(&cluster, "n1 releases worker-1"), "{}", story(&cluster));
}

#[test]
fn where_the_configuration_says_so_it_reboots_at_the_deadline_once_all_were_asked_for() {
    let mut cluster = node(&["db", "dns"]);
    cluster.hosts[0].settings.drain.on_timeout = OnTimeout::Reboot;
    pod(&mut cluster, "dns").critical = true;
    cluster.hosts[0].answers.insert("db".into(), kept_by("db"));
    cluster.run(14 * 60);
    assert!(!rebooted(&cluster));
    cluster.run(3 * 60);
    assert!(rebooted(&cluster), "{}", story(&cluster));
    assert!(
        told(&cluster, "goes-on") && asked(&cluster, Some("dns"), How::Evict) == 1,
        "{}",
        story(&cluster)
    );
}

#[test]
fn a_refused_pod_is_deleted_only_in_the_namespaces_that_are_named_and_after_the_time() {
    let mut cluster = node(&["db", "web"]);
    let namespaces = BTreeSet::from(["default".to_owned()]);
    let delete = DeleteRefused { after: Duration::from_secs(300), namespaces };
    cluster.hosts[0].settings.drain.delete = Some(delete);
    cluster.hosts[0].answers.insert("db".into(), kept_by("db"));
    pod(&mut cluster, "web").key.namespace = "elsewhere".into();
    cluster.hosts[0].answers.insert("web".into(), kept_by("web"));
    cluster.run(290);
    assert_eq!(asked(&cluster, None, How::Delete), 0);
    cluster.run(30);
    assert_eq!(asked(&cluster, Some("db"), How::Delete), 1, "{}", story(&cluster));
    cluster.run(300);
    assert_eq!(asked(&cluster, None, How::Delete), 1, "{}", story(&cluster));
}

// ---- the end ----

#[test]
fn volumes_of_drained_pods_are_waited_for_but_not_for_ever() {
    let mut cluster = node(&["db"]);
    cluster.pod(0, "bare", Owner::Nobody);
    pod(&mut cluster, "bare").claims = BTreeSet::from(["data".to_owned()]);
    cluster.hosts[0].node.volumes = 2;
    cluster.run(60);
    assert!(reason(&cluster, "volumes-in-use").contains("1 volumes have not"), "{}", story(&cluster));
    assert!(cluster.hosts[0].pods.len() == 1 && !rebooted(&cluster));
    cluster.run(90);
    assert!(rebooted(&cluster), "{}", story(&cluster));
}

#[test]
fn a_pod_that_comes_between_the_two_lists_is_evicted_first() {
    let mut cluster = node(&["web"]);
    loop {
        let decision = decide(&cluster.hosts[0].world, &cluster.hosts[0].settings);
        if matches!(decision.next, Next::Read(Reads { confirms_drained: true, .. })) {
            break;
        }
        if cluster.step(0).is_some() {
            cluster.run(1);
        }
    }
    cluster.pod(0, "late", Owner::Controller);
    cluster.run(30);
    assert!(rebooted(&cluster) && asked(&cluster, Some("late"), How::Evict) == 1, "{}", story(&cluster));
}

#[test]
fn budgets_that_cannot_be_read_hold_up_the_cordon_and_give_nothing_back() {
    let mut cluster = node(&["web"]);
    while cluster.slots[0].holder.is_none() {
        if cluster.step(0).is_some() {
            cluster.time += Duration::from_millis(100);
        }
    }
    cluster.pod(0, "bare", Owner::Nobody);
    cluster.hosts[0].budgets = Err("500 internal error".into());
    cluster.run(200);
    assert_eq!(cluster.reasons(0), ["pods-refused"], "{}", story(&cluster));
    assert!(cluster.slots[0].holder.is_some() && !cluster.hosts[0].node.unschedulable);
    cluster.hosts[0].budgets = Ok(vec![]);
    cluster.run(60);
    assert!(rebooted(&cluster), "{}", story(&cluster));
}

#[test]
fn a_node_that_is_drained_at_the_deadline_goes_on_as_any_other() {
    let mut cluster = node(&["db"]);
    cluster.hosts[0].settings.drain.on_timeout = OnTimeout::Reboot;
    cluster.hosts[0].answers.insert("db".into(), kept_by("db"));
    cluster.run(60);
    cluster.hosts[0].package_manager = Some("/var/lib/dpkg/lock".into());
    cluster.hosts[0].pods.clear();
    cluster.run(13 * 60);
    cluster.hosts[0].package_manager = None;
    cluster.time += Duration::from_secs(120);
    cluster.run(30);
    assert!(rebooted(&cluster) && !told(&cluster, "goes-on"), "{}", story(&cluster));
}
