//! What a case creates and changes in the cluster.

use std::sync::PoisonError;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::case::{Case, LOOK, Made, SOON};
use super::objects::{Pod, collection, controller};
use crate::observer::{PodState, State};
use crate::simulated::client::{MERGE, STRATEGIC};
use crate::simulated::kubelet;

impl Case {
    pub(super) async fn post(&self, path: &str, object: &Value) -> Result<Value> {
        let deadline = Instant::now() + SOON;
        loop {
            match self.shared.person.post(path, object).await {
                Ok(made) => return Ok(made),
                // A young namespace has no service account yet, and pods need one.
                Err(error) if Instant::now() > deadline || !format!("{error:#}").contains("403") => {
                    return Err(error);
                }
                Err(_) => sleep(LOOK).await,
            }
        }
    }

    pub(super) fn namespaces(&self) -> Vec<String> {
        self.namespaces.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// One more namespace.
    pub(super) async fn namespace(&self, name: &str) -> Result<()> {
        self.post("/api/v1/namespaces", &json!({"metadata": {"name": name}})).await?;
        self.namespaces.lock().unwrap_or_else(PoisonError::into_inner).push(name.to_owned());
        Ok(())
    }

    /// Creates a pod on this node and waits until its kubelet has made of it as it is to be.
    pub(super) async fn create(&self, pod: Pod) -> Result<Made> {
        let made = self.create_only(pod).await?;
        let key = made.clone();
        self.wait_state(&format!("{} is as it is to be", made.name), move |state| {
            key.find(state).is_some_and(|pod| has_become(pod, &pod.raw["metadata"]["annotations"]))
        })
        .await?;
        Ok(made)
    }

    /// Creates a pod on this node.
    pub(super) async fn create_only(&self, pod: Pod) -> Result<Made> {
        self.create_at(pod, &self.here).await
    }

    /// Creates a pod on any node.
    async fn create_at(&self, mut pod: Pod, node: &str) -> Result<Made> {
        pod.manifest["spec"]["nodeName"] = json!(node);
        let namespace = pod.manifest["metadata"]["namespace"].as_str().unwrap_or(&self.here).to_owned();
        let made = self.post(&collection("Pod", &namespace), &pod.manifest).await?;
        let uid = made["metadata"]["uid"].as_str().context("a pod without uid")?.to_owned();
        let made = Made { namespace, name: pod.name, uid };
        // Before that it would be taken for gone.
        let key = made.clone();
        let what = format!("pod {}/{} is created", made.namespace, made.name);
        self.wait_state(&what, move |state| key.find(state).is_some()).await?;
        Ok(made)
    }

    /// A pod whose controller leaves it alone: the simplest that is evicted.
    pub(super) async fn create_owned(&self, pod: Pod) -> Result<Made> {
        let owner = self.owner(&format!("owner-of-{}", pod.name)).await?;
        self.create(pod.controlled_by(&owner)).await
    }

    /// The same on another node.
    pub(super) async fn create_owned_at(&self, pod: Pod, node: &str) -> Result<Made> {
        let owner = self.owner(&format!("owner-of-{}-at-{node}", pod.name)).await?;
        self.create_at(pod.controlled_by(&owner), node).await
    }

    /// A pod with a controller, on this node and in a namespace where nothing else is.
    pub(super) async fn create_in_other_namespace(&self, pod: Pod) -> Result<Made> {
        let other = format!("{}-other", self.here);
        self.namespace(&other).await?;
        self.create(pod.namespace(&other).controlled_by(&Pod::owner("example.com/v1", "Other"))).await
    }

    /// Another node, without a kubelet.
    pub(super) async fn other_node(&self) -> Result<String> {
        let name = format!("{}-other", self.here);
        self.post("/api/v1/nodes", &json!({"metadata": {"name": name}})).await?;
        Ok(name)
    }

    /// Something that can own pods and does nothing with them.
    pub(super) async fn owner(&self, name: &str) -> Result<Value> {
        let made =
            self.post(&collection("ConfigMap", &self.here), &json!({"metadata": {"name": name}})).await?;
        Ok(json!({"apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": made["metadata"]["uid"]}))
    }

    /// The Node itself, which owns the mirrors of its kubelet's static pods.
    pub(super) fn node_as_owner(&self) -> Result<Value> {
        let state = self.shared.observer.state();
        let uid = &state.node(&self.here).context("there is no Node")?.uid;
        Ok(json!({"apiVersion": "v1", "kind": "Node", "name": self.here, "uid": uid}))
    }

    /// A real controller and, once they have become what they are to, its pods on this node.
    pub(super) async fn deploy(&self, kind: &str, count: u32, pod: Pod) -> Result<Vec<Made>> {
        let manifest = controller(kind, count, &pod, &self.here);
        self.post(&collection(kind, &self.here), &manifest).await?;
        self.tell(format!("{kind} {} is created", pod.name));
        self.pods_of(&pod, count as usize).await
    }

    /// Waits until so many pods of this app are here as they should be, and none is on its way out.
    pub(super) async fn pods_of(&self, pod: &Pod, count: usize) -> Result<Vec<Made>> {
        let app = pod.manifest["metadata"]["labels"]["app"].as_str().unwrap_or_default().to_owned();
        let here = self.here.clone();
        let select = move |state: &State| -> Vec<Made> {
            let mine = |pod: &&PodState| pod.labels.get("app") == Some(&app) && !pod.terminating;
            let is_done = |pod: &&PodState| has_become(pod, &pod.raw["metadata"]["annotations"]);
            state.pods_on(&here).filter(mine).filter(is_done).map(Made::of).collect()
        };
        let chosen = select.clone();
        self.wait_state(&format!("{count} pods of {}", pod.name), move |state| chosen(state).len() == count)
            .await?;
        Ok(select(&self.shared.observer.state()))
    }

    /// A budget over the pods of the app of its name; returns once the controller has counted them and allows so many.
    pub(super) async fn budget(&self, name: &str, spec: Value, allowed: i64) -> Result<()> {
        self.budget_in(&self.here, name, spec, allowed).await
    }

    /// The same in another namespace.
    pub(super) async fn budget_in(
        &self,
        namespace: &str,
        name: &str,
        spec: Value,
        allowed: i64,
    ) -> Result<()> {
        self.create_budget(namespace, name, spec).await?;
        self.wait_budget_in(namespace, name, &format!("allows {allowed}"), |budget| {
            let status = &budget["status"];
            let is_current = status["observedGeneration"] == budget["metadata"]["generation"];
            is_current && status["disruptionsAllowed"] == json!(allowed)
        })
        .await
    }

    /// Creates a budget; its spec may bring a selector of its own.
    pub(super) async fn create_budget(&self, namespace: &str, name: &str, mut spec: Value) -> Result<()> {
        if spec.get("selector").is_none() {
            spec["selector"] = json!({"matchLabels": {"app": name}});
        }
        let budget = json!({"metadata": {"name": name}, "spec": spec});
        self.post(&collection("PodDisruptionBudget", namespace), &budget).await?;
        Ok(())
    }

    /// Waits until a budget of the case's namespace is like this.
    pub(super) async fn wait_budget(
        &self,
        name: &str,
        what: &str,
        is_met: impl Fn(&Value) -> bool,
    ) -> Result<()> {
        self.wait_budget_in(&self.here, name, what, is_met).await
    }

    async fn wait_budget_in(
        &self,
        namespace: &str,
        name: &str,
        what: &str,
        is_met: impl Fn(&Value) -> bool,
    ) -> Result<()> {
        let path = format!("{}/{name}", collection("PodDisruptionBudget", namespace));
        let deadline = Instant::now() + SOON;
        loop {
            let budget = self.shared.person.get(&path).await?;
            if is_met(&budget) {
                self.tell(format!("budget {name} {what}"));
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "waited for budget {name} {what}: {}", budget["status"]);
            sleep(LOOK).await;
        }
    }

    /// Changes the spec of a budget of the case's namespace.
    pub(super) async fn change_budget(&self, name: &str, spec: &Value) -> Result<()> {
        let path = format!("{}/{name}", collection("PodDisruptionBudget", &self.here));
        self.shared.person.patch(&path, MERGE, &json!({"spec": spec})).await?;
        Ok(())
    }

    pub(super) async fn delete_budget(&self, name: &str) -> Result<()> {
        let path = format!("{}/{name}", collection("PodDisruptionBudget", &self.here));
        self.shared.person.delete(&path, &json!({})).await?;
        Ok(())
    }

    /// Whoever put finalizers on a pod is done.
    pub(super) async fn drop_finalizers(&self, pod: &Made) -> Result<()> {
        let patch = json!({"metadata": {"uid": pod.uid, "finalizers": null}});
        self.shared.person.patch(&pod.path(), MERGE, &patch).await?;
        Ok(())
    }

    /// The latest resourceVersion of a pod that was seen.
    pub(super) fn version_of(&self, pod: &Made) -> Result<String> {
        let state = self.shared.observer.state();
        let pod = pod.find(&state).context("the pod is gone")?;
        Ok(pod.raw["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned())
    }

    /// A pod where no kubelet is runs and is ready.
    pub(super) async fn set_ready(&self, pod: &Made) -> Result<()> {
        let ready = json!({"type": "Ready", "status": "True"});
        let status = json!({"phase": "Running", "conditions": [ready]});
        let patch = json!({"metadata": {"uid": pod.uid}, "status": status});
        self.shared.person.patch(&format!("{}/status", pod.path()), STRATEGIC, &patch).await?;
        Ok(())
    }

    /// `kubectl delete namespace`, of the case's own.
    pub(super) async fn delete_namespace(&self) -> Result<()> {
        self.tell("its namespace is deleted");
        self.shared.person.delete(&format!("/api/v1/namespaces/{}", self.here), &json!({})).await?;
        Ok(())
    }

    /// Its Node is deleted, and its kubelet does not make it again.
    pub(super) async fn delete_node_for_good(&self) -> Result<()> {
        self.machine.stop_kubelet(SOON * 60);
        self.shared.person.delete(&format!("/api/v1/nodes/{}", self.here), &json!({})).await?;
        let here = self.here.clone();
        self.wait_state("the Node is gone", move |state| state.node(&here).is_none()).await
    }

    /// `kubectl delete pod`, with the pod's own grace.
    pub(super) async fn delete(&self, pod: &Made) -> Result<()> {
        self.tell(format!("pod {} is deleted by a person", pod.name));
        let uid = json!({"preconditions": {"uid": pod.uid}});
        self.shared.person.delete(&pod.path(), &uid).await?;
        Ok(())
    }

    /// Its containers end now, and the kubelet lets it go.
    pub(super) async fn end(&self, pod: &Made) -> Result<()> {
        self.tell(format!("pod {} ends", pod.name));
        kubelet::end(&self.shared.person, &pod.path(), &pod.uid).await
    }
}

/// Whether the kubelet has made of a pod what its annotations say.
fn has_become(pod: &PodState, annotations: &Value) -> bool {
    match annotations[kubelet::BECOMES].as_str() {
        None => pod.phase == "Running" && pod.ready,
        Some(kubelet::NOT_READY) => pod.phase == "Running" && !pod.ready,
        Some(phase) => pod.phase == phase,
    }
}
