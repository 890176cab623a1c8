//! What a case does with its rebootd, waits for, and asks afterwards.

use std::fs;
use std::sync::PoisonError;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::case::{Case, LOOK, Made, SOON};
use crate::audit::AuditedRequest;
use crate::observer::{NodeState, State};
use crate::simulated::{AGENT, MachineEvent};

/// Reboots may start at any time. What a case gives goes below `[drain]`.
const CONFIG: &str = "[policy]\nwindow = \"always\"\nsettle = \"1s\"\nmin_interval = \"0\"\nreboot_timeout = \"30s\"\n[drain]\n";

impl Case {
    // ---- rebootd ----

    /// Starts rebootd, with this below `[drain]`.
    pub(super) fn rebootd(&mut self, drain: &str) -> Result<()> {
        self.configure(drain)?;
        self.site.run_rebootd();
        Ok(())
    }

    /// Writes its configuration, which it reads when it is started the next time.
    pub(super) fn configure(&mut self, drain: &str) -> Result<()> {
        self.site.configure(&format!("{CONFIG}{drain}\n"))
    }

    pub(super) fn ask_for_reboot(&self) -> Result<()> {
        self.tell("a reboot is asked for");
        Ok(fs::write(self.machine.sentinel(), "")?)
    }

    /// Starts it, and asks for a reboot.
    pub(super) fn drain(&mut self, drain: &str) -> Result<()> {
        self.rebootd(drain)?;
        self.ask_for_reboot()
    }

    /// Nothing asks for a reboot any more.
    pub(super) fn withdraw_request(&self) -> Result<()> {
        self.tell("the request is withdrawn");
        Ok(fs::remove_file(self.machine.sentinel())?)
    }

    /// What it publishes.
    pub(super) fn status(&self) -> Value {
        self.machine.status().unwrap_or_default()
    }

    /// Phase and reasons in one line.
    pub(super) fn line(&self) -> String {
        self.status()["line"].as_str().unwrap_or_default().to_owned()
    }

    /// Waits until what it publishes is like this.
    pub(super) async fn wait_status(&self, what: &str, is_met: impl Fn(&Value) -> bool) -> Result<Value> {
        let deadline = Instant::now() + SOON;
        loop {
            let status = self.status();
            if is_met(&status) {
                self.tell(format!("{}  [{what}]", status["line"].as_str().unwrap_or_default()));
                return Ok(status);
            }
            ensure!(Instant::now() < deadline, "waited for {what}; its status is {}", status["line"]);
            sleep(LOOK).await;
        }
    }

    /// Waits until the status line holds all of this.
    pub(super) async fn wait_line(&self, parts: &[&str]) -> Result<()> {
        let says = |status: &Value| {
            let line = status["line"].as_str().unwrap_or_default();
            parts.iter().all(|part| line.contains(part))
        };
        self.wait_status(&format!("the line says {parts:?}"), says).await?;
        Ok(())
    }

    /// Waits until its log holds this.
    pub(super) async fn wait_log(&self, text: &str) -> Result<()> {
        let deadline = Instant::now() + SOON;
        while !self.log().contains(text) {
            ensure!(Instant::now() < deadline, "its log does not come to say {text:?}");
            sleep(LOOK).await;
        }
        Ok(())
    }

    /// How often logind was told to reboot.
    pub(super) fn reboot_calls(&self) -> usize {
        let notes = self.shared.ground.chronicle.events();
        let mine = notes.iter().filter(|note| note.machine == self.here);
        mine.filter(|note| matches!(note.event, MachineEvent::RebootCalled { .. })).count()
    }

    /// Waits until logind is told to reboot: the drain is over.
    pub(super) async fn reboot_called(&self) -> Result<()> {
        let deadline = Instant::now() + SOON;
        while self.reboot_calls() == 0 {
            ensure!(Instant::now() < deadline, "no reboot; its status is {}", self.line());
            sleep(LOOK).await;
        }
        self.tell("logind is told to reboot");
        Ok(())
    }

    // ---- the cluster ----

    /// Waits until the cluster is like this; not one of its states is missed.
    pub(super) async fn wait_state(
        &self,
        what: &str,
        is_met: impl FnMut(&State) -> bool + Send + 'static,
    ) -> Result<()> {
        let met = self.shared.observer.wait_for(is_met, SOON).await;
        if met.is_err() {
            bail!("waited for {what}; the status of rebootd is {}", self.line());
        }
        self.tell(what);
        Ok(())
    }

    pub(super) async fn wait_node(
        &self,
        what: &str,
        is_met: impl Fn(&NodeState) -> bool + Send + 'static,
    ) -> Result<()> {
        let name = self.here.clone();
        self.wait_state(&format!("the Node {what}"), move |state| state.node(&name).is_some_and(&is_met))
            .await
    }

    /// Waits until our cordon stands.
    pub(super) async fn cordoned(&self) -> Result<()> {
        self.wait_node("is cordoned", NodeState::cordoned_by_us).await
    }

