//! The effective configuration, key by key, each with its origin: for people.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;
use toml::de::DeTable;

use super::error::Place;
use super::file::{KNOWN_KEYS, tables};
use super::files::Files;
use super::fleet::FleetPolicy;

/// One key.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Effective {
    /// As in `policy.window`.
    pub key: String,
    /// None where nothing is set and there is no default.
    pub value: Option<toml::Value>,
    /// `default`, `file` or `policy`.
    pub origin: &'static str,
    /// Where it is written, unless it is the default.
    pub place: Option<String>,
}

/// The built-in defaults, as one would write them; a test holds them against the settings. A key that is not named has
/// none: unless it is set, there is no such limit, file or thing.
pub(super) const DEFAULTS: &str = r#"
mode = "active"
[node]
pool = "worker"
waiting_label = true
waiting_taint = false
[host]
sentinel = "/run/reboot-required"
sentinel_command_interval = "10min"
newer_kernel = false
needrestart = false
request_annotation = true
[policy]
window_left = "30min"
drain = "auto"
min_interval = "1d"
min_age = "0"
deadline = "14d"
give_up_after_deadline = []
kexec = false
settle = "60s"
reboot_timeout = "10min"
reboot_tries = 2
return_timeout = "15min"
[drain]
on_timeout = "abort"
bare_pods = "leave"
empty_dir_pods = "evict"
volume_timeout = "2min"
labels = {}
keep_from_autoscalers = true
[gates]
max_nodes_not_ready = 0
count_cordoned = false
min_uptime = "0"
alerts = false
sessions = "ignore"
require_synchronized_clock = true
[after]
soak = "0"
limit = "30min"
at_limit = "keep"
[hooks]
before_drain = false
before_reboot = false
after_boot = false
timeout = "5min"
on_failure = "stop"
on_failure_after_boot = "stop"
"#;

/// Every key that there is, in the order of the manual.
pub fn effective(
    files: &Files,
    fleet: Option<&FleetPolicy>,
    labels: &BTreeMap<String, String>,
) -> Vec<Effective> {
    let mut found = BTreeMap::new();
    collect(&mut found, "default", Path::new(""), DEFAULTS, None);
    for (path, text) in files.texts() {
        collect(&mut found, "file", path, text, None);
    }
    for (path, text, section) in fleet.map(|fleet| fleet.texts_for(files.pool(), labels)).unwrap_or_default()
    {
        collect(&mut found, "policy", path, text, section);
    }
    // A drain that has a time of its own starts only with so much of the window left.
    if let Some(timeout) = found.get("drain.timeout").cloned()
        && let Some(left) = found.get_mut("policy.window_left").filter(|left| left.origin == "default")
    {
        *left = Effective { key: left.key.clone(), ..timeout };
    }
    let outer = KNOWN_KEYS.iter().filter(|(table, _)| !table.contains('.'));
    let names = outer.flat_map(|(table, keys)| keys.iter().map(|key| name(table, key)));
    names
        // Tables are no values, but for those that stand as one, as in `policy.window`.
        .filter(|name| name.contains('.') || !KNOWN_KEYS.iter().any(|(table, _)| table == name))
        .map(|key| {
            let unset = Effective { key: key.clone(), value: None, origin: "default", place: None };
            found.remove(&key).unwrap_or(unset)
        })
        .collect()
}

fn name(table: &str, key: &str) -> String {
    if table.is_empty() { key.to_owned() } else { format!("{table}.{key}") }
}

/// Takes in what a text says that could be read before, at its top or in one of its `[[nodes]]`.
fn collect(
    found: &mut BTreeMap<String, Effective>,
    origin: &'static str,
    path: &Path,
    text: &str,
    section: Option<usize>,
) {
    let (Ok(spans), Ok(values)) = (DeTable::parse(text), toml::from_str::<toml::Table>(text)) else { return };
    let (spans, values) = match section {
        None => (Some(spans.get_ref()), Some(&values)),
        Some(number) => (
            tables(spans.get_ref(), "nodes").get(number).copied(),
            values.get("nodes").and_then(|nodes| nodes.get(number)?.as_table()),
        ),
    };
    let (Some(spans), Some(values)) = (spans, values) else { return };
    for (table, keys) in KNOWN_KEYS.iter().filter(|(table, _)| !table.contains('.')) {
        let inner =
            if table.is_empty() { Some(values) } else { values.get(*table).and_then(|it| it.as_table()) };
        let Some((spans, values)) = tables(spans, table).first().copied().zip(inner) else { continue };
        for key in *keys {
            let (Some(span), Some(value)) = (spans.get(*key), values.get(*key)) else { continue };
            let place = (origin != "default").then(|| Place::in_text(path, text, span.span()).to_string());
            let key = name(table, key);
            found.insert(key.clone(), Effective { key, value: Some(value.clone()), origin, place });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(text: &str) -> Files {
        Files::from_texts(vec![("f".into(), text.to_owned())], Path::new("/nowhere")).unwrap()
    }

    #[test]
    fn the_defaults_are_those_of_the_settings() {
        let settings = |text| {
            let settings = files(text).settings("host").unwrap();
            crate::decide::Settings { sources: vec![], ..settings }
        };
        assert_eq!(settings(DEFAULTS), settings(""));
    }

    #[test]
    fn the_time_of_a_drain_is_the_default_of_the_window_left() {
        let told = effective(&files("[drain]\ntimeout = '1h'"), None, &BTreeMap::new());
        let left = told.iter().find(|one| one.key == "policy.window_left").unwrap();
        assert_eq!((left.origin, left.place.as_deref()), ("file", Some("f:2:11")));
        assert!(!told.iter().any(|one| one.key == "policy"));
        assert!(told.iter().any(|one| one.key == "policy.freeze"));
    }
}
