//! The phase, derived from what is known, and what it wants to happen.

mod after;
mod draining;

use std::time::Duration;

use super::calendar::minute;
use super::hooks::{self, Step};
use super::identity::{self, Ownership};
use super::jitter::jitter;
use super::reclaim::Absence;
use super::requests::Requests;
use super::schedule::{
    CLUSTER, GATE_LOOK, GOING_DOWN_LOOK, HOOK_LOOK, OTHERS_LOOK, TROUBLE_LOOK, WAITING_LOOK, Wish,
};
use super::signs::{self, Waiting};
use super::world::World;
use super::{
    AbortReason, Claim, Effect, Hook, NodeChange, NodeView, NodeWrite, Phase, Reads, Reason, SignsWrite,
    SlotChange, SlotView, SlotWrite, Stamp, Watches, gates, health, reclaim,
};
use crate::config::{Mode, Settings};
use after::After;

/// See [`Here::heartbeat`].
const HEARTBEAT_LOOK: Duration = Duration::from_secs(6 * 60 * 60);
/// A drain rests on a look at slots and Node that is never older than this, whatever the watches tell.
const DRAIN_LOOK: Duration = Duration::from_secs(60);
/// A node on its way back is looked at three times while it settles, besides what the watches tell; within these.
const HEALTH_LOOK_LEAST: Duration = Duration::from_secs(5);
const HEALTH_LOOK_MOST: Duration = Duration::from_secs(10);
/// What others should see is not written more often than this while nothing else is written.
const SHOW_PAUSE: Duration = Duration::from_secs(60);
/// Waiting nodes spread their claims over this time after a slot came free.
const CLAIM_SPREAD: Duration = Duration::from_secs(1);

const WITH_KUBELET: Reads = Reads { kubelet: true, ..CLUSTER };
const WITH_PODS: Reads = Reads { pods: true, budgets: true, ..CLUSTER };
const WITH_ALL: Reads = Reads { others: true, ..WITH_PODS };

/// What the phase that these facts make wants to happen.
pub(super) fn wish(world: &World, settings: &Settings) -> Wish {
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
    // Without a Node that is ours nothing is done; but who may hold a slot is not idle.
    let holds = slots.iter().any(|slot| {
        let named = slot.holder.as_deref() == Some(settings.node_name.as_str());
        named && identity::ownership(world, slot) != Ownership::OtherMachine
    });
    let without_node = if holds { Phase::Waiting } else { idle_or_waiting };
    let Some(node) = node else {
        return Wish::new(without_node).trouble(Reason::NodeMissing { name: settings.node_name.clone() });
    };
    if let Err(reason) = identity::node_is_this_machine(world, node) {
        return Wish::new(without_node).trouble(reason);
    }
    let held: Vec<Held<'_>> = slots
        .iter()
        .filter(|slot| slot.holder.as_deref() == Some(settings.node_name.as_str()))
        .map(|slot| Held { slot, ownership: identity::ownership(world, slot) })
        .collect();
    let here = Here { world, settings, node, requests, held };
    let mut wish = here.wish(idle_or_waiting, slots);
    // Who waits for a turn or has it goes by the fleet's policy; who comes back finishes whatever it says.
    if matches!(wish.phase, Phase::Waiting | Phase::Cordoning | Phase::Draining) {
        wish.reads.policy = world.cluster.policy.current().is_none();
    }
    wish
}

/// A slot under our node's name.
struct Held<'a> {
    slot: &'a SlotView,
    ownership: Ownership,
}

/// The Node exists and is this machine: everything else is judged from here.
struct Here<'a> {
    world: &'a World,
    settings: &'a Settings,
    node: &'a NodeView,
    requests: Requests,
    held: Vec<Held<'a>>,
}

