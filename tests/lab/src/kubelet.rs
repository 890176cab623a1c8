//! The kubelet of a host: kubemark's hollow one, which does everything a kubelet does towards the API server.

use std::fs;

use anyhow::Result;

use crate::host::Host;

/// Where hosts see the kubemark binary.
pub const BINARY: &str = "/usr/local/bin/kubemark";
const KUBECONFIG: &str = "/etc/kubernetes/kubelet.conf";

/// Has the kubelet of a host that is off ask another server.
pub fn move_to(host: &Host, from: &str, to: &str) -> Result<()> {
    let path = host.root().join(KUBECONFIG.trim_start_matches('/'));
    let text = fs::read_to_string(&path)?;
    Ok(fs::write(&path, text.replace(from, to))?)
}

/// Installs the kubelet as a service of a host that is off.
pub fn install(host: &Host, kubeconfig: &str) -> Result<()> {
    let root = host.root();
    fs::create_dir_all(root.join("etc/kubernetes"))?;
    fs::write(root.join(KUBECONFIG.trim_start_matches('/')), kubeconfig)?;
    let labels: Vec<String> =
        host.config.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let labels = match labels.is_empty() {
        true => String::new(),
        false => format!("--node-labels={}", labels.join(",")),
    };
    let more = host.config.kubelet.join(" ");
    let name = host.name();
    // JSON, not Protobuf: the proxy adds the boot id and the machine id, which a hollow kubelet leaves empty.
    let unit = format!(
        "[Unit]
Description=Kubelet (without containers)
After=network.target

[Service]
ExecStart={BINARY} --morph=kubelet --name={name} --kubeconfig={KUBECONFIG} --use-host-image-service=false --kube-api-content-type=application/json {labels} {more} --v=2
Restart=always
RestartSec=1s

[Install]
WantedBy=multi-user.target
"
    );
    let units = root.join("etc/systemd/system");
    fs::write(units.join("kubelet.service"), unit)?;
    fs::create_dir_all(units.join("multi-user.target.wants"))?;
    std::os::unix::fs::symlink("../kubelet.service", units.join("multi-user.target.wants/kubelet.service"))?;
    Ok(())
}
