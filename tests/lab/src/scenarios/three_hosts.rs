//! The whole path: all hosts ask at once, and each reboots once, one after the other.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rebootd::report::{dbus, messages};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use tokio::try_join;

use super::stage::{CONFIG, CYCLE, SLOT, SOON, Stage, request_reboot};
use super::status::{Status, wait_phase, wait_status};
use super::updates::{MADE, Real, cves, made_live, of_made, open, real_of_debian};
use super::verdict;
use crate::host::Host;
use crate::progress::say;
use crate::workload::{self, Deployment};

const PODS: u32 = 30;
const MIN_AVAILABLE: u32 = 25;

pub(super) async fn run(stage: &Stage) -> Result<()> {
    stage.install_everywhere(CONFIG).await?;
    let control_plane = &stage.lab.control_plane;
    let web = Deployment {
        pre_stop_seconds: 2,
        min_available: Some(MIN_AVAILABLE),
        ..Deployment::new("web", PODS)
    };
    web.create(control_plane).await?;
    workload::create_daemon_set(control_plane, "agent").await?;
    stage.wait_pods(&web).await?;
    workload::wait_running(control_plane, "agent", 3, SOON).await?;
    say(format!("pods run: {:?}", workload::pods_by_node(control_plane, "web").await?));
    let complete = stage.observer.now();

    let [first, second, third] = [1, 2, 3].map(|number| stage.host(number));
    for host in [first, second, third] {
        host.run_ok(&["sh", "-ec", MADE]).await?;
    }
    let real = real_of_debian(&[first, third]).await?;
    try_join!(request_reboot(first), request_reboot(second), request_reboot(third))?;
    // Two of them have to wait, and say for whom, and why they want it.
    let waits = |status: &Status| status.reason("no-free-slot").is_some();
    stage.wait_for("a host claims", |state| state.holder(SLOT).is_some(), SOON).await?;
    let holder = stage.holder();
    for host in [first, second, third] {
        if Some(host.name()) != holder.as_deref() {
            let status = wait_status(host, "waiting for the slot", waits, SOON).await?;
            let packages = status.request.map(|request| request.packages).unwrap_or_default();
            ensure!(
                packages.iter().any(|it| it == "linux-image-lab"),
                "{}: packages {packages:?}",
                host.name()
            );
            open(host, &real).await?;
        }
    }
    for host in [first, second, third] {
        host.wait_boot_number(2, CYCLE).await?;
    }
    for host in [first, second, third] {
        verdict::settled(stage, host).await?;
        verdict::booted(host, 2)?;
        verdict::evicted_once(stage, host.name())?;
        explained(host).await?;
        recorded(host, &real).await?;
        served(host).await?;
    }

    told_by_nodes(stage, first).await?;

    let history = stage.observer.history();
    verdict::one_at_a_time(&history)?;
    for host in [first, second, third] {
        verdict::cordoned(&history, host.name(), 1)?;
    }
    let daemon_set = history.pods_deleted_by_owner_kind("DaemonSet");
    ensure!(daemon_set.is_empty(), "pods of the DaemonSet were deleted: {daemon_set:?}");
    let fewest = history.min_ready_since(&"app=web".parse()?, complete);
    let fewest = fewest.map_or(0, |fewest| fewest.count);
    ensure!(fewest >= MIN_AVAILABLE as usize, "only {fewest} pods of web were ready");
    say(format!("at least {fewest} of {PODS} pods were ready at any time, {MIN_AVAILABLE} had to be"));
    Ok(())
}

/// The last reboot of each node is seen from outside.
async fn told_by_nodes(stage: &Stage, host: &Host) -> Result<()> {
    let program = host.root().join("usr/bin/rebootctl");
    let told = async || -> Result<Value> {
        let report = stage.lab.control_plane.rebootctl(&program, &["report", "--fleet", "--json"]).await?;
        Ok(serde_json::from_str(&report)?)
    };
    let until = Instant::now() + SOON;
    let mut report = told().await?;
    // The heartbeat follows the end of the turn.
    while report.as_array().is_none_or(|it| it.len() < 3) && Instant::now() < until {
        sleep(Duration::from_secs(1)).await;
        report = told().await?;
    }
    let records = report.as_array().context("no list")?;
    let is_told = |it: &Value| of_made(&it["packages"], "name")["cves"] == cves();
    let is_well = |it: &Value| it["outcome"] == "well" && it["more_packages"] == 0 && is_told(it);
    ensure!(records.len() == 3 && records.iter().all(is_well), "rebootctl report --fleet says {report:#}");
    say(stage.lab.control_plane.rebootctl(&program, &["report", "--fleet"]).await?);
    Ok(())
}

