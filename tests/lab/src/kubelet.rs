//! The kubelet of a host, and what it needs there.

pub mod containers;
mod hollow;
mod lacking;
mod real;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use anyhow::{Context, Result};

use crate::host::Host;

/// Where a kubelet's credential is, as kubeadm has it.
const KUBECONFIG: &str = "/etc/kubernetes/kubelet.conf";

/// What runs the pods of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// kubemark's hollow kubelet: it does everything that a kubelet does towards the API server, and only pretends
    /// containers. Light, so for many pods and many hosts.
    Hollow,
    /// The real one, with containerd, runc and a network plugin: processes, graces, volumes, static pods, graceful
    /// shutdown, and boots that take as long as they take.
    Real,
}

impl Kind {
    /// The program among the lab's own that such a host runs, and where the host sees it.
    pub fn program(self) -> (&'static str, &'static str) {
        match self {
            Self::Hollow => ("kubemark", hollow::BINARY),
            Self::Real => ("kubelet", real::BINARY),
        }
    }

    /// What systemd-nspawn is told besides, as arguments and as environment.
    pub fn nspawn(self) -> (&'static [&'static str], &'static [(&'static str, &'static str)]) {
        match self {
            Self::Hollow => (&[], &[]),
            Self::Real => (real::NSPAWN_ARGUMENTS, real::NSPAWN_ENVIRONMENT),
        }
    }
}

/// Installs the kubelet as a service of a host that is off.
pub async fn install(host: &Host, kubeconfig: &str, authority: &Path) -> Result<()> {
    write(host, KUBECONFIG, kubeconfig)?;
    match host.config.kind {
        Kind::Hollow => hollow::install(host),
        Kind::Real => real::install(host, authority).await,
    }
}

/// Has the kubelet of a host that is off ask another server.
pub fn move_to(host: &Host, from: &str, to: &str) -> Result<()> {
    let path = host.root().join(KUBECONFIG.trim_start_matches('/'));
    let text = fs::read_to_string(&path)?;
    Ok(fs::write(&path, text.replace(from, to))?)
}

/// The labels that the kubelet gives its Node, as an argument; nothing without any.
fn labels(host: &Host) -> String {
    let labels: Vec<String> =
        host.config.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    match labels.is_empty() {
        true => String::new(),
        false => format!("--node-labels={}", labels.join(",")),
    }
}

/// Writes a file on a host that is off.
fn write(host: &Host, path: &str, contents: impl AsRef<[u8]>) -> Result<()> {
    let path = host.root().join(path.trim_start_matches('/'));
    fs::create_dir_all(path.parent().context("a file without a directory")?)?;
    Ok(fs::write(path, contents)?)
}

/// Writes a program on a host that is off.
fn write_program(host: &Host, path: &str, contents: impl AsRef<[u8]>) -> Result<()> {
    write(host, path, contents)?;
    let file = host.root().join(path.trim_start_matches('/'));
    Ok(fs::set_permissions(file, fs::Permissions::from_mode(0o755))?)
}

/// Writes a unit that is started at each boot of a host that is off.
fn write_unit(host: &Host, name: &str, text: &str) -> Result<()> {
    write(host, &format!("/etc/systemd/system/{name}"), text)?;
    let wants = host.root().join("etc/systemd/system/multi-user.target.wants");
    fs::create_dir_all(&wants)?;
    let link = wants.join(name);
    if !link.is_symlink() {
        symlink(format!("../{name}"), link)?;
    }
    Ok(())
}
