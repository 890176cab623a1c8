//! The gates: what must be open before a node reboots. They are one table, and each step of a turn asks those that
//! concern it. A test checks docs/gates.md against this table.

use std::time::Duration;

use super::questions::{self as ask, Asked, Closed};
use super::settings::Yielding;
use super::wish::{GATE_LOOK, TROUBLE_LOOK, WAITING_LOOK};
use super::{AbortReason, Reason};

/// When a gate is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// When something asks for a reboot. Closed ones are reported together, and nothing else is read while any of
    /// them is closed.
    Request,
    /// Before the claim, once those are open: what concerns this host.
    Claim,
    /// After those: the own Node, and whether it stays in the cluster.
    Node,
    /// After those: whether its kubelet has reported this boot.
    Boot,
    /// After those: people who are logged in and have to be told.
    People,
    /// Right before the claim, from what is already known.
    Slot,
    /// Before the claim and before the cordon, with the list of this node's pods.
    Pods,
    /// Before the cordon only.
    Cordon,
    /// All the time from the claim to the stamp.
    Turn,
    /// Before the cordon and before the stamp, in a look that reads the rest of the cluster.
    Others,
    /// When the drain's time is over: if the gate is closed then, the turn is undone.
    Deadline,
    /// Right before logind is called.
    Call,
    /// Before any effect, while it is unknown whether the host is shutting down.
    Effect,
}

/// What a closing gate does to a turn that has begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MidTurn {
    /// The node is uncordoned and gives its slot back.
    Undo(AbortReason),
    /// Nothing moves on while it is closed, until the drain's deadline.
    Wait,
    /// Nothing: the gate no longer matters.
    GoOn,
}

