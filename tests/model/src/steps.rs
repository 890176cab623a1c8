//! What may happen next: every step of every agent, of the API, of hosts, kubelets and people.

use std::fmt;

use crate::agent::{Agents, Around, Did, Id, Readings, Seen, Stage, Write};
use crate::searches::Search;
use crate::state::{
    AGENTS, Agent, Boot, Cordon, FREE, GONE, Late, Node, OUTSIDE, Power, SLOTS, Sent, Slot, SlotStamp, State,
    late_claim, late_node,
};

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

const BOTH: [bool; 2] = [false, true];
const CALLS: [Call; 3] = [Call::Accepted, Call::Refused, Call::Underway];

/// A state that may come next.
#[derive(Debug, Clone, Copy)]
pub struct Next {
    pub state: State,
    pub label: Label,
    /// Nobody may count on it: liveness is judged without these steps.
    pub fault: bool,
    pub broke: Option<&'static str>,
}

/// Makes the successors of one state.
pub struct Steps<'a> {
    pub search: &'a Search,
    pub agents: &'a mut Agents,
    pub next: Vec<Next>,
}

impl State {
    /// Where everything begins: all is well, and every agent has a request.
    pub fn first(search: &Search, agents: &mut Agents) -> State {
        let node = Node {
            exists: true,
            cordon: Cordon::None,
            mark: false,
            this_boot: true,
            ready: true,
            other_machine: false,
            pool: 0,
        };
        let agent = |local: Id, power: Power| Agent {
            local,
            power,
            call: false,
            going_down: false,
            rebooting: false,
            excused: false,
            request: power == Power::Up,
            disturbed: false,
            node,
            pod: (search.drains && power == Power::Up).then_some(0),
            kubelet: power == Power::Up,
            sent: Sent::Underway,
            node_valid: false,
            slot_valid: [false; SLOTS],
            late: 0,
        };
        let (started, off) = (agents.started(), agents.off());
        let mut state = State {
            agents: [agent(off, Power::Dead); AGENTS],
            slots: [Slot::default(); SLOTS],
            late: [Late::default(); SLOTS],
        };
        state.agents[..search.agents].fill(agent(started, Power::Up));
        if search.slots < SLOTS {
            state.slots[1].holder = GONE;
        }
        state
    }

    pub fn disrupted(&self, agent: usize) -> bool {
        let agent = &self.agents[agent];
        agent.rebooting || (agent.node.exists && agent.node.cordon == Cordon::Ours)
    }

    pub fn holds(&self, agent: usize) -> bool {
        self.slots.iter().any(|slot| slot.held_by(agent))
    }
}

