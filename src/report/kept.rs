//! The records of the last reboots of this host, which `rebootctl report` shows: a line of JSON each, the latest last.

use std::io::{self, ErrorKind};
use std::path::Path;

use super::reboot::Reboot;
use crate::read::read_text;
use crate::replace::replace;

/// Where the unit's `LogsDirectory=` has them. Everybody may read it.
pub const PATH: &str = "/var/log/rebootd/reboots.jsonl";
/// How many are kept.
pub const MOST: usize = 50;
/// More bytes than these have.
const LONGEST: u64 = 2 << 20;

/// Adds one, unless it is there; the earliest goes for it.
pub fn keep(path: &Path, reboot: &Reboot) -> io::Result<()> {
    let mut reboots = read(path)?;
    if reboots.last().is_some_and(|last| last.is_same(reboot)) {
        return Ok(());
    }
    reboots.push(reboot.clone());
    let latest = reboots.iter().skip(reboots.len().saturating_sub(MOST));
    let lines: String = latest.map(|reboot| reboot.json() + "\n").collect();
    replace(path, lines.as_bytes(), 0o644)
}

/// All that are kept, the latest last. A line that is no record is none.
pub fn read(path: &Path) -> io::Result<Vec<Reboot>> {
    match read_text(path, LONGEST) {
        Ok(text) => Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}
