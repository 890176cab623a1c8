//! The configuration files of this host, kept so that the fleet's policy can be applied over them at any time.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::complete;
use super::document::{Document, LONGEST};
use super::error::{ConfigError, Mistakes};
use super::fleet::FleetPolicy;
use super::merge::Merged;
use super::tables::tables;
use crate::decide::Windows;
use crate::decide::settings::{PolicySettings, Settings};
use crate::read::{read, read_text};
use crate::replace::replace;

/// The most bytes of what is stored: several files, in JSON.
const LONGEST_KEPT: u64 = 16 << 20;

/// As they are stored.
#[derive(Serialize, Deserialize)]
struct Stored {
    files: Vec<(PathBuf, String)>,
    administrators: PathBuf,
}

/// The files as they were read, in order.
#[derive(Debug, Clone)]
pub struct Files {
    /// Path and content of each.
    texts: Vec<(PathBuf, String)>,
    /// The administrator's own directory.
    administrators: PathBuf,
    /// They were kept, perhaps by an earlier version: what was allowed then must not keep a node from finishing its turn.
    are_kept: bool,
}

impl Files {
    /// Reads `config.toml` and then `config.d/*.toml` of each directory, in this order. Missing files are skipped.
    ///
    /// The kubeconfig is looked for in the last directory unless another one is configured.
    pub fn read(directories: &[&Path]) -> Result<Files, ConfigError> {
        let mut mistakes = Mistakes::default();
        let mut texts = Vec::new();
        for directory in directories {
            for path in mistakes.note(super::file_paths(directory)) {
                let text = mistakes.note(read_if_there(&path));
                texts.extend(text.map(|text| (path, text)));
            }
        }
        let administrators = directories.last().copied().unwrap_or(Path::new(super::DEFAULT_DIRECTORIES[1]));
        let files = Files { texts, administrators: administrators.to_owned(), are_kept: false };
        mistakes.note(files.merged().map(drop));
        mistakes.end(files)
    }

    /// The same for files that were read before.
    pub fn from_texts(texts: Vec<(PathBuf, String)>, administrators: &Path) -> Result<Files, ConfigError> {
        let files = Files { texts, administrators: administrators.to_owned(), are_kept: false };
        files.merged()?;
        Ok(files)
    }

    /// Reads back what [`store`](Self::store) wrote.
    pub fn load(path: &Path) -> io::Result<Files> {
        let stored: Stored = serde_json::from_slice(&read(path, LONGEST_KEPT)?)?;
        let files = Files { texts: stored.files, administrators: stored.administrators, are_kept: true };
        files.merged().map_err(io::Error::other)?;
        Ok(files)
    }

    /// Stores them as a single file that is complete at any time: the next start falls back on it. They name
    /// credentials, but contain none.
    pub fn store(&self, path: &Path) -> io::Result<()> {
        let stored = Stored { files: self.texts.clone(), administrators: self.administrators.clone() };
        let text = serde_json::to_vec(&stored)?;
        if read(path, LONGEST_KEPT).is_ok_and(|old| old == text) {
            return Ok(());
        }
        replace(path, &text, 0o600)
    }

    /// Turns them into settings, without the fleet's policy. `host_name` is the name of this host (`uname -n`), from
    /// which the name of the node is derived unless it is configured.
    pub fn settings(&self, host_name: &str) -> Result<Settings, ConfigError> {
        let sources = self.texts.iter().map(|(path, _)| path.clone()).collect();
        complete::complete(&self.merged()?, sources, host_name, &self.administrators)
    }

    /// Checks that their values can be used, as far as that is known without their host.
    pub fn check(&self) -> Result<(), ConfigError> {
        complete::check(&self.merged()?, &self.administrators)
    }

    /// The policy of a node with these labels, with the fleet's policy applied over that of the files.
    pub fn policy(
        &self,
        fleet: Option<&FleetPolicy>,
        labels: &BTreeMap<String, String>,
    ) -> Result<PolicySettings, ConfigError> {
        let mut policy = complete::policy(&self.merged_with(fleet, labels)?)?;
        self.lay_urgency_over(&mut policy, fleet, labels)?;
        if let Some(fleet) = fleet {
            policy.order = fleet.order(&self.pool(Some(fleet), labels)?)?;
        }
        Ok(policy)
    }

    /// Lets the fleet's policy, or that there is none, have its say about a node with these labels: in all that it may say
    /// something about. If it is not understood, nothing changes.
    pub fn apply_fleet(
        &self,
        settings: &mut Settings,
        fleet: Option<&FleetPolicy>,
        labels: &BTreeMap<String, String>,
    ) -> Result<(), ConfigError> {
        let (policy, pool) = (self.policy(fleet, labels)?, self.pool(fleet, labels)?);
        let (drain, (gates, after)) = complete::around_policy(&self.merged_with(fleet, labels)?)?;
        (settings.policy, settings.pool) = (policy, pool);
        (settings.drain, settings.gates, settings.after) = (drain, gates, after);
        Ok(())
    }

    fn lay_urgency_over(
        &self,
        policy: &mut PolicySettings,
        fleet: Option<&FleetPolicy>,
        labels: &BTreeMap<String, String>,
    ) -> Result<(), ConfigError> {
        if let Some(fleet) = fleet
            && let Some(urgency) = fleet.urgency(&self.pool(Some(fleet), labels)?, labels)
        {
            urgency.lay_over(policy);
        }
        Ok(())
    }

    /// The pool of that node.
    pub fn pool(
        &self,
        fleet: Option<&FleetPolicy>,
        labels: &BTreeMap<String, String>,
    ) -> Result<String, ConfigError> {
        let of_policy = fleet.map(|fleet| fleet.pool(labels)).transpose()?.flatten();
        complete::pool(&self.merged()?, of_policy, labels)
    }

    /// When reboots may start according to that policy.
    pub fn windows(
        &self,
        fleet: Option<&FleetPolicy>,
        labels: &BTreeMap<String, String>,
    ) -> Result<Option<Windows>, ConfigError> {
        let windows = complete::windows(&self.merged_with(fleet, labels)?)?;
        let mut policy = PolicySettings { windows, ..PolicySettings::default() };
        self.lay_urgency_over(&mut policy, fleet, labels)?;
        Ok(policy.windows)
    }

    /// What they say together. They are kept as texts, which are small and seldom needed.
    fn merged(&self) -> Result<Merged<'_>, ConfigError> {
        let mut merged = Merged::default();
        merged.are_kept = self.are_kept;
        let (mut mistakes, known) = (Mistakes::default(), tables());
        for (path, text) in &self.texts {
            let file = mistakes.note(Document::parse(path, text, &known).map(Some));
            file.iter().for_each(|file| merged.add(file));
        }
        mistakes.end(merged)
    }

    /// The same, with what the fleet's policy says about a node with these labels.
    pub(super) fn merged_with<'a>(
        &'a self,
        fleet: Option<&'a FleetPolicy>,
        labels: &BTreeMap<String, String>,
    ) -> Result<Merged<'a>, ConfigError> {
        let mut merged = self.merged()?;
        if let Some(fleet) = fleet {
            fleet.lay_over(&mut merged, labels)?;
        }
        Ok(merged)
    }
}

/// The file's content; None if there is none.
fn read_if_there(path: &Path) -> Result<Option<String>, ConfigError> {
    match read_text(path, LONGEST as u64) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(ConfigError::unreadable(path, &error)),
    }
}
