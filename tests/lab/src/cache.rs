//! Where things that take long to make are kept between runs, and how they get there whole.
//!
//! Everything in the cache is made under a temporary name, under a lock, and then renamed: a run that
//! was stopped in the middle leaves nothing that looks finished, and two runs do not make a thing twice.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// `${XDG_CACHE_HOME:-~/.cache}/rebootd-lab`, made if it is missing.
pub fn directory() -> Result<PathBuf> {
    let base = match std::env::var_os("XDG_CACHE_HOME") {
        Some(path) => PathBuf::from(path),
        None => PathBuf::from(std::env::var_os("HOME").context("neither XDG_CACHE_HOME nor HOME is set")?)
            .join(".cache"),
    };
    let directory = base.join("rebootd-lab");
    fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
    Ok(directory)
}

/// Waits for and holds the lock called `name`; it is given back when the file is dropped.
pub fn lock(name: &str) -> Result<File> {
    let path = directory()?.join(format!("{name}.lock"));
    let file = File::create(&path).with_context(|| format!("cannot open {}", path.display()))?;
    if file.try_lock().is_err() {
        crate::progress::say(format!("waiting for another lab that holds {}", path.display()));
        file.lock()?;
    }
    Ok(file)
}

/// A short name for what something was made from: another recipe gets another name.
pub fn fingerprint(what: &impl Hash) -> String {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

/// The temporary name beside `finished` under which it is being made; emptied first.
pub fn unfinished(finished: &Path) -> Result<PathBuf> {
    let name = finished.file_name().context("a cache entry without a name")?.to_string_lossy().into_owned();
    let path = finished.with_file_name(format!(".{name}.unfinished"));
    if path.is_file() {
        fs::remove_file(&path)?;
    } else if path.exists() {
        fs::remove_dir_all(&path).with_context(|| format!("cannot remove {}", path.display()))?;
    }
    fs::create_dir_all(path.parent().context("a cache entry without a directory")?)?;
    Ok(path)
}
