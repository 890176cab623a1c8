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
