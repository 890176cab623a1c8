//! A plain client of the API server, past all proxies: for simulated kubelets and persons, and for what the server
//! itself answers to a rebootd.

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use serde_json::Value;
use std::fs;

use crate::control_plane::{self, ControlPlane};
use crate::pki::Identity;
use crate::proxy::{HttpsClient, https_client};

pub(crate) const MERGE: &str = "application/merge-patch+json";
pub(crate) const STRATEGIC: &str = "application/strategic-merge-patch+json";
pub(crate) const APPLY: &str = "application/apply-patch+yaml";
pub(crate) const JSON: &str = "application/json";

/// Speaks as one user, whose name the audit log shows.
#[derive(Clone)]
pub(crate) struct Client {
    http: HttpsClient,
    headers: Vec<(&'static str, String)>,
}

/// What the server said, be it yes or no.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) code: u16,
    /// The header `Retry-After`.
    pub(crate) retry_after: Option<String>,
    /// Null where it is no JSON.
    pub(crate) body: Value,
    pub(crate) text: String,
}

impl Client {
    /// An all-powerful one.
    pub(crate) fn new(control_plane: &ControlPlane, user: &str) -> Result<Self> {
        Self::of(control_plane, &control_plane.pki.client(user, user, &["system:masters"])?)
    }

    /// One that may what this identity may.
    pub(crate) fn of(control_plane: &ControlPlane, identity: &Identity) -> Result<Self> {
        let authority = fs::read_to_string(control_plane.pki.ca())?;
        Ok(Self { http: https_client(&authority, Some(&identity.read()?))?, headers: Vec::new() })
    }

    /// Whoever has this token.
    pub(crate) fn with_token(control_plane: &ControlPlane, token: &str) -> Result<Self> {
        let authority = fs::read_to_string(control_plane.pki.ca())?;
        let headers = vec![("authorization", format!("Bearer {}", token.trim()))];
        Ok(Self { http: https_client(&authority, None)?, headers })
    }

    /// The same, with one more header.
    pub(crate) fn with(&self, header: &'static str, value: &str) -> Self {
        let mut client = self.clone();
        client.headers.push((header, value.to_owned()));
        client
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Value> {
        self.send("GET", path, JSON, String::new()).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        self.send("POST", path, JSON, body.to_string()).await
    }

    pub(crate) async fn patch(&self, path: &str, content_type: &str, body: &Value) -> Result<Value> {
        self.send("PATCH", path, content_type, body.to_string()).await
    }

    pub(crate) async fn delete(&self, path: &str, body: &Value) -> Result<Value> {
        self.send("DELETE", path, JSON, body.to_string()).await
    }

    async fn send(&self, method: &str, path: &str, content_type: &str, body: String) -> Result<Value> {
        let answer = self.ask(method, path, content_type, body).await?;
        ensure!(answer.is_yes(), "{method} {path}: {}: {}", answer.code, answer.text);
        Ok(answer.body)
    }

    /// Fails only where there is no answer.
    pub(crate) async fn ask(
        &self,
        method: &str,
        path: &str,
        content_type: &str,
        body: String,
    ) -> Result<Answer> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", control_plane::server()))
            .header("accept", JSON)
            .header("content-type", content_type);
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        let request = request.body(Full::new(Bytes::from(body)))?;
        let answer = self.http.request(request).await.with_context(|| format!("{method} {path}"))?;
        let code = answer.status().as_u16();
        let retry_after = answer.headers().get("retry-after").and_then(|value| value.to_str().ok());
        let retry_after = retry_after.map(str::to_owned);
        let body = answer.into_body().collect().await?.to_bytes();
        let text = String::from_utf8_lossy(&body).into_owned();
        Ok(Answer { code, retry_after, body: serde_json::from_str(&text).unwrap_or_default(), text })
    }
}

impl Answer {
    pub(crate) fn is_yes(&self) -> bool {
        (200..300).contains(&self.code)
    }
}
