//! What follows a drain that was given up.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;

use super::super::case::{Case, Made};
use super::super::cases;
use super::super::objects::Pod;
use crate::proxy::{Action, Rule, Verb};

cases![
    ours_pause_after_a_failed_drain_survives_a_restart,
    ours_dry_run_before_the_next_try_touches_nothing,
    ours_dry_run_that_finds_nothing_in_the_way_begins_the_try,
    ours_next_try_comes_whatever_the_dry_run_says,
];

const HALF_AN_HOUR: Duration = Duration::from_secs(30 * 60 + 30);

/// A budget was in the way until the deadline.
async fn given_up(case: &mut Case) -> Result<Made> {
    let db = case.create_owned(Pod::named("db")).await?;
    case.budget("db", json!({"minAvailable": 1}), 0).await?;
    case.drain("timeout = \"40s\"")?;
    case.wait_line(&["draining", "budget db"]).await?;
    case.wait_line(&["backing off"]).await?;
    case.uncordoned().await?;
    case.released().await?;
    Ok(db)
}

async fn ours_pause_after_a_failed_drain_survives_a_restart(case: &mut Case) -> Result<()> {
    let db = given_up(case).await?;
    let before = case.eviction_codes(&db)?.len();
    case.kill_rebootd().await?;
    case.wait_line(&["backing off"]).await?;
    ensure!(case.eviction_codes(&db)?.len() == before, "it tried again");
    Ok(())
}

async fn ours_dry_run_before_the_next_try_touches_nothing(case: &mut Case) -> Result<()> {
    let db = given_up(case).await?;
    let rehearsals = case.proxy.add(
        Rule::new(Verb::Create, "pods/eviction").body_contains("dryRun\":[\"All\"]"),
        Action::Delay(Duration::ZERO),
    );
    let claims = case.requests("patch", "leases")?.len();
    case.pass_time(HALF_AN_HOUR).await?;
    let blocked = format!("{}/db would still be blocked by budget db", case.here);
    case.wait_line(&[&blocked]).await?;
    ensure!(rehearsals.hits().len() == 1, "{} dry runs", rehearsals.hits().len());
    ensure!(case.requests("patch", "leases")?.len() == claims, "it claimed a slot");
    case.wait_node("is not cordoned", |node| !node.unschedulable).await?;
    case.untouched(&db)
}

/// Some operators move their pod only once they see the cordon.
async fn ours_next_try_comes_whatever_the_dry_run_says(case: &mut Case) -> Result<()> {
    let db = given_up(case).await?;
    case.pass_time(HALF_AN_HOUR).await?;
    case.wait_line(&["would still be blocked by budget db"]).await?;
    // This try must not be over before the operator has seen the cordon.
    case.configure("timeout = \"10min\"")?;
    case.pass_time(HALF_AN_HOUR).await?;
    case.cordoned().await?;
    case.change_budget("db", &json!({"minAvailable": 0})).await?;
    case.gone(&db).await?;
    case.reboot_called().await
}

async fn ours_dry_run_that_finds_nothing_in_the_way_begins_the_try(case: &mut Case) -> Result<()> {
    let db = given_up(case).await?;
    case.change_budget("db", &json!({"minAvailable": 0})).await?;
    case.pass_time(HALF_AN_HOUR).await?;
    case.gone(&db).await?;
    case.reboot_called().await
}
