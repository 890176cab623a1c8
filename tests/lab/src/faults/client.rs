//! A plain client of the API server, past all proxies: for simulated kubelets and persons, and whatever is made by hand.

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use serde_json::Value;
use std::fs;

use crate::control_plane::{self, ControlPlane};
use crate::proxy::{HttpsClient, https_client};

pub(crate) const MERGE: &str = "application/merge-patch+json";
pub(crate) const STRATEGIC: &str = "application/strategic-merge-patch+json";
pub(crate) const APPLY: &str = "application/apply-patch+yaml";
pub(crate) const JSON: &str = "application/json";

/// Speaks as one all-powerful user, whose name the audit log shows.
#[derive(Clone)]
pub(crate) struct Client {
    http: HttpsClient,
}

impl Client {
    pub(crate) fn new(control_plane: &ControlPlane, user: &str) -> Result<Self> {
        let pki = &control_plane.pki;
        let credential = pki.client(user, user, &["system:masters"])?.read()?;
        Ok(Self { http: https_client(&fs::read_to_string(pki.ca())?, Some(&credential))? })
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
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", control_plane::server()))
            .header("accept", JSON)
            .header("content-type", content_type)
            .body(Full::new(Bytes::from(body)))?;
        let answer = self.http.request(request).await.with_context(|| format!("{method} {path}"))?;
        let status = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
        ensure!(status.is_success(), "{method} {path}: {status}: {}", String::from_utf8_lossy(&body));
        Ok(serde_json::from_slice(&body)?)
    }
}
