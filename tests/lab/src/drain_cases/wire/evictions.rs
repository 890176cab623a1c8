//! Evictions whose request or answer is lost or late.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;

use super::super::case::{Case, Made};
use super::super::cases;
use super::super::objects::Pod;
use super::{evictions, evictions_of, first};
use crate::proxy::{Action, Outcome};

cases![
    wire_swallowed_eviction_is_asked_for_again,
    wire_swallowed_eviction_that_arrives_late_finds_another_pod,
    wire_slow_eviction_holds_up_no_other_and_is_not_asked_twice,
    wire_slow_answers_of_all_are_waited_for,
    wire_lost_answer_of_an_eviction_evicts_once,
    wire_lost_answer_and_connection_evict_once,
    wire_lost_answers_of_all_evict_each_once,
    wire_lost_answer_costs_a_budget_once,
    wire_lost_request_is_sent_again,
];

/// It never reaches the server, and no answer comes.
async fn wire_swallowed_eviction_is_asked_for_again(case: &mut Case) -> Result<()> {
    let db = case.create_owned(Pod::named("db")).await?;
    let web = case.create_owned(Pod::named("web")).await?;
    let swallowed = case.proxy.add(evictions_of(&db).nth(1), Action::Hold);
    case.drain("")?;
    case.gone(&web).await?;
    case.untouched(&db)?;
    case.wait_line(&["draining: 1 of 2 pods still to leave"]).await?;
    case.gone(&db).await?;
    case.reboot_called().await?;
    swallowed.drop_request();
    case.was_evicted(&db)?;
    let sent = case.sent_evictions(&db);
    ensure!(sent.len() == 2, "{} requests", sent.len());
    ensure!(sent[0].ended.is_some_and(|ended| ended <= sent[1].began), "asked again while in flight");
    case.wait_log("no answer about").await
}

/// It arrives when a pod of the same name is somewhere else.
async fn wire_swallowed_eviction_that_arrives_late_finds_another_pod(case: &mut Case) -> Result<()> {
    let old = case.create_owned(Pod::named("db")).await?;
    let swallowed = case.proxy.add(evictions_of(&old).nth(1), Action::Hold);
    let other_node = case.other_node().await?;
    case.drain("")?;
    let late = swallowed.wait_hit().await;
    case.delete(&old).await?;
    case.gone(&old).await?;
    let new = case.create_owned_at(Pod::named("db"), &other_node).await?;
    case.reboot_called().await?;
    late.release();
    // The answer comes from the server, as to any write that was long on its way.
    let codes = case.wait_evictions_asked(1).await?;
    ensure!(codes[0].status == 409, "it was answered {}", codes[0].status);
    case.untouched(&new)
}

async fn wire_slow_eviction_holds_up_no_other_and_is_not_asked_twice(case: &mut Case) -> Result<()> {
    let slow = case.create_owned(Pod::named("slow")).await?;
    let mut others = Vec::new();
    for number in 0..8 {
        others.push(case.create_owned(Pod::named(&format!("web-{number}"))).await?);
    }
    case.proxy.add(evictions_of(&slow), Action::Delay(Duration::from_secs(25)));
    case.drain("")?;
    for pod in &others {
        case.gone(pod).await?;
        case.was_evicted(pod)?;
    }
    case.untouched(&slow)?;
    case.wait_line(&["draining: 1 of 9 pods still to leave"]).await?;
    case.gone(&slow).await?;
    case.reboot_called().await?;
    case.was_evicted(&slow)?;
    ensure!(case.sent_evictions(&slow).len() == 1, "it was asked for twice");
    Ok(())
}

/// The server has done it all, and says so late: pods that are gone need no answer.
async fn wire_slow_answers_of_all_are_waited_for(case: &mut Case) -> Result<()> {
    let mut pods = Vec::new();
    for number in 0..7 {
        pods.push(case.create_owned(Pod::named(&format!("web-{number}"))).await?);
    }
    case.proxy.add(evictions(), Action::DelayAnswer(Duration::from_secs(20)));
    case.drain("")?;
    for pod in &pods {
        case.gone(pod).await?;
    }
    case.reboot_called().await?;
    for pod in &pods {
        case.was_evicted(pod)?;
        ensure!(case.sent_evictions(pod).len() == 1, "{} was asked for twice", pod.name);
    }
    Ok(())
}

