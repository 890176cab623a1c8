//! Watches: one request each, whose events say "look", or what a pod or a slot is like now.

use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use reqwest::{Method, Response};
use serde::de::{DeserializeOwned, IgnoredAny};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::client::Client;
use super::error::{ApiError, Status, no_answer};
use super::objects::{POLICY, Something, WatchEvent, annotations};
use super::paths::{self, NODES, PODS, with};
use super::pods::{DisruptionBudget, Pod};
use super::slots::Lease;
use crate::access::ApiAccess;
use crate::decide::{Event, Part, PodView, SlotView, jitter};

/// The server ends a watch after this time; the next one starts after a look.
const LASTS: Duration = Duration::from_secs(600);
/// Otherwise a watch that cannot be opened (a missing right, say) would make us look without a pause.
const LEAST_TIME: Duration = Duration::from_secs(5);
/// The watch of an idle node is renewed this seldom.
const ANNOTATIONS_LAST: Duration = Duration::from_secs(1800);
/// A watch that needs no look, and cannot be opened, is tried again at the latest after this time.
const RETRY_MOST: Duration = Duration::from_secs(600);
/// This long after a watch should have ended, the server must be gone.
const PATIENCE: Duration = Duration::from_secs(60);
/// Longer than any object that we watch.
const LONGEST_LINE: usize = 8 << 20;

/// The resourceVersion of the latest list of each kind that is listed.
#[derive(Debug, Default)]
pub(super) struct Versions {
    pub(super) policy: String,
    pub(super) slots: String,
    pub(super) pods: String,
}

/// What was last logged about a watch that failed: one that always fails is logged once.
#[derive(Debug, Clone, Default)]
pub(super) struct Told(Arc<Mutex<String>>);

impl Told {
    fn ended(&self, part: Part, ended: Result<(), ApiError>) {
        let failure = ended.err().map(|error| format!("the watch of {} ended: {error}", word(part)));
        self.tell(failure.unwrap_or_default());
    }

    fn tell(&self, failure: String) {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !failure.is_empty() && *told != failure {
            tracing::info!("{failure}; it is tried again");
        }
        *told = failure;
    }
}

/// A running watch. Dropping it ends the request.
#[derive(Debug)]
pub struct Watch {
    events: mpsc::Receiver<Event>,
    task: JoinHandle<()>,
}

impl Watch {
    pub(super) fn start(
        client: Client,
        part: Part,
        node: &str,
        versions: &Versions,
        told: Told,
    ) -> Option<Watch> {
        let (sender, events) = mpsc::channel(64);
        let path = path(part, node, versions)?;
        let node = node.to_owned();
        let task = tokio::spawn(async move {
            let not_before = tokio::time::sleep(LEAST_TIME);
            let response = client.send(Method::GET, &path, None, LASTS + PATIENCE).await;
            let ended = match (part, response) {
                (_, Err(error)) => Err(error),
                (_, Ok(response)) => follow(response, &sender, &|line| meaning(part, line, &node)).await,
            };
            told.ended(part, ended);
            not_before.await;
            let _ = sender.send(Event::WatchEnded).await;
        });
        Some(Watch { events, task })
    }

    /// Watches the annotations that people write on the own Node.
    pub(super) fn annotations(access: ApiAccess, node: &str, told: Told) -> Watch {
        Watch::lasting(Lasting::Annotations { access, node: node.to_owned() }, told)
    }

    /// Watches whether a budget, `namespace/name`, lets a pod go.
    pub(super) fn budget(access: ApiAccess, client: Client, budget: &str, told: Told) -> Watch {
        Watch::lasting(Lasting::Budget { access, client, budget: budget.to_owned() }, told)
    }

    /// Watches for as long as anybody listens. It never reports its own end, needs no look, and wakes us only with
    /// news.
    fn lasting(mut watched: Lasting, told: Told) -> Watch {
        let (sender, events) = mpsc::channel(1);
        let task = tokio::spawn(async move {
            let mut failures = 0;
            while !sender.is_closed() {
                match watched.follow(&sender, failures > 0).await {
                    Ok(()) => failures = 0,
                    Err(error) => {
                        failures += 1;
                        told.tell(format!("{} not watched for the moment: {error}", watched.subject()));
                    }
                }
                if let Some(event) = watched.unwatched()
                    && sender.send(event).await.is_err()
                {
                    return;
                }
                let delay = LEAST_TIME.saturating_mul(1 << failures.min(10));
                tokio::time::sleep(delay.min(RETRY_MOST)).await;
            }
        });
        Watch { events, task }
    }

