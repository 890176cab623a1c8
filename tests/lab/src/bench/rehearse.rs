//! `lab bench rehearse`: whether a rehearsal agrees with what then happens, drain by drain, on hosts that really reboot.
//!
//! Before each drain the shop is rehearsed; what is said of a workload with a pod on that node counts. *Blocks* agrees where
//! the drain was given up, or never began, while a pod of the workload was still there. *Nobody notices* agrees where at
//! least one replica was Ready at any time, and as many as its budget wants; of a Job, where it goes on. *Warns* promises
//! nothing: whether there was a dip is only counted.

mod variants;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::demo::wait_host_idle;
use crate::host::Host;
use crate::lab::LabConfig;
use crate::observer::PodState;
use crate::progress::say;
use crate::rehearsal::{Rehearsal, findings};
use crate::rollout::SENTINEL;
use crate::scenarios::stage::Stage;

const CONFIG: &str =
    "[policy]\nwindow = \"always\"\nsettle = \"5s\"\nmin_interval = \"0\"\n[drain]\ntimeout = \"30s\"\n";
const NAMESPACE: &str = "shop";
const KINDS: &str = "deployments,statefulsets,daemonsets,jobs,pods,poddisruptionbudgets,services";
const LIMIT: Duration = Duration::from_secs(300);
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What was said of a workload before a drain, and what then happened.
struct Outcome {
    node: String,
    workload: String,
    said: String,
    because: String,
    happened: String,
    agrees: Agrees,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Agrees {
    Yes,
    No,
    /// It warned, and there was no dip.
    Nothing,
}

/// What was said of one workload.
struct Said {
    workload: String,
    verdict: String,
    because: String,
    nodes: BTreeSet<String>,
}

struct Bench {
    stage: Stage,
    rebootctl: PathBuf,
    outcomes: Vec<Outcome>,
}

/// Prints a table, and the figures as the last line; fails where a rehearsal was wrong.
pub async fn run(package: &Path) -> Result<ExitCode> {
    let package = package.to_owned();
    let stage = Stage::start(LabConfig::with_hosts(3), package.clone(), PathBuf::new()).await?;
    for host in &stage.lab.hosts {
        stage.lab.install_rebootd(host, &package, CONFIG).await?;
    }
    stage.lab.kubectl(&["create", "namespace", NAMESPACE]).await?;
    let rebootctl = stage.host(1).root().join("usr/bin/rebootctl");
    let mut bench = Bench { stage, rebootctl, outcomes: Vec::new() };
    bench.refused().await?;
    bench.drained().await?;
    bench.given_up().await?;
    Ok(report(&bench.outcomes))
}

impl Bench {
    fn hosts(&self) -> &[Host] {
        &self.stage.lab.hosts
    }

    /// A node that must not begin, because of pods that nobody looks after.
    async fn refused(&mut self) -> Result<()> {
        self.apply(variants::refused()).await?;
        self.complete().await?;
        let said = self.rehearse().await?;
        let mut outcomes = Vec::new();
        for it in &said {
            let node = it.nodes.first().context("it is nowhere")?;
            let host = self.hosts().iter().find(|host| host.name() == node).context("no such host")?;
            request(host)?;
            wait_reason(host, "pods-refused").await?;
            fs::remove_file(host.live_path(SENTINEL)?)?;
            let happened = "the node does not begin";
            outcomes.push(it.outcome(node, happened, it.verdict == "blocks"));
        }
        self.outcomes.extend(outcomes);
        for host in self.hosts() {
            wait_host_idle(host).await?;
        }
        self.clear().await
    }

    /// Each host in turn reboots; the claim is the one right before its drain.
    async fn drained(&mut self) -> Result<()> {
        self.apply(variants::drained()).await?;
        for number in 1..=self.hosts().len() {
            self.complete().await?;
            let said = self.rehearse().await?;
            let budgets = self.budgets().await?;
            let from = self.stage.observer.now();
            let host = self.stage.host(number);
            let boots = host.boots().len();
            request(host)?;
            host.wait_boot_number(boots + 1, LIMIT).await?;
            wait_host_idle(host).await?;
            let mut outcomes = Vec::new();
            for it in said.iter().filter(|it| it.nodes.contains(host.name())) {
                let outcome = self.served(it, host.name(), from, &budgets).await?;
                outcomes.push(outcome);
            }
            say(format!("{} has rebooted: {} workloads judged", host.name(), outcomes.len()));
            self.outcomes.extend(outcomes);
        }
        self.clear().await
    }

