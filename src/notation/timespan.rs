//! Time spans as systemd writes them, see systemd.time(7): `2h 30min`, `90s`, `1d`.

use std::time::Duration;

use serde::de::{self, Deserialize, Deserializer, Visitor};

const SECOND: u64 = 1_000_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
const WEEK: u64 = 7 * DAY;
/// systemd's month: 30.44 days, rounded to seconds.
const MONTH: u64 = 2_629_800 * SECOND;
/// systemd's year: 365.25 days.
const YEAR: u64 = 31_557_600 * SECOND;

/// How many microseconds a unit has. Only here does upper case matter: `M` is a month, `m` a minute.
const UNITS: &[(&str, u64)] = &[
    ("usec", 1),
    ("us", 1),
    // The micro sign and the Greek letter look the same and are both in use.
    ("\u{b5}s", 1),
    ("\u{3bc}s", 1),
    ("msec", 1000),
    ("ms", 1000),
    ("seconds", SECOND),
    ("second", SECOND),
    ("sec", SECOND),
    ("s", SECOND),
    ("minutes", MINUTE),
    ("minute", MINUTE),
    ("min", MINUTE),
    ("m", MINUTE),
    ("hours", HOUR),
    ("hour", HOUR),
    ("hr", HOUR),
    ("h", HOUR),
    ("days", DAY),
    ("day", DAY),
    ("d", DAY),
    ("weeks", WEEK),
    ("week", WEEK),
    ("w", WEEK),
    ("months", MONTH),
    ("month", MONTH),
    ("M", MONTH),
    ("years", YEAR),
    ("year", YEAR),
    ("y", YEAR),
];

/// A text that is not a time span.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TimeSpanError {
    /// It is empty.
    #[error("empty time span; write for example \"90s\" or \"2h 30min\"")]
    Empty,
    /// There should be a number before this.
    #[error("expected a number before \"{0}\"; write for example \"90s\" or \"2h 30min\"")]
    NoNumber(String),
    /// There is no such unit.
    #[error("unknown unit of time \"{0}\"; known are us, ms, s, min, h, d, w, M (months) and y")]
    UnknownUnit(String),
    /// More than 2^64 microseconds, which are half a million years.
    #[error("time span too long")]
    TooLong,
}

/// Parses a time span. A number without a unit counts seconds, several parts are added, and fractions of a
/// microsecond are dropped, all as in systemd.
pub fn parse_time_span(text: &str) -> Result<Duration, TimeSpanError> {
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(TimeSpanError::Empty);
    }
    let mut total = 0_u64;
    while !rest.is_empty() {
        let (part, after) = parse_part(rest)?;
        total = total.checked_add(part).ok_or(TimeSpanError::TooLong)?;
        rest = after.trim_start();
    }
    Ok(Duration::from_micros(total))
}

/// Parses one number with its unit; returns its microseconds and the text after it.
fn parse_part(text: &str) -> Result<(u64, &str), TimeSpanError> {
    let no_number = || TimeSpanError::NoNumber(text.to_owned());
    let (whole, rest) = split_while(text, |c| c.is_ascii_digit());
    let (fraction, rest) = match rest.strip_prefix('.') {
        Some(after_point) => split_while(after_point, |c| c.is_ascii_digit()),
        None => ("", rest),
    };
    let ends_in_point = text.len() - rest.len() > whole.len() && fraction.is_empty();
    if (whole.is_empty() && fraction.is_empty()) || ends_in_point {
        return Err(no_number());
    }
    let (space, rest) = split_while(rest, char::is_whitespace);
    let (unit, after) = split_while(rest, char::is_alphabetic);
    // "12.34.56": two numbers need a space between them.
    if unit.is_empty() && space.is_empty() && !after.is_empty() {
        return Err(no_number());
    }
    Ok((microseconds(whole, fraction, unit_length(unit)?)?, after))
}

/// The microseconds of one unit; of a second if no unit is given.
fn unit_length(name: &str) -> Result<u64, TimeSpanError> {
    if name.is_empty() {
        return Ok(SECOND);
    }
    let known = UNITS.iter().find(|(unit, _)| *unit == name);
    known.map(|(_, length)| *length).ok_or_else(|| TimeSpanError::UnknownUnit(name.to_owned()))
}

