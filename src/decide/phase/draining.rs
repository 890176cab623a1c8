//! The drain: from the question whether to begin it, up to the stamp after it.

use std::collections::BTreeSet;
use std::time::Duration;

use super::super::drain::{self, Planned, Queue, Rehearsed, Verdict};
use super::super::gates::Moment;
use super::super::questions::window_left;
use super::super::settings::{BlockingPodsAfter, Mode, OnTimeout};
use super::super::wish::{CLUSTER, DRAIN_LOOK, GATE_LOOK, OTHERS_LOOK, TROUBLE_LOOK, WITH_PODS, Wish};
use super::super::{
    AbortReason, Effect, Eviction, Hook, How, NodeChange, Part, Parts, Phase, PodView, Reason, SlotChange,
    SlotView, Stamp, healthy,
};
use super::situation::{Situation, turn_of};

const LEAST_TIMEOUT: Duration = Duration::from_secs(15 * 60);
const BEYOND_GRACE: Duration = Duration::from_secs(5 * 60);
/// Most drains are over sooner and need no watches on slots and Node: the look before the stamp reads both. Later
/// watches start from a look, so their first event reports nothing new.
const SHORT_DRAIN: Duration = DRAIN_LOOK;
/// Pods that leave last are asked for at least this long before the deadline, besides their grace period.
const LAST_CHANCE: Duration = Duration::from_secs(60);

