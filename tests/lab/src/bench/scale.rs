//! `lab bench scale`: how a thousand agents, all of which want to reboot, share a few slots.
//!
//! Real are the packaged rebootd, a process for each node, the API server and the shipped manifests with their admission
//! policies: each agent has a token that is bound to its Node. The machines are [simulated](crate::simulated); a reboot
//! of theirs takes ten seconds. There is nothing to drain.
//!
//! A person holds all slots until every agent waits for one, and then frees them: that moment is the beginning of a run.
//! So what it costs once to begin to wait is measured apart, and a run may end long before the last node has rebooted.

mod figures;
mod fleet;
mod ledger;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::lab::{ELSEWHERE, Lab, LabConfig};
use crate::progress::say;
use crate::scenarios::rights::cluster::SLOTS;
use crate::simulated::client::{Client, MERGE};

use figures::{Counters, Run};
use fleet::{Fleet, POOL};
use ledger::Ledger;

/// So many nodes reboot alone first, one after the other: the median of their turns is what no rollout can avoid.
const ALONE: usize = 3;
const ALONE_LIMIT: Duration = Duration::from_secs(120);
const ALONE_SLOT: &str = "alone";
/// Until all wait, at most so long for each hundred of them.
const LIMIT_OF_A_HUNDRED: Duration = Duration::from_secs(90);
/// What the last one does once it waits is not to be part of the run.
const QUIET: Duration = Duration::from_secs(10);
/// Who holds a slot that is retired may be amid a reboot.
const FINISH_LIMIT: Duration = Duration::from_secs(600);
/// Who holds the slots before a run.
const PERSON: &str = "nobody yet";

/// How many, and for how long.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// So many agents.
    #[arg(long, default_value_t = 1000)]
    agents: usize,
    /// A run for each of these numbers of slots.
    #[arg(long, value_delimiter = ',', default_value = "5,20")]
    slots: Vec<usize>,
    /// A run ends after so many minutes at the latest.
    #[arg(long, default_value_t = 6)]
    minutes: u64,
    /// It ends after so many reboots; by default when all have rebooted.
    #[arg(long)]
    reboots: Option<usize>,
}

/// Runs a lab for it and gives back the figures.
pub async fn run(package: &Path, options: &Options) -> Result<Value> {
    let most = options.slots.iter().copied().max().context("no number of slots")?;
    ensure!(!options.slots.contains(&0) && options.agents > 2 * most, "more agents than that need a slot");
    let lab = Lab::start(LabConfig::with_hosts(0)).await?;
    lab.control_plane.apply(ELSEWHERE).await?;
    let admin = Client::new(&lab.control_plane, "lab-admin")?;
    let fleet = Fleet::start(&lab, package, &admin, options.agents).await?;
    let mut bench = Bench { ledger: Ledger::new(&lab.control_plane.audit_log()), lab, admin, fleet };

    bench.create_slot(ALONE_SLOT, None).await?;
    for machine in bench.fleet.machines().iter().take(ALONE) {
        fleet::reboot_alone(machine, ALONE_LIMIT).await?;
    }
    bench.ledger.read_on()?;
    let alone_seconds = figures::alone_seconds(&bench.ledger, ALONE_SLOT)?;
    say(format!("a node that is alone has its turn in {alone_seconds:.1} s"));

    let mut last = vec![ALONE_SLOT.to_owned()];
    let mut to_wait = None;
    let mut runs = Vec::new();
    for (number, slots) in options.slots.iter().enumerate() {
        let names: Vec<String> = (1..=*slots).map(|slot| format!("run{number}-{slot}")).collect();
        for name in &names {
            bench.create_slot(name, Some(PERSON)).await?;
        }
        bench.retire(&std::mem::replace(&mut last, names.clone())).await?;
        let asked = Timestamp::now();
        let limit = LIMIT_OF_A_HUNDRED * u32::try_from(options.agents.div_ceil(100))?;
        fleet::ask_for_reboots(&bench.fleet.machines(), limit).await?;
        bench.ledger.read_on()?;
        let needed = figures::requests_between(&bench.ledger, asked, Timestamp::now()) as f64;
        // Before a later run most agents wait already.
        let to_wait = *to_wait.get_or_insert(needed / options.agents as f64);
        say(format!("{} agents wait for {slots} slots", options.agents));
        sleep(QUIET).await;
        let from = Timestamp::now();
        let before = Counters::read(&bench.admin).await?;
        bench.roll(&names, options).await?;
        let counters = [before, Counters::read(&bench.admin).await?];
        let until = Timestamp::now();
        bench.ledger.read_on()?;
        let run = Run {
            ledger: &bench.ledger,
            agents: options.agents,
            prefix: &format!("run{number}-"),
            slots: *slots,
            from,
            until,
            counters,
            alone_seconds,
            to_wait,
        };
        runs.push(run.judge());
    }
    // No rebootd may be on its way to its bus when this program ends.
    drop(bench.fleet);
    sleep(Duration::from_secs(1)).await;
    bench.lab.stop().await?;
    println!();
    Ok(json!({ "runs": runs }))
}

