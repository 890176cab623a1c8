//! The sentinel appears in the middle of an installation: a reboot then would leave a half-configured system.

use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::try_join;

use super::stage::{CONFIG, CYCLE, SLOT, SOON, Stage, run_anyway};
use super::status::{status, wait_status};
use super::verdict;
use crate::host::Host;
use crate::observer::State;
use crate::progress::say;

/// How long the package goes on after it has asked for a reboot.
const GOES_ON: Duration = Duration::from_secs(30);

/// Builds on the host a package whose postinst asks for a reboot, as a kernel's does, and is not done then.
const BUILD: &str = r#"
set -e
mkdir -p /var/tmp/slow/DEBIAN
cd /var/tmp/slow/DEBIAN
cat > control <<END
Package: slow-kernel
Version: 1
Architecture: all
Maintainer: The lab <lab@localhost>
Description: asks for a reboot and goes on for a while
END
cat > postinst <<END
#!/bin/sh
echo slow-kernel >> /run/reboot-required.pkgs
touch /run/reboot-required
sleep 30
touch /var/tmp/slow-kernel-is-configured
END
chmod 755 postinst
dpkg-deb --build /var/tmp/slow /var/tmp/slow.deb
"#;

pub(super) async fn run(stage: &Stage) -> Result<()> {
    stage.install_everywhere(CONFIG).await?;
    let host = stage.host(1);
    stage.pods_on(host, 2, 1).await?;
    host.run_ok(&["sh", "-c", BUILD]).await?;
    try_join!(install(host), nothing_begins(stage, host))?;
    let installed = stage.observer.now();

    host.wait_boot_number(2, CYCLE).await?;
    verdict::settled(stage, host).await?;
    verdict::booted(host, 2)?;
    let waited = installed.as_secs_f64();
    let claims: Vec<_> = stage.observer.history().holdings().iter().map(|held| held.from).collect();
    say(format!("installed at {waited:.1} s, claimed at {claims:.1?}"));
    let audit = host.run_ok(&["dpkg", "--audit"]).await?;
    ensure!(audit.trim().is_empty(), "the reboot left a half-configured system:\n{audit}");
    host.run_ok(&["test", "-e", "/var/tmp/slow-kernel-is-configured"]).await?;
    say("dpkg --audit finds nothing");
    Ok(())
}

async fn install(host: &Host) -> Result<()> {
    let (code, text) = run_anyway(host, &["apt-get", "install", "-y", "/var/tmp/slow.deb"]).await?;
    ensure!(code == Some(0), "apt-get ended with {code:?}:\n{text}");
    say(format!("{}: apt-get is done", host.name()));
    Ok(())
}

/// From the moment in which the sentinel is there until shortly before apt is done.
async fn nothing_begins(stage: &Stage, host: &Host) -> Result<()> {
    let asked = |status: &super::status::Status| status.says("package-manager", &["packages are being installed"]);
    let seen = wait_status(host, "waiting for apt", asked, SOON).await?;
    let packages = seen.request.map(|request| request.packages).unwrap_or_default();
    ensure!(packages == ["slow-kernel"], "asked for by {packages:?}");
    let begins = |state: &State| {
        state.holder(SLOT).is_some() || state.nodes.values().any(|node| node.unschedulable || node.cordon_mark)
    };
    // Before this the daemon was seen to wait, a second or two after the sentinel; afterwards apt still has to end.
    stage.never("a claim or a cordon while apt is at work", begins, GOES_ON - Duration::from_secs(5)).await?;
    let last = status(host).await;
    ensure!(last.as_ref().is_some_and(asked), "the status does not name apt any more: {last:?}");
    Ok(())
}
