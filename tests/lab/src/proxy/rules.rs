//! Rules by which a test catches a named request at a named step.

use super::lock;
use super::records::{Identity, RequestRecord};
use super::request_info::Verb;
use bytes::Bytes;
use std::fmt;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;
use tokio::sync::watch;

/// What to do with a caught request.
///
/// Where the daemon's view ends is what matters: `DropBefore` is a lost request, `DropAfter` a lost answer.
/// All but `DropBefore` and `Answer` go on when the client has given up meanwhile: a held or delayed write still
/// reaches the server, as a packet that was long on its way would.
#[derive(Clone, Debug)]
pub enum Action {
    /// Hold the request before the server sees it, until the test releases or drops it.
    Hold,
    /// The connection dies; the server never sees the request.
    DropBefore,
    /// The server gets the request and answers; the answer is swallowed and the connection dies.
    DropAfter,
    /// The server gets the request and answers; the answer is held until the test releases or drops it.
    HoldAnswer,
    /// Wait before forwarding.
    Delay(Duration),
    /// Forward at once, wait before answering.
    DelayAnswer(Duration),
    /// Forward; so many bytes of the answer's body reach the client, then it breaks off. A watch does so in mid-event.
    CutAnswer(usize),
    /// Answer without asking the server. With the header `connection: close` the connection takes no more requests,
    /// as when an API server stops.
    Answer {
        /// HTTP status.
        status: u16,
        /// Headers, by name and value.
        headers: Vec<(String, String)>,
        /// The body as it is sent.
        body: Bytes,
    },
}

impl Action {
    /// A JSON answer.
    pub fn answer_json(status: u16, body: &serde_json::Value) -> Action {
        Action::Answer {
            status,
            headers: vec![("content-type".into(), "application/json".into())],
            body: Bytes::from(body.to_string()),
        }
    }

    /// An error as the API server writes it: `answer_error(409, "Conflict", "…")`.
    pub fn answer_error(status: u16, reason: &str, message: &str) -> Action {
        Action::answer_json(
            status,
            &serde_json::json!({
                "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                "code": status, "reason": reason, "message": message,
            }),
        )
    }

    /// The plain-text 429 with which an overloaded API server sheds load.
    pub fn answer_overloaded(retry_after_seconds: u32) -> Action {
        Action::Answer {
            status: 429,
            headers: vec![
                ("content-type".into(), "text/plain; charset=utf-8".into()),
                ("retry-after".into(), retry_after_seconds.to_string()),
            ],
            body: Bytes::from_static(b"Too many requests, please try again later.\n"),
        }
    }
}

/// Which requests to catch. Every part that is not set matches all.
#[derive(Clone, Debug, Default)]
pub struct Rule {
    verb: Option<Verb>,
    resource: Option<String>,
    namespace: Option<String>,
    name: Option<String>,
    agent: Option<String>,
    body_part: Option<String>,
    test: Option<Test>,
    only: Option<u64>,
    kill_connection: bool,
}

type Condition = dyn Fn(&RequestRecord, &[u8]) -> bool + Send + Sync;

/// A condition of a test's own.
#[derive(Clone)]
struct Test(Arc<Condition>);

impl fmt::Debug for Test {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a test's own")
    }
}

impl Rule {
    /// Requests with this verb for this resource; a subresource is named with it: `pods/eviction`.
    pub fn new(verb: Verb, resource: &str) -> Rule {
        Rule { verb: Some(verb), resource: Some(resource.to_owned()), ..Rule::default() }
    }

    /// Every request.
    pub fn any() -> Rule {
        Rule::default()
    }

    /// Only with this verb.
    pub fn verb(mut self, verb: Verb) -> Rule {
        self.verb = Some(verb);
        self
    }

    /// Only for this resource.
    pub fn resource(mut self, resource: &str) -> Rule {
        self.resource = Some(resource.to_owned());
        self
    }

    /// Only in this namespace.
    pub fn namespace(mut self, namespace: &str) -> Rule {
        self.namespace = Some(namespace.to_owned());
        self
    }

    /// Only for the object of this name.
    pub fn name(mut self, name: &str) -> Rule {
        self.name = Some(name.to_owned());
        self
    }

