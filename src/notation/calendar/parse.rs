//! Parses calendar expressions: `[weekdays] [date] [time] [zone]`, with the liberties that systemd allows.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::{Calendar, Steps, Zones};

/// A text that is not a calendar expression; its display says why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CalendarError(String);

/// Expressions that have a name, and what they stand for.
const NAMED: &[(&str, &str)] = &[
    ("minutely", "*:*"),
    ("hourly", "*:00"),
    ("daily", "*-*-*"),
    ("weekly", "Mon"),
    ("monthly", "*-01"),
    ("quarterly", "01,04,07,10-01"),
    ("semiannually", "01,07-01"),
    ("semi-annually", "01,07-01"),
    ("biannually", "01,07-01"),
    ("bi-annually", "01,07-01"),
    ("yearly", "01-01"),
    ("annually", "01-01"),
    // A misspelling that systemd once accepted and cannot get rid of.
    ("anually", "01-01"),
];

const WEEKDAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
const EVERY_WEEKDAY: u8 = 0b111_1111;

/// As many as systemd accepts.
const MOST_IN_A_LIST: usize = 241;

/// One component of a date or a time, and which values it may have.
#[derive(Clone, Copy)]
struct Field {
    name: &'static str,
    least: u32,
    most: u32,
    /// The size of one unit: microseconds are written as seconds.
    unit: u32,
    /// Whether it counts from the end.
    from_end: bool,
}

const YEAR: Field = Field { name: "year", least: 1970, most: 2199, unit: 1, from_end: false };
const MONTH: Field = Field { name: "month", least: 1, most: 12, unit: 1, from_end: false };
const DAY: Field = Field { name: "day", least: 1, most: 31, unit: 1, from_end: false };
/// Every month has at least 28 days.
const DAY_FROM_END: Field = Field { most: 28, from_end: true, ..DAY };
const HOUR: Field = Field { name: "hour", least: 0, most: 23, unit: 1, from_end: false };
const MINUTE: Field = Field { name: "minute", least: 0, most: 59, unit: 1, from_end: false };
const SECOND: Field =
    Field { name: "second", least: 0, most: 60 * MICROSECONDS - 1, unit: MICROSECONDS, from_end: false };
const MICROSECONDS: u32 = 1_000_000;

pub(super) fn parse(text: &str, zones: &Zones) -> Result<Calendar, CalendarError> {
    let (expression, zone) = split_zone(text, zones);
    let parsed = parse_local(expression, zone);
    // If the expression only makes sense without its last word, that word was meant as the zone.
    if parsed.is_err()
        && let Some((expression, word)) = text.rsplit_once(' ')
        && word.starts_with(|c: char| c.is_ascii_alphabetic())
        && parse_local(expression, TimeZone::UTC).is_ok()
    {
        return error(format!("unknown time zone \"{word}\"; write UTC, or a name such as Europe/Stockholm"));
    }
    Ok(Calendar { text: text.to_owned(), ..parsed? })
}

/// The expression and its zone, which is the local one if it names none.
fn split_zone<'a>(text: &'a str, zones: &Zones) -> (&'a str, TimeZone) {
    let named = text.rsplit_once(' ').and_then(|(expression, name)| {
        let zone = if name.eq_ignore_ascii_case("UTC") { Some(TimeZone::UTC) } else { (zones.named)(name) };
        Some((expression, zone?))
    });
    named.unwrap_or_else(|| (text, zones.local.clone()))
}

fn parse_local(expression: &str, zone: TimeZone) -> Result<Calendar, CalendarError> {
    if expression.is_empty() {
        return error("empty; write for example \"Wed 06:00\" or \"Sat *-*-1..7 02:00\"");
    }
    if expression.starts_with(' ') {
        return error("begins with a space");
    }
    let named = NAMED.iter().find(|(name, _)| name.eq_ignore_ascii_case(expression));
    let expression = named.map_or(expression, |(_, long)| long);

    let (weekdays, rest) = match expression.starts_with(|c: char| c.is_ascii_alphabetic()) {
        true => split_word(expression),
        false => ("", expression),
    };
    let weekdays = parse_weekdays(weekdays)?;
    if let Some(seconds) = rest.strip_prefix('@') {
        let instant =
            seconds.trim_start().parse().ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
        let once = instant.and_then(|it| once(String::new(), TimeZone::UTC.to_datetime(it)));
        let once = once.ok_or_else(|| CalendarError(format!("\"@{seconds}\" is not a time since 1970")))?;
        return Ok(Calendar { weekdays, ..once });
    }
    let (date, time) = match split_word(rest) {
        (word, _) if word.contains(':') => ("", rest),
        split => split,
    };
    let date = parse_date(date)?;
    let [hour, minute, microsecond] = parse_time(time)?;
    Ok(Calendar { weekdays, hour, minute, microsecond, zone, ..date })
}

