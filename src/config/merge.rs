//! The merge of all texts: what is read later wins, key by key. Each value remembers where it was written, so that
//! later complaints can say so.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::document::Document;
use super::error::{ConfigError, Place};
use super::tables::{dotted, fields, read};

/// What all texts together say.
#[derive(Debug, Default)]
pub(super) struct Merged<'a> {
    /// By name, from the top down, as in `policy.settle`.
    values: BTreeMap<String, Written<'a>>,
    /// See [`super::Files::load`]: what an earlier version allowed is allowed.
    pub(super) are_kept: bool,
    /// A section of the fleet's policy alone: what it does not say may be written elsewhere.
    pub(super) is_section: bool,
}

/// A value and where it is written.
#[derive(Debug)]
pub(super) struct Written<'a> {
    key: Spanned<DeString<'a>>,
    pub(super) value: Spanned<DeValue<'a>>,
    pub(super) place: Place,
    /// `file` or `policy`.
    pub(super) origin: &'static str,
}

impl<'a> Merged<'a> {
    /// Lets what a file says win over what was read before.
    pub(super) fn add(&mut self, file: &Document<'a>) {
        for (name, value) in &file.content {
            match value.get_ref() {
                DeValue::Table(content) => self.add_table("file", file, name.get_ref(), content),
                _ => self.add_key("file", file, "", (name, value)),
            }
        }
    }

    /// The same for one table in a text.
    pub(super) fn add_table(
        &mut self,
        origin: &'static str,
        text: &Document<'a>,
        table: &str,
        content: &DeTable<'a>,
    ) {
        content.iter().for_each(|entry| self.add_key(origin, text, table, entry));
    }

    fn add_key(
        &mut self,
        origin: &'static str,
        text: &Document<'a>,
        table: &str,
        (key, value): (&Spanned<DeString<'a>>, &Spanned<DeValue<'a>>),
    ) {
        let (name, place) = (dotted(table, key.get_ref()), text.place(value.span()));
        self.values.insert(name, Written { key: key.clone(), value: value.clone(), place, origin });
    }

    /// Reads the keys of a table that this struct knows.
    pub(super) fn read<T: DeserializeOwned>(&self, table: &str) -> Result<T, ConfigError> {
        let written = fields::<T>().iter().filter_map(|key| self.get(&dotted(table, key)));
        let found = written.map(|written| (written.key.clone(), written.value.clone())).collect();
        // Each value was already read by itself.
        read(found).map_err(|error| ConfigError::nowhere(format!("[{table}]: {}", error.message())))
    }

    /// The value of a key, by its name from the top down.
    pub(super) fn get(&self, key: &str) -> Option<&Written<'a>> {
        self.values.get(key)
    }

    /// Where the first of these keys that is written stands.
    pub(super) fn place(&self, keys: &[&str]) -> Option<Place> {
        keys.iter().find_map(|key| Some(self.get(key)?.place.clone()))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::tables::tables;
    use crate::decide::settings::PolicySettings;

    #[test]
    fn later_wins_key_by_key_and_keeps_its_place() {
        let mut merged = Merged::default();
        for (path, text) in [
            ("1.toml", "mode = 'observe'\n[policy]\nsettle = '1min'\nreboot_tries = 3"),
            ("2.toml", "\n\n[policy]\nsettle = '2min'"),
        ] {
            merged.add(&Document::parse(Path::new(path), text, &tables()).unwrap());
        }
        let policy: PolicySettings = merged.read("policy").unwrap();
        let place = |key: &str| merged.place(&[key]).map(|place| place.to_string());
        assert_eq!((policy.settle.as_secs(), place("policy.settle")), (120, Some("2.toml:4:10".into())));
        assert_eq!((policy.reboot_tries, place("policy.reboot_tries")), (3, Some("1.toml:4:16".into())));
        assert_eq!(place("mode").unwrap(), "1.toml:1:8");
        assert_eq!(place("policy.window"), None);
    }
}
