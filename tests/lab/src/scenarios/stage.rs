//! What a scenario acts upon: a running lab, an observer of it, and the package to be tested.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};

use crate::control_plane;
use crate::host::Host;
use crate::lab::{Lab, LabConfig};
use crate::observer::{NodeState, Observer, ObserverConfig, State};
use crate::progress::say;
use crate::workload::{self, Deployment};

/// The pool of hosts that name none, and its only slot.
pub(super) const SLOT: &str = "worker-1";
/// What asks for a reboot.
pub(super) const SENTINEL: &str = "/run/reboot-required";
/// For what takes seconds on an idle machine: tests share theirs with others.
pub(super) const SOON: Duration = Duration::from_secs(90);
/// For a whole reboot, from the claim to idle.
pub(super) const CYCLE: Duration = Duration::from_secs(150);

/// A configuration for tests: reboots may start at any time, and a node counts as back soon.
pub(super) const CONFIG: &str = "[policy]\nwindow = \"always\"\nsettle = \"5s\"\nmin_interval = \"0\"\n";

/// A running lab with all that looks at it.
pub struct Stage {
    /// The lab.
    pub lab: Arc<Lab>,
    /// Sees every change in the cluster, and is told of every boot.
    pub observer: Arc<Observer>,
    /// rebootd's Debian package.
    pub package: PathBuf,
    /// Where files go that are to outlive the lab.
    pub results: PathBuf,
}

impl Stage {
    /// Starts a lab with these hosts; rebootd is on none of them.
    pub async fn start(hosts: LabConfig, package: PathBuf, results: PathBuf) -> Result<Self> {
        let lab = Arc::new(Lab::start(hosts).await?);
        let pki = &lab.control_plane.pki;
        let observer = Observer::start(ObserverConfig {
            server: control_plane::server(),
            authority_pem: fs::read_to_string(pki.ca())?,
            credential: pki.client("observer", "lab-observer", &["system:masters"])?.read()?,
            namespace: "rebootd".to_owned(),
        });
        let observer = Arc::new(observer.await?);
        for number in 0..lab.hosts.len() {
            tokio::spawn(tell_boots(Arc::clone(&lab), number, Arc::clone(&observer)));
        }
        Ok(Self { lab, observer, package, results })
    }

    /// A host by its number, counted from 1 as in its name.
    pub fn host(&self, number: usize) -> &Host {
        &self.lab.hosts[number - 1]
    }

    /// Installs rebootd on a host, with this `config.toml`.
    pub(super) async fn install(&self, host: &Host, config: &str) -> Result<()> {
        self.lab.install_rebootd(host, &self.package, config).await?;
        say(format!("rebootd is installed on {}", host.name()));
        Ok(())
    }

    /// The same on every host.
    pub(super) async fn install_everywhere(&self, config: &str) -> Result<()> {
        for host in &self.lab.hosts {
            self.install(host, config).await?;
        }
        Ok(())
    }

    /// Installs rebootd on a host with a pool and a slot of its own: it waits for no other host.
    pub(super) async fn install_alone(&self, host: &Host, config: &str) -> Result<()> {
        self.install(host, &format!("{config}[node]\npool = \"{}\"\n", host.name())).await?;
        self.apply_slot_of(host).await
    }

    /// Applies the manifest of that slot, once more perhaps.
    pub(super) async fn apply_slot_of(&self, host: &Host) -> Result<()> {
        let (slot, pool) = (slot_of(host), host.name());
        let labels = format!("{{rebootd.io/pool: {pool}}}");
        let metadata = format!("{{name: {slot}, namespace: rebootd, labels: {labels}}}");
        let lease = format!("apiVersion: coordination.k8s.io/v1\nkind: Lease\nmetadata: {metadata}\n");
        self.lab.control_plane.apply(&lease).await
    }

    /// A Node, as it is now.
    pub(super) fn node(&self, name: &str) -> Result<NodeState> {
        match self.observer.state().node(name) {
            Some(node) => Ok(node.clone()),
            None => bail!("there is no Node {name}"),
        }
    }

