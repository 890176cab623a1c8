//! What passed through the proxy, kept for the test to read afterwards.

use super::lock;
use super::request_info::Verb;
use std::sync::{Arc, Mutex};
use std::time::Instant;
use tokio::sync::broadcast;

/// Who sent a request, as the proxy understood it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// A client certificate that the lab's CA signed.
    Certificate {
        /// The subject's common name.
        user: String,
        /// The subject's organisations.
        groups: Vec<String>,
    },
    /// A bearer token.
    Token {
        /// The token's subject, read without checking its signature; absent where it is no JWT.
        subject: Option<String>,
    },
    /// Neither.
    Anonymous,
}

impl Identity {
    /// The user's name as Kubernetes writes it, where it is known.
    pub fn user(&self) -> Option<&str> {
        match self {
            Identity::Certificate { user, .. } => Some(user),
            Identity::Token { subject } => subject.as_deref(),
            Identity::Anonymous => None,
        }
    }
}

/// How a request ended for the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Still under way: being held, waiting for the server, or a stream that goes on.
    UnderWay,
    /// The client got a whole answer.
    Answered,
    /// A rule let its connection die.
    Dropped,
    /// The client went away before the answer's end.
    ClientGone,
    /// The API server could not be reached or its answer broke off; the client saw its connection die.
    UpstreamFailed,
}

/// One request that reached the proxy.
#[derive(Clone, Debug)]
pub struct RequestRecord {
    /// Counts from 0 in the order of arrival.
    pub number: usize,
    /// When it had arrived whole.
    pub began: Instant,
    /// The same by the wall clock, for comparison with logs.
    pub began_at: jiff::Timestamp,
    /// When its last byte was answered, or it died.
    pub ended: Option<Instant>,
    /// The Kubernetes verb.
    pub verb: Verb,
    /// Resource with subresource, or the path where it is no resource.
    pub resource: String,
    /// Namespace, where the path names one.
    pub namespace: Option<String>,
    /// Name, where the request names one.
    pub name: Option<String>,
    /// HTTP method.
    pub method: String,
    /// Path with query.
    pub path: String,
    /// The client's User-Agent, or an empty string.
    pub user_agent: String,
    /// Who sent it.
    pub identity: Identity,
    /// Size of the request's body as the client sent it.
    pub body_size: usize,
    /// Status that the client was given.
    pub status: Option<u16>,
    /// Status that the API server answered, also where the client never saw it.
    pub server_status: Option<u16>,
    /// How it ended for the client.
    pub outcome: Outcome,
}

/// News of a request.
#[derive(Clone, Debug)]
pub enum RequestEvent {
    /// It has arrived whole.
    Began(RequestRecord),
    /// It is over for the client.
    Ended(RequestRecord),
}

pub(super) struct Records {
    all: Mutex<Vec<RequestRecord>>,
    events: broadcast::Sender<RequestEvent>,
}

impl Records {
    pub(super) fn new() -> Arc<Records> {
        Arc::new(Records { all: Mutex::new(Vec::new()), events: broadcast::channel(65_536).0 })
    }

    pub(super) fn all(&self) -> Vec<RequestRecord> {
        lock(&self.all).clone()
    }

    pub(super) fn get(&self, number: usize) -> Option<RequestRecord> {
        lock(&self.all).get(number).cloned()
    }

    pub(super) fn subscribe(&self) -> broadcast::Receiver<RequestEvent> {
        self.events.subscribe()
    }

    pub(super) fn begin(self: &Arc<Records>, mut record: RequestRecord) -> Tracker {
        let mut all = lock(&self.all);
        let number = all.len();
        record.number = number;
        all.push(record.clone());
        // Sent under the lock, so that subscribers see the order of the numbers.
        let _ = self.events.send(RequestEvent::Began(record));
        Tracker { records: self.clone(), number }
    }

    fn change(&self, number: usize, change: impl FnOnce(&mut RequestRecord)) {
        let mut all = lock(&self.all);
        let Some(record) = all.get_mut(number) else { return };
        let was_over = record.ended.is_some();
        change(record);
        if !was_over && record.ended.is_some() {
            let _ = self.events.send(RequestEvent::Ended(record.clone()));
        }
    }
}

/// Writes one request's record.
pub(super) struct Tracker {
    records: Arc<Records>,
    number: usize,
}

impl Tracker {
    pub(super) fn number(&self) -> usize {
        self.number
    }

    pub(super) fn server_answered(&self, status: u16) {
        self.records.change(self.number, |record| record.server_status = Some(status));
    }

    pub(super) fn client_answered(&self, status: u16) {
        self.records.change(self.number, |record| record.status = Some(status));
    }

    /// The first call counts: what follows the end does not change it.
    pub(super) fn end(&self, outcome: Outcome) {
        self.records.change(self.number, |record| {
            if record.ended.is_none() {
                record.outcome = outcome;
                record.ended = Some(Instant::now());
            }
        });
    }
}

/// Ends a record as [`Outcome::ClientGone`] unless something else ended it first: hyper drops whatever serves a
/// request when its client goes away.
pub(super) struct ClientPresence(pub(super) Arc<Tracker>);

impl Drop for ClientPresence {
    fn drop(&mut self) {
        self.0.end(Outcome::ClientGone);
    }
}
