//! Our calendar expressions against those of `systemd-analyze calendar`: whether an expression is one, and when it
//! comes next, for expressions and instants that a seed makes up.
//!
//! What differs must be one of [`EXCEPTIONS`], which docs/configuration.md names as well.
//!
//! `REBOOTD_CALENDAR_SEED` and `REBOOTD_CALENDAR_BATCHES` change which and how many.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::process::Command;
use std::time::Duration;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use rebootd::config::zones;
use rebootd::notation::{Calendar, Zones};

/// One process of systemd-analyze takes so many expressions at once.
const IN_A_BATCH: usize = 40;
const ITERATIONS: usize = 5;

/// Zones whose clocks change in the north and in the south, by half an hour and by two, at midnight, by a whole day,
/// with a winter time below the standard time, and not at all.
const ZONES: &[&str] = &[
    "Africa/Cairo",
    "Africa/Casablanca",
    "America/Havana",
    "America/New_York",
    "America/Santiago",
    "America/St_Johns",
    "Antarctica/Troll",
    "Asia/Beirut",
    "Asia/Kathmandu",
    "Asia/Tokyo",
    "Atlantic/Azores",
    "Australia/Lord_Howe",
    "Australia/Sydney",
    "Europe/Dublin",
    "Europe/Lisbon",
    "Europe/Stockholm",
    "Pacific/Apia",
    "Pacific/Chatham",
    "UTC",
];

#[test]
fn agrees_with_systemd() {
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().expect(name));
    let seed = number("REBOOTD_CALENDAR_SEED").unwrap_or(6);
    let batches = number("REBOOTD_CALENDAR_BATCHES").unwrap_or(300);
    println!("REBOOTD_CALENDAR_SEED={seed} REBOOTD_CALENDAR_BATCHES={batches}");
    let mut random = Random(seed);
    let (mut starts, mut differences, mut excepted) = (0, Vec::new(), [0; EXCEPTIONS.len()]);
    for _ in 0..batches {
        let zone = *random.one(ZONES);
        let base = random.base(zone);
        let expressions: Vec<String> = (0..IN_A_BATCH).map(|_| random.expression()).collect();
        let theirs = ask_systemd(zone, base, &expressions);
        assert_eq!(theirs.len(), expressions.len());
        for (expression, theirs) in expressions.iter().zip(theirs) {
            let ours = ask_ourselves(zone, base, expression);
            if let Answer::Starts(all) = &ours {
                starts += all.len();
            }
            if ours != theirs {
                let difference = Difference { zone, expression, ours, theirs };
                match EXCEPTIONS.iter().position(|(_, is_it)| is_it(&difference)) {
                    Some(number) => excepted[number] += 1,
                    None => differences.push(format!(
                        "TZ={zone} @{base} \"{expression}\"\n  systemd {:?}\n  we      {:?}",
                        difference.theirs, difference.ours
                    )),
                }
            }
        }
    }
    let count = batches as usize * IN_A_BATCH;
    println!("{count} expressions, {starts} starts, {} differences", differences.len());
    for ((reason, _), count) in EXCEPTIONS.iter().zip(excepted) {
        println!("{count} times {reason}");
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// What one of us says of an expression.
#[derive(Debug, PartialEq)]
enum Answer {
    /// It is none.
    Refused,
    /// It comes next in so many seconds since 1970; nothing if never.
    Starts(Vec<i64>),
    /// systemd's search ran in a circle and was ended.
    GaveUp,
}

struct Difference<'a> {
    zone: &'a str,
    expression: &'a str,
    ours: Answer,
    theirs: Answer,
}

type IsIt = fn(&Difference) -> bool;

/// Where we mean to differ: why, and whether it is that.
const EXCEPTIONS: &[(&str, IsIt)] = &[
    (
        "systemd lowers the bound for each further day of a list that counts from the end of the month, and so \
         refuses *-*~1,2,23",
        |it| {
            let days = it.expression.split_once('~').map_or("", |(_, rest)| rest);
            it.theirs == Answer::Refused && days.split(' ').next().is_some_and(|days| days.contains(','))
        },
    ),
    (
        "systemd's search runs in a circle at a change of the clocks, and it says so (\"Infinite loop in calendar \
         calculation\")",
        |it| it.theirs == Answer::GaveUp,
    ),
    (
        "systemd takes the second of two equal local times, or one before the base time, as its search comes by",
        |it| {
            let (Answer::Starts(ours), Answer::Starts(theirs)) = (&it.ours, &it.theirs) else { return false };
            let zone = zone_of(it);
            let local = |start: &i64| zone.to_datetime(Timestamp::from_second(*start).unwrap());
            ours.iter().map(local).eq(theirs.iter().map(local))
        },
    ),
    (
        "systemd skips starts after a change to or from a summer time that is behind the standard time (Dublin, \
         Casablanca; mended in systemd 258, pull request 36897)",
        |it| {
            ["Europe/Dublin", "Africa/Casablanca"].contains(&zone_of(it).iana_name().unwrap()) && skipped(it)
        },
    ),
    (
        "systemd asks for an hour that the clocks skip, goes on as far after the gap as that was in it, and misses the \
         starts before (Chatham from 02:45 to 03:45, Troll from 01:00 to 03:00)",
        |it| skipped(it) && is_right_after_gap(&zone_of(it), first_missed(it)),
    ),
    (
        "systemd skips the starts between the beginning of a unit and where a repetition that ran out of the unit \
         before it fell (as in its issues 22665 and 40260)",
        |it| {
            let open = |item: &str| item.contains('/') && !item.contains("..");
            it.expression.split(|c| ",: -~".contains(c)).any(open) && skipped(it)
        },
    ),
];

