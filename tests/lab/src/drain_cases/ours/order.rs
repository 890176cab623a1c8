//! Who is asked when, how many at a time, and who comes while others leave.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::super::case::Case;
use super::super::cases;
use super::super::objects::Pod;
use crate::proxy::{Action, Rule, Verb};

cases![
    ours_critical_pods_are_asked_last,
    ours_no_more_than_five_requests_are_in_flight,
    ours_pod_that_appears_after_the_cordon_is_evicted,
    ours_pod_that_tolerates_the_cordon_and_comes_back_is_left,
    ours_only_daemon_set_and_mirror_pods_left_is_drained,
    ours_job_tracking_finalizer_holds_nothing_up,
    ours_each_pod_and_the_whole_drain_are_logged,
    ours_blocking_pods_end_after_the_cordon_and_before_the_others_leave,
];

async fn ours_blocking_pods_end_after_the_cordon_and_before_the_others_leave(case: &mut Case) -> Result<()> {
    let build = case.create_owned(Pod::named("build")).await?;
    let web = case.create_owned(Pod::named("web")).await?;
    case.drain("[gates]\nblocking_pods = ['app=build']\nblocking_pods_after = 'cordon'")?;
    case.cordoned().await?;
    let waits = format!("waiting for these pods to end before any is evicted: {}/build", case.here);
    case.wait_line(&["draining", &waits]).await?;
    case.untouched(&web)?;
    case.delete(&build).await?;
    case.gone(&web).await?;
    case.reboot_called().await?;
    ensure!(case.eviction_codes(&build)?.is_empty(), "the pod that was waited for was evicted");
    Ok(())
}

/// They are asked once all others have been granted, and not only once those are gone.
async fn ours_critical_pods_are_asked_last(case: &mut Case) -> Result<()> {
    let dns = Pod::named("a-dns").priority_class("system-cluster-critical");
    let dns = case.create_owned(dns).await?;
    let mut others = Vec::new();
    for number in 0..7 {
        others.push(case.create_owned(Pod::named(&format!("web-{number}")).never_ends()).await?);
    }
    case.drain("")?;
    case.gone(&dns).await?;
    let asked = case.requests("create", "pods/eviction")?;
    ensure!(asked.last().is_some_and(|request| request.name == dns.name), "the order was {asked:?}");
    ensure!(asked.len() == 8, "{} requests", asked.len());
    for pod in &others {
        case.end(pod).await?;
    }
    case.reboot_called().await
}

async fn ours_no_more_than_five_requests_are_in_flight(case: &mut Case) -> Result<()> {
    let pods = case.deploy("ReplicaSet", 12, Pod::named("web")).await?;
    case.proxy.add(Rule::new(Verb::Create, "pods/eviction"), Action::Delay(Duration::from_millis(500)));
    case.drain("")?;
    for pod in &pods {
        case.gone(pod).await?;
    }
    case.reboot_called().await?;
    let requests = case.proxy.requests();
    let evictions: Vec<_> = requests.iter().filter(|it| it.resource == "pods/eviction").collect();
    let in_flight = |at: Instant| {
        evictions.iter().filter(|it| it.began <= at && it.ended.is_none_or(|end| end > at)).count()
    };
    let most = evictions.iter().map(|it| in_flight(it.began)).max();
    ensure!(most == Some(5), "{most:?} requests at a time");
    Ok(())
}

/// Bound to the node before the cordon, or past the scheduler.
async fn ours_pod_that_appears_after_the_cordon_is_evicted(case: &mut Case) -> Result<()> {
    let slow = case.create_owned(Pod::named("slow").never_ends()).await?;
    case.drain("")?;
    case.terminating(&slow).await?;
    let late = case.create_only(Pod::named("late").controlled_by(&case.owner("late").await?)).await?;
    case.gone(&late).await?;
    case.was_evicted(&late)?;
    case.end(&slow).await?;
    case.reboot_called().await
}

/// kubectl would evict it for ever. Another pod keeps the drain from its end, which comes whenever no pod is there for a moment.
async fn ours_pod_that_tolerates_the_cordon_and_comes_back_is_left(case: &mut Case) -> Result<()> {
    let slow = case.create_owned(Pod::named("slow").never_ends()).await?;
    let agent = Pod::named("agent").tolerates_everything();
    case.deploy("ReplicaSet", 1, agent.clone()).await?;
    case.drain("")?;
    case.terminating(&slow).await?;
    case.wait_evictions_asked(1 + 3).await?;
    case.pods_of(&agent, 1).await?;
    case.end(&slow).await?;
    case.reboot_called().await?;
    case.was_evicted(&slow)?;
    let evicted = case.requests("create", "pods/eviction")?.len() - 1;
    // Three times, and then perhaps one that was there before the third answer.
    ensure!((3..=5).contains(&evicted), "it was evicted {evicted} times");
    case.pods_of(&agent, 1).await?;
    Ok(())
}

async fn ours_only_daemon_set_and_mirror_pods_left_is_drained(case: &mut Case) -> Result<()> {
    let mut stay = case.deploy("DaemonSet", 1, Pod::named("agent")).await?;
    let owner = case.node_as_owner()?;
    stay.push(case.create(Pod::named("etcd").mirror().controlled_by(&owner)).await?);
    let web = case.create_owned(Pod::named("web")).await?;
    case.drain("")?;
    case.gone(&web).await?;
    case.reboot_called().await?;
    for pod in &stay {
        case.untouched(pod)?;
    }
    Ok(())
}

async fn ours_job_tracking_finalizer_holds_nothing_up(case: &mut Case) -> Result<()> {
    let pods = case.deploy("Job", 1, Pod::named("job")).await?;
    let state = case.shared.observer.state();
    let finalizers = pods[0].find(&state).map(|pod| pod.raw["metadata"]["finalizers"].to_string());
    ensure!(finalizers.is_some_and(|all| all.contains("batch.kubernetes.io/job-tracking")), "no finalizer");
    case.drain("")?;
    case.gone(&pods[0]).await?;
    case.reboot_called().await
}

async fn ours_each_pod_and_the_whole_drain_are_logged(case: &mut Case) -> Result<()> {
    let web = case.create_owned(Pod::named("web")).await?;
    let gone = case.create_owned(Pod::named("gone").never_ends()).await?;
    case.delete(&gone).await?;
    case.terminating(&gone).await?;
    case.drain("")?;
    case.gone(&web).await?;
    case.end(&gone).await?;
    case.reboot_called().await?;
    case.wait_log(&format!("{}/web is gone after ", case.here)).await?;
    case.wait_log(&format!("{}/gone is gone; it was already being deleted", case.here)).await?;
    case.wait_log("2 pods have left, asked for once and refused 0 times").await
}
