//! The keys `window` and `freeze`, and the time zones that they are written in.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use jiff::tz::TimeZone;
use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};

use super::value::{FromTable, Tables, TablesVisitor};
use crate::decide::{Freeze, Open, SHORTEST_WINDOW, Window, Windows};
use crate::notation::{Calendar, TimeSpan, Zones};

/// Anything longer is no longer a window.
const LONGEST_WINDOW: Duration = Duration::from_secs(366 * 24 * 3600);

/// The time zones of this host: from `$TZ` or `/etc/localtime`, and `/usr/share/zoneinfo`.
pub fn zones() -> Zones {
    // The C library, too, uses UTC if there is none.
    Zones { local: TimeZone::try_system().unwrap_or(TimeZone::UTC), named: named_zone }
}

/// jiff would accept the name in upper or lower case.
fn named_zone(name: &str) -> Option<TimeZone> {
    TimeZone::get(name).ok().filter(|zone| zone.iana_name() == Some(name))
}

/// The keys of `[policy]` whose meaning depends on the host's time zones.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct WindowKeys {
    window: Option<WindowKey>,
    freeze: Tables<Freeze>,
}

/// `"always"`, a window, or several.
struct WindowKey(Open);

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct WindowTable {
    start: Option<Start>,
    length: Option<Length>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct FreezeTable {
    from: Option<Day>,
    to: Option<Day>,
    start: Option<Start>,
    length: Option<Length>,
    why: Option<String>,
}

/// A calendar expression that happens at some time.
#[derive(Deserialize)]
#[serde(try_from = "String")]
struct Start(Calendar);

/// A calendar expression that names one date, and maybe a time.
#[derive(Deserialize)]
#[serde(try_from = "String")]
struct Day(Calendar);

#[derive(Deserialize)]
#[serde(try_from = "TimeSpan")]
struct Length(Duration);

fn parse(text: &str) -> Result<Calendar, String> {
    Calendar::parse(text, &zones()).map_err(|error| error.to_string())
}

impl TryFrom<String> for Start {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let calendar = parse(&text)?;
        // Whether it happens again does not matter: a freeze that is over must not keep the daemon from starting.
        match calendar.next_start(Duration::ZERO) {
            Some(_) => Ok(Self(calendar)),
            None => Err(format!("\"{text}\" never comes: there is no such day or time")),
        }
    }
}

impl TryFrom<String> for Day {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if let Some(date) = day_first(&text) {
            return Err(format!("\"{text}\" is not a date; write {date}"));
        }
        let not_one_date =
            || format!("\"{text}\" is not one date; write for example 2026-12-20 or 2026-12-20 18:00 UTC");
        // Nobody knows whether the month or the day comes first. A zone may have a slash as well.
        if text.contains('/') && !text.contains(char::is_alphabetic) {
            return Err(not_one_date());
        }
        let calendar = parse(&text)?;
        match calendar.instant() {
            Some(_) => Ok(Self(calendar)),
            None => Err(not_one_date()),
        }
    }
}

/// The date that is meant by one such as 20.12.2026.
fn day_first(text: &str) -> Option<String> {
    let parts: Vec<u32> = text.split('.').map(str::parse).collect::<Result<_, _>>().ok()?;
    match parts.as_slice() {
        [day @ 1..=31, month @ 1..=12, year @ 1970..=9999] => Some(format!("{year}-{month:02}-{day:02}")),
        _ => None,
    }
}

impl TryFrom<TimeSpan> for Length {
    type Error = String;

    fn try_from(TimeSpan(length): TimeSpan) -> Result<Self, String> {
        if (SHORTEST_WINDOW..=LONGEST_WINDOW).contains(&length) {
            return Ok(Self(length));
        }
        Err("\"length\" must be at least 1min and at most 366d".to_owned())
    }
}

impl WindowKeys {
    /// When reboots may start; without a window never, whatever is frozen.
    pub(super) fn windows(self) -> Option<Windows> {
        let Self { window, freeze } = self;
        window.map(|window| Windows { open: window.0, freezes: freeze.0 })
    }
}

impl FromTable for Window {
    type Table = WindowTable;
    const EXPECTED: &'static str = "a table with \"start\" and \"length\"";

    fn from_table(table: WindowTable) -> Result<Self, String> {
        match table {
            WindowTable { start: Some(Start(start)), length: Some(Length(length)) } => {
                Ok(Self { start, length })
            }
            _ => Err("a window has \"start\" and \"length\"".to_owned()),
        }
    }
}

impl FromTable for Freeze {
    type Table = FreezeTable;
    const EXPECTED: &'static str = "a table with \"from\" and \"to\", or \"start\" and \"length\"";

    fn from_table(table: FreezeTable) -> Result<Self, String> {
        let (window, name) = match table {
            FreezeTable { from: Some(Day(from)), to: Some(Day(to)), start: None, length: None, .. } => {
                let name = format!("{from} to {to}");
                let window = span(&from, &to).ok_or("\"to\" must be after \"from\"")?;
                (window, name)
            }
            FreezeTable {
                from: None,
                to: None,
                start: Some(Start(start)),
                length: Some(Length(length)),
                ..
            } => {
                let name = start.to_string();
                (Window { start, length }, name)
            }
            _ => {
                return Err("a freeze has either \"from\" and \"to\", or \"start\" and \"length\"".to_owned());
            }
        };
        Ok(Self { window, name: table.why.unwrap_or(name) })
    }
}

/// From one date to the end of the other.
fn span(from: &Calendar, to: &Calendar) -> Option<Window> {
    let start = from.instant()?;
    let length = to.end()?.checked_sub(start).filter(|length| !length.is_zero())?;
    Some(Window { start: Calendar::at(start)?, length })
}

impl<'de> Deserialize<'de> for WindowKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WindowVisitor)
    }
}

struct WindowVisitor;

impl<'de> Visitor<'de> for WindowVisitor {
    type Value = WindowKey;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "\"always\", {}, or an array of such tables", Window::EXPECTED)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<WindowKey, E> {
        match text {
            "always" => Ok(WindowKey(Open::Always)),
            _ => Err(E::custom(format!(
                "\"{text}\" is not a window; write \"always\", or for example {{ start = \"Sat 02:00\", length = \"2h\" }}"
            ))),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<WindowKey, A::Error> {
        TablesVisitor(PhantomData).visit_map(map).map(|windows| WindowKey(Open::During(windows.0)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<WindowKey, A::Error> {
        let windows = TablesVisitor(PhantomData).visit_seq(seq)?;
        if windows.0.is_empty() {
            return Err(de::Error::custom("name at least one window, or \"always\""));
        }
        Ok(WindowKey(Open::During(windows.0)))
    }
}
