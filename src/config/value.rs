//! Single values of the configuration that are more than text. They are checked where they are read, so that the
//! error can name the line.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{DeserializeOwned, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

use crate::decide::settings::ObjectField;
use crate::notation::{is_label_value, is_namespace, is_node_name};

/// The address of an API server: `https://host[:port][/path]`, without a trailing slash.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct ServerAddress(pub(super) String);

impl TryFrom<String> for ServerAddress {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        server_address(&text, &["https"]).map(Self)
    }
}

/// The address of a server, without a trailing slash, if it begins with one of these.
pub(super) fn server_address(text: &str, schemes: &[&str]) -> Result<String, String> {
    // The text is not repeated, because it may contain a password.
    let url = match reqwest::Url::parse(text) {
        Ok(url) if schemes.contains(&url.scheme()) => url,
        Err(error) if text.contains("://") => return Err(format!("not the address of a server: {error}")),
        _ => return Err(format!("the server's address must begin with {}://", schemes.join(":// or "))),
    };
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
        if is_node_name(&text) {
            return Ok(Self(text));
        }
        Err(format!(
            "\"{text}\" cannot be the name of a node: those have lower-case letters, digits, '-' and '.', \
             at most 253 in all"
        ))
    }
}

/// The name of a pool, which becomes the value of a label.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(try_from = "String")]
pub(super) struct PoolName(pub(super) String);

impl TryFrom<String> for PoolName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if is_label_value(&text) {
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
pub(super) struct Namespaces(pub(super) Vec<String>);

impl TryFrom<Vec<String>> for Namespaces {
    type Error = String;

    fn try_from(names: Vec<String>) -> Result<Self, String> {
        match names.iter().find(|name| !is_namespace(name)) {
            Some(name) => Err(format!("\"{name}\" cannot be the name of a namespace")),
            None if names.is_empty() => Err("name at least one namespace".to_owned()),
            None => Ok(Self(names)),
        }
    }
}

/// A table, or an array of several, or none, which removes those of an earlier file.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tables<T>(pub(super) Vec<T>);

/// What such a table is turned into.
pub(super) trait FromTable: Sized {
    type Table: DeserializeOwned;
    /// What to say if something else is written.
    const EXPECTED: &'static str;
    fn from_table(table: Self::Table) -> Result<Self, String>;
}

impl<T> Default for Tables<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: FromTable> Deserialize<'de> for Tables<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TablesVisitor(PhantomData))
    }
}

pub(super) struct TablesVisitor<T>(pub(super) PhantomData<T>);

impl<'de, T: FromTable> Visitor<'de> for TablesVisitor<T> {
    type Value = Tables<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}, or an array of such tables", T::EXPECTED)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Tables<T>, A::Error> {
        TableVisitor(PhantomData).visit_map(map).map(|one| Tables(vec![one.0]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Tables<T>, A::Error> {
        let items = Vec::<OneTable<T>>::deserialize(SeqAccessDeserializer::new(seq))?;
        Ok(Tables(items.into_iter().map(|one| one.0).collect()))
    }
}

struct OneTable<T>(T);

impl<'de, T: FromTable> Deserialize<'de> for OneTable<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(TableVisitor(PhantomData))
    }
}

struct TableVisitor<T>(PhantomData<T>);

impl<'de, T: FromTable> Visitor<'de> for TableVisitor<T> {
    type Value = OneTable<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(T::EXPECTED)
    }

    /// A mistake in the table as a whole is reported from here, where its place is still known.
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<OneTable<T>, A::Error> {
        let table = T::Table::deserialize(MapAccessDeserializer::new(map))?;
        T::from_table(table).map(OneTable).map_err(A::Error::custom)
    }
}

/// An expression in PromQL.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Expression(pub(super) String);

impl TryFrom<String> for Expression {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        // Only Prometheus knows whether it can be parsed.
        if text.trim().is_empty() { Err("an empty expression".to_owned()) } else { Ok(Self(text)) }
    }
}

