//! `rebootctl report`: the last reboots of this host, and how long each part of them took.

mod gone;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use jiff::Timestamp;

use self::gone::{Gone, gone};
use super::kubeconfig::Kubeconfig;
use super::slots::parse_name;
use super::table::{self, quoted};
use super::updates::{self, Row};
use crate::decide::{Impact, span};
use crate::host::clock::now;
use crate::host::identity::host_name;
use crate::host::live;
use crate::notation::parse_time_span;
use crate::report::kept;
use crate::report::reboot::Reboot;
use crate::words::{NOTE, escaped, words};

/// That many nodes that are gone are told of.
const MOST_GONE: usize = 20;
/// The columns of `--csv`, as the fields of a record; packages are `NAME=BEFORE>AFTER`, and times of the parts in seconds.
const COLUMNS: [&str; 28] = [
    "node",
    "pool",
    "outcome",
    "request",
    "kernel_before",
    "kernel_after",
    "asked",
    "claimed",
    "cordoned",
    "drained",
    "down",
    "ready",
    "uncordoned",
    "released",
    "waited_seconds",
    "drain_seconds",
    "down_seconds",
    "cordoned_seconds",
    "turn_seconds",
    "packages",
    "boot_before",
    "boot_after",
    "waited_for",
    "workloads",
    "measured_before",
    "measured_lowest",
    "measured_highest",
    "measured_after",
];

/// Show the last reboots of this node, or of the fleet, and how long each part took
///
/// The last 50 whose turn has ended; with NODE or --fleet the last one of that node or of each, as the Node shows it. Of a
/// node that is gone it tells what the cluster still knows: slots that are held under its name, and Events. WAITED is from the request to the claim of a slot, DRAINED from the
/// cordon until the last pod had left, DOWN from the call of logind until the Node was Ready again, and
/// CORDONED from the cordon to the uncordon.
#[derive(Debug, Args)]
#[command(mut_arg("path", |path| path.requires("of_cluster")))]
pub(super) struct Report {
    /// The node, instead of this one: its last reboot, as its Node tells it
    #[arg(value_parser = parse_name, group = "of_cluster")]
    node: Option<String>,
    /// Only those of this long until now, for example 90d
    #[arg(long, value_name = "SPAN", value_parser = parse_time_span)]
    since: Option<Duration>,
    /// Print JSON, for programs
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// Print a line for each reboot, with commas, for a spreadsheet
    #[arg(long)]
    csv: bool,
    /// Show the last reboot of each node of the cluster, as the Nodes tell it
    #[arg(long, group = "of_cluster")]
    fleet: bool,
    /// Show each package that a reboot made live or that still waits for one, and which CVEs that leaves open
    #[arg(long)]
    packages: bool,
    #[command(flatten)]
    kubeconfig: Kubeconfig,
}

