//! The configuration files of this host, kept so that the fleet's policy can be laid over them at any time.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::complete;
use super::error::ConfigError;
use serde::{Deserialize, Serialize};

use super::file::File as ConfigFile;
use super::fleet::FleetPolicy;
use super::merge::Merged;
use crate::decide::Windows;
use crate::decide::settings::{Policy, Settings};
use crate::replace::replace;

/// As they are written down.
#[derive(Serialize, Deserialize)]
struct Stored {
    files: Vec<(PathBuf, String)>,
    administrators: PathBuf,
}

/// The files as they were read, in their order.
#[derive(Debug, Clone)]
pub struct Files {
    /// Path and content of each.
    texts: Vec<(PathBuf, String)>,
    /// What they say together.
    pub(super) merged: Merged,
    /// The administrator's own directory.
    administrators: PathBuf,
}

impl Files {
    /// Reads `config.toml` and then `config.d/*.toml` of each directory, in this order. What is missing is skipped.
    ///
    /// The kubeconfig is looked for in the last directory unless it is configured.
    pub fn read(directories: &[&Path]) -> Result<Files, ConfigError> {
        let mut texts = Vec::new();
        for directory in directories {
            for path in super::file_paths(directory)? {
                if let Some(file) = ConfigFile::read(&path)? {
                    texts.push((path, file.text));
                }
            }
        }
        let administrators = directories.last().copied().unwrap_or(Path::new(super::DEFAULT_DIRECTORIES[1]));
        Files::from_texts(texts, administrators)
    }

    /// The same of files that were read before.
    pub fn from_texts(texts: Vec<(PathBuf, String)>, administrators: &Path) -> Result<Files, ConfigError> {
        let mut merged = Merged::default();
        for (path, text) in &texts {
            merged.add(ConfigFile::parse(path, text.clone())?);
        }
        Ok(Files { texts, merged, administrators: administrators.to_owned() })
    }

    /// Reads back what [`store`](Self::store) wrote.
    pub fn load(path: &Path) -> io::Result<Files> {
        let stored: Stored = serde_json::from_slice(&fs::read(path)?)?;
        Files::from_texts(stored.files, &stored.administrators).map_err(io::Error::other)
    }

    /// Writes them down as one file that is whole at any time: what the next start falls back on. They name
    /// credentials, and hold none.
    pub fn store(&self, path: &Path) -> io::Result<()> {
        let stored = Stored { files: self.texts.clone(), administrators: self.administrators.clone() };
        let text = serde_json::to_vec(&stored)?;
        if fs::read(path).is_ok_and(|old| old == text) {
            return Ok(());
        }
        replace(path, &text, 0o600)
    }

    /// Path and content of each.
    pub fn texts(&self) -> &[(PathBuf, String)] {
        &self.texts
    }

    /// Completes them to settings, without the fleet's policy. `host_name` is the name of this host (`uname -n`), from
    /// which the name of the node is taken unless it is configured.
    pub fn settings(&self, host_name: &str) -> Result<Settings, ConfigError> {
        complete::complete(self.merged.clone(), host_name, &self.administrators)
    }

    /// Whether their values can be used, as far as they tell without the host that they are for.
    pub fn check(&self) -> Result<(), ConfigError> {
        complete::check(&self.merged, &self.administrators)
    }

    /// The policy of a node with these labels, once the fleet's is laid over the files'.
    pub fn policy(
        &self,
        fleet: Option<&FleetPolicy>,
        labels: &BTreeMap<String, String>,
    ) -> Result<Policy, ConfigError> {
        complete::policy(&self.with(fleet, labels))
    }

    /// When reboots may start by that policy.
    pub fn windows(&self, fleet: Option<&FleetPolicy>, labels: &BTreeMap<String, String>) -> Option<Windows> {
        complete::windows(&self.with(fleet, labels))
    }

    /// The pool that this node is in.
    pub fn pool(&self) -> &str {
        complete::pool(&self.merged)
    }

    fn with(&self, fleet: Option<&FleetPolicy>, labels: &BTreeMap<String, String>) -> Merged {
        let mut merged = self.merged.clone();
        let parts = fleet.map(|fleet| fleet.files_for(self.pool(), labels));
        parts.into_iter().flatten().for_each(|file| merged.add(file));
        merged
    }
}
