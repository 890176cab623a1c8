//! The sentinel appears in the middle of an installation: a reboot then would leave a half-configured system.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::time::{Instant, timeout};
use tokio::try_join;

use super::stage::{CONFIG, CYCLE, SLOT, SOON, Stage, request_reboot, run_anyway};
use super::status::{Status, status, wait_status};
use super::verdict;
use crate::host::Host;
use crate::observer::State;
use crate::progress::say;
use crate::proxy::{Action, Rule, Verb};

/// How long the package goes on after it has asked for a reboot.
const GOES_ON: Duration = Duration::from_secs(30);

/// Where [`BUILD`] leaves the package.
const DEB: &str = "/var/tmp/slow.deb";

/// What the package's script leaves as the last thing it does.
const CONFIGURED: &str = "/var/tmp/slow-kernel-is-configured";

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
    host.run_ok(&["test", "-e", CONFIGURED]).await?;
    say("dpkg --audit finds nothing");
    Ok(())
}

async fn install(host: &Host) -> Result<()> {
    let (code, text) = run_anyway(host, &["apt-get", "install", "-y", DEB]).await?;
    ensure!(code == Some(0), "apt-get ended with {code:?}:\n{text}");
    say(format!("{}: apt-get is done", host.name()));
    Ok(())
}

/// From before apt begins until shortly before it is done.
async fn nothing_begins(stage: &Stage, host: &Host) -> Result<()> {
    let named = wait_status(host, "waiting for apt", names_it, SOON);
    let begins = |state: &State| {
        state.holder(SLOT).is_some()
            || state.nodes.values().any(|node| node.unschedulable || node.cordon_mark)
    };
    // apt needs a moment before the package's script begins: until then it is surely not done.
    let never = stage.never("a claim or a cordon while apt is at work", begins, GOES_ON);
    let (seen, ()) = try_join!(named, never)?;
    let packages = seen.request.map(|request| request.packages).unwrap_or_default();
    ensure!(packages == ["slow-kernel"], "asked for by {packages:?}");
    let last = status(host).await;
    ensure!(last.as_ref().is_some_and(names_it), "the status does not name apt any more: {last:?}");
    Ok(())
}

fn names_it(status: &Status) -> bool {
    status.says("package-manager", &["packages are being installed"])
}

/// dpkg, which inhibits nothing, begins when all that is left is to call logind: the gates are asked once more.
pub(super) async fn after_the_stamp(stage: &Stage) -> Result<()> {
    stage.install_everywhere(&format!("{CONFIG}reboot_timeout = \"30s\"\n")).await?;
    let host = stage.host(1);
    host.run_ok(&["sh", "-c", BUILD]).await?;
    let stamp = Rule::new(Verb::Patch, "leases").body_contains("\"rebootd.io/rebooting\":\"").nth(1);
    let stamp = stage.lab.proxy(host.name()).add(stamp, Action::HoldAnswer);
    request_reboot(host).await?;
    let hit = timeout(SOON, stamp.wait_hit()).await.context("no stamp came")?;
    // As a unit of the host, which a shutdown would stop like any other.
    let dpkg = ["systemd-run", "--unit=slow-install", "--remain-after-exit", "dpkg", "--install", DEB];
    host.run_ok(&dpkg).await?;
    // Its process alone is not enough: it may not have taken its lock yet.
    let script = ["pgrep", "--full", "slow-kernel.postinst"];
    let is_at_work = || async { anyhow::Ok(run_anyway(host, &script).await?.0 == Some(0)) };
    let deadline = Instant::now() + SOON;
    while !is_at_work().await? {
        ensure!(Instant::now() < deadline, "dpkg does not begin");
    }
    hit.release();
    say(format!("{}: dpkg is at work, and the stamp is answered", host.name()));
    host.wait_boot_number(2, CYCLE).await?;
    verdict::settled(stage, host).await?;
    verdict::booted(host, 2)?;
    host.run_ok(&["test", "-e", CONFIGURED]).await.context("the host rebooted while dpkg was at work")?;
    let audit = host.run_ok(&["dpkg", "--audit"]).await?;
    ensure!(audit.trim().is_empty(), "the reboot left a half-configured system:\n{audit}");
    verdict::one_at_a_time(&stage.observer.history())
}
