//! The kernels of this host: the running one, and those installed in `/boot`.

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use nix::sys::statvfs::statvfs;

use crate::decide::{Kernel, NewerKernel};
use crate::notation::{flavour, newest};

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

/// The version of the package that the running kernel is from, where it is Debian's or Ubuntu's.
pub fn running_package() -> Option<String> {
    let text = |path| std::fs::read_to_string(path).unwrap_or_default();
    let running = text(RUNNING);
    package_version(&text("/proc/version_signature"), &text("/proc/version"), running.trim())
}

/// Ubuntu's kernel has a signature, `Ubuntu 6.8.0-45.45-generic 6.8.12`; Debian's tells it at the end of its banner, behind the
/// number of the build, `#1 SMP PREEMPT_DYNAMIC Debian 6.1.176-1 (2026-07-11)`.
fn package_version(signature: &str, banner: &str, running: &str) -> Option<String> {
    let version = match signature.strip_prefix("Ubuntu ") {
        Some(rest) => {
            let version = rest.split(' ').next()?;
            version.strip_suffix(&format!("-{}", flavour(running))).unwrap_or(version)
        }
        None => banner.rsplit_once(" #")?.1.split_once(" Debian ")?.1.split(' ').next()?,
    };
    let version = version.trim();
    (!version.is_empty() && version.bytes().all(|byte| byte.is_ascii_graphic())).then(|| version.to_owned())
}

/// Whether a kernel is loaded for kexec. If that cannot be read, none is: a reboot through the firmware is always
/// right.
pub fn is_loaded_for_kexec() -> bool {
    std::fs::read_to_string("/sys/kernel/kexec_loaded").is_ok_and(|text| text.trim() == "1")
}

/// How much room there is for the next kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// How many bytes are free in `/boot`.
    pub free: u64,
    /// How many the largest installed kernel takes, with its initrd; none on a host that boots another way.
    pub kernel: u64,
}

/// Looks for it.
pub fn room() -> Result<Room, String> {
    room_in(Path::new(BOOT))
}

fn room_in(boot: &Path) -> Result<Room, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", boot.display());
    let entries = match std::fs::read_dir(boot) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Room { free: 0, kernel: 0 }),
        entries => entries.map_err(failed)?,
    };
    let size = |path: &Path| std::fs::metadata(path).map_or(0, |file| file.len());
    let sizes = entries.flatten().filter_map(|entry| {
        let name = entry.file_name();
        let initrd = boot.join(format!("initrd.img-{}", release(name.to_str()?)?));
        Some(size(&entry.path()).saturating_add(size(&initrd)))
    });
    let kernel = sizes.max().unwrap_or_default();
    let system = statvfs(boot).map_err(|error| failed(error.into()))?;
    Ok(Room { free: system.blocks_available().saturating_mul(system.fragment_size()), kernel })
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
    let starts = newest.unwrap_or(running);
    let names: Vec<&str> = installed.iter().map(|(release, _)| release.as_str()).collect();
    let cannot_start = names.contains(&starts).then(|| lacks_initrd(boot, starts, &names)).flatten();
    Ok(Kernel { running: running.to_owned(), newer, cannot_start })
}

