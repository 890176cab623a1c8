//! How the values of keys are written, and their limits. Each value is checked alone, so that the error can say where
//! it is.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error};
use serde::ser::Serializer;

use crate::decide::text::span;
use crate::notation::{TimeSpan, is_label_name, is_label_value, parse_time_span};

/// More than anybody means, and little enough that no sum of times overflows.
const LONGEST: Duration = Duration::from_secs(10 * 31_557_600);

/// A table of the configuration; what follows `=` is a key's default.
macro_rules! table {
    ($(#[$about:meta])* pub struct $name:ident {
        $($(#[$on:meta])* pub $key:ident: $kind:ty = $default:expr,)*
    }) => {
        $(#[$about])*
        #[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct $name { $($(#[$on])* pub $key: $kind,)* }

        impl Default for $name {
            fn default() -> $name {
                $name { $($key: $default,)* }
            }
        }
    };
}

/// A time span of at least this many seconds. An optional one has no default, and no way to write "none".
pub(crate) struct AtLeast<const SECONDS: u64>;

/// A time span, or nothing.
pub(crate) type AnyTime = AtLeast<0>;

impl<const SECONDS: u64> AtLeast<SECONDS> {
    pub(crate) fn deserialize<'de, T, D>(deserializer: D) -> Result<T, D::Error>
    where
        T: From<Duration>,
        D: Deserializer<'de>,
    {
        let TimeSpan(given) = TimeSpan::deserialize(deserializer)?;
        if given < Duration::from_secs(SECONDS) {
            let shortest = span(Duration::from_secs(SECONDS));
            return Err(D::Error::custom(format_args!("must be at least {shortest}")));
        }
        not_too_long(given).map(T::from)
    }

    pub(crate) fn serialize<T, S>(time: &T, serializer: S) -> Result<S::Ok, S::Error>
    where
        T: Copy + Into<Option<Duration>>,
        S: Serializer,
    {
        match (*time).into() {
            Some(time) => serializer.collect_str(&span(time)),
            None => serializer.serialize_none(),
        }
    }
}

fn not_too_long<E: Error>(time: Duration) -> Result<Duration, E> {
    if time > LONGEST { Err(E::custom("must be at most 10 years")) } else { Ok(time) }
}

/// A time span; 0 means none.
pub(crate) struct ZeroIsNone;

impl ZeroIsNone {
    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        AnyTime::deserialize(deserializer).map(|time: Duration| Some(time).filter(|time| !time.is_zero()))
    }

    pub(crate) fn serialize<S: Serializer>(
        time: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        AnyTime::serialize(&time.unwrap_or_default(), serializer)
    }
}

/// A time span, or `ignore` for none.
pub(crate) struct Ignorable;

impl Ignorable {
    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == "ignore" {
            return Ok(None);
        }
        let wait = parse_time_span(&text);
        let wait = wait.map_err(|error| D::Error::custom(format_args!("{error}; or write \"ignore\"")))?;
        not_too_long(wait).map(Some)
    }

    pub(crate) fn serialize<S: Serializer>(
        time: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match time {
            Some(time) => serializer.collect_str(&span(*time)),
            None => serializer.serialize_str("ignore"),
        }
    }
}

/// A number from the first to the second.
pub(crate) struct Between<const LEAST: u32, const MOST: u32>;

impl<const LEAST: u32, const MOST: u32> Between<LEAST, MOST> {
    pub(crate) fn deserialize<'de, T, D>(deserializer: D) -> Result<T, D::Error>
    where
        T: From<u32>,
        D: Deserializer<'de>,
    {
        match u32::deserialize(deserializer)? {
            number if (LEAST..=MOST).contains(&number) => Ok(number.into()),
            _ => Err(D::Error::custom(format_args!("must be between {LEAST} and {MOST}"))),
        }
    }

    pub(crate) fn serialize<T, S>(number: &T, serializer: S) -> Result<S::Ok, S::Error>
    where
        T: Copy + Into<Option<u32>>,
        S: Serializer,
    {
        match (*number).into() {
            Some(number) => serializer.serialize_u32(number),
            None => serializer.serialize_none(),
        }
    }
}

/// An absolute path: a daemon has no directory that a path could be relative to.
pub(crate) fn absolute_path<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: From<PathBuf>,
    D: Deserializer<'de>,
{
    let text = String::deserialize(deserializer)?;
    // The text is not repeated: it may be a token that was written where the path of its file belongs.
    if !Path::new(&text).is_absolute() {
        return Err(D::Error::custom("must be an absolute path"));
    }
    Ok(PathBuf::from(text).into())
}

/// A program by its absolute path, with its arguments; empty for none.
pub(crate) fn command<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let words = Vec::<String>::deserialize(deserializer)?;
    match words.first() {
        Some(program) if !Path::new(program).is_absolute() => {
            Err(D::Error::custom(format_args!("\"{program}\" is not an absolute path")))
        }
        _ => Ok(words),
    }
}

/// Labels of a Node, by name.
pub(crate) fn labels<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, String>, D::Error> {
    let labels = BTreeMap::<String, String>::deserialize(deserializer)?;
    labels.iter().try_for_each(|(name, value)| check_label(name, value)).map_err(D::Error::custom)?;
    Ok(labels)
}

fn check_label(name: &str, value: &str) -> Result<(), String> {
    if !is_label_name(name) {
        return Err(format!("\"{name}\" cannot be the name of a label, such as \"example.com/maintenance\""));
    }
    if name.starts_with("rebootd.io/") {
        return Err(format!(
            "\"{name}\" cannot be set here: names that begin with rebootd.io/ belong to rebootd"
        ));
    }
    if !value.is_empty() && !is_label_value(value) {
        return Err(format!("\"{value}\" cannot be the value of label \"{name}\""));
    }
    Ok(())
}