impl Report {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let is_of_cluster = self.fleet || self.node.is_some();
        let (mut reboots, open) = if is_of_cluster { self.of_cluster()? } else { of_host()? };
        let on_record = reboots.len();
        if let Some(since) = self.since {
            let first = i64::try_from(now().wall.saturating_sub(since).as_secs())?;
            let first = Timestamp::from_second(first)?;
            reboots.retain(|reboot| reboot.down.is_none_or(|down| down >= first));
        }
        match self.packages {
            true => self.print_packages(reboots.iter().flat_map(Row::of_reboot).chain(open).collect())?,
            false if reboots.is_empty() && on_record > 0 && !self.json && !self.csv => {
                println!("None of the {on_record} reboots on record is that late.");
            }
            false => self.print(&reboots)?,
        }
        Ok(ExitCode::SUCCESS)
    }

    fn print(&self, reboots: &[Reboot]) -> anyhow::Result<()> {
        if self.json {
            println!("{}", escaped(&serde_json::to_string_pretty(&reboots)?));
        } else if self.csv {
            println!("{}", COLUMNS.join(","));
            reboots.iter().for_each(|reboot| println!("{}", csv(reboot)));
        } else if reboots.is_empty() && self.fleet {
            println!("No Node tells of a reboot.");
        } else if let Some(node) = self.node.as_ref().filter(|_| reboots.is_empty()) {
            println!("No Node {node} tells of a reboot.");
        } else if reboots.is_empty() {
            println!("No reboot of this node is on record ({}).", kept::PATH);
        } else {
            table(reboots, self.fleet).iter().for_each(|line| println!("{line}"));
            measured(reboots, self.fleet).iter().for_each(|line| println!("{line}"));
        }
        Ok(())
    }

    fn print_packages(&self, rows: Vec<Row>) -> anyhow::Result<()> {
        if self.json {
            println!("{}", escaped(&serde_json::to_string_pretty(&rows)?));
        } else if self.csv {
            updates::csv(&rows).iter().for_each(|line| println!("{line}"));
        } else if rows.is_empty() {
            println!("No update is on record, and none is known to wait for a reboot.");
        } else {
            updates::lines(&rows).iter().for_each(|line| println!("{line}"));
        }
        Ok(())
    }

    /// The last one of each node, or of one, the latest last; and what is not live there.
    fn of_cluster(&self) -> anyhow::Result<(Vec<Reboot>, Vec<Row>)> {
        let (mut api, runtime) = self.kubeconfig.connect()?;
        let mut nodes = runtime.block_on(api.fleet("")).context("cannot read the Nodes")?;
        let names = nodes.iter().map(|node| node.name.clone()).collect();
        let is_wanted = |name: &str| self.node.as_ref().is_none_or(|node| node == name);
        nodes.retain(|node| is_wanted(&node.name));
        if self.fleet || nodes.is_empty() {
            self.tell_of_gone(runtime.block_on(gone(&mut api, &names)))?;
        }
        let (mut reboots, mut open) = (Vec::new(), Vec::new());
        for (node, said) in nodes.into_iter().filter_map(|node| Some((node.name, node.heartbeat?))) {
            open.extend(said.not_live.iter().flat_map(|it| Row::open(&node, &it.updates)));
            // Whatever a Node says, it says of itself.
            let record = said.last_reboot.and_then(|record| serde_json::from_value(record).ok());
            reboots.extend(record.map(|record: Reboot| Reboot { node, ..record }));
        }
        reboots.sort_by_key(|reboot| reboot.down);
        Ok((reboots, open))
    }

    /// To people, and beside what programs read.
    fn tell_of_gone(&self, gone: anyhow::Result<BTreeMap<String, Gone>>) -> anyhow::Result<()> {
        let Some(node) = &self.node else {
            match gone {
                Ok(gone) => {
                    gone.iter().take(MOST_GONE).for_each(|(node, gone)| eprintln!("{}", gone.line(node)))
                }
                Err(error) => eprintln!("rebootctl: of nodes that are gone nothing is told: {error:#}"),
            }
            return Ok(());
        };
        let gone = gone.with_context(|| format!("there is no Node {node}"))?;
        let known = gone.get(node).with_context(|| {
            format!("there is no Node {node}, and the cluster knows of no reboot of one (Events are kept for an hour)")
        })?;
        known.lines(node).iter().for_each(|line| eprintln!("{line}"));
        Ok(())
    }
}

/// Those on record, and what is not live on this host.
fn of_host() -> anyhow::Result<(Vec<Reboot>, Vec<Row>)> {
    let path = Path::new(kept::PATH);
    let reboots = kept::read(path).with_context(|| path.display().to_string())?;
    let open = live::read(Path::new(live::PATH)).unwrap_or_default();
    let node = reboots.last().map_or_else(host_name, |last| Ok(last.node.clone()))?;
    Ok((reboots, Row::open(&node, &open)))
}

/// How long the parts of a reboot took.
struct Parts {
    waited: Option<Duration>,
    drained: Option<Duration>,
    down: Option<Duration>,
    cordoned: Option<Duration>,
    turn: Option<Duration>,
}

impl Parts {
    fn of(reboot: &Reboot) -> Parts {
        let between = |from: Option<Timestamp>, to: Option<Timestamp>| {
            Duration::try_from(to?.duration_since(from?)).ok()
        };
        Parts {
            waited: between(reboot.asked, reboot.claimed),
            drained: reboot.drained_for(),
            down: between(reboot.down, reboot.ready),
            cordoned: between(reboot.cordoned, reboot.uncordoned),
            turn: between(reboot.claimed, reboot.released),
        }
    }
}

