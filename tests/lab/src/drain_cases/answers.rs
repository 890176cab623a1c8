//! What the API server answers to a request for an eviction: as it is, and as rebootd's own adapter takes it.

use std::fmt;

use anyhow::{Context, Result, ensure};
use rebootd::access::{ApiAccess, Credential, PemSource};
use rebootd::cluster::Api;
use rebootd::decide::{EvictionOutcome, How, PodView, Refuser};
use serde_json::{Value, json};

use super::case::{Case, Made};
use crate::simulated::client::{Answer, JSON};

/// The parts of an answer that say why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) code: u16,
    pub(super) reason: String,
    /// Reason and text of each.
    pub(super) causes: Vec<(String, String)>,
    pub(super) retry_after: Option<String>,
    pub(super) text: String,
}

impl From<Answer> for Said {
    fn from(answer: Answer) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let causes = answer.body.pointer("/details/causes").and_then(Value::as_array).into_iter().flatten();
        Self {
            code: answer.code,
            reason: text(&answer.body["reason"]),
            causes: causes.map(|cause| (text(&cause["reason"]), text(&cause["message"]))).collect(),
            retry_after: answer.retry_after,
            text: text(&answer.body["message"]),
        }
    }
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { code, reason, causes, retry_after, text } = self;
        let retry_after = retry_after.as_deref().unwrap_or("–");
        write!(f, "| {code} | {reason} | {causes:?} | {retry_after} | {text} |")
    }
}

impl Said {
    /// The reasons of its causes: what rebootd goes by.
    pub(super) fn cause(&self) -> &str {
        self.causes.first().map_or("", |(reason, _)| reason)
    }

    /// The text of its first cause.
    pub(super) fn cause_text(&self) -> &str {
        self.causes.first().map_or("", |(_, text)| text)
    }
}

impl Case {
    /// Asks for an eviction as rebootd does, with these `deleteOptions`, and keeps the answer in the story.
    pub(super) async fn ask_eviction(&self, pod: &Made, options: Value) -> Result<Said> {
        self.ask_eviction_at(&format!("{}/eviction", pod.path()), &eviction(pod, options)).await
    }

    /// The same with any path and body.
    pub(super) async fn ask_eviction_at(&self, path: &str, body: &Value) -> Result<Said> {
        let said = Said::from(self.agent.ask("POST", path, JSON, body.to_string()).await?);
        self.tell(format!("answer: {said}"));
        Ok(said)
    }

    /// Asks with the uid that the pod has.
    pub(super) async fn evict_raw(&self, pod: &Made) -> Result<Said> {
        self.ask_eviction(pod, options(pod, false)).await
    }

    /// rebootd's own adapter, by the same way and with the same credential.
    pub(super) fn api(&self) -> Api {
        // Where it is installed already, all is well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let pki = &self.shared.lab.control_plane.pki;
        let access = ApiAccess {
            server: format!("https://{}", self.proxy.address()),
            certificate_authority: PemSource::File(pki.ca()),
            credential: Credential::ClientCertificate {
                certificate: PemSource::File(self.site.agent.certificate.clone()),
                key: PemSource::File(self.site.agent.key.clone()),
            },
        };
        Api::new(access, self.here.clone())
    }

    /// A pod as rebootd sees it.
    pub(super) async fn view(&self, pod: &Made) -> Result<PodView> {
        let pods = self.api().pods().await?;
        let found = pods.into_iter().find(|view| view.key.uid == pod.uid);
        found.with_context(|| format!("rebootd does not see {}", pod.name))
    }

    /// Evicts a pod through rebootd's adapter.
    pub(super) async fn evict(&self, pod: &Made) -> Result<EvictionOutcome> {
        let view = self.view(pod).await?;
        let outcome = self.api().eviction(&view.key, How::Evict, None).await;
        self.tell(format!("rebootd takes it as {outcome:?}"));
        Ok(outcome)
    }

    /// What rebootd's adapter takes the answer to be.
    pub(super) async fn is_taken_for(&self, pod: &Made, expected: &Taken) -> Result<()> {
        expected.matches(&self.evict(pod).await?)
    }
}

/// What rebootd may take an answer for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    Granted,
    /// There is no such pod, or another one of its name.
    Outdated,
    /// Refused by the budget of this name.
    Budget(String),
    SeveralBudgets,
    EndingNamespace,
    /// Refused for a reason that rebootd does not know.
    Other,
}

impl Taken {
    /// Fails where rebootd took an answer for something else.
    pub(super) fn matches(&self, outcome: &EvictionOutcome) -> Result<()> {
        let taken = match outcome {
            EvictionOutcome::Granted => Some(Taken::Granted),
            EvictionOutcome::Outdated => Some(Taken::Outdated),
            EvictionOutcome::Refused(refusal) => Some(match &refusal.by {
                Refuser::Budget { name, .. } => Taken::Budget(name.clone()),
                Refuser::SeveralBudgets => Taken::SeveralBudgets,
                Refuser::EndingNamespace => Taken::EndingNamespace,
                Refuser::Webhook { .. } | Refuser::Other => Taken::Other,
            }),
            EvictionOutcome::Overloaded { .. } | EvictionOutcome::Unanswered { .. } => None,
        };
        ensure!(taken.as_ref() == Some(self), "expected {self:?}, it is {outcome:?}");
        Ok(())
    }
}

/// The body of a request for an eviction.
pub(super) fn eviction(pod: &Made, options: Value) -> Value {
    json!({
        "apiVersion": "policy/v1", "kind": "Eviction",
        "metadata": {"namespace": pod.namespace, "name": pod.name},
        "deleteOptions": options,
    })
}

/// Only this very pod.
pub(super) fn options(pod: &Made, dry_run: bool) -> Value {
    let dry_run = if dry_run { json!(["All"]) } else { Value::Null };
    json!({"preconditions": {"uid": pod.uid}, "dryRun": dry_run})
}
