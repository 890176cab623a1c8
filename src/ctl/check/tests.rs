//! Each thing that is wrong is told, and nothing else with it.

use std::time::Duration;

use super::finding::Verdict;
use super::inventory::Unread;
use super::*;
use crate::cluster::{FleetNode, HeldSlot, Kured, POLICIES, PolicyMap, PolicyState, TokenPods};
use crate::config::Files;
use crate::decide::settings::Mode;
use crate::decide::{Inhibitor, Kernel, MANIFESTS, Names, NewerKernel, SlotView, Stamp, Windows};
use crate::host::graceful::Graceful;
use crate::host::kernel::Room;
use crate::host::others::{Jobs, Service};
use crate::report::status::{StatusCredential, StatusReason, example};

fn inhibitor(who: &str, delays: bool) -> Inhibitor {
    Inhibitor { who: who.into(), why: "it must".into(), delays }
}

/// A node on which everything is right.
fn node() -> Facts {
    let mut status = example();
    status.policies_in_force = Some(true);
    status.credential = Some(StatusCredential {
        server: "https://a:6443".into(),
        node: Some("node1".into()),
        ends: Some(2000),
    });
    let files = Files::read(&[]).unwrap();
    let settings = files.settings("node1").unwrap();
    let policy = files.policy(None, &Default::default()).unwrap();
    Facts {
        now: Duration::from_secs(1000),
        service: Ok(Service { state: "active".into(), code: "0".into(), line: status.line.clone() }),
        status: Ok(status),
        settings: Ok(settings),
        policy: Ok(facts::Policy { settings: policy, windows: Some(Windows::always()), without_fleet: None }),
        secrets: vec![
            ("/var/lib/rebootd/token".into(), Some(0o100_600)),
            ("/etc/rebootd/token".into(), Some(0o100_640)),
        ],
        may_reboot: Ok("yes".into()),
        inhibitors: Ok(vec![inhibitor("kubelet", true)]),
        longest_delay: Ok(Duration::from_secs(30)),
        clock_synchronized: Ok(true),
        zone: Ok("Etc/UTC".into()),
        has_zones: true,
        graceful: Ok(None),
        room: Ok(Room { free: 500_000_000, kernel: 100_000_000 }),
        half_installed: Ok(Names::default()),
        kernel: Ok(Kernel { running: "6.1.0-44-amd64".into(), newer: None, cannot_start: None }),
        automatic_reboot: Ok(Some(false)),
        cron: Jobs::default(),
        timers: Ok(vec![]),
        kured_runs: Ok(false),
        sentinel_makers: vec!["unattended-upgrades"],
        has_needrestart: false,
    }
}

fn fleet_node(name: &str, pool: Option<&str>) -> FleetNode {
    FleetNode { name: name.into(), is_ready: true, pool: pool.map(str::to_owned), ..FleetNode::default() }
}

fn slot(name: &str, pool: &str, holder: Option<&str>) -> HeldSlot {
    let slot = SlotView {
        name: name.into(),
        pool: Some(pool.into()),
        holder: holder.map(str::to_owned),
        ..SlotView::default()
    };
    HeldSlot { slot, since: None }
}

/// A cluster in which everything is right.
fn cluster() -> Inventory {
    let policies =
        POLICIES.into_iter().map(|name| PolicyState { name: name.into(), ..PolicyState::default() });
    let mut policies: Vec<PolicyState> = policies.collect();
    policies[3].manifests = Some(MANIFESTS);
    Inventory {
        now: 1_000_000,
        nodes: Ok(vec![
            fleet_node("cp1", Some("control-plane")),
            fleet_node("cp2", Some("control-plane")),
            fleet_node("n1", Some("worker")),
        ]),
        members: Ok(vec!["cp1".into(), "cp2".into()]),
        slots: Ok(vec![
            slot("worker-1", "worker", Some("n1")),
            slot("worker-2", "worker", None),
            slot("control-plane-1", "control-plane", None),
        ]),
        paused: Ok(None),
        policy: Ok(None),
        policies: Ok(policies),
        token_pods: Ok(Some(TokenPods { wanted: 3, ready: 3 })),
        kured: Ok(vec![]),
        plans: Ok(vec![]),
    }
}

