//! Hooks as real units of an administrator's, with a user and a directory of their own.

use anyhow::{Result, ensure};
use tokio::try_join;

use super::stage::{CONFIG, CYCLE, SOON, Stage, request_reboot};
use super::status::{Status, wait_phase, wait_status};
use super::verdict;
use crate::host::Host;
use crate::progress::say;

const MOMENTS: [&str; 3] = ["before-drain", "before-reboot", "after-boot"];
const HOOKS: &str =
    "[hooks]\nbefore_drain = true\nbefore_reboot = true\nafter_boot = true\ntimeout = \"20s\"\n";
/// What each has written, a line each: its name, its user and the boot.
const LOG: &str = "/var/lib/hook-test/log";
/// The pause after a setback, and no more.
const TRY_AGAIN: &str = "systemctl stop rebootd && rm /var/lib/rebootd/state.json && systemctl start rebootd";

pub(super) async fn run(stage: &Stage) -> Result<()> {
    try_join!(on_host(stage, stage.host(1)), on_host(stage, stage.host(2)))?;
    Ok(())
}

async fn on_host(stage: &Stage, host: &Host) -> Result<()> {
    stage.install_alone(host, &format!("{CONFIG}{HOOKS}")).await?;
    request_reboot(host).await?;
    let absent =
        |status: &Status| status.says("hook-not-ready", &["rebootd-before-drain.service", "not-found"]);
    wait_status(host, "without the unit", absent, SOON).await?;
    for moment in MOMENTS {
        hook(host, moment, "sleep 6").await?;
    }
    let disabled = |status: &Status| status.says("hook-not-ready", &["systemctl enable --now rebootd-hook@"]);
    wait_status(host, "with a unit that it may not start", disabled, SOON).await?;
    for moment in MOMENTS {
        host.run_ok(&["systemctl", "enable", "--now", &format!("rebootd-hook@{moment}.socket")]).await?;
    }

    let runs = |status: &Status| status.says("hook-runs", &["before-drain"]);
    wait_status(host, "while the first runs", runs, SOON).await?;
    host.run_ok(&["systemctl", "kill", "--signal=KILL", "rebootd"]).await?;
    say("rebootd is killed while a hook runs");
    host.wait_boot_number(2, CYCLE).await?;
    verdict::settled(stage, host).await?;
    ran(host, &["before-drain", "before-reboot", "after-boot"]).await?;
    let foreign = "echo > /run/rebootd-hooks/before-drain";
    let by_others = host.run(&["setpriv", "--reuid=daemon", "--clear-groups", "sh", "-c", foreign]).await?;
    ensure!(!by_others.status.success(), "another user may start the hook");

    say("a hook that fails undoes the turn");
    hook(host, "before-reboot", "exit 3").await?;
    request_reboot(host).await?;
    let undone = |status: &Status| status.says("backing-off", &["a hook failed"]);
    wait_status(host, "after a hook that failed", undone, SOON).await?;
    verdict::holds_nothing(stage, host.name())?;
    ensure!(!stage.node(host.name())?.unschedulable, "it is still cordoned");
    verdict::booted(host, 2)?;

    say("so does one that takes too long");
    hook(host, "before-drain", "sleep 300").await?;
    host.run_ok(&["sh", "-c", TRY_AGAIN]).await?;
    wait_status(host, "while it takes its time", runs, SOON).await?;
    wait_status(host, "after it took too long", undone, SOON).await?;
    host.run_ok(&["systemctl", "stop", "rebootd-before-drain"]).await?;

    say("where it is so configured, the reboot comes all the same");
    hook(host, "before-drain", "true").await?;
    let goes_on = format!("{CONFIG}[node]\npool = \"{}\"\n{HOOKS}on_failure = \"continue\"\n", host.name());
    host.write_file("/etc/rebootd/config.toml", goes_on).await?;
    host.run_ok(&["sh", "-c", TRY_AGAIN]).await?;
    host.wait_boot_number(3, CYCLE).await?;
    verdict::settled(stage, host).await?;
    let journal = host.journal(Some("rebootd-after-boot")).await?;
    ensure!(journal.contains("says after-boot"), "the hook's output is not in the journal:\n{journal}");
    verdict::booted(host, 3)
}

