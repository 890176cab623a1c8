//! Which pods to ask for next.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::world::World;
use super::super::{How, PodKey, PodView};
use super::keepers::Keepers;
use super::state::PodDrain;

/// How many requests run at the same time. The server is slow at many evictions under one budget
/// (kubernetes/kubernetes issue 102361), so more of them gain nothing. Pods that are already leaving do not count:
/// their grace periods run in parallel.
pub(super) const AT_ONCE: usize = 5;

/// The pods that have to be asked for, sorted by what holds them back.
pub(in crate::decide) struct Queue<'a> {
    world: &'a World,
    /// Those that no budget holds back.
    open: Vec<&'a PodView>,
    /// The others, by their budget: one per budget may be asked for at a time.
    kept: BTreeMap<&'a String, Vec<&'a PodView>>,
    in_flight: usize,
}

impl<'a> Queue<'a> {
    /// Those of these pods that have to leave in this way. `late`: the drain's time is nearly over, so the pods that
    /// leave last have to be asked for now.
    pub(in crate::decide) fn new(world: &'a World, pods: &[&'a PodView], how: How, late: bool) -> Queue<'a> {
        let drain = &world.cluster.drain;
        let record = |pod: &PodView| drain.pods.get(&pod.key.uid);
        let leaves = |pod: &PodView| pod.terminating || record(pod).is_some_and(|record| record.granted);
        // What the rest of the cluster depends on goes last: a drain that fails should not have touched it.
        let last_too = late || pods.iter().all(|pod| pod.critical || leaves(pod));
        let mut queue = Queue { world, open: Vec::new(), kept: BTreeMap::new(), in_flight: 0 };
        queue.in_flight = drain.pods.values().filter(|record| record.in_flight).count();
        let Some(known) = world.cluster.pods.last() else { return queue };
        let keepers = Keepers::new(drain, known);
        for pod in pods.iter().filter(|pod| !pod.terminating && (last_too || !pod.critical)) {
            // Deletions ignore budgets.
            match keepers.of(pod).filter(|_| how == How::Evict) {
                Some(key) => queue.kept.entry(key).or_default().push(pod),
                None => queue.open.push(pod),
            }
        }
        queue
    }

    fn record(&self, pod: &PodView) -> Option<&'a PodDrain> {
        self.world.cluster.drain.pods.get(&pod.key.uid)
    }

    /// When this pod may be asked for, apart from its budget; `None` while a request is under way.
    fn due(&self, pod: &PodView) -> Option<Duration> {
        match self.record(pod) {
            Some(record) if record.in_flight => None,
            Some(record) => Some(record.retry.at),
            None => Some(Duration::ZERO),
        }
    }

    /// Which of a budget's pods to ask for, and when. They take turns: a budget may allow an unhealthy pod and no
    /// other.
    fn next_kept(&self, budget: &String, pods: &[&'a PodView]) -> Option<(Duration, &'a PodView)> {
        let retry = self.world.cluster.drain.budgets.get(budget)?;
        let dues: Option<Vec<(Duration, &PodView)>> =
            pods.iter().map(|pod| Some((self.due(pod)?, *pod))).collect();
        let asked = |pod: &PodView| self.record(pod).map_or(0, |record| record.asked);
        let granted = |pod: &PodView| self.record(pod).is_some_and(|record| record.granted);
        let (due, pod) = dues?
            .into_iter()
            .min_by_key(|(due, pod)| (granted(pod), asked(pod), pod.ready, *due, &pod.key))?;
        Some((due.max(retry.at), pod))
    }

    /// Each pod that may be asked for, and when.
    fn dues(&self) -> impl Iterator<Item = (Duration, &'a PodView)> {
        let not_before = self.world.cluster.drain.held_up.at;
        let open = self.open.iter().filter_map(|pod| Some((self.due(pod)?, *pod)));
        let kept = self.kept.iter().filter_map(|(budget, pods)| self.next_kept(budget, pods));
        open.chain(kept).map(move |(due, pod)| (due.max(not_before), pod))
    }

    /// Which pods to ask for now.
    pub(in crate::decide) fn now(&self) -> Vec<PodKey> {
        let now = self.world.now.boot;
        let mut due: Vec<&PodView> = self.dues().filter(|(due, _)| *due <= now).map(|(_, pod)| pod).collect();
        // The pods that take longest begin first.
        due.sort_by_key(|pod| (self.record(pod).is_some(), std::cmp::Reverse(pod.grace), &pod.key));
        due.into_iter().take(AT_ONCE.saturating_sub(self.in_flight)).map(|pod| pod.key.clone()).collect()
    }

    /// When the next pod may be asked for.
    pub(in crate::decide) fn next(&self) -> Option<Duration> {
        self.dues().map(|(due, _)| due).min()
    }
}
