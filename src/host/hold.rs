//! The file by which a person holds this node. It survives reboots, and the Node's deletion.

use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// More than anybody reads in a status line.
const LONGEST: usize = 200;

/// What the file says, if there is one.
pub fn read(path: &Path) -> Result<Option<String>, String> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text.lines().next().unwrap_or_default().chars().take(LONGEST).collect())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}

/// Puts the file there, or another in its place, for the daemon to read: it survives a power loss right after.
pub fn put(path: &Path, why: &str) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = File::create(&new)?;
    file.set_permissions(Permissions::from_mode(0o644))?;
    writeln!(file, "{why}")?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    sync_directory(path)
}

/// Takes the file away; false where there is none.
pub fn remove(path: &Path) -> io::Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => sync_directory(path).map(|()| true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
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
        assert!(remove(&path).unwrap() && !remove(&path).unwrap());
        assert_eq!(read(&path), Ok(None));
    }

    #[test]
    fn what_cannot_be_read_is_neither_a_hold_nor_none() {
        assert!(read(&std::env::temp_dir()).is_err());
    }
}
