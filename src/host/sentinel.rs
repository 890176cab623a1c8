//! The sentinel file: Debian Policy 9.12. Its existence asks for a reboot; `<sentinel>.pkgs` says for which packages.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use notify::{Config, EventKindMask, INotifyWatcher, RecursiveMode, Watcher};

use super::kernel;
use crate::decide::Request;
use crate::read::{self, NOTICE};
use crate::words::words;

/// The maximum length of a package's name.
const LONGEST_NAME: usize = 128;
/// September 2001. A file that is older than this comes from a clock that was not set, or from an image whose times
/// mean nothing.
const EARLIEST: Duration = Duration::from_secs(1_000_000_000);

/// Reads the request that the sentinel makes.
///
/// The packages are read each time: lines that are appended to an existing file raise no event.
pub fn read(sentinel: &Path) -> Result<Option<Request>, String> {
    let metadata = match read::metadata(sentinel) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("{}: {error}", sentinel.display())),
    };
    let since = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    let since = since.filter(|since| *since >= EARLIEST);
    let packages = packages(sentinel);
    let reason = match packages.as_deref() {
        Ok([]) => sentinel.display().to_string(),
        Ok([one]) => format!("{} by {one}", sentinel.display()),
        Ok([first, rest @ ..]) => format!("{} by {first} and {} more", sentinel.display(), rest.len()),
        // The list is only for people: nothing else depends on it.
        Err(error) => format!("{} ({error})", sentinel.display()),
    };
    let packages = packages.unwrap_or_default();
    // Whole seconds: on some file systems, finer times would make two readings of one request differ.
    Ok(Some(Request { reason, packages, since: since.map(|time| Duration::from_secs(time.as_secs())) }))
}

/// The file that names the packages that ask.
pub fn list(sentinel: &Path) -> PathBuf {
    let mut path = sentinel.as_os_str().to_owned();
    path.push(".pkgs");
    path.into()
}

/// The packages that ask, without duplicates; none if they are not listed.
fn packages(sentinel: &Path) -> Result<Vec<String>, String> {
    let path = &list(sentinel);
    let content = match read::read(path, NOTICE) {
        Ok(content) => content,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(format!("{}: {error}", path.display())),
    };
    let text = String::from_utf8_lossy(&content);
    let mut packages: Vec<String> =
        text.lines().map(|line| words(line, LONGEST_NAME)).filter(|line| !line.is_empty()).collect();
    packages.sort_unstable();
    packages.dedup();
    Ok(packages)
}

/// Watches the directories of these files, and calls `changed` when one of the files appears or disappears; if
/// wanted, also when a kernel does.
///
/// We watch the directory, not the file, which may not exist yet and is replaced rather than changed. The kernel
/// reports only files that appear or disappear, so reading the file does not wake the reader.
pub fn watch(
    files: &[&Path],
    kernels: bool,
    changed: impl Fn() + Send + 'static,
) -> Result<INotifyWatcher, notify::Error> {
    let names: Vec<_> = files.iter().map(|file| file.file_name().map(ToOwned::to_owned)).collect();
    let mask = EventKindMask::CREATE | EventKindMask::REMOVE | EventKindMask::MODIFY_NAME;
    let of_kernel = move |name: &str| kernels && kernel::release(name).is_some();
    let concerns_us = move |path: &PathBuf| {
        let named = path.file_name();
        let of_file = names.iter().any(|name| named == name.as_deref());
        of_file || named.and_then(|name| name.to_str()).is_some_and(of_kernel)
    };
    let handler = move |event: notify::Result<notify::Event>| {
        // An error or an overflow may hide the event that we wait for, so we look.
        let may_concern_us =
            event.map_or(true, |event| event.need_rescan() || event.paths.iter().any(&concerns_us));
        if may_concern_us {
            changed();
        }
    };
    let mut watcher = INotifyWatcher::new(handler, Config::default().with_event_kinds(mask))?;
    for file in files {
        watcher.watch(file.parent().unwrap_or(Path::new("/")), RecursiveMode::NonRecursive)?;
    }
    let boot = Path::new(kernel::BOOT);
    if kernels && boot.is_dir() {
        watcher.watch(boot, RecursiveMode::NonRecursive)?;
    }
    Ok(watcher)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_packages_that_ask_are_told_whatever_stands_in_their_file() {
        let sentinel = std::env::temp_dir().join(format!("rebootd-sentinel-{}", std::process::id()));
        let list = sentinel.with_extension("pkgs");
        let asking = |text: &[u8]| {
            std::fs::write(&list, text).unwrap();
            read(&sentinel).unwrap().unwrap()
        };
        assert_eq!(read(&sentinel), Ok(None));
        std::fs::write(&sentinel, "").unwrap();
        let request = asking(b"linux-base\nlibc6\n\n libc6\n");
        assert_eq!(request.packages, ["libc6", "linux-base"]);
        assert!(request.reason.ends_with(" by libc6 and 1 more"), "{}", request.reason);
        assert_eq!(asking(b"\x1b]0;x\x07libc6\r\n\xff\n").packages, ["]0;x libc6", "\u{fffd}"]);
        let long = asking("x".repeat(60 << 10).as_bytes()).packages;
        assert!(matches!(long.as_slice(), [name] if name.chars().count() == LONGEST_NAME), "{long:?}");
        for much in ["x".repeat(256 << 10), "a\n".repeat(128 << 10), "\n".repeat(256 << 10)] {
            let request = asking(much.as_bytes());
            assert!(request.packages.is_empty() && request.reason.contains("longer than"), "{request:?}");
        }
        std::fs::remove_file(&list).unwrap();
        std::fs::remove_file(&sentinel).unwrap();
    }
}
