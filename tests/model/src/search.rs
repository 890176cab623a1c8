//! The search: breadth first through every state, so that the first run found to a violation is a shortest one.

use std::time::{Duration, Instant};

use crate::agent::{Agents, Stage};
use crate::config::Config;
use crate::state::{AGENTS, Boot, Cordon, FREE, GONE, Key, Late, OUTSIDE, Power, Slot, SlotStamp, State};
use crate::steps::{Label, Next, Steps};

const NOBODY: u32 = u32::MAX;

/// What a search found.
pub struct Found {
    pub states: usize,
    pub steps: u64,
    pub locals: usize,
    pub time: Duration,
    /// Every state was visited.
    pub exhaustive: bool,
    pub violations: Vec<Violation>,
}

/// A promise broken, with the shortest run to it.
pub struct Violation {
    pub what: String,
    pub run: Vec<(Label, State)>,
    /// In how many states: for liveness, those from which nothing good can be reached.
    pub states: usize,
}

/// Keys in the order in which they were found, and where to find them.
#[derive(Default)]
struct Table {
    keys: Vec<Key>,
    places: Vec<u32>,
}

impl Table {
    fn place(key: &Key, mask: usize) -> usize {
        let mut hash = 0_u64;
        for word in key {
            hash = (hash.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            hash ^= hash >> 29;
        }
        (hash ^ hash >> 32) as usize & mask
    }

    fn grow(&mut self) {
        let size = (self.places.len() * 2).max(1 << 16);
        let mut places = vec![NOBODY; size];
        for (id, key) in self.keys.iter().enumerate() {
            let mut at = Table::place(key, size - 1);
            while places[at] != NOBODY {
                at = (at + 1) & (size - 1);
            }
            places[at] = id as u32;
        }
        self.places = places;
    }

    /// The number of a key, and whether it is new.
    fn insert(&mut self, key: &Key) -> (u32, bool) {
        if self.keys.len() * 10 >= self.places.len() * 7 {
            self.grow();
        }
        let mask = self.places.len() - 1;
        let mut at = Table::place(key, mask);
        loop {
            match self.places[at] {
                NOBODY => {
                    let id = self.keys.len() as u32;
                    self.places[at] = id;
                    self.keys.push(*key);
                    return (id, true);
                }
                id if self.keys[id as usize] == *key => return (id, false),
                _ => at = (at + 1) & mask,
            }
        }
    }
}

/// The same key for states that differ only in which agent is which.
fn canonical(config: &Config, state: &State) -> Key {
    const TWO: [[usize; AGENTS]; 1] = [[1, 0, 2]];
    const THREE: [[usize; AGENTS]; 5] = [[1, 0, 2], [0, 2, 1], [2, 1, 0], [1, 2, 0], [2, 0, 1]];
    let orders: &[[usize; AGENTS]] = match config.agents {
        1 => &[],
        2 => &TWO,
        _ => &THREE,
    };
    orders.iter().map(|order| state.renamed(order).pack()).fold(state.pack(), Key::min)
}

/// P1 and P3: who is disrupted holds a slot, unless a person took it away.
pub fn invariant(config: &Config, state: &State) -> Option<&'static str> {
    let mut count = 0;
    for number in 0..config.agents {
        if state.disrupted(number) && !state.agents[number].excused {
            count += 1;
            if !state.holds(number) {
                return Some(if state.agents[number].rebooting {
                    "P1, P3: it reboots without a slot"
                } else {
                    "P1, P3: its own cordon without a slot"
                });
            }
        }
    }
    (count > config.slots).then_some("P1: more nodes are disrupted than there are slots")
}

