//! The dry run before a try that follows a failed one.
//!
//! A hint and no lock: some operators move their pod only once they see the cordon, so that a budget which allows
//! nothing now may allow it then. After twice the pause the next try comes whatever the dry run says.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::world::World;
use super::super::{AbortReason, PodKey, PodView, gates};
use super::{Drain, EvictionOutcome, EvictionRefusal, Refuser};

const AT_ONCE: usize = 5;
/// What it said counts for so long.
const HOLDS: Duration = Duration::from_secs(30 * 60);

/// What the server said so far.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Rehearsal {
    /// When it began.
    pub begun: Duration,
    /// The uids of the pods that were asked for, and whether the answer is still awaited.
    pub asked: BTreeMap<String, bool>,
    /// The first pod that would be kept, and by whom.
    pub blocked: Option<(PodKey, Refuser)>,
}

/// What follows from it.
pub(in crate::decide) enum Rehearsed {
    /// The try may begin.
    Enough,
    /// These are to be asked for.
    Ask(Vec<PodKey>),
    /// Answers are on their way.
    Awaited,
    /// The try would come to nothing; it waits until then.
    Blocked { pod: PodKey, by: Refuser, until: Duration },
}

/// Judges the next try, for these pods that have to leave.
pub(in crate::decide) fn judge(world: &World, left: &[&PodView]) -> Rehearsed {
    let here = &world.host.boot_id;
    let failed = |because| because == AbortReason::DrainDeadline;
    let setback = world.memory.setback.as_ref().filter(|it| it.boot_id == *here && failed(it.because));
    let Some(setback) = setback else { return Rehearsed::Enough };
    let now = world.now.boot;
    let tries_anyway = setback.at + gates::pause(setback.count) * 2;
    if now >= tries_anyway {
        return Rehearsed::Enough;
    }
    let rehearsal = world.cluster.drain.rehearsal.as_ref().filter(|it| now < it.begun + HOLDS);
    if let Some((begun, (pod, by))) = rehearsal.and_then(|it| Some((it.begun, it.blocked.clone()?))) {
        return Rehearsed::Blocked { pod, by, until: tries_anyway.min(begun + HOLDS) };
    }
    let in_flight = rehearsal.map_or(0, |it| it.asked.values().filter(|awaited| **awaited).count());
    let asked = |pod: &PodView| rehearsal.is_some_and(|it| it.asked.contains_key(&pod.key.uid));
    let to_ask = left.iter().filter(|pod| !pod.terminating && !asked(pod)).map(|pod| pod.key.clone());
    let pods: Vec<PodKey> = to_ask.take(AT_ONCE.saturating_sub(in_flight)).collect();
    match (pods.is_empty(), in_flight) {
        (true, 0) => Rehearsed::Enough,
        (true, _) => Rehearsed::Awaited,
        (false, _) => Rehearsed::Ask(pods),
    }
}

pub(super) fn begun(drain: &mut Drain, pods: &[PodKey], now: Duration) {
    let current = drain.rehearsal.take().filter(|rehearsal| now < rehearsal.begun + HOLDS);
    let mut rehearsal = current.unwrap_or(Rehearsal { begun: now, ..Rehearsal::default() });
    rehearsal.asked.extend(pods.iter().map(|pod| (pod.uid.clone(), true)));
    drain.rehearsal = Some(rehearsal);
}

pub(super) fn ended(drain: &mut Drain, key: &PodKey, outcome: EvictionOutcome) {
    let Some(rehearsal) = &mut drain.rehearsal else { return };
    rehearsal.asked.insert(key.uid.clone(), false);
    // What else may stand in the way (a webhook that allows no dry run, an overload) says nothing about a real try.
    if let EvictionOutcome::Refused(EvictionRefusal { by, .. }) = outcome
        && matches!(by, Refuser::Budget { .. } | Refuser::SeveralBudgets)
    {
        rehearsal.blocked.get_or_insert((key.clone(), by));
    }
}
