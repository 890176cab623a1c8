//! A fleet of simulated machines, each with the real rebootd and a token of the account that the policies confine.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::control_plane;
use crate::lab::Lab;
use crate::namespaces;
use crate::progress::say;
use crate::simulated::client::Client;
use crate::simulated::{Fate, Ground, LeanSite, Machine, MachineEvent, Name, RebootOutcome};

pub(super) const POOL: &str = "scale";

/// Everything else is as shipped.
const POLICY: &str = "[policy]\nwindow = \"always\"\nsettle = \"5s\"\nmin_interval = \"0\"\n";
/// From the call of `Reboot` to the new boot, of which half a second is the machine's own way down.
const DARK: Duration = Duration::from_millis(9_500);
const ACCEPTED_FOR: Duration = Duration::from_millis(200);
/// A token's life: longer than any bench.
const TOKEN_SECONDS: u32 = 86_400;
/// So many begin something at the same time: more would measure how this machine copes with that.
const AT_ONCE: usize = 25;
const START_LIMIT: Duration = Duration::from_secs(120);
/// inotify instances of one rebootd.
const WATCHES: u32 = 8;

pub(super) struct Fleet {
    sites: Vec<LeanSite>,
    ground: Ground,
}

impl Fleet {
    /// Starts so many, all idle in the end.
    pub(super) async fn start(lab: &Lab, package: &Path, admin: &Client, agents: usize) -> Result<Self> {
        namespaces::allow_watches(u32::try_from(agents)?.saturating_mul(WATCHES).max(1024))?;
        let ground = Ground::prepare_confined(lab, package, lab.directory().join("scale")).await?;
        let mut fleet = Self { sites: Vec::new(), ground };
        for number in 1..=agents {
            let name = format!("sim{number}");
            fleet.sites.push(fleet.ground.lean_site(&Name {
                node: &name,
                pool: POOL,
                number,
                tells_ids: true,
            })?);
        }
        let uids = fleet.uids(admin).await?;
        say(format!("{agents} kubelets have registered their Nodes"));
        let began = Instant::now();
        for (number, site) in fleet.sites.iter().enumerate() {
            let uid = uids.get(&site.machine.name).context("a kubelet has not registered its Node")?;
            configure(lab, admin, &site.machine, uid).await?;
            if number.is_multiple_of(100) && number > 0 {
                say(format!("{number} tokens"));
            }
        }
        say(format!("tokens took {:.0} s", began.elapsed().as_secs_f64()));
        let machines = fleet.machines();
        for (batch, machines) in fleet.sites.chunks_mut(AT_ONCE).zip(machines.chunks(AT_ONCE)) {
            batch.iter_mut().for_each(LeanSite::run_rebootd);
            wait(machines, "idle", START_LIMIT, |status| status["phase"] == "idle").await?;
        }
        fleet.ensure_confined()?;
        say(format!("{agents} agents are idle after {:.0} s", began.elapsed().as_secs_f64()));
        Ok(fleet)
    }

    pub(super) fn machines(&self) -> Vec<Arc<Machine>> {
        self.sites.iter().map(|site| Arc::clone(&site.machine)).collect()
    }

    /// How often any of them has become Ready after a boot so far.
    pub(super) fn boots(&self) -> usize {
        let events = self.ground.chronicle.events();
        events.iter().filter(|note| matches!(note.event, MachineEvent::Healthy(_))).count()
    }

    /// By name, once every kubelet has registered its Node.
    async fn uids(&self, admin: &Client) -> Result<BTreeMap<String, String>> {
        let deadline = Instant::now() + START_LIMIT;
        loop {
            let nodes = admin.get("/api/v1/nodes?resourceVersion=0").await?;
            let items = nodes["items"].as_array().context("a list of Nodes without items")?;
            let uids: BTreeMap<String, String> = items
                .iter()
                .filter(|node| node.pointer("/status/conditions").is_some())
                .filter_map(|node| {
                    let text = |field: &str| node["metadata"][field].as_str().map(str::to_owned);
                    Some((text("name")?, text("uid")?))
                })
                .collect();
            if self.sites.iter().all(|site| uids.contains_key(&site.machine.name)) {
                return Ok(uids);
            }
            ensure!(Instant::now() < deadline, "only {} Nodes after {START_LIMIT:?}", uids.len());
            sleep(Duration::from_millis(500)).await;
        }
    }