/// Whether all is done: every request served, nothing left behind; but for what is a person's to decide.
fn done(config: &Config, agents: &Agents, state: &State) -> Result<(), &'static str> {
    for (number, agent) in state.agents[..config.agents].iter().enumerate() {
        if agent.power == Power::Dead {
            continue;
        }
        if agent.power == Power::Down {
            return Err("a host is down");
        }
        let node = &agent.node;
        if agent.call || agent.going_down || !node.exists || !node.this_boot || !node.ready || node.other_machine {
            return Err("a host or its Node is not well");
        }
        let proven = |boot| matches!(boot, Boot::This | Boot::Former);
        // A stamp that proves nothing may mean a reboot under way: a person decides, about the cordon too.
        let undecided = |slot: &Slot| slot.held_by(number) && !proven(slot.boot) && slot.stamp != SlotStamp::None;
        let undecided = state.slots.iter().any(undecided);
        if node.cordon == Cordon::Ours && !undecided {
            return Err("our cordon is left");
        }
        if node.mark && !undecided {
            return Err("our mark is left");
        }
        if state.slots.iter().any(|slot| slot.held_by(number) && proven(slot.boot)) {
            return Err("a slot is not given back");
        }
        if agent.late != 0 {
            return Err("a write to a Node is on its way");
        }
        if agents.get(agent.local).stage != Stage::Waiting {
            return Err("an agent is at work");
        }
        if agent.request && may_be_served(config, state, number) {
            return Err("a request is not served");
        }
    }
    if state.late.iter().any(|late| *late != Late::default()) {
        return Err("a write to a slot is on its way");
    }
    Ok(())
}

/// Whether a slot of its pool is free, or will be without a person.
fn may_be_served(config: &Config, state: &State, number: usize) -> bool {
    let unproven = |boot| matches!(boot, Boot::OtherMachine | Boot::Garbled);
    if state.slots.iter().any(|slot| slot.held_by(number) && unproven(slot.boot)) {
        return false;
    }
    state.slots.iter().take(config.slots).enumerate().any(|(place, slot)| {
        let of_its_pool = !config.two_pools || place == usize::from(state.agents[number].node.pool);
        let stuck = match slot.holder {
            GONE => true,
            FREE | OUTSIDE => false,
            holder => {
                unproven(slot.boot) || state.agents[usize::from(holder) - 1].power == Power::Dead
            }
        };
        of_its_pool && !stuck
    })
}

