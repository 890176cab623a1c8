//! What the files and the fleet's policy say, and the settings that come of both.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::config::{ConfigError, Files, FleetPolicy};
use crate::decide::{Event, Settings};

/// Reads the files again, with the settings that they make.
pub type Reload = Box<dyn Fn() -> Result<(Files, Settings), ConfigError>>;

/// The configuration that is in force.
pub struct Configuration {
    files: Files,
    /// The latest that was understood, and the labels of the Node that it was last applied for.
    fleet: Option<FleetPolicy>,
    labels: BTreeMap<String, String>,
    /// What the files say, and over them the fleet's policy.
    pub(super) settings: Settings,
    reload: Reload,
    /// Where the files that work are kept for a start beside files that do not.
    kept: Option<PathBuf>,
}

impl Configuration {
    /// These files with their settings.
    pub fn new((files, settings): (Files, Settings), reload: Reload, kept: Option<PathBuf>) -> Configuration {
        Configuration { files, fleet: None, labels: BTreeMap::new(), settings, reload, kept }
    }

    /// Keeps the files, which work.
    pub(super) fn keep(&self) {
        let Some(path) = &self.kept else { return };
        if let Err(error) = self.files.store(path) {
            tracing::warn!(%error, path = %path.display(), "cannot keep the configuration");
        }
    }

    /// Reads the files again. Those that are not understood change nothing.
    pub(super) fn reload(&mut self) -> Result<(), ConfigError> {
        (self.files, self.settings) = (self.reload)()?;
        self.fleet = None;
        self.keep();
        Ok(())
    }

    /// Takes in the fleet's policy as read. One that is not understood shuts a gate, and what it said before stays.
    pub(super) fn fleet_read(&mut self, data: Option<&BTreeMap<String, String>>) -> Event {
        match data.map(FleetPolicy::from_config_map).transpose() {
            Ok(fleet) => {
                self.fleet = fleet;
                self.apply()
            }
            Err(error) => refused(&error),
        }
    }

    /// Takes in the labels of the Node, by which the policy may name it, if they are others than before. `None`: nothing
    /// changes, also because the policy has yet to be read.
    pub(super) fn labels_seen(
        &mut self,
        labels: &BTreeMap<String, String>,
        policy_is_known: bool,
    ) -> Option<Event> {
        if *labels == self.labels {
            return None;
        }
        self.labels = labels.clone();
        policy_is_known.then(|| self.apply())
    }

    fn apply(&mut self) -> Event {
        match self.files.policy(self.fleet.as_ref(), &self.labels) {
            Ok(policy) => {
                self.settings.policy = policy;
                Event::Policy(Ok(()))
            }
            Err(error) => refused(&error),
        }
    }
}

fn refused(error: &ConfigError) -> Event {
    Event::Policy(Err(error.summary()))
}
