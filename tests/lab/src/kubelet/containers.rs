//! The two container images that real kubelets run. They are made here and imported on each host; none is ever pulled.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use anyhow::{Context, Result};

use crate::command;
use crate::host::Host;

/// What every pod in the lab runs: [`app.sh`](./app.sh), with busybox.
pub const APP: &str = "localhost/lab-app:1";
/// What holds a pod's namespaces.
pub const PAUSE: &str = "localhost/lab-pause:1";

const DIRECTORY: &str = "usr/local/share/lab-containers";
const APPLETS: [&str; 12] =
    ["sh", "cat", "cut", "date", "env", "kill", "ls", "ps", "sleep", "tee", "touch", "wget"];

/// containerd keeps them over a reboot; a machine that was installed again has lost them.
const UNIT: &str = "[Unit]
Description=Container images of the lab
After=containerd.service
ConditionPathExists=!/var/lib/containerd/lab-containers-are-imported

[Service]
Type=oneshot
ExecStart=ctr --namespace k8s.io images import /usr/local/share/lab-containers/pause.tar
ExecStart=ctr --namespace k8s.io images import /usr/local/share/lab-containers/app.tar
ExecStart=touch /var/lib/containerd/lab-containers-are-imported

[Install]
WantedBy=multi-user.target
";

/// Makes both on a host that is off, with the busybox that it has; it imports them when it boots.
pub(super) async fn install(host: &Host) -> Result<()> {
    let directory = host.root().join(DIRECTORY);
    fs::create_dir_all(directory.join("layer"))?;
    pause(&directory).await?;
    app(host, &directory).await?;
    super::write_unit(host, "lab-containers.service", UNIT)
}

async fn pause(directory: &Path) -> Result<()> {
    let layer = directory.join("pause");
    fs::create_dir_all(&layer)?;
    let program = layer.join("pause");
    let arguments = ["-static", "-Os", "-s", "-x", "c", "-o", &program.to_string_lossy(), "-"];
    command::run_with_input("cc", &arguments, Some(include_bytes!("pause.c"))).await?;
    archive(directory, "pause", PAUSE, r#"["/pause"]"#).await
}

async fn app(host: &Host, directory: &Path) -> Result<()> {
    let layer = directory.join("app");
    for part in ["bin", "tmp", "log"] {
        fs::create_dir_all(layer.join(part))?;
    }
    let busybox = layer.join("bin/busybox");
    fs::copy(host.root().join("bin/busybox"), &busybox).context("the host has no busybox")?;
    for applet in APPLETS {
        symlink("busybox", layer.join("bin").join(applet))?;
    }
    fs::write(layer.join("app"), include_str!("app.sh"))?;
    archive(directory, "app", APP, r#"["/bin/sh", "/app"]"#).await
}

/// Packs a directory as `docker save` would, and removes it.
async fn archive(directory: &Path, name: &str, tag: &str, entrypoint: &str) -> Result<()> {
    let script = r#"
        cd "$1"
        tar --numeric-owner --owner=0 --group=0 -C "$2" -cf layer.tar .
        sum=$(sha256sum layer.tar | cut -d ' ' -f 1)
        echo "{\"architecture\": \"$(dpkg --print-architecture)\", \"os\": \"linux\",
            \"config\": {\"Entrypoint\": $4, \"Env\": [\"PATH=/bin\"]},
            \"rootfs\": {\"type\": \"layers\", \"diff_ids\": [\"sha256:$sum\"]}}" > config.json
        echo "[{\"Config\": \"config.json\", \"RepoTags\": [\"$3\"], \"Layers\": [\"layer.tar\"]}]" > manifest.json
        tar -cf "$2.tar" manifest.json config.json layer.tar
        rm -r manifest.json config.json layer.tar "$2"
    "#;
    command::run("sh", &["-euc", script, "archive", &directory.to_string_lossy(), name, tag, entrypoint])
        .await?;
    Ok(())
}