fn zone_of(it: &Difference) -> TimeZone {
    let named = it.expression.rsplit_once(' ').and_then(|(_, name)| (zones().named)(name));
    named.unwrap_or_else(|| TimeZone::get(it.zone).unwrap())
}

/// Whether systemd's starts are ours but for some that it misses.
fn skipped(it: &Difference) -> bool {
    let Answer::Starts(theirs) = &it.theirs else { return false };
    let calendar = Calendar::parse(it.expression, &zones_at(it.zone)).unwrap();
    theirs.len() == ITERATIONS
        && theirs.iter().all(|start| {
            let just_before = Duration::from_secs(start.unsigned_abs()) - Duration::from_micros(1);
            calendar.next(just_before).is_some_and(|next| next.as_secs() == start.unsigned_abs())
        })
}

/// The first of our starts that is none of systemd's.
fn first_missed(it: &Difference) -> Timestamp {
    let (Answer::Starts(ours), Answer::Starts(theirs)) = (&it.ours, &it.theirs) else {
        panic!("only starts are missed")
    };
    Timestamp::from_second(*ours.iter().find(|start| !theirs.contains(start)).unwrap()).unwrap()
}

/// Whether the clocks went forward by more than what is between then and the instant.
fn is_right_after_gap(zone: &TimeZone, instant: Timestamp) -> bool {
    let Some(change) = zone.preceding(instant + 1.second()).next() else { return false };
    let before = zone.to_offset(change.timestamp() - 1.second());
    instant.duration_since(change.timestamp()) < before.duration_until(change.offset())
}

fn zones_at(zone: &str) -> Zones {
    Zones { local: TimeZone::get(zone).unwrap(), ..zones() }
}

fn ask_ourselves(zone: &str, base: i64, expression: &str) -> Answer {
    let Ok(calendar) = Calendar::parse(expression, &zones_at(zone)) else { return Answer::Refused };
    let mut at = Duration::from_secs(base.unsigned_abs());
    let next = || {
        at = calendar.next(at)?;
        Some(at.as_secs() as i64)
    };
    Answer::Starts(std::iter::from_fn(next).take(ITERATIONS).collect())
}

fn ask_systemd(zone: &str, base: i64, expressions: &[String]) -> Vec<Answer> {
    let output = Command::new("systemd-analyze")
        .env_clear()
        .envs([("TZ", zone), ("LC_ALL", "C"), ("PATH", "/usr/bin:/bin")])
        .args(["calendar", &format!("--iterations={ITERATIONS}"), &format!("--base-time=@{base}"), "--"])
        .args(expressions)
        .output()
        .expect("systemd-analyze is in the package systemd: apt install systemd");
    let [stdout, stderr] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    let mut blocks = stdout.split("Normalized form: ").skip(1);
    let complaints = stderr.lines().filter_map(|line| {
        let refused =
            line.strip_prefix("Failed to parse calendar specification '").map(|rest| (rest, Answer::Refused));
        let gave_up =
            line.strip_prefix("Failed to determine next elapse for '").map(|rest| (rest, Answer::GaveUp));
        refused.or(gave_up)
    });
    let mut complaints = complaints.peekable();
    let answers = expressions.iter().map(|expression| {
        match complaints.next_if(|(rest, _)| rest.starts_with(&format!("{expression}':"))) {
            Some((_, answer)) => answer,
            None => Answer::Starts(read_starts(blocks.next().expect(&stderr))),
        }
    });
    let answers: Vec<Answer> = answers.collect();
    assert!(blocks.next().is_none() && complaints.next().is_none(), "{stdout}{stderr}");
    answers
}

/// `Next elapse: …` and `Iteration #2: …`, each followed by its time in UTC unless that is the same.
fn read_starts(block: &str) -> Vec<i64> {
    let mut starts = Vec::new();
    for line in block.lines() {
        let Some((label, time)) = line.trim().split_once(": ") else { continue };
        let time = DateTime::strptime("%a %Y-%m-%d %H:%M:%S UTC", time);
        let time = time.map(|time| TimeZone::UTC.to_timestamp(time).unwrap().as_second());
        match (label, time) {
            ("(in UTC)", Ok(time)) => *starts.last_mut().unwrap() = time,
            ("(in UTC)", Err(error)) => panic!("{line}: {error}"),
            ("Next elapse", _) if line.ends_with("never") => {}
            (label, time) if label == "Next elapse" || label.starts_with("Iter") => {
                starts.push(time.unwrap_or(i64::MIN));
            }
            _ => {}
        }
    }
    starts
}

