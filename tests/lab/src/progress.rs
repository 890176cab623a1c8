//! Short lines about what the lab is doing, each with the seconds since it began.

use std::sync::OnceLock;
use std::time::Instant;

static BEGAN: OnceLock<Instant> = OnceLock::new();

/// Seconds since the first call of this module.
pub fn elapsed() -> f64 {
    BEGAN.get_or_init(Instant::now).elapsed().as_secs_f64()
}

/// Prints one line of progress on standard error.
pub fn say(line: impl AsRef<str>) {
    eprintln!("{:7.1} s  {}", elapsed(), line.as_ref());
}