/// A calendar with no more than this date and time, in UTC; None if no expression can name it.
pub(super) fn once(text: String, civil: DateTime) -> Option<Calendar> {
    let year = u32::try_from(civil.year()).ok().filter(|year| (YEAR.least..=YEAR.most).contains(year))?;
    let only = |value: u32| vec![Steps { first: value, last: value, step: 1 }];
    let small = |value: i8| only(u32::from(value.unsigned_abs()));
    Some(Calendar {
        text,
        weekdays: EVERY_WEEKDAY,
        year: only(year),
        month: small(civil.month()),
        day: small(civil.day()),
        from_month_end: false,
        hour: small(civil.hour()),
        minute: small(civil.minute()),
        microsecond: only(super::microsecond_of_minute(civil.time())),
        zone: TimeZone::UTC,
    })
}

/// The text before the first space, and what follows the spaces.
fn split_word(text: &str) -> (&str, &str) {
    text.split_once(' ').map_or((text, ""), |(word, rest)| (word, rest.trim_start_matches(' ')))
}

fn parse_weekdays(text: &str) -> Result<u8, CalendarError> {
    if text.is_empty() {
        return Ok(EVERY_WEEKDAY);
    }
    let mut bits = 0;
    for item in text.strip_suffix(',').unwrap_or(text).split(',') {
        let range = item.split_once("..").or_else(|| item.split_once('-'));
        let (first, last) = range.unwrap_or((item, item));
        let (first, last) = (weekday(first)?, weekday(last)?);
        if first > last {
            return error(format!("\"{item}\" goes past the end of the week; write both parts of it"));
        }
        bits |= (first..=last).fold(0, |bits, day| bits | 1 << day);
    }
    Ok(bits)
}

fn weekday(name: &str) -> Result<usize, CalendarError> {
    let is_meant = |long: &&str| {
        long.eq_ignore_ascii_case(name) || long.get(..3).is_some_and(|it| it.eq_ignore_ascii_case(name))
    };
    let found = WEEKDAYS.iter().position(is_meant);
    found.ok_or_else(|| {
        CalendarError(format!("\"{name}\" is not a weekday; write Mon, Tue, Wed, Thu, Fri, Sat or Sun"))
    })
}

/// A calendar with the date of the text, which may be empty.
fn parse_date(text: &str) -> Result<Calendar, CalendarError> {
    let (month, day, from_month_end) = match text.rsplit_once(['-', '~']) {
        None if text.is_empty() => ("*-*", "*", false),
        None => {
            return error(format!(
                "\"{text}\" is neither a date nor a time; write for example *-*-01 or 06:00"
            ));
        }
        Some((month, day)) => (month, day, text.as_bytes().get(month.len()) == Some(&b'~')),
    };
    let (year, month) = month.split_once('-').unwrap_or(("*", month));
    let from_end = from_month_end && day != "*";
    Ok(Calendar {
        text: String::new(),
        weekdays: EVERY_WEEKDAY,
        year: parse_list(year, YEAR)?,
        month: parse_list(month, MONTH)?,
        day: parse_list(day, if from_end { DAY_FROM_END } else { DAY })?,
        from_month_end: from_end,
        hour: vec![],
        minute: vec![],
        microsecond: vec![],
        zone: TimeZone::UTC,
    })
}

/// Hours, minutes and seconds; midnight if the text is empty.
fn parse_time(text: &str) -> Result<[Vec<Steps>; 3], CalendarError> {
    let text = if text.is_empty() { "0:0" } else { text };
    let (hour, rest) = text.split_once(':').ok_or_else(|| {
        CalendarError(format!("\"{text}\" is not a time; write for example 06:00 or 22:30:15"))
    })?;
    let (minute, second) = rest.split_once(':').unwrap_or((rest, "0"));
    Ok([parse_list(hour, HOUR)?, parse_list(minute, MINUTE)?, parse_list(second, SECOND)?])
}

