use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::*;
use crate::notation::Zones;

fn calendar(text: &str) -> Calendar {
    Calendar::parse(text, &Zones { local: TimeZone::UTC, named: |name| TimeZone::get(name).ok() }).unwrap()
}

fn window(start: &str, minutes: u64) -> Window {
    Window { start: calendar(start), length: Duration::from_secs(minutes * 60) }
}

fn windows<const N: usize>(windows: [Window; N]) -> Windows {
    Windows { open: Open::During(windows.to_vec()), freezes: vec![] }
}

fn frozen<const N: usize>(windows: Windows, freezes: [Window; N]) -> Windows {
    let freezes = freezes.map(|window| Freeze { name: window.start.to_string(), window });
    Windows { freezes: freezes.to_vec(), ..windows }
}

fn at(text: &str) -> Duration {
    text.parse::<Timestamp>().unwrap().as_duration().try_into().unwrap()
}

fn open(until: &str) -> Judgement {
    Judgement::Open { until: Some(at(until)) }
}

fn closed(opens: &str) -> Judgement {
    Judgement::Closed { why: Closed::NoWindow, opens: Some(at(opens)) }
}

fn judge<const N: usize>(windows: &Windows, expected: [(&str, Judgement); N]) {
    for (instant, judgement) in expected {
        assert_eq!(windows.judge(at(instant)), judgement, "{instant}");
    }
}

#[test]
fn opens_and_shuts_to_the_microsecond() {
    judge(
        &windows([window("Wed 06:00", 120)]),
        [
            ("2026-11-25T05:59:59.999999Z", closed("2026-11-25T06:00:00Z")),
            ("2026-11-25T06:00:00Z", open("2026-11-25T08:00:00Z")),
            ("2026-11-25T07:59:59.999999Z", open("2026-11-25T08:00:00Z")),
            ("2026-11-25T08:00:00Z", closed("2026-12-02T06:00:00Z")),
        ],
    );
}

#[test]
fn goes_over_midnight_and_the_ends_of_months_and_years() {
    judge(
        &windows([window("*-12-31 22:00", 240)]),
        [
            ("2027-01-01T01:59:59Z", open("2027-01-01T02:00:00Z")),
            ("2027-01-01T02:00:00Z", closed("2027-12-31T22:00:00Z")),
        ],
    );
    judge(
        &windows([window("*-02~1 23:00", 120)]),
        [
            ("2028-02-29T23:30:00Z", open("2028-03-01T01:00:00Z")),
            ("2027-03-01T00:30:00Z", open("2027-03-01T01:00:00Z")),
        ],
    );
}

#[test]
fn windows_that_overlap_or_adjoin_are_one() {
    let chain = windows([window("Mon 06:00", 60), window("Mon 07:00", 60), window("Mon 07:30", 60)]);
    judge(&chain, [("2026-11-23T06:10:00Z", open("2026-11-23T08:30:00Z"))]);
    // A start every second, the last one at the end of the day.
    judge(&windows([window("Sat *:*:*", 60)]), [("2026-11-28T12:00:00Z", open("2026-11-29T00:59:59Z"))]);
    // Without a gap, no end is found.
    let endless = windows([window("daily", 24 * 60)]);
    assert_eq!(endless.judge(at("2026-11-28T12:00:00Z")), Judgement::Open { until: None });
}

/// Two hours from half past one are two hours, however far the clocks are set forward or back.
#[test]
fn a_length_is_elapsed_time() {
    let night = windows([window("01:30 Europe/Stockholm", 120)]);
    judge(
        &night,
        [
            ("2026-03-29T02:29:59Z", open("2026-03-29T02:30:00Z")),
            ("2026-10-25T01:29:59Z", open("2026-10-25T01:30:00Z")),
        ],
    );
}

#[test]
fn a_window_opens_once_in_an_hour_that_comes_twice() {
    let short = windows([window("02:30 Europe/Stockholm", 20)]);
    judge(
        &short,
        [
            ("2026-10-25T00:35:00Z", open("2026-10-25T00:50:00Z")),
            ("2026-10-25T01:35:00Z", closed("2026-10-26T01:30:00Z")),
            ("2026-10-25T01:10:00Z", closed("2026-10-26T01:30:00Z")),
        ],
    );
}

#[test]
fn freezes_cut_windows() {
    let span = Window {
        start: Calendar::at(at("2026-12-20T00:00:00Z")).unwrap(),
        length: Duration::from_secs(86_400),
    };
    let always = frozen(Windows::always(), [span]);
    let why = Closed::Frozen { by: "@1797724800".into(), until: Some(at("2026-12-21T00:00:00Z")) };
    judge(
        &always,
        [
            ("2026-12-19T23:00:00Z", open("2026-12-20T00:00:00Z")),
            ("2026-12-20T00:00:00Z", Judgement::Closed { why, opens: Some(at("2026-12-21T00:00:00Z")) }),
            ("2026-12-21T00:00:00Z", Judgement::Open { until: None }),
        ],
    );
    // One freeze begins in the middle of a window; the other follows.
    let cut =
        frozen(windows([window("daily", 180)]), [window("Fri 01:00", 24 * 60), window("Sat 00:00", 24 * 60)]);
    let why = Closed::Frozen { by: "Fri 01:00".into(), until: Some(at("2026-11-29T00:00:00Z")) };
    judge(
        &cut,
        [
            ("2026-11-27T00:30:00Z", open("2026-11-27T01:00:00Z")),
            ("2026-11-27T01:30:00Z", Judgement::Closed { why, opens: Some(at("2026-11-29T00:00:00Z")) }),
        ],
    );
}

#[test]
fn what_never_opens_ends_the_search() {
    let never = frozen(windows([window("02:00", 60)]), [window("01:00", 180)]);
    let judgement = never.judge(at("2026-11-27T12:00:00Z"));
    assert_eq!(judgement, Judgement::Closed { why: Closed::NoWindow, opens: None });
    let over = windows([window("2020-01-01", 60)]);
    let judgement = over.judge(at("2026-11-27T12:00:00Z"));
    assert_eq!(judgement, Judgement::Closed { why: Closed::NoWindow, opens: None });
}
