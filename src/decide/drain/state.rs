//! How far a drain has come: the data, and how it is reported. [`super::folding`] writes it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use super::super::jitter::jitter;
use super::super::text::span;
use super::super::{PodKey, PodView, Waiters};

const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(60);
/// A watch reports when a budget opens. This is for one that is not watched, and for what no watch shows: a budget may
/// let go of a pod that is not ready.
pub(super) const LAST_RETRY_OF_BUDGET: Duration = Duration::from_secs(10);
/// A budget that is open, and refuses all the same: its controller may be about to count again.
pub(super) const LAST_RETRY_OF_OPEN_BUDGET: Duration = Duration::from_secs(1);
const GROWTH: f64 = 1.5;
/// None of a pod's containers runs any more, but its object still exists. For this long a kubelet may be about to
/// remove it, and a StatefulSet creates no replacement before. If it takes longer, a finalizer holds it.
const OBJECT_STAYS: Duration = Duration::from_secs(30);
/// A pod that is here this long after its grace period is named.
pub(super) const STUCK_AFTER: Duration = Duration::from_secs(30);

/// How far a drain has come.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct DrainState {
    /// The pods that were asked for and are still here, by uid.
    pub pods: BTreeMap<String, PodDrain>,
    /// The budgets that refuse, by `namespace/name`.
    pub budgets: BTreeMap<String, Retry>,
    /// Those of them that let a pod go now, according to a watch.
    pub open_budgets: BTreeSet<String>,
    /// The server is overloaded or silent: nothing is asked for before this time.
    pub held_up: Retry,
    /// Why, according to the latest such answer.
    pub trouble: Option<String>,
    /// The controllers, by uid, that had a pod evicted, and which of their pods have come since.
    pub returned: BTreeMap<String, Returned>,
    /// The longest grace period of the pods that were asked for.
    pub longest_grace: Duration,
    /// The pods that have left, in the order in which they left.
    pub gone: Vec<GonePod>,
    /// When the last of them left, in time since boot.
    pub last_gone: Duration,
    /// When any pod of this node was last seen to have ended or left, or this process first saw the pods.
    pub last_ended: Duration,
    /// When this process first asked for an eviction in this turn.
    pub evicting_since: Option<Duration>,
    /// When this process first saw its cordon answered in this turn, or its confirmation of a person's cordon.
    pub cordoned: Option<Duration>,
    /// The result of the dry run before this try.
    pub rehearsal: Option<Rehearsal>,
    /// The other nodes that wait, read once in a turn.
    pub waiters: Option<Waiters>,
}

impl DrainState {
    /// Whether it has anything that only a turn leaves.
    pub(in crate::decide) fn is_of_a_turn(&self) -> bool {
        self.evicting_since.is_some() || self.cordoned.is_some()
    }

    /// What the next turn needs of this one: since when the pods that are still here are being deleted.
    pub(in crate::decide) fn after_release(self) -> DrainState {
        let leaving = |it: PodDrain| PodDrain {
            first_asked: it.first_asked,
            leaving_since: it.leaving_since,
            finished_at: it.finished_at,
            ..PodDrain::default()
        };
        let pods = self.pods.into_iter().filter(|(_, pod)| pod.leaving_since.is_some());
        DrainState { pods: pods.map(|(uid, pod)| (uid, leaving(pod))).collect(), ..DrainState::default() }
    }
}

/// The pods of a controller that have come to this node since the first of its pods was evicted.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Returned {
    /// How many pods of it were here before.
    pub before: usize,
    /// How many have come.
    pub come: usize,
    /// Those of them that are still here, by uid.
    pub here: BTreeSet<String>,
}

/// When to try again after refusals in a row.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Retry {
    /// How many.
    pub refusals: u32,
    /// Not before this time since boot.
    pub at: Duration,
}

/// How far the eviction of one pod has come.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct PodDrain {
    /// A request is under way.
    pub in_flight: bool,
    /// The server granted it; the pod is about to leave.
    pub granted: bool,
    /// When it was first asked for, in time since boot.
    pub first_asked: Duration,
    /// How often it was asked for.
    pub asked: u32,
    /// How often it was refused, and by whom.
    pub refused: BTreeMap<String, u32>,
    /// Not asked for again before this time.
    pub retry: Retry,
    /// The latest refusal.
    pub refusal: Option<EvictionRefusal>,
    /// When it was first seen that it is being deleted.
    pub leaving_since: Option<Duration>,
    /// When it was first seen that none of its containers runs any more although its object still exists.
    pub finished_at: Option<Duration>,
}

/// How a request for an eviction ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum EvictionOutcome {
    /// The pod is leaving.
    Granted,
    /// There is no such pod, or another one of that name: the watch will report which.
    Outdated,
    /// Not this pod, not now. It is asked for again later.
    Refused(EvictionRefusal),
    /// The server has too much to do: this says nothing about the pod.
    Overloaded {
        /// The reason, for people.
        message: String,
        /// The server asked us to wait this long.
        retry_after: Option<Duration>,
    },
    /// No answer: it may be granted, now or later.
    Unanswered {
        /// The reason, for people.
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
    /// It asked us to wait this long.
    pub retry_after: Option<Duration>,
}

