//! Findings that were known before: only new ones count.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, ensure};
use serde::Deserialize;

use crate::read::read_named;
use crate::rehearse::{Finding, Judged, Severity, Verdict};
use crate::words::{NOTE, words};

/// The most bytes of the file.
const MOST: u64 = 64 << 20;

/// Workload, finding, and what it is about.
type Key = (String, String, Option<String>);

/// What an earlier rehearsal has found and nobody had accepted, and how much it mattered then.
#[derive(Debug, Default)]
pub(super) struct Baseline(BTreeMap<Key, Severity>);

#[derive(Deserialize)]
struct Earlier {
    namespace: String,
    workloads: Vec<EarlierWorkload>,
}

#[derive(Deserialize)]
struct EarlierWorkload {
    workload: String,
    findings: Vec<EarlierFinding>,
}

#[derive(Deserialize)]
struct EarlierFinding {
    id: String,
    about: Option<String>,
    severity: Severity,
    accepted: Option<String>,
}

impl Baseline {
    /// Of this namespace: names in another one are of other workloads.
    pub(super) fn read(path: &Path, namespace: &str) -> anyhow::Result<Baseline> {
        let text = read_named(path, MOST).with_context(|| path.display().to_string())?;
        let earlier: Earlier = serde_json::from_str(&text)
            .with_context(|| format!("{} is not what `rebootctl rehearse --json` prints", path.display()))?;
        let other = words(&earlier.namespace, NOTE);
        ensure!(other == namespace, "{} is of namespace {other}, and not of {namespace}", path.display());
        let keys = earlier.workloads.into_iter().flat_map(|it| {
            let workload = it.workload;
            let open = it.findings.into_iter().filter(|finding| finding.accepted.is_none());
            open.map(move |finding| ((workload.clone(), finding.id, finding.about), finding.severity))
        });
        Ok(Baseline(keys.collect()))
    }

    /// Whether it was found before, too, and mattered as much.
    pub(super) fn has(&self, workload: &str, finding: &Finding) -> bool {
        let key = (workload.to_owned(), finding.id.to_owned(), finding.about.clone());
        self.0.get(&key).is_some_and(|before| *before >= finding.severity)
    }

    fn new_findings<'a>(&'a self, judged: &'a Judged) -> impl Iterator<Item = &'a Finding> {
        let counts = |it: &&Finding| it.accepted.is_none() && !self.has(&judged.workload, it);
        judged.findings.iter().filter(counts)
    }

    /// How many findings are new that are more than worth knowing.
    pub(super) fn count_new(&self, judged: &Judged) -> usize {
        self.new_findings(judged).filter(|it| it.severity != Severity::Note).count()
    }

    /// The verdict by what is new.
    pub(super) fn verdict(&self, judged: &Judged) -> Verdict {
        self.new_findings(judged)
            .map(|it| it.severity)
            .max()
            .map_or(Verdict::NobodyNotices, Severity::verdict)
    }
}
