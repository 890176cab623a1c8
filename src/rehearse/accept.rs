//! Findings that somebody has accepted, by an annotation of the workload:
//! `rebootd.io/accept: "single-replica, downtime until 2027-06: REASON"`.

use jiff::civil::Date;

use super::finding::{Finding, Severity};
use super::workload::Workload;
use crate::words::{NOTE, words};

const ACCEPT: &str = "rebootd.io/accept";
/// All findings whose cost is that nothing is there for a while. `downtime-3m` says how long a while.
const DOWNTIME: &str = "downtime";
const OF_DOWNTIME: [&str; 8] = [
    "single-replica",
    "one-node",
    "bare",
    "nowhere-to-go",
    "local-volume",
    "not-ready",
    "comes-back",
    "no-readiness",
];

/// What else may be accepted.
const OTHERS: [&str; 4] = ["empty-dir", "killed", "job-fails", "budget-never-at-minimum"];

/// What was accepted, until when, and why.
#[derive(Debug, PartialEq, Eq)]
struct Accepted<'a> {
    ids: Vec<&'a str>,
    /// Its last day.
    until: Option<Date>,
    reason: &'a str,
}

/// Marks the findings that were accepted. What blocks a node cannot be accepted: it blocks all the same.
pub(super) fn accept(workload: &Workload<'_>, today: Date, findings: &mut Vec<Finding>) {
    let of_object = workload.object.and_then(|it| it.metadata.annotations.get(ACCEPT));
    let of_pod = || workload.pods.first().and_then(|pod| pod.metadata.annotations.get(ACCEPT));
    let Some(text) = of_object.or_else(of_pod) else { return };
    let accepted = match parse(text) {
        Ok(accepted) => accepted,
        Err(why) => {
            let found = format!("the annotation {ACCEPT} is not understood: {why}");
            findings.push(Finding::new("accept-unread", Severity::Warns, words(&found, NOTE)));
            return;
        }
    };
    let is_over = accepted.until.is_some_and(|until| until < today);
    for finding in
        findings.iter_mut().filter(|it| it.severity == Severity::Warns && accepts(&accepted.ids, it.id))
    {
        let until = accepted.until.map(|until| format!(" until {until}")).unwrap_or_default();
        let text = words(&format!("accepted{until}: {}", accepted.reason), NOTE);
        if is_over {
            finding.evidence.push(format!("it was {text}; that is over"));
        } else {
            finding.accepted = Some(text);
        }
    }
}

fn accepts(ids: &[&str], id: &str) -> bool {
    ids.contains(&id) || (OF_DOWNTIME.contains(&id) && ids.iter().any(|it| is_downtime(it)))
}

fn is_downtime(id: &str) -> bool {
    id.strip_prefix(DOWNTIME).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

fn parse(text: &str) -> Result<Accepted<'_>, String> {
    let (what, reason) = text.split_once(':').ok_or("write \"FINDING until YYYY-MM-DD: REASON\"")?;
    let reason =
        Some(reason.trim()).filter(|it| !it.is_empty()).ok_or("there is no reason after the colon")?;
    let (ids, until) = match what.split_once(" until ") {
        None => (what, None),
        Some((ids, until)) => (ids, Some(last_day(until.trim())?)),
    };
    let ids: Vec<&str> = ids.split(',').map(str::trim).filter(|it| !it.is_empty()).collect();
    if ids.is_empty() {
        return Err("it names no finding".to_owned());
    }
    if let Some(unknown) =
        ids.iter().find(|id| !OTHERS.contains(id) && !OF_DOWNTIME.contains(id) && !is_downtime(id))
    {
        return Err(format!("no finding that can be accepted is called \"{unknown}\""));
    }
    Ok(Accepted { ids, until, reason })
}

/// A date, or the last day of a month.
fn last_day(text: &str) -> Result<Date, String> {
    let wrong = |_| format!("\"{text}\" is neither a date nor a month, as 2027-06-30 or 2027-06");
    match text.len() {
        7 => format!("{text}-01").parse::<Date>().map(Date::last_of_month).map_err(wrong),
        _ => text.parse().map_err(wrong),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_annotation_names_findings_an_end_and_a_reason() {
        let accepted = parse("downtime-3m until 2027-06: the office is closed at night").unwrap();
        assert_eq!(accepted.until, Some(jiff::civil::date(2027, 6, 30)));
        assert_eq!((accepted.ids, accepted.reason), (vec!["downtime-3m"], "the office is closed at night"));
        let accepted = parse("single-replica, killed: a prototype").unwrap();
        assert_eq!((accepted.ids, accepted.until), (vec!["single-replica", "killed"], None));
        for wrong in [
            "",
            "single-replica",
            "single-replica:",
            " : why",
            "killed until soon: why",
            "killed until 2027-13: why",
            "kiled: why",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn downtime_is_a_kind_of_finding() {
        assert!(accepts(&["downtime"], "single-replica") && accepts(&["downtime-3m"], "bare"));
        assert!(!accepts(&["downtime"], "killed") && !accepts(&["downtimes"], "bare"));
        assert!(accepts(&["killed"], "killed"));
    }
}
