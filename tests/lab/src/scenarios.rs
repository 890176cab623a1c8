//! `lab test`: what rebootd promises, tried on a real cluster of real hosts.
//!
//! Each [`Scenario`] has a lab of its own. [`runner`] starts them, each inside namespaces of its own;
//! [`stage`] is what a scenario acts upon, `verdict` what most of them ask at their end.

mod admin_cordon_stays;
mod after_boot;
mod after_reboot;
mod by_hand;
mod canary;
mod check;
mod checks;
mod configured;
mod credentials;
mod delay_inhibitor;
mod drain_zoo;
mod faults;
mod fleet_rules;
mod hooks;
mod inhibitor;
mod installs;
mod interrupted;
mod kexec;
mod kill_in_each_phase;
mod kured;
mod livepatch;
mod lone_hosts;
mod metrics;
mod needrestart;
mod never_comes_back;
mod no_cluster;
mod node_object;
mod others;
mod outage;
mod package_manager;
mod pdb_allows_nothing;
mod places;
mod policy;
mod real;
mod reclaim;
mod rehearse;
mod release;
mod remains;
mod removal;
mod requests;
mod restart_in_drain;
mod restless;
pub(crate) mod rights;
pub mod runner;
mod shop;
mod signs;
mod soft_reboot;
pub mod stage;
mod status;
mod stays_up;
mod stopped;
mod sweep;
mod three_hosts;
mod undone;
mod updates;
mod verdict;
mod webhook;
mod windows;

use std::pin::Pin;
use std::time::Duration;

use anyhow::Result;

use crate::drain_cases;
use crate::kubelet::Kind;
use stage::Stage;

/// What a scenario does, once its lab runs.
type Run = for<'stage> fn(&'stage Stage) -> Pin<Box<dyn Future<Output = Result<()>> + 'stage>>;

/// One story with its end.
pub struct Scenario {
    /// What `lab test NAME` calls it.
    pub name: &'static str,
    /// What is expected, in one line.
    pub expects: &'static str,
    /// How many hosts it needs, and of which kind.
    pub hosts: Hosts,
    /// How many seconds it usually takes beside others, as measured: the longest begin first. Nothing fails on it.
    pub usual: u64,
    /// How long it may take, the start of its lab included.
    pub limit: Duration,
    /// Only with `--long`, or by name.
    pub long: bool,
    run: Run,
}

/// The hosts of a scenario.
#[derive(Clone, Copy)]
pub struct Hosts {
    kind: Kind,
    count: usize,
}

const fn hollow(count: usize) -> Hosts {
    Hosts { kind: Kind::Hollow, count }
}

const fn real(count: usize) -> Hosts {
    Hosts { kind: Kind::Real, count }
}

/// The one that needs a kernel of its own.
const KEXEC: &str = "kexec";

const fn minutes(number: u64) -> Duration {
    Duration::from_secs(60 * number)
}

