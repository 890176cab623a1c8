//! What a [`Decision`] is made of.

use std::time::Duration;

use super::{Effect, Reason};

/// Where this node stands. Never stored: derived from the World at each decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Before the first readings: no effect at all.
    Starting,
    /// No request, no slot, no cordon of ours.
    Idle,
    /// A request, or a slot that is held without a Node that is ours, and something that has to come first.
    Waiting,
    /// A cordon of ours without a slot: uncordon when healthy, before any new claim.
    Restoring,
    /// A slot claimed in this boot, the cordon not yet confirmed.
    Cordoning,
    /// Cordoned; pods are leaving.
    Draining,
    /// The slot is stamped: the reboot has been asked for, or is about to be.
    Rebooting,
    /// Undoing, before the slot is given back without a reboot.
    Aborting,
    /// Back from a reboot: prove, wait for health, uncordon, release.
    Returning,
    /// A slot under our name that we cannot prove to be ours: a person decides.
    Unproven,
    /// The host is shutting down: nothing is written.
    GoingDown,
}

impl Phase {
    /// The word for it, as in status lines and JSON.
    pub fn word(self) -> &'static str {
        match self {
            Phase::Starting => "starting",
            Phase::Idle => "idle",
            Phase::Waiting => "waiting",
            Phase::Restoring => "restoring",
            Phase::Cordoning => "cordoning",
            Phase::Draining => "draining",
            Phase::Rebooting => "rebooting",
            Phase::Aborting => "aborting",
            Phase::Returning => "returning",
            Phase::Unproven => "unproven",
            Phase::GoingDown => "going-down",
        }
    }
}

/// What to do now, and what to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Where this node stands.
    pub phase: Phase,
    /// What it waits for, the most important first.
    pub reasons: Vec<Reason>,
    /// What comes next.
    pub next: Next,
    /// What to watch while waiting.
    pub watches: Watches,
}

/// The next step of the loop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Read these, then decide again.
    Read(Reads),
    /// Do this, then decide again.
    Act(Effect),
    /// Wait for an event, or until this time since boot.
    Wait(Option<Duration>),
}

/// What a look reads; the host's own readings come last, always.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Reads {
    /// The other nodes of the pool and, for a node of the control plane, the control plane elsewhere.
    pub others: bool,
    /// What the gates after a reboot ask for.
    pub after: bool,
    /// The fleet's policy.
    pub policy: bool,
    /// The own Node, then the slots, both without resourceVersion.
    pub cluster: bool,
    /// The kubelet's Lease in `kube-node-lease`.
    pub kubelet: bool,
    /// The pods of this node.
    pub pods: bool,
    /// The budgets of [`super::budget_namespaces`]; read after the pods.
    pub budgets: bool,
    /// Whether the Nodes of [`super::holders`] exist; read after the slots.
    pub holders: bool,
    /// The latest list of pods showed nothing left to drain: this look is to confirm it.
    pub confirms_drained: bool,
}

/// One part of a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LookPart {
    /// The fleet's policy.
    Policy,
    /// The other nodes.
    Others,
    /// The alerts, where they are a gate.
    Alerts,
    /// What the gates after a reboot ask for.
    After,
    /// The own Node.
    Node,
    /// The slots.
    Slots,
    /// The Nodes of other slots' holders.
    Holders,
    /// The kubelet's Lease.
    Kubelet,
    /// The pods of this node.
    Pods,
    /// The budgets that may cover bare pods of this node.
    Budgets,
}

impl Reads {
    /// The parts of this look, in the order in which they have to be read, one after the other.
    ///
    /// The own Node before the slots: a slot that was lost after the Node was read must not go unseen, or the
    /// Node's state would be judged under it. The slots before their holders' Nodes: a claim made after its Node
    /// was missed would be freed. The pods before the budgets that may cover them. The other nodes first, and what
    /// others than the API server answer: that takes longest, and what was read before it would be old.
    pub fn in_order(self) -> impl Iterator<Item = LookPart> {
        let parts = [
            (self.policy, LookPart::Policy),
            (self.others, LookPart::Others),
            (self.others, LookPart::Alerts),
            (self.after, LookPart::After),
            (self.cluster, LookPart::Node),
            (self.cluster, LookPart::Slots),
            (self.holders, LookPart::Holders),
            (self.kubelet, LookPart::Kubelet),
            (self.pods, LookPart::Pods),
            (self.budgets, LookPart::Budgets),
        ];
        parts.into_iter().filter_map(|(wanted, part)| wanted.then_some(part))
    }
}

/// What to watch. A watch event says no more than "look"; only pods are folded from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Watches {
    /// The slots.
    pub slots: bool,
    /// The own Node.
    pub node: bool,
    /// The pods of this node.
    pub pods: bool,
    /// The kubelet's Lease.
    pub kubelet: bool,
    /// The fleet's policy.
    pub policy: bool,
    /// The annotations of the own Node that people write: a watch that costs next to nothing, and says what changed.
    pub annotations: bool,
}
