//! Gates: conditions that must be open to go on. Each names its reason; an unreadable one is closed.

use std::collections::BTreeSet;
use std::time::Duration;

use super::requests::requests;
use super::settings::{DrainMode, Settings};
use super::world::World;
use super::{AbortReason, Closed, Inhibitor, Judgement, Names, NodeView, Open, Reading, Reason, Windows};

pub(super) const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Of many nodes that are not well, so many are named.
pub(super) const MOST_NAMED: usize = 3;
/// For so long after the wait nobody is asked to log out once more.
const TOLD_HOLDS: Duration = Duration::from_secs(60 * 60);

/// A gate that a person or the calendar shuts. Nothing starts beside it, and a drain that has begun is undone.
pub(super) struct Shut {
    pub(super) reason: Reason,
    pub(super) because: AbortReason,
    /// When it opens by itself, in time since boot, if that is known.
    pub(super) opens: Option<Duration>,
}

/// The gates that people and the calendar shut, the one to show first.
pub(super) fn shut(world: &World, settings: &Settings) -> Vec<Shut> {
    let mut shut = Vec::new();
    let mut held = |by: String, why: &str| {
        let reason = Reason::Held { by, why: why.to_owned() };
        shut.push(Shut { reason, because: AbortReason::Held, opens: None });
    };
    if let Some(Some(why)) = world.host.hold.last() {
        held(settings.host.hold.display().to_string(), why);
    }
    if let Some(why) = world.cluster.node.last().and_then(Option::as_ref).and_then(|it| it.hold.as_ref()) {
        held("the Node's annotation rebootd.io/hold".to_owned(), why);
    }
    if let Some(why) = &world.cluster.pause {
        let reason = Reason::Paused { why: why.clone() };
        shut.push(Shut { reason, because: AbortReason::Paused, opens: None });
    }
    shut.extend(calendar(world, settings));
    shut
}

/// The window that is not open, or the freeze.
fn calendar(world: &World, settings: &Settings) -> Option<Shut> {
    let Some(windows) = &settings.policy.windows else {
        return Some(Shut { reason: Reason::NoWindow, because: AbortReason::WindowClosed, opens: None });
    };
    let Judgement::Closed { why, opens } = windows.judge(world.now.wall) else { return None };
    let left = opens.map(|at| at.saturating_sub(world.now.wall));
    let (reason, because) = match why {
        Closed::NoWindow => (Reason::WindowClosed { left }, AbortReason::WindowClosed),
        Closed::Frozen { by, .. } => (Reason::Frozen { by, left }, AbortReason::Frozen),
    };
    Some(Shut { reason, because, opens: left.map(|left| world.now.boot + left) })
}

/// How long the window stays open; `None` while that is not bounded, or it is not open.
pub(super) fn window_left(world: &World, settings: &Settings) -> Option<Duration> {
    match settings.policy.windows.as_ref()?.judge(world.now.wall) {
        Judgement::Open { until } => Some(until?.saturating_sub(world.now.wall)),
        Judgement::Closed { .. } => None,
    }
}

/// How long the window stays open, where a drain that starts now would not have its time.
pub(super) fn window_ends_soon(world: &World, settings: &Settings) -> Option<Duration> {
    window_left(world, settings).filter(|left| *left < settings.policy.window_left)
}

/// What keeps the settings from being what people want them to be: a freeze with a typo must not be a reboot.
/// A policy that was not read yet is read before any effect: see `phase::wish`.
pub(super) fn policy(world: &World) -> Option<Reason> {
    if let Some(why) = &world.host.configuration {
        return Some(Reason::ConfigurationUnreadable { why: why.clone() });
    }
    world.cluster.policy.failure().map(|why| Reason::PolicyUnreadable { why: why.to_owned() })
}

/// The gates of the own Node, asked whenever those of the host are.
pub(super) fn node(node: &NodeView) -> Option<Reason> {
    node.removal.as_ref().map(|by| Reason::NodeIsRemoved { by: by.clone() })
}

