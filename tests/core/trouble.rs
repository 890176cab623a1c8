//! What somebody found who tried to break rebootd: clocks that are set, writes that are refused, records that do not last.

use crate::imitation::Cluster;
use crate::scenarios::tell;
use rebootd::decide::*;

/// Plays commands; returns the cluster and what the commands and agents said.
fn play(commands: &str) -> (Cluster, String) {
    let mut cluster = Cluster::new(&[], 0);
    let mut said = Vec::new();
    for line in commands.lines().map(str::trim).filter(|line| !line.is_empty()) {
        said.extend(tell(&mut cluster, line));
    }
    let story = cluster.story.join("\n") + "\n-- " + &said.join("\n-- ");
    (cluster, story)
}

/// One of two nodes is being drained, and its pod is about to leave; the other has no request.
fn about_to_reboot() -> Cluster {
    play(
        "nodes n1 n2 slots 1
         pod n1 web
         keep n1
         request n1
         run 5
         let-go n1",
    )
    .0
}

fn alarms(cluster: &Cluster, number: usize) -> bool {
    let host = &cluster.hosts[number];
    decide(&host.world, &host.settings).reasons.iter().any(Reason::is_alarm)
}

/// After the boot every write to the Node is refused: a right is gone, a webhook, full annotations.
#[test]
fn a_node_that_cannot_be_uncordoned_after_its_boot_alarms() {
    let (cluster, story) = play(
        "nodes n1 n2 slots 1
         pod n1 web
         keep n1
         request n1
         request n2
         run 10
         node-writes-refused n1 403 nodes \"n1\" is forbidden
         let-go n1
         run 100000
         status n1
         status n2",
    );
    assert!(alarms(&cluster, 0), "{story}");
}

/// Writes to the Node are refused before the turn begins: it takes no slot that it could not give back.
#[test]
fn a_node_that_could_not_cordon_gives_its_slot_back() {
    let (cluster, story) = play(
        "nodes n1 n2 slots 1
         node-writes-refused n1 403 nodes \"n1\" is forbidden
         request n1
         run 5
         request n2
         run 100000
         status n1
         status n2",
    );
    assert!(cluster.slots[0].holder.as_deref() != Some("n1") || alarms(&cluster, 0), "{story}");
}

/// `leaving_pods` may be longer than the time of one drain.
#[test]
fn leaving_pods_longer_than_the_drain_is_reached() {
    let (cluster, story) = play(
        "nodes n1 slots 1
         pod n1 web
         pods-stay n1
         leaving-pods n1 3600
         request n1
         run 200000
         status n1",
    );
    assert!(cluster.hosts[0].boot > 1, "{story}");
}

/// Nothing lasts, and the image holds an old record.
#[test]
fn an_old_record_in_an_image_does_not_hide_a_reboot_that_the_slot_proves() {
    let (cluster, story) = play(
        "nodes n1 slots 1
         min-interval n1 86400
         request n1
         run 200
         image n1
         forgets n1
         run 90000
         request n1
         run 200
         request n1
         run 200
         request n1
         run 200
         request n1
         run 200
         status n1",
    );
    assert!(cluster.hosts[0].boot <= 3, "{story}");
}

/// Nothing lasts, and the clock is behind until it is synchronised after the boot.
#[test]
fn a_clock_that_is_set_after_the_boot_does_not_end_min_interval() {
    let (cluster, story) = play(
        "nodes n1 slots 1
         min-interval n1 86400
         forgets n1
         request n1
         clock-off-after-boot n1 -9000000
         run 30
         clock-off n1 0
         run 100
         clock-off-after-boot n1 -9000000
         request n1
         run 30
         status n1",
    );
    assert!(cluster.hosts[0].boot <= 2, "{story}");
}

fn run_until_boot(cluster: &mut Cluster, boot: u32) {
    for _ in 0..60 {
        if cluster.hosts[0].boot >= boot {
            return;
        }
        cluster.run(1);
    }
    panic!("no boot");
}

/// Runs the first host up to its next boot, but not one step of its daemon in that.
fn step_until_boot(cluster: &mut Cluster) {
    let boot = cluster.hosts[0].boot;
    for _ in 0..600 {
        cluster.step(0);
        if cluster.hosts[0].boot > boot {
            return;
        }
        cluster.time += std::time::Duration::from_millis(100);
        let host = &cluster.hosts[0];
        let gone: Vec<_> =
            host.pods.values().filter(|pod| pod.terminating).map(|pod| pod.key.clone()).collect();
        for key in gone {
            cluster.hosts[0].pods.remove(&key.uid);
            cluster.event(0, Event::PodGone(key));
        }
    }
    panic!("no boot");
}

