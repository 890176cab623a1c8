//! What the core decides, story by story.

use std::time::Duration;

use rebootd::decide::settings::{ForeignCordon, Mode, Share};
use rebootd::decide::*;

use crate::imitation::{Cluster, id};

pub fn told(cluster: &Cluster, text: &str) -> bool {
    cluster.story.iter().any(|line| line.contains(text))
}

#[test]
fn one_node_goes_the_whole_way() {
    let mut cluster = Cluster::new(&["n1"], 1);
    cluster.pod(0, "web", Owner::Controller);
    cluster.pod(0, "log", Owner::DaemonSet);
    cluster.pod(0, "bare", Owner::Nobody);
    cluster.request(0);
    cluster.run(200);
    let steps: Vec<&str> = cluster.story.iter().map(|line| line.split_once("s ").unwrap().1).collect();
    let expected = [
        "n1 starting nothing-read",
        "n1 waiting my-turn-comes",
        "n1 confirms its Node",
        "n1 claims worker-1",
        "n1 cordons",
        "n1 draining pods-left",
        "n1 stamps worker-1",
        "n1 calls Reboot",
        "n1 boots",
        "n1 starting nothing-read",
        "n1 returning kubelet-not-renewing",
        "n1 uncordons",
        "n1 returning settling",
        "n1 releases worker-1",
        "n1 idle",
    ];
    assert_eq!(steps, expected, "{}", cluster.story.join("\n"));
    assert_eq!(cluster.hosts[0].pods.len(), 2);
    assert!(cluster.is_clean());
}

#[test]
fn an_idle_node_wants_nothing_for_hours_after_its_second_look() {
    let mut cluster = Cluster::new(&["n1"], 1);
    cluster.run(200);
    let next = cluster.step(0).unwrap().unwrap();
    assert!(next > cluster.time + Duration::from_secs(4 * 60 * 60), "{next:?}");
}

#[test]
fn three_nodes_go_one_after_the_other() {
    let mut cluster = Cluster::new(&["n1", "n2", "n3"], 1);
    for number in 0..3 {
        cluster.request(number);
    }
    cluster.run(600);
    assert!(cluster.is_clean(), "{}", cluster.story.join("\n"));
    assert_eq!(cluster.most_disrupted, 1);
    assert!(cluster.hosts.iter().all(|host| host.boot == 2));
}

#[test]
fn two_slots_let_two_nodes_go_at_once() {
    let mut cluster = Cluster::new(&["n1", "n2", "n3"], 2);
    for number in 0..3 {
        cluster.request(number);
    }
    cluster.run(600);
    assert_eq!(cluster.most_disrupted, 2);
    assert!(cluster.hosts.iter().all(|host| host.boot == 2));
}

#[test]
fn a_node_that_does_not_come_back_stops_the_rollout_and_is_named() {
    let mut cluster = Cluster::new(&["n1", "n2"], 1);
    cluster.hosts[0].never_returns = true;
    cluster.request(0);
    cluster.run(30);
    cluster.request(1);
    cluster.run(3600);
    assert_eq!(cluster.hosts[1].boot, 1);
    let line = &cluster.hosts[1].last.as_ref().unwrap().reasons[0].to_string();
    assert!(line.contains("n1 holds worker-1 (rebooting)"), "{line}");
}

#[test]
fn a_budget_that_allows_nothing_ends_in_an_abort_and_a_pause() {
    let mut cluster = Cluster::new(&["n1", "n2"], 1);
    cluster.pod(0, "db", Owner::Controller);
    cluster.hosts[0].kept = true;
    cluster.request(0);
    cluster.run(15 * 60 + 30);
    assert!(cluster.is_clean(), "{}", cluster.story.join("\n"));
    assert!(told(&cluster, "n1 waiting backing-off"));
    cluster.request(1);
    cluster.run(200);
    assert_eq!(cluster.hosts[1].boot, 2);
    cluster.hosts[0].kept = false;
    cluster.run(31 * 60);
    assert_eq!(cluster.hosts[0].boot, 2);
}

