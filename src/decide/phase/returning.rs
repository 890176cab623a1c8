//! A slot claimed in an earlier boot: the reboot has happened; prove it, uncordon, settle, give the slot back.

use std::time::Duration;

use super::super::settings::AtLimit;
use super::super::wish::{WITH_KUBELET, Wish};
use super::super::world::World;
use super::super::{Hook, Part, Phase, Reason, SlotView, healthy};
use super::after::AfterGates;
use super::situation::Situation;

/// A person is told of a return that takes too long, whatever it is that is missing.
pub(super) fn tell_overdue_return(mut wish: Wish, world: &World, limit: Duration) -> Wish {
    match world.memory.first_start.as_ref().map(|first| first.at + limit) {
        Some(overdue) if overdue <= world.now.boot => wish.reasons.insert(0, Reason::ReturnOverdue { limit }),
        overdue => wish.until = [wish.until, overdue].into_iter().flatten().min(),
    }
    wish
}

impl Situation<'_> {
    pub(in crate::decide) fn returning(&self, slot: &SlotView) -> Wish {
        let policy = &self.settings.policy;
        // Until then the next node has to wait, whatever else is well: one that falls again should not do so beside it.
        let settled = healthy::settled(self.world, self.node, policy.settle);
        if let (true, Err(reason)) = (self.is_uncordoned(), settled) {
            let wish = self.wait_for_health(Phase::Returning, reason);
            return tell_overdue_return(wish, self.world, policy.return_timeout);
        }
        let after = self.after(slot);
        if let AfterGates::Held(wish) = after {
            return wish;
        }
        let well =
            healthy::well(self.world, self.node, policy.settle, Some(&slot.claim), &self.settings.after);
        // The pods are read only once their kubelet is known to work.
        let pods = well.is_ok();
        let mut wish = match well {
            Err(reason) => self.wait_for_health(Phase::Returning, reason),
            Ok(()) => self.once_pods_are_ready(slot),
        };
        wish.reads = WITH_KUBELET
            .with_if(Part::Pods, pods)
            .with_if(Part::After, matches!(after, AfterGates::Asked { .. }));
        if let AfterGates::Asked { given_up } = after {
            wish.reasons.splice(0..0, given_up);
        }
        if wish.effect.is_some() {
            wish
        } else {
            tell_overdue_return(wish, self.world, policy.return_timeout)
        }
    }

    /// The node is well. Its own pods have to be ready, too, before it is uncordoned; but some of them become ready
    /// only beside the pods that had to leave.
    fn once_pods_are_ready(&self, slot: &SlotView) -> Wish {
        let after = &self.settings.after;
        let settle = self.settings.policy.settle;
        let awaited = healthy::awaited(self.world, settle, &after.ignore_daemon_sets, slot.stamp.as_ref());
        let mut wish = self.follow_health(Phase::Returning);
        let give_back =
            |wish| self.once_run(Hook::AfterBoot, Duration::ZERO, wish, self.give_back(slot, None));
        if awaited.unready.is_empty() && awaited.missing.is_empty() {
            return give_back(wish);
        }
        let (pods, limit) = (awaited.named(), after.limit);
        let begun = self.world.memory.first_start.as_ref().map_or(Duration::ZERO, |first| first.at);
        let overdue = begun + limit;
        let run = awaited.missing.is_empty() && awaited.unready.iter().all(|pod| pod.running);
        if self.world.now.boot < overdue || !run {
            let changes = awaited.until.into_iter().chain([overdue]);
            changes.for_each(|at| wish.wake_at(at, self.world.now.boot));
            return wish.because(Reason::DaemonSetPods { pods });
        }
        let wanted_back = slot.step_back.is_some() || self.world.step_back;
        let uncordoned = self.is_uncordoned();
        let wish = wish.because(Reason::DaemonSetPodsOverdue { pods, limit });
        match after.at_limit {
            // A person may free the slot meanwhile.
            AtLimit::Keep if uncordoned && !wanted_back => {
                Wish { watched: wish.watched.with(Part::Slots), ..wish }
            }
            AtLimit::Keep | AtLimit::Release => give_back(wish),
        }
    }
}