/// What is not ok, as `CHECK VERDICT FOUND`.
fn wrong<F>(checks: &[finding::Check<F>], facts: &F) -> Vec<String> {
    let findings = checks.iter().map(|(name, judge)| (name, judge(facts)));
    let wrong = findings.filter(|(_, finding)| finding.verdict != Verdict::Ok);
    wrong.map(|(name, finding)| format!("{name} {:?} {}", finding.verdict, finding.found)).collect()
}

/// Where one thing is broken, exactly these are not ok: each begins and goes on with these words.
fn breaks<F>(
    checks: &[finding::Check<F>],
    mut facts: F,
    expected: &[(&str, &str)],
    break_it: impl FnOnce(&mut F),
) {
    break_it(&mut facts);
    let wrong = wrong(checks, &facts);
    let fits =
        |(line, (head, words)): (&String, &(&str, &str))| line.starts_with(head) && line.contains(words);
    assert!(
        wrong.len() == expected.len() && wrong.iter().zip(expected).all(fits),
        "{wrong:#?}\ninstead of {expected:#?}"
    );
}

fn on_node(expected: &[(&str, &str)], break_it: impl FnOnce(&mut Facts)) {
    breaks(&NODE, node(), expected, break_it);
}

fn in_fleet(expected: &[(&str, &str)], break_it: impl FnOnce(&mut Inventory)) {
    breaks(&FLEET, cluster(), expected, break_it);
}

fn says(facts: &mut Facts, kind: &str) {
    let reason = StatusReason { kind: kind.into(), message: format!("it says {kind}") };
    facts.status.as_mut().unwrap().reasons.push(reason);
}

#[test]
fn where_everything_is_right_nothing_is_told() {
    on_node(&[], |_| {});
    in_fleet(&[], |_| {});
}

#[test]
fn a_daemon_that_does_not_run_hides_only_what_it_alone_knows() {
    on_node(
        &[
            ("daemon Problem", "does not run (failed)"),
            ("status Problem", "none"),
            ("credential Unknown", "only a running daemon"),
            ("policies Unknown", "only a running daemon"),
        ],
        |facts| {
            facts.service = Ok(Service { state: "failed".into(), code: "1".into(), line: String::new() });
            facts.status = Err("none".into());
        },
    );
    on_node(&[("daemon Problem", "its configuration is wrong")], |facts| {
        facts.service = Ok(Service { state: "failed".into(), code: "78".into(), line: String::new() });
    });
    on_node(&[("status Problem", "waiting: x")], |facts| {
        facts.service = Ok(Service { state: "active".into(), code: "0".into(), line: "waiting: x".into() });
    });
}

#[test]
fn what_the_daemon_gives_as_a_reason_is_told_where_it_belongs() {
    for (kind, expected) in [
        ("configuration-unreadable", "configuration Problem"),
        ("policy-unreadable", "configuration Problem"),
        ("not-enrolled", "credential Problem"),
        ("credential-failing", "credential Problem"),
        ("credential-of-other-node", "credential Problem"),
        ("api-failing", "credential Warning"),
        ("policies-not-in-force", "policies Problem"),
        ("manifests-older", "policies Warning"),
        ("may-not-reboot", "permission Problem"),
        ("not-live", "kernel Problem"),
        ("older-kernel", "kernel Problem"),
        ("kured-here", "kured Problem"),
    ] {
        on_node(&[(expected, &format!("it says {kind}"))], |facts| says(facts, kind));
    }
}

