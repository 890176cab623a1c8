//! What `rebootctl rehearse` reads of a namespace, and the dry runs that it asks for.

use std::collections::BTreeMap;

use anyhow::Context;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::de::DeserializeOwned;
use tokio::task::JoinSet;

use crate::cluster::{Api, ApiError, Heartbeat, Kind};
use crate::decide::{EvictionOutcome, How, PodKey, Refuser};
use crate::host::clock;
use crate::rehearse::objects::{Node, Pod};
use crate::rehearse::{Answer, LastTime, Namespace, Read, to_ask};
use crate::report::reboot::Reboot;

const CORE: &str = "/api/v1";
const APPS: &str = "/apis/apps/v1";
/// Dry runs under way at a time.
const AT_ONCE: usize = 5;

/// Reads all of it. Nothing is written. Dry runs are asked for, on every node or on one.
pub(super) async fn namespace(api: &mut Api, name: &str, node: Option<&str>) -> anyhow::Result<Namespace> {
    let kind = |api, name| Kind { api, name };
    let pods: Vec<Pod> = api.list(kind(CORE, "pods"), name).await.context("cannot read the pods")?;
    let mut namespace = Namespace {
        name: name.to_owned(),
        today: today()?,
        pods,
        deployments: read(api, kind(APPS, "deployments"), name).await,
        replica_sets: read(api, kind(APPS, "replicasets"), name).await,
        stateful_sets: read(api, kind(APPS, "statefulsets"), name).await,
        jobs: read(api, kind("/apis/batch/v1", "jobs"), name).await,
        budgets: read(api, kind("/apis/policy/v1", "poddisruptionbudgets"), name).await,
        services: read(api, kind(CORE, "services"), name).await,
        autoscalers: read(api, kind("/apis/autoscaling/v2", "horizontalpodautoscalers"), name).await,
        claims: read(api, kind(CORE, "persistentvolumeclaims"), name).await,
        nodes: read(api, kind(CORE, "nodes"), "").await,
        last_times: Vec::new(),
        deadline: None,
        graceful: None,
        answers: BTreeMap::new(),
    };
    let nodes = namespace.nodes.iter().flatten();
    namespace.last_times = nodes.flat_map(last_times).collect();
    namespace.answers = ask(api, name, &to_ask(&namespace, node)).await;
    Ok(namespace)
}

async fn read<T: DeserializeOwned>(api: &mut Api, kind: Kind, namespace: &str) -> Read<T> {
    api.list(kind, namespace).await.map_err(|error| match error {
        ApiError::Status { code: 403, .. } => format!("no right to list {}", kind.name),
        error => error.to_string(),
    })
}

/// What a Node tells of its last reboot, fit for people.
fn last_times(node: &Node) -> Vec<LastTime> {
    let said = Heartbeat::of(&node.metadata.annotations).and_then(|it| it.last_reboot);
    let record: Option<Reboot> = said.and_then(|record| serde_json::from_value(record).ok());
    let Some((record, at)) = record.and_then(|it| it.down.map(|at| (it, at))) else { return Vec::new() };
    let told = record.measured.bounded().workloads.into_iter();
    told.map(|impact| LastTime { node: node.metadata.name.clone(), at, impact }).collect()
}

/// Asks for evictions as dry runs: nothing is evicted, and no budget counts them.
async fn ask(api: &mut Api, namespace: &str, pods: &[Pod]) -> BTreeMap<String, Answer> {
    let (mut answers, mut asked) = (BTreeMap::new(), JoinSet::new());
    for pod in pods {
        if asked.len() >= AT_ONCE {
            answers.extend(asked.join_next().await.and_then(Result::ok));
        }
        let (name, uid) = (pod.metadata.name.clone(), pod.metadata.uid.clone());
        let key = PodKey { namespace: namespace.to_owned(), name, uid: uid.clone() };
        let sent = api.eviction(&key, How::DryRun, None);
        asked.spawn(async move { (uid, answer(sent.await)) });
    }
    answers.extend(asked.join_all().await);
    answers
}

fn answer(outcome: EvictionOutcome) -> Answer {
    match outcome {
        EvictionOutcome::Granted => Answer::Granted,
        EvictionOutcome::Refused(refusal) => match refusal.by {
            Refuser::Budget { .. } | Refuser::SeveralBudgets => Answer::ByBudget(refusal.message),
            // The only sign of a missing right; a webhook's refusal is told apart before.
            Refuser::Other if lacks_right(&refusal.message) => {
                Answer::None("no right to create pods/eviction".to_owned())
            }
            // It is about to delete the pod itself.
            Refuser::EndingNamespace => Answer::None("its namespace is being deleted".to_owned()),
            Refuser::Other | Refuser::Webhook { .. } => Answer::ByOthers(refusal.message),
        },
        EvictionOutcome::Outdated => Answer::None("the pod has left meanwhile".to_owned()),
        EvictionOutcome::Overloaded { message, .. } | EvictionOutcome::Unanswered { message } => {
            Answer::None(message)
        }
    }
}

/// The date of the day, where this runs.
fn today() -> anyhow::Result<Date> {
    let now = Timestamp::from_second(i64::try_from(clock::now().wall.as_secs())?)?;
    Ok(now.to_zoned(TimeZone::system()).date())
}

/// As the API server's authorisation says it; a policy that refuses names itself first.
fn lacks_right(message: &str) -> bool {
    message.contains(" is forbidden: User \"") && message.contains("cannot create resource \"pods/eviction\"")
}
