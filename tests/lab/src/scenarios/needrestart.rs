//! The real needrestart on a real dpkg's heels: a service that runs an old library asks, and no longer once it was restarted.

use anyhow::{Result, ensure};

use super::stage::{CONFIG, CYCLE, SOON, Stage, run_anyway};
use super::status::{Status, wait_phase, wait_status};
use super::verdict;
use crate::host::Host;
use crate::progress::say;

const FILE: &str = "/etc/rebootd/config.toml";
const UNIT: &str = "rebootd-needrestart.service";
/// Found by the image's recipe where needrestart's own package does not look.
const HOOK: &str = "mv /root/99needrestart /etc/apt/apt.conf.d/";

/// Two versions of a package with a library, and a service that has it loaded.
const BUILD: &str = r#"
set -e
mkdir -p /var/tmp/library/DEBIAN /var/tmp/library/usr/lib/lab
cd /var/tmp/library
for version in 1 2; do
    printf 'Package: lab-library\nVersion: %s\nArchitecture: all\nMaintainer: The lab <lab@localhost>\nDescription: a library\n' \
        $version > DEBIAN/control
    cp -L /lib/*/libm.so.6 usr/lib/lab/liblab.so
    dpkg-deb --build . /var/tmp/library-$version.deb
done
cat > /etc/systemd/system/lab-server.service <<END
[Service]
Environment=LD_PRELOAD=/usr/lib/lab/liblab.so
ExecStart=/usr/bin/sleep infinity
[Install]
WantedBy=multi-user.target
END
apt-get install -y /var/tmp/library-1.deb
systemctl daemon-reload
systemctl enable --now lab-server
"#;

pub(super) async fn run(stage: &Stage) -> Result<()> {
    let host = stage.host(1);
    host.run_ok(&["sh", "-c", HOOK]).await?;
    host.run_ok(&["sh", "-ec", BUILD]).await?;
    let asks = "[host]\nneedrestart = true\n";
    let no_window = "[policy]\nsettle = \"5s\"\nmin_interval = \"0\"\n";
    stage.install(host, &format!("{no_window}{asks}")).await?;
    let unknown = |status: &Status| status.says("unreadable", &["needrestart", "rebootd-needrestart.path"]);
    wait_status(host, "told that nothing runs needrestart", unknown, SOON).await?;
    host.run_ok(&["systemctl", "enable", "--now", "rebootd-needrestart.path"]).await?;
    let quiet = |status: &Status| status.phase == "idle" && status.reasons.is_empty();
    wait_status(host, "idle, as nothing is outdated", quiet, SOON).await?;

    update(host).await?;
    wait_status(host, "no-window with the service", waits, SOON).await?;
    host.run_ok(&["systemctl", "restart", "lab-server"]).await?;
    host.run_ok(&["systemctl", "start", UNIT]).await?;
    wait_status(host, "idle, as nothing is outdated any more", quiet, SOON).await?;

    say("needrestart is broken");
    host.run_ok(&["sh", "-c", "mv /usr/sbin/needrestart /root/"]).await?;
    let (code, _) = run_anyway(host, &["systemctl", "start", UNIT]).await?;
    ensure!(code != Some(0), "the unit succeeds without needrestart");
    wait_status(host, "told that there is no answer", unknown, SOON).await?;
    host.run_ok(&["sh", "-c", "mv /root/needrestart /usr/sbin/"]).await?;

    update(host).await?;
    wait_status(host, "no-window with the service", waits, SOON).await?;
    verdict::booted(host, 1)?;
    host.write_file(FILE, format!("{CONFIG}{asks}")).await?;
    host.run_ok(&["systemctl", "reload", "rebootd"]).await?;
    host.wait_boot_number(2, CYCLE).await?;
    wait_phase(host, "idle", CYCLE).await?;
    wait_status(host, "idle, and has an answer", quiet, SOON).await?;
    verdict::settled(stage, host).await?;
    verdict::booted(host, 2)
}

/// Installs the library again: the running service has the old one loaded.
async fn update(host: &Host) -> Result<()> {
    let install = ["apt-get", "install", "-y", "--allow-downgrades", "--reinstall", "/var/tmp/library-2.deb"];
    host.run_ok(&install).await?;
    say("a library was replaced under a service");
    Ok(())
}

fn waits(status: &Status) -> bool {
    let packages = status.request.as_ref().map(|request| request.packages.as_slice()).unwrap_or_default();
    status.says("no-window", &[]) && packages == ["lab-server.service"]
}