    /// Who holds the pool's only slot now.
    pub(super) fn holder(&self) -> Option<String> {
        self.observer.state().holder(SLOT).map(str::to_owned)
    }

    /// Writes into the pool's only slot, as a person would, who holds it: a JSON string, or null.
    pub(super) async fn set_holder(&self, holder: &str) -> Result<()> {
        self.set_holder_of(SLOT, holder).await
    }

    /// The same for any slot.
    pub(super) async fn set_holder_of(&self, slot: &str, holder: &str) -> Result<()> {
        let patch = format!("{{\"spec\":{{\"holderIdentity\":{holder}}}}}");
        let slot = ["patch", "lease", slot, "--namespace=rebootd", "--type=merge", "--patch", &patch];
        self.lab.kubectl(&slot).await?;
        Ok(())
    }

    /// Waits until the cluster is as wanted; not one of its states is missed.
    pub(super) async fn wait_for(
        &self,
        what: &str,
        predicate: impl FnMut(&State) -> bool + Send + 'static,
        limit: Duration,
    ) -> Result<Duration> {
        let met = self.observer.wait_for(predicate, limit).await;
        met.map_err(|error| error.context(format!("waited {limit:?}: {what}")))
    }

    /// Looks at every change for this long; none of them may be this.
    pub(super) async fn never(
        &self,
        what: &str,
        predicate: impl FnMut(&State) -> bool + Send + 'static,
        time: Duration,
    ) -> Result<()> {
        // The observer's own limit is longer, so that its errors are not mistaken for ours.
        let seen = timeout(time, self.observer.wait_for(predicate, time * 2)).await;
        ensure!(seen.is_err(), "this was never to happen: {what}\n{}", self.observer.state());
        say(format!("for {} s it did not happen: {what}", time.as_secs()));
        Ok(())
    }

    /// Waits until somebody on this node has been asked to leave and is still there: the middle of a drain.
    pub(super) async fn wait_mid_drain(&self, node: &str) -> Result<()> {
        let name = node.to_owned();
        let leaving = move |state: &State| state.pods_on(&name).any(|pod| pod.terminating);
        self.wait_for(&format!("pods are leaving {node}"), leaving, SOON).await?;
        say(format!("{node} is being drained"));
        Ok(())
    }

    /// Pods that run on one host only and take this long to leave, ready before this returns.
    pub(super) async fn pods_on(&self, host: &Host, count: u32, pre_stop_seconds: u32) -> Result<Deployment> {
        let pods = Deployment {
            pre_stop_seconds,
            only_on: Some(host.name().to_owned()),
            ..Deployment::new(&format!("only-on-{}", host.name()), count)
        };
        pods.create(&self.lab.control_plane).await?;
        self.wait_pods(&pods).await?;
        Ok(pods)
    }

    /// The same with a budget that lets none of them leave.
    pub(super) async fn stuck_pods_on(&self, host: &Host, count: u32) -> Result<Deployment> {
        let pods = Deployment {
            min_available: Some(count),
            only_on: Some(host.name().to_owned()),
            ..Deployment::new(&format!("stuck-on-{}", host.name()), count)
        };
        pods.create(&self.lab.control_plane).await?;
        self.wait_pods(&pods).await?;
        Ok(pods)
    }