impl<'a> Steps<'a> {
    pub fn new(search: &'a Search, agents: &'a mut Agents) -> Steps<'a> {
        Steps { search, agents, next: Vec::new() }
    }

    /// All that may follow on `state`, in `self.next`.
    pub fn from(&mut self, state: &State) {
        self.next.clear();
        for number in 0..self.search.agents {
            self.agent(state, number);
            self.host(state, number);
            self.node(state, number);
        }
        for number in 0..self.search.slots {
            self.slot(state, number);
        }
    }

    fn push(
        &mut self,
        mut state: State,
        agent: Option<usize>,
        what: What,
        fault: bool,
        broke: Option<&'static str>,
    ) {
        for number in 0..self.search.agents {
            self.settle(&mut state, number);
        }
        let label = Label { agent: agent.map(|number| number as u8), what };
        self.next.push(Next { state, label, fault, broke });
    }

    fn stage(&self, id: Id) -> Stage {
        self.agents.get(id).stage
    }

    /// Drops what no longer matters, so that states which are the same in effect are the same.
    fn settle(&self, state: &mut State, number: usize) {
        let disrupted = state.disrupted(number);
        let agent = &mut state.agents[number];
        let well = agent.power == Power::Up && agent.node.exists && agent.node.this_boot && agent.node.ready;
        if agent.rebooting && well && !agent.call && !agent.going_down {
            agent.rebooting = false;
        }
        let stage = self.stage(agent.local);
        if matches!(stage, Stage::Waiting | Stage::Off) {
            agent.disturbed = false;
        }
        let begins = matches!(stage, Stage::Waiting | Stage::HalfRead | Stage::Off);
        let cordon_underway = agent.late & late_node::CORDON != 0;
        if agent.excused && begins && !disrupted && !cordon_underway && !agent.call {
            agent.excused = false;
        }
        if !matches!(stage, Stage::HalfRead | Stage::Draining) {
            agent.node_valid = false;
        }
        if !matches!(stage, Stage::Draining) && (stage != Stage::HalfRead || Agents::node_comes_first()) {
            agent.slot_valid = [false; SLOTS];
        }
        if !matches!(stage, Stage::Pending { .. }) {
            agent.sent = Sent::Underway;
        }
    }

    // ---- objects and the writes on their way ----

    /// A slot has changed: every conditional write to it that is under way dies.
    fn slot_changed(&self, state: &mut State, slot: usize) {
        state.late[slot] = Late::default();
        for agent in &mut state.agents[..self.search.agents] {
            agent.slot_valid[slot] = false;
            if let Stage::Pending { write, .. } = self.agents.get(agent.local).stage
                && write.slot() == Some(slot)
                && agent.sent == Sent::Underway
            {
                agent.sent = Sent::Dead;
            }
        }
    }

    fn node_changed(&self, state: &mut State, number: usize) {
        let agent = &mut state.agents[number];
        agent.late = 0;
        agent.node_valid = false;
        if let Stage::Pending { write, .. } = self.agents.get(agent.local).stage
            && write.slot().is_none()
            && agent.sent == Sent::Underway
        {
            agent.sent = Sent::Dead;
        }
    }

    /// The API server carries out a write under a resourceVersion that is still current. One that changes nothing
    /// is not written, and kills nothing.
    fn apply(&self, state: &mut State, number: usize, write: Write, fresh: bool) -> Option<&'static str> {
        let (before_slots, before_node) = (state.slots, state.agents[number].node);
        let node = &mut state.agents[number].node;
        let mut broke = None;
        match write {
            Write::Claim { slot, current_uid, again: _ } => {
                let slot = &mut state.slots[usize::from(slot)];
                *slot = Slot { holder: number as u8 + 1, current_uid, ..Slot::default() };
            }
            Write::Stamp { slot, attempt } => {
                let slot = &mut state.slots[usize::from(slot)];
                slot.stamp = if attempt == 1 { SlotStamp::First } else { SlotStamp::Second };
            }
            Write::Release { slot } | Write::Free { slot } => {
                state.slots[usize::from(slot)] = Slot::default()
            }
            Write::Cordon => (node.cordon, node.mark) = (Cordon::Ours, true),
            Write::Uncordon => {
                if node.cordon == Cordon::Other {
                    broke = Some("P4: it uncordons what a person cordoned");
                }
                (node.cordon, node.mark) = (Cordon::None, false);
            }
            Write::RemoveMark => node.mark = false,
            Write::Confirm => {}
        }
        let same = state.slots == before_slots && state.agents[number].node == before_node;
        if fresh || !same {
            match write.slot() {
                Some(slot) => self.slot_changed(state, slot),
                None => self.node_changed(state, number),
            }
        }
        broke
    }

    /// Nobody waits any more for the write under way: it stays on its way by itself.
    fn orphan(&self, state: &mut State, number: usize) {
        let agent = &mut state.agents[number];
        let Stage::Pending { write, .. } = self.agents.get(agent.local).stage else { return };
        if agent.sent != Sent::Underway {
            return;
        }
        let late = &mut state.late;
        match write {
            Write::Claim { slot, current_uid, .. } => {
                let class = if current_uid { late_claim::CURRENT } else { late_claim::FORMER_NODE };
                late[usize::from(slot)].claims |= late_claim::bit(number, class);
            }
            Write::Stamp { slot, attempt } => {
                late[usize::from(slot)].stamps[usize::from(attempt.saturating_sub(1)).min(1)] = true;
            }
            Write::Release { slot } => late[usize::from(slot)].release = true,
            Write::Free { slot } => late[usize::from(slot)].reclaim = true,
            Write::Cordon => agent.late |= late_node::CORDON,
            Write::Uncordon => agent.late |= late_node::UNCORDON,
            Write::RemoveMark => agent.late |= late_node::REMOVE_MARK,
            Write::Confirm => {}
        }
    }

    // ---- the agent ----

    fn around(&self, agent: &Agent, readings: Readings) -> Around {
        Around {
            readings,
            request: agent.request,
            going_down: agent.going_down,
            may_evict: true,
            may_reboot: true,
            pool: agent.node.pool,
        }
    }

    /// The ways in which the readings of the host may end.
    fn readings(&self) -> &'static [Readings] {
        const ALL: [Readings; 7] = [
            Readings::Open,
            Readings::Closed,
            Readings::OtherNodeDown,
            Readings::NoBus,
            Readings::NoRequest,
            Readings::NoLocks,
            Readings::NoOthers,
        ];
        match (self.search.faults.gates, self.search.faults.unreadable) {
            (_, true) => &ALL,
            (true, false) => &ALL[..3],
            (false, false) => &ALL[..1],
        }
    }

    fn agent(&mut self, state: &State, number: usize) {
        let agent = state.agents[number];
        if agent.power != Power::Up {
            return;
        }
        match self.stage(agent.local) {
            Stage::Off => {}
            Stage::Waiting => self.begin_look(state, number),
            Stage::HalfRead => self.end_look(state, number),
            Stage::Draining => self.drain(state, number),
            Stage::Pending { write, fresh } => self.pending(state, number, write, fresh),
        }
    }

    fn begin_look(&mut self, state: &State, number: usize) {
        let local = state.agents[number].local;
        let mut next = *state;
        if Agents::node_comes_first() {
            let agent = &mut next.agents[number];
            agent.local = self.agents.read_node(local, agent.node);
            agent.node_valid = true;
            self.push(next, Some(number), What::ReadsNode, false, None);
        } else {
            let seen = self.seen(state, number);
            next.agents[number].local = self.agents.read_slots(local, seen);
            next.agents[number].slot_valid = [true; SLOTS];
            self.push(next, Some(number), What::ReadsSlotsFirst, false, None);
        }
        if self.search.faults.unreadable {
            let mut next = *state;
            next.agents[number].local = self.agents.read_failed(local, true);
            self.push(next, Some(number), What::CannotRead, true, None);
        }
    }

    fn end_look(&mut self, state: &State, number: usize) {
        let agent = state.agents[number];
        let slots = self.as_seen(state, number);
        let mine = |slot: &Slot| slot.holder == 1 && slot.boot == Boot::This;
        let stamped = |slot: &Slot| mine(slot) && matches!(slot.stamp, SlotStamp::First | SlotStamp::Second);
        // Whether a deadline is over is not kept: it may be at any time. `reboot_timeout` is longer than any
        // delivery of the call.
        let overdue: &[bool] = BOTH
            .get(..1 + usize::from(self.search.faults.deadlines && slots.iter().any(mine)))
            .unwrap_or(&BOTH);
        let over = BOTH.get(..1 + usize::from(!agent.call && slots.iter().any(stamped))).unwrap_or(&BOTH);
        for (overdue, stamp_over) in
            overdue.iter().flat_map(|first| over.iter().map(|second| (*first, *second)))
        {
            let node = (!Agents::node_comes_first()).then_some(agent.node);
            let seen = Seen { node, overdue, stamp_over, ..self.seen(state, number) };
            for around in self.arounds(&agent) {
                let (local, did) = self.agents.read_rest(agent.local, seen, around);
                let mut next = *state;
                next.agents[number].local = local;
                if node.is_some() {
                    next.agents[number].node_valid = true;
                } else {
                    next.agents[number].slot_valid = [true; SLOTS];
                }
                let write = self.sent(&mut next, number);
                let what = What::ReadsSlots { around, overdue, stamp_over, did, write };
                self.acted(next, number, what, did, overdue || Steps::is_fault(&agent, around));
            }
        }
        if self.search.faults.unreadable {
            let mut next = *state;
            next.agents[number].local = self.agents.read_failed(agent.local, false);
            self.push(next, Some(number), What::CannotRead, true, None);
        }
    }

    /// Every way in which what is around the agent may be: its host's readings, and what a budget says.
    fn arounds(&self, agent: &Agent) -> impl Iterator<Item = Around> + use<> {
        let open = self.around(agent, Readings::Open);
        let budgets = 1 + usize::from(self.search.faults.gates && agent.pod.is_some());
        let requests = 1 + usize::from(!self.search.requests_kept);
        let readings = self.readings();
        readings.iter().flat_map(move |readings| {
            BOTH[..requests].iter().flat_map(move |otherwise| {
                BOTH[..budgets].iter().map(move |refused| Around {
                    readings: *readings,
                    request: open.request != *otherwise,
                    may_evict: !refused,
                    ..open
                })
            })
        })
    }

    fn is_fault(agent: &Agent, around: Around) -> bool {
        around.readings != Readings::Open || !around.may_evict || around.request != agent.request
    }

    fn seen(&self, state: &State, number: usize) -> Seen {
        let agent = &state.agents[number];
        Seen {
            slots: self.as_seen(state, number),
            slot_count: self.search.slots as u8,
            me: 0,
            node: None,
            kubelet_renews: agent.kubelet,
            pod: agent.pod,
            two_pools: self.search.two_pools,
            holder_missing: self.holders_missing(state),
            overdue: false,
            stamp_over: false,
        }
    }

    /// For each slot: whether it is held by a node that the model runs, and that has no Node now.
    fn holders_missing(&self, state: &State) -> [bool; SLOTS] {
        state.slots.map(|slot| {
            let holder = usize::from(slot.holder).checked_sub(1).and_then(|number| state.agents.get(number));
            self.search.faults.reclaims && holder.is_some_and(|holder| !holder.node.exists)
        })
    }

    /// What this agent can tell of the slots: of another holder's, only whether it is stamped.
    fn as_seen(&self, state: &State, number: usize) -> [Slot; SLOTS] {
        state.slots.map(|slot| match slot.holder {
            FREE | GONE => Slot { holder: slot.holder, ..Slot::default() },
            _ if slot.held_by(number) => Slot { holder: 1, ..slot },
            _ => {
                let stamped = slot.stamp != SlotStamp::None;
                let stamp = if stamped { SlotStamp::Former } else { SlotStamp::None };
                Slot { holder: OUTSIDE, stamp, ..Slot::default() }
            }
        })
    }

    /// After a step that may have sent a write: is its resourceVersion still current?
    fn sent(&self, next: &mut State, number: usize) -> Option<Write> {
        let agent = &mut next.agents[number];
        let Stage::Pending { write, .. } = self.agents.get(agent.local).stage else { return None };
        let valid = write.slot().map_or(agent.node_valid, |slot| agent.slot_valid[slot]);
        agent.sent = if valid { Sent::Underway } else { Sent::Dead };
        Some(write)
    }

    fn acted(&mut self, mut next: State, number: usize, what: What, did: Did, fault: bool) {
        let mut broke = did.broke;
        if did.called {
            // Without an answer to wait for, there is nothing that could have confirmed the slot.
            broke = broke.or(self.check_call(&next, number, true));
            Steps::called(&mut next.agents[number], Call::Accepted);
        }
        if did.evicted {
            next.agents[number].pod = None;
        }
        self.push(next, Some(number), what, fault, broke);
    }

    fn called(agent: &mut Agent, call: Call) {
        agent.going_down |= call == Call::Accepted;
        agent.call |= call == Call::Underway;
        agent.rebooting |= call != Call::Refused;
    }

    fn drain(&mut self, state: &State, number: usize) {
        let agent = state.agents[number];
        let believed = self.agents.pods_seen(agent.local);
        // The other nodes are read in a look only.
        let of_look =
            |around: &Around| matches!(around.readings, Readings::OtherNodeDown | Readings::NoOthers);
        for around in self.arounds(&agent).filter(|around| !of_look(around)) {
            let (local, mut did) = self.agents.wake(agent.local, around);
            // A pod that came later is not the one that was asked to leave.
            did.evicted &= agent.pod.is_some_and(|pod| believed[usize::from(pod)]);
            let mut next = *state;
            next.agents[number].local = local;
            let write = self.sent(&mut next, number);
            let what = What::WakesInDrain { around, did, write };
            self.acted(next, number, what, did, Steps::is_fault(&agent, around));
        }
        for pod in [0, 1] {
            if believed[usize::from(pod)] && agent.pod != Some(pod) {
                let mut next = *state;
                next.agents[number].local = self.agents.pod_gone(agent.local, pod);
                self.push(next, Some(number), What::HearsPodGone(pod), false, None);
            }
        }
        let mut next = *state;
        next.agents[number].local = self.agents.look_again(agent.local);
        self.push(next, Some(number), What::LooksAgain, false, None);
    }

    fn pending(&mut self, state: &State, number: usize, write: Write, fresh: bool) {
        let agent = state.agents[number];
        let faults = self.search.faults;
        match agent.sent {
            Sent::Underway => {
                let mut next = *state;
                next.agents[number].sent = Sent::Applied;
                let broke = self.apply(&mut next, number, write, fresh);
                self.push(next, Some(number), What::Applied(write), false, broke);
                if faults.refusals {
                    let mut next = *state;
                    next.agents[number].local = self.agents.refused(agent.local, false);
                    self.push(next, Some(number), What::Refused(write), true, None);
                }
                if faults.lost {
                    let mut next = *state;
                    self.orphan(&mut next, number);
                    next.agents[number].local = self.agents.unanswered(agent.local);
                    self.push(next, Some(number), What::GivesUp { write, lost: false }, true, None);
                    let mut next = *state;
                    next.agents[number].local = self.agents.unanswered(agent.local);
                    self.push(next, Some(number), What::GivesUp { write, lost: true }, true, None);
                }
            }
            Sent::Applied => {
                self.answer(state, number, write);
                if faults.lost {
                    let mut next = *state;
                    next.agents[number].local = self.agents.unanswered(agent.local);
                    self.push(next, Some(number), What::GivesUp { write, lost: false }, true, None);
                }
            }
            Sent::Dead => {
                let mut next = *state;
                next.agents[number].local = self.agents.refused(agent.local, true);
                self.push(next, Some(number), What::Refused(write), false, None);
                if faults.lost {
                    let mut next = *state;
                    next.agents[number].local = self.agents.unanswered(agent.local);
                    self.push(next, Some(number), What::GivesUp { write, lost: true }, true, None);
                }
            }
        }
    }

    fn answer(&mut self, state: &State, number: usize, write: Write) {
        let agent = state.agents[number];
        let stamps = matches!(write, Write::Stamp { .. });
        let lates: &[bool] = if stamps && self.search.faults.lost { &[false, true] } else { &[false] };
        let arounds: Vec<Around> =
            if stamps { self.arounds(&agent).collect() } else { vec![self.around(&agent, Readings::Open)] };
        let calls: &[Call] = if self.search.faults.calls { &CALLS } else { &CALLS[..1] };
        for around in arounds {
            for late in lates {
                for call in calls {
                    let around = Around { may_reboot: *call == Call::Accepted, ..around };
                    let (local, did) = self.agents.answered(agent.local, *late, around);
                    if !did.called && *call != Call::Accepted {
                        break;
                    }
                    let call = if did.called { *call } else { Call::None };
                    let mut next = *state;
                    next.agents[number].local = local;
                    let mut broke = did.broke;
                    if did.called {
                        broke = broke.or(self.check_call(state, number, around.request));
                        Steps::called(&mut next.agents[number], call);
                    }
                    let calm = !late && matches!(call, Call::None | Call::Accepted);
                    let what = What::Answered { write, late: *late, around, call };
                    self.push(next, Some(number), what, !calm || Steps::is_fault(&agent, around), broke);
                }
            }
        }
    }

    /// P2, at the moment of the call. What a person changed since the look began is not ours to see.
    fn check_call(&self, state: &State, number: usize, requested: bool) -> Option<&'static str> {
        let agent = &state.agents[number];
        if agent.disturbed || agent.excused {
            return None;
        }
        let stamped = state.slots.iter().enumerate().any(|(place, slot)| {
            let of_its_pool = !self.search.two_pools || place == usize::from(agent.node.pool);
            let of_this_boot = matches!(slot.stamp, SlotStamp::First | SlotStamp::Second);
            slot.held_by(number) && slot.boot == Boot::This && of_this_boot && of_its_pool
        });
        if !stamped {
            Some("P2: it calls Reboot without a stamped slot of its pool")
        } else if !agent.node.exists || agent.node.cordon == Cordon::None {
            Some("P2: it calls Reboot while its Node is not cordoned")
        } else if agent.pod.is_some() {
            Some("P2: it calls Reboot while a pod is left")
        } else if !requested {
            Some("P2: it calls Reboot though nothing asks for it")
        } else {
            None
        }
    }

    // ---- the host ----

    fn host(&mut self, state: &State, number: usize) {
        let agent = state.agents[number];
        let faults = self.search.faults;
        let with = |change: &dyn Fn(&mut Agent)| {
            let mut next = *state;
            change(&mut next.agents[number]);
            next
        };
        let of = Some(number);
        match agent.power {
            Power::Up => {
                if faults.kills {
                    let mut next = *state;
                    self.orphan(&mut next, number);
                    next.agents[number].local = self.agents.started();
                    self.push(next, of, What::Killed, true, None);
                }
                if faults.power {
                    let next = self.gone_down(state, number);
                    self.push(next, of, What::PowerLost, true, None);
                }
                if agent.going_down {
                    let next = self.gone_down(state, number);
                    self.push(next, of, What::GoesDown, false, None);
                } else if faults.others_reboot {
                    self.push(with(&|it| it.going_down = true), of, What::SomebodyReboots, true, None);
                }
                if agent.call {
                    let arrived = with(&|it| (it.call, it.going_down) = (false, true));
                    self.push(arrived, of, What::CallArrives, false, None);
                    self.push(
                        with(&|it| (it.call, it.rebooting) = (false, it.going_down)),
                        of,
                        What::CallFails,
                        false,
                        None,
                    );
                }
                if faults.requests && self.search.requests_kept {
                    let what = if agent.request { What::RequestVanishes } else { What::RequestAppears };
                    self.push(with(&|it| it.request ^= true), of, what, true, None);
                }
            }
            Power::Down => {
                let booted = self.booted(state, number, false);
                self.push(booted, of, What::Boots, false, None);
                if faults.reinstalled {
                    let booted = self.booted(state, number, true);
                    self.push(booted, of, What::BootsAsOtherMachine, true, None);
                }
                if faults.never_returns {
                    self.push(with(&|it| it.power = Power::Dead), of, What::NeverReturns, true, None);
                }
            }
            Power::Dead => {}
        }
    }

    /// The host is down: this boot has ended, and what `/run` held is gone.
    fn gone_down(&mut self, state: &State, number: usize) -> State {
        let mut next = *state;
        self.orphan(&mut next, number);
        let off = self.agents.off();
        let agent = &mut next.agents[number];
        agent.local = off;
        agent.power = Power::Down;
        (agent.call, agent.going_down, agent.request) = (false, false, false);
        agent.kubelet = false;
        agent.node.this_boot = false;
        for (slot, late) in next.slots.iter_mut().zip(&mut next.late) {
            if slot.held_by(number) {
                if slot.boot == Boot::This {
                    slot.boot = Boot::Former;
                }
                if slot.stamp != SlotStamp::None {
                    slot.stamp = SlotStamp::Former;
                }
                slot.current_uid = false;
                // A late stamp of a former boot could only make the slot harder to take.
                late.stamps = [false; 2];
            }
            let [current, former, anew] =
                [late_claim::CURRENT, late_claim::FORMER_BOOT, late_claim::FORMER_NODE]
                    .map(|class| late_claim::bit(number, class));
            if late.claims & (current | anew) != 0 {
                late.claims = late.claims & !(current | anew) | former;
            }
        }
        next
    }

    fn booted(&mut self, state: &State, number: usize, as_other_machine: bool) -> State {
        let mut next = *state;
        next.agents[number].local = self.agents.started();
        next.agents[number].power = Power::Up;
        if as_other_machine {
            next.agents[number].node.other_machine = next.agents[number].node.exists;
            for (slot, late) in next.slots.iter_mut().zip(&mut next.late) {
                if slot.held_by(number) && slot.boot == Boot::Former {
                    slot.boot = Boot::OtherMachine;
                }
                let [former, other] = [late_claim::FORMER_BOOT, late_claim::OTHER_MACHINE]
                    .map(|class| late_claim::bit(number, class));
                if late.claims & former != 0 {
                    late.claims = late.claims & !former | other;
                }
            }
        }
        next
    }

    // ---- the Node ----

    fn node(&mut self, state: &State, number: usize) {
        let agent = state.agents[number];
        let faults = self.search.faults;
        let of = Some(number);
        let up = agent.power == Power::Up;
        let changed = |steps: &Self, change: &dyn Fn(&mut Agent)| {
            let mut next = *state;
            change(&mut next.agents[number]);
            steps.node_changed(&mut next, number);
            next
        };
        if !agent.node.exists {
            if up {
                let registered = changed(self, &|it| {
                    it.node = Node {
                        exists: true,
                        cordon: Cordon::None,
                        mark: false,
                        this_boot: true,
                        ready: true,
                        other_machine: false,
                        pool: it.node.pool,
                    };
                    it.kubelet = true;
                });
                self.push(registered, of, What::NodeRegistered, false, None);
            }
            return;
        }
        if up && !(agent.kubelet && agent.node.this_boot && agent.node.ready && !agent.node.other_machine) {
            let posts = |ready: bool| {
                move |it: &mut Agent| {
                    it.kubelet = true;
                    (it.node.this_boot, it.node.ready, it.node.other_machine) = (true, ready, false);
                }
            };
            self.push(changed(self, &posts(true)), of, What::KubeletPosts, false, None);
            if faults.sick && !agent.node.this_boot {
                self.push(changed(self, &posts(false)), of, What::KubeletPostsSick, true, None);
            }
        }
        if faults.sick && up && !agent.kubelet {
            let mut next = *state;
            next.agents[number].kubelet = true;
            self.push(next, of, What::KubeletRenews, true, None);
        }
        if faults.sick && agent.kubelet {
            let mut next = *state;
            next.agents[number].kubelet = false;
            self.push(next, of, What::KubeletDies, true, None);
        }
        let someone_cares =
            agent.late != 0 || agent.node_valid || (agent.sent == Sent::Underway && self.writes_node(&agent));
        if faults.touched && someone_cares {
            self.push(changed(self, &|_| {}), of, What::NodeTouched, true, None);
        }
        if faults.cordons {
            let disturbed =
                |cordon: Cordon| move |it: &mut Agent| (it.node.cordon, it.disturbed) = (cordon, true);
            if agent.node.cordon == Cordon::None {
                self.push(changed(self, &disturbed(Cordon::Other)), of, What::PersonCordons, true, None);
            } else {
                self.push(changed(self, &disturbed(Cordon::None)), of, What::PersonUncordons, true, None);
            }
        }
        if faults.nodes_deleted {
            let next = self.node_deleted(state, number);
            self.push(next, of, What::NodeDeleted, true, None);
        }
        if self.search.two_pools && faults.pools_moved && up {
            let stage = self.stage(agent.local);
            if matches!(stage, Stage::Waiting | Stage::Draining) {
                let mut next = *state;
                next.agents[number].local = self.agents.reloaded(agent.local);
                next.agents[number].node.pool ^= 1;
                self.push(next, of, What::PoolMoved, true, None);
            }
        }
        // A pod may have been bound before the scheduler saw the cordon; it comes while others are still leaving.
        let leaving =
            self.stage(agent.local) == Stage::Draining && self.agents.pods_seen(agent.local).contains(&true);
        let may_come = agent.node.cordon == Cordon::None || leaving;
        if self.search.drains && faults.pods && agent.pod.is_none() && may_come {
            let mut next = *state;
            next.agents[number].pod = Some(u8::from(self.agents.pods_seen(agent.local)[0]));
            self.push(next, of, What::PodAppears, true, None);
        }
        for (bit, name, write) in [
            (late_node::CORDON, "cordon", Write::Cordon),
            (late_node::UNCORDON, "uncordon", Write::Uncordon),
            (late_node::REMOVE_MARK, "removal of the mark", Write::RemoveMark),
        ] {
            if agent.late & bit != 0 {
                let mut next = *state;
                let broke = self.apply(&mut next, number, write, true);
                self.push(next, of, What::LateApplied(name, None), false, broke);
                let mut next = *state;
                next.agents[number].late &= !bit;
                self.push(next, of, What::LateLost(name, None), false, None);
            }
        }
    }

    fn writes_node(&self, agent: &Agent) -> bool {
        matches!(self.stage(agent.local), Stage::Pending { write, .. } if write.slot().is_none())
    }

    fn node_deleted(&mut self, state: &State, number: usize) -> State {
        let mut next = *state;
        self.node_changed(&mut next, number);
        let agent = &mut next.agents[number];
        agent.local = self.agents.node_anew(agent.local);
        agent.node = Node {
            exists: false,
            cordon: Cordon::None,
            mark: false,
            this_boot: false,
            ready: false,
            other_machine: false,
            pool: agent.node.pool,
        };
        (agent.disturbed, agent.pod) = (true, None);
        for (slot, late) in next.slots.iter_mut().zip(&mut next.late) {
            if slot.held_by(number) {
                slot.current_uid = false;
            }
            let [current, anew] =
                [late_claim::CURRENT, late_claim::FORMER_NODE].map(|class| late_claim::bit(number, class));
            if late.claims & current != 0 {
                late.claims = late.claims & !current | anew;
            }
        }
        next
    }

    // ---- the slots ----

    fn slot(&mut self, state: &State, place: usize) {
        let slot = state.slots[place];
        let late = state.late[place];
        let faults = self.search.faults;
        let number = place as u8;
        let holder = (1..=self.search.agents).find(|agent| slot.held_by(agent - 1)).map(|agent| agent - 1);
        let changed = |steps: &Self, change: &dyn Fn(&mut Slot)| {
            let mut next = *state;
            change(&mut next.slots[place]);
            steps.slot_changed(&mut next, place);
            next
        };
        // What a person takes from an agent is his to answer for.
        let by_hand = |steps: &Self, to: u8| {
            let mut next = changed(steps, &|it| *it = Slot { holder: to, ..Slot::default() });
            if let Some(agent) = holder {
                (next.agents[agent].excused, next.agents[agent].disturbed) = (true, true);
            }
            next
        };
        self.late_claims(state, place);
        if let Some(agent) = holder {
            if late.release {
                let mut next = *state;
                let broke = self.apply(&mut next, agent, Write::Release { slot: number }, true);
                self.push(next, holder, What::LateApplied("release", Some(number)), false, broke);
                let mut next = *state;
                next.late[place].release = false;
                self.push(next, holder, What::LateLost("release", Some(number)), false, None);
            }
            for (stamp, kind) in [SlotStamp::First, SlotStamp::Second].into_iter().enumerate() {
                if late.stamps[stamp] {
                    let next = changed(self, &|it| it.stamp = kind);
                    self.push(next, holder, What::LateApplied("stamp", Some(number)), false, None);
                    let mut next = *state;
                    next.late[place].stamps[stamp] = false;
                    self.push(next, holder, What::LateLost("stamp", Some(number)), false, None);
                }
            }
            if faults.slots_by_hand {
                self.push(by_hand(self, FREE), holder, What::SlotFreed(number), true, None);
                if self.search.outside {
                    self.push(by_hand(self, OUTSIDE), holder, What::SlotTaken(number), true, None);
                }
                if slot.boot != Boot::Garbled {
                    let mut next = changed(self, &|it| it.boot = Boot::Garbled);
                    next.agents[agent].disturbed = true;
                    self.push(next, holder, What::SlotGarbled(number), true, None);
                }
            }
            let reclaimable = slot.stamp == SlotStamp::None && !state.agents[agent].node.exists;
            if self.search.outside && faults.reclaims && !late.reclaim && reclaimable {
                let mut next = *state;
                next.late[place].reclaim = true;
                self.push(next, holder, What::OutsideSeesNodeMissing(number), true, None);
            }
            if late.reclaim {
                let next = changed(self, &|it| *it = Slot::default());
                self.push(next, holder, What::LateApplied("reclaim by another", Some(number)), false, None);
                let mut next = *state;
                next.late[place].reclaim = false;
                self.push(next, holder, What::LateLost("reclaim by another", Some(number)), false, None);
            }
        }
        if faults.slots_by_hand {
            if slot.holder == GONE {
                let mut next = changed(self, &|it| it.holder = FREE);
                for agent in 0..self.search.agents {
                    let local = next.agents[agent].local;
                    next.agents[agent].local = self.agents.slot_anew(local, number);
                }
                self.push(next, None, What::SlotMade(number), true, None);
                return;
            }
            self.push(by_hand(self, GONE), holder, What::SlotDeleted(number), true, None);
        }
        if faults.touched && self.slot_is_awaited(state, place) {
            self.push(changed(self, &|_| {}), None, What::SlotTouched(number), true, None);
        }
        if self.search.outside {
            if slot.holder == FREE {
                let next = changed(self, &|it| it.holder = OUTSIDE);
                self.push(next, None, What::OutsideClaims(number), true, None);
            }
            if slot.holder == OUTSIDE {
                let next = changed(self, &|it| *it = Slot::default());
                self.push(next, None, What::OutsideReleases(number), false, None);
            }
        }
    }

    /// Whether anybody could tell that this slot was touched.
    fn slot_is_awaited(&self, state: &State, place: usize) -> bool {
        state.late[place] != Late::default()
            || state.agents[..self.search.agents].iter().any(|agent| {
                let pending = matches!(self.stage(agent.local), Stage::Pending { write, .. } if write.slot() == Some(place));
                agent.slot_valid[place] || (pending && agent.sent == Sent::Underway)
            })
    }

    fn late_claims(&mut self, state: &State, place: usize) {
        for agent in 0..self.search.agents {
            for class in 0..4 {
                let bit = late_claim::bit(agent, class);
                if state.late[place].claims & bit == 0 {
                    continue;
                }
                let boot = match class {
                    late_claim::FORMER_BOOT => Boot::Former,
                    late_claim::OTHER_MACHINE => Boot::OtherMachine,
                    _ => Boot::This,
                };
                let mut next = *state;
                next.slots[place] = Slot {
                    holder: agent as u8 + 1,
                    boot,
                    current_uid: class == late_claim::CURRENT,
                    ..Slot::default()
                };
                self.slot_changed(&mut next, place);
                self.push(next, Some(agent), What::LateApplied("claim", Some(place as u8)), false, None);
                let mut next = *state;
                next.late[place].claims &= !bit;
                self.push(next, Some(agent), What::LateLost("claim", Some(place as u8)), false, None);
            }
        }
    }
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
        Readings::NoBus => ", gets no answer on D-Bus",
        Readings::NoRequest => ", cannot read the sentinel",
        Readings::NoLocks => ", cannot read the locks",
        Readings::OtherNodeDown => ", finds another node down",
        Readings::NoOthers => ", cannot read the other nodes",
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
            What::SlotFreed(slot) => write!(f, "a person frees slot {slot}"),
            What::SlotTaken(slot) => write!(f, "a person gives slot {slot} to somebody else"),
            What::SlotGarbled(slot) => write!(f, "a person garbles slot {slot}"),
            What::SlotDeleted(slot) => write!(f, "a person deletes slot {slot}"),
            What::SlotMade(slot) => write!(f, "a person makes slot {slot} anew"),
            What::SlotTouched(slot) => write!(f, "the manifest of slot {slot} is applied again"),
            What::OutsideClaims(slot) => write!(f, "another node claims slot {slot}"),
            What::OutsideReleases(slot) => write!(f, "another node releases slot {slot}"),
            What::OutsideSeesNodeMissing(slot) => {
                write!(f, "another node finds the Node missing, sends a reclaim of slot {slot}")
            }
        }
    }
}
