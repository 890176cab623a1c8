//! The Node object is not what it was: deleted and created again, shared by two machines, or another machine's now.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::time::{sleep, timeout};
use tokio::try_join;

use super::places::{Place, keep};
use super::stage::{CONFIG, CYCLE, SENTINEL, SLOT, SOON, Stage, request_reboot, slot_of};
use super::status::{Status, wait_phase, wait_status};
use super::verdict;
use crate::host::Host;
use crate::observer::{Object, State};
use crate::progress::say;
use crate::proxy::Verb;
use crate::rebootd;

/// Longer than a node takes to settle, and than a look takes to come in a phase that a person has to end.
const STAYS: Duration = Duration::from_secs(40);
const KUBELET_UNIT: &str = "/etc/systemd/system/kubelet.service";
const TOKEN: &str = "/etc/rebootd/token";
const UNAUTHORIZED: &str = "401";

/// A Node that is deleted takes its tokens with it; the kubelet registers another one.
pub(super) async fn recreated(stage: &Stage) -> Result<()> {
    let [down, draining] = [1, 2].map(|number| stage.host(number));
    for host in [down, draining] {
        stage.install_alone(host, CONFIG).await?;
    }
    try_join!(while_down(stage, down), while_draining(stage, draining))?;
    for host in [down, draining] {
        verdict::booted(host, 2)?;
        verdict::cordoned_under_slot(&stage.observer.history(), host.name(), &slot_of(host))?;
    }
    Ok(())
}

async fn while_down(stage: &Stage, host: &Host) -> Result<()> {
    let before = stage.node(host.name())?.uid;
    host.stay_down(true);
    request_reboot(host).await?;
    host.wait_off(CYCLE).await?;
    stage.lab.kubectl(&["delete", "node", host.name()]).await?;
    say(format!("{} is deleted while its host is down", host.name()));
    told_of_gone(stage, host).await?;
    host.boot();
    needs_token(host).await?;
    let (name, slot) = (host.name().to_owned(), slot_of(host));
    stage
        .wait_for("the Node is registered again", move |state| registered(state, &name, &before), SOON)
        .await?;
    ensure!(stage.observer.state().holder(&slot) == Some(host.name()), "the slot is free");
    new_credential(stage, host).await?;
    verdict::settled(stage, host).await?;
    verdict::cordoned(&stage.observer.history(), host.name(), 1)
}

/// Of a Node that is gone, a report has what the cluster still knows.
async fn told_of_gone(stage: &Stage, host: &Host) -> Result<()> {
    let program = host.root().join("usr/bin/rebootctl");
    let report = stage.lab.control_plane.rebootctl_output(&program, &["report", host.name()]).await?;
    let told = String::from_utf8_lossy(&report.stderr);
    say(&told);
    let is_told = told.contains(&format!("slot {} is held under its name", slot_of(host)));
    ensure!(is_told && told.contains("Z  Reboot"), "rebootctl report {}: {told}", host.name());
    Ok(())
}

/// The new Node is not cordoned: the slot is claimed again for it, then it is cordoned and drained.
pub(super) async fn while_draining(stage: &Stage, host: &Host) -> Result<()> {
    let draining = keep(stage, host, Place::Draining).await?;
    let before = stage.node(host.name())?.uid;
    stage.lab.kubectl(&["delete", "node", host.name()]).await?;
    say(format!("{} is deleted in the middle of its drain", host.name()));
    needs_token(host).await?;
    // A kubelet that runs does not register again.
    host.run_ok(&["systemctl", "restart", "kubelet"]).await?;
    let name = host.name().to_owned();
    stage
        .wait_for("the Node is registered again", move |state| registered(state, &name, &before), SOON)
        .await?;
    new_credential(stage, host).await?;
    let name = host.name().to_owned();
    let cordoned = move |state: &State| state.node(&name).is_some_and(|node| node.cordoned_by_us());
    stage.wait_for("the new Node is cordoned", cordoned, CYCLE).await?;
    let uid = stage.node(host.name())?.uid;
    let state = stage.observer.state();
    let claimed_for =
        state.leases.get(&slot_of(host)).and_then(|slot| slot.annotation("rebootd.io/node-uid"));
    ensure!(claimed_for == Some(&uid), "cordoned {uid}, claimed for {claimed_for:?}");
    draining.let_go().await?;
    host.wait_boot_number(2, CYCLE).await?;
    verdict::settled(stage, host).await
}

