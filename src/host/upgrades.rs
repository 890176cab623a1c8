//! Which packages were installed or upgraded, when, and from which version: dpkg's log.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use flate2::bufread::MultiGzDecoder;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use crate::read::open;
use crate::words::{NOTE, words};

/// Where dpkg writes it. Everybody may read it.
pub const LOG: &str = "/var/log/dpkg.log";
/// The most bytes of it, from its end: many thousand upgrades.
const MOST: u64 = 1 << 20;
/// The most bytes of all logs, unpacked: some hundred thousand lines.
const MOST_IN_ALL: u64 = 32 << 20;
/// The most logs: two years of them.
const MOST_LOGS: usize = 24;
/// From so many rotated ones on, logrotate throws the oldest away, as Debian and Ubuntu set it.
const ROTATED: usize = 12;

/// What was done to a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upgrade {
    /// The version before; `None` for a package that was not there.
    pub before: Option<String>,
    /// The version since.
    pub after: String,
    /// When that was installed: wall time since 1970.
    pub at: Duration,
    /// When the first of the versions after [`before`](Self::before) was installed.
    pub first: Duration,
}

/// What was installed or upgraded from then to then (wall time since 1970), by the name of the package. What logrotate has
/// moved away is not looked for.
pub fn read(path: &Path, from: Duration, to: Duration) -> io::Result<BTreeMap<String, Upgrade>> {
    let mut file = open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(MOST)))?;
    let mut content = Vec::new();
    file.take(MOST).read_to_end(&mut content)?;
    Ok(upgrades(String::from_utf8_lossy(&content).lines(), from, to, &TimeZone::system()))
}

/// What the logs tell of the time since then.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Logged {
    /// By the name of the package.
    pub upgrades: BTreeMap<String, Upgrade>,
    /// Whether they go back that far, without a gap. If not, a package may have been upgraded before what they tell of it.
    pub reach_back: bool,
}

/// The same since then, from a directory of logs, with those that logrotate has moved away. Without any, nothing was done.
pub fn read_since(directory: &Path, from: Duration) -> io::Result<Logged> {
    at_most(MOST_IN_ALL, directory, from)
}

fn at_most(most: u64, directory: &Path, from: Duration) -> io::Result<Logged> {
    let logs = logs(directory)?;
    let rotated = logs.iter().filter(|log| log.is_rotated).count();
    let has_older = logs.iter().any(|log| log.written < from);
    let (mut texts, mut left, mut has_gap) = (Vec::new(), most, false);
    for (number, log) in logs.into_iter().filter(|log| log.written >= from).enumerate() {
        if number == MOST_LOGS {
            left = 0;
        }
        if left == 0 {
            break;
        }
        let length = log.file.metadata()?.len();
        let text = end(log, left)?;
        // What was packed in another way has no times.
        has_gap |= length > 0 && text.as_deref().is_none_or(|text| !text.is_empty() && begin(text).is_none());
        let text = text.unwrap_or_default();
        left = if length > left { 0 } else { left.saturating_sub(text.len() as u64) };
        texts.push(text);
    }
    // Not by when they were written, which may be the same of two.
    texts.sort_by_cached_key(|text| begin(text));
    let zone = TimeZone::system();
    let first = texts.iter().find_map(|text| begin(text)).and_then(|time| wall(&time, &zone));
    // An image may have no log from before its first boot.
    let is_all = left > 0 && (has_older || rotated < ROTATED);
    let reach_back = !has_gap && (is_all || first.is_some_and(|first| first <= from));
    let lines = texts.iter().flat_map(|text| text.lines());
    Ok(Logged { upgrades: upgrades(lines, from, Duration::MAX, &zone), reach_back })
}

struct Log {
    file: File,
    /// When it was written to the last time: wall time since 1970.
    written: Duration,
    is_rotated: bool,
    is_packed: bool,
}

