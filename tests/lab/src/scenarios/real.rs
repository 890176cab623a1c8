//! Scenarios on hosts with real kubelets and real containers: what a hollow kubelet cannot show.

pub(super) mod alerts;
pub(super) mod boots;
pub(super) mod drains;
pub(super) mod enrolment;
pub(super) mod findings;
mod pods;
mod processes;
pub(super) mod rollout;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::time::{Instant, sleep};

use super::stage::{SOON, Stage};
use crate::host::Host;
use crate::progress::say;

/// Where hosts have their kubelet's configuration.
const KUBELET: &str = "/etc/kubernetes/kubelet.yaml";

/// Changes how long the kubelet holds up a shutdown for its pods, and for critical ones at the end of that.
async fn set_shutdown_grace(stage: &Stage, host: &Host, seconds: u32, critical: u32) -> Result<()> {
    let before = reported_at(stage, host).await?;
    let script = format!(
        "sed -i -e 's/^shutdownGracePeriod:.*/shutdownGracePeriod: {seconds}s/' \
         -e 's/^shutdownGracePeriodCriticalPods:.*/shutdownGracePeriodCriticalPods: {critical}s/' {KUBELET} \
         && systemctl restart kubelet"
    );
    host.run_ok(&["sh", "-c", &script]).await?;
    // The first that a kubelet reports after its start may be that it is not ready.
    let deadline = Instant::now() + SOON;
    while reported_at(stage, host).await? == before {
        ensure!(Instant::now() < deadline, "the kubelet of {} does not report after its start", host.name());
        sleep(Duration::from_millis(250)).await;
    }
    stage.lab.wait_node_ready(host.name(), SOON).await
}

/// When the kubelet last reported, as the Node says.
async fn reported_at(stage: &Stage, host: &Host) -> Result<String> {
    let path = "-ojsonpath={.status.conditions[?(@.type==\"Ready\")].lastHeartbeatTime}";
    stage.lab.kubectl(&["get", "node", host.name(), path]).await
}

/// When our cordon went, which only follows proof that the node is as before, this pod's process had begun in this boot.
async fn back_before_uncordon(stage: &Stage, host: &Host, pod: &str) -> Result<()> {
    let history = stage.observer.history();
    let disruption = history.disruptions().into_iter().rfind(|it| it.node == host.name());
    let uncordoned = disruption.and_then(|it| it.until).context("never uncordoned")?;
    let uncordoned = processes::uptime_at(stage, uncordoned)?;
    let booted = processes::uptime_of(host.boots().last().context("never on")?.started)?;
    let all = processes::of(host)?;
    let begun = all.iter().rfind(|it| it.pod.starts_with(pod) && (booted..uncordoned).contains(&it.began));
    let begun = begun.with_context(|| format!("{}: uncordoned before {pod} ran: {all:#?}", host.name()))?;
    ensure!(begun.term.is_none_or(|term| term > uncordoned), "{pod} was ending at the uncordon");
    say(format!(
        "{}: {} ran {:.1} s after the boot, uncordoned after {:.1} s",
        host.name(),
        begun.pod,
        begun.began - booted,
        uncordoned - booted
    ));
    Ok(())
}
