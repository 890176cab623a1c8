//! What must not be interrupted: a host that has not been up for long, and a pod that has to finish first; and what comes too
//! soon or too often.

use anyhow::{Context, Result, ensure};

use super::stage::{CONFIG, CYCLE, SOON, Stage, request_reboot};
use super::status::{Status, wait_status};
use super::verdict;
use crate::host::Host;

const FILE: &str = "/etc/rebootd/config.toml";

pub(super) async fn run(stage: &Stage) -> Result<()> {
    let host = stage.host(1);
    let pods = stage.pods_on(host, 1, 0).await?;
    let gates = |min_uptime: u64| {
        let pods = &pods.name;
        format!("{CONFIG}[gates]\nmin_uptime = \"{min_uptime}s\"\nblocking_pods = [\"app in ({pods},x)\"]\n")
    };
    let too_short = |status: &Status| status.says("up-for-too-short", &["min_uptime", "left"]);
    stage.install(host, &gates(uptime(host).await? + 3600)).await?;
    request_reboot(host).await?;
    wait_status(host, "up-for-too-short", too_short, SOON).await?;
    // Only now: how long an installation takes is not known before.
    let min_uptime = uptime(host).await? + 20;
    host.write_file(FILE, gates(min_uptime)).await?;
    host.run_ok(&["systemctl", "reload", "rebootd"]).await?;
    let blocked = |status: &Status| status.says("pods-refused", &["blocking_pods", &pods.name]);
    wait_status(host, "pods-refused", blocked, SOON).await?;
    ensure!(uptime(host).await? >= min_uptime, "it did not wait for `min_uptime`");
    verdict::holds_nothing(stage, host.name())?;
    ensure!(!stage.node(host.name())?.unschedulable, "it is cordoned beside a pod that has to finish");
    verdict::booted(host, 1)?;

    stage.lab.kubectl(&["delete", "deployment", &pods.name]).await?;
    host.wait_boot_number(2, CYCLE).await?;
    verdict::settled(stage, host).await?;
    verdict::booted(host, 2)?;
    not_so_often(stage, host).await
}

/// In whole seconds. A container has the clock of the machine around it.
async fn uptime(host: &Host) -> Result<u64> {
    let text = host.run_ok(&["cat", "/proc/uptime"]).await?;
    let seconds: f64 = text.split(' ').next().context("no uptime")?.parse()?;
    Ok(seconds as u64)
}

/// A request that is too young, and one that comes too often.
async fn not_so_often(stage: &Stage, host: &Host) -> Result<()> {
    let limits = |most: u32| format!("{CONFIG}min_age = \"20s\"\nmax_reboots_per_day = {most}\n");
    host.write_file(FILE, limits(2)).await?;
    host.run_ok(&["systemctl", "reload", "rebootd"]).await?;
    request_reboot(host).await?;
    let too_new = |status: &Status| status.says("request-too-new", &["min_age", "left"]);
    wait_status(host, "request-too-new", too_new, SOON).await?;
    host.wait_boot_number(3, CYCLE).await?;
    verdict::settled(stage, host).await?;

    request_reboot(host).await?;
    let too_many = |status: &Status| status.says("too-many-reboots", &["2 times", "max_reboots_per_day"]);
    wait_status(host, "too-many-reboots", too_many, SOON).await?;
    host.write_file(FILE, limits(3)).await?;
    host.run_ok(&["systemctl", "reload", "rebootd"]).await?;
    host.wait_boot_number(4, CYCLE).await?;
    verdict::settled(stage, host).await?;
    verdict::booted(host, 4)
}
