//! `rebootctl fleet`: all nodes, those that matter most first.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use serde::Serialize;
use tokio::runtime::Runtime;

use super::super::kubeconfig::Kubeconfig;
use super::super::table::table as columns;
use super::super::urgent;
use crate::cluster::{Api, ApiError, FleetNode, Heartbeat, HeldSlot, NotLive};
use crate::config::FleetPolicy;
use crate::decide::span;
use crate::host::clock;
use crate::notation::minute_of;

/// How often `--watch` looks.
const AGAIN: Duration = Duration::from_secs(5);
/// A rebootd that has said nothing for this long is silent: it says something every 4 to 8 hours.
const SILENT: u64 = 9 * 60 * 60;
/// Clocks differ, but not by more than this.
const AHEAD: u64 = 60 * 60;
/// Of what asks for a reboot, this many are named in a line.
const MOST_ASKING: usize = 3;
/// A node that is down for longer than a reboot takes, in seconds.
const LONG_DOWN: u64 = 5 * 60;
/// That many nodes that are down get a line with what to do.
const MOST_STEPS: usize = 3;
/// That many pools are told one by one.
const MOST_POOLS: usize = 5;
/// Each step of a turn is an Event, also a budget that refuses.
pub(in crate::ctl) const EVENTS: &str =
    "kubectl get events -A --field-selector reportingComponent=rebootd.io/rebootd";
/// The reasons that end when a window opens.
pub(in crate::ctl) const BY_CALENDAR: [&str; 2] = ["window-closed", "frozen"];
/// Clears a terminal.
const CLEAR: &str = "\x1b[2J\x1b[H";

/// What `--json` prints. Fields are added, never changed or removed.
#[derive(Debug, Serialize)]
struct Fleet {
    /// Why the fleet is paused, if it is.
    paused: Option<String>,
    /// What is urgent now, if anything is, and for which nodes.
    urgent: Option<String>,
    /// Why the fleet's policy is not understood, if it is not: then no node starts.
    policy: Option<String>,
    summary: Summary,
    nodes: Vec<Row>,
}

#[derive(Debug, Default, PartialEq, Serialize)]
struct Summary {
    nodes: usize,
    /// Nodes that hold a slot.
    in_turn: usize,
    /// Nodes that ask for a reboot and have no slot.
    waiting: usize,
    /// For how long the first of them has waited, in seconds.
    longest_wait: Option<u64>,
    /// Nodes on which no rebootd has ever acted.
    without_rebootd: usize,
    /// Nodes whose rebootd has said nothing for long.
    silent: usize,
    not_ready: usize,
    /// Nodes on which updates are installed and not live.
    not_live: usize,
    /// The most CVEs that this leaves open on one of them.
    most_cves: usize,
    slots: usize,
    free_slots: usize,
    /// The same for each pool.
    pools: BTreeMap<String, Slots>,
}

#[derive(Debug, Default, PartialEq, Serialize)]
struct Slots {
    slots: usize,
    free: usize,
}

#[derive(Debug, Serialize)]
struct Row {
    node: String,
    pool: Option<String>,
    /// `Ready`, `NotReady` or `missing`: a slot is held under this name, and there is no such Node.
    status: &'static str,
    /// Who has cordoned it: `rebootd` or `other`.
    cordoned_by: Option<&'static str>,
    state: State,
    /// Since when, in seconds since 1970: that it waits, or holds its slot.
    since: Option<u64>,
    slots: Vec<String>,
    /// Why it asks, or who holds it.
    why: Option<String>,
    kernel: String,
    /// The version of its rebootd, and what that last said about itself; nothing where it never has.
    version: Option<String>,
    /// When that was, in seconds since 1970, by that node's clock.
    seen: Option<u64>,
    /// The kind of the first reason why it does not go on, as `rebootctl status` has it.
    reason: Option<String>,
    /// Whether nothing that is installed waits for a reboot.
    live: Option<bool>,
    /// What is installed and not live there; nothing if that is not known.
    not_live: Option<NotLive>,
    /// The packages that ask, or else what asks.
    asking: Vec<String>,
    /// When its next window opens, in seconds since 1970, if none is open.
    window_opens: Option<u64>,
    /// The nodes that hold all slots of its pool, while it waits for one.
    waits_for: Vec<String>,
    /// When logind was asked for the reboot that is under way, in seconds since 1970.
    #[serde(skip)]
    asked: Option<u64>,
}

