//! What is known about this node once its Node is proven to be this machine, and what may be written from there.

use std::collections::BTreeSet;
use std::time::Duration;

use super::super::hooks::{self, Step};
use super::super::identity::Ownership;
use super::super::questions::Asked;
use super::super::requests::Requests;
use super::super::settings::Settings;
use super::super::signs::{self, ADDED, Turn, Waiting};
use super::super::wish::{HOOK_LOOK, WITH_KUBELET, Wish};
use super::super::world::World;
use super::super::{
    AbortReason, Claim, Effect, Hook, NodeChange, NodeView, NodeWrite, PROVEN, Part, Parts, Phase, Reason,
    SignsWrite, SlotChange, SlotView, SlotWrite, Stamp, Successors, canary, healthy,
};
use crate::notation::minute;

/// Signs for others are not written more often than this while nothing else is written.
const SHOW_PAUSE: Duration = Duration::from_secs(60);
/// A returning node is looked at three times while it settles, besides what the watches report, but within these
/// limits.
const HEALTH_LOOK_LEAST: Duration = Duration::from_secs(5);
const HEALTH_LOOK_MOST: Duration = Duration::from_secs(10);

/// How many successors a slot names: the first ones may have stopped waiting meanwhile.
const MOST_SUCCESSORS: usize = 3;

/// A slot that is held under our node's name.
pub(super) struct Held<'a> {
    pub(super) slot: &'a SlotView,
    pub(super) ownership: Ownership,
}

/// The Node exists and is this machine: everything else is judged from here.
pub(super) struct Situation<'a> {
    pub(super) world: &'a World,
    pub(super) settings: &'a Settings,
    pub(super) node: &'a NodeView,
    pub(super) requests: Requests,
    pub(super) held: Vec<Held<'a>>,
}

