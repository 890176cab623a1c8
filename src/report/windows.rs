//! What `rebootctl windows` prints: when reboots may start, in local time and in UTC.

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

use crate::decide::{Closed, Judgement, Windows};

/// When reboots may start, seen from one instant. Times are RFC 3339 in UTC.
#[derive(Debug, Serialize)]
pub struct Outlook {
    /// The instant.
    pub at: Timestamp,
    /// Whether they may start then.
    pub open: bool,
    /// Why not.
    pub reason: Option<String>,
    /// When they may next, or now.
    pub windows: Vec<Span>,
}

/// A time in which reboots may start.
#[derive(Debug, Serialize)]
pub struct Span {
    /// When it begins; for one that is open already, the instant that was asked for.
    pub from: Timestamp,
    /// When it ends; None if that is not in sight.
    pub to: Option<Timestamp>,
}

impl Outlook {
    /// The next `count` times in which reboots may start; None stands for no window configured.
    pub fn new(windows: Option<&Windows>, at: Duration, count: usize, zone: &TimeZone) -> Outlook {
        let Some(windows) = windows else {
            let reason = "no window is configured; set \"window\" in [policy], see rebootd.toml(5)";
            return Outlook {
                at: timestamp(at),
                open: false,
                reason: Some(reason.to_owned()),
                windows: vec![],
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
        Outlook { at: timestamp(at), open: reason.is_none(), reason, windows: spans(windows, at, count) }
    }

    /// For people.
    pub fn lines(&self, zone: &TimeZone) -> Vec<String> {
        let state = match &self.reason {
            None => "open: a reboot may start".to_owned(),
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

fn spans(windows: &Windows, mut at: Duration, count: usize) -> Vec<Span> {
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

/// The instant; the last that there is if it is beyond.
pub fn timestamp(wall: Duration) -> Timestamp {
    Timestamp::try_from(std::time::UNIX_EPOCH + wall).unwrap_or(Timestamp::MAX)
}

fn local(instant: Timestamp, zone: &TimeZone) -> String {
    instant.to_zoned(zone.clone()).strftime("%a %F %T %Z").to_string()
}
