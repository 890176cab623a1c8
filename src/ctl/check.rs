//! `rebootctl check`: whether everything is right, on a node or in the whole cluster.

mod daemon;
mod facts;
mod finding;
mod fleet;
mod host;
mod inventory;
mod others;

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use self::facts::Facts;
use self::finding::Report;
use self::inventory::Inventory;
use super::kubeconfig::{Kubeconfig, runtime};
use crate::cli::ConfigDirectories;

/// Say whether everything is right: on this node, or in the whole cluster
///
/// Goes through each thing that has to be right, and prints a line for each: ok, warning, problem, or unknown where it
/// cannot be found out; with what was found and what mends it. It only reads. As root it finds out more. Exits with 1
/// if there is a problem.
#[derive(Debug, Args)]
#[command(mut_arg("path", |path| path.requires("fleet")), mut_arg("directories", |it| it.conflicts_with("fleet")))]
pub(super) struct Check {
    /// Look at the cluster instead of this node, with a person's kubeconfig
    #[arg(long)]
    fleet: bool,
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    kubeconfig: Kubeconfig,
    #[command(flatten)]
    config: ConfigDirectories,
}

/// What is checked on a node.
const NODE: [finding::Check<Facts>; 20] = [
    ("daemon", daemon::daemon),
    ("status", daemon::status),
    ("configuration", daemon::configuration),
    ("credential", daemon::credential),
    ("secrets", daemon::secrets),
    ("policies", daemon::policies),
    ("permission", daemon::permission),
    ("inhibitors", host::inhibitors),
    ("shutdown-delay", host::shutdown_delay),
    ("graceful-shutdown", host::graceful_shutdown),
    ("clock", host::clock),
    ("zones", host::zones),
    ("packages", host::packages),
    ("kernel", host::kernel),
    ("boot-space", host::room),
    ("sentinel", others::sentinel),
    ("unattended-upgrades", others::unattended_upgrades),
    ("cron", others::cron),
    ("timers", others::timers),
    ("kured", others::kured),
];

/// What is checked in the cluster.
const FLEET: [finding::Check<Inventory>; 12] = [
    ("cluster", fleet::cluster),
    ("agents", fleet::agents),
    ("slots", fleet::slots),
    ("pools", fleet::pools),
    ("control-plane", fleet::control_plane),
    ("holders", fleet::holders),
    ("pause", fleet::pause),
    ("policy", fleet::policy),
    ("policies", fleet::policies),
    ("token-pods", fleet::token_pods),
    ("kured", fleet::kured),
    ("upgrade-plans", fleet::upgrade_plans),
];

impl Check {
    pub(super) fn run(&self) -> Result<ExitCode> {
        let report = if self.fleet {
            let (mut api, runtime) = self.kubeconfig.connect()?;
            Report::new("fleet", &FLEET, &runtime.block_on(inventory::gather(&mut api)))
        } else {
            Report::new("node", &NODE, &facts::gather(&runtime()?, &self.config))
        };
        match self.json {
            true => println!("{}", serde_json::to_string_pretty(&report)?),
            false => report.lines().iter().for_each(|line| println!("{line}")),
        }
        Ok(report.exit_code())
    }
}

#[cfg(test)]
mod tests;
