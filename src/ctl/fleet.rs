//! `rebootctl fleet`: a person looks at all nodes, stops them, and lets them go on.

mod list;

use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};

use self::list::Wanted;
pub(super) use self::list::{BY_CALENDAR, EVENTS, holders, is_of_another_time, is_silent};
use super::kubeconfig::Kubeconfig;
use crate::cli::parse_reason;
use crate::cluster::ApiError;
use crate::decide::Outcome;
use crate::host::identity;

/// Show all nodes; stop them from starting a reboot, and let them go on
///
/// Those that matter most come first: a node that went down for its reboot and is not back, then those in
/// their turn, those that wait, those that a person holds, and those without rebootd. Reads Nodes and slots,
/// and nothing else; why exactly a node waits, rebootctl status on that node tells.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Fleet {
    #[command(subcommand)]
    command: Option<Command>,
    /// Only nodes and slots of this pool
    #[arg(long, value_name = "POOL")]
    pool: Option<String>,
    /// Look again every five seconds, until it is interrupted
    #[arg(long, conflicts_with = "json")]
    watch: bool,
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    kubeconfig: Kubeconfig,
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
            Some(Command::Pause { reason, kubeconfig }) => pause(reason, kubeconfig),
            Some(Command::Resume { kubeconfig }) => resume(kubeconfig),
            None => {
                let Fleet { pool, json, watch, kubeconfig, .. } = self;
                list::show(kubeconfig, &Wanted { pool: pool.as_deref(), json: *json, watch: *watch })
            }
        }
    }
}

fn pause(reason: &str, kubeconfig: &Kubeconfig) -> anyhow::Result<ExitCode> {
    let why = format!("{reason} ({})", identity::person());
    let (mut api, runtime) = kubeconfig.connect_or(&pause_by_kubectl(&why))?;
    let before = runtime.block_on(api.paused());
    match runtime.block_on(api.pause(&why)) {
        Outcome::Answered => {
            println!(
                "The fleet is paused. Nodes notice it before they claim, cordon and reboot, and while they drain within \
                 a minute. To go on: rebootctl fleet resume"
            );
            tell_before("Replaces an earlier pause", before);
        }
        Outcome::Refused { failure, .. } => bail!("the fleet is not paused: {}", failure.message),
        Outcome::Unanswered(failure) => {
            bail!("no answer, so the fleet may be paused or not; try again: {}", failure.message)
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn resume(kubeconfig: &Kubeconfig) -> anyhow::Result<ExitCode> {
    let (mut api, runtime) = kubeconfig.connect_or("  kubectl -n rebootd delete lease pause")?;
    let before = runtime.block_on(api.paused());
    match runtime.block_on(api.resume()).context("the fleet may still be paused")? {
        true => {
            println!("The fleet goes on.");
            tell_before("The pause was", before);
        }
        false => println!("The fleet was not paused."),
    }
    Ok(ExitCode::SUCCESS)
}

/// Whoever paused the fleet before may have had a reason that still holds. Not being allowed to read it is no reason
/// not to go on.
fn tell_before(label: &str, before: Result<Option<String>, ApiError>) {
    match before {
        Ok(before) => before.iter().for_each(|before| println!("{label}: {before}")),
        Err(error) => println!("Whether it was paused before is not known: {error}"),
    }
}

/// As rebootctl would: it also replaces an earlier pause.
fn pause_by_kubectl(why: &str) -> String {
    let pause = serde_json::json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": "pause", "namespace": "rebootd"},
        "spec": {"holderIdentity": why},
    });
    let pause = pause.to_string().replace('\'', r"'\''");
    format!(
        "  printf '%s' '{pause}' | kubectl apply --server-side --force-conflicts --field-manager=rebootctl -f -"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_for_kubectl_is_one_that_a_shell_takes() {
        let line = pause_by_kubectl("it's \"42\" (a@b)");
        assert!(line.contains(r#""holderIdentity":"it'\''s \"42\" (a@b)""#), "{line}");
    }
}