/// The gates of this host, asked before the claim, before the cordon and right before the reboot.
pub(super) fn host(world: &World, settings: &Settings) -> Vec<Reason> {
    let mut closed = Vec::new();
    closed.extend(clock(world, settings));
    let host = &world.host;
    if let Err(reason) = read("whether the host is shutting down", &host.going_down) {
        closed.push(reason);
    }
    if let Err(reason) = read("whether a person holds this node", &host.hold) {
        closed.push(reason);
    }
    match read("what shutdown is scheduled", &host.scheduled) {
        // logind keeps a reboot that was asked for without a delay, ours too, and shows it for good where it came to
        // nothing: what is past is no plan. Whether it is under way is another reading.
        Ok(Some(scheduled)) if scheduled.at > world.now.wall => {
            let left = scheduled.at.saturating_sub(world.now.wall);
            closed.push(Reason::ShutdownScheduled { kind: scheduled.kind.clone(), left });
        }
        Ok(_) => {}
        Err(reason) => closed.push(reason),
    }
    match read("dpkg's locks", &host.package_manager) {
        Ok(Some(lock)) => closed.push(Reason::PackageManager { lock: lock.clone() }),
        Ok(None) => {}
        Err(reason) => closed.push(reason),
    }
    match read("logind's inhibitors", &host.inhibitors) {
        Ok(inhibitors) => {
            let blocks: Vec<&Inhibitor> = inhibitors.iter().filter(|one| !one.delays).collect();
            closed.extend(blocks.iter().map(|one| Reason::Inhibited { inhibitor: (*one).clone() }));
            // While something is inhibited logind says no to everybody: then the inhibitor is the reason.
            match read("whether logind lets us reboot", &host.may_reboot) {
                Ok(false) if blocks.is_empty() => closed.push(Reason::MayNotReboot),
                Ok(_) => {}
                Err(reason) => closed.push(reason),
            }
        }
        Err(reason) => closed.push(reason),
    }
    closed
}

/// Whether it matters that the clock is right: windows or freezes are in force, and something asks for a reboot.
pub fn clock_matters(world: &World, settings: &Settings) -> bool {
    is_by_the_clock(settings) && !requests(world, settings).is_empty()
}

fn is_by_the_clock(settings: &Settings) -> bool {
    let by_calendar = |windows: &Windows| windows.open != Open::Always || !windows.freezes.is_empty();
    settings.gates.require_synchronized_clock && settings.policy.windows.as_ref().is_some_and(by_calendar)
}

fn clock(world: &World, settings: &Settings) -> Option<Reason> {
    if !is_by_the_clock(settings) {
        return None;
    }
    let what = "whether the clock is synchronised (`require_synchronized_clock` in [gates])";
    match read(what, &world.host.clock_synchronized) {
        Ok(true) => None,
        Ok(false) => Some(Reason::ClockNotSynchronized),
        Err(reason) => Some(reason),
    }
}

/// What people who are logged in mean for a claim.
pub(super) enum People {
    /// Nothing.
    Open,
    /// They have to be asked to log out first.
    Tell(Reason),
    /// They are waited for, until this time since boot at most.
    Wait(Reason, Option<Duration>),
}

/// Whoever is logged in is asked to log out and then waited for, not for ever.
pub(super) fn people(world: &World, settings: &Settings) -> People {
    let Some(limit) = settings.gates.sessions else { return People::Open };
    let sessions = match read("who is logged in", &world.host.sessions) {
        Ok(sessions) if sessions.is_empty() => return People::Open,
        Ok(sessions) => sessions,
        Err(reason) => return People::Wait(reason, None),
    };
    let mut who = Names::default();
    sessions.iter().for_each(|session| who.push(session.clone()));
    let who = who.shortened(MOST_NAMED);
    let now = world.now.boot;
    match world.host.people_told.map(|at| at + limit) {
        Some(until) if now < until => People::Wait(Reason::LoggedIn { who, left: until - now }, Some(until)),
        Some(until) if now < until + TOLD_HOLDS => People::Open,
        _ => People::Tell(Reason::LoggedIn { who, left: limit }),
    }
}

