//! What a drain did, in words for people.

use std::time::Duration;

use super::super::healthy::named;
use super::super::text::span;
use super::super::{PodView, Reason, World};
use super::state::{DrainState, Refuser, STUCK_AFTER, overdue_by, times};

/// `1 pod has`, `17 pods have`
pub(crate) fn pods_have(count: usize) -> String {
    if count == 1 { "1 pod has".to_owned() } else { format!("{count} pods have") }
}

impl DrainState {
    /// What has left so far, in one line; `None` if nothing has.
    pub fn summary(&self) -> Option<String> {
        let slowest = self.gone.iter().max_by_key(|gone| gone.after)?;
        let asked: u32 = self.gone.iter().map(|gone| gone.asked).sum();
        let refused: u32 = self.gone.iter().flat_map(|gone| gone.refused.values()).sum();
        Some(format!(
            "{} left, asked for {} and refused {}; the slowest was {} with {}",
            pods_have(self.gone.len()),
            times(asked),
            times(refused),
            slowest.pod,
            span(slowest.after)
        ))
    }
}

/// What is left of a drain: the pods that still have to leave, and how long they have for it.
pub(in crate::decide) fn progress(world: &World, left: &[&PodView], within: Duration) -> Vec<Reason> {
    if left.is_empty() {
        return Vec::new();
    }
    let drain = &world.cluster.drain;
    let refusal = |pod: &PodView| drain.pods.get(&pod.key.uid)?.refusal.as_ref().filter(|_| !pod.terminating);
    let mut refused = left.iter().filter_map(|pod| Some((pod.key.to_string(), refusal(pod)?)));
    let refusal = refused.next().map(|(pod, refusal)| match &refusal.by {
        Refuser::Webhook { .. } | Refuser::Other => format!("{pod} was refused: {}", refusal.message),
        by => format!("{pod} blocked by {by}"),
    });
    let stuck = |pod: &&&PodView| {
        overdue_by(drain, pod, world.now.boot).is_some_and(|overdue| overdue >= STUCK_AFTER)
    };
    let stuck: Vec<&PodView> = left.iter().filter(stuck).copied().collect();
    let first = stuck.iter().map(|pod| &pod.key).min_by_key(|key| key.to_string()).cloned();
    let stuck = first.map(|first| Reason::PodsStuck { pods: named(&stuck), first });
    let (left, total, more) = (left.len(), left.len() + drain.gone.len(), refused.count());
    let trouble = drain.trouble.clone().map(|why| Reason::EvictionsHeldUp { why });
    let left = Reason::PodsLeft { left, total, within, refused: refusal, more };
    trouble.into_iter().chain([left]).chain(stuck).collect()
}
