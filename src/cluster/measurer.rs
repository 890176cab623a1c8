//! The pods of a workload, wherever they run, and a number of Prometheus: beside everything else that is asked, so it holds
//! nothing up.

use super::api::Api;
use super::checks;
use super::client::Client;
use super::error::ApiError;
use super::objects::List;
use super::paths::{self, with};
use super::pods::Pod;
use super::traffic;
use crate::decide::Replica;
use crate::decide::settings::Query;

/// The most bytes of an answer: some hundred pods.
const LONGEST: usize = 4 << 20;

/// Reads what is measured around a reboot.
#[derive(Debug, Clone)]
pub struct Measurer(Client);

impl Api {
    /// A reader that works beside this one, as long as its connection and its credential do.
    pub fn measurer(&mut self) -> Result<Measurer, ApiError> {
        Ok(Measurer(self.client()?))
    }
}

impl Measurer {
    /// Reads the pods of a namespace that a selector of labels selects. What the API server remembers is good enough.
    pub async fn replicas(&self, namespace: &str, selector: &str) -> Result<Vec<Replica>, ApiError> {
        let path = paths::listed("/api/v1", namespace, "pods")?;
        let path = with(&path, &[("labelSelector", selector), ("resourceVersion", "0")]);
        traffic::sent();
        let (code, body) = self.0.whole(&path, LONGEST).await?;
        if code != 200 {
            return Err(ApiError::status(code, "the pods of a workload cannot be read"));
        }
        let list: List<Pod> = serde_json::from_slice(&body).map_err(ApiError::garbled)?;
        Ok(list.items.into_iter().flatten().map(Replica::from).collect())
    }

    /// Asks Prometheus for a number; `None` if there is none now.
    pub async fn number(&self, query: &Query) -> Result<Option<f64>, ApiError> {
        checks::number(&self.0, query).await
    }
}
