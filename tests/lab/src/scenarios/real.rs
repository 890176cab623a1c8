//! Scenarios on hosts with real kubelets and real containers: what a hollow kubelet cannot show.

pub(super) mod boots;
pub(super) mod drains;
pub(super) mod findings;
mod pods;
mod processes;
pub(super) mod rollout;

use anyhow::{Context, Result, ensure};

use super::stage::Stage;
use crate::host::Host;
use crate::progress::say;

/// Where hosts have their kubelet's configuration.
const KUBELET: &str = "/etc/kubernetes/kubelet.yaml";

/// Changes how long the kubelet holds up a shutdown for its pods, and for critical ones at the end of that.
async fn set_shutdown_grace(host: &Host, seconds: u32, critical: u32) -> Result<()> {
    let script = format!(
        "sed -i -e 's/^shutdownGracePeriod:.*/shutdownGracePeriod: {seconds}s/' \
         -e 's/^shutdownGracePeriodCriticalPods:.*/shutdownGracePeriodCriticalPods: {critical}s/' {KUBELET} \
         && systemctl restart kubelet"
    );
    host.run_ok(&["sh", "-c", &script]).await?;
    Ok(())
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
