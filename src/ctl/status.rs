//! `rebootctl status`: what the daemon on this node does, and what it waits for.

use std::io::ErrorKind;
use std::process::ExitCode;

use anyhow::anyhow;
use clap::Args;

use crate::report::status;

/// Show what the daemon on this node does, and what it waits for
#[derive(Debug, Args)]
pub(super) struct Status {
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
}

impl Status {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let text = std::fs::read_to_string(status::PATH).map_err(|error| match error.kind() {
            ErrorKind::NotFound => {
                anyhow!("rebootd does not run on this host; see: systemctl status rebootd")
            }
            _ => anyhow!("{}: {error}", status::PATH),
        })?;
        if self.json {
            print!("{text}");
        } else {
            print(&serde_json::from_str(&text)?);
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn print(status: &status::Status) {
    println!("node     {} (pool {}, mode {})", status.node, status.pool, status.mode);
    println!("phase    {}", status.phase);
    for (number, reason) in status.reasons.iter().enumerate() {
        println!("{:<8} {}", if number == 0 { "because" } else { "" }, reason.message);
    }
    if status.requests.is_empty() {
        println!("request  none");
    }
    for (number, request) in status.requests.iter().enumerate() {
        println!("{:<8} {}", if number == 0 { "request" } else { "" }, request.reason);
    }
    if !status.slots.is_empty() {
        println!("holds    {}", status.slots.join(", "));
    }
}
