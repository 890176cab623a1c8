//! All Nodes at once, for people: what the API server shows in a table, with labels and annotations, page by page.

use std::collections::BTreeMap;

use super::api::Api;
use super::error::ApiError;
use super::objects::{AGENT, CORDON, HOLD, POOL, REQUEST};
use super::paths::{NODES, with};
use super::shown::Heartbeat;
use super::table::{self, Metadata, NodeState, Table};
use crate::decide::{Phase, WAITING};
use crate::words::{NOTE, words};

/// A page is some megabytes at most.
const PAGE: &str = "500";

/// A Node, as people see it in the fleet.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FleetNode {
    /// Its name.
    pub name: String,
    /// Its condition Ready is True.
    pub is_ready: bool,
    /// It is unschedulable.
    pub is_cordoned: bool,
    /// That cordon has our mark.
    pub is_cordoned_by_us: bool,
    /// The pool that the rebootd there says it is in; `None` where no rebootd has ever acted.
    pub pool: Option<String>,
    /// The minute since which a reboot waits, as the label says it: `2026-11-24T0740Z`.
    pub waiting_since: Option<String>,
    /// Who asks for a reboot by annotation.
    pub request: Option<String>,
    /// Who holds it by annotation.
    pub hold: Option<String>,
    /// The kernel that runs.
    pub kernel: String,
    /// What the rebootd there last said about itself.
    pub heartbeat: Option<Heartbeat>,
    /// It has said something that nobody understands.
    pub is_garbled: bool,
}

impl FleetNode {
    /// Whether something is seen to ask for a reboot. The label comes after a minute, and not where it is switched off.
    pub fn asks(&self) -> bool {
        let says = self.heartbeat.as_ref().is_some_and(|said| said.phase == Phase::Waiting.word());
        says || self.waiting_since.is_some() || self.request.is_some()
    }
}

impl Api {
    /// Reads all Nodes with these labels, in the form that `kubectl -l` takes; empty for all.
    pub async fn fleet(&mut self, labels: &str) -> Result<Vec<FleetNode>, ApiError> {
        let mut nodes = Vec::new();
        let mut token: Option<String> = None;
        loop {
            let mut parameters =
                vec![("labelSelector", labels), ("limit", PAGE), ("includeObject", "Metadata")];
            parameters.extend(token.as_deref().map(|token| ("continue", token)));
            let page = self.client()?.table::<Table>(&with(NODES, &parameters)).await;
            let page = self.mind(page)?;
            page.described(["Name", "Status", "Kernel-Version"], |[name, status, kernel], metadata| {
                nodes.push(node(name, table::node_state(status)?, status, kernel, metadata));
                Ok(())
            })?;
            token = page.next().map(str::to_owned);
            if token.is_none() {
                return Ok(nodes);
            }
        }
    }
}

fn node(name: &str, state: NodeState, status: &str, kernel: &str, metadata: &Metadata) -> FleetNode {
    let heartbeat = Heartbeat::of(&metadata.annotations);
    let text = |map: &BTreeMap<String, String>, key: &str| map.get(key).map(|text| words(text, NOTE));
    FleetNode {
        name: words(name, NOTE),
        is_ready: state != NodeState::NotReady,
        is_cordoned: status.contains(",SchedulingDisabled"),
        is_cordoned_by_us: metadata.annotations.contains_key(CORDON),
        pool: text(&metadata.labels, POOL),
        waiting_since: text(&metadata.labels, WAITING),
        request: text(&metadata.annotations, REQUEST),
        hold: text(&metadata.annotations, HOLD),
        kernel: words(kernel, NOTE),
        is_garbled: metadata.annotations.contains_key(AGENT) && heartbeat.is_none(),
        heartbeat,
    }
}
