//! `lab bench drain`: rebootd's drain against `kubectl drain` of the same release, on the same pods of the same node.
//!
//! The pods fit no other node: evicted ones wait until the node is uncordoned, and are the next drain's; kubectl comes
//! first. Those of a budget that opens late go to another node, where they take half a minute until they are ready. Of
//! rebootd counts what lies between the answer to its cordon and the sending of its stamp, by the audit log; of kubectl
//! the process from its start to its end, cordon included. Both go straight to the API server. kubectl finds its cache
//! of what the API server offers, as on a machine where it was used before.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::select;
use tokio::time::{Instant, sleep, sleep_until};

use super::rounded;
use crate::audit::{self, AuditedRequest, Filter};
use crate::control_plane;
use crate::demo::wait_host_idle;
use crate::host::{Host, HostConfig};
use crate::images::Suite;
use crate::kubelet::Kind;
use crate::lab::{Lab, LabConfig};
use crate::progress::say;
use crate::rollout::SENTINEL;
use crate::workload::{self, Deployment};
use crate::{pki, rebootd};

const CONFIG: &str = "[policy]\nwindow = \"always\"\nsettle = \"5s\"\nmin_interval = \"0\"\n";
/// The pool has another node, as pools have: one that is alone would look for any other.
const IN_POOL: [&str; 4] = ["label", "node", OTHER, "rebootd.io/pool=worker"];
const OTHER: &str = "node2";
/// Seconds that pods take to end, each as many pods as the others.
const MIXED: [u32; 6] = [0, 2, 4, 6, 8, 10];
/// As a real kubelet: the hollow one sends ten requests a second by default and would measure itself.
const KUBELET: [&str; 3] = ["--max-pods=500", "--kube-api-qps=50", "--kube-api-burst=100"];
/// Beside the evictions: what lists and watches the pods, and reads the Node and the slots.
const REQUESTS_BESIDE: u64 = 6;
const BLOCKED_PODS: u32 = 20;
/// Its refusals count, too: no more requests than kubectl.
const LATE: &str = "late";
const LATE_PODS: u32 = 3;
const READY_AFTER: Duration = Duration::from_secs(30);
const BLOCKED_REQUESTS_PER_MINUTE: u64 = 30;
/// By this user the audit log knows kubectl's drains from the lab's own requests.
const KUBECTL_USER: &str = "lab-drains-with-kubectl";
/// After its start a daemon looks twice, the second time after two minutes; requests for reboots come much later.
const UNTIL_LOOKS_ARE_OVER: Duration = Duration::from_secs(125);
const LIMIT: Duration = Duration::from_secs(15 * 60);
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What to measure.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// With so many pods; several numbers, separated by commas.
    #[arg(long, value_delimiter = ',', default_values_t = [50, 110, 250])]
    pods: Vec<u32>,
}

/// How one drain went.
struct Drain {
    seconds: f64,
    /// By verb and resource.
    requests: BTreeMap<String, u64>,
}

impl Drain {
    fn total(&self) -> u64 {
        self.requests.values().sum()
    }
}

struct Case {
    pods: u32,
    grace: &'static str,
    ours: Drain,
    kubectls: Drain,
}

impl Case {
    fn ratio(&self) -> f64 {
        self.ours.seconds / self.kubectls.seconds
    }
}

/// Prints a table, and the figures as the last line; fails where a bound on requests is broken.
pub async fn run(deb: &Path, options: &Options) -> Result<ExitCode> {
    let host = |name| {
        let mut host = HostConfig::new(name, Suite::Bookworm, Kind::Hollow);
        host.kubelet = KUBELET.map(str::to_owned).to_vec();
        host
    };
    // A Node that is reported every 10 s would be something to look at each time.
    let lab =
        Lab::start(LabConfig { hosts: vec![host("node1"), host(OTHER)], fill_node_info: false }).await?;
    lab.kubectl(&IN_POOL).await?;
    let bench = Bench::prepare(&lab, deb).await?;

    let mut cases = Vec::new();
    for (grace, sleeps) in [("0s", &[0][..]), ("mixed", &MIXED[..])] {
        for &pods in &options.pods {
            let case = bench.case(pods, grace, sleeps).await?;
            say(format!(
                "{pods} pods, {grace}: rebootd {:.1} s, kubectl {:.1} s",
                case.ours.seconds, case.kubectls.seconds
            ));
            cases.push(case);
        }
        for deployment in deployments(0, sleeps) {
            lab.kubectl(&["delete", "deployment", &deployment.name, "--cascade=foreground"]).await?;
        }
    }
    cases.push(bench.late().await?);
    let blocked = bench.blocked().await?;
    lab.stop().await?;
    Ok(report(&cases, &blocked))
}

