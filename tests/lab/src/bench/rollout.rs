//! `lab bench rollout`: wall time of a rollout against what no implementation could avoid.
//!
//! The case is that of a measurement of kured (51220cc, after 1.23.0) on the same lab, so that the figures compare: three hosts, 24
//! pods that take 5 s to end under one budget that lets 4 go at a time, a DaemonSet, all hosts asked at once, and
//! Nodes that do not name their boot, so that the return has to be proven by two renewals of the kubelet's Lease.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::{requests, rounded};
use crate::demo::{release, wait_idle};
use crate::lab::{Lab, LabConfig};
use crate::progress::say;
use crate::rollout::{HostReport, Rollout, seconds};
use crate::workload::{self, Deployment};

const CONFIG: &str = "[policy]\nwindow = \"always\"\nsettle = \"5s\"\nmin_interval = \"0\"\n";
const PODS: u32 = 24;
const MAX_UNAVAILABLE: u32 = 4;
const PRE_STOP_SECONDS: u32 = 5;
/// The kubelet renews its Lease so often.
const RENEWAL_SECONDS: f64 = 10.0;
const WORKLOAD_LIMIT: Duration = Duration::from_secs(120);
const ROLLOUT_LIMIT: Duration = Duration::from_secs(15 * 60);

/// What kured needed in this case, to stand beside our figures.
const KURED_SECONDS: u32 = 247;
const KURED_CORDONED: &str = "68–94";
const KURED_HANDOFFS: &str = "0.1–47";
const KURED_REQUESTS: u32 = 252;

/// Runs a lab for it and gives back the figures.
pub async fn run(deb: &Path) -> Result<Value> {
    let lab = Lab::start(LabConfig { fill_node_info: false, ..LabConfig::with_hosts(3) }).await?;
    for host in &lab.hosts {
        lab.install_rebootd(host, deb, CONFIG).await?;
        say(format!("rebootd is installed on {}", host.name()));
    }
    let web = Deployment {
        pre_stop_seconds: PRE_STOP_SECONDS,
        min_available: Some(PODS - MAX_UNAVAILABLE),
        ..Deployment::new("web", PODS)
    };
    web.create(&lab.control_plane).await?;
    workload::create_daemon_set(&lab.control_plane, "agent").await?;
    workload::wait_running(&lab.control_plane, "web", PODS as usize, WORKLOAD_LIMIT).await?;
    workload::wait_running(&lab.control_plane, "agent", lab.hosts.len(), WORKLOAD_LIMIT).await?;
    wait_idle(&lab).await?;

    say("every host is asked to reboot");
    let mut rollout = Rollout::begin(&lab).await?;
    let deadline = Instant::now() + ROLLOUT_LIMIT;
    let mut holder = None;
    while !rollout.is_over() {
        ensure!(Instant::now() < deadline, "not over after {ROLLOUT_LIMIT:?}:\n{}", rollout.observer.state());
        rollout.look_at_hosts();
        let state = rollout.observer.state();
        let holds = state.leases.values().find_map(|slot| slot.holder.clone());
        if holds != holder
            && let Some(holds) = &holds
        {
            say(format!("it is the turn of {holds}"));
        }
        holder = holds;
        sleep(Duration::from_millis(100)).await;
    }
    let figures = judge(&lab, &rollout).await?;
    lab.stop().await?;
    Ok(figures)
}

