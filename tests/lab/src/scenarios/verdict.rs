//! What most scenarios ask at their end: the promises, as far as the cluster and the boots show them.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::stage::{SENTINEL, SOON, Stage, is_absent};
use super::status::wait_phase;
use crate::host::Host;
use crate::machine::Ending;
use crate::observer::{Change, History, Object, State};
use crate::progress::say;
use crate::proxy::Verb;

/// How much later than rebootd itself the observer may see what it did.
const LAG: Duration = Duration::from_secs(3);

/// The host has booted so often, and each boot before the current one ended in an orderly reboot.
pub(super) fn booted(host: &Host, times: usize) -> Result<()> {
    let boots = host.boots();
    ensure!(boots.len() == times, "{} booted {} times, not {times}: {boots:#?}", host.name(), boots.len());
    let in_order = boots.iter().rev().skip(1).all(|boot| matches!(boot.ended, Some((_, Ending::Rebooted))));
    ensure!(in_order, "{} did not reboot in order: {boots:#?}", host.name());
    say(format!("{} booted {times} times", host.name()));
    Ok(())
}

/// Nothing was missed, and never were two nodes disrupted at one time.
pub(super) fn one_at_a_time(history: &History) -> Result<()> {
    ensure!(history.gaps().is_empty(), "the observer may have missed something: {:?}", history.gaps());
    let most = history.max_disrupted_at_once();
    ensure!(most.count() <= 1, "disrupted at the same time: {most:?}");
    for disruption in history.disruptions() {
        let until =
            disruption.until.map_or("still".to_owned(), |until| format!("{:.1} s", until.as_secs_f64()));
        say(format!(
            "{} was disrupted from {:.1} s to {until}",
            disruption.node,
            disruption.from.as_secs_f64()
        ));
    }
    for handoff in history.handoffs() {
        let (from, to) = (&handoff.released_by, &handoff.claimed_by);
        say(format!("{from} handed on to {to} in {:.1} s", handoff.seconds()));
    }
    Ok(())
}

/// rebootd is idle, the Node is schedulable and carries no mark, its slot is free and nothing asks for a reboot.
pub(super) async fn settled(stage: &Stage, host: &Host) -> Result<()> {
    wait_phase(host, "idle", SOON).await?;
    let name = host.name();
    let own = name.to_owned();
    let is_free = move |state: &State| {
        let node = state.node(&own).is_some_and(|node| !node.unschedulable && !node.cordon_mark);
        node && state.leases.values().all(|lease| lease.holder.as_deref() != Some(&own))
    };
    stage.wait_for(&format!("{name} is idle, so schedulable and holds nothing"), is_free, LAG).await?;
    ensure!(is_absent(host, SENTINEL).await?, "{name} still asks for a reboot");
    Ok(())
}

/// No slot is held by this node.
pub(super) fn holds_nothing(stage: &Stage, node: &str) -> Result<()> {
    let state = stage.observer.state();
    let held = state.leases.values().find(|lease| lease.holder.as_deref() == Some(node));
    ensure!(held.is_none(), "{node} still holds {held:?}");
    Ok(())
}

/// Our cordon came so often to this node, and went as often; it does not stand now.
pub(super) fn cordoned(history: &History, node: &str, times: usize) -> Result<()> {
    let mut stands = false;
    let (mut came, mut went) = (0, 0);
    for entry in history.entries() {
        let Object::Node(seen) = &entry.object else { continue };
        if seen.name == node && seen.cordoned_by_us() != stands {
            stands = !stands;
            *(if stands { &mut came } else { &mut went }) += 1;
        }
    }
    ensure!(
        (came, went) == (times, times),
        "{node}: cordoned {came} times, uncordoned {went} times, not {times}"
    );
    Ok(())
}

/// No pod was told twice to leave this node.
pub(super) fn evicted_once(stage: &Stage, node: &str) -> Result<usize> {
    let mut accepted: BTreeMap<String, usize> = BTreeMap::new();
    for request in stage.lab.proxy(node).requests() {
        let is_eviction = request.verb == Verb::Create && request.resource == "pods/eviction";
        if is_eviction && request.server_status.is_some_and(|status| (200..300).contains(&status)) {
            *accepted.entry(request.name.unwrap_or_default()).or_default() += 1;
        }
    }
    let twice: Vec<&String> = accepted.iter().filter(|(_, times)| **times > 1).map(|(pod, _)| pod).collect();
    ensure!(twice.is_empty(), "{node}: told twice to leave: {twice:?}");
    say(format!("{node}: {} pods were evicted, each once", accepted.len()));
    Ok(accepted.len())
}

/// Our cordon stood only while this slot was held by the node, by the API server's own order of writes.
pub(super) fn cordoned_under_slot(history: &History, node: &str, slot: &str) -> Result<()> {
    let mut entries: Vec<_> = history.entries().iter().filter(|entry| entry.resource_version > 0).collect();
    entries.sort_by_key(|entry| entry.resource_version);
    let (mut cordoned, mut held) = (false, false);
    for entry in entries {
        let exists = entry.change != Change::Deleted;
        match &entry.object {
            Object::Node(seen) if seen.name == node => cordoned = exists && seen.cordoned_by_us(),
            Object::Lease(seen) if seen.name == slot => held = exists && seen.holder.as_deref() == Some(node),
            _ => continue,
        }
        let version = entry.resource_version;
        ensure!(held || !cordoned, "{node} was cordoned without its slot at resourceVersion {version}");
    }
    Ok(())
}