/// So many pods, as evenly as can be among Deployments whose pods take so many seconds to end.
fn deployments(pods: u32, sleeps: &[u32]) -> Vec<Deployment> {
    let kinds = u32::try_from(sleeps.len()).unwrap_or(1);
    let of_kind = |kind: u32| pods / kinds + u32::from(kind < pods % kinds);
    let deployment = |(kind, seconds): (u32, &u32)| Deployment {
        pre_stop_seconds: *seconds,
        only_on: Some("node1".to_owned()),
        ..Deployment::new(&format!("ends-in-{seconds}"), of_kind(kind))
    };
    (0..).zip(sleeps).map(deployment).collect()
}

struct Bench<'lab> {
    lab: &'lab Lab,
    host: &'lab Host,
    /// The daemon of this boot.
    idle_since: Cell<Instant>,
}

impl<'lab> Bench<'lab> {
    async fn prepare(lab: &'lab Lab, deb: &Path) -> Result<Self> {
        let host = lab.hosts.first().context("the lab has no host")?;
        rebootd::install(&lab.control_plane, host, &control_plane::server(), deb, CONFIG).await?;
        wait_host_idle(host).await?;
        let identity = lab.control_plane.pki.client("drains", KUBECTL_USER, &["system:masters"])?;
        let kubeconfig = pki::kubeconfig(&control_plane::server(), &lab.control_plane.pki.ca(), &identity)?;
        fs::write(lab.directory().join("drains.kubeconfig"), kubeconfig)?;
        Ok(Self { lab, host, idle_since: Cell::new(Instant::now()) })
    }

    async fn case(&self, pods: u32, grace: &'static str, sleeps: &[u32]) -> Result<Case> {
        let deployments = deployments(pods, sleeps);
        for deployment in &deployments {
            deployment.create(&self.lab.control_plane).await?;
        }
        self.wait_running(&deployments).await?;
        let kubectls = self.kubectl(&deployments).await?;
        let ours = self.rebootd(&deployments).await?;
        Ok(Case { pods, grace, ours, kubectls })
    }

    /// A budget that lets one pod go at a time, and the next once the one before is ready elsewhere.
    async fn late(&self) -> Result<Case> {
        let deployment = Deployment {
            min_available: Some(LATE_PODS - 1),
            ready_on_demand: true,
            ..Deployment::new(LATE, LATE_PODS)
        };
        let deployments = [deployment];
        self.deploy_here(&deployments[0]).await?;
        let kubectls = self.while_they_become_ready(self.kubectl(&deployments)).await?;
        self.delete(&deployments[0]).await?;
        self.deploy_here(&deployments[0]).await?;
        let ours = self.while_they_become_ready(self.rebootd(&deployments)).await?;
        self.delete(&deployments[0]).await?;
        say(format!("late: rebootd {:.1} s, kubectl {:.1} s", ours.seconds, kubectls.seconds));
        Ok(Case { pods: LATE_PODS, grace: LATE, ours, kubectls })
    }

    /// Meanwhile, each pod is ready half a minute after its start.
    async fn while_they_become_ready(&self, drain: impl Future<Output = Result<Drain>>) -> Result<Drain> {
        let makes_ready = async {
            loop {
                workload::make_ready(&self.lab.control_plane, LATE, READY_AFTER).await?;
                sleep(Duration::from_millis(500)).await;
            }
        };
        select! {
            drained = drain => drained,
            failed = makes_ready => failed,
        }
    }

    /// Starts all pods on the host that is drained, and waits until one of them may leave.
    async fn deploy_here(&self, deployment: &Deployment) -> Result<()> {
        self.lab.kubectl(&["cordon", OTHER]).await?;
        deployment.create(&self.lab.control_plane).await?;
        self.wait_running(std::slice::from_ref(deployment)).await?;
        workload::make_ready(&self.lab.control_plane, LATE, Duration::ZERO).await?;
        let allowed = "--for=jsonpath={.status.disruptionsAllowed}=1";
        self.lab.kubectl(&["wait", allowed, "--timeout=300s", "pdb", &deployment.name]).await?;
        self.lab.kubectl(&["uncordon", OTHER]).await?;
        Ok(())
    }

