//! The fleet's policy: the key `policy.toml` of the ConfigMap `rebootd/policy`. It has the `[policy]` of the hosts'
//! files, for all nodes or for some, and wins over theirs.
//!
//! What an agent does not understand it does not pass over: a freeze with a typo must not be a reboot.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;
use toml::de::DeTable;

use super::complete;
use super::error::{ConfigError, Place};
use super::file::{File, KNOWN_KEYS, Keys, PolicyKeys, Problem, check_keys, nearest};
use super::merge::Merged;
use super::value::{LabelSelector, PoolName};

/// What is meant by the keys. A new key leaves it: agents that do not know the key start nothing, and say which one it
/// is. It goes up only where a key that there is comes to mean something else.
const VERSION: i64 = 1;
/// The only key of the ConfigMap.
pub(super) const DATA_KEY: &str = "policy.toml";
/// How messages name it.
const PLACE: &str = "ConfigMap rebootd/policy, policy.toml";

/// A policy that was read and understood.
#[derive(Debug, Clone)]
pub struct FleetPolicy {
    path: PathBuf,
    text: String,
    all: PolicyKeys,
    sections: Vec<NodesKeys>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct FleetKeys {
    /// Checked before all others, by [`check_version`].
    #[serde(rename = "version")]
    _version: i64,
    policy: PolicyKeys,
    nodes: Vec<Spanned<NodesKeys>>,
}

/// A `[[nodes]]`: what holds for some nodes.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table, as in [[nodes]]")]
struct NodesKeys {
    pool: Option<PoolName>,
    selector: Option<LabelSelector>,
    policy: PolicyKeys,
}

#[derive(Deserialize)]
struct VersionKey {
    version: Option<Spanned<toml::Value>>,
}

const TOP: &[&str] = &["version", "policy", "nodes"];
const NODES: &[&str] = &["pool", "selector", "policy"];

impl FleetPolicy {
    /// Understands the ConfigMap's `data`.
    pub fn from_config_map(data: &BTreeMap<String, String>) -> Result<FleetPolicy, ConfigError> {
        let refused =
            |message: String| ConfigError::at(Place::file(Path::new("ConfigMap rebootd/policy")), message);
        if let Some(key) = data.keys().find(|key| *key != DATA_KEY) {
            let hint = nearest(key, &[DATA_KEY]).map_or("known is", |_| "did you mean");
            return Err(refused(format!("unknown key \"{key}\" in its data; {hint} \"{DATA_KEY}\"")));
        }
        match data.get(DATA_KEY) {
            Some(text) => FleetPolicy::parse(Path::new(PLACE), text.clone()),
            None => Err(refused(format!("has no key \"{DATA_KEY}\" in its data"))),
        }
    }

    /// Understands the text of a policy; `path` is for messages.
    pub fn parse(path: &Path, text: String) -> Result<FleetPolicy, ConfigError> {
        let keys = match parse_keys(&text) {
            Ok(keys) => keys,
            Err(problem) => {
                return Err(ConfigError::at(Place::in_text(path, &text, problem.span), problem.message));
            }
        };
        let mut sections = Vec::new();
        for section in keys.nodes {
            let span = section.span();
            let section = section.into_inner();
            if section.pool.is_none() && section.selector.is_none() {
                let message =
                    "[[nodes]] needs a \"pool\" or a \"selector\"; what is for all nodes belongs in [policy]";
                return Err(ConfigError::at(Place::in_text(path, &text, span), message));
            }
            sections.push(section);
        }
        let policy = FleetPolicy { path: path.to_owned(), text, all: keys.policy, sections };
        // Whoever a section is for, its values are checked by everybody.
        for keys in std::iter::once(&policy.all).chain(policy.sections.iter().map(|it| &it.policy)) {
            let mut alone = Merged::default();
            alone.add(policy.file(keys));
            complete::policy(&alone)?;
        }
        Ok(policy)
    }

