//! A host is gone for good, and its Node with it: what becomes of its slot, and what the cluster lets others do.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::stage::{CONFIG, CYCLE, SLOT, SOON, Stage, request_reboot};
use super::status::{Status, wait_status};
use super::verdict;
use crate::host::Host;
use crate::progress::say;
use crate::{control_plane, rebootd};

/// Ten minutes after somebody has noticed, which takes five at most.
const RECLAIMED: Duration = Duration::from_secs(16 * 60);
const STAMP: &str = "rebootd.io/rebooting";

/// The other host takes the slot back after ten minutes, and has its turn.
pub(super) async fn run(stage: &Stage) -> Result<()> {
    let [lost, other] = [stage.host(1), stage.host(2)];
    stage.install_everywhere(CONFIG).await?;
    abandon(stage, lost).await?;
    request_reboot(other).await?;
    let notices = |status: &Status| status.says("holder-missing", &["node1", "freed in"]);
    wait_status(other, "missing the holder's Node", notices, Duration::from_secs(320)).await?;
    let noticed = Instant::now();
    stage
        .wait_for("the slot is taken from node1", |state| state.holder(SLOT) != Some("node1"), RECLAIMED)
        .await?;
    let seconds = noticed.elapsed().as_secs();
    say(format!("the slot was taken back {seconds} s after the status had named it"));
    ensure!(seconds > 500, "much too soon");
    other.wait_boot_number(2, CYCLE).await?;
    verdict::settled(stage, other).await?;
    verdict::booted(other, 2)?;

    say("node1 comes back after all, with the name of old");
    lost.boot();
    lost.wait_boot_number(2, SOON).await?;
    lost.wait_booted(SOON).await?;
    stage.lab.wait_node_ready("node1", SOON).await?;
    // Its token died with its Node.
    let server = stage.lab.server_for("node1");
    rebootd::write_kubeconfig(&stage.lab.control_plane, lost, &server).await?;
    verdict::settled(stage, lost).await
}

/// What the admission policies let an agent do with the slots of others, and with its own.
pub(super) async fn policy(stage: &Stage) -> Result<()> {
    let [lost, other] = [stage.host(1), stage.host(2)];
    stage.install_everywhere(CONFIG).await?;
    for policy in ["rebootd-slots", "rebootd-holders"] {
        let checked = ["get", "validatingadmissionpolicy", policy, "-ojsonpath={.status.typeChecking}"];
        let warnings = stage.lab.kubectl(&checked).await?;
        ensure!(!warnings.contains("warning"), "{policy}: {warnings}");
    }
    let bound = Agent::new(stage, "bound", &other.read_file("/etc/rebootd/token").await?)?;
    let unbound = stage.lab.kubectl(&["create", "token", "rebootd", "-n", "rebootd"]).await?;
    let unbound = Agent::new(stage, "unbound", &unbound)?;

    stage.stuck_drain(lost).await?;
    bound.is_denied(FREE, "its Node exists").await?;
    // Two policies deny these; which of them is told is the server's choice.
    bound.is_denied(TAKE, "").await?;
    bound.is_denied(NOTE, "").await?;
    unbound.is_denied(TAKE, "freed first").await?;
    unbound.may(NOTE).await?;
    go_down(stage, lost).await?;

    annotate(stage, &format!("{STAMP}=changed-by-hand")).await?;
    bound.is_denied(FREE, "a person decides").await?;
    annotate(stage, &format!("{STAMP}-")).await?;
    bound.is_denied(NOTE, "may only free it").await?;
    bound.may_soon(FREE).await?;
    ensure!(stage.holder().is_none(), "the slot was not freed");

    say("its own slot: claim, claim again, release");
    for patch in [TAKE, NOTE, FREE] {
        bound.may(patch).await?;
    }
    say("an unbound token's, and a person's");
    for patch in [TAKE, FREE] {
        unbound.may(patch).await?;
    }
    stage.set_holder("\"node2\"").await?;
    stage.set_holder("\"a-person\"").await?;
    stage.set_holder("null").await?;

    request_reboot(other).await?;
    other.wait_boot_number(2, CYCLE).await?;
    verdict::settled(stage, other).await?;
    verdict::booted(other, 2)
}

