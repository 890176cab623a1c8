//! kill -9 of the daemon wherever it stands: the next start goes on, loses nothing and does nothing twice (P5).
//!
//! Two hosts in two pools are tried at the same time, each with phases of its own.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::time::{Instant, sleep, timeout};
use tokio::try_join;

use super::stage::{CONFIG, CYCLE, SOON, Stage, kill_daemon, request_reboot};
use super::status::{Status, wait_phase, wait_status};
use super::verdict;
use crate::host::Host;
use crate::progress::say;
use crate::proxy::{Action, Hit, Rule, RuleHandle, Verb};

const OTHER_POOL: &str = "[node]\npool = \"control-plane\"\n";
const PODS: u32 = 3;
/// The shortest there is: how long a host believes in a reboot that was asked for and did not come.
const REBOOT_TIMEOUT: &str = "reboot_timeout = \"30s\"\n";

pub(super) async fn run(stage: &Stage) -> Result<()> {
    let [first, second] = [1, 2].map(|number| stage.host(number));
    let config = format!("{CONFIG}{REBOOT_TIMEOUT}");
    stage.install(first, &config).await?;
    stage.install(second, &format!("{config}{OTHER_POOL}")).await?;
    for host in [first, second] {
        stage.pods_on(host, PODS, 5).await?;
    }
    let on_first = async {
        cycle(stage, first, 1, while_waiting(stage, first)).await?;
        cycle(stage, first, 2, while_draining(stage, first)).await?;
        cycle(stage, first, 3, while_returning(first)).await?;
        cycle(stage, first, 4, while_uncordoning(stage, first)).await
    };
    let on_second = async {
        cycle(stage, second, 1, while_claiming(stage, second)).await?;
        cycle(stage, second, 2, while_cordoning(stage, second)).await?;
        cycle(stage, second, 3, while_rebooting(stage, second)).await?;
        cycle(stage, second, 4, while_releasing(stage, second)).await
    };
    try_join!(on_first, on_second)?;
    let history = stage.observer.history();
    ensure!(history.gaps().is_empty(), "the observer may have missed something: {:?}", history.gaps());
    for pool in ["worker", "control-plane"] {
        let most = history.max_disrupted_at_once_in(pool);
        ensure!(most.count() == 1, "disrupted at the same time in {pool}: {most:?}");
    }
    Ok(())
}

/// One reboot from request to idle, with a kill in the middle, and what must be true afterwards.
async fn cycle(
    stage: &Stage,
    host: &Host,
    number: usize,
    kill: impl Future<Output = Result<()>>,
) -> Result<()> {
    kill.await.with_context(|| format!("{}, cycle {number}", host.name()))?;
    host.wait_boot_number(number + 1, CYCLE).await?;
    verdict::settled(stage, host).await?;
    verdict::booted(host, number + 1)?;
    verdict::cordoned(&stage.observer.history(), host.name(), number)?;
    let evicted = verdict::evicted_once(stage, host.name())?;
    ensure!(evicted == number * PODS as usize, "{}: {evicted} evictions in {number} cycles", host.name());
    // The next cycle needs them.
    let pods = format!("deployment/only-on-{}", host.name());
    stage.lab.kubectl(&["rollout", "status", &pods, "--timeout=60s"]).await?;
    Ok(())
}

async fn while_waiting(stage: &Stage, host: &Host) -> Result<()> {
    // A person holds the slot, so that there is something to wait for.
    stage.set_holder("\"a-person\"").await?;
    request_reboot(host).await?;
    let waits = |status: &Status| status.says("no-free-slot", &["a-person"]);
    wait_status(host, "waiting for the slot", waits, SOON).await?;
    kill_daemon(host, "waiting").await?;
    wait_status(host, "waiting again", waits, SOON).await?;
    stage.set_holder("null").await
}

async fn while_draining(stage: &Stage, host: &Host) -> Result<()> {
    request_reboot(host).await?;
    stage.wait_mid_drain(host.name()).await?;
    kill_daemon(host, "draining").await
}

async fn while_returning(host: &Host) -> Result<()> {
    let boots = host.boots().len();
    request_reboot(host).await?;
    host.wait_boot_number(boots + 1, CYCLE).await?;
    wait_phase(host, "returning", SOON).await?;
    kill_daemon(host, "returning").await
}

async fn while_claiming(stage: &Stage, host: &Host) -> Result<()> {
    let claim = Rule::new(Verb::Patch, "leases").body_contains("\"holderIdentity\":\"");
    while_unanswered(stage, host, claim, "its claim").await
}

async fn while_uncordoning(stage: &Stage, host: &Host) -> Result<()> {
    let uncordon = Rule::new(Verb::Patch, "nodes").body_contains("\"unschedulable\":null");
    while_unanswered(stage, host, uncordon, "its uncordon").await
}

async fn while_releasing(stage: &Stage, host: &Host) -> Result<()> {
    let release = Rule::new(Verb::Patch, "leases").body_contains("\"holderIdentity\":null");
    while_unanswered(stage, host, release, "its release").await
}

/// The host must neither believe that it rebooted nor reboot twice.
async fn while_rebooting(stage: &Stage, host: &Host) -> Result<()> {
    let stamp = Rule::new(Verb::Patch, "leases").body_contains("\"rebootd.io/rebooting\":\"");
    while_unanswered(stage, host, stamp, "its stamp").await?;
    wait_phase(host, "rebooting", SOON).await?;
    Ok(())
}

/// A write is applied and its answer lost.
async fn while_unanswered(stage: &Stage, host: &Host, write: Rule, what: &str) -> Result<()> {
    let write = stage.lab.proxy(host.name()).add(write.nth(1), Action::HoldAnswer);
    request_reboot(host).await?;
    let hit = timeout(CYCLE, write.wait_hit()).await.with_context(|| format!("{what} did not come"))?;
    kill_daemon(host, &format!("{what} is applied and not yet answered")).await?;
    hit.drop_request();
    write.remove();
    Ok(())
}

/// The cordon is on its way and arrives when the next process has already sent its own.
async fn while_cordoning(stage: &Stage, host: &Host) -> Result<()> {
    let proxy = stage.lab.proxy(host.name());
    let cordon = || Rule::new(Verb::Patch, "nodes").body_contains("\"unschedulable\":true");
    let late = proxy.add(cordon().nth(1), Action::Hold);
    request_reboot(host).await?;
    let late_hit = hit(&late, "the cordon").await?;
    // Before the next process runs: it may be quick.
    let again = proxy.add(cordon(), Action::Delay(Duration::ZERO));
    kill_daemon(host, "its cordon is on its way").await?;
    hit(&again, "the second cordon").await?;
    late_hit.release();
    let answer = || proxy.requests().get(late_hit.number).and_then(|request| request.server_status);
    let deadline = Instant::now() + SOON;
    while answer().is_none() {
        ensure!(Instant::now() < deadline, "the late cordon did not reach the server");
        sleep(Duration::from_millis(50)).await;
    }
    say(format!("{}: the first cordon arrives late, answer {:?}", host.name(), answer()));
    late.remove();
    again.remove();
    Ok(())
}

async fn hit(rule: &RuleHandle, what: &str) -> Result<Hit> {
    timeout(SOON, rule.wait_hit()).await.with_context(|| format!("{what} did not come"))
}