/// The more urgent come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
enum State {
    /// It has a slot, and its Node is not Ready; or it was about to reboot, and its Node is gone.
    Down,
    /// It was about to reboot, and its Node is Ready: it has not gone down yet, or is back.
    Rebooting,
    /// A slot is held under its name, and there is no such Node. It was not about to reboot.
    Missing,
    /// It holds a slot and prepares for its reboot.
    InTurn,
    /// It is not Ready, for whatever reason. It counts against `max_nodes_not_ready` of its pool.
    NotReady,
    /// rebootd has cordoned it, and it holds no slot any more: somebody freed that.
    Restoring,
    /// Its rebootd has said nothing for long: it may have died, or cannot reach the API server.
    Silent,
    /// It asks for a reboot.
    Waiting,
    /// A person holds it.
    Held,
    /// No rebootd has ever acted there.
    NoRebootd,
    /// Nothing is the matter.
    Idle,
}

impl State {
    fn words(self) -> &'static str {
        match self {
            State::Down => "down",
            State::Rebooting => "rebooting",
            State::Missing => "missing",
            State::InTurn => "in its turn",
            State::NotReady => "not ready",
            State::Restoring => "restoring",
            State::Silent => "silent",
            State::Waiting => "waiting",
            State::Held => "held",
            State::NoRebootd => "no rebootd",
            State::Idle => "idle",
        }
    }
}

pub(super) struct Wanted<'a> {
    pub(super) pool: Option<&'a str>,
    pub(super) json: bool,
    pub(super) watch: bool,
}

pub(super) fn show(kubeconfig: &Kubeconfig, wanted: &Wanted<'_>) -> anyhow::Result<ExitCode> {
    let by_kubectl =
        "  kubectl get nodes -L rebootd.io/pool,rebootd.io/waiting; kubectl get leases -n rebootd";
    let (mut api, runtime) = kubeconfig.connect_or(by_kubectl)?;
    let mut fleet = runtime.block_on(read(&mut api, wanted.pool))?;
    loop {
        if wanted.watch && std::io::stdout().is_terminal() {
            print!("{CLEAR}");
        }
        if wanted.json {
            println!("{}", serde_json::to_string_pretty(&fleet)?);
        } else {
            lines(&fleet, clock::now().wall.as_secs()).iter().for_each(|line| println!("{line}"));
        }
        if !wanted.watch {
            return Ok(ExitCode::SUCCESS);
        }
        fleet = watch(&mut api, kubeconfig, &runtime, wanted)?;
    }
}

/// What is there after a while. Who watches a whole night sees servers that restart and tokens that expire.
fn watch(
    api: &mut Api,
    kubeconfig: &Kubeconfig,
    runtime: &Runtime,
    wanted: &Wanted<'_>,
) -> anyhow::Result<Fleet> {
    loop {
        std::thread::sleep(AGAIN);
        let error = match runtime.block_on(read(api, wanted.pool)) {
            Ok(fleet) => return Ok(fleet),
            Err(error) => error,
        };
        if error.downcast_ref().is_some_and(ApiError::refuses_the_credential) {
            *api = kubeconfig.api().with_context(|| format!("{error:#}"))?;
        }
        eprintln!("{error:#}; tried again in {} s", AGAIN.as_secs());
    }
}

