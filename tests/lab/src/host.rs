//! One host: a systemd-nspawn machine with a supervisor that is its power supply and firmware.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::images::Suite;
use crate::kubelet::Kind;
use crate::machine::{Boot, LEADER_FILE, Machine, Power, State};
use crate::network::{Cut, HostNetwork};
use crate::proxy::{NodeInfo, NodeInfoSource};
use crate::{command, disk, namespaces};

/// In a host's root file system.
const MACHINE_ID: &str = "etc/machine-id";

/// What a host is to be.
#[derive(Clone, Debug)]
pub struct HostConfig {
    /// The host's name, which is also its Node's.
    pub name: String,
    /// The Debian release.
    pub suite: Suite,
    /// What runs its pods.
    pub kind: Kind,
    /// A size for the root file system of a hollow host, as in `64M`: one that can be filled without harm. By
    /// default it shares the disk of this machine.
    pub root_size: Option<String>,
    /// Labels that the kubelet gives its Node.
    pub labels: Vec<(String, String)>,
    /// More arguments for the kubelet.
    pub kubelet: Vec<String>,
}

impl HostConfig {
    /// A host with nothing special about it.
    pub fn new(name: &str, suite: Suite, kind: Kind) -> Self {
        Self { name: name.to_owned(), suite, kind, root_size: None, labels: Vec::new(), kubelet: Vec::new() }
    }
}

/// A host of the lab; it goes down when this is dropped.
pub struct Host {
    /// Its configuration.
    pub config: HostConfig,
    /// Its place in the network.
    pub network: HostNetwork,
    machine: Arc<Machine>,
    power: watch::Sender<Power>,
    supervisor: JoinHandle<()>,
}

impl Host {
    /// Makes the host's root file system from the image; nothing runs yet.
    pub async fn new(
        lab_directory: &Path,
        config: HostConfig,
        image: &Path,
        network: HostNetwork,
        read_only_binds: &[(&Path, &str)],
    ) -> Result<Self> {
        let directory = lab_directory.join("hosts").join(&config.name);
        let root = directory.join("root");
        match config.kind {
            Kind::Hollow => disk::layer_over(image, &directory, &root, config.root_size.as_deref()).await?,
            Kind::Real => disk::copy_of(image, &directory, &root).await?,
        }
        fs::write(root.join("etc/hostname"), format!("{}\n", config.name))?;
        fs::write(root.join("etc/hosts"), format!("127.0.0.1 localhost\n127.0.1.1 {}\n", config.name))?;
        write_machine_id(&root)?;

        let mut arguments: Vec<String> = [
            "--quiet",
            "--boot",
            "--register=no",
            "--keep-unit",
            "--console=read-only",
            "--resolv-conf=off",
            "--timezone=off",
            "--link-journal=no",
        ]
        .map(str::to_owned)
        .to_vec();
        arguments.push(format!("--directory={}", root.display()));
        arguments.push(format!("--machine={}", config.name));
        arguments.push(format!("--network-namespace-path=/run/netns/{}", network.namespace));
        for (from, to) in read_only_binds {
            arguments.push(format!("--bind-ro={}:{to}", from.display()));
        }
        let (more, environment) = config.kind.nspawn();
        arguments.extend(more.iter().map(|argument| (*argument).to_owned()));
        let machine = Arc::new(Machine {
            name: config.name.clone(),
            cgroup: namespaces::cgroup(lab_directory).join(&config.name),
            directory,
            arguments,
            environment,
            state: Mutex::new(State { boots: Vec::new(), leader: None, failure: None }),
        });
        let (power, mut receiver) =
            watch::channel(Power { presses: 0, stay_down: false, boot_delay: Duration::ZERO });
        let supervised = Arc::clone(&machine);
        let supervisor = tokio::spawn(async move {
            if let Err(error) = supervised.supervise(&mut receiver).await {
                let error =
                    format!("{:#}", error.context(format!("the supervisor of {} failed", supervised.name)));
                crate::progress::say(&error);
                supervised.state.lock().expect("no panic holds it").failure = Some(error);
            }
        });
        Ok(Self { config, network, machine, power, supervisor })
    }

    /// The name of the host and of its Node.
    pub fn name(&self) -> &str {
        &self.config.name
    }

    /// Every boot so far, the current one last.
    pub fn boots(&self) -> Vec<Boot> {
        self.machine.state.lock().expect("no panic holds it").boots.clone()
    }

    /// What a real kubelet would report of this machine now; nothing while it is off.
    pub fn node_info(&self) -> NodeInfoSource {
        let machine = Arc::clone(&self.machine);
        let id_file = self.root().join(MACHINE_ID);
        Arc::new(move || {
            let boot_id = machine.state.lock().expect("no panic holds it").boots.last()?.id.clone()?;
            let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").ok()?;
            Some(NodeInfo {
                boot_id,
                machine_id: fs::read_to_string(&id_file).ok()?.trim().to_owned(),
                kernel_version: Some(kernel.trim().to_owned()),
            })
        })
    }

