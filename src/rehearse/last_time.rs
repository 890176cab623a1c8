//! How it went last time: what the nodes tell of their last reboots.

use jiff::Timestamp;
use serde::Serialize;

use super::namespace::Namespace;
use super::workload::Workload;
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

/// The latest of a workload, if a node tells of one.
pub(super) fn last_time(workload: &Workload<'_>, namespace: &Namespace) -> Option<LastTime> {
    let labels = workload.labels()?;
    let of_it =
        namespace.last_times.iter().filter(|it| it.impact.is_of(&namespace.name, workload.name, labels));
    of_it.max_by_key(|it| it.at).cloned()
}

impl LastTime {
    /// For people.
    pub(super) fn in_words(&self) -> String {
        let (node, went) = (words(&self.node, NOTE), words(&self.impact.in_words(), MESSAGE));
        format!("last time, on {node} at {}: {went}", self.at)
    }
}
