//! What happens around the agents: to hosts, Nodes and slots, by kubelets, people, other nodes, and by writes that
//! nobody waits for any more.

use crate::agent::{BARE, Stage, Write};
use crate::labels::What;
use crate::state::{
    Agent, Boot, Cordon, FREE, GONE, Late, Node, OUTSIDE, Power, Sent, Slot, SlotStamp, State, Taint,
    late_claim, late_node,
};
use crate::steps::Steps;

impl Steps<'_> {
    // ---- the host ----

    pub fn host(&mut self, state: &State, number: usize) {
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
            let [current, former, recreated] =
                [late_claim::CURRENT, late_claim::FORMER_BOOT, late_claim::FORMER_NODE]
                    .map(|class| late_claim::bit(number, class));
            if late.claims & (current | recreated) != 0 {
                late.claims = late.claims & !(current | recreated) | former;
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

    pub fn node(&mut self, state: &State, number: usize) {
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
                        taint: Taint::None,
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
        let seen = self.agents.pods_seen(agent.local);
        let leaving = self.stage(agent.local) == Stage::Draining && seen.contains(&true);
        let may_come = agent.node.cordon == Cordon::None || leaving;
        if self.search.drains && faults.pods && agent.pod.is_none() && may_come {
            let mut next = *state;
            next.agents[number].pod = Some(u8::from(seen[0]));
            self.push(next, of, What::PodAppears, true, None);
        }
        if faults.bare_pods && agent.pod.is_none() && may_come && !seen[usize::from(BARE)] {
            let mut next = *state;
            next.agents[number].pod = Some(BARE);
            self.push(next, of, What::BarePodAppears, true, None);
        }
        if agent.pod == Some(BARE) {
            let mut next = *state;
            next.agents[number].pod = None;
            self.push(next, of, What::BarePodDeleted, true, None);
        }
        let has_rebooted = |slot: &Slot| slot.held_by(number) && slot.boot == Boot::Former;
        if faults.taints && up && agent.node.taint == Taint::None && state.slots.iter().any(has_rebooted) {
            for taint in [Taint::New, Taint::Ignored] {
                let tainted = changed(self, &|it| it.node.taint = taint);
                self.push(tainted, of, What::TaintAppears(taint), true, None);
            }
        }
        // One that is ignored may stay for ever.
        if agent.node.taint == Taint::New {
            self.push(changed(self, &|it| it.node.taint = Taint::None), of, What::TaintGoes, false, None);
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
        agent.local = self.agents.node_recreated(agent.local);
        agent.node = Node {
            exists: false,
            cordon: Cordon::None,
            mark: false,
            this_boot: false,
            ready: false,
            other_machine: false,
            pool: agent.node.pool,
            taint: Taint::None,
        };
        (agent.disturbed, agent.pod) = (true, None);
        for (slot, late) in next.slots.iter_mut().zip(&mut next.late) {
            if slot.held_by(number) {
                slot.current_uid = false;
            }
            let [current, recreated] =
                [late_claim::CURRENT, late_claim::FORMER_NODE].map(|class| late_claim::bit(number, class));
            if late.claims & current != 0 {
                late.claims = late.claims & !current | recreated;
            }
        }
        next
    }

    // ---- the slots ----

    pub fn slot(&mut self, state: &State, place: usize) {
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
                    next.agents[agent].local = self.agents.slot_recreated(local, number);
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
