//! Which budget holds back which pods.

use std::collections::{BTreeMap, BTreeSet};

use super::super::{PodKey, PodView, World};
use super::state::{DrainState, Refuser};

/// Which budget holds back which pods, as keys of [`DrainState::budgets`].
pub(super) struct Keepers<'a> {
    drain: &'a DrainState,
    by_controller: BTreeMap<&'a str, &'a String>,
}

impl<'a> Keepers<'a> {
    pub(super) fn new(drain: &'a DrainState, pods: &'a BTreeMap<String, PodView>) -> Keepers<'a> {
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

    /// A budget that has refused one pod probably covers all pods of the same controller: those need not be asked
    /// for.
    pub(super) fn of(&self, pod: &PodView) -> Option<&'a String> {
        self.by_refusal(pod).or_else(|| self.by_controller.get(pod.controller_uid.as_str()).copied())
    }
}

/// Each watch is a request that the server keeps open.
const WATCHED_AT_ONCE: usize = 16;

/// The budgets that have refused and still keep a pod here, as `namespace/name`: a few of them, if there are many.
pub fn refusing_budgets(world: &World) -> BTreeSet<String> {
    let drain = &world.cluster.drain;
    let Some(pods) = world.cluster.pods.last() else { return BTreeSet::new() };
    let keepers = Keepers::new(drain, pods);
    let kept = pods.values().filter(|pod| !pod.terminating).filter_map(|pod| keepers.of(pod));
    let refusing: BTreeSet<&String> = kept.collect();
    refusing.into_iter().take(WATCHED_AT_ONCE).cloned().collect()
}

pub(super) fn budget_key(pod: &PodKey, name: &str) -> String {
    format!("{}/{name}", pod.namespace)
}