#[test]
fn a_configuration_that_reboots_nothing_is_told() {
    on_node(&[("configuration Warning", "only observes")], |facts| {
        facts.settings.as_mut().unwrap().mode = Mode::Observe;
    });
    on_node(&[("configuration Warning", "nothing ever reboots")], |facts| {
        facts.policy.as_mut().unwrap().windows = None;
    });
    // Perhaps the fleet's policy has one.
    on_node(&[("configuration Unknown", "by the files of this host")], |facts| {
        let policy = facts.policy.as_mut().unwrap();
        (policy.windows, policy.without_fleet) = (None, Some("run it as root".into()));
    });
    on_node(&[("configuration Problem", "line 3"), ("sentinel Unknown", "line 3")], |facts| {
        facts.settings = Err("line 3".into());
    });
}

#[test]
fn a_credential_that_is_open_or_has_ended_is_told() {
    on_node(&[("secrets Problem", "/var/lib/rebootd/token")], |facts| facts.secrets[0].1 = Some(0o100_644));
    on_node(&[("secrets Unknown", "only root can see who may read /etc/rebootd/token")], |facts| {
        facts.secrets[1].1 = None;
    });
    on_node(&[("credential Problem", "expired")], |facts| facts.now = Duration::from_secs(3000));
    on_node(&[("credential Problem", "there is none")], |facts| {
        facts.status.as_mut().unwrap().credential = None
    });
    on_node(&[("policies Unknown", "")], |facts| facts.status.as_mut().unwrap().policies_in_force = None);
    on_node(&[("policies Problem", "")], |facts| {
        facts.status.as_mut().unwrap().policies_in_force = Some(false)
    });
}

#[test]
fn what_keeps_the_host_from_a_reboot_is_told() {
    on_node(&[("permission Problem", "\"challenge\"")], |facts| facts.may_reboot = Ok("challenge".into()));
    on_node(&[("permission Unknown", "sudo")], |facts| facts.may_reboot = Err("run this with sudo".into()));
    on_node(&[("permission Unknown", "backup"), ("inhibitors Warning", "backup")], |facts| {
        facts.may_reboot = Ok("no".into());
        facts.inhibitors.as_mut().unwrap().push(inhibitor("backup", false));
    });
    on_node(&[("shutdown-delay Problem", "delayed by 10min")], |facts| {
        facts.longest_delay = Ok(Duration::from_secs(600));
    });
    on_node(&[("packages Problem", "linux-image (half-configured) and others")], |facts| {
        let names = facts.half_installed.as_mut().unwrap();
        ["a", "b", "linux-image (half-configured)", "c"].into_iter().for_each(|name| names.push(name.into()));
    });
}

#[test]
fn clock_and_zones_matter_as_far_as_windows_rest_on_them() {
    on_node(&[("clock Warning", "")], |facts| facts.clock_synchronized = Ok(false));
    on_node(&[("clock Problem", "no window opens")], |facts| {
        facts.clock_synchronized = Ok(false);
        facts.policy.as_mut().unwrap().windows.as_mut().unwrap().open = crate::decide::Open::During(vec![]);
    });
    on_node(&[("zones Problem", "zoneinfo")], |facts| facts.has_zones = false);
    on_node(&[("zones Warning", "as UTC")], |facts| facts.zone = Err("no /etc/localtime".into()));
}

#[test]
fn the_kubelet_has_to_do_what_its_configuration_says() {
    let graceful = |period: Option<&str>| {
        Ok(Some(Graceful { file: "/var/lib/kubelet/config.yaml".into(), period: period.map(str::to_owned) }))
    };
    let without = |facts: &mut Facts| facts.inhibitors = Ok(vec![]);
    on_node(&[], |facts| {
        without(facts);
        facts.graceful = graceful(None);
    });
    on_node(&[("graceful-shutdown Warning", "30s in /var/lib/kubelet/config.yaml")], |facts| {
        without(facts);
        facts.graceful = graceful(Some("30s"));
    });
    on_node(&[("graceful-shutdown Unknown", "")], without);
}

