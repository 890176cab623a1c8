//! What a second attempt to break rebootd found: what one turn leaves for the next, machines that share an id, API
//! servers that are slow or unreadable, and policies that cannot be read.

use rebootd::decide::settings::{BlockingPodsAfter, ForeignCordon, OnTimeout};
use rebootd::decide::*;

use crate::imitation::{Cluster, id, kept_by};
use crate::scenarios::tell;

fn play(commands: &str) -> Cluster {
    let mut cluster = Cluster::new(&[], 0);
    go_on(&mut cluster, commands);
    cluster
}

fn go_on(cluster: &mut Cluster, commands: &str) {
    for line in commands.lines().map(str::trim).filter(|line| !line.is_empty()) {
        tell(cluster, line);
    }
}

fn story(cluster: &Cluster) -> String {
    let last = cluster.story.len().saturating_sub(60);
    cluster.story[last..].join("\n")
}

fn decision(cluster: &Cluster, number: usize) -> Decision {
    let host = &cluster.hosts[number];
    decide(&host.world, &host.settings)
}

fn alarms(cluster: &Cluster, number: usize) -> Vec<&'static str> {
    let reasons = decision(cluster, number).reasons;
    reasons.iter().filter(|reason| reason.is_alarm()).map(Reason::kind).collect()
}

/// A person takes the slot away, as `rebootctl free` or kubectl do.
fn free_by_hand(cluster: &mut Cluster) {
    (cluster.version, cluster.freed_by_hand) = (cluster.version + 1, true);
    let slot = &mut cluster.slots[0];
    (slot.holder, slot.claim, slot.stamp) = (None, Claim::default(), None);
    slot.resource_version = cluster.version.to_string();
}

/// Three pods come to the node, and a budget keeps them.
fn kept_pods_come(cluster: &mut Cluster) {
    for number in 1..4 {
        go_on(cluster, &format!("comes-back n1 web-{number} web"));
        cluster.hosts[0].answers.insert(format!("web-{number}"), kept_by("web"));
        let pod = cluster.hosts[0].pods[&format!("pod-web-{number}")].clone();
        cluster.event(0, Event::PodSeen(pod));
    }
}

/// The budget allows nothing, so the node does not reboot.
fn is_not_rebooted(cluster: &Cluster) {
    let host = &cluster.hosts[0];
    let left: Vec<_> = host.pods.values().map(|pod| pod.key.name.as_str()).collect();
    assert!(host.boot == 1, "rebooted with {left:?}, asked {:?}\n{}", host.asked, story(cluster));
}

/// The slot is lost in mid-drain, the node is uncordoned, and the scheduler fills it again. In the next turn those pods
/// pass for pods that come back over the cordon, and the reboot ends them, whatever their budget says.
#[test]
fn pods_that_came_while_the_node_was_uncordoned_did_not_come_back_over_the_cordon() {
    let mut cluster = play(
        "nodes n1 slots 1
         comes-back n1 web-0 web
         pod n1 db",
    );
    cluster.hosts[0].answers.insert("db".into(), kept_by("db"));
    cluster.request(0);
    cluster.run(30);
    free_by_hand(&mut cluster);
    cluster.run(200);
    assert!(!cluster.hosts[0].node.unschedulable, "{}", story(&cluster));
    kept_pods_come(&mut cluster);
    // db may go now, but the budget of web allows nothing.
    cluster.hosts[0].answers.remove("db");
    cluster.run(3 * 60 * 60);
    is_not_rebooted(&cluster);
}

/// The same under an administrator's cordon that he removes in mid-drain: until the next look nobody notices.
#[test]
fn pods_that_came_after_a_foreign_cordon_was_removed_did_not_come_back_over_it() {
    let mut cluster = play(
        "nodes n1 slots 1
         foreign-cordon n1 reboot
         comes-back n1 web-0 web
         pod n1 db
         cordon-by-hand n1",
    );
    cluster.hosts[0].answers.insert("db".into(), kept_by("db"));
    cluster.request(0);
    cluster.run(5);
    assert!(!cluster.hosts[0].pods.contains_key("pod-web-0"), "{}", story(&cluster));
    go_on(&mut cluster, "uncordon-by-hand n1");
    kept_pods_come(&mut cluster);
    cluster.run(90);
    cluster.hosts[0].answers.remove("db");
    cluster.run(300);
    is_not_rebooted(&cluster);
}

