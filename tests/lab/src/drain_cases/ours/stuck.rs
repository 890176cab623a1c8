//! Pods and volumes that do not leave.

use anyhow::{Result, ensure};
use serde_json::json;

use super::super::case::Case;
use super::super::cases;
use super::super::objects::Pod;

cases![
    ours_finalizer_is_waited_for,
    ours_finalizer_that_stays_ends_the_drain_at_its_deadline,
    ours_dead_kubelet_ends_the_drain_at_its_deadline,
    ours_deadline_reboots_where_told,
    ours_deadline_reboots_in_spite_of_a_budget_where_told,
    ours_pods_are_deleted_after_a_while_where_told,
    ours_pods_of_other_namespaces_are_not_deleted,
    ours_volumes_are_waited_for,
    ours_volumes_that_stay_hold_nothing_up_for_long,
    ours_bare_pod_that_comes_in_mid_drain_stands_in_the_way,
];

async fn ours_finalizer_is_waited_for(case: &mut Case) -> Result<()> {
    let web = case.create_owned(Pod::named("web").finalizer("lab/holds")).await?;
    case.drain("")?;
    case.terminating(&web).await?;
    ensure!(case.reboot_calls() == 0, "it did not wait");
    case.drop_finalizers(&web).await?;
    case.gone(&web).await?;
    case.reboot_called().await
}

/// Uncordoned, released, and tried again much later.
async fn gives_up(case: &Case) -> Result<()> {
    case.wait_line(&["backing off"]).await?;
    case.uncordoned().await?;
    case.released().await?;
    ensure!(case.reboot_calls() == 0, "it rebooted");
    Ok(())
}

/// Its containers run on: the kubelet has not ended it.
async fn ours_finalizer_that_stays_ends_the_drain_at_its_deadline(case: &mut Case) -> Result<()> {
    let web = case.create_owned(Pod::named("web").finalizer("lab/holds").never_ends()).await?;
    case.drain("timeout = \"40s\"")?;
    case.terminating(&web).await?;
    gives_up(case).await
}

async fn ours_dead_kubelet_ends_the_drain_at_its_deadline(case: &mut Case) -> Result<()> {
    let web = case.create_owned(Pod::named("web")).await?;
    case.rebootd("timeout = \"40s\"")?;
    case.wait_line(&["idle"]).await?;
    case.machine.stop_kubelet(super::super::case::SOON * 60);
    case.ask_for_reboot()?;
    case.terminating(&web).await?;
    gives_up(case).await
}

async fn ours_deadline_reboots_where_told(case: &mut Case) -> Result<()> {
    let hung = case.create_owned(Pod::named("hung").never_ends()).await?;
    case.drain("timeout = \"40s\"\non_timeout = \"reboot\"")?;
    case.terminating(&hung).await?;
    case.reboot_called().await?;
    case.terminating(&hung).await
}

async fn ours_deadline_reboots_in_spite_of_a_budget_where_told(case: &mut Case) -> Result<()> {
    let db = case.create_owned(Pod::named("db")).await?;
    let web = case.create_owned(Pod::named("web")).await?;
    case.budget("db", json!({"minAvailable": 1}), 0).await?;
    case.drain("timeout = \"40s\"\non_timeout = \"reboot\"")?;
    case.gone(&web).await?;
    case.reboot_called().await?;
    case.untouched(&db)
}

fn deletes_in(namespace: &str) -> String {
    format!("delete_after = \"2s\"\ndelete_namespaces = [\"{namespace}\"]")
}

/// With its own grace, never at once.
async fn ours_pods_are_deleted_after_a_while_where_told(case: &mut Case) -> Result<()> {
    let db = case.create_owned(Pod::named("db").grace(33).never_ends()).await?;
    case.budget("db", json!({"minAvailable": 1}), 0).await?;
    case.grant_deletion().await?;
    case.drain(&deletes_in(&case.here.clone()))?;
    case.terminating(&db).await?;
    let state = case.shared.observer.state();
    let grace = db.find(&state).and_then(|pod| pod.raw["metadata"]["deletionGracePeriodSeconds"].as_i64());
    ensure!(grace == Some(33), "its grace is {grace:?}");
    ensure!(case.eviction_codes(&db)?.contains(&429), "it was not asked first");
    case.wait_log("refused for longer than `delete_after`").await?;
    case.end(&db).await?;
    case.reboot_called().await
}

async fn ours_pods_of_other_namespaces_are_not_deleted(case: &mut Case) -> Result<()> {
    let db = case.create_owned(Pod::named("db")).await?;
    case.budget("db", json!({"minAvailable": 1}), 0).await?;
    case.grant_deletion().await?;
    case.drain(&format!("timeout = \"40s\"\n{}", deletes_in("elsewhere")))?;
    gives_up(case).await?;
    case.untouched(&db)?;
    ensure!(case.requests("delete", "pods")?.is_empty(), "a pod was deleted");
    Ok(())
}

async fn ours_volumes_are_waited_for(case: &mut Case) -> Result<()> {
    let web = case.create_owned(Pod::named("web")).await?;
    case.set_volumes_in_use(&["kubernetes.io/csi/lab^one", "kubernetes.io/csi/lab^two"]).await?;
    case.drain("")?;
    case.gone(&web).await?;
    case.wait_line(&["2 volumes"]).await?;
    case.set_volumes_in_use(&["kubernetes.io/csi/lab^two"]).await?;
    case.wait_line(&["1 volume"]).await?;
    ensure!(case.reboot_calls() == 0, "it did not wait");
    case.set_volumes_in_use(&[]).await?;
    case.reboot_called().await
}

async fn ours_volumes_that_stay_hold_nothing_up_for_long(case: &mut Case) -> Result<()> {
    let web = case.create_owned(Pod::named("web")).await?;
    case.set_volumes_in_use(&["kubernetes.io/csi/lab^one"]).await?;
    case.drain("volume_timeout = \"15s\"")?;
    case.gone(&web).await?;
    case.wait_line(&["volume"]).await?;
    case.reboot_called().await
}

async fn ours_bare_pod_that_comes_in_mid_drain_stands_in_the_way(case: &mut Case) -> Result<()> {
    let slow = case.create_owned(Pod::named("slow").never_ends()).await?;
    case.drain("bare_pods = \"refuse\"")?;
    case.terminating(&slow).await?;
    let bare = case.create(Pod::named("bare")).await?;
    case.end(&slow).await?;
    case.wait_line(&["/bare", "bare_pods"]).await?;
    ensure!(case.reboot_calls() == 0, "it did not wait");
    case.untouched(&bare)?;
    case.delete(&bare).await?;
    case.reboot_called().await
}
