//! uid and resourceVersion as preconditions, dry runs, finalizers.

use anyhow::{Result, ensure};
use rebootd::decide::How;
use serde_json::{Value, json};

use super::super::answers::{Said, Taken, eviction, options};
use super::super::case::{Case, Made};
use super::super::cases;
use super::super::objects::Pod;
use super::is_granted;

cases![
    server_right_uid_is_granted,
    server_wrong_uid_is_a_conflict,
    server_wrong_uid_of_an_exempt_pod_is_a_conflict,
    server_wrong_uid_of_an_unready_pod_is_no_grant,
    server_right_version_is_granted,
    server_wrong_version_is_a_conflict,
    server_another_name_in_the_body_is_a_bad_request,
    server_dry_run_in_the_query_touches_nothing,
    server_dry_run_in_the_body_touches_nothing,
    server_dry_run_in_both_touches_nothing,
    server_dry_run_asks_the_budget,
    server_dry_run_costs_no_budget,
    server_pod_with_a_finalizer_is_granted_and_stays,
];

/// Of no pod.
const NO_UID: &str = "00000000-0000-4000-8000-000000000000";

async fn server_right_uid_is_granted(case: &mut Case) -> Result<()> {
    let web = case.create_owned(Pod::named("web")).await?;
    is_granted(case, &web).await
}

/// As for a pod that was replaced by another one of its name.
async fn with_the_wrong_uid(case: &Case, pod: &Made) -> Result<Said> {
    let said = case.ask_eviction(pod, json!({"preconditions": {"uid": NO_UID}})).await?;
    case.untouched(pod)?;
    let stale = Made { uid: NO_UID.to_owned(), ..pod.clone() };
    let mut view = case.view(pod).await?;
    view.key.uid = stale.uid;
    let outcome = case.api().eviction(&view.key, How::Evict, None).await;
    let expected = if said.code == 409 { Taken::Outdated } else { Taken::Budget("web".to_owned()) };
    expected.matches(&outcome)?;
    case.untouched(pod)?;
    Ok(said)
}

async fn server_wrong_uid_is_a_conflict(case: &mut Case) -> Result<()> {
    let web = case.create_owned(Pod::named("web")).await?;
    let said = with_the_wrong_uid(case, &web).await?;
    ensure!(said.code == 409 && said.reason == "Conflict", "{said}");
    Ok(())
}

async fn server_wrong_uid_of_an_exempt_pod_is_a_conflict(case: &mut Case) -> Result<()> {
    let web = case.create_owned(Pod::named("web").becomes("Pending")).await?;
    let said = with_the_wrong_uid(case, &web).await?;
    ensure!(said.code == 409, "{said}");
    Ok(())
}

async fn server_wrong_uid_of_an_unready_pod_is_no_grant(case: &mut Case) -> Result<()> {
    case.create_owned(Pod::named("well").app("web")).await?;
    let web = case.create_owned(Pod::named("web").becomes("NotReady")).await?;
    case.budget("web", json!({"minAvailable": 1}), 0).await?;
    let said = with_the_wrong_uid(case, &web).await?;
    ensure!([409, 429].contains(&said.code), "{said}");
    Ok(())
}

async fn server_right_version_is_granted(case: &mut Case) -> Result<()> {
    let web = case.create_owned(Pod::named("web")).await?;
    let version = case.version_of(&web)?;
    let said = case.ask_eviction(&web, json!({"preconditions": {"resourceVersion": version}})).await?;
    ensure!(said.code == 201, "{said}");
    case.gone(&web).await
}

async fn server_wrong_version_is_a_conflict(case: &mut Case) -> Result<()> {
    let web = case.create_owned(Pod::named("web")).await?;
    let said = case.ask_eviction(&web, json!({"preconditions": {"resourceVersion": "1"}})).await?;
    ensure!(said.code == 409, "{said}");
    case.untouched(&web)
}

async fn server_another_name_in_the_body_is_a_bad_request(case: &mut Case) -> Result<()> {
    let web = case.create_owned(Pod::named("web")).await?;
    let mut body = eviction(&web, Value::Null);
    body["metadata"]["name"] = json!("db");
    let said = case.ask_eviction_at(&format!("{}/eviction", web.path()), &body).await?;
    ensure!(said.code == 400, "{said}");
    case.untouched(&web)
}

async fn rehearse(case: &Case, pod: &Made, in_query: bool, in_body: bool) -> Result<Said> {
    let query = if in_query { "?dryRun=All" } else { "" };
    let body = eviction(pod, options(pod, in_body));
    let said = case.ask_eviction_at(&format!("{}/eviction{query}", pod.path()), &body).await?;
    case.untouched(pod)?;
    Ok(said)
}

async fn server_dry_run_in_the_query_touches_nothing(case: &mut Case) -> Result<()> {
    let web = case.create_owned(Pod::named("web")).await?;
    let said = rehearse(case, &web, true, false).await?;
    ensure!(said.code == 201, "{said}");
    Ok(())
}

async fn server_dry_run_in_the_body_touches_nothing(case: &mut Case) -> Result<()> {
    let web = case.create_owned(Pod::named("web")).await?;
    let said = rehearse(case, &web, false, true).await?;
    ensure!(said.code == 201, "{said}");
    Ok(())
}

async fn server_dry_run_in_both_touches_nothing(case: &mut Case) -> Result<()> {
    let web = case.create_owned(Pod::named("web")).await?;
    let said = rehearse(case, &web, true, true).await?;
    ensure!(said.code == 201, "{said}");
    Ok(())
}

async fn server_dry_run_asks_the_budget(case: &mut Case) -> Result<()> {
    let web = case.create_owned(Pod::named("web")).await?;
    case.budget("web", json!({"minAvailable": 1}), 0).await?;
    for (in_query, in_body) in [(true, false), (false, true), (true, true)] {
        let said = rehearse(case, &web, in_query, in_body).await?;
        ensure!(said.code == 429 && said.cause() == "DisruptionBudget", "{said}");
    }
    Ok(())
}

async fn server_dry_run_costs_no_budget(case: &mut Case) -> Result<()> {
    case.create_owned(Pod::named("other").app("web")).await?;
    let web = case.create_owned(Pod::named("web")).await?;
    case.budget("web", json!({"minAvailable": 1}), 1).await?;
    for _ in 0..3 {
        let said = rehearse(case, &web, false, true).await?;
        ensure!(said.code == 201, "{said}");
    }
    is_granted(case, &web).await
}

async fn server_pod_with_a_finalizer_is_granted_and_stays(case: &mut Case) -> Result<()> {
    let web = case.create_owned(Pod::named("web").finalizer("lab/holds")).await?;
    for _ in 0..2 {
        let said = case.evict_raw(&web).await?;
        ensure!(said.code == 201, "{said}");
        case.terminating(&web).await?;
    }
    case.is_taken_for(&web, &Taken::Granted).await?;
    case.drop_finalizers(&web).await?;
    case.gone(&web).await
}
