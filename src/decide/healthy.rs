//! Healthy (docs/architecture.md, "Healthy"): proven, on this boot, without comparing the clocks of two hosts. A node that is
//! well is uncordoned; it keeps its slot until it has settled, too.

use std::collections::BTreeMap;
use std::time::Duration;

use super::settings::AfterSettings;
use super::world::World;
use super::{Before, Claim, Names, NodeView, Owner, Part, PodView, Reason, Stamp, identity};
use crate::words::{NOTE, words};

/// A kubelet renews its Lease every 10 s, and one renewal may be late: below this, a living kubelet would look silent.
const RENEWAL_IS_FRESH: Duration = Duration::from_secs(20);

/// Whether the node is well in this boot: the proof that an uncordon needs. `claim` is what the slot recorded before the reboot.
pub(super) fn well(
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

/// Whether a node that is well has been Ready for `settle` without a gap, so that a relapse shows before the next node goes down.
pub(super) fn settled(world: &World, node: &NodeView, settle: Duration) -> Result<(), Reason> {
    let Some(since) = world.cluster.health.ready_since else { return Err(not_ready(node)) };
    let left = (since + settle).saturating_sub(world.now.boot);
    if left.is_zero() { Ok(()) } else { Err(Reason::Settling { left }) }
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

/// How many DaemonSets and static pods a stamp records at most, and how many pods a reason names.
const MOST_RECORDED: usize = 200;
const MOST_NAMED: usize = 3;
/// A pod of a DaemonSet that has none here any more is waited for this long while the Node is Ready: its controller has to make
/// it, and waits up to a minute after several reboots in a row. Then it is taken for one that is not to be here any more.
const CREATION: Duration = Duration::from_secs(5 * 60);

/// What has to be ready on this node before it is uncordoned, and is not.
pub(super) struct Awaited<'a> {
    /// Pods of DaemonSets, and static pods.
    pub(super) unready: Vec<&'a PodView>,
    /// DaemonSets and static pods that had a pod here at the stamp and have none now, as `namespace/name`.
    pub(super) missing: Vec<&'a str>,
    /// When the passing of time next changes this.
    pub(super) until: Option<Duration>,
}

impl Awaited<'_> {
    /// Some by name, for a reason.
    pub(super) fn named(&self) -> Names {
        let mut names = named(&self.unready);
        self.missing.iter().for_each(|name| names.push(format!("{} (no pod yet)", words(name, NOTE))));
        names.shortened(MOST_NAMED)
    }
}

/// The pods of DaemonSets and the static pods of this node that are not ready again, or not there again. Ask only about a node
/// that is well otherwise, because pods are only known through a working kubelet. Those that were not ready at the stamp are
/// not waited for, and neither are those that people named. A look that did not read the pods says nothing; the caller
/// wants them read, so that happens first.
///
/// Right after a boot the status of a pod is a leftover of the boot before. It counts if its containers are others than at the
/// stamp, or once the kubelet has been well for `settle`, in which it has reported them all.
pub(super) fn awaited<'a>(
    world: &'a World,
    settle: Duration,
    ignored: &[String],
    stamp: Option<&'a Stamp>,
) -> Awaited<'a> {
    let ready_since = world.cluster.health.ready_since.unwrap_or(world.now.boot);
    let (settled, given_up) = (ready_since + settle, ready_since + CREATION);
    let has_settled = settled <= world.now.boot;
    let until = [settled, given_up].into_iter().filter(|at| *at > world.now.boot).min();
    let read = world.cluster.look.is_some_and(|look| look.read.has(Part::Pods));
    let pods = world.cluster.pods.current().filter(|_| read);
    let Some(pods) = pods else { return Awaited { unready: Vec::new(), missing: Vec::new(), until } };
    let recorded = |name: &str| stamp.and_then(|stamp| stamp.daemon_sets.get(name).copied());
    let counts = |name: &str| !ignored.iter().any(|it| it == name) && recorded(name) != Some(Before::Unready);
    let is_new = |name: &str, pod: &PodView| match (recorded(name), pod.instance) {
        (Some(Before::Ready(Some(before))), Some(now)) => now != before,
        _ => false,
    };
    let is_back = |name: &str, pod: &PodView| pod.ready && (has_settled || is_new(name, pod));
    let is_here = |name: &str| of_this_node(pods).any(|(it, _)| it == name);
    let unready =
        of_this_node(pods).filter(|(name, pod)| counts(name) && !is_back(name, pod)).map(|(_, pod)| pod);
    let before = stamp.into_iter().flat_map(|stamp| &stamp.daemon_sets);
    let missing = before.map(|(name, _)| name.as_str()).filter(|name| counts(name) && !is_here(name));
    let missing = missing.filter(|_| world.now.boot < given_up).collect();
    Awaited { unready: unready.collect(), missing, until }
}

/// Some pods by name, for a reason.
pub(super) fn named(pods: &[&PodView]) -> Names {
    let mut names = Names::default();
    pods.iter().for_each(|pod| names.push(pod.key.to_string()));
    names.first.sort_unstable();
    names.shortened(MOST_NAMED)
}

/// What a stamp records: the DaemonSets that have a pod on this node, and the static pods, and whether they are ready.
pub(super) fn daemon_sets(world: &World) -> BTreeMap<String, Before> {
    let mut found = BTreeMap::new();
    for (name, pod) in world.cluster.pods.last().into_iter().flat_map(of_this_node) {
        let before = if pod.ready { Before::Ready(pod.instance) } else { Before::Unready };
        let full = found.len() >= MOST_RECORDED;
        // Of several pods, as during an update, one that is not ready counts; and nobody can tell which of them comes back.
        match found.get_mut(&name) {
            Some(Before::Unready) => {}
            Some(known) => *known = if before == Before::Unready { before } else { Before::Ready(None) },
            None if full => {}
            None => drop(found.insert(name, before)),
        }
    }
    found
}

/// The pods of DaemonSets, by their DaemonSet, and the static pods. One that is being deleted does not count: another one
/// replaces it.
fn of_this_node(pods: &BTreeMap<String, PodView>) -> impl Iterator<Item = (String, &PodView)> {
    pods.values().filter(|pod| !pod.terminating).filter_map(|pod| {
        let name = match pod.owner {
            Owner::DaemonSet => &pod.controller,
            Owner::Kubelet => &pod.key.name,
            Owner::Nobody | Owner::Controller => return None,
        };
        Some((format!("{}/{name}", pod.key.namespace), pod))
    })
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