/// All of them.
pub const ALL: &[Scenario] = &[
    Scenario {
        name: "kill_in_each_phase",
        expects: "a daemon killed in any phase goes on where it was: nothing is lost, nothing done twice",
        hosts: hollow(2),
        usual: 208,
        limit: minutes(10),
        long: true,
        run: |stage| Box::pin(kill_in_each_phase::run(stage)),
    },
    Scenario {
        name: "real_rollout",
        expects: "three hosts with real pods of every kind reboot in turn, and no process is cut off that ends in time",
        hosts: real(3),
        usual: 170,
        limit: minutes(10),
        long: false,
        run: |stage| Box::pin(real::rollout::run(stage)),
    },
    Scenario {
        name: "real_boots",
        expects: "a real kubelet that comes late, a broken runtime, and pods that hold up the shutdown are waited for",
        hosts: real(3),
        usual: 155,
        limit: minutes(8),
        long: false,
        run: |stage| Box::pin(real::boots::run(stage)),
    },
    Scenario {
        name: "real_drains",
        expects: "a kubelet that stops, a Node deleted, a person's drain and a new machine in the middle of a real drain",
        hosts: real(3),
        usual: 215,
        limit: minutes(8),
        long: false,
        run: |stage| Box::pin(real::drains::run(stage)),
    },
    Scenario {
        name: "enrolment",
        expects: "the kubelet brings a token, and from then on the node renews its own; imitations gain and stop nothing",
        hosts: real(3),
        usual: 150,
        limit: minutes(12),
        long: false,
        run: |stage| Box::pin(real::enrolment::run(stage)),
    },
    Scenario {
        name: "alert_rules",
        expects: "a real Prometheus fires each alert by what happens on a host, and only then",
        hosts: real(2),
        usual: 111,
        limit: minutes(12),
        long: false,
        run: |stage| Box::pin(real::alerts::run(stage)),
    },
    Scenario {
        name: "enrolment_renewed",
        expects: "a node renews its token in time, again and again, and enrols again after it was off until it had expired",
        hosts: real(2),
        usual: 1100,
        limit: minutes(30),
        long: true,
        run: |stage| Box::pin(real::enrolment::renewed(stage)),
    },
    Scenario {
        name: "real_findings",
        expects: "static pods count, a kubelet may start late, no slot waits for a person, and no reboot under his hands",
        hosts: real(3),
        usual: 75,
        limit: minutes(8),
        long: false,
        run: |stage| Box::pin(real::findings::run(stage)),
    },
    Scenario {
        name: "cordons_by_hand",
        expects: "a person who cordons or uncordons in any phase is obeyed, and no cordon of ours is left",
        hosts: hollow(3),
        usual: 269,
        limit: minutes(15),
        long: true,
        run: |stage| Box::pin(by_hand::cordons(stage)),
    },
    Scenario {
        name: "api_stopped",
        expects: "without an API server no reboot starts at any place, and with it all come to their end",
        hosts: hollow(4),
        usual: 194,
        limit: minutes(8),
        long: false,
        run: |stage| Box::pin(outage::stopped(stage)),
    },
    Scenario {
        name: "dead_kubelet",
        expects: "a Node that says Ready while its kubelet is dead is not healthy",
        hosts: hollow(2),
        usual: 137,
        limit: minutes(6),
        long: false,
        run: |stage| Box::pin(after_boot::dead_kubelet(stage)),
    },
    Scenario {
        name: "reinstalled",
        expects: "a slot of a machine that was replaced is never given back by the new one",
        hosts: hollow(3),
        usual: 148,
        limit: minutes(6),
        long: false,
        run: |stage| Box::pin(node_object::reinstalled(stage)),
    },
    Scenario {
        name: "wrong_clock",
        expects: "a wall clock that is wrong after the boot delays nothing for long and undoes nothing",
        hosts: hollow(3),
        usual: 117,
        limit: minutes(8),
        long: false,
        run: |stage| Box::pin(after_boot::wrong_clock(stage)),
    },
    Scenario {
        name: "node_recreated",
        expects: "a Node that is deleted and registered again is claimed for again, or returned as it is",
        hosts: hollow(2),
        usual: 142,
        limit: minutes(6),
        long: false,
        run: |stage| Box::pin(node_object::recreated(stage)),
    },
    Scenario {
        name: "same_name",
        expects: "of two hosts with one node name, the one that is not the Node only says so",
        hosts: hollow(2),
        usual: 134,
        limit: minutes(8),
        long: false,
        run: |stage| Box::pin(node_object::same_name(stage)),
    },
    Scenario {
        name: "delay_inhibitor",
        expects: "while a delay inhibitor holds up the accepted reboot nothing is undone",
        hosts: hollow(2),
        usual: 105,
        limit: minutes(6),
        long: false,
        run: |stage| Box::pin(delay_inhibitor::run(stage)),
    },
    Scenario {
        name: "each_kind_of_point",
        expects: "daemon killed, power or answer lost at one request and D-Bus call of each kind: the same end",
        hosts: hollow(4),
        usual: 171,
        limit: minutes(12),
        long: false,
        run: |stage| Box::pin(sweep::each_kind(stage)),
    },
    Scenario {
        name: "faults",
        expects: "150 seeded faults on eight simulated machines break no promise, and all settles after them",
        hosts: hollow(0),
        usual: 279,
        limit: minutes(12),
        long: false,
        run: |stage| Box::pin(faults::run(stage, 150)),
    },
    Scenario {
        name: "drain_cases",
        expects: "each case of a drain, by name, with real controllers and budgets: what leaves, stays and is refused",
        hosts: hollow(0),
        usual: 185,
        limit: minutes(20),
        long: false,
        run: |stage| Box::pin(drain_cases::run(stage)),
    },
    Scenario {
        name: "drain_cases_long",
        expects: "cases of a drain that take minutes each: five minutes without the API",
        hosts: hollow(0),
        usual: 320,
        limit: minutes(12),
        long: true,
        run: |stage| Box::pin(drain_cases::run_long(stage)),
    },
    Scenario {
        name: "requests",
        expects: "a supervised reboot is told to its end; a command in the daemon's sandbox asks, and a kernel; one that is not live is told, and asks no more",
        hosts: hollow(1),
        usual: 99,
        limit: minutes(6),
        long: false,
        run: |stage| Box::pin(requests::run(stage)),
    },
    Scenario {
        name: "policy",
        expects: "the fleet's policy holds and opens; a typo in it, or in the host's file, starts nothing and keeps nobody away",
        hosts: hollow(1),
        usual: 84,
        limit: minutes(8),
        long: false,
        run: |stage| Box::pin(policy::run(stage)),
    },
    Scenario {
        name: "hooks",
        expects: "an administrator's units run at their moments, once each; one that fails or hangs does what is configured",
        hosts: hollow(2),
        usual: 156,
        limit: minutes(12),
        long: false,
        run: |stage| Box::pin(hooks::run(stage)),
    },
    Scenario {
        name: "lone_hosts",
        expects: "a person who is logged in, an unsynchronised clock and Livepatch hold; a webhook is told, and holds up nothing",
        hosts: hollow(4),
        usual: 110,
        limit: minutes(6),
        long: false,
        run: |stage| Box::pin(lone_hosts::run(stage)),
    },
    Scenario {
        name: "needrestart",
        expects: "a service that runs a library which dpkg has replaced asks, until it was restarted",
        hosts: hollow(1),
        usual: 89,
        limit: minutes(8),
        long: false,
        run: |stage| Box::pin(needrestart::run(stage)),
    },
    Scenario {
        name: "metrics",
        expects: "a real node_exporter serves them, promtool finds no fault, counts outlast a reboot, each alert fires once",
        hosts: hollow(1),
        usual: 30,
        limit: minutes(8),
        long: false,
        run: |stage| Box::pin(metrics::run(stage)),
    },
    Scenario {
        name: "signs",
        expects: "others see that a node waits and has its turn; the only node of a cluster reboots only where that is said",
        hosts: hollow(1),
        usual: 137,
        limit: minutes(8),
        long: false,
        run: |stage| Box::pin(signs::run(stage)),
    },
    Scenario {
        name: "interrupted",
        expects: "a host that is not up for long, has a pod that must finish first, or asks too soon or too often does not reboot",
        hosts: hollow(1),
        usual: 161,
        limit: minutes(6),
        long: false,
        run: |stage| Box::pin(interrupted::run(stage)),
    },
    Scenario {
        name: "beside_kured",
        expects: "a node with kured's pod claims nothing; it changes over and back by the commands of docs/kured.md",
        hosts: hollow(1),
        usual: 40,
        limit: minutes(6),
        long: false,
        run: |stage| Box::pin(kured::run(stage)),
    },
    Scenario {
        name: "shop",
        expects: "a rehearsal finds one fault of each kind in a made shop, each remedy helps, and false alarms stay silent",
        hosts: hollow(0),
        usual: 45,
        limit: minutes(8),
        long: false,
        run: |stage| Box::pin(shop::run(stage)),
    },
    Scenario {
        name: "alerts",
        expects: "alerts of a real Prometheus keep a node from its cordon, and so does one that does not answer",
        hosts: hollow(1),
        usual: 116,
        limit: minutes(6),
        long: false,
        run: |stage| Box::pin(checks::alerts(stage)),
    },
    Scenario {
        name: "after",
        expects: "a node keeps its slot after the uncordon until what [after] asks for is well",
        hosts: hollow(2),
        usual: 154,
        limit: minutes(10),
        long: false,
        run: |stage| Box::pin(checks::after(stage)),
    },
    Scenario {
        name: "three_hosts",
        expects: "three hosts with pods reboot once each, one after the other, and budgets are kept",
        hosts: hollow(3),
        usual: 90,
        limit: minutes(6),
        long: false,
        run: |stage| Box::pin(three_hosts::run(stage)),
    },
    Scenario {
        name: "other_nodes",
        expects: "nothing starts beside a node that is NotReady, unless so many may be; waiters list no nodes",
        hosts: hollow(3),
        usual: 229,
        limit: minutes(12),
        long: false,
        run: |stage| Box::pin(others::run(stage)),
    },
    Scenario {
        name: "other_control_plane",
        expects: "a control-plane node waits for the nodes and the etcd of the others",
        hosts: hollow(2),
        usual: 128,
        limit: minutes(8),
        long: false,
        run: |stage| Box::pin(others::control_plane(stage)),
    },
    Scenario {
        name: "daemonset_pods",
        expects: "a node whose DaemonSet pods are not ready after the reboot keeps its slot and says so",
        hosts: hollow(1),
        usual: 99,
        limit: minutes(6),
        long: false,
        run: |stage| Box::pin(after_reboot::daemon_sets(stage)),
    },
    Scenario {
        name: "missing_device",
        expects: "a node that comes back without a device keeps its slot until it is there again",
        hosts: hollow(1),
        usual: 60,
        limit: minutes(6),
        long: false,
        run: |stage| Box::pin(after_reboot::device(stage)),
    },
    Scenario {
        name: "never_comes_back",
        expects: "a host that stays down keeps its slot and stops the rollout until it is back",
        hosts: hollow(3),
        usual: 146,
        limit: minutes(6),
        long: false,
        run: |stage| Box::pin(never_comes_back::run(stage)),
    },
    Scenario {
        name: "pdb_allows_nothing",
        expects: "a drain that cannot end is undone, as a rehearsal has said, and the others get their turn",
        hosts: hollow(3),
        usual: 104,
        limit: minutes(6),
        long: false,
        run: |stage| Box::pin(pdb_allows_nothing::run(stage)),
    },
    Scenario {
        name: "restart_in_drain",
        expects: "a restart and a reinstallation in the middle of a drain change nothing",
        hosts: hollow(2),
        usual: 104,
        limit: minutes(6),
        long: false,
        run: |stage| Box::pin(restart_in_drain::run(stage)),
    },
    Scenario {
        name: "each_lost",
        expects: "every answer of a cycle gets lost once, or every request: the reboot happens all the same",
        hosts: hollow(2),
        usual: 345,
        limit: minutes(8),
        long: true,
        run: |stage| Box::pin(sweep::each_lost(stage)),
    },
    Scenario {
        name: "credentials",
        expects: "wrong or missing credentials, rights and servers are named and recovered from",
        hosts: hollow(1),
        usual: 83,
        limit: minutes(8),
        long: false,
        run: |stage| Box::pin(credentials::run(stage)),
    },
    Scenario {
        name: "package_manager",
        expects: "nothing begins while apt installs; the reboot leaves no half-installed package",
        hosts: hollow(2),
        usual: 96,
        limit: minutes(5),
        long: false,
        run: |stage| Box::pin(package_manager::run(stage)),
    },
    Scenario {
        name: "dpkg_after_stamp",
        expects: "a dpkg that begins just before the call of logind is still seen, and ends in peace",
        hosts: hollow(1),
        usual: 83,
        limit: minutes(5),
        long: false,
        run: |stage| Box::pin(package_manager::after_the_stamp(stage)),
    },
    Scenario {
        name: "inhibitor",
        expects: "an inhibitor taken in the middle of a drain is named and waited for",
        hosts: hollow(2),
        usual: 173,
        limit: minutes(5),
        long: false,
        run: |stage| Box::pin(inhibitor::run(stage)),
    },
    Scenario {
        name: "no_cluster",
        expects: "without configuration the service says so; a wrong one is refused; rebootctl check finds what is wrong; it can be removed",
        hosts: hollow(2),
        usual: 62,
        limit: minutes(5),
        long: false,
        run: |stage| Box::pin(no_cluster::run(stage)),
    },
    Scenario {
        name: "remove_unreachable",
        expects: "a removal without the API ends in time, leaves slot and cordon and says what to do",
        hosts: hollow(1),
        usual: 58,
        limit: minutes(5),
        long: false,
        run: |stage| Box::pin(removal::unreachable(stage)),
    },
    Scenario {
        name: "remove_in_drain",
        expects: "a removal in the middle of a drain steps back first",
        hosts: hollow(2),
        usual: 72,
        limit: minutes(5),
        long: false,
        run: |stage| Box::pin(removal::in_drain(stage)),
    },
    Scenario {
        name: "stays_up",
        expects: "a host that stays up although logind accepted is tried again, then given up in order",
        hosts: hollow(1),
        usual: 106,
        limit: minutes(5),
        long: false,
        run: |stage| Box::pin(stays_up::run(stage)),
    },
    Scenario {
        name: "reboot_refused",
        expects: "where logind refuses, nothing begins, or the next try comes through once it allows it",
        hosts: hollow(2),
        usual: 131,
        limit: minutes(6),
        long: false,
        run: |stage| Box::pin(stays_up::refused(stage)),
    },
    Scenario {
        name: "client_certificate",
        expects: "a client certificate works as a token does, and is read again when it is replaced",
        hosts: hollow(1),
        usual: 46,
        limit: minutes(6),
        long: false,
        run: |stage| Box::pin(configured::client_certificate(stage)),
    },
    Scenario {
        name: "somebody_reboots",
        expects: "a host that somebody reboots in the middle of its drain has had its reboot",
        hosts: hollow(1),
        usual: 58,
        limit: minutes(5),
        long: false,
        run: |stage| Box::pin(stays_up::somebody_reboots(stage)),
    },
    Scenario {
        name: "undone",
        expects: "a drain whose request, slot or cordon is taken away is undone, and nothing is left behind",
        hosts: hollow(3),
        usual: 167,
        limit: minutes(6),
        long: false,
        run: |stage| Box::pin(undone::run(stage)),
    },
    Scenario {
        name: "stopped_by_people",
        expects: "holds, a pause, a scheduled shutdown and a removal stop a node, undo its drain, and let it go on",
        hosts: hollow(2),
        usual: 200,
        limit: minutes(8),
        long: false,
        run: |stage| Box::pin(stopped::run(stage)),
    },
    Scenario {
        name: "canary",
        expects: "what is new runs on one node for a while before the others follow; if it does not come back they do not",
        hosts: hollow(3),
        usual: 200,
        limit: minutes(12),
        long: false,
        run: |stage| Box::pin(canary::run(stage)),
    },
    Scenario {
        name: "fleet_rules",
        expects: "slots as a share of the pool; nodes of one zone at a time; a node that is not back stops all pools",
        hosts: hollow(4),
        usual: 240,
        limit: minutes(12),
        long: false,
        run: |stage| Box::pin(fleet_rules::run(stage)),
    },
    Scenario {
        name: "windows",
        expects: "nothing starts outside its window or in a freeze, and the window's end undoes a drain",
        hosts: hollow(1),
        usual: 178,
        limit: minutes(8),
        long: false,
        run: |stage| Box::pin(windows::run(stage)),
    },
    Scenario {
        name: "observe_mode",
        expects: "a host that only observes says what it would do and writes nothing",
        hosts: hollow(1),
        usual: 45,
        limit: minutes(4),
        long: false,
        run: |stage| Box::pin(configured::observe_mode(stage)),
    },
    Scenario {
        name: "node_missing",
        expects: "a Node that does not exist, or a full disk, is named, and nothing is written; a late host name is noticed",
        hosts: hollow(1),
        usual: 60,
        limit: minutes(4),
        long: false,
        run: |stage| Box::pin(configured::node_missing(stage)),
    },
    Scenario {
        name: "admin_cordon_stays",
        expects: "a node that an administrator cordoned waits, or reboots and stays cordoned",
        hosts: hollow(1),
        usual: 43,
        limit: minutes(4),
        long: false,
        run: |stage| Box::pin(admin_cordon_stays::run(stage)),
    },
    Scenario {
        name: "rights",
        expects: "with a node's credential nothing is allowed but its own turn: each of over 140 acts is refused",
        hosts: hollow(1),
        usual: 90,
        limit: minutes(6),
        long: false,
        run: |stage| Box::pin(rights::run(stage)),
    },
    Scenario {
        name: "release",
        expects: "rebootctl release has a Ready holder step back; it and rebootctl free take a slot once confirmed",
        hosts: hollow(3),
        usual: 119,
        limit: minutes(7),
        long: false,
        run: |stage| Box::pin(release::run(stage)),
    },
    Scenario {
        name: "installs",
        expects: "kustomize and Helm bring what the manifests say, and an upgrade or a rollback frees no slot",
        hosts: hollow(0),
        usual: 15,
        limit: minutes(3),
        long: false,
        run: |stage| Box::pin(installs::run(stage)),
    },
    Scenario {
        name: "drain_zoo",
        expects: "of 720 pods of all kinds each is dealt with as by kubectl drain, or differs as docs/drain.md says",
        hosts: hollow(0),
        usual: 38,
        limit: minutes(4),
        long: false,
        run: |stage| Box::pin(drain_zoo::run(stage)),
    },
    Scenario {
        name: "reclaim",
        expects: "the slot of a host whose Node is gone is taken back after ten minutes",
        hosts: hollow(2),
        usual: 785,
        limit: minutes(25),
        long: true,
        run: |stage| Box::pin(reclaim::run(stage)),
    },
    Scenario {
        name: KEXEC,
        expects: "a newer kernel asks, is loaded by the hook and started by kexec, and is live: in a virtual machine",
        hosts: hollow(1),
        usual: 90,
        limit: minutes(20),
        long: true,
        run: |stage| Box::pin(kexec::run(stage)),
    },
    Scenario {
        name: "many_nodes",
        expects: "the list of 5,000 other nodes costs little memory and few requests",
        hosts: hollow(1),
        usual: 400,
        limit: minutes(20),
        long: true,
        run: |stage| Box::pin(others::many(stage)),
    },
    Scenario {
        name: "soft_reboot",
        expects: "a soft reboot proves nothing, undoes nothing and harms nothing in any phase",
        hosts: hollow(2),
        usual: 117,
        limit: minutes(7),
        long: true,
        run: |stage| Box::pin(soft_reboot::run(stage)),
    },
    Scenario {
        name: "slots_by_hand",
        expects: "a slot that is deleted, taken, freed or applied again in any phase leaves nothing behind",
        hosts: hollow(4),
        usual: 188,
        limit: minutes(15),
        long: true,
        run: |stage| Box::pin(by_hand::slots(stage)),
    },
    Scenario {
        name: "requests_by_hand",
        expects: "a request withdrawn, a reboot by hand or another pool in any phase leaves nothing behind",
        hosts: hollow(3),
        usual: 285,
        limit: minutes(15),
        long: true,
        run: |stage| Box::pin(by_hand::requests(stage)),
    },
    Scenario {
        name: "cut_off",
        expects: "the same for hosts whose packets vanish or whose connections are refused",
        hosts: hollow(4),
        usual: 284,
        limit: minutes(12),
        long: true,
        run: |stage| Box::pin(outage::cut_off(stage)),
    },
    Scenario {
        name: "two_kubelets",
        expects: "of two machines whose kubelets report to one Node one reboots, and neither undoes the other's steps",
        hosts: hollow(2),
        usual: 190,
        limit: minutes(8),
        long: true,
        run: |stage| Box::pin(node_object::two_kubelets(stage)),
    },
    Scenario {
        name: "restless",
        expects: "ten minutes of requests with daemons killed, power lost and servers silent in between",
        hosts: hollow(3),
        usual: 700,
        limit: minutes(25),
        long: true,
        run: |stage| Box::pin(restless::run(stage)),
    },
    Scenario {
        name: "every_point",
        expects: "the same at every request and D-Bus call of a cycle, each with all that can happen to it",
        hosts: hollow(4),
        usual: 3300,
        limit: minutes(240),
        long: true,
        run: |stage| Box::pin(sweep::every_point(stage)),
    },
    Scenario {
        name: "faults_long",
        expects: "the same with 1,000 faults",
        hosts: hollow(0),
        usual: 1200,
        limit: minutes(45),
        long: true,
        run: |stage| Box::pin(faults::run(stage, 1000)),
    },
];
