//! Pods that nobody makes again or that keep data on the node: evicted, left alone, or refused before anything is touched.

use anyhow::Result;
use serde_json::json;

use super::super::case::Case;
use super::super::cases;
use super::super::objects::Pod;

cases![
    kubectl_bare_pod_stays,
    kubectl_bare_pod_is_evicted_where_told,
    kubectl_bare_pod_is_refused_where_told,
    kubectl_bare_pod_under_a_budget_is_refused,
    kubectl_bare_pod_before_a_graceful_shutdown_is_refused,
    kubectl_bare_pod_that_runs_once_is_refused,
    kubectl_bare_finished_pod_stays,
    kubectl_empty_dir_pod_is_evicted_with_a_warning,
    kubectl_empty_dir_pod_is_refused_where_told,
    kubectl_finished_pod_with_an_empty_dir_stays,
    kubectl_job_pod_with_an_empty_dir_is_evicted,
    kubectl_finished_job_pod_stays,
    kubectl_one_refused_pod_keeps_all_others,
    kubectl_empty_node_needs_no_eviction,
    kubectl_missing_node_is_named,
];

async fn kubectl_bare_pod_stays(case: &mut Case) -> Result<()> {
    let bare = case.create(Pod::named("bare").empty_dir()).await?;
    case.drain("")?;
    case.stayed(&[bare]).await
}

async fn kubectl_bare_pod_is_evicted_where_told(case: &mut Case) -> Result<()> {
    let bare = case.create(Pod::named("bare")).await?;
    case.drain("bare_pods = \"evict\"")?;
    case.gone(&bare).await?;
    case.was_evicted(&bare)?;
    case.reboot_called().await
}

/// Nothing is touched, and the reason is told; without the pod all goes on.
async fn is_refused(case: &mut Case, pod: Pod, drain: &str, says: &[&str]) -> Result<()> {
    let pod = case.create(pod).await?;
    case.drain(drain)?;
    let name = format!("{}/{}", case.here, pod.name);
    case.wait_line(&[&[name.as_str()], says].concat()).await?;
    case.nothing_was_touched()?;
    case.untouched(&pod)?;
    case.delete(&pod).await?;
    case.reboot_called().await
}

async fn kubectl_bare_pod_is_refused_where_told(case: &mut Case) -> Result<()> {
    is_refused(case, Pod::named("bare"), "bare_pods = \"refuse\"", &["bare_pods"]).await
}

async fn kubectl_bare_pod_under_a_budget_is_refused(case: &mut Case) -> Result<()> {
    case.budget("bare", json!({"minAvailable": 1}), 0).await?;
    is_refused(case, Pod::named("bare"), "", &["budget bare"]).await
}

/// The kubelet would end it for good, where it delays shutdowns to end pods.
async fn kubectl_bare_pod_before_a_graceful_shutdown_is_refused(case: &mut Case) -> Result<()> {
    case.machine.set_graceful_shutdown(true);
    is_refused(case, Pod::named("bare"), "", &["graceful shutdown"]).await
}

async fn kubectl_bare_pod_that_runs_once_is_refused(case: &mut Case) -> Result<()> {
    is_refused(case, Pod::named("bare").runs_once(), "", &["restartPolicy"]).await
}

async fn kubectl_bare_finished_pod_stays(case: &mut Case) -> Result<()> {
    let bare = case.create(Pod::named("bare").becomes("Succeeded")).await?;
    case.drain("bare_pods = \"refuse\"")?;
    case.stayed(&[bare]).await
}

async fn kubectl_empty_dir_pod_is_evicted_with_a_warning(case: &mut Case) -> Result<()> {
    let cache = case.create_owned(Pod::named("cache").empty_dir()).await?;
    case.drain("")?;
    case.gone(&cache).await?;
    case.was_evicted(&cache)?;
    case.wait_log("emptyDir").await?;
    case.reboot_called().await
}

async fn kubectl_empty_dir_pod_is_refused_where_told(case: &mut Case) -> Result<()> {
    let owner = Pod::owner("example.com/v1", "Cache");
    let cache = Pod::named("cache").empty_dir().controlled_by(&owner);
    is_refused(case, cache, "empty_dir_pods = \"refuse\"", &["emptyDir"]).await
}

async fn kubectl_finished_pod_with_an_empty_dir_stays(case: &mut Case) -> Result<()> {
    let done = case.create_owned(Pod::named("done").empty_dir().becomes("Failed")).await?;
    case.drain("empty_dir_pods = \"refuse\"")?;
    case.stayed(&[done]).await
}

async fn kubectl_job_pod_with_an_empty_dir_is_evicted(case: &mut Case) -> Result<()> {
    let pods = case.deploy("Job", 1, Pod::named("job").empty_dir()).await?;
    case.drain("")?;
    for pod in &pods {
        case.gone(pod).await?;
        case.was_evicted(pod)?;
    }
    case.reboot_called().await
}

async fn kubectl_finished_job_pod_stays(case: &mut Case) -> Result<()> {
    let pods = case.deploy("Job", 1, Pod::named("job").becomes("Succeeded")).await?;
    case.drain("")?;
    case.stayed(&pods).await
}

async fn kubectl_one_refused_pod_keeps_all_others(case: &mut Case) -> Result<()> {
    let web = case.create_owned(Pod::named("web")).await?;
    is_refused(case, Pod::named("bare"), "bare_pods = \"refuse\"", &["bare_pods"]).await?;
    case.gone(&web).await
}

async fn kubectl_empty_node_needs_no_eviction(case: &mut Case) -> Result<()> {
    case.drain("")?;
    case.cordoned().await?;
    case.stayed(&[]).await
}

async fn kubectl_missing_node_is_named(case: &mut Case) -> Result<()> {
    case.delete_node_for_good().await?;
    case.drain("")?;
    case.wait_line(&["there is no Node", &case.here]).await?;
    anyhow::ensure!(case.requests("patch", "leases")?.is_empty(), "it claimed a slot");
    Ok(())
}