/// The server has granted it. The watch tells that the pod is leaving: it is not asked again.
async fn wire_lost_answer_of_an_eviction_evicts_once(case: &mut Case) -> Result<()> {
    let db = case.create_owned(Pod::named("db").never_ends()).await?;
    case.proxy.add(evictions_of(&db), Action::DropAfter);
    case.drain("")?;
    case.terminating(&db).await?;
    case.wait_log("no answer about").await?;
    // Long enough for a second request, had there been one.
    let late = case.create_owned(Pod::named("late")).await?;
    case.gone(&late).await?;
    case.was_evicted(&db)?;
    case.end(&db).await?;
    case.reboot_called().await?;
    case.was_evicted(&db)
}

/// The watch is lost with it: until the next list nobody knows, and a second request is no second disruption.
async fn wire_lost_answer_and_connection_evict_once(case: &mut Case) -> Result<()> {
    let db = case.create_owned(Pod::named("db").never_ends()).await?;
    case.proxy.add(evictions_of(&db).nth(1).kill_connection(), Action::DropAfter);
    case.drain("")?;
    case.terminating(&db).await?;
    case.wait_log("no answer about").await?;
    let late = case.create_owned(Pod::named("late")).await?;
    case.gone(&late).await?;
    case.end(&db).await?;
    case.reboot_called().await?;
    let codes = case.eviction_codes(&db)?;
    ensure!(codes == [201] || codes == [201, 201], "{codes:?}");
    Ok(())
}

async fn wire_lost_answers_of_all_evict_each_once(case: &mut Case) -> Result<()> {
    let mut pods = Vec::new();
    for number in 0..7 {
        pods.push(case.create_owned(Pod::named(&format!("web-{number}"))).await?);
    }
    case.proxy.add(evictions(), Action::DropAfter);
    case.drain("")?;
    for pod in &pods {
        case.gone(pod).await?;
    }
    case.reboot_called().await?;
    for pod in &pods {
        case.was_evicted(pod)?;
    }
    let dropped = case.proxy.requests().iter().filter(|it| it.outcome == Outcome::Dropped).count();
    ensure!(dropped == 7, "{dropped} answers were lost");
    Ok(())
}

/// Of two pods one may go. That answer is lost, and so is the refusal of the other one: it stays until the first is replaced.
async fn wire_lost_answer_costs_a_budget_once(case: &mut Case) -> Result<()> {
    let mut pods = case.deploy("ReplicaSet", 2, Pod::named("db").never_ends()).await?;
    case.budget("db", json!({"minAvailable": 1}), 1).await?;
    let lost = case.proxy.add(evictions().when(first(2)), Action::DropAfter);
    case.drain("")?;
    case.wait_line(&["draining: 2 of 2 pods still to leave", "blocked by budget db (0 of 1 may go)"]).await?;
    ensure!(lost.hits().len() == 2, "{} answers were lost", lost.hits().len());
    let state = case.shared.observer.state();
    let leaving = |pod: &Made| pod.find(&state).is_some_and(|it| it.terminating);
    pods.sort_by_key(|pod| !leaving(pod));
    ensure!(leaving(&pods[0]) && !leaving(&pods[1]), "not exactly one of them is leaving");
    case.was_evicted(&pods[0])?;
    case.change_budget("db", &json!({"minAvailable": 0})).await?;
    for pod in &pods {
        case.terminating(pod).await?;
        case.end(pod).await?;
    }
    case.reboot_called().await
}

async fn wire_lost_request_is_sent_again(case: &mut Case) -> Result<()> {
    let db = case.create_owned(Pod::named("db")).await?;
    let lost = case.proxy.add(evictions_of(&db).nth(1).kill_connection(), Action::DropBefore);
    case.drain("")?;
    case.gone(&db).await?;
    case.reboot_called().await?;
    ensure!(lost.hits().len() == 1, "no request was lost");
    case.was_evicted(&db)
}