/// All of them, however logrotate names those that it has moved away; the latest comes first. They are opened at once, because
/// it may move them at any time.
fn logs(directory: &Path) -> io::Result<Vec<Log>> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut logs = Vec::new();
    for entry in entries {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let Some(suffix) = name.strip_prefix("dpkg.log") else { continue };
        let path = directory.join(&name);
        if !(suffix.is_empty() || suffix.starts_with(['.', '-'])) || !path.is_file() {
            continue;
        }
        let file = match open(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            file => file?,
        };
        let written = file.metadata()?.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
        let (is_rotated, is_packed) = (!suffix.is_empty(), suffix.ends_with(".gz"));
        logs.push(Log { file, written, is_rotated, is_packed });
    }
    logs.sort_by_key(|log| std::cmp::Reverse(log.written));
    Ok(logs)
}

/// At most so many bytes of a log, from its end; `None` of one that cannot be unpacked up to there.
fn end(mut log: Log, most: u64) -> io::Result<Option<String>> {
    let mut content = Vec::new();
    if log.is_packed {
        let unpacked = MultiGzDecoder::new(BufReader::new(log.file)).take(most).read_to_end(&mut content);
        let is_whole = unpacked.is_ok_and(|length| (length as u64) < most);
        return Ok(is_whole.then(|| String::from_utf8_lossy(&content).into_owned()));
    }
    let length = log.file.metadata()?.len();
    log.file.seek(SeekFrom::Start(length.saturating_sub(most)))?;
    log.file.take(most).read_to_end(&mut content)?;
    Ok(Some(String::from_utf8_lossy(&content).into_owned()))
}

/// The first time in a log. A line that begins in the middle has none.
fn begin(text: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let mut fields = line.split(' ');
        let time = format!("{}T{}", fields.next()?, fields.next()?);
        time.parse::<DateTime>().is_ok().then_some(time)
    })
}

/// The log tells local time. A line that begins in the middle is none.
fn upgrades<'log>(
    lines: impl Iterator<Item = &'log str>,
    from: Duration,
    to: Duration,
    zone: &TimeZone,
) -> BTreeMap<String, Upgrade> {
    let mut found = BTreeMap::<String, Upgrade>::new();
    for line in lines {
        let fields: Vec<&str> = line.split(' ').collect();
        let [date, time, "install" | "upgrade", package, before, after] = fields[..] else { continue };
        let Some(at) = wall(&format!("{date}T{time}"), zone) else { continue };
        if before == after || at < from || at > to {
            continue;
        }
        // The architecture is told only where several are installed side by side, and they have one version then.
        let name = words(package.split(':').next().unwrap_or(package), NOTE);
        let before = (before != "<none>").then(|| words(before, NOTE));
        let upgrade = found.entry(name).or_insert(Upgrade { before, after: String::new(), at, first: at });
        (upgrade.after, upgrade.at) = (words(after, NOTE), at);
    }
    found
}