impl Here<'_> {
    fn wish(&self, idle_or_waiting: Phase, slots: &[SlotView]) -> Wish {
        let proven = self.proven_slot();
        // A person's cordon under our mark is his: the mark alone goes. Where he uncordoned, the mark goes
        // after the slot, so that a crash in between still knows.
        let uncordoned = self.node.mark.is_some() && !self.node.unschedulable;
        let taken_over = self.node.mark.is_some() && self.node.unschedulable && !self.cordon_is_ours();
        if taken_over || (uncordoned && proven.is_none()) {
            let phase = if proven.is_some() { Phase::Aborting } else { Phase::Restoring };
            return Wish::new(phase).act(self.write_node(NodeChange::RemoveMark));
        }
        match proven {
            Some(Held { slot, ownership: Ownership::ThisBoot }) => self.claimed(slot),
            Some(Held { slot, .. }) => self.returning(slot),
            None => self.without_slot(idle_or_waiting, slots),
        }
    }

    fn cordon_is_ours(&self) -> bool {
        self.node.mark.is_some() && self.node.unschedulable && self.node.unschedulable_is_ours
    }

    /// The slot to act on; others that we hold follow when it is released.
    fn proven_slot(&self) -> Option<&Held<'_>> {
        let boot = &self.world.host.boot_id;
        self.held
            .iter()
            .filter(|held| matches!(held.ownership, Ownership::ThisBoot | Ownership::EarlierBoot))
            .max_by_key(|held| {
                let stamped = held.slot.stamp.as_ref().is_some_and(|stamp| stamp.boot_id == *boot);
                let this_boot = held.ownership == Ownership::ThisBoot;
                (stamped, this_boot, held.slot.pool.as_ref() == Some(&self.settings.pool))
            })
    }

    // ---- no slot of ours ----

    fn without_slot(&self, idle_or_waiting: Phase, slots: &[SlotView]) -> Wish {
        // A stamp that proves nothing may still mean a reboot under way: then not even our cordon is removed.
        let may_uncordon = |held: &Held<'_>| self.cordon_is_ours() && held.slot.stamp.is_none();
        if let Some(odd) = self.held.first().filter(|held| !may_uncordon(held)) {
            return self.unproven(odd);
        }
        if self.cordon_is_ours() {
            return self.restoring();
        }
        let labels = self.settings.mode == Mode::Active && !self.world.step_back;
        if labels && self.node.pool_label.as_ref() != Some(&self.settings.pool) {
            return Wish::new(idle_or_waiting).act(self.write_node(NodeChange::Confirm { in_turn: false }));
        }
        let mut wish = match idle_or_waiting {
            Phase::Waiting => self.waiting(slots),
            phase if self.world.step_back => Wish::new(phase).because(Reason::SteppedBack),
            // What could not be read may be readable again, and nobody tells.
            phase if self.requests.are_unreadable() => {
                Wish { host_age: Some(WAITING_LOOK), ..Wish::new(phase) }
            }
            phase => Wish::new(phase),
        };
        if let Some(at) = self.requests.uptime_asks {
            wish.wake_at(at, self.world.now.boot);
        }
        // People annotate, and take it back, at any time.
        let may_matter = self.settings.host.request_annotation || idle_or_waiting == Phase::Waiting;
        wish.watches.annotations = may_matter && !wish.watches.node && !self.world.step_back;
        wish.look_age.get_or_insert_with(|| self.heartbeat());
        self.show(wish)
    }

    /// Writes what others should see, where nothing else is written just now. Not often: something else may undo it
    /// each time.
    fn show(&self, mut wish: Wish) -> Wish {
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

    /// When the Node may be written only for what others see.
    fn shown_until(&self) -> Option<Duration> {
        let until = self.world.cluster.shown.map(|at| at + SHOW_PAUSE);
        until.filter(|until| self.world.now.boot < *until)
    }

    /// Signs of the turn that are to go before the slot does; what does not go then holds up nothing.
    fn shows_too_much(&self) -> bool {
        !self.node.added.is_empty() && self.shown_until().is_none()
    }

    fn signs(&self, in_turn: bool) -> SignsWrite {
        signs::write(self.node, &self.settings.signs, &self.is_waiting(), in_turn)
    }

    fn is_waiting(&self) -> Waiting {
        let now = self.world.now.wall;
        match self.requests.age(self.world) {
            _ if self.world.step_back || self.requests.are_gone() => Waiting::No,
            Some(age) => Waiting::Yes(minute(now.saturating_sub(age))),
            None => Waiting::Unknown,
        }
    }

    /// Whoever waits for nothing in the cluster still looks now and then: a claim of an earlier process may land
    /// at any later time. Spread, since a fleet may have been started at once.
    fn heartbeat(&self) -> Duration {
        HEARTBEAT_LOOK.mul_f64(0.75 + jitter(&[&self.settings.node_name, "heartbeat"]) / 2.0)
    }

    fn unproven(&self, held: &Held<'_>) -> Wish {
        let slot = held.slot.name.clone();
        Wish::new(Phase::Unproven).trouble(match held.ownership {
            Ownership::OtherMachine => Reason::SlotOfOtherMachine { slot },
            _ => Reason::SlotUnproven { slot },
        })
    }

    fn restoring(&self) -> Wish {
        match health::healthy(self.world, self.node, self.settings.policy.settle, None) {
            Err(reason) => self.wait_for_health(Phase::Restoring, reason),
            Ok(()) => {
                let because = Some(AbortReason::SlotLost);
                Wish { reads: WITH_KUBELET, ..Wish::new(Phase::Restoring) }
                    .act(self.write_node(NodeChange::Uncordon { because }))
            }
        }
    }

    fn waiting(&self, slots: &[SlotView]) -> Wish {
        let mut wish = Wish::new(Phase::Waiting);
        wish.reasons = self.requests.closed();
        wish.watches.policy = true;
        if let Some(reason) = gates::policy(self.world) {
            wish.look_age = Some(WAITING_LOOK);
            wish.reasons.push(reason);
        }
        if !wish.reasons.is_empty() {
            wish.host_age = Some(TROUBLE_LOOK);
        }
        let too_new = self.requests.too_new(self.world, self.settings.policy.min_age);
        let too_new = too_new.map(|left| (Reason::RequestTooNew { left }, self.world.now.boot + left));
        for (reason, opens) in gates::claim(self.world, self.settings).into_iter().chain(too_new) {
            wish.reasons.push(reason);
            wish.wake_at(opens, self.world.now.boot);
        }
        if let Some((reason, opens)) =
            self.requests.livepatched(self.world, self.settings.host.livepatched_min_age)
        {
            wish.reasons.push(reason);
            wish.host_age = Some(TROUBLE_LOOK);
            opens.iter().for_each(|at| wish.wake_at(*at, self.world.now.boot));
        }
        for gates::Shut { reason, opens, .. } in gates::shut(self.world, self.settings) {
            wish.reasons.push(reason);
            opens.iter().for_each(|at| wish.wake_at(*at, self.world.now.boot));
        }
        // People take back what they said at any time.
        wish.watches.slots = self.world.cluster.pause.is_some();
        if !wish.reasons.is_empty() {
            return wish;
        }
        wish.reasons = gates::host(self.world, self.settings);
        wish.reasons.extend(hooks::not_ready(self.world, self.settings));
        if !wish.reasons.is_empty() {
            return Wish { host_age: Some(GATE_LOOK), ..wish };
        }
        if let Some(reason) = gates::node(self.node) {
            wish.watches.node = true;
            return wish.because(reason);
        }
        if let Err(reason) = identity::node_is_this_boot(self.world, self.node) {
            return wish.trouble(reason);
        }
        match gates::people(self.world, self.settings) {
            gates::People::Open => {}
            gates::People::Tell(reason) => return wish.because(reason).act(Effect::TellPeople),
            gates::People::Wait(reason, until) => {
                return Wish { host_age: Some(GATE_LOOK), until, ..wish }.because(reason);
            }
        }
        wish.look_age = Some(WAITING_LOOK);
        // Known since the last turn; a node that joins is seen at the next look.
        if let Some(reason) = gates::only_one(self.world, self.settings) {
            wish.reads.others = true;
            return wish.because(reason);
        }
        wish.watches.slots = true;
        self.claim_free_slot(wish, slots)
    }

    fn claim_free_slot(&self, mut wish: Wish, slots: &[SlotView]) -> Wish {
        let pool = &self.settings.pool;
        let mine: Vec<&SlotView> = slots.iter().filter(|slot| slot.pool.as_ref() == Some(pool)).collect();
        let name = &self.settings.node_name;
        let free = mine
            .iter()
            .filter_map(|slot| {
                let (version, since) = self.world.cluster.free.get(&slot.name)?;
                let share = jitter(&[name, &slot.name, version]);
                Some((*since + CLAIM_SPREAD.mul_f64(share), *slot))
            })
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

    /// Looks for the holders' Nodes beside the slots, and frees a slot whose holder has had none for long enough.
    fn reclaim(&self, mut wish: Wish, held: &[&SlotView]) -> Wish {
        wish.reads.holders = held.iter().any(|slot| reclaim::is_claimed(slot));
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

    // ---- a slot claimed in this boot ----

    fn claimed(&self, slot: &SlotView) -> Wish {
        let stamp = slot.stamp.as_ref().filter(|stamp| stamp.boot_id == self.world.host.boot_id);
        if let Some(stamp) = stamp
            && let Some(wish) = self.rebooting(stamp)
        {
            // This process knows that it has not asked for the reboot: it may go on to stamp anew, though not
            // undo anything.
            let cordoned = self.node.unschedulable && self.world.is_settled(&self.node.uid);
            let not_asked = self.world.cluster.stamped && cordoned;
            let goes_on = not_asked && self.abort_reason(slot, None).is_none();
            return if goes_on { self.draining(slot, stamp.attempt) } else { wish };
        }
        match self.abort_reason(slot, stamp) {
            Some(because) => self.aborting(slot, because),
            None if !self.node.unschedulable => self.cordoning(slot),
            None if !self.world.is_settled(&self.node.uid) => self.confirm_cordon(),
            None => self.draining(slot, stamp.map_or(1, |stamp| stamp.attempt.saturating_add(1))),
        }
    }

    /// After the stamp the reboot may be on its way, even where the call seemed to fail: nothing is undone,
    /// and nothing new is asked for, before `reboot_timeout` is over.
    fn rebooting(&self, stamp: &Stamp) -> Option<Wish> {
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

    fn abort_reason(&self, slot: &SlotView, stamp: Option<&Stamp>) -> Option<AbortReason> {
        let policy = &self.settings.policy;
        let uncordoned = self.node.mark.is_some() && !self.node.unschedulable;
        let shut = gates::shut(self.world, self.settings).into_iter().next().map(|shut| shut.because);
        let reboot_failed = stamp.is_some_and(|it| it.attempt >= policy.reboot_tries);
        let reasons = [
            self.world.step_back.then_some(AbortReason::SteppingBack),
            slot.step_back.is_some().then_some(AbortReason::AskedToStepBack),
            (slot.pool.as_ref() != Some(&self.settings.pool)).then_some(AbortReason::PoolChanged),
            uncordoned.then_some(AbortReason::CordonRemoved),
            self.requests.are_gone().then_some(AbortReason::RequestGone),
            hooks::abort(self.world, self.settings, turn_of(slot)),
            shut,
            reboot_failed.then_some(AbortReason::RebootFailed),
            self.drain_has_failed(slot, stamp).then_some(AbortReason::DrainDeadline),
        ];
        reasons.into_iter().flatten().next()
    }

    fn aborting(&self, slot: &SlotView, because: AbortReason) -> Wish {
        // The pods that were known to be left may have gone since, while nothing could be read: then the drain is over.
        // Where only they cannot be read, nothing will tell.
        let can_tell = self.cordon_is_ours() && self.world.cluster.pods.failure().is_none();
        let reads = match because {
            AbortReason::DrainDeadline if can_tell => WITH_PODS,
            _ => CLUSTER,
        };
        let mut wish = Wish { reads, ..Wish::new(Phase::Aborting) };
        wish.reasons.extend(hooks::failed(self.world, self.settings, turn_of(slot)));
        wish.because(Reason::Aborting { because }).act(self.give_back(slot, Some(because)))
    }

    fn cordoning(&self, slot: &SlotView) -> Wish {
        let wish = Wish::new(Phase::Cordoning);
        let claimed_for_this_node = slot.claim.node_uid.as_ref() == Some(&self.node.uid);
        if !claimed_for_this_node || !self.world.is_settled(&slot.uid) {
            return wish.act(self.claim(slot));
        }
        let closed = self.closed();
        if !closed.is_empty() {
            // The gates may stay closed for long: meanwhile the slot may be taken away, or wanted back.
            let watches = Watches { slots: true, node: true, policy: true, ..Watches::default() };
            let (look_age, host_age) = (Some(DRAIN_LOOK), Some(GATE_LOOK));
            return Wish { reasons: closed, look_age, host_age, watches, ..wish };
        }
        let has_begun = hooks::asked_for(self.world, Hook::BeforeDrain, turn_of(slot)).is_some();
        if !has_begun && gates::window_ends_soon(self.world, self.settings).is_some() {
            return self.aborting(slot, AbortReason::WindowClosed);
        }
        // Before anything is touched it is known what becomes of each pod.
        if self.is_refused_for_sure() {
            return self.aborting(slot, AbortReason::PodsRefused);
        }
        let wish = Wish { reads: WITH_ALL, ..wish };
        if gates::only_one(self.world, self.settings).is_some() {
            return self.aborting(slot, AbortReason::OnlyOne);
        }
        let closed = self.closed_by_others().into_iter().chain(self.refused()).collect::<Vec<_>>();
        match closed {
            closed if closed.is_empty() => {
                let watches = Watches { slots: true, node: true, ..Watches::default() };
                let wish =
                    Wish { look_age: Some(DRAIN_LOOK), until: Some(self.deadline(slot)), watches, ..wish };
                self.once_run(Hook::BeforeDrain, turn_of(slot), wish, self.cordon())
            }
            closed => {
                let until = Some(self.deadline(slot));
                let watches = Watches { slots: true, policy: true, ..Watches::default() };
                Wish { reasons: closed, look_age: Some(OTHERS_LOOK), until, watches, ..wish }
            }
        }
    }

    /// The closed gates of other nodes, and of alerts. A look that did not read them says nothing: whoever asks wants them read, so
    /// that comes first.
    fn closed_by_others(&self) -> Vec<Reason> {
        match self.world.cluster.look {
            Some(look) if look.others => {
                let alerts = gates::alerts(self.world, self.settings);
                let others = gates::others(self.world, self.settings).into_iter();
                others.chain(gates::only_one(self.world, self.settings)).chain(alerts).collect()
            }
            _ => Vec::new(),
        }
    }

    fn is_held_up(&self) -> bool {
        gates::policy(self.world).is_some()
            || !gates::host(self.world, self.settings).is_empty()
            || gates::node(self.node).is_some()
            || !self.closed_by_others().is_empty()
    }

    /// What holds up a node that has its slot: requests that cannot be read, and closed gates.
    fn closed(&self) -> Vec<Reason> {
        let unreadable = self.requests.closed().into_iter().chain(gates::policy(self.world));
        let host = gates::host(self.world, self.settings);
        unreadable.chain(host).chain(gates::node(self.node)).collect()
    }

    fn cordon(&self) -> Effect {
        let why = self.requests.why();
        self.write_node(NodeChange::Cordon { why: if why.is_empty() { "reboot".to_owned() } else { why } })
    }

    /// This process has not seen its cordon answered: a lost uncordon might still land. The write is repeated;
    /// under somebody else's cordon one that changes nothing does the same.
    fn confirm_cordon(&self) -> Wish {
        let wish = Wish::new(Phase::Cordoning);
        if self.cordon_is_ours() {
            wish.act(self.cordon())
        } else {
            wish.act(self.write_node(NodeChange::Confirm { in_turn: true }))
        }
    }

    fn stamp(&self, attempt: u32) -> Stamp {
        Stamp {
            boot_id: self.world.host.boot_id.clone(),
            attempt,
            at: self.world.now.boot,
            unready: health::unready_daemon_sets(self.world),
            request: self.node.request.clone(),
        }
    }

    // ---- a slot claimed in an earlier boot ----

    fn returning(&self, slot: &SlotView) -> Wish {
        let policy = &self.settings.policy;
        let after = self.after(slot);
        if let After::Held(wish) = after {
            return wish;
        }
        let healthy = health::healthy(self.world, self.node, policy.settle, Some(&slot.claim));
        // The pods are read only once their kubelet is known to be well.
        let pods = healthy.is_ok();
        let mut wish = match healthy.and_then(|()| health::daemon_sets_ready(self.world, slot.stamp.as_ref()))
        {
            Err(reason) => self.wait_for_health(Phase::Returning, reason),
            Ok(()) => {
                let wish = self.follow_health(Phase::Returning);
                self.once_run(Hook::AfterBoot, Duration::ZERO, wish, self.give_back(slot, None))
            }
        };
        wish.reads = Reads { pods, after: matches!(after, After::Asked { .. }), ..WITH_KUBELET };
        if let After::Asked { given_up } = after {
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

    fn wait_for_health(&self, phase: Phase, reason: Reason) -> Wish {
        let until = match &reason {
            Reason::Settling { left } => Some(self.world.now.boot + *left),
            _ => None,
        };
        Wish { until, ..self.follow_health(phase) }.because(reason)
    }

    fn follow_health(&self, phase: Phase) -> Wish {
        let settle = self.settings.policy.settle;
        Wish {
            reads: WITH_KUBELET,
            look_age: Some((settle / 3).clamp(HEALTH_LOOK_LEAST, HEALTH_LOOK_MOST)),
            watches: Watches { node: true, kubelet: true, ..Watches::default() },
            ..Wish::new(phase)
        }
    }

    // ---- hooks ----

    /// The effect comes once the hook has done its work, and rests on readings that come after that.
    fn once_run(&self, hook: Hook, turn: Duration, wish: Wish, then: Effect) -> Wish {
        let reason = match hooks::step(self.world, self.settings, hook, turn) {
            Step::Done => return wish.act(then),
            Step::Start => {
                let wish = wish.because(Reason::HookStarting { hook }).act(Effect::StartHook { hook, turn });
                return Wish { host_age: Some(HOOK_LOOK), ..wish };
            }
            Step::Wait(reason) | Step::Failed(reason) => reason,
        };
        Wish { host_age: Some(HOOK_LOOK), ..wish }.because(reason)
    }

    // ---- writes ----

    /// Uncordons what is ours, then releases. The release waits for an answered write to the Node: a cordon of
    /// ours that is still on its way dies with it.
    fn give_back(&self, slot: &SlotView, because: Option<AbortReason>) -> Effect {
        if self.cordon_is_ours() {
            self.write_node(NodeChange::Uncordon { because: None })
        } else if !self.world.is_settled(&self.node.uid) || self.shows_too_much() {
            self.write_node(NodeChange::Confirm { in_turn: false })
        } else {
            self.write_slot(slot, SlotChange::Release { because })
        }
    }

    /// Takes a slot, or takes it again: then the time of the first claim stays, since deadlines count from it.
    fn claim(&self, slot: &SlotView) -> Effect {
        let host = &self.world.host;
        let again = self.held.iter().any(|held| held.slot.uid == slot.uid);
        let claim = Claim {
            machine_id: Some(host.machine_id.clone()),
            node_uid: Some(self.node.uid.clone()),
            boot_id: Some(host.boot_id.clone()),
            at: slot.claim.at.filter(|_| again).or(Some(self.world.now.boot)),
            allocatable: health::countable(&self.node.allocatable),
            heartbeat: self.node.heartbeat.clone(),
            reason: self.requests.why(),
        };
        self.write_slot(slot, SlotChange::Claim(claim))
    }

    fn write_slot(&self, slot: &SlotView, change: SlotChange) -> Effect {
        Effect::WriteSlot(SlotWrite {
            slot: slot.name.clone(),
            uid: slot.uid.clone(),
            resource_version: slot.resource_version.clone(),
            nonce: self.world.nonce(),
            change,
        })
    }

    /// The reboot that the Node's annotation asked for has been, and it asks in the same words as at the stamp.
    fn request_is_fulfilled(&self) -> bool {
        let is_earlier = |held: &&Held<'_>| held.ownership == Ownership::EarlierBoot;
        let stamp = self.proven_slot().filter(is_earlier).and_then(|held| held.slot.stamp.as_ref());
        self.node.request.is_some() && stamp.is_some_and(|stamp| stamp.request == self.node.request)
    }

    fn write_node(&self, change: NodeChange) -> Effect {
        Effect::WriteNode(NodeWrite {
            uid: self.node.uid.clone(),
            resource_version: self.node.resource_version.clone(),
            nonce: self.world.nonce(),
            pool: self.settings.pool.clone(),
            fulfils_request: self.request_is_fulfilled(),
            signs: self
                .signs(matches!(change, NodeChange::Cordon { .. } | NodeChange::Confirm { in_turn: true })),
            change,
        })
    }
}

/// What tells one turn from another, where a hook is asked for in each.
fn turn_of(slot: &SlotView) -> Duration {
    Duration::from_secs(slot.claim.at.unwrap_or_default().as_secs())
}

/// Slot, holder, and what the holder is doing, as far as the slot tells.
fn holder_of(slot: &SlotView) -> (String, String, String) {
    let holder = slot.holder.clone().unwrap_or_default();
    let doing = match (&slot.stamp, &slot.claim.boot_id) {
        (Some(_), _) => "rebooting",
        (None, Some(_)) => "draining",
        (None, None) => "put there by hand",
    };
    (slot.name.clone(), holder, doing.to_owned())
}