#[test]
fn a_request_that_vanishes_in_mid_drain_is_undone() {
    let mut cluster = Cluster::new(&["n1"], 1);
    cluster.pod(0, "db", Owner::Controller);
    cluster.hosts[0].kept = true;
    cluster.request(0);
    cluster.run(60);
    cluster.withdraw(0);
    cluster.run(10);
    assert!(cluster.is_clean(), "{}", cluster.story.join("\n"));
    assert_eq!(cluster.hosts[0].boot, 1);
}

#[test]
fn an_administrators_cordon_stays_his() {
    let mut cluster = Cluster::new(&["n1"], 1);
    cluster.hosts[0].settings.gates.foreign_cordon = ForeignCordon::Reboot;
    cluster.hosts[0].node.unschedulable = true;
    cluster.request(0);
    cluster.run(300);
    assert_eq!(cluster.hosts[0].boot, 2);
    assert!(cluster.hosts[0].node.unschedulable);
    assert!(cluster.slots[0].holder.is_none());
}

#[test]
fn packages_being_installed_hold_everything_up() {
    let mut cluster = Cluster::new(&["n1"], 1);
    cluster.hosts[0].package_manager = Some("/var/lib/dpkg/lock".into());
    cluster.request(0);
    cluster.run(100);
    assert!(cluster.slots[0].holder.is_none());
    assert!(told(&cluster, "n1 waiting package-manager"));
    cluster.hosts[0].package_manager = None;
    cluster.run(200);
    assert_eq!(cluster.hosts[0].boot, 2);
}

/// The sentinel appears while apt is at work, right after the host was looked at.
#[test]
fn a_claim_does_not_rest_on_what_the_host_was_a_moment_ago() {
    let mut cluster = Cluster::new(&["n1"], 1);
    cluster.run(3);
    cluster.hosts[0].package_manager = Some("/var/lib/dpkg/lock".into());
    cluster.request(0);
    cluster.run(30);
    assert_eq!(cluster.writes, 0, "{}", cluster.story.join("\n"));
}

#[test]
fn a_gate_that_shuts_in_mid_drain_holds_up_the_reboot_and_undoes_nothing() {
    let mut cluster = Cluster::new(&["n1"], 1);
    cluster.pod(0, "db", Owner::Controller);
    cluster.hosts[0].kept = true;
    cluster.request(0);
    cluster.run(30);
    cluster.hosts[0].kept = false;
    cluster.hosts[0].package_manager = Some("/var/lib/dpkg/lock".into());
    cluster.run(300);
    assert_eq!(cluster.hosts[0].boot, 1);
    assert!(cluster.hosts[0].node.unschedulable);
    cluster.hosts[0].package_manager = None;
    cluster.run(200);
    assert_eq!(cluster.hosts[0].boot, 2);
    assert!(cluster.is_clean());
}

#[test]
fn a_gate_that_shuts_after_the_stamp_holds_up_the_call_and_costs_no_try() {
    let mut cluster = Cluster::new(&["n1"], 1);
    cluster.hosts[0].dpkg_at_stamp = true;
    cluster.request(0);
    cluster.run(100);
    assert!(!told(&cluster, "calls Reboot"), "{}", cluster.story.join("\n"));
    cluster.hosts[0].dpkg_at_stamp = false;
    cluster.hosts[0].package_manager = None;
    cluster.run(100);
    assert_eq!(cluster.hosts[0].boot, 2, "{}", cluster.story.join("\n"));
    assert!(cluster.is_clean());
}

#[test]
fn a_gate_that_stays_shut_after_the_stamp_ends_in_an_abort() {
    let mut cluster = Cluster::new(&["n1"], 1);
    cluster.hosts[0].dpkg_at_stamp = true;
    cluster.request(0);
    cluster.run(20 * 60);
    assert!(cluster.is_clean(), "{}", cluster.story.join("\n"));
    assert_eq!(cluster.hosts[0].boot, 1);
}

#[test]
fn a_stamp_whose_answer_is_lost_is_written_again_immediately() {
    let mut cluster = Cluster::new(&["n1"], 1);
    cluster.lose_answer_of = Some(3);
    cluster.request(0);
    cluster.run(60);
    assert!(told(&cluster, "n1 stamps worker-1"), "{}", cluster.story.join("\n"));
    assert_eq!(cluster.hosts[0].boot, 2, "{}", cluster.story.join("\n"));
}

