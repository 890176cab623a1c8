//! `rebootctl fleet`: all nodes, those that matter most first.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use serde::Serialize;
use tokio::runtime::Runtime;

use crate::cluster::{Api, FleetNode, HeldSlot};
use crate::decide::span;
use crate::host::clock;
use crate::notation::minute_of;

/// How often `--watch` looks.
const AGAIN: Duration = Duration::from_secs(5);
/// Clears a terminal.
const CLEAR: &str = "\x1b[2J\x1b[H";

/// What `--json` prints. Fields are added, never changed or removed.
#[derive(Debug, Serialize)]
struct Fleet {
    /// Why the fleet is paused, if it is.
    paused: Option<String>,
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
    not_ready: usize,
    slots: usize,
    free_slots: usize,
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
}

/// The more urgent come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
enum State {
    /// It was about to reboot, and its Node is not Ready or gone.
    Down,
    /// It was about to reboot, and its Node is Ready: it has not gone down yet, or is back.
    Rebooting,
    /// It holds a slot and prepares for its reboot.
    InTurn,
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
            State::InTurn => "in its turn",
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

pub(super) fn show(api: &mut Api, runtime: &Runtime, wanted: &Wanted<'_>) -> anyhow::Result<ExitCode> {
    loop {
        let fleet = runtime.block_on(read(api, wanted.pool))?;
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
        std::thread::sleep(AGAIN);
    }
}

async fn read(api: &mut Api, pool: Option<&str>) -> anyhow::Result<Fleet> {
    let nodes = api.fleet().await.context("cannot read the Nodes")?;
    let slots = api.held_slots().await.context("cannot read the slots")?;
    let paused = api.paused().await.context("cannot read whether the fleet is paused")?;
    Ok(fleet(nodes, &slots, paused, pool, clock::now().wall.as_secs()))
}

fn fleet(
    nodes: Vec<FleetNode>,
    slots: &[HeldSlot],
    paused: Option<String>,
    pool: Option<&str>,
    now: u64,
) -> Fleet {
    let held_by = |name: &str| slots.iter().filter(|it| it.slot.holder.as_deref() == Some(name)).collect();
    let mut rows: Vec<Row> = nodes
        .into_iter()
        .map(|node| {
            let held: Vec<&HeldSlot> = held_by(&node.name);
            row(node, &held)
        })
        .collect();
    let mut gone: Vec<&str> = slots.iter().filter_map(|it| it.slot.holder.as_deref()).collect();
    gone.retain(|holder| !rows.iter().any(|row| row.node == *holder));
    gone.sort_unstable();
    gone.dedup();
    rows.extend(gone.into_iter().map(|holder| missing(holder, &held_by(holder))));
    let in_pool = |of: Option<&str>| pool.is_none() || of == pool;
    rows.retain(|row| in_pool(row.pool.as_deref()));
    rows.sort_by(|a, b| {
        let key = |row: &Row| (row.state, row.since.unwrap_or(u64::MAX));
        key(a).cmp(&key(b)).then_with(|| a.node.cmp(&b.node))
    });
    let count = |is: fn(&Row) -> bool| rows.iter().filter(|row| is(row)).count();
    let first = rows.iter().filter(|row| row.state == State::Waiting).filter_map(|row| row.since).min();
    let slots: Vec<&HeldSlot> = slots.iter().filter(|it| in_pool(it.slot.pool.as_deref())).collect();
    let summary = Summary {
        nodes: count(|row| row.status != "missing"),
        in_turn: count(|row| !row.slots.is_empty()),
        waiting: count(|row| row.state == State::Waiting),
        longest_wait: first.map(|first| now.saturating_sub(first)),
        without_rebootd: count(|row| row.state == State::NoRebootd),
        not_ready: count(|row| row.status == "NotReady"),
        slots: slots.len(),
        free_slots: slots.iter().filter(|it| it.slot.holder.is_none()).count(),
    };
    Fleet { paused, summary, nodes: rows }
}

fn row(node: FleetNode, held: &[&HeldSlot]) -> Row {
    let waiting = node.waiting_since.as_deref().and_then(minute_of).map(|since| since.as_secs());
    let is_stamped = held.iter().any(|it| it.slot.stamp.is_some());
    let state = match held {
        [_, ..] if is_stamped && !node.is_ready => State::Down,
        [_, ..] if is_stamped => State::Rebooting,
        [_, ..] => State::InTurn,
        [] if node.hold.is_some() => State::Held,
        [] if node.waiting_since.is_some() || node.request.is_some() => State::Waiting,
        [] if node.pool.is_none() => State::NoRebootd,
        [] => State::Idle,
    };
    Row {
        status: if node.is_ready { "Ready" } else { "NotReady" },
        cordoned_by: node.is_cordoned.then_some(if node.is_cordoned_by_us { "rebootd" } else { "other" }),
        state,
        since: since(held).or(waiting),
        slots: names(held),
        why: node.hold.or_else(|| reason(held)).or(node.request),
        node: node.name,
        pool: node.pool,
        kernel: node.kernel,
    }
}

/// A holder without a Node.
fn missing(holder: &str, held: &[&HeldSlot]) -> Row {
    let is_stamped = held.iter().any(|it| it.slot.stamp.is_some());
    Row {
        node: holder.to_owned(),
        pool: held.iter().find_map(|it| it.slot.pool.clone()),
        status: "missing",
        cordoned_by: None,
        state: if is_stamped { State::Down } else { State::InTurn },
        since: since(held),
        slots: names(held),
        why: reason(held),
        kernel: String::new(),
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
    let mut table = vec![["NODE", "POOL", "STATUS", "REBOOTD", "SINCE", "WHY"].map(str::to_owned)];
    for row in &fleet.nodes {
        let status = match row.cordoned_by {
            Some("rebootd") => format!("{},cordoned", row.status),
            Some(_) => format!("{},cordoned-by-others", row.status),
            None => row.status.to_owned(),
        };
        let since =
            row.since.map_or("-".to_owned(), |since| span(Duration::from_secs(now.saturating_sub(since))));
        let why = [row.slots.join(", "), row.why.clone().unwrap_or_default()];
        let why: Vec<String> = why.into_iter().filter(|it| !it.is_empty()).collect();
        let pool = row.pool.clone().unwrap_or("-".to_owned());
        table.push([row.node.clone(), pool, status, row.state.words().to_owned(), since, why.join(": ")]);
    }
    let width = |column: usize| {
        table
            .iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or_default()
    };
    let widths: Vec<usize> = (0..6).map(width).collect();
    let mut lines: Vec<String> = table
        .iter()
        .map(|row| {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        })
        .collect();
    lines.push(String::new());
    lines.push(in_words(&fleet.summary));
    if let Some(why) = &fleet.paused {
        lines.push(format!("The fleet is paused: {why}. To go on: rebootctl fleet resume"));
    }
    lines
}

fn in_words(summary: &Summary) -> String {
    let Summary { nodes, in_turn, waiting, not_ready, without_rebootd, slots, free_slots, .. } = summary;
    let longest =
        summary.longest_wait.map(|wait| format!(" (the longest for {})", span(Duration::from_secs(wait))));
    format!(
        "{nodes} nodes: {in_turn} in turn, {waiting} waiting{}, {not_ready} not Ready, {without_rebootd} without rebootd; \
         {free_slots} of {slots} slots are free.",
        longest.unwrap_or_default()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::{Claim, SlotView, Stamp};

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
        }
    }

    fn slot(name: &str, holder: Option<&str>, is_stamped: bool) -> HeldSlot {
        let (unready, request) = (Default::default(), None);
        let stamp = Stamp { boot_id: "b".into(), attempt: 1, at: Duration::ZERO, unready, request };
        let slot = SlotView {
            name: name.into(),
            uid: "u".into(),
            resource_version: "1".into(),
            pool: Some("worker".into()),
            holder: holder.map(str::to_owned),
            claim: Claim { reason: "/run/reboot-required by libc6".into(), ..Claim::default() },
            stamp: is_stamped.then_some(stamp),
            step_back: None,
        };
        HeldSlot { slot, since: Some("2026-11-28T11:58:00.000000Z".into()) }
    }

    #[test]
    fn the_most_urgent_come_first_and_are_summed_up() {
        let worker = Some("worker");
        let mut down = node("n5", worker, None);
        (down.is_ready, down.is_cordoned, down.is_cordoned_by_us) = (false, true, true);
        let mut held = node("n6", worker, Some("2026-11-20T0700Z"));
        held.hold = Some("I look at the disk (ann@a)".into());
        let nodes = vec![
            node("n1", worker, None),
            node("n2", worker, Some("2026-11-28T0900Z")),
            node("n3", worker, Some("2026-11-24T0740Z")),
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
        let fleet = fleet(nodes, &slots, Some("a test".into()), None, now);
        let told = lines(&fleet, now);
        let expected = "\
NODE  POOL    STATUS             REBOOTD      SINCE  WHY
n5    worker  NotReady,cordoned  down         2min   worker-1: /run/reboot-required by libc6
gone  worker  missing            in its turn  2min   worker-2: /run/reboot-required by libc6
n3    worker  Ready              waiting      4d 4h
n2    worker  Ready              waiting      3h
n6    worker  Ready              held         8d 5h  I look at the disk (ann@a)
n4    -       Ready              no rebootd   -
n1    worker  Ready              idle         -

6 nodes: 2 in turn, 2 waiting (the longest for 4d 4h), 1 not Ready, 1 without rebootd; 1 of 3 slots are free.
The fleet is paused: a test. To go on: rebootctl fleet resume";
        assert_eq!(told.join("\n"), expected);
    }
}
