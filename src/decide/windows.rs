//! Windows and freezes: when reboots may start, and when they may not at all.
//!
//! A window is open from each of its starts for its length. The length is elapsed time, whatever the clocks of its
//! time zone do. Windows that overlap or follow without a gap are one. A freeze is a window too, and overrules the
//! others.

use std::time::Duration;

use crate::notation::Calendar;

/// When reboots may start.
#[derive(Debug, Clone, PartialEq)]
pub struct Windows {
    /// When they may start.
    pub open: Open,
    /// When they may not start even so.
    pub freezes: Vec<Freeze>,
}

/// When reboots may start, apart from freezes.
#[derive(Debug, Clone, PartialEq)]
pub enum Open {
    /// At any time.
    Always,
    /// In these windows.
    During(Vec<Window>),
}

/// Spans of time of equal length.
#[derive(Debug, Clone, PartialEq)]
pub struct Window {
    /// When each begins.
    pub start: Calendar,
    /// How long each lasts; at least [`SHORTEST_WINDOW`].
    pub length: Duration,
}

/// When reboots may not start.
#[derive(Debug, Clone, PartialEq)]
pub struct Freeze {
    /// When it is in force.
    pub window: Window,
    /// What people are told: why it is in force, or when.
    pub name: String,
}

/// What the windows and freezes say about one instant; all times are wall time since 1970.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judgement {
    /// Reboots may start.
    Open {
        /// When the open window ends (or the last of those that follow without a gap), or a freeze begins; None if no
        /// such time is found.
        until: Option<Duration>,
    },
    /// They may not.
    Closed {
        /// Why not.
        why: Closed,
        /// When they may start, if such a time is found.
        opens: Option<Duration>,
    },
}

/// Why reboots may not start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Closed {
    /// No window is open.
    NoWindow,
    /// There is a freeze.
    Frozen {
        /// Its name.
        by: String,
        /// When it ends, together with those that follow without a gap; None if no such time is found.
        until: Option<Duration>,
    },
}

/// The minimum length of a window or a freeze, so that [`MOST_STEPS`] reach far enough.
pub const SHORTEST_WINDOW: Duration = Duration::from_secs(60);

/// How many windows in a row, without a gap, are searched for their end, and how many frozen ones for one that is not
/// frozen. The search stops there, and nothing is found.
const MOST_STEPS: usize = 300;

impl Windows {
    /// There is neither a window nor a freeze that could close.
    pub fn always() -> Windows {
        Windows { open: Open::Always, freezes: vec![] }
    }

    /// Whether there is a window of at least this length, or several that make one, whatever is frozen. As far as
    /// the search goes: if there may be one, it is true.
    pub fn may_last(&self, length: Duration) -> bool {
        let Open::During(windows) = &self.open else { return true };
        if windows.iter().any(|window| window.length >= length) {
            return true;
        }
        let unfrozen = Windows { open: self.open.clone(), freezes: vec![] };
        let mut at = Duration::ZERO;
        for _ in 0..MOST_STEPS {
            match unfrozen.judge(at) {
                Judgement::Open { until: Some(until) } if until.saturating_sub(at) < length => at = until,
                Judgement::Open { .. } => return true,
                Judgement::Closed { opens: Some(opens), .. } => at = opens,
                Judgement::Closed { opens: None, .. } => return false,
            }
        }
        false
    }

    /// Whether reboots may start at this instant.
    pub fn judge(&self, now: Duration) -> Judgement {
        if let Some(freeze) = self.freezes.iter().find(|freeze| freeze.window.covers(now)) {
            let until = end(&self.frozen(), now);
            let why = Closed::Frozen { by: freeze.name.clone(), until };
            return Judgement::Closed { why, opens: until.and_then(|until| self.opens(until)) };
        }
        let end = match self.windows() {
            None => None,
            Some(windows) if any_covers(&windows, now) => end(&windows, now),
            Some(_) => return Judgement::Closed { why: Closed::NoWindow, opens: self.opens(now) },
        };
        let freezes = self.freezes.iter().filter_map(|freeze| freeze.window.start.next_start(now));
        Judgement::Open { until: end.into_iter().chain(freezes).min() }
    }

    /// The first instant from `at` on that lies in a window and in no freeze.
    fn opens(&self, mut at: Duration) -> Option<Duration> {
        let (windows, frozen) = (self.windows(), self.frozen());
        for _ in 0..MOST_STEPS {
            at = match &windows {
                _ if any_covers(&frozen, at) => end(&frozen, at)?,
                Some(windows) if !any_covers(windows, at) => {
                    windows.iter().filter_map(|window| window.start.next_start(at)).min()?
                }
                _ => return Some(at),
            };
        }
        None
    }

    /// None for always.
    fn windows(&self) -> Option<Vec<&Window>> {
        match &self.open {
            Open::Always => None,
            Open::During(windows) => Some(windows.iter().collect()),
        }
    }

    fn frozen(&self) -> Vec<&Window> {
        self.freezes.iter().map(|freeze| &freeze.window).collect()
    }
}

impl Window {
    fn covers(&self, instant: Duration) -> bool {
        self.start_within(instant).is_some()
    }

    /// A start at or before the instant whose window is still open at the instant.
    fn start_within(&self, instant: Duration) -> Option<Duration> {
        // This misses only a start at 0, and nobody lives in 1970.
        self.start.next_start(instant.saturating_sub(self.length)).filter(|start| *start <= instant)
    }

    /// When the last window that covers the instant ends.
    fn end(&self, instant: Duration) -> Option<Duration> {
        // There may be a start every second: bisecting finds the last one sooner than stepping through them.
        let mut last = self.start_within(instant)?;
        let mut beyond = instant;
        while last < beyond {
            let middle = last + (beyond - last) / 2;
            match self.start.next_start(middle).filter(|start| *start <= beyond) {
                Some(start) => last = start,
                None => beyond = middle,
            }
        }
        Some(last + self.length)
    }
}

fn any_covers(windows: &[&Window], instant: Duration) -> bool {
    windows.iter().any(|window| window.covers(instant))
}

/// When the windows that cover the instant, and those that follow without a gap, end; None if no such time is found.
fn end(windows: &[&Window], instant: Duration) -> Option<Duration> {
    let mut end = instant;
    for _ in 0..MOST_STEPS {
        match windows.iter().filter_map(|window| window.end(end)).max() {
            Some(later) => end = later,
            None => return Some(end),
        }
    }
    None
}

#[cfg(test)]
mod tests;