/// Any user reads the status on the bus, nobody else may have its name, and nobody can change anything by it.
async fn served(host: &Host) -> Result<()> {
    let property = ["busctl", "get-property", dbus::NAME, dbus::PATH, dbus::NAME, "Phase"];
    let as_nobody = |arguments: &[&str]| -> Vec<String> {
        let all = ["runuser", "-u", "nobody", "--"].iter().chain(arguments);
        all.map(|argument| (*argument).to_owned()).collect()
    };
    let phase = as_nobody(&property);
    let phase = host.run_ok(&phase.iter().map(String::as_str).collect::<Vec<_>>()).await?;
    ensure!(phase.trim() == "s \"idle\"", "{}: {phase}", host.name());
    let shown = host.run_ok(&["busctl", "introspect", dbus::NAME, dbus::PATH, dbus::NAME]).await?;
    say(format!("{} serves:\n{shown}", host.name()));
    let bus = ["org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus"];
    let own = as_nobody(&[&["busctl", "call"][..], &bus, &["RequestName", "su", dbus::NAME, "2"]].concat());
    let own = host.run(&own.iter().map(String::as_str).collect::<Vec<_>>()).await?;
    ensure!(!own.status.success(), "{}: nobody may own {}", host.name(), dbus::NAME);
    Ok(())
}

/// `journalctl -x` says what the last step of the turn means.
async fn explained(host: &Host) -> Result<()> {
    let id = format!("MESSAGE_ID={}", messages::RELEASE);
    let told = host.run_ok(&["journalctl", "--catalog", "--quiet", "--unit=rebootd", &id]).await?;
    ensure!(told.contains("release slot") && told.contains("Defined-By: rebootd"), "{}: {told}", host.name());
    Ok(())
}

/// The record says what became of the Deployment whose pods left.
fn measured(host: &Host, record: &Value) -> Result<()> {
    let workloads = record["workloads"].as_array().context("no workloads")?;
    let [web] = &workloads[..] else { bail!("{}: not one workload: {record}", host.name()) };
    let number = |field: &str| web[field].as_u64().unwrap_or_default();
    let [before, fewest] = ["ready_before", "fewest_ready"].map(number);
    // A dip may come and go between two looks.
    let is_right = web["pods"] == "app=web"
        && before == u64::from(PODS)
        && (u64::from(MIN_AVAILABLE)..=before).contains(&fewest)
        && (number("below_seconds") > 0) == (fewest < before)
        && web["recovered"] == true
        && record["unseen_seconds"].is_u64();
    ensure!(is_right, "{}: {record}", host.name());
    Ok(())
}

/// The journal has one record of the reboot, with what it made live and the times in their order.
async fn recorded(host: &Host, real: &Option<Real>) -> Result<()> {
    let id = format!("MESSAGE_ID={}", messages::REBOOT_ENDED);
    let wanted = ["--output=json", "--output-fields=REBOOT", "--quiet", "--unit=rebootd"];
    let told = host.run_ok(&[&["journalctl"][..], &wanted, &[&id]].concat()).await?;
    let entry: Value = serde_json::from_str(&told).with_context(|| format!("not one entry: {told}"))?;
    let record: Value = serde_json::from_str(entry["REBOOT"].as_str().context("no record")?)?;
    say(format!("{} has recorded: {record}", host.name()));
    ensure!(record["outcome"] == "well" && record["boot_before"] != record["boot_after"], "{record}");
    made_live(host, real, &record["packages"])?;
    measured(host, &record)?;
    let steps = ["asked", "claimed", "cordoned", "drained", "down", "ready", "uncordoned", "released"];
    let times: Vec<(&str, &str)> =
        steps.iter().filter_map(|step| Some((*step, record[*step].as_str()?))).collect();
    // A host that is a container does not know when its boot began, so it may not know this.
    let known = times.len() + usize::from(record["ready"].is_null());
    ensure!(known == steps.len() && times.is_sorted_by_key(|(_, time)| *time), "{record}");

    // The same is kept, for anybody, and the next daemon does not keep it a second time.
    host.run_ok(&["systemctl", "restart", "rebootd"]).await?;
    wait_phase(host, "idle", SOON).await?;
    let report = host.run_ok(&["runuser", "-u", "nobody", "--", "rebootctl", "report", "--json"]).await?;
    ensure!(serde_json::from_str::<Value>(&report)? == json!([record]), "rebootctl report says {report}");
    say(host.run_ok(&["rebootctl", "report"]).await?);
    let packages = host.run_ok(&["rebootctl", "report", "--packages", "--csv"]).await?;
    say(packages.clone());
    let line =
        format!("{},linux-image-lab,6.1.1-1,6.1.2-1,2,false,CVE-2026-31415 CVE-2026-27182,", host.name());
    ensure!(packages.contains(&line) && !packages.contains(",\n"), "all of it is live: {packages}");
    let live = host.run_ok(&["runuser", "-u", "nobody", "--", "rebootctl", "live"]).await?;
    ensure!(live.starts_with("Everything that is installed is live"), "{}: {live}", host.name());
    Ok(())
}
