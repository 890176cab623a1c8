//! `rebootctl report`: the last reboots of this host, and how long each part of them took.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use jiff::Timestamp;

use super::kubeconfig::Kubeconfig;
use crate::decide::span;
use crate::host::clock::now;
use crate::notation::parse_time_span;
use crate::report::kept;
use crate::report::reboot::Reboot;
use crate::words::{NOTE, words};

/// The columns of `--csv`, as the fields of a record; packages are `NAME=BEFORE>AFTER`, and times of the parts in seconds.
const COLUMNS: [&str; 22] = [
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
];

/// Show the last reboots of this node, or of the fleet, and how long each part took
///
/// The last 50 whose turn has ended; with --fleet the last one of each node. WAITED is from the request to the claim of a slot, DRAINED from the
/// cordon until the last pod had left, DOWN from the call of logind until the Node was Ready again, and
/// CORDONED from the cordon to the uncordon.
#[derive(Debug, Args)]
#[command(mut_arg("path", |path| path.requires("fleet")))]
pub(super) struct Report {
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
    #[arg(long)]
    fleet: bool,
    #[command(flatten)]
    kubeconfig: Kubeconfig,
}

impl Report {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let path = Path::new(kept::PATH);
        let mut reboots = match self.fleet {
            true => self.of_fleet()?,
            false => kept::read(path).with_context(|| path.display().to_string())?,
        };
        if let Some(since) = self.since {
            let first = i64::try_from(now().wall.saturating_sub(since).as_secs())?;
            let first = Timestamp::from_second(first)?;
            reboots.retain(|reboot| reboot.down.is_none_or(|down| down >= first));
        }
        if self.json {
            println!("{}", serde_json::to_string_pretty(&reboots)?);
        } else if self.csv {
            println!("{}", COLUMNS.join(","));
            reboots.iter().for_each(|reboot| println!("{}", csv(reboot)));
        } else if reboots.is_empty() && self.fleet {
            println!("No Node tells of a reboot.");
        } else if reboots.is_empty() {
            println!("No reboot of this node is on record ({}).", path.display());
        } else {
            table(&reboots, self.fleet).iter().for_each(|line| println!("{line}"));
        }
        Ok(ExitCode::SUCCESS)
    }

    /// The last one of each node, the latest last.
    fn of_fleet(&self) -> anyhow::Result<Vec<Reboot>> {
        let (mut api, runtime) = self.kubeconfig.connect()?;
        let nodes = runtime.block_on(api.fleet("")).context("cannot read the Nodes")?;
        let told = nodes.into_iter().filter_map(|node| Some((node.name, node.heartbeat?.last_reboot?)));
        // Whatever a Node says, it says of itself.
        let mut reboots: Vec<Reboot> = told
            .filter_map(|(node, record)| Some(Reboot { node, ..serde_json::from_value(record).ok()? }))
            .collect();
        reboots.sort_by_key(|reboot| reboot.down);
        Ok(reboots)
    }
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
fn table(reboots: &[Reboot], of_fleet: bool) -> Vec<String> {
    let head = ["NODE", "REBOOTED", "OUTCOME", "WAITED", "DRAINED", "DOWN", "CORDONED", "PACKAGES", "WHY"];
    let mut rows = vec![head.map(str::to_owned)];
    for reboot in reboots {
        let parts = Parts::of(reboot);
        let told = |time: Option<Duration>| time.map_or("-".to_owned(), span);
        rows.push([
            clean(&reboot.node),
            reboot.down.map_or("-".to_owned(), |at| at.to_string()),
            clean(&reboot.outcome),
            told(parts.waited),
            told(parts.drained),
            told(parts.down),
            told(parts.cordoned),
            (reboot.packages.len() + reboot.more_packages).to_string(),
            clean(&reboot.request),
        ]);
    }
    let widths: Vec<usize> = (0..head.len())
        .map(|column| rows.iter().filter_map(|row| row.get(column)).map(|it| it.chars().count()).max())
        .map(Option::unwrap_or_default)
        .collect();
    rows.iter()
        .map(|row| {
            let cells = row.iter().zip(&widths).skip(usize::from(!of_fleet));
            let cells = cells.map(|(cell, width)| format!("{cell:<width$}"));
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        })
        .collect()
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
    ];
    cells.map(|cell| quoted(&words(&cell, usize::MAX))).join(",")
}

/// RFC 4180; and nothing that a spreadsheet would take for a formula.
fn quoted(cell: &str) -> String {
    let harmless = if cell.starts_with(['=', '+', '-', '@']) { format!("'{cell}") } else { cell.to_owned() };
    if harmless.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", harmless.replace('"', "\"\""))
    } else {
        harmless
    }
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
        assert!(line.ends_with(",86370,27,40,,133,libc6=2.36-9>2.36-10,b,a"), "{line}");
        assert_eq!(quoted("=1+1"), "'=1+1");
        assert_eq!(quoted("a\"b"), "\"a\"\"b\"");
    }
}