    async fn delete(&self, deployment: &Deployment) -> Result<()> {
        let name = &deployment.name;
        self.lab.kubectl(&["delete", "pdb", name]).await?;
        self.lab.kubectl(&["delete", "deployment", name, "--cascade=foreground"]).await?;
        Ok(())
    }

    /// Drains with kubectl, uncordons, and waits until all pods run again.
    async fn kubectl(&self, deployments: &[Deployment]) -> Result<Drain> {
        let kubeconfig = format!("--kubeconfig={}", self.lab.directory().join("drains.kubeconfig").display());
        let node = self.host.name();
        let flags = ["--ignore-daemonsets", "--delete-emptydir-data", "--force", &kubeconfig];
        let from = Timestamp::now();
        let began = Instant::now();
        self.lab.kubectl(&[&["drain", node][..], &flags].concat()).await?;
        let seconds = began.elapsed().as_secs_f64();
        let all = Filter::new().between(from, Timestamp::now()).user(KUBECTL_USER);
        let requests = audit::requests(&self.lab.control_plane.audit_log(), &all)?;
        self.lab.kubectl(&["uncordon", node]).await?;
        self.wait_running(deployments).await?;
        drained(seconds, &requests, deployments)
    }

    /// Has rebootd drain and reboot the host, and waits until all pods run again.
    async fn rebootd(&self, deployments: &[Deployment]) -> Result<Drain> {
        let boots = self.host.boots().len();
        let from = self.request_reboot().await?;
        self.host.wait_boot_number(boots + 1, LIMIT).await?;
        self.wait_running(deployments).await?;
        wait_host_idle(self.host).await?;
        self.idle_since.set(Instant::now());

        let all = self.requests_since(from)?;
        let cordoned = all.iter().find(|request| cordons(request)).context("it never cordoned")?.answered;
        let stamped = all.iter().find(|request| stamps(request)).context("it never stamped")?.received;
        let seconds = stamped.duration_since(cordoned).as_secs_f64();
        let between: Vec<AuditedRequest> = all
            .into_iter()
            .filter(|request| request.received >= cordoned && request.received < stamped)
            .collect();
        drained(seconds, &between, deployments)
    }

    /// Its requests of the first and of the second minute after the cordon, while a budget allows nothing.
    async fn blocked(&self) -> Result<[BTreeMap<String, u64>; 2]> {
        let pods = Deployment {
            min_available: Some(BLOCKED_PODS),
            only_on: Some(self.host.name().to_owned()),
            ..Deployment::new("blocked", BLOCKED_PODS)
        };
        pods.create(&self.lab.control_plane).await?;
        self.wait_running(&[pods]).await?;
        let from = self.request_reboot().await?;
        let deadline = Instant::now() + LIMIT;
        let cordoned = loop {
            if let Some(cordon) = self.requests_since(from)?.iter().find(|request| cordons(request)) {
                break cordon.answered;
            }
            ensure!(Instant::now() < deadline, "it never cordoned");
            sleep(LOOK_EVERY).await;
        };
        say("a budget that allows nothing blocks the drain: two minutes of counting");
        let minute = Duration::from_secs(60);
        sleep(2 * minute + Duration::from_secs(1)).await;
        let all = self.requests_since(from)?;
        let of_minute = |number: u32| {
            let from = cordoned + number * minute;
            let within = |request: &&AuditedRequest| (from..from + minute).contains(&request.received);
            counted(all.iter().filter(within))
        };
        Ok([of_minute(0), of_minute(1)])
    }

    /// Does as a package that needs a reboot, once the daemon has looked around after its start; gives the time before.
    async fn request_reboot(&self) -> Result<Timestamp> {
        sleep_until(self.idle_since.get() + UNTIL_LOOKS_ARE_OVER).await;
        let now = Timestamp::now();
        fs::write(self.host.live_path(SENTINEL)?, "*** System restart required ***\n")?;
        Ok(now)
    }

    fn requests_since(&self, from: Timestamp) -> Result<Vec<AuditedRequest>> {
        let mine = Filter { from: Some(from), ..Filter::new() }.user_agent("rebootd/");
        audit::requests(&self.lab.control_plane.audit_log(), &mine)
    }

    async fn wait_running(&self, deployments: &[Deployment]) -> Result<()> {
        for Deployment { name, replicas, .. } in deployments {
            workload::wait_running(&self.lab.control_plane, name, *replicas as usize, LIMIT).await?;
        }
        Ok(())
    }
}

