//! The effects on the world that a decision may ask for.

use std::time::Duration;

use super::{AbortReason, Claim, Hook, Names, PodKey, SignsWrite, Stamp, Successors};

/// How many pods are named; each is told when it has left.
const MOST_PODS: usize = 20;

/// One effect on the world. A decision contains at most one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Effect {
    /// A conditional write to a slot.
    WriteSlot(SlotWrite),
    /// A conditional write to the own Node.
    WriteNode(NodeWrite),
    /// Ask for the eviction of pods.
    Evict(Eviction),
    /// Ask systemd to start the administrator's unit.
    StartHook {
        /// Which hook.
        hook: Hook,
        /// For which turn, see [`super::HookRun`].
        turn: Duration,
    },
    /// Ask those who are logged in to log out.
    TellPeople,
    /// Ask logind for the reboot, no later than this time since boot.
    Reboot {
        /// After this time, the write that allowed the reboot is too old.
        not_after: Duration,
        /// Use kexec if a kernel is loaded for it.
        kexec: bool,
    },
}

impl std::fmt::Display for Effect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Effect::WriteSlot(write) => match &write.change {
                SlotChange::Claim(_) => write!(f, "claim slot {}", write.slot),
                SlotChange::Stamp(stamp, _) => {
                    write!(f, "stamp slot {} and reboot (try {})", write.slot, stamp.attempt)
                }
                SlotChange::Returned => write!(f, "say in slot {} that the node is back", write.slot),
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
                let mut pods = Names::default();
                eviction.pods.iter().for_each(|pod| pods.push(pod.to_string()));
                write!(f, "{}", pods.shortened(MOST_PODS))
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
    /// How they are asked to end.
    pub how: How,
    /// Replaces the pods' own grace period. Never zero: the deletion would then not wait for the kubelet.
    pub grace: Option<Duration>,
}

/// How pods are asked to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum How {
    /// By an eviction, which respects budgets.
    Evict,
    /// By a deletion, which ignores budgets.
    Delete,
    /// By a dry run: the server judges the eviction but does not carry it out.
    DryRun,
}

/// A compare-and-swap on a slot.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SlotWrite {
    /// The slot's name.
    pub slot: String,
    /// The uid that it must still have.
    pub uid: String,
    /// The resourceVersion that it must still have.
    pub resource_version: String,
    /// Ensures that the write changes the object, whatever it holds, so that its answer settles earlier writes.
    pub nonce: String,
    /// What to change.
    pub change: SlotChange,
}

/// A change of a slot.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SlotChange {
    /// Take it, or take it again to settle an earlier write.
    Claim(Claim),
    /// Stamp it: the reboot follows immediately. Whoever is named may claim it afterwards.
    Stamp(Stamp, Successors),
    /// Say that the node is well again, and keep the slot for what comes after that.
    Returned,
    /// Give it back.
    Release {
        /// Why, unless it was after a reboot.
        because: Option<AbortReason>,
    },
    /// Take it away from another node. The slot becomes free, not ours: claiming it is a separate write.
    Free {
        /// Who held it.
        holder: String,
    },
}

/// A compare-and-swap on the own Node. Every such write also keeps the Node's pool label.
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
    /// Remove the annotation that asked for a reboot, because the reboot has happened.
    pub fulfils_request: bool,
    /// What others should see.
    pub signs: SignsWrite,
    /// What to change.
    pub change: NodeChange,
}

/// A change of the own Node.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum NodeChange {
    /// Cordon, with our mark in the same write.
    Cordon {
        /// The mark's text, for people who wonder why the node is cordoned.
        why: String,
    },
    /// Remove our cordon and our mark.
    Uncordon {
        /// Set if the cordon outlived its slot in this boot: back off before the next claim.
        because: Option<AbortReason>,
    },
    /// Remove only our mark: the cordon is a person's, or is gone.
    RemoveMark,
    /// Change only the nonce, the pool label and the signs: this settles earlier writes.
    Confirm {
        /// It is our turn, but the cordon is a person's.
        in_turn: bool,
    },
}
