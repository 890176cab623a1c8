//! The daemon is killed: the next one goes on where the cluster is.

use anyhow::{Result, ensure};
use serde_json::json;

use super::super::case::Case;
use super::super::cases;
use super::super::objects::Pod;
use crate::proxy::{Action, Rule, Verb};

cases![
    ours_crash_after_the_claim_is_resumed,
    ours_crash_after_the_cordon_is_resumed,
    ours_crash_after_an_eviction_is_resumed,
    ours_crash_after_the_stamp_is_resumed,
    ours_crash_while_pods_are_leaving_asks_none_of_them_again,
    ours_crash_while_a_budget_blocks_is_resumed,
];

/// Killed once the server has done what it asked for first, and before it knows.
async fn after_the(case: &mut Case, asked: Rule) -> Result<()> {
    let pods = case.deploy("ReplicaSet", 3, Pod::named("web")).await?;
    let held = case.proxy.add(asked.nth(1), Action::HoldAnswer);
    case.drain("")?;
    held.wait_hit().await;
    case.kill_rebootd().await?;
    held.remove();
    for pod in &pods {
        case.gone(pod).await?;
        let codes = case.eviction_codes(pod)?;
        ensure!(codes.len() <= 2 && codes.contains(&201), "the evictions of {} were {codes:?}", pod.name);
    }
    case.reboot_called().await
}

async fn ours_crash_after_the_claim_is_resumed(case: &mut Case) -> Result<()> {
    after_the(case, Rule::new(Verb::Patch, "leases")).await
}

async fn ours_crash_after_the_cordon_is_resumed(case: &mut Case) -> Result<()> {
    after_the(case, Rule::new(Verb::Patch, "nodes").body_contains("\"unschedulable\":true")).await
}

async fn ours_crash_after_an_eviction_is_resumed(case: &mut Case) -> Result<()> {
    after_the(case, Rule::new(Verb::Create, "pods/eviction")).await
}

async fn ours_crash_after_the_stamp_is_resumed(case: &mut Case) -> Result<()> {
    after_the(case, Rule::new(Verb::Patch, "leases").body_contains("rebootd.io/rebooting\":\"")).await
}

async fn ours_crash_while_pods_are_leaving_asks_none_of_them_again(case: &mut Case) -> Result<()> {
    let slow = case.create_owned(Pod::named("slow").never_ends()).await?;
    case.drain("")?;
    case.terminating(&slow).await?;
    case.kill_rebootd().await?;
    case.wait_line(&["draining: 1 of 1 pod still to leave"]).await?;
    case.end(&slow).await?;
    case.reboot_called().await?;
    case.was_evicted(&slow)
}

async fn ours_crash_while_a_budget_blocks_is_resumed(case: &mut Case) -> Result<()> {
    let db = case.create_owned(Pod::named("db")).await?;
    case.budget("db", json!({"minAvailable": 1}), 0).await?;
    case.drain("")?;
    case.wait_line(&["draining", "budget db"]).await?;
    case.kill_rebootd().await?;
    case.wait_line(&["draining", "budget db"]).await?;
    case.untouched(&db)?;
    case.change_budget("db", &json!({"minAvailable": 0})).await?;
    case.gone(&db).await?;
    case.reboot_called().await
}
