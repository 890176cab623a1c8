//! What several nodes owe to each other beyond their slots: zones, the breaker, shares.

use std::time::Duration;

use rebootd::decide::settings::{Breaker, Canary, Share, Zones};
use rebootd::decide::{Kernel, Names, NewerKernel, Others, Request, Source, ZONE};

use crate::imitation::Cluster;

fn minutes(number: u64) -> u64 {
    number * 60
}

/// Of one pool each, with a slot each.
fn two_pools() -> Cluster {
    let mut cluster = Cluster::new(&["n1", "n2"], 2);
    cluster.slots[1].pool = Some("other".into());
    cluster.hosts[1].settings.pool = "other".into();
    cluster.hosts[1].node.pool_label = Some("other".into());
    // The imitation takes every host that is down for one of the pool.
    cluster.hosts[1].settings.gates.max_nodes_not_ready = Share::Nodes(1);
    cluster
}

#[test]
fn a_node_that_does_not_come_back_stops_all_pools_unless_the_policy_says_otherwise() {
    for (breaker, follows) in [(Breaker::Cluster, false), (Breaker::Pool, true), (Breaker::Off, true)] {
        let mut cluster = two_pools();
        cluster.hosts[0].never_returns = true;
        cluster.hosts[1].settings.policy.breaker = breaker;
        cluster.request(0);
        cluster.run(minutes(17));
        cluster.request(1);
        cluster.run(minutes(60));
        let story = cluster.story.join("\n");
        assert_eq!(cluster.hosts[1].boot == 2, follows, "{breaker:?}\n{story}");
        assert_eq!(cluster.reasons(1).contains(&"node-not-back"), !follows, "{breaker:?}\n{story}");
        if !follows {
            cluster.freed_by_hand = true;
            (cluster.slots[0].holder, cluster.slots[0].stamp) = (None, None);
            cluster.slots[0].resource_version = "freed".into();
            cluster.run(minutes(10));
            assert_eq!(cluster.hosts[1].boot, 2, "{story}");
        }
    }
}

#[test]
fn within_its_pool_a_node_that_does_not_come_back_stops_the_other_slots_too() {
    for breaker in [Breaker::Cluster, Breaker::Pool] {
        let mut cluster = Cluster::new(&["n1", "n2"], 2);
        cluster.hosts[0].never_returns = true;
        cluster.hosts[1].settings.policy.breaker = breaker;
        cluster.request(0);
        cluster.run(minutes(17));
        cluster.request(1);
        cluster.run(minutes(60));
        assert!(cluster.reasons(1).contains(&"node-not-back"));
        assert_eq!(cluster.hosts[1].boot, 1, "{}", cluster.story.join("\n"));
    }
}

/// It has claimed its slot when the time of the other is over.
#[test]
fn a_node_amid_its_drain_waits_for_one_that_does_not_come_back_and_undoes_its_turn_in_the_end() {
    let mut cluster = two_pools();
    cluster.hosts[0].never_returns = true;
    cluster.pod(1, "web", rebootd::decide::Owner::Controller);
    cluster.hosts[1].kept = true;
    cluster.request(0);
    cluster.run(minutes(14));
    cluster.request(1);
    cluster.run(minutes(5));
    assert!(cluster.hosts[1].node.unschedulable, "{}", cluster.story.join("\n"));
    cluster.hosts[1].kept = false;
    cluster.run(minutes(60));
    let story = cluster.story.join("\n");
    assert_eq!(cluster.hosts[1].boot, 1, "{story}");
    assert!(!cluster.hosts[1].node.unschedulable && cluster.slots[1].holder.is_none(), "{story}");
}

/// A soak of hours is no node that does not come back.
#[test]
fn a_node_that_soaks_is_back() {
    let mut cluster = two_pools();
    cluster.hosts[0].settings.after.soak = Duration::from_secs(minutes(120));
    cluster.request(0);
    cluster.run(minutes(30));
    assert!(cluster.slots[0].returned, "{}", cluster.story.join("\n"));
    cluster.request(1);
    cluster.run(minutes(5));
    assert_eq!(cluster.hosts[1].boot, 2, "{}", cluster.story.join("\n"));
    assert!(cluster.slots[0].holder.is_some());
}

