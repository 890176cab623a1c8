//! Packages of this machine's own Debian: downloaded with its apt, once, and unpacked; nothing is installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use tokio::process::Command;

use crate::{cache, command};

/// Where these packages are unpacked, over one another, under this name.
pub async fn unpacked(name: &str, packages: &[&str]) -> Result<PathBuf> {
    made(name, async |unfinished| {
        for package in packages {
            let deb = download(package, unfinished).await?.display().to_string();
            command::run("dpkg-deb", &["-x", &deb, &unfinished.display().to_string()]).await?;
            fs::remove_file(&deb)?;
        }
        Ok(())
    })
    .await
}

/// Two versions of a package.
pub struct Versions {
    /// An archive of both, for an apt that is told to trust it.
    pub archive: PathBuf,
    /// The version of one.
    pub older: String,
    /// That of the other, the latest.
    pub newer: String,
}

/// The latest two versions of a package in Debian 12; `None` if this machine's apt knows no two.
pub async fn versions(package: &str) -> Result<Option<Versions>> {
    let known = command::run("apt-cache", &["madison", package]).await?;
    let mut versions: Vec<&str> = Vec::new();
    for line in known.lines().filter(|line| line.contains("bookworm")) {
        let version = line.split('|').nth(1).context("apt-cache madison tells no version")?.trim();
        if !versions.contains(&version) {
            versions.push(version);
        }
    }
    let [newer, older, ..] = versions[..] else { return Ok(None) };
    let archive = made(&format!("archive-{package}-{older}-{newer}"), async |unfinished| {
        for version in [older, newer] {
            download(&format!("{package}={version}"), unfinished).await?;
        }
        let index = command::run("sh", &["-ec", INDEX, "index", &unfinished.display().to_string()]).await?;
        Ok(fs::write(unfinished.join("Packages"), index)?)
    })
    .await?;
    Ok(Some(Versions { archive, older: older.to_owned(), newer: newer.to_owned() }))
}

/// What apt reads of a flat archive.
const INDEX: &str = r#"
cd "$1"
for deb in *.deb; do
    dpkg-deb --field "$deb"
    printf 'Filename: ./%s\nSize: %s\nSHA256: %s\n\n' "$deb" "$(stat --format %s "$deb")" "$(sha256sum "$deb" | cut -d ' ' -f 1)"
done
"#;

/// A directory of the cache, made once.
async fn made(name: &str, make: impl AsyncFnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let finished = cache::directory()?.join(name);
    let _lock = cache::lock(name)?;
    if finished.is_dir() {
        return Ok(finished);
    }
    let unfinished = cache::unfinished(&finished)?;
    fs::create_dir_all(&unfinished)?;
    make(&unfinished).await?;
    fs::rename(&unfinished, &finished)?;
    Ok(finished)
}

/// A package, or `package=version`.
async fn download(package: &str, into: &Path) -> Result<PathBuf> {
    let urls = command::run("apt-get", &["download", "--print-uris", package]).await?;
    let file = urls.split_whitespace().nth(1);
    let file = file.with_context(|| format!("apt knows no package {package}: apt-get update"))?;
    let downloaded = Command::new("apt-get")
        .args(["download", "-qq", package])
        .current_dir(into)
        .stderr(Stdio::null())
        .status()
        .await?;
    ensure!(downloaded.success(), "apt-get download {package}: {downloaded}");
    Ok(into.join(file))
}
