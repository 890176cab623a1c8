//! 429 and its kinds: a budget's, with and without Retry-After, and an overloaded server's.

use std::time::Duration;

use anyhow::{Result, ensure};
use bytes::Bytes;
use serde_json::{Value, json};

use super::super::case::{Case, only_measures};
use super::super::cases;
use super::super::objects::Pod;
use super::{Switch, evictions, evictions_of, first};
use crate::proxy::{Action, Rule};

cases![
    wire_budget_without_retry_after_is_named_with_its_numbers,
    wire_budget_with_retry_after_is_obeyed_and_named,
    wire_overload_with_retry_after_one_is_told_as_such,
    wire_overload_with_retry_after_five_is_obeyed_by_all_pods,
    wire_overload_with_a_closed_connection_is_survived,
    wire_overload_of_the_watch_cache_is_no_budget,
    wire_overload_beside_a_budget_is_told_apart,
    wire_overload_of_everything_is_waited_out,
];

const OVERLOADED: &str = "the API server grants no evictions at the moment: 429";

/// An answer with Retry-After in seconds and what else goes with it.
pub(super) fn answer(code: u16, retry_after: u32, body: &Value) -> Action {
    let headers = [("content-type", "application/json".to_owned()), ("retry-after", retry_after.to_string())];
    Action::Answer {
        status: code,
        headers: headers.map(|(name, value)| (name.to_owned(), value)).into(),
        body: Bytes::from(body.to_string()),
    }
}

/// As the server words it while the budget's controller has not caught up.
fn still_processed(budget: &str) -> Value {
    let text = format!("The disruption budget {budget} is still being processed by the server.");
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": 429,
        "message": "Cannot evict pod as it would violate the pod's disruption budget.",
        "reason": "TooManyRequests",
        "details": {"causes": [{"reason": "DisruptionBudget", "message": text}], "retryAfterSeconds": 10},
    })
}

/// As it words that its cache is not ready.
fn reinitializing() -> Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": 429,
        "message": "storage is (re)initializing", "reason": "TooManyRequests", "details": {"retryAfterSeconds": 1},
    })
}

async fn wire_budget_without_retry_after_is_named_with_its_numbers(case: &mut Case) -> Result<()> {
    let db = case.deploy("ReplicaSet", 3, Pod::named("db")).await?;
    case.budget("db", json!({"minAvailable": 3}), 0).await?;
    let said = case.evict_raw(&db[0]).await?;
    ensure!(said.code == 429 && said.retry_after.is_none(), "{said}");
    case.drain("")?;
    case.wait_line(&["draining: 3 of 3 pods still to leave", "blocked by budget db (0 of 3 may go)"]).await?;
    ensure!(!case.line().contains(OVERLOADED), "{}", case.line());
    case.change_budget("db", &json!({"minAvailable": 0})).await?;
    for pod in &db {
        case.gone(pod).await?;
    }
    case.reboot_called().await
}

async fn wire_budget_with_retry_after_is_obeyed_and_named(case: &mut Case) -> Result<()> {
    let db = case.create_owned(Pod::named("db")).await?;
    let web = case.create_owned(Pod::named("web")).await?;
    let busy = case.proxy.add(evictions_of(&db).nth(1), answer(429, 10, &still_processed("db")));
    case.drain("")?;
    case.gone(&web).await?;
    case.wait_line(&[
        "draining: 1 of 2 pods still to leave within ",
        &format!("{}/db blocked by budget db", case.here),
    ])
    .await?;
    ensure!(!case.line().contains(OVERLOADED), "{}", case.line());
    case.gone(&db).await?;
    case.reboot_called().await?;
    ensure!(busy.hits().len() == 1, "{} answers", busy.hits().len());
    case.keep_apart(&case.sent_evictions(&db), Duration::from_secs(10))?;
    // The others did not wait for it.
    case.was_evicted(&web)
}

