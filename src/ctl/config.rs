//! `rebootctl config`: the configuration of this node with its origins, and mistakes in configuration files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, anyhow};
use clap::{Args, Subcommand};

use super::kubeconfig::runtime;
use crate::cli::ConfigDirectories;
use crate::cluster::Api;
use crate::config::{Effective, Files, FleetPolicy, check_file, effective};
use crate::host::{credential, identity};

/// The person who asks for the configuration sits there and waits.
const CLUSTER_TIMEOUT: Duration = Duration::from_secs(10);

/// Show the configuration of this node, each value with its origin
///
/// The files of this host, and over them the fleet's policy in the cluster, for which it needs the
/// host's credential: run it as root. `config check` checks files.
#[derive(Debug, Args)]
pub(super) struct Config {
    #[command(subcommand)]
    command: Option<Command>,
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigDirectories,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Say what is wrong with configuration files and policies; exits with 1 if something is
    ///
    /// Without files, with those of this host. A file may be a host's configuration, the text of a
    /// policy, or a manifest (.yaml) with the ConfigMap "policy". Asks neither host nor cluster.
    Check {
        /// The files
        #[arg(value_name = "FILE")]
        files: Vec<PathBuf>,
    },
}

impl Config {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        match &self.command {
            Some(Command::Check { files }) => check(files, &self.config),
            None => self.print(),
        }
    }

    fn print(&self) -> anyhow::Result<ExitCode> {
        let files = read_files(&self.config)?;
        let policy = policy_in_cluster(&files)?;
        let values = effective(&files, policy.fleet.as_ref(), &policy.labels)?;
        if self.json {
            println!("{}", serde_json::to_string_pretty(&values)?);
            return Ok(ExitCode::SUCCESS);
        }
        let text = |value: &Effective| value.value.as_ref().map_or("-".to_owned(), ToString::to_string);
        let width = values.iter().map(|value| value.key.len()).max().unwrap_or_default();
        for value in &values {
            let origin = value.place.as_deref().unwrap_or(value.origin);
            println!("{:<width$}  {}  # {origin}", value.key, text(value));
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn check(files: &[PathBuf], config: &ConfigDirectories) -> anyhow::Result<ExitCode> {
    let mut problems = Vec::new();
    if files.is_empty() {
        problems.extend(read_files(config)?.check().err().map(|error| error.to_string()));
    }
    problems.extend(files.iter().filter_map(|path| check_file(path).err()).map(|error| error.to_string()));
    problems.iter().for_each(|problem| eprintln!("{problem}"));
    if problems.is_empty() {
        println!("ok");
        return Ok(ExitCode::SUCCESS);
    }
    Ok(ExitCode::FAILURE)
}

pub(super) fn read_files(config: &ConfigDirectories) -> anyhow::Result<Files> {
    let directories: Vec<&Path> = config.directories.iter().map(PathBuf::as_path).collect();
    Files::read(&directories).map_err(|error| {
        let text = error.to_string();
        // Everybody may read the package's file, but perhaps not an administrator's.
        let hint = if text.contains("Permission denied") { "\ntry it with sudo" } else { "" };
        anyhow!("{text}{hint}")
    })
}

pub(super) type Labels = BTreeMap<String, String>;

/// What the cluster says about the configuration of this node.
#[derive(Default)]
pub(super) struct InCluster {
    pub(super) fleet: Option<FleetPolicy>,
    pub(super) labels: Labels,
}

/// The fleet's policy, for this node. If it cannot be read, that is reported beside what is known.
pub(super) fn policy_in_cluster(files: &Files) -> anyhow::Result<InCluster> {
    match ask_cluster(files) {
        Ok((data, labels)) => {
            let fleet = data.as_ref().map(FleetPolicy::from_config_map).transpose();
            let fleet = fleet.context("the fleet's policy is not understood, so nothing starts")?;
            Ok(InCluster { fleet, labels })
        }
        Err(error) => {
            eprintln!("rebootctl: without the fleet's policy, which cannot be read: {error:#}");
            Ok(InCluster::default())
        }
    }
}

/// With the credential that the daemon has got for itself.
fn with_own_credential() -> anyhow::Result<Api> {
    let directory = Path::new(credential::DIRECTORY);
    let kept = credential::load(directory).context("this host's credential: run this as root")?;
    let kept = kept.context("this host has no credential yet (rebootctl status), or run this as root")?;
    Ok(Api::new(kept.access(directory), kept.node))
}

/// Uses this host's credential to ask for the policy's data and the Node's labels.
pub(super) fn ask_cluster(files: &Files) -> anyhow::Result<(Option<Labels>, Labels)> {
    let settings = files.settings(&identity::host_name()?)?;
    let mut api = match settings.api {
        Some(access) => Api::new(access, settings.node_name),
        None => with_own_credential()?,
    };
    runtime()?.block_on(async {
        let read = async { anyhow::Ok((api.policy().await?, api.node().await?)) };
        let (data, node) =
            tokio::time::timeout(CLUSTER_TIMEOUT, read).await.context("no answer in time")??;
        Ok((data, node.map(|node| node.labels).unwrap_or_default()))
    })
}
