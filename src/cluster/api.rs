//! What rebootd asks of the API server, request by request.

use std::time::Duration;

use reqwest::Method;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::client::{ApiError, Client};
use super::objects::{
    FIELD_MANAGER, KUBELET_LEASES, Lease, List, NAMESPACE, Node, PERSONS_FIELD_MANAGER, Pod,
};
use super::patches::{node_patch, slot_patch, step_back_patch};
use super::watch::{Versions, Watch, WatchTarget};
use crate::config::ApiAccess;
use crate::decide::{
    EvictionOutcome, KubeletLease, NodeView, NodeWrite, Outcome, PodKey, PodView, SlotView, SlotWrite,
};

const MERGE_PATCH: &str = "application/merge-patch+json";
const JSON: &str = "application/json";
/// The server tries an eviction that conflicts for 10 s, and gives up on any request after 34 s.
const EVICTION_TIMEOUT: Duration = Duration::from_secs(40);

/// The API server, for one node.
#[derive(Debug)]
pub struct Api {
    access: ApiAccess,
    node: String,
    field_manager: &'static str,
    client: Option<Client>,
    /// The resourceVersions that watches may start from.
    versions: Versions,
}

/// A slot, and since when its holder has it as it is: the server's time, as the server writes it.
#[derive(Debug, Clone)]
pub struct HeldSlot {
    /// The slot.
    pub slot: SlotView,
    /// When whoever put the holder there last wrote.
    pub since: Option<String>,
}

impl Api {
    /// An API server that nothing is asked of yet.
    pub fn new(access: ApiAccess, node: String) -> Api {
        Api { access, node, field_manager: FIELD_MANAGER, client: None, versions: Versions::default() }
    }

    /// The same for a person who writes in the place of a node.
    pub fn for_person(access: ApiAccess, node: String) -> Api {
        Api { field_manager: PERSONS_FIELD_MANAGER, ..Api::new(access, node) }
    }

    /// The client; made anew where a credential was replaced or a connection failed.
    fn client(&mut self) -> Result<Client, ApiError> {
        if let Some(client) = self.client.as_ref().filter(|client| !client.is_outdated()) {
            return Ok(client.clone());
        }
        Ok(self.client.insert(Client::new(&self.access)?).clone())
    }

    /// Drops the connections: the next request resolves and connects anew.
    pub fn disconnect(&mut self) {
        self.client = None;
    }

    /// A refused or unanswered request may be the credential's or the connection's fault.
    fn mind<T>(&mut self, result: Result<T, ApiError>) -> Result<T, ApiError> {
        if matches!(&result, Err(ApiError::NoAnswer(_) | ApiError::Status { code: 401, .. })) {
            self.disconnect();
        }
        result
    }

    async fn get<T: DeserializeOwned>(&mut self, path: &str) -> Result<T, ApiError> {
        let result = self.client()?.json(Method::GET, path, None, None).await;
        self.mind(result)
    }

    async fn patch(&mut self, path: &str, patch: &Value) -> Outcome {
        let client = match self.client() {
            Ok(client) => client,
            Err(error) => return error.outcome(),
        };
        let path = format!("{path}?fieldManager={}", self.field_manager);
        let body = Some((MERGE_PATCH, patch.to_string().into_bytes()));
        let result = client.json::<serde::de::IgnoredAny>(Method::PATCH, &path, body, None).await;
        match self.mind(result) {
            Ok(_) => Outcome::Answered,
            Err(error) => error.outcome(),
        }
    }