#[test]
fn a_machine_that_stays_up_is_asked_again_and_then_given_back() {
    let mut cluster = Cluster::new(&["n1"], 1);
    cluster.hosts[0].stays_up = true;
    cluster.request(0);
    cluster.run(650);
    assert!(cluster.slots[0].holder.is_some(), "not before reboot_timeout has passed twice");
    cluster.run(700);
    assert!(cluster.is_clean(), "{}", cluster.story.join("\n"));
    assert_eq!(cluster.story.iter().filter(|line| line.contains("calls Reboot")).count(), 2);
}

#[test]
fn whoever_cannot_tell_whether_the_host_goes_down_writes_nothing() {
    let mut cluster = Cluster::new(&["n1"], 1);
    cluster.hosts[0].going_down = Err("no bus".into());
    cluster.request(0);
    cluster.run(300);
    assert_eq!(cluster.writes, 0);
}

#[test]
fn without_an_api_nothing_moves_and_afterwards_everything_does() {
    let mut cluster = Cluster::new(&["n1"], 1);
    cluster.pod(0, "db", Owner::Controller);
    cluster.hosts[0].kept = true;
    cluster.request(0);
    cluster.run(30);
    cluster.api_down = true;
    cluster.hosts[0].kept = false;
    cluster.run(300);
    assert_eq!(cluster.hosts[0].boot, 1, "{}", cluster.story.join("\n"));
    cluster.api_down = false;
    cluster.run(300);
    assert_eq!(cluster.hosts[0].boot, 2, "{}", cluster.story.join("\n"));
    assert!(cluster.is_clean());
}

#[test]
fn observe_mode_writes_nothing_and_says_what_it_would() {
    let mut cluster = Cluster::new(&["n1"], 1);
    cluster.hosts[0].settings.mode = Mode::Observe;
    cluster.hosts[0].node.pool_label = None;
    cluster.request(0);
    cluster.run(300);
    assert_eq!(cluster.writes, 0);
    let reason = cluster.hosts[0].last.as_ref().unwrap().reasons[0].to_string();
    assert!(reason.contains("would now claim slot worker-1"), "{reason}");
}

#[test]
fn the_second_reboot_of_a_day_waits() {
    let mut cluster = Cluster::new(&["n1"], 1);
    cluster.hosts[0].settings.policy.min_interval = Duration::from_secs(3600);
    cluster.request(0);
    cluster.run(200);
    cluster.request(0);
    cluster.run(3000);
    assert_eq!(cluster.hosts[0].boot, 2);
    cluster.run(1000);
    assert_eq!(cluster.hosts[0].boot, 3);
}

#[test]
fn a_person_who_uncordons_in_mid_drain_is_obeyed() {
    let mut cluster = Cluster::new(&["n1"], 1);
    cluster.pod(0, "db", Owner::Controller);
    cluster.hosts[0].kept = true;
    cluster.request(0);
    cluster.run(30);
    cluster.hosts[0].node.unschedulable = false;
    cluster.hosts[0].node.resource_version = "person".into();
    cluster.run(120);
    assert!(cluster.is_clean(), "{}", cluster.story.join("\n"));
    assert!(told(&cluster, "n1 waiting backing-off"));
}

#[test]
fn a_slot_of_another_machine_is_reported_and_left_alone() {
    let mut cluster = Cluster::new(&["n1"], 1);
    cluster.slots[0].holder = Some("n1".into());
    cluster.slots[0].claim =
        Claim { machine_id: Some("f".repeat(32)), boot_id: Some("e".repeat(32)), ..Claim::default() };
    cluster.request(0);
    cluster.run(300);
    assert!(told(&cluster, "n1 unproven slot-of-other-machine"));
    assert_eq!((cluster.writes, cluster.slots[0].holder.as_deref()), (0, Some("n1")));
}

