//! What is remembered about a reboot: when and why it was asked for, how long the Node was cordoned for it, and how
//! its turn ended.

use std::time::Duration;

use super::reboot::{Ending, LastReboot};
use super::world::World;
use super::{AbortReason, Measured, Reading, Request, SlotView, Source};

/// In which `max_reboots_per_day` counts.
pub(super) const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// The reboots of the last day are remembered, but at most this many.
const MOST_REBOOTS: usize = 10;
/// Of the packages that asked, at most this many are remembered.
const MOST_PACKAGES: usize = 100;
/// A host is not down for longer between the call and its next boot.
const LONGEST_DOWN: Duration = Duration::from_secs(60 * 60);

/// Our cordon was confirmed, possibly not for the first time.
pub(super) fn cordoned(world: &mut World) {
    let now = wall(world);
    world.memory.cordoned_at.get_or_insert(now);
}

/// It was confirmed that no cordon of ours is on the Node.
pub(super) fn uncordoned(world: &mut World) {
    let now = wall(world);
    let Some(cordoned) = world.memory.cordoned_at.take() else { return };
    // The cordon may have belonged to a later turn that was undone.
    let its_own = |last: &&mut LastReboot| last.cordoned_at == Some(cordoned);
    if let Some(last) = world.memory.last_reboot.as_mut().filter(its_own) {
        last.uncordoned_at = Some(now);
    }
}

/// What was measured of a turn goes with the reboot, also what is measured after it.
pub(super) fn measured(world: &mut World, measured: Measured) {
    let here = &world.host.boot_id;
    let last = under_way(&mut world.memory.last_reboot).filter(|last| last.boot_id != *here);
    if let Some(last) = last {
        last.measured = measured.clone();
    }
    world.host.measured = measured;
}

/// The reboot is asked for, possibly not for the first time.
pub(super) fn begun(world: &mut World) {
    let at = wall(world);
    // Written by the clock as it is now, which may have been set since.
    let mut earlier: Vec<Duration> = elapsed_since_each(world)
        .filter(|elapsed| *elapsed < DAY)
        .map(|elapsed| Duration::from_secs(at.saturating_sub(elapsed).as_secs()))
        .collect();
    earlier.drain(..earlier.len().saturating_sub(MOST_REBOOTS));
    world.memory.earlier_reboots = earlier;
    let host = &world.host;
    let asks = |(source, reading): (&Source, &Reading<_>)| {
        matches!(reading.last(), Some(Some(_))).then_some(*source)
    };
    let slot = held_here(world).find(|slot| slot.claim.boot_id.as_ref() == Some(&host.boot_id));
    world.memory.last_reboot = Some(LastReboot {
        boot_id: host.boot_id.clone(),
        at,
        asked: host.requests.iter().filter_map(asks).collect(),
        kernel: host
            .kernel
            .last()
            .and_then(|kernel| kernel.newer.as_ref())
            .map(|newer| newer.release.clone()),
        why: slot.map(|slot| slot.claim.reason.clone()).unwrap_or_default(),
        requested_at: requested_at(world),
        packages: asking(world).flat_map(|it| it.packages.iter().cloned()).take(MOST_PACKAGES).collect(),
        updates: host.updates.clone().unwrap_or_default(),
        measured: host.measured.clone(),
        up_since: Some(up_since(world)),
        claimed_at: slot.and_then(|slot| slot.claim.at).map(|claimed| wall_at(world, claimed)),
        cordoned_at: world.memory.cordoned_at,
        drained_at: drained_at(world),
        uncordoned_at: None,
        ready_at: None,
        ended_at: None,
        led_to: None,
        ending: Some(Ending::UnderWay),
    });
}

/// What asks on this host, as last read.
fn asking(world: &World) -> impl Iterator<Item = &Request> {
    world.host.requests.values().filter_map(|reading| reading.last()?.as_ref())
}

fn requested_at(world: &World) -> Option<Duration> {
    let by_annotation = world.memory.asked_since.get(&Source::Annotation).copied();
    let kernel = world.host.kernel.last().and_then(|kernel| kernel.newer.as_ref()?.since);
    asking(world).filter_map(|it| it.since).chain(by_annotation).min().or(kernel)
}

