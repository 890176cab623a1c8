//! `rebootctl`: how people see what rebootd does, and stop it. A file for each subcommand.

#[macro_use]
mod output;

mod check;
mod config;
mod credential;
mod enroll;
mod exec;
mod fleet;
mod free;
mod hold;
mod kubeconfig;
mod live;
mod pool_slots;
mod rehearse;
mod release;
mod report;
mod slots;
mod status;
mod table;
mod updates;
mod urgent;
mod windows;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Shows what rebootd does on this node, and stops it.
#[derive(Debug, Parser)]
#[command(
    name = "rebootctl",
    version,
    long_about = "\
Shows what rebootd, the daemon that reboots this Kubernetes node in its turn, does and why it waits; \
holds this node, pauses the fleet, frees slots that are not given back.",
    after_help = "\
The daemon's log:  journalctl -u rebootd
Manual:            man rebootctl"
)]
struct Control {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Status(status::Status),
    Check(check::Check),
    Live(live::LiveUpdates),
    Windows(windows::Windows),
    Report(report::Report),
    Rehearse(rehearse::Rehearse),
    Config(config::Config),
    Hold(hold::Hold),
    Unhold(hold::Unhold),
    Fleet(fleet::Fleet),
    Urgent(urgent::Urgent),
    Slots(pool_slots::Slots),
    Release(release::Release),
    Free(free::Free),
    Enroll(enroll::Enroll),
    Credential(credential::Credential),
}

/// Does what the command line says.
pub fn run() -> ExitCode {
    let control = match Control::try_parse() {
        Ok(control) => control,
        Err(error) => {
            let _ = error.print();
            let is_rehearsal = std::env::args().nth(1).is_some_and(|first| first == "rehearse");
            return ExitCode::from(match error.exit_code() {
                0 => 0,
                _ if is_rehearsal => rehearse::USAGE,
                _ => 2,
            });
        }
    };
    let result = match control.command {
        Command::Status(status) => status.run(),
        Command::Check(check) => check.run(),
        Command::Live(live) => live.run(),
        Command::Windows(windows) => windows.run(),
        Command::Report(report) => report.run(),
        Command::Rehearse(rehearse) => return rehearse.run(),
        Command::Config(config) => config.run(),
        Command::Hold(hold) => hold.run(),
        Command::Unhold(unhold) => unhold.run(),
        Command::Fleet(fleet) => fleet.run(),
        Command::Urgent(urgent) => urgent.run(),
        Command::Slots(slots) => slots.run(),
        Command::Release(release) => release.run(),
        Command::Free(free) => free.run(),
        Command::Enroll(enroll) => enroll.run(),
        Command::Credential(credential) => credential.run(),
    };
    result.unwrap_or_else(|error| {
        eprintln!("rebootctl: {error:#}");
        ExitCode::FAILURE
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::CommandFactory;

    use super::*;
    use crate::cli;

    fn parse(arguments: &[&str]) -> Result<Command, String> {
        let arguments = ["rebootctl"].iter().chain(arguments);
        Control::try_parse_from(arguments).map(|control| control.command).map_err(|error| error.to_string())
    }

    #[test]
    fn manual_and_completions_know_every_word() {
        let manual = include_str!("../../packaging/usr/share/man/man1/rebootctl.1");
        cli::check_documented(Control::command(), manual);
    }

    #[test]
    fn windows_takes_times_as_people_write_them() {
        for time in
            ["2026-12-24T18:00:00Z", "2026-12-24T19:00:00+01:00", "2026-12-24 18:00 UTC", "@1798135200"]
        {
            let Command::Windows(windows) = parse(&["windows", "--base-time", time]).unwrap() else {
                panic!()
            };
            assert_eq!(windows.base_time, Some(Duration::from_secs(1_798_135_200)), "{time}");
        }
        for time in ["", "soon", "Fri", "1960-01-01T00:00:00Z"] {
            assert!(parse(&["windows", "--base-time", time]).is_err(), "{time}");
        }
    }

    #[test]
    fn check_takes_a_kubeconfig_for_the_fleet_and_directories_for_a_node() {
        for good in [
            &["check"][..],
            &["check", "--json", "--config-dir=/etc"],
            &["check", "--fleet", "--kubeconfig=x"],
        ] {
            assert!(matches!(parse(good), Ok(Command::Check(_))), "{good:?}");
        }
        for wrong in
            [&["check", "--kubeconfig=x"][..], &["check", "--fleet", "--config-dir=/etc"], &["check", "x"]]
        {
            // With exit code 2, as all mistakes of a command line.
            let error = Control::try_parse_from(["rebootctl"].iter().chain(wrong)).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{wrong:?}");
        }
    }

    #[test]
    fn release_and_free_take_names_that_can_be_part_of_a_path() {
        let Command::Release(release) = parse(&["release", "node-1.example"]).unwrap() else { panic!() };
        assert_eq!(
            (release.node.as_str(), release.timeout, release.yes),
            ("node-1.example", Duration::from_secs(120), false)
        );
        let Command::Free(free) = parse(&["free", "worker-1"]).unwrap() else { panic!() };
        assert_eq!((free.slot.as_str(), free.yes), ("worker-1", false));
        for name in ["", "a/b", "a?b", ".."] {
            for command in ["release", "free"] {
                assert!(parse(&[command, name]).is_err(), "{command} {name:?}");
            }
        }
    }
}
