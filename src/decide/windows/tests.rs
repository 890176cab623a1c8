use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::*;
use crate::decide::Zones;

fn window(start: &str, hours: u64) -> Window {
    let zones = Zones { local: TimeZone::UTC, named: |name| TimeZone::get(name).ok() };
    Window { start: Calendar::parse(start, &zones).unwrap(), length: Duration::from_secs(hours * 3600) }
}

fn at(text: &str) -> Duration {
    text.parse::<Timestamp>().unwrap().as_duration().try_into().unwrap()
}

#[test]
fn opens_and_shuts_on_the_second() {
    let windows = Windows { open: Open::During(vec![window("Wed 06:00", 2)]), freezes: vec![] };
    let opens = Some(at("2026-11-25T06:00:00Z"));
    let closed = Judgement::Closed { why: Closed::NoWindow, opens };
    assert_eq!(windows.judge(at("2026-11-25T05:59:59.999999Z")), closed);
    let open = Judgement::Open { until: Some(at("2026-11-25T08:00:00Z")) };
    assert_eq!(windows.judge(at("2026-11-25T06:00:00Z")), open);
    assert_eq!(windows.judge(at("2026-11-25T07:59:59.999999Z")), open);
    let opens = Some(at("2026-12-02T06:00:00Z"));
    assert_eq!(windows.judge(at("2026-11-25T08:00:00Z")), Judgement::Closed { why: Closed::NoWindow, opens });
}
