//! The file with which a person holds this node. It survives reboots, and the deletion of the Node.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

use crate::read::{self, NOTICE};
use crate::replace;
use crate::words::{NOTE, words};

/// What the file says, if there is one. Whatever has its name holds the node, even a link that leads nowhere; if there
/// is no reason to read in it, the reason is why.
pub fn read(path: &Path) -> Result<Option<String>, String> {
    if let Err(error) = fs::symlink_metadata(path) {
        let is_none = error.kind() == ErrorKind::NotFound;
        return if is_none { Ok(None) } else { Err(format!("{}: {error}", path.display())) };
    }
    Ok(Some(match read::read(path, NOTICE) {
        Ok(content) => words(String::from_utf8_lossy(&content).lines().next().unwrap_or_default(), NOTE),
        Err(error) => words(&format!("no reason can be read: {error}"), NOTE),
    }))
}

/// Writes the file, or replaces it, for the daemon to read: the hold survives even a power loss.
pub fn put(path: &Path, why: &str) -> io::Result<()> {
    replace::replace(path, format!("{why}\n").as_bytes(), 0o644)
}

/// Removes the file; returns false if there is none.
pub fn remove(path: &Path) -> io::Result<bool> {
    replace::remove(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hold_says_why_until_it_is_removed() {
        let path = std::env::temp_dir().join(format!("rebootd-hold-{}", std::process::id()));
        assert_eq!(read(&path), Ok(None));
        put(&path, "a disk is being replaced").unwrap();
        put(&path, "bug 4711\nand more").unwrap();
        assert_eq!(read(&path), Ok(Some("bug 4711".to_owned())));
        put(&path, &"\x1b[31mlong\u{202e} ".repeat(4 << 10)).unwrap();
        let told = read(&path).unwrap().unwrap();
        assert!(told.starts_with("[31mlong [31mlong") && told.chars().count() == NOTE, "{told}");
        std::fs::write(&path, b"\xff\xfe").unwrap();
        assert!(read(&path).unwrap().is_some());
        assert!(remove(&path).unwrap() && !remove(&path).unwrap());
        assert_eq!(read(&path), Ok(None));
    }

    #[test]
    fn whatever_has_its_name_holds_and_what_cannot_be_found_out_is_neither_a_hold_nor_none() {
        let held = read(&std::env::temp_dir()).unwrap().unwrap();
        assert_eq!(held, "no reason can be read: is not a regular file");
        assert!(read(Path::new("/etc/passwd/hold")).is_err());
    }
}
