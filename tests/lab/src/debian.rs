//! Packages of this machine's own Debian: downloaded with its apt, once, and unpacked; nothing is installed.

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use tokio::process::Command;

use crate::{cache, command};

/// Where these packages are unpacked, over one another, under this name.
pub async fn unpacked(name: &str, packages: &[&str]) -> Result<PathBuf> {
    let finished = cache::directory()?.join(name);
    let _lock = cache::lock(name)?;
    if finished.is_dir() {
        return Ok(finished);
    }
    let unfinished = cache::unfinished(&finished)?;
    fs::create_dir_all(&unfinished)?;
    for package in packages {
        let urls = command::run("apt-get", &["download", "--print-uris", package]).await?;
        let file = urls.split_whitespace().nth(1);
        let file = file.with_context(|| format!("apt knows no package {package}: apt-get update"))?;
        let deb = unfinished.join(file);
        let downloaded = Command::new("apt-get")
            .args(["download", "-qq", package])
            .current_dir(&unfinished)
            .stderr(Stdio::null())
            .status()
            .await?;
        ensure!(downloaded.success(), "apt-get download {package}: {downloaded}");
        let deb = deb.display().to_string();
        command::run("dpkg-deb", &["-x", &deb, &unfinished.display().to_string()]).await?;
        fs::remove_file(&deb)?;
    }
    fs::rename(&unfinished, &finished)?;
    Ok(finished)
}
