//! Lists of the pods that fail, or are out of date before the stamp that rests on them.

use anyhow::{Result, ensure};
use serde_json::json;

use super::super::case::Case;
use super::super::cases;
use super::super::objects::Pod;
use super::{Switch, pod_lists};
use crate::proxy::{Action, Rule, Verb};

cases![
    wire_first_list_of_pods_fails_once,
    wire_first_list_of_pods_is_cut_once,
    wire_first_list_of_pods_is_empty_once,
    wire_confirming_list_fails_once,
    wire_confirming_list_is_cut_once,
    wire_confirming_list_is_empty_once,
    wire_list_of_pods_without_items_is_no_empty_node,
    wire_list_of_slots_without_items_undoes_nothing,
    wire_node_without_content_undoes_nothing,
    wire_second_confirming_list_fails_once,
    wire_pod_that_appears_before_the_first_confirming_list_is_evicted,
    wire_pod_that_appears_between_the_confirming_lists_is_evicted,
];

fn internal_error() -> Action {
    Action::answer_error(500, "InternalError", "Internal error occurred: etcdserver: request timed out")
}

/// Half of a list.
fn cut() -> Action {
    Action::CutAnswer(200)
}

/// 200 with no body at all.
fn empty() -> Action {
    let headers = vec![("content-type".into(), "application/json".into())];
    Action::Answer { status: 200, headers, body: Default::default() }
}

/// Before it is known nothing is claimed.
async fn first_list(case: &mut Case, action: Action) -> Result<()> {
    let web = case.create_owned(Pod::named("web")).await?;
    let failed = case.proxy.add(pod_lists().nth(1), action);
    case.drain("")?;
    failed.wait_hit().await;
    case.gone(&web).await?;
    case.was_evicted(&web)?;
    case.reboot_called().await?;
    let claim = case.sent(Verb::Patch, "leases").into_iter().find(|it| it.status == Some(200));
    let lists = case.sent(Verb::List, "pods");
    ensure!(claim.is_some_and(|claim| lists[1].began < claim.began), "it claimed without a list");
    Ok(())
}

async fn wire_first_list_of_pods_fails_once(case: &mut Case) -> Result<()> {
    first_list(case, internal_error()).await
}

async fn wire_first_list_of_pods_is_cut_once(case: &mut Case) -> Result<()> {
    first_list(case, cut()).await
}

async fn wire_first_list_of_pods_is_empty_once(case: &mut Case) -> Result<()> {
    first_list(case, empty()).await
}

/// The `nth` list after the last pod has left fails. The stamp rests on later ones.
async fn confirming_list(case: &mut Case, nth: u64, action: Action) -> Result<()> {
    let slow = case.lasting_drain().await?;
    let gone = Switch::default();
    let failed = case.proxy.add(gone.guards(pod_lists()).nth(nth), action);
    gone.turn_on();
    case.end(&slow).await?;
    failed.wait_hit().await;
    case.reboot_called().await?;
    case.was_evicted(&slow)?;
    let hit = failed.hits()[0].number;
    let [lists, slots] = [case.sent(Verb::List, "pods"), case.sent(Verb::Patch, "leases")];
    let stamp = slots.last().map_or(0, |stamp| stamp.number);
    let after: Vec<_> = lists.iter().filter(|it| (hit + 1..stamp).contains(&it.number)).collect();
    ensure!(after.iter().any(|it| it.status == Some(200)), "no list after the one that failed");
    Ok(())
}

async fn wire_confirming_list_fails_once(case: &mut Case) -> Result<()> {
    confirming_list(case, 1, internal_error()).await
}

async fn wire_confirming_list_is_cut_once(case: &mut Case) -> Result<()> {
    confirming_list(case, 1, cut()).await
}

async fn wire_confirming_list_is_empty_once(case: &mut Case) -> Result<()> {
    confirming_list(case, 1, empty()).await
}

async fn wire_second_confirming_list_fails_once(case: &mut Case) -> Result<()> {
    confirming_list(case, 2, internal_error()).await
}

/// An answer that is JSON and not what was asked for, of a proxy on the way, say: nobody knows more than before.
async fn strange_answers(case: &mut Case, verb: Verb, resource: &str) -> Result<()> {
    let slow = case.lasting_drain().await?;
    let strange = Switch::default();
    let writes = || case.proxy.requests().iter().filter(|it| it.verb == Verb::Patch).count();
    let before = writes();
    let rule =
        case.proxy.add(strange.guards(Rule::new(verb, resource)), Action::answer_json(200, &json!({})));
    strange.turn_on();
    case.tell(format!("{verb} {resource} is answered with an empty object"));
    case.proxy.kill_connections();
    case.wait_status("it was answered so three times", |_| rule.hits().len() >= 3).await?;
    case.nothing_is_undone()?;
    ensure!(case.reboot_calls() == 0, "it rebooted");
    rule.remove();
    case.wait_line(&["draining: 1 of 1 pod still to leave"]).await?;
    ensure!(writes() == before, "it wrote something");
    case.end(&slow).await?;
    case.reboot_called().await
}

async fn wire_list_of_pods_without_items_is_no_empty_node(case: &mut Case) -> Result<()> {
    strange_answers(case, Verb::List, "pods").await
}

async fn wire_list_of_slots_without_items_undoes_nothing(case: &mut Case) -> Result<()> {
    strange_answers(case, Verb::List, "leases").await
}

async fn wire_node_without_content_undoes_nothing(case: &mut Case) -> Result<()> {
    strange_answers(case, Verb::Get, "nodes").await
}

/// The watch has told that the last pod is gone; the list is on its way.
async fn wire_pod_that_appears_before_the_first_confirming_list_is_evicted(case: &mut Case) -> Result<()> {
    appears(case, 1, Action::Hold).await
}

/// The first one was still empty. The second is asked for when the pod is there.
async fn wire_pod_that_appears_between_the_confirming_lists_is_evicted(case: &mut Case) -> Result<()> {
    appears(case, 2, Action::Hold).await
}

async fn appears(case: &mut Case, nth: u64, action: Action) -> Result<()> {
    let slow = case.lasting_drain().await?;
    let owner = case.owner("late").await?;
    let gone = Switch::default();
    let held = case.proxy.add(gone.guards(pod_lists()).nth(nth), action);
    // Without a word from the watch: the list alone has to find it.
    let watch = case.proxy.add(gone.guards(Rule::new(Verb::Watch, "pods")), Action::Hold);
    gone.turn_on();
    case.end(&slow).await?;
    let list = held.wait_hit().await;
    let late = case.create_only(Pod::named("late").controlled_by(&owner)).await?;
    list.release();
    case.gone(&late).await?;
    case.was_evicted(&late)?;
    watch.remove();
    case.reboot_called().await?;
    case.was_evicted(&slow)
}