    /// The next event; `None` after [`Event::WatchEnded`].
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Event>> {
        self.events.poll_recv(context)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn word(part: Part) -> &'static str {
    match part {
        Part::Slots => "the slots",
        Part::Node => "the Node",
        Part::Pods => "the pods",
        Part::Kubelet => "the kubelet's Lease",
        Part::Policy => "the fleet's policy",
        Part::Annotations => "the Node's annotations",
        Part::Others
        | Part::Waiters
        | Part::Proven
        | Part::Alerts
        | Part::After
        | Part::Holders
        | Part::Budgets => "what is not watched",
    }
}

/// `None` if the part cannot be watched, or not yet.
fn path(part: Part, node: &str, versions: &Versions) -> Option<String> {
    let by_name = format!("metadata.name={node}");
    let on_node = format!("spec.nodeName={node}");
    // If a single object has not changed for long, its resourceVersion is too old to watch from: these watches begin
    // with the object as it is.
    let (collection, fields, version) = match part {
        Part::Slots => (paths::slots(), None, Some(&versions.slots)),
        Part::Node => (NODES.to_owned(), Some(by_name.as_str()), None),
        Part::Pods => (PODS.to_owned(), Some(on_node.as_str()), Some(&versions.pods)),
        // Without a list there is nothing to watch from.
        Part::Policy if versions.policy.is_empty() => return None,
        Part::Policy => (paths::policy_maps(), Some(POLICY), Some(&versions.policy)),
        Part::Kubelet => (paths::kubelets(), Some(by_name.as_str()), None),
        Part::Others
        | Part::Waiters
        | Part::Proven
        | Part::Alerts
        | Part::After
        | Part::Holders
        | Part::Budgets
        | Part::Annotations => {
            return None;
        }
    };
    let seconds = LASTS.as_secs().to_string();
    let mut parameters =
        vec![("watch", "1"), ("allowWatchBookmarks", "true"), ("timeoutSeconds", seconds.as_str())];
    parameters.extend(version.map(|version| ("resourceVersion", version.as_str())));
    parameters.extend(fields.map(|fields| ("fieldSelector", fields)));
    Some(with(&collection, &parameters))
}

/// What [`Watch::lasting`] watches.
enum Lasting {
    Annotations { access: ApiAccess, node: String },
    Budget { access: ApiAccess, client: Client, budget: String },
}

impl Lasting {
    fn subject(&self) -> &'static str {
        match self {
            Lasting::Annotations { .. } => "the Node's annotations are",
            Lasting::Budget { .. } => "the budget that refuses is",
        }
    }

    /// What is known of it while nothing is watched, if that differs from what was last seen.
    fn unwatched(&self) -> Option<Event> {
        match self {
            Lasting::Annotations { .. } => None,
            Lasting::Budget { budget, .. } => {
                Some(Event::BudgetSeen { budget: budget.clone(), opens: false })
            }
        }
    }

    /// Watches until the server ends it.
    async fn follow(&mut self, sender: &mpsc::Sender<Event>, failed: bool) -> Result<(), ApiError> {
        match self {
            Lasting::Annotations { access, node } => {
                // Created each time, because the credential may have been replaced. Without bookmarks, which come
                // every minute.
                let client = Client::quiet(access)?;
                let lasts = ANNOTATIONS_LAST.mul_f64(1.0 + jitter(&[node, "annotations"]));
                let path = of_one(NODES, node, lasts);
                let response = client.metadata(&path, lasts + PATIENCE).await?;
                follow(response, sender, &|line| Ok(understand(line)?.map(annotations))).await
            }
            Lasting::Budget { access, client, budget } => {
                if failed || client.is_outdated() {
                    *client = Client::new(access)?;
                }
                let (namespace, name) = budget.split_once('/').unwrap_or_default();
                let path = of_one(&paths::budgets(namespace)?, name, LASTS);
                let response = client.send(Method::GET, &path, None, LASTS + PATIENCE).await?;
                let meaning = |line: &[u8]| {
                    let event = understand::<DisruptionBudget>(line)?;
                    Ok(event.map(|event| Event::BudgetSeen {
                        budget: budget.clone(),
                        opens: event.kind == "DELETED" || event.object.opens(),
                    }))
                };
                follow(response, sender, &meaning).await
            }
        }
    }
}

