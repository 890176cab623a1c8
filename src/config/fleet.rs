//! The fleet's policy: the key `policy.toml` of the ConfigMap `rebootd/policy`. It contains `[policy]` as in the
//! hosts' files, for all nodes or for some, and wins over theirs. Beside it may be what a person has declared urgent.
//!
//! An agent never ignores what it does not understand: a freeze with a typo must not lead to a reboot.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::complete;
use super::document::{Document, Problem, tables as tables_of};
use super::error::{ConfigError, Mistakes, Place};
use super::hint::nearest;
use super::merge::Merged;
use super::tables::{Group, Table, read, tables};
use super::urgency::{URGENT_KEY, Urgency};
use super::value::PoolName;
use crate::decide::settings::Priority;
use crate::notation::Selector;

/// The version says what the keys mean. A new key does not change it: agents that do not know the key start nothing
/// and report it. The version goes up only when the meaning of an existing key changes.
const VERSION: i64 = 1;
/// The key of the ConfigMap.
pub(super) const DATA_KEY: &str = "policy.toml";
/// Where its values come from.
const ORIGIN: &str = "policy";
/// The most bytes of a policy: every agent reads it, on the processor of its node.
const LONGEST: usize = 64 << 10;
/// The policy's name in messages.
const PLACE: &str = "ConfigMap rebootd/policy, policy.toml";

/// A policy that was read and understood.
#[derive(Debug, Clone)]
pub struct FleetPolicy {
    path: PathBuf,
    text: String,
    urgency: Option<Urgency>,
}

/// The keys at the top, beside `[policy]`.
#[derive(Default, Deserialize)]
#[serde(default)]
struct TopKeys {
    /// Checked before all others, by [`check_version`].
    #[serde(rename = "version")]
    _version: i64,
    #[serde(rename = "nodes")]
    _nodes: Vec<NodesKeys>,
}

/// Which nodes a `[[nodes]]` section is for, beside its `[policy]`.
#[derive(Default, Deserialize)]
#[serde(default, expecting = "a table, as in [[nodes]]")]
struct NodesKeys {
    pool: Option<PoolName>,
    selector: Option<Selector>,
    priority: Option<i32>,
}

/// What a policy may say, as the hosts' files do.
const SAID: [&str; 4] = ["policy", "drain", "gates", "after"];

impl FleetPolicy {
    /// Parses the ConfigMap's `data`.
    pub fn from_config_map(data: &BTreeMap<String, String>) -> Result<FleetPolicy, ConfigError> {
        let refused =
            |message: String| ConfigError::at(Place::file(Path::new("ConfigMap rebootd/policy")), message);
        let known = [DATA_KEY, URGENT_KEY];
        if let Some(key) = data.keys().find(|key| !known.contains(&key.as_str())) {
            let hint = nearest(key, &known).map_or("known is", |_| "did you mean");
            let meant = nearest(key, &known).unwrap_or(DATA_KEY);
            return Err(refused(format!("unknown key \"{key}\" in its data; {hint} \"{meant}\"")));
        }
        let urgency = data.get(URGENT_KEY).map(|text| Urgency::parse(text)).transpose()?;
        match data.get(DATA_KEY) {
            Some(text) => Ok(FleetPolicy { urgency, ..FleetPolicy::parse(Path::new(PLACE), text.clone())? }),
            // Nobody but rebootctl urgent has written here.
            None if urgency.is_some() => {
                let empty = format!("version = {VERSION}\n");
                Ok(FleetPolicy { urgency, ..FleetPolicy::parse(Path::new(PLACE), empty)? })
            }
            None => Err(refused(format!("has no key \"{DATA_KEY}\" in its data"))),
        }
    }

    /// Parses the text of a policy; `path` is for messages.
    pub fn parse(path: &Path, text: String) -> Result<FleetPolicy, ConfigError> {
        if text.len() > LONGEST {
            return Err(ConfigError::at(Place::file(path), format!("is longer than {LONGEST} bytes")));
        }
        let policy = FleetPolicy { path: path.to_owned(), text, urgency: None };
        let document = policy.document()?;
        // Every node checks the values of all sections, even those for other nodes.
        let mut mistakes = Mistakes::default();
        for (_, part) in parts(&document) {
            let mut alone = Merged::default();
            alone.is_section = true;
            add(&mut alone, &document, part);
            mistakes.note(complete::policy(&alone).map(drop));
            mistakes.note(complete::around_policy(&alone).map(drop));
        }
        mistakes.end(())?;
        Ok(policy)
    }

    /// The pool into which it puts nodes with these labels: a `[[nodes]]` that has both, a `selector` and a `pool`, says
    /// so. The last one that fits wins.
    pub(super) fn pool(&self, labels: &BTreeMap<String, String>) -> Result<Option<String>, ConfigError> {
        let document = self.document()?;
        let nodes = tables_of(&document.content, "nodes").into_iter();
        let mut selected = nodes.filter_map(|nodes| {
            let NodesKeys { pool, selector, .. } = keys_of(nodes)?;
            pool.filter(|_| selector.is_some_and(|it| it.selects(labels)))
        });
        Ok(selected.next_back().map(|pool| pool.0))
    }

