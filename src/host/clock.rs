//! The only place where clocks and randomness are read.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use crate::decide::Now;

/// The time now.
pub fn now() -> Now {
    Now { boot: read(ClockId::CLOCK_BOOTTIME), wall: read(ClockId::CLOCK_REALTIME) }
}

/// The kernel always has this clock; if it fails after all, time stands still and nothing is due.
#[allow(clippy::disallowed_methods, reason = "this is the one place")]
fn read(clock: ClockId) -> Duration {
    clock_gettime(clock).map(Duration::from).unwrap_or_default()
}

/// 16 random hexadecimal digits, different from everybody else's.
pub fn random() -> std::io::Result<String> {
    let mut bytes = [0_u8; 8];
    std::io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut bytes)?;
    Ok(format!("{:016x}", u64::from_be_bytes(bytes)))
}
