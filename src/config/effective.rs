//! The effective configuration, key by key, each with its origin: for people.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use toml::de::ValueDeserializer;

use super::error::ConfigError;
use super::files::Files;
use super::fleet::FleetPolicy;
use super::merge::Merged;
use super::tables::tables;

/// One key.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Effective {
    /// As in `policy.window`.
    pub key: String,
    /// None if nothing is written and there is no default.
    pub value: Option<toml::Value>,
    /// `default`, `file` or `policy`.
    pub origin: &'static str,
    /// Where it is written, unless it is the default.
    pub place: Option<String>,
}

/// Every key that exists, in the order of the tables. A key that is not written and has no default has no value:
/// there is no such limit, file or thing.
pub fn effective(
    files: &Files,
    fleet: Option<&FleetPolicy>,
    labels: &BTreeMap<String, String>,
) -> Result<Vec<Effective>, ConfigError> {
    let merged = files.merged_with(fleet, labels)?;
    let mut all = Vec::new();
    for table in tables().iter().filter(|table| !table.name.contains('.')) {
        for group in &table.groups {
            let defaults = (group.defaults)();
            all.extend(group.keys.iter().map(|key| one(&merged, table.dotted(key), defaults.get(*key))));
        }
    }
    // Where the files do not say it, it depends on the Node.
    if let Some(pool) = all.iter_mut().find(|it| it.key == "node.pool" && it.value.is_none()) {
        pool.value = Some(toml::Value::String(files.pool(fleet, labels)?));
        let by_policy = fleet.map(|fleet| fleet.pool(labels)).transpose()?.flatten().is_some();
        pool.origin = if by_policy { "policy" } else { "default" };
    }
    Ok(all)
}

fn one(merged: &Merged, key: String, default: Option<&toml::Value>) -> Effective {
    // If the drain has a time limit, it starts only if that much of the window is left, unless another time is
    // written.
    let stands_in = (key == "policy.window_left").then(|| merged.get("drain.timeout")).flatten();
    match merged.get(&key).or(stands_in) {
        Some(written) => {
            let value = toml::Value::deserialize(ValueDeserializer::from(written.value.clone()));
            let place = Some(written.place.to_string());
            Effective { key, value: value.ok(), origin: written.origin, place }
        }
        None => Effective { key, value: default.cloned(), origin: "default", place: None },
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// The defaults, as a file would state them.
    fn defaults() -> String {
        let mut all = toml::Table::new();
        for table in tables() {
            let found: toml::Table = table.groups.iter().flat_map(|group| (group.defaults)()).collect();
            match table.name.as_str() {
                "" => all.extend(found),
                name => drop(all.insert(name.to_owned(), found.into())),
            }
        }
        all.retain(|_, value| value.as_table().is_none_or(|table| !table.is_empty()));
        all.to_string()
    }

    fn files(text: &str) -> Files {
        Files::from_texts(vec![("f".into(), text.to_owned())], Path::new("/nowhere")).unwrap()
    }

    #[test]
    fn the_defaults_are_those_of_the_settings() {
        let settings = |text| {
            let settings = files(text).settings("host").unwrap();
            crate::decide::Settings { sources: vec![], ..settings }
        };
        let defaults = defaults();
        assert!(defaults.contains("[policy]\n") && defaults.contains("settle = \"1min\"\n"), "{defaults}");
        assert_eq!(settings(&defaults), settings(""));
    }

    #[test]
    fn the_time_of_a_drain_is_the_default_of_the_window_left() {
        let told = effective(&files("[drain]\ntimeout = '1h'"), None, &BTreeMap::new()).unwrap();
        let left = told.iter().find(|one| one.key == "policy.window_left").unwrap();
        assert_eq!((left.origin, left.place.as_deref()), ("file", Some("f:2:11")));
        assert!(!told.iter().any(|one| one.key == "policy"));
        assert!(told.iter().any(|one| one.key == "policy.freeze"));
    }
}
