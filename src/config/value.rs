//! Single values of the configuration that are more than text, checked where they
//! are read so that the error names their line.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use crate::decide::settings::{
    AtLimit, BarePods, DrainMode, EmptyDirPods, Mode, OnHookFailure, OnTimeout, Yielding,
};
use crate::notation::Selector;
use crate::notation::parse_time_span;

/// A path from the root; a daemon has no directory to be relative to.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct AbsolutePath(pub(super) PathBuf);

impl TryFrom<String> for AbsolutePath {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let path = PathBuf::from(&text);
        if path.is_absolute() { Ok(Self(path)) } else { Err(format!("\"{text}\" is not an absolute path")) }
    }
}

/// A program by its path and its arguments; empty for none.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "Vec<String>")]
pub(super) struct Command(pub(super) Vec<String>);

impl TryFrom<Vec<String>> for Command {
    type Error = String;

    fn try_from(words: Vec<String>) -> Result<Self, String> {
        words.first().cloned().map(AbsolutePath::try_from).transpose()?;
        Ok(Self(words))
    }
}

/// The address of an API server: `https://host[:port][/path]`, without a slash at
/// the end.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct ServerAddress(pub(super) String);

impl TryFrom<String> for ServerAddress {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        server_address(&text, &["https"]).map(Self)
    }
}

/// The address of a server, without a slash at the end, if it begins with one of these.
pub(super) fn server_address(text: &str, schemes: &[&str]) -> Result<String, String> {
    // The text is not repeated: a password may stand in it.
    let url = reqwest::Url::parse(text).map_err(|error| format!("not the address of a server: {error}"))?;
    if !schemes.contains(&url.scheme()) {
        return Err(format!("the server's address must begin with {}://", schemes.join(":// or ")));
    }
    let has_user = !url.username().is_empty() || url.password().is_some();
    if has_user || url.query().is_some() || url.fragment().is_some() {
        return Err("the server's address may have a host, a port and a path only".to_owned());
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

/// The name of a Kubernetes Node.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct NodeName(pub(super) String);

impl TryFrom<String> for NodeName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let valid_label = |label: &str| framed(label, allowed, |byte| allowed(byte) || byte == b'-');
        if text.len() <= 253 && text.split('.').all(valid_label) {
            return Ok(Self(text));
        }
        Err(format!(
            "\"{text}\" cannot be the name of a node: those have lower-case letters, digits, '-' and '.', \
             at most 253 in all"
        ))
    }
}

/// The name of a pool, which becomes the value of a label.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct PoolName(pub(super) String);

impl TryFrom<String> for PoolName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if is_label_part(&text) {
            return Ok(Self(text));
        }
        Err(format!(
            "\"{text}\" cannot be the name of a pool: it becomes the value of a Kubernetes label, which has 1 to \
             63 letters, digits, '-', '_' and '.' and begins and ends with a letter or a digit"
        ))
    }
}

/// The names of Kubernetes namespaces, at least one.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "Vec<String>")]
pub(super) struct Namespaces(pub(super) BTreeSet<String>);

impl TryFrom<Vec<String>> for Namespaces {
    type Error = String;

    fn try_from(names: Vec<String>) -> Result<Self, String> {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let valid =
            |name: &String| name.len() <= 63 && framed(name, allowed, |byte| allowed(byte) || byte == b'-');
        match names.iter().find(|name| !valid(name)) {
            Some(name) => Err(format!("\"{name}\" cannot be the name of a namespace")),
            None if names.is_empty() => Err("name at least one namespace".to_owned()),
            None => Ok(Self(names.into_iter().collect())),
        }
    }
}

/// Labels of a Node, by name.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "BTreeMap<String, String>")]
pub(super) struct Labels(pub(super) BTreeMap<String, String>);

impl TryFrom<BTreeMap<String, String>> for Labels {
    type Error = String;

    fn try_from(labels: BTreeMap<String, String>) -> Result<Self, String> {
        for (name, value) in &labels {
            let (prefix, short) =
                name.split_once('/').map_or((None, name.as_str()), |(it, rest)| (Some(it), rest));
            let prefix_is_one = prefix.is_none_or(|prefix| NodeName::try_from(prefix.to_owned()).is_ok());
            if !prefix_is_one || !is_label_part(short) {
                return Err(format!(
                    "\"{name}\" cannot be the name of a label, such as \"example.com/maintenance\""
                ));
            }
            if prefix == Some("rebootd.io") {
                return Err(format!(
                    "\"{name}\" is not yours to set: what begins with rebootd.io/ is rebootd's own"
                ));
            }
            if !value.is_empty() && !is_label_part(value) {
                return Err(format!("\"{value}\" cannot be the value of label \"{name}\""));
            }
        }
        Ok(Self(labels))
    }
}

