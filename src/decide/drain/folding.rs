//! Folds what is reported about pods and evictions into the drain.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::world::Cluster;
use super::super::{How, Owner, Part, PodKey, PodView};
use super::keepers::{Keepers, budget_key};
use super::rehearsal;
use super::state::{
    DrainState, EvictionOutcome, GonePod, LAST_RETRY_OF_BUDGET, LAST_RETRY_OF_OPEN_BUDGET, PodDrain, Refuser,
    Retry, Returned,
};

/// If an accepted eviction shows no deletion within this time, it is asked for again.
const ACCEPTED_SHOWS: Duration = Duration::from_secs(60);
/// The same for a pod that is no longer what we took it for: the watch is about to report what it is.
const OUTDATED_SHOWS: Duration = Duration::from_secs(5);
/// When a pod has left, its budget may allow the next one as soon as its replacement is ready.
const RETRY_AFTER_GONE: Duration = Duration::from_millis(500);

pub(in crate::decide) fn pod_seen(cluster: &mut Cluster, pod: PodView, now: Duration) {
    has_come(cluster, &pod, now);
    cluster.pods.change(|pods| {
        pods.insert(pod.key.uid.clone(), pod);
    });
    pods_changed(cluster);
}

pub(in crate::decide) fn pod_gone(cluster: &mut Cluster, key: &PodKey, now: Duration) {
    let Some(pod) = cluster.pods.last().and_then(|pods| pods.get(&key.uid)).cloned() else { return };
    has_left(cluster, &pod, now);
    cluster.pods.change(|pods| {
        pods.remove(&key.uid);
    });
    pods_changed(cluster);
}

/// What a watch reported is not a reading that a write may rest on.
fn pods_changed(cluster: &mut Cluster) {
    if let Some(look) = &mut cluster.look {
        look.pods_changed = true;
        look.confirms_drained = false;
    }
}

/// A complete list is about to replace what is known.
pub(in crate::decide) fn pods_read(cluster: &mut Cluster, pods: &BTreeMap<String, PodView>, now: Duration) {
    if cluster.pods.last().is_none() {
        cluster.drain.last_ended = now;
    }
    let known = cluster.pods.last().into_iter().flat_map(|known| known.values());
    let left: Vec<PodView> = known.filter(|pod| !pods.contains_key(&pod.key.uid)).cloned().collect();
    for pod in &left {
        has_left(cluster, pod, now);
    }
    for pod in pods.values() {
        has_come(cluster, pod, now);
    }
    if let Some(look) = &mut cluster.look {
        (look.read, look.pods_changed) = (look.read.with(Part::Pods), false);
    }
}

fn has_come(cluster: &mut Cluster, pod: &PodView, now: Duration) {
    let is_drained = matches!(pod.owner, Owner::Controller | Owner::Nobody);
    let pods = &mut cluster.drain.pods;
    if pod.terminating && is_drained && (!pod.finished || pods.contains_key(&pod.key.uid)) {
        // Whoever asked for its end: we wait for it, and report it.
        let record = pods.entry(pod.key.uid.clone());
        let record = record.or_insert(PodDrain { first_asked: now, ..PodDrain::default() });
        record.leaving_since = record.leaving_since.or(Some(now));
        record.finished_at = record.finished_at.or(pod.finished.then_some(now));
    }
    let known = cluster.pods.last().and_then(|pods| pods.get(&pod.key.uid));
    if pod.finished && known.is_some_and(|known| !known.finished) {
        cluster.drain.last_ended = now;
    }
    let is_known = known.is_some();
    if let Some(returned) = cluster.drain.returned.get_mut(&pod.controller_uid).filter(|_| !is_known) {
        returned.come = returned.come.saturating_add(1);
        returned.here.insert(pod.key.uid.clone());
    }
}

fn has_left(cluster: &mut Cluster, pod: &PodView, now: Duration) {
    let Cluster { pods, drain, .. } = cluster;
    drain.last_ended = now;
    let keeper = pods.last().and_then(|pods| Keepers::new(drain, pods).of(pod)).cloned();
    // Its budget may allow the next pod as soon as this one is replaced.
    if let Some(retry) = keeper.and_then(|key| drain.budgets.get_mut(&key)) {
        *retry = Retry { refusals: 0, at: retry.at.min(now + RETRY_AFTER_GONE) };
    }
    if let Some(returned) = drain.returned.get_mut(&pod.controller_uid) {
        returned.here.remove(&pod.key.uid);
    }
    let Some(record) = drain.pods.remove(&pod.key.uid) else { return };
    drain.last_gone = now;
    drain.gone.push(GonePod {
        pod: pod.key.clone(),
        asked: record.asked,
        refused: record.refused,
        after: now.saturating_sub(record.first_asked),
    });
}