    /// The parts that are for such a node, in their order: later ones win.
    pub(super) fn files_for(&self, pool: &str, labels: &BTreeMap<String, String>) -> Vec<File> {
        let sections = self.sections.iter().filter(|section| section.is_for(pool, labels));
        let parts = std::iter::once(&self.all).chain(sections.map(|section| &section.policy));
        parts.map(|keys| self.file(keys)).collect()
    }

    /// The same as text: the policy's top, then the numbers of the `[[nodes]]`.
    pub(super) fn texts_for(
        &self,
        pool: &str,
        labels: &BTreeMap<String, String>,
    ) -> Vec<(&Path, &str, Option<usize>)> {
        let sections = self.sections.iter().enumerate().filter(|(_, section)| section.is_for(pool, labels));
        let numbers = std::iter::once(None).chain(sections.map(|(number, _)| Some(number)));
        numbers.map(|number| (self.path.as_path(), self.text.as_str(), number)).collect()
    }

    fn file(&self, policy: &PolicyKeys) -> File {
        let keys = Keys { policy: policy.clone(), ..Keys::default() };
        File { path: self.path.clone(), text: self.text.clone(), keys }
    }
}

impl NodesKeys {
    fn is_for(&self, pool: &str, labels: &BTreeMap<String, String>) -> bool {
        self.pool.as_ref().is_none_or(|it| it.0 == pool)
            && self.selector.as_ref().is_none_or(|it| it.0.selects(labels))
    }
}

fn parse_keys(text: &str) -> Result<FleetKeys, Problem> {
    check_version(text)?;
    check_keys(DeTable::parse(text)?.get_ref(), &known())?;
    Ok(toml::from_str(text)?)
}

/// Whoever writes for another version is told so, before he is told of keys.
fn check_version(text: &str) -> Result<(), Problem> {
    let found = toml::from_str::<VersionKey>(text)?.version;
    let (span, message) = match found {
        Some(version) if version.get_ref().as_integer() == Some(VERSION) => return Ok(()),
        Some(version) => {
            let message = format!(
                "version {} of the policy is not known to this rebootd, which knows version {VERSION}",
                version.get_ref()
            );
            (version.span(), message)
        }
        None => (0..0, format!("has no version; write \"version = {VERSION}\" at its top")),
    };
    Err(Problem { span, message })
}

/// The tables of a policy: those of a host's file under `[policy]`, here and in each `[[nodes]]`.
fn known() -> Vec<(String, &'static [&'static str])> {
    let policy = || KNOWN_KEYS.iter().filter(|(table, _)| table.split('.').next() == Some("policy"));
    let mut known = vec![(String::new(), TOP), ("nodes".to_owned(), NODES)];
    known.extend(policy().map(|(table, keys)| ((*table).to_owned(), *keys)));
    known.extend(policy().map(|(table, keys)| (format!("nodes.{table}"), *keys)));
    known
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Files;

    fn parse(text: &str) -> Result<FleetPolicy, String> {
        FleetPolicy::parse(Path::new("p"), text.to_owned()).map_err(|error| error.to_string())
    }

    fn error(text: &str) -> String {
        parse(text).unwrap_err()
    }

    #[test]
    fn what_is_not_understood_is_named_with_its_place() {
        for (text, message) in [
            ("", "p:1:1: has no version; write \"version = 1\" at its top"),
            ("[policy]\nfreze = []", "p:1:1: has no version; write \"version = 1\" at its top"),
            (
                "version = 2\n[polcy]",
                "p:1:11: version 2 of the policy is not known to this rebootd, which knows version 1",
            ),
            (
                "version = 1\n[policy]\nfreze = []",
                "p:3:1: unknown key \"freze\" in [policy]; did you mean \"freeze\"?",
            ),
            (
                "version = 1\n[[nodes]]\npool = 'a'\npolicy.windw = 'always'",
                "p:4:8: unknown key \"windw\" in [nodes.policy]; did you mean \"window\"?",
            ),
            (
                "version = 1\n[[nodes]]\npool = 'a'\nwindow = 'always'",
                "p:4:1: unknown key \"window\" in [nodes]; \"window\" belongs in [nodes.policy]",
            ),
            ("version = 1\n[drain]", "p:2:2: unknown table [drain]; known here: version, policy, nodes"),
            (
                "version = 1\n[policy]\nwindow = { start = 'Sat', lengt = '1h' }",
                "p:3:27: unknown key \"lengt\" in [policy.window]; did you mean \"length\"?",
            ),
            (
                "version = 1\n[[nodes]]\nselector = 'a b'",
                "p:3:12: \"a b\" is not a label selector: expected \",\" before \"b\"",
            ),
            // Whoever it is for.
            (
                "version = 1\n[[nodes]]\npool = 'x'\npolicy.settle = '0'",
                "p:4:17: \"settle\" must be at least 1s",
            ),
        ] {
            assert_eq!(error(text), message);
        }
        assert!(error("version = 1\n[[nodes]]\npolicy.window = 'always'").contains("needs a \"pool\""));
    }

    #[test]
    fn the_data_has_one_key() {
        let error = |keys: &[&str]| {
            let data = keys.iter().map(|key| ((*key).to_owned(), "version = 1".to_owned())).collect();
            FleetPolicy::from_config_map(&data).map(|_| ()).map_err(|error| error.to_string())
        };
        assert_eq!(error(&["policy.toml"]), Ok(()));
        let known = "ConfigMap rebootd/policy: has no key \"policy.toml\" in its data";
        assert_eq!(error(&[]).unwrap_err(), known);
        let near =
            "ConfigMap rebootd/policy: unknown key \"policy.tml\" in its data; did you mean \"policy.toml\"";
        assert_eq!(error(&["policy.tml", "policy.toml"]).unwrap_err(), near);
    }

    #[test]
    fn later_parts_win_over_earlier_ones_and_all_over_the_files() {
        let host =
            "[node]\npool = 'db'\n[policy]\nsettle = '1s'\nmin_age = '1s'\nreboot_tries = 9".to_owned();
        let files = Files::from_texts(vec![("host".into(), host)], Path::new("/")).unwrap();
        let fleet = parse(
            "version = 1
            policy = { settle = '2s', min_age = '2s', reboot_timeout = '42s' }
            [[nodes]]
            pool = 'db'
            policy.settle = '3s'
            [[nodes]]
            pool = 'db'
            selector = 'zone=a'
            policy.settle = '4s'
            [[nodes]]
            pool = 'web'
            policy.settle = '5s'",
        )
        .unwrap();
        let policy = |zone: &str| {
            let labels = BTreeMap::from([("zone".to_owned(), zone.to_owned())]);
            let policy = files.policy(Some(&fleet), &labels).unwrap();
            let seconds = [policy.settle, policy.min_age, policy.reboot_timeout].map(|time| time.as_secs());
            (seconds, policy.reboot_tries)
        };
        assert_eq!(policy("a"), ([4, 2, 42], 9));
        assert_eq!(policy("b"), ([3, 2, 42], 9));
        let without = files.policy(None, &BTreeMap::new()).unwrap();
        assert_eq!(without.settle.as_secs(), 1);
        let labels = BTreeMap::from([("zone".to_owned(), "a".to_owned())]);
        let told = crate::config::effective(&files, Some(&fleet), &labels);
        let origin = |key: &str| {
            let one = told.iter().find(|one| one.key == key).unwrap();
            format!("{} {}", one.origin, one.place.as_deref().unwrap_or("-"))
        };
        assert_eq!(origin("policy.settle"), "policy p:9:29");
        assert_eq!(origin("policy.min_age"), "policy p:2:49");
        assert_eq!(origin("policy.reboot_tries"), "file host:6:16");
        assert_eq!(origin("policy.return_timeout"), "default -");
    }
}