    /// Only from clients whose User-Agent starts so.
    pub fn from_agent(mut self, prefix: &str) -> Rule {
        self.agent = Some(prefix.to_owned());
        self
    }

    /// Only with this text somewhere in the body: tells a claim from a stamp, which are both patches of a Lease.
    pub fn body_contains(mut self, part: &str) -> Rule {
        self.body_part = Some(part.to_owned());
        self
    }

    /// Only where this says yes. It is asked about each request that the rest of the rule matches, with its body, in
    /// the order of arrival.
    pub fn when(mut self, test: impl Fn(&RequestRecord, &[u8]) -> bool + Send + Sync + 'static) -> Rule {
        self.test = Some(Test(Arc::new(test)));
        self
    }

    /// Only the n-th request that the rest of the rule matches, counted from 1 since the rule was added.
    pub fn nth(mut self, number: u64) -> Rule {
        self.only = Some(number);
        self
    }

    /// Where the action drops a request, the whole TCP connection dies and with it every other request on it.
    /// Without this, HTTP/2 loses the one stream (HTTP/1.1 always loses the connection).
    pub fn kill_connection(mut self) -> Rule {
        self.kill_connection = true;
        self
    }

    fn matches(&self, record: &RequestRecord, body: &[u8]) -> bool {
        fn equal(wanted: &Option<String>, actual: Option<&str>) -> bool {
            wanted.as_deref().is_none_or(|wanted| Some(wanted) == actual)
        }
        self.verb.is_none_or(|verb| verb == record.verb)
            && equal(&self.resource, Some(&record.resource))
            && equal(&self.namespace, record.namespace.as_deref())
            && equal(&self.name, record.name.as_deref())
            && self.agent.as_ref().is_none_or(|prefix| record.user_agent.starts_with(prefix.as_str()))
            && self.body_part.as_ref().is_none_or(|part| {
                part.is_empty() || body.windows(part.len()).any(|window| window == part.as_bytes())
            })
            && self.test.as_ref().is_none_or(|test| (test.0)(record, body))
    }
}

/// What becomes of a held request or answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Forward,
    Drop,
}

/// A request that a rule caught.
#[derive(Clone, Debug)]
pub struct Hit {
    /// HTTP method.
    pub method: String,
    /// Path with query.
    pub path: String,
    /// The Kubernetes verb.
    pub verb: Verb,
    /// Resource with subresource.
    pub resource: String,
    /// Namespace, where the path names one.
    pub namespace: Option<String>,
    /// Name, where the request names one.
    pub name: Option<String>,
    /// The client's User-Agent.
    pub user_agent: String,
    /// Who sent it.
    pub identity: Identity,
    /// The body as the client sent it.
    pub body: Bytes,
    /// What the server answered; absent where it has not been asked.
    pub server_status: Option<u16>,
    /// Its place in [`Proxy::requests`](super::Proxy::requests).
    pub number: usize,
    fate: Arc<watch::Sender<Option<Fate>>>,
}

impl Hit {
    /// Lets this one request or answer go on.
    pub fn release(&self) {
        self.decide(Fate::Forward);
    }

    /// Lets this one die.
    pub fn drop_request(&self) {
        self.decide(Fate::Drop);
    }

    /// The body as JSON, or null where it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    fn decide(&self, fate: Fate) {
        self.fate.send_if_modified(|current| {
            let first = current.is_none();
            current.get_or_insert(fate);
            first
        });
    }
}

pub(super) struct ActiveRule {
    rule: Rule,
    pub(super) action: Action,
    seen: Mutex<u64>,
    hits: Mutex<Vec<Hit>>,
    hit_count: watch::Sender<usize>,
    removed: watch::Sender<bool>,
}

impl ActiveRule {
    pub(super) fn kills_connection(&self) -> bool {
        self.rule.kill_connection
    }