/// Searches all states, or so many.
pub fn search(config: &Config, limit: usize, first_only: bool, progress: &dyn Fn(usize, usize)) -> Found {
    let began = Instant::now();
    let mut agents = Agents::new(config);
    let first = State::first(config, &mut agents);
    let mut table = Table::default();
    let mut parents = vec![NOBODY];
    table.insert(&canonical(config, &first));
    let mut edges: Vec<(u32, u32)> = Vec::new();
    let mut broken: Vec<(String, u32, Option<State>)> = Vec::new();
    let (mut at, mut steps, mut exhaustive) = (0, 0_u64, true);
    let mut next = Vec::new();
    while at < table.keys.len() {
        if table.keys.len() > limit || (first_only && !broken.is_empty()) {
            exhaustive = false;
            break;
        }
        if at % 1_000_000 == 0 {
            progress(at, table.keys.len());
        }
        let state = State::unpack(&table.keys[at]);
        let mut stepper = Steps { config, agents: &mut agents, next: std::mem::take(&mut next) };
        stepper.from(&state);
        next = stepper.next;
        for Next { state, fault, broke, .. } in &next {
            steps += 1;
            let (id, new) = table.insert(&canonical(config, state));
            if new {
                parents.push(at as u32);
            }
            let broke = broke.or_else(|| if new { invariant(config, state) } else { None });
            if let Some(what) = broke
                && broken.iter().all(|(known, ..)| known != what)
            {
                broken.push((what.to_owned(), at as u32, Some(*state)));
            }
            if config.live && !fault && id != at as u32 {
                edges.push((at as u32, id));
            }
        }
        at += 1;
    }
    let states = table.keys.len();
    let mut violations: Vec<Violation> = Vec::new();
    let mut stuck: Vec<(&'static str, u32, usize)> = Vec::new();
    if config.live && exhaustive && broken.is_empty() {
        stuck = dead_ends(config, &agents, &table, edges);
    }
    for (what, id, last) in broken {
        let run = run_to(config, &mut agents, &table, &parents, id, last);
        violations.push(Violation { what, run, states: 1 });
    }
    for (what, id, count) in stuck {
        let run = run_to(config, &mut agents, &table, &parents, id, None);
        violations.push(Violation { what: format!("liveness: {what}, and nothing but a fault can change it"), run, states: count });
    }
    let locals = agents.count();
    Found { states, steps, locals, time: began.elapsed(), exhaustive, violations }
}

/// States from which nothing good can be reached without a fault: by what is wrong, the first, how many.
fn dead_ends(
    config: &Config,
    agents: &Agents,
    table: &Table,
    edges: Vec<(u32, u32)>,
) -> Vec<(&'static str, u32, usize)> {
    let count = table.keys.len();
    // Backwards edges, packed: those into state n are at starts[n]..starts[n + 1].
    let mut starts = vec![0_u32; count + 1];
    for (_, to) in &edges {
        starts[*to as usize + 1] += 1;
    }
    for at in 0..count {
        starts[at + 1] += starts[at];
    }
    let mut filled = starts.clone();
    let mut from = vec![0_u32; edges.len()];
    for (source, to) in edges {
        let place = &mut filled[to as usize];
        from[*place as usize] = source;
        *place += 1;
    }
    let mut good = vec![false; count];
    let mut open = Vec::new();
    for (id, key) in table.keys.iter().enumerate() {
        if done(config, agents, &State::unpack(key)).is_ok() {
            good[id] = true;
            open.push(id);
        }
    }
    while let Some(id) = open.pop() {
        for source in &from[starts[id] as usize..starts[id + 1] as usize] {
            let source = *source as usize;
            if !good[source] {
                good[source] = true;
                open.push(source);
            }
        }
    }
    let mut reasons: Vec<(&'static str, u32, usize)> = Vec::new();
    for (id, key) in table.keys.iter().enumerate() {
        if good[id] {
            continue;
        }
        let Err(why) = done(config, agents, &State::unpack(key)) else { continue };
        match reasons.iter_mut().find(|(known, ..)| *known == why) {
            Some((_, _, count)) => *count += 1,
            None => reasons.push((why, id as u32, 1)),
        }
    }
    reasons
}

/// The run from the beginning to a state, with the same agent under the same letter all the way.
fn run_to(
    config: &Config,
    agents: &mut Agents,
    table: &Table,
    parents: &[u32],
    id: u32,
    last: Option<State>,
) -> Vec<(Label, State)> {
    let mut path = vec![id];
    let mut at = id;
    while parents[at as usize] != NOBODY {
        at = parents[at as usize];
        path.push(at);
    }
    path.reverse();
    let mut state = State::first(config, agents);
    let mut run = Vec::new();
    let targets = path[1..].iter().map(|id| table.keys[*id as usize]);
    for target in targets.chain(last.map(|last| canonical(config, &last))) {
        let mut stepper = Steps { config, agents, next: Vec::new() };
        stepper.from(&state);
        let step = stepper.next.iter().find(|next| canonical(config, &next.state) == target);
        let Some(step) = step else { break };
        state = step.state;
        run.push((step.label, state));
    }
    run
}

/// For debugging: goes on without faults from the beginning, each time to a new state.
pub fn calm(config: &Config) {
    let mut agents = Agents::new(config);
    let mut state = State::first(config, &mut agents);
    let mut seen = std::collections::HashSet::new();
    for _ in 0..100 {
        seen.insert(state.pack());
        let mut stepper = Steps { config, agents: &mut agents, next: Vec::new() };
        stepper.from(&state);
        let all: Vec<_> = stepper.next.iter().filter(|n| !n.fault).map(|n| n.label.to_string()).collect();
        let next = stepper.next.iter().find(|next| !next.fault && !seen.contains(&next.state.pack()));
        let Some(next) = next else { println!("end; {all:?} {state:?}"); break };
        println!("{} of {all:?}", next.label);
        state = next.state;
        if let Err(why) = done(config, &agents, &state) { println!("   {why}") } else { println!("GOOD") }
    }
}