/// Loses its power for good; its Node is deleted.
async fn go_down(stage: &Stage, host: &Host) -> Result<()> {
    host.stay_down(true);
    host.power_off_abruptly().await?;
    stage.lab.kubectl(&["delete", "node", host.name()]).await?;
    say(format!("{} is off, and its Node deleted", host.name()));
    Ok(())
}

async fn abandon(stage: &Stage, host: &Host) -> Result<()> {
    stage.stuck_drain(host).await?;
    go_down(stage, host).await
}

async fn annotate(stage: &Stage, annotation: &str) -> Result<()> {
    stage.lab.kubectl(&["annotate", "lease", SLOT, "-n", "rebootd", annotation]).await?;
    Ok(())
}

const FREE: &str = r#"{"spec":{"holderIdentity":null}}"#;
const TAKE: &str = r#"{"spec":{"holderIdentity":"node2"}}"#;
const NOTE: &str = r#"{"metadata":{"annotations":{"rebootd.io/nonce":"x"}}}"#;

/// Somebody with a token of the agents' account.
struct Agent<'stage> {
    stage: &'stage Stage,
    name: &'static str,
    kubeconfig: PathBuf,
}

impl<'stage> Agent<'stage> {
    fn new(stage: &'stage Stage, name: &'static str, token: &str) -> Result<Self> {
        let kubeconfig = stage.lab.directory().join(format!("{name}.kubeconfig"));
        let authority = stage.lab.control_plane.pki.ca();
        let all = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "lab",
            "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "agent"}}],
            "clusters": [{"name": "lab", "cluster": {
                "server": control_plane::server(), "certificate-authority": authority,
            }}],
            "users": [{"name": "agent", "user": {"token": token.trim()}}],
        });
        fs::write(&kubeconfig, all.to_string())?;
        Ok(Self { stage, name, kubeconfig })
    }

    async fn patch(&self, patch: &str, dry_run: &str) -> Result<String> {
        // Of two kubeconfigs kubectl takes the last.
        let kubeconfig = format!("--kubeconfig={}", self.kubeconfig.display());
        let slot =
            ["patch", "lease", SLOT, "-n", "rebootd", "--type=merge", "-p", patch, &kubeconfig, dry_run];
        self.stage.lab.kubectl(&slot).await
    }

    async fn may(&self, patch: &str) -> Result<()> {
        self.patch(patch, "--dry-run=none").await?;
        say(format!("{} may: {patch}", self.name));
        Ok(())
    }

    /// What the policy knows of Nodes may be a moment old.
    async fn may_soon(&self, patch: &str) -> Result<()> {
        let deadline = Instant::now() + SOON;
        while let Err(error) = self.patch(patch, "--dry-run=none").await {
            ensure!(Instant::now() < deadline, "{error:#}");
            sleep(Duration::from_millis(200)).await;
        }
        say(format!("{} may: {patch}", self.name));
        Ok(())
    }

    /// Only a question: a policy takes effect a moment after it was applied, and until then the answer is yes.
    async fn is_denied(&self, patch: &str, why: &str) -> Result<()> {
        let deadline = Instant::now() + SOON;
        loop {
            let denied = match self.patch(patch, "--dry-run=server").await {
                Ok(_) => None,
                Err(error) => {
                    Some(format!("{error:#}")).filter(|it| it.contains("ValidatingAdmissionPolicy"))
                }
            };
            if denied.as_ref().is_some_and(|denied| denied.contains(why)) {
                say(format!("{} may not: {patch}: {why}", self.name));
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "{} may: {patch}: {denied:?}", self.name);
            sleep(Duration::from_millis(200)).await;
        }
    }
}