    /// Waits until nothing of ours is left on the Node.
    pub(super) async fn uncordoned(&self) -> Result<()> {
        self.wait_node("is uncordoned", |node| !node.unschedulable && !node.cordon_mark).await
    }

    /// Waits until nobody holds the slot.
    pub(super) async fn released(&self) -> Result<()> {
        let slot = self.here.clone();
        self.wait_state("the slot is free", move |state| state.holder(&slot).is_none()).await
    }

    /// Waits until this very pod is gone.
    pub(super) async fn gone(&self, pod: &Made) -> Result<()> {
        let key = pod.clone();
        self.wait_state(&format!("{} is gone", pod.name), move |state| key.find(state).is_none()).await
    }

    /// Waits until so many of these very pods are left.
    pub(super) async fn wait_left(&self, pods: &[Made], count: usize) -> Result<()> {
        let (what, keys) = (format!("{count} of {} pods are left", pods.len()), pods.to_vec());
        let left = move |state: &State| keys.iter().filter(|key| key.find(state).is_some()).count();
        self.wait_state(&what, move |state| left(state) == count).await
    }

    /// Waits until this pod is on its way out.
    pub(super) async fn terminating(&self, pod: &Made) -> Result<()> {
        let key = pod.clone();
        let leaving = move |state: &State| key.find(state).is_some_and(|pod| pod.terminating);
        self.wait_state(&format!("{} is terminating", pod.name), leaving).await
    }

    /// This very pod is there and nobody has asked it to leave.
    pub(super) fn untouched(&self, pod: &Made) -> Result<()> {
        let state = self.shared.observer.state();
        let found = pod.find(&state).with_context(|| format!("{} is gone", pod.name))?;
        ensure!(!found.terminating, "{} is terminating", pod.name);
        Ok(())
    }

    /// What the API server was asked by this node's rebootd, and what it answered.
    pub(super) fn requests(&self, verb: &str, resource: &str) -> Result<Vec<AuditedRequest>> {
        let mut audited = self.shared.audited.lock().unwrap_or_else(PoisonError::into_inner);
        let all = audited.of(&format!("{AGENT}{}", self.here))?.iter();
        Ok(all.filter(|request| request.verb == verb && request.resource == resource).cloned().collect())
    }

    /// How the requests for an eviction of this pod were answered, in their order.
    pub(super) fn eviction_codes(&self, pod: &Made) -> Result<Vec<u16>> {
        let all = self.requests("create", "pods/eviction")?;
        let mine = all.iter().filter(|it| it.namespace == pod.namespace && it.name == pod.name);
        Ok(mine.map(|request| request.status).collect())
    }

    /// Waits until so many evictions were answered, of all pods.
    pub(super) async fn wait_evictions_asked(&self, count: usize) -> Result<Vec<AuditedRequest>> {
        self.wait_audited(&format!("{count} evictions were answered"), count, |case| {
            case.requests("create", "pods/eviction")
        })
        .await
    }

    /// Waits until so many evictions of pods of this name were answered; gives the answers in their order.
    pub(super) async fn wait_eviction_codes(&self, pod: &Made, count: usize) -> Result<Vec<u16>> {
        let what = format!("{count} evictions of {} were answered", pod.name);
        self.wait_audited(&what, count, |case| case.eviction_codes(pod)).await
    }

    async fn wait_audited<T>(
        &self,
        what: &str,
        count: usize,
        read: impl Fn(&Self) -> Result<Vec<T>>,
    ) -> Result<Vec<T>> {
        let deadline = Instant::now() + SOON;
        loop {
            let found = read(self)?;
            if found.len() >= count {
                self.tell(what);
                return Ok(found);
            }
            ensure!(Instant::now() < deadline, "waited for: {what}; there were {}", found.len());
            sleep(LOOK * 10).await;
        }
    }

    /// The pod was evicted, and that at the first request.
    pub(super) fn was_evicted(&self, pod: &Made) -> Result<()> {
        let codes = self.eviction_codes(pod)?;
        ensure!(codes == [201], "the evictions of {} were answered {codes:?}", pod.name);
        Ok(())
    }

    /// Waits until the drain is over; these pods are as they were, and nothing at all was evicted.
    pub(super) async fn stayed(&self, pods: &[Made]) -> Result<()> {
        self.reboot_called().await?;
        for pod in pods {
            self.untouched(pod)?;
        }
        ensure!(self.requests("create", "pods/eviction")?.is_empty(), "something was evicted");
        Ok(())
    }

    /// Nothing was evicted, claimed or cordoned.
    pub(super) fn nothing_was_touched(&self) -> Result<()> {
        let evictions = self.requests("create", "pods/eviction")?;
        let claims = self.requests("patch", "leases")?;
        ensure!(evictions.is_empty() && claims.is_empty(), "it asked for {evictions:?} and {claims:?}");
        let state = self.shared.observer.state();
        let node = state.node(&self.here).context("the Node is gone")?;
        ensure!(!node.unschedulable && !node.cordon_mark, "the Node is cordoned");
        ensure!(state.holder(&self.here).is_none(), "the slot is held");
        Ok(())
    }
}