#[test]
fn one_zone_at_a_time_means_never_two() {
    let names: Vec<String> = (0..6).map(|number| format!("n{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut cluster = Cluster::new(&names, 3);
    let zones = ["a", ""];
    for (number, host) in cluster.hosts.iter_mut().enumerate() {
        host.settings.policy.zones = Zones::One;
        let zone = zones[number % 2];
        if !zone.is_empty() {
            host.node.labels.insert(ZONE.into(), zone.into());
        }
    }
    (0..6).for_each(|number| cluster.request(number));
    let mut most = 0;
    for _ in 0..minutes(60) {
        cluster.run(1);
        let in_turn: Vec<usize> = (0..6)
            .filter(|number| cluster.hosts[*number].node.unschedulable || !cluster.hosts[*number].up)
            .collect();
        most = most.max(in_turn.len());
        let first = in_turn.first().map_or(0, |number| number % 2);
        assert!(in_turn.iter().all(|number| number % 2 == first), "{}", cluster.story.join("\n"));
    }
    let story = cluster.story.join("\n");
    assert!(cluster.hosts.iter().all(|host| host.boot == 2) && cluster.is_clean(), "{story}");
    // The slots are used.
    assert!(most >= 2, "{story}");
}

#[test]
fn a_share_of_the_pool_may_be_not_ready() {
    let not_ready = || Names { first: vec!["a".into(), "b".into()], more: 0 };
    for (of_pool, reboots) in [(18, false), (19, true)] {
        let mut cluster = Cluster::new(&["n1"], 1);
        cluster.others = Ok(Others { not_ready: not_ready(), of_pool, ..Others::default() });
        cluster.hosts[0].settings.gates.max_nodes_not_ready = Share::Percent(10);
        cluster.request(0);
        cluster.run(200);
        assert_eq!(cluster.hosts[0].boot == 2, reboots, "{}", cluster.story.join("\n"));
    }
}

/// Packages ask, the same on all of them, at the same time; a canary soaks for ten minutes.
fn with_news(nodes: u32, names: &[&str], slots: usize) -> Cluster {
    let mut cluster = Cluster::new(names, slots);
    for number in 0..names.len() {
        let soak = Duration::from_secs(minutes(10));
        cluster.hosts[number].settings.policy.canary = Some(Canary { nodes, soak });
        let packages = vec!["libc6".to_owned()];
        let request = Request { reason: "libc6".into(), packages, since: None };
        cluster.hosts[number].requests.insert(Source::SentinelFile, Some(Ok(Some(request))));
    }
    cluster
}

fn booted(cluster: &Cluster) -> usize {
    cluster.hosts.iter().filter(|host| host.boot == 2).count()
}

#[test]
fn a_canary_goes_first_and_the_others_wait_until_it_has_run_well_for_the_soak() {
    for nodes in [1, 2] {
        let mut cluster = with_news(nodes, &["n1", "n2", "n3", "n4"], 3);
        cluster.run(minutes(9));
        let story = cluster.story.join("\n");
        assert_eq!(booted(&cluster), nodes as usize, "{story}");
        let waits = (0..4).filter(|number| cluster.reasons(*number).contains(&"canary-first")).count();
        assert_eq!(waits, 4 - nodes as usize, "{story}");
        cluster.run(minutes(10));
        let story = cluster.story.join("\n");
        assert!(booted(&cluster) == 4 && cluster.is_clean(), "{story}");
        // What has run well is no news any more.
        for number in 0..4 {
            let request = Request { reason: "again".into(), packages: vec!["libc6".into()], since: None };
            cluster.hosts[number].requests.insert(Source::SentinelFile, Some(Ok(Some(request))));
            cluster.restart(number);
        }
        cluster.run(minutes(8));
        assert!(cluster.hosts.iter().all(|host| host.boot == 3), "{}", cluster.story.join("\n"));
    }
}

/// Whatever the breaker is: what it tried is what the others would start.
#[test]
fn a_canary_that_does_not_come_back_holds_all_pools_that_would_start_the_same() {
    let mut cluster = with_news(1, &["n1", "n2", "n3"], 3);
    let mut other = |number: usize| {
        cluster.slots[number].pool = Some("other".into());
        let host = &mut cluster.hosts[number];
        host.settings.pool = "other".into();
        host.node.pool_label = Some("other".into());
        host.requests.insert(Source::SentinelFile, Some(Ok(None)));
    };
    (1..3).for_each(&mut other);
    for host in &mut cluster.hosts {
        host.never_returns = true;
        host.settings.policy.breaker = Breaker::Off;
        host.settings.gates.max_nodes_not_ready = Share::Nodes(1);
    }
    cluster.run(minutes(20));
    assert!(!cluster.hosts[0].up);
    let asks = |package: &str| {
        let request = Request { reason: "x".into(), packages: vec![package.into()], since: None };
        Some(Ok(Some(request)))
    };
    cluster.hosts[1].requests.insert(Source::SentinelFile, asks("libc6"));
    cluster.restart(1);
    cluster.run(minutes(30));
    assert!(cluster.reasons(1).contains(&"node-not-back"), "{}", cluster.story.join("\n"));
    // What was not tried there is not held.
    cluster.hosts[2].requests.insert(Source::SentinelFile, asks("dbus"));
    cluster.restart(2);
    cluster.run(minutes(5));
    assert!(cluster.hosts[1].up && !cluster.hosts[2].up, "{}", cluster.story.join("\n"));
}

#[test]
fn a_canary_that_starts_another_kernel_is_no_proof() {
    let mut cluster = with_news(1, &["n1", "n2"], 2);
    for host in &mut cluster.hosts {
        let newer = NewerKernel { release: "6.1.0-50-amd64".into(), since: Some(Duration::from_secs(1)) };
        host.kernel.newer = Some(newer);
        host.next_kernel = Some(Kernel { running: "6.1.0-40-amd64".into(), ..host.kernel.clone() });
    }
    cluster.run(minutes(60));
    let story = cluster.story.join("\n");
    assert_eq!(booted(&cluster), 1, "{story}");
    let canary = usize::from(cluster.hosts[1].boot == 2);
    assert!(cluster.reasons(canary).contains(&"canary-failed"), "{story}");
    assert!(cluster.slots.iter().any(|slot| slot.holder.is_some() && !slot.returned), "{story}");
}

/// Of nodes that may reboot together, all that ask at once would otherwise be canaries.
#[test]
fn two_that_claim_as_the_canary_at_the_same_moment_do_not_both_go_on() {
    let mut cluster = with_news(1, &["n1", "n2", "n3"], 3);
    for _ in 0..minutes(15) {
        cluster.run(1);
        let tried_by = |cluster: &Cluster| {
            let slots = cluster.slots.iter().filter(|slot| slot.claim.canary.is_some());
            slots.filter_map(|slot| slot.holder.clone()).collect::<Vec<_>>()
        };
        let cordoned = cluster.hosts.iter().filter(|host| {
            let name = &host.settings.node_name;
            (host.node.unschedulable || !host.up) && tried_by(&cluster).contains(name)
        });
        assert!(cordoned.count() <= 1, "{}", cluster.story.join("\n"));
    }
    assert!(cluster.is_clean(), "{}", cluster.story.join("\n"));
}

/// A node whose files do not name its pool has read the policy at its start: for the pool, not to claim by.
#[test]
fn a_policy_that_was_read_while_nothing_was_asked_is_read_again_before_the_claim() {
    let mut cluster = Cluster::new(&["n1"], 1);
    cluster.hosts[0].settings.pool_is_written = false;
    cluster.run(minutes(1));
    // Nobody watches it.
    cluster.hosts[0].policy = Err("a freeze with a typo".into());
    cluster.request(0);
    cluster.run(minutes(5));
    assert_eq!(cluster.hosts[0].boot, 1, "{}", cluster.story.join("\n"));
    assert!(cluster.reasons(0).contains(&"policy-unreadable"), "{}", cluster.story.join("\n"));
}

/// What has held all of them back ends for all at the same moment, and slots have been free for long.
#[test]
fn nodes_that_something_else_has_held_back_do_not_claim_all_at_once() {
    let names: Vec<String> = (1..7).map(|number| format!("n{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut cluster = Cluster::new(&names, 6);
    cluster.run(minutes(1));
    cluster.pause(Some("an incident"));
    (0..6).for_each(|number| cluster.request(number));
    cluster.run(minutes(2));
    cluster.pause(None);
    let told = cluster.story.len();
    cluster.run(1);
    let at_once = cluster.story[told..].iter().filter(|it| it.contains(" claims ")).count();
    assert!(at_once < 6, "{}", cluster.story.join("\n"));
    cluster.run(minutes(5));
    assert!(cluster.hosts.iter().all(|host| host.boot == 2), "{}", cluster.story.join("\n"));
}
