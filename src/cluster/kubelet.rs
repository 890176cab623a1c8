//! What a kubelet says of its configuration, by way of the API server: the right `nodes/proxy`, which people may have.

use serde::Deserialize;

use super::api::Api;
use super::error::ApiError;
use super::paths;

#[derive(Deserialize)]
struct Answer {
    kubeletconfig: Configuration,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Configuration {
    #[serde(default)]
    shutdown_grace_period: String,
    /// In the place of it, if there are any.
    shutdown_grace_period_by_pod_priority: Option<Vec<OfPriority>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OfPriority {
    #[serde(default)]
    shutdown_grace_period_seconds: i64,
}

impl Api {
    /// Whether the kubelet of a node shuts down gracefully: `shutdownGracePeriod` in its configuration is not nought, or that
    /// of a priority of pods is not.
    pub async fn shuts_down_gracefully(&mut self, node: &str) -> Result<bool, ApiError> {
        let path = format!("{}/proxy/configz", paths::node(node)?);
        let Answer { kubeletconfig } = self.get(&path).await?;
        let Configuration { shutdown_grace_period, shutdown_grace_period_by_pod_priority } = kubeletconfig;
        let mut of_priorities = shutdown_grace_period_by_pod_priority.into_iter().flatten();
        let is_on = shutdown_grace_period.chars().any(|letter| ('1'..='9').contains(&letter));
        Ok(is_on || of_priorities.any(|it| it.shutdown_grace_period_seconds > 0))
    }
}