/// In a container, the clock that counts since the boot is that of its host: an earlier reboot of ours was not before
/// the boot that it led to.
fn up_since(world: &World) -> Duration {
    let earlier = world.memory.last_reboot.as_ref();
    let earlier =
        earlier.and_then(|it| if it.boot_id == world.host.boot_id { it.up_since } else { Some(it.at) });
    earlier.unwrap_or_default().max(wall_at(world, Duration::ZERO))
}

fn drained_at(world: &World) -> Option<Duration> {
    let drain = &world.cluster.drain;
    Some(wall_at(world, drain.cordoned?.max(drain.last_gone)))
}

/// The wall time at this time since boot.
fn wall_at(world: &World, boot: Duration) -> Duration {
    let ago = world.now.boot.saturating_sub(boot);
    Duration::from_secs(world.now.wall.saturating_sub(ago).as_secs())
}

/// How long ago each remembered reboot was, the latest one last. The earlier ones are counted from that one as well,
/// whose time was written by the same clock: a clock that is set makes none of them older than it is.
pub(super) fn elapsed_since_each(world: &World) -> impl Iterator<Item = Duration> {
    let last = world.rebooted().map(|last| (last.at, world.since_reboot(last)));
    let earlier = world.memory.earlier_reboots.iter().map(move |at| {
        let from_last = last.map(|(last, elapsed)| elapsed + last.saturating_sub(*at));
        from_last.into_iter().chain([world.elapsed_since(*at)]).min().unwrap_or_default()
    });
    earlier.chain(last.map(|(_, elapsed)| elapsed))
}

/// This boot is known now.
pub(super) fn booted(world: &mut World) {
    let here = world.host.boot_id.clone();
    if let Some(last) = world.memory.last_reboot.as_mut().filter(|last| last.boot_id != here) {
        last.led_to.get_or_insert(here);
    }
}

/// The Node was read. The first time that it is Ready after a reboot whose turn is still under way, it is back; it was
/// away at least until it was last seen not to be, or until this boot began. Of a turn that is over, nobody knows when
/// that was.
pub(super) fn node_read(world: &mut World) {
    let (here, now) = (world.host.boot_id.clone(), world.now);
    let Some(node) = world.cluster.node.current().map(Option::as_ref) else { return };
    let is_back = node.is_some_and(|node| node.ready && node.boot_id == here);
    let last = under_way(&mut world.memory.last_reboot);
    let Some(last) = last.filter(|last| last.boot_id != here && last.ready_at.is_none()) else { return };
    if !is_back {
        world.cluster.away_until = Some(now.boot);
    } else {
        let until = world.cluster.away_until.unwrap_or_default();
        let at = Duration::from_secs(now.wall.saturating_sub(now.boot.saturating_sub(until)).as_secs());
        // Shutdown and firmware do not take that long: the clock was set meanwhile.
        let first_start = world.memory.first_start.as_ref().map_or(Duration::ZERO, |first| first.at);
        let is_plausible = |away: Duration| away <= until.saturating_sub(first_start) + LONGEST_DOWN;
        last.ready_at = at.checked_sub(last.at).is_some_and(is_plausible).then_some(at);
    }
}

/// The slots were read. A slot that this machine has stamped in an earlier boot, for the Node that we see, proves a
/// reboot of ours: a clone of this machine has its id, but another Node. If that reboot is not remembered, the record
/// did not last, and this boot is all that tells how long ago that was.
pub(super) fn slots_read(world: &mut World) {
    let here = &world.host.boot_id;
    let known = world.memory.last_reboot.as_ref().map(|last| &last.boot_id);
    let node = world.cluster.node.last().and_then(Option::as_ref).map(|node| &node.uid);
    let proof = held_here(world)
        .filter(|slot| node.is_some() && slot.claim.node_uid.as_ref() == node)
        .find_map(|slot| {
            let stamp =
                slot.stamp.as_ref().filter(|stamp| stamp.boot_id != *here && !stamp.boot_id.is_empty())?;
            let at = Duration::from_secs(world.now.wall.saturating_sub(world.now.boot).as_secs());
            (Some(&stamp.boot_id) != known).then(|| LastReboot {
                boot_id: stamp.boot_id.clone(),
                at,
                led_to: Some(here.clone()),
                why: slot.claim.reason.clone(),
                ending: Some(Ending::UnderWay),
                ..LastReboot::default()
            })
        });
    if proof.is_some() {
        world.memory.last_reboot = proof;
    }
}

