//! Counts the requests that a kube-apiserver's audit log names (JSON lines, `audit.k8s.io/v1`).
//!
//! A request counts once, when it was answered. A watch is answered late or never in a test's time, so it counts
//! when it began to stream.

use anyhow::Context;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// Requests by verb and resource (with subresource: `nodes/status`; the path where there is no resource).
pub type Counts = BTreeMap<(String, String), u64>;

/// One request that was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditedRequest {
    /// When the API server received it.
    pub received: Timestamp,
    /// When its answer was complete; of a watch, when it began.
    pub answered: Timestamp,
    /// The Kubernetes verb.
    pub verb: String,
    /// Resource with subresource, or the path where it is no resource.
    pub resource: String,
    /// Namespace, or an empty string.
    pub namespace: String,
    /// Name, or an empty string.
    pub name: String,
    /// Who asked; under impersonation the impersonated user.
    pub user: String,
    /// The Node that its token is bound to, or an empty string.
    pub node: String,
    /// The client's User-Agent.
    pub user_agent: String,
    /// The client's addresses: of the host first where a proxy tells it.
    pub source_addresses: Vec<String>,
    /// HTTP status.
    pub status: u16,
    /// The server was asked only to say what it would do.
    pub is_dry_run: bool,
    /// What was sent, where the audit policy keeps it.
    pub sent: Option<Value>,
    /// The object as it became, where the audit policy keeps it.
    pub became: Option<Value>,
}

/// Which requests to count. Every part that is not set matches all.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Received at this time or later.
    pub from: Option<Timestamp>,
    /// Received before this time.
    pub until: Option<Timestamp>,
    /// Exactly this user.
    pub user: Option<String>,
    /// A User-Agent that starts so.
    pub user_agent: Option<String>,
    /// This address among the client's.
    pub source_address: Option<String>,
    /// Exactly this verb.
    pub verb: Option<String>,
    /// Exactly this resource, with subresource.
    pub resource: Option<String>,
    /// Exactly this namespace.
    pub namespace: Option<String>,
}

impl Filter {
    /// Everything.
    pub fn new() -> Filter {
        Filter::default()
    }

    /// Only from this time until before that one.
    pub fn between(mut self, from: Timestamp, until: Timestamp) -> Filter {
        self.from = Some(from);
        self.until = Some(until);
        self
    }

    /// Only this user.
    pub fn user(mut self, user: &str) -> Filter {
        self.user = Some(user.to_owned());
        self
    }

    /// Only clients whose User-Agent starts so.
    pub fn user_agent(mut self, prefix: &str) -> Filter {
        self.user_agent = Some(prefix.to_owned());
        self
    }

    /// Only clients with this address.
    pub fn source_address(mut self, address: &str) -> Filter {
        self.source_address = Some(address.to_owned());
        self
    }

    /// Only this verb.
    pub fn verb(mut self, verb: &str) -> Filter {
        self.verb = Some(verb.to_owned());
        self
    }

    /// Only this resource.
    pub fn resource(mut self, resource: &str) -> Filter {
        self.resource = Some(resource.to_owned());
        self
    }

    /// Only this namespace.
    pub fn namespace(mut self, namespace: &str) -> Filter {
        self.namespace = Some(namespace.to_owned());
        self
    }

    /// Whether this request is to be counted.
    pub fn matches(&self, request: &AuditedRequest) -> bool {
        fn equal(wanted: &Option<String>, actual: &str) -> bool {
            wanted.as_ref().is_none_or(|wanted| wanted == actual)
        }
        self.from.is_none_or(|from| request.received >= from)
            && self.until.is_none_or(|until| request.received < until)
            && equal(&self.user, &request.user)
            && self.user_agent.as_ref().is_none_or(|prefix| request.user_agent.starts_with(prefix.as_str()))
            && self.source_address.as_ref().is_none_or(|address| request.source_addresses.contains(address))
            && equal(&self.verb, &request.verb)
            && equal(&self.resource, &request.resource)
            && equal(&self.namespace, &request.namespace)
    }
}

/// Counts by verb and resource.
pub fn count(path: &Path, filter: &Filter) -> anyhow::Result<Counts> {
    count_by(path, filter, |request| (request.verb.clone(), request.resource.clone()))
}

/// Counts in all.
pub fn total(path: &Path, filter: &Filter) -> anyhow::Result<u64> {
    Ok(count_by(path, filter, |_| ())?.into_values().sum())
}

/// Counts by user.
pub fn count_by_user(path: &Path, filter: &Filter) -> anyhow::Result<BTreeMap<String, u64>> {
    count_by(path, filter, |request| request.user.clone())
}