    /// Whether the machine is on.
    pub fn is_on(&self) -> bool {
        self.boots().last().is_some_and(|boot| boot.ended.is_none())
    }

    /// The console of all boots, as text.
    pub fn console_log(&self) -> PathBuf {
        self.machine.directory.join("console.log")
    }

    /// The root file system as this machine sees it; without the host's own mounts, such as /run.
    pub fn root(&self) -> PathBuf {
        self.machine.directory.join("root")
    }

    /// Presses the power button of a host that is off; allows it to boot again.
    pub fn boot(&self) {
        self.power.send_modify(|power| {
            power.presses += 1;
            power.stay_down = false;
        });
    }

    /// Boots a host that is off after a while; one that is on takes this long between two boots from now on.
    pub fn boot_after(&self, delay: Duration) {
        self.power.send_modify(|power| power.boot_delay = delay);
        if !self.is_on() {
            self.boot();
        }
    }

    /// Makes another machine of a host that is off: it keeps its name and configuration, as one that was installed
    /// again by a configuration management, and nothing else that it knew.
    pub fn reinstall(&self) -> Result<()> {
        ensure!(!self.is_on(), "{} is on", self.name());
        for memory in ["rebootd", "kubelet", "containerd", "cni"] {
            let memory = self.root().join("var/lib").join(memory);
            if memory.exists() {
                fs::remove_dir_all(memory)?;
            }
        }
        write_machine_id(&self.root())
    }

    /// Whether the host, once down, does not come up again by itself: a broken kernel, a dead disk.
    pub fn stay_down(&self, yes: bool) {
        self.power.send_modify(|power| power.stay_down = yes);
    }

    /// Takes the power away, at once. The host stays off until [`Host::boot`].
    pub async fn power_off_abruptly(&self) -> Result<()> {
        let leader = self.leader()?;
        // Killing nspawn itself would leave the host's systemd running.
        command::run("kill", &["-KILL", &leader.to_string()]).await?;
        self.wait_off(Duration::from_secs(10)).await
    }

    /// Waits until the machine is off, or has at least begun its next boot.
    pub async fn wait_off(&self, limit: Duration) -> Result<()> {
        let number = self.boots().len();
        self.wait("to be off", limit, || {
            let boots = self.boots();
            boots.len() > number || boots.last().is_none_or(|boot| boot.ended.is_some())
        })
        .await
    }

    /// Waits until this boot (counting from 1) has begun.
    pub async fn wait_boot_number(&self, number: usize, limit: Duration) -> Result<()> {
        self.wait(&format!("to boot a {number}. time"), limit, || self.boots().len() >= number).await
    }

    /// Waits until systemd has started everything.
    pub async fn wait_booted(&self, limit: Duration) -> Result<()> {
        let deadline = Instant::now() + limit;
        let mut last = String::new();
        while Instant::now() < deadline {
            self.check()?;
            if let Ok(output) = self.run(&["systemctl", "is-system-running"]).await {
                last = String::from_utf8_lossy(&output.stdout).trim().to_owned();
                if last == "running" || last == "degraded" {
                    return Ok(());
                }
            }
            sleep(Duration::from_millis(200)).await;
        }
        let console = command::tail(&self.console_log(), 15);
        bail!("{} has not booted after {limit:?}, it is {last:?}:\n{console}", self.name())
    }

    /// Runs a command on the host, as root.
    pub async fn run(&self, command: &[&str]) -> Result<Output> {
        self.run_with_input(command, None).await
    }

    /// Runs a command on the host that must succeed; gives back its standard output.
    pub async fn run_ok(&self, command: &[&str]) -> Result<String> {
        command::succeeded(&format!("{}: {}", self.name(), command.join(" ")), self.run(command).await?)
    }

    /// Runs a command on the host, with something on standard input.
    pub async fn run_with_input(&self, command: &[&str], input: Option<&[u8]>) -> Result<Output> {
        let mut arguments = enter(&self.machine.cgroup, self.leader()?);
        arguments.extend(command.iter().map(|word| (*word).to_owned()));
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        command::output("sh", &arguments, input).await
    }

    /// The journal of a unit, or of everything; all boots.
    pub async fn journal(&self, unit: Option<&str>) -> Result<String> {
        let mut command = vec!["journalctl", "--no-pager", "--quiet", "--output=short-iso-precise"];
        command.extend(unit.map(|unit| ["--unit", unit]).iter().flatten());
        self.run_ok(&command).await
    }

    /// Writes a file on the running host.
    pub async fn write_file(&self, path: &str, contents: impl AsRef<[u8]>) -> Result<()> {
        let script = "mkdir -p \"$(dirname \"$1\")\" && cat > \"$1\"";
        let output =
            self.run_with_input(&["sh", "-c", script, "write", path], Some(contents.as_ref())).await?;
        command::succeeded(&format!("{}: writing {path}", self.name()), output)?;
        Ok(())
    }

