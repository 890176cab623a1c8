//! YAML as a tree of which single values are read, each with its place.
//!
//! One type for all documents: each type that is derived for YAML would cost the daemon some 20 kB of memory.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value as Json};
use serde_saphyr::{Error, Location, Spanned};

/// A value and where it is written. It may be a secret, so it cannot be printed.
pub(crate) struct Node {
    /// The place.
    pub(crate) at: Location,
    value: Value,
}

enum Value {
    Null,
    Bool(bool),
    /// Text, or a whole number, whose digits may be meant as a text.
    Text(String),
    /// A number of which nobody knows how it was written.
    Fraction(f64),
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
}

/// Reads one document.
pub(crate) fn parse(text: &str) -> Result<Node, Error> {
    serde_saphyr::from_str_with_options(text, options())
}

/// Reads all documents of a file.
pub(crate) fn parse_all(text: &str) -> Result<Vec<Node>, Error> {
    serde_saphyr::from_multiple_with_options(text, options())
}

fn options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        with_snippet: false,
        // As text they may be something else.
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
    }
}

impl Node {
    /// What a map has under this key, unless that is null.
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        let Value::Map(entries) = &self.value else { return None };
        let (_, value) = entries.iter().find(|(name, _)| name == key)?;
        (!matches!(value.value, Value::Null)).then_some(value)
    }

    /// Whether it can have keys, or is an empty document.
    pub(crate) fn is_map(&self) -> bool {
        matches!(self.value, Value::Map(_) | Value::Null)
    }

    /// The entries of a map; of anything else, none.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&str, &Node)> {
        let entries = if let Value::Map(entries) = &self.value { entries.as_slice() } else { &[] };
        entries.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// The items of a list.
    pub(crate) fn list(&self) -> Option<&[Node]> {
        if let Value::List(items) = &self.value { Some(items) } else { None }
    }

    /// A text, or what can be one as well, as kubectl takes it.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            Value::Bool(true) => Some("true"),
            Value::Bool(false) => Some("false"),
            _ => None,
        }
    }

    /// A yes or no.
    pub(crate) fn bool(&self) -> Option<bool> {
        if let Value::Bool(it) = self.value { Some(it) } else { None }
    }

    /// The same as JSON; whole numbers are texts.
    pub(crate) fn to_json(&self) -> Json {
        match &self.value {
            Value::Null => Json::Null,
            Value::Bool(it) => Json::Bool(*it),
            Value::Text(text) => Json::String(text.clone()),
            Value::Fraction(it) => Json::from(*it),
            Value::List(items) => Json::Array(items.iter().map(Node::to_json).collect()),
            Value::Map(entries) => {
                let entries = entries.iter().map(|(key, value)| (key.clone(), value.to_json()));
                Json::Object(entries.collect::<Map<_, _>>())
            }
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Node, D::Error> {
        let Spanned { value, referenced, .. } = Spanned::<Value>::deserialize(from)?;
        Ok(Node { at: referenced, value })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Value, D::Error> {
        from.deserialize_any(Values)
    }
}

struct Values;

impl<'de> Visitor<'de> for Values {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("YAML")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, it: bool) -> Result<Value, E> {
        Ok(Value::Bool(it))
    }

    fn visit_i64<E>(self, it: i64) -> Result<Value, E> {
        Ok(Value::Text(it.to_string()))
    }

    fn visit_u64<E>(self, it: u64) -> Result<Value, E> {
        Ok(Value::Text(it.to_string()))
    }

    fn visit_f64<E>(self, it: f64) -> Result<Value, E> {
        Ok(Value::Fraction(it))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = from.next_element()? {
            items.push(item);
        }
        Ok(Value::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = from.next_entry()? {
            entries.push(entry);
        }
        Ok(Value::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_found_with_its_place() {
        let tree = parse("a:\n  b: [x, {c: 7}]\nd: ~\ne: true\n").unwrap();
        let items = tree.get("a").unwrap().get("b").unwrap().list().unwrap();
        assert_eq!(items[0].text(), Some("x"));
        let seven = items[1].get("c").unwrap();
        assert_eq!((seven.text(), seven.at.line(), seven.at.column()), (Some("7"), 2, 14));
        assert!(tree.get("d").is_none());
        assert_eq!(
            (tree.get("e").unwrap().bool(), tree.get("e").unwrap().text()),
            (Some(true), Some("true"))
        );
        assert_eq!(tree.entries().map(|(key, _)| key).collect::<Vec<_>>(), ["a", "d", "e"]);
    }

    #[test]
    fn what_may_be_meant_otherwise_is_not_changed() {
        let tree = parse("[007, 1_000, '1e3', 12345, 1e3, ~]").unwrap();
        let texts: Vec<Option<&str>> = tree.list().unwrap().iter().map(Node::text).collect();
        assert_eq!(texts, [Some("007"), Some("1_000"), Some("1e3"), Some("12345"), None, None]);
    }

    #[test]
    fn a_key_that_is_there_twice_is_a_mistake() {
        assert!(parse("{a: 1, a: 2}").is_err());
        assert!(parse("{a: {b: 1, b: 2}}").is_err());
    }

    #[test]
    fn what_is_nested_without_end_is_refused() {
        assert!(parse(&"[".repeat(100_000)).is_err());
        assert!(parse(&"{a: ".repeat(100_000)).is_err());
        assert!(parse(&"- ".repeat(100_000)).is_err());
    }

    #[test]
    fn aliases_that_multiply_are_refused() {
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..12 {
            let one = format!("*a{}, ", level - 1);
            bomb += &format!("a{level}: &a{level} [{}]\n", one.repeat(10));
        }
        assert!(parse(&bomb).is_err());
    }
}