async fn judge(lab: &Lab, rollout: &Rollout<'_>) -> Result<Value> {
    let reports = rollout.reports().await?;
    let first = reports.first().context("no host")?.held.0;
    let last = reports.iter().map(|report| report.held.1).max().unwrap_or_default();
    let total = seconds((first, last));
    let unavoidable: f64 = reports.iter().map(unavoidable_seconds).sum();
    let replacement = rollout.replacement_seconds();
    let overlapping: f64 = reports.iter().map(|report| overlapping_seconds(report, replacement)).sum();
    let handoffs: Vec<f64> = rollout.handoffs().iter().map(|handoff| rounded(handoff.seconds())).collect();
    let cordoned: Vec<f64> = reports.iter().map(|report| rounded(seconds(report.cordoned))).collect();
    let requests = requests(
        &lab.control_plane.audit_log(),
        rollout.time_of_day(rollout.asked),
        rollout.time_of_day(last),
    )?;
    let worst = rollout.observer.history().min_ready_since(&"app=web".parse()?, rollout.asked);
    let worst = worst.context("no pods were seen")?.count;
    ensure!(worst >= (PODS - MAX_UNAVAILABLE) as usize, "the budget was violated: {worst} pods were ready");
    let together = rollout.observer.max_disrupted_at_once();
    ensure!(together.count() <= 1, "disrupted at the same time: {:?}", together.nodes);

    println!(
        "\n{:<6} {:<10} {:>8} {:>13} {:>7} {:>9} {:>9} {:>12}",
        "HOST", "RELEASE", "CLAIMED", "DRAINED", "REBOOT", "RETURNED", "CORDONED", "UNAVOIDABLE"
    );
    for report in &reports {
        let since_first = |at: Duration| seconds((first, at));
        let drained = format!("{} in {:.1} s", report.evicted, seconds((report.cordoned.0, report.drained)));
        println!(
            "{:<6} {:<10} {:>6.1} s {drained:>13} {:>5.1} s {:>7.1} s {:>7.1} s {:>10.1} s",
            report.name,
            release(lab.host(&report.name)),
            since_first(report.held.0),
            seconds(report.rebooted),
            seconds((report.rebooted.1, report.held.1)),
            seconds(report.cordoned),
            overlapping_seconds(report, replacement),
        );
    }
    println!("\n{:<32} {:>12} {:>12}", "", "rebootd", "kured");
    let row = |what: &str, ours: String, theirs: &str| println!("{what:<32} {ours:>12} {theirs:>12}");
    row("first claim to last release", format!("{total:.1} s"), &format!("{KURED_SECONDS} s"));
    row("  unavoidable", format!("{overlapping:.1} s"), "");
    row("  ratio", format!("{:.2}", total / overlapping), "");
    row("  unavoidable, round after round", format!("{unavoidable:.1} s"), "");
    row("  ratio to it (aim: 1.25)", format!("{:.2}", total / unavoidable), "");
    row("each node cordoned, seconds", listed(&cordoned), KURED_CORDONED);
    row("hand-offs, seconds (aim: 2)", listed(&handoffs), KURED_HANDOFFS);
    let all = requests.get("total").copied().unwrap_or_default();
    row("requests to the API server", all.to_string(), &KURED_REQUESTS.to_string());
    for (request, count) in requests.iter().filter(|(request, _)| *request != "total") {
        row(&format!("  {request}"), count.to_string(), "");
    }
    println!();
    Ok(json!({
        "seconds": rounded(total),
        "unavoidable_seconds": rounded(unavoidable),
        "ratio": (total / unavoidable * 100.0).round() / 100.0,
        "overlapping_unavoidable_seconds": rounded(overlapping),
        "overlapping_ratio": (total / overlapping * 100.0).round() / 100.0,
        "handoff_seconds": handoffs,
        "cordoned_seconds": cordoned,
        "requests": requests,
    }))
}

/// Rounds of the budget one after the other, the host's own reboot, and two renewals of the kubelet's Lease.
fn unavoidable_seconds(report: &HostReport) -> f64 {
    f64::from(rounds(report)) * f64::from(PRE_STOP_SECONDS) + return_seconds(report)
}

/// The same with rounds that overlap, as they truly may: the next can begin once the pods that replace those of
/// the round before are Ready, while those are still on their way out. No drain can be faster than this.
fn overlapping_seconds(report: &HostReport, replacement: f64) -> f64 {
    let before_the_last = f64::from(rounds(report).saturating_sub(1)) * replacement;
    before_the_last + f64::from(PRE_STOP_SECONDS) + return_seconds(report)
}

fn rounds(report: &HostReport) -> u32 {
    u32::try_from(report.evicted).unwrap_or(u32::MAX).div_ceil(MAX_UNAVAILABLE)
}

fn return_seconds(report: &HostReport) -> f64 {
    seconds(report.rebooted) + 2.0 * RENEWAL_SECONDS
}

fn listed(seconds: &[f64]) -> String {
    seconds.iter().map(|seconds| format!("{seconds:.1}")).collect::<Vec<_>>().join(" ")
}
