//! `rebootctl report --packages`: for auditors, each update that a reboot made live or that still waits for one.

use jiff::Timestamp;
use serde::Serialize;

use super::table::{quoted, table};
use crate::decide::{Cves, Update};
use crate::report::reboot::{Package, Reboot, made_live};
use crate::words::{NOTE, words};

/// As the fields of a row; all names of CVEs that are known in one cell.
const COLUMNS: [&str; 10] = [
    "node",
    "package",
    "before",
    "after",
    "cves",
    "cves_at_least",
    "named_cves",
    "installed",
    "asked",
    "live",
];

/// An update of a package on a node.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Row {
    node: String,
    package: String,
    /// The version that ran before.
    before: Option<String>,
    after: Option<String>,
    /// What was open until it was live; nothing if that is not known.
    cves: Option<Cves>,
    installed: Option<Timestamp>,
    /// Since when the request asked that led to the reboot.
    asked: Option<Timestamp>,
    /// Since when it is live; nothing if it is not.
    live: Option<Timestamp>,
}

impl Row {
    /// What the reboot made live. What it did not, because the machine stayed up, is not live and told elsewhere.
    pub(super) fn of_reboot(reboot: &Reboot) -> Vec<Row> {
        let Some(live) = reboot.ready.or(reboot.down).filter(|_| reboot.boot_after.is_some()) else {
            return Vec::new();
        };
        let row = |package: &Package| Row {
            node: reboot.node.clone(),
            package: package.name.clone(),
            before: package.before.clone(),
            after: package.after.clone(),
            cves: package.cves.clone(),
            installed: package.installed,
            asked: reboot.asked,
            live: Some(live).filter(|_| made_live(&package.name, reboot.kernel_after.as_deref())),
        };
        reboot.packages.iter().map(row).collect()
    }

    /// What is not live yet.
    pub(super) fn open(node: &str, updates: &[Update]) -> Vec<Row> {
        let time = |second: u64| Timestamp::from_second(i64::try_from(second).ok()?).ok();
        let row = |update: &Update| Row {
            node: node.to_owned(),
            package: update.package.clone(),
            before: update.running.clone(),
            after: update.installed.clone(),
            cves: update.cves.clone(),
            installed: update.since.and_then(time),
            asked: None,
            live: None,
        };
        updates.iter().map(row).collect()
    }
}

/// For people.
pub(super) fn lines(rows: &[Row]) -> Vec<String> {
    let head = ["NODE", "PACKAGE", "BEFORE", "AFTER", "INSTALLED", "LIVE", "CVES"].map(str::to_owned);
    let text = |it: &Option<String>| it.as_deref().map_or("-".to_owned(), |it| words(it, NOTE));
    let time = |it: Option<Timestamp>| it.map_or("-".to_owned(), |it| it.to_string());
    let row = |row: &Row| {
        [
            words(&row.node, NOTE),
            words(&row.package, NOTE),
            text(&row.before),
            text(&row.after),
            time(row.installed),
            row.live.map_or("not yet".to_owned(), |it| it.to_string()),
            row.cves.as_ref().map_or("CVEs not known".to_owned(), Cves::to_string),
        ]
    };
    table(&[head].into_iter().chain(rows.iter().map(row)).collect::<Vec<_>>())
}

/// For a spreadsheet.
pub(super) fn csv(rows: &[Row]) -> Vec<String> {
    let text = |it: &Option<String>| it.clone().unwrap_or_default();
    let time = |it: Option<Timestamp>| it.map(|it| it.to_string()).unwrap_or_default();
    let line = |row: &Row| {
        let of_cves = |cell: fn(&Cves) -> String| row.cves.as_ref().map(cell).unwrap_or_default();
        let cells: [String; COLUMNS.len()] = [
            row.node.clone(),
            row.package.clone(),
            text(&row.before),
            text(&row.after),
            of_cves(|cves| cves.count.to_string()),
            of_cves(|cves| cves.at_least.to_string()),
            of_cves(|cves| cves.named.join(" ")),
            time(row.installed),
            time(row.asked),
            time(row.live),
        ];
        cells.map(|cell| quoted(&words(&cell, usize::MAX))).join(",")
    };
    [COLUMNS.join(",")].into_iter().chain(rows.iter().map(line)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_reboot_made_live_and_what_waits_stand_in_one_table() {
        let cves =
            Cves { count: 2, at_least: true, named: vec!["CVE-2026-0001".into(), "CVE-2026-0002".into()] };
        let text = serde_json::json!({
            "node": "n1", "pool": "p", "outcome": "well", "request": "r", "boot_before": "b", "boot_after": "a",
            "kernel_before": null, "kernel_after": null, "more_packages": 0,
            "packages": [{"name": "libc6", "before": "1", "after": "2", "requested": true,
                "installed": "2026-11-25T02:12:00Z", "cves": cves}],
            "asked": "2026-11-25T03:12:00Z", "down": "2026-11-26T03:12:00Z", "ready": "2026-11-26T03:12:40Z",
        });
        let mut reboot: Reboot = serde_json::from_value(text).unwrap();
        let update = Update {
            package: "dbus".into(),
            running: None,
            installed: Some("1.14".into()),
            since: Some(1_795_662_720),
            cves: None,
        };
        let rows: Vec<Row> = Row::of_reboot(&reboot).into_iter().chain(Row::open("n1", &[update])).collect();
        let expected = "\
node,package,before,after,cves,cves_at_least,named_cves,installed,asked,live
n1,libc6,1,2,2,true,CVE-2026-0001 CVE-2026-0002,2026-11-25T02:12:00Z,2026-11-25T03:12:00Z,2026-11-26T03:12:40Z
n1,dbus,,1.14,,,,2026-11-26T03:12:00Z,,";
        assert_eq!(csv(&rows).join("\n"), expected);
        let expected = "\
NODE  PACKAGE  BEFORE  AFTER  INSTALLED             LIVE                  CVES
n1    libc6    1       2      2026-11-25T02:12:00Z  2026-11-26T03:12:40Z  at least 2 CVEs
n1    dbus     -       1.14   2026-11-26T03:12:00Z  not yet               CVEs not known";
        assert_eq!(lines(&rows).join("\n"), expected);
        reboot.boot_after = None;
        assert_eq!(Row::of_reboot(&reboot), []);
    }
}
