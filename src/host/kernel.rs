//! The kernels of this host: the running one, and those installed in `/boot`.

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use crate::decide::{Kernel, NewerKernel};
use crate::notation::newest;

/// Where kernels are installed.
pub const BOOT: &str = "/boot";
const RUNNING: &str = "/proc/sys/kernel/osrelease";
/// Most architectures compress theirs, some do not.
const NAMES: [&str; 2] = ["vmlinuz-", "vmlinux-"];

/// Reads them.
pub fn read() -> Result<Kernel, String> {
    let running = std::fs::read_to_string(RUNNING).map_err(|error| format!("{RUNNING}: {error}"))?;
    read_in(Path::new(BOOT), running.trim())
}

/// Whether a kernel is loaded for kexec. If that cannot be read, none is: a reboot through the firmware is always
/// right.
pub fn is_loaded_for_kexec() -> bool {
    std::fs::read_to_string("/sys/kernel/kexec_loaded").is_ok_and(|text| text.trim() == "1")
}

/// The release that a file in `/boot` holds, if it is a kernel. A release has printable characters only.
pub fn release(file: &str) -> Option<&str> {
    let release = NAMES.iter().find_map(|name| file.strip_prefix(name))?;
    release.bytes().all(|byte| byte.is_ascii_graphic()).then_some(release)
}

fn read_in(boot: &Path, running: &str) -> Result<Kernel, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", boot.display());
    let mut installed = Vec::new();
    match std::fs::read_dir(boot) {
        Ok(entries) => {
            for entry in entries {
                let entry = entry.map_err(failed)?;
                let name = entry.file_name().to_string_lossy().into_owned();
                if let Some(release) = release(&name) {
                    installed.push((release.to_owned(), entry));
                }
            }
        }
        // A container, or a host that boots over the network.
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    let newest = newest(running, installed.iter().map(|(release, _)| release.as_str()));
    let newer =
        installed.iter().find(|(release, _)| Some(release.as_str()) == newest).map(|(release, entry)| {
            // Not the time of modification, which is when the package was built.
            let changed = entry.metadata().ok().and_then(|file| u64::try_from(file.ctime()).ok());
            NewerKernel { release: release.clone(), since: changed.map(Duration::from_secs) }
        });
    Ok(Kernel { running: running.to_owned(), newer })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_installed_is_found_by_its_name() {
        let boot = std::env::temp_dir().join(format!("rebootd-kernel-{}", std::process::id()));
        let newer = |running| read_in(&boot, running).unwrap().newer.map(|newer| newer.release);
        assert_eq!(newer("6.1.0-40-amd64"), None);
        std::fs::create_dir_all(&boot).unwrap();
        for name in [
            "vmlinuz-6.1.0-99\x1b[1m",
            "vmlinuz-6.1.0-44-amd64",
            "initrd.img-6.1.0-45-amd64",
            "vmlinuz",
            "vmlinuz-6.1.0-45-amd64.old",
        ] {
            std::fs::write(boot.join(name), "").unwrap();
        }
        assert_eq!(newer("6.1.0-40-amd64").as_deref(), Some("6.1.0-44-amd64"));
        assert_eq!(newer("6.1.0-44-amd64"), None);
        let found = read_in(&boot, "6.1.0-40-amd64").unwrap().newer.unwrap();
        assert!(found.since.is_some_and(|since| !since.is_zero()));
        std::fs::remove_dir_all(&boot).unwrap();
    }
}