/// Whether Kubernetes takes this as the name of a label, without its prefix, or as a value that is not empty.
fn is_label_part(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric();
    text.len() <= 63 && framed(text, allowed, |byte| allowed(byte) || b"-_.".contains(&byte))
}

/// A label selector as `kubectl -l` takes it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct LabelSelector(pub(super) Selector);

impl TryFrom<String> for LabelSelector {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse().map(Self).map_err(|error| format!("\"{text}\" is not a label selector: {error}"))
    }
}

/// Whether the text has bytes of the first kind at both ends and only bytes of the
/// second kind in it. Empty text has no ends.
fn framed(text: &str, at_ends: impl Fn(u8) -> bool, inside: impl Fn(u8) -> bool) -> bool {
    let ends = [text.bytes().next(), text.bytes().next_back()];
    ends.into_iter().all(|end| end.is_some_and(&at_ends)) && text.bytes().all(inside)
}

impl TryFrom<String> for Mode {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.as_str() {
            "active" => Ok(Self::Active),
            "observe" => Ok(Self::Observe),
            _ => Err(format!("\"{text}\" is not a mode; there are \"active\" and \"observe\"")),
        }
    }
}

/// The value that this word stands for.
fn one_of<T: Copy>(text: &str, choices: &[(&str, T)]) -> Result<T, String> {
    let known = choices.iter().find(|(word, _)| *word == text);
    known.map(|(_, value)| *value).ok_or_else(|| {
        let words: Vec<String> = choices.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        format!("\"{text}\" is unknown here; there are {}", words.join(", "))
    })
}

impl TryFrom<String> for OnTimeout {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        one_of(&text, &[("abort", Self::Abort), ("reboot", Self::Reboot)])
    }
}

impl TryFrom<String> for DrainMode {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        one_of(&text, &[("auto", Self::Auto), ("always", Self::Always), ("never", Self::Never)])
    }
}

impl TryFrom<String> for Yielding {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        one_of(&text, &Self::ALL.map(|gate| (gate.word(), gate)))
    }
}

impl TryFrom<String> for AtLimit {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        one_of(&text, &[("keep", Self::Keep), ("release", Self::Release)])
    }
}

impl TryFrom<String> for OnHookFailure {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        one_of(&text, &[("stop", Self::Stop), ("continue", Self::Continue)])
    }
}

/// How long people who are logged in are waited for; None for not at all.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Sessions(pub(super) Option<Duration>);

impl TryFrom<String> for Sessions {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text == "ignore" {
            return Ok(Self(None));
        }
        let wait = parse_time_span(&text).map_err(|error| format!("{error}; or write \"ignore\""))?;
        Ok(Self(Some(wait)))
    }
}

impl TryFrom<String> for BarePods {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        one_of(&text, &[("leave", Self::Leave), ("evict", Self::Evict), ("refuse", Self::Refuse)])
    }
}

impl TryFrom<String> for EmptyDirPods {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        one_of(&text, &[("evict", Self::Evict), ("refuse", Self::Refuse)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(text: &str) -> Result<String, String> {
        ServerAddress::try_from(text.to_owned()).map(|address| address.0)
    }

    #[test]
    fn server_is_https_and_has_no_more_than_a_path() {
        for (text, address) in [
            ("https://10.0.0.1:6443", "https://10.0.0.1:6443"),
            ("https://[2001:db8::1]:6443/", "https://[2001:db8::1]:6443"),
            ("https://Rancher.example/k8s/clusters/c-1/", "https://rancher.example/k8s/clusters/c-1"),
        ] {
            assert_eq!(server(text).as_deref(), Ok(address));
        }
        for text in ["http://a", "a:6443", "", "https://", "https://a:99999", "https://a/?b", "https://a/#b"]
        {
            assert!(server(text).is_err(), "{text:?}");
        }
        assert!(!server("https://u:secret@a").unwrap_err().contains("secret"));
    }

    #[test]
    fn names_are_those_of_kubernetes() {
        let node = |text: &str| NodeName::try_from(text.to_owned()).is_ok();
        assert!(node("worker-1.example.org") && node("1"));
        for text in ["", "-a", "a-", "a..b", "A", "a_b", "a.-b", &"a".repeat(254)] {
            assert!(!node(text), "{text:?}");
        }
        let pool = |text: &str| PoolName::try_from(text.to_owned()).is_ok();
        assert!(pool("worker") && pool("zone_A.1") && pool(&"a".repeat(63)));
        for text in ["", "-a", "a.", "a b", "ä", &"a".repeat(64)] {
            assert!(!pool(text), "{text:?}");
        }
    }
}
