//! What happened, in words: the lines of a story.

use std::fmt;

use crate::agent::{Around, Did, Readings, Write};
use crate::state::Taint;

/// What happened, for stories.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Label {
    /// The agent whose host, Node or slot it is about.
    pub agent: Option<u8>,
    pub what: What,
}

/// One kind of step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    ReadsNode,
    ReadsSlotsFirst,
    CannotRead,
    ReadsSlots { around: Around, overdue: bool, stamp_over: bool, did: Did, write: Option<Write> },
    WakesInDrain { around: Around, did: Did, write: Option<Write> },
    HearsPodGone(u8),
    LooksAgain,
    Applied(Write),
    Answered { write: Write, late: bool, around: Around, call: Call },
    Refused(Write),
    GivesUp { write: Write, lost: bool },
    LateApplied(&'static str, Option<u8>),
    LateLost(&'static str, Option<u8>),
    Killed,
    PowerLost,
    SomebodyReboots,
    CallArrives,
    CallFails,
    GoesDown,
    Boots,
    BootsAsOtherMachine,
    NeverReturns,
    KubeletRenews,
    KubeletPosts,
    KubeletPostsSick,
    KubeletDies,
    NodeDeleted,
    NodeRegistered,
    NodeTouched,
    PersonCordons,
    PersonUncordons,
    PoolMoved,
    RequestAppears,
    RequestVanishes,
    PodAppears,
    BarePodAppears,
    BarePodDeleted,
    TaintAppears(Taint),
    TaintGoes,
    SlotFreed(u8),
    SlotTaken(u8),
    SlotGarbled(u8),
    SlotDeleted(u8),
    SlotMade(u8),
    SlotTouched(u8),
    OutsideClaims(u8),
    OutsideReleases(u8),
    OutsideSeesNodeMissing(u8),
}

/// What becomes of a call of Reboot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    None,
    Accepted,
    Refused,
    /// No answer: it may still arrive.
    Underway,
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(agent) = self.agent {
            write!(f, "{}: ", char::from(b'A' + agent))?;
        }
        write!(f, "{}", self.what)
    }
}

impl fmt::Display for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Write::Claim { slot, current_uid, again } => {
                let kind = if *again { "repeated claim" } else { "claim" };
                let node = if *current_uid { "" } else { " for a former Node" };
                write!(f, "{kind} of slot {slot}{node}")
            }
            Write::Stamp { slot, attempt } => write!(f, "stamp of slot {slot}, try {attempt}"),
            Write::Returned { slot } => write!(f, "mark of slot {slot} that the Node is back"),
            Write::Release { slot } => write!(f, "release of slot {slot}"),
            Write::Free { slot } => write!(f, "reclaim of slot {slot}"),
            Write::Cordon => f.write_str("cordon"),
            Write::Uncordon => f.write_str("uncordon"),
            Write::RemoveMark => f.write_str("removal of the mark"),
            Write::Confirm => f.write_str("confirmation"),
        }
    }
}

fn around_told(around: Around) -> &'static str {
    match around.readings {
        Readings::Open if !around.request => ", finds no request",
        Readings::Open => "",
        Readings::Closed => ", finds dpkg at work",
        Readings::Held => ", finds that a person holds the node",
        Readings::NoHold => ", cannot read whether a person holds the node",
        Readings::NoBus => ", gets no answer on D-Bus",
        Readings::NoRequest => ", cannot read the sentinel",
        Readings::NoLocks => ", cannot read the locks",
        Readings::OtherNodeDown => ", finds another node down",
        Readings::NoOthers => ", cannot read the other nodes",
        Readings::NoWindow => ", finds that no window is open",
        Readings::NotWell => ", finds something not well after a reboot",
        Readings::NoPolicy => ", finds a policy that it does not understand",
    }
}