/// `*`, or values and ranges separated by commas.
fn parse_list(text: &str, field: Field) -> Result<Vec<Steps>, CalendarError> {
    if text == "*" {
        return Ok(vec![Steps { first: field.least, last: field.most, step: field.unit }]);
    }
    if text.split(',').count() > MOST_IN_A_LIST {
        return error(format!("a list may have at most {MOST_IN_A_LIST} values"));
    }
    text.split(',').map(|item| parse_item(item, field)).collect()
}

/// `first[..last][/step]`; a range that is too short for its step is just `first`, as in systemd.
fn parse_item(text: &str, field: Field) -> Result<Steps, CalendarError> {
    let (range, step) = text.split_once('/').map_or((text, None), |(range, it)| (range, Some(it)));
    let (first, last) = range.split_once("..").map_or((range, None), |(first, it)| (first, Some(it)));
    let first = within(with_century(parse_number(first, field)?, field), first, field)?;
    let step = step.map(|text| parse_number(text, field)).transpose()?;
    if step == Some(0) {
        return error(format!("the step in \"{text}\" would never advance"));
    }
    let Some(last) = last else {
        return match step {
            None => Ok(Steps { first, last: first, step: 1 }),
            Some(step) if field.from_end && step < first => Ok(Steps { first, last: field.least, step }),
            Some(step) if !field.from_end && step <= field.most - first => {
                Ok(Steps { first, last: field.most, step })
            }
            Some(_) => error(format!("the step in \"{text}\" leads out of the {}s immediately", field.name)),
        };
    };
    let end = with_century(parse_number(last, field)?, field);
    // If it steps by whole seconds because nothing else is written, a fraction of a second is not meant.
    let shortest = if step.is_none() && field.unit > 1 { field.unit } else { 0 };
    if end < first + shortest {
        return error(format!("the range {text} ends before it begins"));
    }
    let step = step.unwrap_or(field.unit);
    let end = within(end - (end - first) % step, last, field)?;
    // Counted from the end of the month, the day that is further from the end comes first.
    let (first, last) = if field.from_end { (end, first) } else { (first, end) };
    Ok(Steps { first, last, step })
}

fn within(value: u32, text: &str, field: Field) -> Result<u32, CalendarError> {
    if (field.least..=field.most).contains(&value) {
        return Ok(value);
    }
    let [least, most] = [field.least, field.most].map(|bound| bound / field.unit);
    error(format!("there is no {} {text}; they go from {least} to {most}", field.name))
}

/// 12 means 2012, and 89 means 1989.
fn with_century(value: u32, field: Field) -> u32 {
    match value {
        0..70 if field.name == YEAR.name => value + 2000,
        70..100 if field.name == YEAR.name => value + 1900,
        _ => value,
    }
}

/// A whole number; for seconds also with a fraction, which is rounded to microseconds.
fn parse_number(text: &str, field: Field) -> Result<u32, CalendarError> {
    let (whole, fraction) = match text.split_once('.') {
        Some((whole, fraction)) if field.unit > 1 => (whole, Some(fraction)),
        _ => (text, None),
    };
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(whole) || !fraction.is_none_or(is_number) {
        return error(format!("\"{text}\" is not a {}", field.name));
    }
    let too_large = || CalendarError(format!("{text} is too large for a {}", field.name));
    let whole: u32 = whole.parse().map_err(|_| too_large())?;
    let whole = whole.checked_mul(field.unit).filter(|it| *it <= u32::MAX / 2).ok_or_else(too_large)?;
    Ok(whole + fraction.map_or(0, microseconds))
}

/// The digits after a decimal point; the seventh rounds.
fn microseconds(digits: &str) -> u32 {
    let digit = |place| digits.as_bytes().get(place).map_or(0, |digit: &u8| u32::from(digit - b'0'));
    (0..6).fold(0, |total, place| total * 10 + digit(place)) + u32::from(digit(6) >= 5)
}

fn error<T>(message: impl Into<String>) -> Result<T, CalendarError> {
    Err(CalendarError(message.into()))
}
