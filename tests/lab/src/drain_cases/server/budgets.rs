//! Budgets, and which pods they count.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::super::case::Case;
use super::super::cases;
use super::super::objects::Pod;
use super::{is_granted, is_refused_by};

cases![
    server_budget_of_0_keeps_a_running_pod,
    server_budget_of_0_lets_a_pending_pod_go,
    server_budget_of_0_lets_a_succeeded_pod_go,
    server_budget_of_0_lets_a_failed_pod_go,
    server_budget_of_0_says_yes_to_a_terminating_pod,
    server_budget_of_1_lets_one_pod_go,
    server_budget_that_does_not_match_keeps_nothing,
    server_empty_selector_matches_all,
    server_budget_counts_only_its_namespace,
    server_budget_that_never_was_counted_asks_for_patience,
    server_sync_failure_is_told_in_the_cause,
    server_budget_not_counted_yet_asks_for_patience,
    server_20_evictions_at_once_keep_one_budget,
];

const OF_ONE: &str = "The disruption budget db needs 1 healthy pods and has 1 currently";

async fn server_budget_of_0_keeps_a_running_pod(case: &mut Case) -> Result<()> {
    let db = case.create_owned(Pod::named("db")).await?;
    case.budget("db", json!({"minAvailable": 1}), 0).await?;
    let said = is_refused_by(case, &db, "db").await?;
    ensure!(said.cause_text() == OF_ONE && said.retry_after.is_none(), "{said}");
    Ok(())
}

async fn goes_although_0_are_allowed(case: &Case, phase: &str) -> Result<()> {
    let db = case.create_owned(Pod::named("db").becomes(phase)).await?;
    case.budget("db", json!({"minAvailable": 1}), 0).await?;
    is_granted(case, &db).await
}

async fn server_budget_of_0_lets_a_pending_pod_go(case: &mut Case) -> Result<()> {
    goes_although_0_are_allowed(case, "Pending").await
}

async fn server_budget_of_0_lets_a_succeeded_pod_go(case: &mut Case) -> Result<()> {
    goes_although_0_are_allowed(case, "Succeeded").await
}

async fn server_budget_of_0_lets_a_failed_pod_go(case: &mut Case) -> Result<()> {
    goes_although_0_are_allowed(case, "Failed").await
}

async fn server_budget_of_0_says_yes_to_a_terminating_pod(case: &mut Case) -> Result<()> {
    let db = case.create_owned(Pod::named("db").never_ends()).await?;
    case.budget("db", json!({"minAvailable": 1}), 0).await?;
    case.delete(&db).await?;
    case.terminating(&db).await?;
    let said = case.evict_raw(&db).await?;
    ensure!(said.code == 201, "{said}");
    Ok(())
}

async fn server_budget_of_1_lets_one_pod_go(case: &mut Case) -> Result<()> {
    let first = case.create_owned(Pod::named("db-0").app("db").never_ends()).await?;
    let second = case.create_owned(Pod::named("db-1").app("db").never_ends()).await?;
    case.budget("db", json!({"minAvailable": 1}), 1).await?;
    let said = case.evict_raw(&first).await?;
    ensure!(said.code == 201, "{said}");
    is_refused_by(case, &second, "db").await?;
    let state = case.shared.observer.state();
    let conditions = first.find(&state).map(|pod| pod.raw["status"]["conditions"].to_string());
    ensure!(conditions.is_some_and(|all| all.contains("EvictionByEvictionAPI")), "not marked as disrupted");
    Ok(())
}

async fn server_budget_that_does_not_match_keeps_nothing(case: &mut Case) -> Result<()> {
    let db = case.create_owned(Pod::named("db")).await?;
    case.budget("other", json!({"minAvailable": 1}), 0).await?;
    is_granted(case, &db).await
}

