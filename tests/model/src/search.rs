//! The search: breadth first through every state, so that the first run found to a violation is a shortest one.

use std::time::{Duration, Instant};

use crate::agent::{Agents, BARE, Stage};
use crate::labels::{Label, What};
use crate::searches::Search;
use crate::state::{AGENTS, Boot, Cordon, FREE, GONE, Key, Late, OUTSIDE, Power, Slot, SlotStamp, State};
use crate::steps::{Next, Steps};

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
fn canonical(search: &Search, state: &State) -> Key {
    const TWO: [[usize; AGENTS]; 1] = [[1, 0, 2]];
    const THREE: [[usize; AGENTS]; 5] = [[1, 0, 2], [0, 2, 1], [2, 1, 0], [1, 2, 0], [2, 0, 1]];
    let orders: &[[usize; AGENTS]] = match search.agents {
        1 => &[],
        2 => &TWO,
        _ => &THREE,
    };
    orders.iter().map(|order| state.renamed(order).pack()).fold(state.pack(), Key::min)
}

/// P1 and P3: who is disrupted holds a slot, unless a person took it away.
pub fn invariant(search: &Search, state: &State) -> Option<&'static str> {
    let mut count = 0;
    for number in 0..search.agents {
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
    if search.members && count > 1 {
        return Some("a quorum is lost: two members of the control plane are disrupted");
    }
    if search.zones && count > 1 {
        return Some("nodes of two zones are disrupted");
    }
    (count > search.slots).then_some("P1: more nodes are disrupted than there are slots")
}

/// Whether all is done: every request served, nothing left behind; but for what is a person's to decide.
fn done(search: &Search, agents: &Agents, state: &State) -> Result<(), &'static str> {
    for (number, agent) in state.agents[..search.agents].iter().enumerate() {
        if agent.power == Power::Dead {
            continue;
        }
        if agent.power == Power::Down {
            return Err("a host is down");
        }
        let node = &agent.node;
        if agent.call
            || agent.going_down
            || !node.exists
            || !node.this_boot
            || !node.ready
            || node.other_machine
        {
            return Err("a host or its Node is not well");
        }
        let proven = |boot| matches!(boot, Boot::This | Boot::Former);
        // A stamp that proves nothing may mean a reboot under way: a person decides, about the cordon too.
        let undecided =
            |slot: &Slot| slot.held_by(number) && !proven(slot.boot) && slot.stamp != SlotStamp::None;
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
        let waits_for_a_person =
            agent.pod == Some(BARE) || (search.waits_for_cordons && node.cordon == Cordon::Other);
        if agent.request && !waits_for_a_person && may_be_served(search, state, number) {
            return Err("a request is not served");
        }
    }
    if state.late.iter().any(|late| *late != Late::default()) {
        return Err("a write to a slot is on its way");
    }
    Ok(())
}

/// Whether a slot of its pool is free, or will be without a person.
fn may_be_served(search: &Search, state: &State, number: usize) -> bool {
    let unproven = |boot| matches!(boot, Boot::OtherMachine | Boot::Garbled);
    if state.slots.iter().any(|slot| slot.held_by(number) && unproven(slot.boot)) {
        return false;
    }
    state.slots.iter().take(search.slots).enumerate().any(|(place, slot)| {
        let of_its_pool = !search.two_pools || place == usize::from(state.agents[number].node.pool);
        let stuck = match slot.holder {
            GONE => true,
            FREE | OUTSIDE => false,
            holder => unproven(slot.boot) || state.agents[usize::from(holder) - 1].power == Power::Dead,
        };
        of_its_pool && !stuck
    })
}