    /// Reads the own Node without resourceVersion.
    pub async fn node(&mut self) -> Result<Option<NodeView>, ApiError> {
        let path = format!("/api/v1/nodes/{}", self.node);
        match self.get::<Node>(&path).await {
            Ok(node) => Ok(Some(NodeView::from(node))),
            Err(ApiError::Status { code: 404, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads all slots of all pools without resourceVersion.
    pub async fn slots(&mut self) -> Result<Vec<SlotView>, ApiError> {
        Ok(self.leases().await?.into_iter().map(SlotView::from).collect())
    }

    /// Reads all slots, each with the time of its holder's last write: for people.
    pub async fn held_slots(&mut self) -> Result<Vec<HeldSlot>, ApiError> {
        let leases = self.leases().await?.into_iter();
        Ok(leases.map(|lease| HeldSlot { since: lease.held_since(), slot: lease.into() }).collect())
    }

    async fn leases(&mut self) -> Result<Vec<Lease>, ApiError> {
        let path = format!("/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases");
        let list: List<Lease> = self.get(&path).await?;
        self.versions.slots = list.metadata.resource_version;
        Ok(list.items.unwrap_or_default())
    }

    /// Whether there is a Node of this name, read without resourceVersion.
    pub async fn node_exists(&mut self, name: &str) -> Result<bool, ApiError> {
        let client = self.client()?;
        let result = client.exists(&format!("/api/v1/nodes/{name}")).await;
        self.mind(result)
    }

    /// Reads the kubelet's Lease without resourceVersion; where there is none, one that never changes.
    pub async fn kubelet(&mut self) -> Result<KubeletLease, ApiError> {
        let path = format!("/apis/coordination.k8s.io/v1/namespaces/{KUBELET_LEASES}/leases/{}", self.node);
        match self.get::<Lease>(&path).await {
            Ok(lease) => Ok(KubeletLease::from(lease)),
            Err(ApiError::Status { code: 404, .. }) => Ok(KubeletLease::default()),
            Err(error) => Err(error),
        }
    }

    /// Reads the pods of this node without resourceVersion.
    pub async fn pods(&mut self) -> Result<Vec<PodView>, ApiError> {
        let path = format!("/api/v1/pods?fieldSelector=spec.nodeName%3D{}", self.node);
        let list: List<Pod> = self.get(&path).await?;
        self.versions.pods = list.metadata.resource_version;
        Ok(list.items.into_iter().flatten().map(PodView::from).collect())
    }

    /// Starts to watch, from the latest reading on.
    pub fn watch(&mut self, target: WatchTarget) -> Result<Watch, ApiError> {
        let client = self.client()?;
        Ok(Watch::start(client, target, &self.node, &self.versions))
    }

    /// Writes a slot under the resourceVersion and the uid that the write names.
    pub async fn write_slot(&mut self, write: &SlotWrite) -> Outcome {
        let path = format!("/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/{}", write.slot);
        let patch = slot_patch(write, &self.node);
        self.patch(&path, &patch).await
    }

    /// Asks the holder of a slot to step back, if the slot is still as it was read.
    pub async fn ask_to_step_back(&mut self, slot: &SlotView, who: &str) -> Outcome {
        let path = format!("/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/{}", slot.name);
        self.patch(&path, &step_back_patch(slot, who)).await
    }

    /// Writes the own Node under the resourceVersion and the uid that the write names.
    pub async fn write_node(&mut self, write: &NodeWrite) -> Outcome {
        let path = format!("/api/v1/nodes/{}", self.node);
        self.patch(&path, &node_patch(write)).await
    }

    /// Prepares a request for an eviction; the request itself can run beside others.
    pub fn eviction(&mut self, pod: &PodKey) -> impl Future<Output = EvictionOutcome> + Send + use<> {
        let client = self.client();
        let path = format!("/api/v1/namespaces/{}/pods/{}/eviction", pod.namespace, pod.name);
        // Our own body: `deleteOptions` in this spelling, or the server ignores the precondition.
        let body = json!({
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"namespace": pod.namespace, "name": pod.name},
            "deleteOptions": {"preconditions": {"uid": pod.uid}},
        });
        async move {
            let sent = async {
                let body = Some((JSON, body.to_string().into_bytes()));
                let timeout = Some(EVICTION_TIMEOUT);
                client?.json::<serde::de::IgnoredAny>(Method::POST, &path, body, timeout).await
            };
            match sent.await {
                Ok(_) => EvictionOutcome::Accepted,
                Err(error) => {
                    let failure = crate::decide::Failure::from(error);
                    EvictionOutcome::Refused { message: failure.message, retry_after: failure.retry_after }
                }
            }
        }
    }
}
