//! The state of the model: hosts, Nodes, slots, and writes that nobody waits for any more.
//!
//! A resourceVersion is reduced to one question: is it still the object's? A conditional write on its way dies as
//! soon as its object changes, so faults need no limit and the states are finite all the same.

use crate::agent::Id;

pub const AGENTS: usize = 3;
pub const SLOTS: usize = 2;

/// Whose `spec.unschedulable` it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Cordon {
    #[default]
    None,
    Ours,
    /// A person's.
    Other,
}

/// A taint that comes after the boot, and was not there at the claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Taint {
    #[default]
    None,
    New,
    /// Its key is in `ignore_taints`.
    Ignored,
}

/// What an agent reads of its Node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Node {
    pub exists: bool,
    pub cordon: Cordon,
    pub mark: bool,
    /// The kubelet has posted this boot.
    pub this_boot: bool,
    pub ready: bool,
    /// It still tells of the machine that had this name before.
    pub other_machine: bool,
    pub pool: u8,
    pub taint: Taint,
}

/// In which boot, and by which machine, a slot was claimed: as its holder sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Boot {
    #[default]
    This,
    Former,
    OtherMachine,
    /// Rewritten by hand.
    Garbled,
}

/// The stamp of a slot, as its holder sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum SlotStamp {
    #[default]
    None,
    /// Of this boot, first try.
    First,
    /// Of this boot, a later try.
    Second,
    Former,
    /// Of a former boot, and the holder says that its Node is well again.
    Returned,
}

/// Nobody holds it.
pub const FREE: u8 = 0;
/// Another node, that the model does not run: it may do whatever the protocol allows to it; or a person's entry.
pub const OUTSIDE: u8 = 6;
/// There is no such Lease.
pub const GONE: u8 = 7;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HolderKind {
    Gone,
    Free,
    Me,
    Other,
}

/// A slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Slot {
    /// `FREE`, an agent's number and one, `OUTSIDE` or `GONE`.
    pub holder: u8,
    pub boot: Boot,
    /// It was claimed for the Node that its holder has now.
    pub current_uid: bool,
    pub stamp: SlotStamp,
}

impl Slot {
    pub fn kind(&self, me: u8) -> HolderKind {
        match self.holder {
            FREE => HolderKind::Free,
            GONE => HolderKind::Gone,
            holder if holder == me + 1 => HolderKind::Me,
            _ => HolderKind::Other,
        }
    }

    pub fn held_by(&self, agent: usize) -> bool {
        usize::from(self.holder) == agent + 1
    }
}

/// What becomes of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Power {
    #[default]
    Up,
    Down,
    /// It never returns.
    Dead,
}

/// What became of the write that an agent waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Sent {
    /// On its way.
    #[default]
    Underway,
    Applied,
    /// Its object has changed since it was read: it will be refused.
    Dead,
}

/// Writes to a Node that nobody waits for: one bit each. A late confirmation does no more than any other write that
/// changes nothing, so it is left out.
pub mod late_node {
    pub const CORDON: u8 = 1;
    pub const UNCORDON: u8 = 2;
    pub const REMOVE_MARK: u8 = 4;
}

/// One agent with its host and its Node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Agent {
    pub local: Id,
    pub power: Power,
    /// A call of Reboot is on its way to logind.
    pub call: bool,
    /// The host goes down, sooner or later.
    pub going_down: bool,
    /// Down by our call, until it is well again.
    pub rebooting: bool,
    /// A person took its slot away while it was disrupted: what follows is his.
    pub excused: bool,
    pub request: bool,
    /// A person has changed something since this agent began to look.
    pub disturbed: bool,
    pub node: Node,
    pub pod: Option<u8>,
    pub kubelet: bool,
    pub sent: Sent,
    /// The version of the Node that it has read is still the current one; the same for each slot.
    pub node_valid: bool,
    pub slot_valid: [bool; SLOTS],
    /// Writes to the Node that nobody waits for: bits of [`late_node`].
    pub late: u8,
}

/// Writes to one slot that nobody waits for. Claims: four bits an agent, by [`late_claim`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Late {
    pub claims: u16,
    pub release: bool,
    /// Of this boot, by try.
    pub stamps: [bool; 2],
    /// Somebody has seen the holder's Node missing, and frees the slot.
    pub reclaim: bool,
}

/// The bits of a claim in [`Late::claims`].
pub mod late_claim {
    pub const CURRENT: u8 = 0;
    pub const FORMER_BOOT: u8 = 1;
    pub const OTHER_MACHINE: u8 = 2;
    pub const FORMER_NODE: u8 = 3;

    pub fn bit(agent: usize, class: u8) -> u16 {
        1 << (4 * agent as u16 + u16::from(class))
    }
}

/// The whole state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct State {
    pub agents: [Agent; AGENTS],
    pub slots: [Slot; SLOTS],
    pub late: [Late; SLOTS],
}

/// A state in as few bits as it needs: one word an agent, one for the slots.
pub type Key = [u64; AGENTS + 1];

struct Writer(u64, u32);
impl Writer {
    fn put(&mut self, value: u8, bits: u32) {
        debug_assert!(u32::from(value) < 1 << bits);
        self.0 |= u64::from(value) << self.1;
        self.1 += bits;
    }
}

