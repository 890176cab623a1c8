//! How the other nodes are, and the rest of the control plane.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::api::Api;
use super::error::ApiError;
use super::objects::POOL;
use super::paths::{self, NODES, with};
use super::table::{self, NodeState, Table};
use crate::decide::{ETCD, Others, control_plane_labels, is_control_plane};
use crate::words::{NOTE, words};

/// For all pages of all lists of other nodes: meanwhile the daemon does nothing else, and does not even show that it
/// is alive.
const OTHERS_TIMEOUT: Duration = Duration::from_secs(30);
/// Large enough for few requests, small enough for little memory.
const PAGE: &str = "500";
/// etcd and the API servers, by the labels that kubeadm puts on their static pods.
const CONTROL_PLANE_PODS: &str = "tier=control-plane,component in (etcd,kube-apiserver)";

impl Api {
    /// Reads which other nodes of the pool are not well and, if a node with these labels is a member of the control
    /// plane, what is not well in the rest of it.
    /// `added`: the labels that people have added to those of the control plane's members.
    pub async fn others(
        &mut self,
        pool: &str,
        labels: &BTreeMap<String, String>,
        added: &[String],
    ) -> Result<Others, ApiError> {
        let read = tokio::time::timeout(OTHERS_TIMEOUT, self.read_others(pool, labels, added)).await;
        read.unwrap_or_else(|_| {
            Err(ApiError::NoAnswer(format!("the list was not complete after {} s", OTHERS_TIMEOUT.as_secs())))
        })
    }

    async fn read_others(
        &mut self,
        pool: &str,
        labels: &BTreeMap<String, String>,
        added: &[String],
    ) -> Result<Others, ApiError> {
        let mut others = Others { only_node: true, ..Others::default() };
        let not_here = format!("metadata.name!={}", self.node);
        let in_pool = format!("{POOL}={pool}");
        self.rows(NODES, &in_pool, &not_here, ["Name", "Status"], |[name, status]| {
            others.only_node = false;
            others.of_pool += 1;
            match table::node_state(status)? {
                NodeState::Ready => {}
                NodeState::Cordoned => others.cordoned.push(name.to_owned()),
                NodeState::NotReady => others.not_ready.push(name.to_owned()),
            }
            Ok(())
        })
        .await?;
        if others.only_node {
            others.only_node = !self.is_there_another_node(&not_here).await?;
        }
        if is_control_plane(labels, added) {
            self.read_members(&mut others, labels, added, &not_here).await?;
        }
        Ok(others)
    }

    async fn read_members(
        &mut self,
        others: &mut Others,
        labels: &BTreeMap<String, String>,
        added: &[String],
        not_here: &str,
    ) -> Result<(), ApiError> {
        // A selector cannot say "this label or that one".
        let mut members = BTreeMap::new();
        let mut etcd = BTreeSet::new();
        for label in control_plane_labels(added) {
            self.rows(NODES, label, not_here, ["Name", "Status"], |[name, status]| {
                members.insert(name.to_owned(), (table::node_state(status)?, status.to_owned()));
                if label == ETCD {
                    etcd.insert(name.to_owned());
                }
                Ok(())
            })
            .await?;
        }
        // Where etcd has nodes of its own, an API server elsewhere does not stand in for one of them.
        let etcd_is_labelled = !etcd.is_empty() || labels.contains_key(ETCD);
        let counts = |name: &String| !etcd_is_labelled || etcd.contains(name);
        let well = members.iter().filter(|(name, (state, _))| counts(name) && *state != NodeState::NotReady);
        others.members_ready = Some(well.count());
        for (name, (state, status)) in members {
            if state == NodeState::NotReady {
                others.control_plane.push(format!("node {name} ({status})"));
            }
            others.members.push(name);
        }
        // If the control plane runs in another way (k3s, managed clusters), there are no such pods.
        let (pods, not_here) = (paths::pods("kube-system")?, format!("spec.nodeName!={}", self.node));
        self.rows(
            &pods,
            CONTROL_PLANE_PODS,
            &not_here,
            ["Name", "Ready", "Status"],
            |[name, ready, status]| {
                if !table::pod_is_ready(ready, status)? {
                    let status = words(status, NOTE);
                    others.control_plane.push(format!("pod {name} ({ready} {status})"));
                }
                Ok(())
            },
        )
        .await
    }

    /// Whether there is any other node, in any pool, with or without rebootd.
    async fn is_there_another_node(&mut self, not_here: &str) -> Result<bool, ApiError> {
        let parameters = [("fieldSelector", not_here), ("limit", "1"), ("includeObject", "None")];
        let page = self.client()?.table::<Table>(&with(NODES, &parameters)).await;
        let page = self.mind(page)?;
        let mut found = page.next().is_some();
        page.each(["Name"], |[_]| {
            found = true;
            Ok(())
        })?;
        Ok(found)
    }

    /// Reads a list page by page, so that it is never in memory as a whole.
    async fn rows<const N: usize>(
        &mut self,
        path: &str,
        labels: &str,
        fields: &str,
        columns: [&str; N],
        mut each: impl FnMut([&str; N]) -> Result<(), ApiError>,
    ) -> Result<(), ApiError> {
        let mut token = None;
        loop {
            let mut parameters = vec![
                ("labelSelector", labels),
                ("fieldSelector", fields),
                ("limit", PAGE),
                ("includeObject", "None"),
            ];
            parameters.extend(token.as_deref().map(|token| ("continue", token)));
            let page = self.client()?.table::<Table>(&with(path, &parameters)).await;
            let page = self.mind(page)?;
            page.each(columns, &mut each)?;
            token = page.next().map(str::to_owned);
            if token.is_none() {
                return Ok(());
            }
        }
    }
}
