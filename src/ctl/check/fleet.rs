//! Judgements on the whole cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;

use super::super::fleet::is_silent;
use super::finding::Finding;
use super::inventory::{Inventory, Read};
use crate::cluster::{FleetNode, HeldSlot};
use crate::config::FleetPolicy;
use crate::decide::{MANIFESTS, span};

const APPLY: &str =
    "kubectl apply -f /usr/share/rebootd/manifests/ (of the package rebootd, where it is installed)";
/// In seconds from the claim: the drain, the calls and the return take no longer by their default timeouts.
const LONG: u64 = 60 * 60;
/// More names than this help nobody.
const MOST: usize = 5;

/// Judges what could be read.
fn known<T>(read: &Read<T>, judge: impl FnOnce(&T) -> Finding) -> Finding {
    match read {
        Ok(fact) => judge(fact),
        Err(unread) => match unread.right {
            Some(right) => Finding::unknown(format!("this kubeconfig lacks the right to {right}")),
            None => Finding::unknown(&unread.why),
        },
    }
}

fn names<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.into_iter().collect();
    let first = names.iter().take(MOST).copied().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(MOST) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

pub(super) fn cluster(facts: &Inventory) -> Finding {
    match &facts.nodes {
        Ok(nodes) => Finding::ok(format!("the API server answers; {} Nodes", nodes.len())),
        Err(unread) if unread.right.is_some() => Finding::ok("the API server answers"),
        Err(unread) => Finding::problem(&unread.why).remedy("kubectl get nodes, with the same kubeconfig"),
    }
}

pub(super) fn agents(facts: &Inventory) -> Finding {
    let says_nothing = |node: &&FleetNode| is_silent(node, facts.now);
    known(&facts.nodes, |nodes| {
        let without = names(nodes.iter().filter(|node| node.pool.is_none()).map(|node| node.name.as_str()));
        let silent = names(nodes.iter().filter(says_nothing).map(|node| node.name.as_str()));
        match (without.as_str(), silent.as_str()) {
            ("", "") if nodes.is_empty() => Finding::warning("there are no Nodes"),
            ("", "") => Finding::ok("rebootd has acted on each Node, and none is silent"),
            ("", silent) => Finding::warning(format!("rebootd has long said nothing, or nothing that can be true, on {silent}"))
                .remedy("sudo rebootctl check, on each of them"),
            (without, _) => Finding::warning(format!("no rebootd has ever acted on {without}")).remedy(
                "on each of them: apt install ./rebootd_*.deb ./rebootctl_*.deb; where it is installed: sudo rebootctl check",
            ),
        }
    })
}

fn by_pool(slots: &[HeldSlot]) -> BTreeMap<&str, Vec<&HeldSlot>> {
    let mut pools: BTreeMap<&str, Vec<&HeldSlot>> = BTreeMap::new();
    for slot in slots {
        if let Some(pool) = &slot.slot.pool {
            pools.entry(pool).or_default().push(slot);
        }
    }
    pools
}

pub(super) fn slots(facts: &Inventory) -> Finding {
    known(&facts.slots, |slots| {
        let without = slots.iter().filter(|it| it.slot.pool.is_none()).map(|it| it.slot.name.as_str());
        let without = names(without);
        if !without.is_empty() {
            return Finding::warning(format!("of no pool, and so of no use: {without}"))
                .remedy("kubectl -n rebootd label lease SLOT rebootd.io/pool=POOL");
        }
        let counts: Vec<String> =
            by_pool(slots).iter().map(|(pool, slots)| format!("{} of pool {pool}", slots.len())).collect();
        match counts.as_slice() {
            [] => Finding::problem("there are none, so no node ever reboots")
                .remedy("kubectl apply -f /usr/share/rebootd/manifests/slots.yaml"),
            counts => Finding::ok(counts.join(", ")),
        }
    })
}

