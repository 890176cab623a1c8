//! A node without a slot: it waits for its turn, or undoes what is left after its slot is gone.

use std::time::Duration;

use super::super::gates::{Gate, Moment};
use super::super::identity::Ownership;
use super::super::jitter::jitter;
use super::super::questions::{Closed, nobody_holds, people_have_to_be_told};
use super::super::reclaim::{self, Absence};
use super::super::settings::Mode;
use super::super::wish::{WAITING_LOOK, WITH_KUBELET, Wish};
use super::super::{
    AbortReason, Effect, NodeChange, Part, Phase, Reason, SlotChange, SlotView, canary, healthy,
};
use super::situation::{Held, Situation};

/// See [`Situation::heartbeat`].
const HEARTBEAT_LOOK: Duration = Duration::from_secs(6 * 60 * 60);
/// The successors that a slot names claim one after the other, this long apart, and the rest after them.
const SUCCESSOR_STEP: Duration = Duration::from_millis(500);
/// Waiting nodes spread their claims over this time after a slot becomes free, or longer if they are many: over as long as the
/// claims of all would take that come one after the other.
const CLAIM_SPREAD: Duration = Duration::from_secs(1);
const CLAIM: Duration = Duration::from_millis(20);
/// What a slot says beyond this is not believed.
const MOST_WAITING: u32 = 5_000;

