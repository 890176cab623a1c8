//! `rebootd`: the daemon's command line, logs and exit codes.

mod gather;
mod readable;
mod serve_metrics;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

use crate::agent::{Agent, Configuration, DaemonEdge, Places, Reload};
use crate::cli::ConfigDirectories;
use crate::config::{ConfigError, Files};
use crate::decide::settings::Settings;
use crate::decide::{Decision, Memory, Next, World, span};
use crate::host::{clock, credential, identity, memory};
use crate::notation::{parse_time_span, plain_id};
use crate::report::status::{self, Status};
use crate::report::{kept, metrics};
use crate::report::{systemd, telemetry};

/// `EX_CONFIG` of sysexits(3): the unit does not start us again for it.
const BAD_CONFIGURATION: u8 = 78;
/// As clap ends for a command line that is not understood.
const BAD_USAGE: u8 = 2;
/// How often to say that giving back takes time.
const PROGRESS: Duration = Duration::from_secs(5);
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
    /// Say whether the configuration of this host is valid; exits with 78 if it is not
    ///
    /// Warns of files that it names and that the daemon cannot read: run it as root. To check a file that
    /// is not in place yet: rebootctl config check FILE
    CheckConfig {
        #[arg(hide = true)]
        files: Vec<PathBuf>,
        #[command(flatten)]
        config: ConfigDirectories,
    },
    /// As root, gather what this host offers towards a credential; rebootd-credential.service does this
    #[command(hide = true)]
    GatherCredential {
        /// The file to write
        into: PathBuf,
    },
    /// Answer one request for the metrics, from standard input; rebootd-metrics@.service does this
    #[command(hide = true)]
    ServeMetrics,
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
        Command::CheckConfig { files, config } => check_config(&files, &config),
        Command::GatherCredential { into } => exit(gather::gather(&into).map(|()| ExitCode::SUCCESS)),
        Command::ServeMetrics => {
            let served = serve_metrics::serve(std::io::stdin().lock(), std::io::stdout().lock());
            exit(served.map(|()| ExitCode::SUCCESS).map_err(anyhow::Error::from))
        }
        Command::StepBack { timeout, config } => step_back(timeout, &config),
    }
}

fn check_config(files: &[PathBuf], config: &ConfigDirectories) -> ExitCode {
    if let Some(file) = files.first() {
        let file = file.display();
        eprintln!(
            "rebootd: check-config checks the files of this host in their places (--config-dir DIR for other places).\n\
             To check one file: rebootctl config check {file}"
        );
        return ExitCode::from(BAD_USAGE);
    }
    match load(config) {
        Ok((_, settings)) => {
            let warnings = missing(&settings).into_iter().chain(readable::warnings(&settings));
            warnings.for_each(|warning| eprintln!("warning: {warning}"));
            println!("ok");
            ExitCode::SUCCESS
        }
        Err(error) => bad_configuration(&error),
    }
}

/// Why a node with a valid configuration is never rebooted all the same.
fn missing(settings: &Settings) -> Vec<String> {
    let none = "without `window` in [policy], here or in the fleet's policy, nothing is ever rebooted";
    let window = settings.policy.windows.is_none().then(|| none.to_owned());
    let bound = settings.credential_node.as_ref().filter(|bound| **bound != settings.node_name);
    let other = bound.map(|bound| {
        format!(
            "`name` in [node] says {}, but the credential is bound to the Node {bound}: nothing is read or written",
            settings.node_name
        )
    });
    window.into_iter().chain(other).collect()
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
    let places = Places {
        memory: state("state.json"),
        status: Some(PathBuf::from(status::PATH)),
        reboots: Some(PathBuf::from(kept::PATH)),
        bus: true,
        credential: place("STATE_DIRECTORY"),
        metrics: Some(PathBuf::from(metrics::PATH)),
        counts: state("counts.json"),
    };
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
    if settings.api.is_none() && matches!(credential::load(Path::new(credential::DIRECTORY)), Ok(None)) {
        return ExitCode::SUCCESS;
    }
    let boot_id = match std::fs::read_to_string(KERNEL_BOOT_ID) {
        Ok(boot_id) => plain_id(&boot_id),
        Err(error) => return exit(Err(error.into())),
    };
    let no_reload: Reload = Box::new(|| Err(ConfigError::nowhere("not while stepping back")));
    let configuration = Configuration::new((files, settings), no_reload, None);
    eprintln!("rebootd: this node gives back what it holds; this takes at most {}", span(timeout));
    let places = Places { credential: Some(credential::DIRECTORY.into()), ..Places::default() };
    exit(start(configuration, None, places, boot_id, |agent| async move {
        let last = RefCell::new(None::<(String, Status)>);
        // As its credential or its files name it.
        let node = RefCell::new("NODE".to_owned());
        let added = RefCell::new(BTreeSet::new());
        let show = |world: &World, settings: &Settings, decision: &Decision| {
            node.replace(settings.node_name.clone());
            // What is about to be read is not known yet.
            if matches!(decision.next, Next::Read(_)) {
                return;
            }
            let status = Status::new(world, settings, decision);
            let line = match &decision.next {
                Next::Act(effect) => format!("{}: {effect}", status.phase),
                _ => status.line.clone(),
            };
            if last.borrow().as_ref().is_none_or(|(told, _)| *told != line) {
                eprintln!("rebootd: {line}");
            }
            last.replace(Some((line, status)));
            if let Some(Some(node)) = world.cluster.node.last() {
                added.replace(node.added.clone());
            }
        };
        tokio::select! {
            () = agent.step_back(show) => Ok(ExitCode::SUCCESS),
            () = count_down(timeout) => {
                let last = last.borrow();
                eprint!("{}", left_behind(&node.borrow(), last.as_ref().map(|(_, status)| status), &added.borrow()));
                Ok(ExitCode::FAILURE)
            }
        }
    }))
}

