//! `lab demo`: three hosts reboot themselves in turn, for people to watch.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::time::{Instant, sleep};

use crate::host::Host;
use crate::images::Suite;
use crate::lab::Lab;
use crate::observer::{PodState, State};
use crate::progress::{elapsed, say};
use crate::rollout::{HostReport, PublishedStatus, Rollout, SENTINEL, seconds};
use crate::workload::{self, Deployment};

/// What an administrator writes into `/etc/rebootd/config.toml`: `settle` is short so that nobody has to wait.
const CONFIG: &str = "[policy]\nwindow = \"always\"\nsettle = \"5s\"\n";
const PODS: u32 = 30;
/// What the PodDisruptionBudget keeps.
const MIN_AVAILABLE: u32 = 26;
const PRE_STOP_SECONDS: u32 = 3;
const POOL: &str = "worker";

const WORKLOAD_LIMIT: Duration = Duration::from_secs(120);
const IDLE_LIMIT: Duration = Duration::from_secs(60);
const ROLLOUT_LIMIT: Duration = Duration::from_secs(15 * 60);
/// In seconds.
const TELL_PROGRESS_EVERY: f64 = 4.0;
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Shows one rollout and ends with its summary; an error if something went wrong.
pub async fn run(lab: &Lab, deb: &Path) -> Result<()> {
    set_up(lab, deb).await?;
    say(format!("{SENTINEL} appears on every host now, as after a security update"));
    let mut rollout = Rollout::begin(lab).await?;
    let mut display = Display::new();
    let deadline = Instant::now() + ROLLOUT_LIMIT;
    loop {
        rollout.look_at_hosts();
        display.show(lab, &rollout);
        if rollout.is_over() {
            break;
        }
        ensure!(Instant::now() < deadline, "not over after {ROLLOUT_LIMIT:?}:\n{}", rollout.observer.state());
        sleep(LOOK_EVERY).await;
    }
    summarize(lab, &rollout).await
}

/// Installs rebootd and a workload, and waits until both are ready.
async fn set_up(lab: &Lab, deb: &Path) -> Result<()> {
    for host in &lab.hosts {
        lab.install_rebootd(host, deb, CONFIG).await?;
        let file = deb.file_name().unwrap_or_default().to_string_lossy();
        say(format!("{} ({}): apt-get install ./{file}", host.name(), release(host)));
    }
    let web = Deployment {
        pre_stop_seconds: PRE_STOP_SECONDS,
        min_available: Some(MIN_AVAILABLE),
        ..Deployment::new("web", PODS)
    };
    web.create(&lab.control_plane).await?;
    workload::create_daemon_set(&lab.control_plane, "agent").await?;
    workload::wait_running(&lab.control_plane, "web", PODS as usize, WORKLOAD_LIMIT).await?;
    workload::wait_running(&lab.control_plane, "agent", lab.hosts.len(), WORKLOAD_LIMIT).await?;
    say(format!(
        "{PODS} pods and a DaemonSet run; a PodDisruptionBudget wants {MIN_AVAILABLE} pods at any time"
    ));
    wait_idle(lab).await
}

/// Waits until rebootd on every host has looked around and has nothing to do.
pub async fn wait_idle(lab: &Lab) -> Result<()> {
    for host in &lab.hosts {
        wait_host_idle(host).await?;
    }
    Ok(())
}

/// The same for one host.
pub async fn wait_host_idle(host: &Host) -> Result<()> {
    let deadline = Instant::now() + IDLE_LIMIT;
    loop {
        let status = PublishedStatus::of(host);
        if status.as_ref().is_some_and(|status| status.phase == "idle") {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "{} is not idle but {status:?}", host.name());
        sleep(LOOK_EVERY).await;
    }
}

/// The Debian release of a host, as people call it.
pub fn release(host: &Host) -> &'static str {
    match host.config.suite {
        Suite::Bookworm => "Debian 12",
        Suite::Trixie => "Debian 13",
    }
}

