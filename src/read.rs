//! Reads a file that may be anything: somebody may have put a pipe, a device or a gigabyte in its place.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::libc::O_NONBLOCK;

/// The most bytes of a file in which other programs, or people, tell this host something.
pub(crate) const NOTICE: u64 = 64 << 10;

/// The content of a regular file of at most this many bytes. Never waits for a pipe, and never reads without end.
pub(crate) fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    open(path)?.take(most + 1).read_to_end(&mut content)?;
    checked(content, most)
}

fn checked(content: Vec<u8>, most: u64) -> io::Result<Vec<u8>> {
    if content.len() as u64 > most {
        return Err(io::Error::other(format!("is longer than {most} bytes")));
    }
    Ok(content)
}

fn text(content: Vec<u8>) -> io::Result<String> {
    String::from_utf8(content).map_err(|_| io::Error::other("is not text (UTF-8)"))
}

/// The same for a file that has to be text.
pub(crate) fn read_text(path: &Path, most: u64) -> io::Result<String> {
    read(path, most).and_then(text)
}

/// The same for what a person names on a command line. It may be a pipe, as in `<(kubectl config view --raw)`.
pub(crate) fn read_named(path: &Path, most: u64) -> io::Result<String> {
    let mut content = Vec::new();
    File::open(path)?.take(most + 1).read_to_end(&mut content)?;
    checked(content, most).and_then(text)
}

/// What stands there. Only if nothing has this name, the error is `NotFound`: whoever made a link that leads nowhere
/// wanted something else.
pub(crate) fn metadata(path: &Path) -> io::Result<Metadata> {
    fs::metadata(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound if path.is_symlink() => io::Error::other("is a link that leads nowhere"),
        _ => error,
    })
}

/// Opens a regular file, without waiting.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    // Asked before it is opened, because opening a device may already do something. What takes its place in between
    // cannot keep us waiting either.
    if !metadata(path)?.is_file() {
        return Err(io::Error::other("is not a regular file"));
    }
    OpenOptions::new().read(true).custom_flags(O_NONBLOCK).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_regular_file_of_limited_length_is_read() {
        let path = std::env::temp_dir().join(format!("rebootd-read-{}", std::process::id()));
        fs::write(&path, "abcd").unwrap();
        assert_eq!(read_text(&path, 4).unwrap(), "abcd");
        assert!(read(&path, 3).unwrap_err().to_string().contains("longer than 3 bytes"));
        fs::write(&path, b"\xff").unwrap();
        assert_eq!(read(&path, 4).unwrap(), b"\xff");
        assert!(read_text(&path, 4).unwrap_err().to_string().contains("not text"));
        fs::remove_file(&path).unwrap();
        assert_eq!(read(&path, 4).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert!(
            read_named(Path::new("/dev/zero"), 4).unwrap_err().to_string().contains("longer than 4 bytes")
        );
        assert_eq!(read_named(Path::new("/dev/null"), 4).unwrap(), "");
        for not_a_file in ["/dev/zero", "/tmp"] {
            assert!(
                read(Path::new(not_a_file), 4).unwrap_err().to_string().contains("regular"),
                "{not_a_file}"
            );
        }
    }
}
