//! Whether Livepatch covers what the sentinel asks for, according to Ubuntu's client: a unit of the package stores
//! what `pro system reboot-required` prints, one of three words. A snap cannot run in the daemon's own sandbox.

use std::fs;
use std::path::Path;
use std::time::SystemTime;

use crate::read::{self, NOTICE};
use crate::words::{NOTE, words};

/// Where `rebootd-livepatch.service` stores it.
pub const PATH: &str = "/run/rebootd-livepatch";

/// Whether only kernel packages ask, and Livepatch has patched the running kernel.
pub fn read(path: &Path, sentinel: &Path) -> Result<bool, String> {
    let place =
        |why: String| format!("{}: {why}; see: systemctl status rebootd-livepatch.path", path.display());
    let content = read::read(path, NOTICE).map_err(|error| place(error.to_string()))?;
    // The client runs once the sentinel is there: an earlier answer is about something else.
    let changed = |path: &Path| fs::metadata(path).and_then(|it| it.modified()).ok();
    if is_older(changed(path), changed(sentinel)) {
        return Err(place("is older than the request".to_owned()));
    }
    match String::from_utf8_lossy(&content).trim() {
        "yes-kernel-livepatches-applied" => Ok(true),
        "yes" | "no" => Ok(false),
        other => Err(place(format!("says {:?}", words(other, NOTE)))),
    }
}

fn is_older(file: Option<SystemTime>, sentinel: Option<SystemTime>) -> bool {
    sentinel.is_some_and(|sentinel| file.is_none_or(|file| file < sentinel))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_word_says_that_it_can_wait() {
        let directory = std::env::temp_dir().join(format!("rebootd-livepatch-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let (file, sentinel) = (directory.join("livepatch"), directory.join("reboot-required"));
        assert!(read(&file, &sentinel).is_err());
        for (text, answer) in [
            ("yes-kernel-livepatches-applied\n", Some(true)),
            ("yes\n", Some(false)),
            ("no\n", Some(false)),
            ("", None),
            ("perhaps\n", None),
        ] {
            fs::write(&file, text).unwrap();
            assert_eq!(read(&file, &sentinel).ok(), answer, "{text:?}");
        }
        fs::write(&file, "no\n").unwrap();
        let before = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(60);
        fs::File::options().write(true).open(&file).unwrap().set_modified(before).unwrap();
        fs::write(&sentinel, "").unwrap();
        assert!(read(&file, &sentinel).unwrap_err().contains("older than the request"));
    }
}
