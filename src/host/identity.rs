//! Who this host is: its name, its machine id, its boot id.

use std::path::Path;

use nix::unistd::{Uid, User};

use crate::notation::plain_id;
use crate::read::{NOTICE, read_text};

/// Where a host keeps its machine id.
pub const MACHINE_ID: &str = "/etc/machine-id";

/// The machine id of machine-id(5), 32 lower-case hexadecimal digits.
pub fn machine_id(path: &Path) -> Result<String, String> {
    let place = |why: String| format!("{}: {why}", path.display());
    let id = plain_id(&read_text(path, NOTICE).map_err(|error| place(error.to_string()))?);
    if id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(id);
    }
    Err(place("is not a machine id; see systemd-machine-id-setup(1)".to_owned()))
}

/// Whether systemd has mounted a machine id over the file for this boot only, because the file could not be written
/// (machine-id(5), "First Boot Semantics"). If that cannot be read, it lasts.
pub fn machine_id_is_transient() -> bool {
    std::fs::read_to_string("/proc/self/mountinfo").is_ok_and(|mounts| is_in_memory(&mounts, MACHINE_ID))
}

/// Whether something that lives in memory is mounted there. `mounts`: proc_pid_mountinfo(5); the fifth field is the mount
/// point, and the type of the file system comes after the dash.
fn is_in_memory(mounts: &str, path: &str) -> bool {
    mounts.lines().any(|line| {
        let kind = line.split_once(" - ").and_then(|(_, rest)| rest.split(' ').next());
        line.split(' ').nth(4) == Some(path) && kind == Some("tmpfs")
    })
}

/// The host's name according to the kernel.
pub fn host_name() -> std::io::Result<String> {
    let name = nix::unistd::gethostname()?;
    Ok(name.to_string_lossy().into_owned())
}

/// The person who runs this program, as far as this host knows; to be read by people.
pub fn person() -> String {
    let user = ["SUDO_USER", "USER"].iter().find_map(|name| std::env::var(name).ok());
    let user = user.or_else(|| Some(User::from_uid(Uid::current()).ok()??.name));
    let host = host_name().unwrap_or_else(|_| "unknown host".to_owned());
    format!("{}@{host}", user.unwrap_or_else(|| "somebody".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_for_this_boot_only_is_one_that_systemd_has_mounted_from_memory() {
        // As systemd 252 mounts it; and one that people have mounted from a disk.
        let root = "29 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw\n";
        let transient =
            "61 29 0:25 /machine-id /etc/machine-id ro,relatime shared:13 - tmpfs tmpfs rw,size=1k\n";
        let lasting = "61 29 254:1 /ids/a /etc/machine-id ro,relatime shared:1 - ext4 /dev/vda1 rw\n";
        assert!(is_in_memory(&format!("{root}{transient}"), MACHINE_ID));
        assert!(!is_in_memory(&format!("{root}{lasting}"), MACHINE_ID) && !is_in_memory(root, MACHINE_ID));
    }
}
