//! Folding: how each [`Event`] changes the [`World`].

use std::collections::BTreeSet;
use std::time::Duration;

use super::drain;
use super::jitter::jitter;
use super::world::{
    Cluster, FirstStart, Free, Kernels, Look, Pending, SECOND_LOOK, Setback, Uncordoned, Well, World,
};
use super::{
    AbortReason, Confinement, Effect, Event, Failure, Kernel, NodeChange, Now, Outcome, PAUSE, Part, Parts,
    Reading, Reads, SlotChange, SlotView, SlotWrite,
};
use super::{hooks, last_reboot, reclaim, requests};

/// A wall clock that moves by more than this against the time since boot was set, not steered.
const CLOCK_IS_SET: Duration = Duration::from_secs(10 * 60);
/// When it is tried again whether policies are in force that were not: the first time, and from then on.
const UNCONFINED_AGAIN: Duration = Duration::from_secs(15);
const UNCONFINED_STILL: Duration = Duration::from_secs(10 * 60);
/// When the version of manifests is asked for again that were not those of this rebootd.
const OTHER_MANIFESTS_STILL: Duration = Duration::from_secs(60 * 60);
/// The D-Bus call follows within this time after the stamp was sent; later, the slot has to be stamped again.
const STAMP_HOLDS: Duration = Duration::from_secs(5);

