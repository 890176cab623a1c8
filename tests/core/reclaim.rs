//! Slots that come free without their holder's doing: its Node is gone, or a person asks for the slot.

use std::time::Duration;

use rebootd::decide::*;

use crate::imitation::Cluster;
use crate::stories::told;

/// `n1` holds the only slot in mid-drain, its machine is off and its Node gone; `n2` waits.
fn abandoned() -> Cluster {
    let mut cluster = in_mid_drain();
    cluster.hosts[0].up = false;
    cluster.delete_node(0);
    cluster
}

/// `n1` holds the only slot and a budget keeps its pod; `n2` waits for the slot.
fn in_mid_drain() -> Cluster {
    let mut cluster = Cluster::new(&["n1", "n2"], 1);
    cluster.pod(0, "db", Owner::Controller);
    cluster.hosts[0].kept = true;
    cluster.request(0);
    cluster.run(10);
    cluster.request(1);
    cluster.run(10);
    assert_eq!(cluster.slots[0].holder.as_deref(), Some("n1"), "{}", cluster.story.join("\n"));
    cluster
}

fn stamp(cluster: &mut Cluster, boot_id: &str) {
    let stamp = Stamp {
        boot_id: boot_id.to_owned(),
        attempt: 1,
        at: Duration::ZERO,
        daemon_sets: Default::default(),
        request: None,
    };
    cluster.slots[0].stamp = Some(stamp);
    touch_slot(cluster);
}

fn touch_slot(cluster: &mut Cluster) {
    cluster.version += 1;
    cluster.slots[0].resource_version = cluster.version.to_string();
}

#[test]
fn a_slot_whose_holders_node_is_gone_is_freed_after_ten_minutes_and_claimed() {
    let mut cluster = abandoned();
    cluster.run(600);
    assert!(!told(&cluster, "frees"), "{}", cluster.story.join("\n"));
    assert_eq!(cluster.reasons(1), ["no-free-slot", "holder-missing"]);
    cluster.run(500);
    assert!(told(&cluster, "n2 frees worker-1"), "{}", cluster.story.join("\n"));
    assert_eq!(cluster.hosts[1].boot, 2, "{}", cluster.story.join("\n"));
    assert!(cluster.slots[0].holder.is_none());
}

#[test]
fn a_node_that_returns_in_between_keeps_its_slot_and_finishes() {
    let mut cluster = abandoned();
    cluster.run(600);
    cluster.register_node(0);
    cluster.run(600);
    assert!(!told(&cluster, "frees"), "{}", cluster.story.join("\n"));
    assert_eq!(cluster.reasons(1), ["no-free-slot"]);
    cluster.power_cycle(0);
    cluster.run(600);
    assert!(cluster.hosts.iter().all(|host| host.boot == 2), "{}", cluster.story.join("\n"));
    assert!(cluster.is_clean());
}

#[test]
fn a_node_that_is_gone_again_is_given_ten_minutes_again() {
    let mut cluster = abandoned();
    cluster.run(600);
    cluster.register_node(0);
    cluster.run(70);
    cluster.delete_node(0);
    cluster.run(500);
    assert!(!told(&cluster, "frees"), "{}", cluster.story.join("\n"));
    cluster.run(600);
    assert!(told(&cluster, "n2 frees worker-1"), "{}", cluster.story.join("\n"));
}

#[test]
fn a_stamped_slot_waits_for_a_person_even_where_the_stamp_is_garbled() {
    for boot_id in ["", "0123456789abcdef0123456789abcdef"] {
        let mut cluster = abandoned();
        stamp(&mut cluster, boot_id);
        cluster.run(3600);
        assert_eq!(cluster.slots[0].holder.as_deref(), Some("n1"));
        assert_eq!(cluster.reasons(1), ["no-free-slot", "stamped-holder-missing", "node-not-back"]);
    }
}

