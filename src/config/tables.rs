//! The tables that a configuration file may have, and the keys in each, taken from the structs that they are read
//! into.

use serde::de::value::Error;
use serde::de::{DeserializeOwned, Deserializer, Error as _, Visitor};
use serde::{Deserialize, Serialize, forward_to_deserialize_any};
use toml::Spanned;
use toml::de::DeTable;

use super::parts::{AfterKeys, ApiKeys, BeforeKeys, DeleteKeys, HookKeys, NodeKeys, PrometheusKeys, TopKeys};
use super::value::ObjectTable;
use super::windows::{FreezeTable, WindowKeys, WindowTable};
use crate::decide::settings::{
    AfterSettings, DrainSettings, GatesSettings, HooksSettings, HostSettings, NotifySettings, PolicySettings,
    SignsSettings,
};

/// A table, or the tables that are the value of a key.
pub(super) struct Table {
    /// As in `policy.window`; "" for the top.
    pub(super) name: String,
    pub(super) groups: Vec<Group>,
}

/// Keys of a table that are read into the same struct.
#[derive(Clone, Copy)]
pub(super) struct Group {
    pub(super) keys: &'static [&'static str],
    /// Checks whether the values can be read.
    pub(super) check: fn(DeTable<'_>) -> Result<(), toml::de::Error>,
    /// What applies if a key is not written.
    pub(super) defaults: fn() -> toml::Table,
}

/// All tables of a host's file, in the order of the manual.
pub(super) fn tables() -> Vec<Table> {
    let table = |name: &str, groups: &[Group]| Table { name: name.to_owned(), groups: groups.to_vec() };
    vec![
        table("", &[Group::with_defaults::<TopKeys>()]),
        table("node", &[Group::with_defaults::<NodeKeys>(), Group::with_defaults::<SignsSettings>()]),
        table("api", &[Group::new::<ApiKeys>()]),
        table("host", &[Group::with_defaults::<HostSettings>()]),
        table("policy", &[Group::new::<WindowKeys>(), Group::with_defaults::<PolicySettings>()]),
        table("policy.window", &[Group::new::<WindowTable>()]),
        table("policy.freeze", &[Group::new::<FreezeTable>()]),
        table("drain", &[Group::with_defaults::<DrainSettings>(), Group::new::<DeleteKeys>()]),
        table("gates", &[Group::with_defaults::<GatesSettings>(), Group::with_defaults::<BeforeKeys>()]),
        table("after", &[Group::with_defaults::<AfterSettings>(), Group::new::<AfterKeys>()]),
        table("after.object", &[Group::new::<ObjectTable>()]),
        table("prometheus", &[Group::new::<PrometheusKeys>()]),
        table("hooks", &[Group::with_defaults::<HookKeys>(), Group::with_defaults::<HooksSettings>()]),
        table("notify", &[Group::with_defaults::<NotifySettings>()]),
    ]
}

impl Table {
    pub(super) fn keys(&self) -> impl Iterator<Item = &'static str> {
        self.groups.iter().flat_map(|group| group.keys.iter().copied())
    }

    /// Whether its values are not repeated in messages: next to where a token's file is named, people paste the token.
    pub(super) fn is_secret(&self) -> bool {
        ["api", "prometheus"].contains(&self.name.as_str())
    }

    /// The key's name from the top down.
    pub(super) fn dotted(&self, key: &str) -> String {
        dotted(&self.name, key)
    }
}

impl Group {
    /// Without defaults.
    pub(super) fn new<T: DeserializeOwned>() -> Group {
        Group { keys: fields::<T>(), check: |table| read::<T>(table).map(drop), defaults: toml::Table::new }
    }

    fn with_defaults<T: DeserializeOwned + Serialize + Default>() -> Group {
        let defaults = || toml::Table::try_from(T::default()).unwrap_or_default();
        Group { defaults, ..Group::new::<T>() }
    }
}

/// A key's name from the top down.
pub(super) fn dotted(table: &str, key: &str) -> String {
    if table.is_empty() { key.to_owned() } else { format!("{table}.{key}") }
}

/// Reads a table into its struct.
pub(super) fn read<T: DeserializeOwned>(table: DeTable<'_>) -> Result<T, toml::de::Error> {
    T::deserialize(toml::de::Deserializer::from(Spanned::new(0..0, table)))
}

/// The keys that a struct is read from.
pub(super) fn fields<'de, T: Deserialize<'de>>() -> &'static [&'static str] {
    let mut fields: &'static [&'static str] = &[];
    // Always ends with an error, because there is nothing to read.
    let _ = T::deserialize(Fields(&mut fields));
    fields
}

/// Records which fields it is asked for.
struct Fields<'a>(&'a mut &'static [&'static str]);

impl<'de> Deserializer<'de> for Fields<'_> {
    type Error = Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        _visitor: V,
    ) -> Result<V::Value, Error> {
        *self.0 = fields;
        Err(Error::custom("only the fields are asked for"))
    }

    fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Error> {
        Err(Error::custom("not a struct"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}