impl Situation<'_> {
    /// We take no slot for a drain that cannot succeed, nor for one that fails again according to a dry run.
    pub(super) fn claim_if_it_can_drain(&self, mut wish: Wish, slot: &SlotView) -> Wish {
        let Some(look) = self.world.cluster.look else { return wish };
        if let Some((pod, by, until)) = drain::blocked(self.world) {
            let left = until.saturating_sub(self.world.now.boot);
            let reason = Reason::WouldBeBlocked { pod: pod.to_string(), by: by.to_string(), left };
            return Wish { until: Some(until), ..wish }.because(reason);
        }
        if !look.read.has(Part::Pods) {
            return Wish { list_pods: true, ..wish }.because(Reason::MyTurnComes);
        }
        if !drain::budget_namespaces(self.world, self.settings).is_empty() {
            wish.reads = WITH_PODS;
            if !look.read.has(Part::Budgets) {
                return wish.because(Reason::MyTurnComes);
            }
        }
        let refused = self.asked().reasons(Moment::Pods);
        if !refused.is_empty() {
            wish.reasons = refused;
            return Wish { look_age: Some(TROUBLE_LOOK), reads: WITH_PODS, ..wish };
        }
        match drain::judge(self.world, &self.left()) {
            // A Node that cannot be written can neither be cordoned nor given back: this is found out before the claim.
            Rehearsed::Enough
                if self.settings.mode == Mode::Active && !self.world.is_settled(&self.node.uid) =>
            {
                wish.because(Reason::MyTurnComes).act(self.write_node(NodeChange::Confirm { in_turn: false }))
            }
            Rehearsed::Enough => wish.act(self.claim(slot)),
            Rehearsed::Awaited => wish.because(Reason::MyTurnComes),
            Rehearsed::Ask(pods) => {
                let eviction = Eviction { pods, how: How::DryRun, grace: None };
                wish.because(Reason::MyTurnComes).act(Effect::Evict(eviction))
            }
        }
    }

    fn plan(&self) -> Vec<Planned<'_>> {
        drain::plan(self.world, self.settings).unwrap_or_default()
    }

    /// Whether a pod stands in the way that only a person can move.
    pub(super) fn is_refused_for_sure(&self) -> bool {
        let for_sure = |it: &Planned<'_>| matches!(&it.verdict, Verdict::Refuse(why) if !why.may_end());
        self.plan().iter().any(for_sure)
    }

    /// The pods that have to leave.
    fn left(&self) -> Vec<&PodView> {
        let plan = self.plan().into_iter();
        plan.filter(|it| matches!(it.verdict, Verdict::Evict | Verdict::Warn(_))).map(|it| it.pod).collect()
    }

    /// The pods that have to end by themselves before any is evicted.
    fn awaited(&self) -> Vec<&PodView> {
        let plan = self.plan().into_iter();
        plan.filter(|it| matches!(it.verdict, Verdict::Await(..))).map(|it| it.pod).collect()
    }

    /// Whether no pod is left that has to leave or stands in the way.
    fn is_empty(&self) -> bool {
        self.world.cluster.pods.last().is_some()
            && self.plan().iter().all(|planned| matches!(planned.verdict, Verdict::Leave(_)))
    }

    // ---- the deadline ----

    /// Until when pods may be waited for that have to end by themselves.
    fn awaited_until(&self, slot: &SlotView) -> Duration {
        let gates = &self.settings.gates;
        let wait = match gates.blocking_pods_after {
            BlockingPodsAfter::Request => Duration::ZERO,
            BlockingPodsAfter::Cordon => gates.blocking_pods_limit,
        };
        slot.claim.at.unwrap_or_default() + wait
    }

    /// From when the time of the drain counts: the claim, or the end of the wait for those pods. Nothing stores when
    /// that was; the first eviction came at once after it, and where there was none, a pod had ended then. A new
    /// process may give the drain more time, but never more than the limit of that wait.
    fn counted_from(&self, slot: &SlotView) -> Duration {
        let until = self.awaited_until(slot);
        let claimed = slot.claim.at.unwrap_or_default();
        let drain = &self.world.cluster.drain;
        let since =
            drain.evicting_since.unwrap_or(if self.awaited().is_empty() { drain.last_ended } else { until });
        since.clamp(claimed, until)
    }

    /// When the drain has to be over, at the end of the window at the latest. A claim whose time was changed by hand is
    /// overdue: it is undone, and the slot claimed again.
    pub(super) fn deadline(&self, slot: &SlotView) -> Duration {
        let drain = &self.settings.drain;
        let longest = || {
            let grace = self.left().into_iter().map(|pod| pod.grace).max().unwrap_or_default();
            drain.grace_period.unwrap_or(grace.max(self.world.cluster.drain.longest_grace))
        };
        let balancers = self.settings.drain.leave_load_balancers.unwrap_or_default();
        let timeout =
            drain.timeout.unwrap_or_else(|| LEAST_TIMEOUT.max(longest() + BEYOND_GRACE) + balancers);
        let gives_up = drain.on_timeout == OnTimeout::Abort && !self.awaited().is_empty();
        let deadline = match slot.claim.at {
            None => Duration::ZERO,
            Some(_) if gives_up => self.awaited_until(slot),
            Some(_) => self.counted_from(slot) + timeout,
        };
        let window_left = window_left(self.world, self.settings);
        window_left.map_or(deadline, |left| deadline.min(self.world.now.boot + left))
    }

    fn is_overdue(&self, slot: &SlotView) -> bool {
        self.world.now.boot >= self.deadline(slot)
    }

    /// Whether the deadline has passed and the drain has to be given up. Once the slot is stamped, the drain is done
    /// and only the tries count, unless a gate is closed.
    pub(super) fn drain_has_failed(&self, slot: &SlotView, stamp: Option<&Stamp>) -> bool {
        let begun = self.node.unschedulable && slot.claim.at.is_some();
        let goes_on = self.is_empty() || self.settings.drain.on_timeout == OnTimeout::Reboot;
        self.is_overdue(slot) && (self.is_held_up() || (stamp.is_none() && !(begun && goes_on)))
    }

    /// What follows if those pods do not end.
    fn after_the_wait(&self) -> &'static str {
        match self.settings.drain.on_timeout {
            OnTimeout::Abort => "then the turn is undone",
            OnTimeout::Reboot => "then the reboot ends them",
        }
    }

    pub(super) fn why_it_failed(&self) -> AbortReason {
        let waits = self.settings.drain.on_timeout == OnTimeout::Abort && !self.awaited().is_empty();
        if waits { AbortReason::BlockingPods } else { AbortReason::DrainDeadline }
    }

    /// Whether to reboot in spite of the pods that are left: if configured so, and once each was asked for.
    fn goes_on_without(&self, slot: &SlotView, left: &[&PodView]) -> bool {
        let asked =
            |pod: &PodView| self.world.cluster.drain.pods.get(&pod.key.uid).is_some_and(|it| !it.in_flight);
        self.settings.drain.on_timeout == OnTimeout::Reboot
            && self.is_overdue(slot)
            && !self.is_empty()
            && left.iter().all(|pod| pod.terminating || asked(pod))
    }

    // ---- draining ----

    pub(super) fn draining(&self, slot: &SlotView, attempt: u32) -> Wish {
        let now = self.world.now.boot;
        let long_from = slot.claim.at.unwrap_or_default() + SHORT_DRAIN;
        let long = long_from <= now;
        let mut wish = Wish {
            reads: WITH_PODS,
            look_age: Some(DRAIN_LOOK),
            host_age: Some(GATE_LOOK),
            until: Some(self.deadline(slot)).filter(|at| *at > now),
            watched: if long { CLUSTER.with(Part::Policy).with(Part::Pods) } else { Parts::only(Part::Pods) },
            ..Wish::new(Phase::Draining)
        };
        wish.wake_at(long_from, now);
        // Pods that were never read are read first.
        if self.world.cluster.pods.last().is_none() {
            return wish;
        }
        // Nobody gains if the node stays cordoned until the deadline; before the next claim, the same pod is found.
        if attempt == 1 && self.is_refused_for_sure() {
            return self.aborting(slot, AbortReason::PodsRefused);
        }
        let awaited = self.awaited();
        let left = self.left();
        if let Some(stuck) =
            left.iter().filter_map(|pod| drain::named_from(&self.world.cluster.drain, pod)).min()
        {
            wish.wake_at(stuck, now);
        }
        for until in left.iter().filter_map(|pod| drain::awaited_until(&self.world.cluster.drain, pod)) {
            wish.wake_at(until, now);
        }
        let goes_on = self.goes_on_without(slot, &left);
        let awaited_until = self.awaited_until(slot);
        let waits = !awaited.is_empty() && now < awaited_until;
        if goes_on {
            wish.reasons.push(Reason::GoesOn { left: left.len() + awaited.len() });
        } else {
            let time_left = self.deadline(slot).saturating_sub(now);
            if waits {
                wish.reasons.push(Reason::BlockingPods {
                    pods: healthy::named(&awaited),
                    left: time_left,
                    then: self.after_the_wait(),
                });
            } else if !awaited.is_empty() {
                let pods = healthy::named(&awaited);
                wish.reasons.push(Reason::BlockingPodsStay { pods, left: time_left });
            }
            // Pods do not leave a node whose kubelet or runtime is down.
            wish.reasons
                .extend((!self.node.ready && !left.is_empty()).then(|| healthy::not_ready(self.node)));
            if !waits {
                wish.reasons.extend(drain::progress(self.world, &left, time_left));
            }
            wish.reasons.extend(self.asked().reasons(Moment::Pods));
        }
        // A closed gate also stops the drain: evicting pods for a reboot that may not come helps nobody.
        let closed = self.asked().reasons(Moment::Turn);
        if !closed.is_empty() {
            wish.reasons.splice(0..0, closed);
            return wish;
        }
        if let Some(until) = self.balancers_leave_until().filter(|until| !goes_on && now < *until) {
            wish.wake_at(until, now);
            wish.reasons.insert(0, Reason::LeavingLoadBalancers { left: until - now });
            return wish;
        }
        // Pods that would move for nothing if these did not end stay as long as that.
        if waits {
            wish.wake_at(awaited_until, now);
            return wish;
        }
        let drained = goes_on || self.is_empty();
        let listed =
            self.world.cluster.look.is_some_and(|look| look.read.has(Part::Pods) && !look.pods_changed);
        if drained && !listed {
            return Wish { list_pods: true, ..wish };
        }
        // Under a person's cordon we set no cordon ourselves, so these gates have not been asked before one.
        if drained || !self.cordon_is_ours() {
            wish.reads = wish.reads.with(Part::Others).with(Part::Alerts);
            let unread = self.world.cluster.drain.waiters.is_none();
            wish.reads = wish.reads.with_if(Part::Waiters, drained && unread);
            let closed = self.closed_by_others();
            if !closed.is_empty() {
                wish.reasons.splice(0..0, closed);
                return Wish { look_age: Some(OTHERS_LOOK), ..wish };
            }
        }
        if !drained {
            return self.evicting(wish, slot, &left);
        }
        wish.confirms_drained = !goes_on;
        match self.volumes_in_use(slot).filter(|_| !goes_on) {
            Some((count, until)) => {
                wish.watched = wish.watched.with(Part::Node);
                wish.wake_at(until, now);
                wish.because(Reason::VolumesInUse { count, left: until - now })
            }
            None => {
                let stamp =
                    self.write_slot(slot, SlotChange::Stamp(self.stamp(attempt), self.successors(slot)));
                self.once_run(Hook::BeforeReboot, turn_of(slot), wish, stamp)
            }
        }
    }

    /// Until when load balancers have time to notice the label that was set with the cordon.
    fn balancers_leave_until(&self) -> Option<Duration> {
        Some(self.world.cluster.drain.cordoned? + self.settings.drain.leave_load_balancers?)
    }

    fn evicting(&self, mut wish: Wish, slot: &SlotView, left: &[&PodView]) -> Wish {
        let now = self.world.now.boot;
        let settings = &self.settings.drain;
        let grace = settings.grace_period;
        let last_grace = left.iter().filter(|pod| pod.critical).map(|pod| grace.unwrap_or(pod.grace)).max();
        let late_from = self.deadline(slot).saturating_sub(last_grace.unwrap_or_default() + LAST_CHANCE);
        let delete_from = settings.delete.as_ref().map(|delete| self.counted_from(slot) + delete.after);
        wish.wake_at(late_from, now);
        delete_from.iter().for_each(|at| wish.wake_at(*at, now));

        let may_be_deleted = |pod: &PodView| {
            let refused =
                self.world.cluster.drain.pods.get(&pod.key.uid).is_some_and(|it| !it.refused.is_empty());
            let named = settings.delete.as_ref().is_some_and(|it| it.namespaces.contains(&pod.key.namespace));
            refused && named && delete_from.is_some_and(|at| at <= now)
        };
        wish.watched = wish.watched.with_if(Part::Budgets, !drain::refusing_budgets(self.world).is_empty());
        let (deleted, evicted): (Vec<&PodView>, Vec<&PodView>) =
            left.iter().copied().partition(|pod| may_be_deleted(pod));
        for (pods, how) in [(evicted, How::Evict), (deleted, How::Delete)] {
            let queue = Queue::new(self.world, &pods, how, late_from <= now);
            let pods = queue.now();
            if !pods.is_empty() {
                return wish.act(Effect::Evict(Eviction { pods, how, grace }));
            }
            queue.next().iter().for_each(|at| wish.wake_at(*at, now));
        }
        wish
    }

    /// How many volumes are still attached to the node or in use on it, not counting those of the pods that stay, and
    /// until when we wait for that. A volume that is not detached before the reboot keeps its pod from starting
    /// elsewhere until after it.
    fn volumes_in_use(&self, slot: &SlotView) -> Option<(usize, Duration)> {
        let plan = self.plan().into_iter();
        let stays = plan.filter(|it| matches!(it.verdict, Verdict::Leave(_)) && !it.pod.finished);
        let claims: BTreeSet<(&str, &str)> = stays
            .flat_map(|it| it.pod.claims.iter().map(|claim| (it.pod.key.namespace.as_str(), claim.as_str())))
            .collect();
        let count = self.node.volumes.saturating_sub(claims.len());
        let since = self.world.cluster.drain.last_gone.max(slot.claim.at.unwrap_or_default());
        let until = since + self.settings.drain.volume_timeout;
        (count > 0 && self.world.now.boot < until).then_some((count, until))
    }
}
