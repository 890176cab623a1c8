//! Reboots that rebootd did not ask for, and reboots that it asked for and did not get.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::stage::{CONFIG, CYCLE, SLOT, SOON, Stage, request_reboot};
use super::status::{Status, wait_status};
use super::verdict;
use crate::host::Host;
use crate::observer::State;
use crate::progress::say;

/// Longer than rebootd takes to claim a free slot.
const NO_MORE: Duration = Duration::from_secs(15);
/// What logind starts, and on this host does nothing: logind accepts the call, and the machine stays up.
const NO_REBOOT: &str = "[Unit]\nDescription=Nothing\nDefaultDependencies=no\n";
const TARGET: &str = "/run/systemd/system/reboot.target";
const TRIES: u32 = 2;

/// Somebody reboots a host in the middle of its drain: that is the reboot that was wanted.
pub(super) async fn somebody_reboots(stage: &Stage) -> Result<()> {
    stage.install_everywhere(CONFIG).await?;
    let host = stage.host(1);
    let pods = stage.stuck_pods_on(host, 2).await?;
    request_reboot(host).await?;
    let stuck = |status: &Status| status.says("pods-left", &[&pods.name, "blocked by budget"]);
    wait_status(host, "naming the budget", stuck, SOON).await?;
    let node = stage.node(host.name())?;
    ensure!(node.cordoned_by_us() && stage.holder().as_deref() == Some(host.name()), "not in a drain");

    say("somebody reboots node1 by hand");
    // The host may be gone before this is answered.
    let _ = host.run(&["systemctl", "reboot"]).await;
    host.wait_boot_number(2, CYCLE).await?;
    host.wait_booted(SOON).await?;
    let free = |state: &State| state.holder(SLOT).is_none();
    stage.wait_for("the slot is free again", free, CYCLE).await?;
    verdict::settled(stage, host).await?;
    let claims = |state: &State| {
        state.holder(SLOT).is_some() || state.node("node1").is_none_or(|node| node.unschedulable)
    };
    stage.never("node1 begins again", claims, NO_MORE).await?;
    verdict::settled(stage, host).await?;
    verdict::booted(host, 2)?;
    let history = stage.observer.history();
    verdict::cordoned(&history, host.name(), 1)?;
    verdict::one_at_a_time(&history)
}

/// logind accepts the call and nothing happens, as often as rebootd may try.
pub(super) async fn run(stage: &Stage) -> Result<()> {
    let config = format!("{CONFIG}reboot_timeout = \"30s\"\nreboot_tries = {TRIES}\n");
    stage.install_everywhere(&config).await?;
    let host = stage.host(1);
    host.write_file(TARGET, NO_REBOOT).await?;
    host.run_ok(&["systemctl", "daemon-reload"]).await?;
    request_reboot(host).await?;
    for attempt in 1..=TRIES {
        let word = format!("(try {attempt})");
        let asked = |status: &Status| status.phase == "rebooting" && status.says("reboot-asked", &[&word]);
        wait_status(host, &format!("asking for the reboot {word}"), asked, SOON).await?;
        let node = stage.node(host.name())?;
        ensure!(node.cordoned_by_us() && stage.holder().as_deref() == Some(host.name()), "it stepped back");
    }
    let backs_off = |status: &Status| status.says("backing-off", &["stayed up"]);
    wait_status(host, "backing off", backs_off, SOON).await?;
    let undone = |state: &State| {
        let node = state.node("node1").is_some_and(|node| !node.unschedulable && !node.cordon_mark);
        node && state.holder(SLOT).is_none()
    };
    stage.wait_for("node1 is uncordoned and its slot is free", undone, SOON).await?;
    let claims = |state: &State| state.holder(SLOT).is_some();
    stage.never("node1 claims again", claims, NO_MORE).await?;
    verdict::booted(host, 1)?;
    let calls = host.journal(Some("rebootd")).await?.matches("ask logind to reboot").count();
    ensure!(calls == TRIES as usize, "logind was asked {calls} times");
    verdict::cordoned(&stage.observer.history(), host.name(), 1)
}

/// `reboot.target` is masked. logind of Debian 13 says beforehand that it would not reboot; that of Debian 12 only
/// when it is asked to, and then the next try comes through.
pub(super) async fn refused(stage: &Stage) -> Result<()> {
    let [late, early] = [1, 2].map(|number| stage.host(number));
    for host in [late, early] {
        host.run_ok(&["systemctl", "mask", "--runtime", "reboot.target"]).await?;
    }
    stage.install_everywhere(&format!("{CONFIG}reboot_timeout = \"30s\"\n")).await?;

    request_reboot(early).await?;
    let may_not = |status: &Status| status.phase == "waiting" && status.says("may-not-reboot", &["logind"]);
    wait_status(early, "waiting for logind's consent", may_not, SOON).await?;
    let claims = |state: &State| state.holder(SLOT).is_some();
    stage.never("node2 claims what it may not use", claims, NO_MORE).await?;
    reboots_unmasked(stage, early).await?;

    request_reboot(late).await?;
    let failed = |status: &Status| {
        status.says("reboot-asked", &["(try 1)"]) && status.says("reboot-call-failed", &["AccessDenied"])
    };
    wait_status(late, "saying that logind refused", failed, SOON).await?;
    reboots_unmasked(stage, late).await?;
    verdict::one_at_a_time(&stage.observer.history())
}

async fn reboots_unmasked(stage: &Stage, host: &Host) -> Result<()> {
    host.run_ok(&["systemctl", "unmask", "--runtime", "reboot.target"]).await?;
    say(format!("{} may reboot", host.name()));
    host.wait_boot_number(2, CYCLE).await?;
    verdict::settled(stage, host).await?;
    verdict::booted(host, 2)?;
    verdict::cordoned(&stage.observer.history(), host.name(), 1)
}
