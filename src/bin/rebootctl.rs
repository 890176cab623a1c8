//! The control program's command line.

use std::process::ExitCode;

use clap::Parser;
use rebootd::cli::{Control, ControlCommand};
use rebootd::report::status::{PATH, Status};

fn main() -> ExitCode {
    let ControlCommand::Status { json } = Control::parse().command;
    match print_status(json) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rebootctl: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn print_status(json: bool) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(PATH).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            anyhow::anyhow!("rebootd does not run on this host; see: systemctl status rebootd")
        }
        _ => anyhow::anyhow!("{PATH}: {error}"),
    })?;
    if json {
        print!("{text}");
        return Ok(());
    }
    let status: Status = serde_json::from_str(&text)?;
    println!("node     {} (pool {}, mode {})", status.node, status.pool, status.mode);
    println!("phase    {}", status.phase);
    for (number, reason) in status.reasons.iter().enumerate() {
        println!("{:<8} {}", if number == 0 { "because" } else { "" }, reason.message);
    }
    match &status.request {
        Some(request) => println!("request  {}", request.reason),
        None => println!("request  none"),
    }
    if !status.slots.is_empty() {
        println!("holds    {}", status.slots.join(", "));
    }
    Ok(())
}