    /// Reads a file on the running host.
    pub async fn read_file(&self, path: &str) -> Result<String> {
        self.run_ok(&["cat", path]).await
    }

    /// Fills the root file system to the last block; only on a host with a root of its own size.
    pub async fn fill_disk(&self) -> Result<()> {
        ensure!(self.config.root_size.is_some(), "{} shares the disk of this machine", self.name());
        // It ends when there is no more space, which is what it is for.
        self.run(&["sh", "-c", "cat /dev/zero > /var/tmp/lab-fills-the-disk; sync"]).await?;
        Ok(())
    }

    /// Undoes [`Host::fill_disk`].
    pub async fn free_disk(&self) -> Result<()> {
        self.run_ok(&["rm", "-f", "/var/tmp/lab-fills-the-disk"]).await?;
        Ok(())
    }

    /// Cuts the host's network.
    pub async fn cut_network(&self, how: Cut) -> Result<()> {
        self.network.cut(how).await
    }

    /// Undoes [`Host::cut_network`].
    pub async fn restore_network(&self) -> Result<()> {
        self.network.restore().await
    }

    /// The process id of the host's PID 1, as this machine sees it.
    pub fn leader(&self) -> Result<u32> {
        let leader = self.machine.state.lock().expect("no panic holds it").leader;
        leader.with_context(|| format!("{} is off or has only just been switched on", self.name()))
    }

    /// The processes of a service now, as this machine sees them; read from its cgroup, so without asking the host.
    pub fn service_processes(&self, service: &str) -> Vec<u32> {
        let path = format!("payload/system.slice/{service}.service/cgroup.procs");
        let text = fs::read_to_string(self.machine.cgroup.join(path)).unwrap_or_default();
        text.lines().filter_map(|line| line.trim().parse().ok()).collect()
    }

    /// Where this machine sees a file of the running host, its own mounts such as /run among them.
    pub fn live_path(&self, path: &str) -> Result<PathBuf> {
        Ok(PathBuf::from(format!("/proc/{}/root{path}", self.leader()?)))
    }

    async fn wait(&self, what: &str, limit: Duration, done: impl Fn() -> bool) -> Result<()> {
        let deadline = Instant::now() + limit;
        while !done() {
            self.check()?;
            ensure!(Instant::now() < deadline, "waited {limit:?} for {} {what}", self.name());
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    fn check(&self) -> Result<()> {
        match &self.machine.state.lock().expect("no panic holds it").failure {
            Some(failure) => bail!("{failure}"),
            None => Ok(()),
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.supervisor.abort();
        if let Ok(leader) = self.leader() {
            let _ = std::process::Command::new("kill").args(["-KILL", &leader.to_string()]).status();
        }
    }
}

fn write_machine_id(root: &Path) -> Result<()> {
    let id = fs::read_to_string("/proc/sys/kernel/random/uuid")?.trim().replace('-', "");
    fs::write(root.join(MACHINE_ID), format!("{id}\n"))?;
    Ok(())
}

/// Arguments of `sh` that run the command after them on a host, as root.
fn enter(cgroup: &Path, leader: u32) -> Vec<String> {
    // What runs on the host must be in its part of the cgroup tree too, or systemd there cannot name it.
    // A shell waits for it, not nsenter itself: at a shutdown everything on the host is stopped for a moment,
    // nsenter would stop with it, nobody would continue it, and the host would wait for a child that nobody reaps.
    let script = "mkdir -p \"$1\" && echo 0 > \"$1/cgroup.procs\" && shift \
                  && exec nsenter --all --no-fork --root --wd -t \"$@\"";
    let wait = ["env", "-i", "sh", "-c", "\"$@\"; exit $?", "on-host"];
    let cgroup = cgroup.join("payload/lab-commands");
    let (cgroup, leader) = (cgroup.to_string_lossy(), leader.to_string());
    let environment = ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8", "TERM=dumb"];
    let arguments =
        [&["-c", script, "enter", &cgroup, &leader, "--"], &wait[..], &["env"], &environment[..]].concat();
    arguments.into_iter().map(str::to_owned).collect()
}

/// Arguments of `sh` that run the command after them on a host of the lab in this directory; for people who
/// look into a running lab from inside its namespaces.
pub fn enter_by_name(lab_directory: &Path, host: &str) -> Result<Vec<String>> {
    let file = lab_directory.join("hosts").join(host).join(LEADER_FILE);
    let leader =
        fs::read_to_string(&file).with_context(|| format!("the lab has no host {host} that is on"))?;
    Ok(enter(&namespaces::cgroup(lab_directory).join(host), leader.trim().parse()?))
}
