//! Whether the cluster confines this node's credential to what is the node's own: writes that policies have to refuse,
//! as dry runs.

use reqwest::Method;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use super::api::{Api, JSON, MERGE_PATCH};
use super::error::ApiError;
use super::objects::{BY, NAMESPACE, POOL};
use super::paths::{self, with};
use crate::decide::{Confinement, SlotView};

/// A second longer than a token may be valid.
const TOO_LONG: u64 = 24 * 60 * 60 + 1;
/// No pod has this name, and policies-evictions.yaml refuses to evict one of this name.
const NO_POD: &str = "none.rebootd.io";

/// Something that a policy has to refuse.
struct Act {
    policy: &'static str,
    request: (Method, String, &'static str, Value),
    /// What the server answers where no policy refuses it.
    otherwise: u16,
}

impl Api {
    /// Finds out whether the policies are in force; `slots` are those just read, `uid` is that of the own Node.
    pub async fn confinement(&mut self, uid: &str, slots: &[SlotView]) -> Result<Confinement, ApiError> {
        if !self.is_agent().await? {
            return Ok(Confinement::OtherAccount);
        }
        let (mut missing, mut manifests) = (Vec::new(), None);
        for act in self.acts(uid, slots)? {
            let policy = act.policy;
            match self.refusal(act).await? {
                Some(message) => manifests = manifests.or(version(&message)),
                None => missing.push(policy),
            }
        }
        Ok(Confinement::Tried { missing, manifests })
    }

    /// What each policy has to refuse. None of it takes effect where no policy does.
    fn acts(&self, uid: &str, slots: &[SlotView]) -> Result<Vec<Act>, ApiError> {
        let label = json!({"metadata": {"labels": {"not-of-rebootd": "true"}}});
        let node = (Method::PATCH, paths::node(&self.node)?, MERGE_PATCH, label);
        let mut acts = vec![Act { policy: "rebootd-nodes", request: node, otherwise: 200 }];
        if let Some(slot) = slots.first() {
            let pool = json!({"metadata": {"labels": {POOL: "another"}}});
            let slot = (Method::PATCH, paths::slot(&slot.name)?, MERGE_PATCH, pool);
            acts.push(Act { policy: "rebootd-slots", request: slot, otherwise: 200 });
        }
        // The one without a mark and a uid, the other with both.
        let evictions = [
            ("rebootd-evictions", json!({}), json!({})),
            ("rebootd-evictions-here", json!({BY: "agent"}), json!({"preconditions": {"uid": uid}})),
        ];
        for (policy, labels, options) in evictions {
            let eviction = json!({
                "apiVersion": "policy/v1",
                "kind": "Eviction",
                "metadata": {"namespace": NAMESPACE, "name": NO_POD, "labels": labels},
                "deleteOptions": options,
            });
            let path = format!("{}/eviction", paths::pod(NAMESPACE, NO_POD)?);
            acts.push(Act { policy, request: (Method::POST, path, JSON, eviction), otherwise: 404 });
        }
        let event = json!({
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"generateName": "rebootd-", "namespace": NAMESPACE},
            "eventTime": "2026-01-01T00:00:00.000000Z",
            "reportingController": "not-of-rebootd",
            "reportingInstance": self.node,
            "action": "Try",
            "reason": "Try",
            "type": "Normal",
            "regarding": {"kind": "Pod", "namespace": NAMESPACE, "name": NO_POD},
        });
        acts.push(Act {
            policy: "rebootd-events",
            request: (Method::POST, paths::events(NAMESPACE)?, JSON, event),
            otherwise: 201,
        });
        // Here a dry run gives a token that is as good as any other. This request never gives one: no Node has that
        // version, which the server finds out after it has asked the policies.
        let bound = json!({"kind": "Node", "apiVersion": "rebootd.io/v1", "name": self.node, "uid": uid});
        let token = json!({
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"boundObjectRef": bound, "expirationSeconds": TOO_LONG},
        });
        let token = (Method::POST, paths::own_token(), JSON, token);
        acts.push(Act { policy: "rebootd-tokens", request: token, otherwise: 400 });
        Ok(acts)
    }

    /// By which message a policy refuses this, if one does.
    async fn refusal(&mut self, act: Act) -> Result<Option<String>, ApiError> {
        let (method, path, content_type, body) = act.request;
        match self.try_write(method, &path, content_type, body).await {
            Ok(_) => Ok(None),
            Err(ApiError::Status { message, .. }) if message.contains("ValidatingAdmissionPolicy") => {
                Ok(Some(message))
            }
            Err(ApiError::Status { code, .. }) if code == act.otherwise => Ok(None),
            // Without the right to get a token, or to report Events, there is nothing to confine.
            Err(ApiError::Status { code: 403, message, .. })
                if ["rebootd-tokens", "rebootd-events"].contains(&act.policy) =>
            {
                Ok(Some(message))
            }
            Err(error) => Err(error),
        }
    }

    async fn try_write(
        &mut self,
        method: Method,
        path: &str,
        content_type: &'static str,
        body: Value,
    ) -> Result<IgnoredAny, ApiError> {
        let path = with(path, &[("dryRun", "All")]);
        let body = Some((content_type, body.to_string().into_bytes()));
        let result = self.client()?.json(method, &path, body, None).await;
        self.mind(result)
    }
}

/// The version of the manifests, which the message of rebootd-evictions ends with.
pub(super) fn version(message: &str) -> Option<u32> {
    let version = message.split_once("; manifests version ")?.1;
    version.split(|letter: char| !letter.is_ascii_digit()).next()?.parse().ok()
}
