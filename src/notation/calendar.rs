//! Calendar expressions as in systemd's `OnCalendar=`, see systemd.time(7): when windows and freezes start.
//!
//! An expression matches local dates and times of a time zone. A time that the zone skips (clocks go forward) is not
//! moved: it does not happen. A time that the zone repeats (clocks go back) happens once, the first time. Both are as
//! in systemd; `tests/calendar.rs` compares with it, and lists the differences.

mod parse;
#[cfg(test)]
mod tests;

use std::time::Duration;

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{Timestamp, ToSpan};

pub use parse::CalendarError;

/// The time zones of this host, which the core cannot read itself.
#[derive(Debug, Clone)]
pub struct Zones {
    /// For expressions that name no zone.
    pub local: TimeZone,
    /// Finds a zone by its name in the tz database.
    pub named: fn(&str) -> Option<TimeZone>,
}

/// A calendar expression.
#[derive(Debug, Clone, PartialEq)]
pub struct Calendar {
    /// As it was written.
    text: String,
    /// A bit for each day from Monday on.
    weekdays: u8,
    year: Vec<Steps>,
    month: Vec<Steps>,
    day: Vec<Steps>,
    /// Whether `day` counts from the end of the month, where the last day is 1.
    from_month_end: bool,
    hour: Vec<Steps>,
    minute: Vec<Steps>,
    /// In the minute.
    microsecond: Vec<Steps>,
    zone: TimeZone,
}

/// `first`, and on in steps of `step`, up to `last`.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Steps {
    first: u32,
    last: u32,
    step: u32,
}

impl Calendar {
    /// Parses a calendar expression.
    pub fn parse(text: &str, zones: &Zones) -> Result<Calendar, CalendarError> {
        parse::parse(text, zones)
    }

    /// Only this instant.
    pub fn at(instant: Duration) -> Option<Calendar> {
        let civil = TimeZone::UTC.to_datetime(timestamp(instant)?);
        parse::once(format!("@{}", instant.as_secs()), civil)
    }

    /// The first start after this instant, as `systemd-analyze calendar` reports it.
    ///
    /// If the instant is in the second pass of an hour that the zone repeats, the next start is in that pass, too. So
    /// the answer depends on when one asks; windows therefore ask [`Calendar::next_start`].
    pub fn next(&self, after: Duration) -> Option<Duration> {
        self.not_before(tick_after(after)?)
    }

    /// The first start after this instant, where each local time happens once.
    pub fn next_start(&self, after: Duration) -> Option<Duration> {
        self.not_before(self.end_of_second_pass(tick_after(after)?)?)
    }

    /// When the one date and time that it names begins, if it names only one. If the zone skips that time, the result
    /// is the same distance after the change: a freeze "from" that day still has to begin.
    pub fn instant(&self) -> Option<Duration> {
        self.resolve(self.only()?)
    }

    /// Like [`Calendar::instant`], but a day without a time means the end of that day.
    pub fn end(&self) -> Option<Duration> {
        let only = self.only()?;
        let names_time = self.text.contains([':', '@']);
        self.resolve(if names_time { only } else { only.date().tomorrow().ok()?.into() })
    }

    fn only(&self) -> Option<DateTime> {
        let only = self.next_civil(Date::constant(1970, 1, 1).into())?;
        self.next_civil(only.checked_add(1.microsecond()).ok()?).is_none().then_some(only)
    }

    fn resolve(&self, civil: DateTime) -> Option<Duration> {
        wall(self.zone.to_ambiguous_timestamp(civil).compatible().ok()?)
    }

    fn not_before(&self, at: Timestamp) -> Option<Duration> {
        let mut from = self.zone.to_datetime(at);
        loop {
            let civil = self.next_civil(from)?;
            match self.zone.to_ambiguous_timestamp(civil).offset() {
                AmbiguousOffset::Unambiguous { offset } => return wall(offset.to_timestamp(civil).ok()?),
                AmbiguousOffset::Fold { before, after } => {
                    let first = before.to_timestamp(civil).ok()?;
                    return wall(if first >= at { first } else { after.to_timestamp(civil).ok()? });
                }
                AmbiguousOffset::Gap { after, .. } => {
                    let changes = self.zone.following(after.to_timestamp(civil).ok()?);
                    let mut resumes = changes.map(|change| change.offset().to_datetime(change.timestamp()));
                    from = resumes.find(|resume| *resume > civil)?;
                }
            }
        }
    }

    /// The end of the hour that the zone repeats, if the instant is in its second pass; otherwise the instant.
    fn end_of_second_pass(&self, at: Timestamp) -> Option<Timestamp> {
        let local = self.zone.to_datetime(at);
        let AmbiguousOffset::Fold { before, after } = self.zone.to_ambiguous_timestamp(local).offset() else {
            return Some(at);
        };
        if before.to_timestamp(local).ok()? == at {
            return Some(at);
        }
        let change = self.zone.preceding(at.checked_add(1.nanosecond()).ok()?).next()?;
        change.timestamp().checked_add(before.duration_since(after)).ok()
    }

