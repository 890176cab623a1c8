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
}

impl Api {
    /// Whether the kubelet of a node shuts down gracefully: `shutdownGracePeriod` in its configuration is not nought.
    pub async fn shuts_down_gracefully(&mut self, node: &str) -> Result<bool, ApiError> {
        let path = format!("{}/proxy/configz", paths::node(node)?);
        let Answer { kubeletconfig } = self.get(&path).await?;
        Ok(kubeletconfig.shutdown_grace_period.chars().any(|letter| ('1'..='9').contains(&letter)))
    }
}
