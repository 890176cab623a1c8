//! What the own Node shows to others about its rebootd: an annotation with a heartbeat, and the condition `RebootRequired`.
//! Nothing rests on either, so no write of this kind is conditional, and none is repeated.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use reqwest::Method;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::api::Api;
use super::error::ApiError;
use super::objects::{AGENT, FIELD_MANAGER};
use super::paths::{self, with};
use crate::decide::{Cves, Update};
use crate::words::{NOTE, words};

/// The only kind of patch that changes one condition and leaves the others (`patchMergeKey` of NodeStatus).
const STRATEGIC_MERGE_PATCH: &str = "application/strategic-merge-patch+json";
/// The type of the condition.
pub(super) const CONDITION: &str = "RebootRequired";
/// The most bytes of an annotation that is read: our own have [`ROOM`], and some two thousand for the rest.
const LONGEST: usize = 64 << 10;
/// The most bytes of the record and the updates in a heartbeat together.
pub const ROOM: usize = 6 << 10;

/// The annotation `rebootd.io/agent`, as JSON. Fields are added, never changed or removed; docs/status.md describes them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Heartbeat {
    /// The version of rebootd.
    pub version: String,
    /// When this was written, by the host's clock.
    pub at: Timestamp,
    /// The phase's word.
    pub phase: String,
    /// The kind of the first reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What the hold file of the host says, if a person holds it there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<String>,
    /// Whether nothing that is installed waits for a reboot.
    #[serde(default)]
    pub live: bool,
    /// The packages that ask, or else what asks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub asking: Vec<String>,
    /// What is installed and not live; none if that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_live: Option<NotLive>,
    /// When the next window opens, if none is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window_opens: Option<Timestamp>,
    /// When the credential ends, unless it is renewed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential_ends: Option<Timestamp>,
    /// The record of the last reboot whose turn has ended, with its first packages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_reboot: Option<Value>,
}

/// The updates that are installed and not live.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotLive {
    /// How many there are.
    pub count: usize,
    /// How many CVEs they leave open, without the names.
    pub cves: Cves,
    /// The first of them, or all.
    pub updates: Vec<Update>,
}

impl Heartbeat {
    /// Reads it from the annotations of a Node; `None` if nobody's rebootd can have written it. Every text is fit for people.
    pub fn of(annotations: &BTreeMap<String, String>) -> Option<Heartbeat> {
        Heartbeat::parse(annotations.get(AGENT)?)
    }

    pub(super) fn parse(text: &str) -> Option<Heartbeat> {
        let heartbeat: Heartbeat = serde_json::from_str(text.get(..LONGEST.min(text.len()))?).ok()?;
        let clean = |text: String| words(&text, NOTE);
        Some(Heartbeat {
            version: clean(heartbeat.version),
            phase: clean(heartbeat.phase),
            reason: heartbeat.reason.map(clean),
            held: heartbeat.held.map(clean),
            asking: heartbeat.asking.into_iter().map(clean).collect(),
            not_live: heartbeat.not_live.map(|it| NotLive { updates: Update::bounded(it.updates), ..it }),
            ..heartbeat
        })
    }
}

/// The condition `RebootRequired`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// Whether a reboot is required.
    pub is_required: bool,
    /// In one word, as conditions have it.
    pub reason: &'static str,
    /// For people.
    pub message: String,
    /// Since when: wall time since 1970.
    pub since: Duration,
}

impl Condition {
    fn patch(&self, at: &Timestamp) -> Value {
        json!({
            "type": CONDITION,
            "status": if self.is_required { "True" } else { "False" },
            "reason": self.reason,
            "message": self.message,
            "lastHeartbeatTime": seconds(at),
            "lastTransitionTime": time(self.since).as_ref().map_or_else(|| seconds(at), seconds),
        })
    }
}

impl Api {
    /// Prepares the write of heartbeat and condition to the Node of this uid.
    pub fn show(
        &mut self,
        uid: &str,
        heartbeat: &Heartbeat,
        condition: &Condition,
    ) -> impl Future<Output = Result<(), ApiError>> + Send + use<> {
        let annotation = json!(serde_json::to_string(heartbeat).ok());
        self.write_shown(uid, annotation, condition.patch(&heartbeat.at))
    }

    /// Prepares the write that takes heartbeat and condition from the Node: no rebootd is there any more.
    pub fn show_nothing(&mut self, uid: &str) -> impl Future<Output = Result<(), ApiError>> + Send + use<> {
        self.write_shown(uid, Value::Null, json!({"$patch": "delete", "type": CONDITION}))
    }

    /// Both in one request. Where the right to write the status was left out by choice, the annotation alone.
    fn write_shown(
        &mut self,
        uid: &str,
        annotation: Value,
        condition: Value,
    ) -> impl Future<Output = Result<(), ApiError>> + Send + use<> {
        let (client, node) = (self.client(), paths::node(&self.node));
        let metadata = json!({"uid": uid, "annotations": {AGENT: annotation}});
        async move {
            let (client, node) = (client?, node?);
            let send = async |path: &str, patch: Value| {
                let path = with(path, &[("fieldManager", FIELD_MANAGER)]);
                let body = Some((STRATEGIC_MERGE_PATCH, patch.to_string().into_bytes()));
                client.json::<IgnoredAny>(Method::PATCH, &path, body, None).await.map(drop)
            };
            let both = json!({"metadata": metadata, "status": {"conditions": [condition]}});
            match send(&format!("{node}/status"), both).await {
                Err(ApiError::Status { code: 403, .. }) => send(&node, json!({"metadata": metadata})).await,
                result => result,
            }
        }
    }
}

/// The time of a wall clock, if a calendar has it.
pub fn time(wall: Duration) -> Option<Timestamp> {
    Timestamp::from_second(i64::try_from(wall.as_secs()).ok()?).ok()
}

/// As `metav1.Time` is written.
fn seconds(time: &Timestamp) -> String {
    format!("{time:.0}")
}
