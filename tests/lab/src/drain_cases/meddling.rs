//! What people and a cluster's other inhabitants do in the middle of a case.

use std::fs;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::case::{Case, LOOK, SOON};
use crate::pki::Pki;
use crate::simulated::client::{MERGE, STRATEGIC};
use crate::simulated::{AGENT, AGENTS};

const SLOTS: &str = "/apis/coordination.k8s.io/v1/namespaces/rebootd/leases";

impl Case {
    /// kill -9. Returns when the next one has published its status.
    pub(super) async fn kill_rebootd(&self) -> Result<()> {
        self.machine.forget_status();
        ensure!(self.machine.signal("-KILL").await, "no rebootd runs");
        self.tell("rebootd is killed");
        self.wait_for_rebootd().await
    }

    async fn wait_for_rebootd(&self) -> Result<()> {
        let deadline = Instant::now() + SOON;
        while self.status().is_null() {
            ensure!(Instant::now() < deadline, "no rebootd comes up");
            sleep(LOOK).await;
        }
        Ok(())
    }

    /// So much time of this boot passes, while rebootd does not run.
    pub(super) async fn pass_time(&self, time: Duration) -> Result<()> {
        self.machine.pass_time(time)?;
        self.kill_rebootd().await?;
        self.tell(format!("{} minutes have passed", time.as_secs() / 60));
        Ok(())
    }

    pub(super) async fn delete_slot(&self) -> Result<()> {
        self.tell("the slot is deleted");
        self.shared.person.delete(&format!("{SLOTS}/{}", self.here), &json!({})).await?;
        Ok(())
    }

    pub(super) async fn change_slot(&self, patch: Value) -> Result<()> {
        self.tell(format!("the slot is changed: {patch}"));
        self.shared.person.patch(&format!("{SLOTS}/{}", self.here), MERGE, &patch).await?;
        Ok(())
    }

    /// `kubectl cordon` or `uncordon`.
    pub(super) async fn set_unschedulable(&self, unschedulable: bool) -> Result<()> {
        self.tell(format!("a person sets unschedulable: {unschedulable}"));
        let value = if unschedulable { json!(true) } else { Value::Null };
        let path = format!("/api/v1/nodes/{}?fieldManager=kubectl-cordon", self.here);
        self.shared.person.patch(&path, STRATEGIC, &json!({"spec": {"unschedulable": value}})).await?;
        Ok(())
    }

    /// As the kubelet writes it.
    pub(super) async fn set_volumes_in_use(&self, volumes: &[&str]) -> Result<()> {
        self.tell(format!("volumes in use: {volumes:?}"));
        let path = format!("/api/v1/nodes/{}/status", self.here);
        self.shared.person.patch(&path, MERGE, &json!({"status": {"volumesInUse": volumes}})).await?;
        Ok(())
    }

    /// The certificate of its rebootd is replaced in place: by a new one, or by one that the cluster does not know.
    pub(super) fn replace_certificate(&self, is_known: bool) -> Result<()> {
        let user = format!("{AGENT}{}", self.here);
        let other;
        let pki = match is_known {
            true => &self.shared.lab.control_plane.pki,
            false => {
                other = Pki::new(&self.machine.log().with_file_name("other-pki"))?;
                &other
            }
        };
        let new = pki.client(&format!("new-{}", self.here), &user, &[AGENTS])?;
        fs::copy(&new.key, &self.site.agent.key)?;
        fs::copy(&new.certificate, &self.site.agent.certificate)?;
        self.tell(format!("its certificate is replaced; the cluster knows the new one: {is_known}"));
        Ok(())
    }

    /// What the manifest delete-pods.yaml grants, in the case's namespace.
    pub(super) async fn grant_deletion(&self) -> Result<()> {
        let roles = format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{}", self.here);
        let name = json!({"name": "rebootd-delete-pods"});
        let rules = json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["delete"]}]);
        self.post(&format!("{roles}/roles"), &json!({"metadata": name, "rules": rules})).await?;
        let group = "rbac.authorization.k8s.io";
        let binding = json!({
            "metadata": name,
            "roleRef": {"apiGroup": group, "kind": "Role", "name": name["name"]},
            "subjects": [{"apiGroup": group, "kind": "Group", "name": AGENTS}],
        });
        self.post(&format!("{roles}/rolebindings"), &binding).await?;
        Ok(())
    }
}
