//! The drain: which pods leave, how far each has come, and what the server said. [`plan`] decides what becomes of a
//! pod, [`queue`] whom to ask next.

mod plan;
pub(super) mod queue;
mod record;
pub(super) mod rehearsal;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

pub use plan::{Leave, Planned, Refusal, Verdict, Warning, budget_namespaces, plan};
pub use record::GonePod;
pub(crate) use record::pods_have;
pub(super) use record::progress;
pub use rehearsal::Rehearsal;

use super::jitter::jitter;
use super::world::Cluster;
use super::{How, Owner, PodKey, PodView};

/// An accepted eviction that shows no deletion after this long is asked for again.
const ACCEPTED_SHOWS: Duration = Duration::from_secs(60);
/// So is one of a pod that is not what we took it for: the watch is about to tell what it is.
const OUTDATED_SHOWS: Duration = Duration::from_secs(5);
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(60);
/// Slow enough that a budget which blocks for hours costs a request a minute, quick enough that one which lets pods
/// go one after the other is not left waiting for much longer than it took.
const GROWTH: f64 = 1.5;
/// Nothing of a pod runs any more, but its object is there: for so long a kubelet may be about to remove it, and a
/// StatefulSet makes no other before it has. Longer than that it is a finalizer's.
const OBJECT_STAYS: Duration = Duration::from_secs(30);
/// When a pod has left, its budget may allow the next one as soon as its replacement is ready.
const RETRY_AFTER_GONE: Duration = Duration::from_millis(500);

/// How a drain goes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Drain {
    /// The pods that were asked for and are still here, by uid.
    pub pods: BTreeMap<String, PodDrain>,
    /// The budgets that refuse, by `namespace/name`.
    pub budgets: BTreeMap<String, Retry>,
    /// The server is overloaded or silent: nothing is asked for before this.
    pub held_up: Retry,
    /// Why, as the latest such answer says.
    pub trouble: Option<String>,
    /// The controllers, by uid, of whose pods one was granted, and how many pods of theirs have come since.
    pub returned: BTreeMap<String, u32>,
    /// The longest grace of those that were asked.
    pub longest_grace: Duration,
    /// Those that have left, in the order in which they did.
    pub gone: Vec<GonePod>,
    /// When the last one did, in time since boot.
    pub last_gone: Duration,
    /// When this process first saw its cordon answered in this turn, or its confirmation of a person's.
    pub cordoned: Option<Duration>,
    /// What the dry run before this try said.
    pub rehearsal: Option<Rehearsal>,
}

/// When to try again, after some refusals in a row.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Retry {
    /// How many.
    pub refusals: u32,
    /// Not before this time since boot.
    pub at: Duration,
}

/// How the eviction of one pod goes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct PodDrain {
    /// A request is on its way.
    pub in_flight: bool,
    /// The server granted it; the pod is about to leave.
    pub granted: bool,
    /// When it was first asked for, in time since boot.
    pub first_asked: Duration,
    /// How often it was asked for.
    pub asked: u32,
    /// How often it was refused, by whom.
    pub refused: BTreeMap<String, u32>,
    /// Not asked again before this.
    pub retry: Retry,
    /// The latest refusal.
    pub refusal: Option<EvictionRefusal>,
    /// When it was first seen that nothing of it runs any more while its object was still there.
    pub finished_at: Option<Duration>,
}

/// How a request for an eviction ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum EvictionOutcome {
    /// The pod is leaving.
    Granted,
    /// There is no such pod, or another one of its name: what is true, the watch tells.
    Outdated,
    /// Not this pod, not now. Asked again later.
    Refused(EvictionRefusal),
    /// The server has too much to do: nothing of the pod.
    Overloaded {
        /// For people.
        message: String,
        /// The server asked for this much patience.
        retry_after: Option<Duration>,
    },
    /// No answer: it may be granted, now or later.
    Unanswered {
        /// For people.
        message: String,
    },
}

/// A refusal of one pod.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EvictionRefusal {
    /// Who refused.
    pub by: Refuser,
    /// What the server said.
    pub message: String,
    /// It asked for this much patience.
    pub retry_after: Option<Duration>,
}

