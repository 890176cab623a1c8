//! `rebootctl fleet`: a person stops all nodes, and lets them go on.

use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};

use super::kubeconfig::Kubeconfig;
use crate::cli::parse_reason;
use crate::decide::Outcome;
use crate::host::identity;

/// Stop all nodes from starting a reboot, and let them go on
#[derive(Debug, Args)]
pub(super) struct Fleet {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Let no node start a reboot, and undo drains that have begun
    ///
    /// Nodes that are about to reboot, or on their way back, are not stopped. The pause is a Lease
    /// named "pause" beside the slots, and lasts until `resume`.
    Pause {
        /// The reason, for people who wonder
        #[arg(value_parser = parse_reason)]
        reason: String,
        #[command(flatten)]
        kubeconfig: Kubeconfig,
    },
    /// End the pause
    Resume {
        #[command(flatten)]
        kubeconfig: Kubeconfig,
    },
}

impl Fleet {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        match &self.command {
            Command::Pause { reason, kubeconfig } => pause(reason, kubeconfig),
            Command::Resume { kubeconfig } => resume(kubeconfig),
        }
    }
}

fn pause(reason: &str, kubeconfig: &Kubeconfig) -> anyhow::Result<ExitCode> {
    let (mut api, runtime) = kubeconfig.connect()?;
    match runtime.block_on(api.pause(&format!("{reason} ({})", identity::person()))) {
        Outcome::Answered => println!("The fleet is paused. To go on: rebootctl fleet resume"),
        Outcome::Refused { failure, .. } => bail!("the fleet is not paused: {}", failure.message),
        Outcome::Unanswered(failure) => {
            bail!("no answer, so the fleet may be paused or not; try again: {}", failure.message)
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn resume(kubeconfig: &Kubeconfig) -> anyhow::Result<ExitCode> {
    let (mut api, runtime) = kubeconfig.connect()?;
    match runtime.block_on(api.resume()).context("the fleet may still be paused")? {
        true => println!("The fleet goes on."),
        false => println!("The fleet was not paused."),
    }
    Ok(ExitCode::SUCCESS)
}
