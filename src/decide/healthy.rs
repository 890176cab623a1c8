//! Healthy (docs/architecture.md, "Healthy"): proven, on this boot, without comparing the clocks of two hosts.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::world::World;
use super::{Claim, Names, NodeView, Owner, Part, PodView, Reason, Stamp, identity};

/// Judges whether the node is healthy in this boot. `claim` is what the slot recorded before the reboot.
pub(super) fn healthy(
    world: &World,
    node: &NodeView,
    settle: Duration,
    claim: Option<&Claim>,
) -> Result<(), Reason> {
    let health = &world.cluster.health;
    let now = world.now.boot;
    identity::node_is_this_machine(world, node)?;
    identity::node_is_this_boot(world, node)?;
    if !node.ready {
        return Err(Reason::NotReady);
    }
    if node.network_unavailable {
        return Err(Reason::NetworkUnavailable);
    }
    if node.boot_id.is_empty() {
        // Ready may still be the state from before the boot. Two renewals in this boot show that the kubelet lives; a
        // new heartbeat shows that it has posted its Node since.
        if health.renewals < 2 {
            return Err(Reason::KubeletNotSeen { renewals: health.renewals });
        }
        if claim.is_some_and(|claim| !claim.heartbeat.is_empty() && claim.heartbeat == node.heartbeat) {
            return Err(Reason::NoHeartbeat);
        }
    }
    let Some(since) = health.ready_since else { return Err(Reason::NotReady) };
    if now < since + settle {
        return Err(Reason::Settling { left: since + settle - now });
    }
    if health.renewed_at.is_none_or(|at| at + settle / 3 < now) {
        return Err(Reason::KubeletNotRenewing);
    }
    match claim.and_then(|claim| missing_resource(&claim.allocatable, &node.allocatable)) {
        Some((resource, before, after)) => Err(Reason::FewerResources { resource, before, after }),
        None => Ok(()),
    }
}

/// How many DaemonSets a stamp records at most, and how many pods a reason names.
const MOST_RECORDED: usize = 50;
const MOST_NAMED: usize = 3;

/// Whether the DaemonSets' pods on this node are ready again. Ask only about a node that is healthy otherwise,
/// because pods are only known through a working kubelet. Those that were not ready at the stamp are not waited for.
/// A look that did not read the pods says nothing; the caller wants them read, so that happens first.
pub(super) fn daemon_sets_ready(world: &World, stamp: Option<&Stamp>) -> Result<(), Reason> {
    let read = world.cluster.look.is_some_and(|look| look.read.has(Part::Pods));
    let pods = world.cluster.pods.current().filter(|_| read);
    let mut waited_for = Names::default();
    for (daemon_set, pod) in pods.into_iter().flat_map(BTreeMap::values).filter_map(unready) {
        if stamp.is_none_or(|stamp| !stamp.unready.contains(&daemon_set)) {
            waited_for.push(pod.key.to_string());
        }
    }
    if waited_for.count() == 0 {
        return Ok(());
    }
    waited_for.first.sort();
    Err(Reason::DaemonSetPods { pods: waited_for.shortened(MOST_NAMED) })
}

/// What a stamp records: the DaemonSets whose pods on this node are not ready.
pub(super) fn unready_daemon_sets(world: &World) -> BTreeSet<String> {
    let pods = world.cluster.pods.last().into_iter().flat_map(BTreeMap::values);
    pods.filter_map(unready).map(|(daemon_set, _)| daemon_set).take(MOST_RECORDED).collect()
}

/// The DaemonSet of a pod that is not ready, and the pod. A pod that is being deleted does not count:
/// another one replaces it.
fn unready(pod: &PodView) -> Option<(String, &PodView)> {
    let counts = pod.owner == Owner::DaemonSet && !pod.ready && !pod.terminating;
    counts.then(|| (format!("{}/{}", pod.key.namespace, pod.controller), pod))
}

/// What a claim records of a Node's allocatable resources: those that are the same after every healthy boot.
///
/// Memory, ephemeral storage and huge pages are left out, because a new kernel may reserve slightly more or less of
/// them.
pub(super) fn countable(allocatable: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let varies =
        |name: &str| name == "memory" || name == "ephemeral-storage" || name.starts_with("hugepages-");
    allocatable
        .iter()
        .filter(|(name, _)| !varies(name))
        .map(|(name, quantity)| (name.clone(), quantity.clone()))
        .collect()
}

/// The first resource that the node has less of than before: its name, the amount before, the amount after.
fn missing_resource(
    before: &BTreeMap<String, String>,
    after: &BTreeMap<String, String>,
) -> Option<(String, String, String)> {
    before.iter().find_map(|(name, quantity)| {
        let now = after.get(name).map_or("0", String::as_str);
        let fewer = match (milli(quantity), milli(now)) {
            (Some(before), Some(after)) => after < before,
            // A quantity that we cannot parse is compared as text: it must not have changed.
            _ => quantity != now,
        };
        fewer.then(|| (name.clone(), quantity.clone(), now.to_owned()))
    })
}

/// A quantity in thousandths, in the forms that countable resources come in: `4`, `3920m`, `2k`.
fn milli(quantity: &str) -> Option<u128> {
    let (digits, factor) = match quantity.strip_suffix('m') {
        Some(digits) => (digits, 1),
        None => match quantity.strip_suffix('k') {
            Some(digits) => (digits, 1_000_000),
            None => (quantity, 1_000),
        },
    };
    digits.parse::<u128>().ok().and_then(|number| number.checked_mul(factor))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quantities(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, quantity)| ((*name).to_owned(), (*quantity).to_owned())).collect()
    }

    #[test]
    fn a_device_that_is_missing_after_the_boot_is_found() {
        let before = quantities(&[("cpu", "4"), ("nvidia.com/gpu", "8")]);
        let missing = |after: &[(&str, &str)]| missing_resource(&before, &quantities(after)).map(|it| it.0);
        assert_eq!(missing(&[("cpu", "4000m"), ("nvidia.com/gpu", "8")]), None);
        assert_eq!(missing(&[("cpu", "5"), ("nvidia.com/gpu", "9"), ("pods", "1")]), None);
        assert_eq!(missing(&[("cpu", "4"), ("nvidia.com/gpu", "7")]).as_deref(), Some("nvidia.com/gpu"));
        assert_eq!(missing(&[("cpu", "3920m"), ("nvidia.com/gpu", "8")]).as_deref(), Some("cpu"));
        assert_eq!(missing(&[("cpu", "4")]).as_deref(), Some("nvidia.com/gpu"));
    }

    #[test]
    fn a_quantity_that_cannot_be_read_must_not_change() {
        let before = quantities(&[("x", "3.5")]);
        assert_eq!(missing_resource(&before, &before), None);
        assert!(missing_resource(&before, &quantities(&[("x", "4")])).is_some());
    }

    #[test]
    fn what_a_new_kernel_may_change_is_not_recorded() {
        let all = quantities(&[
            ("cpu", "4"),
            ("memory", "9Gi"),
            ("hugepages-2Mi", "0"),
            ("ephemeral-storage", "1"),
        ]);
        assert_eq!(countable(&all), quantities(&[("cpu", "4")]));
    }
}
