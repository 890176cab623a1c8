//! Who this host is: its name, its machine id, its boot id.

use std::path::Path;

use nix::unistd::{Uid, User};

use crate::notation::plain_id;

/// The machine id of machine-id(5), 32 lower-case hexadecimal digits.
pub fn machine_id() -> std::io::Result<String> {
    std::fs::read_to_string(Path::new("/etc/machine-id")).map(|id| plain_id(&id))
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