/// Who refuses an eviction.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Refuser {
    /// A PodDisruptionBudget of the pod's namespace.
    Budget {
        /// Its name.
        name: String,
        /// How many pods it needs healthy, and how many are, where the server says so.
        counts: Option<(u32, u32)>,
    },
    /// Several budgets cover the pod: the server evicts no such pod.
    SeveralBudgets,
    /// The pod's namespace is being deleted, and will delete the pod.
    EndingNamespace,
    /// Anything else: a missing right, a webhook, an error of the server.
    Other,
}

impl fmt::Display for Refuser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refuser::Budget { name, counts: None } => write!(f, "budget {name}"),
            Refuser::Budget { name, counts: Some((needed, healthy)) } => {
                write!(f, "budget {name} ({} of {healthy} may go)", healthy.saturating_sub(*needed))
            }
            Refuser::SeveralBudgets => {
                f.write_str("several budgets at once, which the server does not allow")
            }
            Refuser::EndingNamespace => f.write_str("its namespace, which is being deleted"),
            Refuser::Other => f.write_str("the server"),
        }
    }
}

impl Refuser {
    /// A short name, the same for each refusal of the same one.
    fn name(&self) -> String {
        match self {
            Refuser::Budget { name, .. } => format!("budget {name}"),
            Refuser::SeveralBudgets => "several budgets".to_owned(),
            Refuser::EndingNamespace => "its ending namespace".to_owned(),
            Refuser::Other => "the server".to_owned(),
        }
    }
}

impl Retry {
    fn refused(&mut self, now: Duration, retry_after: Option<Duration>, who: &str) {
        // Requests that were sent together are refused together: that is one refusal.
        if now < self.at {
            self.at = self.at.max(now + retry_after.unwrap_or_default());
            return;
        }
        let ceiling = FIRST_RETRY.mul_f64(GROWTH.powi(self.refusals.min(20) as i32)).min(LAST_RETRY);
        self.refusals = self.refusals.saturating_add(1);
        // From three quarters of it up to all of it, on top of what was asked for, so that nodes and pods keep apart.
        let share = 0.75 + jitter(&[who, &self.refusals.to_string()]) / 4.0;
        self.at = now + retry_after.unwrap_or_default() + ceiling.mul_f64(share);
    }
}

/// Until when a pod of which nothing runs any more is waited for.
pub(super) fn awaited_until(drain: &Drain, pod: &PodView) -> Option<Duration> {
    let record = drain.pods.get(&pod.key.uid).filter(|_| pod.finished && pod.terminating)?;
    record.finished_at.map(|at| at + OBJECT_STAYS)
}

/// Which budget keeps which pods, as keys of [`Drain::budgets`].
struct Keepers<'a> {
    drain: &'a Drain,
    by_controller: BTreeMap<&'a str, &'a String>,
}

impl<'a> Keepers<'a> {
    fn new(drain: &'a Drain, pods: &'a BTreeMap<String, PodView>) -> Keepers<'a> {
        let mut keepers = Keepers { drain, by_controller: BTreeMap::new() };
        for pod in
            drain.pods.keys().filter_map(|uid| pods.get(uid)).filter(|pod| !pod.controller_uid.is_empty())
        {
            if let Some(key) = keepers.by_refusal(pod) {
                keepers.by_controller.insert(&pod.controller_uid, key);
            }
        }
        keepers
    }

    fn by_refusal(&self, pod: &PodView) -> Option<&'a String> {
        let refusal = self.drain.pods.get(&pod.key.uid)?.refusal.as_ref()?;
        let Refuser::Budget { name, .. } = &refusal.by else { return None };
        let key = budget_key(&pod.key, name);
        self.drain.budgets.get_key_value(&key).map(|(key, _)| key)
    }

    /// A budget that has refused a pod probably covers all of the same controller: they need not ask, too.
    fn of(&self, pod: &PodView) -> Option<&'a String> {
        self.by_refusal(pod).or_else(|| self.by_controller.get(pod.controller_uid.as_str()).copied())
    }
}

