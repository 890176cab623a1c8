//! The tool for people, which needs no daemon beside it.

use std::process::ExitCode;

fn main() -> ExitCode {
    rebootd::ctl::run()
}
