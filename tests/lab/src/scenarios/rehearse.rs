//! What `rebootctl rehearse` says before a drain, with the rights of an administrator and of developers: it has to agree
//! with what then happens.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::stage::Stage;
use crate::host::Host;
use crate::progress::say;

/// What a rehearsal found, and how it ended.
struct Rehearsal {
    code: Option<i32>,
    found: Value,
}

impl Rehearsal {
    async fn of(
        stage: &Stage,
        host: &Host,
        arguments: &[&str],
        kubeconfig: Option<&Path>,
    ) -> Result<Rehearsal> {
        let program = host.root().join("usr/bin/rebootctl");
        let named = kubeconfig.map(|path| format!("--kubeconfig={}", path.display()));
        let mut all = vec!["rehearse", "--json"];
        all.extend(arguments);
        all.extend(named.as_deref());
        let output = stage.lab.control_plane.rebootctl_output(&program, &all).await?;
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        let found =
            serde_json::from_slice(&output.stdout).with_context(|| format!("no JSON, but: {told}"))?;
        Ok(Rehearsal { code: output.status.code(), found })
    }

    /// A finding of a workload.
    fn finding(&self, workload: &str, id: &str) -> Result<&Value> {
        let workloads = self.found["workloads"].as_array().into_iter().flatten();
        let mut findings = workloads
            .filter(|it| it["workload"].as_str().is_some_and(|it| it.ends_with(workload)))
            .flat_map(|it| it["findings"].as_array().into_iter().flatten());
        findings
            .find(|it| it["id"] == id)
            .with_context(|| format!("no {id} of {workload} in {:#}", self.found))
    }

    fn does_not_look_at(&self, what: &str) -> bool {
        self.found["workloads"][0]["not_looked_at"].to_string().contains(what)
    }
}

/// With the rights that Kubernetes gives to this role, in one namespace.
async fn developer(stage: &Stage, host: &Host, role: &str, arguments: &[&str]) -> Result<Rehearsal> {
    let user = format!("{role}er");
    let (of_role, of_user) = (format!("--clusterrole={role}"), format!("--user={user}"));
    stage.lab.control_plane.kubectl(&["create", "rolebinding", role, &of_role, &of_user]).await?;
    Rehearsal::of(stage, host, arguments, Some(&stage.kubeconfig_of(&user)?)).await
}

/// Before the drain: the budget is named, whoever asks, and so is what could not be looked at.
pub(super) async fn it_blocks(stage: &Stage, host: &Host, name: &str) -> Result<()> {
    let workload = format!("deployment/{name}");
    let arguments = ["--namespace=default", "--patience=0s", "--workload", name];
    let administrator = Rehearsal::of(stage, host, &arguments, None).await?;
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

    let node = Rehearsal::of(stage, host, &[host.name()], None).await?;
    ensure!(node.code == Some(2), "{:#}", node.found);
    node.finding(&workload, "budget-never")?;
    say("rehearsed: the budget would be in the way");
    Ok(())
}

/// The remedy, pasted as it is, ends the finding.
pub(super) async fn the_remedy_helps(stage: &Stage, host: &Host, name: &str) -> Result<()> {
    let workload = format!("deployment/{name}");
    let arguments = ["--namespace=default", "--workload", name];
    let before = Rehearsal::of(stage, host, &[&arguments[..], &["--patience=0s"]].concat(), None).await?;
    let remedy = &before.finding(&workload, "budget-never")?["remedy"];
    let (object, yaml) = (remedy["object"].as_str().unwrap_or(""), remedy["yaml"].as_str().unwrap_or(""));
    stage.lab.control_plane.kubectl(&["patch", object, "--type=merge", "--patch", yaml]).await?;
    // The disruption controller needs a moment, for which it is asked again.
    let after = Rehearsal::of(stage, host, &arguments, None).await?;
    ensure!(after.finding(&workload, "budget-never").is_err(), "{:#}", after.found);
    // They may run on this node only, so the one that has left does not come back before the other may leave.
    let stuck = after.finding(&workload, "nowhere-to-go")?;
    ensure!(after.code == Some(2) && stuck["severity"] == "blocks", "{:?} {:#}", after.code, after.found);
    say("the finding is over once its remedy is applied");
    Ok(())
}
