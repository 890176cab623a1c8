//! rebootd on a host, installed and configured as an administrator would.

use std::path::Path;

use anyhow::{Context, Result};
use tokio::fs;

use crate::control_plane::ControlPlane;
use crate::host::Host;

/// Where the package keeps what an administrator applies to the cluster.
const MANIFESTS: &str = "usr/share/rebootd/manifests";

/// Installs the package with apt and configures it; the cluster's part is applied if it is not there yet.
pub async fn install(
    control_plane: &ControlPlane,
    host: &Host,
    server: &str,
    deb: &Path,
    config: &str,
) -> Result<()> {
    install_package(host, deb).await?;
    control_plane.apply_directory(&host.root().join(MANIFESTS)).await?;
    write_kubeconfig(control_plane, host, server).await?;
    host.write_file("/etc/rebootd/config.toml", config).await?;
    host.run_ok(&["systemctl", "restart", "rebootd"]).await?;
    Ok(())
}

/// Installs a package, which may upgrade one that is there, without a network.
pub async fn install_package(host: &Host, deb: &Path) -> Result<()> {
    let name = deb.file_name().context("a package without a name")?.to_string_lossy();
    let path = format!("/var/tmp/{name}");
    host.write_file(&path, fs::read(deb).await?).await?;
    // Nobody is there to answer; an upgrade keeps the configuration that is there.
    let environment = ["env", "DEBIAN_FRONTEND=noninteractive"];
    let install =
        ["apt-get", "install", "-y", "--allow-downgrades", "-oDpkg::Options::=--force-confold", &path];
    host.run_ok(&[&environment[..], &install[..]].concat()).await?;
    host.run_ok(&["rm", &path]).await?;
    Ok(())
}

/// Gives the host a token that is bound to its Node, and a kubeconfig that names it.
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