fn wall(time: &str, zone: &TimeZone) -> Option<Duration> {
    let time: DateTime = time.parse().ok()?;
    let second = zone.to_ambiguous_timestamp(time).compatible().ok()?.as_second();
    Some(Duration::from_secs(u64::try_from(second).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u64) -> Duration {
        Duration::from_secs(second)
    }

    #[test]
    fn what_was_upgraded_in_that_time_is_told_with_both_versions() {
        let log = "8:19 upgrade half:amd64 1 2\n\
            2026-11-28 08:22:19 upgrade early:amd64 1 2\n\
            2026-11-28 08:22:20 startup archives unpack\n\
            2026-11-28 08:22:20 upgrade libc6:amd64 2.36-9 2.36-10\n\
            2026-11-28 08:22:20 upgrade libc6:i386 2.36-9 2.36-10\n\
            2026-11-28 08:22:21 status half-configured libc6:amd64 2.36-9\n\
            2026-11-28 08:22:22 install linux-image-6.1.0-45-amd64:amd64 <none> 6.1.140-1\n\
            2026-11-28 08:22:23 upgrade libc6:amd64 2.36-10 2.36-11\n\
            2026-11-28 08:22:24 upgrade same:all 1 1\n\
            2026-11-28 08:22:24 remove old:amd64 1 <none>\n\
            2026-11-28 08:22:31 upgrade late:amd64 1 2\n";
        // An hour east of Greenwich.
        let zone = TimeZone::fixed(jiff::tz::offset(1));
        let second = 1_795_850_540;
        let found = upgrades(log.lines(), at(second), at(second + 10), &zone);
        let expected = [
            ("libc6", Some("2.36-9"), "2.36-11", second + 3, second),
            ("linux-image-6.1.0-45-amd64", None, "6.1.140-1", second + 2, second + 2),
        ];
        let upgrade = |before: Option<&str>, after: &str, second, first| Upgrade {
            before: before.map(str::to_owned),
            after: after.to_owned(),
            at: at(second),
            first: at(first),
        };
        let expected = expected
            .map(|(name, before, after, at, first)| (name.to_owned(), upgrade(before, after, at, first)));
        assert_eq!(found, expected.into());
    }

    #[test]
    fn only_the_end_of_a_long_log_is_read() {
        let path = std::env::temp_dir().join(format!("rebootd-dpkg-log-{}", std::process::id()));
        let line = "2026-11-28 08:22:20 upgrade first:amd64 1 2\n";
        let filler = "2026-11-28 08:22:20 startup archives unpack\n".repeat(1 << 15);
        let last = line.replace("first", "last");
        std::fs::write(&path, format!("{line}{filler}{last}")).unwrap();
        let found = read(&path, at(0), at(2_000_000_000)).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(found.into_keys().collect::<Vec<_>>(), ["last"]);
    }

    /// A directory of logs, each written to the last time in the middle of its month.
    struct Logs(std::path::PathBuf);

    impl Logs {
        fn new(name: &str) -> Logs {
            let name = format!("rebootd-dpkg-logs-{}-{name}", std::process::id());
            let logs = Logs(std::env::temp_dir().join(name));
            fs::create_dir_all(&logs.0).unwrap();
            logs
        }

        fn write(&self, name: &str, month: u64, text: &str) {
            let mut content = text.as_bytes().to_vec();
            if name.ends_with(".gz") {
                let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                std::io::Write::write_all(&mut packed, &content).unwrap();
                content = packed.finish().unwrap();
            }
            fs::write(self.0.join(name), content).unwrap();
            let file = File::options().write(true).open(self.0.join(name)).unwrap();
            file.set_modified(UNIX_EPOCH + middle(month)).unwrap();
        }

        fn since(&self, from: Duration) -> Logged {
            read_since(&self.0, from).unwrap()
        }

        fn at_most(&self, most: u64, from: Duration) -> Logged {
            at_most(most, &self.0, from).unwrap()
        }

        /// The versions of libc6, and whether the first of them is known to be the first.
        fn found(&self, from: Duration) -> (String, String, bool) {
            let Logged { mut upgrades, reach_back } = self.since(from);
            let upgrade = upgrades.remove("libc6").unwrap();
            (upgrade.before.unwrap(), upgrade.after, reach_back)
        }
    }

    impl Drop for Logs {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    /// The middle of a month of 2026.
    fn middle(month: u64) -> Duration {
        at(1_768_478_400 + 2_629_800 * (month - 1))
    }

    fn line(month: u64, before: u8, after: u8) -> String {
        format!("2026-{month:02}-02 08:00:00 upgrade libc6:amd64 {before} {after}\n")
    }

    fn versions(before: u8, after: u8, reach_back: bool) -> (String, String, bool) {
        (before.to_string(), after.to_string(), reach_back)
    }

    #[test]
    fn logs_that_were_moved_away_are_read_as_far_back_as_the_boot_by_whatever_name() {
        let ways = [
            ["dpkg.log.2.gz", "dpkg.log.1"],
            ["dpkg.log.2.gz", "dpkg.log.1.gz"],
            ["dpkg.log-20260901.gz", "dpkg.log-20261001"],
        ];
        for (number, [oldest, old]) in ways.into_iter().enumerate() {
            let logs = Logs::new(&format!("names-{number}"));
            logs.write(oldest, 8, &line(8, 1, 2));
            logs.write(old, 9, &line(9, 2, 3));
            logs.write("dpkg.log", 10, &line(10, 3, 4));
            logs.write("dpkg.log~", 10, "of an editor");
            assert_eq!(logs.found(middle(7)), versions(1, 4, true), "{old}: nothing is older");
            assert_eq!(logs.found(middle(8)), versions(2, 4, true), "{old}");
            assert_eq!(logs.found(middle(9)), versions(3, 4, true), "{old}");
        }
        assert_eq!(Logs::new("none").since(at(0)).upgrades, BTreeMap::new());
        assert_eq!(read_since(Path::new("/nowhere"), at(0)).unwrap().upgrades, BTreeMap::new());
    }

    #[test]
    fn logs_that_do_not_go_back_to_the_boot_are_told_from_those_that_do() {
        let logs = Logs::new("thrown-away");
        logs.write("dpkg.log", 10, &line(10, 3, 4));
        assert!(logs.since(middle(1)).reach_back, "an image has none from before its boot");
        for number in 1..12 {
            logs.write(&format!("dpkg.log.{number}.gz"), 9, &line(9, 2, 3));
        }
        assert!(logs.since(middle(1)).reach_back);
        logs.write("dpkg.log.12.gz", 9, &line(9, 2, 3));
        assert!(!logs.since(middle(1)).reach_back, "there may have been one more");
        logs.write("dpkg.log.12.gz", 9, &line(1, 2, 3));
        assert!(logs.since(middle(1)).reach_back, "it begins before the boot");
        logs.write("dpkg.log.12.gz", 1, &line(1, 2, 3));
        assert!(logs.since(middle(2)).reach_back, "it was written before the boot");
        for number in 13..40 {
            logs.write(&format!("dpkg.log.{number}.gz"), 9, &line(9, 2, 3));
        }
        assert!(!logs.since(middle(2)).reach_back, "not all of them are read");
    }

    #[test]
    fn a_log_that_cannot_be_read_to_its_end_is_a_gap() {
        let logs = Logs::new("gap");
        logs.write("dpkg.log", 10, &line(10, 3, 4));
        logs.write("dpkg.log.2.gz", 1, &line(1, 1, 2));
        for (name, text) in [("dpkg.log.1", ""), ("dpkg.log.1.gz", "")] {
            logs.write(name, 9, text);
            assert_eq!(logs.found(middle(2)), versions(3, 4, true), "{name}: nothing was done");
        }
        logs.write("dpkg.log.1", 9, "\u{fd}7zXZ");
        assert_eq!(logs.found(middle(2)), versions(3, 4, false), "packed in another way");
        fs::remove_file(logs.0.join("dpkg.log.1")).unwrap();
        fs::write(logs.0.join("dpkg.log.1.gz"), "not packed").unwrap();
        assert_eq!(logs.found(middle(2)), versions(3, 4, false), "broken");
        let long = line(9, 2, 3).repeat(3);
        logs.write("dpkg.log.1.gz", 9, &long);
        assert!(logs.at_most(400, middle(2)).reach_back);
        assert!(!logs.at_most(150, middle(2)).reach_back, "its end is not unpacked");
    }

    #[test]
    fn the_end_of_a_log_that_is_too_long_is_read() {
        let logs = Logs::new("long");
        logs.write("dpkg.log", 10, &(line(8, 1, 2) + &line(9, 2, 3) + &line(10, 3, 4)));
        let read = |most, from| {
            let logged = logs.at_most(most, from);
            (logged.upgrades["libc6"].before.clone().unwrap(), logged.reach_back)
        };
        assert_eq!(read(1_000, middle(2)), ("1".to_owned(), true));
        assert_eq!(read(130, middle(2)), ("2".to_owned(), false));
        assert_eq!(read(130, middle(9)), ("3".to_owned(), true), "what is left begins before the boot");
        logs.write("dpkg.log.1", 9, &line(8, 1, 2));
        assert_eq!(read(130, middle(2)), ("2".to_owned(), false), "no room is left for the older one");
    }
}