#[test]
fn whoever_holds_a_slot_is_not_idle_though_its_node_is_not_its_own() {
    let mut cluster = Cluster::new(&["n1"], 1);
    cluster.hosts[0].node.machine_id = "f".repeat(32);
    cluster.slots[0].holder = Some("n1".into());
    let machine_id = Some(cluster.hosts[0].world.host.machine_id.clone());
    cluster.slots[0].claim = Claim { machine_id, boot_id: Some("e".repeat(32)), ..Claim::default() };
    cluster.run(300);
    assert!(told(&cluster, "n1 waiting other-machine") && !told(&cluster, "n1 idle"));
    assert_eq!(cluster.writes, 0);
}

#[test]
fn a_garbled_slot_is_kept_and_only_our_own_cordon_under_it_is_removed() {
    for stamped in [false, true] {
        let mut cluster = Cluster::new(&["n1"], 1);
        cluster.slots[0].holder = Some("n1".into());
        cluster.slots[0].claim = Claim { machine_id: Some(id('a')), boot_id: None, ..Claim::default() };
        cluster.slots[0].stamp = stamped.then(|| Stamp {
            boot_id: String::new(),
            attempt: 0,
            at: Duration::ZERO,
            daemon_sets: Default::default(),
            request: None,
        });
        let node = &mut cluster.hosts[0].node;
        (node.unschedulable, node.unschedulable_is_ours, node.mark) = (true, true, Some("x".into()));
        cluster.run(300);
        assert_eq!(cluster.hosts[0].node.unschedulable, stamped, "{}", cluster.story.join("\n"));
        assert_eq!(cluster.slots[0].holder.as_deref(), Some("n1"));
        assert!(told(&cluster, "n1 unproven slot-unproven"));
    }
}

/// P5: the process dies before or after any write of a whole cycle, or the answer is lost.
#[test]
fn a_crash_or_a_lost_answer_at_any_write_changes_nothing_in_the_end() {
    let clean = {
        let mut cluster = Cluster::new(&["n1", "n2"], 1);
        prepare(&mut cluster);
        cluster.run(600);
        assert!(cluster.is_clean());
        cluster.writes
    };
    for write in 1..=clean {
        let mut cluster = Cluster::new(&["n1", "n2"], 1);
        prepare(&mut cluster);
        cluster.lose_answer_of = Some(write);
        cluster.run(1400);
        assert!(cluster.is_clean(), "answer {write} lost:\n{}", cluster.story.join("\n"));
        assert!(cluster.hosts.iter().all(|host| host.boot == 2), "answer {write} lost");
        for host in &cluster.hosts {
            let last = host.world.memory.last_reboot.as_ref().unwrap();
            assert_eq!(last.ending, Some(Ending::Well), "answer {write} lost");
            assert!(last.cordoned_for().is_some_and(|time| time.as_secs() > 0), "answer {write} lost");
        }
    }
    for step in 1..200 {
        for power in [false, true] {
            let mut cluster = Cluster::new(&["n1", "n2"], 1);
            prepare(&mut cluster);
            let mut steps = 0;
            for _ in 0..200 {
                while cluster.step(0).is_none() {
                    steps += 1;
                    if steps == step && power && cluster.slots[0].holder.as_deref() == Some("n1") {
                        cluster.power_cycle(0);
                    } else if steps == step {
                        cluster.restart(0);
                    }
                }
                cluster.run(1);
            }
            cluster.run(1200);
            assert!(cluster.is_clean(), "step {step}, power {power}:\n{}", cluster.story.join("\n"));
            assert!(cluster.most_disrupted <= 1);
        }
    }
}

fn prepare(cluster: &mut Cluster) {
    cluster.pod(0, "web", Owner::Controller);
    cluster.pod(1, "web2", Owner::Controller);
    cluster.request(0);
    cluster.request(1);
}

// ---- gates of other nodes ----

fn names(first: &[&str]) -> Names {
    Names { first: first.iter().map(|&name| name.to_owned()).collect(), more: 0 }
}