/// The slot was given back.
pub(super) fn released(world: &mut World, because: Option<AbortReason>) {
    let (here, now) = (&world.host.boot_id, wall(world));
    let Some(last) = under_way(&mut world.memory.last_reboot) else { return };
    match because {
        None if last.boot_id != *here => last.end(Ending::Well, now),
        Some(_) if last.boot_id == *here => last.end(Ending::StayedUp, now),
        _ => {}
    }
}

/// A complete look has ended. If this machine holds no slot any more, either a person freed it, or the answer to our
/// release was lost. Who has sent one knows; for a process that was restarted since, a release comes after the uncordon.
pub(super) fn looked(world: &mut World) {
    if holds_a_slot(world) {
        return;
    }
    if let Some(because) = world.cluster.release_unanswered.take() {
        released(world, because);
        // So that step has not failed.
        (world.cluster.writes_failed, world.cluster.write_failure, world.cluster.write_failures) =
            (0, None, None);
    }
    let (here, now) = (&world.host.boot_id, wall(world));
    let Some(last) = under_way(&mut world.memory.last_reboot) else { return };
    let ending = match last.uncordoned_at {
        None => Ending::SlotLost,
        Some(_) if last.boot_id == *here => Ending::StayedUp,
        Some(_) => Ending::Well,
    };
    last.end(ending, now);
}

fn under_way(last: &mut Option<LastReboot>) -> Option<&mut LastReboot> {
    last.as_mut().filter(|last| last.ending == Some(Ending::UnderWay))
}

/// Whether this machine holds a slot, as last read.
pub(super) fn holds_a_slot(world: &World) -> bool {
    held_here(world).next().is_some()
}

/// The slots that this machine holds, as last read.
fn held_here(world: &World) -> impl Iterator<Item = &SlotView> {
    let machine = &world.host.machine_id;
    let slots = world.cluster.slots.last().into_iter().flatten();
    slots.filter(move |slot| slot.holder.is_some() && slot.claim.machine_id.as_ref() == Some(machine))
}

