//! The daemon. It is a program of its own so that a node's memory has nothing of the tool for people.

use std::process::ExitCode;

fn main() -> ExitCode {
    rebootd::daemon::run()
}
