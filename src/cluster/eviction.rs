//! Evictions: the request, and what its answer means.
//!
//! The answers are those of Kubernetes' `pkg/registry/core/pod/storage/eviction.go`; docs/drain.md lists them.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use super::error::{ApiError, Cause};
use super::objects::BY;
use super::paths;
use crate::decide::{EvictionOutcome, EvictionRefusal, How, PodKey, Refuser};
use crate::words;

/// Method, path and body. We write the body ourselves, because the server sees the precondition only in this spelling
/// of `deleteOptions`. Without it, a pod of the same name that is now elsewhere would be evicted.
pub(super) fn request(
    pod: &PodKey,
    how: How,
    grace: Option<Duration>,
) -> Result<(Method, String, Value), ApiError> {
    let path = paths::pod(&pod.namespace, &pod.name)?;
    let dry_run = (how == How::DryRun).then_some(["All"]);
    // Admission webhooks are told of a dry run only by the URL.
    let query = if how == How::DryRun { "?dryRun=All" } else { "" };
    let options = json!({
        "apiVersion": "v1",
        "kind": "DeleteOptions",
        "preconditions": {"uid": pod.uid},
        "gracePeriodSeconds": grace.map(|grace| grace.as_secs()),
        "dryRun": dry_run,
    });
    if how == How::Delete {
        return Ok((Method::DELETE, path, options));
    }
    let eviction = json!({
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"namespace": pod.namespace, "name": pod.name, "labels": {BY: "agent"}},
        "deleteOptions": options,
    });
    Ok((Method::POST, format!("{path}/eviction{query}"), eviction))
}

pub(super) fn outcome<T>(result: Result<T, ApiError>) -> EvictionOutcome {
    let Err(error) = result else { return EvictionOutcome::Granted };
    let message = error.to_string();
    match error {
        ApiError::Status { code, causes, message: text, retry_after } => {
            let cause = |reason: &str| causes.iter().find(|cause| cause.reason == reason);
            let budget = cause("DisruptionBudget").map(budget);
            let by = match code {
                _ if webhook(&text).is_some() => {
                    webhook(&text).map_or(Refuser::Other, |name| Refuser::Webhook { name })
                }
                404 | 409 => return EvictionOutcome::Outdated,
                429 if budget.is_none() => return EvictionOutcome::Overloaded { message, retry_after },
                // This says nothing about the pod: a credential that is not accepted, a server that is not ready.
                401 | 503 => return EvictionOutcome::Overloaded { message, retry_after },
                403 if cause("NamespaceTerminating").is_some() => Refuser::EndingNamespace,
                500 if text.contains("more than one PodDisruptionBudget") => Refuser::SeveralBudgets,
                _ => budget.unwrap_or(Refuser::Other),
            };
            EvictionOutcome::Refused(EvictionRefusal { by, message, retry_after })
        }
        ApiError::NoAnswer(_) | ApiError::Garbled(_) => EvictionOutcome::Unanswered { message },
        // Nothing was sent.
        ApiError::Credential { .. } | ApiError::Client(_) => {
            EvictionOutcome::Overloaded { message, retry_after: None }
        }
    }
}

/// The webhook that refused, if one did. KubeVirt, for one, answers 429 on purpose: that is no sign of an overloaded
/// server. The server names it only in a sentence, `admission webhook "NAME" denied the request: …` (`ToStatusErr` in
/// `apiserver/pkg/admission/plugin/webhook/errors`).
fn webhook(text: &str) -> Option<String> {
    let (name, _) = text.strip_prefix("admission webhook \"")?.split_once("\" denied the request")?;
    Some(words::name(name.to_owned()))
}

