//! Faults without end on eight agents, and a checker that decides afterwards whether P1–P4 were kept.
//!
//! The machines are [simulated](crate::simulated).
//!
//! A seed gives the same faults with the same numbers in the same order. When each of them meets what rebootd does is
//! a matter of milliseconds on a busy machine: a replay is alike, not equal.

mod checker;
mod evidence;
mod inject;
mod persons;
mod plan;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::dice::Dice;
use crate::lab::Lab;
use crate::observer::Observer;
use crate::progress::say;
use crate::simulated::client::Client;
use crate::simulated::{Ground, Name, Site};
use crate::workload::{self, Deployment};

use checker::{Rules, Verdict};
use inject::{Injector, Story};
use plan::Plan;

const MACHINES: usize = 8;
/// Name and pool.
const SLOTS: [(&str, &str); 3] = [("a-1", "a"), ("b-1", "b"), ("b-2", "b")];
const PODS: u32 = 16;
const ALWAYS_AVAILABLE: u32 = 12;
const READY_LIMIT: Duration = Duration::from_secs(120);
/// After a lost answer rebootd looks once more two minutes later; the rest is for what this finds.
const CONVERGENCE_LIMIT: Duration = Duration::from_secs(420);
/// rebootd backs off for half an hour after an attempt that came to nothing. A person who does not want to wait that
/// long removes its memory and restarts it.
const PATIENCE: Duration = Duration::from_secs(8);
/// What the run leaves for people to read, in the lab's directory.
const REMAINS: &str = "faults/remains";

/// Of each rebootd.
const CONFIG: &str = "[policy]\nwindow = \"always\"\nsettle = \"3s\"\nmin_interval = \"0\"\n\
                      reboot_timeout = \"30s\"\n[drain]\ntimeout = \"90s\"\n[gates]\nforeign_cordon = \"reboot\"\n";

/// What to run.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How many faults have to take effect.
    pub faults: usize,
    /// Where the plan comes from.
    pub seed: u64,
}

/// How it went.
#[derive(Debug)]
pub struct Report {
    /// Broken promises.
    pub violations: Vec<String>,
    /// What had not settled long after the last fault.
    pub unconverged: Vec<String>,
    /// For programs.
    pub figures: Value,
}

/// Runs faults on a lab without hosts, and judges.
pub async fn run(lab: &Lab, observer: &Observer, package: &Path, options: Options) -> Result<Report> {
    let began = Instant::now();
    say(format!("seed {}: the plan of faults can be had again, what they meet only about", options.seed));
    let mut world = World::start(lab, package).await?;
    let mut plan = Plan::new(options.seed, MACHINES);
    let asking = world.ask_for_reboots(options.seed);
    let story = world.story.clone();
    let mut injector = Injector::new(&world.sites, &SLOTS, world.person.clone(), observer, story);
    let mut told = 0;
    while injector.total() < options.faults {
        let planned = plan.next().context("the plan has an end")?;
        sleep(planned.after).await;
        injector.inject(planned).await;
        world.impatience.ease(&world.sites, &injector.story).await;
        if injector.total() >= told + 100 {
            told = injector.total() / 100 * 100;
            say(format!("{told} faults"));
        }
    }
    drop(asking);
    say(format!("{} faults; now nothing goes wrong any more", injector.total()));
    injector.end().await;
    let (faults, counts) = (injector.total(), std::mem::take(&mut injector.counts));
    drop(injector);
    let unconverged = world.converge(observer).await;
    let verdict = world.judge(lab, observer)?;
    world.tell(&verdict, &unconverged, &counts);
    let unconverged: Vec<String> = unconverged.into_iter().chain(verdict.left_behind).collect();
    let figures = json!({
        "faults": faults,
        "violations": verdict.violations.len(),
        "unconverged": unconverged.len(),
        "reboots": verdict.reboots,
        "seed": options.seed,
        "minutes": (began.elapsed().as_secs_f64() / 6.0).round() / 10.0,
    });
    let violations = verdict.violations.iter().map(ToString::to_string).collect();
    Ok(Report { violations, unconverged, figures })
}