async fn read(api: &mut Api, pool: Option<&str>) -> anyhow::Result<Fleet> {
    let nodes = api.fleet("").await.context("cannot read the Nodes")?;
    let slots = api.held_slots().await.context("cannot read the slots")?;
    let paused = api.paused().await.context("cannot read whether the fleet is paused")?;
    // Whoever may not read ConfigMaps sees the rest all the same.
    let map = api.policy_map().await.ok().flatten();
    let urgent = map.as_ref().and_then(urgent::now);
    let policy =
        map.and_then(|map| FleetPolicy::from_config_map(&map.data).err()).map(|error| error.to_string());
    let said = Said { paused, urgent, policy };
    Ok(fleet(nodes, &slots, said, pool, clock::now().wall.as_secs()))
}

/// What people have said of the whole fleet.
#[derive(Debug, Default)]
struct Said {
    paused: Option<String>,
    urgent: Option<String>,
    policy: Option<String>,
}

fn fleet(nodes: Vec<FleetNode>, slots: &[HeldSlot], said: Said, pool: Option<&str>, now: u64) -> Fleet {
    let held_by = |name: &str| slots.iter().filter(|it| it.slot.holder.as_deref() == Some(name)).collect();
    let mut rows: Vec<Row> = nodes
        .into_iter()
        .map(|node| {
            let held: Vec<&HeldSlot> = held_by(&node.name);
            row(node, &held, now)
        })
        .collect();
    for row in rows.iter_mut().filter(|row| row.state == State::Waiting) {
        row.waits_for = holders(slots, row.pool.as_deref());
    }
    let mut gone: Vec<&str> = slots.iter().filter_map(|it| it.slot.holder.as_deref()).collect();
    gone.retain(|holder| !rows.iter().any(|row| row.node == *holder));
    gone.sort_unstable();
    gone.dedup();
    rows.extend(gone.into_iter().map(|holder| missing(holder, &held_by(holder))));
    let in_pool = |of: Option<&str>| pool.is_none() || of == pool;
    rows.retain(|row| in_pool(row.pool.as_deref()));
    rows.sort_unstable_by(|a, b| {
        let key = |row: &Row| (row.state, row.since.unwrap_or(u64::MAX));
        key(a).cmp(&key(b)).then_with(|| a.node.cmp(&b.node))
    });
    let count = |is: fn(&Row) -> bool| rows.iter().filter(|row| is(row)).count();
    let first = rows.iter().filter(|row| row.state == State::Waiting).filter_map(|row| row.since).min();
    let slots: Vec<&HeldSlot> = slots.iter().filter(|it| in_pool(it.slot.pool.as_deref())).collect();
    let not_live = || rows.iter().filter_map(|row| row.not_live.as_ref()).filter(|it| it.count > 0);
    let summary = Summary {
        nodes: count(|row| row.status != "missing"),
        in_turn: count(|row| !row.slots.is_empty() && row.status != "missing"),
        waiting: count(|row| row.state == State::Waiting),
        longest_wait: first.map(|first| now.saturating_sub(first)),
        without_rebootd: count(|row| row.state == State::NoRebootd),
        silent: count(|row| row.state == State::Silent),
        not_ready: count(|row| row.status == "NotReady"),
        not_live: not_live().count(),
        most_cves: not_live().map(|it| it.cves.count).max().unwrap_or_default(),
        slots: slots.len(),
        free_slots: slots.iter().filter(|it| it.slot.holder.is_none()).count(),
        pools: by_pool(&slots),
    };
    Fleet { paused: said.paused, urgent: said.urgent, policy: said.policy, summary, nodes: rows }
}

fn by_pool(slots: &[&HeldSlot]) -> BTreeMap<String, Slots> {
    let mut pools: BTreeMap<String, Slots> = BTreeMap::new();
    for held in slots {
        let Some(pool) = &held.slot.pool else { continue };
        let of_pool = pools.entry(pool.clone()).or_default();
        of_pool.slots += 1;
        of_pool.free += usize::from(held.slot.holder.is_none());
    }
    pools
}

/// Who holds the slots of a pool, if all are held.
pub(in crate::ctl) fn holders(slots: &[HeldSlot], pool: Option<&str>) -> Vec<String> {
    let of_pool = slots.iter().filter(|it| it.slot.pool.as_deref() == pool);
    of_pool.map(|it| it.slot.holder.clone()).collect::<Option<_>>().unwrap_or_default()
}