fn budget_key(pod: &PodKey, name: &str) -> String {
    format!("{}/{name}", pod.namespace)
}

// ---- folding ----

pub(super) fn pod_seen(cluster: &mut Cluster, pod: PodView, now: Duration) {
    has_come(cluster, &pod, now);
    cluster.pods.change(|pods| {
        pods.insert(pod.key.uid.clone(), pod);
    });
    pods_changed(cluster);
}

pub(super) fn pod_gone(cluster: &mut Cluster, key: &PodKey, now: Duration) {
    let Some(pod) = cluster.pods.last().and_then(|pods| pods.get(&key.uid)).cloned() else { return };
    has_left(cluster, &pod, now);
    cluster.pods.change(|pods| {
        pods.remove(&key.uid);
    });
    pods_changed(cluster);
}

/// What was folded from a watch is no reading that a write may rest on.
fn pods_changed(cluster: &mut Cluster) {
    if let Some(look) = &mut cluster.look {
        look.pods_changed = true;
        look.confirms_drained = false;
    }
}

/// A whole list is about to take the place of what is known.
pub(super) fn pods_read(cluster: &mut Cluster, pods: &BTreeMap<String, PodView>, now: Duration) {
    let known = cluster.pods.last().into_iter().flat_map(|known| known.values());
    let left: Vec<PodView> = known.filter(|pod| !pods.contains_key(&pod.key.uid)).cloned().collect();
    for pod in &left {
        has_left(cluster, pod, now);
    }
    for pod in pods.values() {
        has_come(cluster, pod, now);
    }
    if let Some(look) = &mut cluster.look {
        (look.pods, look.pods_changed) = (true, false);
    }
}

fn has_come(cluster: &mut Cluster, pod: &PodView, now: Duration) {
    let is_drained = matches!(pod.owner, Owner::Controller | Owner::Nobody);
    let pods = &mut cluster.drain.pods;
    if pod.terminating && is_drained && (!pod.finished || pods.contains_key(&pod.key.uid)) {
        // Whoever asked for its end: it is waited for, and its end told.
        let record = pods.entry(pod.key.uid.clone());
        let record = record.or_insert(PodDrain { first_asked: now, ..PodDrain::default() });
        record.finished_at = record.finished_at.or(pod.finished.then_some(now));
    }
    let is_known = cluster.pods.last().is_some_and(|pods| pods.contains_key(&pod.key.uid));
    if let Some(returned) = cluster.drain.returned.get_mut(&pod.controller_uid).filter(|_| !is_known) {
        *returned = returned.saturating_add(1);
    }
}

fn has_left(cluster: &mut Cluster, pod: &PodView, now: Duration) {
    let Cluster { pods, drain, .. } = cluster;
    let keeper = pods.last().and_then(|pods| Keepers::new(drain, pods).of(pod)).cloned();
    // As soon as it is replaced, its budget may let the next one go.
    if let Some(retry) = keeper.and_then(|key| drain.budgets.get_mut(&key)) {
        *retry = Retry { refusals: 0, at: retry.at.min(now + RETRY_AFTER_GONE) };
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

pub(super) fn evictions_begun(cluster: &mut Cluster, pods: &[PodKey], how: How, now: Duration) {
    let Cluster { pods: known, drain, .. } = cluster;
    if how == How::DryRun {
        return rehearsal::begun(drain, pods, now);
    }
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

pub(super) fn eviction_ended(
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
                drain.returned.entry(pod.controller_uid.clone()).or_default();
            }
            // It may let go more than one.
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
                drain.budgets.entry(key.clone()).or_default().refused(now, refusal.retry_after, &key);
            } else {
                record.retry.refused(now, refusal.retry_after, &key.uid);
            }
            record.refusal = Some(refusal);
        }
        EvictionOutcome::Overloaded { .. } | EvictionOutcome::Unanswered { .. } => {}
    }
}

/// What the server cannot do now it can do for no pod.
fn hold_up(drain: &mut Drain, key: &PodKey, why: &str, retry_after: Option<Duration>, now: Duration) {
    drain.trouble = Some(why.to_owned());
    drain.held_up.refused(now, retry_after, &key.uid);
}