/// The server names the budget and its numbers only in a sentence:
/// `The disruption budget web needs 3 healthy pods and has 3 currently`.
fn budget(cause: &Cause) -> Refuser {
    let words: Vec<&str> = cause.message.split_whitespace().collect();
    let after =
        |word: &str| words.iter().position(|it| *it == word).and_then(|at| words.get(at + 1)).copied();
    let number = |word: &str| after(word)?.parse().ok();
    Refuser::Budget {
        name: after("budget").unwrap_or("?").to_owned(),
        counts: number("needs").zip(number("has")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod() -> PodKey {
        PodKey { namespace: "default".into(), name: "db-0".into(), uid: "u".into() }
    }

    fn answer(code: u16, reason: &str, text: &str) -> EvictionOutcome {
        let cause = Cause { reason: reason.into(), message: text.into() };
        let causes = if reason.is_empty() { vec![] } else { vec![cause] };
        let message = text.to_owned();
        outcome::<()>(Err(ApiError::Status { code, causes, message, retry_after: None }))
    }

    fn refuser(code: u16, reason: &str, text: &str) -> Refuser {
        match answer(code, reason, text) {
            EvictionOutcome::Refused(refusal) => refusal.by,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_request_names_the_uid_and_every_eviction_says_that_it_is_ours() {
        for how in [How::Evict, How::DryRun] {
            let (_, _, body) = request(&pod(), how, None).unwrap();
            assert_eq!(body["deleteOptions"]["preconditions"]["uid"], "u");
            assert_eq!(body["metadata"]["labels"][BY], "agent");
            assert_eq!(body["deleteOptions"]["gracePeriodSeconds"], Value::Null);
            assert_eq!(body["deleteOptions"]["dryRun"].is_null(), how == How::Evict);
        }
        let (method, path, body) = request(&pod(), How::Delete, Some(Duration::from_secs(7))).unwrap();
        assert_eq!((method, path.as_str()), (Method::DELETE, "/api/v1/namespaces/default/pods/db-0"));
        assert_eq!((&body["preconditions"]["uid"], &body["gracePeriodSeconds"]), (&json!("u"), &json!(7)));
    }

    #[test]
    fn a_budget_is_told_with_its_numbers() {
        let text = "The disruption budget web needs 3 healthy pods and has 4 currently";
        let by = refuser(429, "DisruptionBudget", text);
        assert_eq!(by, Refuser::Budget { name: "web".into(), counts: Some((3, 4)) });
        assert_eq!(by.to_string(), "budget web (1 of 4 may go)");
        let by = refuser(
            429,
            "DisruptionBudget",
            "The disruption budget web is still being processed by the server.",
        );
        assert_eq!(by, Refuser::Budget { name: "web".into(), counts: None });
    }

    #[test]
    fn a_webhook_refuses_its_pod_whatever_code_it_answers() {
        let text = "admission webhook \"virt-launcher-eviction-interceptor.kubevirt.io\" denied the request: migrating";
        for code in [400, 403, 409, 429, 500, 503] {
            let name = "virt-launcher-eviction-interceptor.kubevirt.io".to_owned();
            assert_eq!(refuser(code, "", text), Refuser::Webhook { name }, "{code}");
        }
        let (_, path, _) = request(&pod(), How::DryRun, None).unwrap();
        assert!(path.ends_with("/eviction?dryRun=All"));
    }

    #[test]
    fn a_webhook_that_gives_causes_is_still_a_webhook() {
        let body = r#"{"code": 429, "message": "admission webhook \"v.example.com\" denied the request: busy",
            "details": {"causes": [{"reason": "FieldValueInvalid", "message": "the VM migrates"}]}}"#;
        let error = super::super::error::status_in(429, body.as_bytes());
        let EvictionOutcome::Refused(refusal) = outcome::<()>(Err(error)) else { panic!("not refused") };
        assert_eq!(refusal.by, Refuser::Webhook { name: "v.example.com".into() });
        assert!(
            refusal.message.ends_with("denied the request: busy: the VM migrates"),
            "{}",
            refusal.message
        );
    }

    #[test]
    fn what_is_no_budget_is_not_taken_for_one() {
        let overloaded = |outcome| matches!(outcome, EvictionOutcome::Overloaded { .. });
        assert!(overloaded(answer(429, "", "Too many requests, please try again later.")));
        assert!(overloaded(answer(503, "", "apiserver is shutting down")));
        let several = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
        assert_eq!(refuser(500, "", several), Refuser::SeveralBudgets);
        assert_eq!(refuser(403, "NamespaceTerminating", "x"), Refuser::EndingNamespace);
        for code in [400, 403, 422, 500, 504] {
            assert_eq!(refuser(code, "", "no"), Refuser::Other, "{code}");
        }
        for code in [404, 409] {
            assert_eq!(answer(code, "", "no"), EvictionOutcome::Outdated);
        }
    }
}
