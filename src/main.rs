//! The daemon's command line: arguments, logs, exit codes.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use rebootd::agent::{Agent, Configuration, Daemon as DaemonEdge, Places, Reload};
use rebootd::cli::{ConfigDirectories, Daemon, DaemonCommand};
use rebootd::config::Files;
use rebootd::decide::settings::Settings;
use rebootd::decide::{Memory, World};
use rebootd::host::{clock, identity, memory};
use rebootd::report::{status, systemd, telemetry};
use tokio::signal::unix::{SignalKind, signal};

/// `EX_CONFIG` of sysexits(3): the unit does not start us again for it.
const BAD_CONFIGURATION: u8 = 78;
const KERNEL_BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

fn main() -> ExitCode {
    match Daemon::parse().command {
        DaemonCommand::Run { boot_id, config } => run(boot_id, config),
        DaemonCommand::CheckConfig { config } => match load(&config) {
            Ok(_) => {
                println!("ok");
                ExitCode::SUCCESS
            }
            Err(error) => bad_configuration(&error),
        },
        DaemonCommand::StepBack { timeout, config } => step_back(timeout, &config),
    }
}

fn run(boot_id: String, config: ConfigDirectories) -> ExitCode {
    telemetry::start();
    let state = |name: &str| place("STATE_DIRECTORY").map(|directory| directory.join(name));
    let kept = state("configuration.json");
    let (loaded, problem) = match load(&config) {
        Ok(loaded) => (loaded, None),
        // Whoever is on the way back finishes that; nothing else begins.
        Err(error) => match kept.as_deref().and_then(load_kept) {
            Some(loaded) => (loaded, Some(error)),
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
        systemd::ready();
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
        Ok(boot_id) => identity::plain_id(&boot_id),
        Err(error) => return exit(Err(error.into())),
    };
    let no_reload: Reload = Box::new(|| Err("not while stepping back".to_owned()));
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

/// What a person has to do where the node could not give back what it holds.
fn left_behind(node: &str) -> String {
    format!(
        "rebootd: could not make sure in time that node {node} holds nothing any more.\n\
         If it holds a slot or our cordon, it keeps them, so that no other node goes down meanwhile.\n\
         Once the node is well, see who holds which slot, free the node's, and uncordon it:\n\
         \n  kubectl -n rebootd get leases\
         \n  kubectl uncordon {node}\
         \n  kubectl annotate node {node} rebootd.io/cordon-\
         \n  kubectl -n rebootd patch lease SLOT --type merge -p '{{\"spec\":{{\"holderIdentity\":null}}}}'\n"
    )
}

/// Makes an agent and runs it on a single thread.
fn start<F: Future<Output = anyhow::Result<ExitCode>>>(
    configuration: Configuration,
    problem: Option<String>,
    places: Places,
    boot_id: String,
    run: impl FnOnce(Agent<DaemonEdge>) -> F,
) -> anyhow::Result<ExitCode> {
    // Fails only where it was done before.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let remembered = places.memory.as_deref().map(remembered).unwrap_or_default();
    let mut world = World::new(clock::now(), clock::random()?, boot_id, identity::machine_id()?, remembered);
    world.host.configuration = problem;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let code =
        runtime.block_on(async { run(Agent::new(world, DaemonEdge::new(configuration, places)?)).await });
    // A name that is still being resolved must not hold up our end.
    runtime.shutdown_background();
    code
}

/// A memory that cannot be read costs politeness, never safety: it is reported and begun anew.
fn remembered(path: &Path) -> Memory {
    memory::load(path).unwrap_or_else(|error| {
        tracing::warn!(%error, path = %path.display(), "cannot read what was remembered");
        Memory::default()
    })
}

fn load(config: &ConfigDirectories) -> Result<(Files, Settings), String> {
    let directories: Vec<&Path> = config.directories.iter().map(PathBuf::as_path).collect();
    complete(Files::read(&directories).map_err(|error| error.to_string())?)
}

/// The configuration that was understood last, if by it there may be something to finish.
fn load_kept(path: &Path) -> Option<(Files, Settings)> {
    let kept = complete(Files::load(path).ok()?).ok()?;
    kept.1.api.is_some().then_some(kept)
}

fn complete(files: Files) -> Result<(Files, Settings), String> {
    let host_name = identity::host_name().map_err(|error| format!("cannot read the host's name: {error}"))?;
    let settings = files.settings(&host_name).map_err(|error| error.to_string())?;
    Ok((files, settings))
}

fn bad_configuration(error: &str) -> ExitCode {
    // The status stays after the end: `systemctl status` shows it.
    systemd::status(&format!("bad configuration: {error}"));
    eprintln!("{error}");
    ExitCode::from(BAD_CONFIGURATION)
}

fn exit(result: anyhow::Result<ExitCode>) -> ExitCode {
    result.unwrap_or_else(|error| {
        eprintln!("rebootd: {error:#}");
        ExitCode::FAILURE
    })
}

/// The first directory of a variable that systemd sets for `StateDirectory=` and its like.
fn place(variable: &str) -> Option<PathBuf> {
    let value = std::env::var_os(variable)?;
    std::env::split_paths(&value).next()
}