/// Somebody is logged in: he is told, and waited for.
pub(super) async fn people(stage: &Stage, host: &Host) -> Result<()> {
    stage.install_alone(host, &format!("{CONFIG}[gates]\nsessions = \"10min\"\n")).await?;
    host.run_ok(&["systemctl", "enable", "--now", "rebootd-hook@wall.socket"]).await?;
    wait_phase(host, "idle", SOON).await?;
    let login = "sleep infinity | script --quiet --flush --command 'login -f root' /root/terminal";
    host.run_ok(&["systemd-run", "--unit=person", "--service-type=exec", "sh", "-c", login]).await?;
    host.run_ok(&["sh", "-c", "until who | grep -q pts; do sleep 0.2; done"]).await?;
    request_reboot(host).await?;
    let logged_in = |status: &Status| status.says("logged-in", &["root (pts/", "asked to log out"]);
    wait_status(host, "while root is logged in", logged_in, SOON).await?;
    let told = "until grep -q 'about to reboot' /root/terminal; do sleep 0.2; done";
    host.run_ok(&["timeout", "60", "sh", "-c", told]).await?;
    say("it stands on the terminal");
    verdict::booted(host, 1)?;
    host.run_ok(&["loginctl", "terminate-user", "root"]).await?;
    host.wait_boot_number(2, CYCLE).await?;
    verdict::settled(stage, host).await
}

/// A clock that systemd calls unsynchronised shuts the window.
pub(super) async fn clock(stage: &Stage, host: &Host) -> Result<()> {
    let synchronised = host.run_ok(&["timedatectl", "show", "--property=NTPSynchronized", "--value"]).await?;
    ensure!(synchronised.trim() == "no", "this test needs a clock that nobody synchronises: {synchronised}");
    let windows = CONFIG.replace("\"always\"", "{ start = \"*:0\", length = \"1h\" }\nwindow_left = \"0\"");
    stage.install_alone(host, &windows).await?;
    request_reboot(host).await?;
    let shut = |status: &Status| status.says("clock-not-synchronized", &["timedatectl"]);
    wait_status(host, "with a clock that nobody vouches for", shut, SOON).await?;
    verdict::booted(host, 1)?;
    let not_needed = format!("{windows}[gates]\nrequire_synchronized_clock = false\n");
    let pool = format!("[node]\npool = \"{}\"\n", host.name());
    host.write_file("/etc/rebootd/config.toml", format!("{not_needed}{pool}")).await?;
    host.run_ok(&["systemctl", "reload", "rebootd"]).await?;
    host.wait_boot_number(2, CYCLE).await?;
    verdict::settled(stage, host).await
}

/// Writes a hook as an administrator would.
async fn hook(host: &Host, moment: &str, then: &str) -> Result<()> {
    let line = format!("echo {moment} $(id -un) $(cat /proc/sys/kernel/random/boot_id) >> {LOG}");
    let unit = format!(
        "[Service]\nType=oneshot\nUser=daemon\nStateDirectory=hook-test\n\
         ExecStart=/bin/sh -c 'echo says {moment}; {line}; {then}'\n"
    );
    host.write_file(&format!("/etc/systemd/system/rebootd-{moment}.service"), unit).await?;
    host.run_ok(&["systemctl", "daemon-reload"]).await?;
    Ok(())
}

/// Each of them ran once, as its own user, the last one in another boot.
async fn ran(host: &Host, expected: &[&str]) -> Result<()> {
    let log = host.read_file(LOG).await?;
    let lines: Vec<Vec<&str>> = log.lines().map(|line| line.split_whitespace().collect()).collect();
    let names: Vec<&str> = lines.iter().map(|words| words[0]).collect();
    ensure!(names == expected, "what ran:\n{log}");
    ensure!(lines.iter().all(|words| words[1] == "daemon"), "as whom it ran:\n{log}");
    Ok(())
}