    /// Tells the test, and gives what to wait upon where the action waits for the test.
    pub(super) fn report(
        &self,
        record: &RequestRecord,
        body: Bytes,
        server_status: Option<u16>,
    ) -> watch::Receiver<Option<Fate>> {
        let (fate, receiver) = watch::channel(None);
        let hit = Hit {
            method: record.method.clone(),
            path: record.path.clone(),
            verb: record.verb,
            resource: record.resource.clone(),
            namespace: record.namespace.clone(),
            name: record.name.clone(),
            user_agent: record.user_agent.clone(),
            identity: record.identity.clone(),
            body,
            server_status,
            number: record.number,
            fate: Arc::new(fate),
        };
        let mut hits = lock(&self.hits);
        hits.push(hit);
        let count = hits.len();
        if *self.removed.borrow() {
            // Caught just before the removal: nobody is left to release it.
            hits.iter().for_each(Hit::release);
        }
        drop(hits);
        self.hit_count.send_replace(count);
        receiver
    }

    fn decide_all(&self, fate: Fate) {
        for hit in lock(&self.hits).iter() {
            hit.decide(fate);
        }
    }

    fn removed(&self) {
        self.removed.send_replace(true);
        self.decide_all(Fate::Forward);
    }
}

#[derive(Default)]
pub(super) struct Rules(Mutex<Vec<Arc<ActiveRule>>>);

impl Rules {
    pub(super) fn add(self: &Arc<Rules>, rule: Rule, action: Action) -> RuleHandle {
        let active = Arc::new(ActiveRule {
            rule,
            action,
            seen: Mutex::new(0),
            hits: Mutex::new(Vec::new()),
            hit_count: watch::channel(0).0,
            removed: watch::channel(false).0,
        });
        lock(&self.0).push(active.clone());
        RuleHandle { active, rules: Arc::downgrade(self), given: Mutex::new(0) }
    }

    pub(super) fn clear(&self) {
        let all = std::mem::take(&mut *lock(&self.0));
        all.iter().for_each(|active| active.removed());
    }

    /// Every rule that matches counts the request; the one that was added last acts on it.
    pub(super) fn catch(&self, record: &RequestRecord, body: &[u8]) -> Option<Arc<ActiveRule>> {
        let mut caught = None;
        for active in lock(&self.0).iter() {
            if active.rule.matches(record, body) {
                let mut seen = lock(&active.seen);
                *seen += 1;
                if active.rule.only.is_none_or(|number| number == *seen) {
                    caught = Some(active.clone());
                }
            }
        }
        caught
    }
}

/// The test's end of a rule. The rule stays when the handle is dropped.
pub struct RuleHandle {
    active: Arc<ActiveRule>,
    rules: Weak<Rules>,
    given: Mutex<usize>,
}

impl RuleHandle {
    /// Waits for the next request that the rule catches; each is given once.
    ///
    /// For `DropAfter`, `HoldAnswer`, `DelayAnswer` and `CutAnswer` that is when the server has answered, so has applied it;
    /// otherwise when the request has arrived. Waits for ever: wrap it in `tokio::time::timeout`.
    pub async fn wait_hit(&self) -> Hit {
        let mut count = self.active.hit_count.subscribe();
        loop {
            {
                let mut given = lock(&self.given);
                if let Some(hit) = lock(&self.active.hits).get(*given) {
                    *given += 1;
                    return hit.clone();
                }
            }
            // The sender lives in `self`, so this cannot fail.
            let _ = count.changed().await;
        }
    }

    /// All that the rule has caught so far.
    pub fn hits(&self) -> Vec<Hit> {
        lock(&self.active.hits).clone()
    }

    /// How many requests the rule matched so far, caught or not.
    pub fn seen(&self) -> u64 {
        *lock(&self.active.seen)
    }

    /// Lets everything go on that the rule holds now; later requests are held again.
    pub fn release(&self) {
        self.active.decide_all(Fate::Forward);
    }

    /// Lets everything die that the rule holds now.
    pub fn drop_request(&self) {
        self.active.decide_all(Fate::Drop);
    }

    /// Takes the rule away and releases what it holds.
    pub fn remove(&self) {
        if let Some(rules) = self.rules.upgrade() {
            lock(&rules.0).retain(|active| !Arc::ptr_eq(active, &self.active));
        }
        self.active.removed();
    }
}
