//! What is asked of Prometheus and of Kubernetes objects, before a reboot and after it.

use std::fmt;
use std::path::PathBuf;

use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};

use super::complete::within;
use super::error::ConfigError;
use super::merge::{Located, Merged};
use super::value::server_address;
use crate::decide::settings::{After, ObjectField, Prometheus, Query};

/// Where Debian keeps the certificate authorities that the administrator trusts: of a public one, or one of his own.
const SYSTEMS_AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";
/// Both fire for good: the one to show that alerting works, the other to silence others.
const ALWAYS_FIRING: [&str; 2] = ["Watchdog", "InfoInhibitor"];

/// An expression in PromQL.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Expression(pub(super) String);

impl TryFrom<String> for Expression {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        // Whether it can be understood only Prometheus knows.
        if text.trim().is_empty() { Err("an empty expression".to_owned()) } else { Ok(Self(text)) }
    }
}

/// The address of Prometheus, or of what answers as it does.
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
    namespace: String,
    port: String,
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
            _ => Err(format!(
                "\"{text}\" is not a port of a Service; write for example \"monitoring/prometheus:9090\", or \
                 \"monitoring/https:prometheus:web\""
            )),
        }
    }
}

/// A table of `object`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct ObjectTable {
    path: ObjectPath,
    field: FieldPath,
    equals: Values,
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

impl From<ObjectTable> for ObjectField {
    fn from(ObjectTable { path, field, equals }: ObjectTable) -> Self {
        let equals = match equals {
            Values::One(value) => vec![value],
            Values::Several(values) => values,
        };
        Self { path: path.0, field: field.0, equals }
    }
}

/// An object, or several, or none, which lifts those of an earlier file.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ObjectsKey(pub(super) Vec<ObjectField>);

impl<'de> Deserialize<'de> for ObjectsKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ObjectsVisitor)
    }
}

struct ObjectsVisitor;

