use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::*;

/// The zone of expressions that name none.
fn calendar(zone: &str, text: &str) -> Result<Calendar, CalendarError> {
    let named = |name: &str| TimeZone::get(name).ok().filter(|zone| zone.iana_name() == Some(name));
    Calendar::parse(text, &Zones { local: TimeZone::get(zone).unwrap(), named })
}

fn instant(text: &str) -> Duration {
    text.parse::<Timestamp>().unwrap().as_duration().try_into().unwrap()
}

/// The first starts after an instant, without seconds if they are 0.
fn starts(zone: &str, after: &str, text: &str) -> Vec<String> {
    let calendar = calendar(zone, text).unwrap();
    let mut at = instant(after);
    let next = || {
        at = calendar.next(at)?;
        Some(timestamp(at)?.to_string().replace(":00Z", "Z"))
    };
    std::iter::from_fn(next).take(3).collect()
}

#[test]
fn weekdays_and_days_of_the_month_must_both_match() {
    let first_saturdays = ["2026-12-05T02:00Z", "2027-01-02T02:00Z", "2027-02-06T02:00Z"];
    assert_eq!(starts("UTC", "2026-11-23T20:00:00Z", "Sat *-*-1..7 02:00"), first_saturdays);
    let last_mondays = ["2026-05-25T00:00Z", "2027-05-31T00:00Z", "2028-05-29T00:00Z"];
    assert_eq!(starts("UTC", "2026-01-01T00:00:00Z", "Mon *-05~07/1"), last_mondays);
    let third_last = ["2027-02-26T00:00Z", "2028-02-27T00:00Z", "2029-02-26T00:00Z"];
    assert_eq!(starts("UTC", "2027-01-01T00:00:00Z", "*-02~03"), third_last);
}

#[test]
fn ends_of_days_months_and_years_are_passed() {
    let each_night = ["2026-12-31T23:59Z", "2027-01-01T23:59Z", "2027-01-02T23:59Z"];
    assert_eq!(starts("UTC", "2026-12-30T23:59:00Z", "23:59"), each_night);
    let leap_days = ["2096-02-29T12:00Z", "2104-02-29T12:00Z", "2108-02-29T12:00Z"];
    assert_eq!(starts("UTC", "2095-01-01T00:00:00Z", "02-29 12:00"), leap_days);
    let last_days = ["2026-01-31T00:00Z", "2026-02-28T00:00Z", "2026-03-31T00:00Z"];
    assert_eq!(starts("UTC", "2026-01-31T00:00:00Z", "*-*~1")[..2], last_days[1..]);
    assert_eq!(starts("UTC", "2199-12-31T23:59:58Z", "*:*:*"), ["2199-12-31T23:59:59Z"]);
}

#[test]
fn a_start_at_the_instant_itself_is_over() {
    let at = "2026-12-24T18:00:00Z";
    assert_eq!(starts("UTC", at, "@1798135200"), Vec::<String>::new());
    assert_eq!(starts("UTC", "2026-12-24T17:59:59.999999Z", "@1798135200"), ["2026-12-24T18:00Z"]);
    let tenths = ["2026-12-24T18:00:00.1Z", "2026-12-24T18:00:00.35Z", "2026-12-24T18:00:00.6Z"];
    assert_eq!(starts("UTC", at, "*:*:00.1/0.25"), tenths);
}

#[test]
fn what_never_comes_is_found_out() {
    for text in ["*-02-30", "2020-01-01", "Mon 2026-03-03", "Sun *-03~07/1 02:30 Europe/Stockholm"] {
        assert_eq!(starts("UTC", "2026-01-01T00:00:00Z", text), Vec::<String>::new(), "{text}");
    }
}

/// Clocks go forward: times that they skip do not happen. Each case was compared with systemd 252.
#[test]
fn gaps_are_skipped() {
    for (zone, after, text, expected) in [
        ("Europe/Stockholm", "2026-03-28T00:00:00Z", "02:30", ["2026-03-28T01:30Z", "2026-03-30T00:30Z"]),
        ("Australia/Lord_Howe", "2026-10-03T15:15:00Z", "*:0/10", ["2026-10-03T15:20Z", "2026-10-03T15:30Z"]),
        // At midnight.
        ("America/Santiago", "2026-09-05T00:00:00Z", "daily", ["2026-09-05T04:00Z", "2026-09-07T03:00Z"]),
        // The whole of 2011-12-30.
        ("Pacific/Apia", "2011-12-29T00:00:00Z", "daily", ["2011-12-29T10:00Z", "2011-12-30T10:00Z"]),
        ("Asia/Tokyo", "2026-03-28T00:00:00Z", "02:30", ["2026-03-28T17:30Z", "2026-03-29T17:30Z"]),
    ] {
        assert_eq!(starts(zone, after, text)[..2], expected, "{zone}");
    }
}