    /// The first matching date and time that is not before `from`, whether it exists in the zone or not.
    fn next_civil(&self, from: DateTime) -> Option<DateTime> {
        let mut date = self.next_date(from.date())?;
        if date == from.date() {
            if let Some(time) = self.next_time(from.time()) {
                return Some(date.to_datetime(time));
            }
            date = self.next_date(date.tomorrow().ok()?)?;
        }
        Some(date.to_datetime(self.next_time(Time::midnight())?))
    }

    fn next_date(&self, from: Date) -> Option<Date> {
        let this_month = from.first_of_month();
        let years = values(&self.year, u32::try_from(from.year()).ok()?);
        let mut months = years.flat_map(|year| {
            values(&self.month, 1)
                .filter_map(move |month| date(year, month, 1))
                .filter(|it| *it >= this_month)
        });
        months.find_map(|month| self.next_day(month, if month == this_month { from.day() } else { 1 }))
    }

    fn next_day(&self, month: Date, from: i8) -> Option<Date> {
        let length = u32::from(month.days_in_month().unsigned_abs());
        let from_start = |days: &Steps| Steps {
            first: (length + 1).saturating_sub(days.first),
            last: (length + 1).saturating_sub(days.last),
            ..*days
        };
        let days: Vec<Steps> = match self.from_month_end {
            true => self.day.iter().map(from_start).collect(),
            false => self.day.clone(),
        };
        let days = values(&days, u32::from(from.unsigned_abs())).take_while(|day| *day <= length);
        let mut dates = days.filter_map(|day| month.with().day(i8::try_from(day).ok()?).build().ok());
        dates.find(|date| self.weekdays >> date.weekday().to_monday_zero_offset() & 1 == 1)
    }

    fn next_time(&self, from: Time) -> Option<Time> {
        let this_minute = (u32::from(from.hour().unsigned_abs()), u32::from(from.minute().unsigned_abs()));
        let minutes = values(&self.hour, this_minute.0)
            .flat_map(|hour| values(&self.minute, 0).map(move |minute| (hour, minute)));
        let mut minutes = minutes.filter(|minute| *minute >= this_minute);
        minutes.find_map(|minute| {
            let from = if minute == this_minute { microsecond_of_minute(from) } else { 0 };
            time(minute, at_least(&self.microsecond, from)?)
        })
    }
}

impl std::fmt::Display for Calendar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

/// The smallest value that is not below `from`.
fn at_least(steps: &[Steps], from: u32) -> Option<u32> {
    let value = |it: &Steps| it.first + from.saturating_sub(it.first).div_ceil(it.step) * it.step;
    steps.iter().filter_map(|it| Some(value(it)).filter(|value| *value <= it.last)).min()
}

/// All values that are not below `from`, in order.
fn values(steps: &[Steps], from: u32) -> impl Iterator<Item = u32> {
    std::iter::successors(at_least(steps, from), |last| at_least(steps, last + 1))
}

fn date(year: u32, month: u32, day: u32) -> Option<Date> {
    Date::new(i16::try_from(year).ok()?, i8::try_from(month).ok()?, i8::try_from(day).ok()?).ok()
}

fn time((hour, minute): (u32, u32), microsecond: u32) -> Option<Time> {
    let [hour, minute, second] = [hour, minute, microsecond / 1_000_000].map(i8::try_from);
    let nanosecond = i32::try_from(microsecond % 1_000_000 * 1000).ok()?;
    Time::new(hour.ok()?, minute.ok()?, second.ok()?, nanosecond).ok()
}

fn microsecond_of_minute(time: Time) -> u32 {
    u32::from(time.second().unsigned_abs()) * 1_000_000 + time.subsec_nanosecond().unsigned_abs() / 1000
}

/// A minute in UTC, in letters that the value of a Kubernetes label may contain.
pub fn minute(instant: Duration) -> String {
    timestamp(instant).unwrap_or_default().strftime("%Y-%m-%dT%H%MZ").to_string()
}

/// Reads what [`minute`] writes.
pub fn minute_of(text: &str) -> Option<Duration> {
    let time = DateTime::strptime("%Y-%m-%dT%H%MZ", text).ok()?.to_zoned(TimeZone::UTC).ok()?;
    u64::try_from(time.timestamp().as_second()).ok().map(Duration::from_secs)
}

/// The first microsecond after the instant: expressions know no finer times.
fn tick_after(instant: Duration) -> Option<Timestamp> {
    timestamp(instant + Duration::from_micros(1))
}

/// The instant, to the microsecond.
fn timestamp(instant: Duration) -> Option<Timestamp> {
    Timestamp::from_microsecond(i64::try_from(instant.as_micros()).ok()?).ok()
}

fn wall(timestamp: Timestamp) -> Option<Duration> {
    timestamp.as_duration().try_into().ok()
}
