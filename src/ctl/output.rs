//! What people read. A reader such as `head`, which has seen enough and goes away, is no error.

use std::fmt::Arguments;
use std::io::{ErrorKind, Write};

/// As in the standard library, but without its panic when nobody reads any more.
macro_rules! print {
    ($($text:tt)*) => { $crate::ctl::output::write(format_args!($($text)*)) };
}

/// As in the standard library, but without its panic when nobody reads any more.
macro_rules! println {
    ($($text:tt)*) => {{
        $crate::ctl::output::write(format_args!($($text)*));
        $crate::ctl::output::write(format_args!("\n"));
    }};
}

/// What cannot be written is told, unless the reader has gone.
pub(super) fn write(text: Arguments<'_>) {
    if let Err(error) = std::io::stdout().write_fmt(text)
        && error.kind() != ErrorKind::BrokenPipe
    {
        eprintln!("rebootctl: cannot write: {error}");
    }
}
