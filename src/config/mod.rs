//! Configuration: what the files say → the merge → the settings.
//!
//! [`file`] reads one TOML file, [`merge`] lets later files win key by key and
//! remembers where each value came from, [`settings`] adds the defaults, checks
//! what only the whole can tell, and reads the kubeconfig. The rest of the
//! program sees [`Settings`] only.

mod base64;
mod checks;
mod duration;
mod error;
mod file;
mod kubeconfig;
mod merge;
mod secret;
mod settings;
mod value;
mod windows;

use std::path::{Path, PathBuf};

use crate::decide::Windows;

pub use duration::{TimeSpanError, parse_time_span};
pub use error::{ConfigError, Place, Position};
pub use kubeconfig::read_persons as read_persons_kubeconfig;
pub use secret::Secret;
pub use settings::{
    After, ApiAccess, AtLimit, BarePods, Credential, DeleteRefused, Drain, EmptyDirPods, Gates, Host, Mode,
    ObjectField, OnTimeout, PemSource, Policy, Prometheus, Query, Settings, Yielding,
};
pub use windows::zones;

/// The directories that [`load`] is given unless a person names others: the
/// distribution's first, the administrator's last, because later values win.
pub const DEFAULT_DIRECTORIES: [&str; 2] = ["/usr/lib/rebootd", "/etc/rebootd"];

/// Reads `config.toml` and then `config.d/*.toml` of each directory, in this
/// order, and completes them to settings. What is missing is skipped.
///
/// `host_name` is the name of this host (`uname -n`), from which the name of the
/// node is taken unless it is configured. The kubeconfig is looked for in the
/// last directory unless it is configured.
pub fn load(directories: &[&Path], host_name: &str) -> Result<Settings, ConfigError> {
    let merged = read(directories)?;
    let administrators = directories.last().copied().unwrap_or(Path::new(DEFAULT_DIRECTORIES[1]));
    settings::complete(merged, host_name, administrators)
}

/// Reads what [`load`] reads, but only for the windows and freezes: whoever asks for them may not be allowed to read
/// the kubeconfig.
pub fn load_windows(directories: &[&Path]) -> Result<Option<Windows>, ConfigError> {
    Ok(settings::windows(&read(directories)?))
}

fn read(directories: &[&Path]) -> Result<merge::Merged, ConfigError> {
    let mut merged = merge::Merged::default();
    for directory in directories {
        for path in file_paths(directory)? {
            if let Some(file) = file::File::read(&path)? {
                merged.add(file);
            }
        }
    }
    Ok(merged)
}

/// The files that one configuration directory may have, in the order in which
/// they are read.
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
    paths.sort();
    paths.insert(0, directory.join("config.toml"));
    Ok(paths)
}

/// `*.toml` as a shell takes it: hidden files are not meant.
fn is_fragment(path: &Path) -> bool {
    let hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
    !hidden && path.extension().is_some_and(|extension| extension == "toml")
}

#[cfg(test)]
mod tests;
