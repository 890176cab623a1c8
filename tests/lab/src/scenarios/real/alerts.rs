//! Each alert of the package, fired once by what happens on a host, in a real Prometheus that asks a real node_exporter.
//!
//! The package's own rules, but for their waiting times: an hour is a second. `RebootdMissing` needs kube-state-metrics,
//! which the lab does not have: `tests/alerts.test.yaml` has it.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::time::{Instant, sleep};

use super::super::stage::{CONFIG, CYCLE, SOON, Stage, request_reboot};
use super::super::status::{Status, wait_phase, wait_status};
use super::super::verdict;
use super::enrolment::{apply, install_with, is_enrolled};
use crate::host::Host;
use crate::progress::say;
use crate::prometheus::{self, Prometheus, TEXTFILES};

const RULES: &str = "usr/share/rebootd/prometheus/rebootd.rules.yaml";
/// What each waiting time of the rules is here; not that of `RebootdCredentialEnds`, which is true of a short token.
const SHORTENED: [(&str, &str); 4] = [
    ("> 4 * 3600", "> 4"),
    ("> 13 * 3600", "> 120"),
    ("> 14 * 86400", "> 14"),
    ("time() - 3 * 86400", "time() - 3"),
];
/// Long enough for whatever would fire.
const QUIET: Duration = Duration::from_secs(15);

/// The first host goes through what can fail in a turn; the second one has a token of ten minutes, and falls silent.
pub(in crate::scenarios) async fn run(stage: &Stage) -> Result<()> {
    let [turns, silent] = [1, 2].map(|number| stage.host(number));
    for (host, token_life) in [(turns, "24h"), (silent, "10min")] {
        host.run_ok(&["mkdir", "-p", TEXTFILES]).await?;
        prometheus::export(host).await?;
        let config = format!(
            "{CONFIG}[node]\ntoken_life = \"{token_life}\"\npool = \"{}\"\n[drain]\ntimeout = \"20s\"\n\
             [host]\nnewer_kernel = true\n",
            host.name()
        );
        install_with(stage, host, &config).await?;
    }
    let mut prometheus = Prometheus::new(&stage.lab).await?;
    prometheus.scrape(&stage.lab, &rules(turns)?).await?;
    let alerts = Alerts { prometheus: &prometheus };

    for host in [turns, silent] {
        alerts.fires("RebootdNotInCluster", host.name()).await?;
    }
    apply(stage, turns).await?;
    for host in [turns, silent] {
        stage.apply_slot_of(host).await?;
        is_enrolled(stage, host).await?;
        alerts.ends("RebootdNotInCluster", host.name()).await?;
    }
    alerts.fires("RebootdCredentialEnds", silent.name()).await?;
    sleep(QUIET).await;
    let expected = BTreeSet::from([("RebootdCredentialEnds".to_owned(), silent.name().to_owned())]);
    ensure!(alerts.firing().await? == expected, "two idle nodes: {:?}", alerts.firing().await?);
    silent.run_ok(&["systemctl", "stop", "rebootd"]).await?;

    paused(stage, &alerts, turns).await?;
    held_up(stage, &alerts, turns).await?;
    alerts.fires("RebootdSilent", silent.name()).await?;
    goes_down(stage, &alerts, turns).await?;
    prometheus.stop().await
}

/// The package's rules for what a host tells.
fn rules(host: &Host) -> Result<String> {
    let mut rules = fs::read_to_string(host.root().join(RULES))?;
    for (theirs, ours) in SHORTENED {
        ensure!(rules.contains(theirs), "no rule has {theirs:?} any more");
        rules = rules.replace(theirs, ours);
    }
    let shortened = |line: &str| match line.trim_start().starts_with("for: ") {
        true => "    for: 1s\n".to_owned(),
        false => format!("{line}\n"),
    };
    Ok(rules.lines().map(shortened).collect())
}

/// The fleet is paused, and a node of it wants to reboot.
async fn paused(stage: &Stage, alerts: &Alerts<'_>, host: &Host) -> Result<()> {
    rebootctl(stage, host, &["fleet", "pause", "an incident"]).await?;
    request_reboot(host).await?;
    alerts.fires("RebootdPausedForLong", "").await?;
    alerts.fires("RebootdUnpatchedTooLong", host.name()).await?;
    alerts.fires("RebootdNothingReboots", "").await
}

