//! Which packages were installed or upgraded, and from which version: dpkg's log.

use std::collections::BTreeMap;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::time::Duration;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use crate::read::open;
use crate::words::{NOTE, words};

/// Where dpkg writes it. Everybody may read it.
pub const LOG: &str = "/var/log/dpkg.log";
/// The most bytes of it, from its end: many thousand upgrades.
const MOST: u64 = 1 << 20;

/// The versions of a package before and after what was done to it; `None` for one that was not there before.
pub type Versions = (Option<String>, String);

/// What was installed or upgraded from then to then (wall time since 1970), by the name of the package. What logrotate has
/// moved away is not looked for.
pub fn read(path: &Path, from: Duration, to: Duration) -> io::Result<BTreeMap<String, Versions>> {
    let mut file = open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(MOST)))?;
    let mut content = Vec::new();
    file.take(MOST).read_to_end(&mut content)?;
    Ok(upgrades(&String::from_utf8_lossy(&content), from, to, &TimeZone::system()))
}

/// The log tells local time. A line that begins in the middle is none.
fn upgrades(log: &str, from: Duration, to: Duration, zone: &TimeZone) -> BTreeMap<String, Versions> {
    let mut found = BTreeMap::<String, Versions>::new();
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
        found.entry(name).or_insert((before, String::new())).1 = words(after, NOTE);
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
            ("libc6", (Some("2.36-9".to_owned()), "2.36-11".to_owned())),
            ("linux-image-6.1.0-45-amd64", (None, "6.1.140-1".to_owned())),
        ];
        assert_eq!(found, expected.map(|(name, versions)| (name.to_owned(), versions)).into());
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
}
