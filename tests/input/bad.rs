//! The bad inputs, one table for all that rebootd reads.

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

/// What is wrong with an input.
pub enum Bad {
    /// Only a file can be this. The function gets the path, and what a good file contains.
    File(fn(&Path, &[u8])),
    /// A good file with another time; as text, that time.
    Dated(u64, &'static str),
    /// A content, of a file or of anything else; made from a good one.
    Content(fn(&[u8]) -> Vec<u8>),
}

pub const BAD: &[(&str, Bad)] = &[
    ("absent", Bad::File(|_, _| {})),
    ("empty", Bad::Content(|_| Vec::new())),
    ("a directory", Bad::File(|path, _| fs::create_dir(path).unwrap())),
    ("a pipe", Bad::File(|path, _| assert!(Command::new("mkfifo").arg(path).status().unwrap().success()))),
    ("a device", Bad::File(|path, _| symlink("/dev/zero", path).unwrap())),
    ("a dangling link", Bad::File(|path, _| symlink("/no/such/file", path).unwrap())),
    ("a link to itself", Bad::File(|path, _| symlink(path, path).unwrap())),
    (UNREADABLE, Bad::File(unreadable)),
    ("100 MB", Bad::File(|path, _| File::create(path).unwrap().set_len(100 << 20).unwrap())),
    ("a line of 1 MB", Bad::Content(|_| vec![b'x'; 1 << 20])),
    (
        "60,000 lines",
        Bad::Content(|_| (0..60_000).flat_map(|line| format!("{line}\n").into_bytes()).collect()),
    ),
    ("NUL", Bad::Content(|_| b"a\0b".to_vec())),
    ("escapes", Bad::Content(|_| b"\x1b[2J\x1b]0;title\x07 \xc2\x9b31m \xe2\x80\xae done".to_vec())),
    ("invalid UTF-8", Bad::Content(|_| b"\xff\xfe \xc3( \xed\xa0\x80".to_vec())),
    ("line breaks", Bad::Content(|_| b"x\r\nSTATUS=idle\nMAINPID=1\n".to_vec())),
    ("from 2099", Bad::Dated(4_070_908_800, "2099-01-01T00:00:00Z")),
    ("from 1970", Bad::Dated(1, "1970-01-01T00:00:01Z")),
    ("a negative number", Bad::Content(|_| b"-1".to_vec())),
    ("a huge number", Bad::Content(|_| b"99999999999999999999999".to_vec())),
    ("no number", Bad::Content(|_| b"NaN".to_vec())),
    ("a path", Bad::Content(|_| b"../../kube-system/secrets?x=%2e%2e#y".to_vec())),
    ("twice", Bad::Content(|good| [good, b"\n", good].concat())),
    ("of an unknown version", Bad::Content(|_| b"{\"version\": 99}".to_vec())),
    ("deeply nested", Bad::Content(|_| vec![b'['; 100_000])),
];

/// Root reads it all the same.
pub const UNREADABLE: &str = "unreadable";

fn unreadable(path: &Path, good: &[u8]) {
    fs::write(path, good).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o000)).unwrap();
}

impl Bad {
    /// Lays a file of this kind there.
    pub fn lay(&self, path: &Path, good: &[u8]) {
        match self {
            Bad::File(lay) => lay(path, good),
            Bad::Dated(seconds, _) => {
                fs::write(path, good).unwrap();
                let file = File::options().append(true).open(path).unwrap();
                file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(*seconds)).unwrap();
            }
            Bad::Content(content) => fs::write(path, content(good)).unwrap(),
        }
    }

    /// The same as a text, if it can be one.
    pub fn content(&self, good: &[u8]) -> Option<Vec<u8>> {
        match self {
            Bad::File(_) => None,
            Bad::Dated(_, text) => Some(text.as_bytes().to_vec()),
            Bad::Content(content) => Some(content(good)),
        }
    }
}
