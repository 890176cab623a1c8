//! The parts that an agent reads and watches, in the one order in which they must be read.

use std::fmt;

/// One part. The order of the variants is the order of reading, and it is a safety rule:
///
/// - The own Node before the slots: otherwise a slot that was lost after the slots were read would go unnoticed, and
///   the Node would be judged as if we still held it.
/// - The slots before their holders' Nodes: in the other order, a claim made after its Node was seen missing would be
///   freed.
/// - The pods before the budgets that may cover them.
/// - What does not come from the API server, and long lists, first: they take longest, and whatever was read before
///   them would be old by then.
///
/// This host is always read after all of them and is not a part: every decision needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Part {
    /// The fleet's policy.
    Policy,
    /// The other nodes of the pool and, if this is a control plane node, the rest of the control plane.
    Others,
    /// The other nodes of the pool that wait for a slot.
    Waiters,
    /// Whatever Prometheus finds that keeps a reboot from starting.
    Alerts,
    /// What the gates after a reboot ask about.
    After,
    /// The own Node, without resourceVersion.
    Node,
    /// The slots, without resourceVersion.
    Slots,
    /// How many nodes of the pool have tried well what this one would make live. After the slots: a canary says so before it
    /// gives its slot back.
    Proven,
    /// Whether the Nodes of [`super::holders`] exist.
    Holders,
    /// The kubelet's Lease in `kube-node-lease`.
    Kubelet,
    /// The pods of this node.
    Pods,
    /// The budgets: those of [`super::budget_namespaces`] are read, those of [`super::refusing_budgets`] watched.
    Budgets,
    /// The annotations that people write on the own Node. Only watched, never read: the watch costs next to nothing
    /// and reports what changed.
    Annotations,
}

impl Part {
    const IN_ORDER: [Part; 13] = [
        Part::Policy,
        Part::Others,
        Part::Waiters,
        Part::Alerts,
        Part::After,
        Part::Node,
        Part::Slots,
        Part::Proven,
        Part::Holders,
        Part::Kubelet,
        Part::Pods,
        Part::Budgets,
        Part::Annotations,
    ];
}

/// A set of parts.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Parts(u16);

impl Parts {
    /// None: a decision to read this reads only this host.
    pub const NONE: Parts = Parts(0);

    /// Only this one.
    pub const fn only(part: Part) -> Parts {
        Parts(1 << part as u8)
    }

    /// These, and this one.
    pub const fn with(self, part: Part) -> Parts {
        Parts(self.0 | Parts::only(part).0)
    }

    /// These, and this one if the condition holds.
    pub fn with_if(self, part: Part, wanted: bool) -> Parts {
        if wanted { self.with(part) } else { self }
    }

    /// These, without this one.
    pub const fn without(self, part: Part) -> Parts {
        Parts(self.0 & !Parts::only(part).0)
    }

    /// Whether it contains this one.
    pub const fn has(self, part: Part) -> bool {
        self.0 & Parts::only(part).0 != 0
    }

    /// Whether it contains all of those.
    pub const fn has_all(self, those: Parts) -> bool {
        those.0 & !self.0 == 0
    }

    /// Each, in the order in which they must be read.
    pub fn in_order(self) -> impl Iterator<Item = Part> {
        Part::IN_ORDER.into_iter().filter(move |part| self.has(*part))
    }
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.in_order()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_has_every_part_once_in_the_order_of_the_variants() {
        let numbers: Vec<usize> = Part::IN_ORDER.iter().map(|part| *part as usize).collect();
        assert_eq!(numbers, (0..=Part::Annotations as usize).collect::<Vec<_>>());
    }

    #[test]
    fn a_set_gives_its_parts_in_the_order_of_reading() {
        let set = Parts::only(Part::Pods).with(Part::Slots).with(Part::Node);
        assert_eq!(set.in_order().collect::<Vec<_>>(), [Part::Node, Part::Slots, Part::Pods]);
        assert!(set.has_all(Parts::only(Part::Slots)) && !set.without(Part::Slots).has(Part::Slots));
        assert!(!Parts::only(Part::Slots).has_all(set));
    }
}
