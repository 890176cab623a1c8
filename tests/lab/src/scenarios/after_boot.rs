//! What a boot may bring: a kubelet that does not come up while its Node still says Ready, and a wrong clock.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tokio::try_join;

use super::stage::{CONFIG, CYCLE, SOON, Stage, request_reboot, slot_of};
use super::status::{Status, wait_phase, wait_status};
use super::verdict;
use crate::host::Host;
use crate::observer::State;
use crate::progress::say;

/// The controller manager believes in a silent kubelet for 50 s; most of that is left when its host is back.
const STALE: Duration = Duration::from_secs(20);
/// More than a node takes to settle.
const STAYS: Duration = Duration::from_secs(30);

/// One kubelet never starts, another one reports the new boot and dies.
pub(super) async fn dead_kubelet(stage: &Stage) -> Result<()> {
    let [never, briefly] = [1, 2].map(|number| stage.host(number));
    stage.install_alone(never, CONFIG).await?;
    // Longer than a renewal counts, which comes before the node settles.
    stage.install_alone(briefly, &CONFIG.replace("\"5s\"", "\"40s\"")).await?;
    try_join!(never_starts(stage, never), dies_soon(stage, briefly))?;
    let history = stage.observer.history();
    for host in [never, briefly] {
        verdict::booted(host, 2)?;
        verdict::cordoned(&history, host.name(), 1)?;
        verdict::cordoned_under_slot(&history, host.name(), &slot_of(host))?;
    }
    Ok(())
}

async fn never_starts(stage: &Stage, host: &Host) -> Result<()> {
    host.run_ok(&["systemctl", "disable", "kubelet"]).await?;
    request_reboot(host).await?;
    host.wait_boot_number(2, CYCLE).await?;
    let old_boot = |status: &Status| status.says("boot-not-reported", &["this boot"]);
    wait_status(host, "missing a report of this boot", old_boot, SOON).await?;
    ensure!(stage.node(host.name())?.ready, "the Node is not Ready any more: nothing is shown");

    say("a kubelet that reports neither boot nor machine: only Ready is left, and it is stale");
    let nothing = r#"{"status":{"nodeInfo":{"bootID":"","machineID":""}}}"#;
    let patch = ["patch", "node", host.name(), "--subresource=status", "--type=merge", "--patch", nothing];
    stage.lab.kubectl(&patch).await?;
    let unseen = |status: &Status| status.says("kubelet-not-seen", &["0 of 2"]);
    wait_status(host, "missing the kubelet", unseen, SOON).await?;
    ensure!(stage.node(host.name())?.ready, "the Node is not Ready any more: nothing is shown");
    stays(stage, host, STALE).await?;
    not_ready_in_the_end(stage, host).await?;
    host.run_ok(&["systemctl", "enable", "--now", "kubelet"]).await?;
    verdict::settled(stage, host).await
}

async fn dies_soon(stage: &Stage, host: &Host) -> Result<()> {
    request_reboot(host).await?;
    host.wait_boot_number(2, CYCLE).await?;
    wait_status(host, "settling", |status| status.says("settling", &["is Ready"]), SOON).await?;
    host.run_ok(&["systemctl", "stop", "kubelet"]).await?;
    say(format!("{}: the kubelet has reported this boot, and is dead", host.name()));
    let dead = |status: &Status| status.says("kubelet-not-renewing", &["renew"]);
    wait_status(host, "waiting for a renewal", dead, SOON).await?;
    ensure!(stage.node(host.name())?.ready, "the Node is not Ready any more: nothing is shown");
    stays(stage, host, STALE).await?;
    not_ready_in_the_end(stage, host).await?;
    host.run_ok(&["systemctl", "start", "kubelet"]).await?;
    verdict::settled(stage, host).await
}

async fn not_ready_in_the_end(stage: &Stage, host: &Host) -> Result<()> {
    let name = host.name().to_owned();
    let unready = move |state: &State| state.node(&name).is_some_and(|node| !node.ready);
    stage.wait_for("the control plane notices", unready, SOON).await?;
    wait_status(host, "waiting for Ready", |status| status.reason("not-ready").is_some(), SOON).await?;
    stays(stage, host, STAYS / 2).await
}

/// Not released; and not uncordoned, unless it is already: a node that was proven to be well is, and keeps its slot.
pub(super) async fn stays(stage: &Stage, host: &Host, time: Duration) -> Result<()> {
    let (name, slot) = (host.name().to_owned(), slot_of(host));
    let was_cordoned = stage.node(host.name())?.cordoned_by_us();
    let given_back = move |state: &State| {
        let is_cordoned = state.node(&name).is_some_and(|node| node.cordoned_by_us());
        state.holder(&slot) != Some(&name) || was_cordoned && !is_cordoned
    };
    stage.never(&format!("{} gives something back", host.name()), given_back, time).await
}

