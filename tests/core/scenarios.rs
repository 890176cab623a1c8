//! Scenarios as text: commands at the margin, and indented below each what the agents say until the next.
//!
//! `BLESS=1 cargo test --test core scenarios` writes what they say now: read the difference before you commit it.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::time::Duration;

use jiff::tz::TimeZone;
use rebootd::decide::settings::{
    AtLimit, BlockingPodsAfter, DrainMode, ForeignCordon, ObjectField, OnHookFailure, OnTimeout, Prometheus,
    Query, Urgent, Yielding,
};
use rebootd::decide::*;
use rebootd::notation::*;
use rebootd::report::status::{Status, line};
use serde::Deserialize;
use serde::de::value::{Error, StrDeserializer};

use crate::imitation::{Cluster, Host, settings};

const INDENT: &str = "    ";

/// Runs one file, and gives it back with what was said.
fn play(text: &str) -> String {
    let mut cluster = Cluster::new(&[], 0);
    let mut played = String::new();
    for line in text.lines().filter(|line| !line.starts_with(INDENT)) {
        played.push_str(line);
        played.push('\n');
        let told = cluster.story.len();
        let said = tell(&mut cluster, line);
        for line in cluster.story[told.min(cluster.story.len())..].iter().chain(&said) {
            writeln!(played, "{INDENT}{}", line.trim_start()).unwrap();
        }
    }
    played
}

/// Carries out one command; gives what it says, besides the story.
pub fn tell(cluster: &mut Cluster, line: &str) -> Vec<String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    match words.as_slice() {
        [] | ["#", ..] => {}
        ["nodes", names @ .., "slots", slots] => *cluster = Cluster::new(names, slots.parse().unwrap()),
        [command, node, rest @ ..] => match number_of(cluster, node) {
            Some(number) => return tell_host(cluster, number, command, &rest.join(" ")),
            None => tell_cluster(cluster, command, &words[1..].join(" ")),
        },
        [command] => tell_cluster(cluster, command, ""),
    }
    Vec::new()
}

fn number_of(cluster: &Cluster, name: &str) -> Option<usize> {
    cluster.hosts.iter().position(|host| host.settings.node_name == name)
}