/// Copies what a run has left for people to read: its story, the evidence, the daemons' logs. Nothing without a run.
pub fn keep(lab: &Lab, directory: &Path) -> Result<()> {
    let Ok(remains) = fs::read_dir(lab.directory().join(REMAINS)) else { return Ok(()) };
    for entry in remains {
        let entry = entry?;
        fs::copy(entry.path(), directory.join(entry.file_name()))?;
    }
    Ok(())
}

/// The machines with all that belongs to them.
struct World {
    sites: Vec<Site>,
    person: Client,
    ground: Ground,
    story: Story,
    remains: PathBuf,
    impatience: Impatience,
}

impl World {
    async fn start(lab: &Lab, package: &Path) -> Result<Self> {
        let directory = lab.directory().join("faults");
        let remains = lab.directory().join(REMAINS);
        fs::create_dir_all(&remains)?;
        let ground = Ground::prepare(lab, package, directory).await?;
        let person = Client::new(&lab.control_plane, evidence::PERSON)?;
        persons::apply_slots(&person, &SLOTS).await?;

        let mut world = Self {
            sites: Vec::new(),
            person,
            ground,
            story: Story::new(File::create(remains.join("story"))?),
            remains,
            impatience: Impatience::default(),
        };
        for number in 1..=MACHINES {
            let pool = if number <= MACHINES / 2 { "a" } else { "b" };
            // One in four has a kubelet that does not tell its boot: its return is proven by renewals.
            let tells_ids = number % 4 != 0;
            let node = format!("sim{number}");
            let name = Name { node: &node, pool, number, tells_ids };
            let mut site = world.ground.site(lab, name).await?;
            site.configure(CONFIG)?;
            site.run_rebootd();
            world.sites.push(site);
        }
        for site in &world.sites {
            lab.wait_node_ready(&site.machine.name, READY_LIMIT).await?;
        }
        let web = Deployment { min_available: Some(ALWAYS_AVAILABLE), ..Deployment::new("web", PODS) };
        web.create(&lab.control_plane).await?;
        workload::wait_running(&lab.control_plane, &web.name, PODS as usize, READY_LIMIT).await?;
        say(format!("{MACHINES} machines run, with {PODS} pods"));
        Ok(world)
    }

    /// Every machine asks for a reboot again soon after its last one, until this is dropped.
    fn ask_for_reboots(&self, seed: u64) -> JoinSet<()> {
        let mut asking = JoinSet::new();
        for (number, site) in self.sites.iter().enumerate() {
            let machine = Arc::clone(&site.machine);
            let mut dice = Dice::new(seed ^ (number as u64 + 1) << 32);
            asking.spawn(async move {
                loop {
                    sleep(dice.seconds(1.0, 6.0)).await;
                    if machine.boot_id().is_some() && !machine.asks() {
                        let _ = fs::write(machine.sentinel(), "");
                    }
                }
            });
        }
        asking
    }

    /// Waits until all is as it should be; gives back what is not in the end.
    async fn converge(&mut self, observer: &Observer) -> Vec<String> {
        let deadline = Instant::now() + CONVERGENCE_LIMIT;
        let began = Instant::now();
        let mut settled_since = None;
        loop {
            self.impatience.ease(&self.sites, &self.story).await;
            let unsettled = self.unsettled(observer);
            match (unsettled.is_empty(), settled_since) {
                (false, _) => settled_since = None,
                (true, None) => settled_since = Some(Instant::now()),
                (true, Some(since)) if since.elapsed() > Duration::from_secs(5) => {
                    say(format!("all has settled after {:.0} s", began.elapsed().as_secs_f64()));
                    return Vec::new();
                }
                (true, Some(_)) => {}
            }
            if Instant::now() > deadline {
                return unsettled;
            }
            sleep(Duration::from_millis(500)).await;
        }
    }