    /// A kubeconfig of a person of this name, who has no rights but those that are bound to the name.
    pub(super) fn kubeconfig_of(&self, user: &str) -> Result<PathBuf> {
        let cluster = &self.lab.control_plane;
        let client = cluster.pki.client(user, user, &[])?.read()?;
        let directory = self.lab.directory();
        let [certificate, key, kubeconfig] =
            ["pem", "key.pem", "conf"].map(|kind| directory.join(format!("{user}.{kind}")));
        std::fs::write(&certificate, client.certificate_pem)?;
        std::fs::write(&key, client.key_pem)?;
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": {
                "server": crate::control_plane::server(), "certificate-authority": cluster.pki.ca()}}],
            "users": [{"name": "u", "user": {"client-certificate": certificate, "client-key": key}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        });
        std::fs::write(&kubeconfig, config.to_string())?;
        Ok(kubeconfig)
    }

    /// Starts a drain that a budget holds up: the host holds the slot, and its Node is cordoned.
    pub(super) async fn stuck_drain(&self, host: &Host) -> Result<()> {
        self.stuck_pods_on(host, 1).await?;
        request_reboot(host).await?;
        let name = host.name().to_owned();
        let in_drain = move |state: &State| {
            let cordoned = state.node(&name).is_some_and(NodeState::cordoned_by_us);
            cordoned && state.holder(SLOT) == Some(&name)
        };
        self.wait_for(&format!("{} is in mid-drain", host.name()), in_drain, SOON).await?;
        Ok(())
    }

    /// Waits until all pods run.
    pub(super) async fn wait_pods(&self, pods: &Deployment) -> Result<()> {
        workload::wait_running(&self.lab.control_plane, &pods.name, pods.replicas as usize, SOON).await
    }
}

/// The slot of a host that has a pool of its own, which has the host's name.
pub(super) fn slot_of(host: &Host) -> String {
    format!("{}-only", host.name())
}

/// What a package that needs a reboot does.
pub(super) async fn request_reboot(host: &Host) -> Result<()> {
    let script = format!("echo linux-image-lab >> {SENTINEL}.pkgs && touch {SENTINEL}");
    host.run_ok(&["sh", "-c", &script]).await?;
    say(format!("{} asks for a reboot", host.name()));
    Ok(())
}

/// A property of rebootd's unit, as systemd tells it.
pub(super) async fn unit(host: &Host, property: &str) -> Result<String> {
    let value = host.run_ok(&["systemctl", "show", "--property", property, "--value", "rebootd"]).await?;
    Ok(value.trim().to_owned())
}

/// Kills the daemon, as a crash would, and waits until systemd has started the next one.
pub(super) async fn kill_daemon(host: &Host, when: &str) -> Result<()> {
    let before = unit(host, "MainPID").await?;
    host.run_ok(&["systemctl", "kill", "--kill-whom=main", "--signal=KILL", "rebootd"]).await?;
    say(format!("{}: rebootd (process {before}) is killed while {when}", host.name()));
    let boots = host.boots().len();
    let deadline = Instant::now() + SOON;
    // It may be so quick that the host is already going down, or has.
    while host.boots().len() == boots {
        let now = unit(host, "MainPID").await.unwrap_or_default();
        if !["", "0", &before].contains(&now.as_str()) {
            say(format!("{}: rebootd runs again (process {now})", host.name()));
            break;
        }
        ensure!(Instant::now() < deadline, "{}: systemd does not start rebootd again", host.name());
        sleep(Duration::from_millis(200)).await;
    }
    Ok(())
}

/// Runs a command on a host that may fail; gives its exit code and all that it printed.
pub(super) async fn run_anyway(host: &Host, arguments: &[&str]) -> Result<(Option<i32>, String)> {
    let output = host.run(arguments).await?;
    let text = [output.stdout, output.stderr].concat();
    Ok((output.status.code(), String::from_utf8_lossy(&text).into_owned()))
}

/// Tells the observer when a host goes down and comes up. The lab notes every boot; nothing is missed.
async fn tell_boots(lab: Arc<Lab>, number: usize, observer: Arc<Observer>) {
    let host = &lab.hosts[number];
    let mut told = host.boots().len();
    let mut is_down = false;
    loop {
        let boots = host.boots();
        let down = !host.is_on();
        if (down || boots.len() > told) && !is_down {
            observer.host_down(host.name());
            is_down = true;
        }
        if is_down && !down && boots.last().is_some_and(|boot| boot.id.is_some()) {
            observer.host_booted(host.name());
            is_down = false;
        }
        told = boots.len();
        sleep(Duration::from_millis(20)).await;
    }
}

/// Whether a file is not there on a host.
pub(super) async fn is_absent(host: &Host, path: &str) -> Result<bool> {
    Ok(run_anyway(host, &["test", "!", "-e", path, "-a", "!", "-L", path]).await?.0 == Some(0))
}