/// Its rebootd has said nothing for long; or what it says is not understood, or of another time than now.
pub(in crate::ctl) fn is_silent(node: &FleetNode, now: u64) -> bool {
    node.is_garbled || node.heartbeat.as_ref().is_some_and(|said| is_of_another_time(said, now))
}

/// It was said long ago, or in the future.
pub(in crate::ctl) fn is_of_another_time(said: &Heartbeat, now: u64) -> bool {
    let said = u64::try_from(said.at.as_second()).unwrap_or_default();
    now.saturating_sub(said) > SILENT || said > now + AHEAD
}

fn row(node: FleetNode, held: &[&HeldSlot], now: u64) -> Row {
    let waiting = node.waiting_since.as_deref().and_then(minute_of).map(|since| since.as_secs());
    let said = node.heartbeat.clone();
    let seconds = |time: jiff::Timestamp| u64::try_from(time.as_second()).ok();
    let seen = said.as_ref().and_then(|said| seconds(said.at));
    let is_silent = is_silent(&node, now);
    let asks = node.asks();
    let is_stamped = held.iter().any(|it| it.slot.stamp.is_some());
    // What its rebootd said before its turn is over by then.
    let hold = node.hold.or_else(|| said.as_ref().filter(|_| held.is_empty())?.held.clone());
    let state = match held {
        [_, ..] if !node.is_ready => State::Down,
        [_, ..] if is_stamped => State::Rebooting,
        [_, ..] => State::InTurn,
        [] if !node.is_ready && node.pool.is_some() => State::NotReady,
        [] if node.is_cordoned_by_us => State::Restoring,
        [] if is_silent => State::Silent,
        [] if hold.is_some() => State::Held,
        [] if asks => State::Waiting,
        [] if node.pool.is_none() => State::NoRebootd,
        [] => State::Idle,
    };
    Row {
        status: if node.is_ready { "Ready" } else { "NotReady" },
        cordoned_by: node.is_cordoned.then_some(if node.is_cordoned_by_us { "rebootd" } else { "other" }),
        state,
        since: since(held).or(waiting),
        slots: names(held),
        why: hold.or_else(|| reason(held)).or(node.request),
        node: node.name,
        pool: node.pool,
        kernel: node.kernel,
        seen,
        live: said.as_ref().map(|said| said.live),
        not_live: said.as_ref().and_then(|said| said.not_live.clone()),
        window_opens: said.as_ref().and_then(|said| said.window_opens).and_then(seconds),
        version: said.as_ref().map(|said| said.version.clone()),
        reason: said.as_ref().and_then(|said| said.reason.clone()),
        asking: said.map(|said| said.asking).unwrap_or_default(),
        waits_for: Vec::new(),
        asked: asked(held),
    }
}

fn asked(held: &[&HeldSlot]) -> Option<u64> {
    held.iter().filter_map(|it| it.slot.stamp.as_ref()).map(|stamp| stamp.at.as_secs()).max()
}

/// A holder without a Node.
fn missing(holder: &str, held: &[&HeldSlot]) -> Row {
    let is_stamped = held.iter().any(|it| it.slot.stamp.is_some());
    Row {
        node: holder.to_owned(),
        pool: held.iter().find_map(|it| it.slot.pool.clone()),
        status: "missing",
        cordoned_by: None,
        state: if is_stamped { State::Down } else { State::Missing },
        since: since(held),
        slots: names(held),
        why: reason(held),
        kernel: String::new(),
        version: None,
        seen: None,
        reason: None,
        live: None,
        not_live: None,
        asking: Vec::new(),
        window_opens: None,
        waits_for: Vec::new(),
        asked: asked(held),
    }
}

fn names(held: &[&HeldSlot]) -> Vec<String> {
    held.iter().map(|it| it.slot.name.clone()).collect()
}

