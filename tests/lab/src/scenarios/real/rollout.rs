//! Three hosts with pods of every kind reboot in turn; not one process is cut off that would have ended in time.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tokio::try_join;

use super::super::stage::{CONFIG, CYCLE, SLOT, SOON, Stage, request_reboot};
use super::super::status::{Status, wait_status};
use super::super::verdict;
use super::{back_before_uncordon, pods, processes};
use crate::host::Host;
use crate::observer::{PodDeletion, State};
use crate::progress::say;
use crate::proxy::Verb;
use crate::workload;

const WEB: u32 = 6;
/// Of pods that ignore TERM.
const STUBBORN_GRACE: Duration = Duration::from_secs(6);
const FINALIZER: &str = "lab.rebootd.io/held";

pub(in crate::scenarios) async fn run(stage: &Stage) -> Result<()> {
    let [first, second, third] = [1, 2, 3].map(|number| stage.host(number));
    stage.install_everywhere(CONFIG).await?;
    all_kinds(stage, first, second).await?;
    let complete = stage.observer.now();

    try_join!(request_reboot(first), request_reboot(second), request_reboot(third))?;
    for host in [second, third] {
        host.wait_boot_number(2, CYCLE).await?;
        verdict::settled(stage, host).await?;
    }
    // The kubelet's own shutdown would end a bare pod for good: nothing is begun there until a person decides.
    let refuses = |status: &Status| status.says("pods-refused", &["default/lonely"]);
    wait_status(first, "refusing to end the bare pod", refuses, SOON).await?;
    ensure!(first.boots().len() == 1, "a bare pod was ended for good");
    let evict = format!("{CONFIG}[drain]\nbare_pods = \"evict\"\n");
    first.write_file("/etc/rebootd/config.toml", evict).await?;
    first.run_ok(&["systemctl", "reload", "rebootd"]).await?;
    first.wait_boot_number(2, CYCLE).await?;
    verdict::settled(stage, first).await?;

    let history = stage.observer.history();
    verdict::one_at_a_time(&history)?;
    for host in [first, second, third] {
        verdict::booted(host, 2)?;
        verdict::cordoned(&history, host.name(), 1)?;
        verdict::cordoned_under_slot(&history, host.name(), SLOT)?;
        verdict::evicted_once(stage, host.name())?;
        evicts_only_what_leaves(stage, host)?;
        back_before_uncordon(stage, host, "agent-").await?;
        processes::none_killed(stage, host, "stubborn-").await?;
    }
    let fewest = history.min_ready_since(&"app=web".parse()?, complete).map_or(0, |fewest| fewest.count);
    ensure!(fewest + 1 >= WEB as usize, "only {fewest} of {WEB} pods of web were ready");
    killed_after_their_grace(stage)?;
    held_by_its_finalizer(stage, second).await?;
    work_goes_on(stage).await
}

/// Pods of every kind, all running when this returns.
async fn all_kinds(stage: &Stage, first: &Host, second: &Host) -> Result<()> {
    let control_plane = &stage.lab.control_plane;
    for host in &stage.lab.hosts {
        pods::make_static(host, pods::spec(10, &[("END_AFTER", "1")])).await?;
    }
    let web = pods::with_pre_stop(pods::spec(20, &[("END_AFTER", "2")]), 2);
    let db = pods::with_empty_dir(pods::spec(20, &[("END_AFTER", "3")]));
    let stubborn = pods::spec(u32::try_from(STUBBORN_GRACE.as_secs())?, &[("IGNORE_TERM", "yes")]);
    let mut held = pods::controlled("Deployment", "held", 1, pods::on(second, pods::spec(10, &[])));
    held["spec"]["template"]["metadata"]["finalizers"] = json!([FINALIZER]);
    let objects = [
        pods::controlled("Deployment", "web", WEB, web),
        pods::budget("web", 1),
        pods::controlled("StatefulSet", "db", 2, db),
        pods::budget("db", 1),
        pods::controlled("DaemonSet", "agent", 0, pods::spec(10, &[("END_AFTER", "1")])),
        pods::controlled("Deployment", "stubborn", 3, stubborn),
        held,
        pods::job("work", pods::on(first, pods::spec(10, &[("RUN_FOR", "3600")]))),
        pods::job("finished", pods::spec(10, &[("RUN_FOR", "1")])),
        pods::bare("lonely", pods::on(first, pods::spec(10, &[]))),
    ];
    pods::create(control_plane, &objects).await?;
    let hosts = stage.lab.hosts.len();
    let counts = [
        ("web", WEB as usize),
        ("db", 2),
        ("agent", hosts),
        ("stubborn", 3),
        ("held", 1),
        ("work", 1),
        ("lonely", 1),
        ("static", hosts),
    ];
    for (app, count) in counts {
        workload::wait_running(control_plane, app, count, SOON).await?;
    }
    let done =
        |state: &State| state.pods.values().any(|pod| is_of(pod, "finished") && pod.phase == "Succeeded");
    stage.wait_for("a Job is finished", done, SOON).await?;
    say("pods of all kinds run");
    Ok(())
}

