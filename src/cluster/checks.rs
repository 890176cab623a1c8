//! What gates ask that the drain does not need: Prometheus, and fields of any Kubernetes object.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::api::Api;
use super::client::Client;
use super::error::{ApiError, status_in};
use super::paths;
use crate::decide::Names;
use crate::decide::settings::{ObjectField, Prometheus, Query};
use crate::words;

/// The answer should be empty; a longer one is no answer.
const LONGEST_ANSWER: usize = 1 << 20;
/// A list of objects, such as all volumes, may be longer.
const LONGEST_OBJECT: usize = 8 << 20;
/// Prometheus gives up after this time, before we do.
const TIMEOUT: &str = "10s";

impl Api {
    /// Asks Prometheus; returns the series that it finds.
    pub async fn query(&mut self, query: &Query) -> Result<Names, ApiError> {
        let (client, path) = question(query)?;
        let (code, body) = match client {
            Some(client) => client.whole(&path, LONGEST_ANSWER).await?,
            None => self.whole(&path, LONGEST_ANSWER).await?,
        };
        found(code, &body)
    }

    /// Reads the values of a field; `None` if the field or the whole object is missing.
    pub async fn values(&mut self, object: &ObjectField) -> Result<Vec<Option<String>>, ApiError> {
        match self.whole(&object.path, LONGEST_OBJECT).await? {
            (200, body) => {
                let read: Value = serde_json::from_slice(&body).map_err(ApiError::garbled)?;
                Ok(values(&read, &object.field))
            }
            (404, _) => Ok(vec![None]),
            (code, body) => Err(status_in(code, &body)),
        }
    }

    async fn whole(&mut self, path: &str, most: usize) -> Result<(u16, Vec<u8>), ApiError> {
        let result = self.client()?.whole(path, most).await;
        self.mind(result)
    }
}

/// Whom to ask, where it is not the API server, and what for.
fn question(query: &Query) -> Result<(Option<Client>, String), ApiError> {
    let parameters = [("query", query.expression.as_str()), ("timeout", TIMEOUT)];
    let path = paths::with("/api/v1/query", &parameters);
    match &query.server {
        // Created each time: it is needed for minutes at most, and this way it reads a token that was replaced.
        Prometheus::Url { url, token_file, certificate_authority } => {
            Ok((Some(Client::for_url(url, token_file.as_deref(), certificate_authority)?), path))
        }
        Prometheus::Service { namespace, port } => Ok((None, paths::service(namespace, port)? + &path)),
    }
}

/// Asks Prometheus for one number, by way of the API server where it is a Service; `None` if there is none now, as of a rate
/// of nothing.
pub(super) async fn number(api: &Client, query: &Query) -> Result<Option<f64>, ApiError> {
    let (client, path) = question(query)?;
    let (code, body) = client.as_ref().unwrap_or(api).whole(&path, LONGEST_ANSWER).await?;
    let found = series(code, &body)?;
    match found.as_slice() {
        [] => Ok(None),
        [Series { value: Some((_, value)), .. }] => {
            let value: f64 = value.parse().map_err(ApiError::garbled)?;
            Ok(Some(value).filter(|it| it.is_finite()))
        }
        several => {
            Err(ApiError::garbled(format!("one number is wanted, and it gives {} series", several.len())))
        }
    }
}

/// All values at this place. Anything but a single value is reported as it is written, and equals nothing; so does a
/// value that has to be made fit for people.
fn values(value: &Value, field: &str) -> Vec<Option<String>> {
    let (name, rest) = match field.split_once('.') {
        Some((name, rest)) => (name, Some(rest)),
        None => (field, None),
    };
    let below: Vec<&Value> = match (value, name) {
        (Value::Array(items), "*") => items.iter().collect(),
        (Value::Array(items), _) => {
            name.parse().ok().and_then(|at: usize| items.get(at)).into_iter().collect()
        }
        (value, _) => value.get(name).into_iter().collect(),
    };
    // In a list without items nothing is wrong; something that does not exist is missing.
    if below.is_empty() && !(name == "*" && value.is_array()) {
        return vec![None];
    }
    let each = |below: &Value| match (rest, below) {
        (Some(rest), below) => values(below, rest),
        (None, Value::Null) => vec![None],
        (None, Value::String(text)) => vec![Some(words::name(text.clone()))],
        (None, other) => vec![Some(words::name(other.to_string()))],
    };
    below.into_iter().flat_map(each).collect()
}

/// An answer of Prometheus without its result, or an answer of an API server that could not reach Prometheus.
#[derive(Deserialize)]
struct Head {
    status: String,
    #[serde(default)]
    error: String,
    #[serde(default)]
    warnings: Vec<String>,
    data: Option<Kind>,
}

#[derive(Deserialize)]
struct Kind {
    #[serde(rename = "resultType")]
    kind: String,
}

#[derive(Deserialize)]
struct Answer {
    data: Vector,
}

#[derive(Deserialize)]
struct Vector {
    result: Vec<Series>,
}

#[derive(Deserialize)]
struct Series {
    metric: BTreeMap<String, String>,
    /// Time and value; histograms have none.
    value: Option<(IgnoredAny, String)>,
}

/// The series in an answer, for people.
pub(super) fn found(code: u16, body: &[u8]) -> Result<Names, ApiError> {
    let mut found = Names::default();
    series(code, body)?.into_iter().for_each(|series| found.push(told(series)));
    Ok(found)
}

