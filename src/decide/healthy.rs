//! Healthy (docs/architecture.md, "Healthy"): proven, on this boot, without comparing the clocks of two hosts.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::settings::AfterSettings;
use super::world::World;
use super::{Claim, Names, NodeView, Owner, Part, PodView, Reason, Stamp, identity};

/// A kubelet renews its Lease every 10 s, and one renewal may be late: below this, a living kubelet would look silent.
const RENEWAL_IS_FRESH: Duration = Duration::from_secs(20);

/// Judges whether the node is healthy in this boot. `claim` is what the slot recorded before the reboot.
pub(super) fn healthy(
    world: &World,
    node: &NodeView,
    settle: Duration,
    claim: Option<&Claim>,
    after: &AfterSettings,
) -> Result<(), Reason> {
    let health = &world.cluster.health;
    let now = world.now.boot;
    identity::node_is_this_machine(world, node)?;
    identity::node_is_this_boot(world, node)?;
    if !node.ready {
        return Err(not_ready(node));
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
    let Some(since) = health.ready_since else { return Err(not_ready(node)) };
    if now < since + settle {
        return Err(Reason::Settling { left: since + settle - now });
    }
    if health.renewed_at.is_none_or(|at| at + (settle / 3).max(RENEWAL_IS_FRESH) < now) {
        return Err(Reason::KubeletNotRenewing);
    }
    let Some(claim) = claim else { return Ok(()) };
    if let Some(taint) = new_taint(claim, node, &after.ignore_taints) {
        return Err(Reason::NewTaint { taint });
    }
    match missing_resource(&claim.allocatable, &node.allocatable, &after.ignore_resources) {
        Some((resource, before, after)) => Err(Reason::FewerResources { resource, before, after }),
        None => Ok(()),
    }
}

pub(super) fn not_ready(node: &NodeView) -> Reason {
    Reason::NotReady { why: node.not_ready_because.clone() }
}

/// A taint that keeps pods away and that the node did not have when it claimed. A claim of an earlier version does not
/// say which it had.
fn new_taint(claim: &Claim, node: &NodeView, ignored: &[String]) -> Option<String> {
    let before = claim.taints.as_ref()?;
    let is_ignored = |taint: &str| ignored.iter().any(|key| taint.split(':').next() == Some(key));
    node.repelling_taints.iter().find(|taint| !before.contains(*taint) && !is_ignored(taint)).cloned()
}

/// How many DaemonSets a stamp records at most, and how many pods a reason names.
const MOST_RECORDED: usize = 50;
const MOST_NAMED: usize = 3;

/// The pods of DaemonSets and the static pods of this node that are not ready again. Ask only about a node that is
/// healthy otherwise, because pods are only known through a working kubelet. Those that were not ready at the stamp are
/// not waited for, and neither are those that people named. A look that did not read the pods says nothing; the caller
/// wants them read, so that happens first.
pub(super) fn not_ready_again<'a>(
    world: &'a World,
    ignored: &[String],
    stamp: Option<&Stamp>,
) -> Vec<&'a PodView> {
    let read = world.cluster.look.is_some_and(|look| look.read.has(Part::Pods));
    let pods = world.cluster.pods.current().filter(|_| read);
    let unready = pods.into_iter().flat_map(BTreeMap::values).filter_map(unready);
    let counts =
        |name: &String| !ignored.contains(name) && stamp.is_none_or(|stamp| !stamp.unready.contains(name));
    unready.filter(|(name, _)| counts(name)).map(|(_, pod)| pod).collect()
}

/// Some pods by name, for a reason.
pub(super) fn named(pods: &[&PodView]) -> Names {
    let mut names = Names::default();
    pods.iter().for_each(|pod| names.push(pod.key.to_string()));
    names.first.sort();
    names.shortened(MOST_NAMED)
}

/// What a stamp records: the DaemonSets whose pods on this node are not ready, and the static pods that are not.
pub(super) fn unready_daemon_sets(world: &World) -> BTreeSet<String> {
    let pods = world.cluster.pods.last().into_iter().flat_map(BTreeMap::values);
    pods.filter_map(unready).map(|(daemon_set, _)| daemon_set).take(MOST_RECORDED).collect()
}

/// The DaemonSet of a pod that is not ready, or the name of a static pod that is not, and the pod. A pod that is being
/// deleted does not count: another one replaces it.
fn unready(pod: &PodView) -> Option<(String, &PodView)> {
    let name = match pod.owner {
        Owner::DaemonSet => &pod.controller,
        Owner::Kubelet => &pod.key.name,
        Owner::Nobody | Owner::Controller => return None,
    };
    (!pod.ready && !pod.terminating).then(|| (format!("{}/{name}", pod.key.namespace), pod))
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
    ignored: &[String],
) -> Option<(String, String, String)> {
    before.iter().filter(|(name, _)| !ignored.contains(name)).find_map(|(name, quantity)| {
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
        let missing =
            |after: &[(&str, &str)]| missing_resource(&before, &quantities(after), &[]).map(|it| it.0);
        assert_eq!(missing(&[("cpu", "4000m"), ("nvidia.com/gpu", "8")]), None);
        assert_eq!(missing(&[("cpu", "5"), ("nvidia.com/gpu", "9"), ("pods", "1")]), None);
        assert_eq!(missing(&[("cpu", "4"), ("nvidia.com/gpu", "7")]).as_deref(), Some("nvidia.com/gpu"));
        assert_eq!(missing(&[("cpu", "3920m"), ("nvidia.com/gpu", "8")]).as_deref(), Some("cpu"));
        assert_eq!(missing(&[("cpu", "4")]).as_deref(), Some("nvidia.com/gpu"));
    }

    #[test]
    fn a_quantity_that_cannot_be_read_must_not_change() {
        let before = quantities(&[("x", "3.5")]);
        assert_eq!(missing_resource(&before, &before, &[]), None);
        assert!(missing_resource(&before, &quantities(&[("x", "4")]), &[]).is_some());
        assert!(missing_resource(&before, &quantities(&[]), &["x".to_owned()]).is_none());
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
