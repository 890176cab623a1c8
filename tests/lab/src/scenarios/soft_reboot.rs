//! `systemctl soft-reboot` restarts everything but the kernel: no reboot in our sense, and no harm in any phase.
//!
//! Boot id and `/run` stay, so the request stays, and nothing counts as proven by it. Only Debian 13 knows it.

use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::time::{Instant, sleep};

use super::places::{Place, keep};
use super::stage::{CONFIG, CYCLE, SENTINEL, SOON, Stage, is_absent, slot_of};
use super::status::{Status, wait_phase, wait_status};
use super::verdict;
use crate::host::Host;
use crate::progress::say;

/// The lab mounts the kubelet's program into its hosts; a soft reboot unmounts all that systemd did not mount.
const OWN_KUBELET: &str = "cp /usr/local/bin/kubemark /var/lib/kubemark && systemctl stop kubelet && \
    sed -i s,/usr/local/bin/kubemark,/var/lib/kubemark, /etc/systemd/system/kubelet.service && \
    systemctl daemon-reload && systemctl start kubelet";

pub(super) async fn run(stage: &Stage) -> Result<()> {
    let host = stage.host(2);
    stage.install_alone(host, &format!("{CONFIG}reboot_timeout = \"30s\"\n")).await?;
    host.run_ok(&["sh", "-c", OWN_KUBELET]).await?;
    let holds = || stage.observer.state().holder(&slot_of(host)).map(str::to_owned);

    let waiting = keep(stage, host, Place::Waiting).await?;
    soft_reboot(host).await?;
    let waits = |status: &Status| status.says("no-free-slot", &["a-person"]);
    wait_status(host, "waiting again", waits, SOON).await?;
    let draining_pods = stage.stuck_pods_on(host, 1).await?;
    waiting.let_go().await?;

    let stuck = |status: &Status| status.says("pods-left", &["blocked by budget"]);
    wait_status(host, "stuck in its drain", stuck, SOON).await?;
    soft_reboot(host).await?;
    wait_status(host, "stuck in its drain again", stuck, SOON).await?;
    ensure!(stage.node(host.name())?.cordoned_by_us() && holds().is_some(), "the drain was undone");
    ensure!(!is_absent(host, SENTINEL).await?, "the sentinel is gone");

    let stamped = keep(stage, host, Place::Stamped);
    let delete = ["delete", "poddisruptionbudget", &draining_pods.name];
    let budget = stage.lab.kubectl(&delete);
    // In this order: what holds the stamp is there before the budget is gone.
    let (stamped, _) = tokio::try_join!(biased; stamped, budget)?;
    soft_reboot(host).await?;
    stamped.let_go().await?;
    let asked = |status: &Status| status.phase == "rebooting" && status.says("reboot-asked", &["(try 1)"]);
    wait_status(host, "believing in the reboot that was asked for", asked, SOON).await?;
    ensure!(stage.node(host.name())?.cordoned_by_us() && holds().is_some(), "a soft reboot counted as one");
    verdict::booted(host, 1)?;
    host.wait_boot_number(2, CYCLE).await?;
    verdict::settled(stage, host).await?;

    let returning = keep(stage, host, Place::Returning).await?;
    soft_reboot(host).await?;
    wait_phase(host, "returning", SOON).await?;
    ensure!(stage.node(host.name())?.cordoned_by_us() && holds().is_some(), "it returned unproven");
    returning.let_go().await?;
    verdict::settled(stage, host).await?;
    verdict::booted(host, 3)?;
    verdict::cordoned(&stage.observer.history(), host.name(), 2)?;
    verdict::cordoned_under_slot(&stage.observer.history(), host.name(), &slot_of(host))
}

/// Waits until systemd has started everything again.
async fn soft_reboot(host: &Host) -> Result<()> {
    let manager = |property: &'static str| async move {
        let show = ["systemctl", "show", "--property", property, "--value"];
        anyhow::Ok(host.run_ok(&show).await?.trim().to_owned())
    };
    let before: u32 = manager("SoftRebootsCount").await?.parse()?;
    let boot = host.read_file("/proc/sys/kernel/random/boot_id").await?;
    // It may be gone before this is answered.
    let _ = host.run(&["systemctl", "soft-reboot"]).await;
    let deadline = Instant::now() + SOON;
    while manager("SoftRebootsCount").await.ok().and_then(|count| count.parse().ok()) != Some(before + 1) {
        ensure!(Instant::now() < deadline, "{} does not reboot softly", host.name());
        sleep(Duration::from_millis(200)).await;
    }
    host.wait_booted(SOON).await?;
    ensure!(host.read_file("/proc/sys/kernel/random/boot_id").await? == boot, "another boot id");
    say(format!("{} has rebooted softly; its boot id is the same", host.name()));
    Ok(())
}