/// The gates of other nodes, asked by whoever holds the slot, before the cordon and before the stamp.
///
/// Not before the claim: thousands of waiting nodes would list thousands of nodes each.
pub(super) fn others(world: &World, settings: &Settings) -> Vec<Reason> {
    let others = match read("the other nodes", &world.cluster.others) {
        Ok(others) => others,
        Err(reason) => return vec![reason],
    };
    let mut closed = Vec::new();
    if others.control_plane.count() > 0 {
        closed
            .push(Reason::ControlPlaneNotReady { parts: others.control_plane.clone().shortened(MOST_NAMED) });
    }
    // Whoever holds a slot of the pool is down by right: the slots bound how many.
    let slots = world.cluster.slots.last().into_iter().flatten();
    let of_pool = slots.filter(|slot| slot.pool.as_ref() == Some(&settings.pool));
    let holders: BTreeSet<&String> = of_pool.filter_map(|slot| slot.holder.as_ref()).collect();
    let gates = &settings.gates;
    let cordoned = Some(&others.cordoned).filter(|_| gates.count_cordoned);
    let mut nodes = Names::default();
    for (names, state) in [(Some(&others.not_ready), ""), (cordoned, " (cordoned)")] {
        let Some(names) = names else { continue };
        let first = names.first.iter().filter(|name| !holders.contains(name));
        nodes.first.extend(first.map(|name| format!("{name}{state}")));
        nodes.more += names.more;
    }
    let allowed = gates.max_nodes_not_ready;
    if nodes.count() > allowed as usize {
        let (pool, nodes) = (settings.pool.clone(), nodes.shortened(MOST_NAMED));
        closed.push(Reason::OtherNodesNotReady { pool, nodes, allowed });
    }
    closed
}

/// Whether this node is the only one of its kind, as last known.
pub(super) fn only_one(world: &World, settings: &Settings) -> Option<Reason> {
    let others = world.cluster.others.last().filter(|_| settings.policy.drain == DrainMode::Auto)?;
    if others.only_node {
        return Some(Reason::OnlyNode);
    }
    others.only_control_plane.then_some(Reason::OnlyControlPlane)
}

/// What Prometheus finds beside which nothing starts; asked when the other nodes are.
pub(super) fn alerts(world: &World, settings: &Settings) -> Option<Reason> {
    settings.gates.query.as_ref()?;
    match read("Prometheus", &world.cluster.alerts) {
        Ok(found) if found.count() == 0 => None,
        Ok(found) => Some(Reason::Alerts { found: found.clone().shortened(MOST_NAMED) }),
        Err(reason) => Some(reason),
    }
}

/// Gates that hold back only a new claim, and when each opens by itself, in time since boot.
pub(super) fn claim(world: &World, settings: &Settings) -> Vec<(Reason, Duration)> {
    let policy = &settings.policy;
    let mut closed = Vec::new();
    if let Some(left) = window_ends_soon(world, settings) {
        let needed = policy.window_left;
        closed.push((Reason::WindowEndsSoon { left, needed }, world.now.boot + left));
    }
    if let Some(left) = settings.gates.min_uptime.checked_sub(world.now.boot).filter(|left| !left.is_zero()) {
        closed.push((Reason::UpForTooShort { left }, settings.gates.min_uptime));
    }
    if let Some(left) = interval_left(world, policy.min_interval) {
        closed.push((Reason::RebootedRecently { left }, world.now.boot + left));
    }
    if let Some(most) = policy.max_reboots_per_day
        && let Some(left) = day_left(world, most)
    {
        closed.push((Reason::TooManyReboots { most, left }, world.now.boot + left));
    }
    if let Some(setback) = world.memory.setback.as_ref().filter(|it| it.boot_id == world.host.boot_id) {
        let until = setback.at + pause(setback.count);
        if world.now.boot < until {
            let left = until - world.now.boot;
            closed.push((Reason::BackingOff { left, because: setback.because }, until));
        }
    }
    closed
}