async fn server_empty_selector_matches_all(case: &mut Case) -> Result<()> {
    let db = case.create_owned(Pod::named("db")).await?;
    case.budget("all", json!({"minAvailable": 1, "selector": {}}), 0).await?;
    is_refused_by(case, &db, "all").await?;
    Ok(())
}

async fn server_budget_counts_only_its_namespace(case: &mut Case) -> Result<()> {
    let other = format!("{}-other", case.here);
    case.namespace(&other).await?;
    let db = case.create_owned(Pod::named("db")).await?;
    case.budget_in(&other, "db", json!({"minAvailable": 1}), 0).await?;
    is_granted(case, &db).await
}

async fn server_budget_that_never_was_counted_asks_for_patience(case: &mut Case) -> Result<()> {
    // What cannot be scaled says nothing about how many pods there should be.
    let db = case.create_owned(Pod::named("db")).await?;
    case.create_budget(&case.here, "db", json!({"maxUnavailable": 1})).await?;
    case.wait_budget("db", "cannot be counted", says_sync_failed).await?;
    let said = is_refused_by(case, &db, "db").await?;
    ensure!(said.retry_after.as_deref() == Some("10"), "{said}");
    Ok(())
}

async fn server_sync_failure_is_told_in_the_cause(case: &mut Case) -> Result<()> {
    case.deploy("ReplicaSet", 1, Pod::named("web")).await?;
    case.budget("web", json!({"maxUnavailable": 1}), 1).await?;
    let stranger = case.create_owned(Pod::named("stranger").app("web")).await?;
    case.wait_budget("web", "cannot be counted any more", says_sync_failed).await?;
    let said = is_refused_by(case, &stranger, "web").await?;
    ensure!(said.cause_text().contains("does not implement the scale subresource"), "{said}");
    ensure!(said.retry_after.is_none(), "{said}");
    Ok(())
}

fn says_sync_failed(budget: &Value) -> bool {
    budget["status"]["conditions"].to_string().contains("SyncFailed")
}

async fn server_budget_not_counted_yet_asks_for_patience(case: &mut Case) -> Result<()> {
    let db = case.create_owned(Pod::named("db")).await?;
    case.budget("db", json!({"minAvailable": 1}), 0).await?;
    // The controller takes milliseconds to count again: one of many requests comes before it has.
    for number in 1..=500 {
        case.change_budget("db", &json!({"minAvailable": 1 + number % 2})).await?;
        let said = case.evict_raw(&db).await?;
        ensure!(said.code == 429 && said.cause() == "DisruptionBudget", "{said}");
        if said.retry_after.is_some() {
            ensure!(said.retry_after.as_deref() == Some("10"), "{said}");
            return Ok(());
        }
    }
    anyhow::bail!("the controller was always quicker")
}

async fn server_20_evictions_at_once_keep_one_budget(case: &mut Case) -> Result<()> {
    // Nobody replaces them: what is granted stays granted.
    let mut pods = Vec::new();
    for number in 0..20 {
        pods.push(case.create_owned(Pod::named(&format!("web-{number}")).app("web").never_ends()).await?);
    }
    case.budget("web", json!({"minAvailable": 12}), 8).await?;
    let mut asking = JoinSet::new();
    for pod in pods {
        let agent = case.agent.clone();
        let body = super::super::answers::eviction(&pod, Value::Null).to_string();
        let path = format!("{}/eviction", pod.path());
        asking.spawn(async move { agent.ask("POST", &path, "application/json", body).await });
    }
    let answers: Vec<_> = asking.join_all().await.into_iter().collect::<Result<_>>()?;
    let codes: Vec<u16> = answers.iter().map(|answer| answer.code).collect();
    case.tell(format!("answers: {codes:?}"));
    let granted = codes.iter().filter(|code| **code == 201).count();
    ensure!(granted == 8, "{granted} were granted: {codes:?}");
    ensure!(codes.iter().all(|code| [201, 429].contains(code)), "{codes:?}");
    Ok(())
}
