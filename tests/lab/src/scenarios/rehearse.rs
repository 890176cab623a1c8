//! What `rebootctl rehearse` says before a drain, with the rights of an administrator and of developers: it has to agree
//! with what then happens.

use std::path::Path;

use anyhow::{Result, ensure};

use super::stage::Stage;
use crate::host::Host;
use crate::progress::say;
use crate::rehearsal::Rehearsal;

async fn rehearse(
    stage: &Stage,
    host: &Host,
    arguments: &[&str],
    kubeconfig: Option<&Path>,
) -> Result<Rehearsal> {
    let program = host.root().join("usr/bin/rebootctl");
    Rehearsal::of(&stage.lab.control_plane, &program, arguments, kubeconfig).await
}

/// With the rights that Kubernetes gives to this role, in one namespace.
async fn developer(stage: &Stage, host: &Host, role: &str, arguments: &[&str]) -> Result<Rehearsal> {
    let user = format!("{role}er");
    let (of_role, of_user) = (format!("--clusterrole={role}"), format!("--user={user}"));
    stage.lab.control_plane.kubectl(&["create", "rolebinding", role, &of_role, &of_user]).await?;
    rehearse(stage, host, arguments, Some(&stage.kubeconfig_of(&user)?)).await
}

/// Before the drain: the budget is named, whoever asks, and so is what could not be looked at.
pub(super) async fn it_blocks(stage: &Stage, host: &Host, name: &str) -> Result<()> {
    let workload = format!("deployment/{name}");
    let arguments = ["--namespace=default", "--patience=0s", "--workload", name];
    let administrator = rehearse(stage, host, &arguments, None).await?;
    let editor = developer(stage, host, "edit", &arguments).await?;
    let viewer = developer(stage, host, "view", &arguments).await?;
    let asked = "Cannot evict pod as it would violate the pod's disruption budget";
    for (it, may_ask) in [(&administrator, true), (&editor, true), (&viewer, false)] {
        ensure!(it.code == Some(2), "{:?} {:#}", it.code, it.found);
        let evidence = it.finding(&workload, "budget-never")?["evidence"].to_string();
        ensure!(evidence.contains(asked) == may_ask, "{:#}", it.found);
        ensure!(it.does_not_look_at("no right to create pods/eviction") != may_ask, "{:#}", it.found);
    }
    // It may run on this node only.
    administrator.finding(&workload, "nowhere-to-go")?;
    ensure!(editor.does_not_look_at("no right to list nodes"), "{:#}", editor.found);

    let node = rehearse(stage, host, &[host.name()], None).await?;
    ensure!(node.code == Some(2), "{:#}", node.found);
    node.finding(&workload, "budget-never")?;
    say("rehearsed: the budget would be in the way");
    Ok(())
}

/// The remedy, pasted as it is, ends the finding.
pub(super) async fn the_remedy_helps(stage: &Stage, host: &Host, name: &str) -> Result<()> {
    let workload = format!("deployment/{name}");
    let arguments = ["--namespace=default", "--workload", name];
    let before = rehearse(stage, host, &[&arguments[..], &["--patience=0s"]].concat(), None).await?;
    let remedy = &before.finding(&workload, "budget-never")?["remedy"];
    let (object, yaml) = (remedy["object"].as_str().unwrap_or(""), remedy["yaml"].as_str().unwrap_or(""));
    stage.lab.control_plane.kubectl(&["patch", object, "--patch", yaml]).await?;
    // The disruption controller needs a moment, for which it is asked again.
    let after = rehearse(stage, host, &arguments, None).await?;
    ensure!(after.finding(&workload, "budget-never").is_err(), "{:#}", after.found);
    // They may run on this node only, so the one that has left does not come back before the other may leave.
    let stuck = after.finding(&workload, "nowhere-to-go")?;
    ensure!(after.code == Some(2) && stuck["severity"] == "blocks", "{:?} {:#}", after.code, after.found);
    say("the finding is over once its remedy is applied");
    Ok(())
}
