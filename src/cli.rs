//! The command lines of both programs.
//!
//! Their manual pages and shell completions are written by hand, in `packaging/`;
//! the tests below hold them against these types.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::config::{DEFAULT_DIRECTORIES, zones};
use crate::notation::Calendar;
use crate::notation::parse_time_span;

/// Coordinated reboots of this Kubernetes node.
#[derive(Debug, Clone, PartialEq, Parser)]
#[command(
    name = "rebootd",
    version,
    long_about = "\
Coordinated reboots of this Kubernetes node.

When this host asks for a reboot (/run/reboot-required), rebootd takes its turn in the cluster, \
cordons and drains the node, reboots through systemd-logind, proves that the host came back \
healthy, uncordons, and hands the turn on. It runs as the service rebootd.service.",
    after_help = "\
Configuration:  /etc/rebootd/config.toml and config.d/*.toml beside it, see rebootd.toml(5)
What it does:   rebootctl status, or systemctl status rebootd
Log:            journalctl -u rebootd
Manual:         man rebootd"
)]
pub struct Daemon {
    /// What to do.
    #[command(subcommand)]
    pub command: DaemonCommand,
}

/// What the daemon's program can do.
#[derive(Debug, Clone, PartialEq, Subcommand)]
pub enum DaemonCommand {
    /// Run the daemon; systemd does this
    Run {
        /// The id of this boot, as systemd writes it for %b
        #[arg(long, value_name = "ID", value_parser = parse_boot_id)]
        boot_id: String,
        /// Where the configuration is.
        #[command(flatten)]
        config: ConfigDirectories,
    },
    /// Say whether the configuration is valid; exits with 78 if it is not
    CheckConfig {
        /// Where the configuration is.
        #[command(flatten)]
        config: ConfigDirectories,
    },
    /// Uncordon this node and give its slot back, where that is safe
    ///
    /// Meant for the removal of the package, while the daemon is stopped. Where it is not
    /// safe or not possible, prints what a person has to do instead.
    StepBack {
        /// How long this may take, for example "25s"
        #[arg(long, value_name = "TIME", default_value = "25s", value_parser = parse_time_span)]
        timeout: Duration,
        /// Where the configuration is.
        #[command(flatten)]
        config: ConfigDirectories,
    },
}

/// What else can be done with configurations.
#[derive(Debug, Clone, PartialEq, Subcommand)]
pub enum ConfigCommand {
    /// Say what is wrong with configuration files and policies; exits with 1 if something is
    ///
    /// Without files, with those of this host. A file may be a host's configuration, the text of a
    /// policy, or a manifest (.yaml) with the ConfigMap "policy". Asks neither host nor cluster.
    Check {
        /// The files
        #[arg(value_name = "FILE")]
        files: Vec<PathBuf>,
    },
}

/// Where the configuration is.
#[derive(Debug, Clone, PartialEq, Args)]
pub struct ConfigDirectories {
    /// Read config.toml and config.d/*.toml of this directory; of several, later ones win
    #[arg(
        long = "config-dir",
        value_name = "DIR",
        default_values = DEFAULT_DIRECTORIES,
        value_parser = parse_directory
    )]
    pub directories: Vec<PathBuf>,
}

/// Shows what rebootd does on this node, and stops it.
#[derive(Debug, Clone, PartialEq, Parser)]
#[command(
    name = "rebootctl",
    version,
    long_about = "\
Shows what rebootd, the daemon that reboots this Kubernetes node in its turn, does and why it waits; \
holds this node, pauses the fleet, frees the slot of a node that does not give it back.",
    after_help = "\
The daemon's log:  journalctl -u rebootd
Manual:            man rebootctl"
)]
pub struct Control {
    /// What to do.
    #[command(subcommand)]
    pub command: ControlCommand,
}

