//! The questions that the gates of [`super::gates`] ask, one by one.

mod asked;
mod host;
mod policies;

use std::collections::BTreeSet;
use std::time::Duration;

use super::drain::{self, Verdict};
use super::identity;
use super::jitter::jitter;
use super::last_reboot::{self, DAY};
use super::settings::{Breaker, DrainMode, ForeignCordon, Settings, Zones};
use super::windows::Closed as Shut;
use super::world::World;
use super::{Judgement, Names, NodeView, Owner, PodView, Reason, SlotView, canary, reclaim};

pub(super) use asked::{Asked, Closed};
use asked::{closed, read, shut};
pub use host::clock_matters;
pub(super) use host::{
    clock_is_right, dpkg_rests, hold_is_known, hooks_can_be_started, kernel_can_start, logind_lets_us,
    machine_id_lasts, no_shutdown_is_scheduled, nothing_inhibits, packages_are_installed, shutdown_is_known,
};
pub(super) use policies::{other_manifests, policies_are_in_force, unconfined};

/// A control plane of three members works while two of them do.
const MEMBERS_NEEDED: usize = 2;
/// If many nodes are not well, this many are named.
pub(super) const MOST_NAMED: usize = 3;
/// For this long after the wait, nobody is asked to log out again.
const TOLD_HOLDS: Duration = Duration::from_secs(60 * 60);
/// Nodes that have waited for a window begin within this time after it opens.
const WINDOW_SPREAD: Duration = Duration::from_secs(10);

// ---- what people and the calendar say ----

pub(super) fn requests_are_sure(asked: &Asked<'_>) -> Vec<Closed> {
    asked.requests.closed().into_iter().map(closed).collect()
}

/// What makes it uncertain that the settings are what people want: a freeze with a typo must not lead to a reboot. A
/// policy that has not been read yet does not count here; it is read before any effect, see `phase::wish`.
pub(super) fn policy_is_understood(asked: &Asked<'_>) -> Vec<Closed> {
    let world = asked.world;
    let reason = match &world.host.configuration {
        Some(why) => Some(Reason::ConfigurationUnreadable { why: why.clone() }),
        None => world.cluster.policy.failure().map(|why| Reason::PolicyUnreadable { why: why.to_owned() }),
    };
    reason.map(closed).into_iter().collect()
}

pub(super) fn nobody_holds(asked: &Asked<'_>) -> Vec<Closed> {
    let held = |by: String, why: &String, end: String| closed(Reason::Held { by, why: why.clone(), end });
    let file = asked.world.host.hold.last().and_then(Option::as_ref);
    let file = file
        .map(|why| held(asked.settings.host.hold.display().to_string(), why, "rebootctl unhold".to_owned()));
    let node = asked.world.cluster.node.last().and_then(Option::as_ref);
    let annotation = node.and_then(|node| node.hold.as_ref());
    let annotation = annotation.map(|why| {
        let end = format!("kubectl annotate node {} rebootd.io/hold-", asked.settings.node_name);
        held("the Node's annotation rebootd.io/hold".to_owned(), why, end)
    });
    file.into_iter().chain(annotation).collect()
}

pub(super) fn fleet_goes_on(asked: &Asked<'_>) -> Vec<Closed> {
    let pause = asked.world.cluster.pause.as_ref();
    pause.map(|why| closed(Reason::Paused { why: why.clone() })).into_iter().collect()
}

pub(super) fn window_is_open(asked: &Asked<'_>) -> Vec<Closed> {
    let Some(windows) = &asked.settings.policy.windows else { return vec![closed(Reason::NoWindow)] };
    let Judgement::Closed { why: Shut::NoWindow, opens } = windows.judge(asked.world.now.wall) else {
        return vec![];
    };
    let left = opens.map(|at| at.saturating_sub(asked.world.now.wall));
    // All nodes of a fleet have the same window, and would ask the API server at the same moment.
    let spread = WINDOW_SPREAD.mul_f64(jitter(&[&asked.settings.node_name, "window"]));
    vec![shut(Reason::WindowClosed { left }, left.map(|left| asked.world.now.boot + left + spread))]
}

pub(super) fn nothing_is_frozen(asked: &Asked<'_>) -> Vec<Closed> {
    let Some(windows) = &asked.settings.policy.windows else { return vec![] };
    let Judgement::Closed { why: Shut::Frozen { by, .. }, opens } = windows.judge(asked.world.now.wall)
    else {
        return vec![];
    };
    let left = opens.map(|at| at.saturating_sub(asked.world.now.wall));
    vec![shut(Reason::Frozen { by, left }, left.map(|left| asked.world.now.boot + left))]
}