fn registered(state: &State, name: &str, before: &str) -> bool {
    state.node(name).is_some_and(|node| node.uid != before)
}

async fn needs_token(host: &Host) -> Result<()> {
    let refused = |status: &Status| status.says("api-failing", &[UNAUTHORIZED, "credential"]);
    wait_status(host, "saying that its token is not accepted", refused, CYCLE).await?;
    Ok(())
}

/// What an administrator does for a Node that is a new one.
async fn new_credential(stage: &Stage, host: &Host) -> Result<()> {
    let server = stage.lab.server_for(host.name());
    rebootd::enroll(&stage.lab.control_plane, host, &server).await?;
    say(format!("{} has a new credential", host.name()));
    Ok(())
}

/// A credential that a person keeps in files. It stays with a machine that is cloned.
async fn by_hand(stage: &Stage, host: &Host) -> Result<()> {
    let server = stage.lab.server_for(host.name());
    rebootd::write_kubeconfig(&stage.lab.control_plane, host, &server).await?;
    host.run_ok(&["systemctl", "restart", "rebootd"]).await?;
    Ok(())
}

/// node2's rebootd is configured for node1, with node1's token: a clone that kept its configuration.
pub(super) async fn same_name(stage: &Stage) -> Result<()> {
    let [host, clone] = [1, 2].map(|number| stage.host(number));
    stage.install(host, CONFIG).await?;
    stage.install(clone, &format!("{CONFIG}[node]\nname = \"{}\"\n", host.name())).await?;
    let of_other =
        |status: &Status| status.says("credential-of-other-node", &["says node1", "the Node node2"]);
    wait_status(clone, "with a credential of its own for another name", of_other, SOON).await?;
    by_hand(stage, host).await?;
    by_hand(stage, clone).await?;
    clone.write_file(TOKEN, host.read_file(TOKEN).await?).await?;
    let begun = stage.lab.proxy(clone.name()).requests().len();
    clone.run_ok(&["systemctl", "restart", "rebootd"]).await?;
    request_reboot(clone).await?;
    let other = |status: &Status| status.says("other-machine", &["another machine", "machine id"]);
    wait_status(clone, "saying that the Node is another machine", other, SOON).await?;

    let pods = stage.stuck_pods_on(host, 1).await?;
    request_reboot(host).await?;
    let stuck = |status: &Status| status.says("pods-left", &["blocked by budget"]);
    wait_status(host, "stuck in its drain", stuck, SOON).await?;
    clone.run_ok(&["systemctl", "restart", "rebootd"]).await?;
    wait_status(clone, "still saying so, with slot and cordon under its name", other, SOON).await?;
    stage.lab.kubectl(&["delete", "poddisruptionbudget", &pods.name]).await?;
    host.wait_boot_number(2, CYCLE).await?;
    verdict::settled(stage, host).await?;
    verdict::booted(host, 2)?;
    wait_status(clone, "still saying so", other, SOON).await?;

    say("the host goes down, its Node is deleted, and the clone is all that is left");
    host.stay_down(true);
    request_reboot(host).await?;
    host.wait_off(CYCLE).await?;
    stage.lab.kubectl(&["delete", "node", host.name()]).await?;
    let lost = |status: &Status| status.says("api-failing", &[UNAUTHORIZED]);
    wait_status(clone, "without a token, as its Node is gone", lost, CYCLE).await?;
    let missing = |status: &Status| status.says("node-missing", &["no Node \"node1\""]);
    let own = stage.lab.control_plane.node_bound_token("rebootd", "rebootd", clone.name(), "1h").await?;
    clone.write_file(TOKEN, own).await?;
    wait_status(clone, "saying that the Node is missing", missing, CYCLE).await?;
    clone.run_ok(&["systemctl", "restart", "rebootd"]).await?;
    wait_status(clone, "with another credential of its own for another name", of_other, SOON).await?;
    host.boot();
    needs_token(host).await?;
    by_hand(stage, host).await?;
    verdict::settled(stage, host).await?;
    clone.write_file(TOKEN, host.read_file(TOKEN).await?).await?;
    clone.run_ok(&["systemctl", "restart", "rebootd"]).await?;
    wait_status(clone, "saying that the Node is another machine", other, CYCLE).await?;

    let requests = stage.lab.proxy(clone.name()).requests();
    let writes = requests.iter().skip(begun).find(|request| {
        request.user_agent.starts_with("rebootd")
            && ![Verb::Get, Verb::List, Verb::Watch].contains(&request.verb)
    });
    ensure!(writes.is_none(), "the clone wrote: {writes:?}");
    ensure!(clone.boots().len() == 1, "the clone rebooted");
    verdict::booted(host, 3)?;
    verdict::one_at_a_time(&stage.observer.history())
}