    /// Who of the nodes of this pool goes first.
    pub(super) fn order(&self, pool: &str) -> Result<Vec<Priority>, ConfigError> {
        let document = self.document()?;
        let nodes = tables_of(&document.content, "nodes").into_iter().filter_map(keys_of);
        let nodes = nodes.filter(|it| it.pool.as_ref().is_none_or(|it| it.0 == pool));
        Ok(nodes.filter_map(|it| Some(Priority { priority: it.priority?, selector: it.selector })).collect())
    }

    /// What is urgent for nodes of this pool and with these labels.
    pub(super) fn urgency(&self, pool: &str, labels: &BTreeMap<String, String>) -> Option<&Urgency> {
        self.urgency.as_ref().filter(|urgency| urgency.is_for(pool, labels))
    }

    fn document(&self) -> Result<Document<'_>, ConfigError> {
        let document = Document::parse_syntax(&self.path, &self.text)?;
        document.refuse(check_version(&document))?;
        document.check(&known())?;
        document.refuse(check_nodes(&document.content))?;
        Ok(document)
    }

    /// Applies the sections that are for a node with these labels over what its files say: later ones win.
    pub(super) fn lay_over<'a>(
        &'a self,
        merged: &mut Merged<'a>,
        labels: &BTreeMap<String, String>,
    ) -> Result<(), ConfigError> {
        let pool = complete::pool(merged, self.pool(labels)?, labels)?;
        let document = self.document()?;
        for (nodes, part) in parts(&document) {
            if nodes.is_none_or(|nodes| nodes.is_for(&pool, labels)) {
                add(merged, &document, part);
            }
        }
        Ok(())
    }
}

impl NodesKeys {
    fn is_for(&self, pool: &str, labels: &BTreeMap<String, String>) -> bool {
        self.pool.as_ref().is_none_or(|it| it.0 == pool)
            && self.selector.as_ref().is_none_or(|it| it.selects(labels))
    }
}

/// What is for all nodes, then each of the `[[nodes]]`.
fn parts<'a, 'i>(document: &'a Document<'i>) -> Vec<(Option<NodesKeys>, &'a DeTable<'i>)> {
    let nodes = tables_of(&document.content, "nodes").into_iter();
    let for_some = nodes.filter_map(|nodes| Some((Some(keys_of(nodes)?), nodes)));
    std::iter::once((None, &document.content)).chain(for_some).collect()
}

fn keys_of(nodes: &DeTable<'_>) -> Option<NodesKeys> {
    read(nodes.clone()).ok()
}

fn add<'a>(merged: &mut Merged<'a>, document: &Document<'a>, part: &DeTable<'a>) {
    for table in SAID {
        for content in tables_of(part, table) {
            merged.add_table(ORIGIN, document, table, content);
        }
    }
}

/// Somebody who writes for another version is told that before any complaint about keys.
fn check_version(document: &Document) -> Option<Problem> {
    let Some(version) = document.content.get("version") else {
        let message = format!("has no version; write \"version = {VERSION}\" at its top");
        return Some(Problem { span: 0..0, message });
    };
    let written = document.text.get(version.span()).unwrap_or_default();
    (written != VERSION.to_string()).then(|| Problem {
        span: version.span(),
        message: format!(
            "version {written} of the policy is not known to this rebootd, which knows version {VERSION}"
        ),
    })
}

/// A section for all nodes belongs in `[policy]`.
fn check_nodes(document: &DeTable) -> Vec<Problem> {
    let nodes = document.get("nodes").and_then(|nodes| nodes.get_ref().as_array()).into_iter().flatten();
    let is_for_all = |nodes: &&Spanned<DeValue>| {
        nodes
            .get_ref()
            .as_table()
            .is_some_and(|keys| !keys.contains_key("pool") && !keys.contains_key("selector"))
    };
    let message = "[[nodes]] needs a \"pool\" or a \"selector\"; what is for all nodes belongs in [policy]";
    nodes
        .filter(is_for_all)
        .map(|nodes| Problem { span: nodes.span(), message: message.to_owned() })
        .collect()
}

