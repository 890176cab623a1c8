//! People and the cluster meddle in the middle of a drain.

use anyhow::{Result, ensure};
use serde_json::json;

use super::super::case::Case;
use super::super::cases;
use super::super::objects::Pod;
use crate::proxy::{Action, Rule, Verb};

cases![
    ours_deleted_slot_ends_the_drain,
    ours_stolen_slot_ends_the_drain,
    ours_rewritten_slot_changes_nothing,
    ours_cordon_of_an_administrator_is_not_ours_to_remove,
    ours_uncordon_by_a_person_ends_the_drain,
    ours_certificate_that_is_replaced_is_used,
    ours_credential_that_is_refused_is_told_and_recovered_from,
    ours_not_found_is_not_gone,
    ours_replaced_pod_of_the_same_name_is_asked_again,
];

/// A drain that lasts until the case ends this pod.
async fn lasting_drain(case: &mut Case) -> Result<super::super::case::Made> {
    let slow = case.create_owned(Pod::named("slow").never_ends()).await?;
    case.drain("")?;
    case.terminating(&slow).await?;
    Ok(slow)
}

/// Nothing of ours is left, and no reboot comes of it: not even once the pod is gone.
async fn was_undone(case: &Case) -> Result<()> {
    case.uncordoned().await?;
    ensure!(case.reboot_calls() == 0, "it rebooted");
    Ok(())
}

async fn ours_deleted_slot_ends_the_drain(case: &mut Case) -> Result<()> {
    lasting_drain(case).await?;
    case.delete_slot().await?;
    was_undone(case).await
}

async fn ours_stolen_slot_ends_the_drain(case: &mut Case) -> Result<()> {
    let slow = lasting_drain(case).await?;
    case.change_slot(json!({"spec": {"holderIdentity": "thief"}})).await?;
    // The look before the stamp finds it at the latest.
    case.end(&slow).await?;
    was_undone(case).await?;
    let holder = case.shared.observer.state().holder(&case.here).map(str::to_owned);
    ensure!(holder.as_deref() == Some("thief"), "the slot is held by {holder:?}");
    Ok(())
}

/// Its resourceVersion is another one now.
async fn ours_rewritten_slot_changes_nothing(case: &mut Case) -> Result<()> {
    let slow = lasting_drain(case).await?;
    case.change_slot(json!({"metadata": {"annotations": {"example.com/note": "hello"}}})).await?;
    case.end(&slow).await?;
    case.reboot_called().await
}

async fn ours_cordon_of_an_administrator_is_not_ours_to_remove(case: &mut Case) -> Result<()> {
    let web = case.create_owned(Pod::named("web")).await?;
    case.set_unschedulable(true).await?;
    case.drain("[gates]\nforeign_cordon = \"reboot\"\n")?;
    case.gone(&web).await?;
    case.reboot_called().await?;
    case.wait_status("idle after the reboot", |status| status["phase"] == "idle").await?;
    case.released().await?;
    case.wait_node("is cordoned by its administrator", |node| node.unschedulable && !node.cordon_mark).await
}

async fn ours_uncordon_by_a_person_ends_the_drain(case: &mut Case) -> Result<()> {
    let slow = lasting_drain(case).await?;
    case.set_unschedulable(false).await?;
    case.end(&slow).await?;
    was_undone(case).await?;
    case.released().await
}

async fn ours_certificate_that_is_replaced_is_used(case: &mut Case) -> Result<()> {
    let slow = lasting_drain(case).await?;
    let late = case.owner("late").await?;
    case.replace_certificate(true)?;
    case.proxy.kill_connections();
    let late = case.create_only(Pod::named("late").controlled_by(&late)).await?;
    case.gone(&late).await?;
    case.end(&slow).await?;
    case.reboot_called().await
}

async fn ours_credential_that_is_refused_is_told_and_recovered_from(case: &mut Case) -> Result<()> {
    let slow = lasting_drain(case).await?;
    case.replace_certificate(false)?;
    case.proxy.kill_connections();
    case.end(&slow).await?;
    case.wait_line(&["401"]).await?;
    ensure!(case.reboot_calls() == 0, "it rebooted without a credential");
    case.replace_certificate(true)?;
    case.reboot_called().await
}

/// As with a node's own credential while the server's view of its pods lags behind.
async fn ours_not_found_is_not_gone(case: &mut Case) -> Result<()> {
    let web = case.create_owned(Pod::named("web")).await?;
    let lagging = Action::answer_error(404, "NotFound", "pods \"web\" not found");
    let lags = case.proxy.add(Rule::new(Verb::Create, "pods/eviction"), lagging);
    case.drain("")?;
    lags.wait_hit().await;
    case.wait_line(&["draining: 1 of 1 pod still to leave"]).await?;
    case.untouched(&web)?;
    lags.remove();
    case.gone(&web).await?;
    case.reboot_called().await
}

/// The request for the old one reaches the server when the new one is there: a conflict, and no grant.
async fn ours_replaced_pod_of_the_same_name_is_asked_again(case: &mut Case) -> Result<()> {
    let old = case.create_owned(Pod::named("db")).await?;
    let held = case.proxy.add(Rule::new(Verb::Create, "pods/eviction").nth(1), Action::Hold);
    case.drain("")?;
    held.wait_hit().await;
    case.delete(&old).await?;
    case.gone(&old).await?;
    let new = Pod::named("db").never_ends().controlled_by(&Pod::owner("example.com/v1", "Database"));
    let new = case.create_only(new).await?;
    case.terminating(&new).await?;
    held.release();
    let codes = case.wait_eviction_codes(&new, 2).await?;
    ensure!(codes == [201, 409], "the evictions of that name were {codes:?}");
    ensure!(case.reboot_calls() == 0, "it took one pod for the other");
    case.end(&new).await?;
    case.reboot_called().await
}
