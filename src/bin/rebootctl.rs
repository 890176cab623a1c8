//! The control program's command line.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Parser;
use rebootd::access::ApiAccess;
use rebootd::cli::{ConfigCommand, Control, ControlCommand, FleetCommand};
use rebootd::cluster::Api;
use rebootd::config::{Effective, Files, FleetPolicy, check_file, effective, read_persons_kubeconfig, zones};
use rebootd::decide::Outcome;
use rebootd::decide::settings::HOLD;
use rebootd::host::clock::now;
use rebootd::host::{hold, identity};
use rebootd::notation::Calendar;
use rebootd::release::{Ending, Release};
use rebootd::report::status::{PATH, Status};
use rebootd::report::windows::{Outlook, timestamp};
use tokio::runtime::Runtime;

/// Where kubeadm leaves the administrator's kubeconfig.
const ADMIN_KUBECONFIG: &str = "/etc/kubernetes/admin.conf";
/// Somebody has to confirm, and nobody is there.
const NEEDS_CONFIRMATION: u8 = 2;
/// Whoever asks for the configuration sits there and waits.
const CLUSTER_TIMEOUT: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    let result = match Control::parse().command {
        ControlCommand::Status { json } => print_status(json).map(|()| ExitCode::SUCCESS),
        ControlCommand::Windows { json, calendar, base_time, iterations, config } => {
            let base = base_time.unwrap_or_else(|| Duration::from_secs(now().wall.as_secs()));
            match calendar {
                Some(expression) => print_starts(&expression, base, iterations),
                None => print_windows(&config.directories, base, iterations, json),
            }
            .map(|()| ExitCode::SUCCESS)
        }
        ControlCommand::Config { command: Some(ConfigCommand::Check { files }), config, .. } => {
            check(&files, &config.directories)
        }
        ControlCommand::Config { command: None, json, config } => {
            print_config(&config.directories, json).map(|()| ExitCode::SUCCESS)
        }
        ControlCommand::Hold { reason } => {
            hold(&reason).with_context(not_changed).map(|()| ExitCode::SUCCESS)
        }
        ControlCommand::Unhold => unhold().with_context(not_changed).map(|()| ExitCode::SUCCESS),
        ControlCommand::Fleet { command: FleetCommand::Pause { reason, access } } => {
            pause(&reason, access.kubeconfig).map(|()| ExitCode::SUCCESS)
        }
        ControlCommand::Fleet { command: FleetCommand::Resume { access } } => {
            resume(access.kubeconfig).map(|()| ExitCode::SUCCESS)
        }
        ControlCommand::Release { node, timeout, yes, access } => {
            release(&Release { node, timeout, yes }, access.kubeconfig)
        }
    };
    result.unwrap_or_else(|error| {
        eprintln!("rebootctl: {error:#}");
        ExitCode::FAILURE
    })
}

fn hold(reason: &str) -> std::io::Result<()> {
    hold::put(Path::new(HOLD), &format!("{reason} ({})", identity::person()))?;
    println!("This node is held. To let it reboot again: rebootctl unhold");
    Ok(())
}

fn unhold() -> std::io::Result<()> {
    match hold::remove(Path::new(HOLD))? {
        true => println!("This node is no longer held."),
        false => println!("This node was not held by rebootctl."),
    }
    Ok(())
}

fn not_changed() -> String {
    format!("cannot change {HOLD} (are you root?)")
}

/// The cluster, and what to run its requests on.
fn cluster(kubeconfig: Option<PathBuf>, node: &str) -> anyhow::Result<(Api, Runtime)> {
    let access = access(kubeconfig)?;
    // Fails only where it was done before.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok((Api::for_person(access, node.to_owned()), runtime))
}

fn pause(reason: &str, kubeconfig: Option<PathBuf>) -> anyhow::Result<()> {
    let (mut api, runtime) = cluster(kubeconfig, "")?;
    match runtime.block_on(api.pause(&format!("{reason} ({})", identity::person()))) {
        Outcome::Answered => println!("The fleet is paused. To go on: rebootctl fleet resume"),
        Outcome::Refused { failure, .. } => bail!("the fleet is not paused: {}", failure.message),
        Outcome::Unanswered(failure) => {
            bail!("no answer, so the fleet may be paused or not; try again: {}", failure.message)
        }
    }
    Ok(())
}

fn resume(kubeconfig: Option<PathBuf>) -> anyhow::Result<()> {
    let (mut api, runtime) = cluster(kubeconfig, "")?;
    match runtime.block_on(api.resume()).context("the fleet may still be paused")? {
        true => println!("The fleet goes on."),
        false => println!("The fleet was not paused."),
    }
    Ok(())
}

fn release(release: &Release, kubeconfig: Option<PathBuf>) -> anyhow::Result<ExitCode> {
    let (mut api, runtime) = cluster(kubeconfig, &release.node)
        .map_err(|error| anyhow::anyhow!("{error:#}\n{}", by_kubectl(release)))?;
    Ok(match runtime.block_on(release.run(&mut api))? {
        Ending::Free => ExitCode::SUCCESS,
        Ending::Kept => ExitCode::FAILURE,
        Ending::NobodyToAsk => ExitCode::from(NEEDS_CONFIRMATION),
    })
}

type Labels = BTreeMap<String, String>;

/// What the cluster says about the configuration of this node.
#[derive(Default)]
struct InCluster {
    fleet: Option<FleetPolicy>,
    labels: Labels,
}

