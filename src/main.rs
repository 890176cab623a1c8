//! One program with two names: `rebootctl` is a symbolic link to `rebootd`.

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let called = std::env::args_os().next().unwrap_or_default();
    if Path::new(&called).file_name().is_some_and(|name| name == "rebootctl") {
        rebootd::ctl::run()
    } else {
        rebootd::daemon::run()
    }
}