/// The series in an answer. Anything but a whole, successful answer to an instant query is an error.
fn series(code: u16, body: &[u8]) -> Result<Vec<Series>, ApiError> {
    let Ok(head) = serde_json::from_slice::<Head>(body) else { return Err(status_in(code, body)) };
    if code != 200 || head.status != "success" {
        let told = !head.error.is_empty();
        return Err(if told { ApiError::status(code, &head.error) } else { status_in(code, body) });
    }
    // Notes on the expression begin like this; any other warning says that not everything has answered.
    if let Some(warning) = head.warnings.iter().find(|warning| !warning.starts_with("PromQL ")) {
        return Err(ApiError::garbled(format!("it may be incomplete: {warning}")));
    }
    match head.data {
        Some(Kind { kind }) if kind == "vector" => {}
        Some(Kind { kind }) => {
            return Err(ApiError::garbled(format!("the expression gives a {kind}, not an instant vector")));
        }
        None => return Err(ApiError::garbled("it holds no data")),
    }
    let answer: Answer = serde_json::from_slice(body).map_err(ApiError::garbled)?;
    Ok(answer.data.result)
}

/// A series as PromQL writes it, with its value; for an alert, only its name and labels.
fn told(Series { metric: mut labels, value }: Series) -> String {
    let alert = labels.remove("alertname");
    let metric = labels.remove("__name__").unwrap_or_default();
    labels.retain(|name, _| alert.is_none() || name != "alertstate");
    let labels: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
    let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
    let text = match (alert, value) {
        (Some(alert), _) => format!("{alert}{labels}"),
        (None, Some((_, value))) => format!("{metric}{labels} {value}").trim_start().to_owned(),
        (None, None) => format!("{metric}{labels}"),
    };
    words::words(&text, words::NOTE)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answer(code: u16, body: &str) -> Result<Vec<String>, String> {
        found(code, body.as_bytes()).map(|found| found.first).map_err(|error| error.to_string())
    }

    fn vector(result: &str) -> String {
        format!(r#"{{"status":"success","data":{{"resultType":"vector","result":{result}}}}}"#)
    }

    #[test]
    fn what_is_found_is_told_as_promql_names_it() {
        assert_eq!(answer(200, &vector("[]")), Ok(vec![]));
        let alert = r#"[{"metric":{"__name__":"ALERTS","alertname":"NodeDown","alertstate":"firing","node":"n\n2"},
            "value":[1763905185.781,"1"]}]"#;
        assert_eq!(answer(200, &vector(alert)), Ok(vec![r#"NodeDown{node="n\n2"}"#.to_owned()]));
        let others = r#"[{"metric":{"__name__":"up","job":"a"},"value":[1,"0"]},{"metric":{},"value":[1,"NaN"]},
            {"metric":{"__name__":"h"},"histogram":[1,{"count":"1"}]}]"#;
        let told = [r#"up{job="a"} 0"#, "NaN", "h"].map(str::to_owned).to_vec();
        assert_eq!(answer(200, &vector(others)), Ok(told));
    }

    #[test]
    fn whatever_else_is_answered_is_an_error() {
        let scalar = r#"{"status":"success","data":{"resultType":"scalar","result":[1,"1"]}}"#;
        let partial = vector("[]").replace("{\"status\"", "{\"warnings\":[\"store a: down\"],\"status\"");
        for (code, body, text) in [
            (
                400,
                r#"{"status":"error","errorType":"bad_data","error":"parse error: unexpected \"}\""}"#,
                "400 parse error: unexpected \"}\"",
            ),
            (200, r#"{"status":"error","error":"query timed out"}"#, "200 query timed out"),
            (
                503,
                r#"{"kind":"Status","status":"Failure","message":"no endpoints available for service \"p\""}"#,
                "503 no endpoints available for service \"p\"",
            ),
            (302, "<a href=\"/login\">Found</a>", "302 <a href=\"/login\">Found</a>"),
            (200, "<html>", "200 <html>"),
            (500, &vector("[]"), "500 "),
            (200, "", "200"),
            (
                200,
                scalar,
                "the answer cannot be understood: the expression gives a scalar, not an instant vector",
            ),
            (200, r#"{"status":"success"}"#, "the answer cannot be understood: it holds no data"),
            (200, &partial, "the answer cannot be understood: it may be incomplete: store a: down"),
        ] {
            let error = answer(code, body).unwrap_err();
            assert!(error.starts_with(text), "{error}");
        }
        assert!(answer(200, &vector(r#"[{"metric":1}]"#)).is_err());
        assert!(answer(200, &vector("null")).is_err());
        let noted = vector("[]").replace("{\"status\"", "{\"warnings\":[\"PromQL warning: x\"],\"status\"");
        assert_eq!(answer(200, &noted), Ok(vec![]));
    }

    #[test]
    fn a_field_is_found_or_missing() {
        let object = json!({"status": {
            "ceph": {"health": "HEALTH_OK"}, "ready": 3, "done": true, "nothing": null,
            "items": [{"a": "x"}, {"a": "y"}, {}], "none": [],
        }});
        let at = |field: &str| values(&object, field);
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(at("status.ceph.health"), [some("HEALTH_OK")]);
        assert_eq!((at("status.ready"), at("status.done")), (vec![some("3")], vec![some("true")]));
        for missing in
            ["status.ceph.no", "no.ceph", "status.nothing", "status.ceph.health.x", "status.items.9.a"]
        {
            assert_eq!(at(missing), [None], "{missing}");
        }
        assert_eq!(at("status.items.*.a"), [some("x"), some("y"), None]);
        assert_eq!(at("status.items.1.a"), [some("y")]);
        assert_eq!(at("status.none.*.a"), []);
        assert_eq!(at("status.ceph.*"), [None]);
        assert_eq!(at("status.ceph"), [some("{\"health\":\"HEALTH_OK\"}")]);
    }
}
