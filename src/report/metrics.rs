//! This node in figures, in Prometheus' text format: a file for node_exporter's textfile collector, and for
//! `rebootd-metrics.socket`. docs/metrics.md says what each of them means; a test holds them stable.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{Display, Write};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::shown::is_live;
use crate::cluster::Traffic;
use crate::decide::settings::{Mode, Settings};
use crate::decide::{
    Confinement, Decision, Ending, Judgement, Phase, Update, Verdict, World, open_cves, plan, requests,
};

/// Where the daemon writes them. In memory, and not removed when the daemon ends: a file that is old tells more than none.
pub const PATH: &str = "/run/rebootd-metrics/rebootd.prom";

/// Name after `rebootd_`, type and meaning of each. None is ever changed, new ones may come.
pub const FAMILIES: [(&str, &str, &str); 30] = [
    ("build_info", "gauge", "The version of rebootd."),
    ("node_info", "gauge", "The Node, its pool, and whether rebootd acts or only observes."),
    ("phase", "gauge", "1 for the phase that this node is in."),
    (
        "reason",
        "gauge",
        "1 for each reason that rebootd gives now; alarm says whether it is meant to wake somebody.",
    ),
    ("requests", "gauge", "How many sources ask for a reboot."),
    ("request_since_timestamp_seconds", "gauge", "Since when this source asks for a reboot."),
    (
        "live",
        "gauge",
        "Whether nothing installed waits for a reboot: no request, and the kernel that should run does.",
    ),
    ("updates_not_live", "gauge", "How many updates are installed and not live, as far as that is known."),
    (
        "cves_open",
        "gauge",
        "How many CVEs that leaves open, by the changelogs of these packages; more where one tells nothing.",
    ),
    (
        "oldest_update_not_live_timestamp_seconds",
        "gauge",
        "When the first of the updates that are not live was installed.",
    ),
    ("window_open", "gauge", "Whether the calendar lets reboots start now."),
    ("window_next_open_timestamp_seconds", "gauge", "When the calendar lets reboots start the next time."),
    ("paused", "gauge", "Whether the fleet is paused."),
    ("slot_held", "gauge", "1 for each slot that this node holds."),
    ("slot_held_since_timestamp_seconds", "gauge", "Since when this node holds this slot."),
    ("drain_pods_left", "gauge", "How many pods still have to leave, while the node drains."),
    ("setbacks", "gauge", "How many turns in a row have failed."),
    (
        "last_reboot_timestamp_seconds",
        "gauge",
        "When rebootd last asked for a reboot; outcome says how that turn ended.",
    ),
    ("last_drain_seconds", "gauge", "From the cordon of the last turn to its reboot."),
    ("last_cordon_seconds", "gauge", "For how long the node was cordoned in its last turn."),
    (
        "boot_proven_timestamp_seconds",
        "gauge",
        "When it was last proven that a reboot which rebootd asked for happened.",
    ),
    (
        "installed_to_live_seconds",
        "histogram",
        "How long updates were installed until a reboot by rebootd made them live.",
    ),
    ("turns_total", "counter", "Turns by how they ended."),
    ("aborts_total", "counter", "Turns that were called off before the reboot."),
    (
        "credential_end_timestamp_seconds",
        "gauge",
        "When the node's own credential ends, unless it is renewed.",
    ),
    ("policies_in_force", "gauge", "Whether the cluster confines this node's credential."),
    ("last_look_timestamp_seconds", "gauge", "When the cluster was last read without an error."),
    ("api_requests_total", "counter", "Requests to the API server since the daemon started."),
    ("api_errors_total", "counter", "Those that were not answered, or by an error."),
    ("updated_timestamp_seconds", "gauge", "When this was written."),
];

/// What is counted beyond a restart and a boot.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Counts {
    /// Turns by how they ended.
    pub turns: BTreeMap<String, u64>,
    /// Turns that were called off.
    pub aborts: u64,
    /// How long updates were installed until they were live.
    pub to_live: Histogram,
}

/// An hour, six, a day, three, a week, two, a month, three.
const BOUNDS: [u64; 8] = [3_600, 21_600, 86_400, 259_200, 604_800, 1_209_600, 2_592_000, 7_776_000];

