//! What `kubectl drain` would do with each pod of the zoo.
//!
//! `--dry-run=client` decides; `--dry-run=server` decides by the same filters and then asks the API server for each
//! eviction, whose answer says nothing of the pod's kind.

use std::collections::BTreeMap;
use std::process::Output;

use anyhow::{Context, Result, ensure};

use super::zoo::{LABEL, NODE, ZooPod};
use super::{Verdict, Verdicts};
use crate::control_plane::ControlPlane;

const FAILED: &str = "unable to drain node";
const REFUSES: &str = "cannot delete ";

/// The verdicts under these flags. A drain that is refused for one pod says nothing of the others, so it is asked
/// again without those.
pub(super) async fn ask(control_plane: &ControlPlane, flags: &[&str], pods: &[ZooPod]) -> Result<Verdicts> {
    let first = dry_run(control_plane, flags, "").await?;
    let mut verdicts: Verdicts = BTreeMap::new();
    for key in refused(&first)? {
        verdicts.insert(key, Verdict::Refuse);
    }
    let willing = if verdicts.is_empty() {
        first
    } else {
        let names: Vec<&str> = verdicts.keys().filter_map(|key| Some(key.split_once('/')?.1)).collect();
        let selector = format!("--pod-selector={LABEL} notin ({})", names.join(","));
        dry_run(control_plane, flags, &selector).await?
    };
    let text = String::from_utf8_lossy(&willing.stdout);
    ensure!(willing.status.success(), "kubectl drain: {}", String::from_utf8_lossy(&willing.stderr));
    for line in text.lines().filter_map(|line| line.strip_prefix("evicting pod ")) {
        let key = line.strip_suffix(" (dry run)").with_context(|| format!("kubectl says: {line}"))?;
        verdicts.insert(key.to_owned(), Verdict::Evict);
    }
    for pod in pods {
        verdicts.entry(pod.key()).or_insert(Verdict::Leave);
    }
    ensure!(verdicts.len() == pods.len(), "kubectl speaks of pods that are not there");
    Ok(verdicts)
}

async fn dry_run(control_plane: &ControlPlane, flags: &[&str], selector: &str) -> Result<Output> {
    let mut arguments = vec!["drain", NODE, "--dry-run=client"];
    arguments.extend(flags);
    arguments.extend(Some(selector).filter(|selector| !selector.is_empty()));
    control_plane.kubectl_output(&arguments, None).await
}

/// `… due to error: [cannot delete WHAT (use --FLAG …): a/b, c/d, cannot delete WHAT: e/f], continuing command...`
fn refused(output: &Output) -> Result<Vec<String>> {
    let text = String::from_utf8_lossy(&output.stderr);
    let Some(line) = text.lines().find(|line| line.contains(FAILED)) else { return Ok(Vec::new()) };
    let list = line.strip_suffix(", continuing command...").context("kubectl's error has another end")?;
    let mut keys = Vec::new();
    for part in list.split(REFUSES).skip(1) {
        let (_, names) = part.split_once(": ").with_context(|| format!("kubectl says: {part}"))?;
        let names = names.trim_end_matches([']', ',', ' ']);
        keys.extend(names.split(", ").map(str::to_owned));
    }
    ensure!(keys.iter().all(|key| key.contains("/pod-")), "not only pods: {keys:?}");
    Ok(keys)
}
