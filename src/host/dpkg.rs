//! Whether dpkg or apt is at work.
//!
//! The sentinel appears in the middle of a dpkg run (a kernel package's postinst creates it), and a reboot at that
//! moment leaves a half-configured system. Only root may open dpkg's lock files, but everybody can see their inodes,
//! and the kernel's list of locks: proc_locks(5).

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

const LOCKS: [&str; 2] = ["/var/lib/dpkg/lock-frontend", "/var/lib/dpkg/lock"];

/// The lock file that a package manager holds, if any does.
pub fn held_lock() -> Result<Option<String>, String> {
    let locked = File::open("/proc/locks").and_then(|locks| locked_inodes(BufReader::new(locks)));
    let locked = locked.map_err(|error| format!("/proc/locks: {error}"))?;
    for path in LOCKS {
        match std::fs::metadata(Path::new(path)) {
            Ok(file) if locked.contains(&file.ino()) => return Ok(Some(path.to_owned())),
            Ok(_) => {}
            // There is no dpkg on this host, or it was never used.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(format!("{path}: {error}")),
        }
    }
    Ok(None)
}

/// The inodes with a POSIX write lock. Device numbers are ignored, because on btrfs and overlayfs the list shows
/// others than stat does. Mistaking a lock on another file with the same number costs a wait; the opposite mistake
/// costs a host.
///
/// Read line by line: every program on this host, containers too, can make the list long.
fn locked_inodes(locks: impl BufRead) -> io::Result<BTreeSet<u64>> {
    locks.lines().filter_map(|line| line.map(|line| locked_inode(&line)).transpose()).collect()
}

fn locked_inode(line: &str) -> Option<u64> {
    let mut fields = line.split_whitespace().skip(1).filter(|field| *field != "->");
    let (kind, _mode, access) = (fields.next()?, fields.next()?, fields.next()?);
    let inode = fields.nth(1)?.rsplit(':').next()?.parse().ok()?;
    (matches!(kind, "POSIX" | "OFDLCK") && access == "WRITE").then_some(inode)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn write_locks_are_found_and_waiters_and_read_locks_are_not_mistaken() {
        let locks = "1: POSIX  ADVISORY  WRITE 713 08:01:131085 0 EOF\n\
                     2: FLOCK  ADVISORY  WRITE 1 00:18:22 0 EOF\n\
                     3: POSIX  ADVISORY  READ  9 08:01:77 128 128\n\
                     3: -> POSIX  ADVISORY  WRITE 10 08:01:78 0 EOF\n\
                     4: OFDLCK ADVISORY  WRITE -1 fe:00:99 0 EOF\n";
        assert_eq!(locked_inodes(locks.as_bytes()).unwrap(), BTreeSet::from([131_085, 78, 99]));
    }

    #[test]
    fn garbage_locks_nothing() {
        let locks = b"x\n1:\n2: POSIX\n3: POSIX ADVISORY WRITE 1 nonsense 0 EOF";
        assert!(locked_inodes(&locks[..]).unwrap().is_empty());
    }
}
