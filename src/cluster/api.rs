//! What rebootd asks the API server, request by request.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use reqwest::Method;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::{Value, json};

use super::client::Client;
use super::error::ApiError;
use super::objects::{ConfigMap, FIELD_MANAGER, List, NAMESPACE, Node, PERSONS_FIELD_MANAGER, POLICY, POOL};
use super::patches::{node_patch, slot_patch, step_back_patch};
use super::paths::{PODS, with};
use super::pods::{DisruptionBudget, Pod};
use super::slots::Lease;
use super::watch::{Told, Versions, Watch};
use super::{eviction, paths};
use crate::access::ApiAccess;
use crate::decide::{
    Budget, EvictionOutcome, How, KubeletLease, NodeView, NodeWrite, Outcome, PAUSE, Part, PodKey, PodView,
    SlotView, SlotWrite,
};
use crate::words::{NOTE, words};

pub(super) const MERGE_PATCH: &str = "application/merge-patch+json";
const APPLY_PATCH: &str = "application/apply-patch+yaml";
pub(super) const JSON: &str = "application/json";
/// If an eviction conflicts, the server retries it for 10 s; it gives up on any request after 34 s.
const EVICTION_TIMEOUT: Duration = Duration::from_secs(40);

/// The API server, for one node.
#[derive(Debug)]
pub struct Api {
    access: ApiAccess,
    pub(super) node: String,
    field_manager: &'static str,
    client: Option<Client>,
    /// Whether the server accepted our credential when it last answered; not if the credential cannot be read.
    pub is_accepted: Option<bool>,
    /// Whether the last request got an answer, of whatever kind.
    pub is_answered: bool,
    /// The resourceVersions from which watches may start.
    versions: Versions,
    /// See [`Lease::transitions`].
    transitions: BTreeMap<String, Option<i32>>,
    told: Told,
    told_of_annotations: Told,
    told_of_budgets: Told,
}

/// A slot, and since when its holder has held it unchanged: the server's time, as the server writes it.
#[derive(Debug, Clone)]
pub struct HeldSlot {
    /// The slot.
    pub slot: SlotView,
    /// When the one who set the holder last wrote to the slot.
    pub since: Option<String>,
}

/// The ConfigMap of the fleet's policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyMap {
    /// `metadata.resourceVersion`, opaque.
    pub version: String,
    /// Its `data`.
    pub data: BTreeMap<String, String>,
}

impl Api {
    /// An API server that has not been asked anything yet.
    pub fn new(access: ApiAccess, node: String) -> Api {
        Api {
            access,
            node,
            field_manager: FIELD_MANAGER,
            client: None,
            is_accepted: None,
            is_answered: true,
            versions: Versions::default(),
            transitions: BTreeMap::new(),
            told: Told::default(),
            told_of_annotations: Told::default(),
            told_of_budgets: Told::default(),
        }
    }

    /// The same for a person, who has no own Node.
    pub fn for_person(access: ApiAccess) -> Api {
        Api { field_manager: PERSONS_FIELD_MANAGER, ..Api::new(access, String::new()) }
    }

    /// The client; created again if a credential was replaced or a connection failed.
    pub(super) fn client(&mut self) -> Result<Client, ApiError> {
        if let Some(client) = self.client.as_ref().filter(|client| !client.is_outdated()) {
            return Ok(client.clone());
        }
        let client = Client::new(&self.access);
        if let Err(ApiError::Credential { .. }) = client {
            self.is_accepted = Some(false);
        }
        Ok(self.client.insert(client?).clone())
    }

    /// Drops the connections: the next request resolves the name and connects again.
    pub fn disconnect(&mut self) {
        self.client = None;
    }