/// Whole seconds, because that is how it is stored.
fn wall(world: &World) -> Duration {
    Duration::from_secs(world.now.wall.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::{Claim, Memory, NodeView, Now};

    /// Back from a reboot that was asked for in the boot `before`, with the slot still held or not.
    fn back(held: bool, uncordoned_at: Option<Duration>) -> World {
        let at = Duration::from_secs(60);
        let last_reboot = Some(LastReboot {
            boot_id: "before".into(),
            cordoned_at: Some(at),
            uncordoned_at,
            ending: Some(Ending::UnderWay),
            ..LastReboot::default()
        });
        let memory = Memory { last_reboot, cordoned_at: Some(at), ..Memory::default() };
        let now = Now { boot: Duration::from_secs(9), wall: Duration::from_secs(100) };
        let mut world = World::new(now, "p".into(), "here".into(), "m".into(), memory);
        let claim = Claim { machine_id: Some("m".into()), ..Claim::default() };
        let holder = held.then(|| "n".to_owned());
        world.cluster.slots.take(Ok(vec![SlotView { holder, claim, ..SlotView::default() }]));
        world
    }

    fn ending(world: &World) -> Option<Ending> {
        world.memory.last_reboot.as_ref().unwrap().ending
    }

    #[test]
    fn it_is_under_way_until_the_slot_is_given_back() {
        let mut world = back(true, None);
        looked(&mut world);
        uncordoned(&mut world);
        looked(&mut world);
        assert_eq!(ending(&world), Some(Ending::UnderWay));
        released(&mut world, None);
        assert_eq!(ending(&world), Some(Ending::Well));
        let cordoned_for = world.memory.last_reboot.as_ref().unwrap().cordoned_for();
        assert_eq!(cordoned_for, Some(Duration::from_secs(40)));
    }

    #[test]
    fn a_slot_that_is_gone_before_the_uncordon_was_freed_and_after_it_was_given_back() {
        let mut world = back(false, None);
        looked(&mut world);
        assert_eq!(ending(&world), Some(Ending::SlotLost));
        uncordoned(&mut world);
        looked(&mut world);
        assert_eq!(ending(&world), Some(Ending::SlotLost), "it stays what it was");
        let mut world = back(false, Some(Duration::from_secs(90)));
        looked(&mut world);
        assert_eq!(ending(&world), Some(Ending::Well));
    }

    #[test]
    fn what_an_earlier_version_remembered_stays_unknown() {
        let mut world = back(false, None);
        world.memory.last_reboot.as_mut().unwrap().ending = None;
        looked(&mut world);
        released(&mut world, None);
        assert_eq!(ending(&world), None);
    }

    /// How long the host was away, once its Node is seen Ready, and 4 s before that not yet.
    fn away(mut world: World) -> Option<Duration> {
        world.cluster.node.take(Ok(Some(NodeView::default())));
        node_read(&mut world);
        world.now.boot += Duration::from_secs(4);
        world.now.wall += Duration::from_secs(4);
        let node = NodeView { ready: true, boot_id: "here".into(), ..NodeView::default() };
        world.cluster.node.take(Ok(Some(node)));
        node_read(&mut world);
        world.memory.last_reboot.as_ref().and_then(LastReboot::away_for)
    }

    #[test]
    fn how_long_the_host_was_away_is_known_only_of_a_turn_that_is_under_way() {
        let mut world = back(true, None);
        world.memory.last_reboot.as_mut().unwrap().at = Duration::from_secs(70);
        assert_eq!(away(world.clone()), Some(Duration::from_secs(30)));
        // As an earlier version left it, days ago.
        world.memory.last_reboot.as_mut().unwrap().ending = Some(Ending::Well);
        assert_eq!(away(world), None);
    }

    #[test]
    fn a_reboot_that_only_the_slot_proves_took_as_long_as_this_boot_at_least() {
        let mut world = back(true, None);
        world.memory.last_reboot = None;
        world.cluster.node.take(Ok(Some(NodeView { uid: "u".into(), ..NodeView::default() })));
        world.cluster.slots.take(Ok(vec![SlotView {
            holder: Some("n".into()),
            claim: Claim { machine_id: Some("m".into()), node_uid: Some("u".into()), ..Claim::default() },
            stamp: Some(crate::decide::Stamp {
                boot_id: "before".into(),
                attempt: 1,
                at: Duration::from_secs(1),
                daemon_sets: Default::default(),
                request: None,
            }),
            ..SlotView::default()
        }]));
        slots_read(&mut world);
        // Counted from the boot, so that `min_interval` holds.
        assert_eq!(world.memory.last_reboot.as_ref().map(|last| last.at), Some(Duration::from_secs(91)));
        assert_eq!(away(world), Some(Duration::from_secs(9)));
    }

    #[test]
    fn the_cordon_of_a_later_turn_is_not_its_own() {
        let mut world = back(true, None);
        uncordoned(&mut world);
        world.now.wall = Duration::from_secs(500);
        cordoned(&mut world);
        world.now.wall = Duration::from_secs(600);
        uncordoned(&mut world);
        let cordoned_for = world.memory.last_reboot.as_ref().unwrap().cordoned_for();
        assert_eq!(cordoned_for, Some(Duration::from_secs(40)));
    }

    #[test]
    fn its_times_are_those_of_its_turn() {
        let at = |second| Some(Duration::from_secs(second));
        let mut world = back(true, None);
        world.now = Now { boot: Duration::from_secs(50), wall: Duration::from_secs(1050) };
        let claim = Claim {
            at: at(20),
            machine_id: Some("m".into()),
            boot_id: Some("here".into()),
            ..Claim::default()
        };
        let slot = SlotView { holder: Some("n".into()), claim, ..SlotView::default() };
        world.cluster.slots.take(Ok(vec![slot]));
        let packages = vec!["libc6".to_owned()];
        let request = Request { reason: "r".into(), packages, since: at(900) };
        world.host.requests.entry(Source::SentinelFile).or_default().take(Ok(Some(request)));
        world.cluster.drain.cordoned = at(21);
        begun(&mut world);
        let last = world.memory.last_reboot.as_ref().unwrap();
        assert_eq!((last.requested_at, last.up_since), (at(900), at(1000)));
        assert_eq!((last.claimed_at, last.drained_at), (at(1020), at(1021)), "no pod had to leave");
        assert!(last.packages.contains("libc6"));
        world.cluster.drain.last_gone = Duration::from_secs(44);
        begun(&mut world);
        let last = world.memory.last_reboot.as_ref().unwrap();
        assert_eq!((last.drained_at, last.up_since), (at(1044), at(1000)), "another try");
        world.host.boot_id = "after".into();
        released(&mut world, None);
        let last = world.memory.last_reboot.as_ref().unwrap();
        assert_eq!((last.ending, last.ended_at), (Some(Ending::Well), at(1050)));
    }
}