/// Folds an event into the World. `now` is the time at which the edge saw it.
pub fn observe(world: &mut World, event: Event, now: Now) {
    let (before, now_before) = (now.wall.abs_diff(now.boot), world.now.wall.abs_diff(world.now.boot));
    world.now = now;
    remember_boot(world);
    if before.abs_diff(now_before) > CLOCK_IS_SET
        && let Some(first) = &mut world.memory.first_start
    {
        first.clock_was_set = true;
    }
    let cluster = &mut world.cluster;
    if cluster.gated {
        cluster.opened = Some(now.boot);
    }
    match event {
        Event::Tick => {}
        Event::Waits { for_slot, watched } => {
            (cluster.gated, cluster.watched) = (!for_slot, watched);
            // What is not watched may change from now on.
            if let Some(look) = cluster.look.as_mut().filter(|_| !watched.has(Part::Policy)) {
                look.read = look.read.without(Part::Policy);
            }
        }
        Event::Credential(state) => world.host.credential = state,
        Event::Requests(answers) => requests::read(world, answers),
        Event::Hold(result) => world.host.hold.take(result),
        Event::Kernel(result) => kernel_read(world, result),
        Event::Updates(updates) => world.host.updates = updates,
        Event::Measured(measured) => last_reboot::measured(world, measured),
        Event::Packages(result) => world.host.unfinished_packages.take(result),
        Event::Remembered(result) => world.host.memory_failure = result.err(),
        Event::Livepatch(result) => world.host.livepatched.take(result),
        Event::Clock(result) => world.host.clock_synchronized.take(result),
        Event::Sessions(result) => world.host.sessions.take(result),
        Event::Hooks(units) => {
            world.host.hooks.retain(|hook, _| units.contains_key(hook));
            for (hook, result) in units {
                world.host.hooks.entry(hook).or_default().take(result);
            }
        }
        Event::PeopleTold => world.host.people_told = Some(now.boot),
        Event::HookBegun { hook, turn } => hooks::begun(world, hook, turn),
        Event::Host { going_down, package_manager, inhibitors, may_reboot, scheduled } => {
            world.host.going_down.take(going_down);
            world.host.package_manager.take(package_manager);
            world.host.inhibitors.take(inhibitors);
            world.host.may_reboot.take(may_reboot);
            world.host.scheduled.take(scheduled);
            world.host.read_at = Some(now.boot);
        }
        Event::LookBegun => {
            cluster.may_call_until = None;
            cluster.look = Some(Look {
                begun: now.boot,
                ended: None,
                read: Parts::NONE,
                pods_changed: false,
                slots_changed: false,
                confirms_drained: false,
                is_before_cordon: false,
            })
        }
        Event::Node(result) => {
            cluster.health.node(&result, &world.host.boot_id, &world.host.machine_id, now.boot);
            remember_well(world, result.is_ok());
            match &result {
                Ok(None) => drop(world.cluster.node_missing.get_or_insert(now.boot)),
                Ok(Some(_)) => world.cluster.node_missing = None,
                Err(_) => {}
            }
            take(world, result, |cluster| &mut cluster.node);
            requests::annotation_read(world);
            last_reboot::node_read(world);
        }
        Event::Slots(mut result) => {
            if let Ok(slots) = &mut result {
                let pauses = slots.extract_if(.., |slot| slot.name == PAUSE);
                cluster.pause = pauses.last().map(|pause| pause.holder.unwrap_or_default());
                remember_free(cluster, slots, now.boot);
                reclaim::slots_read(cluster, slots);
            }
            take(world, result, |cluster| &mut cluster.slots);
            last_reboot::slots_read(world);
        }
        Event::Confinement(result) => confinement_tried(cluster, result, now.boot),
        Event::Holder { name, exists: Ok(exists) } => {
            reclaim::holder_read(cluster, &name, exists, now.boot);
        }
        Event::Holder { exists: Err(failure), .. } => {
            cluster.look = None;
            read_failed(world, &failure);
        }
        // Unlike a failed look: this closes a gate, but holds up neither evictions nor the undoing of a turn.
        Event::Others(result) => cluster.others.take(result.map_err(|failure| failure.message)),
        Event::Proven(result) => cluster.proven.take(result.map_err(|failure| failure.message)),
        Event::Waiters(waiters) => cluster.drain.waiters = Some(waiters),
        Event::Policy(result) => cluster.policy.take(result),
        Event::PolicyUnanswered(failure) => {
            // This look does not contain what was read before it.
            cluster.policy_unanswered = Some(now.boot);
            cluster.look = None;
            read_failed(world, &failure);
        }
        Event::PolicyChanged => {
            cluster.policy = Reading::default();
            cluster.look = None;
        }
        Event::Configuration(problem) => world.host.configuration = problem,
        Event::Alerts(result) => cluster.alerts.take(result.map_err(|failure| failure.message)),
        Event::After(readings) => cluster.after = readings,
        Event::Kubelet(result) => {
            cluster.health.kubelet(&result, now.boot);
            if let Err(failure) = result {
                read_failed(world, &failure);
            }
        }
        Event::Pods(result) => {
            let result = result.map(|pods| pods.into_iter().map(|pod| (pod.key.uid.clone(), pod)).collect());
            match &result {
                Ok(pods) => drain::pods_read(cluster, pods, now.boot),
                Err(_) => cluster.look = None,
            }
            take(world, result, |cluster| &mut cluster.pods);
        }
        // As with the other nodes: if it cannot be read, the pods that need it are refused.
        Event::Budgets(result) => cluster.budgets.take(result.map_err(|failure| failure.message)),
        Event::BudgetSeen { budget, opens } => drain::budget_seen(cluster, budget, opens, now.boot),
        Event::LookEnded(reads) => look_ended(world, reads),
        Event::Changed { uid, resource_version } => {
            if !is_known(world, &uid, &resource_version) {
                world.cluster.look = None;
            }
        }
        Event::SlotSeen(slot) => slot_seen(cluster, slot, now.boot),
        Event::Annotations { uid, hold, request, labels } => {
            cluster.node.change(|node| match node {
                Some(node) if node.uid == uid => {
                    (node.hold, node.request, node.labels) = (hold, request, labels);
                }
                Some(_) => cluster.look = None,
                None => cluster.look = cluster.look.filter(|_| uid.is_empty()),
            });
            requests::annotation_read(world);
        }
        Event::PodSeen(pod) => drain::pod_seen(cluster, pod, now.boot),
        Event::PodGone(key) => drain::pod_gone(cluster, &key, now.boot),
        Event::WatchEnded => {
            cluster.policy = Reading::default();
            cluster.look = None;
        }
        Event::WriteBegun(target) => {
            let settled = cluster.settled.remove(&target.0);
            cluster.pending = Some(Pending { target, settled, look: cluster.look.take() });
            cluster.writes += 1;
            cluster.may_call_until = None;
        }
        Event::WriteEnded { effect, sent, outcome } => write_ended(world, &effect, sent, outcome),
        Event::EvictionsBegun { pods, how } => drain::evictions_begun(cluster, &pods, how, now.boot),
        Event::EvictionEnded { pod, how, outcome } => {
            drain::eviction_ended(cluster, &pod, how, outcome, now.boot);
        }
        Event::RebootBegun => {
            cluster.stamped = false;
            cluster.may_call_until = None;
            cluster.look = None;
            last_reboot::begun(world);
        }
        Event::RebootEnded(result) => {
            // Whatever logind answered, the host has to be read again before anything else is judged.
            world.host.read_at = None;
            world.cluster.reboot_failure = result.err();
        }
        Event::StepBack => world.step_back = true,
        Event::Reloaded => {
            // As after a start: every object is in doubt again. Only the count behind the nonces goes on.
            let writes = world.cluster.writes;
            world.cluster =
                Cluster { writes, second_look: Some(now.boot + SECOND_LOOK), ..Cluster::default() };
        }
    }
}