#[test]
fn what_will_start_is_told() {
    on_node(&[], |facts| {
        let newer = NewerKernel { release: "6.1.0-45-amd64".into(), since: None };
        facts.kernel.as_mut().unwrap().newer = Some(newer);
    });
    on_node(&[("kernel Problem", "initrd is missing")], |facts| {
        facts.kernel.as_mut().unwrap().cannot_start = Some("initrd is missing".into());
    });
    on_node(&[("boot-space Warning", "99 MB are free")], |facts| {
        facts.room.as_mut().unwrap().free = 99_000_000
    });
    on_node(&[], |facts| facts.room = Ok(Room { free: 0, kernel: 0 }));
}

#[test]
fn others_that_reboot_the_host_are_told() {
    on_node(&[("unattended-upgrades Problem", "")], |facts| facts.automatic_reboot = Ok(Some(true)));
    on_node(&[("cron Warning", "/etc/crontab:3: reboot and 1 more")], |facts| {
        facts.cron.found = vec!["/etc/crontab:3: reboot".into(), "/etc/cron.d/x:1: reboot".into()];
    });
    on_node(&[("cron Unknown", "Permission denied")], |facts| {
        facts.cron.unread = vec!["/var/spool/cron/crontabs: Permission denied".into()];
    });
    on_node(&[("timers Warning", "x.timer")], |facts| {
        facts.timers = Ok(vec!["x.timer starts reboot.target".into()])
    });
    on_node(&[("kured Problem", "same file")], |facts| facts.kured_runs = Ok(true));
}

#[test]
fn a_host_on_which_nothing_asks_for_a_reboot_is_told() {
    on_node(&[("sentinel Warning", "/run/reboot-required")], |facts| facts.sentinel_makers.clear());
    on_node(&[], |facts| {
        facts.sentinel_makers.clear();
        facts.settings.as_mut().unwrap().host.newer_kernel = true;
    });
    on_node(&[("sentinel Problem", "not installed")], |facts| {
        facts.settings.as_mut().unwrap().host.needrestart = true;
    });
}

#[test]
fn what_is_wrong_in_the_cluster_is_told() {
    in_fleet(&[("agents Warning", "acted on n2")], |facts| {
        facts.nodes.as_mut().unwrap().push(fleet_node("n2", None))
    });
    in_fleet(&[("agents Warning", "nothing that can be true, on n1")], |facts| {
        let said = r#"{"version": "0.1.0", "at": "1970-01-11T10:00:00Z", "phase": "idle"}"#;
        facts.nodes.as_mut().unwrap()[2].heartbeat = Some(serde_json::from_str(said).unwrap());
    });
    in_fleet(&[("slots Problem", ""), ("pools Problem", "control-plane, worker")], |facts| {
        facts.slots = Ok(vec![])
    });
    in_fleet(&[("pools Problem", "pool gpu")], |facts| {
        facts.nodes.as_mut().unwrap().push(fleet_node("n2", Some("gpu")));
    });
    in_fleet(&[("slots Warning", "of no pool, and so of no use: worker-2")], |facts| {
        facts.slots.as_mut().unwrap()[1].slot.pool = None;
    });
    in_fleet(&[("control-plane Warning", "2 slots")], |facts| {
        facts.slots.as_mut().unwrap().push(slot("control-plane-2", "control-plane", None));
    });
    in_fleet(&[("control-plane Warning", "control-plane, worker")], |facts| {
        facts.nodes.as_mut().unwrap()[0].pool = Some("worker".into());
    });
    in_fleet(&[("pause Warning", "incident 42")], |facts| facts.paused = Ok(Some("incident 42".into())));
    in_fleet(&[("token-pods Warning", "2 of 3")], |facts| {
        facts.token_pods = Ok(Some(TokenPods { wanted: 3, ready: 2 }));
    });
}

#[test]
fn a_slot_of_a_node_that_is_gone_is_told() {
    let gone = |facts: &mut Inventory| facts.slots.as_mut().unwrap()[1].slot.holder = Some("gone".into());
    in_fleet(&[("holders Warning", "worker-2 is held by gone")], gone);
    in_fleet(&[("holders Problem", "about to reboot")], |facts| {
        gone(facts);
        let (daemon_sets, request) = (Default::default(), None);
        let stamp = Stamp { boot_id: "b".into(), attempt: 1, at: Duration::ZERO, daemon_sets, request };
        facts.slots.as_mut().unwrap()[1].slot.stamp = Some(stamp);
    });
}

