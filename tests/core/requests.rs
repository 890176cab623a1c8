//! Why a host asks for a reboot: several sources, some of which cannot be read.

use rebootd::decide::*;

use crate::imitation::Cluster;
use crate::stories::told;

const COMMAND: Source = Source::SentinelCommand;

fn last_text(cluster: &Cluster) -> String {
    let reasons = &cluster.hosts[0].last.as_ref().unwrap().reasons;
    reasons.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

#[test]
fn two_requests_make_one_reboot_and_the_claim_names_both() {
    let mut cluster = Cluster::new(&["n1"], 1);
    cluster.request(0);
    cluster.says(0, COMMAND, Ok(Some("the firmware is old")));
    cluster.run(10);
    assert_eq!(cluster.slots[0].claim.reason, "/run/reboot-required; the firmware is old");
    cluster.hosts[0].requests.insert(COMMAND, Some(Ok(None)));
    cluster.run(600);
    assert!(cluster.is_clean(), "{}", cluster.story.join("\n"));
    assert_eq!(cluster.hosts[0].boot, 2);
}

#[test]
fn one_of_two_requests_that_goes_undoes_nothing() {
    let mut cluster = Cluster::new(&["n1"], 1);
    cluster.pod(0, "db", Owner::Controller);
    cluster.hosts[0].kept = true;
    cluster.request(0);
    cluster.says(0, COMMAND, Ok(Some("the firmware is old")));
    cluster.run(60);
    cluster.withdraw(0);
    cluster.run(60);
    assert!(cluster.hosts[0].node.unschedulable, "{}", cluster.story.join("\n"));
    cluster.says(0, COMMAND, Ok(None));
    cluster.run(10);
    assert!(cluster.is_clean(), "{}", cluster.story.join("\n"));
    assert_eq!(cluster.hosts[0].boot, 1);
}

#[test]
fn beside_a_request_that_stands_an_unreadable_one_is_only_reported() {
    let mut cluster = Cluster::new(&["n1"], 1);
    cluster.says(0, COMMAND, Err("exit status 2"));
    cluster.run(5);
    assert_eq!(last_text(&cluster), "cannot read the sentinel command: exit status 2");
    assert!(told(&cluster, "n1 idle unreadable"), "{}", cluster.story.join("\n"));
    cluster.request(0);
    cluster.run(200);
    assert_eq!(cluster.hosts[0].boot, 2, "{}", cluster.story.join("\n"));
    assert!(cluster.is_clean());
}

#[test]
fn an_unreadable_request_alone_neither_goes_on_nor_gives_up() {
    let mut cluster = Cluster::new(&["n1"], 1);
    cluster.pod(0, "db", Owner::Controller);
    cluster.hosts[0].kept = true;
    cluster.request(0);
    cluster.run(60);
    // The one that asked is gone, and the other one may have begun to ask.
    cluster.says(0, COMMAND, Err("exit status 2"));
    cluster.withdraw(0);
    cluster.hosts[0].kept = false;
    cluster.run(120);
    assert!(cluster.hosts[0].node.unschedulable, "{}", cluster.story.join("\n"));
    assert_eq!(cluster.hosts[0].boot, 1);
    cluster.says(0, COMMAND, Ok(None));
    cluster.run(10);
    assert!(cluster.is_clean(), "{}", cluster.story.join("\n"));
}

#[test]
fn a_source_that_has_not_been_asked_yet_is_not_taken_for_a_no() {
    let mut cluster = Cluster::new(&["n1"], 1);
    cluster.pod(0, "db", Owner::Controller);
    cluster.hosts[0].kept = true;
    cluster.says(0, COMMAND, Ok(Some("the firmware is old")));
    cluster.run(60);
    cluster.hosts[0].requests.insert(COMMAND, None);
    cluster.restart(0);
    cluster.run(60);
    assert!(cluster.hosts[0].node.unschedulable, "{}", cluster.story.join("\n"));
    cluster.says(0, COMMAND, Ok(None));
    cluster.run(10);
    assert!(cluster.is_clean(), "{}", cluster.story.join("\n"));
}

#[test]
fn a_source_that_is_configured_no_more_asks_no_more() {
    let mut cluster = Cluster::new(&["n1"], 1);
    cluster.pod(0, "db", Owner::Controller);
    cluster.hosts[0].kept = true;
    cluster.says(0, COMMAND, Ok(Some("the firmware is old")));
    cluster.run(60);
    assert!(!cluster.is_clean());
    cluster.hosts[0].requests.remove(&COMMAND);
    cluster.withdraw(0);
    cluster.run(10);
    assert!(cluster.is_clean(), "{}", cluster.story.join("\n"));
}

#[test]
fn since_when_a_source_asks_is_remembered_until_it_asks_no_more() {
    let mut cluster = Cluster::new(&["n1"], 1);
    cluster.hosts[0].settings.policy.windows = None;
    cluster.says(0, COMMAND, Ok(Some("a")));
    let since = |cluster: &Cluster| requests(&cluster.hosts[0].world)[0].1.since.unwrap();
    let first = since(&cluster);
    cluster.run(60);
    cluster.restart(0);
    cluster.says(0, COMMAND, Ok(Some("b")));
    assert_eq!(since(&cluster), first);
    cluster.says(0, COMMAND, Ok(None));
    cluster.says(0, COMMAND, Ok(Some("b")));
    assert!(since(&cluster) > first);
}