#[test]
fn a_node_that_is_not_ready_holds_up_the_cordon_until_it_is() {
    let mut cluster = Cluster::new(&["n1"], 1);
    cluster.others = Ok(Others { not_ready: names(&["sick"]), ..Others::default() });
    cluster.request(0);
    cluster.run(120);
    assert_eq!(cluster.slots[0].holder.as_deref(), Some("n1"));
    assert!(!cluster.hosts[0].node.unschedulable, "{}", cluster.story.join("\n"));
    let reason = cluster.hosts[0].last.as_ref().unwrap().reasons[0].to_string();
    assert!(reason.starts_with("1 other node is not Ready in pool worker (sick), 0 may be;"), "{reason}");
    cluster.others = Ok(Others::default());
    cluster.run(200);
    assert_eq!(cluster.hosts[0].boot, 2, "{}", cluster.story.join("\n"));
    assert!(cluster.is_clean());
}

#[test]
fn as_many_as_are_allowed_may_be_not_ready() {
    let mut cluster = Cluster::new(&["n1"], 1);
    cluster.others = Ok(Others { not_ready: names(&["sick", "dead"]), ..Others::default() });
    cluster.hosts[0].settings.gates.max_nodes_not_ready = Share::Nodes(2);
    cluster.request(0);
    cluster.run(200);
    assert_eq!(cluster.hosts[0].boot, 2, "{}", cluster.story.join("\n"));
}

#[test]
fn cordoned_nodes_count_where_the_settings_say_so() {
    for count_cordoned in [false, true] {
        let mut cluster = Cluster::new(&["n1"], 1);
        cluster.others = Ok(Others { cordoned: names(&["closed"]), ..Others::default() });
        cluster.hosts[0].settings.gates.count_cordoned = count_cordoned;
        cluster.request(0);
        cluster.run(200);
        assert_eq!(cluster.hosts[0].boot == 1, count_cordoned, "{}", cluster.story.join("\n"));
    }
}

/// With two slots a node is down by right while the other one asks.
#[test]
fn whoever_holds_a_slot_of_the_pool_does_not_count() {
    let mut cluster = Cluster::new(&["n1", "n2"], 2);
    cluster.hosts[0].never_returns = true;
    cluster.request(0);
    cluster.run(100);
    assert!(!cluster.hosts[0].up);
    cluster.request(1);
    cluster.run(200);
    assert_eq!(cluster.hosts[1].boot, 2, "{}", cluster.story.join("\n"));
}

#[test]
fn a_node_that_fails_in_mid_drain_holds_up_the_reboot_and_undoes_nothing() {
    let mut cluster = Cluster::new(&["n1"], 1);
    cluster.pod(0, "db", Owner::Controller);
    cluster.hosts[0].kept = true;
    cluster.request(0);
    cluster.run(30);
    cluster.others = Ok(Others { not_ready: names(&["sick"]), ..Others::default() });
    cluster.hosts[0].kept = false;
    cluster.run(200);
    assert_eq!(cluster.hosts[0].boot, 1, "{}", cluster.story.join("\n"));
    assert!(cluster.hosts[0].node.unschedulable && cluster.slots[0].stamp.is_none());
    assert!(told(&cluster, "n1 draining other-nodes-not-ready"));
    cluster.others = Ok(Others::default());
    cluster.run(200);
    assert_eq!(cluster.hosts[0].boot, 2, "{}", cluster.story.join("\n"));
    assert!(cluster.is_clean());
}

#[test]
fn a_node_that_a_person_has_cordoned_is_not_drained_either() {
    let mut cluster = Cluster::new(&["n1"], 1);
    cluster.hosts[0].settings.gates.foreign_cordon = ForeignCordon::Reboot;
    cluster.hosts[0].node.unschedulable = true;
    cluster.pod(0, "web", Owner::Controller);
    cluster.others = Ok(Others { not_ready: names(&["sick"]), ..Others::default() });
    cluster.request(0);
    cluster.run(120);
    assert!(told(&cluster, "n1 draining other-nodes-not-ready"), "{}", cluster.story.join("\n"));
    assert_eq!(cluster.hosts[0].pods.len(), 1);
    cluster.others = Ok(Others::default());
    cluster.run(200);
    assert_eq!(cluster.hosts[0].boot, 2, "{}", cluster.story.join("\n"));
}

