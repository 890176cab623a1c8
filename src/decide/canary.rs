//! Canaries: whatever is about to become live runs on a few nodes of a pool first, and the others wait until it has run there
//! for a while.
//!
//! The claim of a canary says what it tries. It keeps its slot for the soak, and its Node then says by a label what has run
//! there well. So each other node sees in the slots who tries what it waits for, and on the Nodes whether anybody has.

use std::collections::BTreeSet;

use super::jitter::hash;
use super::requests::Requests;
use super::settings::{Canary, Settings};
use super::world::World;
use super::{SlotView, reclaim};

/// What a reboot of this host would make live, as a word that is the same on every host: the kernel that was installed, and
/// the packages that ask. `None` if something else asks. Without versions: what tells of them comes later on one host than on
/// another, and hosts with the same packages would not know that they wait for the same.
pub fn news(world: &World, settings: &Settings) -> Option<String> {
    let requests = Requests::of(world, settings);
    let kernel = world.host.kernel.last().and_then(|kernel| kernel.newer.as_ref());
    let mut all: BTreeSet<String> = BTreeSet::new();
    all.extend(kernel.map(|kernel| kernel.release.clone()));
    all.extend(requests.asking().flat_map(|(_, request)| request.packages.iter().cloned()));
    let words: Vec<&str> = all.iter().map(String::as_str).collect();
    (!words.is_empty()).then(|| format!("{:016x}", hash(&words)))
}

/// The rule of the pool, and what this host would try; `None` where it need not wait for anybody.
pub(super) fn asked<'a>(world: &World, settings: &'a Settings) -> Option<(&'a Canary, String)> {
    let canary = settings.policy.canary.as_ref()?;
    Some((canary, news(world, settings)?))
}

/// Whether enough Nodes have tried it well.
pub(super) fn is_proven(world: &World, canary: &Canary, what: &str) -> bool {
    let proven = world.cluster.proven.current();
    proven.is_some_and(|proven| proven.what == what && proven.nodes >= canary.nodes as usize)
}

/// The slots of the pool in which other nodes try this.
pub(super) fn rivals<'a>(world: &'a World, settings: &'a Settings, what: &str) -> Vec<&'a SlotView> {
    let slots = world.cluster.slots.last().into_iter().flatten();
    slots
        .filter(|slot| reclaim::is_claimed(slot) && slot.pool.as_ref() == Some(&settings.pool))
        .filter(|slot| slot.holder.as_ref() != Some(&settings.node_name))
        .filter(|slot| slot.claim.canary.as_deref() == Some(what))
        .collect()
}