/// It drains for longer than it may, again and again.
async fn held_up(stage: &Stage, alerts: &Alerts<'_>, host: &Host) -> Result<()> {
    stage.stuck_pods_on(host, 1).await?;
    rebootctl(stage, host, &["fleet", "resume"]).await?;
    alerts.fires("RebootdSlotHeldTooLong", host.name()).await?;
    let given_up = |status: &Status| status.reason("backing-off").is_some();
    wait_status(host, "giving up its drain", given_up, CYCLE).await?;
    alerts.ends("RebootdPausedForLong", "").await?;
    // Half an hour and two hours would pass until it had tried three times.
    let state = "/var/lib/rebootd/state.json";
    let edit = format!(
        "systemctl stop rebootd && sed -i 's/\"count\": *1/\"count\":3/' {state} && systemctl start rebootd"
    );
    host.run_ok(&["sh", "-c", &edit]).await?;
    alerts.fires("RebootdDrainsFail", host.name()).await?;
    let budget = format!("stuck-on-{}", host.name());
    stage.lab.kubectl(&["delete", "poddisruptionbudget", &budget]).await?;
    Ok(())
}

/// It stays down, comes back without its kubelet, and does not run the kernel that was installed.
async fn goes_down(stage: &Stage, alerts: &Alerts<'_>, host: &Host) -> Result<()> {
    let running = host.run_ok(&["uname", "-r"]).await?;
    let flavour = running.trim().split_once('-').map_or("", |(_, flavour)| flavour);
    let prepare = format!(
        "mkdir -p /boot && touch /boot/vmlinuz-99.0-{flavour} && systemctl disable kubelet \
         && systemctl stop rebootd && rm /var/lib/rebootd/state.json"
    );
    host.run_ok(&["sh", "-c", &prepare]).await?;
    host.stay_down(true);
    host.run_ok(&["systemctl", "start", "rebootd"]).await?;
    host.wait_off(CYCLE).await?;
    alerts.fires("RebootdNodeNotBack", host.name()).await?;

    say("it is switched on, and its kubelet does not start");
    host.stay_down(false);
    host.boot();
    host.wait_booted(SOON).await?;
    alerts.ends("RebootdNodeNotBack", host.name()).await?;
    wait_phase(host, "returning", SOON).await?;
    alerts.fires("RebootdReturnTakesLong", host.name()).await?;
    host.run_ok(&["systemctl", "enable", "--now", "kubelet"]).await?;
    verdict::settled(stage, host).await?;
    alerts.ends("RebootdReturnTakesLong", host.name()).await?;
    alerts.ends("RebootdUnpatchedTooLong", host.name()).await?;
    alerts.fires("RebootdNotLive", host.name()).await?;
    alerts.fires("RebootdAlarm", host.name()).await
}

/// As an administrator does from where kubectl works.
async fn rebootctl(stage: &Stage, host: &Host, arguments: &[&str]) -> Result<()> {
    let program = host.root().join("usr/bin/rebootctl");
    stage.lab.control_plane.rebootctl(&program, arguments).await?;
    Ok(())
}

struct Alerts<'prometheus> {
    prometheus: &'prometheus Prometheus,
}

impl Alerts<'_> {
    async fn firing(&self) -> Result<BTreeSet<(String, String)>> {
        self.prometheus.firing().await
    }

    /// Waits until this alert fires, of this instance; empty for those that are of none.
    async fn fires(&self, alert: &str, instance: &str) -> Result<()> {
        self.wait(alert, instance, true).await
    }

    /// Waits until it does not, or not any more.
    async fn ends(&self, alert: &str, instance: &str) -> Result<()> {
        self.wait(alert, instance, false).await
    }

    async fn wait(&self, alert: &str, instance: &str, wanted: bool) -> Result<()> {
        let expected = (alert.to_owned(), instance.to_owned());
        let who = if instance.is_empty() { "the fleet" } else { instance };
        let what = format!("{alert} {} for {who}", if wanted { "fires" } else { "does not fire" });
        let deadline = Instant::now() + SOON;
        loop {
            // It does not answer until it has started.
            let firing = self.firing().await;
            if firing.as_ref().is_ok_and(|firing| firing.contains(&expected) == wanted) {
                say(what);
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "waited {SOON:?}: {what}; now {firing:?}");
            sleep(Duration::from_secs(1)).await;
        }
    }
}
