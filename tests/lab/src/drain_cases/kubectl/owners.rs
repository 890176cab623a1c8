//! Whose pods are evicted.

use anyhow::{Result, ensure};

use super::super::case::{Case, only_measures};
use super::super::cases;
use super::super::objects::Pod;

cases![
    kubectl_pods_of_a_replication_controller_are_evicted,
    kubectl_pods_of_a_replica_set_are_evicted,
    kubectl_pods_of_a_deployment_are_evicted,
    kubectl_pods_of_a_stateful_set_are_evicted,
    kubectl_pods_of_a_job_are_evicted,
    kubectl_pods_of_any_other_controller_are_evicted,
    kubectl_pods_of_a_daemon_set_stay,
    kubectl_daemon_set_pod_with_an_empty_dir_stays,
    kubectl_daemon_set_of_another_group_stays,
    kubectl_finished_daemon_set_pod_stays,
    kubectl_orphan_of_a_missing_daemon_set_holds_nothing_up,
    kubectl_mirror_pod_stays,
    kubectl_pods_of_other_nodes_stay,
];

/// Real controllers replace what is evicted, and their new pods wait for the node.
async fn all_leave(case: &mut Case, kind: &str) -> Result<()> {
    let pods = case.deploy(kind, 2, Pod::named("web")).await?;
    case.drain("")?;
    case.cordoned().await?;
    for pod in &pods {
        case.gone(pod).await?;
        case.was_evicted(pod)?;
    }
    case.reboot_called().await
}

async fn kubectl_pods_of_a_replication_controller_are_evicted(case: &mut Case) -> Result<()> {
    all_leave(case, "ReplicationController").await
}

async fn kubectl_pods_of_a_replica_set_are_evicted(case: &mut Case) -> Result<()> {
    all_leave(case, "ReplicaSet").await
}

async fn kubectl_pods_of_a_deployment_are_evicted(case: &mut Case) -> Result<()> {
    all_leave(case, "Deployment").await
}

/// The new ones have the names of the old ones: another uid is another pod.
async fn kubectl_pods_of_a_stateful_set_are_evicted(case: &mut Case) -> Result<()> {
    all_leave(case, "StatefulSet").await
}

async fn kubectl_pods_of_a_job_are_evicted(case: &mut Case) -> Result<()> {
    all_leave(case, "Job").await
}

async fn kubectl_pods_of_any_other_controller_are_evicted(case: &mut Case) -> Result<()> {
    let db = case.create(Pod::named("db").controlled_by(&Pod::owner("example.com/v1", "Database"))).await?;
    case.drain("")?;
    case.gone(&db).await?;
    case.was_evicted(&db)?;
    case.reboot_called().await
}

async fn kubectl_pods_of_a_daemon_set_stay(case: &mut Case) -> Result<()> {
    let agents = case.deploy("DaemonSet", 1, Pod::named("agent")).await?;
    case.drain("")?;
    case.stayed(&agents).await
}

async fn kubectl_daemon_set_pod_with_an_empty_dir_stays(case: &mut Case) -> Result<()> {
    let agents = case.deploy("DaemonSet", 1, Pod::named("agent").empty_dir()).await?;
    case.drain("empty_dir_pods = \"refuse\"")?;
    case.stayed(&agents).await
}

/// kubectl evicts it since 0.34. Whoever calls his kind DaemonSet brings the pod straight back all the same.
async fn kubectl_daemon_set_of_another_group_stays(case: &mut Case) -> Result<()> {
    let owner = Pod::owner("apps.kruise.io/v1alpha1", "DaemonSet");
    let agent = case.create(Pod::named("agent").controlled_by(&owner)).await?;
    case.drain("")?;
    case.stayed(&[agent]).await
}

/// kubectl deletes it. Nothing of it runs any more.
async fn kubectl_finished_daemon_set_pod_stays(case: &mut Case) -> Result<()> {
    let owner = Pod::owner("apps.kruise.io/v1alpha1", "DaemonSet");
    let agent = case.create(Pod::named("agent").becomes("Succeeded").controlled_by(&owner)).await?;
    case.drain("")?;
    case.stayed(&[agent]).await
}

/// For kubectl it is fatal, or evicted with --force. The garbage collector deletes it, and hangs here.
async fn kubectl_orphan_of_a_missing_daemon_set_holds_nothing_up(case: &mut Case) -> Result<()> {
    let owner = Pod::owner("apps/v1", "DaemonSet");
    let agent = case.create_only(Pod::named("agent").never_ends().controlled_by(&owner)).await?;
    case.terminating(&agent).await?;
    case.drain("")?;
    case.reboot_called().await?;
    ensure!(case.eviction_codes(&agent)?.is_empty(), "it was evicted");
    case.terminating(&agent).await
}

async fn kubectl_mirror_pod_stays(case: &mut Case) -> Result<()> {
    let owner = case.node_as_owner()?;
    let etcd = case.create(Pod::named("etcd").mirror().empty_dir().controlled_by(&owner)).await?;
    case.drain("empty_dir_pods = \"refuse\"")?;
    case.stayed(&[etcd]).await
}

async fn kubectl_pods_of_other_nodes_stay(case: &mut Case) -> Result<()> {
    let other_node = case.other_node().await?;
    let there = case.create_owned_at(Pod::named("there").app("web"), &other_node).await?;
    let here = case.create_owned(Pod::named("here").app("web")).await?;
    case.drain("")?;
    case.gone(&here).await?;
    case.reboot_called().await?;
    case.untouched(&there)?;
    let reads = case.proxy.requests().into_iter().filter(|request| request.resource == "pods");
    let own = format!("fieldSelector=spec.nodeName%3D{}", case.here);
    for request in reads {
        let of_workload = only_measures(&request) && request.path.contains("app%3Dweb");
        ensure!(
            of_workload || request.path.contains(&own),
            "it reads more than its own pods: {}",
            request.path
        );
    }
    Ok(())
}
