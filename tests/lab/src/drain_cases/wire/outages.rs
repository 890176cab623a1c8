//! No API at all in mid-drain, and an API that does not accept the credential.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;
use tokio::time::sleep;

use super::super::case::{Case, Made};
use super::super::cases;
use super::super::objects::Pod;
use super::{Named, Switch};
use crate::proxy::{Action, Rule};

cases![
    wire_black_hole_undoes_nothing,
    wire_refused_connections_undo_nothing,
    wire_outage_in_which_the_last_pod_leaves_ends_in_a_reboot,
    wire_outage_beyond_the_deadline_is_undone_afterwards,
    wire_outage_beyond_the_deadline_that_ends_drained_reboots,
    wire_outage_with_evictions_in_flight_loses_none,
    wire_refused_credential_undoes_nothing,
    wire_refused_credential_with_a_budget_in_the_way_is_told,
];

pub(super) const LONG: &[Named] = &[Named {
    name: "wire_five_minutes_without_the_api",
    run: |case| Box::pin(undoes_nothing(case, Outage::Refused, FIVE_MINUTES)),
}];

const FIVE_MINUTES: Duration = Duration::from_secs(5 * 60);
const FAILING: &str = "reading from the Kubernetes API failed";

/// Nothing gets through, in either of two ways.
#[derive(Clone, Copy)]
enum Outage {
    Refused,
    Silent,
}

fn begin(case: &Case, outage: Outage) {
    case.tell("the API is gone");
    match outage {
        Outage::Refused => {
            case.proxy.set_refuse(true);
            case.proxy.kill_connections();
        }
        Outage::Silent => case.proxy.set_black_hole(true),
    }
}

fn end(case: &Case) {
    case.tell("the API is back");
    case.proxy.set_refuse(false);
    case.proxy.set_black_hole(false);
}

/// It is told as what it is, for this long.
async fn lasts(case: &Case, time: Duration) -> Result<()> {
    case.wait_line(&["draining", FAILING]).await?;
    sleep(time).await;
    case.wait_line(&["draining", FAILING]).await?;
    case.nothing_is_undone()?;
    ensure!(case.reboot_calls() == 0, "it rebooted without the API");
    Ok(())
}

/// Some pods have left, one is leaving, one is kept by a budget.
async fn in_mid_drain(case: &mut Case) -> Result<[Made; 2]> {
    let slow = case.create_owned(Pod::named("slow").never_ends()).await?;
    let db = case.create_owned(Pod::named("db")).await?;
    case.budget("db", json!({"minAvailable": 1}), 0).await?;
    case.drain("")?;
    case.granted(&slow).await?;
    case.wait_line(&["draining: 2 of 2 pods still to leave", "blocked by budget db"]).await?;
    Ok([slow, db])
}

async fn undoes_nothing(case: &mut Case, outage: Outage, time: Duration) -> Result<()> {
    let [slow, db] = in_mid_drain(case).await?;
    begin(case, outage);
    lasts(case, time).await?;
    end(case);
    case.wait_line(&["draining: 2 of 2 pods still to leave", "blocked by budget db"]).await?;
    case.untouched(&db)?;
    case.end(&slow).await?;
    case.change_budget("db", &json!({"minAvailable": 0})).await?;
    case.gone(&db).await?;
    case.reboot_called().await?;
    case.was_evicted(&slow)
}

async fn wire_black_hole_undoes_nothing(case: &mut Case) -> Result<()> {
    undoes_nothing(case, Outage::Silent, Duration::from_secs(45)).await
}

async fn wire_refused_connections_undo_nothing(case: &mut Case) -> Result<()> {
    undoes_nothing(case, Outage::Refused, Duration::from_secs(20)).await
}

async fn wire_outage_in_which_the_last_pod_leaves_ends_in_a_reboot(case: &mut Case) -> Result<()> {
    let slow = case.lasting_drain().await?;
    begin(case, Outage::Refused);
    case.end(&slow).await?;
    case.gone(&slow).await?;
    lasts(case, Duration::from_secs(10)).await?;
    end(case);
    case.reboot_called().await?;
    case.was_evicted(&slow)
}

