//! kill -9 in mid-drain, with requests on their way that arrive all the same, or do not.

use anyhow::{Result, ensure};

use super::super::case::{Case, Made};
use super::super::cases;
use super::super::objects::Pod;
use super::{Switch, evictions, pod_lists};
use crate::proxy::{Action, Rule, Verb};

cases![
    wire_killed_with_evictions_that_never_arrive,
    wire_killed_with_evictions_that_arrive_late,
    wire_killed_with_evictions_that_are_granted,
    wire_killed_while_pods_are_terminating,
    wire_killed_between_the_last_pod_and_the_list,
    wire_killed_between_the_lists,
    wire_killed_with_a_stamp_that_never_arrives,
    wire_killed_with_a_stamp_that_arrives_late,
];

async fn pods(case: &Case, count: usize) -> Result<Vec<Made>> {
    let mut pods = Vec::new();
    for number in 0..count {
        pods.push(case.create_owned(Pod::named(&format!("web-{number}")).never_ends()).await?);
    }
    Ok(pods)
}

/// All leave, and then the host reboots.
async fn ends(case: &Case, pods: &[Made]) -> Result<()> {
    for pod in pods {
        case.terminating(pod).await?;
        case.end(pod).await?;
    }
    case.reboot_called().await
}

/// Five requests are on their way, at this point of it.
async fn killed_with_five_in_flight(
    case: &mut Case,
    action: Action,
) -> Result<(Vec<Made>, crate::proxy::RuleHandle)> {
    let pods = pods(case, 7).await?;
    let held = case.proxy.add(evictions(), action);
    case.drain("")?;
    for _ in 0..5 {
        held.wait_hit().await;
    }
    case.kill_rebootd().await?;
    Ok((pods, held))
}

async fn wire_killed_with_evictions_that_never_arrive(case: &mut Case) -> Result<()> {
    let (pods, held) = killed_with_five_in_flight(case, Action::Hold).await?;
    held.drop_request();
    held.remove();
    ends(case, &pods).await?;
    for pod in &pods {
        case.was_evicted(pod)?;
    }
    Ok(())
}

/// The next one asks for the same pods. What the killed one had asked for comes to a pod that is leaving, or that has
/// left by then: nothing comes of it.
async fn wire_killed_with_evictions_that_arrive_late(case: &mut Case) -> Result<()> {
    let (pods, held) = killed_with_five_in_flight(case, Action::Hold).await?;
    case.wait_line(&["draining: 7 of 7 pods still to leave"]).await?;
    held.remove();
    ends(case, &pods).await?;
    for pod in &pods {
        let codes = case.eviction_codes(pod)?;
        let known = codes.len() <= 2 && codes.iter().all(|code| matches!(code, 201 | 404));
        ensure!(known && codes.contains(&201), "{}: {codes:?}", pod.name);
    }
    Ok(())
}

/// The next one sees that they are leaving, and asks none of them again.
async fn wire_killed_with_evictions_that_are_granted(case: &mut Case) -> Result<()> {
    let (pods, held) = killed_with_five_in_flight(case, Action::HoldAnswer).await?;
    held.remove();
    ends(case, &pods).await?;
    for pod in &pods {
        case.was_evicted(pod)?;
    }
    Ok(())
}

async fn wire_killed_while_pods_are_terminating(case: &mut Case) -> Result<()> {
    let pods = pods(case, 7).await?;
    case.drain("")?;
    for pod in &pods {
        case.terminating(pod).await?;
    }
    case.kill_rebootd().await?;
    case.wait_line(&["draining: 7 of 7 pods still to leave"]).await?;
    ends(case, &pods).await?;
    for pod in &pods {
        case.was_evicted(pod)?;
    }
    Ok(())
}

/// The last pod has left; it is killed while its `nth` list after that is on its way.
async fn killed_at_the_list(case: &mut Case, nth: u64) -> Result<()> {
    let slow = case.lasting_drain().await?;
    let gone = Switch::default();
    let held = case.proxy.add(gone.guards(pod_lists()).nth(nth), Action::Hold);
    gone.turn_on();
    case.end(&slow).await?;
    held.wait_hit().await;
    case.kill_rebootd().await?;
    held.remove();
    case.reboot_called().await?;
    case.was_evicted(&slow)
}

async fn wire_killed_between_the_last_pod_and_the_list(case: &mut Case) -> Result<()> {
    killed_at_the_list(case, 1).await
}

async fn wire_killed_between_the_lists(case: &mut Case) -> Result<()> {
    killed_at_the_list(case, 2).await
}

/// It is killed with its stamp on the way to the server.
async fn killed_at_the_stamp(case: &mut Case, arrives: bool) -> Result<()> {
    let slow = case.lasting_drain().await?;
    let stamps = Rule::new(Verb::Patch, "leases").body_contains("rebootd.io/rebooting\":\"");
    let held = case.proxy.add(stamps.nth(1), Action::Hold);
    case.end(&slow).await?;
    let stamp = held.wait_hit().await;
    ensure!(case.reboot_calls() == 0, "it rebooted without a stamp");
    case.kill_rebootd().await?;
    if arrives {
        stamp.release()
    } else {
        stamp.drop_request()
    }
    case.reboot_called().await?;
    ensure!(case.reboot_calls() == 1, "{} reboots", case.reboot_calls());
    case.was_evicted(&slow)
}

async fn wire_killed_with_a_stamp_that_never_arrives(case: &mut Case) -> Result<()> {
    killed_at_the_stamp(case, false).await
}

async fn wire_killed_with_a_stamp_that_arrives_late(case: &mut Case) -> Result<()> {
    killed_at_the_stamp(case, true).await
}
