//! Which packages were installed or upgraded, when, and from which version: dpkg's log.

use std::collections::BTreeMap;
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
/// The most bytes of a log of which all is read.
const LONGEST: u64 = 32 << 20;

/// Rotated logs that are looked for: two years of them.
const ROTATED: usize = 24;

/// What was done to a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upgrade {
    /// The version before; `None` for a package that was not there.
    pub before: Option<String>,
    /// The version since.
    pub after: String,
    /// When that was installed: wall time since 1970.
    pub at: Duration,
}

/// What was installed or upgraded from then to then (wall time since 1970), by the name of the package. What logrotate has
/// moved away is not looked for.
pub fn read(path: &Path, from: Duration, to: Duration) -> io::Result<BTreeMap<String, Upgrade>> {
    let mut file = open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(MOST)))?;
    let mut content = Vec::new();
    file.take(MOST).read_to_end(&mut content)?;
    Ok(upgrades(&String::from_utf8_lossy(&content), from, to, &TimeZone::system()))
}

/// The same since then, from a directory of logs, with those that logrotate has moved away. Without any, nothing was done.
pub fn read_since(directory: &Path, from: Duration) -> io::Result<BTreeMap<String, Upgrade>> {
    let mut texts = Vec::new();
    for number in 0..ROTATED {
        let name = match number {
            0 => "dpkg.log".to_owned(),
            1 => "dpkg.log.1".to_owned(),
            _ => format!("dpkg.log.{number}.gz"),
        };
        let file = match open(&directory.join(&name)) {
            Ok(file) => file,
            // A log that was just rotated begins with the next installation.
            Err(error) if error.kind() == ErrorKind::NotFound && number == 0 => continue,
            Err(error) if error.kind() == ErrorKind::NotFound => break,
            Err(error) => return Err(error),
        };
        let written = file.metadata()?.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
        if written < from {
            break;
        }
        let mut content = Vec::new();
        match name.ends_with(".gz") {
            true => MultiGzDecoder::new(BufReader::new(file)).take(LONGEST).read_to_end(&mut content)?,
            false => file.take(LONGEST).read_to_end(&mut content)?,
        };
        texts.push(String::from_utf8_lossy(&content).into_owned());
    }
    texts.reverse();
    Ok(upgrades(&texts.concat(), from, Duration::MAX, &TimeZone::system()))
}

/// The log tells local time. A line that begins in the middle is none.
fn upgrades(log: &str, from: Duration, to: Duration, zone: &TimeZone) -> BTreeMap<String, Upgrade> {
    let mut found = BTreeMap::<String, Upgrade>::new();
    for line in log.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        let [date, time, "install" | "upgrade", package, before, after] = fields[..] else { continue };
        let Some(at) = wall(&format!("{date}T{time}"), zone) else { continue };
        if before == after || at < from || at > to {
            continue;
        }
        // The architecture is told only where several are installed side by side, and they have one version then.
        let name = words(package.split(':').next().unwrap_or(package), NOTE);
        let before = (before != "<none>").then(|| words(before, NOTE));
        let upgrade = found.entry(name).or_insert(Upgrade { before, after: String::new(), at });
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
        let found = upgrades(log, at(second), at(second + 10), &zone);
        let expected = [
            ("libc6", Some("2.36-9"), "2.36-11", second + 3),
            ("linux-image-6.1.0-45-amd64", None, "6.1.140-1", second + 2),
        ];
        let upgrade = |before: Option<&str>, after: &str, second| Upgrade {
            before: before.map(str::to_owned),
            after: after.to_owned(),
            at: at(second),
        };
        let expected =
            expected.map(|(name, before, after, at)| (name.to_owned(), upgrade(before, after, at)));
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

    #[test]
    fn logs_that_were_moved_away_are_read_as_far_back_as_the_boot() {
        let directory = std::env::temp_dir().join(format!("rebootd-dpkg-logs-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let line = |month: u8, before: u8, after: u8| {
            format!("2026-{month:02}-02 08:00:00 upgrade libc6:amd64 {before} {after}\n")
        };
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut packed, line(8, 1, 2).as_bytes()).unwrap();
        std::fs::write(directory.join("dpkg.log.2.gz"), packed.finish().unwrap()).unwrap();
        std::fs::write(directory.join("dpkg.log.1"), line(9, 2, 3)).unwrap();
        std::fs::write(directory.join("dpkg.log"), line(10, 3, 4)).unwrap();
        let found = |from| {
            let upgrade = read_since(&directory, at(from)).unwrap().remove("libc6").unwrap();
            (upgrade.before.unwrap(), upgrade.after)
        };
        // July, and then the middle of August and September.
        assert_eq!(found(1_783_000_000), ("1".to_owned(), "4".to_owned()));
        assert_eq!(found(1_786_800_000), ("2".to_owned(), "4".to_owned()));
        assert_eq!(found(1_789_500_000), ("3".to_owned(), "4".to_owned()));
        std::fs::remove_dir_all(&directory).unwrap();
        assert_eq!(read_since(&directory, at(0)).unwrap(), BTreeMap::new());
    }
}