/// The path to a watch of the object of this name, which begins with the object as it is.
fn of_one(collection: &str, name: &str, lasts: Duration) -> String {
    let (seconds, by_name) = (lasts.as_secs().to_string(), format!("metadata.name={name}"));
    with(collection, &[("watch", "1"), ("timeoutSeconds", &seconds), ("fieldSelector", &by_name)])
}

/// The event that a line of a watch means; none for one that says nothing.
type Understood = Result<Option<Event>, ApiError>;

/// What a line of the watch of a part says.
fn meaning(part: Part, line: &[u8], node: &str) -> Understood {
    Ok(match part {
        Part::Pods => understand(line)?.and_then(|event| pod_event(event, node)),
        Part::Policy => understand::<Something>(line)?.map(|_| Event::PolicyChanged),
        Part::Slots => understand(line)?.and_then(slot_event),
        _ => understand(line)?.and_then(changed),
    })
}

/// Reads events, one JSON object per line, until the stream or the receiver ends. Once for all kinds of objects: each copy would
/// cost the daemon some kilobytes.
async fn follow(
    mut response: Response,
    sender: &mpsc::Sender<Event>,
    meaning: &(dyn Fn(&[u8]) -> Understood + Send + Sync),
) -> Result<(), ApiError> {
    let mut buffer = Vec::new();
    loop {
        let Some(chunk) = response.chunk().await.map_err(no_answer)? else { break };
        // What came before has no end of a line.
        let mut from = buffer.len();
        buffer.extend_from_slice(&chunk);
        while let Some(end) = buffer.iter().skip(from).position(|byte| *byte == b'\n') {
            let line: Vec<u8> = buffer.drain(..=from + end).collect();
            from = 0;
            if let Some(event) = meaning(&line)?
                && sender.send(event).await.is_err()
            {
                return Ok(());
            }
        }
        if buffer.len() > LONGEST_LINE {
            return Err(ApiError::garbled("a watch event without end"));
        }
    }
    // The server ends a watch between two events.
    if buffer.is_empty() { Ok(()) } else { Err(ApiError::no_answer("half a watch event")) }
}

/// The event in a line; none for a bookmark. With an error event, the server ends a watch that has begun.
pub(super) fn understand<T: DeserializeOwned>(line: &[u8]) -> Result<Option<WatchEvent<T>>, ApiError> {
    if is_about_object(line)? {
        serde_json::from_slice(line).map(Some).map_err(ApiError::garbled)
    } else {
        Ok(None)
    }
}

/// The kind first: the object of an error event is of a different kind than the watched objects.
fn is_about_object(line: &[u8]) -> Result<bool, ApiError> {
    let WatchEvent { kind, .. } =
        serde_json::from_slice::<WatchEvent<IgnoredAny>>(line).map_err(ApiError::garbled)?;
    match kind.as_str() {
        "BOOKMARK" => Ok(false),
        "ADDED" | "MODIFIED" | "DELETED" => Ok(true),
        "ERROR" => match serde_json::from_slice::<WatchEvent<Status>>(line) {
            Ok(event) => Err(event.object.into()),
            Err(error) => Err(ApiError::garbled(error)),
        },
        other => Err(ApiError::garbled(format!("watch event {other}"))),
    }
}

pub(super) fn changed(event: WatchEvent<Something>) -> Option<Event> {
    let metadata = event.object.metadata;
    Some(Event::Changed { uid: metadata.uid, resource_version: metadata.resource_version })
}

pub(super) fn slot_event(event: WatchEvent<Lease>) -> Option<Event> {
    let gone = event.kind == "DELETED";
    let slot = SlotView::from(event.object);
    let SlotView { uid, resource_version, .. } = &slot;
    Some(match gone {
        true => Event::Changed { uid: uid.clone(), resource_version: resource_version.clone() },
        false => Event::SlotSeen(slot),
    })
}

pub(super) fn pod_event(event: WatchEvent<Pod>, node: &str) -> Option<Event> {
    // A pod never moves; one that the selector no longer matches arrives as DELETED.
    let gone = event.kind == "DELETED" || event.object.node() != node;
    let pod = PodView::from(event.object);
    Some(if gone { Event::PodGone(pod.key) } else { Event::PodSeen(pod) })
}