/// The table that is drawn again in place; without a terminal, a line for each change.
struct Display {
    terminal: bool,
    drawn: Option<Vec<String>>,
    told: BTreeMap<String, Told>,
    held_since: Option<(String, f64)>,
}

/// What was last said of a host or of the slots.
struct Told {
    step: String,
    detail: String,
    at: f64,
}

impl Display {
    fn new() -> Self {
        Self {
            terminal: std::io::stdout().is_terminal(),
            drawn: None,
            told: BTreeMap::new(),
            held_since: None,
        }
    }

    fn show(&mut self, lab: &Lab, rollout: &Rollout<'_>) {
        let state = rollout.observer.state();
        if self.terminal {
            let table = self.table(lab, rollout, &state);
            self.draw(table);
        } else {
            for host in &lab.hosts {
                let (phase, line) = words(host);
                let place = format!("{}, boot {}", node_words(&state, host.name()), host.boots().len());
                let detail = detail(&phase, &line);
                self.say_change(host.name(), format!("{place:<33} {phase:<11}"), detail);
            }
            self.say_change("slots", holders(&state), "");
        }
    }

    /// Every step is told at once; how it goes on, now and then.
    fn say_change(&mut self, who: &str, step: String, detail: &str) {
        let told = self.told.get(who);
        let news = told.is_none_or(|told| told.step != step);
        let progress =
            told.is_none_or(|told| told.detail != detail && told.at + TELL_PROGRESS_EVERY < elapsed());
        if news || progress {
            say(format!("{who:<6} {step} {detail}").trim_end());
            let told = Told { step, detail: detail.to_owned(), at: elapsed() };
            self.told.insert(who.to_owned(), told);
        }
    }

    fn table(&mut self, lab: &Lab, rollout: &Rollout<'_>, state: &State) -> Vec<String> {
        let mut lines = vec![
            String::new(),
            format!(
                "{:<6} {:<10} {:>5}  {:<25} {:>4}  {:<11} WAITS FOR",
                "HOST", "RELEASE", "BOOTS", "NODE", "PODS", "PHASE"
            ),
        ];
        for host in &lab.hosts {
            let (phase, line) = words(host);
            lines.push(format!(
                "{:<6} {:<10} {:>5}  {:<25} {:>4}  {phase:<11} {}",
                host.name(),
                release(host),
                host.boots().len(),
                node_words(state, host.name()),
                state.pods_on(host.name()).count(),
                detail(&phase, &line),
            ));
        }
        let holders = holders(state);
        if self.held_since.as_ref().is_none_or(|(before, _)| *before != holders) {
            self.held_since = Some((holders.clone(), elapsed()));
        }
        let since = self.held_since.as_ref().map_or(0.0, |(_, since)| elapsed() - since);
        lines.push(String::new());
        lines.push(format!("slots: {holders}; for {since:.0} s"));
        let ready = state.pods.values().filter(|pod| is_ready_web(pod)).count();
        lines.push(format!(
            "{ready} of {PODS} pods ready, the budget wants {MIN_AVAILABLE}; {:.0} s since the hosts were asked",
            rollout.observer.now().saturating_sub(rollout.asked).as_secs_f64()
        ));
        lines
    }

    fn draw(&mut self, table: Vec<String>) {
        if self.drawn.as_ref() == Some(&table) {
            return;
        }
        let up = match &self.drawn {
            Some(before) => format!("\x1b[{}A", before.len()),
            None => String::new(),
        };
        // Without line wrap: a long status line is cut at the terminal's edge, and the count of lines stays right.
        let lines: String = table.iter().map(|line| format!("{line}\x1b[K\n")).collect();
        let mut terminal = std::io::stdout().lock();
        // A terminal that went away takes the demo's end with it, not its verdict.
        let _ = write!(terminal, "{up}\x1b[?7l{lines}\x1b[?7h").and_then(|()| terminal.flush());
        self.drawn = Some(table);
    }
}

fn is_ready_web(pod: &PodState) -> bool {
    pod.ready && !pod.terminating && pod.labels.get("app").is_some_and(|app| app == "web")
}