/// How often something took how long.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Histogram {
    /// How many took no longer than each of [`BOUNDS`], and longer than the one before.
    within: [u64; BOUNDS.len()],
    count: u64,
    /// In seconds.
    sum: u64,
}

impl Histogram {
    /// Counts one that took so many seconds.
    pub fn add(&mut self, seconds: u64) {
        let within = self.within.iter_mut().zip(BOUNDS).find(|(_, bound)| seconds <= *bound);
        within.into_iter().for_each(|(count, _)| *count = count.saturating_add(1));
        self.count = self.count.saturating_add(1);
        self.sum = self.sum.saturating_add(seconds);
    }
}

/// What is told besides what is known and decided now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Besides {
    /// What is counted.
    pub counts: Counts,
    /// What was sent.
    pub traffic: Traffic,
    /// When a look at the cluster last ended, in time since boot.
    pub looked: Option<Duration>,
}

/// The whole file, but for the time of writing.
pub fn text(world: &World, settings: &Settings, decision: &Decision, besides: &Besides) -> String {
    let mut page = Page::default();
    page.one("build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
    let mode = match settings.mode {
        Mode::Active => "active",
        Mode::Observe => "observe",
    };
    page.one("node_info", &[("node", &settings.node_name), ("pool", &settings.pool), ("mode", mode)], 1);
    for phase in Phase::ALL {
        page.one("phase", &[("phase", phase.word())], u8::from(phase == decision.phase));
    }
    let reasons: BTreeSet<_> = decision.reasons.iter().map(|it| (it.kind(), it.is_alarm())).collect();
    for (kind, is_alarm) in reasons {
        page.one("reason", &[("kind", kind), ("alarm", if is_alarm { "true" } else { "false" })], 1);
    }
    of_requests(&mut page, world, settings, decision);
    of_the_turn(&mut page, world, settings, decision);
    of_the_past(&mut page, world, &besides.counts);
    of_the_cluster(&mut page, world, settings, besides);
    page.0
}

/// The file as it is written.
pub fn written(text: &str, at: Duration) -> String {
    let mut page = Page(text.to_owned());
    page.one("updated_timestamp_seconds", &[], at.as_secs());
    page.0
}

fn of_requests(page: &mut Page, world: &World, settings: &Settings, decision: &Decision) {
    let requests = requests(world, settings);
    page.one("requests", &[], requests.len());
    for (source, request) in &requests {
        if let Some(since) = request.since {
            page.one("request_since_timestamp_seconds", &[("source", source.word())], since.as_secs());
        }
    }
    if decision.phase != Phase::Starting {
        page.one("live", &[], u8::from(is_live(world, settings, decision)));
    }
    if let Some(updates) = &world.host.updates {
        page.one("updates_not_live", &[], updates.len());
        if let Some(open) = known_to_be_open(updates) {
            page.one("cves_open", &[], open);
        }
        if let Some(first) = updates.iter().filter_map(|it| it.since).min() {
            page.one("oldest_update_not_live_timestamp_seconds", &[], first);
        }
    }
    let judgement = settings.policy.windows.as_ref().map(|windows| windows.judge(world.now.wall));
    page.one("window_open", &[], u8::from(matches!(judgement, Some(Judgement::Open { .. }))));
    if let Some(Judgement::Closed { opens: Some(opens), .. }) = judgement {
        page.one("window_next_open_timestamp_seconds", &[], opens.as_secs());
    }
    if world.cluster.slots.last().is_some() {
        page.one("paused", &[], u8::from(world.cluster.pause.is_some()));
    }
}

/// None at all is known only if nothing is left open by what is not known.
fn known_to_be_open(updates: &[Update]) -> Option<usize> {
    let all = open_cves(updates);
    (all.count > 0 || !all.at_least).then_some(all.count)
}

fn of_the_turn(page: &mut Page, world: &World, settings: &Settings, decision: &Decision) {
    let slots = world.cluster.slots.last().into_iter().flatten();
    let held: Vec<_> = slots.filter(|slot| slot.holder.as_ref() == Some(&settings.node_name)).collect();
    for slot in &held {
        page.one("slot_held", &[("slot", &slot.name)], 1);
    }
    for slot in &held {
        // A claim tells its time since its own boot; after the reboot, the record of that tells when it was cordoned.
        let claimed = match (&slot.claim.boot_id, slot.claim.at) {
            (Some(boot), Some(at)) if *boot == world.host.boot_id => Some(wall(world, at)),
            (Some(boot), _) => {
                let reboot = world.memory.last_reboot.as_ref().filter(|it| it.boot_id == *boot);
                reboot.map(|it| it.cordoned_at.unwrap_or(it.at))
            }
            _ => None,
        };
        if let Some(claimed) = claimed {
            page.one("slot_held_since_timestamp_seconds", &[("slot", &slot.name)], claimed.as_secs());
        }
    }
    if decision.phase == Phase::Draining
        && let Some(plan) = plan(world, settings)
    {
        let leaves = |it: &Verdict| matches!(it, Verdict::Evict | Verdict::Warn(_) | Verdict::Await(..));
        page.one("drain_pods_left", &[], plan.iter().filter(|it| leaves(&it.verdict)).count());
    }
    let setback = world.memory.setback.as_ref().filter(|it| it.boot_id == world.host.boot_id);
    page.one("setbacks", &[], setback.map_or(0, |it| it.count));
}

fn of_the_past(page: &mut Page, world: &World, counts: &Counts) {
    if let Some(last) = &world.memory.last_reboot {
        let outcome = last.ending.map_or("unknown", Ending::word);
        page.one("last_reboot_timestamp_seconds", &[("outcome", outcome)], last.at.as_secs());
        if let Some(drained) = last.cordoned_at.and_then(|cordoned| last.at.checked_sub(cordoned)) {
            page.one("last_drain_seconds", &[], drained.as_secs());
        }
        if let Some(cordoned) = last.cordoned_for() {
            page.one("last_cordon_seconds", &[], cordoned.as_secs());
        }
        if last.ending == Some(Ending::Well) {
            // Only a proven return uncordons. What else is known of it is older.
            let proven = last.uncordoned_at.or(last.ready_at).unwrap_or(last.at);
            page.one("boot_proven_timestamp_seconds", &[], proven.as_secs());
        }
    }
    page.histogram("installed_to_live_seconds", &counts.to_live);
    for ending in Ending::ALL.into_iter().filter(|it| *it != Ending::UnderWay) {
        let count = counts.turns.get(ending.word()).copied().unwrap_or_default();
        page.one("turns_total", &[("outcome", ending.word())], count);
    }
    page.one("aborts_total", &[], counts.aborts);
}

fn of_the_cluster(page: &mut Page, world: &World, settings: &Settings, besides: &Besides) {
    if let Some(ends) = settings.credential_ends {
        page.one("credential_end_timestamp_seconds", &[], ends.as_secs());
    }
    if let Some(Confinement::Tried { missing, .. }) = world.cluster.confinement.last() {
        page.one("policies_in_force", &[], u8::from(missing.is_empty()));
    }
    if let Some(ended) = besides.looked {
        page.one("last_look_timestamp_seconds", &[], wall(world, ended).as_secs());
    }
    let traffic = besides.traffic;
    page.one("api_requests_total", &[], traffic.requests);
    for (kind, count) in
        [("unanswered", traffic.unanswered), ("refused", traffic.refused), ("failed", traffic.failed)]
    {
        page.one("api_errors_total", &[("kind", kind)], count);
    }
}

/// The time of day at this time since boot.
fn wall(world: &World, boot: Duration) -> Duration {
    world.now.wall.saturating_sub(world.now.boot.saturating_sub(boot))
}

/// The text so far.
#[derive(Default)]
struct Page(String);

impl Page {
    /// One figure. Those of one family have to follow each other.
    fn one(&mut self, family: &str, labels: &[(&str, &str)], value: impl Display) {
        self.part(family, "", labels, value);
    }

    fn histogram(&mut self, family: &str, histogram: &Histogram) {
        let mut count = 0_u64;
        for (bound, within) in BOUNDS.into_iter().zip(histogram.within) {
            count = count.saturating_add(within);
            self.part(family, "_bucket", &[("le", &bound.to_string())], count);
        }
        self.part(family, "_bucket", &[("le", "+Inf")], histogram.count);
        self.part(family, "_sum", &[], histogram.sum);
        self.part(family, "_count", &[], histogram.count);
    }

    /// One figure; those of a histogram have parts.
    fn part(&mut self, family: &str, part: &str, labels: &[(&str, &str)], value: impl Display) {
        let known = FAMILIES.iter().find(|(name, ..)| *name == family);
        let help = format!("# HELP rebootd_{family} ");
        if let Some((_, kind, meaning)) = known.filter(|_| !self.0.contains(&help)) {
            self.line(&format!("{help}{meaning}"));
            self.line(&format!("# TYPE rebootd_{family} {kind}"));
        }
        let labels: Vec<String> =
            labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        self.line(&format!("rebootd_{family}{part}{labels} {value}"));
    }

    fn line(&mut self, line: &str) {
        // Writing to a text does not fail.
        let _ = writeln!(self.0, "{line}");
    }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Files;
    use crate::decide::Reason;
    use crate::decide::{
        Claim, Cves, Event, LastReboot, Memory, Next, Now, Parts, Setback, SlotView, Source, observe,
    };

    fn at(boot: u64) -> Now {
        Now { boot: Duration::from_secs(boot), wall: Duration::from_secs(1_795_000_000 + boot) }
    }

    fn update(since: Option<u64>, cves: Option<usize>) -> Update {
        let cves = cves.map(|count| Cves { count, ..Cves::default() });
        Update { package: "p".into(), running: None, installed: None, since, cves }
    }

    /// All figures of a node in its turn, besides those of a drain.
    fn page() -> String {
        let ago = |seconds: u64| Some(Duration::from_secs(1_795_000_000 - seconds));
        let memory = Memory {
            last_reboot: Some(LastReboot {
                boot_id: "before".into(),
                at: ago(600).unwrap_or_default(),
                cordoned_at: ago(700),
                uncordoned_at: ago(500),
                ready_at: ago(550),
                ending: Some(Ending::Well),
                ..LastReboot::default()
            }),
            setback: Some(Setback {
                boot_id: "b".into(),
                at: Duration::ZERO,
                count: 2,
                because: crate::decide::AbortReason::PoolChanged,
            }),
            ..Memory::default()
        };
        let mut world = World::new(at(10), "p".into(), "b".into(), "m".into(), memory);
        let request =
            crate::decide::Request { reason: "a \"quoted\" one".into(), packages: vec![], since: ago(100) };
        observe(
            &mut world,
            Event::Requests([(Source::SentinelFile, Some(Ok(Some(request))))].into()),
            at(11),
        );
        let claim = Claim { boot_id: Some("b".into()), at: Some(Duration::from_secs(5)), ..Claim::default() };
        world.cluster.slots.take(Ok(vec![SlotView {
            name: "worker-1".into(),
            uid: "u".into(),
            resource_version: "1".into(),
            pool: Some("worker".into()),
            holder: Some("n\"1".into()),
            claim,
            stamp: None,
            ..SlotView::default()
        }]));
        world.cluster.confinement.take(Ok(Confinement::Tried { missing: vec![], manifests: None }));
        world.host.updates = Some(vec![update(Some(1_794_000_000), Some(7)), update(None, None)]);
        let mut settings = Files::read(&[]).unwrap().settings("n").unwrap();
        settings.node_name = "n\"1".into();
        settings.credential_ends = Some(Duration::from_secs(1_795_040_000));
        let decision = Decision {
            phase: Phase::Returning,
            reasons: vec![Reason::NothingRead],
            next: Next::Wait(None),
            watched: Parts::NONE,
            wants_slot: false,
        };
        let turns = [("well".to_owned(), 3)].into();
        let mut to_live = Histogram::default();
        [60, 3_600, 90_000, 9_000_000].into_iter().for_each(|seconds| to_live.add(seconds));
        let besides = Besides {
            counts: Counts { turns, aborts: 1, to_live },
            traffic: Traffic { requests: 9, unanswered: 1, refused: 2, failed: 0 },
            looked: Some(Duration::from_secs(9)),
        };
        written(&text(&world, &settings, &decision, &besides), at(12).wall)
    }

    #[test]
    fn cves_that_are_not_known_are_not_none() {
        let open = |all: &[Option<usize>]| {
            known_to_be_open(&all.iter().map(|cves| update(None, *cves)).collect::<Vec<_>>())
        };
        assert_eq!((open(&[]), open(&[Some(0)]), open(&[None, Some(7)])), (Some(0), Some(0), Some(7)));
        assert_eq!((open(&[None, Some(0)]), open(&[None])), (None, None));
    }

    #[test]
    fn a_node_in_figures() {
        let page = page();
        for line in [
            "rebootd_node_info{node=\"n\\\"1\",pool=\"worker\",mode=\"active\"} 1",
            "rebootd_phase{phase=\"returning\"} 1",
            "rebootd_phase{phase=\"idle\"} 0",
            "rebootd_reason{kind=\"nothing-read\",alarm=\"false\"} 1",
            "rebootd_requests 1",
            "rebootd_request_since_timestamp_seconds{source=\"sentinel-file\"} 1794999900",
            "rebootd_live 0",
            "rebootd_updates_not_live 2",
            "rebootd_cves_open 7",
            "rebootd_oldest_update_not_live_timestamp_seconds 1794000000",
            "rebootd_installed_to_live_seconds_bucket{le=\"3600\"} 2",
            "rebootd_installed_to_live_seconds_bucket{le=\"259200\"} 3",
            "rebootd_installed_to_live_seconds_bucket{le=\"7776000\"} 3",
            "rebootd_installed_to_live_seconds_bucket{le=\"+Inf\"} 4",
            "rebootd_installed_to_live_seconds_sum 9093660",
            "rebootd_installed_to_live_seconds_count 4",
            "rebootd_window_open 0",
            "rebootd_paused 0",
            "rebootd_slot_held{slot=\"worker-1\"} 1",
            "rebootd_slot_held_since_timestamp_seconds{slot=\"worker-1\"} 1795000005",
            "rebootd_setbacks 2",
            "rebootd_last_reboot_timestamp_seconds{outcome=\"well\"} 1794999400",
            "rebootd_last_drain_seconds 100",
            "rebootd_last_cordon_seconds 200",
            "rebootd_boot_proven_timestamp_seconds 1794999500",
            "rebootd_turns_total{outcome=\"well\"} 3",
            "rebootd_turns_total{outcome=\"stayed-up\"} 0",
            "rebootd_aborts_total 1",
            "rebootd_credential_end_timestamp_seconds 1795040000",
            "rebootd_policies_in_force 1",
            "rebootd_last_look_timestamp_seconds 1795000009",
            "rebootd_api_requests_total 9",
            "rebootd_api_errors_total{kind=\"refused\"} 2",
            "rebootd_updated_timestamp_seconds 1795000012",
        ] {
            assert!(page.lines().any(|it| it == line), "{line} is not in\n{page}");
        }
        // Each family once, with its type, in one piece; each name is known.
        let mut families: Vec<&str> = Vec::new();
        for line in page.lines().filter(|line| !line.starts_with('#')) {
            let name = line.split(['{', ' ']).next().unwrap().strip_prefix("rebootd_").unwrap();
            let parts = ["_bucket", "_sum", "_count"];
            let whole = parts.iter().find_map(|part| name.strip_suffix(part)).unwrap_or(name);
            let (name, kind, _) = FAMILIES.iter().find(|it| [name, whole].contains(&it.0)).unwrap();
            assert_eq!(page.matches(&format!("# TYPE rebootd_{name} {kind}\n")).count(), 1);
            if families.last() != Some(name) {
                assert!(!families.contains(name), "{name} is in two pieces");
                families.push(name);
            }
        }
        let missing: Vec<&str> = FAMILIES.iter().map(|it| it.0).filter(|it| !families.contains(it)).collect();
        assert_eq!(missing, ["window_next_open_timestamp_seconds", "drain_pods_left"]);
    }
}