impl<'de> Visitor<'de> for ObjectsVisitor {
    type Value = ObjectsKey;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a table with \"path\", \"field\" and \"equals\", or an array of such tables")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ObjectsKey, A::Error> {
        let table = ObjectTable::deserialize(MapAccessDeserializer::new(map))?;
        Ok(ObjectsKey(vec![table.into()]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<ObjectsKey, A::Error> {
        let tables = Vec::<ObjectTable>::deserialize(SeqAccessDeserializer::new(seq))?;
        Ok(ObjectsKey(tables.into_iter().map(ObjectField::from).collect()))
    }
}

/// What nothing may be found by before a reboot.
pub(super) fn before(merged: &Merged) -> Result<Option<Query>, ConfigError> {
    let alerts = merged.alerts.as_ref().filter(|yes| yes.value);
    let ignored = merged.ignore_alerts.as_ref().filter(|names| !names.value.is_empty());
    match (alerts, &merged.query, ignored) {
        (Some(_), Some(query), _) => {
            let message = "either \"query\" or \"alerts\", not both: a query may ask for ALERTS as well";
            Err(ConfigError::at(query.place.clone(), message))
        }
        (None, _, Some(ignored)) => {
            let message = "\"ignore_alerts\" has no effect without \"alerts\"";
            Err(ConfigError::at(ignored.place.clone(), message))
        }
        (Some(alerts), None, ignored) => {
            let expression = firing(ignored.map_or(&[], |names| &names.value));
            ask(merged, &Located { value: expression, place: alerts.place.clone() }).map(Some)
        }
        (None, Some(query), None) => ask(merged, query).map(Some),
        (None, None, None) => Ok(None),
    }
}

/// All alerts that fire, but for these.
fn firing(ignored: &[String]) -> String {
    let names = ALWAYS_FIRING.into_iter().chain(ignored.iter().map(String::as_str));
    let others = names.map(|name| format!(",alertname!={name:?}"));
    format!("ALERTS{{alertstate=\"firing\"{}}}", others.collect::<String>())
}

pub(super) fn after(merged: &Merged) -> Result<After, ConfigError> {
    let default = After::default();
    Ok(After {
        soak: within("soak", &merged.after_soak, default.soak)?.unwrap_or(default.soak),
        query: merged.after_query.as_ref().map(|query| ask(merged, query)).transpose()?,
        objects: merged.after_objects.as_ref().map(|given| given.value.clone()).unwrap_or_default(),
        pods: merged.after_pods.as_ref().map(|given| given.value.clone()).unwrap_or_default(),
        limit: within("limit", &merged.after_limit, default.soak)?.unwrap_or(default.limit),
        at_limit: merged.at_limit.as_ref().map_or(default.at_limit, |it| it.value),
    })
}

fn ask(merged: &Merged, expression: &Located<String>) -> Result<Query, ConfigError> {
    let server = prometheus(merged)?.ok_or_else(|| {
        let message = "this needs [prometheus], with \"url\" or \"service\"";
        ConfigError::at(expression.place.clone(), message)
    })?;
    Ok(Query { expression: expression.value.clone(), server })
}

/// How Prometheus is reached, if somebody says so. Keys that would silently do nothing are mistakes.
pub(super) fn prometheus(merged: &Merged) -> Result<Option<Prometheus>, ConfigError> {
    let (url, service) = (&merged.prometheus_url, &merged.prometheus_service);
    let (token, authority) = (&merged.prometheus_token_file, &merged.prometheus_authority);
    let useless = |message: &str| {
        let key = [token, authority].into_iter().flatten().next();
        key.map_or(Ok(()), |key: &Located<PathBuf>| Err(ConfigError::at(key.place.clone(), message)))
    };
    match (url, service) {
        (Some(_), Some(service)) => {
            Err(ConfigError::at(service.place.clone(), "either \"url\" or \"service\", not both"))
        }
        (Some(url), None) => {
            if let Some(authority) = authority.as_ref().filter(|_| url.value.starts_with("http://")) {
                let message = "this has no effect where \"url\" begins with http://";
                return Err(ConfigError::at(authority.place.clone(), message));
            }
            let authority = authority.as_ref().map(|given| given.value.clone());
            Ok(Some(Prometheus::Url {
                url: url.value.clone(),
                token_file: token.as_ref().map(|given| given.value.clone()),
                certificate_authority: authority.unwrap_or_else(|| PathBuf::from(SYSTEMS_AUTHORITIES)),
            }))
        }
        (None, Some(service)) => {
            useless(
                "this has no effect beside \"service\": the API server is asked, with the credential for it",
            )?;
            let ServicePort { namespace, port } = service.value.clone();
            Ok(Some(Prometheus::Service { namespace, port }))
        }
        (None, None) => useless("this has no effect without \"url\"").map(|()| None),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::file::File;
    use super::*;

    fn merged(text: &str) -> Result<Merged, ConfigError> {
        let mut merged = Merged::default();
        merged.add(File::parse(Path::new("f"), text.to_owned())?);
        Ok(merged)
    }

    fn both(text: &str) -> Result<(Option<Query>, After), ConfigError> {
        let merged = merged(text)?;
        Ok((before(&merged)?, after(&merged)?))
    }

    #[test]
    fn the_question_for_alerts_leaves_out_those_that_fire_for_good_and_those_to_ignore() {
        let text = "[prometheus]\nurl = 'http://p:9090/x/'\n[gates]\nalerts = true\nignore_alerts = ['a\"b']";
        let query = both(text).unwrap().0.unwrap();
        assert_eq!(
            query.expression,
            r#"ALERTS{alertstate="firing",alertname!="Watchdog",alertname!="InfoInhibitor",alertname!="a\"b"}"#
        );
        let Prometheus::Url { url, token_file: None, certificate_authority } = query.server else { panic!() };
        assert_eq!((url.as_str(), certificate_authority), ("http://p:9090/x", SYSTEMS_AUTHORITIES.into()));
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

    #[test]
    fn one_object_or_several_with_one_value_or_several() {
        let text = "[after]\nobject = { path = '/api/v1/x', field = 'a.b', equals = 'c' }";
        let one = both(text).unwrap().1.objects;
        let expected =
            ObjectField { path: "/api/v1/x".into(), field: "a.b".into(), equals: vec!["c".into()] };
        assert_eq!(one, [expected]);
        let text = "[[after.object]]\npath = '/apis/x'\nfield = 'items.*.a'\nequals = ['c', 'd']\n\
            [[after.object]]\npath = '/apis/y'\nfield = 'a'\nequals = 'e'";
        let two = both(text).unwrap().1.objects;
        assert_eq!((two.len(), two[0].equals.len()), (2, 2));
        assert!(both("[after]\nobject = []").unwrap().1.is_empty());
    }

    #[test]
    fn what_cannot_be_meant_is_an_error_with_its_place() {
        for (text, message) in [
            ("[gates]\nalerts = true", "f:2:10: this needs [prometheus], with \"url\" or \"service\""),
            ("[after]\nquery = 'up'", "f:2:9: this needs [prometheus], with \"url\" or \"service\""),
            ("[gates]\nignore_alerts = ['x']", "f:2:17: \"ignore_alerts\" has no effect without \"alerts\""),
            (
                "[gates]\nalerts = true\nquery = 'up'",
                "f:3:9: either \"query\" or \"alerts\", not both: a query may ask for ALERTS as well",
            ),
            (
                "[gates]\nquery = 'up'\n[prometheus]\nurl = 'http://p'\nservice = 'm/p:1'",
                "f:5:11: either \"url\" or \"service\", not both",
            ),
            (
                "[gates]\nquery = 'up'\n[prometheus]\nurl = 'http://p'\ncertificate_authority = '/x'",
                "f:5:25: this has no effect where \"url\" begins with http://",
            ),
            ("[gates]\nquery = ' '", "f:2:9: an empty expression"),
            (
                "[prometheus]\nurl = 'ftp://p'",
                "f:2:7: the server's address must begin with http:// or https://",
            ),
            ("[after]\nat_limit = 'x'", "f:2:12: \"x\" is unknown here; there are \"keep\", \"release\""),
            (
                "[after]\nobject = { path = '/api/v1/x', field = 'a', equals = 1 }",
                "f:2:54: a text, or an array of texts",
            ),
            (
                "[after]\nobject = { path = '/api/v1/x', fild = 'a', equals = '1' }",
                "f:2:32: unknown key \"fild\" in [after.object]; did you mean \"field\"?",
            ),
            (
                "[after]\nobject = { path = '/api/v1/x', field = 'a..b', equals = '1' }",
                "f:2:40: \"a..b\" is not a field; write for example \"status.ceph.health\"",
            ),
        ] {
            assert_eq!(both(text).unwrap_err().to_string(), message);
        }
        assert!(both("[after]\nobject = { path = 'x', field = 'a', equals = 'b' }").is_err());
    }

    #[test]
    fn a_token_needs_an_address() {
        let error = |text: &str| prometheus(&merged(text).unwrap()).unwrap_err().to_string();
        let token = "[prometheus]\ntoken_file = '/t'\n";
        assert_eq!(error(token), "f:2:14: this has no effect without \"url\"");
        assert!(error(&format!("{token}service = 'm/p:1'")).starts_with("f:2:14: this has no effect beside"));
    }
}