pub(super) fn pools(facts: &Inventory) -> Finding {
    known(&facts.nodes, |nodes| {
        known(&facts.slots, |slots| {
            let pools = by_pool(slots);
            let named: BTreeSet<&str> = nodes.iter().filter_map(|node| node.pool.as_deref()).collect();
            let lacking = names(named.iter().copied().filter(|pool| !pools.contains_key(pool)));
            match lacking.as_str() {
                "" if named.is_empty() => Finding::warning("no Node is in a pool: no rebootd has acted yet"),
                "" => Finding::ok("each pool that a Node is in has a slot"),
                lacking => {
                    Finding::problem(format!("no slots, so no node of it ever reboots: pool {lacking}"))
                        .remedy("a Lease with the label rebootd.io/pool=POOL, or `pool` in [node]")
                }
            }
        })
    })
}

pub(super) fn control_plane(facts: &Inventory) -> Finding {
    known(&facts.members, |members| {
        known(&facts.nodes, |nodes| {
            known(&facts.slots, |slots| {
                let of_members = nodes.iter().filter(|node| members.contains(&node.name));
                let pools: BTreeSet<&str> = of_members.filter_map(|node| node.pool.as_deref()).collect();
                let by_pool = by_pool(slots);
                let count = |pool: &str| by_pool.get(pool).map_or(0, Vec::len);
                let remedy = "one pool with one slot for all of them (`pool` in [node]); meanwhile no two of them go down at a \
                              time, whatever slots they hold";
                match pools.iter().copied().collect::<Vec<_>>().as_slice() {
                    _ if members.is_empty() => Finding::ok("no Node has a label of a control plane"),
                    [] => Finding::ok("no rebootd has acted on its Nodes"),
                    [pool] if count(pool) > 1 => {
                        Finding::warning(format!("its pool {pool} has {} slots", count(pool))).remedy(remedy)
                    }
                    [pool] => Finding::ok(format!("{} members, all in pool {pool}", members.len())),
                    several => Finding::warning(format!(
                        "its members are in several pools: {}",
                        names(several.iter().copied())
                    ))
                    .remedy(remedy),
                }
            })
        })
    })
}

pub(super) fn holders(facts: &Inventory) -> Finding {
    known(&facts.nodes, |nodes| {
        known(&facts.slots, |slots| {
            let held = slots.iter().filter_map(|it| Some((it, it.slot.holder.as_deref()?)));
            let mut gone = held.filter(|(_, holder)| !nodes.iter().any(|node| node.name == *holder));
            match gone.next() {
                None => match slots.iter().find_map(|it| down(it, nodes, facts.now)) {
                    None => Finding::ok("each slot is free, or held by a Node that exists and is not down for long"),
                    Some(lost) => lost,
                },
                Some((slot, holder)) if slot.slot.claim.boot_id.is_none() && slot.slot.stamp.is_none() => {
                    Finding::warning(format!(
                        "{} is held by {holder}: no rebootd has claimed it, somebody wrote the name there, perhaps to hold back \
                         the pool",
                        slot.slot.name
                    ))
                    .remedy(format!("rebootctl free {}", slot.slot.name))
                }
                Some((slot, holder)) if slot.slot.stamp.is_none() => Finding::warning(format!(
                    "{} is held by {holder}, and there is no such Node; unstamped, it comes free after ten minutes if a node \
                     waits for it",
                    slot.slot.name
                ))
                .remedy(format!("rebootctl free {}", slot.slot.name)),
                Some((slot, holder)) => Finding::problem(format!(
                    "{} is held by {holder}, which was about to reboot, and there is no such Node",
                    slot.slot.name
                ))
                .remedy(format!("rebootctl free {}", slot.slot.name)),
            }
        })
    })
}