/// P8: what cannot be looked for is neither there nor gone.
#[test]
fn a_holder_that_cannot_be_a_node_is_never_looked_for_and_its_slot_never_freed() {
    for name in ["../x", "a?b", "a/b#c", "..", "Node-1", "-a", "a..b", "\"n1\"", "n1 ", "ä", &"n".repeat(300)]
    {
        let mut cluster = abandoned();
        cluster.slots[0].holder = Some(name.to_owned());
        touch_slot(&mut cluster);
        cluster.run(3600);
        assert_eq!(cluster.slots[0].holder.as_deref(), Some(name));
        assert_eq!(cluster.reasons(1), ["no-free-slot"], "{name:?}");
    }
    // While a name that can be one, and has no Node, is gone.
    let mut cluster = abandoned();
    cluster.slots[0].holder = Some("n-1.example.com".to_owned());
    touch_slot(&mut cluster);
    cluster.run(600);
    assert_eq!(cluster.reasons(1), ["no-free-slot", "holder-missing"]);
}

#[test]
fn a_claim_in_between_begins_the_wait_again() {
    let mut cluster = abandoned();
    cluster.run(600);
    touch_slot(&mut cluster);
    cluster.run(500);
    assert!(!told(&cluster, "frees"), "{}", cluster.story.join("\n"));
    cluster.run(600);
    assert!(told(&cluster, "n2 frees worker-1"), "{}", cluster.story.join("\n"));
}

#[test]
fn a_read_that_fails_neither_counts_nor_begins_the_wait_again() {
    let mut cluster = abandoned();
    cluster.run(400);
    cluster.holders_unreadable = true;
    cluster.run(3600);
    assert!(!told(&cluster, "frees"), "{}", cluster.story.join("\n"));
    assert!(told(&cluster, "n2 waiting api-failing"));
    cluster.holders_unreadable = false;
    cluster.run(60);
    assert!(!told(&cluster, "frees"), "time that nobody saw was counted: {}", cluster.story.join("\n"));
    cluster.run(400);
    assert!(told(&cluster, "n2 frees worker-1"), "{}", cluster.story.join("\n"));
}

#[test]
fn a_name_that_a_person_put_into_a_slot_is_no_missing_node() {
    let mut cluster = Cluster::new(&["n1"], 1);
    cluster.slots[0].holder = Some("a-person".into());
    cluster.request(0);
    cluster.run(3600);
    assert_eq!((cluster.writes, cluster.reasons(0)), (0, vec!["no-free-slot"]));
}

#[test]
fn a_holder_that_is_asked_to_step_back_undoes_its_drain_and_pauses() {
    let mut cluster = in_mid_drain();
    cluster.slots[0].step_back = Some("root@admin".into());
    touch_slot(&mut cluster);
    cluster.run(200);
    assert!(told(&cluster, "n1 releases worker-1"), "{}", cluster.story.join("\n"));
    assert!(!cluster.hosts[0].node.unschedulable);
    assert_eq!((cluster.reasons(0), cluster.hosts[1].boot), (vec!["backing-off"], 2));
    assert_eq!(cluster.slots[0].step_back, None);
}

#[test]
fn a_holder_is_also_asked_while_closed_gates_hold_up_its_cordon() {
    let mut cluster = Cluster::new(&["n1"], 1);
    cluster.request(0);
    while cluster.slots[0].holder.is_none() {
        if cluster.step(0).is_some() {
            cluster.time += Duration::from_millis(100);
        }
    }
    cluster.hosts[0].package_manager = Some("/var/lib/dpkg/lock".into());
    cluster.run(30);
    assert_eq!(cluster.reasons(0), ["package-manager"], "{}", cluster.story.join("\n"));
    cluster.slots[0].step_back = Some("root@admin".into());
    touch_slot(&mut cluster);
    cluster.run(5);
    assert!(told(&cluster, "n1 releases worker-1"), "{}", cluster.story.join("\n"));
}

#[test]
fn after_the_stamp_nobody_steps_back_and_a_returning_node_just_finishes() {
    let mut cluster = Cluster::new(&["n1"], 1);
    cluster.hosts[0].stays_up = true;
    cluster.request(0);
    cluster.run(60);
    assert!(told(&cluster, "n1 calls Reboot"), "{}", cluster.story.join("\n"));
    cluster.slots[0].step_back = Some("root@admin".into());
    touch_slot(&mut cluster);
    cluster.run(300);
    assert_eq!(cluster.slots[0].holder.as_deref(), Some("n1"), "{}", cluster.story.join("\n"));
    cluster.power_cycle(0);
    cluster.run(200);
    assert!(cluster.is_clean() && told(&cluster, "n1 idle"), "{}", cluster.story.join("\n"));
}
