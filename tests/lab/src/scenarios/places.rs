//! Places in a cycle at which a host is kept, so that something can happen to it just there.
//!
//! For hosts with a pool of their own ([`Stage::install_alone`]).

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::{sleep, timeout};

use super::stage::{CYCLE, SENTINEL, SOON, Stage, request_reboot, slot_of};
use super::status::{Status, wait_phase, wait_status};
use super::verdict;
use crate::host::Host;
use crate::progress::say;
use crate::proxy::{Action, Hit, Rule, RuleHandle, Verb};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A person holds the slot.
    Waiting,
    /// The claim is on its way.
    Claiming,
    /// The slot is claimed, and the cordon on its way.
    Cordoning,
    /// Cordoned, and a budget allows nothing.
    Draining,
    /// The stamp is on its way.
    Stamping,
    /// The slot is stamped, and the answer on its way: logind was not asked yet.
    Stamped,
    /// The host has rebooted, and the kubelet's reports do not get through.
    Returning,
    /// The request is gone, and the uncordon on its way.
    Aborting,
}

/// A host at its place, until it is let go.
pub(super) struct Kept<'stage> {
    stage: &'stage Stage,
    host: &'stage Host,
    pub(super) place: Place,
    rule: Option<RuleHandle>,
    /// What is held: the first of them, as the daemon tries again.
    pub(super) hit: Option<Hit>,
}

/// Asks for a reboot and keeps the host where it is wanted.
pub(super) async fn keep<'stage>(
    stage: &'stage Stage,
    host: &'stage Host,
    place: Place,
) -> Result<Kept<'stage>> {
    let proxy = stage.lab.proxy(host.name());
    let patch = |resource: &str, part: &str| Rule::new(Verb::Patch, resource).body_contains(part);
    let held = match place {
        Place::Claiming => Some((patch("leases", "\"holderIdentity\":\""), Action::Hold)),
        Place::Cordoning => Some((patch("nodes", "\"unschedulable\":true"), Action::Hold)),
        Place::Stamping => Some((patch("leases", "\"rebootd.io/rebooting\":\""), Action::Hold)),
        Place::Stamped => Some((patch("leases", "\"rebootd.io/rebooting\":\"").nth(1), Action::HoldAnswer)),
        Place::Aborting => Some((patch("nodes", "\"unschedulable\":null"), Action::Hold)),
        Place::Waiting | Place::Draining | Place::Returning => None,
    };
    let mut rule = held.map(|(rule, action)| proxy.add(rule.from_agent("rebootd"), action));
    let kept = |rule, hit| Kept { stage, host, place, rule, hit };
    match place {
        Place::Waiting => {
            stage.set_holder_of(&slot_of(host), "\"a-person\"").await?;
            request_reboot(host).await?;
            let waits = |status: &Status| status.says("no-free-slot", &["a-person"]);
            wait_status(host, "waiting for the slot", waits, SOON).await?;
            return Ok(kept(None, None));
        }
        Place::Draining | Place::Aborting => {
            stage.stuck_pods_on(host, 1).await?;
            request_reboot(host).await?;
            let stuck = |status: &Status| status.says("pods-left", &["blocked by budget"]);
            wait_status(host, "stuck in its drain", stuck, CYCLE).await?;
            if place == Place::Draining {
                return Ok(kept(None, None));
            }
            host.run_ok(&["rm", SENTINEL]).await?;
        }
        Place::Returning => {
            let boots = host.boots().len();
            request_reboot(host).await?;
            host.wait_boot_number(boots + 1, CYCLE).await?;
            let reports = Rule::new(Verb::Patch, "nodes/status");
            rule = Some(proxy.add(reports, Action::DropBefore));
            wait_phase(host, "returning", SOON).await?;
            return Ok(kept(rule, None));
        }
        _ => request_reboot(host).await?,
    }
    let rule = rule.context("nothing is held there")?;
    let hit = timeout(CYCLE, rule.wait_hit()).await;
    let hit = hit.with_context(|| format!("{} does not come to {place:?}", host.name()))?;
    say(format!("{} is kept at {place:?}", host.name()));
    Ok(kept(Some(rule), Some(hit)))
}

impl Kept<'_> {
    /// Lets it go on; what was held arrives now.
    pub(super) async fn let_go(self) -> Result<()> {
        if let Some(rule) = &self.rule {
            rule.remove();
        }
        match self.place {
            Place::Waiting => self.stage.set_holder_of(&slot_of(self.host), "null").await?,
            Place::Draining | Place::Aborting => {
                let budget = format!("stuck-on-{}", self.host.name());
                self.stage.lab.kubectl(&["delete", "poddisruptionbudget", &budget]).await?;
            }
            _ => {}
        }
        Ok(())
    }
}

/// What the server answered to what was held, once that has been let go.
pub(super) async fn late_answer(stage: &Stage, host: &Host, hit: &Hit) -> Result<u16> {
    let proxy = stage.lab.proxy(host.name());
    let answered = async {
        loop {
            if let Some(status) = proxy.requests().get(hit.number).and_then(|it| it.server_status) {
                return status;
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(SOON, answered).await.context("what was held does not reach the server")
}

/// Takes back what still asks for a reboot, forgets why the last attempt failed, and waits until all is clean.
pub(super) async fn clean(stage: &Stage, host: &Host) -> Result<()> {
    host.wait_booted(CYCLE).await?;
    let forget = format!(
        "rm -f {SENTINEL} {SENTINEL}.pkgs && systemctl stop rebootd && rm -f /var/lib/rebootd/state.json \
         && systemctl start rebootd"
    );
    host.run_ok(&["sh", "-c", &forget]).await?;
    verdict::settled(stage, host).await
}

/// Waits until the attempt is over: nothing is asked for any more, or a pause holds up the next one, or a person does
/// who has `taken` the slot.
pub(super) async fn over(host: &Host, taken: bool) -> Result<()> {
    let is_over = |status: &Status| {
        let by_person = taken && status.says("no-free-slot", &["a-person"]);
        let held_up = status.reason("backing-off").is_some() || by_person;
        status.phase == "idle" || (status.phase == "waiting" && held_up)
    };
    wait_status(host, "idle, or held up", is_over, CYCLE).await?;
    Ok(())
}
