//! The `lab` command.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand};
use rebootd_lab::binaries::Binaries;
use rebootd_lab::images::Suite;
use rebootd_lab::kubelet::Kind;
use rebootd_lab::lab::{self, Lab, LabConfig};
use rebootd_lab::progress::say;
use rebootd_lab::scenarios::runner;
use rebootd_lab::{bench, check, demo, host, namespaces, package, progress};
use tokio::process::Command;

/// A real Kubernetes cluster of real systemd hosts on this machine.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Subcommands,
}

#[derive(Subcommand)]
enum Subcommands {
    /// Make everything that takes long, once: programs, images, the Debian package.
    Prepare,
    /// Start a lab and keep it until Ctrl-C.
    Up(Up),
    /// Run a command in the lab that runs, with KUBECONFIG set: `lab run kubectl get nodes`.
    #[command(trailing_var_arg = true)]
    Run {
        /// Of several labs, run it in this one.
        #[arg(long, value_name = "NAME")]
        lab: Option<String>,
        /// Run it on this host instead: `lab run --on node1 journalctl -fu rebootd`.
        #[arg(long)]
        on: Option<String>,
        /// The command and its arguments.
        #[arg(required = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// Watch three hosts reboot themselves in turn.
    Demo,
    /// Measure; the last line printed is a JSON object.
    Bench {
        #[command(subcommand)]
        benchmark: Benchmark,
    },
    /// Check the lab itself: reboots, power, network, disk, containers, API server.
    Check {
        /// Also install this package.
        #[arg(long)]
        deb: Option<PathBuf>,
    },
    /// Try what rebootd promises, each scenario in a lab of its own: `lab test three_hosts`.
    Test(runner::Options),
}

#[derive(Subcommand)]
enum Benchmark {
    /// How long three hosts take to reboot in turn, against what is unavoidable.
    Rollout,
    /// What an idle daemon costs.
    Idle(bench::idle::Options),
    /// rebootd's drain against that of kubectl, on the same pods.
    Drain(bench::drain::Options),
    /// What the policies cost a claim and an eviction in a large cluster.
    Rights(bench::rights::Options),
    /// How long `rebootctl fleet` takes in a large cluster.
    Fleet(bench::fleet::Options),
    /// Whether a rehearsal agrees with what then happens.
    Rehearse,
    /// Whether the promises hold while a thousand things go wrong.
    Faults(bench::faults::Options),
    /// How a thousand agents that all want to reboot share a few slots.
    Scale(bench::scale::Options),
}

#[derive(Args)]
struct Up {
    /// How many hosts.
    #[arg(long, default_value_t = 3)]
    hosts: usize,
    /// With real kubelets and containers instead of hollow ones.
    #[arg(long)]
    real: bool,
    /// Instead: one host like this, as in `hollow/bookworm` or `real/trixie`; can be given several times.
    #[arg(long, value_name = "KIND/RELEASE", value_parser = kind_and_release, conflicts_with_all = ["hosts", "real"])]
    host: Vec<(Kind, Suite)>,
    /// Install rebootd on every host, built from this tree, with this config.toml.
    #[arg(long)]
    config: Option<PathBuf>,
    /// Run this shell command in the lab, with KUBECONFIG set, then stop.
    #[arg(long)]
    exec: Option<String>,
}

impl Up {
    fn lab(&self) -> LabConfig {
        if self.host.is_empty() {
            return LabConfig::of_kind(if self.real { Kind::Real } else { Kind::Hollow }, self.hosts);
        }
        let mut config = LabConfig::with_hosts(self.host.len());
        for (host, (kind, suite)) in config.hosts.iter_mut().zip(&self.host) {
            (host.kind, host.suite) = (*kind, *suite);
        }
        config
    }
}

fn kind_and_release(text: &str) -> Result<(Kind, Suite)> {
    let (kind, release) = text.split_once('/').context("expected KIND/RELEASE")?;
    let kind = match kind {
        "hollow" => Kind::Hollow,
        "real" => Kind::Real,
        _ => bail!("a host is hollow or real"),
    };
    let suite = [Suite::Bookworm, Suite::Trixie].into_iter().find(|suite| suite.name() == release);
    Ok((kind, suite.context("a host runs bookworm or trixie")?))
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    progress::elapsed();
    match run(cli) {
        Ok(code) => code,
        Err(error) => {
            say(format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<ExitCode> {
    // On the main thread, which lives as long as the process: the lab is bound to the thread that starts it.
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        match namespaces::lab_directory() {
            None => outside(cli).await,
            Some(_) => {
                namespaces::set_up_inside().await?;
                inside(cli).await
            }
        }
    })
}

async fn outside(cli: Cli) -> Result<ExitCode> {
    match cli.command {
        Subcommands::Prepare => {
            for kind in [Kind::Hollow, Kind::Real] {
                lab::prepare(&LabConfig::of_kind(kind, 2)).await?;
            }
            say(format!("package: {}", package::find_or_build().await?.display()));
            Ok(ExitCode::SUCCESS)
        }
        Subcommands::Up(up) => {
            lab::prepare(&up.lab()).await?;
            let package = match up.config {
                Some(_) => Some(package::find_or_build().await?),
                None => None,
            };
            namespaces::run_again_inside(package.as_deref()).await
        }
        Subcommands::Demo => {
            lab::prepare(&LabConfig::of_kind(Kind::Real, 3)).await?;
            namespaces::run_again_inside(Some(&package::given_or_built().await?)).await
        }
        Subcommands::Bench { .. } => {
            lab::prepare(&LabConfig::with_hosts(3)).await?;
            namespaces::run_again_inside(Some(&package::given_or_built().await?)).await
        }
        Subcommands::Run { lab, on, command } => run_in_lab(lab.as_deref(), on, command).await,
        Subcommands::Test(options) => runner::run_all(options).await,
        Subcommands::Check { deb } => {
            lab::prepare(&check::lab()).await?;
            namespaces::run_again_inside(deb.as_deref()).await
        }
    }
}

async fn inside(cli: Cli) -> Result<ExitCode> {
    match cli.command {
        Subcommands::Prepare | Subcommands::Run { .. } => Ok(ExitCode::SUCCESS),
        Subcommands::Up(options) => up(options).await,
        Subcommands::Test(options) => runner::run_one(options).await,
        Subcommands::Demo => {
            let lab = Lab::start(LabConfig::of_kind(Kind::Real, 3)).await?;
            demo::run(&lab, &package::given().context("no package was built")?).await?;
            lab.stop().await?;
            Ok(ExitCode::SUCCESS)
        }
        Subcommands::Bench { benchmark } => {
            let package = package::given().context("no package was built")?;
            let figures = match benchmark {
                Benchmark::Rollout => bench::rollout::run(&package).await?,
                Benchmark::Idle(options) => bench::idle::run(&package, &options).await?,
                Benchmark::Drain(options) => return bench::drain::run(&package, &options).await,
                Benchmark::Rights(options) => bench::rights::run(&options).await?,
                Benchmark::Fleet(options) => bench::fleet::run(&package, &options).await?,
                Benchmark::Rehearse => return bench::rehearse::run(&package).await,
                Benchmark::Faults(options) => return bench::faults::run(package, &options).await,
                Benchmark::Scale(options) => bench::scale::run(&package, &options).await?,
            };
            println!("{figures}");
            Ok(ExitCode::SUCCESS)
        }
        Subcommands::Check { .. } => {
            let lab = Lab::start(check::lab()).await?;
            check::run(&lab, package::given().as_deref()).await?;
            lab.stop().await?;
            say("the lab works");
            Ok(ExitCode::SUCCESS)
        }
    }
}

async fn run_in_lab(lab: Option<&str>, on: Option<String>, command: Vec<String>) -> Result<ExitCode> {
    let (mut arguments, directory) = namespaces::enter_running(lab)?;
    if let Some(host) = on {
        arguments.push("sh".to_owned());
        arguments.extend(host::enter_by_name(&directory, &host)?);
    }
    arguments.extend(command);
    let status = Command::new("nsenter")
        .args(arguments)
        .env("KUBECONFIG", directory.join("control-plane/admin.kubeconfig"))
        .env("PATH", path_with(&Binaries::find_or_build().await?))
        .status()
        .await?;
    Ok(ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)))
}

/// The search path with the lab's own kubectl first.
fn path_with(binaries: &Binaries) -> OsString {
    let mut path = binaries.path("kubectl").parent().unwrap_or(Path::new("/")).as_os_str().to_owned();
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    path
}

async fn up(options: Up) -> Result<ExitCode> {
    let lab = Lab::start(options.lab()).await?;
    if let (Some(package), Some(config)) = (package::given(), options.config) {
        let config = std::fs::read_to_string(config)?;
        for host in &lab.hosts {
            lab.install_rebootd(host, &package, &config).await?;
            say(format!("rebootd is installed on {}", host.name()));
        }
    }
    println!("{}", lab.kubectl(&["get", "nodes", "-o", "wide"]).await?.trim_end());
    let kubeconfig = lab.control_plane.admin_kubeconfig().to_owned();
    let code = match options.exec {
        Some(script) => Command::new("sh")
            .args(["-c", &script])
            .env("KUBECONFIG", kubeconfig)
            .env("LAB", lab.directory())
            .env("PATH", path_with(&Binaries::find_or_build().await?))
            .status()
            .await?
            .code()
            .and_then(|code| u8::try_from(code).ok())
            .unwrap_or(1),
        None => {
            say("in another terminal: lab run kubectl get nodes; Ctrl-C stops everything");
            std::future::pending().await
        }
    };
    lab.stop().await?;
    Ok(ExitCode::from(code))
}
