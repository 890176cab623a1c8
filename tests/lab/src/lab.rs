//! The whole: a cluster with its hosts.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::binaries::Binaries;
use crate::control_plane::{self, ControlPlane};
use crate::host::{Host, HostConfig};
use crate::images::{self, Suite};
use crate::kubelet::{self, Kind};
use crate::network::{self, HostNetwork, LAB_ADDRESS};
use crate::observer::{Observer, ObserverConfig};
use crate::progress::say;
use crate::proxy::{Proxy, ProxyConfig};
use crate::{debian, namespaces, prometheus, rebootd};

/// A package of which a scenario installs one version after the other.
pub const UPDATED: &str = "libssl3";
/// How long a host may take to boot and its Node to become Ready, on a slow machine.
const READY_LIMIT: Duration = Duration::from_secs(180);

/// A Node without a machine or a pool: the only node of a cluster does not reboot.
pub const ELSEWHERE: &str = r#"{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "elsewhere"},
    "spec": {"taints": [{"key": "lab.rebootd.io/elsewhere", "effect": "NoSchedule"}]}}"#;

/// What a lab is made of.
#[derive(Clone, Debug)]
pub struct LabConfig {
    /// Its hosts.
    pub hosts: Vec<HostConfig>,
    /// Whether Nodes of hollow kubelets name their boot and machine, as with a real one; they leave both empty. Where they
    /// do, such a kubelet finds its Node changed and reports it every 10 s instead of every 5 minutes.
    pub fill_node_info: bool,
}

impl LabConfig {
    /// `node1`, `node2` … with hollow kubelets, of both Debian releases in turn.
    pub fn with_hosts(count: usize) -> Self {
        Self::of_kind(Kind::Hollow, count)
    }

    /// The same with the kubelets that are wanted.
    pub fn of_kind(kind: Kind, count: usize) -> Self {
        let suites = [Suite::Bookworm, Suite::Trixie];
        let hosts = (0..count)
            .map(|index| HostConfig::new(&format!("node{}", index + 1), suites[index % 2], kind))
            .collect();
        Self { hosts, fill_node_info: true }
    }
}

/// A running lab.
pub struct Lab {
    /// The control plane; `kubectl` is here.
    pub control_plane: ControlPlane,
    /// The hosts, in the order of the configuration.
    pub hosts: Vec<Host>,
    /// Each host's way to the API server, by the host's name.
    proxies: BTreeMap<String, Proxy>,
    directory: PathBuf,
}

/// Makes everything that needs the network and takes long, before the lab's namespaces hide the network.
pub async fn prepare(config: &LabConfig) -> Result<()> {
    Binaries::find_or_build().await?;
    prometheus::fetch().await?;
    prometheus::fetch_exporter().await?;
    debian::versions(UPDATED).await?;
    let mut images = JoinSet::new();
    for (suite, kind) in config.hosts.iter().map(|host| (host.suite, host.kind)).collect::<HashSet<_>>() {
        images.spawn(image(suite, kind));
    }
    while let Some(image) = images.join_next().await {
        image??;
    }
    Ok(())
}

/// What hosts of this release and kind start from.
async fn image(suite: Suite, kind: Kind) -> Result<PathBuf> {
    match kind {
        Kind::Hollow => images::host(suite).await,
        Kind::Real => images::disk(suite).await,
    }
}

impl Lab {
    /// Starts everything, inside the lab's namespaces, and waits until every Node is Ready.
    pub async fn start(config: LabConfig) -> Result<Self> {
        let directory = namespaces::lab_directory().context("a lab starts only inside its namespaces")?;
        let binaries = Binaries::find_or_build().await?;
        network::set_up().await?;
        let control_plane = ControlPlane::new(&directory.join("control-plane"), &binaries)?;
        let mut lab = Self { control_plane, hosts: Vec::new(), proxies: BTreeMap::new(), directory };
        for host in config.hosts {
            lab.add_host(&binaries, host, config.fill_node_info).await?;
        }
        for host in &lab.hosts {
            host.boot();
        }
        lab.control_plane.start().await?;
        say("the control plane is ready");
        // Where one of two is deleted the other would be alone.
        if (1..=2).contains(&lab.hosts.len()) {
            lab.control_plane.apply(ELSEWHERE).await?;
        }
        for host in &lab.hosts {
            host.wait_booted(READY_LIMIT).await?;
            lab.wait_node_ready(host.name(), READY_LIMIT).await?;
            say(format!("{} is Ready", host.name()));
        }
        // Pods cannot be created before the controller manager has made what they run as.
        let deadline = Instant::now() + READY_LIMIT;
        while let Err(error) = lab.kubectl(&["get", "serviceaccount", "default"]).await {
            ensure!(Instant::now() < deadline, "the controller manager does nothing: {error:#}");
            sleep(Duration::from_millis(200)).await;
        }
        Ok(lab)
    }