/// Somebody sits there and waits.
async fn count_down(mut left: Duration) {
    while !left.is_zero() {
        let step = left.min(PROGRESS);
        tokio::time::sleep(step).await;
        left -= step;
        if !left.is_zero() {
            eprintln!("rebootd: not done yet; {} left", span(left));
        }
    }
}

/// What a person has to do if the node could not give back what it holds; `last` is what was last known of it, and
/// `added` what was added to its Node, as in `NodeView::added`.
fn left_behind(node: &str, last: Option<&Status>, added: &BTreeSet<String>) -> String {
    let (line, slots) = match last {
        Some(last) => (last.line.as_str(), last.slots.join(" and ")),
        None => ("nothing could be read", String::new()),
    };
    let (holds, free) = match slots.as_str() {
        "" => ("Whether it holds a slot is not known.".to_owned(), "SLOT".to_owned()),
        slots => (format!("It holds {slots}."), slots.replace(" and ", "; rebootctl free ")),
    };
    // Of a name that anybody may have written nothing goes into a line that a person pastes into a shell.
    let is_plain = |name: &str| {
        name.starts_with(|first: char| first.is_ascii_alphanumeric())
            && name.chars().all(|it| it.is_ascii_alphanumeric() || "._/-".contains(it))
    };
    let names = |kind: &str| -> String {
        let names = added
            .iter()
            .filter_map(|it| it.split_once(':'))
            .filter(|(it, name)| *it == kind && is_plain(name));
        names.map(|(_, name)| format!(" {name}-")).collect()
    };
    let (labels, annotations) = (names("label"), names("annotation"));
    format!(
        "rebootd: node {node} could not give back in time what it holds: {line}\n\
         {holds} What it holds it keeps, so that no other node goes down meanwhile.\n\
         Once the node is well, run this where there is kubectl, and rebootctl (on any other host with rebootd):\n\
         \n  kubectl uncordon {node}\
         \n  kubectl annotate node {node} rebootd.io/cordon- rebootd.io/added- rebootd.io/nonce-{annotations}\
         \n  kubectl label node {node} rebootd.io/waiting- rebootd.io/pool-{labels}\
         \n  kubectl taint node {node} rebootd.io/waiting-   # only if `waiting_taint` was on: it fails where there is no such taint\
         \n  kubectl -n rebootd get leases\
         \n  rebootctl free {free}\n"
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
    let remembered = match &places.memory {
        Some(path) => memory::recall(path),
        // Who only steps back has no turn of its own; but the daemon before it may have seen the node well for long.
        None => Memory {
            well: memory::load(&Path::new(credential::DIRECTORY).join("state.json")).unwrap_or_default().well,
            ..Memory::default()
        },
    };
    let machine_id = identity::machine_id(Path::new(identity::MACHINE_ID)).map_err(anyhow::Error::msg)?;
    let mut world = World::new(clock::now(), clock::random()?, boot_id, machine_id, remembered);
    world.host.configuration = problem;
    world.host.machine_id_is_transient = identity::machine_id_is_transient();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let code =
        runtime.block_on(async { run(Agent::new(world, DaemonEdge::new(configuration, places)?)).await });
    // A name that is still being resolved must not delay our end.
    runtime.shutdown_background();
    code
}

fn load(config: &ConfigDirectories) -> Result<(Files, Settings), ConfigError> {
    let directories: Vec<&Path> = config.directories.iter().map(PathBuf::as_path).collect();
    complete(Files::read(&directories)?)
}

/// The last configuration that was understood, if it can reach a cluster, where there may be something to finish.
fn load_kept(path: &Path) -> Option<(Files, Settings)> {
    let kept = complete(Files::load(path).ok()?).ok()?;
    let has_own = || path.parent().is_some_and(|it| matches!(credential::load(it), Ok(Some(_))));
    (kept.1.api.is_some() || has_own()).then_some(kept)
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
                files: vec![],
                config: ConfigDirectories { directories: vec!["/".into(), "/tmp".into()] }
            })
        );
        assert!(
            daemon(&["check-config", "--config-dir", "/no/such"]).unwrap_err().contains("no such directory")
        );
    }

    #[test]
    fn what_is_left_behind_is_named() {
        let told = left_behind("n1", None, &BTreeSet::new());
        assert!(told.contains("nothing could be read") && told.contains("rebootctl free SLOT\n"), "{told}");
        let status = Status {
            phase: "returning".into(),
            line: "returning: the Node is not Ready".into(),
            slots: vec!["worker-1".into(), "worker-2".into()],
            ..status::example()
        };
        let added = ["annotation:a/keep", "label:b/leave", "label:-l", "label:$(reboot)"].map(str::to_owned);
        let told = left_behind("n1", Some(&status), &added.into());
        for words in [
            "in time what it holds: returning: the Node is not Ready\n",
            "It holds worker-1 and worker-2.",
            "rebootd.io/nonce- a/keep-\n",
            "kubectl label node n1 rebootd.io/waiting- rebootd.io/pool- b/leave-\n",
            "rebootctl free worker-1; rebootctl free worker-2\n",
        ] {
            assert!(told.contains(words), "{words:?} is not in {told}");
        }
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
