//! What may happen next: every step of every agent, of the API, of hosts, kubelets and people.

use crate::agent::{Agents, Around, BARE, Did, Id, Readings, Seen, Stage, Write};
use crate::labels::{Call, Label, What};
use crate::searches::Search;
use crate::state::{
    AGENTS, Agent, Boot, Cordon, FREE, GONE, Late, Node, OUTSIDE, Power, SLOTS, Sent, Slot, SlotStamp, State,
    Taint, late_claim, late_node,
};

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
            taint: Taint::None,
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

    pub fn push(
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

    pub fn stage(&self, id: Id) -> Stage {
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
    pub fn slot_changed(&self, state: &mut State, slot: usize) {
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

    pub fn node_changed(&self, state: &mut State, number: usize) {
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
    pub fn apply(&self, state: &mut State, number: usize, write: Write, fresh: bool) -> Option<&'static str> {
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
            Write::Returned { slot } => state.slots[usize::from(slot)].stamp = SlotStamp::Returned,
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
    pub fn orphan(&self, state: &mut State, number: usize) {
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
            // Applied late it would only set a mark that no agent of the model reads in another's slot.
            Write::Confirm | Write::Returned { .. } => {}
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
    fn readings(&self) -> Vec<Readings> {
        let faults = self.search.faults;
        let gates = [Readings::Closed, Readings::Held, Readings::OtherNodeDown];
        let unreadable =
            [Readings::NoBus, Readings::NoRequest, Readings::NoLocks, Readings::NoHold, Readings::NoOthers];
        let mut readings = vec![Readings::Open];
        readings.extend(gates.into_iter().filter(|_| faults.gates || faults.unreadable));
        readings.extend(unreadable.into_iter().filter(|_| faults.unreadable));
        readings.extend(faults.policy.then_some(Readings::NoPolicy));
        readings.extend(faults.windows.then_some(Readings::NoWindow));
        readings.extend(self.search.after.then_some(Readings::NotWell));
        readings
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
        readings.into_iter().flat_map(move |readings| {
            BOTH[..requests].iter().flat_map(move |otherwise| {
                BOTH[..budgets].iter().map(move |refused| Around {
                    readings,
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
        let of_look = |around: &Around| {
            matches!(
                around.readings,
                Readings::OtherNodeDown | Readings::NoOthers | Readings::NoPolicy | Readings::NotWell
            )
        };
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
        for pod in [0, 1, BARE] {
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
        } else if self.search.waits_for_cordons && agent.node.cordon == Cordon::Other {
            Some("P2: it calls Reboot under a cordon of somebody else")
        } else if agent.pod.is_some() {
            Some("P2: it calls Reboot while a pod is left")
        } else if !requested {
            Some("P2: it calls Reboot though nothing asks for it")
        } else {
            None
        }
    }
}
