//! Tables: lists as the API server prepares them for `kubectl get`. We are strict: anything in an unexpected form is
//! an error, and closes the gate that asked.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::error::ApiError;

/// One page of a list (`meta/v1 Table`); of the objects at most their metadata.
#[derive(Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
pub(super) struct Table {
    kind: String,
    metadata: ListMetadata,
    column_definitions: Vec<Column>,
    /// Go sometimes writes an empty list as `null`.
    rows: Option<Vec<Row>>,
}

#[derive(Deserialize, Debug)]
struct ListMetadata {
    #[serde(default, rename = "continue")]
    next: String,
}

/// What was asked for beside the cells.
#[derive(Deserialize, Debug, Default)]
pub(super) struct Metadata {
    /// Labels.
    #[serde(default)]
    pub(super) labels: BTreeMap<String, String>,
    /// Annotations.
    #[serde(default)]
    pub(super) annotations: BTreeMap<String, String>,
}

#[derive(Deserialize, Debug, Default)]
struct Object {
    #[serde(default)]
    metadata: Metadata,
}

#[derive(Deserialize, Debug)]
struct Column {
    name: String,
}

#[derive(Deserialize, Debug)]
struct Row {
    cells: Vec<Value>,
    #[serde(default)]
    object: Option<Object>,
}

impl Table {
    /// Returns these columns of each row.
    pub(super) fn each<const N: usize>(
        &self,
        columns: [&str; N],
        mut each: impl FnMut([&str; N]) -> Result<(), ApiError>,
    ) -> Result<(), ApiError> {
        self.described(columns, |cells, _| each(cells))
    }

    /// The same, with each object's metadata: nothing where they were not asked for.
    pub(super) fn described<const N: usize>(
        &self,
        columns: [&str; N],
        mut each: impl FnMut([&str; N], &Metadata) -> Result<(), ApiError>,
    ) -> Result<(), ApiError> {
        if self.kind != "Table" {
            return Err(ApiError::garbled(format!("a {} instead of a Table", self.kind)));
        }
        let mut places = [0; N];
        for (place, name) in places.iter_mut().zip(columns) {
            let found = self.column_definitions.iter().position(|column| column.name == name);
            *place = found.ok_or_else(|| ApiError::garbled(format!("a table without a column {name}")))?;
        }
        for row in self.rows.iter().flatten() {
            let mut cells = [""; N];
            for (cell, place) in cells.iter_mut().zip(places) {
                let found = row.cells.get(place).and_then(Value::as_str);
                *cell = found.ok_or_else(|| ApiError::garbled("a row without a cell"))?;
            }
            each(cells, row.object.as_ref().map_or(&Metadata::default(), |object| &object.metadata))?;
        }
        Ok(())
    }

    /// The token that asks for the next page; none after the last one.
    pub(super) fn next(&self) -> Option<&str> {
        Some(self.metadata.next.as_str()).filter(|token| !token.is_empty())
    }
}

/// What the column Status says about a Node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NodeState {
    /// Ready, and open for pods.
    Ready,
    /// Ready, but unschedulable.
    Cordoned,
    /// Not Ready, or unknown.
    NotReady,
}

/// Understands `Ready`, `NotReady` and `Unknown`, each with or without `,SchedulingDisabled`.
pub(super) fn node_state(status: &str) -> Result<NodeState, ApiError> {
    match status.split_once(',').map_or((status, None), |(first, rest)| (first, Some(rest))) {
        ("Ready", None) => Ok(NodeState::Ready),
        ("Ready", Some("SchedulingDisabled")) => Ok(NodeState::Cordoned),
        ("NotReady" | "Unknown", None | Some("SchedulingDisabled")) => Ok(NodeState::NotReady),
        _ => Err(ApiError::garbled(format!("a node whose status is {status:?}"))),
    }
}

/// Whether all containers are ready, as in `1/1`, and the pod runs.
pub(super) fn pod_is_ready(ready: &str, status: &str) -> Result<bool, ApiError> {
    let counts = ready.split_once('/').and_then(|(some, all)| Some((number(some)?, number(all)?)));
    let (some, all) = counts.ok_or_else(|| ApiError::garbled(format!("a pod that is {ready:?} ready")))?;
    Ok(some == all && all > 0 && status == "Running")
}

fn number(text: &str) -> Option<u32> {
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    // Recorded from an API server 1.37.1.
    const NODES: &str = include_str!("../../tests/answers/nodes.json");
    const FIRST_PAGE: &str = include_str!("../../tests/answers/nodes-first-page.json");
    const PODS: &str = include_str!("../../tests/answers/control-plane-pods.json");

    fn rows<const N: usize>(text: &str, columns: [&str; N]) -> Result<Vec<String>, String> {
        let mut rows = Vec::new();
        let table: Table = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let read = table.each(columns, |cells| {
            rows.push(cells.join(" "));
            Ok(())
        });
        read.map(|()| rows).map_err(|error| error.to_string())
    }

    #[test]
    fn a_real_list_of_nodes_is_understood() {
        let expected = [
            "fake-cordoned Unknown,SchedulingDisabled",
            "fake-false NotReady",
            "fake-unknown Unknown",
            "node1 Ready",
            "node2 Ready,SchedulingDisabled",
        ];
        let rows = rows(NODES, ["Name", "Status"]).unwrap();
        assert_eq!(rows, expected);
        let states: Vec<NodeState> =
            rows.iter().map(|row| node_state(row.split_once(' ').unwrap().1).unwrap()).collect();
        use NodeState::{Cordoned, NotReady, Ready};
        assert_eq!(states, [NotReady, NotReady, NotReady, Ready, Cordoned]);
        assert_eq!(serde_json::from_str::<Table>(NODES).unwrap().next(), None);
    }

    #[test]
    fn a_page_names_the_next_one() {
        let table: Table = serde_json::from_str(FIRST_PAGE).unwrap();
        assert!(table.next().unwrap().starts_with("eyJ2IjoibWV0YS5rOHMuaW8vdjEi"));
    }

    #[test]
    fn real_pods_of_a_control_plane_are_understood() {
        let rows = rows(PODS, ["Name", "Ready", "Status"]).unwrap();
        assert_eq!(rows.first().unwrap(), "etcd-node1 1/1 Running");
        assert_eq!(rows.len(), 4);
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        for status in ["", "ready", "Ready,", "Ready,Draining", "SchedulingDisabled", "NotReady,x"] {
            assert!(node_state(status).is_err(), "{status}");
        }
        for (ready, status, is_ready) in [
            ("1/1", "Running", true),
            ("0/1", "Running", false),
            ("1/1", "Terminating", false),
            ("0/0", "Running", false),
        ] {
            assert_eq!(pod_is_ready(ready, status).unwrap(), is_ready, "{ready} {status}");
        }
        assert!(pod_is_ready("yes", "Running").is_err());
        let answers = [
            (NODES.replace("\"Table\"", "\"NodeList\""), "a NodeList instead of a Table"),
            (NODES.replace("\"Status\"", "\"State\""), "a table without a column Status"),
            (NODES.replace("\"NotReady\"", "7"), "a row without a cell"),
            (NODES.replace("columnDefinitions", "columns"), "missing field `columnDefinitions`"),
            ("{\"kind\":\"NodeList\",\"items\":[]}".to_owned(), "missing field"),
        ];
        for (answer, why) in answers {
            let error = rows(&answer, ["Name", "Status"]).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }
}
