//! Configuration: what the files say → the merge → the settings.
//!
//! A key is a field in [`crate::decide::settings`], and nothing here needs to know it, unless it makes a setting only
//! together with other keys: those are in [`parts`]. [`tables`] asks the structs for their keys. [`document`] reads
//! one text and finds all its mistakes. [`merge`] lets later texts win key by key and remembers where each value is
//! written. [`complete`] reads the merged tables into the settings, and checks what depends on several keys.
//! [`fleet`] is the policy in the cluster, which [`files`] applies over the files whenever it changes.

mod access;
mod complete;
mod document;
mod effective;
mod error;
mod files;
mod fleet;
mod hint;
mod kubeconfig;
mod manifest;
mod merge;
mod parts;
mod questions;
mod tables;
mod urgency;
mod value;
mod windows;

use std::path::{Path, PathBuf};

pub use effective::{Effective, effective};
pub use error::{ConfigError, Place, Position};
pub use files::Files;
pub use fleet::FleetPolicy;
pub use kubeconfig::read_cluster as read_kubelets_cluster;
pub use kubeconfig::read_persons as read_persons_kubeconfig;
pub use kubeconfig::{EnvironmentVariable, ExecPlugin};
pub use manifest::check as check_file;

pub use urgency::{URGENT_FOR, URGENT_KEY, Urgency};
pub use windows::zones;

use crate::decide::Settings;

/// The directories that [`load`] uses unless others are named: first the distribution's, last the administrator's,
/// because later values win.
pub const DEFAULT_DIRECTORIES: [&str; 2] = ["/usr/lib/rebootd", "/etc/rebootd"];

/// Reads the files of these directories and turns them into settings, without the fleet's policy: see [`Files::read`]
/// and [`Files::settings`].
pub fn load(directories: &[&Path], host_name: &str) -> Result<Settings, ConfigError> {
    Files::read(directories)?.settings(host_name)
}

/// The files that a configuration directory may contain, in the order in which they are read.
fn file_paths(directory: &Path) -> Result<Vec<PathBuf>, ConfigError> {
    let fragments = directory.join("config.d");
    let unreadable = |error| ConfigError::unreadable(&fragments, &error);
    let mut paths = Vec::new();
    match std::fs::read_dir(&fragments) {
        Ok(entries) => {
            for entry in entries {
                paths.push(entry.map_err(unreadable)?.path());
            }
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(unreadable(error)),
    }
    paths.retain(|path| is_fragment(path));
    paths.sort_unstable();
    paths.insert(0, directory.join("config.toml"));
    Ok(paths)
}

/// `*.toml` as in a shell: without hidden files.
fn is_fragment(path: &Path) -> bool {
    let hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
    !hidden && path.extension().is_some_and(|extension| extension == "toml")
}

#[cfg(test)]
mod tests;
