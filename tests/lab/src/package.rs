//! rebootd's Debian package, built from the working tree as the archive would build it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use tokio::process::Command;

use crate::{cache, command, images, progress};

/// Names of the files that the last build copied, so that the next one can remove those that are gone.
const COPIED: &str = "copied-files";

/// Tells the inner process which package the outer one has built.
pub(crate) const GIVEN: &str = "REBOOTD_LAB_PACKAGE";

/// The package that this process was told to use: by the outer one, or by a person.
pub fn given() -> Option<PathBuf> {
    std::env::var_os(GIVEN).map(PathBuf::from)
}

/// The package that the environment names, or else that of the working tree.
pub async fn given_or_built() -> Result<PathBuf> {
    match given() {
        Some(package) => Ok(package),
        None => find_or_build().await,
    }
}

/// What is installed together: the package, and beside it that of rebootctl, on which it depends. An older package may
/// have none.
pub fn with_rebootctl(package: &Path) -> Vec<PathBuf> {
    let name = package.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let beside =
        name.strip_prefix("rebootd_").map(|rest| package.with_file_name(format!("rebootctl_{rest}")));
    let beside = beside.filter(|path| path.is_file());
    [package.to_owned()].into_iter().chain(beside).collect()
}

/// Unpacks both.
pub async fn unpack(package: &Path, directory: &Path) -> Result<()> {
    for deb in with_rebootctl(package) {
        command::run("dpkg-deb", &["--extract", &deb.to_string_lossy(), &directory.to_string_lossy()])
            .await?;
    }
    Ok(())
}

/// The package of the working tree as it is: built now, or found in the cache when nothing changed.
pub async fn find_or_build() -> Result<PathBuf> {
    let tree = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).context("the lab lies in no tree")?;
    build_tree(tree, "rebootd").await
}

/// Builds the binary package `name` from a source tree that git knows.
pub async fn build_tree(tree: &Path, name: &str) -> Result<PathBuf> {
    ensure!(tree.join("debian/control").is_file(), "{} has no debian/control", tree.display());
    let files = source_files(tree).await?;
    let finished =
        cache::directory()?.join("packages").join(format!("{name}-{}", fingerprint(tree, &files)?));
    if !finished.is_dir() {
        let _lock = cache::lock(&format!("package-{name}"))?;
        if !finished.is_dir() {
            let began = Instant::now();
            progress::say(format!("building the Debian package {name} …"));
            let workshop = cache::directory()?.join("workshop").join(name);
            copy(tree, &files, &workshop)?;
            build_in(&workshop).await?;
            keep(&workshop, &finished)?;
            progress::say(format!("  {name}: {:.0} s", began.elapsed().as_secs_f64()));
        }
    }
    debs(&finished)?
        .into_iter()
        .find(|path| {
            path.file_name().is_some_and(|file| file.to_string_lossy().starts_with(&format!("{name}_")))
        })
        .with_context(|| format!("the build made no {name}_*.deb"))
}

/// What git tracks or would track: the source as a person sees it.
async fn source_files(tree: &Path) -> Result<BTreeSet<String>> {
    let tree = tree.to_string_lossy();
    // The lab runs as root, often in a clone that is somebody else's: git would refuse that.
    let clone = ["-c", "safe.directory=*", "-C", &tree];
    let list = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
    let arguments = [&clone[..], &list].concat();
    let list = command::run("git", &arguments).await?;
    let exists = |name: &&str| !name.is_empty() && Path::new(&*tree).join(name).is_file();
    Ok(list.split('\0').filter(exists).map(str::to_owned).collect())
}

/// Tests and fuzz targets are no part of the package; only that they are there matters, to cargo.
fn fingerprint(tree: &Path, files: &BTreeSet<String>) -> Result<String> {
    let mut contents = Vec::new();
    let is_part = |file: &&String| !file.starts_with("tests/") && !file.starts_with("fuzz/");
    for file in files.iter().filter(is_part) {
        contents.push((file, fs::read(tree.join(file))?));
    }
    Ok(cache::fingerprint(&contents))
}