    /// A refused or unanswered request may be the credential's or the connection's fault.
    pub(super) fn mind<T>(&mut self, result: Result<T, ApiError>) -> Result<T, ApiError> {
        if matches!(&result, Err(ApiError::NoAnswer(_) | ApiError::Status { code: 401, .. })) {
            self.disconnect();
        }
        self.is_answered = !matches!(&result, Err(ApiError::NoAnswer(_)));
        match &result {
            Err(ApiError::Status { code: 401, .. }) => self.is_accepted = Some(false),
            Ok(_) | Err(ApiError::Status { .. }) => self.is_accepted = Some(true),
            Err(_) => {}
        }
        result
    }

    pub(super) async fn get<T: DeserializeOwned>(&mut self, path: &str) -> Result<T, ApiError> {
        let result = self.client()?.json(Method::GET, path, None, None).await;
        self.mind(result)
    }

    pub(super) async fn write(
        &mut self,
        path: Result<String, ApiError>,
        content_type: &'static str,
        patch: &Value,
    ) -> Outcome {
        match self.send(path, content_type, patch).await {
            Ok(()) => Outcome::Answered,
            Err(error) => error.outcome(),
        }
    }

    async fn send(
        &mut self,
        path: Result<String, ApiError>,
        content_type: &'static str,
        patch: &Value,
    ) -> Result<(), ApiError> {
        let mut parameters = vec![("fieldManager", self.field_manager)];
        if content_type == APPLY_PATCH {
            parameters.push(("force", "true"));
        }
        let path = with(&path?, &parameters);
        let body = Some((content_type, patch.to_string().into_bytes()));
        let result = self.client()?.json::<IgnoredAny>(Method::PATCH, &path, body, None).await;
        self.mind(result).map(|_| ())
    }

    /// Reads the own Node without resourceVersion.
    pub async fn node(&mut self) -> Result<Option<NodeView>, ApiError> {
        let name = self.node.clone();
        self.node_named(&name).await
    }

