//! `rebootctl windows`: when reboots may start, in local time and in UTC, and what else keeps this node from it.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

use super::config::{policy_in_cluster, read_files};
use super::status;
use crate::cli::ConfigDirectories;
use crate::config::zones;
use crate::decide::{self, Closed, Judgement, Phase};
use crate::host::clock::now;
use crate::notation::Calendar;
use crate::report::status::{Status, StatusReason};

/// Show when reboots may start on this node, and what else keeps it from one now
///
/// Shows the next windows in local time and in UTC, and what the daemon on this host waits for besides.
/// With --calendar it tries an expression instead, and prints one start a line, in UTC.
#[derive(Debug, Args)]
pub(super) struct Windows {
    /// Print JSON, for programs
    #[arg(long, conflicts_with = "calendar")]
    json: bool,
    /// Try this calendar expression, for example "Sat *-*-1..7 02:00"
    #[arg(long, value_name = "EXPR")]
    calendar: Option<String>,
    /// Count from this time (RFC 3339) instead of now, for example 2026-12-24T18:00:00Z
    #[arg(long, value_name = "TIME", value_parser = parse_instant)]
    pub(super) base_time: Option<Duration>,
    /// How many windows or starts
    #[arg(long, value_name = "N", default_value_t = 5)]
    iterations: usize,
    #[command(flatten)]
    config: ConfigDirectories,
}

impl Windows {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let base = self.base_time.unwrap_or_else(|| Duration::from_secs(now().wall.as_secs()));
        match &self.calendar {
            Some(expression) => print_starts(expression, base, self.iterations)?,
            None => self.print(base)?,
        }
        Ok(ExitCode::SUCCESS)
    }

    fn print(&self, base: Duration) -> anyhow::Result<()> {
        let files = read_files(&self.config)?;
        let policy = policy_in_cluster(&files)?;
        let windows = files.windows(policy.fleet.as_ref(), &policy.labels)?;
        let zone = zones().local;
        let mut outlook = Outlook::new(windows.as_ref(), base, self.iterations, &zone);
        if self.base_time.is_none() {
            outlook.besides = status::read().ok().map(|status| Besides::from(&status));
        }
        if self.json {
            println!("{}", serde_json::to_string_pretty(&outlook)?);
        } else {
            let mut lines = outlook.lines(&zone);
            let besides = outlook.besides.as_ref().map_or(UNKNOWN.to_owned(), Besides::line);
            lines.extend(self.base_time.is_none().then(|| format!("{:<8} {besides}", "besides")));
            lines.iter().for_each(|line| println!("{line}"));
        }
        Ok(())
    }
}

/// Without the daemon.
const UNKNOWN: &str = "not known: rebootd does not run on this host, so only windows and freezes are shown";
/// What the calendar says; shown as the state.
const BY_CALENDAR: [&str; 3] = ["no-window", "window-closed", "frozen"];

/// What the daemon on this host waits for, besides windows and freezes.
#[derive(Debug, Serialize)]
struct Besides {
    phase: String,
    reasons: Vec<StatusReason>,
}

impl From<&Status> for Besides {
    fn from(status: &Status) -> Besides {
        let reasons = status.reasons.iter().filter(|reason| !BY_CALENDAR.contains(&reason.kind.as_str()));
        Besides { phase: status.phase.clone(), reasons: reasons.cloned().collect() }
    }
}

/// While a window is closed, nothing else is read.
const NOT_ASKED: &str = "nothing else is known; most gates are asked once a window is open";

impl Besides {
    fn line(&self) -> String {
        let reasons: Vec<&str> = self.reasons.iter().map(|reason| reason.message.as_str()).collect();
        // Most gates are asked only if something asks for a reboot.
        let idle = (self.phase == Phase::Idle.word()).then_some("nothing asks for a reboot");
        let reasons: Vec<&str> = idle.into_iter().chain(reasons).collect();
        if reasons.is_empty() {
            format!("{}: {NOT_ASKED}", self.phase)
        } else {
            format!("{}: {}", self.phase, reasons.join("; "))
        }
    }
}

fn print_starts(expression: &str, mut base: Duration, count: usize) -> anyhow::Result<()> {
    let calendar = Calendar::parse(expression, &zones())?;
    for _ in 0..count {
        let Some(start) = calendar.next(base) else { break };
        println!("{}", timestamp(start));
        base = start;
    }
    Ok(())
}

/// Wall time since 1970, as the core counts it. Also accepts `@seconds`, and a date and time in local time, as
/// systemd does.
fn parse_instant(text: &str) -> Result<Duration, String> {
    let instant = text.parse().ok().and_then(|instant: Timestamp| instant.as_duration().try_into().ok());
    let named = || Calendar::parse(text, &zones()).ok()?.instant();
    instant.or_else(named).ok_or_else(|| {
        "expected a time since 1970 such as 2026-12-24T18:00:00Z, \"2026-12-24 18:00\" or @1798135200"
            .to_owned()
    })
}

