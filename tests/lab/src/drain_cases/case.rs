//! What a case acts upon: a machine, node, pool, slot and namespace of its own, on the cluster of all cases.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use serde_json::json;
use tokio::time::Instant;

use super::objects::collection;
use crate::audit::{self, AuditedRequest};
use crate::lab::Lab;
use crate::observer::{Observer, PodState, State};
use crate::proxy::{Proxy, RequestRecord};
use crate::simulated::client::Client;
use crate::simulated::{AGENT, Ground, Machine, Name, Site};

/// For what takes moments on an idle machine: no case passes or fails on the clock.
pub(super) const SOON: Duration = Duration::from_secs(240);
pub(super) const LOOK: Duration = Duration::from_millis(50);

/// What all cases share.
pub(super) struct Shared {
    pub(super) lab: Arc<Lab>,
    pub(super) observer: Arc<Observer>,
    pub(super) ground: Ground,
    /// An administrator.
    pub(super) person: Client,
    /// What the agents of all cases were answered so far.
    pub(super) audited: Mutex<Audited>,
}

/// The requests of each agent, by user. The log is read once for all cases.
pub(super) struct Audited {
    log: audit::Follower,
    by_user: BTreeMap<String, Vec<AuditedRequest>>,
}

impl Audited {
    pub(super) fn new(log: &Path) -> Self {
        Self { log: audit::Follower::new(log), by_user: BTreeMap::new() }
    }

    /// All requests of this user until now.
    pub(super) fn of(&mut self, user: &str) -> Result<&[AuditedRequest]> {
        let Self { log, by_user } = self;
        log.added(|request| {
            if request.user.starts_with(AGENT) {
                by_user.entry(request.user.clone()).or_default().push(request);
            }
        })?;
        Ok(by_user.get(user).map_or(&[], Vec::as_slice))
    }
}

/// The fixture of one case.
pub(super) struct Case {
    /// The name of its node, pool, slot and namespace.
    pub(super) here: String,
    pub(super) machine: Arc<Machine>,
    /// Between its rebootd and the API server.
    pub(super) proxy: Arc<Proxy>,
    pub(super) shared: Arc<Shared>,
    /// As its rebootd, but straight to the API server.
    pub(super) agent: Client,
    pub(super) site: Site,
    pub(super) namespaces: Mutex<Vec<String>>,
    story: Mutex<Vec<String>>,
    began: Instant,
}

/// Whether a request only looks at a workload, to measure what the drain does to it.
pub(super) fn only_measures(request: &RequestRecord) -> bool {
    request.resource == "pods" && request.path.contains("labelSelector=")
}

/// A pod that was created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Made {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) uid: String,
}

impl Made {
    pub(super) fn of(pod: &PodState) -> Self {
        Self { namespace: pod.namespace.clone(), name: pod.name.clone(), uid: pod.uid.clone() }
    }

    pub(super) fn path(&self) -> String {
        format!("/api/v1/namespaces/{}/pods/{}", self.namespace, self.name)
    }

    /// This very one, not another one of its name.
    pub(super) fn find<'state>(&self, state: &'state State) -> Option<&'state PodState> {
        let pod = state.pods.get(&format!("{}/{}", self.namespace, self.name))?;
        (pod.uid == self.uid).then_some(pod)
    }
}

impl Case {
    /// Its Node is Ready, its namespace and its slot are there. No rebootd runs yet.
    pub(super) async fn new(shared: &Arc<Shared>, number: usize) -> Result<Self> {
        let here = format!("case{number:02}");
        let name = Name { node: &here, pool: &here, number, tells_ids: true };
        let site = shared.ground.site(&shared.lab, name).await?;
        let case = Self {
            machine: Arc::clone(&site.machine),
            proxy: Arc::clone(&site.proxy),
            agent: Client::of(&shared.lab.control_plane, &site.agent)?,
            shared: Arc::clone(shared),
            site,
            namespaces: Mutex::default(),
            story: Mutex::default(),
            began: Instant::now(),
            here,
        };
        let slot = json!({"metadata": {"name": case.here, "labels": {"rebootd.io/pool": case.here}}});
        case.post("/apis/coordination.k8s.io/v1/namespaces/rebootd/leases", &slot).await?;
        case.namespace(&case.here).await?;
        case.wait_node("is Ready", |node| node.ready).await?;
        Ok(case)
    }

    /// Takes away what would keep the cluster busy; gives back its story.
    ///
    /// Its namespaces stay: the controller looks for each kind of object in each namespace that is deleted, and a case
    /// that deletes its own would wait behind those of all others.
    pub(super) async fn close(&self) -> String {
        let state = self.shared.observer.state();
        for pod in state.pods.values().filter(|pod| self.namespaces().contains(&pod.namespace)) {
            let going = if pod.terminating { ", terminating" } else { "" };
            self.tell(format!("left: {}/{}: {}{going}", pod.namespace, pod.name, pod.phase));
        }
        self.machine.power_off("the case is over").await;
        for namespace in self.namespaces() {
            // Whatever makes pods goes before its pods.
            for kind in
                ["Deployment", "ReplicaSet", "StatefulSet", "DaemonSet", "Job", "ReplicationController"]
            {
                let all = collection(kind, &namespace);
                let _ = self.shared.person.delete(&all, &json!({"propagationPolicy": "Background"})).await;
            }
            let pods = collection("Pod", &namespace);
            let _ = self.shared.person.delete(&pods, &json!({"gracePeriodSeconds": 0})).await;
        }
        let _ = self.shared.person.delete(&format!("/api/v1/nodes/{}", self.here), &json!({})).await;
        self.story.lock().unwrap_or_else(PoisonError::into_inner).concat()
    }

    // ---- the story ----

    pub(super) fn tell(&self, text: impl AsRef<str>) {
        let line = format!("{:6.1} s  {}\n", self.began.elapsed().as_secs_f64(), text.as_ref());
        self.story.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }

    /// What its rebootd has said so far.
    pub(super) fn log(&self) -> String {
        fs::read_to_string(self.machine.log()).unwrap_or_default()
    }
}
