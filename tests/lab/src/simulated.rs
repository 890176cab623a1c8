//! Simulated machines on which the real rebootd runs, towards a real cluster.
//!
//! Real are rebootd with its adapters, and the cluster: API server, etcd, controllers, scheduler. Simulated is what
//! lies below: each rebootd has a system bus of its own, on which logind and systemd are in memory, a machine id, a
//! boot clock and a sentinel of its own, a kubelet that is a few requests, and a proxy to the API server.

mod bus;
mod chronicle;
pub(crate) mod client;
pub(crate) mod kubelet;
mod machine;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use serde_json::json;
use tokio::task::JoinSet;

use crate::control_plane;
use crate::lab::Lab;
use crate::network::LAB_ADDRESS;
use crate::package;
use crate::pki::Identity;
use crate::progress::say;
use crate::proxy::{Proxy, ProxyConfig};

pub(crate) use chronicle::{Chronicle, MachineEvent, Note};
pub(crate) use machine::{BusMood, Fate, Machine, RebootOutcome};

use client::Client;
use kubelet::{Kubelet, Pace};

/// The agents' certificates name this group; the shipped manifests bind a service account.
pub(crate) const AGENTS: &str = "rebootd-agents";
/// By this and its node's name the audit log knows a rebootd.
pub(crate) const AGENT: &str = "rebootd-of:";
/// Where the package is unpacked, in the directory of the machines, and where it has its manifests.
const PACKAGE: &str = "package";
const MANIFESTS: &str = "usr/share/rebootd/manifests";

/// What all simulated machines of a lab share.
pub(crate) struct Ground {
    directory: PathBuf,
    rebootd: PathBuf,
    kubelets: Client,
    /// What the machines write down.
    pub(crate) chronicle: Arc<Chronicle>,
}

/// A machine with its way to the API server. Its tasks and processes end with it.
pub(crate) struct Site {
    pub(crate) machine: Arc<Machine>,
    pub(crate) proxy: Arc<Proxy>,
    /// As whom its rebootd asks the API server.
    pub(crate) agent: Identity,
    rebootd: PathBuf,
    tasks: JoinSet<()>,
}

/// See [`Ground::lean_site`]. Its tasks and processes end with it.
pub(crate) struct LeanSite {
    pub(crate) machine: Arc<Machine>,
    rebootd: PathBuf,
    tasks: JoinSet<()>,
}

/// Which machine.
pub(crate) struct Name<'a> {
    /// Its node's.
    pub(crate) node: &'a str,
    pub(crate) pool: &'a str,
    /// No two have the same: ids are made of it.
    pub(crate) number: usize,
    /// Its kubelet tells boot id and machine id, as a real one does.
    pub(crate) tells_ids: bool,
}

impl Ground {
    /// Unpacks rebootd and applies its manifests. Machines keep their files below the directory.
    pub(crate) async fn prepare(lab: &Lab, package: &Path, directory: PathBuf) -> Result<Self> {
        let ground = Self::unpack(lab, package, directory).await?;
        apply_manifests(lab, &ground.directory.join(PACKAGE)).await?;
        Ok(ground)
    }

    /// The same with all of the manifests as they are, for agents that have tokens of the account which these confine.
    pub(crate) async fn prepare_confined(lab: &Lab, package: &Path, directory: PathBuf) -> Result<Self> {
        let ground = Self::unpack(lab, package, directory).await?;
        lab.control_plane.apply_directory(&ground.directory.join(PACKAGE).join(MANIFESTS)).await?;
        Ok(ground)
    }

    async fn unpack(lab: &Lab, package: &Path, directory: PathBuf) -> Result<Self> {
        fs::create_dir_all(&directory)?;
        // The place that each rebootd mounts its own over.
        fs::create_dir_all("/run/rebootd")?;
        let unpacked = directory.join(PACKAGE);
        package::unpack(package, &unpacked).await?;
        Ok(Self {
            directory,
            rebootd: unpacked.join("usr/bin/rebootd"),
            kubelets: Client::new(&lab.control_plane, "lab-kubelet")?,
            chronicle: Arc::default(),
        })
    }

    /// A machine that has booted, with its kubelet; rebootd is configured to find the cluster and does not run yet.
    pub(crate) async fn site(&self, lab: &Lab, name: Name<'_>) -> Result<Site> {
        let place = self.directory.join(name.node);
        let machine = Machine::new(&place, &name, Arc::clone(&self.chronicle))?;
        let proxy = Arc::new(proxy(lab, &machine).await?);
        let agent = configure(lab, &machine, &proxy)?;
        bus::serve(Arc::clone(&machine), &machine.bus_path())?;
        let mut tasks = JoinSet::new();
        tasks.spawn(Kubelet::new(Arc::clone(&machine), self.kubelets.clone(), Pace::QUICK).run());
        machine.boot();
        Ok(Site { machine, proxy, agent, rebootd: self.rebootd.clone(), tasks })
    }

