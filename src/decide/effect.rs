//! What a [`Decision`] is made of.

use std::time::Duration;

use super::{Claim, Hook, PodKey, Reason, SignsWrite, Stamp};

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

/// One effect on the world. A decision holds one at most.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Effect {
    /// A conditional write to a slot.
    WriteSlot(SlotWrite),
    /// A conditional write to the own Node.
    WriteNode(NodeWrite),
    /// Ask for the eviction of pods.
    Evict(Eviction),
    /// Ask systemd for the administrator's unit.
    StartHook {
        /// Which.
        hook: Hook,
        /// For which turn, see [`super::HookRun`].
        turn: Duration,
    },
    /// Ask those who are logged in to log out.
    TellPeople,
    /// Ask logind for the reboot, not later than this time since boot.
    Reboot {
        /// Later than this the write that allowed it is too old.
        not_after: Duration,
        /// By kexec, where a kernel is loaded for it.
        kexec: bool,
    },
}

impl std::fmt::Display for Effect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Effect::WriteSlot(write) => match &write.change {
                SlotChange::Claim(_) => write!(f, "claim slot {}", write.slot),
                SlotChange::Stamp(stamp) => {
                    write!(f, "stamp slot {} and reboot (try {})", write.slot, stamp.attempt)
                }
                SlotChange::Release { because: None } => write!(f, "release slot {}", write.slot),
                SlotChange::Release { because: Some(because) } => {
                    write!(f, "release slot {} because {because}", write.slot)
                }
                SlotChange::Free { holder } => {
                    write!(f, "free slot {}, whose holder {holder} has no Node any more", write.slot)
                }
            },
            Effect::WriteNode(write) => match &write.change {
                NodeChange::Cordon { .. } => f.write_str("cordon the Node"),
                NodeChange::Uncordon { .. } => f.write_str("uncordon the Node"),
                NodeChange::RemoveMark => f.write_str("remove our cordon mark from the Node"),
                NodeChange::Confirm { .. } => write!(f, "confirm the Node as it is, in pool {}", write.pool),
            },
            Effect::Evict(eviction) => {
                f.write_str(match eviction.how {
                    How::Evict => "evict ",
                    How::Delete => "delete, without asking the budgets, ",
                    How::DryRun => "ask whether it could evict ",
                })?;
                for (number, pod) in eviction.pods.iter().enumerate() {
                    write!(f, "{}{pod}", if number == 0 { "" } else { ", " })?;
                }
                Ok(())
            }
            Effect::StartHook { hook, .. } => write!(f, "start {}", hook.unit()),
            Effect::TellPeople => f.write_str("ask those who are logged in to log out"),
            Effect::Reboot { kexec: false, .. } => f.write_str("ask logind to reboot"),
            Effect::Reboot { kexec: true, .. } => {
                f.write_str("ask logind to reboot, by kexec if a kernel is loaded")
            }
        }
    }
}

/// A request to end pods.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Eviction {
    /// The pods.
    pub pods: Vec<PodKey>,
    /// In which way.
    pub how: How,
    /// Instead of the pods' own grace; never zero, which would not wait for the kubelet.
    pub grace: Option<Duration>,
}

/// In which way pods are asked to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum How {
    /// By an eviction: budgets are asked.
    Evict,
    /// By a deletion: budgets are not asked.
    Delete,
    /// By an eviction that is judged and not carried out.
    DryRun,
}

/// A compare-and-swap on a slot.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SlotWrite {
    /// The slot's name.
    pub slot: String,
    /// The uid that it must have.
    pub uid: String,
    /// The resourceVersion that it must have.
    pub resource_version: String,
    /// Makes the write change the object whatever it holds, so that its answer settles earlier ones.
    pub nonce: String,
    /// What to change.
    pub change: SlotChange,
}

/// A change of a slot.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SlotChange {
    /// Take it, or take it again to settle an earlier write.
    Claim(Claim),
    /// Stamp it: the reboot follows at once.
    Stamp(Stamp),
    /// Give it back.
    Release {
        /// Why, if it was not after a reboot.
        because: Option<AbortReason>,
    },
    /// Take it from another node. It becomes free, never ours: the claim is another write.
    Free {
        /// Who held it.
        holder: String,
    },
}

