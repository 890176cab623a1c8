//! What `rebootctl rehearse` says, for scenarios and the benchmark.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::control_plane::ControlPlane;

/// What a rehearsal found, and how it ended.
pub(crate) struct Rehearsal {
    pub(crate) code: Option<i32>,
    pub(crate) found: Value,
}

impl Rehearsal {
    /// By this `rebootctl`, as the administrator or whose kubeconfig it is.
    pub(crate) async fn of(
        control_plane: &ControlPlane,
        program: &Path,
        arguments: &[&str],
        kubeconfig: Option<&Path>,
    ) -> Result<Rehearsal> {
        let named = kubeconfig.map(|path| format!("--kubeconfig={}", path.display()));
        let mut all = vec!["rehearse", "--json"];
        all.extend(arguments);
        all.extend(named.as_deref());
        let output = control_plane.rebootctl_output(program, &all).await?;
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        let found =
            serde_json::from_slice(&output.stdout).with_context(|| format!("no JSON, but: {told}"))?;
        Ok(Rehearsal { code: output.status.code(), found })
    }

    /// What was judged, the worst first.
    pub(crate) fn workloads(&self) -> impl Iterator<Item = &Value> {
        self.found["workloads"].as_array().into_iter().flatten()
    }

    /// A finding of a workload.
    pub(crate) fn finding(&self, workload: &str, id: &str) -> Result<&Value> {
        let is_of_it = |it: &&Value| it["workload"].as_str().is_some_and(|it| it.ends_with(workload));
        let mut findings = self.workloads().filter(is_of_it).flat_map(findings);
        findings
            .find(|it| it["id"] == id)
            .with_context(|| format!("no {id} of {workload} in {:#}", self.found))
    }

    pub(crate) fn does_not_look_at(&self, what: &str) -> bool {
        self.found["workloads"][0]["not_looked_at"].to_string().contains(what)
    }
}

/// The findings of a workload.
pub(crate) fn findings(workload: &Value) -> impl Iterator<Item = &Value> {
    workload["findings"].as_array().into_iter().flatten()
}