/// `COMMAND NODE …`
fn tell_host(cluster: &mut Cluster, number: usize, command: &str, rest: &str) -> Vec<String> {
    let text = || Some(rest.to_owned());
    match command {
        "request" => cluster.request(number),
        "withdraw" => cluster.withdraw(number),
        "pod" => cluster.pod(number, rest, Owner::Controller),
        "block-by" => cluster.hosts[number].settings.gates.blocking_pods = vec![rest.parse().unwrap()],
        "label" => {
            let (pod, label) = rest.split_once(' ').unwrap();
            let (name, value) = label.split_once('=').unwrap();
            let pod = cluster.hosts[number].pods.values_mut().find(|it| it.key.name == pod).unwrap();
            pod.labels.insert(name.into(), value.into());
        }
        "end" => cluster.hosts[number].pods.retain(|_, pod| pod.key.name != rest),
        "window" => cluster.windows(number).open = Open::During(vec![window(rest)]),
        "kured" => {
            cluster.pod(number, "kured", Owner::DaemonSet);
            let kured = cluster.hosts[number].pods.values_mut().find(|it| it.key.name == "kured").unwrap();
            kured.labels.insert("name".into(), "kured".into());
        }
        "delete-node" => cluster.delete_node(number),
        "register-node" => cluster.register_node(number),
        "urgent" => {
            let from = Duration::from_secs(cluster.hosts[number].world.now.wall.as_secs());
            let length = seconds(rest);
            let window = Window { start: Calendar::at(from).unwrap(), length };
            if let Open::During(windows) = &mut cluster.windows(number).open {
                windows.push(window);
            }
            let urgent = Urgent { why: "a CVE (ann@a)".into(), from, until: from + length };
            cluster.hosts[number].settings.policy.urgent = Some(urgent);
            cluster.policy(number, Ok(()));
        }
        "no-window" => cluster.hosts[number].settings.policy.windows = None,
        "window-always" => cluster.windows(number).open = Open::Always,
        "thaw" => cluster.windows(number).freezes.clear(),
        "block-by-nothing" => cluster.hosts[number].settings.gates.blocking_pods.clear(),
        "freeze" => {
            let freeze = Freeze { window: window(rest), name: format!("from {rest}") };
            cluster.windows(number).freezes.push(freeze);
        }
        "waiting-label" => cluster.hosts[number].settings.signs.waiting_label = rest == "on",
        "waiting-taint" => cluster.hosts[number].settings.signs.waiting_taint = rest == "on",
        "keep-from-autoscalers" => cluster.hosts[number].settings.drain.keep_from_autoscalers = rest == "on",
        "keep-from-autoscalers-for" => {
            cluster.hosts[number].settings.drain.keep_from_autoscalers_for = seconds(rest);
        }
        "leave-load-balancers" => {
            cluster.hosts[number].settings.drain.leave_load_balancers = Some(seconds(rest));
        }
        "turn-label" => {
            let (name, value) = rest.split_once('=').unwrap();
            cluster.hosts[number].settings.drain.labels.insert(name.into(), value.into());
        }
        "node-label" => {
            let (name, value) = rest.split_once('=').unwrap();
            cluster.change_node(number, |node| drop(node.labels.insert(name.into(), value.into())));
        }
        "uncordon-by-hand" => cluster.change_node(number, |node| node.unschedulable = false),
        "cordon-by-hand" => cluster.change_node(number, |node| node.unschedulable = true),
        "foreign-cordon" => {
            let gates = &mut cluster.hosts[number].settings.gates;
            gates.foreign_cordon = if rest == "reboot" { ForeignCordon::Reboot } else { ForeignCordon::Wait };
        }
        "signs" => return vec![signs(&cluster.hosts[number].node)],
        "drain" => {
            cluster.hosts[number].settings.policy.drain = match rest {
                "never" => DrainMode::Never,
                "always" => DrainMode::Always,
                _ => DrainMode::Auto,
            };
        }
        "min-uptime" => cluster.hosts[number].settings.gates.min_uptime = seconds(rest),
        "window-left" => cluster.hosts[number].settings.policy.window_left = seconds(rest),
        "drain-timeout" => cluster.hosts[number].settings.drain.timeout = Some(seconds(rest)),
        "force" => cluster.hosts[number].settings.drain.on_timeout = OnTimeout::Reboot,
        "keep" => cluster.keep(number, true),
        "let-go" => cluster.keep(number, false),
        "hold" => cluster.hold(number, Ok(text())),
        "unhold" => cluster.hold(number, Ok(None)),
        "credential-missing" => {
            cluster.hosts[number].settings.api = None;
            cluster.event(number, Event::Credential(CredentialState::Missing(rest.to_owned())));
        }
        "credential-failing" => {
            cluster.event(number, Event::Credential(CredentialState::Failing(rest.to_owned())));
        }
        "credential-of" => {
            let host = &mut cluster.hosts[number];
            (host.settings.api, host.settings.credential_node) = (settings("n1").api, Some(rest.to_owned()));
            cluster.event(number, Event::Credential(CredentialState::Good));
        }
        "hold-unreadable" => cluster.hold(number, Err("Permission denied".into())),
        "annotate" => cluster.change_node(number, |node| node.hold = text()),
        "unannotate" => cluster.change_node(number, |node| node.hold = None),
        "annotate-request" => cluster.change_node(number, |node| node.request = text()),
        "unannotate-request" => cluster.change_node(number, |node| node.request = None),
        "taint" => cluster.change_node(number, |node| node.removal = Some(format!("taint {rest}"))),
        "untaint" => cluster.change_node(number, |node| node.removal = None),
        "install" => cluster.hosts[number].package_manager = text(),
        "installed" => cluster.hosts[number].package_manager = None,
        "inhibit" => {
            let inhibitor = Inhibitor { who: "backup".into(), why: rest.into(), delays: false };
            cluster.hosts[number].inhibitors = vec![inhibitor];
        }
        "uninhibit" => cluster.hosts[number].inhibitors.clear(),
        "shutdown" => {
            let at = cluster.hosts[number].world.now.wall + seconds(rest);
            cluster.hosts[number].scheduled = Some(ScheduledShutdown { kind: "reboot".into(), at });
        }
        "shutdown-cancel" => cluster.hosts[number].scheduled = None,
        "clock" => cluster.hosts[number].clock_synchronized = Ok(rest == "synchronised"),
        "need-clock" => cluster.hosts[number].settings.gates.require_synchronized_clock = true,
        "wait-for-people" => cluster.hosts[number].settings.gates.sessions = Some(seconds(rest)),
        "login" => cluster.hosts[number].sessions = vec![rest.to_owned()],
        "logout" => cluster.hosts[number].sessions.clear(),
        "hook-missing" => {
            tell_host(cluster, number, "hook", rest);
            tell_host(cluster, number, "hook-gone", rest);
        }
        "hook-unwanted" => drop(cluster.hosts[number].settings.hooks.wanted.remove(&hook(rest))),
        "hook" => {
            let unit = HookUnit {
                obstacle: None,
                invocation: String::new(),
                state: UnitState::Ended { failure: None },
            };
            cluster.hosts[number].hooks.insert(hook(rest), unit);
            cluster.hosts[number].settings.hooks.wanted.insert(hook(rest));
        }
        "hook-ends" => unit(cluster, number, rest).state = UnitState::Ended { failure: None },
        "hook-fails" => {
            unit(cluster, number, rest).state = UnitState::Ended { failure: Some("exit-code (1)".into()) };
        }
        "hook-gone" => unit(cluster, number, rest).obstacle = Some("not-found".into()),
        "hook-back" => unit(cluster, number, rest).obstacle = None,
        "hook-by-hand" => {
            let unit = unit(cluster, number, rest);
            (unit.invocation, unit.state) = ("by-hand".into(), UnitState::Ended { failure: None });
        }
        "deaf" => cluster.hosts[number].deaf = true,
        "hearing" => cluster.hosts[number].deaf = false,
        "hook-timeout" => cluster.hosts[number].settings.hooks.timeout = seconds(rest),
        "hooks-continue" => {
            let hooks = &mut cluster.hosts[number].settings.hooks;
            (hooks.on_failure, hooks.on_failure_after_boot) =
                (OnHookFailure::Continue, OnHookFailure::Continue);
        }
        "restart" => cluster.restart(number),
        "step-back" => cluster.step_back(number),
        "stays-up" => cluster.hosts[number].stays_up = rest == "yes",
        "last-reboot" => return vec![last_reboot(cluster, number)],
        "power-cycle" => cluster.power_cycle(number),
        "boots-by-itself" => cluster.boots(number),
        "dpkg-at-stamp" => cluster.hosts[number].dpkg_at_stamp = true,
        "livepatched-min-age" => {
            cluster.hosts[number].settings.host.livepatched_min_age = Some(seconds(rest))
        }
        "livepatched" => cluster.hosts[number].livepatched = Ok(rest == "yes"),
        "livepatch-unreadable" => cluster.hosts[number].livepatched = Err(rest.into()),
        "min-age" => cluster.hosts[number].settings.policy.min_age = seconds(rest),
        "deadline" => {
            let mut words = rest.split_whitespace();
            let policy = &mut cluster.hosts[number].settings.policy;
            policy.deadline = words.next().map(seconds);
            policy.yielding = words.map(yielding).collect();
        }
        "min-interval" => cluster.hosts[number].settings.policy.min_interval = seconds(rest),
        "annotation" => cluster.hosts[number].settings.host.request_annotation = rest == "on",
        "status" => {
            let host = &cluster.hosts[number];
            let decision = decide(&host.world, &host.settings);
            return vec![line(&decision)];
        }
        _ => tell_checks(cluster, number, command, rest),
    }
    Vec::new()
}

