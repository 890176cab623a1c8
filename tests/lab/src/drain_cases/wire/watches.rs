//! The watch on the pods breaks, in every way that a watch can: what happened meanwhile is found.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;

use super::super::case::{Case, Made, only_measures};
use super::super::cases;
use super::super::objects::Pod;
use super::Switch;
use crate::proxy::{Action, Rule, Verb};

cases![
    wire_silent_connection_hides_no_pod_that_leaves,
    wire_silent_watch_hides_no_pod_that_leaves,
    wire_expired_watch_is_started_again_and_rarely,
    wire_expired_event_in_the_watch_starts_it_again,
    wire_watch_cut_in_mid_event_misses_nothing,
    wire_watches_that_never_work_cost_few_requests,
    wire_pod_that_comes_while_there_is_no_watch_is_evicted,
    wire_lost_connection_in_mid_drain_is_made_again,
];

fn pod_watches() -> Rule {
    Rule::new(Verb::Watch, "pods")
}

fn expired() -> serde_json::Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": "too old resource version: 1 (2)", "reason": "Expired", "code": 410,
    })
}

/// The drain ends, with one eviction a pod.
async fn ends_well(case: &Case, pods: &[&Made]) -> Result<()> {
    case.reboot_called().await?;
    for pod in pods {
        case.gone(pod).await?;
        case.was_evicted(pod)?;
    }
    Ok(())
}

/// A firewall on the way has forgotten the connection: no end of it arrives.
async fn wire_silent_connection_hides_no_pod_that_leaves(case: &mut Case) -> Result<()> {
    let slow = case.lasting_drain().await?;
    case.proxy.silence_connections();
    case.tell("the connection is silent");
    case.end(&slow).await?;
    ends_well(case, &[&slow]).await
}

/// The connection lives, only the watch tells nothing: the look that comes once a minute finds it.
async fn wire_silent_watch_hides_no_pod_that_leaves(case: &mut Case) -> Result<()> {
    let slow = case.create_owned(Pod::named("slow").never_ends()).await?;
    let silent = case.proxy.add(pod_watches(), Action::HoldAnswer);
    case.drain("")?;
    case.terminating(&slow).await?;
    silent.wait_hit().await;
    case.end(&slow).await?;
    ends_well(case, &[&slow]).await
}

/// HTTP status 410, each time: the lists do what the watch does not.
async fn wire_expired_watch_is_started_again_and_rarely(case: &mut Case) -> Result<()> {
    let slow = case.create_owned(Pod::named("slow").never_ends()).await?;
    let rule = case.proxy.add(pod_watches(), Action::answer_json(410, &expired()));
    broken_watches(case, &slow, || rule.hits().len()).await
}

/// 200, then an event that says so: this is how a real server does it.
async fn wire_expired_event_in_the_watch_starts_it_again(case: &mut Case) -> Result<()> {
    let slow = case.create_owned(Pod::named("slow").never_ends()).await?;
    let event = json!({"type": "ERROR", "object": expired()});
    let Action::Answer { headers, .. } = Action::answer_json(200, &event) else { anyhow::bail!("no answer") };
    let body = format!("{event}\n").into();
    let rule = case.proxy.add(pod_watches(), Action::Answer { status: 200, headers, body });
    broken_watches(case, &slow, || rule.hits().len()).await
}

/// Three watches come to nothing, then the pod leaves, and a fourth does, too.
async fn broken_watches(case: &mut Case, slow: &Made, broken: impl Fn() -> usize) -> Result<()> {
    case.drain("")?;
    case.terminating(slow).await?;
    case.wait_status("three watches are broken", |_| broken() >= 3).await?;
    case.nothing_is_undone()?;
    case.end(slow).await?;
    ends_well(case, &[slow]).await?;
    // A little less than the pause between two of them, which begins with the watch and not with its request.
    case.keep_apart(&case.sent(Verb::Watch, "pods"), Duration::from_secs(4))
}

/// The first event, of the pod that is terminating, comes in half.
async fn wire_watch_cut_in_mid_event_misses_nothing(case: &mut Case) -> Result<()> {
    let slow = case.create_owned(Pod::named("slow").never_ends()).await?;
    let web = case.create_owned(Pod::named("web")).await?;
    let cut = case.proxy.add(pod_watches().nth(1), Action::CutAnswer(300));
    case.drain("")?;
    case.terminating(&slow).await?;
    case.gone(&web).await?;
    case.wait_line(&["draining: 1 of 2 pods still to leave"]).await?;
    ensure!(cut.hits().len() == 1, "no watch was cut");
    case.end(&slow).await?;
    ends_well(case, &[&slow, &web]).await
}

/// Without watches of any kind a drain costs a look each few seconds, and nothing more.
async fn wire_watches_that_never_work_cost_few_requests(case: &mut Case) -> Result<()> {
    let slow = case.create_owned(Pod::named("slow").never_ends()).await?;
    let rule = case.proxy.add(Rule::any().verb(Verb::Watch), Action::DropBefore);
    case.drain("")?;
    case.terminating(&slow).await?;
    let asked = || case.proxy.requests().iter().filter(|it| !only_measures(it)).count();
    let before = asked();
    let hits = rule.hits().len();
    case.wait_status("three more looks were taken", |_| rule.hits().len() >= hits + 3).await?;
    let sent = asked() - before;
    case.tell(format!("{sent} requests for three looks"));
    // A watch, the Node, the slots and the pods.
    ensure!(sent <= 16, "{sent} requests for three looks");
    case.end(&slow).await?;
    ends_well(case, &[&slow]).await
}

async fn wire_pod_that_comes_while_there_is_no_watch_is_evicted(case: &mut Case) -> Result<()> {
    let slow = case.lasting_drain().await?;
    let broken = Switch::default();
    let rule = case.proxy.add(broken.guards(pod_watches()), Action::DropBefore);
    broken.turn_on();
    case.proxy.kill_connections();
    rule.wait_hit().await;
    let late = case.create_only(Pod::named("late").controlled_by(&case.owner("late").await?)).await?;
    case.gone(&late).await?;
    case.end(&slow).await?;
    ends_well(case, &[&slow, &late]).await
}

async fn wire_lost_connection_in_mid_drain_is_made_again(case: &mut Case) -> Result<()> {
    let slow = case.lasting_drain().await?;
    case.proxy.kill_connections();
    case.end(&slow).await?;
    ends_well(case, &[&slow]).await
}
