//! `rebootctl live`: which installed updates are not live on this host, and what that leaves open.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, anyhow};
use clap::Args;

use super::status::time;
use super::table::table;
use crate::config::{DEFAULT_DIRECTORIES, Files};
use crate::decide::{Request, Update, open_cves};
use crate::host::live::{self, Known, Live};
use crate::host::{clock, dpkg, identity, kernel, needrestart, packages, sentinel};
use crate::replace::{remove, replace};

/// Between two looks: at whether apt is still at work, and at whether what was stored is still so.
const AGAIN: Duration = Duration::from_secs(5);

/// Show which installed updates are not live on this host, and which CVEs that leaves open
///
/// The kernel; the packages that ask for a reboot; and the services that needrestart has found to run outdated code, where
/// rebootd-needrestart.path is enabled. The CVEs are those that the changelogs in /usr/share/doc name for the versions
/// between the one that runs and the one that is installed. Where a changelog is missing or too short, that is said.
#[derive(Debug, Args)]
pub(super) struct LiveUpdates {
    /// Print JSON, for programs, with the names of all CVEs
    #[arg(long)]
    json: bool,
    /// Write it to this file once apt is done, for the daemon (rebootd-live.service)
    #[arg(long, value_name = "FILE", hide = true)]
    store: Option<PathBuf>,
}

impl LiveUpdates {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        if let Some(path) = &self.store {
            // Whatever fails leaves no file behind: what it said before may not be true any more.
            store(path).inspect_err(|_| drop(remove(path)))?;
            return Ok(ExitCode::SUCCESS);
        }
        let updates = work_out(&sentinel_file()?)?;
        if self.json {
            println!("{}", serde_json::to_string_pretty(&Live { updates })?);
        } else {
            lines(&updates).iter().for_each(|line| println!("{line}"));
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn store(path: &Path) -> anyhow::Result<()> {
    let sentinel = sentinel_file()?;
    let look = || {
        while dpkg::held_lock().map_err(|error| anyhow!(error))?.is_some() {
            sleep(AGAIN);
        }
        let before = state(&sentinel);
        // Whoever reads it remembers no more.
        let live = Live { updates: Update::bounded(work_out(&sentinel)?) };
        Ok((before, serde_json::to_vec(&live)?))
    };
    let keep = |content: Vec<u8>| replace(path, &content, 0o644).with_context(|| path.display().to_string());
    until_quiet(|| state(&sentinel), look, keep, || sleep(AGAIN))
}

/// systemd tells nothing of what changes while this runs, so it looks again until nothing has, also not for a while after: one
/// change follows another, and none may fall between the last look and systemd's watch.
fn until_quiet<State: PartialEq, Found>(
    state: impl Fn() -> State,
    look: impl Fn() -> anyhow::Result<(State, Found)>,
    keep: impl Fn(Found) -> anyhow::Result<()>,
    stay: impl Fn(),
) -> anyhow::Result<()> {
    loop {
        let (before, found) = look()?;
        if state() == before {
            keep(found)?;
            stay();
            if state() == before {
                return Ok(());
            }
        }
    }
}

/// What tells one state of the host from another.
fn state(sentinel: &Path) -> Vec<Option<(u64, i64, i64)>> {
    let list = sentinel::list(sentinel);
    let files = [Path::new(packages::STATUS), Path::new(needrestart::PATH), sentinel, &list];
    let of = |path| fs::metadata(path).ok().map(|it| (it.ino(), it.mtime(), it.mtime_nsec()));
    files.into_iter().map(of).collect()
}

fn sentinel_file() -> anyhow::Result<PathBuf> {
    let files = Files::read(&DEFAULT_DIRECTORIES.map(Path::new))?;
    Ok(files.settings(&identity::host_name()?)?.host.sentinel)
}

fn work_out(sentinel: &Path) -> anyhow::Result<Vec<Update>> {
    let asks = sentinel::read(sentinel).map_err(|error| anyhow!(error))?;
    let outdated =
        needrestart::read(Path::new(needrestart::PATH)).transpose().map_err(|error| anyhow!(error))?;
    let now = clock::now();
    let known = Known {
        asking: asks.map(named).unwrap_or_default(),
        services: outdated.flatten().map(named).unwrap_or_default(),
        kernel: kernel::read().map_err(|error| anyhow!(error))?,
        running: kernel::running_package(),
        booted: now.wall.saturating_sub(now.boot),
    };
    live::work_out(&known).map_err(|error| anyhow!(error))
}

/// What a request names; if nothing, it asks all the same.
fn named(request: Request) -> Vec<String> {
    if request.packages.is_empty() { vec![request.reason] } else { request.packages }
}

fn lines(updates: &[Update]) -> Vec<String> {
    if updates.is_empty() {
        return vec!["Everything that is installed is live, as far as this host can tell.".to_owned()];
    }
    let head = ["PACKAGE", "RUNS", "INSTALLED", "SINCE", "CVES"].map(str::to_owned);
    let or_none = |text: &Option<String>| text.clone().unwrap_or("-".to_owned());
    let rows = updates.iter().map(|it| {
        let since = it.since.map_or("-".to_owned(), time);
        let cves = open_cves([it]).to_string();
        [it.package.clone(), or_none(&it.running), or_none(&it.installed), since, cves]
    });
    let rows: Vec<[String; 5]> = [head].into_iter().chain(rows).collect();
    let sum = format!("Open in all: {}.", open_cves(updates));
    table(&rows).into_iter().chain([sum]).collect()
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use super::*;
    use crate::decide::Cves;

    #[test]
    fn what_changes_while_it_looks_or_soon_after_is_looked_at_again() {
        let (state, looks, kept) = (Cell::new("old"), Cell::new(0), RefCell::new(Vec::new()));
        let look = || {
            let before = state.get();
            looks.set(looks.get() + 1);
            if looks.get() == 1 {
                state.set("changed meanwhile");
            }
            Ok((before, before))
        };
        let keep = |found| {
            kept.borrow_mut().push(found);
            Ok(())
        };
        let stay = || {
            if looks.get() == 2 {
                state.set("changed after");
            }
        };
        until_quiet(|| state.get(), look, keep, stay).unwrap();
        assert_eq!(kept.into_inner(), ["changed meanwhile", "changed after"]);
    }

    #[test]
    fn each_update_has_a_line_and_all_have_a_sum() {
        let update = |package: &str, cves| Update {
            package: package.into(),
            running: Some("1".into()),
            installed: Some("2".into()),
            since: Some(1_795_662_720),
            cves,
        };
        let cves = Cves { count: 3, at_least: false, named: vec![] };
        let told = lines(&[update("libc6", Some(cves)), update("dbus", None)]);
        let expected = "\
PACKAGE  RUNS  INSTALLED  SINCE                 CVES
libc6    1     2          2026-11-26 03:12 UTC  3 CVEs
dbus     1     2          2026-11-26 03:12 UTC  CVEs not known
Open in all: at least 3 CVEs.";
        assert_eq!(told.join("\n"), expected);
        assert_eq!(lines(&[]).len(), 1);
    }
}
