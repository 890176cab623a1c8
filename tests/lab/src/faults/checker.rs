//! Decides afterwards whether P1–P4 were kept, from what the API server and the machines wrote down.
//!
//! It shares nothing with the daemon: not its code and not its view. Where two clocks' order cannot be known, the
//! doubt is the daemon's; each such place says so.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::{SignedDuration, Timestamp};

use crate::simulated::{MachineEvent, Note};

/// The call follows the sending of the stamp within this time …
const STAMP_HOLDS: SignedDuration = SignedDuration::from_secs(5);
/// … and this much is for a busy machine: the call is seen when it arrives, not when it is sent.
const LAG: SignedDuration = SignedDuration::from_millis(500);

/// Who wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Author {
    /// rebootd on this node.
    Agent(String),
    /// An administrator.
    Person,
    /// A controller or a kubelet.
    Other,
}

/// A slot as a write left it.
#[derive(Clone, Debug)]
pub struct SlotWrite {
    /// The Lease's name.
    pub slot: String,
    /// Its pool.
    pub pool: String,
    /// Who holds it now.
    pub holder: Option<String>,
    /// The boot id in its stamp.
    pub stamp: Option<String>,
    /// Who wrote.
    pub author: Author,
    /// The API server's own order over all writes.
    pub revision: u64,
    /// When the answer was complete.
    pub answered: Timestamp,
}

/// A Node as a write left it; nothing of it is left where it was deleted.
#[derive(Clone, Debug)]
pub struct NodeWrite {
    /// Its name.
    pub node: String,
    /// `spec.unschedulable`.
    pub unschedulable: bool,
    /// The annotation `rebootd.io/cordon` is there.
    pub mark: bool,
    /// Who wrote.
    pub author: Author,
    /// When the answer was complete.
    pub answered: Timestamp,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum What {
    /// A write to a slot.
    Slot(SlotWrite),
    /// A write to a Node.
    Node(NodeWrite),
    /// rebootd on this node asked for its Node and got it.
    NodeRead(String),
    /// rebootd on this node asked for its pods and got them.
    PodsRead(String),
    /// Something on a machine.
    Machine(String, MachineEvent),
}

/// One thing that happened.
#[derive(Clone, Debug)]
pub struct Event {
    /// When; of a write or a read the earliest time at which the API server can have carried it out.
    pub at: Timestamp,
    /// What.
    pub what: What,
}

impl From<Note> for Event {
    fn from(note: Note) -> Self {
        Self { at: note.at, what: What::Machine(note.machine, note.event) }
    }
}

/// A pod on a node that a drain has to evict.
#[derive(Clone, Debug)]
pub struct PodStay {
    /// Its name.
    pub pod: String,
    /// The node.
    pub node: String,
    /// When a watch showed it there.
    pub seen: Timestamp,
    /// At which revision it was gone, if it ever was.
    pub gone: Option<u64>,
}

/// A broken promise.
#[derive(Clone, Debug)]
pub struct Violation {
    /// When.
    pub at: Timestamp,
    /// Which: `P1` to `P4`.
    pub promise: &'static str,
    /// By whom.
    pub node: String,
    /// How.
    pub text: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {} by {}: {}", self.at, self.promise, self.node, self.text)
    }
}

/// The cluster to be judged.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// How many slots each pool has.
    pub slots: BTreeMap<String, usize>,
    /// The pool of each node.
    pub pools: BTreeMap<String, String>,
}

/// What became of it all.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Broken promises, in order.
    pub violations: Vec<Violation>,
    /// What is still disrupted, cordoned, marked or held at the end.
    pub left_behind: Vec<String>,
    /// Calls of `Reboot` that a healthy boot followed.
    pub reboots: usize,
}

/// Judges a whole history; events and pods in any order.
pub fn judge(rules: &Rules, mut events: Vec<Event>, pods: &[PodStay]) -> Verdict {
    events.sort_by_key(|event| event.at);
    let mut court =
        Court { rules, pods, nodes: BTreeMap::new(), slots: BTreeMap::new(), verdict: Verdict::default() };
    for event in events {
        court.hear(event);
    }
    court.close();
    court.verdict
}

/// One node with its machine, as the history so far makes it.
#[derive(Default)]
struct Node {
    /// Who cordoned it, while it is cordoned.
    cordon: Option<Author>,
    mark: bool,
    /// Who removed the last cordon, and when that was sure to be done.
    uncordoned: Option<(Author, Timestamp)>,
    /// Calls that may still be carried out, or after which the machine is not healthy yet: call, boot.
    calls: BTreeMap<u64, String>,
    /// Its last stamp that no call has used.
    stamp: Option<SlotWrite>,
    stamped: Option<Timestamp>,
    node_read: Option<Timestamp>,
    pods_read: Option<Timestamp>,
    /// It lost its slot while it was disrupted, by a person's hand or by what has been found already: that it has none
    /// is nothing new.
    excused: bool,
}