pub(in crate::decide) fn evictions_begun(cluster: &mut Cluster, pods: &[PodKey], how: How, now: Duration) {
    let Cluster { pods: known, drain, .. } = cluster;
    if how == How::DryRun {
        return rehearsal::begun(drain, pods, now);
    }
    drain.evicting_since.get_or_insert(now);
    for key in pods {
        let record = drain.pods.entry(key.uid.clone()).or_default();
        if record.asked == 0 {
            record.first_asked = now;
        }
        record.asked = record.asked.saturating_add(1);
        record.in_flight = true;
        let grace = known.last().and_then(|known| known.get(&key.uid)).map(|pod| pod.grace);
        drain.longest_grace = drain.longest_grace.max(grace.unwrap_or_default());
    }
}

pub(in crate::decide) fn eviction_ended(
    cluster: &mut Cluster,
    key: &PodKey,
    how: How,
    outcome: EvictionOutcome,
    now: Duration,
) {
    if how == How::DryRun {
        return rehearsal::ended(&mut cluster.drain, key, outcome);
    }
    let Cluster { pods, drain, .. } = cluster;
    let pod = pods.last().and_then(|pods| pods.get(&key.uid));
    let keeper = pod.zip(pods.last()).and_then(|(pod, pods)| Keepers::new(drain, pods).of(pod)).cloned();
    match &outcome {
        EvictionOutcome::Overloaded { message, retry_after } => {
            hold_up(drain, key, message, *retry_after, now);
        }
        EvictionOutcome::Unanswered { message } => hold_up(drain, key, message, None, now),
        EvictionOutcome::Granted | EvictionOutcome::Outdated | EvictionOutcome::Refused(_) => {
            (drain.held_up.refusals, drain.trouble) = (0, None);
        }
    }
    let Some(record) = drain.pods.get_mut(&key.uid) else { return };
    record.in_flight = false;
    match outcome {
        EvictionOutcome::Granted => {
            (record.granted, record.refusal) = (true, None);
            record.retry = Retry { refusals: 0, at: now + ACCEPTED_SHOWS };
            if let Some(pod) = pod.filter(|pod| !pod.controller_uid.is_empty()) {
                let of_it = |other: &&PodView| other.controller_uid == pod.controller_uid;
                let before = pods.last().map_or(0, |pods| pods.values().filter(of_it).count());
                let returned = Returned { before, ..Returned::default() };
                drain.returned.entry(pod.controller_uid.clone()).or_insert(returned);
            }
            // It may allow more than one.
            if let Some(retry) = keeper.and_then(|key| drain.budgets.get_mut(&key)) {
                *retry = Retry { refusals: 0, at: now };
            }
        }
        EvictionOutcome::Outdated => record.retry.at = now + OUTDATED_SHOWS,
        EvictionOutcome::Refused(refusal) => {
            record.granted = false;
            *record.refused.entry(refusal.by.name()).or_default() += 1;
            if let Refuser::Budget { name, .. } = &refusal.by {
                let key = budget_key(key, name);
                // It may have opened while this request was on its way.
                let is_open = drain.open_budgets.contains(&key);
                let last = if is_open { LAST_RETRY_OF_OPEN_BUDGET } else { LAST_RETRY_OF_BUDGET };
                let retry = drain.budgets.entry(key.clone()).or_default();
                retry.refused_at_most(now, refusal.retry_after, &key, last);
            } else {
                record.retry.refused(now, refusal.retry_after, &key.uid);
            }
            record.refusal = Some(refusal);
        }
        EvictionOutcome::Overloaded { .. } | EvictionOutcome::Unanswered { .. } => {}
    }
}

/// A budget that opens is asked at once. One that opens, closes and opens again without an answer in between is asked
/// once: its request is under way.
pub(in crate::decide) fn budget_seen(cluster: &mut Cluster, budget: String, opens: bool, now: Duration) {
    let drain = &mut cluster.drain;
    if !opens {
        drain.open_budgets.remove(&budget);
    } else if let Some(retry) = drain.budgets.get_mut(&budget)
        && drain.open_budgets.insert(budget)
    {
        retry.at = retry.at.min(now);
    }
}

/// What the server cannot do now, it can do for no pod.
fn hold_up(drain: &mut DrainState, key: &PodKey, why: &str, retry_after: Option<Duration>, now: Duration) {
    drain.trouble = Some(why.to_owned());
    drain.held_up.refused(now, retry_after, &key.uid);
}
