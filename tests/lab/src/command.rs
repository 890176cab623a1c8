//! Running the tools that the lab is made of, with errors that name the command and what it said.

use std::path::Path;
use std::process::{Output, Stdio};

use anyhow::{Context, Result, bail};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// Runs a command without a terminal and gives back everything it printed, whatever its exit code.
pub async fn output(program: &str, arguments: &[&str], input: Option<&[u8]>) -> Result<Output> {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // Ctrl-C in the terminal is for the lab itself, which then stops everything in order.
        .process_group(0)
        .kill_on_drop(true);
    let mut child = command.spawn().with_context(|| format!("cannot start {program}"))?;
    let stdin = child.stdin.take();
    let feed = async {
        if let (Some(mut stdin), Some(bytes)) = (stdin, input) {
            // A command that ends without reading its input says why by its exit code.
            let _ = stdin.write_all(bytes).await;
        }
    };
    let (output, ()) = tokio::join!(child.wait_with_output(), feed);
    Ok(output?)
}

/// Runs a command that must succeed; gives back its standard output.
pub async fn run(program: &str, arguments: &[&str]) -> Result<String> {
    run_with_input(program, arguments, None).await
}

/// Like [`run`], with something to read on standard input.
pub async fn run_with_input(program: &str, arguments: &[&str], input: Option<&[u8]>) -> Result<String> {
    let output = output(program, arguments, input).await?;
    succeeded(&format!("{program} {}", arguments.join(" ")), output)
}

/// The standard output of a command that ended well, or an error with what it said.
pub fn succeeded(what: &str, output: Output) -> Result<String> {
    if !output.status.success() {
        bail!(
            "{what}: {}\n{}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The last lines of a log, to show why something ended; the lab's files do not outlive it.
pub fn tail(log: &Path, lines: usize) -> String {
    let bytes = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
