//! The drain: which pods leave, which stay, and whom to ask next.

use std::time::Duration;

use super::jitter::jitter;
use super::world::{Cluster, World};
use super::{Owner, PodKey, PodView};

/// Requests for an eviction on their way at once. The server is slow at many evictions under one budget
/// (kubernetes/kubernetes issue 102361), so more of them gain nothing.
const AT_ONCE: usize = 5;
/// An accepted eviction that shows no deletion after this long is asked for again.
const ACCEPTED_SHOWS: Duration = Duration::from_secs(60);
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(30);
/// When a pod has left, a budget may allow the next one as soon as its replacement is ready.
const RETRY_AFTER_GONE: Duration = Duration::from_millis(500);
const LEAST_TIMEOUT: Duration = Duration::from_secs(15 * 60);
const BEYOND_GRACE: Duration = Duration::from_secs(5 * 60);

/// How the eviction of one pod goes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct PodDrain {
    /// A request is on its way.
    pub in_flight: bool,
    /// The server accepted it; the pod is about to leave.
    pub accepted: bool,
    /// How often it was refused.
    pub refusals: u32,
    /// Not asked again before this time since boot.
    pub next_try: Duration,
    /// The server wants no request for this pod before this time since boot.
    pub not_before: Duration,
    /// What the latest refusal said.
    pub refusal: Option<String>,
}

/// How a request for an eviction ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum EvictionOutcome {
    /// The pod is leaving.
    Accepted,
    /// Not now: a budget, an overload, a webhook, a lost answer. Asked again later.
    Refused {
        /// For people: names the budget where there is one.
        message: String,
        /// The server asked for this much patience.
        retry_after: Option<Duration>,
    },
}

/// Whether a pod has to leave before the reboot.
fn has_to_leave(pod: &PodView) -> bool {
    match pod.owner {
        Owner::Controller => true,
        // A DaemonSet's pod would come straight back; a mirror pod is the kubelet's own; a bare pod would be
        // lost for good, while the kubelet starts it again after the boot.
        Owner::DaemonSet | Owner::Kubelet | Owner::Nobody => false,
    }
}

/// The pods that have to leave and have not left, in a steady order. `None` if the pods were never read.
pub(super) fn left(world: &World) -> Option<Vec<&PodView>> {
    Some(world.cluster.pods.last()?.values().filter(|pod| has_to_leave(pod)).collect())
}

/// Whom to ask now.
pub(super) fn to_evict(world: &World) -> Vec<PodKey> {
    let now = world.now.boot;
    let in_flight = world.cluster.drain.values().filter(|drain| drain.in_flight).count();
    left(world)
        .into_iter()
        .flatten()
        .filter(|pod| !pod.terminating)
        .filter(|pod| {
            let drain = world.cluster.drain.get(&pod.key.uid);
            drain.is_none_or(|drain| !drain.in_flight && drain.next_try <= now)
        })
        .map(|pod| pod.key.clone())
        .take(AT_ONCE.saturating_sub(in_flight))
        .collect()
}

/// When the next pod may be asked.
pub(super) fn next_try(world: &World) -> Option<Duration> {
    left(world)?
        .into_iter()
        .filter(|pod| !pod.terminating)
        .filter_map(|pod| world.cluster.drain.get(&pod.key.uid))
        .filter(|drain| !drain.in_flight)
        .map(|drain| drain.next_try)
        .min()
}

/// How long the drain may take, counted from the claim.
pub(super) fn timeout(world: &World, configured: Option<Duration>) -> Duration {
    let longest_grace = left(world).into_iter().flatten().map(|pod| pod.grace).max().unwrap_or_default();
    configured.unwrap_or_else(|| LEAST_TIMEOUT.max(longest_grace + BEYOND_GRACE))
}

pub(super) fn pod_seen(cluster: &mut Cluster, pod: PodView) {
    cluster.pods.change(|pods| {
        pods.insert(pod.key.uid.clone(), pod);
    });
    pods_changed(cluster);
}

pub(super) fn pod_gone(cluster: &mut Cluster, key: &PodKey, now: Duration) {
    cluster.pods.change(|pods| {
        pods.remove(&key.uid);
    });
    cluster.drain.remove(&key.uid);
    for drain in cluster.drain.values_mut().filter(|drain| drain.refusal.is_some()) {
        drain.next_try = drain.next_try.min(now + RETRY_AFTER_GONE).max(drain.not_before);
    }
    pods_changed(cluster);
}

/// What was folded from a watch is no reading that a write may rest on.
fn pods_changed(cluster: &mut Cluster) {
    if let Some(look) = &mut cluster.look {
        look.pods_changed = true;
    }
}

/// Drops the records of pods that are no longer there.
pub(super) fn forget_gone(cluster: &mut Cluster) {
    if let Some(pods) = cluster.pods.current() {
        cluster.drain.retain(|uid, _| pods.contains_key(uid));
    }
}

pub(super) fn evictions_begun(cluster: &mut Cluster, keys: &[PodKey]) {
    for key in keys {
        cluster.drain.entry(key.uid.clone()).or_default().in_flight = true;
    }
}

pub(super) fn eviction_ended(cluster: &mut Cluster, key: &PodKey, outcome: EvictionOutcome, now: Duration) {
    let Some(drain) = cluster.drain.get_mut(&key.uid) else { return };
    drain.in_flight = false;
    match outcome {
        EvictionOutcome::Accepted => {
            drain.accepted = true;
            drain.refusal = None;
            drain.next_try = now + ACCEPTED_SHOWS;
        }
        EvictionOutcome::Refused { message, retry_after } => {
            let ceiling = FIRST_RETRY.saturating_mul(1 << drain.refusals.min(10)).min(LAST_RETRY);
            drain.refusals = drain.refusals.saturating_add(1);
            let share = 0.75 + jitter(&[&key.uid, &drain.refusals.to_string()]) / 2.0;
            drain.not_before = now + retry_after.unwrap_or_default();
            drain.next_try = drain.not_before.max(now + ceiling.mul_f64(share));
            drain.accepted = false;
            drain.refusal = Some(message);
        }
    }
}