/// With the node's name where they are of several.
pub(super) fn table(reboots: &[Reboot], of_fleet: bool) -> Vec<String> {
    let head = ["NODE", "REBOOTED", "OUTCOME", "WAITED", "DRAINED", "DOWN", "CORDONED", "PACKAGES", "WHY"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for reboot in reboots {
        let parts = Parts::of(reboot);
        let told = |time: Option<Duration>| time.map_or("-".to_owned(), span);
        rows.push(vec![
            clean(&reboot.node),
            reboot.down.map_or("-".to_owned(), |at| at.to_string()),
            clean(&reboot.outcome),
            told(parts.waited),
            told(parts.drained),
            told(parts.down),
            told(parts.cordoned),
            reboot.packages.len().saturating_add(reboot.more_packages).to_string(),
            clean(&reboot.request),
        ]);
    }
    rows.iter_mut().filter(|_| !of_fleet).for_each(|row| drop(row.remove(0)));
    table::table(&rows)
}

fn csv(reboot: &Reboot) -> String {
    let parts = Parts::of(reboot);
    let time = |at: Option<Timestamp>| at.map(|at| at.to_string()).unwrap_or_default();
    let seconds = |it: Option<Duration>| it.map(|it| it.as_secs().to_string()).unwrap_or_default();
    let text = |it: &Option<String>| it.clone().unwrap_or_default();
    let packages = reboot.packages.iter().map(|it| {
        format!(
            "{}={}>{}",
            it.name,
            it.before.as_deref().unwrap_or_default(),
            it.after.as_deref().unwrap_or_default()
        )
    });
    let figure = reboot.measured.figure.clone().unwrap_or_default();
    let cells: [String; COLUMNS.len()] = [
        reboot.node.clone(),
        reboot.pool.clone(),
        reboot.outcome.clone(),
        reboot.request.clone(),
        text(&reboot.kernel_before),
        text(&reboot.kernel_after),
        time(reboot.asked),
        time(reboot.claimed),
        time(reboot.cordoned),
        time(reboot.drained),
        time(reboot.down),
        time(reboot.ready),
        time(reboot.uncordoned),
        time(reboot.released),
        seconds(parts.waited),
        seconds(parts.drained),
        seconds(parts.down),
        seconds(parts.cordoned),
        seconds(parts.turn),
        packages.collect::<Vec<_>>().join(" "),
        reboot.boot_before.clone(),
        text(&reboot.boot_after),
        waited_for(reboot, |seconds| seconds.as_secs().to_string()),
        reboot.measured.workloads.iter().map(impact_cell).collect::<Vec<_>>().join(" "),
        figure.before.unwrap_or_default(),
        figure.lowest.unwrap_or_default(),
        figure.highest.unwrap_or_default(),
        figure.after.unwrap_or_default(),
    ];
    cells.map(|cell| quoted(&words(&cell, usize::MAX))).join(",")
}

/// What it waited for, and what became of the workloads: of the last reboot of a host; of a fleet, of those where a workload was short.
pub(super) fn measured(reboots: &[Reboot], of_fleet: bool) -> Vec<String> {
    let last = if of_fleet { reboots } else { reboots.last().map_or(&[][..], std::slice::from_ref) };
    last.iter().flat_map(|reboot| told(reboot, of_fleet)).collect()
}

fn told(reboot: &Reboot, only_short: bool) -> Vec<String> {
    let measured = &reboot.measured;
    let is_told = |it: &&Impact| !only_short || it.below > 0 || it.pending > 0 || it.restarts > 0;
    let impacts: Vec<&Impact> = measured.workloads.iter().filter(is_told).collect();
    if impacts.is_empty() && measured.figure.is_none() && (only_short || measured.waited.is_empty()) {
        return Vec::new();
    }
    let at = reboot.down.map(|at| format!(" at {at}")).unwrap_or_default();
    let mut lines = vec![String::new(), format!("{}{at}:", clean(&reboot.node))];
    if !measured.waited.is_empty() {
        lines.push(format!("  waited for {}", clean(&waited_for(reboot, span))));
    }
    lines.extend(impacts.iter().map(|impact| format!("  {}", words(&impact.to_string(), usize::MAX))));
    lines.extend(measured.figure.as_ref().map(|it| format!("  measured: {}", clean(&it.to_string()))));
    if measured.more_workloads > 0 {
        lines.push(format!("  and {} more workloads, which are not told of", measured.more_workloads));
    }
    if measured.unanswered > 0 && !impacts.is_empty() {
        let unanswered = span(Duration::from_secs(measured.unanswered));
        lines.push(format!("  Nobody looked for {unanswered}, as the API server did not answer."));
    }
    if measured.began_late {
        lines.push("  The daemon was started while pods left: what was before that is not in it.".to_owned());
    }
    if let Some(unseen) = measured.unseen.filter(|_| !impacts.is_empty()) {
        lines.push(format!(
            "  Nobody looked for {}, while the machine was down.",
            span(Duration::from_secs(unseen))
        ));
    }
    lines
}

fn waited_for(reboot: &Reboot, told: impl Fn(Duration) -> String) -> String {
    let mut waited: Vec<(&String, &u64)> =
        reboot.measured.waited.iter().filter(|(_, seconds)| **seconds > 0).collect();
    waited.sort_by_key(|(_, seconds)| std::cmp::Reverse(**seconds));
    let each =
        waited.iter().map(|(reason, seconds)| format!("{reason} {}", told(Duration::from_secs(**seconds))));
    each.collect::<Vec<_>>().join(", ")
}

/// `NAMESPACE/WORKLOAD=FEWEST/BEFORE:SECONDS`: how few of how many were ready, and for how long they were fewer.
fn impact_cell(impact: &Impact) -> String {
    let before = impact.ready_before.map(|before| before.to_string()).unwrap_or_default();
    format!("{}/{}={}/{before}:{}", impact.namespace, impact.workload, impact.fewest_ready, impact.below)
}

/// The file is the daemon's, but whoever becomes that user may write it.
fn clean(text: &str) -> String {
    words(text, NOTE)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = concat!(
        r#"{"node":"node1","pool":"worker","outcome":"well","request":"/run/reboot-required by libc6, linux","#,
        r#""boot_before":"b","boot_after":"a","kernel_before":"6.1.1","kernel_after":"6.1.2","#,
        r#""packages":[{"name":"libc6","before":"2.36-9","after":"2.36-10","requested":true}],"more_packages":2,"#,
        r#""asked":"2026-11-25T03:12:00Z","claimed":"2026-11-26T03:11:30Z","cordoned":"2026-11-26T03:11:31Z","#,
        r#""drained":"2026-11-26T03:11:58Z","down":"2026-11-26T03:12:00Z","ready":"2026-11-26T03:12:40Z","#,
        r#""uncordoned":null,"released":"2026-11-26T03:13:43Z"}"#,
    );

    #[test]
    fn the_table_tells_what_took_how_long() {
        let reboot: Reboot = serde_json::from_str(LINE).unwrap();
        let lines = table(&[reboot], false);
        assert_eq!(lines.len(), 2);
        let cells: Vec<&str> = lines[1].split("  ").map(str::trim).filter(|it| !it.is_empty()).collect();
        assert_eq!(
            cells[1..],
            ["well", "23h 59min", "27s", "40s", "-", "3", "/run/reboot-required by libc6, linux"]
        );
    }

    #[test]
    fn a_spreadsheet_finds_a_cell_for_each_column() {
        let reboot: Reboot = serde_json::from_str(LINE).unwrap();
        let line = csv(&reboot);
        assert!(
            line.starts_with(
                "node1,worker,well,\"/run/reboot-required by libc6, linux\",6.1.1,6.1.2,2026-11-25T03:12:00Z,"
            ),
            "{line}"
        );
        assert!(line.ends_with(",86370,27,40,,133,libc6=2.36-9>2.36-10,b,a,,,,,,"), "{line}");
    }
}