/// Both kubelets report to one Node: its machine id changes every few seconds. Whatever the two daemons make of it,
/// never is one machine down while the other one's slot or cordon stands for it, and in the end all is clean.
pub(super) async fn two_kubelets(stage: &Stage) -> Result<()> {
    let [host, clone] = [1, 2].map(|number| stage.host(number));
    // Longer than the kubelets take turns.
    let config = format!("{}reboot_timeout = \"30s\"\n", CONFIG.replace("\"5s\"", "\"20s\""));
    stage.install(host, &config).await?;
    stage.install(clone, &format!("{config}[node]\nname = \"{}\"\n", host.name())).await?;
    by_hand(stage, host).await?;
    by_hand(stage, clone).await?;
    clone.write_file(TOKEN, host.read_file(TOKEN).await?).await?;
    let kubelet = host.read_file("/etc/kubernetes/kubelet.conf").await?;
    let servers = [host, clone].map(|host| stage.lab.server_for(host.name()));
    clone.write_file("/etc/kubernetes/kubelet.conf", kubelet.replace(&servers[0], &servers[1])).await?;
    let rename = format!("sed -i s/--name={}/--name={}/ {KUBELET_UNIT}", clone.name(), host.name());
    let restart = "systemctl daemon-reload && systemctl restart kubelet rebootd";
    let pods = stage.stuck_pods_on(host, 1).await?;
    clone.run_ok(&["sh", "-c", &format!("{rename} && {restart}")]).await?;
    let ids = Arc::new(Mutex::new(BTreeSet::new()));
    let seen = Arc::clone(&ids);
    let both = move |state: &State| {
        let mut ids = seen.lock().expect("no panic holds it");
        ids.extend(state.node("node1").and_then(|node| node.machine_id.clone()));
        ids.len() == 2
    };
    stage.wait_for("both machines have reported", both, SOON).await?;
    say("two kubelets report to one Node");
    try_join!(request_reboot(host), request_reboot(clone))?;
    stage.wait_for("one of them claims", |state| state.holder(SLOT).is_some(), CYCLE).await?;
    let given_back = |state: &State| state.holder(SLOT).is_none();
    stage.never("a drain under the other one's eyes is undone", given_back, STAYS).await?;
    stage.lab.kubectl(&["delete", "poddisruptionbudget", &pods.name]).await?;
    let down = async {
        loop {
            if let Some(first) = [host, clone].into_iter().find(|host| host.boots().len() == 2) {
                return first;
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    let first = timeout(CYCLE, down).await.context("neither of them reboots")?;
    let second = if first.name() == host.name() { clone } else { host };
    stage.never("it returns under the other one's eyes", given_back, STAYS).await?;
    ensure!(second.boots().len() == 1, "{} rebooted, too", second.name());

    say(format!("the kubelet of {} is stopped, as a person would", second.name()));
    second.run_ok(&["systemctl", "stop", "kubelet"]).await?;
    stage.wait_for("the slot is given back", given_back, CYCLE).await?;
    wait_phase(first, "idle", SOON).await?;
    let other = |status: &Status| status.phase == "waiting" && status.reason("other-machine").is_some();
    wait_status(second, "saying that the Node is another machine", other, SOON).await?;
    ensure!(second.boots().len() == 1 && first.boots().len() == 2, "not one reboot");
    verdict::cordoned_under_slot(&stage.observer.history(), host.name(), SLOT)?;
    let node = stage.node(host.name())?;
    ensure!(!node.unschedulable && !node.cordon_mark, "a cordon is left");
    Ok(())
}

/// Three hosts come back as other machines: stamped with the Node kept, not stamped with the Node kept, and not
/// stamped with the Node deleted.
pub(super) async fn reinstalled(stage: &Stage) -> Result<()> {
    let [stamped, kept, deleted] = [1, 2, 3].map(|number| stage.host(number));
    for host in [stamped, kept, deleted] {
        stage.install_alone(host, CONFIG).await?;
    }
    let stamped = async {
        stamped.stay_down(true);
        request_reboot(stamped).await?;
        stamped.wait_off(CYCLE).await?;
        comes_back_as_another(stage, stamped).await?;
        // Its reboot may have been the cause: not even the cordon goes.
        unproven(stage, stamped, true).await
    };
    let deleted = async {
        keep(stage, deleted, Place::Draining).await?;
        deleted.power_off_abruptly().await?;
        stage.lab.kubectl(&["delete", "node", deleted.name()]).await?;
        comes_back_as_another(stage, deleted).await?;
        unproven(stage, deleted, false).await
    };
    try_join!(stamped, reinstalled_in_mid_drain(stage, kept), deleted)?;
    for host in &stage.lab.hosts {
        ensure!(host.boots().len() == 2, "{} booted {} times", host.name(), host.boots().len());
    }
    Ok(())
}

/// Its slot is not stamped, and its Node is kept.
pub(super) async fn reinstalled_in_mid_drain(stage: &Stage, host: &Host) -> Result<()> {
    keep(stage, host, Place::Draining).await?;
    host.power_off_abruptly().await?;
    comes_back_as_another(stage, host).await?;
    unproven(stage, host, false).await
}

async fn comes_back_as_another(stage: &Stage, host: &Host) -> Result<()> {
    let before = stage.node(host.name()).ok().and_then(|node| node.machine_id);
    host.reinstall()?;
    host.boot();
    let name = host.name().to_owned();
    let reported = move |state: &State| {
        let node = state.node(&name);
        node.is_some_and(|node| node.machine_id.is_some() && node.machine_id != before)
    };
    stage.wait_for("another machine reports", reported, CYCLE).await?;
    say(format!("{} is another machine now", host.name()));
    // Its credential went with its disk.
    let none = |status: &Status| status.reason("not-enrolled").is_some();
    wait_status(host, "without a credential", none, SOON).await?;
    new_credential(stage, host).await
}

/// The slot stays until a person frees it, as the status says how.
async fn unproven(stage: &Stage, host: &Host, stays_cordoned: bool) -> Result<()> {
    let slot = slot_of(host);
    let line = format!("rebootctl free {slot}");
    let says = |status: &Status| status.phase == "unproven" && status.says("slot-of-other-machine", &[&line]);
    wait_status(host, "leaving the slot to a person", says, CYCLE).await?;
    host.run_ok(&["touch", SENTINEL]).await?;
    let (name, own) = (host.name().to_owned(), slot.clone());
    let changes = move |state: &State| {
        let cordoned = state.node(&name).is_some_and(|node| node.cordoned_by_us());
        cordoned != stays_cordoned || state.holder(&own) != Some(&name)
    };
    stage.never(&format!("{} gives back what another machine claimed", host.name()), changes, STAYS).await?;
    wait_status(host, "still leaving the slot to a person", says, SOON).await?;
    host.run_ok(&["rm", SENTINEL]).await?;
    stage.set_holder_of(&slot, "null").await?;
    wait_phase(host, "idle", CYCLE).await?;
    verdict::settled(stage, host).await?;
    let history = stage.observer.history();
    let ours = history.entries().iter().any(|entry| {
        matches!(&entry.object, Object::Node(node) if node.name == host.name() && node.cordoned_by_us())
    });
    ensure!(ours, "{} was never cordoned", host.name());
    Ok(())
}
