//! Whether the cluster confines this node's credential to what is the node's own: writes that policies have to refuse,
//! as dry runs.

use reqwest::Method;
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::{Value, json};

use super::api::{Api, JSON, MERGE_PATCH};
use super::error::ApiError;
use super::objects::POOL;
use super::paths::{self, with};
use crate::decide::{Confinement, SlotView};

/// The account that the policies concern.
const ACCOUNT: &str = "system:serviceaccount:rebootd:rebootd";
/// A second longer than a token may be valid.
const TOO_LONG: u64 = 24 * 60 * 60 + 1;

#[derive(Deserialize)]
struct Review {
    status: ReviewStatus,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReviewStatus {
    user_info: UserInfo,
}

#[derive(Deserialize)]
struct UserInfo {
    username: String,
}

impl Api {
    /// Finds out whether the policies are in force. What they concern besides pods is tried once each; `slots` are those
    /// just read, `uid` is that of the own Node.
    pub async fn confinement(&mut self, uid: &str, slots: &[SlotView]) -> Result<Confinement, ApiError> {
        let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
        let review: Review = self.try_write(Method::POST, paths::SELF_REVIEW, JSON, review).await?;
        if review.status.user_info.username != ACCOUNT {
            return Ok(Confinement::OtherAccount);
        }
        let mut missing = Vec::new();
        let label = json!({"metadata": {"labels": {"not-of-rebootd": "true"}}});
        let node = paths::node(&self.node)?;
        if !self.is_refused(Method::PATCH, &node, MERGE_PATCH, label).await? {
            missing.push("rebootd-nodes");
        }
        if let Some(slot) = slots.first() {
            let pool = json!({"metadata": {"labels": {POOL: "another"}}});
            if !self.is_refused(Method::PATCH, &paths::slot(&slot.name)?, MERGE_PATCH, pool).await? {
                missing.push("rebootd-slots");
            }
        }
        // Not a dry run's answer but a token; it is dropped. Without the right to get one there is nothing to confine.
        let bound = json!({"kind": "Node", "apiVersion": "v1", "name": self.node, "uid": uid});
        let token = json!({
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"boundObjectRef": bound, "expirationSeconds": TOO_LONG},
        });
        match self.is_refused(Method::POST, &paths::own_token(), JSON, token).await {
            Ok(true) | Err(ApiError::Status { code: 403, .. }) => {}
            Ok(false) => missing.push("rebootd-tokens"),
            Err(error) => return Err(error),
        }
        Ok(if missing.is_empty() { Confinement::Confined } else { Confinement::Missing(missing) })
    }

    /// Whether a policy refuses this; any other refusal is an error.
    async fn is_refused(
        &mut self,
        method: Method,
        path: &str,
        content_type: &'static str,
        body: Value,
    ) -> Result<bool, ApiError> {
        match self.try_write::<IgnoredAny>(method, path, content_type, body).await {
            Ok(_) => Ok(false),
            Err(ApiError::Status { message, .. }) if message.contains("ValidatingAdmissionPolicy") => {
                Ok(true)
            }
            Err(error) => Err(error),
        }
    }

    async fn try_write<T: DeserializeOwned>(
        &mut self,
        method: Method,
        path: &str,
        content_type: &'static str,
        body: Value,
    ) -> Result<T, ApiError> {
        let path = with(path, &[("dryRun", "All")]);
        let body = Some((content_type, body.to_string().into_bytes()));
        let result = self.client()?.json(method, &path, body, None).await;
        self.mind(result)
    }
}
