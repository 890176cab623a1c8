//! One host, and cycles on it: from a request to idle, with something that goes wrong on the way.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::faults::{Case, Trap};
use super::steps::{Point, Step};
use crate::bus::BusProxy;
use crate::host::Host;
use crate::machine::Ending;
use crate::observer::State;
use crate::progress::say;
use crate::proxy::{Action, Proxy, Verb};
use crate::scenarios::stage::{CONFIG, CYCLE, SENTINEL, SOON, Stage, is_absent, request_reboot};
use crate::workload::Deployment;

const PODS: u32 = 2;
/// The shortest there is: how long a host believes in a reboot that was asked for and did not come.
const REBOOT_TIMEOUT: &str = "reboot_timeout = \"30s\"\n";
/// Only to save time: the unit's own is 10 s.
const RESTART_SOON: &str = "[Service]\nRestartSec=100ms\n";
/// A claim that arrives when the daemon is idle is found by its second look, two minutes after its start.
const SECOND_LOOK: Duration = Duration::from_secs(150);
/// An idle daemon whose look is younger (10 s) claims without another one: there would be no reads before its claim.
const LOOK_HOLDS: Duration = Duration::from_secs(11);

/// A host in a pool of its own with all that watches it.
pub(super) struct Rig<'stage> {
    stage: &'stage Stage,
    pub(super) host: &'stage Host,
    pub(super) bus: BusProxy,
    /// The name of its pool and of the pool's only slot.
    pool: String,
    pods: Deployment,
}

/// What a cycle went through: before its boot, and after it.
pub(super) struct Recording {
    pub(super) before_boot: Vec<Step>,
    pub(super) after_boot: Vec<Step>,
}

/// What a cycle with faults came to.
pub(super) struct Reached {
    pub(super) before_boot: bool,
    pub(super) after_boot: bool,
}

impl Reached {
    pub(super) fn case(&self, case: &Case) -> bool {
        if case.follows_boot { self.after_boot } else { self.before_boot }
    }
}

/// The part of the published status that matters here.
#[derive(Deserialize)]
struct Status {
    phase: String,
    reasons: Vec<serde_json::Value>,
}

impl<'stage> Rig<'stage> {
    /// Installs rebootd on the host (counted from 1) and puts itself in between.
    pub(super) async fn set_up(stage: &'stage Stage, number: usize) -> Result<Rig<'stage>> {
        let host = stage.host(number);
        let pool = format!("sweep-{number}");
        let config = format!("{CONFIG}{REBOOT_TIMEOUT}[node]\npool = \"{pool}\"\n");
        stage.install(host, &config).await?;
        make_slot(stage, &pool).await?;
        let pods = stage.pods_on(host, PODS, 1).await?;
        host.write_file("/etc/systemd/system/rebootd.service.d/sweep.conf", RESTART_SOON).await?;
        let bus = BusProxy::start(&stage.lab, number - 1).await?;
        let rig = Rig { stage, host, bus, pool, pods };
        rig.wait_idle(SOON).await?;
        Ok(rig)
    }

    pub(super) fn proxy(&self) -> &'stage Proxy {
        self.stage.lab.proxy(self.host.name())
    }

    pub(super) fn say(&self, line: String) {
        say(format!("{}: {line}", self.host.name()));
    }

    /// A cycle in which nothing goes wrong.
    pub(super) async fn record(&self) -> Result<Recording> {
        sleep(LOOK_HOLDS).await;
        let boots = self.host.boots().len();
        let began = Began::now(self);
        let trap = Trap::look(self, "request");
        request_reboot(self.host).await?;
        self.host.wait_boot_number(boots + 1, CYCLE).await?;
        let before_boot = trap.tracker.steps();
        trap.remove(self);
        let trap = Trap::look(self, "boot");
        self.wait_settled().await?;
        let after_boot = trap.tracker.steps();
        trap.remove(self);
        began.judge(self, 1).await?;
        Ok(Recording { before_boot, after_boot })
    }