/// A compare-and-swap on the own Node. Each also keeps the Node's pool label.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NodeWrite {
    /// The Node's uid.
    pub uid: String,
    /// The resourceVersion that it must have.
    pub resource_version: String,
    /// As in [`SlotWrite`].
    pub nonce: String,
    /// The pool label to keep.
    pub pool: String,
    /// Remove the annotation that asks for a reboot: it has been.
    pub fulfils_request: bool,
    /// What others shall see.
    pub signs: SignsWrite,
    /// What to change.
    pub change: NodeChange,
}

/// A change of the own Node.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum NodeChange {
    /// Cordon, with our mark in the same write.
    Cordon {
        /// For people who wonder: the mark's text.
        why: String,
    },
    /// Remove our cordon and our mark.
    Uncordon {
        /// Set where the cordon outlived its slot in this boot: back off before the next claim.
        because: Option<AbortReason>,
    },
    /// Remove only our mark: the cordon is a person's, or gone.
    RemoveMark,
    /// Change nothing but the nonce, the pool label and the signs: settles earlier writes.
    Confirm {
        /// It is our turn, under the cordon of a person.
        in_turn: bool,
    },
}

/// Why a slot is given back without a reboot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AbortReason {
    /// Nothing asks for a reboot any more.
    RequestGone,
    /// No window is open or configured any more, or not for long enough.
    WindowClosed,
    /// A freeze has begun.
    Frozen,
    /// A person holds the node.
    Held,
    /// A person has paused the fleet.
    Paused,
    /// The node is in another pool now.
    PoolChanged,
    /// A person removed our cordon.
    CordonRemoved,
    /// The drain did not end in time.
    DrainDeadline,
    /// The machine stayed up after the last try.
    RebootFailed,
    /// The slot was taken from us.
    SlotLost,
    /// rebootd is being removed from this host.
    SteppingBack,
    /// A person wants the slot back, and asked for it in the slot.
    AskedToStepBack,
    /// A pod stands in the way, which was not there before the claim.
    PodsRefused,
    /// An administrator's own step failed, or took too long.
    HookFailed,
    /// There is no other node that could stand in for this one.
    OnlyOne,
}

impl AbortReason {
    /// Whether the next claim should wait: the same would only happen again.
    pub fn is_setback(self) -> bool {
        match self {
            AbortReason::CordonRemoved
            | AbortReason::DrainDeadline
            | AbortReason::RebootFailed
            | AbortReason::SlotLost
            | AbortReason::AskedToStepBack
            | AbortReason::HookFailed => true,
            AbortReason::RequestGone
            | AbortReason::WindowClosed
            | AbortReason::Frozen
            | AbortReason::Held
            | AbortReason::Paused
            | AbortReason::PoolChanged
            | AbortReason::SteppingBack
            | AbortReason::PodsRefused
            | AbortReason::OnlyOne => false,
        }
    }
}

impl std::fmt::Display for AbortReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            AbortReason::RequestGone => "nothing asks for a reboot any more",
            AbortReason::WindowClosed => "no window is open",
            AbortReason::Frozen => "a freeze has begun",
            AbortReason::Held => "a person holds the node",
            AbortReason::Paused => "the fleet is paused",
            AbortReason::PoolChanged => "the node is in another pool now",
            AbortReason::CordonRemoved => "somebody uncordoned the node",
            AbortReason::DrainDeadline => "the drain did not end in time",
            AbortReason::RebootFailed => "the machine stayed up after the last try to reboot",
            AbortReason::SlotLost => "the slot was lost",
            AbortReason::SteppingBack => "rebootd was asked to step back",
            AbortReason::AskedToStepBack => "a person asked it to step back",
            AbortReason::PodsRefused => "a pod stands in the way",
            AbortReason::HookFailed => "a hook failed",
            AbortReason::OnlyOne => "there is no other node of its kind",
        })
    }
}
