//! What in a cluster may deny evictions beside budgets: admission policies and webhooks, in the case's namespace only.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::answers::options;
use super::case::{Case, LOOK, SOON};
use super::objects::Pod;

const ADMISSION: &str = "/apis/admissionregistration.k8s.io/v1";

impl Case {
    fn here_only(&self) -> Value {
        json!({"matchLabels": {"kubernetes.io/metadata.name": self.here}})
    }

    fn evictions() -> Value {
        json!([{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods/eviction"]}])
    }

    /// An admission policy denies every eviction, with this text.
    pub(super) async fn forbid_evictions(&self, text: &str) -> Result<()> {
        let metadata = json!({"name": format!("{}-evictions", self.here)});
        let policy = json!({"metadata": metadata, "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {"namespaceSelector": self.here_only(), "resourceRules": Self::evictions()},
            "validations": [{"expression": "false", "message": text}],
        }});
        let binding = json!({"metadata": metadata, "spec": {
            "policyName": metadata["name"], "validationActions": ["Deny"],
        }});
        let person = &self.shared.person;
        person.post(&format!("{ADMISSION}/validatingadmissionpolicies"), &policy).await?;
        person.post(&format!("{ADMISSION}/validatingadmissionpolicybindings"), &binding).await?;
        self.wait_denied().await
    }

    /// Evictions are allowed again.
    pub(super) async fn allow_evictions(&self) -> Result<()> {
        let name = format!("{ADMISSION}/validatingadmissionpolicybindings/{}-evictions", self.here);
        self.shared.person.delete(&name, &json!({})).await?;
        Ok(())
    }

    /// A webhook is asked about every eviction, and nobody answers.
    pub(super) async fn dead_webhook(&self) -> Result<()> {
        let webhook = json!({"metadata": {"name": format!("{}-evictions", self.here)}, "webhooks": [{
            "name": "evictions.lab.example.com",
            "clientConfig": {"url": "https://127.0.0.1:1/"},
            "namespaceSelector": self.here_only(),
            "rules": Self::evictions(),
            "failurePolicy": "Fail",
            "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
        }]});
        self.shared.person.post(&format!("{ADMISSION}/validatingwebhookconfigurations"), &webhook).await?;
        self.wait_denied().await
    }

    /// The webhook is no longer asked.
    pub(super) async fn remove_webhook(&self) -> Result<()> {
        let name = format!("{ADMISSION}/validatingwebhookconfigurations/{}-evictions", self.here);
        self.shared.person.delete(&name, &json!({})).await?;
        Ok(())
    }

    /// The API server takes a moment to know of it.
    async fn wait_denied(&self) -> Result<()> {
        let probe = self.create(Pod::named("probe").becomes("Succeeded")).await?;
        let deadline = Instant::now() + SOON;
        while self.ask_eviction(&probe, options(&probe, true)).await?.code == 201 {
            ensure!(Instant::now() < deadline, "evictions are not denied");
            sleep(LOOK).await;
        }
        Ok(())
    }
}