/// Counts by User-Agent.
pub fn count_by_user_agent(path: &Path, filter: &Filter) -> anyhow::Result<BTreeMap<String, u64>> {
    count_by(path, filter, |request| request.user_agent.clone())
}

/// Counts by the client's first address.
pub fn count_by_source_address(path: &Path, filter: &Filter) -> anyhow::Result<BTreeMap<String, u64>> {
    count_by(path, filter, |request| request.source_addresses.first().cloned().unwrap_or_default())
}

/// Counts by whatever `key` makes of a request.
pub fn count_by<Key: Ord>(
    path: &Path,
    filter: &Filter,
    key: impl Fn(&AuditedRequest) -> Key,
) -> anyhow::Result<BTreeMap<Key, u64>> {
    let mut counts = BTreeMap::new();
    visit(path, |request| {
        if filter.matches(&request) {
            *counts.entry(key(&request)).or_default() += 1;
        }
    })?;
    Ok(counts)
}

/// The requests themselves, in the log's order.
pub fn requests(path: &Path, filter: &Filter) -> anyhow::Result<Vec<AuditedRequest>> {
    let mut matching = Vec::new();
    visit(path, |request| {
        if filter.matches(&request) {
            matching.push(request);
        }
    })?;
    Ok(matching)
}

fn visit(path: &Path, visit: impl FnMut(AuditedRequest)) -> anyhow::Result<()> {
    Follower::new(path).added(visit)
}

/// Reads a log that grows, each line once.
pub struct Follower {
    path: PathBuf,
    read: u64,
    watches: HashSet<String>,
}

impl Follower {
    /// From the log's beginning on.
    pub fn new(path: &Path) -> Follower {
        Follower { path: path.to_owned(), read: 0, watches: HashSet::new() }
    }

    /// Visits the requests that were added since the last call.
    pub fn added(&mut self, visit: impl FnMut(AuditedRequest)) -> anyhow::Result<()> {
        let context = || format!("audit log {}", self.path.display());
        let mut file = File::open(&self.path).with_context(context)?;
        file.seek(SeekFrom::Start(self.read))?;
        self.read += visit_lines(BufReader::new(file), &mut self.watches, visit).with_context(context)?;
        Ok(())
    }
}

/// Gives back how many bytes were read.
fn visit_lines(
    mut lines: impl BufRead,
    watches: &mut HashSet<String>,
    mut visit: impl FnMut(AuditedRequest),
) -> anyhow::Result<u64> {
    let mut read = 0;
    let mut line = Vec::new();
    for number in 1u64.. {
        line.clear();
        lines.read_until(b'\n', &mut line)?;
        // The API server may be in the middle of writing its last line.
        if line.last() != Some(&b'\n') {
            break;
        }
        read += line.len() as u64;
        if line.trim_ascii().is_empty() {
            continue;
        }
        let event: Event = serde_json::from_slice(&line).with_context(|| format!("line {number}"))?;
        let counts = match (event.stage.as_str(), event.verb.as_str()) {
            ("ResponseStarted" | "ResponseComplete", "watch") => watches.insert(event.audit_id.clone()),
            ("ResponseComplete", _) => true,
            _ => false,
        };
        if counts {
            visit(event.into_request());
        }
    }
    Ok(read)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    #[serde(rename = "auditID", default)]
    audit_id: String,
    stage: String,
    #[serde(rename = "requestURI", default)]
    request_uri: String,
    verb: String,
    #[serde(default)]
    user: User,
    impersonated_user: Option<User>,
    #[serde(rename = "sourceIPs", default)]
    source_addresses: Vec<String>,
    #[serde(default)]
    user_agent: String,
    object_ref: Option<ObjectReference>,
    #[serde(default)]
    response_status: ResponseStatus,
    request_object: Option<Value>,
    response_object: Option<Value>,
    request_received_timestamp: Timestamp,
    stage_timestamp: Timestamp,
}

#[derive(Default, Deserialize)]
struct User {
    #[serde(default)]
    username: String,
    #[serde(default)]
    extra: BTreeMap<String, Vec<String>>,
}

impl User {
    fn node(&self) -> String {
        let names = self.extra.get("authentication.kubernetes.io/node-name");
        names.and_then(|names| names.first()).cloned().unwrap_or_default()
    }
}

#[derive(Default, Deserialize)]
struct ResponseStatus {
    #[serde(default)]
    code: u16,
}

#[derive(Default, Deserialize)]
struct ObjectReference {
    #[serde(default)]
    resource: String,
    #[serde(default)]
    subresource: String,
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    name: String,
}