/// Searches all states, or so many.
pub fn run(search: &Search, limit: usize, first_only: bool, progress: &dyn Fn(usize, usize)) -> Found {
    let began = Instant::now();
    let mut agents = Agents::new(search);
    let first = State::first(search, &mut agents);
    let mut table = Table::default();
    let mut parents = vec![NOBODY];
    table.insert(&canonical(search, &first));
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
        let mut stepper = Steps { search, agents: &mut agents, next: std::mem::take(&mut next) };
        stepper.from(&state);
        next = stepper.next;
        for Next { state, fault, broke, .. } in &next {
            steps += 1;
            let (id, new) = table.insert(&canonical(search, state));
            if new {
                parents.push(at as u32);
            }
            let broke = broke.or_else(|| if new { invariant(search, state) } else { None });
            if let Some(what) = broke
                && broken.iter().all(|(known, ..)| known != what)
            {
                broken.push((what.to_owned(), at as u32, Some(*state)));
            }
            if search.live && !fault && id != at as u32 {
                edges.push((at as u32, id));
            }
        }
        at += 1;
    }
    let states = table.keys.len();
    let mut violations: Vec<Violation> = Vec::new();
    let mut stuck: Vec<(&'static str, u32, usize)> = Vec::new();
    if search.live && exhaustive && broken.is_empty() {
        stuck = dead_ends(search, &agents, &table, edges);
    }
    for (what, id, last) in broken {
        let run = run_to(search, &mut agents, &table, &parents, id, last);
        violations.push(Violation { what, run, states: 1 });
    }
    for (what, id, count) in stuck {
        let run = run_to(search, &mut agents, &table, &parents, id, None);
        violations.push(Violation {
            what: format!("liveness: {what}, and nothing but a fault can change it"),
            run,
            states: count,
        });
    }
    let locals = agents.count();
    Found { states, steps, locals, time: began.elapsed(), exhaustive, violations }
}

/// States from which nothing good can be reached without a fault: by what is wrong, the first, how many.
fn dead_ends(
    search: &Search,
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
        if done(search, agents, &State::unpack(key)).is_ok() {
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
        let Err(why) = done(search, agents, &State::unpack(key)) else { continue };
        match reasons.iter_mut().find(|(known, ..)| *known == why) {
            Some((_, _, count)) => *count += 1,
            None => reasons.push((why, id as u32, 1)),
        }
    }
    reasons
}

/// The run from the beginning to a state, with the same agent under the same letter all the way.
fn run_to(
    search: &Search,
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
    let mut state = State::first(search, agents);
    let mut run = Vec::new();
    let targets = path[1..].iter().map(|id| table.keys[*id as usize]);
    for target in targets.chain(last.map(|last| canonical(search, &last))) {
        let mut stepper = Steps::new(search, agents);
        stepper.from(&state);
        let step = stepper.next.iter().find(|next| canonical(search, &next.state) == target);
        let Some(step) = step else { break };
        state = step.state;
        run.push((step.label, state));
    }
    run
}

/// Goes at random for so many steps, a fault now and then; the seed says which way.
pub fn walk(search: &Search, seed: u64, length: usize) -> Found {
    let began = Instant::now();
    let mut agents = Agents::new(search);
    let first = State::first(search, &mut agents);
    let (mut state, mut run) = (first, Vec::new());
    let mut random = seed;
    // SplitMix64: a public-domain generator, enough to choose a way.
    let mut draw = |below: usize| {
        random = random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = random;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ mixed >> 31) % below.max(1) as u64) as usize
    };
    let mut violations = Vec::new();
    let mut steps = 0;
    for _ in 0..length {
        let mut stepper = Steps::new(search, &mut agents);
        stepper.from(&state);
        let faulty = draw(4) == 0;
        let of_kind: Vec<&Next> = stepper.next.iter().filter(|next| next.fault == faulty).collect();
        let chosen = match of_kind.get(draw(of_kind.len())) {
            Some(next) => **next,
            None => match stepper.next.get(draw(stepper.next.len())) {
                Some(next) => *next,
                None => break,
            },
        };
        steps += 1;
        // A host that never returns would make the rest of the walk a short one.
        if matches!(chosen.label.what, What::NeverReturns) {
            continue;
        }
        state = chosen.state;
        run.push((chosen.label, state));
        if let Some(what) = chosen.broke.or(invariant(search, &state)) {
            violations.push(Violation { what: what.to_owned(), run, states: 1 });
            break;
        }
    }
    let locals = agents.count();
    Found { states: 0, steps, locals, time: began.elapsed(), exhaustive: false, violations }
}
