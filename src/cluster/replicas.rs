//! The pods of a workload, wherever they run: beside everything else that is asked, so it holds nothing up.

use reqwest::Method;

use super::api::Api;
use super::client::Client;
use super::error::ApiError;
use super::objects::List;
use super::paths::{self, with};
use super::pods::Pod;
use crate::decide::Replica;

/// Reads pods by their labels.
#[derive(Debug, Clone)]
pub struct Replicas(Client);

impl Api {
    /// A reader that works beside this one, as long as its connection and its credential do.
    pub fn replicas(&mut self) -> Result<Replicas, ApiError> {
        Ok(Replicas(self.client()?))
    }
}

impl Replicas {
    /// Reads the pods of a namespace that a selector of labels selects. What the API server remembers is good enough.
    pub async fn read(&self, namespace: &str, selector: &str) -> Result<Vec<Replica>, ApiError> {
        let path = paths::listed("/api/v1", namespace, "pods")?;
        let path = with(&path, &[("labelSelector", selector), ("resourceVersion", "0")]);
        let list: List<Pod> = self.0.json(Method::GET, &path, None, None).await?;
        Ok(list.items.into_iter().flatten().map(Replica::from).collect())
    }
}