/// What the control program can do.
#[derive(Debug, Clone, PartialEq, Subcommand)]
pub enum ControlCommand {
    /// Show what the daemon on this node does, and what it waits for
    Status {
        /// Print JSON, for programs
        #[arg(long)]
        json: bool,
    },
    /// Show when reboots may start on this node, and whether they may now
    ///
    /// Shows the next windows in local time and in UTC. With --calendar it tries an expression
    /// instead, and prints one start a line, in UTC.
    Windows {
        /// Print JSON, for programs
        #[arg(long, conflicts_with = "calendar")]
        json: bool,
        /// Try this calendar expression, for example "Sat *-*-1..7 02:00"
        #[arg(long, value_name = "EXPR")]
        calendar: Option<String>,
        /// Count from this time (RFC 3339) instead of now, for example 2026-12-24T18:00:00Z
        #[arg(long, value_name = "TIME", value_parser = parse_instant)]
        base_time: Option<Duration>,
        /// How many windows or starts
        #[arg(long, value_name = "N", default_value_t = 5)]
        iterations: usize,
        /// Where the configuration is.
        #[command(flatten)]
        config: ConfigDirectories,
    },
    /// Show the configuration of this node, each value with its origin
    ///
    /// The files of this host, and over them the fleet's policy in the cluster, for which it needs the
    /// host's credential: run it as root. `config check` checks files.
    Config {
        /// Check files instead.
        #[command(subcommand)]
        command: Option<ConfigCommand>,
        /// Print JSON, for programs
        #[arg(long)]
        json: bool,
        /// Where the configuration is.
        #[command(flatten)]
        config: ConfigDirectories,
    },
    /// Keep this node from rebooting until `unhold`, across reboots
    ///
    /// A drain that has begun is undone. Needs root; the node's annotation rebootd.io/hold does the
    /// same from afar.
    Hold {
        /// Why, for whoever wonders
        #[arg(value_parser = parse_words)]
        reason: String,
    },
    /// Let this node reboot again
    Unhold,
    /// Stop all nodes from starting a reboot, and let them go on
    Fleet {
        /// What to do.
        #[command(subcommand)]
        command: FleetCommand,
    },
    /// Free the slots that a node holds, so that the next node gets its turn
    ///
    /// A Ready node is first told to step back: to undo its drain and give the slot back itself.
    /// Where it does not, or is not Ready, this says what freeing its slot means, and asks.
    /// Exits with 0 once the node holds no slot, with 2 if nobody is there to ask, else with 1.
    Release {
        /// The node that holds a slot, as `kubectl -n rebootd get leases` names it
        #[arg(value_parser = parse_holder)]
        node: String,
        /// How long the node may take to step back, for example "2min"
        #[arg(long, value_name = "TIME", default_value = "2min", value_parser = parse_time_span)]
        timeout: Duration,
        /// Do not ask; for scripts, which have to know what they do
        #[arg(long)]
        yes: bool,
        /// How to reach the cluster.
        #[command(flatten)]
        access: Access,
    },
}

/// What can be done with all nodes at once.
#[derive(Debug, Clone, PartialEq, Subcommand)]
pub enum FleetCommand {
    /// Let no node start a reboot, and have drains that have begun undone
    ///
    /// Nodes that are about to reboot, or on their way back, are not stopped. The pause is a Lease
    /// named "pause" beside the slots, and lasts until `resume`.
    Pause {
        /// Why, for whoever wonders
        #[arg(value_parser = parse_words)]
        reason: String,
        /// How to reach the cluster.
        #[command(flatten)]
        access: Access,
    },
    /// End the pause
    Resume {
        /// How to reach the cluster.
        #[command(flatten)]
        access: Access,
    },
}

/// How a person reaches the cluster.
#[derive(Debug, Clone, PartialEq, Args)]
pub struct Access {
    /// Reach the cluster with this kubeconfig; by default $KUBECONFIG, ~/.kube/config, or
    /// /etc/kubernetes/admin.conf
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
}

/// 32 lower-case hexadecimal digits.
fn parse_boot_id(text: &str) -> Result<String, String> {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if text.len() == 32 && text.bytes().all(is_digit) {
        return Ok(text.to_owned());
    }
    Err("expected 32 hexadecimal digits in lower case".to_owned())
}

/// One line for people, short enough for a status line.
fn parse_words(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("say why, in a few words".to_owned()),
        text if text.chars().any(char::is_control) || text.chars().count() > 160 => {
            Err("one line of at most 160 characters".to_owned())
        }
        text => Ok(text.to_owned()),
    }
}

/// Wall time since 1970, as the core counts it. `@seconds` as well, and a date and time in local time, as systemd
/// takes them.
fn parse_instant(text: &str) -> Result<Duration, String> {
    let instant =
        text.parse().ok().and_then(|instant: jiff::Timestamp| instant.as_duration().try_into().ok());
    let named = || Calendar::parse(text, &zones()).ok()?.instant();
    instant.or_else(named).ok_or_else(|| {
        "expected a time since 1970 such as 2026-12-24T18:00:00Z, \"2026-12-24 18:00\" or @1798135200"
            .to_owned()
    })
}

/// It becomes part of a path at the API server.
fn parse_holder(text: &str) -> Result<String, String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if !text.is_empty() && text.bytes().all(allowed) {
        return Ok(text.to_owned());
    }
    Err("names of nodes have letters, digits, '-' and '.' only".to_owned())
}