    /// Each host is asked to reboot, and none does.
    async fn given_up(&mut self) -> Result<()> {
        self.apply(variants::blocking(self.stage.host(1).name())).await?;
        self.complete().await?;
        let said = self.rehearse().await?;
        let before: BTreeMap<String, PodState> = self.pods();
        let boots: Vec<usize> = self.hosts().iter().map(|host| host.boots().len()).collect();
        for host in self.hosts() {
            request(host)?;
        }
        for host in self.hosts() {
            wait_reason(host, "backing-off").await?;
        }
        let stayed = self.pods();
        let mut outcomes = Vec::new();
        for (host, boots) in self.hosts().iter().zip(boots) {
            let rebooted = host.boots().len() != boots;
            for it in said.iter().filter(|it| it.nodes.contains(host.name())) {
                let is_of_it = |pod: &&PodState| pod.node.as_deref() == Some(host.name()) && it.is_of(pod);
                let there = before.values().filter(is_of_it);
                let (there, left) = there.fold((0, 0), |(there, left), pod| {
                    let stays = stayed.get(&pod.uid).is_some_and(|pod| !pod.terminating);
                    (there + 1, left + usize::from(!stays))
                });
                let happened = format!(
                    "{}, {} of {there} pods stayed",
                    if rebooted { "REBOOTED" } else { "given up" },
                    there - left
                );
                let blocked = !rebooted && left < there;
                let mut outcome = it.outcome(host.name(), &happened, blocked == (it.verdict == "blocks"));
                // Whoever could not tell has claimed nothing.
                if it.verdict == "could-not-tell" {
                    outcome.agrees = Agrees::Nothing;
                }
                outcomes.push(outcome);
            }
        }
        self.outcomes.extend(outcomes);
        Ok(())
    }

    /// How few replicas there were since then.
    async fn served(
        &self,
        said: &Said,
        node: &str,
        from: Duration,
        budgets: &BTreeMap<String, usize>,
    ) -> Result<Outcome> {
        if said.workload.starts_with("job/") {
            let job = self.get(&said.workload).await?;
            let conditions = job.pointer("/status/conditions").and_then(Value::as_array);
            let failed = conditions.into_iter().flatten().any(|it| it["type"] == "Failed");
            let happened = if failed { "failed" } else { "begins again" };
            return Ok(said.dip(node, happened, failed));
        }
        let history = self.stage.observer.history();
        let fewest = history.min_ready_since(&format!("app={}", said.name()).parse()?, from);
        let fewest = fewest.map_or(0, |fewest| fewest.count);
        let least = budgets.get(said.name()).copied().unwrap_or(0).max(1);
        Ok(said.dip(node, &format!("{fewest} Ready at least"), fewest < least))
    }

    async fn rehearse(&self) -> Result<Vec<Said>> {
        let arguments = ["-n", NAMESPACE, "--patience=5s"];
        let said = Rehearsal::of(&self.stage.lab.control_plane, &self.rebootctl, &arguments, None).await?;
        Ok(said.workloads().filter_map(Said::of).collect())
    }

    /// How many pods each budget wants healthy.
    async fn budgets(&self) -> Result<BTreeMap<String, usize>> {
        let all = self.stage.lab.control_plane.kubectl_json(&["get", "pdb", "-n", NAMESPACE]).await?;
        let one = |it: &Value| {
            let desired = usize::try_from(it["status"]["desiredHealthy"].as_u64()?).ok()?;
            Some((it["metadata"]["name"].as_str()?.to_owned(), desired))
        };
        Ok(all["items"].as_array().into_iter().flatten().filter_map(one).collect())
    }

    /// By uid.
    fn pods(&self) -> BTreeMap<String, PodState> {
        let state = self.stage.observer.state();
        let pods = state.pods.into_values().filter(|pod| pod.namespace == NAMESPACE);
        pods.map(|pod| (pod.uid.clone(), PodState::clone(&pod))).collect()
    }

    async fn get(&self, object: &str) -> Result<Value> {
        self.stage.lab.control_plane.kubectl_json(&["get", object, "-n", NAMESPACE]).await
    }

    async fn apply(&self, items: Vec<Value>) -> Result<()> {
        let list = json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string();
        let apply = ["apply", "-n", NAMESPACE, "-f", "-"];
        self.stage.lab.control_plane.kubectl_with_input(&apply, Some(&list)).await?;
        Ok(())
    }

    async fn clear(&self) -> Result<()> {
        self.stage.lab.kubectl(&["delete", KINDS, "--all", "-n", NAMESPACE]).await?;
        Ok(())
    }

