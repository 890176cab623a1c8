//! What a phase wants to happen, and how often what it rests on has to be looked at.

use std::time::Duration;

use super::{Effect, Part, Parts, Phase, Reason};

/// How often a closed gate of this host is looked at: neither dpkg nor logind tell when they are done.
pub(super) const GATE_LOOK: Duration = Duration::from_secs(5);
/// How often a hook that was asked for is looked at.
pub(super) const HOOK_LOOK: Duration = Duration::from_secs(1);
/// How often a host that goes down is looked at: somebody may call the shutdown off.
pub(super) const GOING_DOWN_LOOK: Duration = Duration::from_secs(10);
/// While waiting for a slot the watch tells of changes; this is for a watch that lies.
pub(super) const WAITING_LOOK: Duration = Duration::from_secs(300);
/// What a person has to mend is looked at this often.
pub(super) const TROUBLE_LOOK: Duration = Duration::from_secs(30);
/// So is a closed gate of other nodes: their list may be long.
pub(super) const OTHERS_LOOK: Duration = Duration::from_secs(30);

pub(super) const CLUSTER: Parts = Parts::only(Part::Node).with(Part::Slots);
/// A drain rests on a look at slots and Node that is never older than this, whatever the watches tell.
pub(super) const DRAIN_LOOK: Duration = Duration::from_secs(60);

pub(super) const WITH_KUBELET: Parts = CLUSTER.with(Part::Kubelet);
pub(super) const WITH_PODS: Parts = CLUSTER.with(Part::Pods).with(Part::Budgets);
pub(super) const WITH_ALL: Parts = WITH_PODS.with(Part::Others).with(Part::Alerts);

/// What a phase wants, before it is known whether the readings allow it.
pub(super) struct Wish {
    pub(super) phase: Phase,
    pub(super) reasons: Vec<Reason>,
    pub(super) effect: Option<Effect>,
    /// What a look must include.
    pub(super) reads: Parts,
    /// The look is to confirm that nothing is left to drain.
    pub(super) confirms_drained: bool,
    /// The pods have to be listed anew before anything else; the look may stay as it is.
    pub(super) list_pods: bool,
    /// A look older than this is repeated.
    pub(super) look_age: Option<Duration>,
    /// Host readings older than this are repeated.
    pub(super) host_age: Option<Duration>,
    /// Something changes by itself at this time since boot.
    pub(super) until: Option<Duration>,
    pub(super) watched: Parts,
}

impl Wish {
    pub(super) fn new(phase: Phase) -> Wish {
        Wish {
            phase,
            reasons: Vec::new(),
            effect: None,
            reads: CLUSTER,
            confirms_drained: false,
            list_pods: false,
            look_age: None,
            host_age: None,
            until: None,
            watched: Parts::NONE,
        }
    }

    pub(super) fn because(mut self, reason: Reason) -> Wish {
        self.reasons.push(reason);
        self
    }

    pub(super) fn act(mut self, effect: Effect) -> Wish {
        self.effect = Some(effect);
        self
    }

    /// Something changes by itself at this time, too, unless it is past.
    pub(super) fn wake_at(&mut self, at: Duration, now: Duration) {
        self.until = [self.until, Some(at)].into_iter().flatten().filter(|at| *at > now).min();
    }

    /// Waits for somebody to mend what the reason names.
    pub(super) fn trouble(self, reason: Reason) -> Wish {
        Wish { look_age: Some(TROUBLE_LOOK), ..self }.because(reason)
    }
}