/// Who refuses an eviction.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Refuser {
    /// A PodDisruptionBudget of the pod's namespace.
    Budget {
        /// Its name.
        name: String,
        /// How many healthy pods it needs, and how many there are, if the server says so.
        counts: Option<(u32, u32)>,
    },
    /// Several budgets cover the pod: the server never evicts such a pod.
    SeveralBudgets,
    /// The pod's namespace is being deleted, and will delete the pod.
    EndingNamespace,
    /// An admission webhook.
    Webhook {
        /// Its name.
        name: String,
    },
    /// Anything else: a missing right, an error of the server.
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
            Refuser::Webhook { name } => write!(f, "admission webhook {name}"),
            Refuser::Other => f.write_str("the server"),
        }
    }
}

impl Refuser {
    /// A short name, always the same for the same refuser.
    pub(super) fn name(&self) -> String {
        match self {
            Refuser::Budget { name, .. } => format!("budget {name}"),
            Refuser::SeveralBudgets => "several budgets".to_owned(),
            Refuser::EndingNamespace => "its ending namespace".to_owned(),
            Refuser::Webhook { name } => format!("webhook {name}"),
            Refuser::Other => "the server".to_owned(),
        }
    }
}

impl Retry {
    pub(super) fn refused(&mut self, now: Duration, retry_after: Option<Duration>, who: &str) {
        self.refused_at_most(now, retry_after, who, LAST_RETRY);
    }

    /// The same, with the longest time between two requests.
    pub(super) fn refused_at_most(
        &mut self,
        now: Duration,
        retry_after: Option<Duration>,
        who: &str,
        last: Duration,
    ) {
        // Requests that were sent together are refused together: that counts as one refusal.
        if now < self.at {
            self.at = self.at.max(now + retry_after.unwrap_or_default());
            return;
        }
        let ceiling = FIRST_RETRY.mul_f64(GROWTH.powi(self.refusals.min(20) as i32)).min(last);
        self.refusals = self.refusals.saturating_add(1);
        // From three quarters of it up to all of it, added to what the server asked for, so that nodes and pods
        // spread out.
        let share = 0.75 + jitter(&[who, &self.refusals.to_string()]) / 4.0;
        self.at = now + retry_after.unwrap_or_default() + ceiling.mul_f64(share);
    }
}

/// The record of a pod that has left.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct GonePod {
    /// Which pod.
    pub pod: PodKey,
    /// How often this process asked for it; 0 if it was being deleted already.
    pub asked: u32,
    /// How often it was refused, and by whom.
    pub refused: BTreeMap<String, u32>,
    /// How long it took from the first request on.
    pub after: Duration,
}

impl fmt::Display for GonePod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.asked == 0 {
            return write!(f, "{} is gone; it was already being deleted", self.pod);
        }
        write!(f, "{} is gone after {} (asked for {}", self.pod, span(self.after), times(self.asked))?;
        for (who, count) in &self.refused {
            write!(f, "; refused {} by {who}", times(*count))?;
        }
        f.write_str(")")
    }
}

/// What the server has said so far.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Rehearsal {
    /// When it began.
    pub begun: Duration,
    /// The uids of the pods that were asked for, and whether the answer is still awaited.
    pub asked: BTreeMap<String, bool>,
    /// The first pod that would be refused, and by whom.
    pub blocked: Option<(PodKey, Refuser)>,
}

/// Until when we wait for a pod of which nothing runs any more.
pub(in crate::decide) fn awaited_until(drain: &DrainState, pod: &PodView) -> Option<Duration> {
    let record = drain.pods.get(&pod.key.uid).filter(|_| pod.finished && pod.terminating)?;
    record.finished_at.map(|at| at + OBJECT_STAYS)
}

/// For how long a pod that is being deleted has been here beyond its grace period.
pub(super) fn overdue_by(drain: &DrainState, pod: &PodView, now: Duration) -> Option<Duration> {
    let since = drain.pods.get(&pod.key.uid)?.leaving_since.filter(|_| pod.terminating)?;
    now.checked_sub(since + pod.grace)
}

/// From when on a pod that is being deleted counts as stuck, and for people is named.
pub(in crate::decide) fn named_from(drain: &DrainState, pod: &PodView) -> Option<Duration> {
    let since = drain.pods.get(&pod.key.uid)?.leaving_since.filter(|_| pod.terminating)?;
    Some(since + pod.grace + STUCK_AFTER)
}

/// `once`, `17 times`
pub(super) fn times(count: u32) -> String {
    if count == 1 { "once".to_owned() } else { format!("{count} times") }
}
