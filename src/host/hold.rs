//! The file with which a person holds this node. It survives reboots, and the deletion of the Node.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::Path;

use crate::replace;
use crate::words::{NOTE, words};

/// A hold is one line; anything after this is not read.
const LONGEST: u64 = 4096;

/// What the file says, if there is one.
pub fn read(path: &Path) -> Result<Option<String>, String> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("{}: {error}", path.display())),
    };
    let mut text = Vec::new();
    file.take(LONGEST).read_to_end(&mut text).map_err(|error| format!("{}: {error}", path.display()))?;
    let text = String::from_utf8_lossy(&text);
    Ok(Some(words(text.lines().next().unwrap_or_default(), NOTE)))
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
        put(&path, &"\x1b[31mlong\u{202e} ".repeat(64 << 10)).unwrap();
        let told = read(&path).unwrap().unwrap();
        assert!(told.starts_with("[31mlong [31mlong") && told.chars().count() == NOTE, "{told}");
        std::fs::write(&path, b"\xff\xfe").unwrap();
        assert!(read(&path).unwrap().is_some());
        assert!(remove(&path).unwrap() && !remove(&path).unwrap());
        assert_eq!(read(&path), Ok(None));
    }

    #[test]
    fn what_cannot_be_read_is_neither_a_hold_nor_none() {
        assert!(read(&std::env::temp_dir()).is_err());
    }
}
