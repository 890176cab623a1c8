//! Reads a file that may be anything: somebody may have put a pipe, a device or a gigabyte in its place.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

/// The text of a regular file of at most this many bytes. Never waits for a pipe, and never reads without end.
pub(crate) fn read(path: &Path, most: u64) -> io::Result<String> {
    // Before it is opened: opening a pipe would wait for whoever writes to it.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("is not a regular file"));
    }
    let mut text = String::new();
    File::open(path)?.take(most + 1).read_to_string(&mut text)?;
    if text.len() as u64 > most {
        return Err(io::Error::other(format!("is longer than {most} bytes")));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_regular_file_of_limited_length_is_read() {
        let path = std::env::temp_dir().join(format!("rebootd-read-{}", std::process::id()));
        fs::write(&path, "abcd").unwrap();
        assert_eq!(read(&path, 4).unwrap(), "abcd");
        assert!(read(&path, 3).unwrap_err().to_string().contains("longer than 3 bytes"));
        fs::remove_file(&path).unwrap();
        assert_eq!(read(&path, 4).unwrap_err().kind(), io::ErrorKind::NotFound);
        for not_a_file in ["/dev/zero", "/tmp"] {
            assert!(
                read(Path::new(not_a_file), 4).unwrap_err().to_string().contains("regular"),
                "{not_a_file}"
            );
        }
    }
}