    /// A cycle with something that goes wrong before its boot, or after it, or both.
    pub(super) async fn run(&self, before: Option<&Case>, after: Option<&Case>) -> Result<Reached> {
        if before.is_some_and(|case| case.point.after == "request") {
            sleep(LOOK_HOLDS).await;
        }
        let boots = self.host.boots().len();
        let began = Began::now(self);
        let mut reached = Reached { before_boot: false, after_boot: false };
        let mut more_boots = 1;
        let mut trap = Trap::for_case(self, "request", before);
        request_reboot(self.host).await?;
        let next_boot = self.host.wait_boot_number(boots + 1, CYCLE);
        match before {
            Some(case) => reached.before_boot = trap.spring(self, case, next_boot).await?,
            None => next_boot.await?,
        }
        self.host.wait_boot_number(boots + 1, CYCLE).await?;
        trap.remove(self);
        if let Some(case) = after {
            let mut trap = Trap::for_case(self, "boot", Some(case));
            reached.after_boot = trap.spring(self, case, self.wait_idle(CYCLE)).await?;
            more_boots += usize::from(reached.after_boot && case.fault.takes_power());
            self.wait_settled().await?;
            trap.remove(self);
        }
        self.wait_settled().await?;
        began.judge(self, more_boots).await?;
        Ok(reached)
    }

    /// A cycle in which this happens to each of these requests, once.
    pub(super) async fn run_all(&self, before: Vec<Point>, after: Vec<Point>, action: Action) -> Result<()> {
        let (boots, number) = (self.host.boots().len(), before.len() + after.len());
        sleep(LOOK_HOLDS).await;
        let began = Began::now(self);
        let trap = Trap::for_requests(self, "request", before, action.clone());
        request_reboot(self.host).await?;
        self.host.wait_boot_number(boots + 1, 2 * CYCLE).await?;
        let mut stopped = trap.stopped();
        trap.remove(self);
        let trap = Trap::for_requests(self, "boot", after, action.clone());
        self.wait_idle(2 * CYCLE).await?;
        stopped += trap.stopped();
        trap.remove(self);
        self.say(format!("{action:?}: {stopped} requests of {number}"));
        self.wait_settled().await?;
        began.judge(self, 1).await?;
        // A lost answer may change the way; most of it must be gone all the same.
        ensure!(2 * stopped > number, "only {stopped} of {number} requests were met");
        Ok(())
    }