fn reason(held: &[&HeldSlot]) -> Option<String> {
    held.iter().map(|it| it.slot.claim.reason.clone()).find(|reason| !reason.is_empty())
}

/// Since when it holds the first of them.
fn since(held: &[&HeldSlot]) -> Option<u64> {
    let times = held.iter().filter_map(|it| it.since.as_deref()?.parse::<jiff::Timestamp>().ok());
    times.filter_map(|time| u64::try_from(time.as_second()).ok()).min()
}

fn lines(fleet: &Fleet, now: u64) -> Vec<String> {
    let heads = ["NODE", "POOL", "STATUS", "REBOOTD", "SINCE", "SEEN", "VERSION", "WHY"];
    let mut table = vec![heads.map(str::to_owned)];
    for row in &fleet.nodes {
        let status = match row.cordoned_by {
            Some("rebootd") => format!("{},cordoned", row.status),
            Some(_) => format!("{},cordoned-by-others", row.status),
            None => row.status.to_owned(),
        };
        let ago = |time: Option<u64>| {
            time.map_or("-".to_owned(), |time| span(Duration::from_secs(now.saturating_sub(time))))
        };
        let or_none = |text: &Option<String>| text.clone().unwrap_or("-".to_owned());
        let why = why_in_words(row, fleet.paused.is_some(), now);
        let state = row.state.words().to_owned();
        let (since, seen, version) = (ago(row.since), ago(row.seen), or_none(&row.version));
        table.push([row.node.clone(), or_none(&row.pool), status, state, since, seen, version, why]);
    }
    let mut lines = columns(&table);
    lines.push(String::new());
    lines.push(in_words(&fleet.summary));
    lines.extend(next_steps(fleet, now));
    lines
}

/// What a person may want to do or look at now.
fn next_steps(fleet: &Fleet, now: u64) -> Vec<String> {
    let mut lines = Vec::new();
    let is_long = |row: &&Row| row.asked.is_none_or(|asked| now.saturating_sub(asked) > LONG_DOWN);
    let down = fleet.nodes.iter().filter(|row| row.state == State::Down);
    for row in down.filter(is_long).take(MOST_STEPS) {
        lines.push(format!(
            "{node} went down in its turn and keeps {slots}, so that no other node falls. Look at that machine; if it is lost: \
             rebootctl release {node}",
            node = row.node,
            slots = row.slots.join(", ")
        ));
    }
    if fleet.nodes.iter().any(|row| row.state == State::InTurn) {
        lines.push(format!("What a node in its turn does and waits for: {EVENTS}"));
    }
    let Summary { not_live, most_cves, .. } = fleet.summary;
    if not_live > 0 {
        let most = if most_cves > 0 { format!(", with {most_cves} CVEs open on one") } else { String::new() };
        lines.push(format!(
            "Updates are installed and not live on {not_live} of the nodes{most}: rebootctl report --fleet --packages"
        ));
    }
    if let Some(why) = &fleet.policy {
        lines.push(format!("No node starts, because the fleet's policy is not understood: {why}"));
    }
    if let Some(why) = &fleet.paused {
        lines.push(format!("The fleet is paused: {why}. To go on: rebootctl fleet resume"));
    }
    if let Some(what) = &fleet.urgent {
        lines.push(format!("Urgent: {what}. To end it: rebootctl urgent --end"));
    }
    lines
}