/// The tables of a policy: some of those of a host's file, here and in each `[[nodes]]`.
fn known() -> Vec<Table> {
    let policy = || {
        tables().into_iter().filter(|table| table.name.split('.').next().is_some_and(|it| SAID.contains(&it)))
    };
    let mut known = vec![
        Table { name: String::new(), groups: vec![Group::new::<TopKeys>()] },
        Table { name: "nodes".to_owned(), groups: vec![Group::new::<NodesKeys>()] },
    ];
    known.extend(policy());
    known.extend(policy().map(|table| Table { name: format!("nodes.{}", table.name), ..table }));
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
            (
                "version = 1\n[host]",
                "p:2:2: unknown table [host]; known here: version, nodes, policy, drain, gates, after",
            ),
            (
                "version = 1\n[[nodes]]\npool = 'a'\ngates.max_nodes_not_ready = '101%'",
                "p:4:29: \"101%\" is no share; write a number, or as in \"10%\"",
            ),
            (
                "version = 1\n[drain]\ntimeout = '10min'\nleave_load_balancers = '10min'",
                "p:4:24: \"leave_load_balancers\" must be shorter than \"timeout\": nothing leaves before it is over",
            ),
            (
                "version = 1\n[policy]\nwindow = { start = 'Sat', lengt = '1h' }",
                "p:3:27: unknown key \"lengt\" in [policy.window]; did you mean \"length\"?",
            ),
            // What the section does not say may be written in the files of the hosts.
            (
                "version = 1\n[policy]\nwindow = { start = 'Sat', length = '20min' }\nwindow_left = '1h'",
                "p:4:15: \"window_left\" (1h) is longer than every window, so no reboot could ever start",
            ),
            (
                "version = 1\n[[nodes]]\nselector = 'a b'",
                "p:3:12: \"a b\" is not a label selector: expected \",\" before \"b\"",
            ),
            // Whichever nodes it is for.
            (
                "version = 1\n[[nodes]]\npool = 'x'\npolicy.settle = '0'",
                "p:4:17: \"settle\" must be at least 1s",
            ),
        ] {
            assert_eq!(error(text), message);
        }
        assert!(error("version = 1\n[[nodes]]\npolicy.window = 'always'").contains("needs a \"pool\""));
        assert!(parse("version = 1\npolicy.window = { start = 'Sat', length = '20min' }").is_ok());
        assert!(parse("version = 1\npolicy.min_age = '20d'").is_ok());
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
    fn it_may_say_how_nodes_drain_and_what_must_be_well_and_who_goes_first() {
        let host = "[gates]\nmin_uptime = '1h'\n[prometheus]\nurl = 'https://p:9090'\n[drain]\ndelete_namespaces = ['a']";
        let host = format!("{host}\ndelete_after = '5min'");
        let files = Files::from_texts(vec![("host".into(), host)], Path::new("/")).unwrap();
        let fleet = parse(
            "version = 1
            [gates]
            max_nodes_not_ready = '10%'
            query = 'up == 0'
            [drain]
            delete_after = '9min'
            [[nodes]]
            selector = 'tier=spare'
            priority = 10
            after.soak = '2h'
            [[nodes]]
            pool = 'other'
            priority = 99",
        )
        .unwrap();
        let spare = BTreeMap::from([("tier".to_owned(), "spare".to_owned())]);
        let mut settings = files.settings("n").unwrap();
        files.apply_fleet(&mut settings, Some(&fleet), &spare).unwrap();
        let (gates, drain) = (&settings.gates, settings.drain.delete.as_ref().unwrap());
        assert_eq!((gates.max_nodes_not_ready.of(30), gates.min_uptime.as_secs()), (3, 3600));
        assert_eq!(gates.query.as_ref().unwrap().expression, "up == 0");
        assert_eq!((drain.after.as_secs(), settings.after.soak.as_secs()), (540, 7200));
        assert!(settings.policy.rank(&spare, "") < settings.policy.rank(&BTreeMap::new(), ""));
        // Without it, the files alone hold again.
        files.apply_fleet(&mut settings, None, &spare).unwrap();
        assert_eq!(settings.gates.query, None);
        assert_eq!(settings.after.soak.as_secs(), 0);
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
        let pool_in = |zone: &str| {
            let labels = BTreeMap::from([("zone".to_owned(), zone.to_owned())]);
            fleet.pool(&labels).unwrap()
        };
        assert_eq!((pool_in("a").as_deref(), pool_in("b")), (Some("db"), None));
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
        let told = crate::config::effective(&files, Some(&fleet), &labels).unwrap();
        let origin = |key: &str| {
            let one = told.iter().find(|one| one.key == key).unwrap();
            format!("{} {}", one.origin, one.place.as_deref().unwrap_or("-"))
        };
        assert_eq!(origin("policy.settle"), "policy p:9:29");
        assert_eq!(origin("policy.min_age"), "policy p:2:49");
        assert_eq!(origin("policy.reboot_tries"), "file host:6:16");
        assert_eq!(origin("policy.return_timeout"), "default -");
        // With both, the section also says who is in that pool.
        let files = Files::from_texts(vec![("host".into(), String::new())], Path::new("/")).unwrap();
        let pool = |labels: &BTreeMap<String, String>| {
            let told = crate::config::effective(&files, Some(&fleet), labels).unwrap();
            let pool = told.into_iter().find(|one| one.key == "node.pool").unwrap();
            (
                pool.value.unwrap().as_str().unwrap().to_owned(),
                pool.origin,
                files.pool(Some(&fleet), labels).unwrap(),
            )
        };
        let member = [("node-role.kubernetes.io/control-plane".to_owned(), String::new())].into();
        assert_eq!(pool(&labels), ("db".into(), "policy", "db".into()));
        assert_eq!(pool(&member), ("control-plane".into(), "default", "control-plane".into()));
        assert_eq!(pool(&BTreeMap::new()), ("worker".into(), "default", "worker".into()));
    }
}
