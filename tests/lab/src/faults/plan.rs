//! Which fault comes when, to whom: all of it from the seed.

use std::time::Duration;

use crate::dice::Dice;
use crate::simulated::{Fate, RebootOutcome};

/// To whom.
#[derive(Clone, Copy, Debug)]
pub(super) enum Target {
    /// One of the nodes that hold a slot at that moment: there is most to go wrong.
    Holder(usize),
    /// This one.
    Machine(usize),
}

/// Which request of rebootd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    SlotWrite,
    NodeWrite,
    Eviction,
    NodeRead,
    SlotsRead,
    PodsRead,
    KubeletRead,
    Watch,
    Any,
}

/// What becomes of it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Mishap {
    LostRequest,
    LostAnswer,
    /// On its way for this long; beyond the daemon's timeout of 15 s it still reaches the server.
    Delayed(Duration),
    AnswerDelayed(Duration),
    Overloaded,
    ServerError(u16),
}

/// What goes wrong.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    Request { class: Class, mishap: Mishap, kill_connection: bool },
    ConnectionsBreak,
    Silence(Duration),
    Refused(Duration),
    DaemonKilled,
    DaemonKilledMemoryLost,
    DaemonRestarted,
    DaemonPaused(Duration),
    PowerLoss { dark: Duration },
    SomebodyReboots { after: Duration, dark: Duration },
    NextReboot(Fate),
    BusFails(Duration),
    BusHangs(Duration),
    BusBreaks,
    Inhibited(Duration),
    RequestWithdrawn,
    KubeletDies(Duration),
    KubeletNotReady(Duration),
    NodeDeleted,
    Cordoned(Duration),
    Uncordoned,
    SlotsApplied,
    SlotRewritten,
    SlotGarbled,
}

impl Fault {
    /// A short name, to count by.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Fault::Request { mishap, .. } => match mishap {
                Mishap::LostRequest => "request lost",
                Mishap::LostAnswer => "answer lost",
                Mishap::Delayed(time) if time.as_secs() >= 15 => "request late",
                Mishap::Delayed(_) => "request slow",
                Mishap::AnswerDelayed(_) => "answer late",
                Mishap::Overloaded => "answered 429",
                Mishap::ServerError(_) => "answered 500 or 503",
            },
            Fault::ConnectionsBreak => "connections break",
            Fault::Silence(_) => "server silent",
            Fault::Refused(_) => "connections refused",
            Fault::DaemonKilled => "daemon killed",
            Fault::DaemonKilledMemoryLost => "daemon killed, memory lost",
            Fault::DaemonRestarted => "daemon restarted",
            Fault::DaemonPaused(_) => "daemon paused",
            Fault::PowerLoss { dark } if dark.as_secs() >= 20 => "power loss, long dark",
            Fault::PowerLoss { .. } => "power loss",
            Fault::SomebodyReboots { .. } => "somebody reboots",
            Fault::NextReboot(fate) => match fate.outcome {
                RebootOutcome::Refused => "reboot refused",
                RebootOutcome::Never => "reboot never happens",
                RebootOutcome::Happens { .. } if fate.delivered_after > Duration::ZERO => "reboot call late",
                RebootOutcome::Happens { dark, .. } if dark.as_secs() >= 20 => "does not come back for long",
                RebootOutcome::Happens { .. } => "reboot delayed",
            },
            Fault::BusFails(_) => "bus fails",
            Fault::BusHangs(_) => "bus hangs",
            Fault::BusBreaks => "bus breaks",
            Fault::Inhibited(_) => "inhibitor",
            Fault::RequestWithdrawn => "sentinel removed",
            Fault::KubeletDies(_) => "kubelet dead, Node Ready",
            Fault::KubeletNotReady(_) => "kubelet not ready",
            Fault::NodeDeleted => "Node deleted",
            Fault::Cordoned(_) => "person cordons",
            Fault::Uncordoned => "person uncordons",
            Fault::SlotsApplied => "slots applied again",
            Fault::SlotRewritten => "slot annotation rewritten",
            Fault::SlotGarbled => "slot garbled",
        }
    }
}

/// One fault of the plan.
#[derive(Clone, Copy, Debug)]
pub(super) struct Planned {
    /// So long after the one before.
    pub(super) after: Duration,
    pub(super) target: Target,
    pub(super) fault: Fault,
}

/// An endless plan.
pub(super) struct Plan {
    dice: Dice,
    machines: usize,
}

impl Plan {
    pub(super) fn new(seed: u64, machines: usize) -> Self {
        Self { dice: Dice::new(seed), machines }
    }

