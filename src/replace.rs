//! Files that are replaced as a whole: a reader finds either the old or the new content, even after a power loss.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Writes a file with this content and mode (whatever the umask is), replacing the existing one, if any. There must
/// be only one writer at a time.
///
/// On a file system in memory both syncs cost nothing, so there is no variant without them.
pub(crate) fn replace(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = Path::new(&new);
    if let Err(error) = write(new, content, mode) {
        // On a full disk, half a file would take the room that something smaller needs.
        let _ = fs::remove_file(new);
        return Err(error);
    }
    fs::rename(new, path)?;
    sync_directory(path)
}

fn write(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    // Whatever has that name is not written to: half a file of an earlier end, a link, a pipe that nobody reads.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.set_permissions(Permissions::from_mode(mode))?;
    file.write_all(content)?;
    // Content before name: otherwise a crash may leave the name with nothing behind it.
    file.sync_all()
}

/// Removes a file, even across a power loss; returns false if there is none.
pub(crate) fn remove(path: &Path) -> io::Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => sync_directory(path).map(|()| true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Names survive a power loss once their directory is synced.
fn sync_directory(path: &Path) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn what_stands_in_the_place_of_the_new_file_is_neither_written_to_nor_waited_for() {
        let directory = std::env::temp_dir().join(format!("rebootd-replace-odd-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let (path, new, other) =
            (directory.join("file"), directory.join("file.new"), directory.join("of-others"));
        fs::write(&other, "theirs").unwrap();
        std::os::unix::fs::symlink(&other, &new).unwrap();
        replace(&path, b"one", 0o600).unwrap();
        // A pipe that nobody reads would be waited for.
        nix::unistd::mkfifo(&new, nix::sys::stat::Mode::S_IRWXU).unwrap();
        replace(&path, b"two", 0o600).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!((fs::read(&other).unwrap(), mode(&path)), (b"theirs".to_vec(), 0o600));
        fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn a_file_is_replaced_as_a_whole_with_the_mode_that_it_should_have() {
        let directory = std::env::temp_dir().join(format!("rebootd-replace-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let path = directory.join("state.json");
        replace(&path, b"a longer first text", 0o666).unwrap();
        assert_eq!(mode(&path), 0o666);
        // A file that an earlier process left half-written, readable by everybody.
        fs::write(directory.join("state.json.new"), "x".repeat(100)).unwrap();
        let reader = fs::File::open(&path).unwrap();
        replace(&path, b"second", 0o600).unwrap();
        assert_eq!((fs::read(&path).unwrap().as_slice(), mode(&path)), (b"second".as_slice(), 0o600));
        // A process that had it open still reads the old content.
        assert_eq!(io::read_to_string(reader).unwrap(), "a longer first text");
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1);
        assert!(remove(&path).unwrap() && !remove(&path).unwrap());
        fs::remove_dir(&directory).unwrap();
    }

    #[test]
    fn what_cannot_be_replaced_stays() {
        let directory = std::env::temp_dir().join(format!("rebootd-replaced-{}", std::process::id()));
        fs::create_dir_all(directory.join("full")).unwrap();
        fs::write(directory.join("full/x"), "x").unwrap();
        assert!(replace(&directory.join("full"), b"a directory is in the way", 0o600).is_err());
        assert!(replace(&directory.join("missing/file"), b"", 0o600).is_err());
        assert_eq!(fs::read(directory.join("full/x")).unwrap(), b"x");
        fs::remove_dir_all(&directory).unwrap();
    }
}
