//! Reclaim: an unstamped slot whose holder's Node is gone is freed without asking a person.
//!
//! The holder is not disrupted: its cordon went with its Node. If it has a new Node, it may neither cordon nor stamp
//! before it has claimed again, and a claim changes the slot. Any change of the slot restarts the wait.

use std::collections::BTreeSet;
use std::time::Duration;

use super::SlotView;
use super::settings::Settings;
use super::world::{Cluster, Missing, World};

/// How long the holder's Node must have been missing, by our own time since boot.
const MISSING_FOR: Duration = Duration::from_secs(10 * 60);
/// While a holder's Node is missing, we look for it this often.
pub(super) const MISSING_LOOK: Duration = Duration::from_secs(60);
/// If two looks are further apart than this, the Node may have been there in between. That time does not count as
/// missing, but takes nothing away either: a failed read does not restart the wait.
const SHOWN: Duration = Duration::from_secs(2 * 60);

/// What follows if a holder's Node is missing.
pub(super) enum Absence {
    /// Missing long enough: the slot may be freed.
    Due,
    /// Not long enough yet.
    Left(Duration),
    /// The slot is stamped, so a person decides: otherwise a bad kernel could take down the pool one node after the
    /// other.
    Stamped,
}

/// The nodes that a look with [`super::Part::Holders`] looks for after it has read the slots: those that hold a slot
/// of our pool by a claim. A name that a person wrote there need not be the name of a Node. What cannot be one is not
/// looked for: then nobody knows whether it exists, so its slot is never mistaken for one whose holder is gone.
pub fn holders(world: &World, settings: &Settings) -> BTreeSet<String> {
    let slots = world.cluster.slots.current().into_iter().flatten();
    slots
        .filter(|slot| slot.pool.as_ref() == Some(&settings.pool) && is_claimed(slot))
        .filter_map(|slot| slot.holder.clone())
        .filter(|holder| *holder != settings.node_name && can_be_a_node(holder))
        .collect()
}

/// Whether Kubernetes accepts this as the name of a Node.
fn can_be_a_node(name: &str) -> bool {
    let framed = |part: &str| !part.is_empty() && !part.starts_with('-') && !part.ends_with('-');
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
    name.len() <= 253 && name.bytes().all(allowed) && name.split('.').all(framed)
}

pub(super) fn is_claimed(slot: &SlotView) -> bool {
    slot.holder.is_some() && (slot.claim.node_uid.is_some() || slot.stamp.is_some())
}

/// What is known about a slot's holder, if its Node was missing when we last looked for it.
pub(super) fn absence(world: &World, slot: &SlotView) -> Option<Absence> {
    let missing = world.cluster.missing.get(&slot.uid).filter(|it| it.is_of(slot))?;
    Some(match MISSING_FOR.saturating_sub(missing.lasted) {
        _ if slot.stamp.is_some() => Absence::Stamped,
        Duration::ZERO => Absence::Due,
        left => Absence::Left(left),
    })
}

/// Whether the look that began at this time has read the slot with this uid, and then found the holder's Node
/// missing.
pub(super) fn is_missing_since(world: &World, uid: &str, begun: Duration) -> bool {
    world.cluster.missing.get(uid).is_some_and(|missing| missing.seen >= begun)
}

/// Folds the slots as read: a slot that has changed carries another claim, or none.
pub(super) fn slots_read(cluster: &mut Cluster, slots: &[SlotView]) {
    cluster.missing.retain(|uid, missing| slots.iter().any(|slot| slot.uid == *uid && missing.is_of(slot)));
}

/// Folds whether the Node of this name exists, as read after the slots.
pub(super) fn holder_read(cluster: &mut Cluster, name: &str, exists: bool, now: Duration) {
    let slots = cluster.slots.current().into_iter().flatten();
    for slot in slots.filter(|slot| slot.holder.as_deref() == Some(name)) {
        if exists {
            cluster.missing.remove(&slot.uid);
            continue;
        }
        let resource_version = slot.resource_version.clone();
        let first = Missing { resource_version, seen: now, lasted: Duration::ZERO };
        let missing = cluster.missing.entry(slot.uid.clone()).or_insert(first);
        let since = now.saturating_sub(missing.seen);
        if since <= SHOWN {
            missing.lasted += since;
        }
        missing.seen = now;
    }
}

impl Missing {
    fn is_of(&self, slot: &SlotView) -> bool {
        self.resource_version == slot.resource_version
    }
}