/// What Prometheus and other objects say, before a reboot and after it.
fn tell_checks(cluster: &mut Cluster, number: usize, command: &str, rest: &str) {
    let host = &mut cluster.hosts[number];
    let (gates, after) = (&mut host.settings.gates, &mut host.settings.after);
    let server = Prometheus::Service { namespace: "monitoring".into(), port: "prometheus:9090".into() };
    let query = Some(Query { expression: "x".into(), server });
    match command {
        "alert" => (gates.query, host.alerts) = (query, Ok(names(rest))),
        "alerts-unreadable" => (gates.query, host.alerts) = (query, Err("connection refused".into())),
        "alert-over" => host.alerts = Ok(Names::default()),
        "soak" => after.soak = seconds(rest),
        "after-limit" => after.limit = seconds(rest),
        "after-release" => after.at_limit = AtLimit::Release,
        "after-pods" => after.pods = vec![rest.parse().unwrap()],
        "after-query" => {
            let found = if rest.is_empty() { Names::default() } else { names(rest) };
            (after.query, host.after.query) = (query, Some(Ok(found)));
        }
        "after-query-fails" => (after.query, host.after.query) = (query, Some(Err(rest.into()))),
        "after-object" => {
            let path = "/apis/ceph.rook.io/v1/namespaces/rook-ceph/cephclusters/main".into();
            let field = "status.ceph.health".into();
            after.objects = vec![ObjectField { path, field, equals: vec!["HEALTH_OK".into()] }];
            host.after.objects = vec![Ok(vec![(!rest.is_empty()).then(|| rest.into())])];
        }
        "unready" | "ready" => {
            let pod = host.pods.values_mut().find(|pod| pod.key.name == rest).unwrap();
            pod.ready = command == "ready";
        }
        "daemon" => cluster.pod(number, rest, Owner::DaemonSet),
        "static" => cluster.pod(number, rest, Owner::Kubelet),
        "bare" => cluster.pod(number, rest, Owner::Nobody),
        "unready-after-boot" => host.unready_after_boot.push(format!("pod-{rest}")),
        "leftover-after-boot" => host.leftover_after_boot.push(format!("pod-{rest}")),
        "told" => pod(host, rest).instance = Some(1),
        "gone-after-boot" => host.gone_after_boot.push(format!("pod-{rest}")),
        "pods-stay" => host.finalizers = true,
        "runs" => pod(host, rest).running = true,
        "ignore-daemon-set" => after.ignore_daemon_sets.push(rest.into()),
        "ignore-taint" => after.ignore_taints.push(rest.into()),
        "taint-after-boot" => host.next_taint = Some(rest.into()),
        "taint-gone" => cluster.change_node(number, |node| node.repelling_taints.clear()),
        "leaving-pods" => host.settings.drain.leaving_pods = Some(seconds(rest)),
        "leave-pods" => host.settings.drain.leave_pods = vec![rest.parse().unwrap()],
        "block-after-cordon" => {
            gates.blocking_pods_after = BlockingPodsAfter::Cordon;
            gates.blocking_pods_limit = seconds(rest);
        }
        "block-by-annotation" => gates.blocking_annotations = vec![rest.parse().unwrap()],
        "pod-annotation" => {
            let (name, annotation) = rest.split_once(' ').unwrap();
            let (key, value) = annotation.split_once('=').unwrap();
            pod(host, name).annotations.insert(key.into(), value.into());
        }
        "deleted-without-node" => {
            let (name, after) = rest.split_once(' ').unwrap();
            pod(host, name).deleted_without_node = Some(seconds(after));
        }
        "comes-back" => {
            let (name, owner) = rest.split_once(' ').unwrap();
            cluster.pod(number, name, Owner::Controller);
            pod(&mut cluster.hosts[number], name).controller_uid = owner.into();
        }
        "kubelet-says" => cluster.change_node(number, |node| {
            (node.ready, node.not_ready_because) = (rest.is_empty(), rest.into());
        }),
        "kubelet-ends-inhibited" => {
            let inhibitor = Inhibitor { who: "kubelet".into(), why: "ends pods".into(), delays: true };
            host.inhibitors = vec![inhibitor];
        }
        "settle" => host.settings.policy.settle = seconds(rest),
        "disk" => host.disk_failure = (rest != "ok").then(|| format!("/var/lib/rebootd/state.json: {rest}")),
        "forgets" => host.forgets = true,
        "image" => host.image = host.remembered.clone(),
        "node-writes-refused" => host.node_writes_refused = Some(rest.into()),
        "node-writes-allowed" => host.node_writes_refused = None,
        "clock-off" => host.clock_off = rest.parse().unwrap(),
        "clock-off-after-boot" => host.next_clock_off = Some(rest.parse().unwrap()),
        "boot-takes" => host.boot_takes = seconds(rest),
        "machine-id" => host.world.host.machine_id_is_transient = rest == "transient",
        "require-policies" => host.settings.gates.require_policies = true,
        "policies-missing" => host.confinement = Some(tried(vec!["rebootd-nodes"], MANIFESTS)),
        "policies-applied" => host.confinement = Some(tried(vec![], MANIFESTS)),
        "manifests" => host.confinement = Some(tried(vec![], rest.parse().unwrap())),
        "policies-of-no-concern" => host.confinement = Some(Ok(Confinement::OtherAccount)),
        "policies-unknown" => host.confinement = Some(Err(rest.into())),
        "half-installed" => host.half_installed = names(rest),
        "all-installed" => host.half_installed = Names::default(),
        "kernel-broken" => host.kernel.cannot_start = Some(rest.into()),
        "kernel-mended" => host.kernel.cannot_start = None,
        "kernel-after-boot" => {
            let mut releases = rest.split_whitespace().map(str::to_owned);
            let running = releases.next().unwrap();
            let newer = releases.next().map(|release| NewerKernel { release, since: Some(Duration::ZERO) });
            host.next_kernel = Some(Kernel { running, newer, cannot_start: None });
        }
        "policy-typo" => cluster.policy(number, Err(rest.into())),
        "policy-mended" => cluster.policy(number, Ok(())),
        "configuration-typo" => cluster.event(number, Event::Configuration(Some(rest.into()))),
        "configuration-mended" => cluster.event(number, Event::Configuration(None)),
        "asked-to-step-back" => {
            let name = host.settings.node_name.clone();
            let slot = cluster.slots.iter_mut().find(|slot| slot.holder.as_ref() == Some(&name)).unwrap();
            slot.step_back = Some(rest.into());
        }
        _ => panic!("unknown command {command} of a node"),
    }
}

