use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::*;

fn zones(local: &str) -> Zones {
    Zones { local: TimeZone::get(local).unwrap(), named: |name| TimeZone::get(name).ok() }
}

/// The first starts after `after`, in a zone.
fn starts(zone: &str, after: &str, text: &str) -> Vec<String> {
    let calendar = Calendar::parse(text, &zones(zone)).unwrap();
    let after: Timestamp = after.parse().unwrap();
    let mut at = Duration::try_from(after.as_duration()).unwrap();
    let next = || {
        at = calendar.next(at)?;
        Some(timestamp(at)?.to_string())
    };
    std::iter::from_fn(next).take(4).collect()
}

#[test]
fn first_saturday_of_the_month() {
    assert_eq!(
        starts("UTC", "2026-11-23T20:00:00Z", "Sat *-*-1..7 02:00"),
        ["2026-12-05T02:00:00Z", "2027-01-02T02:00:00Z", "2027-02-06T02:00:00Z", "2027-03-06T02:00:00Z"]
    );
}