    /// One of very many: without a proxy, with a kubelet that asks no more often than a real one and has no pods. It has
    /// booted; its rebootd has no configuration.
    pub(crate) fn lean_site(&self, name: &Name<'_>) -> Result<LeanSite> {
        let machine = Machine::new(&self.directory.join(name.node), name, Arc::clone(&self.chronicle))?;
        bus::serve(Arc::clone(&machine), &machine.bus_path())?;
        let mut tasks = JoinSet::new();
        tasks.spawn(Kubelet::new(Arc::clone(&machine), self.kubelets.clone(), Pace::REAL).run());
        machine.boot();
        Ok(LeanSite { machine, rebootd: self.rebootd.clone(), tasks })
    }
}

impl LeanSite {
    /// Runs rebootd from now on whenever the machine is up.
    pub(crate) fn run_rebootd(&mut self) {
        run_rebootd(&self.machine, &self.rebootd, &mut self.tasks);
    }
}

impl Site {
    /// Adds to rebootd's configuration: policy, drain and the like.
    pub(crate) fn configure(&self, text: &str) -> Result<()> {
        let fragments = self.machine.config().join("config.d");
        fs::create_dir_all(&fragments)?;
        Ok(fs::write(fragments.join("lab.toml"), text)?)
    }

    /// Runs rebootd from now on whenever the machine is up.
    pub(crate) fn run_rebootd(&mut self) {
        run_rebootd(&self.machine, &self.rebootd, &mut self.tasks);
    }
}

fn run_rebootd(machine: &Arc<Machine>, rebootd: &Path, tasks: &mut JoinSet<()>) {
    let (machine, rebootd) = (Arc::clone(machine), rebootd.to_owned());
    tasks.spawn(async move {
        if let Err(error) = machine.supervise(rebootd).await {
            say(format!("a rebootd cannot be started: {error:#}"));
        }
    });
}

/// The shipped rights, given to certificates: they need no renewal when a Node is created again.
async fn apply_manifests(lab: &Lab, unpacked: &Path) -> Result<()> {
    let manifest = unpacked.join(MANIFESTS).join("rebootd.yaml");
    lab.control_plane.apply(&fs::read_to_string(manifest)?).await?;
    let group = json!([{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": AGENTS}]);
    let binding = |kind: &str, namespace: Option<&str>, role: &str| {
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": format!("{kind}Binding"),
            "metadata": {"name": AGENTS, "namespace": namespace},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role},
            "subjects": group,
        })
    };
    let items = [
        binding("Role", Some("rebootd"), "rebootd"),
        binding("Role", Some("kube-node-lease"), "rebootd-kubelet-lease"),
        binding("ClusterRole", None, "rebootd"),
    ];
    lab.control_plane.apply(&json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string()).await
}

async fn proxy(lab: &Lab, machine: &Machine) -> Result<Proxy> {
    let pki = &lab.control_plane.pki;
    let name = &machine.name;
    Proxy::start(ProxyConfig {
        listen: SocketAddr::from((LAB_ADDRESS, 0)),
        upstream: control_plane::server(),
        serving: pki.server(&format!("proxy-of-{name}"))?.read()?,
        client_authority_pem: fs::read_to_string(pki.ca())?,
        upstream_authority_pem: fs::read_to_string(pki.ca())?,
        front_proxy: pki.front_proxy_client(&format!("front-proxy-{name}"))?.read()?,
        fill_node_info: None,
    })
    .await
}

fn configure(lab: &Lab, machine: &Machine, proxy: &Proxy) -> Result<Identity> {
    let pki = &lab.control_plane.pki;
    let name = &machine.name;
    let identity = pki.client(&format!("rebootd-of-{name}"), &format!("{AGENT}{name}"), &[AGENTS])?;
    let config = format!(
        "[node]\nname = \"{name}\"\npool = \"{}\"\n
[api]\nserver = \"https://{}\"\ncertificate_authority = \"{}\"\nclient_certificate = \"{}\"\nclient_key = \"{}\"\n
[host]\nsentinel = \"{}\"\n",
        machine.pool,
        proxy.address(),
        pki.ca().display(),
        identity.certificate.display(),
        identity.key.display(),
        machine.sentinel().display(),
    );
    fs::write(machine.config().join("config.toml"), config)?;
    Ok(identity)
}