fn pod<'a>(host: &'a mut Host, name: &str) -> &'a mut PodView {
    host.pods.values_mut().find(|pod| pod.key.name == name).unwrap()
}

/// What the status says of the last reboot.
fn last_reboot(cluster: &Cluster, number: usize) -> String {
    let host = &cluster.hosts[number];
    let status = Status::new(&host.world, &host.settings, &decide(&host.world, &host.settings));
    let Some(last) = status.last_reboot else { return "none".to_owned() };
    format!("for {}, cordoned for {:?} s, {:?}", last.why, last.cordoned_seconds, last.outcome)
}

/// What others see of a Node.
fn signs(node: &NodeView) -> String {
    let labels = node.labels.iter().map(|(name, value)| format!("{name}={value}"));
    let taint = node.waiting_taint.then(|| "taint".to_owned());
    let all: Vec<String> = labels.chain(node.annotations.iter().cloned()).chain(taint).collect();
    if all.is_empty() { "nothing".to_owned() } else { all.join(" ") }
}

fn hook(word: &str) -> Hook {
    Hook::ALL.into_iter().find(|hook| hook.word() == word).unwrap()
}

fn unit<'a>(cluster: &'a mut Cluster, number: usize, word: &str) -> &'a mut HookUnit {
    cluster.hosts[number].hooks.get_mut(&hook(word)).unwrap()
}