    /// Waits until the daemon says that there is nothing to do.
    pub(super) async fn wait_idle(&self, limit: Duration) -> Result<()> {
        let deadline = Instant::now() + limit;
        while self.status().is_none_or(|status| status.phase != "idle" || !status.reasons.is_empty()) {
            if Instant::now() > deadline {
                let says = self.host.run(&["rebootctl", "status"]).await;
                let says = says.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
                ensure!(false, "{} is not idle after {limit:?}: {says:?}", self.host.name());
            }
            sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    /// Read past the host, which has enough to do.
    fn status(&self) -> Option<Status> {
        let path = self.host.live_path("/run/rebootd/status.json").ok()?;
        serde_json::from_slice(&fs::read(path).ok()?).ok()
    }

    /// Waits for the end of every cycle: idle, schedulable, without a mark, the slot free and nothing written in it.
    async fn wait_settled(&self) -> Result<()> {
        self.wait_idle(CYCLE).await?;
        let (name, pool) = (self.host.name().to_owned(), self.pool.clone());
        let settled = move |state: &State| {
            let node = state.node(&name).is_some_and(|node| !node.unschedulable && !node.cordon_mark);
            let slot = state.leases.get(&pool).is_some_and(|slot| {
                let left = |what: &&str| slot.annotation(&format!("rebootd.io/{what}")).is_some();
                slot.holder.is_none() && !["boot-id", "node-uid", "claimed-at", "rebooting"].iter().any(left)
            });
            node && slot
        };
        self.stage
            .wait_for(&format!("{} has left nothing behind", self.host.name()), settled, SECOND_LOOK)
            .await?;
        self.wait_idle(SOON).await?;
        ensure!(is_absent(self.host, SENTINEL).await?, "{} still asks for a reboot", self.host.name());
        Ok(())
    }

    /// Keeps what rebootd said in the last minutes among the results.
    pub(super) async fn keep_journal(&self, name: &str) {
        let journal = ["journalctl", "--no-pager", "--output=short-iso-precise", "--since=-5min"];
        let said = self.host.run(&journal).await.map(|output| output.stdout).unwrap_or_default();
        let _ = fs::write(self.stage.results.join(format!("{name}.journal")), said);
        let _ = fs::write(
            self.stage.results.join(format!("{name}.cluster")),
            self.stage.observer.state().to_string(),
        );
    }

    /// Puts everything in order by hand, after a failure: the next cycle must not suffer for this one.
    pub(super) async fn mend(&self) -> Result<()> {
        self.bus.let_pass();
        self.proxy().clear();
        if !self.host.is_on() {
            self.host.boot();
        }
        self.host.wait_booted(SOON).await?;
        let lab = &self.stage.lab;
        let script = format!("systemctl stop rebootd; rm -f {SENTINEL} /var/lib/rebootd/state.json");
        self.host.run_ok(&["sh", "-c", &script]).await?;
        let delete = ["delete", "lease", &self.pool, "--namespace=rebootd"];
        lab.kubectl(&delete).await?;
        make_slot(self.stage, &self.pool).await?;
        lab.kubectl(&["uncordon", self.host.name()]).await?;
        lab.kubectl(&["annotate", "node", self.host.name(), "rebootd.io/cordon-"]).await?;
        self.host.run_ok(&["systemctl", "start", "rebootd"]).await?;
        self.wait_settled().await.context("after it was put in order by hand")
    }
}

/// The only slot of a pool, with the pool's name.
async fn make_slot(stage: &Stage, pool: &str) -> Result<()> {
    let slot = json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": pool, "namespace": "rebootd", "labels": {"rebootd.io/pool": pool}},
    });
    stage.lab.control_plane.apply(&slot.to_string()).await
}

/// What a cycle is judged by: how things were when it began.
struct Began {
    boots: usize,
    downs: usize,
    requests: usize,
    wrong_cordons: usize,
}

impl Began {
    fn now(rig: &Rig<'_>) -> Began {
        let history = rig.stage.observer.history();
        Began {
            boots: rig.host.boots().len(),
            downs: history.slots_when_down(rig.host.name()).len(),
            requests: rig.proxy().requests().len(),
            wrong_cordons: history.cordoned_without_slot(rig.host.name()).len(),
        }
    }

    /// What must hold of a cycle, whatever went wrong in it.
    async fn judge(&self, rig: &Rig<'_>, boots: usize) -> Result<()> {
        let name = rig.host.name();
        let new: Vec<_> = rig.host.boots().split_off(self.boots);
        ensure!(new.len() == boots, "{name} booted {} times, not {boots}", new.len());

        let history = rig.stage.observer.history();
        ensure!(history.gaps().is_empty(), "the observer may have missed something: {:?}", history.gaps());
        let wrong = history.cordoned_without_slot(name).split_off(self.wrong_cordons);
        ensure!(wrong.is_empty(), "{name} was cordoned without a slot at resourceVersion {wrong:?}");

        // The boot that the cycle began in and all but the last of its own have ended.
        let ended = rig.host.boots().into_iter().skip(self.boots - 1).filter_map(|boot| boot.ended);
        let slots = history.slots_when_down(name).split_off(self.downs);
        for ((_, ending), slot) in ended.zip(slots) {
            let is_stamped = slot.is_some_and(|slot| slot.annotation("rebootd.io/rebooting").is_some());
            ensure!(ending != Ending::Rebooted || is_stamped, "{name} rebooted without a stamped slot");
        }

        let requests = rig.proxy().requests().split_off(self.requests);
        let deletes = |verb: Verb| matches!(verb, Verb::Delete | Verb::DeleteCollection);
        let past_budgets =
            requests.iter().find(|it| it.user_agent.starts_with("rebootd/") && deletes(it.verb));
        ensure!(past_budgets.is_none(), "rebootd deletes: {past_budgets:?}");

        rig.stage.wait_pods(&rig.pods).await.context("the pods are not back")
    }
}
