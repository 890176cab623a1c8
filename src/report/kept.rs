//! The records of the last reboots of this host, which `rebootctl report` shows: a line of JSON each, the latest last.

use std::io::{self, ErrorKind};
use std::path::Path;

use super::reboot::Reboot;
use crate::read::read as bytes;
use crate::replace::replace;

/// Where the unit's `LogsDirectory=` has them. Everybody may read it.
pub const PATH: &str = "/var/log/rebootd/reboots.jsonl";
/// How many are kept, if they are not too long.
const MOST: usize = 50;
/// The most bytes of the file.
const LONGEST: usize = 2 << 20;

/// Adds one; the earliest go for it. They are not parsed: that would cost memory that an idle daemon keeps.
pub fn keep(path: &Path, reboot: &Reboot) -> io::Result<()> {
    let before = text(path)?;
    let new = reboot.json();
    let mut room = LONGEST;
    let fits = |line: &&str| {
        let left = room.checked_sub(line.len() + 1);
        room = left.unwrap_or_default();
        left.is_some()
    };
    let latest = [new.as_str()].into_iter().chain(before.lines().rev());
    let mut lines: Vec<&str> = latest.take(MOST).take_while(fits).collect();
    lines.reverse();
    replace(path, (lines.join("\n") + "\n").as_bytes(), 0o644)
}

/// Whether this one is the last that was kept.
pub fn has(path: &Path, reboot: &Reboot) -> io::Result<bool> {
    let text = text(path)?;
    let last = text.lines().next_back().and_then(|line| serde_json::from_str(line).ok());
    Ok(last.is_some_and(|last: Reboot| last.is_same(reboot)))
}

/// All that are kept, the latest last. A line that is no record is left out.
pub fn read(path: &Path) -> io::Result<Vec<Reboot>> {
    Ok(text(path)?.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
}

/// Whatever is no text in it costs no other line.
fn text(path: &Path) -> io::Result<String> {
    match bytes(path, LONGEST as u64) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(String::new()),
        content => Ok(String::from_utf8_lossy(&content?).into_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reboot(number: usize, request: &str) -> Reboot {
        let text = format!(
            r#"{{"node":"n","pool":"p","outcome":"well","request":"{request}","boot_before":"{number}","packages":[],"more_packages":0}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn the_last_ones_are_kept_and_no_more_than_fit() {
        let path = std::env::temp_dir().join(format!("rebootd-kept-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        assert!(read(&path).unwrap().is_empty() && !has(&path, &reboot(0, "")).unwrap());
        (0..60).for_each(|number| keep(&path, &reboot(number, "r")).unwrap());
        assert_eq!(read(&path).unwrap().len(), MOST);
        assert!(has(&path, &reboot(59, "r")).unwrap() && !has(&path, &reboot(58, "r")).unwrap());
        // What is no record costs no other one.
        std::fs::write(&path, b"\x1b[31m\n{}\n\xff\n").unwrap();
        keep(&path, &reboot(1, "r")).unwrap();
        assert_eq!(read(&path).unwrap(), [reboot(1, "r")]);
        (0..5).for_each(|number| keep(&path, &reboot(number, &"x".repeat(600_000))).unwrap());
        assert_eq!(read(&path).unwrap().len(), 3, "as many as can be read again");
        std::fs::remove_file(&path).unwrap();
    }
}
