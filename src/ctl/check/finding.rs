//! What was found out about one thing, and how that is told.

use std::collections::BTreeMap;
use std::fmt;
use std::process::ExitCode;

use serde::Serialize;

use crate::words::{MESSAGE, words};

/// How it stands with one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Verdict {
    /// It is as it should be.
    Ok,
    /// Worth a look; nothing rests on it now.
    Warning,
    /// Something does not work, or will not.
    Problem,
    /// It could not be found out.
    Unknown,
}

impl Verdict {
    const ALL: [Verdict; 4] = [Verdict::Ok, Verdict::Warning, Verdict::Problem, Verdict::Unknown];

    fn word(self) -> &'static str {
        match self {
            Verdict::Ok => "ok",
            Verdict::Warning => "warning",
            Verdict::Problem => "problem",
            Verdict::Unknown => "unknown",
        }
    }
}

/// Its name, by which programs know it, and how it is judged by the facts.
pub(super) type Check<F> = (&'static str, fn(&F) -> Finding);

/// What was found out about one thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    pub(super) verdict: Verdict,
    /// For people.
    pub(super) found: String,
    /// A command or a key, if there is one.
    pub(super) remedy: Option<String>,
}

impl Finding {
    /// Whatever others wrote in it is made fit for people here.
    fn new(verdict: Verdict, found: impl fmt::Display) -> Finding {
        Finding { verdict, found: words(&found.to_string(), MESSAGE), remedy: None }
    }

    pub(super) fn ok(found: impl fmt::Display) -> Finding {
        Finding::new(Verdict::Ok, found)
    }

    pub(super) fn warning(found: impl fmt::Display) -> Finding {
        Finding::new(Verdict::Warning, found)
    }

    pub(super) fn problem(found: impl fmt::Display) -> Finding {
        Finding::new(Verdict::Problem, found)
    }

    pub(super) fn unknown(why: impl fmt::Display) -> Finding {
        Finding::new(Verdict::Unknown, why)
    }

    /// The same with what mends it.
    pub(super) fn remedy(self, remedy: impl fmt::Display) -> Finding {
        Finding { remedy: Some(words(&remedy.to_string(), MESSAGE)), ..self }
    }
}

/// A check that has been made.
#[derive(Debug, PartialEq, Serialize)]
struct Line {
    check: &'static str,
    #[serde(flatten)]
    finding: Finding,
}

/// All checks of one place. Fields are added, never changed or removed.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Report {
    /// `node` or `fleet`.
    place: &'static str,
    checks: Vec<Line>,
    /// How many there are of each verdict.
    summary: BTreeMap<&'static str, usize>,
}

impl Report {
    /// Makes all checks, on facts that have been gathered.
    pub(super) fn new<F>(place: &'static str, checks: &[Check<F>], facts: &F) -> Report {
        let checks: Vec<Line> =
            checks.iter().map(|(check, judge)| Line { check, finding: judge(facts) }).collect();
        let count = |verdict| checks.iter().filter(|line| line.finding.verdict == verdict).count();
        let summary = Verdict::ALL.into_iter().map(|verdict| (verdict.word(), count(verdict))).collect();
        Report { place, checks, summary }
    }

    /// A line for each thing, and one that sums up.
    pub(super) fn lines(&self) -> Vec<String> {
        let width = self.checks.iter().map(|line| line.check.len()).max().unwrap_or_default();
        let mut lines: Vec<String> = self
            .checks
            .iter()
            .map(|Line { check, finding: Finding { verdict, found, remedy } }| {
                let mend = remedy.as_ref().map(|it| format!("; to mend it: {it}")).unwrap_or_default();
                format!("{:<7}  {check:<width$}  {found}{mend}", verdict.word())
            })
            .collect();
        let counts = Verdict::ALL.into_iter().map(|verdict| {
            let count = self.summary.get(verdict.word()).copied().unwrap_or_default();
            format!("{count} {}", verdict.word())
        });
        lines.extend([String::new(), counts.collect::<Vec<_>>().join(", ")]);
        lines
    }

    /// 1 if there is a problem.
    pub(super) fn exit_code(&self) -> ExitCode {
        ExitCode::from(u8::from(self.has_problem()))
    }

    fn has_problem(&self) -> bool {
        self.checks.iter().any(|line| line.finding.verdict == Verdict::Problem)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHECKS: [Check<()>; 3] = [
        ("daemon", |()| Finding::ok("it runs")),
        ("cron", |()| Finding::warning("it \x1b[2J\nreboots").remedy("rm x")),
        ("timers", |()| Finding::unknown("no bus")),
    ];

    #[test]
    fn each_thing_is_a_line_with_its_remedy() {
        let report = Report::new("node", &CHECKS, &());
        assert_eq!(
            report.lines(),
            [
                "ok       daemon  it runs",
                "warning  cron    it [2J reboots; to mend it: rm x",
                "unknown  timers  no bus",
                "",
                "1 ok, 1 warning, 0 problem, 1 unknown",
            ]
        );
    }

    #[test]
    fn only_a_problem_makes_it_fail() {
        assert!(!Report::new("node", &CHECKS, &()).has_problem());
        let problem: [Check<()>; 1] = [("daemon", |()| Finding::problem("it is down"))];
        let report = Report::new("node", &problem, &());
        assert!(report.has_problem());
        assert_eq!(format!("{:?}", report.exit_code()), format!("{:?}", ExitCode::from(1)));
    }

    /// Programs read this: see docs/check.md.
    #[test]
    fn the_report_for_programs() {
        let report = serde_json::to_value(Report::new("fleet", &CHECKS[..2], &())).unwrap();
        assert_eq!(
            report,
            serde_json::json!({
                "place": "fleet",
                "checks": [
                    {"check": "daemon", "verdict": "ok", "found": "it runs", "remedy": null},
                    {"check": "cron", "verdict": "warning", "found": "it [2J reboots", "remedy": "rm x"},
                ],
                "summary": {"ok": 1, "warning": 1, "problem": 0, "unknown": 0},
            })
        );
    }
}
