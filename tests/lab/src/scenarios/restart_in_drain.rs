//! An administrator restarts the service, and apt installs the package again, in the middle of a drain.

use anyhow::{Result, ensure};

use super::stage::{CONFIG, CYCLE, Stage, request_reboot, unit};
use super::verdict;
use crate::host::Host;
use crate::progress::say;
use crate::rebootd;

const PODS: u32 = 3;

pub(super) async fn run(stage: &Stage) -> Result<()> {
    stage.install_everywhere(CONFIG).await?;
    for host in &stage.lab.hosts {
        stage.pods_on(host, PODS, 10).await?;
    }
    let [first, second] = [1, 2].map(|number| stage.host(number));

    request_reboot(first).await?;
    stage.wait_mid_drain(first.name()).await?;
    let before = unit(first, "MainPID").await?;
    first.run_ok(&["systemctl", "restart", "rebootd"]).await?;
    ensure!(unit(first, "MainPID").await? != before, "the service was not restarted");
    say(format!("{}: the service was restarted", first.name()));
    once(stage, first).await?;

    // Read while the drain can still not be over: what apt needs is there before it begins.
    let paths = rebootd::lay(second, &stage.package).await?;
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    request_reboot(second).await?;
    stage.wait_mid_drain(second.name()).await?;
    let before = unit(second, "MainPID").await?;
    let environment = ["env", "DEBIAN_FRONTEND=noninteractive"];
    let install = ["apt-get", "install", "--reinstall", "-y", "-oDpkg::Options::=--force-confold"];
    second.run_ok(&[&environment[..], &install, &paths].concat()).await?;
    ensure!(unit(second, "MainPID").await? != before, "the new package's daemon does not run");
    say(format!("{}: the package was installed again", second.name()));
    once(stage, second).await?;
    verdict::one_at_a_time(&stage.observer.history())
}

/// The host reboots once, and nothing was done twice.
async fn once(stage: &Stage, host: &Host) -> Result<()> {
    host.wait_boot_number(2, CYCLE).await?;
    verdict::settled(stage, host).await?;
    verdict::booted(host, 2)?;
    verdict::cordoned(&stage.observer.history(), host.name(), 1)?;
    let evicted = verdict::evicted_once(stage, host.name())?;
    ensure!(evicted == PODS as usize, "{evicted} pods were evicted, not {PODS}");
    Ok(())
}
