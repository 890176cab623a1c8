//! Why a host asks for a reboot: several sources, some of which cannot be read.

use std::time::Duration;

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
fn requests_are_told_with_their_age_and_not_more_than_ten_packages() {
    let mut cluster = Cluster::new(&["n1"], 1);
    let mut request = |reason: &str, packages: Vec<String>| {
        let since = Some(cluster.hosts[0].world.now.wall - Duration::from_secs(7500));
        let request = Request { reason: reason.into(), packages, since };
        cluster.event(0, Event::Requests([(Source::SentinelFile, Some(Ok(Some(request))))].into()));
        requests_in_words(&cluster.hosts[0].world, &cluster.hosts[0].settings)
    };
    assert_eq!(request("/run/reboot-required", vec![]), "/run/reboot-required, 2h 5min old");
    let one = "/run/reboot-required by libc6";
    assert_eq!(request(one, vec!["libc6".into()]), format!("{one}, 2h 5min old"), "not twice");
    let many = request("x", (10..300).map(|number| format!("p{number}")).collect());
    assert_eq!(many, "x, 2h 5min old (p10, p11, p12, p13, p14, p15, p16, p17, p18, p19 and 280 more)");
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
    let since =
        |cluster: &Cluster| requests(&cluster.hosts[0].world, &cluster.hosts[0].settings)[0].1.since.unwrap();
    let first = since(&cluster);
    cluster.run(60);
    cluster.restart(0);
    cluster.says(0, COMMAND, Ok(Some("b")));
    assert_eq!(since(&cluster), first);
    cluster.says(0, COMMAND, Ok(None));
    cluster.says(0, COMMAND, Ok(Some("b")));
    assert!(since(&cluster) > first);
}

// ---- kernels, and whether they are live ----

fn install(cluster: &mut Cluster, release: &str) {
    cluster.hosts[0].kernel.newer = Some(NewerKernel { release: release.into(), since: None });
    let kernel = cluster.hosts[0].kernel.clone();
    cluster.event(0, Event::Kernel(Ok(kernel)));
}

#[test]
fn a_newer_kernel_asks_only_where_the_settings_say_so() {
    for newer_kernel in [false, true] {
        let mut cluster = Cluster::new(&["n1"], 1);
        cluster.hosts[0].settings.host.newer_kernel = newer_kernel;
        install(&mut cluster, "6.1.0-44-amd64");
        cluster.run(5);
        let claimed = cluster.slots[0].claim.reason == "kernel 6.1.0-44-amd64 is installed";
        assert_eq!(claimed, newer_kernel, "{}", cluster.story.join("\n"));
    }
}

#[test]
fn a_kernel_that_the_reboot_did_not_start_is_told_and_is_no_reason_for_another() {
    let mut cluster = Cluster::new(&["n1"], 1);
    cluster.hosts[0].settings.host.newer_kernel = true;
    install(&mut cluster, "6.1.0-44-amd64");
    cluster.run(24 * 3600);
    // The slot went back, all the same.
    assert!(cluster.is_clean(), "{}", cluster.story.join("\n"));
    assert_eq!(cluster.hosts[0].boot, 2);
    assert!(told(&cluster, "n1 idle not-live"), "{}", cluster.story.join("\n"));
    let text =
        "booted, but not live: kernel 6.1.0-44-amd64 was installed before this boot, and 6.1.0-40-amd64 runs";
    assert!(last_text(&cluster).starts_with(text), "{}", last_text(&cluster));
    cluster.restart(0);
    cluster.run(200);
    assert_eq!(cluster.hosts[0].boot, 2);
    // Another kernel is another request.
    install(&mut cluster, "6.1.0-45-amd64");
    cluster.run(20);
    assert_eq!(cluster.hosts[0].boot, 3, "{}", cluster.story.join("\n"));
    // This one starts.
    cluster.hosts[0].kernel = Kernel { running: "6.1.0-45-amd64".into(), ..Kernel::default() };
    cluster.run(200);
    assert!(cluster.is_clean(), "{}", cluster.story.join("\n"));
    assert_eq!(cluster.reasons(0), Vec::<&str>::new());
}