/// What the node holds, what it waits for, and why it should reboot.
fn why_in_words(row: &Row, is_paused: bool, now: u64) -> String {
    let ago = |time: u64| span(Duration::from_secs(now.saturating_sub(time)));
    let said = row.reason.as_deref().map(|it| (it, row.seen.map(|seen| format!("{it} {} ago", ago(seen)))));
    // What is known now goes before what the node said a while ago.
    let waits = match (row.state, said) {
        (State::Waiting, _) if is_paused => "paused".to_owned(),
        (State::Waiting, _) if !row.waits_for.is_empty() => format!("waits for {}", some(&row.waits_for)),
        // It is not, and there is one.
        (State::Waiting, Some(("paused" | "no-free-slot", _))) => String::new(),
        (State::Waiting | State::Silent, Some((reason, told))) => {
            let opens = row.window_opens.filter(|opens| BY_CALENDAR.contains(&reason) && *opens > now);
            let opens = opens.map(|opens| {
                format!(", the next window opens in {}", span(Duration::from_secs(opens.saturating_sub(now))))
            });
            told.unwrap_or_default() + &opens.unwrap_or_default()
        }
        // Its slot tells more, or a person does, or nothing is the matter.
        _ => String::new(),
    };
    let why = row.why.clone().unwrap_or_else(|| some(&row.asking));
    let why = match row.not_live.as_ref().filter(|it| it.count > 0) {
        Some(it) if row.state == State::Idle => {
            let names: Vec<String> = it.updates.iter().map(|update| update.package.clone()).collect();
            format!("not live: {} ({})", some(&names), it.cves)
        }
        Some(it) if row.state == State::Waiting && it.cves.count > 0 => format!("{why} ({})", it.cves),
        _ => why,
    };
    let parts = [row.slots.join(", "), waits, why];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(": ")
}