fn is_of(pod: &crate::observer::PodState, app: &str) -> bool {
    pod.labels.get("app").is_some_and(|label| label == app)
}

fn evicts_only_what_leaves(stage: &Stage, host: &Host) -> Result<()> {
    for request in stage.lab.proxy(host.name()).requests() {
        let name = request.name.unwrap_or_default();
        let stays = ["agent-", "static-", "finished-"].iter().any(|start| name.starts_with(start));
        let is_eviction = request.verb == Verb::Create && request.resource == "pods/eviction";
        ensure!(!(is_eviction && stays), "{}: {name} was to be evicted", host.name());
    }
    Ok(())
}

/// The node reboots when the kubelet has killed what ignores TERM, and not before its grace is over.
fn killed_after_their_grace(stage: &Stage) -> Result<()> {
    let mut killed = 0;
    for PodDeletion { pod, asked_at, gone_at } in stage.observer.history().pod_deletions() {
        if !is_of(&pod, "stubborn") {
            continue;
        }
        let gone_at = gone_at.with_context(|| format!("{} is still there", pod.name))?;
        let took = gone_at.saturating_sub(asked_at);
        ensure!(took >= STUBBORN_GRACE, "{} ended after {took:?}", pod.name);
        let host = stage.lab.hosts.iter().find(|host| pod.node.as_deref() == Some(host.name()));
        let host = host.with_context(|| format!("{} was on no host", pod.name))?;
        let leaving = processes::uptime_at(stage, asked_at)?..processes::uptime_at(stage, gone_at)?;
        for boot in host.boots() {
            let went_down = boot.ended.map(|(time, _)| processes::uptime_of(time)).transpose()?;
            let in_its_grace = went_down.is_some_and(|time| leaving.contains(&time));
            ensure!(!in_its_grace, "{} did not wait for the end of {}", host.name(), pod.name);
        }
        killed += 1;
    }
    ensure!(killed >= stage.lab.hosts.len(), "only {killed} pods that ignore TERM were killed");
    say(format!("{killed} pods that ignore TERM were killed, each after its grace"));
    Ok(())
}

/// A finished pod that a finalizer holds does not hold up the drain for ever; it is still there.
async fn held_by_its_finalizer(stage: &Stage, host: &Host) -> Result<()> {
    let state = stage.observer.state();
    let held = state.pods_on(host.name()).find(|pod| is_of(pod, "held") && pod.terminating);
    let Some(held) = held else { anyhow::bail!("the pod with a finalizer is gone") };
    let ended = processes::of(host)?.iter().any(|it| it.pod == held.name && it.ended.is_some());
    ensure!(ended, "the process of {} did not end by TERM", held.name);
    Ok(())
}

/// The Job that was interrupted is not over: its pod runs again.
async fn work_goes_on(stage: &Stage) -> Result<()> {
    workload::wait_running(&stage.lab.control_plane, "work", 1, SOON).await?;
    let finished = stage.observer.state().pods.values().any(|pod| is_of(pod, "finished"));
    ensure!(finished, "the finished pod was removed, and its result with it");
    Ok(())
}