/// How long a node waits after so many setbacks in a row, before it claims again: what blocks a drain for days should
/// not have the node's other pods moved at each try.
pub(super) fn pause(setbacks: u32) -> Duration {
    let minutes = match setbacks {
        0 | 1 => 30,
        2 => 2 * 60,
        3 => 4 * 60,
        _ => 8 * 60,
    };
    Duration::from_secs(minutes * 60)
}

/// How long until the next automatic reboot may start, if it may not yet.
fn interval_left(world: &World, min_interval: Duration) -> Option<Duration> {
    let elapsed = world.elapsed_since(world.rebooted()?.at);
    min_interval.checked_sub(elapsed).filter(|left| !left.is_zero())
}

/// How long until fewer than so many reboots were within the last day.
fn day_left(world: &World, most: u32) -> Option<Duration> {
    let reboots = world.rebooted().map(|last| &last.at).into_iter().chain(&world.memory.earlier_reboots);
    let mut left: Vec<Duration> = reboots
        .filter_map(|at| DAY.checked_sub(world.elapsed_since(*at)))
        .filter(|left| !left.is_zero())
        .collect();
    left.sort_unstable_by(|one, other| other.cmp(one));
    left.get(most.saturating_sub(1) as usize).copied()
}

fn read<'a, T>(what: &'static str, reading: &'a Reading<T>) -> Result<&'a T, Reason> {
    reading.current().ok_or_else(|| Reason::Unreadable {
        what,
        why: reading.failure().unwrap_or("not read yet").to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::{LastReboot, Memory, Now};

    /// What is left of two hours, in this boot, after a reboot that was asked for at this wall time.
    fn left(asked_at: u64, wall: u64, boot: u64) -> Option<u64> {
        let seconds = Duration::from_secs;
        let now = Now { boot: seconds(boot), wall: seconds(wall) };
        let last_reboot =
            Some(LastReboot { boot_id: "before".into(), at: seconds(asked_at), ..Default::default() });
        let memory = Memory { last_reboot, ..Memory::default() };
        let world = World::new(now, "p".into(), "now".into(), "m".into(), memory);
        interval_left(&world, seconds(7200)).map(|left| left.as_secs())
    }

    #[test]
    fn a_wrong_wall_clock_makes_the_pause_between_reboots_no_longer_than_it_is() {
        assert_eq!(left(1_000_000, 1_000_060, 30), Some(7140));
        assert_eq!(left(1_000_000, 1_007_200, 30), None);
        // A year behind since the boot, and ahead by a year when the reboot was asked for.
        for (asked_at, wall) in [(32_000_000, 1_000_000), (63_000_000, 32_000_000)] {
            assert_eq!(left(asked_at, wall, 60), Some(7140));
            assert_eq!(left(asked_at, wall, 7200), None);
        }
    }

    #[test]
    fn so_many_reboots_are_allowed_in_a_day() {
        let hours = |hours: u64| Duration::from_secs(hours * 3600);
        let last_reboot = Some(LastReboot { boot_id: "before".into(), at: hours(99), ..Default::default() });
        let memory = Memory { last_reboot, earlier_reboots: vec![hours(70), hours(80)], ..Memory::default() };
        let now = Now { boot: hours(1), wall: hours(100) };
        let mut world = World::new(now, "p".into(), "now".into(), "m".into(), memory);
        assert_eq!(day_left(&world, 3), None);
        assert_eq!(day_left(&world, 2), Some(hours(4)));
        assert_eq!(day_left(&world, 1), Some(hours(23)));
        // The clock went back: each counts from this boot.
        world.now.wall = hours(10);
        assert_eq!(day_left(&world, 3), Some(hours(23)));
        world.now.boot = hours(24);
        assert_eq!(day_left(&world, 1), None);
    }
}