fn some(names: &[String]) -> String {
    let first = names.iter().take(MOST_ASKING).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(MOST_ASKING) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

fn in_words(summary: &Summary) -> String {
    let Summary { nodes, in_turn, waiting, not_ready, without_rebootd, silent, .. } = summary;
    let longest =
        summary.longest_wait.map(|wait| format!(" (the longest for {})", span(Duration::from_secs(wait))));
    format!(
        "{nodes} nodes: {in_turn} in turn, {waiting} waiting{}, {not_ready} not Ready, {silent} silent, {without_rebootd} without rebootd. \
         Free slots: {}.",
        longest.unwrap_or_default(),
        free_slots(summary)
    )
}

/// Pool by pool: a free slot of one is of no use to another.
fn free_slots(summary: &Summary) -> String {
    let each = summary.pools.iter().map(|(pool, it)| format!("{} of {} in pool {pool}", it.free, it.slots));
    let each: Vec<String> = each.collect();
    match each.len() {
        0 => "there are no slots".to_owned(),
        1..=MOST_POOLS => each.join(", "),
        pools => format!("{} of {} in {pools} pools", summary.free_slots, summary.slots),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::{Claim, Cves, SlotView, Stamp, Update, open_cves};

    fn node(name: &str, pool: Option<&str>, waiting: Option<&str>) -> FleetNode {
        FleetNode {
            name: name.into(),
            is_ready: true,
            is_cordoned: false,
            is_cordoned_by_us: false,
            pool: pool.map(str::to_owned),
            waiting_since: waiting.map(str::to_owned),
            request: None,
            hold: None,
            kernel: "6.8.0-50".into(),
            heartbeat: None,
            is_garbled: false,
        }
    }

    /// A rebootd that is dead must not look well because of what it said, or because of its clock.
    #[test]
    fn who_says_nothing_that_can_be_true_is_silent() {
        let now = 1_795_867_200;
        let said = |at: i64| {
            let text = serde_json::json!({"version": "1", "at": jiff::Timestamp::from_second(at).unwrap(), "phase": "idle"});
            FleetNode { heartbeat: serde_json::from_value(text).ok(), ..node("n1", Some("worker"), None) }
        };
        let at = |offset: i64| is_silent(&said(i64::try_from(now).unwrap() + offset), now);
        assert!(!at(0) && !at(-60) && !at(60) && at(-10 * 3600) && at(2 * 3600));
        assert!(is_silent(&said(-1), now));
        assert!(is_silent(&FleetNode { is_garbled: true, ..node("n1", Some("worker"), None) }, now));
        assert!(!is_silent(&node("n1", Some("worker"), None), now));
    }

    fn slot(name: &str, holder: Option<&str>, is_stamped: bool) -> HeldSlot {
        let (daemon_sets, request) = (Default::default(), None);
        let stamp = Stamp {
            boot_id: "b".into(),
            attempt: 1,
            at: Duration::from_secs(1_795_867_200 - 120),
            daemon_sets,
            request,
        };
        let slot = SlotView {
            name: name.into(),
            uid: "u".into(),
            resource_version: "1".into(),
            pool: Some("worker".into()),
            holder: holder.map(str::to_owned),
            claim: Claim { reason: "/run/reboot-required by libc6".into(), ..Claim::default() },
            stamp: is_stamped.then_some(stamp),
            ..SlotView::default()
        };
        HeldSlot { slot, since: Some("2026-11-28T11:58:00.000000Z".into()) }
    }

    /// docs/status.md tells them to programs, so none is ever changed or removed.
    #[test]
    fn every_field_of_the_json_is_told() {
        let nodes = vec![node("n1", Some("worker"), None)];
        let fleet = fleet(nodes, &[slot("worker-1", None, false)], Said::default(), None, 0);
        let json = serde_json::to_value(&fleet).unwrap();
        let told = include_str!("../../../docs/status.md");
        for fields in [&json, &json["summary"], &json["summary"]["pools"]["worker"], &json["nodes"][0]] {
            for (name, _) in fields.as_object().unwrap() {
                assert!(told.contains(&format!("`{name}`")), "docs/status.md does not tell {name}");
            }
        }
    }

    #[test]
    fn the_most_urgent_come_first_and_are_summed_up() {
        let worker = Some("worker");
        let mut down = node("n5", worker, None);
        (down.is_ready, down.is_cordoned, down.is_cordoned_by_us) = (false, true, true);
        let mut lost = node("n8", worker, None);
        (lost.is_ready, lost.is_cordoned, lost.is_cordoned_by_us) = (false, true, true);
        let mut restoring = node("n9", worker, None);
        (restoring.is_cordoned, restoring.is_cordoned_by_us) = (true, true);
        let mut held = node("n6", worker, Some("2026-11-20T0700Z"));
        held.hold = Some("I look at the disk (ann@a)".into());
        let not_live = |asking: &[&str]| {
            let update = |package: &&str| Update {
                package: (*package).to_owned(),
                running: Some("1".into()),
                installed: Some("2".into()),
                since: None,
                cves: Some(Cves { count: 7, at_least: false, named: vec![] }),
            };
            let updates: Vec<Update> = asking.iter().take(2).map(update).collect();
            let cves = Cves { at_least: asking.len() > 2, ..open_cves(&updates) };
            NotLive { count: asking.len(), cves, updates }
        };
        let said = |minutes: u64, reason: &str, asking: &[&str]| {
            let at = |seconds: u64| jiff::Timestamp::from_second(i64::try_from(seconds).unwrap()).unwrap();
            Some(crate::cluster::Heartbeat {
                version: "0.1.0".into(),
                at: at(1_795_867_200 - minutes * 60),
                phase: if asking.is_empty() { "idle" } else { "waiting" }.into(),
                held: None,
                reason: Some(reason.into()).filter(|reason: &String| !reason.is_empty()),
                live: asking.is_empty(),
                not_live: Some(not_live(asking)),
                asking: asking.iter().map(|it| (*it).to_owned()).collect(),
                window_opens: (reason == "window-closed").then(|| at(1_795_867_200 + 7200)),
                credential_ends: None,
                last_reboot: None,
            })
        };
        let with = |node: FleetNode, heartbeat| FleetNode { heartbeat, ..node };
        let packages = ["libc6", "libssl3t64", "linux-image-6.8.0-51-generic", "systemd"];
        let nodes = vec![
            with(node("n1", worker, None), said(70, "", &[])),
            with(node("n2", worker, Some("2026-11-28T0900Z")), said(5, "window-closed", &packages)),
            with(node("n3", worker, Some("2026-11-24T0740Z")), said(10, "my-turn-comes", &["libc6"])),
            with(node("n7", worker, Some("2026-11-24T0740Z")), said(600, "no-free-slot", &["libc6"])),
            with(lost, said(3, "settling", &[])),
            with(restoring, said(3, "settling", &[])),
            node("n4", None, None),
            down,
            held,
        ];
        let slots = [
            slot("worker-1", Some("n5"), true),
            slot("worker-2", Some("gone"), false),
            slot("worker-3", None, false),
        ];
        let now = 1_795_867_200;
        let urgent = Some("CVE-2026-1 (ann@a), until then".into());
        let fleet = fleet(nodes, &slots, Said { urgent, ..Said::default() }, None, now);
        let told = lines(&fleet, now);
        let expected = "\
NODE  POOL    STATUS             REBOOTD     SINCE  SEEN      VERSION  WHY
n5    worker  NotReady,cordoned  down        2min   -         -        worker-1: /run/reboot-required by libc6
gone  worker  missing            missing     2min   -         -        worker-2: /run/reboot-required by libc6
n8    worker  NotReady,cordoned  not ready   -      3min      0.1.0
n9    worker  Ready,cordoned     restoring   -      3min      0.1.0
n7    worker  Ready              silent      4d 4h  10h       0.1.0    no-free-slot 10h ago: libc6
n3    worker  Ready              waiting     4d 4h  10min     0.1.0    my-turn-comes 10min ago: libc6 (7 CVEs)
n2    worker  Ready              waiting     3h     5min      0.1.0    window-closed 5min ago, the next window opens in 2h: libc6, libssl3t64, linux-image-6.8.0-51-generic and 1 more (at least 14 CVEs)
n6    worker  Ready              held        8d 5h  -         -        I look at the disk (ann@a)
n4    -       Ready              no rebootd  -      -         -
n1    worker  Ready              idle        -      1h 10min  0.1.0

9 nodes: 1 in turn, 2 waiting (the longest for 4d 4h), 2 not Ready, 1 silent, 1 without rebootd. Free slots: 1 of 3 in pool worker.
Updates are installed and not live on 3 of the nodes, with 14 CVEs open on one: rebootctl report --fleet --packages
Urgent: CVE-2026-1 (ann@a), until then. To end it: rebootctl urgent --end";
        assert_eq!(told.join("\n"), expected);
        // A reboot takes minutes.
        let later = lines(&fleet, now + LONG_DOWN).join("\n");
        assert!(later.contains("Look at that machine; if it is lost: rebootctl release n5"), "{later}");
    }

    /// What the node said before is not told as if it were true now.
    #[test]
    fn what_the_slots_say_goes_before_what_a_node_said() {
        let of = |slots: &[HeldSlot], paused: Option<&str>, reason: &str| {
            let mut waiting = node("n1", Some("worker"), Some("2026-11-28T0900Z"));
            waiting.heartbeat = Some(crate::cluster::Heartbeat {
                version: "0.1.0".into(),
                at: jiff::Timestamp::from_second(1_795_867_200).unwrap(),
                phase: "waiting".into(),
                reason: Some(reason.into()),
                held: None,
                live: false,
                not_live: None,
                asking: vec!["libc6".into()],
                window_opens: None,
                credential_ends: None,
                last_reboot: None,
            });
            let said = Said { paused: paused.map(str::to_owned), ..Said::default() };
            let fleet = fleet(vec![waiting], slots, said, None, 1_795_867_260);
            let row = fleet.nodes.iter().find(|row| row.node == "n1").unwrap();
            why_in_words(row, fleet.paused.is_some(), 1_795_867_260)
        };
        let (held, free) = ([slot("worker-1", Some("n2"), false)], [slot("worker-1", None, false)]);
        assert_eq!(of(&held, None, "paused"), "waits for n2: libc6");
        assert_eq!(of(&held, Some("an incident"), "window-closed"), "paused: libc6");
        assert_eq!(of(&free, None, "paused"), "libc6");
        assert_eq!(of(&free, None, "no-free-slot"), "libc6");
        assert_eq!(of(&free, None, "inhibited"), "inhibited 1min ago: libc6");
    }
}
