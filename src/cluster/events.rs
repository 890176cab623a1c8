//! Events (`events.k8s.io/v1`): what people see who ask kubectl about a Node or a pod. Best effort, and never waited for.

use std::time::Duration;

use reqwest::Method;
use serde::de::IgnoredAny;
use serde_json::json;

use super::api::{Api, JSON};
use super::error::ApiError;
use super::patches::micro_time;
use super::paths;
use crate::decide::PodKey;
use crate::words::words;

/// Who reports; the policy rebootd-events allows no other name.
const CONTROLLER: &str = "rebootd.io/rebootd";
/// Where Events about Nodes are: what belongs to no namespace has them there.
const NAMESPACE_OF_NODES: &str = "default";
/// The most characters of a note: a server accepts 1024 bytes.
const LONGEST_NOTE: usize = 250;

/// Something that has happened, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterEvent {
    /// The pod that it is about, or else the own Node.
    pub pod: Option<PodKey>,
    /// A word that never changes.
    pub reason: &'static str,
    /// It deserves attention.
    pub is_warning: bool,
    /// In a sentence.
    pub note: String,
    /// When: wall time since 1970.
    pub at: Duration,
}

impl Api {
    /// Prepares an Event; `node_uid` is that of the own Node.
    pub fn tell(
        &mut self,
        event: &ClusterEvent,
        node_uid: &str,
    ) -> impl Future<Output = Result<(), ApiError>> + Send + use<> {
        let client = self.client();
        let node = json!({"apiVersion": "v1", "kind": "Node", "name": self.node, "uid": node_uid});
        let (namespace, regarding, related) = match &event.pod {
            None => (NAMESPACE_OF_NODES, node, None),
            Some(PodKey { namespace, name, uid }) => {
                let pod = json!({"apiVersion": "v1", "kind": "Pod", "namespace": namespace, "name": name, "uid": uid});
                (namespace.as_str(), pod, Some(node))
            }
        };
        let body = json!({
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"generateName": "rebootd-", "namespace": namespace},
            "eventTime": micro_time(event.at),
            "reportingController": CONTROLLER,
            "reportingInstance": self.node,
            "action": "Reboot",
            "reason": event.reason,
            "type": if event.is_warning { "Warning" } else { "Normal" },
            "note": words(&event.note, LONGEST_NOTE),
            "regarding": regarding,
            "related": related,
        });
        let path = paths::events(namespace);
        async move {
            let body = Some((JSON, body.to_string().into_bytes()));
            client?.json::<IgnoredAny>(Method::POST, &path?, body, None).await.map(drop)
        }
    }
}
