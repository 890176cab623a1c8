//! A delay inhibitor holds up a reboot that logind has accepted: it cannot be called back, so nothing is undone.

use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::try_join;

use super::stage::{CONFIG, CYCLE, SENTINEL, SOON, Stage, kill_daemon, request_reboot, slot_of};
use super::status::{Status, wait_phase, wait_status};
use super::verdict;
use crate::host::Host;
use crate::observer::{LeaseState, State};
use crate::progress::say;

/// More than the time after which rebootd would begin to undo, if the host did not go down.
const HELD_UP: Duration = Duration::from_secs(45);
const LOGIND: &str = "/etc/systemd/logind.conf.d/delay.conf";

/// Debian 12's logind and 13's, each with an end of its own: the host goes down late, or somebody calls it off.
pub(super) async fn run(stage: &Stage) -> Result<()> {
    let [late, called_off] = [1, 2].map(|number| stage.host(number));
    for host in [late, called_off] {
        stage.install_alone(host, &format!("{CONFIG}reboot_timeout = \"30s\"\n")).await?;
        host.write_file(LOGIND, "[Login]\nInhibitDelayMaxSec=10min\n").await?;
        host.run_ok(&["systemctl", "restart", "systemd-logind"]).await?;
    }
    try_join!(goes_down_late(stage, late), is_called_off(stage, called_off))?;
    let history = stage.observer.history();
    for host in [late, called_off] {
        verdict::cordoned(&history, host.name(), 1)?;
        verdict::cordoned_under_slot(&history, host.name(), &slot_of(host))?;
    }
    Ok(())
}

async fn goes_down_late(stage: &Stage, host: &Host) -> Result<()> {
    accepted_and_held_up(stage, host).await?;
    host.run_ok(&["systemctl", "stop", "delays"]).await?;
    say(format!("{}: the inhibitor ends", host.name()));
    host.wait_boot_number(2, CYCLE).await?;
    verdict::settled(stage, host).await?;
    verdict::booted(host, 2)
}

/// logind forgets a shutdown that it delays when it is restarted. Only then is there something to undo.
async fn is_called_off(stage: &Stage, host: &Host) -> Result<()> {
    accepted_and_held_up(stage, host).await?;
    host.run_ok(&["systemctl", "restart", "systemd-logind"]).await?;
    say(format!("{}: the shutdown is called off", host.name()));
    verdict::settled(stage, host).await?;
    host.run_ok(&["systemctl", "stop", "delays"]).await?;
    verdict::booted(host, 1)
}

async fn accepted_and_held_up(stage: &Stage, host: &Host) -> Result<()> {
    let inhibit = ["systemd-inhibit", "--what=shutdown", "--mode=delay", "--who=db", "--why=it flushes"];
    let unit = ["systemd-run", "--unit=delays"];
    host.run_ok(&[&unit[..], &inhibit[..], &["sleep", "infinity"]].concat()).await?;
    request_reboot(host).await?;
    wait_phase(host, "going-down", SOON).await?;
    host.run_ok(&["rm", SENTINEL]).await?;
    say(format!("{}: the reboot is accepted and held up, and the sentinel is gone", host.name()));

    let undone = undone(host);
    let half = HELD_UP / 2;
    stage.never(&format!("{} undoes something", host.name()), undone.clone(), half).await?;
    kill_daemon(host, "its reboot is held up").await?;
    stage.never(&format!("{} undoes something after a restart", host.name()), undone, half).await?;
    ensure!(host.boots().len() == 1 && host.is_on(), "{} went down", host.name());
    let says = |status: &Status| status.says("going-down", &["shutting down"]);
    wait_status(host, "saying that the host shuts down", says, SOON).await?;
    Ok(())
}

/// Whether anything is given back of what stands while a host with a slot of its own goes down.
pub(super) fn undone(host: &Host) -> impl FnMut(&State) -> bool + Clone + Send + 'static {
    let (name, slot) = (host.name().to_owned(), slot_of(host));
    move |state| {
        let stamped = |lease: &LeaseState| lease.annotation("rebootd.io/rebooting").is_some();
        state.holder(&slot) != Some(&name)
            || !state.leases.get(&slot).is_some_and(|lease| stamped(lease))
            || !state.node(&name).is_some_and(|node| node.cordoned_by_us())
    }
}
