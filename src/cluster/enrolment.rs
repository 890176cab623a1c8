//! How a node gets a token of its own, and renews it.

use std::time::Duration;

use reqwest::Method;
use serde::Deserialize;
use serde_json::json;

use super::api::{Api, JSON};
use super::client::LONGEST_TOKEN;
use super::error::ApiError;
use super::paths;
use crate::access::Secret;
use crate::notation::{is_node_name, plain_id};
use crate::words::{NOTE, words};

/// The account of all agents.
const ACCOUNT: &str = "system:serviceaccount:rebootd:rebootd";
const NODE_NAME: &str = "authentication.kubernetes.io/node-name";
const NODE_UID: &str = "authentication.kubernetes.io/node-uid";
/// The API server issues none for a shorter time.
const SHORTEST_LIFE: Duration = Duration::from_secs(600);

/// The Node that a token is bound to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BoundNode {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.uid`.
    pub uid: String,
}

/// A token that the API server has issued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    /// The token.
    pub token: Secret,
    /// For how long it is valid, from now on.
    pub life: Duration,
}

/// Why a token is of no use to this machine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Untaken {
    /// What is wrong.
    pub why: String,
    /// It is not the API server's silence, so another token may fare better.
    pub is_answered: bool,
}

impl Untaken {
    /// Something other than silence is wrong.
    pub fn by_us(why: String) -> Untaken {
        Untaken { why, is_answered: true }
    }
}

impl From<ApiError> for Untaken {
    fn from(error: ApiError) -> Untaken {
        let advice = match &error {
            ApiError::Status { code: 403, .. } => "; kubectl apply -f /usr/share/rebootd/manifests/",
            _ => "",
        };
        Untaken { why: format!("{error}{advice}"), is_answered: !matches!(error, ApiError::NoAnswer(_)) }
    }
}

#[derive(Deserialize)]
pub(super) struct Review {
    pub(super) status: ReviewStatus,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ReviewStatus {
    pub(super) user_info: UserInfo,
}

#[derive(Deserialize)]
pub(super) struct UserInfo {
    pub(super) username: String,
    #[serde(default)]
    extra: std::collections::BTreeMap<String, Vec<String>>,
}

impl UserInfo {
    pub(super) fn is_agent(&self) -> bool {
        self.username == ACCOUNT
    }

    fn extra(&self, name: &str) -> Option<String> {
        self.extra.get(name)?.first().cloned()
    }
}

/// Whether a client can send it: it is about to take the place of one that works.
fn is_token(text: &str) -> bool {
    let length = 1..=LONGEST_TOKEN;
    length.contains(&(text.len() as u64)) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

#[derive(Deserialize)]
struct Token {
    spec: TokenSpec,
    status: TokenStatus,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TokenSpec {
    expiration_seconds: u64,
}

#[derive(Deserialize)]
struct TokenStatus {
    token: String,
}

impl Api {
    /// Who the API server takes us for.
    pub(super) async fn review(&mut self) -> Result<UserInfo, ApiError> {
        let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
        let body = Some((JSON, review.to_string().into_bytes()));
        let result = self.client()?.json::<Review>(Method::POST, paths::SELF_REVIEW, body, None).await;
        Ok(self.mind(result)?.status.user_info)
    }

    /// Whether the API server takes us for an agent.
    pub async fn is_agent(&mut self) -> Result<bool, ApiError> {
        Ok(self.review().await?.is_agent())
    }

    /// The Node that our token is bound to, if that Node is this machine. Whoever laid the token there may not have been
    /// the kubelet, so all of it is asked of the API server.
    pub async fn own_node(&mut self, machine_id: &str) -> Result<BoundNode, Untaken> {
        let unless = |why: String| Err(Untaken::by_us(why));
        let user = self.review().await?;
        if !user.is_agent() {
            return unless(format!("a token is of {}", words(&user.username, NOTE)));
        }
        let Some((name, uid)) = user.extra(NODE_NAME).zip(user.extra(NODE_UID)) else {
            return unless(
                "a token of rebootd is bound to no Node (Kubernetes 1.30 or newer binds it)".into(),
            );
        };
        if !is_node_name(&name) {
            return unless(format!("a token is bound to {}, which is no name of a Node", words(&name, NOTE)));
        }
        let node = match self.node_named(&name).await? {
            Some(node) if node.uid == uid => node,
            _ => {
                return unless(format!("a token is bound to the Node {}, which is gone", words(&name, NOTE)));
            }
        };
        if plain_id(&node.machine_id) != machine_id {
            let name = words(&name, NOTE);
            return unless(format!("a token is bound to the Node {name}, which is another machine"));
        }
        Ok(BoundNode { name, uid })
    }

    /// Asks for a token bound to this Node.
    pub async fn issue(&mut self, node: &BoundNode, life: Duration) -> Result<Issued, ApiError> {
        let bound = json!({"kind": "Node", "apiVersion": "v1", "name": node.name, "uid": node.uid});
        let request = json!({
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"boundObjectRef": bound, "expirationSeconds": life.max(SHORTEST_LIFE).as_secs()},
        });
        let body = Some((JSON, request.to_string().into_bytes()));
        let result = self.client()?.json::<Token>(Method::POST, &paths::own_token(), body, None).await;
        // What the parser quotes may be the token.
        let result = result.map_err(|error| match error {
            ApiError::Garbled(_) => ApiError::garbled("it holds no token"),
            error => error,
        });
        let token = self.mind(result)?;
        if !is_token(&token.status.token) {
            return Err(ApiError::garbled("its token is none"));
        }
        Ok(Issued {
            token: Secret::new(token.status.token),
            life: Duration::from_secs(token.spec.expiration_seconds),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{ApiAccess, Credential, PemSource};

    fn api(credential: Credential) -> Api {
        let key = rcgen::KeyPair::generate().unwrap();
        let authority = rcgen::CertificateParams::default().self_signed(&key).unwrap().pem().into_bytes();
        let server = "https://127.0.0.1:1".to_owned();
        let certificate_authority = PemSource::Inline(authority);
        Api::new(ApiAccess { server, certificate_authority, credential }, String::new())
    }

    #[tokio::test]
    async fn only_a_server_that_does_not_answer_ends_the_tries() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let token = |text: &str| Credential::Token(Secret::new(text.to_owned()));
        let none = api(token("x\ny")).own_node("m").await.unwrap_err();
        assert!(none.is_answered, "{none}");
        let silent = api(token("x")).own_node("m").await.unwrap_err();
        assert!(!silent.is_answered, "{silent}");
    }

    #[tokio::test]
    async fn a_token_that_cannot_be_read_is_not_accepted() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut api = api(Credential::TokenFile("/nowhere/token".into()));
        api.is_accepted = Some(true);
        assert!(api.is_agent().await.is_err());
        assert_eq!(api.is_accepted, Some(false));
    }
}