/// Asks with the credential of this host for the policy's data and the labels of the Node.
fn in_cluster(files: &Files) -> anyhow::Result<(Option<Labels>, Labels)> {
    let settings = files.settings(&identity::host_name()?)?;
    let access = settings.api.context("there is no way to the cluster configured")?;
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut api = Api::new(access, settings.node_name);
    runtime.block_on(async {
        let read = async { anyhow::Ok((api.policy().await?, api.node().await?)) };
        let (data, node) =
            tokio::time::timeout(CLUSTER_TIMEOUT, read).await.context("no answer in time")??;
        Ok((data, node.map(|node| node.labels).unwrap_or_default()))
    })
}

/// The way to the cluster that kubectl would take as well.
fn access(given: Option<PathBuf>) -> anyhow::Result<ApiAccess> {
    let path = match given.or_else(|| variable("KUBECONFIG")) {
        Some(path) if path.to_string_lossy().contains(':') => {
            bail!("$KUBECONFIG names several files; name one of them with --kubeconfig")
        }
        Some(path) => path,
        None => {
            let own = variable("HOME").map(|home| home.join(".kube/config"));
            let places = own.into_iter().chain([PathBuf::from(ADMIN_KUBECONFIG)]);
            let found = places.into_iter().find(|path| path.exists());
            found.context("no kubeconfig: name one with --kubeconfig, or in $KUBECONFIG")?
        }
    };
    Ok(read_persons_kubeconfig(&path)?)
}

fn variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// For who reaches the cluster with kubectl only.
fn by_kubectl(release: &Release) -> String {
    let node = &release.node;
    format!(
        "kubectl can do the same, without questions. Which slot does {node} hold?\
         \n  kubectl -n rebootd get leases\
         \nA node that is Ready, and not stamped, is told to step back, and frees the slot itself:\
         \n  kubectl -n rebootd annotate lease SLOT rebootd.io/step-back=\"$USER\"\
         \nA slot is taken from a node that cannot. The next node may then go down while {node} still is:\
         \n  kubectl -n rebootd patch lease SLOT --type merge -p '{{\"spec\":{{\"holderIdentity\":null}}}}'"
    )
}

fn print_starts(expression: &str, mut base: Duration, count: usize) -> anyhow::Result<()> {
    let calendar = Calendar::parse(expression, &zones()).with_context(|| format!("\"{expression}\""))?;
    for _ in 0..count {
        let Some(start) = calendar.next(base) else { break };
        println!("{}", timestamp(start));
        base = start;
    }
    Ok(())
}

fn print_windows(directories: &[PathBuf], base: Duration, count: usize, json: bool) -> anyhow::Result<()> {
    let files = read_files(directories)?;
    let policy = policy_in_cluster(&files)?;
    let windows = files.windows(policy.fleet.as_ref(), &policy.labels);
    let zone = zones().local;
    let outlook = Outlook::new(windows.as_ref(), base, count, &zone);
    if json {
        println!("{}", serde_json::to_string_pretty(&outlook)?);
        return Ok(());
    }
    outlook.lines(&zone).iter().for_each(|line| println!("{line}"));
    Ok(())
}

fn read_files(directories: &[PathBuf]) -> anyhow::Result<Files> {
    let directories: Vec<&Path> = directories.iter().map(PathBuf::as_path).collect();
    Files::read(&directories).map_err(|error| {
        let text = error.to_string();
        // The package's file is for everybody to read; an administrator's may not be.
        let hint = if text.contains("Permission denied") { "\ntry it with sudo" } else { "" };
        anyhow::anyhow!("{text}{hint}")
    })
}

/// The fleet's policy, for this node. Where it cannot be read, that is said beside what is known.
fn policy_in_cluster(files: &Files) -> anyhow::Result<InCluster> {
    match in_cluster(files) {
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

fn check(files: &[PathBuf], directories: &[PathBuf]) -> anyhow::Result<ExitCode> {
    let mut problems = Vec::new();
    if files.is_empty() {
        problems.extend(read_files(directories)?.check().err().map(|error| error.to_string()));
    }
    problems.extend(files.iter().filter_map(|path| check_file(path).err()).map(|error| error.to_string()));
    problems.iter().for_each(|problem| eprintln!("{problem}"));
    if problems.is_empty() {
        println!("ok");
        return Ok(ExitCode::SUCCESS);
    }
    Ok(ExitCode::FAILURE)
}

fn print_config(directories: &[PathBuf], json: bool) -> anyhow::Result<()> {
    let files = read_files(directories)?;
    let policy = policy_in_cluster(&files)?;
    let values = effective(&files, policy.fleet.as_ref(), &policy.labels);
    if json {
        println!("{}", serde_json::to_string_pretty(&values)?);
        return Ok(());
    }
    let text = |value: &Effective| value.value.as_ref().map_or("-".to_owned(), ToString::to_string);
    let width = values.iter().map(|value| value.key.len()).max().unwrap_or_default();
    for value in &values {
        let origin = value.place.as_deref().unwrap_or(value.origin);
        println!("{:<width$}  {}  # {origin}", value.key, text(value));
    }
    Ok(())
}

fn print_status(json: bool) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(PATH).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            anyhow::anyhow!("rebootd does not run on this host; see: systemctl status rebootd")
        }
        _ => anyhow::anyhow!("{PATH}: {error}"),
    })?;
    if json {
        print!("{text}");
        return Ok(());
    }
    let status: Status = serde_json::from_str(&text)?;
    println!("node     {} (pool {}, mode {})", status.node, status.pool, status.mode);
    println!("phase    {}", status.phase);
    for (number, reason) in status.reasons.iter().enumerate() {
        println!("{:<8} {}", if number == 0 { "because" } else { "" }, reason.message);
    }
    if status.requests.is_empty() {
        println!("request  none");
    }
    for (number, request) in status.requests.iter().enumerate() {
        println!("{:<8} {}", if number == 0 { "request" } else { "" }, request.reason);
    }
    if !status.slots.is_empty() {
        println!("holds    {}", status.slots.join(", "));
    }
    Ok(())
}
