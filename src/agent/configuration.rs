//! What the files and the fleet's policy say, and the settings that result.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::config::{ConfigError, Files, FleetPolicy};
use crate::decide::{Event, POOL, Settings};

/// Reads the files again, and returns them with their settings.
pub type Reload = Box<dyn Fn() -> Result<(Files, Settings), ConfigError>>;

/// The configuration that is in force.
pub struct Configuration {
    files: Files,
    /// The latest policy that was understood, and the labels of the Node for which it was last applied.
    fleet: Option<FleetPolicy>,
    /// Whether the policy was read and understood since the files were: without one, that it does not exist.
    fleet_is_known: bool,
    labels: BTreeMap<String, String>,
    /// What the files say, and what the fleet's policy says over them.
    pub(super) settings: Settings,
    reload: Reload,
    /// Where the last good files are kept, for a start when the current files cannot be understood.
    kept: Option<PathBuf>,
}

impl Configuration {
    /// These files with their settings.
    pub fn new((files, settings): (Files, Settings), reload: Reload, kept: Option<PathBuf>) -> Configuration {
        Configuration {
            files,
            fleet: None,
            fleet_is_known: false,
            labels: BTreeMap::new(),
            settings,
            reload,
            kept,
        }
    }

    /// Keeps the current files, which are good.
    pub(super) fn keep(&self) {
        let Some(path) = &self.kept else { return };
        if let Err(error) = self.files.store(path) {
            tracing::warn!("cannot keep the configuration in {}: {error}", path.display());
        }
    }

    /// Reads the files again. If they cannot be understood, nothing changes.
    pub(super) fn reload(&mut self) -> Result<(), ConfigError> {
        (self.files, self.settings) = (self.reload)()?;
        (self.fleet, self.fleet_is_known) = (None, false);
        self.labels.clear();
        self.keep();
        Ok(())
    }

    /// Takes over the fleet's policy as read. One that cannot be understood closes a gate, and the earlier one stays
    /// in force.
    pub(super) fn fleet_read(&mut self, data: Option<&BTreeMap<String, String>>) -> Event {
        match data.map(FleetPolicy::from_config_map).transpose() {
            Ok(fleet) => {
                (self.fleet, self.fleet_is_known) = (fleet, true);
                self.apply()
            }
            Err(error) => refused(&error),
        }
    }

    /// Takes over the labels of the Node, by which the policy may select it, if they have changed. `None`: only its pool
    /// may have changed, possibly because the policy has yet to be read.
    pub(super) fn labels_seen(
        &mut self,
        labels: &BTreeMap<String, String>,
        policy_is_known: bool,
    ) -> Option<Event> {
        if *labels == self.labels {
            return None;
        }
        self.labels = labels.clone();
        // As long as nobody knows whether the policy names a pool, the node stays in the one that it is in: otherwise a
        // start without the policy would undo its turn. A mistake in the policy is found where the policy is read.
        let before = labels.get(POOL).filter(|_| !self.settings.pool_is_written && !self.fleet_is_known);
        if let Ok(pool) = before.cloned().map_or_else(|| self.files.pool(self.fleet.as_ref(), labels), Ok) {
            self.settings.pool = pool;
        }
        policy_is_known.then(|| self.apply())
    }

    fn apply(&mut self) -> Event {
        let (fleet, labels) = (self.fleet.as_ref(), &self.labels);
        match self.files.apply_fleet(&mut self.settings, fleet, labels) {
            Ok(()) => Event::Policy(Ok(())),
            Err(error) => refused(&error),
        }
    }
}

fn refused(error: &ConfigError) -> Event {
    Event::Policy(Err(error.summary()))
}
