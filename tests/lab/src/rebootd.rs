//! rebootd on a host, installed and configured as an administrator would.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::fs;
use tokio::time::{Instant, sleep};

use crate::control_plane::ControlPlane;
use crate::host::Host;
use crate::{command, package};

/// Where the package keeps what an administrator applies to the cluster.
const MANIFESTS: &str = "usr/share/rebootd/manifests";
const PROGRAM: &str = "usr/bin/rebootctl";
const OWN_TOKEN: &str = "/var/lib/rebootd/token";
/// Root's unit takes a second, and a busy API server may be asked again.
const ENROLLED: Duration = Duration::from_secs(60);

/// Installs the package with apt and configures it; the cluster's part is applied if it is not there yet.
pub async fn install(
    control_plane: &ControlPlane,
    host: &Host,
    server: &str,
    deb: &Path,
    config: &str,
) -> Result<()> {
    install_package(host, deb).await?;
    apply_manifests(control_plane, host).await?;
    host.write_file("/etc/rebootd/config.toml", config).await?;
    enroll(control_plane, host, server).await
}

/// As an administrator does where no DaemonSet brings tokens: `rebootctl enroll` where kubectl works, and
/// `rebootctl credential install` on the host. Returns once the host has a token of its own.
pub async fn enroll(control_plane: &ControlPlane, host: &Host, server: &str) -> Result<()> {
    let before = host.run(&["cat", OWN_TOKEN]).await?.stdout;
    let enroll = ["enroll", "--to", "-", "--server", server, host.name()];
    let credential = control_plane.rebootctl(&host.root().join(PROGRAM), &enroll).await?;
    let install = ["rebootctl", "credential", "install"];
    let output = host.run_with_input(&install, Some(credential.as_bytes())).await?;
    command::succeeded(&format!("{}: {}", host.name(), install.join(" ")), output)?;
    let deadline = Instant::now() + ENROLLED;
    loop {
        let now = host.run(&["cat", OWN_TOKEN]).await?.stdout;
        if !now.is_empty() && now != before {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "{} has no token of its own", host.name());
        sleep(Duration::from_millis(100)).await;
    }
}

/// Applies the package's manifests, except the pods that bring tokens.
pub async fn apply_manifests(control_plane: &ControlPlane, host: &Host) -> Result<()> {
    control_plane.apply_directory(&host.root().join(MANIFESTS)).await
}

/// Installs the package with rebootctl's, which may upgrade those that are there, without a network.
pub async fn install_package(host: &Host, deb: &Path) -> Result<()> {
    let paths = lay(host, deb).await?;
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    // Nobody is there to answer; an upgrade keeps the configuration that is there.
    let environment = ["env", "DEBIAN_FRONTEND=noninteractive"];
    let install = ["apt-get", "install", "-y", "--allow-downgrades", "-oDpkg::Options::=--force-confold"];
    host.run_ok(&[&environment[..], &install[..], &paths[..]].concat()).await?;
    host.run_ok(&[&["rm"], &paths[..]].concat()).await?;
    Ok(())
}

/// Copies both packages to the host; gives their paths there.
pub async fn lay(host: &Host, deb: &Path) -> Result<Vec<String>> {
    let mut paths = Vec::new();
    for deb in package::with_rebootctl(deb) {
        let name = deb.file_name().context("a package without a name")?.to_string_lossy();
        let path = format!("/var/tmp/{name}");
        host.write_file(&path, fs::read(&deb).await?).await?;
        paths.push(path);
    }
    Ok(paths)
}

/// Gives the host a token that is bound to its Node, and a kubeconfig that names it: a credential that a person keeps.
pub async fn write_kubeconfig(control_plane: &ControlPlane, host: &Host, server: &str) -> Result<()> {
    let token = control_plane.node_bound_token("rebootd", "rebootd", host.name(), "24h").await?;
    host.write_file("/etc/rebootd/token", token).await?;
    host.write_file("/etc/rebootd/ca.pem", fs::read(control_plane.pki.ca()).await?).await?;
    let kubeconfig = format!(
        "apiVersion: v1
kind: Config
current-context: default
clusters:
- name: cluster
  cluster:
    server: {server}
    certificate-authority: /etc/rebootd/ca.pem
users:
- name: rebootd
  user:
    tokenFile: /etc/rebootd/token
contexts:
- name: default
  context:
    cluster: cluster
    user: rebootd
"
    );
    host.write_file("/etc/rebootd/kubeconfig", kubeconfig).await?;
    let secrets = "cd /etc/rebootd && chown root:rebootd token kubeconfig && chmod 0640 token kubeconfig";
    host.run_ok(&["sh", "-c", secrets]).await?;
    Ok(())
}