#[test]
fn a_closed_gate_of_others_ends_at_the_deadline_and_the_next_node_has_its_turn() {
    let mut cluster = Cluster::new(&["n1", "n2"], 1);
    cluster.others = Ok(Others { not_ready: names(&["sick"]), ..Others::default() });
    cluster.request(0);
    cluster.request(1);
    cluster.run(16 * 60);
    assert!(told(&cluster, "n1 waiting backing-off"), "{}", cluster.story.join("\n"));
    assert_eq!(cluster.slots[0].holder.as_deref(), Some("n2"));
    assert!(cluster.hosts.iter().all(|host| host.boot == 1 && !host.node.unschedulable));
}

/// A stamped node that stayed up: what counts then are its tries, unless a gate is shut.
#[test]
fn a_closed_gate_of_others_after_a_stamp_ends_in_an_abort() {
    let mut cluster = Cluster::new(&["n1"], 1);
    cluster.hosts[0].stays_up = true;
    cluster.request(0);
    cluster.run(60);
    assert!(cluster.slots[0].stamp.is_some());
    cluster.others = Ok(Others { not_ready: names(&["sick"]), ..Others::default() });
    cluster.run(20 * 60);
    assert!(cluster.is_clean(), "{}", cluster.story.join("\n"));
    assert_eq!(cluster.story.iter().filter(|line| line.contains("calls Reboot")).count(), 1);
}

#[test]
fn other_nodes_that_cannot_be_read_shut_the_gate() {
    let mut cluster = Cluster::new(&["n1"], 1);
    cluster.others = Err("nodes is forbidden".into());
    cluster.request(0);
    cluster.run(120);
    assert!(told(&cluster, "n1 cordoning unreadable"), "{}", cluster.story.join("\n"));
    assert!(!cluster.hosts[0].node.unschedulable);
    cluster.others = Ok(Others::default());
    cluster.run(200);
    assert_eq!(cluster.hosts[0].boot, 2, "{}", cluster.story.join("\n"));
}

/// Not even the holder of a slot is excused: a quorum does not know about slots.
#[test]
fn a_control_plane_that_is_not_whole_elsewhere_holds_up_the_cordon() {
    let mut cluster = Cluster::new(&["n1"], 1);
    cluster.others = Ok(Others { control_plane: names(&["pod etcd-n2 (0/1 Running)"]), ..Others::default() });
    cluster.request(0);
    cluster.run(120);
    assert!(told(&cluster, "n1 cordoning control-plane-not-ready"), "{}", cluster.story.join("\n"));
    assert!(!cluster.hosts[0].node.unschedulable);
    cluster.others = Ok(Others::default());
    cluster.run(200);
    assert_eq!(cluster.hosts[0].boot, 2, "{}", cluster.story.join("\n"));
}

#[test]
fn other_nodes_are_read_by_the_holder_of_a_slot_alone() {
    let mut cluster = Cluster::new(&["n1", "n2", "n3"], 1);
    cluster.pod(0, "db", Owner::Controller);
    cluster.hosts[0].kept = true;
    for number in 0..3 {
        cluster.request(number);
    }
    cluster.run(300);
    let read = |host: &crate::imitation::Host| host.world.cluster.others.last().is_some();
    assert_eq!(cluster.hosts.iter().filter(|host| read(host)).count(), 1);
}

// ---- after the reboot ----

fn pod<'a>(cluster: &'a mut Cluster, name: &str) -> &'a mut PodView {
    cluster.hosts[0].pods.get_mut(&format!("pod-{name}")).unwrap()
}

/// Runs until the node is back from its reboot and has settled.
fn reboot(cluster: &mut Cluster) {
    cluster.request(0);
    cluster.run(90);
    assert_eq!(cluster.hosts[0].boot, 2, "{}", cluster.story.join("\n"));
}

