//! Whether dpkg or apt is at work.
//!
//! The sentinel appears in the middle of a dpkg run (a kernel package's postinst creates it), and a reboot at that
//! moment leaves a half-configured system. Only root may open dpkg's lock files, but everybody can see their inodes,
//! and the kernel's list of locks: proc_locks(5).

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

const LOCKS: [&str; 2] = ["/var/lib/dpkg/lock-frontend", "/var/lib/dpkg/lock"];

/// The lock file that a package manager holds, if any does.
pub fn held_lock() -> Result<Option<String>, String> {
    let locks = std::fs::read_to_string("/proc/locks").map_err(|error| format!("/proc/locks: {error}"))?;
    let locked = locked_inodes(&locks);
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
fn locked_inodes(locks: &str) -> BTreeSet<u64> {
    locks
        .lines()
        .filter_map(|line| {
            let mut fields = line.split_whitespace().skip(1).filter(|field| *field != "->");
            let (kind, _mode, access) = (fields.next()?, fields.next()?, fields.next()?);
            let inode = fields.nth(1)?.rsplit(':').next()?.parse().ok()?;
            (matches!(kind, "POSIX" | "OFDLCK") && access == "WRITE").then_some(inode)
        })
        .collect()
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
        assert_eq!(locked_inodes(locks), BTreeSet::from([131_085, 78, 99]));
    }

    #[test]
    fn garbage_locks_nothing() {
        assert!(locked_inodes("x\n1:\n2: POSIX\n3: POSIX ADVISORY WRITE 1 nonsense 0 EOF").is_empty());
    }
}