    /// The host with this name.
    pub fn host(&self, name: &str) -> &Host {
        self.hosts
            .iter()
            .find(|host| host.name() == name)
            .unwrap_or_else(|| panic!("the lab has no host {name}"))
    }

    /// Where the lab keeps its files: `control-plane/*.log`, `hosts/NAME/console.log` and more.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Starts to follow what happens in the cluster, as the administrator and past all proxies.
    pub async fn observe(&self) -> Result<Observer> {
        let pki = &self.control_plane.pki;
        Observer::start(ObserverConfig {
            server: control_plane::server(),
            authority_pem: fs::read_to_string(pki.ca())?,
            credential: pki.client("observer", "lab-observer", &["system:masters"])?.read()?,
            namespace: "rebootd".to_owned(),
        })
        .await
    }

    /// Runs kubectl as the administrator.
    pub async fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        self.control_plane.kubectl(arguments).await
    }

    /// The URL at which this host reaches the API server.
    pub fn server_for(&self, host: &str) -> String {
        format!("https://{}", self.proxy(host).address())
    }

    /// What stands between this host and the API server.
    pub fn proxy(&self, host: &str) -> &Proxy {
        self.proxies.get(host).unwrap_or_else(|| panic!("the lab has no host {host}"))
    }

    /// Waits until a Node is Ready.
    pub async fn wait_node_ready(&self, name: &str, limit: Duration) -> Result<()> {
        self.wait_node_condition(name, "True", limit).await
    }

    /// Waits until the Ready condition of a Node has this status: `True`, `False` or `Unknown`.
    pub async fn wait_node_condition(&self, name: &str, status: &str, limit: Duration) -> Result<()> {
        let deadline = Instant::now() + limit;
        let path = "-ojsonpath={.status.conditions[?(@.type==\"Ready\")].status}";
        loop {
            let seen = self.kubectl(&["get", "node", name, path]).await;
            match seen {
                Ok(seen) if seen == status => return Ok(()),
                seen if Instant::now() > deadline => {
                    bail!("after {limit:?} Ready of {name} is not {status}: {seen:?}")
                }
                _ => sleep(Duration::from_millis(250)).await,
            }
        }
    }

    /// Installs rebootd on a host from its package and configures it, with this `config.toml`.
    pub async fn install_rebootd(&self, host: &Host, deb: &Path, config: &str) -> Result<()> {
        rebootd::install(&self.control_plane, host, &self.server_for(host.name()), deb, config).await
    }

    /// Stops everything. (So does the end of the process that started the lab's namespaces.)
    pub async fn stop(self) -> Result<()> {
        drop(self.hosts);
        self.control_plane.stop_api_server().await
    }

    /// Makes a host with its proxy; it is off.
    async fn add_host(
        &mut self,
        binaries: &Binaries,
        config: HostConfig,
        fill_node_info: bool,
    ) -> Result<()> {
        let network = HostNetwork::new(&config.name, u8::try_from(self.hosts.len())?).await?;
        let image = image(config.suite, config.kind).await?;
        let (program, seen_at) = config.kind.program();
        let program = binaries.path(program);
        let binds = [(program.as_path(), seen_at)];
        let fill_node_info = fill_node_info && config.kind == Kind::Hollow;
        let host = Host::new(&self.directory, config, &image, network, &binds).await?;
        let name = host.name().to_owned();

        let pki = &self.control_plane.pki;
        let proxy = ProxyConfig {
            listen: SocketAddr::from((LAB_ADDRESS, 0)),
            upstream: control_plane::server(),
            serving: pki.server(&format!("proxy-of-{name}"))?.read()?,
            client_authority_pem: fs::read_to_string(pki.ca())?,
            upstream_authority_pem: fs::read_to_string(pki.ca())?,
            front_proxy: pki.front_proxy_client(&format!("front-proxy-{name}"))?.read()?,
            fill_node_info: fill_node_info.then(|| host.node_info()),
        };
        self.proxies.insert(name.clone(), Proxy::start(proxy).await?);

        let user = format!("system:node:{name}");
        let identity = pki.client(&format!("kubelet-{name}"), &user, &["system:nodes"])?;
        // Where nothing is to be filled in, it is only slowed down by the proxy.
        let server = if fill_node_info { self.server_for(&name) } else { control_plane::server() };
        kubelet::install(&host, &self.control_plane.kubeconfig(&server, &identity)?, &pki.ca()).await?;
        self.hosts.push(host);
        Ok(())
    }
}