    /// Until every replica is Ready that may become so.
    async fn complete(&self) -> Result<()> {
        let until = Instant::now() + LIMIT;
        loop {
            let all = self.get("deployments,statefulsets,daemonsets,jobs").await?;
            let behind: Vec<&Value> =
                all["items"].as_array().into_iter().flatten().filter(|it| is_behind(it)).collect();
            let pods = self.pods();
            let is_over =
                behind.is_empty() && pods.values().all(|pod| !pod.terminating && pod.node.is_some());
            if is_over {
                return Ok(());
            }
            if Instant::now() > until {
                bail!("pods are missing of {behind:#?}");
            }
            sleep(LOOK_EVERY).await;
        }
    }
}

/// Whether replicas are missing; those of [`variants::SICK`] never become Ready.
fn is_behind(it: &Value) -> bool {
    let (spec, status) = (&it["spec"], &it["status"]);
    // To a kubelet without containers, a pod of a Job that has to end has done its work.
    if status["completionTime"].is_string() {
        return false;
    }
    let is_sick = it["metadata"]["name"] == variants::SICK;
    let number = |values: [&Value; 3]| values.into_iter().find_map(Value::as_u64);
    let wanted = number([&spec["replicas"], &spec["parallelism"], &status["desiredNumberScheduled"]]);
    let ready = match is_sick {
        true => &status["replicas"],
        false => &status["readyReplicas"],
    };
    let there = number([ready, &status["ready"], &status["numberReady"]]);
    there.unwrap_or(0) < wanted.unwrap_or(1)
}

impl Said {
    fn of(workload: &Value) -> Option<Said> {
        let open = findings(workload).filter(|it| it["accepted"].is_null() && it["severity"] != "note");
        let because: Vec<&str> = open.filter_map(|it| it["id"].as_str()).collect();
        Some(Said {
            workload: workload["workload"].as_str()?.to_owned(),
            verdict: workload["verdict"].as_str()?.to_owned(),
            because: because.join(", "),
            nodes: workload["nodes"]
                .as_array()?
                .iter()
                .filter_map(|it| Some(it.as_str()?.to_owned()))
                .collect(),
        })
    }

    /// Its pods have it as their label `app`.
    fn name(&self) -> &str {
        self.workload.split_once('/').map_or("", |(_, name)| name)
    }

    fn is_of(&self, pod: &PodState) -> bool {
        pod.labels.get("app").is_some_and(|app| app == self.name())
    }

    fn outcome(&self, node: &str, happened: &str, agrees: bool) -> Outcome {
        Outcome {
            node: node.to_owned(),
            workload: self.workload.clone(),
            said: self.verdict.clone(),
            because: self.because.clone(),
            happened: happened.to_owned(),
            agrees: if agrees { Agrees::Yes } else { Agrees::No },
        }
    }

    /// The node was drained; was there a dip?
    fn dip(&self, node: &str, happened: &str, dipped: bool) -> Outcome {
        let agrees = match (self.verdict.as_str(), dipped) {
            ("nobody-notices", false) | ("warns", true) => Agrees::Yes,
            ("warns" | "could-not-tell", _) => Agrees::Nothing,
            _ => Agrees::No,
        };
        Outcome { agrees, ..self.outcome(node, happened, true) }
    }
}

/// As a package that needs a reboot does.
fn request(host: &Host) -> Result<()> {
    say(format!("{} is asked to reboot", host.name()));
    Ok(fs::write(host.live_path(SENTINEL)?, "*** System restart required ***\n")?)
}

/// Until its rebootd gives this reason.
async fn wait_reason(host: &Host, kind: &str) -> Result<()> {
    let until = Instant::now() + LIMIT;
    loop {
        let output = host.run(&["rebootctl", "status", "--json"]).await?;
        let status: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        if status["reasons"].as_array().into_iter().flatten().any(|it| it["kind"] == kind) {
            say(format!("{}: {}", host.name(), status["line"].as_str().unwrap_or("")));
            return Ok(());
        }
        ensure!(Instant::now() < until, "{} does not say {kind} but {status:#}", host.name());
        sleep(LOOK_EVERY).await;
    }
}

fn report(outcomes: &[Outcome]) -> ExitCode {
    println!("\n{:<7} {:<24} {:<15} {:<32} agrees", "node", "workload", "said", "happened");
    for it in outcomes {
        let agrees = match it.agrees {
            Agrees::Yes => "yes",
            Agrees::No => "NO",
            Agrees::Nothing => "no dip, and none was ruled out",
        };
        let agrees = [agrees, &it.because].join(if it.because.is_empty() { "" } else { ": " });
        println!("{:<7} {:<24} {:<15} {:<32} {agrees}", it.node, it.workload, it.said, it.happened);
    }
    println!();
    let count = |said: &str, agrees: &[Agrees]| {
        outcomes.iter().filter(|it| it.said == said && agrees.contains(&it.agrees)).count()
    };
    let all = [Agrees::Yes, Agrees::No, Agrees::Nothing];
    let disagree = outcomes.iter().filter(|it| it.agrees == Agrees::No).count();
    println!(
        "{}",
        json!({
            "claims": outcomes.len(),
            "said_blocks": count("blocks", &all), "blocked": count("blocks", &[Agrees::Yes]),
            "said_nobody_notices": count("nobody-notices", &all), "no_dip": count("nobody-notices", &[Agrees::Yes]),
            "said_warns": count("warns", &all), "dips": count("warns", &[Agrees::Yes]),
            "could_not_tell": count("could-not-tell", &all),
            "disagree": disagree,
        })
    );
    if disagree == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