/// The same without `delete`: the job has ended at last, and the turn is undone for want of time.
#[test]
fn a_drain_whose_job_has_ended_has_its_whole_time_also_after_a_lost_slot() {
    let mut cluster = play(
        "nodes n1 slots 1
         pod n1 db
         keep n1
         block-by n1 app=job
         block-after-cordon n1 21600
         request n1
         run 30",
    );
    free_by_hand(&mut cluster);
    cluster.run(120);
    go_on(&mut cluster, "pod n1 build\nlabel n1 build app=job");
    cluster.run(90 * 60);
    assert!(cluster.hosts[0].node.unschedulable, "{}", story(&cluster));
    go_on(&mut cluster, "let-go n1\nend n1 build\nrun 100");
    assert!(cluster.hosts[0].boot == 2, "{}", story(&cluster));
}

/// Images that are cloned share a machine id: n2 is a clone of n1.
fn clones() -> Cluster {
    let mut cluster = Cluster::new(&["n1", "n2"], 1);
    let host = &mut cluster.hosts[1];
    (host.machine, host.boot, host.node.machine_id) = ('a', 7, id('a'));
    host.node.boot_id = host.boot_id();
    cluster.restart(1);
    cluster.run(1000);
    cluster.hosts[0].never_returns = true;
    cluster.request(0);
    cluster.run(60);
    assert!(!cluster.hosts[0].up && cluster.slots[0].stamp.is_some(), "{}", story(&cluster));
    cluster.request(1);
    cluster.run(120);
    cluster
}

/// The slot of a clone that is down must not be offered to a person to free.
#[test]
fn a_clone_does_not_take_the_slot_of_another_for_its_own() {
    let cluster = clones();
    let said = decision(&cluster, 1).reasons;
    assert!(!cluster.reasons(1).contains(&"slot-under-old-name"), "{said:?}\n{}", story(&cluster));
}

/// Nor does it remember the reboot of another as its own.
#[test]
fn a_clone_does_not_remember_the_reboot_of_another() {
    let cluster = clones();
    let last = &cluster.hosts[1].world.memory.last_reboot;
    assert!(last.is_none(), "{last:?}\n{}", story(&cluster));
}

/// No API for a day, as for a node whose token or network is gone, in mid-drain.
#[test]
fn a_node_in_mid_turn_that_cannot_read_the_cluster_alarms() {
    let mut cluster = play(
        "nodes n1 slots 1
         pod n1 web
         keep n1
         request n1
         run 30
         api-down",
    );
    cluster.run(80_000);
    assert!(cluster.slots[0].holder.is_some() && cluster.hosts[0].node.unschedulable);
    assert!(!alarms(&cluster, 0).is_empty(), "{:?}\n{}", decision(&cluster, 0).reasons, story(&cluster));
}

/// D-Bus is gone in mid-drain or after the stamp: nothing is written any more, so cordon and slot stay.
#[test]
fn a_node_in_mid_turn_that_cannot_tell_whether_it_goes_down_alarms() {
    for commands in ["pod n1 web\nkeep n1", "stays-up n1 yes"] {
        let mut cluster = play("nodes n1 slots 1");
        go_on(&mut cluster, commands);
        go_on(&mut cluster, "request n1\nrun 30");
        cluster.hosts[0].going_down = Err("org.freedesktop.DBus.Error.NoServer".into());
        cluster.run(80_000);
        assert!(cluster.slots[0].holder.is_some() && cluster.hosts[0].node.unschedulable);
        assert!(!alarms(&cluster, 0).is_empty(), "{:?}\n{}", decision(&cluster, 0).reasons, story(&cluster));
    }
}

/// No pod here is waited for; the turn that a closed gate holds up still ends as without that key.
#[test]
fn a_turn_without_blocking_pods_does_not_last_as_long_as_their_limit() {
    let mut cluster = play(
        "nodes n1 n2 slots 1
         block-by n1 app=job
         block-after-cordon n1 21600
         pod n1 web
         node-down sick
         request n1",
    );
    cluster.request(1);
    cluster.run(20 * 60);
    assert_ne!(
        cluster.slots[0].holder.as_deref(),
        Some("n1"),
        "{:?}\n{}",
        decision(&cluster, 0),
        story(&cluster)
    );
}

/// The same in a drain that asks for nothing, because its only pod is being deleted already and does not end.
#[test]
fn a_drain_of_a_stuck_pod_does_not_last_as_long_as_the_limit_of_blocking_pods() {
    let mut cluster = play(
        "nodes n1 n2 slots 1
         block-by n1 app=job
         block-after-cordon n1 21600
         pod n1 web
         pods-stay n1",
    );
    cluster.hosts[0].pods.get_mut("pod-web").unwrap().terminating = true;
    cluster.request(0);
    cluster.run(20 * 60);
    assert!(!cluster.hosts[0].node.unschedulable, "{:?}\n{}", decision(&cluster, 0), story(&cluster));
}

