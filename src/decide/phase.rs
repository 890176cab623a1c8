//! The phase, derived from what is known, and what it wants to happen.

mod after;
mod draining;
mod returning;
mod situation;
mod turn;
mod waiting;

use std::time::Duration;

use super::identity::{self, Ownership};
use super::reboot::Ending;
use super::requests::Requests;
use super::settings::Settings;
use super::wish::{GOING_DOWN_LOOK, Wish};
use super::world::World;
use super::{NodeChange, Part, Phase, Reason, SlotView};
use returning::tell_overdue_return;
use situation::{Held, Situation};

/// A kubelet registers its Node within minutes after the boot, or after somebody has deleted it.
const MISSING_FOR_LONG: Duration = Duration::from_secs(60 * 60);
/// A node that need not obey the policy does without it for this long if nobody answers about it.
const POLICY_AGAIN: Duration = Duration::from_secs(60);

/// What the phase that follows from these facts wants to happen.
pub(super) fn wish(world: &World, settings: &Settings) -> Wish {
    let mut wish = of_facts(world, settings);
    // Nodes that wait for a turn or have it obey the fleet's policy; a returning node finishes whatever the policy
    // says. Once after its start, a node whose files do not name its pool asks for it: it may do so.
    let obeys = matches!(wish.phase, Phase::Waiting | Phase::Cordoning | Phase::Draining);
    // Where only the policy cannot be read, it must not keep a node from finishing.
    let policy = &world.cluster.policy;
    let failed = world.cluster.policy_unanswered.is_some_and(|at| world.now.boot < at + POLICY_AGAIN);
    let may_ask = !settings.pool_is_written && policy.is_unread() && !failed;
    // One that was read long ago, to know the pool, is none to claim by: it counts as long as it is watched.
    let is_old = wish.phase == Phase::Waiting && !world.cluster.watched.has(Part::Policy);
    let is_asked = if obeys { policy.current().is_none() || is_old } else { may_ask };
    wish.reads = wish.reads.with_if(Part::Policy, is_asked && wish.phase != Phase::GoingDown);
    // Back from its reboot, and whatever proves that cannot be read: a returning node that nobody would notice.
    let is_back = world.rebooted().is_some_and(|last| last.ending == Some(Ending::UnderWay));
    if is_back && matches!(wish.phase, Phase::Starting | Phase::Waiting | Phase::Idle) {
        return tell_overdue_return(wish, world, settings.policy.return_timeout);
    }
    wish
}

fn node_missing(world: &World, settings: &Settings) -> Reason {
    let name = settings.node_name.clone();
    let since = world.cluster.node_missing.unwrap_or(world.now.boot);
    match world.now.boot.checked_sub(since + MISSING_FOR_LONG) {
        Some(_) => Reason::NodeMissingForLong { name, lasted: world.now.boot.saturating_sub(since) },
        None => Reason::NodeMissing { name },
    }
}

fn of_facts(world: &World, settings: &Settings) -> Wish {
    if world.host.going_down.current() == Some(&true) {
        let wish = Wish { host_age: Some(GOING_DOWN_LOOK), ..Wish::new(Phase::GoingDown) };
        return wish.because(Reason::GoingDown);
    }
    let (Some(node), Some(slots)) = (world.cluster.node.last(), world.cluster.slots.last()) else {
        return Wish::new(Phase::Starting).because(Reason::NothingRead);
    };
    let requests = Requests::of(world, settings);
    let requested = requests.asking().next().is_some() && !world.step_back;
    let idle_or_waiting = if requested { Phase::Waiting } else { Phase::Idle };
    // Without a Node that is ours nothing is done; but a node that may hold a slot is not idle.
    let holds = slots.iter().any(|slot| {
        // A host that has not got its name yet knows its slot by its machine id.
        let named = slot.holder.as_deref() == Some(settings.node_name.as_str());
        let of_this_machine = slot.claim.machine_id.as_ref() == Some(&world.host.machine_id);
        (named || slot.holder.is_some() && of_this_machine)
            && identity::ownership(world, slot) != Ownership::OtherMachine
    });
    let without_node = if holds { Phase::Waiting } else { idle_or_waiting };
    let Some(node) = node else {
        return Wish::new(without_node).trouble(node_missing(world, settings));
    };
    if let Err(reason) = identity::node_is_this_machine(world, node) {
        return Wish::new(without_node).trouble(reason);
    }
    let held: Vec<Held<'_>> = slots
        .iter()
        .filter(|slot| slot.holder.as_deref() == Some(settings.node_name.as_str()))
        .map(|slot| Held { slot, ownership: identity::ownership(world, slot) })
        .collect();
    let here = Situation { world, settings, node, requests, held };
    let mut wish = here.wish(idle_or_waiting, slots);
    if settings.gates.query.is_none() {
        wish.reads = wish.reads.without(Part::Alerts);
    }
    wish
}

impl Situation<'_> {
    fn wish(&self, idle_or_waiting: Phase, slots: &[SlotView]) -> Wish {
        let proven = self.proven_slot();
        // If a person has cordoned over our mark, the cordon is theirs and only the mark goes. If a person
        // uncordoned, the mark goes after the slot, so that we still know of it after a crash in between.
        let uncordoned = self.node.mark.is_some() && !self.node.unschedulable;
        let taken_over = self.node.mark.is_some() && self.node.unschedulable && !self.cordon_is_ours();
        if taken_over || (uncordoned && proven.is_none()) {
            let phase = if proven.is_some() { Phase::Aborting } else { Phase::Restoring };
            return Wish::new(phase).act(self.write_node(NodeChange::RemoveMark));
        }
        match proven {
            Some(Held { slot, ownership: Ownership::ThisBoot }) => {
                self.tell_overdue_turn(self.claimed(slot), slot)
            }
            Some(Held { slot, .. }) => self.returning(slot),
            None => self.without_slot(idle_or_waiting, slots),
        }
    }
}