impl Situation<'_> {
    /// What the gates are asked about.
    pub(in crate::decide) fn asked(&self) -> Asked<'_> {
        Asked { world: self.world, settings: self.settings, requests: &self.requests }
    }

    pub(in crate::decide) fn cordon_is_ours(&self) -> bool {
        self.node.mark.is_some() && self.node.unschedulable && self.node.unschedulable_is_ours
    }

    /// A write that left no cordon of ours was answered, so none can be applied any more.
    pub(super) fn is_uncordoned(&self) -> bool {
        !self.cordon_is_ours() && self.world.is_settled(&self.node.uid)
    }

    /// The slot to act on; others that we hold come next once it is released.
    pub(in crate::decide) fn proven_slot(&self) -> Option<&Held<'_>> {
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

    /// When the Node may next be written only for its signs.
    pub(in crate::decide) fn shown_until(&self) -> Option<Duration> {
        let until = self.world.cluster.shown.map(|at| at + SHOW_PAUSE);
        until.filter(|until| self.world.now.boot < *until)
    }

    /// Signs of the turn that should go before the slot does; a sign that does not go stops nothing.
    pub(in crate::decide) fn shows_too_much(&self) -> bool {
        self.signs(false).annotations.contains_key(ADDED) && self.shown_until().is_none()
    }

    pub(in crate::decide) fn signs(&self, in_turn: bool) -> SignsWrite {
        // In a turn the node no longer waits.
        let waiting = if in_turn { Waiting::No } else { self.is_waiting() };
        let turn = match self.kept_from_autoscalers_until() {
            _ if in_turn => Turn::In,
            Some(_) => Turn::JustOver,
            None => Turn::Out,
        };
        signs::write(self.node, self.settings, &waiting, turn)
    }

    /// After a reboot of ours. Counted from the uncordon; while that is still to come in this boot, from now. A node
    /// that boots again, or steps back, after its turn keeps nothing: there may be no later write that would end it.
    pub(in crate::decide) fn kept_from_autoscalers_until(&self) -> Option<Duration> {
        let world = self.world;
        let uncordoned = world.memory.uncordoned.as_ref().filter(|it| it.boot_id == world.host.boot_id);
        let to_come = self.cordon_is_ours() || self.proven_slot().is_some();
        let since = uncordoned.map(|it| it.at).or_else(|| to_come.then_some(world.now.boot))?;
        let until = since + self.settings.drain.keep_from_autoscalers_for;
        let is_kept = world.rebooted().is_some() && !world.step_back && world.now.boot < until;
        is_kept.then_some(until)
    }

    pub(in crate::decide) fn is_waiting(&self) -> Waiting {
        let now = self.world.now.wall;
        match self.requests.age(self.world) {
            _ if self.world.step_back || self.requests.are_gone() => Waiting::No,
            Some(age) => Waiting::Yes(minute(now.saturating_sub(age))),
            None => Waiting::Unknown,
        }
    }

    pub(in crate::decide) fn cordon(&self) -> Effect {
        let why = self.requests.why();
        self.write_node(NodeChange::Cordon { why: if why.is_empty() { "reboot".to_owned() } else { why } })
    }

    pub(in crate::decide) fn stamp(&self, attempt: u32) -> Stamp {
        Stamp {
            boot_id: self.world.host.boot_id.clone(),
            attempt,
            at: self.world.now.boot,
            daemon_sets: healthy::daemon_sets(self.world),
            request: self.node.request.clone(),
        }
    }

    /// Who may claim this slot first once we give it back: those that have waited longest, but for those that another slot
    /// names, so that two slots that become free together do not go to the same node.
    pub(in crate::decide) fn successors(&self, slot: &SlotView) -> Successors {
        let Some(waiters) = &self.world.cluster.drain.waiters else { return Successors::default() };
        let others = self.world.cluster.slots.last().into_iter().flatten().filter(|it| it.uid != slot.uid);
        let spoken_for: BTreeSet<&String> =
            others.flat_map(|it| it.next.names.iter().chain(&it.holder)).collect();
        let names = waiters.first.iter().filter(|name| !spoken_for.contains(name));
        Successors { names: names.take(MOST_SUCCESSORS).cloned().collect(), waiting: waiters.count }
    }

    /// Removes our cordon, then releases the slot. The release waits for an answered write to the Node: after that, a
    /// cordon of ours that is still on its way can no longer be applied.
    pub(in crate::decide) fn give_back(&self, slot: &SlotView, because: Option<AbortReason>) -> Effect {
        if self.cordon_is_ours() {
            self.write_node(NodeChange::Uncordon { because: None })
        } else if !self.world.is_settled(&self.node.uid) || self.shows_too_much() {
            self.write_node(NodeChange::Confirm { in_turn: false })
        } else {
            self.write_slot(slot, SlotChange::Release { because })
        }
    }

    /// Takes a slot, or takes it again: the time of the first claim then stays, because deadlines count from it.
    pub(in crate::decide) fn claim(&self, slot: &SlotView) -> Effect {
        let host = &self.world.host;
        let again = self.held.iter().any(|held| held.slot.uid == slot.uid);
        let claim = Claim {
            machine_id: Some(host.machine_id.clone()),
            node_uid: Some(self.node.uid.clone()),
            boot_id: Some(host.boot_id.clone()),
            at: slot.claim.at.filter(|_| again).or(Some(self.world.now.boot)),
            allocatable: healthy::countable(&self.node.allocatable),
            taints: Some(self.node.repelling_taints.clone()),
            heartbeat: self.node.heartbeat.clone(),
            reason: self.requests.why(),
            zone: Some(self.node.zone().to_owned()),
            canary: if again { slot.claim.canary.clone() } else { self.tries() },
            back_within: Some(self.settings.policy.return_timeout + self.settings.policy.settle),
        };
        self.write_slot(slot, SlotChange::Claim(claim))
    }

    /// What this node would try before others do.
    fn tries(&self) -> Option<String> {
        let (rule, what) = canary::asked(self.world, self.settings)?;
        (!canary::is_proven(self.world, rule, &what)).then_some(what)
    }

    /// Says on the Node that what it tried has run well.
    pub(in crate::decide) fn prove(&self, what: &str) -> Effect {
        let mut effect = self.write_node(NodeChange::Confirm { in_turn: false });
        if let Effect::WriteNode(write) = &mut effect {
            write.signs.labels.insert(PROVEN.to_owned(), Some(what.to_owned()));
        }
        effect
    }

    pub(in crate::decide) fn write_slot(&self, slot: &SlotView, change: SlotChange) -> Effect {
        Effect::WriteSlot(SlotWrite {
            slot: slot.name.clone(),
            uid: slot.uid.clone(),
            resource_version: slot.resource_version.clone(),
            nonce: self.world.nonce(),
            change,
        })
    }

    /// The reboot that the Node's annotation asked for has happened, and the annotation still has the same text as at
    /// the stamp.
    pub(in crate::decide) fn request_is_fulfilled(&self) -> bool {
        let is_earlier = |held: &&Held<'_>| held.ownership == Ownership::EarlierBoot;
        let stamp = self.proven_slot().filter(is_earlier).and_then(|held| held.slot.stamp.as_ref());
        self.node.request.is_some() && stamp.is_some_and(|stamp| stamp.request == self.node.request)
    }

    pub(in crate::decide) fn write_node(&self, change: NodeChange) -> Effect {
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

    pub(in crate::decide) fn follow_health(&self, phase: Phase) -> Wish {
        let settle = self.settings.policy.settle;
        Wish {
            reads: WITH_KUBELET,
            look_age: Some((settle / 3).clamp(HEALTH_LOOK_LEAST, HEALTH_LOOK_MOST)),
            watched: Parts::only(Part::Node).with(Part::Kubelet),
            ..Wish::new(phase)
        }
    }

    pub(in crate::decide) fn wait_for_health(&self, phase: Phase, reason: Reason) -> Wish {
        let until = match &reason {
            Reason::Settling { left } => Some(self.world.now.boot + *left),
            _ => None,
        };
        Wish { until, ..self.follow_health(phase) }.because(reason)
    }

    /// The effect comes once the hook is done, and rests on readings from after that.
    pub(in crate::decide) fn once_run(&self, hook: Hook, turn: Duration, wish: Wish, then: Effect) -> Wish {
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
}

/// Distinguishes one turn from another, because a hook is asked for in each.
pub(super) fn turn_of(slot: &SlotView) -> Duration {
    Duration::from_secs(slot.claim.at.unwrap_or_default().as_secs())
}