struct Bench {
    ledger: Ledger,
    lab: Lab,
    admin: Client,
    fleet: Fleet,
}

impl Bench {
    async fn create_slot(&self, name: &str, holder: Option<&str>) -> Result<()> {
        let metadata = json!({"name": name, "labels": {"rebootd.io/pool": POOL}});
        self.admin.post(SLOTS, &json!({"metadata": metadata, "spec": {"holderIdentity": holder}})).await?;
        Ok(())
    }

    /// Frees the slots and waits until the run is over.
    async fn roll(&self, slots: &[String], options: &Options) -> Result<()> {
        let before = self.fleet.boots();
        for slot in slots {
            let free = json!({"spec": {"holderIdentity": null}});
            self.admin.patch(&format!("{SLOTS}/{slot}"), MERGE, &free).await?;
        }
        let began = Instant::now();
        let wanted = options.reboots.unwrap_or(options.agents).min(options.agents);
        let mut told = 0;
        while began.elapsed() < Duration::from_secs(options.minutes * 60) {
            let reboots = self.fleet.boots() - before;
            // The last of them have booted and are on their way to give their slots back.
            if reboots >= wanted && (wanted < options.agents || self.held(slots).await? == 0) {
                break;
            }
            if began.elapsed().as_secs() / 60 > told {
                told += 1;
                say(format!("{reboots} reboots"));
            }
            sleep(Duration::from_millis(500)).await;
        }
        Ok(())
    }

    /// Takes slots out of the pool, and deletes them once nobody holds them. Unlike a pause this changes nothing for those
    /// who wait: they would have to tell of it, in the next run.
    async fn retire(&self, slots: &[String]) -> Result<()> {
        for slot in slots {
            let elsewhere = json!({"metadata": {"labels": {"rebootd.io/pool": "retired"}}});
            self.admin.patch(&format!("{SLOTS}/{slot}"), MERGE, &elsewhere).await?;
        }
        let deadline = Instant::now() + FINISH_LIMIT;
        while self.held(slots).await? > 0 {
            ensure!(Instant::now() < deadline, "slots are held {FINISH_LIMIT:?} after they were retired");
            sleep(Duration::from_millis(500)).await;
        }
        for slot in slots {
            self.admin.delete(&format!("{SLOTS}/{slot}"), &json!({})).await?;
        }
        Ok(())
    }

    /// How many of these are.
    async fn held(&self, slots: &[String]) -> Result<usize> {
        let leases = self.admin.get(SLOTS).await?;
        let leases = leases["items"].as_array().context("a list of slots without items")?;
        let held = leases.iter().filter(|slot| {
            let name = slot["metadata"]["name"].as_str().unwrap_or_default();
            let holder = slot.pointer("/spec/holderIdentity").and_then(Value::as_str).unwrap_or_default();
            slots.iter().any(|slot| slot == name) && !holder.is_empty()
        });
        Ok(held.count())
    }
}
