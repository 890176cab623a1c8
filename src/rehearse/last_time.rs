//! How it went last time: what the nodes tell of their last reboots.

use jiff::Timestamp;
use serde::Serialize;

use crate::decide::Impact;
use crate::words::{MESSAGE, NOTE, words};

/// What the last reboot of a node meant for a workload.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LastTime {
    /// The node.
    pub node: String,
    /// When logind was called.
    pub at: Timestamp,
    /// What became of its pods.
    #[serde(flatten)]
    pub impact: Impact,
}

impl LastTime {
    /// For people.
    pub(super) fn in_words(&self) -> String {
        let (node, went) = (words(&self.node, NOTE), words(&self.impact.in_words(), MESSAGE));
        format!("last time, on {node} at {}: {went}", self.at)
    }
}