struct Reader(u64);
impl Reader {
    fn take(&mut self, bits: u32) -> u8 {
        let value = (self.0 & ((1 << bits) - 1)) as u8;
        self.0 >>= bits;
        value
    }
    fn flag(&mut self) -> bool {
        self.take(1) == 1
    }
}

fn pack_agent(agent: &Agent) -> u64 {
    let mut w = Writer(0, 0);
    w.put(agent.power as u8, 2);
    w.put(agent.call.into(), 1);
    w.put(agent.going_down.into(), 1);
    w.put(agent.rebooting.into(), 1);
    w.put(agent.excused.into(), 1);
    w.put(agent.request.into(), 1);
    w.put(agent.disturbed.into(), 1);
    let node = &agent.node;
    w.put(node.exists.into(), 1);
    w.put(node.cordon as u8, 2);
    w.put(node.mark.into(), 1);
    w.put(node.this_boot.into(), 1);
    w.put(node.ready.into(), 1);
    w.put(node.other_machine.into(), 1);
    w.put(node.pool, 1);
    w.put(node.taint as u8, 2);
    w.put(agent.pod.map_or(0, |pod| pod + 1), 2);
    w.put(agent.kubelet.into(), 1);
    w.put(agent.sent as u8, 2);
    w.put(agent.node_valid.into(), 1);
    w.put(agent.slot_valid[0].into(), 1);
    w.put(agent.slot_valid[1].into(), 1);
    w.put(agent.late, 3);
    w.0 | u64::from(agent.local) << 32
}

fn unpack_agent(word: u64) -> Agent {
    let local = (word >> 32) as u32;
    let mut r = Reader(word & 0xffff_ffff);
    let power = [Power::Up, Power::Down, Power::Dead][usize::from(r.take(2))];
    let (call, going_down, rebooting) = (r.flag(), r.flag(), r.flag());
    let (excused, request, disturbed) = (r.flag(), r.flag(), r.flag());
    let node = Node {
        exists: r.flag(),
        cordon: [Cordon::None, Cordon::Ours, Cordon::Other][usize::from(r.take(2))],
        mark: r.flag(),
        this_boot: r.flag(),
        ready: r.flag(),
        other_machine: r.flag(),
        pool: r.take(1),
        taint: [Taint::None, Taint::New, Taint::Ignored][usize::from(r.take(2))],
    };
    let pod = r.take(2).checked_sub(1);
    Agent {
        local,
        power,
        call,
        going_down,
        rebooting,
        excused,
        request,
        disturbed,
        node,
        pod,
        kubelet: r.flag(),
        sent: [Sent::Underway, Sent::Applied, Sent::Dead][usize::from(r.take(2))],
        node_valid: r.flag(),
        slot_valid: [r.flag(), r.flag()],
        late: r.take(3),
    }
}

fn pack_slot(slot: &Slot, late: &Late) -> u64 {
    let mut w = Writer(0, 0);
    w.put(slot.holder, 3);
    w.put(slot.boot as u8, 2);
    w.put(slot.current_uid.into(), 1);
    w.put(slot.stamp as u8, 3);
    w.put(late.release.into(), 1);
    late.stamps.iter().for_each(|stamp| w.put((*stamp).into(), 1));
    w.put(late.reclaim.into(), 1);
    w.0 | u64::from(late.claims) << w.1
}

fn unpack_slot(word: u64) -> (Slot, Late) {
    let mut r = Reader(word);
    let slot = Slot {
        holder: r.take(3),
        boot: [Boot::This, Boot::Former, Boot::OtherMachine, Boot::Garbled][usize::from(r.take(2))],
        current_uid: r.flag(),
        stamp: [SlotStamp::None, SlotStamp::First, SlotStamp::Second, SlotStamp::Former, SlotStamp::Returned]
            [usize::from(r.take(3))],
    };
    let mut late = Late { release: r.flag(), ..Late::default() };
    late.stamps = [r.flag(), r.flag()];
    late.reclaim = r.flag();
    late.claims = r.0 as u16;
    (slot, late)
}

impl State {
    pub fn pack(&self) -> Key {
        let mut key = [0; AGENTS + 1];
        for (word, agent) in key.iter_mut().zip(&self.agents) {
            *word = pack_agent(agent);
        }
        key[AGENTS] =
            pack_slot(&self.slots[0], &self.late[0]) | pack_slot(&self.slots[1], &self.late[1]) << 32;
        key
    }

    pub fn unpack(key: &Key) -> State {
        let (first, first_late) = unpack_slot(key[AGENTS] & 0xffff_ffff);
        let (second, second_late) = unpack_slot(key[AGENTS] >> 32);
        State {
            agents: [0, 1, 2].map(|number| unpack_agent(key[number])),
            slots: [first, second],
            late: [first_late, second_late],
        }
    }

    /// The same state with the agents in another order: `order[old] = new`.
    pub fn renamed(&self, order: &[usize; AGENTS]) -> State {
        let mut other = *self;
        for (old, new) in order.iter().enumerate() {
            other.agents[*new] = self.agents[old];
        }
        for (number, slot) in other.slots.iter_mut().enumerate() {
            if (1..=AGENTS as u8).contains(&slot.holder) {
                slot.holder = order[usize::from(slot.holder) - 1] as u8 + 1;
            }
            let claims = self.late[number].claims;
            other.late[number].claims =
                (0..AGENTS).fold(0, |all, old| all | (claims >> (4 * old) & 15) << (4 * order[old]));
        }
        other
    }
}