/// A server takes a moment until policies that were just applied are in force, so the first try that finds none is
/// repeated soon, and nothing is told before that. Then it is repeated now and then: somebody may apply them.
fn confinement_tried(cluster: &mut Cluster, result: Result<Confinement, String>, now: Duration) {
    if let Ok(found) = &result {
        let missing = !found.missing().is_empty();
        cluster.unconfined = if missing { cluster.unconfined.saturating_add(1) } else { 0 };
        let again = match cluster.unconfined {
            0 => found.is_of_other_manifests().then_some(now + OTHER_MANIFESTS_STILL),
            1 => Some(now + UNCONFINED_AGAIN),
            _ => Some(now + UNCONFINED_STILL),
        };
        // A look that is due ends with the one that is under way, and must not take the later one with it.
        let due = cluster.second_look.filter(|due| cluster.look.is_none_or(|look| look.begun < *due));
        cluster.second_look = [due, again].into_iter().flatten().min();
    }
    cluster.confinement.take(result);
}

fn remember_boot(world: &mut World) {
    let boot_id = &world.host.boot_id;
    if world.memory.first_start.as_ref().is_none_or(|first| first.boot_id != *boot_id) {
        let heard = BTreeSet::new();
        world.memory.first_start =
            Some(FirstStart { boot_id: boot_id.clone(), at: world.now.boot, heard, clock_was_set: false });
        last_reboot::booted(world);
    }
}

/// An earlier process of this agent may have seen the node well for longer; another transition since tells that it was
/// not well in between.
fn remember_well(world: &mut World, is_read: bool) {
    let (health, memory) = (&mut world.cluster.health, &mut world.memory);
    let Some(since) = health.ready_since else {
        memory.well = memory.well.take().filter(|_| !is_read);
        return;
    };
    let known = memory.well.as_ref().filter(|well| {
        well.boot_id == world.host.boot_id && well.transition == health.transition && well.at <= since
    });
    match known {
        Some(well) => health.ready_since = Some(well.at),
        None => {
            let boot_id = world.host.boot_id.clone();
            memory.well = Some(Well { boot_id, transition: health.transition.clone(), at: since });
        }
    }
}

/// Remembers which kernel ran before, so that a boot loader that goes back to an older one is noticed.
fn kernel_read(world: &mut World, result: Result<Kernel, String>) {
    world.host.kernel.take(result);
    let Some(kernel) = world.host.kernel.current() else { return };
    let here = &world.host.boot_id;
    let known = &world.memory.kernels;
    if known.as_ref().is_none_or(|known| known.boot_id != *here) {
        world.memory.kernels = Some(Kernels {
            boot_id: here.clone(),
            running: kernel.running.clone(),
            before: known.as_ref().map(|known| known.running.clone()),
        });
    }
}

fn take<T>(
    world: &mut World,
    result: Result<T, Failure>,
    field: impl FnOnce(&mut Cluster) -> &mut Reading<T>,
) {
    if let Err(failure) = &result {
        read_failed(world, failure);
    }
    field(&mut world.cluster).take(result.map_err(|failure| failure.message));
}

fn read_failed(world: &mut World, failure: &Failure) {
    world.cluster.read_failure = Some(failure.message.clone());
    world.cluster.reads_failed = world.cluster.reads_failed.saturating_add(1);
    back_off(world, world.cluster.reads_failed, failure.retry_after);
}

fn write_failed(world: &mut World, failure: Failure) {
    world.cluster.write_failure = Some(failure.message);
    let now = world.now.boot;
    world.cluster.write_failures = Some((world.failing_since().unwrap_or(now), now));
    world.cluster.writes_failed = world.cluster.writes_failed.saturating_add(1);
    back_off(world, world.cluster.writes_failed, failure.retry_after);
}

