//! A daemon finds out that policies are not in force, and that they are again; where it is told to, it claims nothing
//! until then. No try gives a token.

use std::fs;
use std::time::Duration;

use ::rebootd::decide::{Confinement, MANIFESTS};
use anyhow::{Result, ensure};
use tokio::time::{Instant, sleep};

use super::IN_FORCE;
use super::cluster::{Cluster, HERE, manifests};
use crate::audit::{self, Filter};
use crate::progress::say;
use crate::scenarios::stage::{CONFIG, CYCLE, SOON, Stage, request_reboot};
use crate::scenarios::status::{Status, wait_status};
use crate::scenarios::verdict;

const REASON: &str = "policies-not-in-force";
const ALL: &[&str] = &[
    "rebootd-nodes",
    "rebootd-slots",
    "rebootd-evictions",
    "rebootd-evictions-here",
    "rebootd-events",
    "rebootd-tokens",
];

pub(super) async fn run(stage: &Stage, cluster: &Cluster) -> Result<()> {
    let (host, kubectl) = (stage.host(1), &stage.lab.control_plane);
    kubectl.kubectl(&["delete", "lease", "pause", "-n", "rebootd"]).await?;
    stage.install_alone(host, CONFIG).await?;
    let confined = |status: &Status| status.phase == "idle" && status.reason(REASON).is_none();
    wait_status(host, "confined", confined, SOON).await?;

    other_manifests(stage, cluster).await?;
    let evictions = manifests().join("policies-evictions.yaml").display().to_string();
    let all = manifests().join("policies.yaml").display().to_string();
    kubectl.kubectl(&["delete", "-f", &evictions]).await?;
    wait_missing(stage, cluster, &["rebootd-evictions-here"]).await?;
    host.run_ok(&["systemctl", "restart", "rebootd"]).await?;
    let here = |status: &Status| status.says(REASON, &["credential: rebootd-evictions-here not in force"]);
    wait_status(host, "without one policy", here, SOON).await?;
    kubectl.kubectl(&["delete", "-f", &all]).await?;
    wait_missing(stage, cluster, ALL).await?;
    host.run_ok(&["systemctl", "restart", "rebootd"]).await?;
    wait_status(host, "without policies", |status| status.says(REASON, ALL), SOON).await?;

    host.write_file("/etc/rebootd/config.toml", format!("{CONFIG}[gates]\nrequire_policies = true\n"))
        .await?;
    host.run_ok(&["systemctl", "reload", "rebootd"]).await?;
    request_reboot(host).await?;
    let waits = |status: &Status| status.phase == "waiting" && status.says(REASON, ALL);
    wait_status(host, "waiting for policies", waits, SOON).await?;
    verdict::holds_nothing(stage, host.name())?;
    kubectl.apply_directory(&manifests()).await?;
    // The next try comes by itself.
    host.wait_boot_number(2, CYCLE).await?;
    verdict::settled(stage, host).await?;
    wait_status(host, "confined again", confined, SOON).await?;

    let tokens = Filter::new().user_agent("rebootd/").verb("create").resource("serviceaccounts/token");
    // The others are for the node's own credential.
    let mut tries = audit::requests(&kubectl.audit_log(), &tokens)?;
    tries.retain(|request| request.is_dry_run);
    say(format!("{} tries to get a token that must be refused", tries.len()));
    let answers: Vec<u16> = tries.iter().map(|request| request.status).collect();
    ensure!(answers.contains(&400) && answers.contains(&403), "{answers:?}");
    ensure!(answers.iter().all(|status| [400, 403].contains(status)), "a try gave a token: {answers:?}");
    Ok(())
}

/// Manifests that are older or newer than the daemon's own are told, and stop nothing.
async fn other_manifests(stage: &Stage, cluster: &Cluster) -> Result<()> {
    let host = stage.host(1);
    let ours = fs::read_to_string(manifests().join("policies.yaml"))?;
    let ours_in_words = format!("manifests version {MANIFESTS}\n");
    ensure!(ours.contains(&ours_in_words), "policies.yaml is not of the version {MANIFESTS}");
    for (version, reason) in [(MANIFESTS - 1, "manifests-older"), (MANIFESTS + 1, "manifests-newer")] {
        let policies = ours.replace(&ours_in_words, &format!("manifests version {version}\n"));
        stage.lab.control_plane.apply(&policies).await?;
        let theirs = |found: &Confinement| matches!(found, Confinement::Tried { manifests, .. } if *manifests == Some(version));
        wait_found(stage, cluster, theirs).await?;
        host.run_ok(&["systemctl", "restart", "rebootd"]).await?;
        let told = |status: &Status| status.phase == "idle" && status.reason(reason).is_some();
        wait_status(host, reason, told, SOON).await?;
    }
    stage.lab.control_plane.apply(&ours).await?;
    wait_found(stage, cluster, |found| !found.is_of_other_manifests()).await
}

/// Until the API server has noticed that these are gone.
async fn wait_missing(stage: &Stage, cluster: &Cluster, policies: &[&'static str]) -> Result<()> {
    wait_found(stage, cluster, |found| found.missing() == policies).await
}

/// Until a daemon would find this.
async fn wait_found(stage: &Stage, cluster: &Cluster, wanted: impl Fn(&Confinement) -> bool) -> Result<()> {
    let mut api = super::api(stage, cluster);
    let slots = api.slots().await?;
    let deadline = Instant::now() + IN_FORCE;
    loop {
        let confinement = api.confinement(cluster.uid(HERE), &slots).await?;
        if wanted(&confinement) {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "{confinement:?}");
        sleep(Duration::from_millis(200)).await;
    }
}
