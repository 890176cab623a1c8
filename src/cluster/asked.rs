//! A reboot that a person asks one Node for, and what the rebootd there says.

use serde_json::json;

use super::api::{Api, MERGE_PATCH};
use super::error::ApiError;
use super::objects::{Node, REQUEST};
use super::paths;
use super::shown::Heartbeat;
use crate::decide::{NodeView, Outcome};

impl Api {
    /// Reads the Node of this name without resourceVersion, and what its rebootd last said about itself, as far as that
    /// is understood.
    pub async fn node_and_heartbeat(
        &mut self,
        name: &str,
    ) -> Result<Option<(NodeView, Option<Heartbeat>)>, ApiError> {
        match self.get::<Node>(&paths::node(name)?).await {
            Ok(node) => {
                let said = Heartbeat::of(&node.metadata.annotations);
                Ok(Some((NodeView::from(node), said)))
            }
            Err(ApiError::Status { code: 404, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Asks for a reboot of a Node, unless it has changed since it was read; `why` is for people.
    pub async fn ask_for_reboot(&mut self, name: &str, node: &NodeView, why: &str) -> Outcome {
        let patch = json!({
            "metadata": {
                "uid": node.uid,
                "resourceVersion": node.resource_version,
                "annotations": { REQUEST: why },
            },
        });
        self.write(paths::node(name), MERGE_PATCH, &patch).await
    }
}