    /// Each rebootd tries at its start whether the policies are in force.
    fn ensure_confined(&self) -> Result<()> {
        let unconfined: Vec<&str> = self
            .sites
            .iter()
            .filter(|site| says(&site.machine.status().unwrap_or_default(), "policies-not-in-force"))
            .map(|site| site.machine.name.as_str())
            .collect();
        ensure!(unconfined.is_empty(), "the policies are not in force for {}", unconfined.join(", "));
        Ok(())
    }
}

/// Whether a status has a reason of this kind.
pub(super) fn says(status: &Value, kind: &str) -> bool {
    status["reasons"].as_array().into_iter().flatten().any(|reason| reason["kind"] == kind)
}

/// The machine needs a reboot, which will take ten seconds.
fn ask_for_reboot(machine: &Machine) -> Result<()> {
    machine.forget_fates();
    let outcome = RebootOutcome::Happens { after: ACCEPTED_FOR, dark: DARK };
    machine.expect(Fate { delivered_after: Duration::ZERO, outcome });
    Ok(fs::write(machine.sentinel(), "")?)
}

/// Asks those that do not ask yet; returns when nearly all of them wait for a free slot. Not all: a node whose turn came to
/// nothing backs off for half an hour.
pub(super) async fn ask_for_reboots(machines: &[Arc<Machine>], limit: Duration) -> Result<()> {
    for machines in machines.chunks(AT_ONCE) {
        for machine in machines.iter().filter(|machine| !machine.asks()) {
            ask_for_reboot(machine)?;
        }
        // Whoever is slow is waited for in the end.
        let _ = wait(machines, "waiting", Duration::from_secs(10), waits_for_slot).await;
    }
    wait(machines, "waiting", limit, |status| waits_for_slot(status) || says(status, "backing-off")).await
}

fn waits_for_slot(status: &Value) -> bool {
    says(status, "no-free-slot")
}

/// One of them alone; returns when it is idle again.
pub(super) async fn reboot_alone(machine: &Arc<Machine>, limit: Duration) -> Result<()> {
    let before = machine.boot_id();
    ask_for_reboot(machine)?;
    let deadline = Instant::now() + limit;
    loop {
        let status = machine.status().unwrap_or_default();
        if machine.boot_id() != before && machine.is_well() && status["phase"] == "idle" {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "{} has not rebooted within {limit:?}: {status}", machine.name);
        sleep(Duration::from_millis(200)).await;
    }
}

async fn wait(
    machines: &[Arc<Machine>],
    what: &str,
    limit: Duration,
    is_so: impl Fn(&Value) -> bool,
) -> Result<()> {
    let deadline = Instant::now() + limit;
    loop {
        let missing: Vec<&Arc<Machine>> =
            machines.iter().filter(|machine| !is_so(&machine.status().unwrap_or_default())).collect();
        let Some(first) = missing.first() else { return Ok(()) };
        ensure!(
            Instant::now() < deadline,
            "{} of {} are not {what} after {limit:?}; {}: {}",
            missing.len(),
            machines.len(),
            first.name,
            first.status().unwrap_or_default()["line"],
        );
        sleep(Duration::from_millis(250)).await;
    }
}

/// Straight to the API server, with a token that is bound to the Node.
async fn configure(lab: &Lab, admin: &Client, machine: &Machine, uid: &str) -> Result<()> {
    let name = &machine.name;
    let bound = json!({"kind": "Node", "apiVersion": "v1", "name": name, "uid": uid});
    let request = json!({"spec": {"boundObjectRef": bound, "expirationSeconds": TOKEN_SECONDS}});
    let path = "/api/v1/namespaces/rebootd/serviceaccounts/rebootd/token";
    let answer = admin.post(path, &request).await?;
    let token = answer["status"]["token"].as_str().context("no token")?;
    let token_file = machine.config().join("token");
    fs::write(&token_file, token)?;
    let config = format!(
        "[node]\nname = \"{name}\"\npool = \"{POOL}\"\n
[api]\nserver = \"{}\"\ncertificate_authority = \"{}\"\ntoken_file = \"{}\"\n
[host]\nsentinel = \"{}\"\n\n{POLICY}",
        control_plane::server(),
        lab.control_plane.pki.ca().display(),
        token_file.display(),
        machine.sentinel().display(),
    );
    Ok(fs::write(machine.config().join("config.toml"), config)?)
}