#[test]
fn a_node_that_does_not_come_back_is_told() {
    let stamped = |facts: &mut Inventory, since: &str| {
        let (daemon_sets, request) = (Default::default(), None);
        let stamp = Stamp { boot_id: "b".into(), attempt: 1, at: Duration::ZERO, daemon_sets, request };
        let slot = &mut facts.slots.as_mut().unwrap()[0];
        (slot.slot.stamp, slot.since) = (Some(stamp), Some(since.to_owned()));
        facts.nodes.as_mut().unwrap()[2].is_ready = false;
    };
    in_fleet(&[("holders Problem", "n1 has held worker-1 for 1h")], |facts| {
        stamped(facts, "1970-01-12T12:46:40Z")
    });
    in_fleet(&[], |facts| stamped(facts, "1970-01-12T13:36:40Z"));
}

#[test]
fn a_policy_of_the_fleet_that_no_node_understands_is_told() {
    let with = |text: &str| {
        let data = [("policy.toml".to_owned(), text.to_owned())].into();
        Ok(Some(PolicyMap { version: "1".into(), data }))
    };
    in_fleet(&[("policy Problem", "freze")], |facts| {
        facts.policy = with("version = 1\n[policy]\nfreze = []\n")
    });
    in_fleet(&[], |facts| facts.policy = with("version = 1\n[policy]\nwindow = 'always'\n"));
}

#[test]
fn policies_that_do_not_deny_and_other_manifests_are_told() {
    in_fleet(&[("policies Problem", "rebootd-nodes is missing")], |facts| {
        facts.policies.as_mut().unwrap()[0].lacks = Some("is missing".into());
    });
    for version in [Some(MANIFESTS + 1), None] {
        in_fleet(&[("policies Warning", "version")], |facts| {
            facts.policies.as_mut().unwrap()[3].manifests = version
        });
    }
}

#[test]
fn others_in_the_cluster_are_told() {
    in_fleet(&[("kured Warning", "held by n1")], |facts| {
        facts.kured = Ok(vec![Kured { name: "kube-system/kured".into(), lock: Some("n1".into()) }]);
    });
    in_fleet(&[("upgrade-plans Warning", "system-upgrade/os")], |facts| {
        facts.plans = Ok(vec!["system-upgrade/os".into()]);
    });
}

#[test]
fn a_right_that_is_missing_hides_only_what_it_is_needed_for() {
    let forbidden = |right| Unread { right: Some(right), why: "403".into() };
    in_fleet(&[("kured Unknown", "right to list daemonsets")], |facts| {
        facts.kured = Err(forbidden("list daemonsets"))
    });
    in_fleet(
        &[
            ("agents Unknown", "right to list nodes"),
            ("pools Unknown", ""),
            ("control-plane Unknown", ""),
            ("holders Unknown", ""),
        ],
        |facts| facts.nodes = Err(forbidden("list nodes")),
    );
    let wrong = wrong(&FLEET, &{
        let mut facts = cluster();
        facts.nodes = Err(Unread { right: None, why: "connection refused".into() });
        facts
    });
    assert_eq!(wrong[0], "cluster Problem connection refused");
}

#[test]
fn every_check_is_explained_once() {
    let document = include_str!("../../../docs/check.md");
    for (section, names) in [
        ("\n## On a node\n", NODE.map(|(name, _)| name).to_vec()),
        ("\n## In the cluster\n", FLEET.map(|(name, _)| name).to_vec()),
    ] {
        let text = document.split_once(section).unwrap().1.split("\n## ").next().unwrap();
        let rows = text.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
        assert_eq!(rows.collect::<Vec<_>>(), names);
    }
}