/// When reboots may start, seen from one instant. Times are RFC 3339 in UTC.
#[derive(Debug, Serialize)]
struct Outlook {
    /// The instant.
    at: Timestamp,
    /// Whether they may start then.
    open: bool,
    /// Why not.
    reason: Option<String>,
    /// When they may start next, or since now.
    windows: Vec<Span>,
    /// What else there is now; None if that is not known.
    besides: Option<Besides>,
}

/// A time in which reboots may start.
#[derive(Debug, Serialize)]
struct Span {
    /// When it begins; if it is open already, the instant that was asked about.
    from: Timestamp,
    /// When it ends; None if no end is found.
    to: Option<Timestamp>,
}

impl Outlook {
    /// The next `count` times in which reboots may start; None means that no window is configured.
    fn new(windows: Option<&decide::Windows>, at: Duration, count: usize, zone: &TimeZone) -> Outlook {
        let Some(windows) = windows else {
            let reason = "no window is configured; set \"window\" in [policy], see rebootd.toml(5)";
            return Outlook {
                at: timestamp(at),
                open: false,
                reason: Some(reason.to_owned()),
                windows: vec![],
                besides: None,
            };
        };
        let reason = match windows.judge(at) {
            Judgement::Open { .. } => None,
            Judgement::Closed { why: Closed::NoWindow, .. } => Some("no window is open".to_owned()),
            Judgement::Closed { why: Closed::Frozen { by, until }, .. } => {
                let until = until.map_or("no end in sight".to_owned(), |it| {
                    format!("until {}", local(timestamp(it), zone))
                });
                Some(format!("frozen ({by}), {until}"))
            }
        };
        let (at, windows) = (timestamp(at), spans(windows, at, count));
        Outlook { at, open: reason.is_none(), reason, windows, besides: None }
    }

    /// For people.
    fn lines(&self, zone: &TimeZone) -> Vec<String> {
        let state = match &self.reason {
            None => "open".to_owned(),
            Some(reason) => format!("closed: {reason}"),
        };
        let mut lines =
            vec![format!("{:<8} {}", "at", local(self.at, zone)), format!("{:<8} {state}", "state")];
        for (number, Span { from, to }) in self.windows.iter().enumerate() {
            let label = if number == 0 { "windows" } else { "" };
            let (to_local, to_utc) = match to {
                Some(to) => (local(*to, zone), to.to_string()),
                None => ("no end in sight".to_owned(), "…".to_owned()),
            };
            lines.push(format!("{label:<8} {} to {to_local}  ({from} to {to_utc})", local(*from, zone)));
        }
        if self.windows.is_empty() && self.reason.is_some() {
            lines.push(format!("{:<8} none in sight", "windows"));
        }
        lines
    }
}

fn spans(windows: &decide::Windows, mut at: Duration, count: usize) -> Vec<Span> {
    let mut spans = Vec::new();
    while spans.len() < count {
        match windows.judge(at) {
            Judgement::Open { until } => {
                spans.push(Span { from: timestamp(at), to: until.map(timestamp) });
                let Some(until) = until else { break };
                at = until;
            }
            Judgement::Closed { opens: Some(opens), .. } => at = opens,
            Judgement::Closed { opens: None, .. } => break,
        }
    }
    spans
}

/// The instant; if it is out of range, the last one that exists.
fn timestamp(wall: Duration) -> Timestamp {
    Timestamp::try_from(std::time::UNIX_EPOCH + wall).unwrap_or(Timestamp::MAX)
}

fn local(instant: Timestamp, zone: &TimeZone) -> String {
    instant.to_zoned(zone.clone()).strftime("%a %F %T %Z").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_shuts_besides_the_calendar_is_told() {
        let besides = |phase: &str, kinds: &[&str]| {
            let reasons = kinds
                .iter()
                .map(|kind| StatusReason { kind: (*kind).to_owned(), message: format!("the reason {kind}") });
            let status = Status {
                phase: phase.to_owned(),
                reasons: reasons.collect(),
                ..crate::report::status::example()
            };
            Besides::from(&status).line()
        };
        assert_eq!(
            besides("waiting", &["held", "window-closed", "backing-off"]),
            "waiting: the reason held; the reason backing-off"
        );
        assert!(besides("waiting", &["frozen"]).ends_with("most gates are asked once a window is open"));
        assert_eq!(besides("idle", &[]), "idle: nothing asks for a reboot");
        assert_eq!(besides("idle", &["held"]), "idle: nothing asks for a reboot; the reason held");
    }
}