/// The address of Prometheus, or of anything that answers like it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct PrometheusUrl(pub(super) String);

impl TryFrom<String> for PrometheusUrl {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        server_address(&text, &["http", "https"]).map(Self)
    }
}

/// A port of a Service: `NAMESPACE/NAME:PORT`, or `NAMESPACE/SCHEME:NAME:PORT`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct ServicePort {
    pub(super) namespace: String,
    pub(super) port: String,
}

impl TryFrom<String> for ServicePort {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let word = |word: &str| {
            let belongs = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
            !word.is_empty() && word.bytes().all(belongs)
        };
        let parts = |port: &str| {
            let parts: Vec<&str> = port.split(':').collect();
            parts.iter().all(|part| word(part))
                && match parts.as_slice() {
                    [_, _] => true,
                    [scheme, _, _] => ["http", "https"].contains(scheme),
                    _ => false,
                }
        };
        match text.split_once('/') {
            Some((namespace, port)) if word(namespace) && parts(port) => {
                Ok(Self { namespace: namespace.to_owned(), port: port.to_owned() })
            }
            // The text is not repeated: see [`super::tables::Table::is_secret`].
            _ => Err("not a port of a Service; write for example \"monitoring/prometheus:9090\", or \
                      \"monitoring/https:prometheus:web\""
                .to_owned()),
        }
    }
}

/// A table of `object`.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ObjectTable {
    path: Option<ObjectPath>,
    field: Option<FieldPath>,
    equals: Option<Values>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "String")]
struct ObjectPath(String);

impl TryFrom<String> for ObjectPath {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let is_api = ["/api/", "/apis/"].iter().any(|start| text.starts_with(start));
        if is_api && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
            return Ok(Self(text));
        }
        Err(format!(
            "\"{text}\" is not the path of an object; try it with: kubectl get --raw /api/v1/namespaces/default"
        ))
    }
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "String")]
struct FieldPath(String);

impl TryFrom<String> for FieldPath {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text.split('.').all(|name| !name.is_empty()) {
            return Ok(Self(text));
        }
        Err(format!("\"{text}\" is not a field; write for example \"status.ceph.health\""))
    }
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged, expecting = "a text, or an array of texts")]
enum Values {
    One(String),
    Several(Vec<String>),
}

impl FromTable for ObjectField {
    type Table = ObjectTable;
    const EXPECTED: &'static str = "a table with \"path\", \"field\" and \"equals\"";

    fn from_table(table: ObjectTable) -> Result<Self, String> {
        let ObjectTable { path: Some(path), field: Some(field), equals: Some(equals) } = table else {
            return Err("an object has \"path\", \"field\" and \"equals\"".to_owned());
        };
        let equals = match equals {
            Values::One(value) => vec![value],
            Values::Several(values) => values,
        };
        Ok(Self { path: path.0, field: field.0, equals })
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
        for text in ["10.0.0.1:6443", "api.example:6443", "api", "http://a"] {
            assert_eq!(server(text).unwrap_err(), "the server's address must begin with https://", "{text}");
        }
    }

    #[test]
    fn a_service_is_named_as_the_api_server_names_it() {
        let service = |text: &str| ServicePort::try_from(text.to_owned());
        let port =
            |namespace: &str, port: &str| Ok(ServicePort { namespace: namespace.into(), port: port.into() });
        assert_eq!(service("monitoring/prometheus:9090"), port("monitoring", "prometheus:9090"));
        assert_eq!(service("m/https:p-k8s:web"), port("m", "https:p-k8s:web"));
        for text in
            ["p:9090", "m/p", "m/p:", "/p:1", "m/ftp:p:1", "m/p:1/x", "m/a:b:c:d", "m/../x:1", "m/p:1?a"]
        {
            assert!(service(text).is_err(), "{text:?}");
        }
    }
}
