//! What a [`Decision`] is made of.

use std::time::Duration;

use super::{Effect, Part, Parts, Reason};

/// Where this node stands. Never stored: derived from the World at each decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Before the first readings: nothing may be done yet.
    Starting,
    /// No request, no slot, no cordon of ours.
    Idle,
    /// There is a request, but something has to come first. Also: a slot is held, but no Node is proven to be ours.
    Waiting,
    /// Our cordon is on the Node, but we hold no slot: uncordon when healthy, before any new claim.
    Restoring,
    /// A slot was claimed in this boot; the cordon is not confirmed yet.
    Cordoning,
    /// Cordoned; pods are leaving.
    Draining,
    /// The slot is stamped: the reboot has been asked for, or is about to be.
    Rebooting,
    /// Undoing the turn before the slot is given back without a reboot.
    Aborting,
    /// Back from a reboot: prove it, wait for health, uncordon, release the slot.
    Returning,
    /// A slot under our name that we cannot prove to be ours: a person decides.
    Unproven,
    /// The host is shutting down: nothing is written.
    GoingDown,
}

impl Phase {
    /// Every phase.
    pub const ALL: [Phase; 11] = [
        Phase::Starting,
        Phase::Idle,
        Phase::Waiting,
        Phase::Restoring,
        Phase::Cordoning,
        Phase::Draining,
        Phase::Rebooting,
        Phase::Aborting,
        Phase::Returning,
        Phase::Unproven,
        Phase::GoingDown,
    ];

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
    /// What to watch while waiting. A watch event only says "look"; pods and annotations are the exception: their
    /// events are folded in.
    pub watched: Parts,
    /// Nothing else is missing to this node but a slot, and the time at which it may claim it.
    pub wants_slot: bool,
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

/// What to read. This host's own readings always come last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Reads {
    /// What to read from the cluster. With [`Part::Node`] this is a look: everything that a write may rest on is read
    /// again. Reading only the pods does not begin a new look.
    pub parts: Parts,
    /// The latest list of pods showed nothing left to drain; this look confirms it.
    pub confirms_drained: bool,
}

impl Reads {
    /// Whether this begins a new look.
    pub fn is_look(self) -> bool {
        self.parts.has(Part::Node)
    }
}