const DROP_IN: &str = "/etc/systemd/system/rebootd.service.d/wrong-clock.conf";
const CLOCK: &str = "/etc/rebootd/clock";
/// Only the wall clock, and read from a file each time: so it can be set right while the daemon runs.
const WRONG: &str = "[Service]
Environment=LD_PRELOAD=/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1
Environment=FAKETIME_TIMESTAMP_FILE=/etc/rebootd/clock
Environment=FAKETIME_NO_CACHE=1 FAKETIME_DONT_FAKE_MONOTONIC=1 DONT_FAKE_MONOTONIC=1 FAKETIME_DISABLE_SHM=1
";
const RIGHT: &str = "+0\n";
const MIN_INTERVAL: &str = "min_interval = \"2min\"\n";

/// No clock of the host's own survives its boots: it is a day behind, a day ahead, a year behind.
pub(super) async fn wrong_clock(stage: &Stage) -> Result<()> {
    let [behind, ahead, far_behind] = [1, 2, 3].map(|number| stage.host(number));
    let config = CONFIG.replace("min_interval = \"0\"\n", MIN_INTERVAL);
    for host in [behind, ahead, far_behind] {
        stage.install_alone(host, &config).await?;
    }
    let young = stage.lab.control_plane.pki.young_server("young")?.read()?;
    let proxy = stage.lab.proxy(far_behind.name());
    proxy.set_certificate(&young)?;
    proxy.kill_connections();
    try_join!(is_behind(stage, behind), is_ahead(stage, ahead), is_far_behind(stage, far_behind),)?;
    let history = stage.observer.history();
    for host in [behind, ahead, far_behind] {
        verdict::cordoned_under_slot(&history, host.name(), &slot_of(host))?;
    }
    Ok(())
}

/// It returns as always. The pause between two reboots does not get longer than it is.
async fn is_behind(stage: &Stage, host: &Host) -> Result<()> {
    reboots_into(host, "-1d\n").await?;
    verdict::settled(stage, host).await?;
    request_reboot(host).await?;
    host.wait_boot_number(3, CYCLE * 2).await?;
    verdict::settled(stage, host).await?;
    clock_was_off(host, -86_400).await?;
    verdict::booted(host, 3)
}

/// A clock that runs ahead ends the pause too early: only politeness is lost. Set right, it makes none that lasts.
async fn is_ahead(stage: &Stage, host: &Host) -> Result<()> {
    reboots_into(host, "+1d\n").await?;
    verdict::settled(stage, host).await?;
    request_reboot(host).await?;
    host.wait_boot_number(3, CYCLE).await?;
    host.wait_booted(SOON).await?;
    clock_was_off(host, 86_400).await?;
    host.write_file(CLOCK, RIGHT).await?;
    verdict::settled(stage, host).await?;
    request_reboot(host).await?;
    host.wait_boot_number(4, CYCLE * 2).await?;
    verdict::settled(stage, host).await?;
    verdict::booted(host, 4)
}

/// The server's certificate is not valid yet: named, nothing undone, and over as soon as the clock is right.
async fn is_far_behind(stage: &Stage, host: &Host) -> Result<()> {
    reboots_into(host, "-1y\n").await?;
    let refused = |status: &Status| status.says("api-failing", &["certificate not valid yet", "clock"]);
    wait_status(host, "complaining about the certificate", refused, SOON).await?;
    stays(stage, host, STAYS).await?;
    host.write_file(CLOCK, RIGHT).await?;
    say(format!("{}: the clock is right again", host.name()));
    wait_phase(host, "idle", CYCLE).await?;
    verdict::settled(stage, host).await?;
    verdict::booted(host, 2)
}

/// The drop-in is read at the next boot.
async fn reboots_into(host: &Host, clock: &str) -> Result<()> {
    host.write_file(CLOCK, clock).await?;
    host.write_file(DROP_IN, WRONG).await?;
    request_reboot(host).await?;
    host.wait_boot_number(2, CYCLE).await
}

/// What this test rests on: the daemon sees another time. It has written down when it asked for the last reboot.
async fn clock_was_off(host: &Host, seconds: i64) -> Result<()> {
    let memory: Value = serde_json::from_str(&host.read_file("/var/lib/rebootd/state.json").await?)?;
    let noted = memory["last_reboot"]["seconds_since_1970"].as_i64().context("no reboot is remembered")?;
    let now: i64 = host.run_ok(&["date", "+%s"]).await?.trim().parse()?;
    let off = noted - now;
    say(format!("{}: by rebootd's clock it asked for the last reboot {off} s from now", host.name()));
    ensure!((off - seconds).abs() < 600, "{}: its clock was not off by {seconds} s", host.name());
    Ok(())
}