/// What the line says once the wait is over and pods are evicted.
#[test]
fn nobody_says_that_no_pod_is_evicted_while_pods_are() {
    let mut cluster = play(
        "nodes n1 slots 1
         block-by n1 app=job
         block-after-cordon n1 600
         pod n1 build
         label n1 build app=job
         pod n1 web
         keep n1
         force n1
         request n1
         run 700",
    );
    assert!(cluster.hosts[0].settings.gates.blocking_pods_after == BlockingPodsAfter::Cordon);
    assert!(cluster.hosts[0].settings.drain.on_timeout == OnTimeout::Reboot);
    assert!(!cluster.hosts[0].asked.is_empty());
    cluster.run(1);
    let line = rebootd::report::status::line(&decision(&cluster, 0));
    assert!(!line.contains("before any is evicted"), "{line}");
}

/// The clock is behind after the boot, and the sentinel is made before it is set: it looks weeks old, and the window
/// yields to it.
#[test]
fn a_clock_that_is_set_makes_no_sentinel_overdue() {
    let mut cluster = play(
        "nodes n1 slots 1
         window n1 60 2023-11-20 03:00
         deadline n1 1209600 window
         clock-off n1 -9000000
         run 60",
    );
    let since = Some(cluster.hosts[0].world.now.wall);
    let request = Request { reason: "/run/reboot-required".into(), packages: vec![], since };
    let answers = [(Source::SentinelFile, Some(Ok(Some(request))))];
    cluster.hosts[0].requests = answers.clone().into();
    cluster.event(0, Event::Requests(answers.into()));
    go_on(&mut cluster, "run 60\nclock-off n1 0\nrun 60");
    assert!(cluster.hosts[0].boot == 1, "{}", story(&cluster));
}

/// A clock that is behind after each boot until it is set, and a source that never stops asking.
#[test]
fn a_clock_that_is_set_after_each_boot_does_not_end_max_reboots_per_day() {
    let mut cluster = play("nodes n1 slots 1");
    cluster.hosts[0].settings.policy.max_reboots_per_day = Some(3);
    for _ in 0..6 {
        go_on(
            &mut cluster,
            "clock-off-after-boot n1 -9000000
             request n1
             run 60
             request n1
             run 60
             request n1
             run 60
             request n1
             run 60
             clock-off n1 0
             run 60
             request n1
             run 60",
        );
    }
    assert!(
        cluster.hosts[0].boot <= 4,
        "{} boots in half an hour\n{}",
        cluster.hosts[0].boot,
        story(&cluster)
    );
}

/// The answer to the release is lost after a turn under an administrator's cordon: nobody freed the slot.
#[test]
fn a_release_without_an_answer_under_a_foreign_cordon_is_no_lost_slot() {
    let whole = {
        let mut cluster =
            play("nodes n1 slots 1\nforeign-cordon n1 reboot\ncordon-by-hand n1\nrequest n1\nrun 300");
        assert!(cluster.slots[0].holder.is_none() && cluster.hosts[0].boot == 2, "{}", story(&cluster));
        cluster.run(1);
        cluster.writes
    };
    for write in 1..=whole {
        let mut cluster = play("nodes n1 slots 1\nforeign-cordon n1 reboot\ncordon-by-hand n1");
        assert!(cluster.hosts[0].settings.gates.foreign_cordon == ForeignCordon::Reboot);
        cluster.lose_answer_of = Some(write);
        go_on(&mut cluster, "request n1\nrun 900");
        let last = cluster.hosts[0].world.memory.last_reboot.as_ref().unwrap();
        assert_eq!(last.ending, Some(Ending::Well), "answer {write} lost:\n{}", story(&cluster));
    }
}

/// A release whose answer was lost was applied all the same: nothing is left to be done, and nothing to be said.
#[test]
fn an_idle_node_does_not_say_that_its_release_has_failed() {
    let mut cluster = play("nodes n1 slots 1\nrequest n1\nrun 300");
    let whole = std::mem::replace(&mut cluster, play("nodes n1 slots 1")).writes;
    cluster.lose_answer_of = Some(whole);
    go_on(&mut cluster, "request n1\nrun 300");
    assert_eq!(decision(&cluster, 0).reasons, [], "{}", story(&cluster));
}