/// How long the window stays open; `None` if its end is not known, or it is not open.
pub(super) fn window_left(world: &World, settings: &Settings) -> Option<Duration> {
    match settings.policy.windows.as_ref()?.judge(world.now.wall) {
        Judgement::Open { until } => Some(until?.saturating_sub(world.now.wall)),
        Judgement::Closed { .. } => None,
    }
}

/// A drain that starts now would not have enough time.
pub(super) fn window_is_long_enough(asked: &Asked<'_>) -> Vec<Closed> {
    let needed = asked.settings.policy.window_left;
    let left = window_left(asked.world, asked.settings).filter(|left| *left < needed);
    let reason =
        left.map(|left| shut(Reason::WindowEndsSoon { left, needed }, Some(asked.world.now.boot + left)));
    reason.into_iter().collect()
}

// ---- what keeps a node from rebooting too soon or too often ----

pub(super) fn is_up_for_long_enough(asked: &Asked<'_>) -> Vec<Closed> {
    let needed = asked.settings.gates.min_uptime;
    let left = needed.checked_sub(asked.world.now.boot).filter(|left| !left.is_zero());
    left.map(|left| shut(Reason::UpForTooShort { left }, Some(needed))).into_iter().collect()
}

/// Closed for this long, for this reason.
fn left(asked: &Asked<'_>, left: Option<Duration>, reason: impl Fn(Duration) -> Reason) -> Vec<Closed> {
    left.map(|left| shut(reason(left), Some(asked.world.now.boot + left))).into_iter().collect()
}

pub(super) fn interval_is_over(asked: &Asked<'_>) -> Vec<Closed> {
    let it = interval_left(asked.world, asked.settings.policy.min_interval);
    left(asked, it, |left| Reason::RebootedRecently { left })
}

pub(super) fn day_has_reboots_left(asked: &Asked<'_>) -> Vec<Closed> {
    let Some(most) = asked.settings.policy.max_reboots_per_day else { return vec![] };
    left(asked, day_left(asked.world, most), |left| Reason::TooManyReboots { most, left })
}

/// Without a record of the last reboot, nothing would keep a source that never stops asking from rebooting the host again
/// and again.
pub(super) fn record_is_kept(asked: &Asked<'_>) -> Vec<Closed> {
    record_failure(asked.world, asked.settings)
        .map(|why| closed(Reason::RecordNotKept { why }))
        .into_iter()
        .collect()
}

/// Why a reboot could not be remembered, if it has to be.
pub fn record_failure(world: &World, settings: &Settings) -> Option<String> {
    let policy = &settings.policy;
    let is_limited = !policy.min_interval.is_zero() || policy.max_reboots_per_day.is_some();
    world.host.memory_failure.clone().filter(|_| is_limited)
}

pub(super) fn setback_is_over(asked: &Asked<'_>) -> Vec<Closed> {
    let world = asked.world;
    let setback = world.memory.setback.as_ref().filter(|it| it.boot_id == world.host.boot_id);
    let Some(setback) = setback else { return vec![] };
    let until = setback.at + pause(setback.count);
    let it = until.checked_sub(world.now.boot).filter(|left| !left.is_zero());
    left(asked, it, |left| Reason::BackingOff { left, because: setback.because })
}

pub(super) fn request_is_old_enough(asked: &Asked<'_>) -> Vec<Closed> {
    let it = asked.requests.too_new(asked.world, asked.settings.policy.min_age);
    left(asked, it, |left| Reason::RequestTooNew { left })
}

pub(super) fn livepatch_does_not_suffice(asked: &Asked<'_>) -> Vec<Closed> {
    let it = asked.requests.livepatched(asked.world, asked.settings.host.livepatched_min_age);
    it.map(|(reason, opens)| shut(reason, opens)).into_iter().collect()
}

/// How long a node waits after this many setbacks in a row before it claims again. If something blocks a drain for
/// days, the node's other pods should not be moved at each try.
pub(super) fn pause(setbacks: u32) -> Duration {
    let minutes = match setbacks {
        0 | 1 => 30,
        2 => 2 * 60,
        3 => 4 * 60,
        _ => 8 * 60,
    };
    Duration::from_secs(minutes * 60)
}

/// How long until the next automatic reboot may start, if it may not start yet.
fn interval_left(world: &World, min_interval: Duration) -> Option<Duration> {
    min_interval.checked_sub(world.since_reboot(world.rebooted()?)).filter(|left| !left.is_zero())
}

