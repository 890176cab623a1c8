//! `lab bench idle`: what a configured daemon costs a host on which nothing happens.

use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::requests;
use crate::demo::wait_idle;
use crate::host::Host;
use crate::kubelet::Kind;
use crate::lab::{Lab, LabConfig};
use crate::progress::say;
use crate::rollout::Rollout;

const CONFIG: &str = "[policy]\nwindow = \"always\"\nsettle = \"5s\"\nmin_interval = \"0\"\n";
/// The second look comes two minutes after the start; afterwards the daemon takes its time to hang up.
const UNTIL_LOOKS_ARE_OVER: Duration = Duration::from_secs(150);
const CYCLE_LIMIT: Duration = Duration::from_secs(300);

/// How long to measure. Both times begin together.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Count context switches for so many minutes.
    #[arg(long, default_value_t = 3)]
    minutes: u64,
    /// Count API requests for so many minutes.
    #[arg(long, default_value_t = 10)]
    request_minutes: u64,
}

/// A figure that is to be reached, and the daemon's own.
struct Row {
    what: &'static str,
    reached: f64,
    unit: &'static str,
    aim: &'static str,
    kured: &'static str,
}

/// Runs a lab for it and gives back the figures.
pub async fn run(deb: &Path, options: &Options) -> Result<Value> {
    // A hollow one would write its Node every ten seconds.
    let config = LabConfig::of_kind(Kind::Real, 1);
    let lab = Lab::start(config).await?;
    let host = lab.hosts.first().context("the lab has no host")?;
    lab.install_rebootd(host, deb, CONFIG).await?;
    wait_idle(&lab).await?;
    say(format!(
        "rebootd is idle; {} s until the looks of its start are over",
        UNTIL_LOOKS_ARE_OVER.as_secs()
    ));
    sleep(UNTIL_LOOKS_ARE_OVER).await;

    let binary_bytes: u64 =
        host.run_ok(&["stat", "--dereference", "--format=%s", "/usr/bin/rebootd"]).await?.trim().parse()?;
    let memory = Memory::of_rebootd(host).await?;
    let (minutes, request_minutes) = (options.minutes.max(1), options.request_minutes.max(1));
    say(format!("counting context switches for {minutes} and requests for {request_minutes} minutes"));
    let began = (SystemTime::now(), Instant::now(), Switches::of_rebootd(host).await?);
    sleep(Duration::from_secs(minutes * 60)).await;
    let switches = Switches::of_rebootd(host).await?;
    let per_minute =
        |until: u64, from: u64| until.saturating_sub(from) as f64 * 60.0 / began.1.elapsed().as_secs_f64();
    let wakeups = per_minute(switches.voluntary, began.2.voluntary);
    let preemptions = per_minute(switches.involuntary, began.2.involuntary);
    sleep(Duration::from_secs(request_minutes * 60).saturating_sub(began.1.elapsed())).await;
    let requests = requests(&lab.control_plane.audit_log(), began.0, SystemTime::now())?;

    cycle(&lab).await?;
    say(format!("{} has rebooted; {} s of idling again", host.name(), UNTIL_LOOKS_ARE_OVER.as_secs()));
    sleep(UNTIL_LOOKS_ARE_OVER).await;
    let memory_after = Memory::of_rebootd(host).await?;

    let total = requests.get("total").copied().unwrap_or_default();
    show(binary_bytes, &memory, &memory_after, [wakeups, preemptions], total);
    for (request, count) in requests.iter().filter(|(request, _)| *request != "total") {
        println!("  {count} {request}");
    }
    let figures = json!({
        "binary_bytes": binary_bytes,
        "pss_kb": memory.pss,
        "pss_after_cycle_kb": memory_after.pss,
        "wakeups_per_minute": super::rounded(wakeups),
        "preemptions_per_minute": super::rounded(preemptions),
        "requests": total,
    });
    lab.stop().await?;
    Ok(figures)
}

/// One whole reboot in order.
async fn cycle(lab: &Lab) -> Result<()> {
    let mut rollout = Rollout::begin(lab).await?;
    let deadline = Instant::now() + CYCLE_LIMIT;
    while !rollout.is_over() {
        ensure!(Instant::now() < deadline, "not over after {CYCLE_LIMIT:?}:\n{}", rollout.observer.state());
        rollout.look_at_hosts();
        sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

fn show(binary_bytes: u64, memory: &Memory, after: &Memory, [wakeups, preemptions]: [f64; 2], requests: u64) {
    let megabytes = |kilobytes: u64| kilobytes as f64 * 1024.0 / 1e6;
    let rows = [
        Row {
            what: "binary, stripped",
            reached: binary_bytes as f64 / 1e6,
            unit: "MB",
            aim: "4.5",
            kured: "49",
        },
        Row { what: "memory (PSS)", reached: megabytes(memory.pss), unit: "MB", aim: "6", kured: "36 (RSS)" },
        Row { what: "  private to it", reached: megabytes(memory.anonymous), unit: "MB", aim: "", kured: "" },
        Row {
            what: "memory after a reboot cycle",
            reached: megabytes(after.pss),
            unit: "MB",
            aim: "7",
            kured: "",
        },
        Row { what: "  private to it", reached: megabytes(after.anonymous), unit: "MB", aim: "", kured: "" },
        // Voluntary switches: each is the end of a sleep. The others depend on what else this machine does.
        Row { what: "wake-ups a minute", reached: wakeups, unit: "", aim: "4", kured: "59" },
        Row { what: "  preempted besides", reached: preemptions, unit: "", aim: "", kured: "" },
        Row { what: "requests", reached: requests as f64, unit: "", aim: "0", kured: "0" },
    ];
    println!("\n{:<30} {:>10} {:>8} {:>10}", "", "rebootd", "aim", "kured");
    for row in rows {
        let reached = format!("{:.1} {}", row.reached, row.unit);
        println!("{:<30} {:>10} {:>8} {:>10}", row.what, reached.trim_end(), row.aim, row.kured);
    }
    println!();
}

/// What the kernel says of a process' memory, in kB.
struct Memory {
    /// Its share of all that it maps.
    pss: u64,
    /// The part that is no file's: heap and stacks.
    anonymous: u64,
}

impl Memory {
    async fn of_rebootd(host: &Host) -> Result<Self> {
        let text = of_process(host, "smaps_rollup").await?;
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            let number = line.and_then(|line| line.split_whitespace().next());
            number.with_context(|| format!("smaps_rollup has no {name}"))?.parse().context("smaps_rollup")
        };
        Ok(Self { pss: field("Pss")?, anonymous: field("Pss_Anon")? })
    }
}

/// Context switches of all threads since their start.
struct Switches {
    /// The daemon had nothing to do: each is the end of a wake-up.
    voluntary: u64,
    /// Something else wanted the processor: these tell of the machine and not of the daemon.
    involuntary: u64,
}

impl Switches {
    async fn of_rebootd(host: &Host) -> Result<Self> {
        let text = of_process(host, "task/*/status").await?;
        let sum = |name: &str| {
            let counts = text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            counts.map(|count| count.trim().parse::<u64>()).sum::<Result<u64, _>>()
        };
        Ok(Self {
            voluntary: sum("voluntary_ctxt_switches")?,
            involuntary: sum("nonvoluntary_ctxt_switches")?,
        })
    }
}

/// Files below rebootd's directory in /proc.
async fn of_process(host: &Host, files: &str) -> Result<String> {
    let script = format!("cat /proc/$(systemctl show --property=MainPID --value rebootd)/{files}");
    host.run_ok(&["sh", "-c", &script]).await
}