/// splitmix64
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }

    fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len() as u64) as usize]
    }

    /// An instant, more often than not within hours of a change of the clocks.
    fn base(&mut self, zone: &str) -> i64 {
        let year = if self.percent(90) { 2005 + self.below(40) } else { 1971 + self.below(228) };
        let start = DateTime::constant(year as i16, 1, 1, 0, 0, 0, 0);
        let start = TimeZone::UTC.to_timestamp(start).unwrap().as_second();
        let instant = start + self.below(366 * 86_400) as i64;
        let after = Timestamp::from_second(instant).unwrap();
        match TimeZone::get(zone).unwrap().following(after).next() {
            Some(change) if self.percent(70) => {
                let near = self.below(8 * 3600) as i64 - 4 * 3600;
                change.timestamp().as_second()
                    + if self.percent(50) { near } else { near / 900 * 900 - 86_400 }
            }
            _ => instant,
        }
    }

    fn expression(&mut self) -> String {
        let mut text = match self.below(20) {
            0 => self.one(&["minutely", "hourly", "DAILY", "weekly", "monthly", "quarterly"]).to_string(),
            1 => self.one(&["semiannually", "bi-annually", "yearly", "annually", "anually"]).to_string(),
            2 => format!("@{}", self.below(4_000_000_000)),
            _ => self.parts(),
        };
        if self.percent(25) {
            let zone = *self.one(ZONES);
            text = format!("{text} {zone}");
        }
        if self.percent(15) {
            self.garble(&mut text);
        }
        text
    }

    fn parts(&mut self) -> String {
        let mut parts = Vec::new();
        if self.percent(35) {
            parts.push(self.weekdays());
        }
        if self.percent(60) {
            parts.push(self.date());
        }
        if self.percent(75) || parts.is_empty() {
            parts.push(self.time());
        }
        parts.join(" ")
    }

    fn weekdays(&mut self) -> String {
        const NAMES: &[&str] = &["Mon", "tue", "Wednesday", "THU", "Fri", "Sat", "sunday"];
        let count = 1 + self.below(3);
        let items: Vec<String> = (0..count)
            .map(|_| {
                let (first, last) = (*self.one(NAMES), *self.one(NAMES));
                let range = if self.percent(80) { ".." } else { "-" };
                if self.percent(40) { format!("{first}{range}{last}") } else { first.to_owned() }
            })
            .collect();
        items.join(",") + if self.percent(10) { "," } else { "" }
    }

    fn date(&mut self) -> String {
        let year = match self.below(10) {
            0 => self.list(1968, 2201, 0),
            1 => self.list(0, 99, 0),
            2..4 => self.list(2010, 2040, 30),
            _ => "*".to_owned(),
        };
        let month = self.list(1, 12, 45);
        let from_end = self.percent(25);
        let day = self.list(1, if from_end { 28 } else { 31 }, 25);
        let separator = if from_end { '~' } else { '-' };
        if self.percent(25) {
            format!("{month}{separator}{day}")
        } else {
            format!("{year}-{month}{separator}{day}")
        }
    }

    fn time(&mut self) -> String {
        let (hour, minute) = (self.list(0, 23, 35), self.list(0, 59, 20));
        match self.below(10) {
            0..6 => format!("{hour}:{minute}"),
            6..9 => format!("{hour}:{minute}:{}", self.list(0, 59, 10)),
            _ => format!("{hour}:{minute}:{}.{}", self.below(60), self.below(10_000_000)),
        }
    }

    /// Values and ranges, mostly within the bounds.
    fn list(&mut self, least: u64, most: u64, any: u64) -> String {
        if self.percent(any) {
            return "*".to_owned();
        }
        let count = if self.percent(70) { 1 } else { 1 + self.below(4) };
        let items: Vec<String> = (0..count).map(|_| self.item(least, most)).collect();
        items.join(",")
    }

    fn item(&mut self, least: u64, most: u64) -> String {
        let beyond = if self.percent(3) { 2 } else { 0 };
        let mut value = || least + self.below(most - least + 1 + beyond);
        let (first, last) = (value(), value());
        let (first, last) = if self.percent(95) { (first.min(last), first.max(last)) } else { (first, last) };
        let step = 1 + self.below(1 + (most - least) / 3);
        match self.below(10) {
            0..2 => format!("{first}..{last}"),
            2 => format!("{first:02}..{last}/{step}"),
            3..5 => format!("{first}/{step}"),
            5 => format!("{first:02}"),
            _ => format!("{first}"),
        }
    }

    /// One character more, less, or another.
    fn garble(&mut self, text: &mut String) {
        const CHARACTERS: &[u8] = b"0123456789*/,.-~: MonTue@";
        let at = self.below(text.len() as u64) as usize;
        let character = *self.one(CHARACTERS) as char;
        match self.below(3) {
            0 => text.insert(at, character),
            1 => drop(text.remove(at)),
            _ => text.replace_range(at..=at, &character.to_string()),
        }
    }
}
