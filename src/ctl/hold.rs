//! `rebootctl hold` and `unhold`: a person keeps this node from rebooting.

use std::io;
use std::path::Path;
use std::process::ExitCode;

use anyhow::anyhow;
use clap::Args;

use crate::cli::parse_reason;
use crate::decide::settings::HOLD;
use crate::host::{hold, identity};

/// Keep this node from rebooting until `unhold`, across reboots
///
/// A drain that has begun is undone. Needs root; the node's annotation rebootd.io/hold does the same
/// from afar.
#[derive(Debug, Args)]
pub(super) struct Hold {
    /// The reason, for people who wonder
    #[arg(value_parser = parse_reason)]
    reason: String,
}

impl Hold {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let text = format!("{} ({})", self.reason, identity::person());
        let path = Path::new(HOLD);
        let before = hold::read(path);
        hold::put(path, &text).map_err(not_changed)?;
        println!("This node is held. To let it reboot again: rebootctl unhold");
        before.ok().flatten().iter().for_each(|before| println!("Replaces an earlier hold: {before}"));
        Ok(ExitCode::SUCCESS)
    }
}

/// Let this node reboot again
#[derive(Debug, Args)]
pub(super) struct Unhold {}

impl Unhold {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let path = Path::new(HOLD);
        let before = hold::read(path);
        match hold::remove(path).map_err(not_changed)? {
            true => println!("This node is no longer held."),
            false => println!(
                "There is no hold of this host. If its Node has the annotation rebootd.io/hold, to remove that:\n  \
                 kubectl annotate node NODE rebootd.io/hold-"
            ),
        }
        before.ok().flatten().iter().for_each(|before| println!("The hold was: {before}"));
        Ok(ExitCode::SUCCESS)
    }
}

fn not_changed(error: io::Error) -> anyhow::Error {
    let hint = if error.kind() == io::ErrorKind::PermissionDenied { " (are you root?)" } else { "" };
    anyhow!("cannot change {HOLD}{hint}: {error}")
}