fn cordons(request: &AuditedRequest) -> bool {
    let unschedulable = |node: &Value| node.pointer("/spec/unschedulable") == Some(&Value::Bool(true));
    succeeded(request, "patch", "nodes") && request.became.as_ref().is_some_and(unschedulable)
}

fn stamps(request: &AuditedRequest) -> bool {
    let stamp = |slot: &Value| slot.pointer("/metadata/annotations/rebootd.io~1rebooting").is_some();
    succeeded(request, "patch", "leases") && request.became.as_ref().is_some_and(stamp)
}

fn succeeded(request: &AuditedRequest, verb: &str, resource: &str) -> bool {
    request.verb == verb && request.resource == resource && (200..300).contains(&request.status)
}

fn counted<'a>(requests: impl Iterator<Item = &'a AuditedRequest>) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for request in requests {
        *counts.entry(format!("{} {}", request.verb, request.resource)).or_default() += 1;
    }
    counts
}

/// Holds a drain against what it was to do: a faster one that evicts fewer pods is none.
fn drained(seconds: f64, requests: &[AuditedRequest], deployments: &[Deployment]) -> Result<Drain> {
    let pods: u32 = deployments.iter().map(|deployment| deployment.replicas).sum();
    let evicted = requests.iter().filter(|request| succeeded(request, "create", "pods/eviction")).count();
    ensure!(evicted == pods as usize, "{evicted} of {pods} pods were evicted");
    Ok(Drain { seconds, requests: counted(requests.iter()) })
}

fn report(cases: &[Case], blocked: &[BTreeMap<String, u64>; 2]) -> ExitCode {
    println!(
        "\n{:>5} {:<6} {:>10} {:>10} {:>6} {:>9} {:>9}",
        "PODS", "GRACE", "REBOOTD", "KUBECTL", "RATIO", "REQUESTS", "KUBECTL'S"
    );
    for case in cases {
        let Case { pods, grace, ours, kubectls } = case;
        println!(
            "{pods:>5} {grace:<6} {:>8.1} s {:>8.1} s {:>6.2} {:>9} {:>9}",
            ours.seconds,
            kubectls.seconds,
            case.ratio(),
            ours.total(),
            kubectls.total()
        );
        let kinds: BTreeMap<&String, ()> =
            ours.requests.keys().chain(kubectls.requests.keys()).map(|kind| (kind, ())).collect();
        for kind in kinds.keys() {
            let count = |drain: &Drain| drain.requests.get(*kind).copied().unwrap_or_default();
            println!("      {kind:<36} {:>9} {:>9}", count(ours), count(kubectls));
        }
    }
    println!("\nrequests while a budget blocks {BLOCKED_PODS} pods (at most {BLOCKED_REQUESTS_PER_MINUTE}):");
    for (minute, requests) in (1..).zip(blocked) {
        let kinds: Vec<String> = requests.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        println!("  minute {minute}: {} ({})", requests.values().sum::<u64>(), kinds.join(", "));
    }
    println!();
    let blocked = blocked.iter().map(|requests| requests.values().sum::<u64>()).max().unwrap_or_default();

    let mut ok = true;
    for case in cases {
        let Case { pods, grace, ours, kubectls } = case;
        let most = if *grace == LATE { kubectls.total() } else { u64::from(*pods) + REQUESTS_BESIDE };
        if ours.total() > most {
            ok = false;
            println!("TOO MANY REQUESTS: {pods} pods, {grace}: {} for {pods} evictions", ours.total());
        }
        if case.ratio() > 1.0 {
            println!("SLOWER THAN KUBECTL: {pods} pods, {grace}: ratio {:.2}", case.ratio());
        }
    }
    if blocked > BLOCKED_REQUESTS_PER_MINUTE {
        ok = false;
        println!("TOO MANY REQUESTS: {blocked} a minute while a budget blocks {BLOCKED_PODS} pods");
    }
    let figures: Vec<Value> = cases.iter().map(figures).collect();
    println!("{}", json!({"cases": figures, "blocked_requests_per_minute": blocked}));
    if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn figures(case: &Case) -> Value {
    json!({
        "pods": case.pods,
        "grace": case.grace,
        "seconds": rounded(case.ours.seconds),
        "kubectl_seconds": rounded(case.kubectls.seconds),
        "ratio": (case.ratio() * 100.0).round() / 100.0,
        "requests": case.ours.total(),
        "kubectl_requests": case.kubectls.total(),
    })
}