/// The sentinel is gone after the boot: nothing but this says that the host is not patched.
#[test]
fn a_reboot_for_the_sentinel_that_does_not_start_the_new_kernel_is_told_too() {
    let mut cluster = Cluster::new(&["n1"], 1);
    install(&mut cluster, "6.1.0-44-amd64");
    cluster.request(0);
    cluster.run(600);
    assert_eq!(cluster.hosts[0].boot, 2);
    assert!(told(&cluster, "n1 returning settling not-live"), "{}", cluster.story.join("\n"));
    assert!(told(&cluster, "n1 idle not-live"), "{}", cluster.story.join("\n"));
    // A new request is served all the same.
    cluster.request(0);
    cluster.run(20);
    assert_eq!(cluster.hosts[0].boot, 3, "{}", cluster.story.join("\n"));
}

#[test]
fn a_command_that_still_says_yes_is_told_and_waits_for_its_turn() {
    let mut cluster = Cluster::new(&["n1"], 1);
    cluster.hosts[0].settings.policy.min_interval = Duration::from_secs(7200);
    cluster.says(0, COMMAND, Ok(Some("the firmware is old")));
    cluster.run(600);
    assert_eq!(cluster.hosts[0].boot, 2);
    assert!(cluster.is_clean(), "{}", cluster.story.join("\n"));
    assert!(told(&cluster, "n1 waiting rebooted-recently survived-reboot"), "{}", cluster.story.join("\n"));
    cluster.run(7200);
    assert_eq!(cluster.hosts[0].boot, 3, "{}", cluster.story.join("\n"));
    // Once it has said no, it may ask again like any other.
    cluster.says(0, COMMAND, Ok(None));
    cluster.says(0, COMMAND, Ok(Some("the firmware is old")));
    cluster.run(100);
    assert_eq!(cluster.reasons(0), ["rebooted-recently"]);
}

// ---- how often, how soon ----

#[test]
fn a_days_reboots_are_counted_whatever_asks() {
    let mut cluster = Cluster::new(&["n1"], 1);
    cluster.hosts[0].settings.policy.max_reboots_per_day = Some(2);
    for _ in 0..5 {
        cluster.request(0);
        cluster.run(3600);
    }
    assert_eq!(cluster.hosts[0].boot, 3, "{}", cluster.story.join("\n"));
    assert!(told(&cluster, "n1 waiting too-many-reboots"));
    cluster.run(20 * 3600);
    assert_eq!(cluster.hosts[0].boot, 4, "{}", cluster.story.join("\n"));
}

#[test]
fn a_young_request_waits_and_the_oldest_counts() {
    let mut cluster = Cluster::new(&["n1"], 1);
    cluster.hosts[0].settings.policy.min_age = Duration::from_secs(3600);
    cluster.request(0);
    cluster.run(1800);
    assert_eq!(cluster.reasons(0), ["request-too-new"]);
    cluster.says(0, COMMAND, Ok(Some("the firmware is old")));
    cluster.restart(0);
    cluster.run(1790);
    assert_eq!(cluster.hosts[0].boot, 1, "{}", cluster.story.join("\n"));
    cluster.run(60);
    assert_eq!(cluster.hosts[0].boot, 2, "{}", cluster.story.join("\n"));
}

#[test]
fn a_host_that_is_up_for_long_asks_by_itself_and_a_fleet_not_at_once() {
    let names = ["n1", "n2", "n3", "n4", "n5", "n6"];
    let mut cluster = Cluster::new(&names, names.len());
    for host in &mut cluster.hosts {
        host.settings.host.max_uptime = Some(Duration::from_secs(100_000));
    }
    cluster.run(99_999);
    assert!(cluster.hosts.iter().all(|host| host.boot == 1), "{}", cluster.story.join("\n"));
    // The daemon wakes for it by itself.
    cluster.run(10_300);
    assert!(cluster.hosts.iter().all(|host| host.boot == 2), "{}", cluster.story.join("\n"));
    assert!(cluster.most_disrupted < 3, "{}", cluster.most_disrupted);
}