fn tried(missing: Vec<&'static str>, manifests: u32) -> Result<Confinement, String> {
    Ok(Confinement::Tried { missing, manifests: Some(manifests) })
}

fn names(text: &str) -> Names {
    let mut names = Names::default();
    names.push(text.into());
    names
}

fn seconds(text: &str) -> Duration {
    Duration::from_secs(text.parse().unwrap())
}

/// `MINUTES EXPRESSION`, in UTC; the story begins at 22:30 on Tue 2023-11-14.
fn window(text: &str) -> Window {
    let (minutes, start) = text.split_once(' ').unwrap();
    let zones = Zones { local: TimeZone::UTC, named: |_| None };
    let length = Duration::from_secs(60 * minutes.parse::<u64>().unwrap());
    Window { start: Calendar::parse(start, &zones).unwrap(), length }
}

fn tell_cluster(cluster: &mut Cluster, command: &str, rest: &str) {
    match command {
        "run" => cluster.run(rest.parse().unwrap()),
        "pause" => cluster.pause(Some(rest)),
        "resume" => cluster.pause(None),
        "node-down" => cluster.others = Ok(Others { not_ready: names(rest), ..Others::default() }),
        "only-node" => cluster.others = Ok(Others { only_node: true, ..Others::default() }),
        "node-up" => cluster.others = Ok(Others::default()),
        "members" => {
            let (ready, names_of) = rest.split_once(' ').unwrap_or((rest, ""));
            let mut members = Names::default();
            names_of.split_whitespace().for_each(|name| members.push(name.into()));
            let members_ready = Some(ready.parse().unwrap());
            cluster.others = Ok(Others { members_ready, members, ..Others::default() });
        }
        "others-unreadable" => cluster.others = Err("forbidden".into()),
        "api-down" => cluster.api_down = true,
        "api-up" => cluster.api_down = false,
        _ => panic!("unknown command {command} {rest}"),
    }
}

#[test]
fn scenarios_go_as_they_are_written() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/core/scenarios");
    let mut wrong = Vec::new();
    for entry in fs::read_dir(&directory).unwrap() {
        let path = entry.unwrap().path();
        let written = fs::read_to_string(&path).unwrap();
        let played = play(&written);
        if std::env::var_os("BLESS").is_some() {
            fs::write(&path, &played).unwrap();
        } else if played != written {
            let first = written.lines().zip(played.lines()).find(|(written, played)| written != played);
            wrong.push(format!("{}: first difference: {first:?}\n{played}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The gate that this word of the configuration stands for.
fn yielding(word: &str) -> Yielding {
    Yielding::deserialize(StrDeserializer::<Error>::new(word)).unwrap()
}
