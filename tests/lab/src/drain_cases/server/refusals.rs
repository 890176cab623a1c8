//! What else says no.

use anyhow::{Result, ensure};
use rebootd::decide::How;
use serde_json::json;

use super::super::answers::{Said, Taken};
use super::super::case::Case;
use super::super::cases;
use super::super::objects::Pod;
use crate::simulated::client::{Client, JSON};

cases![
    server_two_budgets_are_a_server_error,
    server_missing_pod_is_not_found,
    server_terminating_namespace_forbids_evictions,
    server_missing_right_is_forbidden,
    server_admission_policy_denies,
    server_dead_webhook_is_a_server_error,
];

async fn server_two_budgets_are_a_server_error(case: &mut Case) -> Result<()> {
    let db = case.create_owned(Pod::named("db")).await?;
    case.budget("db", json!({"minAvailable": 0}), 1).await?;
    case.budget("all", json!({"minAvailable": 0, "selector": {}}), 1).await?;
    let said = case.evict_raw(&db).await?;
    ensure!(said.code == 500 && said.text.contains("more than one PodDisruptionBudget"), "{said}");
    case.is_taken_for(&db, &Taken::SeveralBudgets).await?;
    case.untouched(&db)
}

async fn server_missing_pod_is_not_found(case: &mut Case) -> Result<()> {
    let web = case.create_owned(Pod::named("web")).await?;
    let view = case.view(&web).await?;
    case.delete(&web).await?;
    case.gone(&web).await?;
    let said = case.evict_raw(&web).await?;
    ensure!(said.code == 404 && said.reason == "NotFound", "{said}");
    Taken::Outdated.matches(&case.api().eviction(&view.key, How::Evict, None).await)
}

async fn server_terminating_namespace_forbids_evictions(case: &mut Case) -> Result<()> {
    let web = case.create_owned(Pod::named("web").never_ends()).await?;
    case.shared.person.delete(&format!("/api/v1/namespaces/{}", case.here), &json!({})).await?;
    case.terminating(&web).await?;
    let said = case.evict_raw(&web).await?;
    ensure!(said.code == 403 && said.cause() == "NamespaceTerminating", "{said}");
    case.is_taken_for(&web, &Taken::EndingNamespace).await?;
    case.end(&web).await
}

async fn server_missing_right_is_forbidden(case: &mut Case) -> Result<()> {
    let web = case.create_owned(Pod::named("web")).await?;
    let control_plane = &case.shared.lab.control_plane;
    let nobody = control_plane.pki.client(&format!("nobody-of-{}", case.here), "nobody", &[])?;
    let nobody = Client::of(control_plane, &nobody)?;
    let body = super::super::answers::eviction(&web, json!({}));
    let path = format!("{}/eviction", web.path());
    let said = Said::from(nobody.ask("POST", &path, JSON, body.to_string()).await?);
    case.tell(format!("answer: {said}"));
    ensure!(said.code == 403 && said.causes.is_empty(), "{said}");
    case.untouched(&web)
}

async fn server_admission_policy_denies(case: &mut Case) -> Result<()> {
    let web = case.create_owned(Pod::named("web")).await?;
    case.forbid_evictions("not today").await?;
    let said = case.evict_raw(&web).await?;
    ensure!(said.code == 422 && said.text.contains("not today"), "{said}");
    case.is_taken_for(&web, &Taken::Other).await?;
    case.untouched(&web)
}

async fn server_dead_webhook_is_a_server_error(case: &mut Case) -> Result<()> {
    let web = case.create_owned(Pod::named("web")).await?;
    case.dead_webhook().await?;
    let said = case.evict_raw(&web).await?;
    ensure!(said.code == 500 && said.text.contains("failed calling webhook"), "{said}");
    case.is_taken_for(&web, &Taken::Other).await?;
    case.untouched(&web)
}
