//! The manifests reach a cluster by kustomize and by Helm as by `kubectl apply`, and an upgrade frees no slot.

use anyhow::{Context, Result, ensure};

use super::rights::cluster::manifests;
use super::stage::{SLOT, Stage};
use crate::progress::say;

/// Who holds the slot while all is applied again.
const HOLDER: &str = "node1";

pub(super) async fn run(stage: &Stage) -> Result<()> {
    let cluster = &stage.lab.control_plane;
    let directory = manifests().join("..").canonicalize()?;
    let directory = directory.to_str().context("a path")?;
    let files = format!("{directory}/manifests/");

    cluster.kubectl(&["apply", "-k", directory]).await?;
    claim(stage).await?;
    for again in [["-k", directory], ["-f", &files]] {
        let changed = cluster.kubectl(&["apply", again[0], again[1]]).await?;
        let changed: Vec<&str> = changed.lines().filter(|line| !line.ends_with(" unchanged")).collect();
        ensure!(changed.is_empty(), "applied again, {} changes: {changed:?}", again[0]);
        is_held(stage).await?;
    }
    cluster.kubectl(&["delete", "-k", directory]).await?;
    say("kustomize applies and removes what the manifests say");

    if !cluster.has_helm().await? {
        say("left out: the same by Helm, which can be neither found nor built here");
        return Ok(());
    }
    cluster.helm(&["install", "rebootd", directory]).await?;
    claim(stage).await?;
    cluster.helm(&["upgrade", "rebootd", directory, "--set", "image=example.com/pause:1"]).await?;
    is_held(stage).await?;
    let image = "-ojsonpath={.spec.template.spec.containers[0].image}";
    let image = cluster.kubectl(&["get", "daemonset", "rebootd-credential", "-n", "rebootd", image]).await?;
    ensure!(image == "example.com/pause:1", "the image is {image}");
    cluster.helm(&["rollback", "rebootd", "1"]).await?;
    is_held(stage).await?;
    let differs = cluster.kubectl_output(&["diff", "-f", &files], None).await?;
    ensure!(
        differs.status.success(),
        "Helm made something else: {}",
        String::from_utf8_lossy(&differs.stdout)
    );
    cluster.helm(&["uninstall", "rebootd"]).await?;
    let left = cluster.kubectl(&["get", "clusterroles,validatingadmissionpolicies", "-oname"]).await?;
    ensure!(!left.contains("rebootd"), "Helm leaves behind: {left}");
    say("Helm installs, upgrades and removes the same");
    Ok(())
}

async fn claim(stage: &Stage) -> Result<()> {
    let claim = format!(r#"{{"spec":{{"holderIdentity":"{HOLDER}"}}}}"#);
    let patch =
        ["patch", "lease", SLOT, "-n", "rebootd", "--type=merge", "--field-manager=rebootd", "-p", &claim];
    stage.lab.control_plane.kubectl(&patch).await?;
    Ok(())
}

async fn is_held(stage: &Stage) -> Result<()> {
    let holder = ["get", "lease", SLOT, "-n", "rebootd", "-ojsonpath={.spec.holderIdentity}"];
    let holder = stage.lab.control_plane.kubectl(&holder).await?;
    ensure!(holder == HOLDER, "the slot is held by {holder:?}");
    Ok(())
}