/// A gate.
pub struct Gate {
    /// Its name in docs/gates.md.
    pub name: &'static str,
    /// When it is checked.
    pub asked: &'static [Moment],
    /// What it does in the middle of a turn.
    pub mid_turn: MidTurn,
    /// The word by which `give_up_after_deadline` may name it.
    pub yields: Option<Yielding>,
    /// Nothing reports that it opens: while it is closed, this host or the cluster is read again this often.
    pub(super) host_age: Option<Duration>,
    pub(super) look_age: Option<Duration>,
    question: fn(&Asked<'_>) -> Vec<Closed>,
}

/// Gates of this host that stop everything.
const HOST: &[Moment] = &[Moment::Claim, Moment::Turn, Moment::Deadline, Moment::Call, Moment::Effect];
/// Gates that people and the calendar close: the turn is undone immediately.
const SAID: &[Moment] = &[Moment::Request, Moment::Call];

const fn gate(
    name: &'static str,
    asked: &'static [Moment],
    mid_turn: MidTurn,
    question: fn(&Asked<'_>) -> Vec<Closed>,
) -> Gate {
    Gate { name, asked, mid_turn, yields: None, host_age: None, look_age: None, question }
}

/// Neither dpkg nor logind, systemd or people report when they are done.
const fn of_host(
    name: &'static str,
    asked: &'static [Moment],
    mid_turn: MidTurn,
    question: fn(&Asked<'_>) -> Vec<Closed>,
) -> Gate {
    host_again(GATE_LOOK, gate(name, asked, mid_turn, question))
}

const fn host_again(age: Duration, gate: Gate) -> Gate {
    Gate { host_age: Some(age), ..gate }
}

const fn look_again(age: Duration, gate: Gate) -> Gate {
    Gate { look_age: Some(age), ..gate }
}

const fn may_yield(word: Yielding, gate: Gate) -> Gate {
    Gate { yields: Some(word), ..gate }
}

/// All gates before a reboot, in the order in which they are reported. A gate that cannot be read is closed.
pub static GATES: [Gate; 40] = {
    use AbortReason::{ForeignCordon, Frozen, Held, Paused, PodsRefused, RecordNotKept, WindowClosed};
    use MidTurn::{GoOn, Undo, Wait};
    use Moment::{Boot, Call, Claim, Cordon, Deadline, Node, Others, People, Pods, Request, Slot, Turn};
    [
        host_again(TROUBLE_LOOK, gate("requests", &[Request, Turn], Wait, ask::requests_are_sure)),
        host_again(
            TROUBLE_LOOK,
            look_again(
                WAITING_LOOK,
                gate(
                    "configuration, fleet's policy",
                    &[Request, Turn, Deadline, Call],
                    Wait,
                    ask::policy_is_understood,
                ),
            ),
        ),
        gate("end of the window", &[Request, Cordon], GoOn, ask::window_is_long_enough),
        may_yield(Yielding::MinUptime, gate("`min_uptime`", &[Request], GoOn, ask::is_up_for_long_enough)),
        gate("`min_interval`", &[Request], GoOn, ask::interval_is_over),
        gate("`max_reboots_per_day`", &[Request], GoOn, ask::day_has_reboots_left),
        host_again(
            TROUBLE_LOOK,
            gate("record of the last reboot", SAID, Undo(RecordNotKept), ask::record_is_kept),
        ),
        gate("pause after a setback", &[Request], GoOn, ask::setback_is_over),
        gate("`min_age`", &[Request], GoOn, ask::request_is_old_enough),
        host_again(
            TROUBLE_LOOK,
            gate("`livepatched_min_age`", &[Request], GoOn, ask::livepatch_does_not_suffice),
        ),
        gate("hold", SAID, Undo(Held), ask::nobody_holds),
        gate("pause", SAID, Undo(Paused), ask::fleet_goes_on),
        may_yield(Yielding::Window, gate("window", SAID, Undo(WindowClosed), ask::window_is_open)),
        may_yield(Yielding::Freeze, gate("freeze", SAID, Undo(Frozen), ask::nothing_is_frozen)),
        of_host("clock", HOST, Wait, ask::clock_is_right),
        of_host("shutdown, not known", HOST, Wait, ask::shutdown_is_known),
        of_host("hold, not known", HOST, Wait, ask::hold_is_known),
        of_host("scheduled shutdown", HOST, Wait, ask::no_shutdown_is_scheduled),
        of_host("dpkg and apt", HOST, Wait, ask::dpkg_rests),
        gate("machine id", &[Claim], GoOn, ask::machine_id_lasts),
        of_host("half-installed packages", &[Claim, Turn, Deadline, Call], Wait, ask::packages_are_installed),
        of_host("kernel that will start", &[Claim, Turn, Deadline, Call], Wait, ask::kernel_can_start),
        of_host("inhibitors", HOST, Wait, ask::nothing_inhibits),
        of_host("logind's permission", HOST, Wait, ask::logind_lets_us),
        of_host("hooks", &[Claim], GoOn, ask::hooks_can_be_started),
        look_again(TROUBLE_LOOK, gate("`require_policies`", &[Node], GoOn, ask::policies_are_in_force)),
        gate("removal", &[Node, Turn, Deadline], Wait, ask::node_stays),
        gate("cordon of somebody else", &[Node], Undo(ForeignCordon), ask::nobody_else_has_cordoned),
        look_again(TROUBLE_LOOK, gate("boot", &[Boot], GoOn, ask::boot_is_reported)),
        of_host("people", &[People], GoOn, ask::nobody_is_logged_in),
        gate("kured", &[Pods], Undo(PodsRefused), ask::kured_is_not_here),
        may_yield(
            Yielding::BlockingPods,
            gate("pods that stand in the way", &[Pods], Wait, ask::no_pod_stands_in_the_way),
        ),
        gate("the control plane", &[Others], Wait, ask::control_plane_is_whole),
        gate("other nodes", &[Others], Wait, ask::other_nodes_are_ready),
        gate("turn of another member", &[Slot, Others], Wait, ask::no_other_member_has_its_turn),
        gate("zones", &[Slot, Others], Wait, ask::no_other_zone_has_its_turn),
        gate("canary", &[Slot, Others], Wait, ask::canaries_have_gone_first),
        gate("breaker", &[Slot, Others], Wait, ask::every_node_came_back),
        gate("not the only one", &[Slot, Others], Wait, ask::is_not_the_only_one),
        may_yield(Yielding::Alerts, gate("alerts", &[Others], Wait, ask::no_alert_fires)),
    ]
};

impl Asked<'_> {
    /// The gates that are closed at the moment.
    pub(super) fn closed(&self, moment: Moment) -> Vec<(&'static Gate, Closed)> {
        let asked = GATES.iter().filter(|gate| gate.asked.contains(&moment));
        asked.flat_map(|gate| (gate.question)(self).into_iter().map(move |closed| (gate, closed))).collect()
    }

    /// The same, as words.
    pub(super) fn reasons(&self, moment: Moment) -> Vec<Reason> {
        self.closed(moment).into_iter().map(|(_, closed)| closed.reason).collect()
    }

    /// Whether no gate is closed at the moment.
    pub(super) fn is_open(&self, moment: Moment) -> bool {
        self.closed(moment).is_empty()
    }

    /// Why the turn has to be undone, if a gate says so.
    pub(super) fn undone_for(&self) -> Option<AbortReason> {
        GATES.iter().find_map(|gate| match gate.mid_turn {
            MidTurn::Undo(because) => (!(gate.question)(self).is_empty()).then_some(because),
            MidTurn::Wait | MidTurn::GoOn => None,
        })
    }
}
