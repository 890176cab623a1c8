//! Why a turn ends without a reboot.

use std::fmt;

/// Why a slot is given back without a reboot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AbortReason {
    /// Nothing asks for a reboot any more.
    RequestGone,
    /// No window is configured or open any more, or it does not stay open long enough.
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
    /// Somebody else has cordoned the node.
    ForeignCordon,
    /// The record of the reboot could not be written.
    RecordNotKept,
    /// The drain did not finish in time.
    DrainDeadline,
    /// The pods that had to end before the drain did not.
    BlockingPods,
    /// The machine stayed up after the last try.
    RebootFailed,
    /// The slot was taken from us.
    SlotLost,
    /// rebootd is being removed from this host.
    SteppingBack,
    /// A person wants the slot back, and asked for it in the slot.
    AskedToStepBack,
    /// A pod that was not there before the claim now stands in the way.
    PodsRefused,
    /// An administrator's own step failed, or took too long.
    HookFailed,
    /// Another member of the control plane has its turn.
    MembersTurn,
    /// No other node could stand in for this one.
    OnlyOne,
    /// Nodes of another zone have their turn.
    ZonesTurn,
    /// Another node has not come back from its reboot.
    NodeNotBack,
    /// Other nodes try first what this one would start.
    CanaryFirst,
}

impl AbortReason {
    /// Whether to wait before the next claim, because the same would only happen again.
    pub fn is_setback(self) -> bool {
        match self {
            AbortReason::CordonRemoved
            | AbortReason::DrainDeadline
            | AbortReason::BlockingPods
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
            | AbortReason::ForeignCordon
            | AbortReason::RecordNotKept
            | AbortReason::SteppingBack
            | AbortReason::PodsRefused
            | AbortReason::MembersTurn
            | AbortReason::OnlyOne
            | AbortReason::ZonesTurn
            | AbortReason::NodeNotBack
            | AbortReason::CanaryFirst => false,
        }
    }
}

impl fmt::Display for AbortReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AbortReason::RequestGone => "nothing asks for a reboot any more",
            AbortReason::WindowClosed => "no window is open",
            AbortReason::Frozen => "a freeze has begun",
            AbortReason::Held => "a person holds the node",
            AbortReason::Paused => "the fleet is paused",
            AbortReason::PoolChanged => "the node is in another pool now",
            AbortReason::CordonRemoved => "somebody uncordoned the node",
            AbortReason::ForeignCordon => "somebody else has cordoned the node",
            AbortReason::RecordNotKept => "the record of the reboot cannot be written",
            AbortReason::DrainDeadline => "the drain did not end in time",
            AbortReason::BlockingPods => {
                "pods that `blocking_pods` names did not end within `blocking_pods_limit`"
            }
            AbortReason::RebootFailed => "the machine stayed up after the last try to reboot",
            AbortReason::SlotLost => "the slot was lost",
            AbortReason::SteppingBack => "rebootd was asked to step back",
            AbortReason::AskedToStepBack => "a person asked it to step back",
            AbortReason::PodsRefused => "a pod stands in the way",
            AbortReason::HookFailed => "a hook failed",
            AbortReason::MembersTurn => "another member of the control plane has its turn",
            AbortReason::OnlyOne => "there is no other node of its kind",
            AbortReason::ZonesTurn => "nodes of another zone have their turn",
            AbortReason::NodeNotBack => "another node is not back from its reboot",
            AbortReason::CanaryFirst => "other nodes try it first",
        })
    }
}