/// What is wrong with the initrd of this kernel: it is empty, or it is missing while other installed kernels of its
/// flavour have one, so that it would not find its root file system. A flavour of one's own may have everything built in.
fn lacks_initrd(boot: &Path, release: &str, installed: &[&str]) -> Option<String> {
    // Of other distributions, other names; there, no kernel has one by these.
    let initrd = |release: &str| boot.join(format!("initrd.img-{release}"));
    let size = |release: &str| std::fs::metadata(initrd(release)).map(|file| file.len());
    let mut others = installed.iter().filter(|it| **it != release && flavour(it) == flavour(release));
    let why = match size(release) {
        Ok(0) => "is empty",
        Err(error) if error.kind() == ErrorKind::NotFound && others.any(|other| size(other).is_ok()) => {
            "is missing"
        }
        // One that cannot be looked at says nothing.
        Ok(_) | Err(_) => return None,
    };
    Some(format!(
        "{} {why}; is /boot full? then: update-initramfs -c -k {release}",
        initrd(release).display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_without_the_initrd_that_others_have_cannot_start() {
        let boot = std::env::temp_dir().join(format!("rebootd-initrd-{}", std::process::id()));
        std::fs::create_dir_all(&boot).unwrap();
        let write = |name: &str, text: &str| std::fs::write(boot.join(name), text).unwrap();
        let cannot = |running| read_in(&boot, running).unwrap().cannot_start;
        write("vmlinuz-6.1.0-44-amd64", "x");
        write("vmlinuz-6.1.0-45-amd64", "x");
        // Nobody here uses an initrd.
        assert_eq!(cannot("6.1.0-44-amd64"), None);
        write("initrd.img-6.1.0-44-amd64", "x");
        assert!(cannot("6.1.0-44-amd64").unwrap().contains("45-amd64 is missing"));
        write("initrd.img-6.1.0-45-amd64", "");
        assert!(cannot("6.1.0-44-amd64").unwrap().contains("45-amd64 is empty"));
        assert!(cannot("6.1.0-45-amd64").unwrap().contains("45-amd64 is empty"));
        // Of another flavour, that one does not start by itself.
        assert_eq!(cannot("6.1.0-44-cloud-amd64"), None);
        write("initrd.img-6.1.0-45-amd64", "x");
        assert_eq!(cannot("6.1.0-44-amd64"), None);
        std::fs::remove_dir_all(&boot).unwrap();
    }

    #[test]
    fn a_kernel_without_an_initrd_can_start_whatever_other_flavours_have() {
        let boot = std::env::temp_dir().join(format!("rebootd-custom-{}", std::process::id()));
        std::fs::create_dir_all(&boot).unwrap();
        for name in ["vmlinuz-6.6.8-custom", "vmlinuz-6.1.0-44-amd64", "initrd.img-6.1.0-44-amd64"] {
            std::fs::write(boot.join(name), "x").unwrap();
        }
        let cannot = |running| read_in(&boot, running).unwrap().cannot_start;
        assert_eq!((cannot("6.6.8-custom"), cannot("6.1.0-44-amd64")), (None, None));
        std::fs::write(boot.join("initrd.img-6.6.7-custom"), "x").unwrap();
        std::fs::write(boot.join("vmlinuz-6.6.7-custom"), "x").unwrap();
        assert!(cannot("6.6.8-custom").unwrap().contains("6.6.8-custom is missing"));
        std::fs::remove_dir_all(&boot).unwrap();
    }

    #[test]
    fn the_running_kernel_tells_the_version_of_its_package() {
        let debian = "Linux version 6.1.0-50-cloud-amd64 (debian-kernel@lists.debian.org) (gcc-12 (Debian 12.2.0-14+deb12u1) \
            12.2.0, GNU ld (GNU Binutils for Debian) 2.40) #1 SMP PREEMPT_DYNAMIC Debian 6.1.176-1 (2026-07-11)\n";
        assert_eq!(package_version("", debian, "6.1.0-50-cloud-amd64").as_deref(), Some("6.1.176-1"));
        let ubuntu = package_version("Ubuntu 6.8.0-45.45~22.04.1-generic 6.8.12\n", "", "6.8.0-45-generic");
        assert_eq!(ubuntu.as_deref(), Some("6.8.0-45.45~22.04.1"));
        let own = "Linux version 6.6.8 (me@here) (gcc (Debian 12.2.0) 12.2.0) #1 SMP PREEMPT_DYNAMIC @0\n";
        assert_eq!(package_version("", own, "6.6.8"), None);
    }

    #[test]
    fn the_next_kernel_takes_as_much_room_as_the_largest_with_its_initrd() {
        let boot = std::env::temp_dir().join(format!("rebootd-room-{}", std::process::id()));
        assert_eq!(room_in(&boot), Ok(Room { free: 0, kernel: 0 }));
        std::fs::create_dir_all(&boot).unwrap();
        for (name, size) in
            [("vmlinuz-6.1", 10), ("initrd.img-6.1", 30), ("vmlinuz-6.2", 12), ("initrd.img-5", 99)]
        {
            std::fs::write(boot.join(name), "x".repeat(size)).unwrap();
        }
        let room = room_in(&boot).unwrap();
        assert!(room.kernel == 40 && room.free > 40, "{room:?}");
        std::fs::remove_dir_all(&boot).unwrap();
    }

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
