//! Errors and denials that end: told, tried again, and no other pod waits for them.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::super::case::Case;
use super::super::cases;
use super::super::objects::Pod;
use super::evictions_of;
use super::overload::answer;
use crate::proxy::Action;

cases![
    wire_timeout_with_retry_after_is_obeyed,
    wire_internal_error_is_told_and_tried_again,
    wire_bad_gateway_in_plain_text_is_told_and_tried_again,
    wire_unavailable_is_told_and_tried_again,
    wire_webhook_that_says_bad_request_is_told_and_tried_again,
    wire_webhook_that_forbids_is_told_and_tried_again,
    wire_webhook_that_finds_it_invalid_is_told_and_tried_again,
    wire_webhook_that_gives_causes_is_no_overloaded_server,
    wire_dead_webhook_is_told_and_tried_again,
];

fn status(code: u16, reason: &str, text: &str, retry_after: Option<u32>) -> Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "code": code, "reason": reason, "message": text, "details": {"retryAfterSeconds": retry_after},
    })
}

/// Each eviction of one pod is answered so until that has been told; the other pods leave meanwhile.
async fn denied_for_a_while(case: &mut Case, action: Action, told: &[&str]) -> Result<()> {
    let db = case.create_owned(Pod::named("db")).await?;
    let mut others = Vec::new();
    for number in 0..6 {
        others.push(case.create_owned(Pod::named(&format!("web-{number}"))).await?);
    }
    let rule = case.proxy.add(evictions_of(&db), action);
    case.drain("")?;
    for pod in &others {
        case.gone(pod).await?;
        case.was_evicted(pod)?;
    }
    case.wait_line(&[&["draining: ", "1 of 7 pods still to leave"], told].concat()).await?;
    case.wait_status("it was tried three times", |_| rule.hits().len() >= 3).await?;
    case.untouched(&db)?;
    rule.remove();
    case.gone(&db).await?;
    case.reboot_called().await?;
    ensure!(!case.line().contains("budget") && !case.log().contains("budget"), "it speaks of a budget");
    case.keep_apart(&case.sent_evictions(&db), Duration::from_millis(700))?;
    case.was_evicted(&db)
}

/// The text of a denial is told with the pod's name.
async fn refused(case: &mut Case, action: Action, text: &str) -> Result<()> {
    let pod = format!("{}/db was refused: ", case.here);
    denied_for_a_while(case, action, &[&pod, text]).await
}

async fn wire_internal_error_is_told_and_tried_again(case: &mut Case) -> Result<()> {
    let text = "Internal error occurred: etcdserver: request timed out";
    refused(case, Action::answer_error(500, "InternalError", text), &format!("500 {text}")).await
}

/// A load balancer's own page.
async fn wire_bad_gateway_in_plain_text_is_told_and_tried_again(case: &mut Case) -> Result<()> {
    let headers = vec![("content-type".into(), "text/html".into())];
    let body = "<html><title>502 Bad Gateway</title></html>".into();
    refused(case, Action::Answer { status: 502, headers, body }, "Bad Gateway").await
}

/// Nothing of the pod, and no budget.
async fn wire_unavailable_is_told_and_tried_again(case: &mut Case) -> Result<()> {
    let text = "apiserver is shutting down";
    let action = Action::answer_error(503, "ServiceUnavailable", text);
    denied_for_a_while(case, action, &["grants no evictions at the moment: 503", text]).await
}

async fn wire_webhook_that_says_bad_request_is_told_and_tried_again(case: &mut Case) -> Result<()> {
    let text = "admission webhook \"guard.example.com\" denied the request: not now";
    refused(case, Action::answer_error(400, "BadRequest", text), text).await
}

async fn wire_webhook_that_forbids_is_told_and_tried_again(case: &mut Case) -> Result<()> {
    let text = "admission webhook \"guard.example.com\" denied the request: not now";
    refused(case, Action::answer_error(403, "Forbidden", text), text).await
}

async fn wire_webhook_that_finds_it_invalid_is_told_and_tried_again(case: &mut Case) -> Result<()> {
    let text = "admission webhook \"guard.example.com\" denied the request: not now";
    refused(case, Action::answer_error(422, "Invalid", text), text).await
}

/// With the code of an overload, as KubeVirt's; recorded from a real webhook, through a real API server.
async fn wire_webhook_that_gives_causes_is_no_overloaded_server(case: &mut Case) -> Result<()> {
    let text = "admission webhook \"guard.example.com\" denied the request: busy";
    let mut body = status(429, "TooManyRequests", text, None);
    body["details"] = json!({"causes": [{"reason": "FieldValueInvalid", "message": "the VM migrates"}]});
    let headers = vec![("content-type".into(), "application/json".into())];
    let action = Action::Answer { status: 429, headers, body: body.to_string().into() };
    refused(case, action, &format!("429 {text}: the VM migrates")).await
}

/// The server's own words where a webhook does not answer.
async fn wire_dead_webhook_is_told_and_tried_again(case: &mut Case) -> Result<()> {
    let db = case.create_owned(Pod::named("db")).await?;
    let web = case.create_in_other_namespace(Pod::named("web")).await?;
    case.dead_webhook().await?;
    case.drain("")?;
    case.gone(&web).await?;
    case.wait_line(&[
        "draining: 1 of 2 pods still to leave",
        "/db was refused: 500",
        "failed calling webhook",
    ])
    .await?;
    case.untouched(&db)?;
    case.remove_webhook().await?;
    case.gone(&db).await?;
    case.reboot_called().await
}

async fn wire_timeout_with_retry_after_is_obeyed(case: &mut Case) -> Result<()> {
    let db = case.create_owned(Pod::named("db")).await?;
    let web = case.create_owned(Pod::named("web")).await?;
    let text = "Timeout: request did not complete within the allotted timeout";
    let rule =
        case.proxy.add(evictions_of(&db).nth(1), answer(504, 10, &status(504, "Timeout", text, Some(10))));
    case.drain("")?;
    case.gone(&web).await?;
    case.wait_line(&["draining: 1 of 2 pods still to leave", "/db was refused: 504", text]).await?;
    case.gone(&db).await?;
    case.reboot_called().await?;
    ensure!(rule.hits().len() == 1, "{} time-outs", rule.hits().len());
    case.keep_apart(&case.sent_evictions(&db), Duration::from_secs(10))?;
    case.was_evicted(&db)
}
