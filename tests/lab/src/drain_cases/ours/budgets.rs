//! Budgets in the way of a drain: what is told, what goes on beside them, and what opens them.

use anyhow::{Result, ensure};
use serde_json::json;

use super::super::case::Case;
use super::super::cases;
use super::super::objects::Pod;

cases![
    ours_blocking_budget_is_named_and_others_leave,
    ours_budget_that_opens_lets_the_drain_end,
    ours_pods_of_a_budget_leave_as_their_replacements_come,
    ours_blocking_budget_costs_few_requests,
    ours_two_budgets_are_reported_and_others_leave,
    ours_sick_pod_under_an_unmet_budget_blocks_until_it_is_well,
    ours_replaced_pod_on_another_node_is_not_evicted,
];

async fn ours_blocking_budget_is_named_and_others_leave(case: &mut Case) -> Result<()> {
    let db = case.create_owned(Pod::named("db")).await?;
    let web = case.create_owned(Pod::named("web")).await?;
    case.budget("db", json!({"minAvailable": 1}), 0).await?;
    case.drain("")?;
    case.gone(&web).await?;
    let blocked = format!("{}/db blocked by budget db (0 of 1 may go)", case.here);
    case.wait_line(&["draining: 1 of 2 pods still to leave within ", &blocked]).await?;
    case.untouched(&db)?;
    ensure!(case.eviction_codes(&db)?.iter().all(|code| *code == 429), "{:?}", case.eviction_codes(&db)?);
    Ok(())
}

async fn ours_budget_that_opens_lets_the_drain_end(case: &mut Case) -> Result<()> {
    let db = case.create_owned(Pod::named("db")).await?;
    case.budget("db", json!({"minAvailable": 1}), 0).await?;
    case.drain("")?;
    case.wait_line(&["draining", "budget db"]).await?;
    case.change_budget("db", &json!({"minAvailable": 0})).await?;
    case.gone(&db).await?;
    case.reboot_called().await
}

/// One request at a time for all pods of a budget, less and less often.
async fn ours_blocking_budget_costs_few_requests(case: &mut Case) -> Result<()> {
    case.deploy("ReplicaSet", 10, Pod::named("web")).await?;
    case.budget("web", json!({"minAvailable": 10}), 0).await?;
    case.drain("")?;
    let asked = case.wait_evictions_asked(8).await?;
    // The first five are on their way before the first answer. From then on the pause grows from one second.
    let pauses: Vec<f64> = asked[4..]
        .windows(2)
        .map(|two| two[1].received.duration_since(two[0].received).as_secs_f64())
        .collect();
    case.tell(format!("the pauses are {pauses:?}"));
    ensure!(pauses.iter().all(|pause| *pause > 0.7), "too often: {pauses:?}");
    Ok(())
}

async fn ours_two_budgets_are_reported_and_others_leave(case: &mut Case) -> Result<()> {
    let db = case.create_owned(Pod::named("db")).await?;
    let web = case.create_owned(Pod::named("web")).await?;
    case.budget("db", json!({"minAvailable": 0}), 1).await?;
    let both = json!({"minAvailable": 0, "selector": {"matchLabels": {"app": "db"}}});
    case.budget("db-too", both, 1).await?;
    case.drain("")?;
    case.gone(&web).await?;
    case.wait_line(&[&format!("{}/db", case.here), "several budgets"]).await?;
    case.untouched(&db)?;
    case.delete_budget("db-too").await?;
    case.gone(&db).await?;
    case.reboot_called().await
}

async fn ours_sick_pod_under_an_unmet_budget_blocks_until_it_is_well(case: &mut Case) -> Result<()> {
    let sick = case.create_owned(Pod::named("db").becomes("NotReady")).await?;
    case.budget("db", json!({"minAvailable": 1}), 0).await?;
    case.drain("")?;
    case.wait_line(&["budget db"]).await?;
    case.untouched(&sick)?;
    // Its operator gives the pod a companion elsewhere, and the budget is met.
    let other_node = case.other_node().await?;
    let well = case.create_owned_at(Pod::named("db-well").app("db"), &other_node).await?;
    case.set_ready(&well).await?;
    case.gone(&sick).await?;
    case.reboot_called().await?;
    case.untouched(&well)
}

/// kubectl asks by name, and would evict the new one (kubernetes/kubernetes issue 138229).
async fn ours_replaced_pod_on_another_node_is_not_evicted(case: &mut Case) -> Result<()> {
    let old = case.create_owned(Pod::named("db")).await?;
    let other_node = case.other_node().await?;
    case.budget("db", json!({"minAvailable": 1}), 0).await?;
    case.drain("")?;
    case.wait_line(&["budget db"]).await?;
    case.delete(&old).await?;
    case.gone(&old).await?;
    // The old one may have been evicted while it was being deleted: that counts for nothing.
    let granted =
        |case: &Case| anyhow::Ok(case.eviction_codes(&old)?.iter().filter(|code| **code == 201).count());
    let before = granted(case)?;
    let new = case.create_owned_at(Pod::named("db"), &other_node).await?;
    case.change_budget("db", &json!({"minAvailable": 0})).await?;
    case.reboot_called().await?;
    case.untouched(&new)?;
    ensure!(granted(case)? == before, "it was evicted");
    Ok(())
}

async fn ours_pods_of_a_budget_leave_as_their_replacements_come(case: &mut Case) -> Result<()> {
    let other_node = case.other_node().await?;
    let mut pods = Vec::new();
    for number in 0..3 {
        pods.push(case.create_owned(Pod::named(&format!("web-{number}")).app("web")).await?);
    }
    case.budget("web", json!({"minAvailable": 3}), 0).await?;
    case.drain("")?;
    case.wait_line(&["draining: 3 of 3 pods still to leave", "budget web (0 of 3 may go)"]).await?;
    for left in [2, 1, 0] {
        let new = Pod::named(&format!("new-{left}")).app("web");
        let new = case.create_owned_at(new, &other_node).await?;
        case.set_ready(&new).await?;
        case.wait_left(&pods, left).await?;
    }
    case.reboot_called().await
}