impl Node {
    /// From our cordon until its removal, and from the call until healthy.
    fn disrupted(&self) -> Option<&'static str> {
        match &self.cordon {
            Some(Author::Agent(_)) => Some("cordoned by rebootd"),
            _ if !self.calls.is_empty() => Some("called to reboot and not healthy since"),
            _ => None,
        }
    }
}

struct Court<'a> {
    rules: &'a Rules,
    pods: &'a [PodStay],
    nodes: BTreeMap<String, Node>,
    slots: BTreeMap<String, SlotWrite>,
    verdict: Verdict,
}

impl Court<'_> {
    fn hear(&mut self, event: Event) {
        let at = event.at;
        match event.what {
            What::Slot(write) => self.slot_written(at, write),
            What::Node(write) => self.node_written(at, write),
            What::NodeRead(node) => self.node(&node).node_read = Some(at),
            What::PodsRead(node) => self.node(&node).pods_read = Some(at),
            What::Machine(name, event) => self.machine(at, &name, event),
        }
        self.count_disrupted(at);
    }

    fn node(&mut self, name: &str) -> &mut Node {
        self.nodes.entry(name.to_owned()).or_default()
    }

    fn violated(&mut self, at: Timestamp, promise: &'static str, node: &str, text: String) {
        self.verdict.violations.push(Violation { at, promise, node: node.to_owned(), text });
    }

    // ---- P1 ----

    /// At most as many as slots, and nobody without one: the first could hold by luck.
    fn count_disrupted(&mut self, at: Timestamp) {
        let mut found = Vec::new();
        let mut disrupted: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (name, node) in &mut self.nodes {
            let Some(why) = node.disrupted() else {
                node.excused = false;
                continue;
            };
            let Some(pool) = self.rules.pools.get(name) else { continue };
            if node.excused {
                continue;
            }
            disrupted.entry(pool).or_default().insert(name);
            let holds = |slot: &SlotWrite| slot.holder.as_ref() == Some(name) && slot.pool == *pool;
            if !self.slots.values().any(holds) {
                // Once is enough.
                node.excused = true;
                found.push((name.clone(), format!("is {why} without a slot of pool {pool}")));
            }
        }
        for (pool, nodes) in disrupted {
            let slots = self.rules.slots.get(pool).copied().unwrap_or_default();
            if nodes.len() > slots {
                let text = format!("{nodes:?} are disrupted, pool {pool} has {slots} slots");
                found.push((nodes.iter().copied().collect::<Vec<_>>().join("+"), text));
            }
        }
        for (node, text) in found {
            let known = |it: &Violation| it.promise == "P1" && it.node == node && it.text == text;
            if !self.verdict.violations.last().is_some_and(known) {
                self.violated(at, "P1", &node, text);
            }
        }
    }

    // ---- P2 ----

    fn reboot_called(&mut self, at: Timestamp, name: &str, boot: &str, told_open: Option<Timestamp>) {
        let pool = self.rules.pools.get(name).cloned().unwrap_or_default();
        // A stamp is good for one call.
        let Node { stamp, stamped, node_read, pods_read, .. } = self.node(name);
        let (stamp, stamped, node_read, pods_read) = (stamp.take(), *stamped, *node_read, *pods_read);
        let mut wrong = Vec::new();
        let mut looked = None;
        match stamp.zip(stamped) {
            None => wrong.push("no stamp of its own came before, or it was used".to_owned()),
            Some((stamp, stamped)) => {
                if stamp.stamp.as_deref() != Some(boot) {
                    wrong.push(format!("the stamp names boot {:?}, this is {boot}", stamp.stamp));
                }
                if stamp.pool != pool {
                    wrong.push(format!("the slot is of pool {}", stamp.pool));
                }
                if stamp.answered > at + LAG {
                    wrong.push("the stamp was not answered yet".to_owned());
                }
                // The API server had it later than it was sent, never earlier.
                if at.duration_since(stamped) > STAMP_HOLDS + LAG {
                    wrong.push(format!("the stamp is {:#} old", at.duration_since(stamped)));
                }
                if told_open.is_none_or(|told| told < stamped) {
                    wrong.push("it was not told after its stamp that nothing inhibits".to_owned());
                }
                looked = Some(stamp.revision);
            }
        }
        wrong.extend(self.not_cordoned(name, node_read));
        if let Some(revision) = looked {
            wrong.extend(self.pods_left(name, pods_read, revision));
        }
        for text in wrong {
            self.violated(at, "P2", name, format!("Reboot called, but {text}"));
        }
    }

    /// A person's uncordon after the node was last read cannot be known to it.
    fn not_cordoned(&mut self, name: &str, node_read: Option<Timestamp>) -> Option<String> {
        let node = self.node(name);
        if node.cordon.is_some() {
            return None;
        }
        match &node.uncordoned {
            Some((Author::Agent(_), _)) | None => Some("its node is not cordoned".to_owned()),
            Some((_, done)) if node_read.is_none_or(|read| *done < read) => {
                Some("its node was uncordoned before it last looked".to_owned())
            }
            Some(_) => None,
        }
    }

    /// A pod that came after the pods were last read cannot be known to it.
    fn pods_left(&self, name: &str, pods_read: Option<Timestamp>, stamp: u64) -> Vec<String> {
        let Some(read) = pods_read else { return vec!["its pods were never read".to_owned()] };
        let left =
            |pod: &&PodStay| pod.node == name && pod.seen < read && pod.gone.is_none_or(|gone| gone > stamp);
        self.pods.iter().filter(left).map(|pod| format!("pod {} is left", pod.pod)).collect()
    }

    // ---- P3 ----

    fn slot_written(&mut self, at: Timestamp, write: SlotWrite) {
        let before = self.slots.get(&write.slot).and_then(|slot| slot.holder.clone());
        let after = write.holder.clone();
        match &write.author {
            Author::Agent(agent) => {
                let strange = [&before, &after].into_iter().flatten().find(|holder| *holder != agent);
                if let Some(holder) = strange {
                    self.violated(at, "P3", agent, format!("writes slot {} of {holder}", write.slot));
                }
                if after.as_ref() == Some(agent) && self.rules.pools.get(agent) != Some(&write.pool) {
                    self.violated(at, "P1", agent, format!("holds {} of pool {}", write.slot, write.pool));
                }
                if before.as_ref() == Some(agent) && after.is_none() {
                    if let Some(why) = self.node(agent).disrupted() {
                        let text = format!("gives back {} while it is {why}", write.slot);
                        self.violated(at, "P3", agent, text);
                        self.node(agent).excused = true;
                    }
                    self.node(agent).stamp = None;
                }
                if after.as_ref() == Some(agent) && write.stamp.is_some() {
                    let agent = agent.clone();
                    self.node(&agent).stamp = Some(write.clone());
                    self.node(&agent).stamped = Some(at);
                }
            }
            Author::Person | Author::Other => {
                if let Some(loser) = before.filter(|before| after.as_ref() != Some(before)) {
                    let node = self.node(&loser);
                    node.excused = node.disrupted().is_some();
                }
            }
        }
        self.slots.insert(write.slot.clone(), write);
    }

    // ---- P4 ----

    fn node_written(&mut self, at: Timestamp, write: NodeWrite) {
        let NodeWrite { node: name, unschedulable, mark, author, answered } = write;
        let before = self.node(&name).cordon.clone();
        if let Author::Agent(agent) = &author
            && *agent != name
        {
            self.violated(at, "P4", agent, format!("writes Node {name}"));
        }
        match (&before, unschedulable) {
            (None, true) => self.node(&name).cordon = Some(author),
            (Some(owner), false) => {
                if matches!(author, Author::Agent(_)) && author != *owner {
                    let text = format!("removes a cordon of {owner:?}");
                    self.violated(at, "P4", &name, text);
                }
                let node = self.node(&name);
                node.cordon = None;
                node.uncordoned = Some((author, answered));
            }
            (None, false) | (Some(_), true) => {}
        }
        self.node(&name).mark = mark;
    }

    fn machine(&mut self, at: Timestamp, name: &str, event: MachineEvent) {
        match event {
            MachineEvent::RebootCalled { call, boot, told_open } => {
                self.reboot_called(at, name, &boot, told_open);
                self.node(name).calls.insert(call, boot);
            }
            MachineEvent::CallCameToNothing(call) => {
                self.node(name).calls.remove(&call);
            }
            MachineEvent::Healthy(boot) => {
                let calls = &mut self.node(name).calls;
                let waiting = calls.len();
                calls.retain(|_, called| *called == boot);
                self.verdict.reboots += usize::from(self.node(name).calls.len() < waiting);
            }
            MachineEvent::Booted(_) | MachineEvent::Down(_) => {}
        }
    }

    fn close(&mut self) {
        for (name, node) in &self.nodes {
            if let Some(why) = node.disrupted() {
                self.verdict.left_behind.push(format!("{name} is still {why}"));
            }
            if node.mark {
                self.verdict.left_behind.push(format!("Node {name} still carries our mark"));
            }
        }
        for slot in self.slots.values() {
            if let Some(holder) = &slot.holder {
                self.verdict.left_behind.push(format!("slot {} is still held by {holder}", slot.slot));
            }
        }
    }
}