    fn fault(&mut self) -> Fault {
        let dice = &mut self.dice;
        match dice.roll(100) {
            0..52 => self.request(),
            52..54 => Fault::ConnectionsBreak,
            54..56 => Fault::Silence(dice.seconds(2.0, 18.0)),
            56..58 => Fault::Refused(dice.seconds(2.0, 10.0)),
            58..63 => Fault::DaemonKilled,
            63..65 => Fault::DaemonKilledMemoryLost,
            65..66 => Fault::DaemonRestarted,
            66..68 => Fault::DaemonPaused(dice.seconds(1.0, 15.0)),
            68..71 => Fault::PowerLoss { dark: dice.seconds(0.5, 6.0) },
            71..72 => Fault::PowerLoss { dark: dice.seconds(20.0, 60.0) },
            72..74 => Fault::SomebodyReboots { after: dice.seconds(0.2, 6.0), dark: dice.seconds(0.5, 3.0) },
            74..81 => Fault::NextReboot(self.fate()),
            81..83 => Fault::BusFails(dice.seconds(1.0, 8.0)),
            83..85 => Fault::BusHangs(dice.seconds(1.0, 10.0)),
            85..86 => Fault::BusBreaks,
            86..88 => Fault::Inhibited(dice.seconds(2.0, 12.0)),
            88..90 => Fault::RequestWithdrawn,
            90..92 => Fault::KubeletDies(dice.seconds(3.0, 15.0)),
            92..93 => Fault::KubeletNotReady(dice.seconds(2.0, 8.0)),
            93..94 => Fault::NodeDeleted,
            94..95 => Fault::Cordoned(dice.seconds(5.0, 40.0)),
            95..96 => Fault::Uncordoned,
            96..97 => Fault::SlotsApplied,
            97..99 => Fault::SlotRewritten,
            // Rare, because it stops the slot until the person comes.
            _ if dice.roll(3) == 0 => Fault::SlotGarbled,
            _ => Fault::SlotsApplied,
        }
    }

    fn request(&mut self) -> Fault {
        use Class::{Any, Eviction, KubeletRead, NodeRead, NodeWrite, PodsRead, SlotWrite, SlotsRead, Watch};
        let dice = &mut self.dice;
        let mishap = match dice.roll(10) {
            0 | 1 => Mishap::LostRequest,
            2..5 => Mishap::LostAnswer,
            5 => Mishap::Delayed(dice.seconds(1.0, 6.0)),
            6 | 7 => Mishap::Delayed(dice.seconds(16.0, 45.0)),
            8 => Mishap::AnswerDelayed(dice.seconds(16.0, 20.0)),
            _ => match dice.roll(3) {
                0 => Mishap::Overloaded,
                1 => Mishap::ServerError(500),
                _ => Mishap::ServerError(503),
            },
        };
        // Writes more often than reads: only what is written can break a promise.
        let classes = [
            SlotWrite,
            SlotWrite,
            SlotWrite,
            NodeWrite,
            NodeWrite,
            NodeWrite,
            Eviction,
            NodeRead,
            SlotsRead,
            PodsRead,
            KubeletRead,
            Watch,
            Any,
            Any,
        ];
        let class = dice.one_of(&classes);
        Fault::Request { class, mishap, kill_connection: dice.roll(3) == 0 }
    }

    fn fate(&mut self) -> Fate {
        let dice = &mut self.dice;
        let (after, dark) = (dice.seconds(0.1, 1.0), dice.seconds(0.5, 3.0));
        let (delivered_after, outcome) = match dice.roll(7) {
            0 | 1 => (Duration::ZERO, RebootOutcome::Refused),
            2 => (Duration::ZERO, RebootOutcome::Never),
            3 | 4 => (dice.seconds(1.0, 10.0), RebootOutcome::Happens { after, dark }),
            5 => (Duration::ZERO, RebootOutcome::Happens { after: dice.seconds(5.0, 40.0), dark }),
            _ => (Duration::ZERO, RebootOutcome::Happens { after, dark: dice.seconds(20.0, 60.0) }),
        };
        Fate { delivered_after, outcome }
    }
}

impl Iterator for Plan {
    type Item = Planned;

    fn next(&mut self) -> Option<Planned> {
        let after = self.dice.seconds(0.1, 1.5);
        let which = self.dice.roll(self.machines);
        // Not always a holder: between faults there has to be time for reboots, or nothing is there to be broken.
        let target = if self.dice.roll(5) > 1 { Target::Holder(which) } else { Target::Machine(which) };
        Some(Planned { after, target, fault: self.fault() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_replays_its_plan_and_every_kind_of_fault_is_in_it() {
        let plan = |seed| Plan::new(seed, 8).take(2000).collect::<Vec<_>>();
        assert_eq!(format!("{:?}", plan(1)), format!("{:?}", plan(1)));
        assert_ne!(format!("{:?}", plan(1)), format!("{:?}", plan(2)));
        let kinds: std::collections::BTreeSet<&str> = plan(1).iter().map(|it| it.fault.name()).collect();
        assert_eq!(kinds.len(), 35, "{kinds:?}");
    }
}
