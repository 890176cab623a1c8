//! Follows what truly happens in the cluster, by watches and without sampling, and judges it.
//!
//! [`History`] folds events, without I/O: the state now, the log of all that was seen, and the checks over it.
//! [`Observer`] feeds one from the API server's watches on Nodes, Pods and the Leases of one namespace, and from
//! what the test tells about its hosts.
//!
//! Times are durations since the observer's start on this machine's monotonic clock, taken when an event arrived.
//! Each of the three watches is in order and loses nothing; *between* them arrival may differ by milliseconds from
//! the order in which the API server wrote. [`Entry::resource_version`] tells that one.

mod history;
mod state;
#[cfg(test)]
mod tests;

pub use history::{
    Change, Disruption, Entry, Gap, Handoff, History, Holding, Input, MinimumReady, Object, Overlap,
    PodDeletion, Selector,
};
pub use state::{Kind, LeaseState, NodeState, PodState, State};

use crate::proxy::{HttpsClient, KeyPair, https_client};
use anyhow::{Context, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::{Request, Response};
use serde_json::Value;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

/// Where and as whom to look.
#[derive(Clone, Debug)]
pub struct ObserverConfig {
    /// The API server itself, not a proxy: `https://10.77.0.1:6443`.
    pub server: String,
    /// The CA of its certificate, PEM.
    pub authority_pem: String,
    /// An administrator's client certificate.
    pub credential: KeyPair,
    /// Namespace of the Leases to follow.
    pub namespace: String,
}

type Predicate = Box<dyn FnMut(&State) -> bool + Send>;

struct Waiter {
    predicate: Predicate,
    met: oneshot::Sender<Duration>,
}

struct Following {
    history: History,
    waiters: Vec<Waiter>,
}

struct Shared {
    started: Instant,
    following: Mutex<Following>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Following> {
        self.following.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waiters are asked under the same lock that folds, so that none misses a state, however short.
    fn observe(&self, input: Input) {
        let mut following = self.lock();
        let at = self.started.elapsed();
        following.history.observe(at, input);
        let Following { history, waiters } = &mut *following;
        for mut waiter in std::mem::take(waiters) {
            // A predicate that panics must fail its own test and not the watch that feeds all others.
            let judged = catch_unwind(AssertUnwindSafe(|| (waiter.predicate)(history.state())));
            match judged {
                Ok(true) => drop(waiter.met.send(at)),
                Ok(false) if !waiter.met.is_closed() => waiters.push(waiter),
                Ok(false) | Err(_) => {}
            }
        }
    }
}

/// Follows a cluster until dropped.
pub struct Observer {
    shared: Arc<Shared>,
    _watches: JoinSet<()>,
}

impl Observer {
    /// Returns when everything that exists has been seen.
    pub async fn start(config: ObserverConfig) -> anyhow::Result<Observer> {
        let client =
            https_client(&config.authority_pem, Some(&config.credential)).context("observer's credential")?;
        let shared = Arc::new(Shared {
            started: Instant::now(),
            following: Mutex::new(Following { history: History::new(), waiters: Vec::new() }),
        });
        let mut watches = JoinSet::new();
        let mut listings = Vec::new();
        for kind in [Kind::Node, Kind::Lease, Kind::Pod] {
            let path = match kind {
                Kind::Node => "/api/v1/nodes".to_owned(),
                Kind::Pod => "/api/v1/pods".to_owned(),
                Kind::Lease => format!("/apis/coordination.k8s.io/v1/namespaces/{}/leases", config.namespace),
            };
            let (listed, listing) = watch::channel(None);
            listings.push(listing);
            let source = Source {
                client: client.clone(),
                url: format!("{}{path}", config.server.trim_end_matches('/')),
                kind,
            };
            watches.spawn(source.follow(shared.clone(), listed));
        }
        for mut listing in listings {
            let outcome = tokio::time::timeout(
                Duration::from_secs(60),
                listing.wait_for(|outcome| matches!(outcome, Some(Ok(())))),
            )
            .await
            .map(|_| ());
            if outcome.is_err() {
                let reason = match &*listing.borrow() {
                    Some(Err(reason)) => reason.clone(),
                    _ => "no answer".to_owned(),
                };
                bail!("observer: the first list did not succeed within a minute: {reason}");
            }
        }
        Ok(Observer { shared, _watches: watches })
    }

    /// Time since the observer's start: what events and checks are dated by.
    pub fn now(&self) -> Duration {
        self.shared.started.elapsed()
    }

    /// The test is about to take this host down, or has just seen it go: it counts as disrupted until it is told
    /// as booted. Call it no later than the power goes.
    pub fn host_down(&self, name: &str) {
        self.shared.observe(Input::HostDown(name.to_owned()));
    }

    /// This host has booted. Its Node may go on being disrupted by our cordon.
    pub fn host_booted(&self, name: &str) {
        self.shared.observe(Input::HostBooted(name.to_owned()));
    }

    /// What is true now.
    pub fn state(&self) -> State {
        self.shared.lock().history.state().clone()
    }

    /// All that was seen so far, to be judged: its checks are [`History`]'s methods.
    pub fn history(&self) -> History {
        self.shared.lock().history.clone()
    }

    /// The most nodes that were disrupted at one time so far.
    pub fn max_disrupted_at_once(&self) -> Overlap {
        self.shared.lock().history.max_disrupted_at_once()
    }

    /// Waits until the state meets the predicate, asked at once and then at every single event; gives the time of
    /// the event that met it.
    pub async fn wait_for(
        &self,
        predicate: impl FnMut(&State) -> bool + Send + 'static,
        timeout: Duration,
    ) -> anyhow::Result<Duration> {
        let (sender, met) = oneshot::channel();
        {
            let mut following = self.shared.lock();
            let mut predicate: Predicate = Box::new(predicate);
            if predicate(following.history.state()) {
                return Ok(self.now());
            }
            following.waiters.push(Waiter { predicate, met: sender });
        }
        match tokio::time::timeout(timeout, met).await {
            Ok(Ok(at)) => Ok(at),
            Ok(Err(_)) => bail!("the predicate panicked; its message is above"),
            Err(_) => {
                bail!("not met within {timeout:?}; the cluster:\n{}", self.shared.lock().history.state())
            }
        }
    }
}

struct Source {
    client: HttpsClient,
    url: String,
    kind: Kind,
}

/// Why a watch ended.
enum WatchEnd {
    /// Go on from the last resourceVersion.
    Again,
    /// That version is gone: list again.
    Expired,
}

type Listed = watch::Sender<Option<Result<(), String>>>;

impl Source {
    async fn follow(self, shared: Arc<Shared>, listed: Listed) {
        let pause = || tokio::time::sleep(Duration::from_millis(100));
        loop {
            let mut version = match self.list(&shared).await {
                Ok(version) => version,
                Err(error) => {
                    listed.send_replace(Some(Err(format!("{error:#}"))));
                    pause().await;
                    continue;
                }
            };
            listed.send_replace(Some(Ok(())));
            loop {
                let end = self.watch(&shared, &mut version).await;
                shared.observe(Input::WatchLost(self.kind));
                match end {
                    Ok(WatchEnd::Expired) => break,
                    Ok(WatchEnd::Again) | Err(_) => pause().await,
                }
            }
        }
    }

    async fn get(&self, query: &str) -> anyhow::Result<Response<Incoming>> {
        let request = Request::get(format!("{}{query}", self.url))
            .header("accept", "application/json")
            .header("user-agent", "rebootd-lab-observer")
            .body(Full::<Bytes>::default())?;
        Ok(self.client.request(request).await?)
    }

    async fn list(&self, shared: &Shared) -> anyhow::Result<String> {
        let answer = self.get("").await?;
        let status = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
        if !status.is_success() {
            bail!("{}: {status}: {}", self.url, String::from_utf8_lossy(&body));
        }
        let mut list: Value = serde_json::from_slice(&body)?;
        let version = list
            .pointer("/metadata/resourceVersion")
            .and_then(Value::as_str)
            .context("list without version")?;
        let version = version.to_owned();
        let items = match list.get_mut("items").map(Value::take) {
            Some(Value::Array(items)) => items,
            _ => Vec::new(),
        };
        shared.observe(Input::Listed(self.kind, items));
        Ok(version)
    }

    async fn watch(&self, shared: &Shared, version: &mut String) -> anyhow::Result<WatchEnd> {
        let query = format!("?watch=true&allowWatchBookmarks=true&resourceVersion={version}");
        let answer = self.get(&query).await?;
        match answer.status().as_u16() {
            200 => {}
            410 => return Ok(WatchEnd::Expired),
            status => bail!("{}: watch: {status}", self.url),
        }
        let mut resumed = false;
        read_lines(answer.into_body(), |line| {
            let mut event: Value = serde_json::from_slice(line)?;
            let object = event.get_mut("object").map(Value::take).unwrap_or_default();
            let change = match event.get("type").and_then(Value::as_str) {
                Some("ADDED") => Some(Change::Added),
                Some("MODIFIED") => Some(Change::Modified),
                Some("DELETED") => Some(Change::Deleted),
                Some("BOOKMARK") => None,
                Some("ERROR") if object.get("code").and_then(Value::as_u64) == Some(410) => {
                    return Ok(Some(WatchEnd::Expired));
                }
                _ => return Ok(Some(WatchEnd::Again)),
            };
            // Not before its first event: an expired version, too, is told by one.
            if !std::mem::replace(&mut resumed, true) {
                shared.observe(Input::WatchResumed(self.kind));
            }
            if let Some(seen) = object.pointer("/metadata/resourceVersion").and_then(Value::as_str) {
                *version = seen.to_owned();
            }
            if let Some(change) = change {
                shared.observe(Input::Changed(self.kind, change, object));
            }
            Ok(None)
        })
        .await
    }
}

async fn read_lines(
    mut body: Incoming,
    mut read: impl FnMut(&[u8]) -> anyhow::Result<Option<WatchEnd>>,
) -> anyhow::Result<WatchEnd> {
    let mut pending = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        let mut rest: &[u8] = &data;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let (line, after) = rest.split_at(end);
            pending.extend_from_slice(line);
            if let Some(end) = read(&pending)? {
                return Ok(end);
            }
            pending.clear();
            rest = after.get(1..).unwrap_or_default();
        }
        pending.extend_from_slice(rest);
    }
    Ok(WatchEnd::Again)
}