/// The next look or write comes after a growing delay with full jitter, but not before the time the server asks for.
/// While pods have nowhere to go because of us, and others wait for the slot, the delay stays short: only the few nodes
/// that have a turn are in this state.
fn back_off(world: &mut World, failures: u32, asked: Option<Duration>) {
    const FIRST: Duration = Duration::from_secs(1);
    const LAST: Duration = Duration::from_secs(60);
    const LAST_IN_TURN: Duration = Duration::from_secs(5);
    const LEAST: Duration = Duration::from_millis(100);
    let node = world.cluster.node.last().and_then(Option::as_ref);
    // After a boot the network may be late, and nothing was read yet: then the memory tells.
    let cordoned = node.map_or(world.memory.cordoned_at.is_some(), |node| node.mark.is_some());
    let last = if cordoned { LAST_IN_TURN } else { LAST };
    let ceiling = FIRST.saturating_mul(1 << failures.saturating_sub(1).min(10)).min(last);
    let share = jitter(&[&world.process, &failures.to_string()]);
    // The jitter is added to the delay that the server asks for: it spreads a thousand waiting nodes.
    let delay = asked.unwrap_or_default() + ceiling.mul_f64(share).max(LEAST);
    world.cluster.retry_at = Some(world.now.boot + delay);
}

/// Of a thousand nodes that wait, each hears of each change of a slot, and does not ask for more until it may claim one itself.
fn slot_seen(cluster: &mut Cluster, slot: SlotView, now: Duration) {
    let mut slots = cluster.slots.current().cloned().unwrap_or_default();
    let Some(known) = slots.iter_mut().find(|known| known.uid == slot.uid && slot.name != PAUSE) else {
        cluster.look = None;
        return;
    };
    if known.resource_version == slot.resource_version {
        return;
    }
    *known = slot;
    remember_free(cluster, &slots, now);
    reclaim::slots_read(cluster, &slots);
    cluster.slots.change(|known| *known = slots);
    if let Some(look) = &mut cluster.look {
        look.slots_changed = true;
    }
}

fn remember_free(cluster: &mut Cluster, slots: &[SlotView], now: Duration) {
    let known = std::mem::take(&mut cluster.free);
    let before = cluster.slots.last();
    for slot in slots.iter().filter(|slot| slot.holder.is_none()) {
        let was_held = |it: &SlotView| it.uid == slot.uid && it.holder.is_some();
        let free = known.get(&slot.name).filter(|free| free.resource_version == slot.resource_version);
        let free = free.cloned().unwrap_or_else(|| Free {
            resource_version: slot.resource_version.clone(),
            since: now,
            seen_held: before.is_some_and(|before| before.iter().any(was_held)),
        });
        cluster.free.insert(slot.name.clone(), free);
    }
}

fn look_ended(world: &mut World, reads: Reads) {
    let cluster = &mut world.cluster;
    let complete = cluster.look.is_some()
        && cluster.node.current().is_some()
        && cluster.slots.current().is_some()
        && (!reads.parts.has(Part::Pods) || cluster.pods.current().is_some())
        && (!reads.parts.has(Part::Kubelet) || cluster.health.kubelet_lease().is_some());
    if !complete {
        // The loop watches nothing more.
        (cluster.look, cluster.watched) = (None, Parts::NONE);
        return;
    }
    cluster.reads_failed = 0;
    cluster.read_failure = None;
    cluster.retry_at = None;
    if let Some(look) = &mut cluster.look {
        look.ended = Some(world.now.boot);
        look.read = reads.parts;
        look.confirms_drained = reads.confirms_drained;
        if cluster.second_look.is_some_and(|due| due <= look.begun) {
            cluster.second_look = None;
        }
    }
    last_reboot::looked(world);
    // A turn that has ended without our release, because a person freed the slot, leaves nothing for the next one.
    if world.cluster.drain.is_of_a_turn() && !last_reboot::holds_a_slot(world) {
        let before = std::mem::take(&mut world.cluster.drain);
        world.cluster.drain = before.after_release();
    }
}

fn is_known(world: &World, uid: &str, resource_version: &str) -> bool {
    let cluster = &world.cluster;
    let node = cluster.node.current().and_then(Option::as_ref);
    let slots = cluster.slots.current().into_iter().flatten();
    let kubelet = cluster.health.kubelet_lease();
    node.map(|node| (&node.uid, &node.resource_version))
        .into_iter()
        .chain(kubelet.map(|lease| (&lease.uid, &lease.resource_version)))
        .chain(slots.map(|slot| (&slot.uid, &slot.resource_version)))
        .any(|(known_uid, known_version)| known_uid == uid && known_version == resource_version)
}