impl Situation<'_> {
    pub(in crate::decide) fn without_slot(&self, idle_or_waiting: Phase, slots: &[SlotView]) -> Wish {
        // A stamp that proves nothing may still mean that a reboot is under way: we do not even remove our own cordon
        // then.
        let may_uncordon = |held: &Held<'_>| self.cordon_is_ours() && held.slot.stamp.is_none();
        if let Some(odd) = self.held.first().filter(|held| !may_uncordon(held)) {
            return self.unproven(odd);
        }
        if self.cordon_is_ours() {
            return self.restoring();
        }
        if let Some(slot) = slots.iter().find(|slot| self.is_held_under_another_name(slot)) {
            let name = slot.holder.clone().unwrap_or_default();
            return Wish::new(Phase::Waiting)
                .trouble(Reason::SlotUnderOldName { slot: slot.name.clone(), name });
        }
        let labels = self.settings.mode == Mode::Active && !self.world.step_back;
        if labels && self.node.pool_label.as_ref() != Some(&self.settings.pool) {
            return Wish::new(idle_or_waiting).act(self.write_node(NodeChange::Confirm { in_turn: false }));
        }
        let mut wish = match idle_or_waiting {
            Phase::Waiting => self.waiting(slots),
            phase if self.world.step_back => Wish::new(phase).because(Reason::SteppedBack),
            phase => {
                let mut wish = Wish::new(phase);
                // What could not be read may be readable again, and nothing reports that.
                wish.host_age = self.requests.are_unreadable().then_some(WAITING_LOOK);
                // Nothing waits for it yet, but whoever looks should see it.
                wish.reasons = nobody_holds(&self.asked()).into_iter().map(|held| held.reason).collect();
                wish
            }
        };
        if let Some(at) = self.kept_from_autoscalers_until() {
            wish.wake_at(at, self.world.now.boot);
        }
        if let Some(at) = self.requests.uptime_asks {
            wish.wake_at(at, self.world.now.boot);
        }
        // People may set and remove annotations at any time.
        let may_matter = self.settings.host.request_annotation || idle_or_waiting == Phase::Waiting;
        let watches_annotations = may_matter && !wish.watched.has(Part::Node) && !self.world.step_back;
        wish.watched = wish.watched.with_if(Part::Annotations, watches_annotations);
        wish.look_age.get_or_insert_with(|| self.heartbeat());
        self.show(wish)
    }

    /// Whether this machine claimed the slot in this boot, or stamped it for the reboot that is remembered, when it
    /// had another name. The machine id alone does not tell: cloned images share it.
    fn is_held_under_another_name(&self, slot: &SlotView) -> bool {
        let world = self.world;
        let remembered = world.memory.last_reboot.as_ref().map(|last| &last.boot_id);
        let stamped = slot.stamp.as_ref().map(|stamp| &stamp.boot_id);
        let ours = slot.claim.boot_id.as_ref() == Some(&world.host.boot_id)
            || stamped.is_some() && stamped == remembered;
        let named_otherwise = slot.holder.as_ref().is_some_and(|holder| *holder != self.settings.node_name);
        named_otherwise && ours && slot.claim.machine_id.as_ref() == Some(&world.host.machine_id)
    }

    /// Writes the signs for others if nothing else has to be written. Not often, because something else may undo them
    /// each time.
    pub(in crate::decide) fn show(&self, mut wish: Wish) -> Wish {
        let is_about_to = wish.reasons.contains(&Reason::MyTurnComes) || wish.list_pods;
        let may = self.settings.mode == Mode::Active || self.world.step_back;
        if wish.effect.is_some() || is_about_to || !may || self.signs(false).is_empty() {
            return wish;
        }
        match self.shown_until() {
            Some(at) => wish.wake_at(at, self.world.now.boot),
            None => wish.effect = Some(self.write_node(NodeChange::Confirm { in_turn: false })),
        }
        wish
    }

    /// A node that waits for nothing in the cluster still looks now and then: a claim of an earlier process may be
    /// applied at any later time. Spread out, because a whole fleet may have been started at the same time.
    pub(in crate::decide) fn heartbeat(&self) -> Duration {
        HEARTBEAT_LOOK.mul_f64(0.75 + jitter(&[&self.settings.node_name, "heartbeat"]) / 2.0)
    }

    pub(in crate::decide) fn unproven(&self, held: &Held<'_>) -> Wish {
        let slot = held.slot.name.clone();
        Wish::new(Phase::Unproven).trouble(match held.ownership {
            Ownership::OtherMachine => Reason::SlotOfOtherMachine { slot },
            _ => Reason::SlotUnproven { slot },
        })
    }

    pub(in crate::decide) fn restoring(&self) -> Wish {
        match healthy::well(self.world, self.node, self.settings.policy.settle, None, &self.settings.after) {
            Err(reason) => self.wait_for_health(Phase::Restoring, reason),
            Ok(()) => {
                // If the reboot took place, a person who freed the slot only ended the wait after it.
                let rebooted = self
                    .world
                    .rebooted()
                    .is_some_and(|last| last.cordoned_at.is_some() && last.uncordoned_at.is_none());
                let because = (!rebooted).then_some(AbortReason::SlotLost);
                Wish { reads: WITH_KUBELET, ..Wish::new(Phase::Restoring) }
                    .act(self.write_node(NodeChange::Uncordon { because }))
            }
        }
    }

    pub(in crate::decide) fn waiting(&self, slots: &[SlotView]) -> Wish {
        let mut wish = Wish::new(Phase::Waiting);
        wish.watched = wish.watched.with(Part::Policy);
        let asked = self.asked();
        for moment in [Moment::Request, Moment::Claim, Moment::Node, Moment::Boot, Moment::People] {
            let closed = asked.closed(moment);
            if moment == Moment::Request {
                // People may take back what they said at any time.
                wish.watched = wish.watched.with_if(Part::Slots, self.world.cluster.pause.is_some());
            }
            if closed.is_empty() {
                continue;
            }
            if moment == Moment::People && people_have_to_be_told(self.world, self.settings) {
                return closed
                    .into_iter()
                    .fold(wish, |wish, (_, it)| wish.because(it.reason))
                    .act(Effect::TellPeople);
            }
            wish.watched = wish.watched.with_if(Part::Node, moment == Moment::Node);
            return closed.into_iter().fold(wish, |wish, (gate, it)| self.held_up(wish, gate, it));
        }
        wish.look_age = Some(WAITING_LOOK);
        // As long as enough others try it, nobody asks how far they are: their slots tell when they are done.
        let unproven = canary::asked(self.world, self.settings).is_some_and(|(rule, what)| {
            let tried_by = canary::rivals(self.world, self.settings, &what).len();
            !canary::is_proven(self.world, rule, &what) && tried_by < rule.nodes as usize
        });
        wish.reads = wish.reads.with_if(Part::Proven, unproven);
        let closed = asked.reasons(Moment::Slot);
        // The turn of another node may end at any time.
        wish.watched = wish.watched.with(Part::Slots);
        let is_of_slots = |reason: &Reason| {
            use Reason::{CanaryFirst, NodeNotBack, Unreadable, ZonesTurn};
            matches!(reason, ZonesTurn { .. } | NodeNotBack { .. } | CanaryFirst { .. } | Unreadable { .. })
        };
        if !closed.iter().all(is_of_slots) {
            wish.reads = wish.reads.with(Part::Others).with(Part::Alerts);
            return Wish { reasons: closed, ..wish };
        }
        // Everybody who waits may find a gate of the slots closed: nobody reads more because of it.
        let is_free =
            |slot: &SlotView| slot.pool.as_ref() == Some(&self.settings.pool) && slot.holder.is_none();
        if closed.is_empty() || !slots.iter().any(is_free) {
            wish = self.claim_free_slot(wish, slots);
        }
        wish.reasons.extend(closed);
        wish
    }

    /// Waits for a closed gate, in the way in which its opening is noticed.
    fn held_up(&self, mut wish: Wish, gate: &Gate, closed: Closed) -> Wish {
        closed.opens.iter().for_each(|at| wish.wake_at(*at, self.world.now.boot));
        wish.host_age = gate.host_age.or(wish.host_age);
        wish.look_age = gate.look_age.or(wish.look_age);
        wish.because(closed.reason)
    }

    pub(in crate::decide) fn claim_free_slot(&self, mut wish: Wish, slots: &[SlotView]) -> Wish {
        wish.wants_slot = true;
        let pool = &self.settings.pool;
        let mine: Vec<&SlotView> = slots.iter().filter(|slot| slot.pool.as_ref() == Some(pool)).collect();
        let free = mine
            .iter()
            .filter_map(|slot| Some((self.claims_at(slot, &mine)?, *slot)))
            .min_by_key(|(at, _)| *at);
        match free {
            Some((at, slot)) if at <= self.world.now.boot => self.claim_if_it_can_drain(wish, slot),
            Some((at, _)) => Wish { until: Some(at), ..wish }.because(Reason::MyTurnComes),
            None if mine.is_empty() => wish.trouble(Reason::NoSlots { pool: pool.clone() }),
            None => {
                wish.reasons.push(Reason::NoFreeSlot {
                    pool: pool.clone(),
                    held: mine.iter().map(|slot| holder_of(slot)).collect(),
                });
                self.reclaim(wish, &mine)
            }
        }
    }

    /// When this node claims a slot that is free: the successors first, then the others in no order, of which the first one is
    /// alone in most cases.
    fn claims_at(&self, slot: &SlotView, of_pool: &[&SlotView]) -> Option<Duration> {
        let free = self.world.cluster.free.get(&slot.name)?;
        let name = &self.settings.node_name;
        // What keeps one node from a slot keeps others as well, and ends for all of them at the same moment.
        let since = self.world.cluster.opened.map_or(free.since, |opened| opened.max(free.since));
        let named: &[String] = if free.seen_held { &slot.next.names } else { &[] };
        let place = named.iter().position(|it| it == name);
        let turn =
            SUCCESSOR_STEP.saturating_mul(u32::try_from(place.unwrap_or(named.len())).unwrap_or(u32::MAX));
        if place.is_some() {
            return Some(since + turn);
        }
        let waiting = of_pool.iter().map(|slot| slot.next.waiting).max().filter(|_| free.seen_held);
        let spread = CLAIM_SPREAD.max(CLAIM.saturating_mul(waiting.unwrap_or_default().min(MOST_WAITING)));
        Some(since + turn + spread.mul_f64(jitter(&[name, &slot.name, &free.resource_version])))
    }

    /// Looks for the holders' Nodes along with the slots, and frees a slot whose holder has had no Node for long
    /// enough.
    pub(in crate::decide) fn reclaim(&self, mut wish: Wish, held: &[&SlotView]) -> Wish {
        wish.reads = wish.reads.with_if(Part::Holders, held.iter().any(|slot| reclaim::is_claimed(slot)));
        for slot in held {
            let Some(absence) = reclaim::absence(self.world, slot) else { continue };
            wish.look_age = Some(reclaim::MISSING_LOOK);
            let (name, holder) = (slot.name.clone(), slot.holder.clone().unwrap_or_default());
            match absence {
                Absence::Due => wish.effect = Some(self.write_slot(slot, SlotChange::Free { holder })),
                Absence::Left(left) => {
                    wish.reasons.push(Reason::HolderMissing { slot: name, holder, left });
                }
                Absence::Stamped => {
                    wish.reasons.push(Reason::StampedHolderMissing { slot: name, holder });
                }
            }
        }
        wish
    }
}

/// Slot, holder, and what the holder is doing, as far as the slot shows it.
fn holder_of(slot: &SlotView) -> (String, String, String) {
    let holder = slot.holder.clone().unwrap_or_default();
    let doing = match (&slot.stamp, &slot.claim.boot_id) {
        (Some(_), _) if slot.returned => "back",
        (Some(_), _) => "rebooting",
        (None, Some(_)) => "draining",
        (None, None) => "put there by hand",
    };
    (slot.name.clone(), holder, doing.to_owned())
}