/// `whole.fraction` units of the given length; the digits are checked already.
fn microseconds(whole: &str, fraction: &str, unit: u64) -> Result<u64, TimeSpanError> {
    let whole = if whole.is_empty() { "0" } else { whole };
    let count: u64 = whole.parse().map_err(|_| TimeSpanError::TooLong)?;
    let mut total = count.checked_mul(unit).ok_or(TimeSpanError::TooLong)?;
    let mut place_value = unit;
    for digit in fraction.bytes() {
        place_value /= 10;
        let part = u64::from(digit - b'0') * place_value;
        total = total.checked_add(part).ok_or(TimeSpanError::TooLong)?;
    }
    Ok(total)
}

/// Splits after the leading characters that match.
fn split_while(text: &str, wanted: impl Fn(char) -> bool) -> (&str, &str) {
    let end = text.find(|c| !wanted(c)).unwrap_or(text.len());
    text.split_at(end)
}

/// A time span in a configuration file: text, or a whole number of seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeSpan(pub Duration);

impl<'de> Deserialize<'de> for TimeSpan {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TimeSpanVisitor)
    }
}

struct TimeSpanVisitor;

impl Visitor<'_> for TimeSpanVisitor {
    type Value = TimeSpan;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a time span such as \"2h 30min\" or \"90s\"")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<TimeSpan, E> {
        parse_time_span(text).map(TimeSpan).map_err(E::custom)
    }

    fn visit_i64<E: de::Error>(self, seconds: i64) -> Result<TimeSpan, E> {
        // Through the parser, so that both ways of writing have the same limits.
        self.visit_str(&seconds.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each pair was compared with `systemd-analyze timespan` (systemd 252).
    #[test]
    fn agrees_with_systemd() {
        for (text, microseconds) in [
            ("2h 30min", 9_000_000_000),
            ("2h30min", 9_000_000_000),
            ("90s", 90_000_000),
            ("60", 60_000_000),
            ("0", 0),
            ("1d", 86_400_000_000),
            ("1w", 604_800_000_000),
            ("1M", 2_629_800_000_000),
            ("1 month", 2_629_800_000_000),
            ("1months", 2_629_800_000_000),
            ("1y", 31_557_600_000_000),
            ("1m", 60_000_000),
            ("1.5h", 5_400_000_000),
            ("5s 20", 25_000_000),
            (".5s", 500_000),
            ("1 h", 3_600_000_000),
            ("1us", 1),
            ("1\u{b5}s", 1),
            ("1\u{3bc}s", 1),
            ("3msec", 3000),
            ("1hr", 3_600_000_000),
            ("12.34 .56", 12_900_000),
            ("0.0000001s", 0),
            ("0.0000019s", 1),
            ("1.9999999s", 1_999_999),
            ("1.0001M", 2_630_062_980_000),
            ("1 000 s", 1_000_000),
            ("\t5s ", 5_000_000),
            ("1s 1s", 2_000_000),
        ] {
            assert_eq!(parse_time_span(text), Ok(Duration::from_micros(microseconds)), "{text:?}");
        }
    }

    #[test]
    fn refuses_what_systemd_refuses() {
        for text in
            ["", " ", "5.", "5.s", "-5s", "1.5.5s", "1mo", "1S", "1H", "5ss", "5s,", "1e3", "1ns", "h"]
        {
            assert!(parse_time_span(text).is_err(), "{text:?}");
        }
        for text in ["584943y", "18446744073709551616us", "99999999999999999999"] {
            assert_eq!(parse_time_span(text), Err(TimeSpanError::TooLong), "{text:?}");
        }
    }

    #[test]
    fn names_what_is_wrong() {
        let message = |text| parse_time_span(text).unwrap_err().to_string();
        assert_eq!(
            message("1 fortnight"),
            "unknown unit of time \"fortnight\"; known are us, ms, s, min, h, d, w, M (months) and y"
        );
        assert_eq!(
            message("1h -5s"),
            "expected a number before \"-5s\"; write for example \"90s\" or \"2h 30min\""
        );
    }

    /// The words of systemd.time(7) must all be there.
    #[test]
    fn knows_every_unit() {
        for (unit, length) in UNITS {
            assert_eq!(parse_time_span(&format!("2{unit}")), Ok(Duration::from_micros(2 * length)));
        }
    }
}
