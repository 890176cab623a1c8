//! A real kubelet with containerd, runc and a bridge for its pods: configured as kubeadm and Debian would.

use std::fs;
use std::path::Path;

use anyhow::Result;

use super::{KUBECONFIG, containers, lacking};
use crate::host::Host;

/// Where hosts see the kubelet.
pub(super) const BINARY: &str = "/usr/bin/kubelet";
const CONFIG: &str = "/etc/kubernetes/kubelet.yaml";
const AUTHORITY: &str = "/etc/kubernetes/pki/ca.crt";

/// The kubelet's watch for processes that were killed for want of memory reads the kernel's log.
pub(super) const NSPAWN_ARGUMENTS: &[&str] = &["--capability=all", "--bind=/dev/kmsg"];
/// runc calls bpf() and keyctl(), and network plugins write below /proc/sys/net.
pub(super) const NSPAWN_ENVIRONMENT: &[(&str, &str)] =
    &[("SYSTEMD_SECCOMP", "0"), ("SYSTEMD_NSPAWN_API_VFS_WRITABLE", "network")];

/// Installs all of it on a host that is off.
pub(super) async fn install(host: &Host, authority: &Path) -> Result<()> {
    super::write(host, AUTHORITY, fs::read(authority)?)?;
    super::write(host, CONFIG, kubelet_config())?;
    super::write_unit(host, "kubelet.service", &kubelet_unit(host))?;
    super::write(host, "/etc/containerd/config.toml", containerd_config())?;
    super::write(host, "/etc/cni/net.d/10-lab.conflist", network_config(host))?;
    fs::create_dir_all(host.root().join("etc/kubernetes/manifests"))?;
    lacking::install(host)?;
    containers::install(host).await
}

fn kubelet_config() -> String {
    format!(
        "apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication:
  anonymous: {{enabled: false}}
  webhook: {{enabled: true}}
  x509: {{clientCAFile: {AUTHORITY}}}
authorization: {{mode: Webhook}}
cgroupDriver: systemd
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
failSwapOn: false
resolvConf: ''
shutdownGracePeriod: 30s
shutdownGracePeriodCriticalPods: 10s
staticPodPath: /etc/kubernetes/manifests
{}",
        lacking::KUBELET_CONFIG
    )
}

/// As in the package of the Kubernetes project: in no order with containerd, and ten seconds between two starts.
fn kubelet_unit(host: &Host) -> String {
    let (name, address) = (host.name(), host.network.address);
    let (labels, more, sysctls) = (super::labels(host), host.config.kubelet.join(" "), lacking::SYSCTLS);
    format!(
        "[Unit]
Description=kubelet: The Kubernetes Node Agent
Wants=network-online.target
After=network-online.target

[Service]
ExecStartPre={sysctls}
ExecStart={BINARY} --kubeconfig={KUBECONFIG} --config={CONFIG} --hostname-override={name} --node-ip={address} {labels} {more} --v=2
Restart=always
StartLimitInterval=0
RestartSec=10

[Install]
WantedBy=multi-user.target
"
    )
}

fn containerd_config() -> String {
    let (pause, runc) = (containers::PAUSE, lacking::RUNC);
    format!(
        "version = 2
[plugins.\"io.containerd.grpc.v1.cri\"]
  sandbox_image = \"{pause}\"
[plugins.\"io.containerd.grpc.v1.cri\".cni]
  bin_dir = \"/usr/lib/cni\"
[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.runc]
  runtime_type = \"io.containerd.runc.v2\"
[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.runc.options]
  BinaryName = \"{runc}\"
  SystemdCgroup = true
"
    )
}

/// A network for the pods of each host; they meet those of no other one.
fn network_config(host: &Host) -> String {
    let number = host.network.address.octets()[3];
    format!(
        r#"{{"cniVersion": "0.4.0", "name": "lab", "plugins": [
  {{"type": "bridge", "bridge": "cni0", "isGateway": true,
   "ipam": {{"type": "host-local", "ranges": [[{{"subnet": "10.244.{number}.0/24"}}]], "routes": [{{"dst": "0.0.0.0/0"}}]}}}}
]}}
"#
    )
}
