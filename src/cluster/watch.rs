//! Watches: one request each, whose events say "look".

use std::task::{Context, Poll};
use std::time::Duration;

use reqwest::{Method, Response};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::client::{ApiError, Client};
use super::objects::{
    KUBELET_LEASES, NAMESPACE, POLICY_MAPS, POLICY_SELECTOR, Something, WatchEvent, annotations,
};
use super::pods::Pod;
use crate::access::ApiAccess;
use crate::decide::{Event, Part, PodView, jitter};

/// The server ends a watch after this time; the next one follows a look.
const LASTS: Duration = Duration::from_secs(600);
/// A watch that cannot be had (a missing right, say) would else make us look without end.
const LEAST_TIME: Duration = Duration::from_secs(5);
/// The watch of an idle node is renewed this seldom, and begun anew this late where it cannot be had.
const ANNOTATIONS_LAST: Duration = Duration::from_secs(1800);
const ANNOTATIONS_RETRY_MOST: Duration = Duration::from_secs(600);
/// The server has ended it by then, if it is still there.
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

/// A running watch. Dropping it ends the request.
#[derive(Debug)]
pub struct Watch {
    events: mpsc::Receiver<Event>,
    task: JoinHandle<()>,
}

impl Watch {
    pub(super) fn start(client: Client, part: Part, node: &str, versions: &Versions) -> Option<Watch> {
        let (sender, events) = mpsc::channel(64);
        let path = path(part, node, versions)?;
        let node = node.to_owned();
        let task = tokio::spawn(async move {
            let not_before = tokio::time::sleep(LEAST_TIME);
            let response = client.send(Method::GET, &path, None, None).await;
            let ended = match (part, response) {
                (_, Err(error)) => Err(error),
                (Part::Pods, Ok(response)) => {
                    follow(response, &sender, |event| pod_event(event, &node)).await
                }
                (Part::Policy, Ok(response)) => {
                    follow(response, &sender, |_: WatchEvent<Something>| Some(Event::PolicyChanged)).await
                }
                (_, Ok(response)) => follow(response, &sender, changed).await,
            };
            if let Err(error) = ended {
                tracing::debug!(%error, ?part, "watch ended");
            }
            not_before.await;
            let _ = sender.send(Event::WatchEnded).await;
        });
        Some(Watch { events, task })
    }

    /// Watches what people annotate the own Node with, for as long as anybody listens: it ends with no event. It rests
    /// on no look, and it wakes nobody but with news.
    pub(super) fn annotations(access: ApiAccess, node: &str) -> Watch {
        let (sender, events) = mpsc::channel(1);
        let node = node.to_owned();
        let task = tokio::spawn(async move {
            let mut failures = 0;
            while !sender.is_closed() {
                match follow_annotations(&access, &node, &sender).await {
                    Ok(()) => failures = 0,
                    Err(error) => {
                        failures += 1;
                        if failures == 1 {
                            tracing::info!("the Node's annotations are not watched for the moment: {error}");
                        }
                    }
                }
                let delay = LEAST_TIME.saturating_mul(1 << failures.min(10));
                tokio::time::sleep(delay.min(ANNOTATIONS_RETRY_MOST)).await;
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

fn path(part: Part, node: &str, versions: &Versions) -> Option<String> {
    let leases = |namespace| format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases");
    let by_name = format!("&fieldSelector=metadata.name%3D{node}");
    let from = |version: &str| format!("&resourceVersion={version}");
    // A single object that has not changed for long has a resourceVersion too old to watch from: these watches
    // begin with the object as it is.
    let (collection, selector, version) = match part {
        Part::Slots => (leases(NAMESPACE), String::new(), from(&versions.slots)),
        Part::Node => ("/api/v1/nodes".to_owned(), by_name, String::new()),
        Part::Pods => {
            let on_node = format!("&fieldSelector=spec.nodeName%3D{node}");
            ("/api/v1/pods".to_owned(), on_node, from(&versions.pods))
        }
        // Without a list there is nothing to watch from.
        Part::Policy if versions.policy.is_empty() => return None,
        Part::Policy => {
            (POLICY_MAPS.to_owned(), format!("&fieldSelector={POLICY_SELECTOR}"), from(&versions.policy))
        }
        Part::Kubelet => (leases(KUBELET_LEASES), by_name, String::new()),
        Part::Others | Part::Alerts | Part::After | Part::Holders | Part::Budgets | Part::Annotations => {
            return None;
        }
    };
    let seconds = LASTS.as_secs();
    Some(format!("{collection}?watch=1&allowWatchBookmarks=true&timeoutSeconds={seconds}{version}{selector}"))
}

async fn follow_annotations(
    access: &ApiAccess,
    node: &str,
    sender: &mpsc::Sender<Event>,
) -> Result<(), ApiError> {
    // Made anew each time: the credential may have been replaced. Without bookmarks, which come every minute.
    let client = Client::quiet(access)?;
    let lasts = ANNOTATIONS_LAST.mul_f64(1.0 + jitter(&[node, "annotations"]));
    let seconds = lasts.as_secs();
    let path = format!("/api/v1/nodes?watch=1&timeoutSeconds={seconds}&fieldSelector=metadata.name%3D{node}");
    let response = client.metadata(&path, lasts + PATIENCE).await?;
    follow(response, sender, |event| Some(annotations(event))).await
}

/// Reads events, one JSON object a line, until the stream or the receiver ends.
async fn follow<T: DeserializeOwned>(
    mut response: Response,
    sender: &mpsc::Sender<Event>,
    meaning: impl Fn(WatchEvent<T>) -> Option<Event>,
) -> Result<(), ApiError> {
    let mut buffer = Vec::new();
    loop {
        let chunk = response.chunk().await.map_err(|error| ApiError::NoAnswer(error.to_string()))?;
        let Some(chunk) = chunk else { return Ok(()) };
        buffer.extend_from_slice(&chunk);
        while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = buffer.drain(..=end).collect();
            let event: WatchEvent<T> =
                serde_json::from_slice(&line).map_err(|error| ApiError::Garbled(error.to_string()))?;
            match event.kind.as_str() {
                "BOOKMARK" => {}
                "ADDED" | "MODIFIED" | "DELETED" => {
                    if let Some(event) = meaning(event)
                        && sender.send(event).await.is_err()
                    {
                        return Ok(());
                    }
                }
                other => return Err(ApiError::Garbled(format!("watch event {other}"))),
            }
        }
        if buffer.len() > LONGEST_LINE {
            return Err(ApiError::Garbled("a watch event without end".to_owned()));
        }
    }
}

fn changed(event: WatchEvent<Something>) -> Option<Event> {
    let metadata = event.object.metadata;
    Some(Event::Changed { uid: metadata.uid, resource_version: metadata.resource_version })
}

fn pod_event(event: WatchEvent<Pod>, node: &str) -> Option<Event> {
    // A pod never moves; one that the selector no longer matches arrives as DELETED.
    let gone = event.kind == "DELETED" || event.object.node() != node;
    let pod = PodView::from(event.object);
    Some(if gone { Event::PodGone(pod.key) } else { Event::PodSeen(pod) })
}