/// A holder that went down in its turn and did not come back.
fn down(held: &HeldSlot, nodes: &[FleetNode], now: u64) -> Option<Finding> {
    let holder = held.slot.holder.as_deref()?;
    nodes.iter().find(|node| node.name == holder && !node.is_ready)?;
    let since: Timestamp = held.since.as_deref()?.parse().ok()?;
    let held_for = now.checked_sub(u64::try_from(since.as_second()).ok()?)?;
    if held_for < LONG {
        return None;
    }
    let message = format!(
        "{holder} has held {} for {}, and is not Ready; the others of its pool wait",
        held.slot.name,
        span(Duration::from_secs(held_for))
    );
    Some(
        Finding::problem(message)
            .remedy(format!("look at that machine; if it is lost: rebootctl release {holder}")),
    )
}

/// The agents say of a text that they do not understand that nothing starts.
pub(super) fn policy(facts: &Inventory) -> Finding {
    known(&facts.policy, |map| match map.as_ref().map(|map| FleetPolicy::from_config_map(&map.data)) {
        None => Finding::ok("there is no ConfigMap rebootd/policy; each node has its own"),
        Some(Ok(_)) => Finding::ok("the fleet's policy is understood"),
        Some(Err(error)) => Finding::problem(format!("no node reboots: {error}"))
            .remedy("kubectl -n rebootd edit configmap policy"),
    })
}

pub(super) fn pause(facts: &Inventory) -> Finding {
    known(&facts.paused, |paused| match paused {
        None => Finding::ok("the fleet is not paused"),
        Some(why) => Finding::warning(format!("the fleet is paused: {why}")).remedy("rebootctl fleet resume"),
    })
}

pub(super) fn policies(facts: &Inventory) -> Finding {
    known(&facts.policies, |policies| {
        let lacking = policies.iter().filter_map(|it| Some(format!("{} {}", it.name, it.lacks.as_ref()?)));
        let lacking: Vec<String> = lacking.collect();
        if !lacking.is_empty() {
            let lacking = names(lacking.iter().map(String::as_str));
            return Finding::problem(format!("the agents are not confined: {lacking}")).remedy(APPLY);
        }
        match policies.iter().find_map(|it| it.manifests) {
            Some(MANIFESTS) => Finding::ok("each is there, and its binding denies"),
            Some(found) => Finding::warning(format!(
                "the manifests are of version {found}, and this rebootctl comes with version {MANIFESTS}"
            ))
            .remedy(if found < MANIFESTS { APPLY } else { "upgrade rebootctl" }),
            None => Finding::warning("they do not tell the version of the manifests").remedy(APPLY),
        }
    })
}

pub(super) fn token_pods(facts: &Inventory) -> Finding {
    known(&facts.token_pods, |pods| {
        match pods {
        None => Finding::ok("no DaemonSet brings tokens: a person does (rebootctl enroll), or token-pods.yaml was not applied"),
        Some(pods) if pods.ready < pods.wanted => Finding::warning(format!(
            "{} of {} pods that bring tokens are Ready; is something in their way, such as the namespace's pod security?",
            pods.ready, pods.wanted
        ))
        .remedy("kubectl -n rebootd describe daemonset rebootd-credential"),
        Some(pods) => Finding::ok(format!("on each of the {} Nodes that should have one", pods.wanted)),
    }
    })
}

pub(super) fn kured(facts: &Inventory) -> Finding {
    known(&facts.kured, |found| match found.first() {
        None => Finding::ok("it is not in this cluster"),
        Some(kured) => {
            let lock = match &kured.lock {
                Some(holder) => format!("its lock is held by {holder}"),
                None => "its lock is free".to_owned(),
            };
            Finding::warning(format!("{} watches the same file, and {lock}", kured.name))
                .remedy("docs/kured.md (on a node in /usr/share/doc/rebootd) tells how to move over")
        }
    })
}

pub(super) fn upgrade_plans(facts: &Inventory) -> Finding {
    known(&facts.plans, |plans| match plans.as_slice() {
        [] => Finding::ok("no Plan of system-upgrade-controller"),
        plans => Finding::warning(format!(
            "system-upgrade-controller may drain and reboot nodes without a slot: Plan {}",
            names(plans.iter().map(String::as_str))
        ))
        .remedy("a Plan's `drain` and reboot, at times when the fleet is paused: rebootctl fleet pause"),
    })
}
