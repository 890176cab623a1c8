//! `rebootd`: the daemon's command line, logs and exit codes.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

use crate::agent::{Agent, Configuration, DaemonEdge, Places, Reload};
use crate::cli::ConfigDirectories;
use crate::config::{ConfigError, Files};
use crate::decide::settings::Settings;
use crate::decide::{Memory, World};
use crate::host::{clock, identity, memory};
use crate::notation::{parse_time_span, plain_id};
use crate::report::{status, systemd, telemetry};

/// `EX_CONFIG` of sysexits(3): the unit does not start us again for it.
const BAD_CONFIGURATION: u8 = 78;
const KERNEL_BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Coordinated reboots of this Kubernetes node.
#[derive(Debug, Clone, PartialEq, Parser)]
#[command(
    name = "rebootd",
    version,
    long_about = "\
Coordinated reboots of this Kubernetes node.

When this host asks for a reboot (/run/reboot-required), rebootd takes its turn in the cluster, \
cordons and drains the node, reboots through systemd-logind, proves that the host came back \
healthy, uncordons, and hands the turn on. It runs as the service rebootd.service.",
    after_help = "\
Configuration:  /etc/rebootd/config.toml and config.d/*.toml beside it, see rebootd.toml(5)
What it does:   rebootctl status, or systemctl status rebootd
Log:            journalctl -u rebootd
Manual:         man rebootd"
)]
struct Daemon {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Clone, PartialEq, Subcommand)]
enum Command {
    /// Run the daemon; systemd does this
    Run {
        /// The id of this boot, as systemd writes it for %b
        #[arg(long, value_name = "ID", value_parser = parse_boot_id)]
        boot_id: String,
        #[command(flatten)]
        config: ConfigDirectories,
    },
    /// Say whether the configuration is valid; exits with 78 if it is not
    CheckConfig {
        #[command(flatten)]
        config: ConfigDirectories,
    },
    /// Uncordon this node and give its slot back, if that is safe
    ///
    /// Meant for the removal of the package, while the daemon is stopped. If it is not
    /// safe or not possible, prints what a person has to do instead.
    StepBack {
        /// How long this may take, for example "25s"
        #[arg(long, value_name = "TIME", default_value = "25s", value_parser = parse_time_span)]
        timeout: Duration,
        #[command(flatten)]
        config: ConfigDirectories,
    },
}

/// Does what the command line says.
pub fn run() -> ExitCode {
    match Daemon::parse().command {
        Command::Run { boot_id, config } => serve(boot_id, config),
        Command::CheckConfig { config } => match load(&config) {
            Ok(_) => {
                println!("ok");
                ExitCode::SUCCESS
            }
            Err(error) => bad_configuration(&error),
        },
        Command::StepBack { timeout, config } => step_back(timeout, &config),
    }
}

fn serve(boot_id: String, config: ConfigDirectories) -> ExitCode {
    telemetry::start();
    let state = |name: &str| place("STATE_DIRECTORY").map(|directory| directory.join(name));
    let kept = state("configuration.json");
    let (loaded, problem) = match load(&config) {
        Ok(loaded) => (loaded, None),
        // A node on its way back may finish; nothing else begins.
        Err(error) => match kept.as_deref().and_then(load_kept) {
            Some(loaded) => (loaded, Some(error.summary())),
            None => return bad_configuration(&error),
        },
    };
    let places = Places { memory: state("state.json"), status: Some(PathBuf::from(status::PATH)) };
    let reload: Reload = Box::new(move || load(&config));
    let configuration = Configuration::new(loaded, reload, kept);
    exit(start(configuration, problem, places, boot_id, |agent| async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let stop = async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        agent.run(stop).await;
        systemd::stopping();
        Ok(ExitCode::SUCCESS)
    }))
}

fn step_back(timeout: Duration, config: &ConfigDirectories) -> ExitCode {
    let (files, settings) = match load(config) {
        Ok(loaded) => loaded,
        Err(error) => return bad_configuration(&error),
    };
    if settings.api.is_none() {
        return ExitCode::SUCCESS;
    }
    let node = settings.node_name.clone();
    let boot_id = match std::fs::read_to_string(KERNEL_BOOT_ID) {
        Ok(boot_id) => plain_id(&boot_id),
        Err(error) => return exit(Err(error.into())),
    };
    let no_reload: Reload = Box::new(|| Err(ConfigError::nowhere("not while stepping back")));
    let configuration = Configuration::new((files, settings), no_reload, None);
    exit(start(configuration, None, Places::default(), boot_id, |agent| async move {
        match tokio::time::timeout(timeout, agent.step_back()).await {
            Ok(()) => Ok(ExitCode::SUCCESS),
            Err(_elapsed) => {
                eprint!("{}", left_behind(&node));
                Ok(ExitCode::FAILURE)
            }
        }
    }))
}

/// What a person has to do if the node could not give back what it holds.
fn left_behind(node: &str) -> String {
    format!(
        "rebootd: could not make sure in time that node {node} holds neither a slot nor our cordon.\n\
         If it holds a slot or our cordon, it keeps them, so that no other node goes down meanwhile.\n\
         Once the node is well, uncordon it, see which slot it holds, and free that from another host with rebootd:\n\
         \n  kubectl uncordon {node}\
         \n  kubectl annotate node {node} rebootd.io/cordon-\
         \n  kubectl -n rebootd get leases\
         \n  rebootctl free SLOT\n"
    )
}