#[test]
fn a_daemon_sets_pod_that_is_not_ready_after_the_reboot_is_waited_for() {
    let mut cluster = Cluster::new(&["n1"], 1);
    cluster.pod(0, "cni", Owner::DaemonSet);
    cluster.pod(0, "bare", Owner::Nobody);
    pod(&mut cluster, "bare").ready = false;
    cluster.hosts[0].unready_after_boot = vec!["pod-cni".into()];
    reboot(&mut cluster);
    assert!(told(&cluster, "n1 returning daemonset-pods"), "{}", cluster.story.join("\n"));
    assert!(cluster.hosts[0].node.unschedulable && cluster.slots[0].holder.is_some());
    let reason = cluster.hosts[0].last.as_ref().unwrap().reasons[0].to_string();
    assert_eq!(
        reason,
        "waiting for pods of DaemonSets and static pods of this node to be ready again: default/cni"
    );
    pod(&mut cluster, "cni").ready = true;
    cluster.run(20);
    assert!(cluster.is_clean(), "{}", cluster.story.join("\n"));
}

#[test]
fn a_daemon_set_that_was_not_ready_before_is_not_waited_for() {
    let mut cluster = Cluster::new(&["n1"], 1);
    cluster.pod(0, "broken", Owner::DaemonSet);
    pod(&mut cluster, "broken").ready = false;
    reboot(&mut cluster);
    assert!(cluster.is_clean(), "{}", cluster.story.join("\n"));
}

#[test]
fn a_return_that_takes_too_long_calls_for_a_person_and_keeps_the_slot() {
    let mut cluster = Cluster::new(&["n1"], 1);
    cluster.pod(0, "cni", Owner::DaemonSet);
    cluster.hosts[0].unready_after_boot = vec!["pod-cni".into()];
    reboot(&mut cluster);
    cluster.run(10 * 60);
    assert!(!told(&cluster, "return-overdue"));
    // The count goes on where the daemon begins again.
    cluster.restart(0);
    cluster.run(5 * 60);
    assert!(told(&cluster, "n1 returning return-overdue daemonset-pods"), "{}", cluster.story.join("\n"));
    cluster.run(60 * 60);
    assert!(cluster.hosts[0].node.unschedulable && cluster.slots[0].holder.is_some());
    pod(&mut cluster, "cni").ready = true;
    cluster.run(60);
    assert!(cluster.is_clean(), "{}", cluster.story.join("\n"));
}

#[test]
fn a_relapse_after_the_uncordon_keeps_the_slot() {
    let mut cluster = Cluster::new(&["n1", "n2"], 1);
    cluster.request(0);
    cluster.request(1);
    cluster.run(30);
    assert!(told(&cluster, "n1 uncordons"), "{}", cluster.story.join("\n"));
    cluster.change_node(0, |node| (node.ready, node.ready_since) = (false, "30".into()));
    cluster.run(16 * 60);
    assert!(cluster.slots[0].holder.as_deref() == Some("n1"), "{}", cluster.story.join("\n"));
    assert!(told(&cluster, "n1 returning return-overdue not-ready"), "{}", cluster.story.join("\n"));
    let well_again = cluster.time;
    cluster.change_node(0, |node| (node.ready, node.ready_since) = (true, "990".into()));
    cluster.run(59);
    assert!(cluster.slots[0].holder.as_deref() == Some("n1"), "it has to settle again after {well_again:?}");
    cluster.run(200);
    assert!(cluster.is_clean(), "{}", cluster.story.join("\n"));
}

#[test]
fn a_device_that_is_missing_after_the_reboot_calls_for_a_person() {
    let mut cluster = Cluster::new(&["n1"], 1);
    cluster.hosts[0].node.allocatable.insert("nvidia.com/gpu".into(), "8".into());
    cluster.request(0);
    cluster.run(5);
    cluster.hosts[0].node.allocatable.insert("nvidia.com/gpu".into(), "7".into());
    cluster.run(16 * 60);
    assert!(told(&cluster, "n1 returning return-overdue fewer-resources"), "{}", cluster.story.join("\n"));
    assert!(cluster.hosts[0].node.unschedulable && cluster.slots[0].holder.is_some());
    cluster.hosts[0].node.allocatable.insert("nvidia.com/gpu".into(), "8".into());
    cluster.run(60);
    assert!(cluster.is_clean(), "{}", cluster.story.join("\n"));
}
