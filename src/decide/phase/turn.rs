//! A slot claimed in this boot: up to the cordon, and back if something speaks against the reboot.

use std::time::Duration;

use super::super::gates::Moment;
use super::super::wish::{
    CLUSTER, DRAIN_LOOK, GATE_LOOK, GOING_DOWN_LOOK, OTHERS_LOOK, WITH_ALL, WITH_PODS, Wish,
};
use super::super::{AbortReason, Hook, NodeChange, Part, Parts, Phase, Reason, SlotView, Stamp};
use super::super::{canary, hooks, questions};
use super::situation::{Situation, turn_of};

/// A turn that is to end by now either goes on or is undone within this time, if nothing is broken.
const TURN_OVERDUE_AFTER: Duration = Duration::from_secs(30 * 60);

/// A rival that has not cordoned itself gives its slot back within this time.
const RIVAL_GIVES_BACK: Duration = Duration::from_secs(10);

impl Situation<'_> {
    pub(in crate::decide) fn claimed(&self, slot: &SlotView) -> Wish {
        let stamp = slot.stamp.as_ref().filter(|stamp| stamp.boot_id == self.world.host.boot_id);
        if let Some(stamp) = stamp
            && let Some(wish) = self.rebooting(stamp)
        {
            // This process knows that it has not asked for the reboot: it may stamp again and go on, but not undo
            // anything.
            let cordoned = self.node.unschedulable && self.world.is_settled(&self.node.uid);
            let not_asked = self.world.cluster.stamped && cordoned;
            let goes_on = not_asked && self.abort_reason(slot, None).is_none();
            return if goes_on { self.draining(slot, stamp.attempt) } else { wish };
        }
        match self.abort_reason(slot, stamp) {
            Some(because) => self.aborting(slot, because),
            None if !self.node.unschedulable => self.cordoning(slot),
            None if !self.is_cordoned_for_this_turn() => self.confirm_cordon(),
            None => self.draining(slot, stamp.map_or(1, |stamp| stamp.attempt.saturating_add(1))),
        }
    }

    /// Whatever keeps a turn from going on and from being undone, a person has to know of it.
    pub(in crate::decide) fn tell_overdue_turn(&self, mut wish: Wish, slot: &SlotView) -> Wish {
        // A claim without a time is undone at once.
        let Some(claimed) = slot.claim.at else { return wish };
        let now = self.world.now.boot;
        let called = slot.stamp.as_ref().map(|stamp| stamp.at + self.settings.policy.reboot_timeout);
        let at = self.deadline(slot).max(called.unwrap_or_default()) + TURN_OVERDUE_AFTER;
        wish.wake_at(at, now);
        if at <= now {
            wish.reasons.push(Reason::TurnOverdue { held: now.saturating_sub(claimed) });
        }
        wish
    }

    /// After the stamp the reboot may be under way, even if the call seemed to fail: nothing is undone, and nothing
    /// new is asked for, before `reboot_timeout` is over.
    pub(in crate::decide) fn rebooting(&self, stamp: &Stamp) -> Option<Wish> {
        let until = stamp.at + self.settings.policy.reboot_timeout;
        let going_down_is_no = self.world.host.going_down.current() == Some(&false);
        if self.world.now.boot >= until && going_down_is_no {
            return None;
        }
        let left = until.saturating_sub(self.world.now.boot);
        let wish = Wish::new(Phase::Rebooting);
        let wish = Wish { until: Some(until), host_age: Some(GOING_DOWN_LOOK), ..wish };
        let wish = wish.because(Reason::RebootAsked { attempt: stamp.attempt, left });
        Some(match &self.world.cluster.reboot_failure {
            Some(why) => wish.because(Reason::RebootCallFailed { why: why.clone() }),
            None => wish,
        })
    }

    pub(in crate::decide) fn abort_reason(
        &self,
        slot: &SlotView,
        stamp: Option<&Stamp>,
    ) -> Option<AbortReason> {
        let policy = &self.settings.policy;
        let uncordoned = self.node.mark.is_some() && !self.node.unschedulable;
        let reboot_failed = stamp.is_some_and(|it| it.attempt >= policy.reboot_tries);
        let reasons = [
            self.world.step_back.then_some(AbortReason::SteppingBack),
            slot.step_back.is_some().then_some(AbortReason::AskedToStepBack),
            (slot.pool.as_ref() != Some(&self.settings.pool)).then_some(AbortReason::PoolChanged),
            uncordoned.then_some(AbortReason::CordonRemoved),
            self.requests.are_gone().then_some(AbortReason::RequestGone),
            hooks::abort(self.world, self.settings, turn_of(slot)),
            self.asked().undone_for(),
            reboot_failed.then_some(AbortReason::RebootFailed),
            self.drain_has_failed(slot, stamp).then(|| self.why_it_failed()),
        ];
        reasons.into_iter().flatten().next()
    }

    pub(in crate::decide) fn aborting(&self, slot: &SlotView, because: AbortReason) -> Wish {
        // The pods that were left may have gone while nothing could be read: then the drain is over after all. If
        // only the pods cannot be read, another reading will not tell either.
        let can_tell = self.cordon_is_ours() && self.world.cluster.pods.failure().is_none();
        let reads = match because {
            AbortReason::DrainDeadline if can_tell => WITH_PODS,
            _ => CLUSTER,
        };
        let mut wish = Wish { reads, ..Wish::new(Phase::Aborting) };
        wish.reasons.extend(hooks::failed(self.world, self.settings, turn_of(slot)));
        wish.because(Reason::Aborting { because }).act(self.give_back(slot, Some(because)))
    }

    pub(in crate::decide) fn cordoning(&self, slot: &SlotView) -> Wish {
        let wish = Wish::new(Phase::Cordoning);
        let claimed_for_this_node = slot.claim.node_uid.as_ref() == Some(&self.node.uid);
        if !claimed_for_this_node || !self.world.is_settled(&slot.uid) {
            return wish.act(self.claim(slot));
        }
        let closed = self.asked().reasons(Moment::Turn);
        if !closed.is_empty() {
            // The gates may stay closed for long; meanwhile the slot may be taken away or wanted back.
            let watched = CLUSTER.with(Part::Policy);
            let (look_age, host_age) = (Some(DRAIN_LOOK), Some(GATE_LOOK));
            return Wish { reasons: closed, look_age, host_age, watched, ..wish };
        }
        let has_begun = hooks::asked_for(self.world, Hook::BeforeDrain, turn_of(slot)).is_some();
        if !has_begun && !self.asked().is_open(Moment::Cordon) {
            return self.aborting(slot, AbortReason::WindowClosed);
        }
        // Before anything is touched, it must be known what happens to each pod.
        if self.is_refused_for_sure() {
            return self.aborting(slot, AbortReason::PodsRefused);
        }
        let wish = Wish { reads: WITH_ALL, ..wish };
        match self.asked().reasons(Moment::Slot).into_iter().next() {
            Some(Reason::MembersTurn { .. }) => return self.aborting(slot, AbortReason::MembersTurn),
            Some(reason @ Reason::ZonesTurn { .. }) => {
                let is_rival =
                    |other: &&SlotView| questions::is_of_other_zone(self.settings, self.node, other);
                let rivals = self.world.cluster.slots.last().into_iter().flatten().filter(is_rival);
                return self.give_way(slot, &rivals.collect::<Vec<_>>(), 1, reason, AbortReason::ZonesTurn);
            }
            Some(reason @ Reason::CanaryFirst { .. }) => {
                let what = slot.claim.canary.as_deref().unwrap_or_default();
                let rivals = canary::rivals(self.world, self.settings, what);
                let most = self.settings.policy.canary.as_ref().map_or(1, |canary| canary.nodes as usize);
                return self.give_way(slot, &rivals, most, reason, AbortReason::CanaryFirst);
            }
            Some(Reason::NodeNotBack { .. }) => return self.aborting(slot, AbortReason::NodeNotBack),
            Some(_) => return self.aborting(slot, AbortReason::OnlyOne),
            None => {}
        }
        let closed =
            self.closed_by_others().into_iter().chain(self.asked().reasons(Moment::Pods)).collect::<Vec<_>>();
        match closed {
            closed if closed.is_empty() => {
                let wish = Wish {
                    look_age: Some(DRAIN_LOOK),
                    until: Some(self.deadline(slot)),
                    watched: CLUSTER,
                    ..wish
                };
                self.once_run(Hook::BeforeDrain, turn_of(slot), wish, self.cordon())
            }
            closed => {
                let until = Some(self.deadline(slot));
                let watched = Parts::only(Part::Slots).with(Part::Policy);
                Wish { reasons: closed, look_age: Some(OTHERS_LOOK), until, watched, ..wish }
            }
        }
    }

    /// Of nodes that have claimed at the same moment and may not all go on, those with the first slots keep them and the others
    /// give theirs back; but nobody waits for long for one that has its turn already.
    fn give_way(
        &self,
        slot: &SlotView,
        rivals: &[&SlotView],
        most: usize,
        reason: Reason,
        because: AbortReason,
    ) -> Wish {
        let until = slot.claim.at.unwrap_or_default() + RIVAL_GIVES_BACK;
        let before = rivals.iter().filter(|other| other.name < slot.name).count();
        if until <= self.world.now.boot || before >= most {
            return self.aborting(slot, because);
        }
        let watched = Parts::only(Part::Slots);
        Wish { until: Some(until), watched, ..Wish::new(Phase::Cordoning) }.because(reason)
    }

    /// The closed gates of the rest of the cluster. A look that did not read it says nothing; the caller wants it
    /// read, so that happens first.
    pub(in crate::decide) fn closed_by_others(&self) -> Vec<Reason> {
        match self.world.cluster.look {
            Some(look) if look.read.has(Part::Others) => self.asked().reasons(Moment::Others),
            _ => Vec::new(),
        }
    }

    pub(in crate::decide) fn is_held_up(&self) -> bool {
        !self.asked().is_open(Moment::Deadline) || !self.closed_by_others().is_empty()
    }

    /// Whether this process has seen its cordon answered in this turn, or its confirmation of somebody else's, and no
    /// later write to the Node is in doubt.
    fn is_cordoned_for_this_turn(&self) -> bool {
        self.world.is_settled(&self.node.uid) && self.world.cluster.drain.cordoned.is_some()
    }

    /// This process has not seen its cordon answered, so a lost uncordon might still be applied. The cordon is
    /// written again; under somebody else's cordon, a write that changes nothing has the same effect.
    pub(in crate::decide) fn confirm_cordon(&self) -> Wish {
        let wish = Wish::new(Phase::Cordoning);
        if self.cordon_is_ours() {
            wish.act(self.cordon())
        } else {
            wish.act(self.write_node(NodeChange::Confirm { in_turn: true }))
        }
    }
}