/// Creates an agent and runs it on a single thread.
fn start<F: Future<Output = anyhow::Result<ExitCode>>>(
    configuration: Configuration,
    problem: Option<String>,
    places: Places,
    boot_id: String,
    run: impl FnOnce(Agent<DaemonEdge>) -> F,
) -> anyhow::Result<ExitCode> {
    // Fails only if it was done before.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let remembered = places.memory.as_deref().map(remembered).unwrap_or_default();
    let mut world = World::new(clock::now(), clock::random()?, boot_id, identity::machine_id()?, remembered);
    world.host.configuration = problem;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let code =
        runtime.block_on(async { run(Agent::new(world, DaemonEdge::new(configuration, places)?)).await });
    // A name that is still being resolved must not delay our end.
    runtime.shutdown_background();
    code
}

/// A memory that cannot be read is reported, and a new one begun. Losing it may make the daemon less polite, never
/// less safe.
fn remembered(path: &Path) -> Memory {
    memory::load(path).unwrap_or_else(|error| {
        tracing::warn!(%error, path = %path.display(), "cannot read what was remembered");
        Memory::default()
    })
}

fn load(config: &ConfigDirectories) -> Result<(Files, Settings), ConfigError> {
    let directories: Vec<&Path> = config.directories.iter().map(PathBuf::as_path).collect();
    complete(Files::read(&directories)?)
}

/// The last configuration that was understood, if it can reach a cluster, where there may be something to finish.
fn load_kept(path: &Path) -> Option<(Files, Settings)> {
    let kept = complete(Files::load(path).ok()?).ok()?;
    kept.1.api.is_some().then_some(kept)
}

fn complete(files: Files) -> Result<(Files, Settings), ConfigError> {
    let nameless = |error| ConfigError::nowhere(format!("cannot read the host's name: {error}"));
    let host_name = identity::host_name().map_err(nameless)?;
    let settings = files.settings(&host_name)?;
    Ok((files, settings))
}

fn bad_configuration(error: &ConfigError) -> ExitCode {
    // The status stays after the end: `systemctl status` shows it.
    systemd::status(&format!("bad configuration: {}", error.summary()));
    eprintln!("{error}");
    ExitCode::from(BAD_CONFIGURATION)
}

fn exit(result: anyhow::Result<ExitCode>) -> ExitCode {
    result.unwrap_or_else(|error| {
        eprintln!("rebootd: {error:#}");
        ExitCode::FAILURE
    })
}

/// The first directory in a variable that systemd sets for `StateDirectory=` and the like.
fn place(variable: &str) -> Option<PathBuf> {
    let value = std::env::var_os(variable)?;
    std::env::split_paths(&value).next()
}

/// 32 lower-case hexadecimal digits.
fn parse_boot_id(text: &str) -> Result<String, String> {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if text.len() == 32 && text.bytes().all(is_digit) {
        return Ok(text.to_owned());
    }
    Err("expected 32 hexadecimal digits in lower case".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::cli;
    use crate::config::DEFAULT_DIRECTORIES;

    fn daemon(arguments: &[&str]) -> Result<Command, String> {
        let arguments = ["rebootd"].iter().chain(arguments);
        Daemon::try_parse_from(arguments).map(|daemon| daemon.command).map_err(|error| error.to_string())
    }

    fn default_directories() -> ConfigDirectories {
        ConfigDirectories { directories: DEFAULT_DIRECTORIES.map(PathBuf::from).to_vec() }
    }

    #[test]
    fn manual_and_completions_know_every_word() {
        let manual = include_str!("../packaging/usr/share/man/man8/rebootd.8");
        cli::check_documented(Daemon::command(), manual);
    }

    #[test]
    fn run_takes_a_boot_id() {
        let id = "0123456789abcdef0123456789abcdef";
        assert_eq!(
            daemon(&["run", "--boot-id", id]),
            Ok(Command::Run { boot_id: id.to_owned(), config: default_directories() })
        );
        assert!(daemon(&["run"]).is_err());
        for id in ["", "0123456789ABCDEF0123456789ABCDEF", "01234567-89ab-cdef-0123-456789abcdef"] {
            assert!(daemon(&["run", "--boot-id", id]).unwrap_err().contains("expected 32"), "{id:?}");
        }
    }

    #[test]
    fn config_directories_replace_the_default_and_must_be_there() {
        assert_eq!(
            daemon(&["check-config", "--config-dir", "/", "--config-dir", "/tmp"]),
            Ok(Command::CheckConfig {
                config: ConfigDirectories { directories: vec!["/".into(), "/tmp".into()] }
            })
        );
        assert!(
            daemon(&["check-config", "--config-dir", "/no/such"]).unwrap_err().contains("no such directory")
        );
    }

    #[test]
    fn step_back_takes_a_time_span() {
        let timeout = Duration::from_secs(25);
        let expected = Command::StepBack { timeout, config: default_directories() };
        assert_eq!(daemon(&["step-back"]).as_ref(), Ok(&expected));
        assert_eq!(daemon(&["step-back", "--timeout", "25s"]), Ok(expected));
        assert!(daemon(&["step-back", "--timeout", "soon"]).unwrap_err().contains("expected a number"));
    }
}