/// The first request meets an overloaded server, and nothing at all is asked before it wants to be asked.
async fn overloaded(case: &mut Case, action: Action, seconds: u64) -> Result<()> {
    let db = case.create_owned(Pod::named("db")).await?;
    let web = case.create_owned(Pod::named("web")).await?;
    // Both are asked at once: until then nothing was known.
    let rule = case.proxy.add(evictions().when(first(2)), action);
    case.drain("")?;
    case.wait_line(&[OVERLOADED, "2 of 2 pods still to leave"]).await?;
    ensure!(!case.line().contains("budget"), "{}", case.line());
    case.gone(&db).await?;
    case.gone(&web).await?;
    case.reboot_called().await?;
    ensure!(rule.hits().len() == 2, "{} answers", rule.hits().len());
    for pod in [&db, &web] {
        case.was_evicted(pod)?;
        case.keep_apart(&case.sent_evictions(pod), Duration::from_secs(seconds))?;
    }
    ensure!(!case.log().contains("budget"), "its log speaks of a budget");
    Ok(())
}

async fn wire_overload_with_retry_after_one_is_told_as_such(case: &mut Case) -> Result<()> {
    overloaded(case, Action::answer_overloaded(1), 1).await
}

async fn wire_overload_with_retry_after_five_is_obeyed_by_all_pods(case: &mut Case) -> Result<()> {
    overloaded(case, Action::answer_overloaded(5), 5).await
}

/// An API server that stops: the watches go with the connection.
async fn wire_overload_with_a_closed_connection_is_survived(case: &mut Case) -> Result<()> {
    let Action::Answer { status, mut headers, body } = Action::answer_overloaded(1) else {
        anyhow::bail!("no answer");
    };
    headers.push(("connection".into(), "close".into()));
    overloaded(case, Action::Answer { status, headers, body }, 1).await
}

async fn wire_overload_of_the_watch_cache_is_no_budget(case: &mut Case) -> Result<()> {
    overloaded(case, answer(429, 1, &reinitializing()), 1).await
}

/// Both at a time: each is told as what it is.
async fn wire_overload_beside_a_budget_is_told_apart(case: &mut Case) -> Result<()> {
    let db = case.create_owned(Pod::named("db")).await?;
    let web = case.create_owned(Pod::named("web").never_ends()).await?;
    case.budget("db", json!({"minAvailable": 1}), 0).await?;
    case.drain("")?;
    let blocked = format!("{}/db blocked by budget db (0 of 1 may go)", case.here);
    case.wait_line(&[&blocked]).await?;
    let overload = case.proxy.add(evictions(), Action::answer_overloaded(1));
    case.wait_line(&[OVERLOADED, &blocked]).await?;
    overload.remove();
    case.wait_status("the overload is over", |status| {
        let line = status["line"].as_str().unwrap_or_default();
        line.contains(&blocked) && !line.contains(OVERLOADED)
    })
    .await?;
    case.end(&web).await?;
    case.change_budget("db", &json!({"minAvailable": 0})).await?;
    case.gone(&db).await?;
    case.reboot_called().await
}

/// Reads are refused, too, and the watches end.
async fn wire_overload_of_everything_is_waited_out(case: &mut Case) -> Result<()> {
    let slow = case.lasting_drain().await?;
    let overloaded = Switch::default();
    let rule = case.proxy.add(overloaded.guards(Rule::any()), Action::answer_overloaded(2));
    overloaded.turn_on();
    case.proxy.kill_connections();
    case.wait_line(&["draining", "reading from the Kubernetes API failed: 429"]).await?;
    case.end(&slow).await?;
    while rule.hits().len() < 4 {
        rule.wait_hit().await;
    }
    case.nothing_is_undone()?;
    ensure!(case.reboot_calls() == 0, "it rebooted");
    rule.remove();
    case.reboot_called().await?;
    let refused = case.proxy.requests().into_iter().filter(|it| it.status == Some(429));
    let (measures, refused): (Vec<_>, Vec<_>) = refused.partition(only_measures);
    ensure!(measures.len() <= 1, "what only measures leaves the server alone: {measures:?}");
    // Each look ends with its first refusal, and the next one comes when the server wants it.
    case.keep_apart(&refused, Duration::from_secs(2))?;
    case.was_evicted(&slow)
}