    fn unsettled(&self, observer: &Observer) -> Vec<String> {
        let mut unsettled = Vec::new();
        let state = observer.state();
        for Site { machine, .. } in &self.sites {
            let name = &machine.name;
            if machine.asks() {
                unsettled.push(format!("{name} still asks for a reboot"));
            }
            let status = machine.status().unwrap_or_default();
            if status["phase"] != "idle" {
                unsettled.push(format!("{name}: {}", status["line"]));
            }
            match state.node(name) {
                Some(node) if node.cordon_mark => unsettled.push(format!("Node {name} carries our mark")),
                Some(node) if node.unschedulable => unsettled.push(format!("Node {name} is cordoned")),
                Some(_) => {}
                None => unsettled.push(format!("there is no Node {name}")),
            }
        }
        for slot in state.leases.values() {
            if let Some(holder) = &slot.holder {
                unsettled.push(format!("slot {} is held by {holder}", slot.name));
            }
        }
        unsettled
    }

    fn judge(&self, lab: &Lab, observer: &Observer) -> Result<Verdict> {
        let mut rules = Rules::default();
        for (_, pool) in SLOTS {
            *rules.slots.entry(pool.to_owned()).or_default() += 1;
        }
        for Site { machine, .. } in &self.sites {
            rules.pools.insert(machine.name.clone(), machine.pool.clone());
        }
        let audit_log = lab.control_plane.audit_log();
        let mut events = evidence::from_audit_log(&audit_log)?;
        events.extend(self.ground.chronicle.events().into_iter().map(checker::Event::from));
        let history = observer.history();
        let zero = Timestamp::now() - SignedDuration::try_from(observer.now())?;
        if !history.gaps().is_empty() {
            say(format!("the watch of pods may have missed something: {:?}", history.gaps()));
        }
        let pods = evidence::pods(&history, zero);
        events.sort_by_key(|event| event.at);
        let lines: Vec<String> =
            events.iter().map(|event| format!("{} {:?}\n", event.at, event.what)).collect();
        fs::write(self.remains.join("evidence"), lines.concat())?;
        for Site { machine, .. } in &self.sites {
            let _ = fs::copy(machine.log(), self.remains.join(format!("{}.log", machine.name)));
        }
        Ok(checker::judge(&rules, events, &pods))
    }

    fn tell(&self, verdict: &Verdict, unconverged: &[String], counts: &BTreeMap<&str, usize>) {
        for (name, count) in counts {
            println!("{count:>6}  {name}");
        }
        println!("{:>6}  reboots", verdict.reboots);
        println!("{:>6}  times a person cut a back-off short", self.impatience.eased);
        for violation in &verdict.violations {
            println!("VIOLATION: {violation}");
        }
        for what in unconverged.iter().chain(&verdict.left_behind) {
            println!("UNCONVERGED: {what}");
        }
    }
}

/// A person who does not wait for half an hour.
#[derive(Default)]
struct Impatience {
    since: BTreeMap<String, Instant>,
    eased: usize,
}

impl Impatience {
    async fn ease(&mut self, sites: &[Site], story: &Story) {
        for Site { machine, .. } in sites {
            let status = machine.status().unwrap_or_default();
            let reasons = status["reasons"].as_array().into_iter().flatten();
            if !reasons.into_iter().any(|reason| reason["kind"] == "backing-off") {
                self.since.remove(&machine.name);
                continue;
            }
            let since = self.since.entry(machine.name.clone()).or_insert_with(Instant::now);
            if since.elapsed() > PATIENCE {
                machine.forget();
                machine.signal("-TERM").await;
                story.tell(&format!("{}: a person cuts its back-off short", machine.name));
                self.since.remove(&machine.name);
                self.eased += 1;
            }
        }
    }
}