/// Missing default directories mean defaults, a missing one that was named is a
/// mistake.
fn parse_directory(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    if path.is_dir() || DEFAULT_DIRECTORIES.contains(&text) {
        return Ok(path);
    }
    Err("there is no such directory".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn daemon(arguments: &[&str]) -> Result<DaemonCommand, String> {
        let arguments = ["rebootd"].iter().chain(arguments);
        Daemon::try_parse_from(arguments).map(|daemon| daemon.command).map_err(|error| error.to_string())
    }

    fn default_directories() -> ConfigDirectories {
        ConfigDirectories { directories: DEFAULT_DIRECTORIES.map(PathBuf::from).to_vec() }
    }

    #[test]
    fn definitions_are_sound() {
        Daemon::command().debug_assert();
        Control::command().debug_assert();
    }

    #[test]
    fn run_takes_a_boot_id() {
        let id = "0123456789abcdef0123456789abcdef";
        assert_eq!(
            daemon(&["run", "--boot-id", id]),
            Ok(DaemonCommand::Run { boot_id: id.to_owned(), config: default_directories() })
        );
        assert!(daemon(&["run"]).is_err());
        for id in ["", "0123456789ABCDEF0123456789ABCDEF", "01234567-89ab-cdef-0123-456789abcdef"] {
            assert!(daemon(&["run", "--boot-id", id]).unwrap_err().contains("expected 32"), "{id:?}");
        }
    }

    #[test]
    fn config_directories_replace_the_default_and_must_be_there() {
        assert_eq!(
            daemon(&["check-config", "--config-dir", "/", "--config-dir", "/tmp"]),
            Ok(DaemonCommand::CheckConfig {
                config: ConfigDirectories { directories: vec!["/".into(), "/tmp".into()] }
            })
        );
        assert!(
            daemon(&["check-config", "--config-dir", "/no/such"]).unwrap_err().contains("no such directory")
        );
    }

    #[test]
    fn step_back_takes_a_time_span() {
        let timeout = Duration::from_secs(25);
        let expected = DaemonCommand::StepBack { timeout, config: default_directories() };
        assert_eq!(daemon(&["step-back"]).as_ref(), Ok(&expected));
        assert_eq!(daemon(&["step-back", "--timeout", "25s"]), Ok(expected));
        assert!(daemon(&["step-back", "--timeout", "soon"]).unwrap_err().contains("expected a number"));
    }

    #[test]
    fn windows_takes_times_as_people_write_them() {
        let windows = |time: &str| Control::try_parse_from(["rebootctl", "windows", "--base-time", time]);
        for time in
            ["2026-12-24T18:00:00Z", "2026-12-24T19:00:00+01:00", "2026-12-24 18:00 UTC", "@1798135200"]
        {
            let ControlCommand::Windows { base_time, .. } = windows(time).unwrap().command else { panic!() };
            assert_eq!(base_time, Some(Duration::from_secs(1_798_135_200)), "{time}");
        }
        for time in ["", "soon", "Fri", "1960-01-01T00:00:00Z"] {
            assert!(windows(time).is_err(), "{time}");
        }
    }

    #[test]
    fn release_takes_the_name_of_a_node() {
        let release = |node: &str| Control::try_parse_from(["rebootctl", "release", node]);
        let expected = ControlCommand::Release {
            node: "node-1.example".to_owned(),
            timeout: Duration::from_secs(120),
            yes: false,
            access: Access { kubeconfig: None },
        };
        assert_eq!(release("node-1.example").map(|control| control.command).ok(), Some(expected));
        for name in ["", "a/b", "a?b"] {
            assert!(release(name).is_err(), "{name:?}");
        }
    }

    /// Every subcommand and option that a person can type.
    fn words(command: &clap::Command) -> Vec<String> {
        let mut words = Vec::new();
        for subcommand in command.get_subcommands() {
            words.push(subcommand.get_name().to_owned());
            words.extend(self::words(subcommand));
            let options = subcommand.get_arguments().filter_map(clap::Arg::get_long);
            words.extend(options.map(|option| format!("--{option}")));
        }
        words
    }

    #[test]
    fn manual_and_completions_know_every_word() {
        let bash = include_str!("../packaging/usr/share/bash-completion/completions/rebootd");
        let zsh = include_str!("../packaging/usr/share/zsh/vendor-completions/_rebootd");
        let daemon_manual = include_str!("../packaging/usr/share/man/man8/rebootd.8");
        let control_manual = include_str!("../packaging/usr/share/man/man1/rebootctl.1");
        for (command, manual) in [(Daemon::command(), daemon_manual), (Control::command(), control_manual)] {
            // A manual page escapes hyphens, so that they can be copied.
            let manual = manual.replace("\\-", "-");
            for word in words(&command) {
                for (place, text) in [("bash", bash), ("zsh", zsh), ("manual", &manual)] {
                    assert!(text.contains(&word), "{word} is missing in {place}");
                }
            }
        }
    }
}