/// The deadline passes while nobody can be told. No reboot comes of it, and the abort waits for the API.
async fn wire_outage_beyond_the_deadline_is_undone_afterwards(case: &mut Case) -> Result<()> {
    let slow = case.create_owned(Pod::named("slow").never_ends()).await?;
    case.drain("timeout = \"20s\"")?;
    case.granted(&slow).await?;
    begin(case, Outage::Refused);
    case.wait_line(&[FAILING]).await?;
    case.wait_line(&["aborting", FAILING]).await?;
    case.nothing_is_undone()?;
    end(case);
    case.uncordoned().await?;
    case.released().await?;
    case.wait_line(&["backing off"]).await?;
    ensure!(case.reboot_calls() == 0, "it rebooted");
    case.was_evicted(&slow)
}

/// Its last pod left before the deadline, and the API was back only after it: there is nothing to give up any more.
async fn wire_outage_beyond_the_deadline_that_ends_drained_reboots(case: &mut Case) -> Result<()> {
    let slow = case.create_owned(Pod::named("slow").never_ends()).await?;
    case.drain("timeout = \"20s\"")?;
    case.granted(&slow).await?;
    begin(case, Outage::Refused);
    case.end(&slow).await?;
    case.wait_line(&["aborting", FAILING]).await?;
    end(case);
    case.reboot_called().await?;
    case.was_evicted(&slow)
}

/// Silence takes the requests, or their answers. What was sent arrives late, or not at all.
async fn wire_outage_with_evictions_in_flight_loses_none(case: &mut Case) -> Result<()> {
    let mut pods = Vec::new();
    for number in 0..7 {
        pods.push(case.create_owned(Pod::named(&format!("web-{number}"))).await?);
    }
    let held = case.proxy.add(super::evictions().nth(3), Action::Hold);
    case.drain("")?;
    held.wait_hit().await;
    begin(case, Outage::Silent);
    case.wait_line(&["draining", FAILING]).await?;
    // The connections are dead on both sides; what is held on the way arrives now.
    case.proxy.kill_connections();
    held.remove();
    end(case);
    for pod in &pods {
        case.gone(pod).await?;
        let codes = case.eviction_codes(pod)?;
        ensure!(codes.contains(&201) && codes.len() <= 2, "{}: {codes:?}", pod.name);
    }
    case.reboot_called().await
}

/// Every request is answered 401: a token that has expired, a certificate that the server does not know.
async fn wire_refused_credential_undoes_nothing(case: &mut Case) -> Result<()> {
    let slow = case.lasting_drain().await?;
    let refused = Switch::default();
    let rule = case
        .proxy
        .add(refused.guards(Rule::any()), Action::answer_error(401, "Unauthorized", "Unauthorized"));
    refused.turn_on();
    case.proxy.kill_connections();
    case.wait_line(&["draining", FAILING, "401", "credential"]).await?;
    case.end(&slow).await?;
    case.wait_status("it was refused five times", |_| rule.hits().len() >= 5).await?;
    case.nothing_is_undone()?;
    ensure!(case.reboot_calls() == 0, "it rebooted");
    rule.remove();
    case.reboot_called().await?;
    case.was_evicted(&slow)
}

/// The watches live on, as they do until their connection ends: only evictions are refused.
async fn wire_refused_credential_with_a_budget_in_the_way_is_told(case: &mut Case) -> Result<()> {
    let [slow, db] = in_mid_drain(case).await?;
    let rule = case.proxy.add(super::evictions(), Action::answer_error(401, "Unauthorized", "Unauthorized"));
    case.wait_line(&["grants no evictions at the moment: 401", "credential"]).await?;
    case.untouched(&db)?;
    case.change_budget("db", &json!({"minAvailable": 0})).await?;
    rule.remove();
    case.gone(&db).await?;
    case.end(&slow).await?;
    case.reboot_called().await
}