/// How long until there were fewer than this many reboots within the last day.
fn day_left(world: &World, most: u32) -> Option<Duration> {
    let mut left: Vec<Duration> = last_reboot::elapsed_since_each(world)
        .filter_map(|elapsed| DAY.checked_sub(elapsed))
        .filter(|left| !left.is_zero())
        .collect();
    left.sort_unstable_by(|one, other| other.cmp(one));
    left.get(most.saturating_sub(1) as usize).copied()
}

// ---- the own Node, and people ----

pub(super) fn node_stays(asked: &Asked<'_>) -> Vec<Closed> {
    let node = asked.world.cluster.node.last().and_then(Option::as_ref);
    let removal = node.and_then(|node| node.removal.as_ref());
    removal.map(|by| closed(Reason::NodeIsRemoved { by: by.clone() })).into_iter().collect()
}

pub(super) fn nobody_else_has_cordoned(asked: &Asked<'_>) -> Vec<Closed> {
    let waits = asked.settings.gates.foreign_cordon == ForeignCordon::Wait;
    let node = asked.world.cluster.node.last().and_then(Option::as_ref).filter(|_| waits);
    // While our mark is there, the cordon was ours a moment ago; what became of it is settled elsewhere.
    let foreign = node.filter(|node| node.unschedulable && node.mark.is_none());
    foreign
        .map(|_| closed(Reason::ForeignCordon { node: asked.settings.node_name.clone() }))
        .into_iter()
        .collect()
}

pub(super) fn boot_is_reported(asked: &Asked<'_>) -> Vec<Closed> {
    let node = asked.world.cluster.node.last().and_then(Option::as_ref);
    let result = node.map_or(Ok(()), |node| identity::node_is_this_boot(asked.world, node));
    result.err().map(closed).into_iter().collect()
}

/// Whether people who are logged in have to be asked to log out before they are waited for.
pub(super) fn people_have_to_be_told(world: &World, settings: &Settings) -> bool {
    let Some(limit) = settings.gates.sessions else { return false };
    let told = world.host.people_told.map(|at| at + limit + TOLD_HOLDS);
    let anybody = world.host.sessions.current().is_some_and(|sessions| !sessions.is_empty());
    anybody && told.is_none_or(|until| until <= world.now.boot)
}

/// People who are logged in are asked to log out and then waited for, but only for a limited time.
pub(super) fn nobody_is_logged_in(asked: &Asked<'_>) -> Vec<Closed> {
    let Some(limit) = asked.settings.gates.sessions else { return vec![] };
    let sessions = match read("who is logged in", &asked.world.host.sessions) {
        Ok(sessions) if sessions.is_empty() => return vec![],
        Ok(sessions) => sessions,
        Err(reason) => return vec![closed(reason)],
    };
    let mut who = Names::default();
    sessions.iter().for_each(|session| who.push(session.clone()));
    let who = who.shortened(MOST_NAMED);
    let now = asked.world.now.boot;
    match asked.world.host.people_told.map(|at| at + limit) {
        Some(until) if now < until => vec![shut(Reason::LoggedIn { who, left: until - now }, Some(until))],
        Some(until) if now < until + TOLD_HOLDS => vec![],
        _ => vec![closed(Reason::LoggedIn { who, left: limit })],
    }
}

/// The labels of kured's pods, by its manifest and by its chart.
const KURED: [&str; 2] = ["name", "app.kubernetes.io/name"];

/// Both watch the same file, and neither knows of the other's turn.
pub(super) fn kured_is_not_here(asked: &Asked<'_>) -> Vec<Closed> {
    let pods = asked.world.cluster.pods.last();
    let is_kured = |pod: &&PodView| {
        pod.owner == Owner::DaemonSet
            && KURED.iter().any(|label| pod.labels.get(*label).is_some_and(|it| it == "kured"))
    };
    let kured = pods.and_then(|pods| pods.values().find(is_kured));
    kured.map(|pod| closed(Reason::KuredHere { pod: pod.key.to_string() })).into_iter().collect()
}

/// Closed while a pod stands in the way: a person has to decide.
pub(super) fn no_pod_stands_in_the_way(asked: &Asked<'_>) -> Vec<Closed> {
    let plan = drain::plan(asked.world, asked.settings).unwrap_or_default();
    let mut refused = plan.iter().filter_map(|planned| match &planned.verdict {
        Verdict::Refuse(why) => Some((&planned.pod.key, why)),
        Verdict::Evict | Verdict::Warn(_) | Verdict::Await(..) | Verdict::Leave(_) => None,
    });
    let Some((pod, why)) = refused.next() else { return vec![] };
    let mut others = Names::default();
    refused.for_each(|(pod, _)| others.push(pod.to_string()));
    let (first, others) = (format!("{pod}: {why}"), others.shortened(MOST_NAMED));
    vec![closed(Reason::PodsRefused { first, others })]
}

