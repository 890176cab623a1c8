//! Pods that are not ready: may they go, under each `unhealthyPodEvictionPolicy`?

use anyhow::Result;
use serde_json::{Value, json};

use super::super::case::{Case, Made};
use super::super::cases;
use super::super::objects::Pod;
use super::{is_granted, is_refused_by};

cases![
    server_unhealthy_pod_without_a_policy_goes_while_the_budget_is_met,
    server_unhealthy_pod_under_if_healthy_budget_goes_while_the_budget_is_met,
    server_unhealthy_pod_under_always_allow_goes,
    server_unhealthy_pod_without_a_policy_stays_once_the_budget_is_not_met,
    server_unhealthy_pod_under_if_healthy_budget_stays_once_the_budget_is_not_met,
    server_unhealthy_pod_under_always_allow_goes_once_the_budget_is_not_met,
    server_healthy_pod_under_always_allow_stays,
];

fn needs_1(policy: Option<&str>) -> Value {
    match policy {
        Some(policy) => json!({"minAvailable": 1, "unhealthyPodEvictionPolicy": policy}),
        None => json!({"minAvailable": 1}),
    }
}

/// A pod that is not ready under a budget that needs one that is; beside a ready one the budget is met.
async fn sick_pod(case: &Case, policy: Option<&str>, is_met: bool) -> Result<Made> {
    if is_met {
        case.create_owned(Pod::named("well").app("db")).await?;
    }
    let sick = case.create_owned(Pod::named("sick").app("db").becomes("NotReady")).await?;
    case.budget("db", needs_1(policy), 0).await?;
    Ok(sick)
}

async fn server_unhealthy_pod_without_a_policy_goes_while_the_budget_is_met(case: &mut Case) -> Result<()> {
    let sick = sick_pod(case, None, true).await?;
    is_granted(case, &sick).await
}

async fn server_unhealthy_pod_under_if_healthy_budget_goes_while_the_budget_is_met(
    case: &mut Case,
) -> Result<()> {
    let sick = sick_pod(case, Some("IfHealthyBudget"), true).await?;
    is_granted(case, &sick).await
}

async fn server_unhealthy_pod_under_always_allow_goes(case: &mut Case) -> Result<()> {
    let sick = sick_pod(case, Some("AlwaysAllow"), true).await?;
    is_granted(case, &sick).await
}

async fn server_unhealthy_pod_without_a_policy_stays_once_the_budget_is_not_met(
    case: &mut Case,
) -> Result<()> {
    let sick = sick_pod(case, None, false).await?;
    is_refused_by(case, &sick, "db").await?;
    Ok(())
}

async fn server_unhealthy_pod_under_if_healthy_budget_stays_once_the_budget_is_not_met(
    case: &mut Case,
) -> Result<()> {
    let sick = sick_pod(case, Some("IfHealthyBudget"), false).await?;
    is_refused_by(case, &sick, "db").await?;
    Ok(())
}

async fn server_unhealthy_pod_under_always_allow_goes_once_the_budget_is_not_met(
    case: &mut Case,
) -> Result<()> {
    let sick = sick_pod(case, Some("AlwaysAllow"), false).await?;
    is_granted(case, &sick).await
}

async fn server_healthy_pod_under_always_allow_stays(case: &mut Case) -> Result<()> {
    let well = case.create_owned(Pod::named("db")).await?;
    case.budget("db", needs_1(Some("AlwaysAllow")), 0).await?;
    is_refused_by(case, &well, "db").await?;
    Ok(())
}