/// Copies what changed, so that cargo and a second build are quick, and removes what is gone.
fn copy(tree: &Path, files: &BTreeSet<String>, workshop: &Path) -> Result<()> {
    let source = workshop.join("source");
    fs::create_dir_all(&source)?;
    let before = fs::read_to_string(workshop.join(COPIED)).unwrap_or_default();
    for gone in before.lines().filter(|file| !files.contains(*file)) {
        let _ = fs::remove_file(source.join(gone));
    }
    // What the build before left in debian/ would make debhelper believe that its work is done.
    let _ = fs::remove_dir_all(source.join("debian"));
    for file in files {
        let (from, to) = (tree.join(file), source.join(file));
        let contents = fs::read(&from)?;
        if fs::read(&to).ok().as_ref() != Some(&contents) {
            fs::create_dir_all(to.parent().context("a file in no directory")?)?;
            fs::write(&to, contents)?;
        }
        fs::set_permissions(&to, fs::metadata(&from)?.permissions())?;
    }
    fs::write(workshop.join(COPIED), files.iter().map(|file| format!("{file}\n")).collect::<String>())?;
    for deb in debs(workshop)? {
        fs::remove_file(deb)?;
    }
    Ok(())
}

/// Runs dpkg-buildpackage in the build image; its network is this machine's, for cargo.
async fn build_in(workshop: &Path) -> Result<()> {
    let image = images::build().await?;
    let registry = match std::env::var_os("HOME").map(|home| Path::new(&home).join(".cargo/registry")) {
        Some(registry) if registry.is_dir() => registry,
        _ => cache::directory()?.join("cargo-registry"),
    };
    for path in [&registry, &workshop.join("cargo/registry")] {
        fs::create_dir_all(path)?;
    }
    let log_path = workshop.join("build.log");
    let log = fs::File::create(&log_path)?;
    let settings = cargo_settings();
    let status = Command::new("unshare")
        // Its own names for machines and mounts, as in the lab; killed with it if the lab is stopped.
        .args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c"])
        .arg("mount -t tmpfs -o mode=755 lab-run /run && exec systemd-nspawn \"$@\"")
        .args([
            "build",
            "--quiet",
            "--register=no",
            "--keep-unit",
            "--as-pid2",
            "--read-only",
            "--console=pipe",
        ])
        .args(["--resolv-conf=bind-host", "--timezone=off", "--tmpfs=/tmp"])
        .arg(format!("--directory={}", image.display()))
        .arg(format!("--bind={}:/mnt", workshop.display()))
        .arg(format!("--bind={}:/mnt/cargo/registry", registry.display()))
        .args(["--setenv=HOME=/mnt", "--setenv=CARGO_HOME=/mnt/cargo", "--setenv=LANG=C.UTF-8"])
        .args(settings)
        .args(["--setenv=DEB_BUILD_OPTIONS=nocheck", "--chdir=/mnt/source"])
        // Not cleaned first: cargo builds only what changed.
        .args(["dpkg-buildpackage", "--build=binary", "--no-sign", "--no-pre-clean"])
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0)
        .kill_on_drop(true)
        .status()
        .await?;
    if !status.success() {
        bail!(
            "dpkg-buildpackage: {status}; the end of {}:\n{}",
            log_path.display(),
            command::tail(&log_path, 30)
        );
    }
    Ok(())
}

/// How this machine's cargo reaches its registry, where the environment says it.
fn cargo_settings() -> Vec<String> {
    std::env::vars()
        .filter(|(name, _)| {
            let name = name.to_ascii_uppercase();
            name.ends_with("_PROXY")
                || (name.starts_with("CARGO_") && (name.contains("REGISTR") || name.contains("_HTTP_")))
        })
        .map(|(name, value)| format!("--setenv={name}={value}"))
        .collect()
}

fn keep(workshop: &Path, finished: &Path) -> Result<()> {
    let unfinished = cache::unfinished(finished)?;
    fs::create_dir_all(&unfinished)?;
    for deb in debs(workshop)? {
        fs::copy(&deb, unfinished.join(deb.file_name().context("a package without a name")?))?;
    }
    fs::rename(&unfinished, finished)?;
    Ok(())
}

fn debs(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut debs = Vec::new();
    for entry in fs::read_dir(directory).with_context(|| format!("cannot read {}", directory.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "deb" || extension == "ddeb") {
            debs.push(path);
        }
    }
    Ok(debs)
}