impl Event {
    fn into_request(self) -> AuditedRequest {
        let object = self.object_ref.unwrap_or_default();
        let resource = match (object.resource.as_str(), object.subresource.as_str()) {
            ("", _) => self.request_uri.split('?').next().unwrap_or_default().to_owned(),
            (resource, "") => resource.to_owned(),
            (resource, subresource) => format!("{resource}/{subresource}"),
        };
        let user = self.impersonated_user.unwrap_or(self.user);
        AuditedRequest {
            received: self.request_received_timestamp,
            answered: self.stage_timestamp,
            verb: self.verb,
            resource,
            namespace: object.namespace,
            name: object.name,
            node: user.node(),
            user: user.username,
            user_agent: self.user_agent,
            source_addresses: self.source_addresses,
            status: self.response_status.code,
            is_dry_run: self.request_uri.contains("dryRun=All"),
            sent: self.request_object,
            became: self.response_object,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn event(identifier: &str, stage: &str, verb: &str, resource: &str, second: u32) -> Value {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        let mut reference = json!({"resource": resource, "name": "a", "apiVersion": "v1"});
        if !subresource.is_empty() {
            reference["subresource"] = subresource.into();
        }
        json!({
            "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "Metadata", "auditID": identifier,
            "stage": stage, "requestURI": "/api/v1/x?y=z", "verb": verb,
            "user": {"username": "system:node:a", "groups": ["system:nodes"]},
            "sourceIPs": ["10.77.0.2", "127.0.0.1"], "userAgent": "rebootd/0.1.0",
            "objectRef": reference, "responseStatus": {"metadata": {}, "code": 200},
            "requestReceivedTimestamp": format!("2026-07-30T10:00:{second:02}.123456Z"),
            "stageTimestamp": "2026-07-30T10:00:59.000000Z",
        })
    }

    fn log() -> String {
        let events = [
            event("1", "RequestReceived", "get", "nodes", 1),
            event("1", "ResponseComplete", "get", "nodes", 1),
            event("2", "ResponseComplete", "patch", "nodes/status", 2),
            event("3", "ResponseStarted", "watch", "leases", 3),
            event("3", "ResponseComplete", "watch", "leases", 3),
            event("4", "ResponseStarted", "watch", "leases", 4),
            event("5", "ResponseStarted", "get", "pods/log", 5),
            event("6", "ResponseComplete", "get", "nodes", 30),
        ];
        let mut text: String = events.iter().map(|event| format!("{event}\n")).collect();
        let mut path = event("7", "ResponseComplete", "get", "", 6);
        path.as_object_mut().unwrap().remove("objectRef");
        path["user"]["username"] = "system:admin".into();
        path["sourceIPs"] = json!([]);
        path["userAgent"] = "kubectl/v1.37.1".into();
        text.push_str(&format!("{path}\n\n{{\"kind\":\"Event\",\"half\":"));
        text
    }

    fn counted(filter: &Filter) -> Vec<String> {
        let path = std::env::temp_dir().join(format!("rebootd-lab-audit-{:?}", std::thread::current().id()));
        std::fs::write(&path, log()).unwrap();
        let counts = count(&path, filter).unwrap();
        assert_eq!(total(&path, filter).unwrap(), counts.values().sum::<u64>());
        std::fs::remove_file(&path).unwrap();
        counts.into_iter().map(|((verb, resource), count)| format!("{count} {verb} {resource}")).collect()
    }

    #[test]
    fn counts_each_answered_request_and_each_watch_once() {
        assert_eq!(
            counted(&Filter::new()),
            ["1 get /api/v1/x", "2 get nodes", "1 patch nodes/status", "2 watch leases"]
        );
    }

    #[test]
    fn filters() {
        let from = "2026-07-30T10:00:02Z".parse().unwrap();
        let until = "2026-07-30T12:00:30+02:00".parse().unwrap();
        let inside = Filter::new().between(from, until);
        assert_eq!(counted(&inside), ["1 get /api/v1/x", "1 patch nodes/status", "2 watch leases"]);
        assert_eq!(counted(&Filter::new().user_agent("kubectl")), ["1 get /api/v1/x"]);
        assert_eq!(counted(&Filter::new().user("system:admin")), ["1 get /api/v1/x"]);
        assert_eq!(counted(&Filter::new().source_address("10.77.0.2").verb("get")), ["2 get nodes"]);
        assert_eq!(counted(&Filter::new().resource("leases")), ["2 watch leases"]);
    }

    #[test]
    fn a_broken_line_is_an_error_with_its_number() {
        let error = visit_lines("{}\n".as_bytes(), &mut HashSet::new(), |_| {}).unwrap_err();
        assert_eq!(error.to_string(), "line 1");
    }
}
