//! Events (`events.k8s.io/v1`): what people see who ask kubectl about a Node or a pod. Best effort, and never waited for.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::Method;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::json;

use super::api::{Api, JSON};
use super::error::ApiError;
use super::listed::Kind;
use super::patches::micro_time;
use super::paths;
use crate::decide::PodKey;
use crate::words::{MESSAGE, NOTE, words};

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

/// An Event of a rebootd about its Node. Every text is fit for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeEvent {
    /// The Node, which may be gone.
    pub node: String,
    /// When it happened, by that host's clock.
    pub at: Timestamp,
    /// A word.
    pub reason: String,
    /// In a sentence.
    pub note: String,
}

/// `core/v1`: a list of this kind can be chosen from by who reports.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrittenEvent {
    involved_object: Involved,
    event_time: Option<Timestamp>,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    message: String,
}

#[derive(Deserialize)]
struct Involved {
    kind: String,
    name: String,
}

impl Api {
    /// Reads what rebootds have told of their Nodes, the latest last: that of the last hour, unless the API server keeps
    /// Events for longer (`--event-ttl`).
    pub async fn events_of_nodes(&mut self) -> Result<Vec<NodeEvent>, ApiError> {
        let kind = Kind { api: "/api/v1", name: "events" };
        let by_us = format!("reportingComponent={CONTROLLER}");
        let written: Vec<WrittenEvent> = self.list_where(kind, NAMESPACE_OF_NODES, &by_us).await?;
        let of_nodes = written.into_iter().filter(|it| it.involved_object.kind == "Node");
        let mut events: Vec<NodeEvent> = of_nodes
            .filter_map(|it| {
                Some(NodeEvent {
                    node: words(&it.involved_object.name, NOTE),
                    at: it.event_time?,
                    reason: words(&it.reason, NOTE),
                    note: words(&it.message, MESSAGE),
                })
            })
            .collect();
        events.sort_by_key(|it| it.at);
        Ok(events)
    }

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
