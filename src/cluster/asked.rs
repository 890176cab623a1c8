//! A reboot that a person asks one Node for, and what the rebootd there says.

use serde_json::json;

use super::api::{Api, MERGE_PATCH};
use super::error::ApiError;
use super::objects::{Node, REQUEST};
use super::paths;
use super::shown::{CONDITION, Heartbeat};
use crate::decide::{NodeView, Outcome};

/// A Node that is asked for a reboot.
#[derive(Debug)]
pub struct AskedNode {
    /// The Node.
    pub node: NodeView,
    /// What its rebootd last said about itself.
    pub said: Option<Heartbeat>,
    /// Whether its condition says that a reboot is required. It changes at once, which labels and heartbeats do not.
    pub required: Option<bool>,
}

impl Api {
    /// Reads the Node of this name without resourceVersion, and what its rebootd last said about itself, as far as that
    /// is understood.
    pub async fn asked_node(&mut self, name: &str) -> Result<Option<AskedNode>, ApiError> {
        match self.get::<Node>(&paths::node(name)?).await {
            Ok(node) => {
                let said = Heartbeat::of(&node.metadata.annotations);
                let required = node.is(CONDITION);
                Ok(Some(AskedNode { said, required, node: NodeView::from(node) }))
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