/// Clocks go back: times that they repeat happen once, the first time. Each case was compared with systemd 252.
#[test]
fn folds_come_once() {
    for (zone, after, text, expected) in [
        ("Europe/Stockholm", "2026-10-24T12:00:00Z", "02:30", ["2026-10-25T00:30Z", "2026-10-26T01:30Z"]),
        ("Europe/Stockholm", "2026-10-25T00:30:00Z", "*:0/30", ["2026-10-25T02:00Z", "2026-10-25T02:30Z"]),
        ("Australia/Lord_Howe", "2026-04-04T14:40:00Z", "*:0/15", ["2026-04-04T14:45Z", "2026-04-04T15:30Z"]),
        ("America/Santiago", "2026-04-04T12:00:00Z", "23:30", ["2026-04-05T02:30Z", "2026-04-06T03:30Z"]),
        // Asked in the second pass, it answers from the second pass.
        ("Europe/Stockholm", "2026-10-25T01:10:00Z", "*:0/15", ["2026-10-25T01:15Z", "2026-10-25T01:30Z"]),
    ] {
        assert_eq!(starts(zone, after, text)[..2], expected, "{zone} {text}");
    }
}

#[test]
fn windows_have_no_start_in_the_second_pass() {
    let calendar = calendar("Europe/Stockholm", "*:0/15").unwrap();
    for asked in
        ["2026-10-25T00:45:00Z", "2026-10-25T01:00:00Z", "2026-10-25T01:10:00Z", "2026-10-25T01:59:00Z"]
    {
        assert_eq!(calendar.next_start(instant(asked)), Some(instant("2026-10-25T02:00:00Z")), "{asked}");
    }
}

#[test]
fn a_date_is_an_instant_and_has_an_end() {
    let stockholm = |text| calendar("Europe/Stockholm", text).unwrap();
    assert_eq!(stockholm("2026-12-20").instant(), Some(instant("2026-12-19T23:00:00Z")));
    assert_eq!(stockholm("2026-12-20").end(), Some(instant("2026-12-20T23:00:00Z")));
    assert_eq!(stockholm("2026-12-20 00:00").end(), Some(instant("2026-12-19T23:00:00Z")));
    assert_eq!(stockholm("2026-03-29 02:30").instant(), Some(instant("2026-03-29T01:30:00Z")));
    // A zone in which the day begins at one.
    let santiago = calendar("America/Santiago", "2026-09-06").unwrap();
    assert_eq!(santiago.instant(), Some(instant("2026-09-06T04:00:00Z")));
    for text in ["Fri", "2026-12-*", "2026-02-30", "Mon 2026-12-20"] {
        assert_eq!(stockholm(text).instant(), None, "{text}");
    }
}

/// The pairs of systemd.time(7).
#[test]
fn long_and_short_forms_mean_the_same() {
    for (short, long) in [
        ("Sat,Thu,Mon..Wed,Sat..Sun", "Mon..Thu,Sat,Sun *-*-* 00:00:00"),
        ("Mon,Sun 12-*-* 2,1:23", "Mon,Sun 2012-*-* 01,02:23:00"),
        ("Wed *-1", "Wed *-*-01 00:00:00"),
        ("Wed..Wed,Wed *-1", "Wed *-*-01 00:00:00"),
        ("Wed, 17:48", "Wed *-*-* 17:48:00"),
        ("monday *-12-* 17:00", "Mon *-12-* 17:00:00"),
        ("12..14:10,20,30", "*-*-* 12..14:10,20,30:00"),
        ("mon,fri *-1/2-1,3 *:30:45", "Mon,Fri *-01/2-01,03 *:30:45"),
        ("05:40:23.4200004/3.1700005", "*-*-* 05:40:23.420000/3.170001"),
        ("weekly Pacific/Auckland", "Mon *-*-* 00:00:00 Pacific/Auckland"),
        ("SEMIANNUALLY", "*-01,07-01 00:00:00"),
        ("daily utc", "*-*-* 00:00:00 UTC"),
        ("*:2/3", "*-*-* *:02/3:00"),
        ("4..6/9:00", "*-*-* 04:00:00"),
    ] {
        let after = "2011-06-01T00:00:00Z";
        assert_eq!(starts("UTC", after, short), starts("UTC", after, long), "{short}");
    }
}

#[test]
fn says_what_is_wrong() {
    for (text, message) in [
        ("", "empty; write for example \"Wed 06:00\" or \"Sat *-*-1..7 02:00\""),
        ("Sat..Mon 02:00", "\"Sat..Mon\" goes past the end of the week; write both parts of it"),
        ("Wdn 02:00", "\"Wdn\" is not a weekday; write Mon, Tue, Wed, Thu, Fri, Sat or Sun"),
        (" 06:00", "begins with a space"),
        ("06", "\"06\" is neither a date nor a time; write for example *-*-01 or 06:00"),
        ("2026-01-01 06", "\"06\" is not a time; write for example 06:00 or 22:30:15"),
        ("24:00", "there is no hour 24; they go from 0 to 23"),
        ("*-13-01", "there is no month 13; they go from 1 to 12"),
        ("*:*/5", "\"*\" is not a minute"),
        ("*:0/0", "the step in \"0/0\" would never advance"),
        ("*:30/30", "the step in \"30/30\" leads out of the minutes immediately"),
        ("*:30..20", "the range 30..20 ends before it begins"),
        ("06:00 CEST", "unknown time zone \"CEST\"; write UTC, or a name such as Europe/Stockholm"),
        (
            "06:00 europe/stockholm",
            "unknown time zone \"europe/stockholm\"; write UTC, or a name such as Europe/Stockholm",
        ),
        ("@99999999999", "\"@99999999999\" is not a time since 1970"),
    ] {
        assert_eq!(calendar("UTC", text).unwrap_err().to_string(), message, "{text}");
    }
}