/// The daemon did not look for an hour after the boot: a bad configuration, or an API that only it could not reach.
#[test]
fn a_daemon_that_looks_late_does_not_take_the_host_for_away() {
    let (mut cluster, _) = play(
        "nodes n1 slots 1
         bare n1 tool
         deleted-without-node n1 tool 300
         pod n1 web
         keep n1
         request n1
         run 5
         let-go n1",
    );
    // The daemon of the new boot cannot read the API for an hour; the kubelet can.
    step_until_boot(&mut cluster);
    cluster.api_down = true;
    cluster.run(3600);
    cluster.api_down = false;
    cluster.run(200);
    cluster.request(0);
    cluster.run(4000);
    let host = &cluster.hosts[0];
    let line = rebootd::report::status::line(&decide(&host.world, &host.settings));
    assert!(host.boot > 2, "{line}\n{}", cluster.story.join("\n"));
}

/// The clock is set during the boot; otherwise the host would have been away for three years.
#[test]
fn a_clock_that_is_set_does_not_make_a_boot_long() {
    let (cluster, story) = play(
        "nodes n1 slots 1
         bare n1 tool
         deleted-without-node n1 tool 300
         clock-off n1 -90000000
         request n1
         clock-off-after-boot n1 0
         run 200
         request n1
         run 100000
         status n1",
    );
    assert!(cluster.hosts[0].boot > 2, "{story}");
}

/// The kubelet registers another name after the boot; the slot is held under the old one.
#[test]
fn a_machine_that_holds_a_slot_under_its_old_name_is_not_idle() {
    let mut cluster = about_to_reboot();
    // The Node of the old name stays, NotReady; the machine has a new one.
    let old = cluster.hosts[0].settings.node_name.clone();
    // It stamps and reboots; the new boot has another host name.
    run_until_boot(&mut cluster, 2);
    cluster.hosts[0].settings.node_name = "n1.example.com".into();
    cluster.hosts[0].node.uid = "node-n1.example.com".into();
    (cluster.hosts[0].node.mark, cluster.hosts[0].node.unschedulable) = (None, false);
    cluster.restart(0);
    cluster.run(20000);
    let story = cluster.story.join("\n");
    let host = &cluster.hosts[0];
    let decision = decide(&host.world, &host.settings);
    assert_eq!(cluster.slots[0].holder.as_deref(), Some(old.as_str()), "{story}");
    assert!(decision.phase != Phase::Idle, "{decision:?}\n{story}");
}

/// The Node is gone after the boot, and the pool stands still.
#[test]
fn a_slot_of_a_machine_without_a_node_alarms_somewhere() {
    let mut cluster = about_to_reboot();
    cluster.request(1);
    run_until_boot(&mut cluster, 2);
    cluster.delete_node(0);
    cluster.run(100_000);
    let story = cluster.story.join("\n");
    assert!(
        alarms(&cluster, 0) || alarms(&cluster, 1),
        "{:?} {:?}\n{story}",
        cluster.reasons(0),
        cluster.reasons(1)
    );
}

/// No answer from the API after the boot, for a day.
#[test]
fn a_machine_that_is_back_and_cannot_read_the_cluster_alarms() {
    let mut cluster = about_to_reboot();
    step_until_boot(&mut cluster);
    cluster.api_down = true;
    cluster.run(80_000);
    let story = cluster.story.join("\n");
    assert!(alarms(&cluster, 0), "{:?}\n{story}", cluster.reasons(0));
}

/// A machine that holds a slot under a changed record.
#[test]
fn an_unproven_slot_alarms() {
    let mut cluster = about_to_reboot();
    step_until_boot(&mut cluster);
    // The machine has another id, as where the root file system lives in memory.
    cluster.slots[0].claim.machine_id = Some(crate::imitation::id('z'));
    cluster.run(100_000);
    let story = cluster.story.join("\n");
    assert!(alarms(&cluster, 0), "{:?}\n{story}", cluster.reasons(0));
}

/// Asked while the clock was behind: once it is set, the request looks months old, and gates would yield to it.
#[test]
fn a_clock_that_is_set_makes_no_request_overdue() {
    let (cluster, story) = play(
        "nodes n1 slots 1
         window n1 60 2023-11-20 03:00
         deadline n1 1209600 window
         clock-off n1 -9000000
         annotate-request n1 new firmware
         run 60
         clock-off n1 0
         run 60
         status n1",
    );
    assert!(cluster.hosts[0].boot == 1, "{story}");
}

/// Three of six pods of a controller come back at the same time; a budget keeps the others, which never left.
#[test]
fn pods_that_a_budget_keeps_are_not_ended_because_others_of_their_controller_came_back() {
    let (mut cluster, _) = play("nodes n1 slots 1");
    for number in 0..6 {
        tell(&mut cluster, &format!("comes-back n1 web-{number} web"));
    }
    for number in 3..6 {
        cluster.hosts[0].answers.insert(format!("web-{number}"), crate::imitation::kept_by("web"));
    }
    cluster.request(0);
    cluster.run(4);
    for number in 6..9 {
        tell(&mut cluster, &format!("comes-back n1 web-{number} web"));
    }
    cluster.run(100);
    let story = cluster.story.join("\n");
    assert!(cluster.hosts[0].boot == 1, "{:?}\n{story}", cluster.hosts[0].asked);
}
