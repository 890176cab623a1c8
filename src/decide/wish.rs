//! What a phase wants to happen, and how often the readings it depends on have to be repeated.

use std::time::Duration;

use super::{Effect, Part, Parts, Phase, Reason};

/// How often a closed gate of this host is checked: neither dpkg nor logind report when they are done.
pub(super) const GATE_LOOK: Duration = Duration::from_secs(5);
/// How often a hook that was asked for is checked.
pub(super) const HOOK_LOOK: Duration = Duration::from_secs(1);
/// How often a host that is shutting down is checked: somebody may cancel the shutdown.
pub(super) const GOING_DOWN_LOOK: Duration = Duration::from_secs(10);
/// While waiting for a slot, the watch reports changes; this is in case the watch fails to.
pub(super) const WAITING_LOOK: Duration = Duration::from_secs(300);
/// How often a problem that a person has to solve is checked.
pub(super) const TROUBLE_LOOK: Duration = Duration::from_secs(30);
/// How often a closed gate of other nodes is checked: their list may be long.
pub(super) const OTHERS_LOOK: Duration = Duration::from_secs(30);

pub(super) const CLUSTER: Parts = Parts::only(Part::Node).with(Part::Slots);
/// During a drain, the last look at slots and Node is never older than this, whatever the watches report.
pub(super) const DRAIN_LOOK: Duration = Duration::from_secs(60);

pub(super) const WITH_KUBELET: Parts = CLUSTER.with(Part::Kubelet);
pub(super) const WITH_PODS: Parts = CLUSTER.with(Part::Pods).with(Part::Budgets);
pub(super) const WITH_ALL: Parts = WITH_PODS.with(Part::Others).with(Part::Alerts);

/// What a phase wants, before it is known whether the readings suffice for it.
pub(super) struct Wish {
    pub(super) phase: Phase,
    pub(super) reasons: Vec<Reason>,
    pub(super) effect: Option<Effect>,
    /// What a look must include.
    pub(super) reads: Parts,
    /// The look confirms that nothing is left to drain.
    pub(super) confirms_drained: bool,
    /// The pods have to be listed again before anything else; the look may stay as it is.
    pub(super) list_pods: bool,
    /// A look older than this is repeated.
    pub(super) look_age: Option<Duration>,
    /// Host readings older than this are repeated.
    pub(super) host_age: Option<Duration>,
    /// Something changes by itself at this time since boot.
    pub(super) until: Option<Duration>,
    pub(super) watched: Parts,
    /// See [`super::Decision::wants_slot`].
    pub(super) wants_slot: bool,
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
            wants_slot: false,
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

    /// Also wakes at this time, when something changes by itself, unless that is in the past.
    pub(super) fn wake_at(&mut self, at: Duration, now: Duration) {
        self.until = [self.until, Some(at)].into_iter().flatten().filter(|at| *at > now).min();
    }

    /// Waits for somebody to solve the problem that the reason names.
    pub(super) fn trouble(self, reason: Reason) -> Wish {
        Wish { look_age: Some(TROUBLE_LOOK), ..self }.because(reason)
    }
}