// ---- the rest of the cluster, asked by a node that holds a slot ----

pub(super) fn control_plane_is_whole(asked: &Asked<'_>) -> Vec<Closed> {
    match read("the other nodes", &asked.world.cluster.others) {
        Ok(others) if others.control_plane.count() > 0 => {
            let parts = others.control_plane.clone().shortened(MOST_NAMED);
            vec![closed(Reason::ControlPlaneNotReady { parts })]
        }
        Ok(_) => vec![],
        Err(reason) => vec![closed(reason)],
    }
}

/// Closed while another member of the control plane holds a slot, of whatever pool: it may be about to go down although
/// it is still Ready. A member that has not cordoned itself yet gives its own slot back then, so that two of them do not
/// wait for each other.
pub(super) fn no_other_member_has_its_turn(asked: &Asked<'_>) -> Vec<Closed> {
    let Some(others) = asked.world.cluster.others.last() else { return vec![] };
    let slots = asked.world.cluster.slots.last().into_iter().flatten();
    let held = slots.filter_map(|slot| {
        let holder = slot.holder.as_ref().filter(|holder| others.members.first.contains(holder))?;
        Some(format!("{holder} holds {}", slot.name))
    });
    let mut turns = Names::default();
    held.for_each(|turn| turns.push(turn));
    if turns.count() == 0 {
        vec![]
    } else {
        vec![closed(Reason::MembersTurn { turns: turns.shortened(MOST_NAMED) })]
    }
}

/// Closed while a node of another zone holds a slot of the pool. As with members of the control plane, whoever claims says so
/// before it looks at the others.
pub(super) fn no_other_zone_has_its_turn(asked: &Asked<'_>) -> Vec<Closed> {
    let node = asked.world.cluster.node.last().and_then(Option::as_ref);
    let Some(node) = node.filter(|_| asked.settings.policy.zones == Zones::One) else { return vec![] };
    let slots = asked.world.cluster.slots.last().into_iter().flatten();
    let mut turns = Names::default();
    for slot in slots.filter(|slot| is_of_other_zone(asked.settings, node, slot)) {
        let zone = slot.claim.zone.as_deref().unwrap_or("unknown");
        turns.push(format!("{} of {zone:?} holds {}", slot.holder.as_deref().unwrap_or_default(), slot.name));
    }
    let turns = turns.shortened(MOST_NAMED);
    (turns.count() > 0).then(|| closed(Reason::ZonesTurn { turns })).into_iter().collect()
}

/// Whether another node of the pool holds this slot that does not say that it is of our zone.
pub(super) fn is_of_other_zone(settings: &Settings, node: &NodeView, slot: &SlotView) -> bool {
    let by_other = reclaim::is_claimed(slot) && slot.holder.as_ref() != Some(&settings.node_name);
    by_other && slot.pool.as_ref() == Some(&settings.pool) && slot.claim.zone.as_deref() != Some(node.zone())
}

/// Closed while enough other nodes of the pool try what this one would make live. Whoever has claimed keeps to what it said then.
pub(super) fn canaries_have_gone_first(asked: &Asked<'_>) -> Vec<Closed> {
    let (world, settings) = (asked.world, asked.settings);
    let Some((canary, news)) = canary::asked(world, settings) else { return vec![] };
    let what = match own_claim(world, settings) {
        Some(SlotView { claim, .. }) => claim.canary.clone(),
        None if canary::is_proven(world, canary, &news) => None,
        None => Some(news),
    };
    let Some(what) = what else { return vec![] };
    let mut turns = Names::default();
    for slot in canary::rivals(world, settings, &what) {
        turns.push(format!("{} holds {}", slot.holder.as_deref().unwrap_or_default(), slot.name));
    }
    if turns.count() >= canary.nodes as usize {
        return vec![closed(Reason::CanaryFirst { turns: turns.shortened(MOST_NAMED) })];
    }
    match own_claim(world, settings) {
        Some(_) => vec![],
        // Otherwise it would be a canary without need.
        None => read("what has been tried", &world.cluster.proven).err().map(closed).into_iter().collect(),
    }
}

/// The slot that this node has claimed in this boot.
fn own_claim<'a>(world: &'a World, settings: &Settings) -> Option<&'a SlotView> {
    let mut slots = world.cluster.slots.last().into_iter().flatten();
    slots.find(|slot| {
        slot.holder.as_ref() == Some(&settings.node_name)
            && slot.claim.boot_id.as_ref() == Some(&world.host.boot_id)
    })
}