    /// Reads the Node of this name without resourceVersion.
    pub async fn node_named(&mut self, name: &str) -> Result<Option<NodeView>, ApiError> {
        match self.get::<Node>(&paths::node(name)?).await {
            Ok(node) => match NodeView::from(node) {
                node if node.uid.is_empty() => Err(ApiError::garbled("a Node without uid")),
                node => Ok(Some(node)),
            },
            Err(ApiError::Status { code: 404, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads all slots of all pools without resourceVersion.
    pub async fn slots(&mut self) -> Result<Vec<SlotView>, ApiError> {
        Ok(self.leases().await?.into_iter().map(SlotView::from).collect())
    }

    /// Reads all slots, each with the time of its holder's last write, for people.
    pub async fn held_slots(&mut self) -> Result<Vec<HeldSlot>, ApiError> {
        let leases = self.leases().await?.into_iter();
        let slots = leases.map(|lease| HeldSlot { since: lease.held_since(), slot: lease.into() });
        Ok(slots.filter(|held| held.slot.name != PAUSE).collect())
    }

    async fn leases(&mut self) -> Result<Vec<Lease>, ApiError> {
        let list: List<Lease> = self.get(&paths::slots()).await?;
        self.versions.slots = list.metadata.resource_version;
        let leases = list.items.unwrap_or_default();
        self.transitions = leases.iter().map(Lease::transitions).collect();
        Ok(leases)
    }

    /// Reads the data of the fleet's policy, if there is one. We ask for a list, because it has a version to watch
    /// from even if it is empty.
    pub async fn policy(&mut self) -> Result<Option<BTreeMap<String, String>>, ApiError> {
        self.versions.policy.clear();
        let path = with(&paths::policy_maps(), &[("fieldSelector", POLICY)]);
        let list: List<ConfigMap> = self.get(&path).await?;
        self.versions.policy = list.metadata.resource_version;
        Ok(list.items.into_iter().flatten().next().map(|map| map.data))
    }

    /// Reads the ConfigMap of the fleet's policy, for people who change it.
    pub async fn policy_map(&mut self) -> Result<Option<PolicyMap>, ApiError> {
        let path = with(&paths::policy_maps(), &[("fieldSelector", POLICY)]);
        let list: List<ConfigMap> = self.get(&path).await?;
        let map = list.items.into_iter().flatten().next();
        Ok(map.map(|map| PolicyMap { version: map.metadata.resource_version, data: map.data }))
    }

    /// Writes or removes one key of that ConfigMap, as it was read, and nothing else of it; creates it if there is none.
    pub async fn write_policy_key(
        &mut self,
        map: Option<&PolicyMap>,
        key: &str,
        text: Option<&str>,
    ) -> Outcome {
        let only_this = map.is_some_and(|map| map.data.keys().all(|other| other == key));
        let metadata = json!({
            "name": "policy",
            "namespace": NAMESPACE,
            "resourceVersion": map.map(|map| map.version.clone()),
        });
        let path = paths::policy_maps() + "/policy";
        let patch =
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {key: text}});
        match map {
            Some(map) if text.is_none() && only_this => {
                let options = json!({"preconditions": {"resourceVersion": map.version}});
                let result = self.ask(Method::DELETE, &path, &options).await;
                result.map_or_else(ApiError::outcome, |()| Outcome::Answered)
            }
            Some(_) => self.write(Ok(path), MERGE_PATCH, &patch).await,
            None => self.write(Ok(path), APPLY_PATCH, &patch).await,
        }
    }

    /// Whether there is a Node of this name, read without resourceVersion.
    pub async fn node_exists(&mut self, name: &str) -> Result<bool, ApiError> {
        let path = paths::node(name)?;
        let result = self.client()?.exists(&path).await;
        self.mind(result)
    }

    /// Reads the kubelet's Lease without resourceVersion; if there is none, returns one that never changes.
    pub async fn kubelet(&mut self) -> Result<KubeletLease, ApiError> {
        match self.get::<Lease>(&paths::kubelet(&self.node)?).await {
            Ok(lease) => Ok(KubeletLease::from(lease)),
            Err(ApiError::Status { code: 404, .. }) => Ok(KubeletLease::default()),
            Err(error) => Err(error),
        }
    }

    /// Reads the pods of this node without resourceVersion.
    pub async fn pods(&mut self) -> Result<Vec<PodView>, ApiError> {
        let node = self.node.clone();
        self.pods_of(&node).await
    }

    /// Reads the pods of any node without resourceVersion.
    pub async fn pods_of(&mut self, node: &str) -> Result<Vec<PodView>, ApiError> {
        let there = format!("spec.nodeName={node}");
        let list: List<Pod> = self.get(&with(PODS, &[("fieldSelector", &there)])).await?;
        self.versions.pods = list.metadata.resource_version;
        Ok(list.items.into_iter().flatten().map(PodView::from).collect())
    }

    /// Reads the budgets of these namespaces without resourceVersion.
    pub async fn budgets(&mut self, namespaces: &BTreeSet<String>) -> Result<Vec<Budget>, ApiError> {
        let mut budgets = Vec::new();
        for namespace in namespaces {
            let list: List<DisruptionBudget> = self.get(&paths::budgets(namespace)?).await?;
            budgets.extend(list.items.into_iter().flatten().map(Budget::from));
        }
        Ok(budgets)
    }

    /// Starts to watch a part from its latest reading on; `None` if it cannot be watched from there.
    pub fn watch(&mut self, part: Part) -> Option<Watch> {
        if part == Part::Annotations {
            return Some(Watch::annotations(
                self.access.clone(),
                &self.node,
                self.told_of_annotations.clone(),
            ));
        }
        Watch::start(self.client().ok()?, part, &self.node, &self.versions, self.told.clone())
    }

    /// Starts to watch whether a budget, `namespace/name`, lets a pod go.
    pub fn watch_budget(&mut self, budget: &str) -> Option<Watch> {
        let client = self.client().ok()?;
        Some(Watch::budget(self.access.clone(), client, budget, self.told_of_budgets.clone()))
    }

    /// Writes a slot under the resourceVersion and the uid that the write names; `now` is the wall time.
    pub async fn write_slot(&mut self, write: &SlotWrite, now: Duration) -> Outcome {
        let transitions = self.transitions.get(&write.slot).copied().flatten();
        let patch = slot_patch(write, &self.node, transitions, now);
        self.write(paths::slot(&write.slot), MERGE_PATCH, &patch).await
    }

    /// Asks the holder of a slot to step back, unless the slot has changed since it was read.
    pub async fn ask_to_step_back(&mut self, slot: &SlotView, who: &str) -> Outcome {
        self.write(paths::slot(&slot.name), MERGE_PATCH, &step_back_patch(slot, who)).await
    }

    /// Why the fleet is paused, if it is; for people.
    pub async fn paused(&mut self) -> Result<Option<String>, ApiError> {
        match self.get::<Lease>(&paths::slot(PAUSE)?).await {
            Ok(lease) => Ok(Some(words(&SlotView::from(lease).holder.unwrap_or_default(), NOTE))),
            Err(ApiError::Status { code: 404, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Pauses the fleet, even if it is paused already; `why` is for people.
    pub async fn pause(&mut self, why: &str) -> Outcome {
        let pause = json!({
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": PAUSE, "namespace": NAMESPACE},
            "spec": {"holderIdentity": why},
        });
        self.write(paths::slot(PAUSE), APPLY_PATCH, &pause).await
    }

    /// Ends the pause of the fleet; returns false if there was none.
    pub async fn resume(&mut self) -> Result<bool, ApiError> {
        let path = paths::slot(PAUSE)?;
        let deleted = self.client()?.json::<IgnoredAny>(Method::DELETE, &path, None, None).await;
        match self.mind(deleted) {
            Ok(_) => Ok(true),
            Err(ApiError::Status { code: 404, .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Makes a slot of a pool. A person does that, never an agent.
    pub async fn create_slot(&mut self, name: &str, pool: &str) -> Result<(), ApiError> {
        // Without a spec: the holder stands there.
        let slot = json!({
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": name, "namespace": NAMESPACE, "labels": { POOL: pool }},
        });
        self.ask(Method::POST, &paths::slots(), &slot).await
    }

    /// Deletes a slot, unless it has changed since it was read.
    pub async fn delete_slot(&mut self, slot: &SlotView) -> Result<(), ApiError> {
        let preconditions = json!({"uid": slot.uid, "resourceVersion": slot.resource_version});
        self.ask(Method::DELETE, &paths::slot(&slot.name)?, &json!({ "preconditions": preconditions })).await
    }

    async fn ask(&mut self, method: Method, path: &str, body: &Value) -> Result<(), ApiError> {
        let body = Some((JSON, body.to_string().into_bytes()));
        let result = self.client()?.json::<IgnoredAny>(method, path, body, None).await;
        self.mind(result).map(drop)
    }

    /// Writes the own Node under the resourceVersion and the uid that the write names.
    pub async fn write_node(&mut self, write: &NodeWrite) -> Outcome {
        self.write(paths::node(&self.node), MERGE_PATCH, &node_patch(write)).await
    }

    /// Prepares a request for an eviction; the request itself can run in parallel with others.
    pub fn eviction(
        &mut self,
        pod: &PodKey,
        how: How,
        grace: Option<Duration>,
    ) -> impl Future<Output = EvictionOutcome> + Send + use<> {
        let client = self.client();
        let request = eviction::request(pod, how, grace);
        async move {
            let sent = async {
                let (method, path, body) = request?;
                let body = Some((JSON, body.to_string().into_bytes()));
                client?.json::<IgnoredAny>(method, &path, body, Some(EVICTION_TIMEOUT)).await
            };
            eviction::outcome(sent.await)
        }
    }
}
