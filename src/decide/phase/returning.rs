//! A slot claimed in an earlier boot: the reboot has happened; prove it, become healthy, give the slot back.

use std::time::Duration;

use super::super::wish::{WITH_KUBELET, Wish};
use super::super::{Hook, Part, Phase, Reason, SlotView, healthy};
use super::after::AfterGates;
use super::situation::Situation;

impl Situation<'_> {
    pub(in crate::decide) fn returning(&self, slot: &SlotView) -> Wish {
        let policy = &self.settings.policy;
        let after = self.after(slot);
        if let AfterGates::Held(wish) = after {
            return wish;
        }
        let healthy = healthy::healthy(self.world, self.node, policy.settle, Some(&slot.claim));
        // The pods are read only once their kubelet is known to work.
        let pods = healthy.is_ok();
        let mut wish =
            match healthy.and_then(|()| healthy::daemon_sets_ready(self.world, slot.stamp.as_ref())) {
                Err(reason) => self.wait_for_health(Phase::Returning, reason),
                Ok(()) => {
                    let wish = self.follow_health(Phase::Returning);
                    self.once_run(Hook::AfterBoot, Duration::ZERO, wish, self.give_back(slot, None))
                }
            };
        wish.reads = WITH_KUBELET
            .with_if(Part::Pods, pods)
            .with_if(Part::After, matches!(after, AfterGates::Asked { .. }));
        if let AfterGates::Asked { given_up } = after {
            wish.reasons.splice(0..0, given_up);
        }
        let limit = policy.return_timeout;
        let first_start = self.world.memory.first_start.as_ref();
        match first_start.map(|first| first.at + limit) {
            _ if wish.effect.is_some() => {}
            Some(overdue) if overdue <= self.world.now.boot => {
                wish.reasons.insert(0, Reason::ReturnOverdue { limit });
            }
            overdue => wish.until = [wish.until, overdue].into_iter().flatten().min(),
        }
        wish
    }
}