/// Closed while a node has not come back from its reboot in time: what it has started may be what this one would start. A wrong
/// clock makes this close too early or too late; it opens as soon as the slot is free.
pub(super) fn every_node_came_back(asked: &Asked<'_>) -> Vec<Closed> {
    let breaker = asked.settings.policy.breaker;
    let now = asked.world.now.wall;
    let news = canary::asked(asked.world, asked.settings).map(|(_, news)| news);
    let counts = |slot: &&SlotView| match breaker {
        Breaker::Cluster => true,
        // It tried the same.
        _ if news.is_some() && slot.claim.canary == news => true,
        Breaker::Pool => slot.pool.as_ref() == Some(&asked.settings.pool),
        Breaker::Off => false,
    };
    let slots = asked.world.cluster.slots.last().into_iter().flatten();
    let closed_by = |slot: &SlotView| {
        let holder = slot.holder.clone().filter(|holder| *holder != asked.settings.node_name)?;
        let is_away = slot.stamp.is_some() && !slot.returned;
        let since = slot.written.filter(|_| is_away).and_then(|at| now.checked_sub(at))?;
        let limit = slot.claim.back_within.unwrap_or(asked.settings.policy.return_timeout);
        let slot = slot.name.clone();
        (since >= limit).then(|| closed(Reason::NodeNotBack { slot, holder, since }))
    };
    slots.filter(counts).filter_map(closed_by).next().into_iter().collect()
}

pub(super) fn other_nodes_are_ready(asked: &Asked<'_>) -> Vec<Closed> {
    // If they cannot be read, the gate of the control plane already says so.
    let Some(others) = asked.world.cluster.others.current() else { return vec![] };
    // A node that holds a slot of the pool is allowed to be down: the slots limit how many are.
    let settings = asked.settings;
    let slots = asked.world.cluster.slots.last().into_iter().flatten();
    let of_pool = slots.filter(|slot| slot.pool.as_ref() == Some(&settings.pool));
    let holders: BTreeSet<&String> = of_pool.filter_map(|slot| slot.holder.as_ref()).collect();
    let cordoned = Some(&others.cordoned).filter(|_| settings.gates.count_cordoned);
    let mut nodes = Names::default();
    for (names, state) in [(Some(&others.not_ready), ""), (cordoned, " (cordoned)")] {
        let Some(names) = names else { continue };
        let first = names.first.iter().filter(|name| !holders.contains(name));
        nodes.first.extend(first.map(|name| format!("{name}{state}")));
        nodes.more += names.more;
    }
    // This node is one of the pool.
    let allowed = settings.gates.max_nodes_not_ready.of(others.of_pool + 1);
    if nodes.count() <= allowed {
        return vec![];
    }
    let (pool, nodes) = (settings.pool.clone(), nodes.shortened(MOST_NAMED));
    vec![closed(Reason::OtherNodesNotReady { pool, nodes, allowed })]
}

/// As last known: a node that joins later is seen at the next look. Two members of a control plane are no better than
/// one: etcd needs more than half of them, and a member whose Node was deleted still counts there.
pub(super) fn is_not_the_only_one(asked: &Asked<'_>) -> Vec<Closed> {
    let last = asked.world.cluster.others.last();
    let Some(others) = last.filter(|_| asked.settings.policy.drain == DrainMode::Auto) else { return vec![] };
    if others.only_node {
        return vec![closed(Reason::OnlyNode)];
    }
    let too_few = others.members_ready.filter(|ready| *ready < MEMBERS_NEEDED);
    too_few.map(|ready| closed(Reason::OnlyControlPlane { ready })).into_iter().collect()
}

pub(super) fn no_alert_fires(asked: &Asked<'_>) -> Vec<Closed> {
    if asked.settings.gates.query.is_none() {
        return vec![];
    }
    match read("Prometheus", &asked.world.cluster.alerts) {
        Ok(found) if found.count() == 0 => vec![],
        Ok(found) => vec![closed(Reason::Alerts { found: found.clone().shortened(MOST_NAMED) })],
        Err(reason) => vec![closed(reason)],
    }
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
        // First: the clock was set back by a year since. Second: it was a year ahead when the reboot was asked for.
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
        // The clock went back: each reboot counts from this boot.
        world.now.wall = hours(10);
        assert_eq!(day_left(&world, 3), Some(hours(23)));
        world.now.boot = hours(24);
        assert_eq!(day_left(&world, 1), None);
    }
}
