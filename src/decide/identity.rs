//! Who is who: is this Node this machine, and which slots are ours?

use super::world::World;
use super::{NodeView, Reason, SlotView};

/// What a slot under our node's name is to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ownership {
    /// Claimed by this machine in this boot.
    ThisBoot,
    /// Claimed by this machine in another boot: a reboot happened.
    EarlierBoot,
    /// Boot id or machine id is absent or garbled: nothing is proven.
    Unproven,
    /// Claimed by another machine that uses our node's name: not ours to give back.
    OtherMachine,
}

/// Whether this is an id as systemd writes it: 32 lower-case hexadecimal digits.
fn is_id(id: &str) -> bool {
    id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// Judges a slot that is held under our node's name.
pub(super) fn ownership(world: &World, slot: &SlotView) -> Ownership {
    let boot = slot.claim.boot_id.as_deref().filter(|id| is_id(id));
    let machine = slot.claim.machine_id.as_deref().filter(|id| is_id(id));
    match (machine, boot) {
        (Some(machine), _) if machine != world.host.machine_id => Ownership::OtherMachine,
        (Some(_), Some(boot)) if boot == world.host.boot_id => Ownership::ThisBoot,
        (Some(_), Some(_)) => Ownership::EarlierBoot,
        _ => Ownership::Unproven,
    }
}

/// Whether the Node may be this machine. A Node of another machine is reported and never touched.
pub(super) fn node_is_this_machine(world: &World, node: &NodeView) -> Result<(), Reason> {
    if node.machine_id.is_empty() || node.machine_id == world.host.machine_id {
        return Ok(());
    }
    Err(Reason::OtherMachine { node: node.machine_id.clone(), host: world.host.machine_id.clone() })
}

/// Whether the kubelet has reported this boot. If it reports no boot id, there is nothing to compare.
pub(super) fn node_is_this_boot(world: &World, node: &NodeView) -> Result<(), Reason> {
    if node.boot_id.is_empty() || node.boot_id == world.host.boot_id {
        return Ok(());
    }
    Err(Reason::BootNotReported)
}
