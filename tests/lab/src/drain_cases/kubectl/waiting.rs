//! What a drain waits for, and what ends it.

use anyhow::{Result, ensure};
use serde_json::json;

use super::super::case::Case;
use super::super::cases;
use super::super::objects::Pod;
use crate::proxy::{Action, Rule, Verb};

cases![
    kubectl_pods_that_end_one_after_the_other_are_waited_for,
    kubectl_same_name_with_a_new_uid_counts_as_gone,
    kubectl_terminating_pod_is_waited_for_and_not_asked,
    kubectl_deleted_bare_pod_is_waited_for,
    kubectl_hung_pod_ends_the_drain_at_its_deadline,
    kubectl_withdrawn_request_ends_the_drain_early,
    kubectl_pods_own_grace_is_kept,
    kubectl_grace_period_is_passed_on,
    kubectl_terminating_namespace_takes_its_pod_along,
    kubectl_terminating_namespace_with_a_hung_pod_ends_at_the_deadline,
    kubectl_denied_eviction_is_tried_again,
    kubectl_failed_cordon_evicts_nothing,
];

async fn kubectl_pods_that_end_one_after_the_other_are_waited_for(case: &mut Case) -> Result<()> {
    let mut pods = Vec::new();
    for seconds in [0.5, 1.5, 3.0] {
        let pod = Pod::named(&format!("web-{}", (seconds * 10.0) as u32)).ends_after(seconds);
        pods.push(case.create_owned(pod).await?);
    }
    case.drain("")?;
    for pod in &pods {
        ensure!(case.reboot_calls() == 0, "it did not wait for {}", pod.name);
        case.gone(pod).await?;
        case.was_evicted(pod)?;
    }
    case.reboot_called().await
}

async fn kubectl_same_name_with_a_new_uid_counts_as_gone(case: &mut Case) -> Result<()> {
    let old = case.create_owned(Pod::named("db")).await?;
    let other_node = case.other_node().await?;
    case.drain("")?;
    case.gone(&old).await?;
    let new = case.create_owned_at(Pod::named("db"), &other_node).await?;
    case.reboot_called().await?;
    case.was_evicted(&old)?;
    case.untouched(&new)
}

async fn kubectl_terminating_pod_is_waited_for_and_not_asked(case: &mut Case) -> Result<()> {
    let slow = case.create_owned(Pod::named("slow").never_ends()).await?;
    case.delete(&slow).await?;
    case.terminating(&slow).await?;
    case.drain("")?;
    case.wait_line(&["draining"]).await?;
    ensure!(case.reboot_calls() == 0, "it did not wait");
    case.end(&slow).await?;
    case.reboot_called().await?;
    ensure!(case.requests("create", "pods/eviction")?.is_empty(), "it asked a pod that was leaving");
    Ok(())
}

/// Undone: uncordoned, released, and tried again much later.
async fn gives_up(case: &Case) -> Result<()> {
    case.wait_line(&["backing off"]).await?;
    case.uncordoned().await?;
    case.released().await?;
    ensure!(case.reboot_calls() == 0, "it rebooted");
    Ok(())
}

async fn kubectl_hung_pod_ends_the_drain_at_its_deadline(case: &mut Case) -> Result<()> {
    let hung = case.create_owned(Pod::named("hung").never_ends()).await?;
    case.drain("timeout = \"40s\"")?;
    case.terminating(&hung).await?;
    gives_up(case).await
}

async fn kubectl_withdrawn_request_ends_the_drain_early(case: &mut Case) -> Result<()> {
    let hung = case.create_owned(Pod::named("hung").never_ends()).await?;
    case.drain("")?;
    case.terminating(&hung).await?;
    case.withdraw_request()?;
    case.uncordoned().await?;
    case.released().await?;
    ensure!(case.reboot_calls() == 0, "it rebooted");
    Ok(())
}

async fn grace_of_the_eviction(case: &mut Case, drain: &str) -> Result<Option<i64>> {
    let web = case.create_owned(Pod::named("web").grace(77).never_ends()).await?;
    case.drain(drain)?;
    case.terminating(&web).await?;
    let state = case.shared.observer.state();
    let grace = web.find(&state).and_then(|pod| pod.raw["metadata"]["deletionGracePeriodSeconds"].as_i64());
    case.end(&web).await?;
    case.reboot_called().await?;
    Ok(grace)
}

async fn kubectl_pods_own_grace_is_kept(case: &mut Case) -> Result<()> {
    let grace = grace_of_the_eviction(case, "").await?;
    ensure!(grace == Some(77), "{grace:?}");
    Ok(())
}

async fn kubectl_grace_period_is_passed_on(case: &mut Case) -> Result<()> {
    let grace = grace_of_the_eviction(case, "grace_period = \"5s\"").await?;
    ensure!(grace == Some(5), "{grace:?}");
    Ok(())
}

async fn kubectl_terminating_namespace_takes_its_pod_along(case: &mut Case) -> Result<()> {
    let db = case.create_owned(Pod::named("db")).await?;
    case.budget("db", json!({"minAvailable": 1}), 0).await?;
    case.drain("")?;
    case.wait_line(&["db"]).await?;
    case.delete_namespace().await?;
    case.gone(&db).await?;
    case.reboot_called().await
}

async fn kubectl_terminating_namespace_with_a_hung_pod_ends_at_the_deadline(case: &mut Case) -> Result<()> {
    let db = case.create_owned(Pod::named("db").never_ends()).await?;
    case.delete_namespace().await?;
    case.terminating(&db).await?;
    case.drain("timeout = \"40s\"")?;
    gives_up(case).await
}

async fn kubectl_denied_eviction_is_tried_again(case: &mut Case) -> Result<()> {
    let [denied, free] = [
        case.create_owned(Pod::named("denied")).await?,
        case.create_in_other_namespace(Pod::named("free")).await?,
    ];
    case.forbid_evictions("not today").await?;
    case.drain("")?;
    case.gone(&free).await?;
    case.wait_line(&[&denied.name, "not today"]).await?;
    case.untouched(&denied)?;
    case.allow_evictions().await?;
    case.gone(&denied).await?;
    case.reboot_called().await
}

/// It would have stayed; whoever deletes it has decided otherwise.
async fn kubectl_deleted_bare_pod_is_waited_for(case: &mut Case) -> Result<()> {
    let bare = case.create(Pod::named("bare").never_ends()).await?;
    case.delete(&bare).await?;
    case.terminating(&bare).await?;
    case.drain("")?;
    case.wait_line(&["draining: 1 of 1 pod still to leave"]).await?;
    ensure!(case.reboot_calls() == 0, "it did not wait");
    case.end(&bare).await?;
    case.reboot_called().await
}

/// The command prints the error and drains the uncordoned node.
async fn kubectl_failed_cordon_evicts_nothing(case: &mut Case) -> Result<()> {
    let web = case.create_owned(Pod::named("web")).await?;
    let cordon = Rule::new(Verb::Patch, "nodes").body_contains("\"unschedulable\":true");
    let fails = case.proxy.add(cordon, Action::answer_error(403, "Forbidden", "no cordon today"));
    case.drain("")?;
    fails.wait_hit().await;
    case.wait_line(&["no cordon today"]).await?;
    case.untouched(&web)?;
    ensure!(case.requests("create", "pods/eviction")?.is_empty(), "it evicts from a node that is open");
    fails.remove();
    case.gone(&web).await?;
    case.reboot_called().await
}