/// Phase and status line; while rebootd does not run, the host goes down or boots.
fn words(host: &Host) -> (String, String) {
    match PublishedStatus::of(host) {
        Some(status) => (status.phase, status.line),
        None => ("(down)".to_owned(), String::new()),
    }
}

/// The status line without the phase, which stands before it.
fn detail<'line>(phase: &'line str, line: &'line str) -> &'line str {
    match line.strip_prefix(phase) {
        Some(rest) => rest.strip_prefix(": ").unwrap_or(rest),
        None => line,
    }
}

/// A Node as `kubectl get nodes` shows it.
fn node_words(state: &State, name: &str) -> String {
    match state.node(name) {
        None => "missing".to_owned(),
        Some(node) => {
            let ready = if node.ready { "Ready" } else { "NotReady" };
            format!("{ready}{}", if node.unschedulable { ",SchedulingDisabled" } else { "" })
        }
    }
}

fn holders(state: &State) -> String {
    let slots: Vec<String> = state
        .leases
        .values()
        .map(|slot| match &slot.holder {
            Some(holder) => format!("{} held by {holder}", slot.name),
            None => format!("{} free", slot.name),
        })
        .collect();
    slots.join(", ")
}

async fn summarize(lab: &Lab, rollout: &Rollout<'_>) -> Result<()> {
    let reports = rollout.reports().await?;
    let history = rollout.observer.history();
    println!("\nWho rebooted when, from the moment at which all were asked:");
    println!(
        "{:<6} {:<10} {:>9}  {:<13}  {:<17} {:>9} {:>9}",
        "HOST", "RELEASE", "CLAIMED", "DRAINED", "DOWN", "CORDONED", "RELEASED"
    );
    for report in &reports {
        println!("{}", row(lab.host(&report.name), report, rollout));
    }
    let handoffs: Vec<String> =
        rollout.handoffs().iter().map(|handoff| format!("{:.1} s", handoff.seconds())).collect();
    println!("\nhand-offs of the slot: {}", handoffs.join(", "));
    let first = reports.first().context("no host")?.held.0;
    let last = reports.iter().map(|report| report.held.1).max().unwrap_or_default();
    println!("from the first claim to the last release: {:.1} s", seconds((first, last)));
    let minimum = history.min_ready_since(&"app=web".parse()?, rollout.asked).context("no pods were seen")?;
    println!("pods ready at the worst moment: {} (the budget wants {MIN_AVAILABLE})", minimum.count);

    let mut violations = Vec::new();
    for overlap in history.disrupted_more_than(1, POOL) {
        violations.push(format!("disrupted at the same time: {:?}", overlap.nodes));
    }
    if minimum.count < MIN_AVAILABLE as usize {
        violations.push("the PodDisruptionBudget was violated".to_owned());
    }
    for pod in rollout.evicted_of_daemon_sets() {
        violations.push(format!("{pod} of the DaemonSet was evicted"));
    }
    for host in &lab.hosts {
        let boots = rollout.boots_of(host);
        if boots != 1 {
            violations.push(format!("{} booted {boots} times instead of once", host.name()));
        }
    }
    if !history.gaps().is_empty() {
        violations.push(format!("the observer missed something: {:?}", history.gaps()));
    }
    println!("violations: {}", violations.len());
    ensure!(violations.is_empty(), "{}", violations.join("; "));
    println!("Every host has rebooted once, one at a time, and takes pods again.");
    Ok(())
}

fn row(host: &Host, report: &HostReport, rollout: &Rollout<'_>) -> String {
    let since_asked = |at: Duration| format!("+{:.1} s", seconds((rollout.asked, at)));
    let length = |from_until| format!("{:.1} s", seconds(from_until));
    let drained = format!("{} in {}", report.evicted, length((report.cordoned.0, report.drained)));
    let down = format!("{} at {}", length(report.rebooted), since_asked(report.rebooted.0));
    format!(
        "{:<6} {:<10} {:>9}  {drained:<13}  {down:<17} {:>9} {:>9}",
        report.name,
        release(host),
        since_asked(report.held.0),
        length(report.cordoned),
        since_asked(report.held.1),
    )
}
