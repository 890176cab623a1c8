//! A rehearsal, for people.

use std::collections::BTreeSet;

use super::{Finding, Judged, Verdict};
use crate::words::{NOTE, words};

/// In front of what belongs to a finding.
const INDENT: &str = "    ";

/// Each workload with what was found, and a summary that begins with what they are of: `Namespace shop`. Those findings of a workload that were known before are marked.
pub fn lines(of: &str, workloads: &[Judged], is_known: impl Fn(&str, &Finding) -> bool) -> Vec<String> {
    let mut lines = Vec::new();
    for judged in workloads {
        lines.push(head(judged));
        lines.extend(judged.last_time.as_ref().map(|it| format!("  {}", it.in_words())));
        for finding in &judged.findings {
            lines.extend(told(finding, is_known(&judged.workload, finding)));
        }
    }
    lines.push(String::new());
    lines.push(summary(of, workloads));
    let unseen: BTreeSet<&String> = workloads.iter().flat_map(|it| &it.not_looked_at).collect();
    lines.extend(unseen.into_iter().map(|what| format!("Not looked at: {what}")));
    lines
}

fn head(judged: &Judged) -> String {
    let ready = match judged.replicas {
        Some(wanted) => format!("{} of {wanted} Ready", judged.ready),
        None => format!("{} Ready", judged.ready),
    };
    let nodes = judged.nodes.iter().filter(|it| !it.is_empty()).cloned().collect::<Vec<_>>().join(", ");
    let places = if nodes.is_empty() { String::new() } else { format!(", on {nodes}") };
    let state = if judged.workload.starts_with("namespace/") {
        String::new()
    } else {
        format!("  ({ready}{places})")
    };
    format!("{:<14}  {}{state}", judged.verdict.words(), judged.workload)
}

fn told(finding: &Finding, is_known: bool) -> Vec<String> {
    let mark = match (&finding.accepted, is_known) {
        (Some(_), _) => " (accepted)",
        (None, true) => " (known)",
        (None, false) => "",
    };
    let mut lines = vec![format!("  {}{mark}: {}", finding.id, finding.found)];
    lines.extend(finding.evidence.iter().map(|seen| format!("{INDENT}seen: {seen}")));
    if let Some(accepted) = &finding.accepted {
        lines.push(format!("{INDENT}{accepted}"));
        return lines;
    }
    if let Some(remedy) = &finding.remedy {
        let colon = if remedy.yaml.is_empty() { "" } else { ":" };
        lines.push(format!("{INDENT}to mend it: {}; in {}{colon}", remedy.what, remedy.object));
        lines.extend(remedy.yaml.lines().map(|line| format!("{INDENT}{INDENT}{line}")));
    }
    lines
}

fn summary(of: &str, workloads: &[Judged]) -> String {
    let all: Vec<Verdict> = workloads.iter().map(|it| it.verdict).collect();
    let own = workloads.iter().filter(|it| !it.workload.starts_with("namespace/")).count();
    let count = |verdict: Verdict| all.iter().filter(|it| **it == verdict).count();
    let verdicts = [Verdict::Blocks, Verdict::CouldNotTell, Verdict::Warns, Verdict::NobodyNotices];
    let counts = verdicts.map(|verdict| format!("{} {}", count(verdict), verdict.words()));
    let workloads = if own == 1 { "workload" } else { "workloads" };
    let besides = if own < all.len() { " and itself" } else { "" };
    format!("{}, {own} {workloads}{besides}: {}.", words(of, NOTE), counts.join(", "))
}