fn write_ended(world: &mut World, effect: &Effect, sent: Duration, outcome: Outcome) {
    let pending = world.cluster.pending.take();
    if let Effect::WriteSlot(SlotWrite { change: SlotChange::Stamp(..), .. }) = effect {
        // Even without an answer: a request that this process has not sent is not under way.
        world.cluster.stamped = true;
    }
    match outcome {
        Outcome::Answered => {
            let look = pending.as_ref().and_then(|pending| pending.look);
            world.cluster.settled.extend(pending.map(|pending| pending.target.0));
            world.cluster.writes_failed = 0;
            world.cluster.write_failure = None;
            world.cluster.write_failures = None;
            world.cluster.retry_at = None;
            applied(world, effect, sent, look);
        }
        Outcome::Refused { failure: Failure { message, retry_after }, conflict } => {
            let settled = pending.filter(|pending| pending.settled);
            world.cluster.settled.extend(settled.map(|pending| pending.target.0));
            if !conflict {
                write_failed(world, Failure { message, retry_after });
            }
        }
        Outcome::Unanswered(failure) => {
            write_failed(world, failure);
            if let Effect::WriteSlot(SlotWrite { change: SlotChange::Release { because }, .. }) = effect {
                world.cluster.release_unanswered = Some(*because);
            }
            world.cluster.second_look = Some(world.now.boot + SECOND_LOOK);
        }
    }
}

/// `look`: the look that the write rested on.
fn applied(world: &mut World, effect: &Effect, sent: Duration, look: Option<Look>) {
    match effect {
        Effect::WriteSlot(write) => match &write.change {
            SlotChange::Stamp(..) => {
                world.cluster.may_call_until = Some(sent + STAMP_HOLDS);
                // The host is read once more before the reboot is asked for.
                world.host.read_at = None;
            }
            SlotChange::Release { because } => {
                let before = std::mem::take(&mut world.cluster.drain);
                world.cluster.drain = before.after_release();
                last_reboot::released(world, *because);
                set_back(world, *because);
            }
            SlotChange::Claim(_) => world.cluster.release_unanswered = None,
            SlotChange::Free { .. } | SlotChange::Returned => {}
        },
        Effect::WriteNode(write) => match &write.change {
            NodeChange::Cordon { why } => {
                world.cluster.drain.cordoned.get_or_insert(world.now.boot);
                cordoned(&mut world.cluster, why, look);
                last_reboot::cordoned(world);
                world.host.read_at = None;
            }
            NodeChange::Uncordon { because } => {
                world.cluster.drain.cordoned = None;
                remember_uncordon(world);
                set_back(world, *because);
            }
            NodeChange::Confirm { in_turn } => {
                if *in_turn {
                    world.cluster.drain.cordoned.get_or_insert(world.now.boot);
                    world.cluster.drain.returned.clear();
                } else {
                    world.cluster.shown = Some(world.now.boot);
                }
                remember_uncordon(world);
            }
            NodeChange::RemoveMark => remember_uncordon(world),
        },
        Effect::Evict(_) | Effect::Reboot { .. } | Effect::StartHook { .. } | Effect::TellPeople => {}
    }
}

/// The cordon was written to the Node exactly as it had been read, so the Node's new state is known without reading
/// it again, and evictions may begin. A write still needs a look of its own.
fn cordoned(cluster: &mut Cluster, why: &str, look: Option<Look>) {
    cluster.look = look.map(|look| Look { is_before_cordon: true, ..look });
    cluster.drain.gone.clear();
    // What came before this cordon did not come back over it.
    cluster.drain.returned.clear();
    cluster.node.change(|node| {
        if let Some(node) = node {
            (node.unschedulable, node.unschedulable_is_ours) = (true, true);
            node.mark = Some(why.to_owned());
        }
    });
}

/// Only the first one in this boot: a later write, for example after a restart, does not restart the soak.
fn remember_uncordon(world: &mut World) {
    last_reboot::uncordoned(world);
    let boot_id = &world.host.boot_id;
    if world.memory.uncordoned.as_ref().is_none_or(|it| it.boot_id != *boot_id) {
        world.memory.uncordoned = Some(Uncordoned { boot_id: boot_id.clone(), at: world.now.boot });
    }
}

fn set_back(world: &mut World, because: Option<AbortReason>) {
    let Some(because) = because.filter(|because| because.is_setback()) else { return };
    let here = &world.host.boot_id;
    let earlier = world.memory.setback.as_ref().filter(|setback| setback.boot_id == *here);
    world.memory.setback = Some(Setback {
        boot_id: here.clone(),
        at: world.now.boot,
        count: earlier.map_or(1, |setback| setback.count.saturating_add(1)),
        because,
    });
}
