//! Packages that dpkg has left half-installed: a host that reboots with them may not come up again.

use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::decide::Names;
use crate::read;
use crate::words::{NOTE, name, words};

/// dpkg's database (`dpkg(1)`, "Package states").
pub const STATUS: &str = "/var/lib/dpkg/status";
/// The most bytes of it: several times what the largest host has.
const LONGEST: u64 = 64 << 20;
/// A longer line is none of those that matter.
const LONGEST_LINE: usize = 1 << 10;

/// The packages that `dpkg --audit` would name. Reads the database again only once it has been replaced.
#[derive(Default)]
pub struct HalfInstalled {
    read: Option<(Version, Names)>,
}

/// dpkg replaces the file as a whole, so these tell one version from another.
#[derive(PartialEq)]
struct Version(u64, i64, i64, u64);

impl HalfInstalled {
    /// Reads them. A host without dpkg has none.
    pub fn read(&mut self, path: &Path) -> Result<Names, String> {
        let failed = |error: io::Error| format!("{}: {error}", path.display());
        let file = match read::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Names::default()),
            Err(error) => return Err(failed(error)),
        };
        let meta = file.metadata().map_err(failed)?;
        let version = Version(meta.ino(), meta.mtime(), meta.mtime_nsec(), meta.len());
        if let Some((read, names)) = &self.read
            && *read == version
        {
            return Ok(names.clone());
        }
        if meta.len() > LONGEST {
            return Err(failed(io::Error::other(format!("is longer than {LONGEST} bytes"))));
        }
        let names = half_installed(BufReader::new(file.take(LONGEST))).map_err(failed)?;
        self.read = Some((version, names.clone()));
        Ok(names)
    }
}

fn half_installed(mut database: impl BufRead) -> io::Result<Names> {
    let (mut names, mut package, mut line) = (Names::default(), String::new(), Vec::new());
    loop {
        line.clear();
        if database.read_until(b'\n', &mut line)? == 0 {
            return Ok(names);
        }
        if line.len() > LONGEST_LINE {
            continue;
        }
        let text = String::from_utf8_lossy(&line);
        if let Some(written) = text.strip_prefix("Package: ") {
            package = name(written.trim_end().to_owned());
        } else if let Some(state) = text.strip_prefix("Status: ").and_then(unfinished) {
            // The database of a broken disk may say anything.
            names.push(words(&format!("{package} ({state})"), NOTE));
        }
    }
}

/// The state in `WANT FLAG STATE` (`deb-triggers`, `dpkg-query(1)`), unless it is one in which a package may stay.
fn unfinished(status: &str) -> Option<&str> {
    let mut fields = status.split_whitespace();
    let (flag, state) = (fields.nth(1)?, fields.next()?);
    let is_finished = matches!(state, "installed" | "config-files" | "not-installed");
    (flag == "reinstreq" || !is_finished).then_some(state)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_dpkg_has_not_finished_is_named() {
        let database = "Package: a\nStatus: install ok installed\n\nPackage: b\nStatus: deinstall ok config-files\n\n\
             Package: linux-image-6.1.0-45-amd64\nStatus: install ok half-configured\nDescription: Status: x\n\n\
             Package: c\nStatus: install reinstreq installed\n\nPackage: d\nStatus: install ok triggers-pending\n";
        let names = half_installed(database.as_bytes()).unwrap();
        assert_eq!(
            names.first,
            ["linux-image-6.1.0-45-amd64 (half-configured)", "c (installed)", "d (triggers-pending)"]
        );
    }

    #[test]
    fn what_a_damaged_database_says_is_made_fit_for_people() {
        let database = "Package: a\x1b[2J\nStatus: install ok half\0\x1b[2Jinstalled\n";
        let names = half_installed(database.as_bytes()).unwrap();
        assert!(!names.first[0].contains(char::is_control) && names.first[0].contains("half"), "{names:?}");
        let long = format!("Package: a\nStatus: install ok {}\n", "x".repeat(900));
        assert!(half_installed(long.as_bytes()).unwrap().first[0].chars().count() <= NOTE);
    }

    #[test]
    fn the_database_is_read_again_once_it_was_replaced() {
        let path = std::env::temp_dir().join(format!("rebootd-status-{}", std::process::id()));
        let mut packages = HalfInstalled::default();
        assert_eq!(packages.read(&path).unwrap().count(), 0);
        for (state, count) in [("unpacked", 1), ("installed", 0)] {
            let _ = std::fs::remove_file(&path);
            std::fs::write(&path, format!("Package: a\nStatus: install ok {state}\n")).unwrap();
            assert_eq!(packages.read(&path).unwrap().count(), count);
        }
        std::fs::remove_file(&path).unwrap();
        assert!(packages.read(&std::env::temp_dir()).is_err());
    }
}
