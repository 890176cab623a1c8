//! The dry run that follows a failed drain, before the next try.
//!
//! It is a hint and not a requirement: some operators move their pod only once they see the cordon, so whoever
//! refuses now may allow it then. After twice the pause, the next try begins whatever the dry run says.

use std::time::Duration;

use super::super::questions::pause;
use super::super::world::World;
use super::super::{AbortReason, PodKey, PodView};
use super::queue::AT_ONCE;
use super::state::{DrainState, EvictionOutcome, EvictionRefusal, Refuser, Rehearsal};

/// How long its result counts.
const HOLDS: Duration = Duration::from_secs(30 * 60);

/// What comes before the next try.
pub(in crate::decide) enum Rehearsed {
    /// Nothing: the next try may begin.
    Enough,
    /// These pods are to be asked for.
    Ask(Vec<PodKey>),
    /// Answers are still awaited.
    Awaited,
}

/// The latest dry run, while it counts, and until when the next try may wait for its result; `None` if no drain has
/// failed, or the next try begins whatever it says.
fn current(world: &World) -> Option<(Option<&Rehearsal>, Duration)> {
    let here = &world.host.boot_id;
    let failed = |because| because == AbortReason::DrainDeadline;
    let setback = world.memory.setback.as_ref().filter(|it| it.boot_id == *here && failed(it.because))?;
    let tries_anyway = setback.at + pause(setback.count) * 2;
    let now = world.now.boot;
    let rehearsal = world.cluster.drain.rehearsal.as_ref().filter(|it| now < it.begun + HOLDS);
    (now < tries_anyway).then_some((rehearsal, tries_anyway))
}

/// The pod that would be refused, by whom, and until when we wait for that.
pub(in crate::decide) fn blocked(world: &World) -> Option<(&PodKey, &Refuser, Duration)> {
    let (rehearsal, tries_anyway) = current(world)?;
    let rehearsal = rehearsal?;
    let (pod, by) = rehearsal.blocked.as_ref()?;
    Some((pod, by, tries_anyway.min(rehearsal.begun + HOLDS)))
}

/// Which of these pods, which have to leave, to ask for before the next try.
pub(in crate::decide) fn judge(world: &World, left: &[&PodView]) -> Rehearsed {
    let Some((rehearsal, _)) = current(world) else { return Rehearsed::Enough };
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

pub(super) fn begun(drain: &mut DrainState, pods: &[PodKey], now: Duration) {
    let current = drain.rehearsal.take().filter(|rehearsal| now < rehearsal.begun + HOLDS);
    let mut rehearsal = current.unwrap_or(Rehearsal { begun: now, ..Rehearsal::default() });
    rehearsal.asked.extend(pods.iter().map(|pod| (pod.uid.clone(), true)));
    drain.rehearsal = Some(rehearsal);
}

pub(super) fn ended(drain: &mut DrainState, key: &PodKey, outcome: EvictionOutcome) {
    let Some(rehearsal) = &mut drain.rehearsal else { return };
    rehearsal.asked.insert(key.uid.clone(), false);
    // Other obstacles (a webhook that allows no dry run, which is no refusal of its own; an overload) say nothing about
    // a real try.
    if let EvictionOutcome::Refused(EvictionRefusal { by, .. }) = outcome
        && matches!(by, Refuser::Budget { .. } | Refuser::SeveralBudgets | Refuser::Webhook { .. })
    {
        rehearsal.blocked.get_or_insert((key.clone(), by));
    }
}
