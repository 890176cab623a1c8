//! The fleet's policy, as real edits of its ConfigMap: it holds and opens, a typo starts nothing, and a node on its way back
//! finishes whatever its configuration says.

use anyhow::{Result, ensure};

use super::stage::{CYCLE, SOON, Stage, request_reboot, run_anyway, unit};
use super::status::{Status, wait_phase, wait_status};
use super::verdict;
use crate::audit::{self, Filter};
use crate::host::Host;
use crate::progress::say;

const FILE: &str = "/etc/rebootd/config.toml";
const CONFIG: &str = "[gates]\nrequire_synchronized_clock = false\n[node]\npool = \"node1\"\n[policy]\nwindow = \"always\"\nmin_interval = \"0\"\nsettle = \"15s\"\n";
const FROZEN: &str = "[[nodes]]\nselector = \"disk=slow\"\n[nodes.policy]\n\
    freeze = { from = \"2020-01-01\", to = \"2120-01-01\", why = \"slow disks\" }\n";

pub(super) async fn run(stage: &Stage) -> Result<()> {
    let host = stage.host(1);
    stage.lab.kubectl(&["label", "node", host.name(), "disk=slow"]).await?;
    stage.install(host, CONFIG).await?;
    stage.apply_slot_of(host).await?;
    wait_phase(host, "idle", SOON).await?;
    let questions = Filter::new().user_agent("rebootd/").resource("configmaps");
    let asked = audit::total(&stage.lab.control_plane.audit_log(), &questions)?;
    ensure!(asked == 0, "an idle node has asked for the policy {asked} times");

    apply(stage, &FROZEN.replace("freeze", "freze")).await?;
    request_reboot(host).await?;
    let typo =
        |status: &Status| status.says("policy-unreadable", &["freze", "did you mean [nodes.policy.freeze]?"]);
    wait_status(host, "a typo starts nothing", typo, SOON).await?;
    let refused = host.run(&["rebootctl", "windows"]).await?;
    ensure!(!refused.status.success(), "rebootctl windows passes over a policy that is not understood");
    apply(stage, FROZEN).await?;
    let frozen = |status: &Status| status.says("frozen", &["slow disks"]);
    wait_status(host, "frozen by the policy", frozen, SOON).await?;
    origins(host).await?;
    verdict::booted(host, 1)?;
    say("the node gets another label: the freeze is for others");
    stage.lab.kubectl(&["label", "--overwrite", "node", host.name(), "disk=fast"]).await?;
    host.wait_boot_number(2, CYCLE).await?;

    let returning = |status: &Status| status.phase == "returning";
    wait_status(host, "on the way back", returning, SOON).await?;
    host.write_file(FILE, CONFIG.replace("always", "alwys")).await?;
    host.run_ok(&["systemctl", "restart", "rebootd"]).await?;
    let broken = |status: &Status| status.says("configuration-unreadable", &[FILE, "alwys"]);
    wait_status(
        host,
        "on the way back with a broken file",
        |status| returning(status) && broken(status),
        SOON,
    )
    .await?;
    verdict::settled(stage, host).await?;
    say("it has finished its return; nothing new begins");
    request_reboot(host).await?;
    let held = |status: &Status| status.phase == "waiting" && broken(status);
    wait_status(host, "waiting for the file to be mended", held, SOON).await?;
    let pid = unit(host, "MainPID").await?;
    let (code, _) = run_anyway(host, &["systemctl", "reload", "rebootd"]).await?;
    ensure!(code != Some(0), "a reload with a broken file succeeds");
    ensure!(unit(host, "MainPID").await? == pid, "a reload that fails ends the daemon");
    verdict::booted(host, 2)?;

    stage.lab.kubectl(&["label", "--overwrite", "node", host.name(), "disk=slow"]).await?;
    host.write_file(FILE, CONFIG).await?;
    host.run_ok(&["systemctl", "reload", "rebootd"]).await?;
    wait_status(host, "frozen again once it is mended", frozen, SOON).await?;
    verdict::booted(host, 2)?;
    stage.lab.kubectl(&["delete", "configmap", "policy", "--namespace=rebootd"]).await?;
    host.wait_boot_number(3, CYCLE).await?;
    verdict::settled(stage, host).await
}

/// Applies a policy, as the shipped sample is applied.
async fn apply(stage: &Stage, policy: &str) -> Result<()> {
    let indented: String = policy.lines().map(|line| format!("    {line}\n")).collect();
    let manifest = format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: policy, namespace: rebootd}}\n\
         data:\n  policy.toml: |\n    version = 1\n{indented}"
    );
    stage.lab.control_plane.apply(&manifest).await
}

/// Whoever asks sees which value comes from where.
async fn origins(host: &Host) -> Result<()> {
    let text = host.run_ok(&["rebootctl", "config"]).await?;
    say(format!("what people see:\n{text}"));
    let origin = |key: &str| {
        let line = text.lines().find(|line| line.starts_with(&format!("{key} ")));
        line.and_then(|line| line.rsplit_once("# ")).map(|(_, origin)| origin.to_owned())
    };
    for (key, expected) in [
        ("policy.freeze", "ConfigMap rebootd/policy, policy.toml:5:10"),
        ("policy.settle", "/etc/rebootd/config.toml:8:10"),
        ("policy.reboot_tries", "default"),
    ] {
        ensure!(origin(key).as_deref() == Some(expected), "{key} comes from {:?}", origin(key));
    }
    let sample = "/usr/share/rebootd/manifests/optional/policy.yaml";
    host.run_ok(&["rebootctl", "config", "check", sample, FILE]).await?;
    Ok(())
}
