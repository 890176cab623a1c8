//! `lab test`: what rebootd promises, tried on a real cluster of real hosts.
//!
//! Each [`Scenario`] has a lab of its own. [`runner`] starts them, each inside namespaces of its own;
//! [`stage`] is what a scenario acts upon, `verdict` what most of them ask at their end.

mod admin_cordon_stays;
mod configured;
mod credentials;
mod faults;
mod inhibitor;
mod kill_in_each_phase;
mod never_comes_back;
mod no_cluster;
mod package_manager;
mod pdb_allows_nothing;
mod remains;
mod removal;
mod restart_in_drain;
mod restless;
pub mod runner;
pub mod stage;
mod status;
mod stays_up;
mod three_hosts;
mod undone;
mod verdict;

use std::pin::Pin;
use std::time::Duration;

use anyhow::Result;

use stage::Stage;

/// What a scenario does, once its lab runs.
type Run = for<'stage> fn(&'stage Stage) -> Pin<Box<dyn Future<Output = Result<()>> + 'stage>>;

/// One story with its end.
pub struct Scenario {
    /// What `lab test NAME` calls it.
    pub name: &'static str,
    /// What is expected, in one line.
    pub expects: &'static str,
    /// How many hosts it needs.
    pub hosts: usize,
    /// How long it may take, the start of its lab included.
    pub limit: Duration,
    /// Only with `--long`, or by name.
    pub long: bool,
    run: Run,
}

const fn minutes(number: u64) -> Duration {
    Duration::from_secs(60 * number)
}

/// All of them, the longest first: so that two at a time end at about the same time.
pub const ALL: &[Scenario] = &[
    Scenario {
        name: "kill_in_each_phase",
        expects: "a daemon killed in any phase goes on where it was: nothing is lost, nothing done twice",
        hosts: 2,
        limit: minutes(10),
        long: false,
        run: |stage| Box::pin(kill_in_each_phase::run(stage)),
    },
    Scenario {
        name: "faults",
        expects: "150 seeded faults on eight simulated machines break no promise, and all settles after them",
        hosts: 0,
        limit: minutes(12),
        long: false,
        run: |stage| Box::pin(faults::run(stage, 150)),
    },
    Scenario {
        name: "three_hosts",
        expects: "three hosts with pods reboot once each, one after the other, and budgets are kept",
        hosts: 3,
        limit: minutes(6),
        long: false,
        run: |stage| Box::pin(three_hosts::run(stage)),
    },
    Scenario {
        name: "never_comes_back",
        expects: "a host that stays down keeps its slot and stops the rollout until it is back",
        hosts: 3,
        limit: minutes(6),
        long: false,
        run: |stage| Box::pin(never_comes_back::run(stage)),
    },
    Scenario {
        name: "pdb_allows_nothing",
        expects: "a drain that cannot end is undone, and the others get their turn",
        hosts: 3,
        limit: minutes(6),
        long: false,
        run: |stage| Box::pin(pdb_allows_nothing::run(stage)),
    },
    Scenario {
        name: "restart_in_drain",
        expects: "a restart and a reinstallation in the middle of a drain change nothing",
        hosts: 2,
        limit: minutes(6),
        long: false,
        run: |stage| Box::pin(restart_in_drain::run(stage)),
    },
    Scenario {
        name: "credentials",
        expects: "wrong or missing credentials, rights and servers are named and recovered from",
        hosts: 1,
        limit: minutes(8),
        long: false,
        run: |stage| Box::pin(credentials::run(stage)),
    },
    Scenario {
        name: "package_manager",
        expects: "nothing begins while apt installs; the reboot leaves no half-installed package",
        hosts: 2,
        limit: minutes(5),
        long: false,
        run: |stage| Box::pin(package_manager::run(stage)),
    },
    Scenario {
        name: "dpkg_after_stamp",
        expects: "a dpkg that begins just before the call of logind is still seen, and ends in peace",
        hosts: 1,
        limit: minutes(5),
        long: false,
        run: |stage| Box::pin(package_manager::after_the_stamp(stage)),
    },
    Scenario {
        name: "inhibitor",
        expects: "an inhibitor taken in the middle of a drain is named and waited for",
        hosts: 2,
        limit: minutes(5),
        long: false,
        run: |stage| Box::pin(inhibitor::run(stage)),
    },
    Scenario {
        name: "no_cluster",
        expects: "without configuration the service says so; a wrong one is refused; it can be removed",
        hosts: 2,
        limit: minutes(5),
        long: false,
        run: |stage| Box::pin(no_cluster::run(stage)),
    },
    Scenario {
        name: "remove_unreachable",
        expects: "a removal without the API ends in time, leaves slot and cordon and says what to do",
        hosts: 1,
        limit: minutes(5),
        long: false,
        run: |stage| Box::pin(removal::unreachable(stage)),
    },
    Scenario {
        name: "remove_in_drain",
        expects: "a removal in the middle of a drain steps back first",
        hosts: 2,
        limit: minutes(5),
        long: false,
        run: |stage| Box::pin(removal::in_drain(stage)),
    },
    Scenario {
        name: "stays_up",
        expects: "a host that stays up although logind accepted is tried again, then given up in order",
        hosts: 1,
        limit: minutes(5),
        long: false,
        run: |stage| Box::pin(stays_up::run(stage)),
    },
    Scenario {
        name: "reboot_refused",
        expects: "where logind refuses, nothing begins, or the next try comes through once it allows it",
        hosts: 2,
        limit: minutes(6),
        long: false,
        run: |stage| Box::pin(stays_up::refused(stage)),
    },
    Scenario {
        name: "client_certificate",
        expects: "a client certificate works as a token does, and is read anew when it is replaced",
        hosts: 1,
        limit: minutes(6),
        long: false,
        run: |stage| Box::pin(configured::client_certificate(stage)),
    },
    Scenario {
        name: "somebody_reboots",
        expects: "a host that somebody reboots in the middle of its drain has had its reboot",
        hosts: 1,
        limit: minutes(5),
        long: false,
        run: |stage| Box::pin(stays_up::somebody_reboots(stage)),
    },
    Scenario {
        name: "undone",
        expects: "a drain whose request, slot or cordon is taken away is undone, and nothing is left behind",
        hosts: 3,
        limit: minutes(6),
        long: false,
        run: |stage| Box::pin(undone::run(stage)),
    },
    Scenario {
        name: "observe_mode",
        expects: "a host that only observes says what it would do and writes nothing",
        hosts: 1,
        limit: minutes(4),
        long: false,
        run: |stage| Box::pin(configured::observe_mode(stage)),
    },
    Scenario {
        name: "node_missing",
        expects: "a Node that does not exist is named, with what to set, and nothing is written",
        hosts: 1,
        limit: minutes(4),
        long: false,
        run: |stage| Box::pin(configured::node_missing(stage)),
    },
    Scenario {
        name: "admin_cordon_stays",
        expects: "a node that an administrator cordoned reboots and stays cordoned",
        hosts: 1,
        limit: minutes(4),
        long: false,
        run: |stage| Box::pin(admin_cordon_stays::run(stage)),
    },
    Scenario {
        name: "restless",
        expects: "ten minutes of requests with daemons killed, power lost and servers silent in between",
        hosts: 3,
        limit: minutes(25),
        long: true,
        run: |stage| Box::pin(restless::run(stage)),
    },
    Scenario {
        name: "faults_long",
        expects: "the same with 1,000 faults",
        hosts: 0,
        limit: minutes(45),
        long: true,
        run: |stage| Box::pin(faults::run(stage, 1000)),
    },
];
