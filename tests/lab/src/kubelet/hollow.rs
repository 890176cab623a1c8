//! kubemark's hollow kubelet.

use anyhow::Result;

use super::KUBECONFIG;
use crate::host::Host;

/// Where hosts see the kubemark binary.
pub(super) const BINARY: &str = "/usr/local/bin/kubemark";

/// Installs it as a service of a host that is off.
pub(super) fn install(host: &Host) -> Result<()> {
    let (name, labels, more) = (host.name(), super::labels(host), host.config.kubelet.join(" "));
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
    super::write_unit(host, "kubelet.service", &unit)
}