fn did_told(f: &mut fmt::Formatter<'_>, did: Did, write: Option<Write>) -> fmt::Result {
    if did.evicted {
        f.write_str(", evicts the pod")?;
    }
    match write {
        Some(write) => write!(f, ", sends the {write}"),
        None => Ok(()),
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slot_of = |slot: &Option<u8>| slot.map(|slot| format!(" of slot {slot}")).unwrap_or_default();
        match self {
            What::ReadsNode => f.write_str("reads its Node"),
            What::ReadsSlotsFirst => f.write_str("reads the slots before its Node"),
            What::CannotRead => f.write_str("cannot read the cluster"),
            What::ReadsSlots { around, overdue, stamp_over, did, write } => {
                write!(f, "reads slots and host{}", around_told(*around))?;
                f.write_str(if *overdue { ", the drain's deadline is over" } else { "" })?;
                f.write_str(if *stamp_over { ", reboot_timeout is over" } else { "" })?;
                did_told(f, *did, *write)
            }
            What::WakesInDrain { around, did, write } => {
                write!(f, "reads the host again{}", around_told(*around))?;
                did_told(f, *did, *write)
            }
            What::HearsPodGone(pod) => write!(f, "hears that pod {pod} has left"),
            What::LooksAgain => f.write_str("wants to look again"),
            What::Applied(write) => write!(f, "the API applies its {write}"),
            What::Answered { write, late, around, call } => {
                let late = if *late { "too late " } else { "" };
                write!(f, "{late}gets the answer to its {write}{}", around_told(*around))?;
                f.write_str(match call {
                    Call::None => "",
                    Call::Accepted => ", calls Reboot, logind accepts",
                    Call::Refused => ", calls Reboot, logind refuses",
                    Call::Underway => ", calls Reboot, no answer",
                })
            }
            What::Refused(write) => write!(f, "its {write} is refused"),
            What::GivesUp { write, lost: true } => write!(f, "its {write} is lost, it gives up waiting"),
            What::GivesUp { write, lost: false } => {
                write!(f, "gives up waiting for the answer to its {write}")
            }
            What::LateApplied(name, slot) => write!(f, "the API applies the late {name}{}", slot_of(slot)),
            What::LateLost(name, slot) => write!(f, "the late {name}{} is lost", slot_of(slot)),
            What::Killed => f.write_str("is killed and started again"),
            What::PowerLost => f.write_str("its host loses power"),
            What::SomebodyReboots => f.write_str("somebody else reboots its host"),
            What::CallArrives => f.write_str("the call of Reboot arrives late and is accepted"),
            What::CallFails => f.write_str("the call of Reboot fails"),
            What::GoesDown => f.write_str("its host goes down"),
            What::Boots => f.write_str("its host boots"),
            What::BootsAsOtherMachine => f.write_str("another machine boots under its name"),
            What::NeverReturns => f.write_str("its host never returns"),
            What::KubeletRenews => f.write_str("its kubelet starts, and has not posted its Node yet"),
            What::KubeletPosts => f.write_str("its kubelet posts that it is Ready in this boot"),
            What::KubeletPostsSick => f.write_str("its kubelet posts that it is not Ready"),
            What::KubeletDies => f.write_str("its kubelet dies, the Node still says Ready"),
            What::NodeDeleted => f.write_str("its Node is deleted"),
            What::NodeRegistered => f.write_str("its kubelet registers a new Node"),
            What::NodeTouched => f.write_str("its Node is written by somebody else"),
            What::PersonCordons => f.write_str("a person cordons its Node"),
            What::PersonUncordons => f.write_str("a person uncordons its Node"),
            What::PoolMoved => f.write_str("it is moved to the other pool"),
            What::RequestAppears => f.write_str("a request appears"),
            What::RequestVanishes => f.write_str("its request vanishes"),
            What::PodAppears => f.write_str("a pod comes to its Node"),
            What::BarePodAppears => {
                f.write_str("a bare pod comes to its Node, and would be deleted during a reboot")
            }
            What::BarePodDeleted => f.write_str("a person deletes the bare pod"),
            What::TaintAppears(Taint::Ignored) => {
                f.write_str("its Node gets a taint that the configuration ignores")
            }
            What::TaintAppears(_) => f.write_str("its Node gets a taint that it did not have at the claim"),
            What::TaintGoes => f.write_str("that taint goes"),
            What::SlotFreed(slot) => write!(f, "a person frees slot {slot}"),
            What::SlotTaken(slot) => write!(f, "a person gives slot {slot} to somebody else"),
            What::SlotGarbled(slot) => write!(f, "a person garbles slot {slot}"),
            What::SlotDeleted(slot) => write!(f, "a person deletes slot {slot}"),
            What::SlotMade(slot) => write!(f, "a person makes slot {slot} again"),
            What::SlotTouched(slot) => write!(f, "the manifest of slot {slot} is applied again"),
            What::OutsideClaims(slot) => write!(f, "another node claims slot {slot}"),
            What::OutsideReleases(slot) => write!(f, "another node releases slot {slot}"),
            What::OutsideSeesNodeMissing(slot) => {
                write!(f, "another node finds the Node missing, sends a reclaim of slot {slot}")
            }
        }
    }
}
