//! What an administrator may configure besides the ordinary: a client certificate, a mode that only looks, and
//! the name of a Node that there is not.

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use serde_json::Value;

use super::stage::{CONFIG, CYCLE, SOON, Stage, request_reboot, unit};
use super::status::{Status, wait_status};
use super::verdict;
use crate::audit::{self, Filter};
use crate::host::Host;
use crate::pki::Identity;
use crate::progress::say;

const FILE: &str = "/etc/rebootd/config.toml";
const CERTIFICATE: &str = "/etc/rebootd/client.pem";
const KEY: &str = "/etc/rebootd/client-key.pem";
const USER: &str = "reboots-node1";
const STRANGER: &str = "nobody-in-particular";

/// A client certificate in files, which are replaced while the daemon runs.
pub(super) async fn client_certificate(stage: &Stage) -> Result<()> {
    let host = stage.host(1);
    stage.install(host, CONFIG).await?;
    let right = by_certificate(stage, host).await?;
    let wrong = stage.lab.control_plane.pki.client(STRANGER, STRANGER, &[])?;
    host.run_ok(&["systemctl", "restart", "rebootd"]).await?;
    stage.set_holder("\"a-person\"").await?;
    request_reboot(host).await?;
    let waits = |status: &Status| status.reasons.len() == 1 && status.says("no-free-slot", &["a-person"]);
    wait_status(host, "waiting for the slot only", waits, SOON).await?;
    let pid = unit(host, "MainPID").await?;

    say("the certificate of a user without rights, then the right one again");
    replace(host, &wrong).await?;
    // What the daemon reads ends, so that it has to ask again.
    stage.lab.proxy(host.name()).kill_connections();
    let refused = |status: &Status| status.says("api-failing", &["403", "forbidden", STRANGER]);
    wait_status(host, "complaining about missing rights", refused, SOON).await?;
    replace(host, &right).await?;
    // The longest pause between two tries is a minute.
    wait_status(host, "waiting for the slot only", waits, CYCLE).await?;
    ensure!(unit(host, "MainPID").await? == pid, "the daemon was started again in between");

    stage.set_holder("null").await?;
    host.wait_boot_number(2, CYCLE).await?;
    verdict::settled(stage, host).await?;
    verdict::booted(host, 2)?;
    let mine = Filter::new().user(USER).verb("patch");
    let written = audit::count(&stage.lab.control_plane.audit_log(), &mine)?;
    say(format!("written by {USER}: {written:?}"));
    let resources: Vec<&str> = written.keys().map(|(_, resource)| resource.as_str()).collect();
    // Its heartbeat comes with the condition, for which this user has no right.
    let expected = ["leases", "nodes", "nodes/status"];
    ensure!(resources == expected, "slot and Node were to be written by {USER}: {written:?}");
    verdict::cordoned(&stage.observer.history(), host.name(), 1)
}

/// Gives a host a client certificate, which says nothing of a Node, and its user the rights of an agent.
async fn by_certificate(stage: &Stage, host: &Host) -> Result<Identity> {
    let pki = &stage.lab.control_plane.pki;
    let right = pki.client(USER, USER, &[])?;
    let bindings = [
        ("rolebinding", "--role=rebootd", "--namespace=rebootd"),
        ("rolebinding", "--role=rebootd-kubelet-lease", "--namespace=kube-node-lease"),
        ("clusterrolebinding", "--clusterrole=rebootd", "--namespace=default"),
    ];
    for (kind, role, namespace) in bindings {
        let user = format!("--user={USER}");
        stage.lab.kubectl(&["create", kind, "by-certificate", role, &user, namespace]).await?;
    }
    replace(host, &right).await?;
    host.write_file("/etc/rebootd/ca.pem", tokio::fs::read(pki.ca()).await?).await?;
    host.write_file("/etc/rebootd/kubeconfig", kubeconfig(&stage.lab.server_for(host.name()))).await?;
    Ok(right)
}

/// Puts a certificate and its key where the kubeconfig says that they are.
async fn replace(host: &Host, identity: &Identity) -> Result<()> {
    let pair = identity.read()?;
    host.write_file(KEY, pair.key_pem).await?;
    host.write_file(CERTIFICATE, pair.certificate_pem).await?;
    let secret = format!("chown root:rebootd {KEY} {CERTIFICATE} && chmod 0640 {KEY} {CERTIFICATE}");
    host.run_ok(&["sh", "-c", &secret]).await?;
    Ok(())
}

fn kubeconfig(server: &str) -> String {
    format!(
        "apiVersion: v1
kind: Config
current-context: default
clusters:
- name: cluster
  cluster:
    server: {server}
    certificate-authority: ca.pem
users:
- name: rebootd
  user:
    client-certificate: {CERTIFICATE}
    client-key: {KEY}
contexts:
- name: default
  context:
    cluster: cluster
    user: rebootd
"
    )
}

/// A host that only says what it would do, until it is told to do it.
pub(super) async fn observe_mode(stage: &Stage) -> Result<()> {
    let host = stage.host(1);
    stage.install(host, &format!("mode = \"observe\"\n{CONFIG}")).await?;
    let enrolled = Timestamp::now();
    request_reboot(host).await?;
    let would_claim = |status: &Status| status.says("observing", &["would now claim slot worker-1"]);
    wait_status(host, "saying that it would claim the slot", would_claim, SOON).await?;
    say(format!("{}: the sentinel was noticed after {:.0} ms", host.name(), noticed_after(host).await?));
    let pid = unit(host, "MainPID").await?;
    nothing_written(stage, host, enrolled)?;

    say("the mode becomes active");
    host.write_file(FILE, CONFIG).await?;
    host.run_ok(&["systemctl", "reload", "rebootd"]).await?;
    ensure!(unit(host, "MainPID").await? == pid, "a reload started another daemon");
    host.wait_boot_number(2, CYCLE).await?;
    verdict::settled(stage, host).await?;
    verdict::booted(host, 2)?;
    verdict::cordoned(&stage.observer.history(), host.name(), 1)
}

/// Milliseconds from the sentinel's creation to the first line of the journal that knows of it.
async fn noticed_after(host: &Host) -> Result<f64> {
    let created: f64 =
        host.run_ok(&["stat", "--format=%.6Y", "/run/reboot-required"]).await?.trim().parse()?;
    let fields = ["--output=json", "--output-fields=__REALTIME_TIMESTAMP"];
    let unit = ["journalctl", "--unit=rebootd", "PHASE=waiting", "--quiet"];
    let lines = host.run_ok(&[&unit[..], &fields[..]].concat()).await?;
    let first: Value = serde_json::from_str(lines.lines().next().context("the journal has no such line")?)?;
    let told: f64 = first["__REALTIME_TIMESTAMP"].as_str().context("a line without a time")?.parse()?;
    Ok(told / 1e3 - created * 1e3)
}

/// A service sees what is mounted over its directories from its start on.
const FULL: &str = "mount -t tmpfs -o size=8k,mode=0700,uid=$(id -u rebootd) full /var/lib/rebootd && \
    { dd if=/dev/zero of=/var/lib/rebootd/fill bs=4k count=2 status=none; systemctl restart rebootd; }";
const READ_ONLY: &str = "umount /var/lib/rebootd && mount --bind /var/lib/rebootd /var/lib/rebootd && \
    mount -o remount,bind,ro /var/lib/rebootd && systemctl restart rebootd";

/// The configuration, and then the host itself, names a Node that the cluster does not have; and nothing begins where the
/// reboot could not be remembered.
pub(super) async fn node_missing(stage: &Stage) -> Result<()> {
    let host = stage.host(1);
    stage.install(host, &format!("{CONFIG}[node]\nname = \"nope\"\n")).await?;
    by_certificate(stage, host).await?;
    let since = Timestamp::now();
    host.run_ok(&["systemctl", "restart", "rebootd"]).await?;
    request_reboot(host).await?;
    let names_it = |status: &Status| {
        status.phase == "waiting" && status.says("node-missing", &["no Node \"nope\"", "`name` in [node]"])
    };
    wait_status(host, "saying that there is no such Node", names_it, SOON).await?;
    let line = unit(host, "StatusText").await?;
    ensure!(line.contains("no Node \"nope\""), "systemctl status only says: {line}");
    nothing_written(stage, host, since)?;

    say(
        "no name is configured, and the host's own comes late; the disk for the record is full, and then read-only",
    );
    host.run_ok(&["hostname", "localhost"]).await?;
    host.write_file(FILE, CONFIG.replace("min_interval = \"0\"", "min_interval = \"1s\"")).await?;
    host.run_ok(&["systemctl", "reload", "rebootd"]).await?;
    let names_it = |status: &Status| status.says("node-missing", &["no Node \"localhost\""]);
    wait_status(host, "saying that there is no such Node", names_it, SOON).await?;
    host.run_ok(&["sh", "-c", FULL]).await?;
    host.run_ok(&["hostname", host.name()]).await?;
    let full = |status: &Status| status.says("record-not-kept", &["No space left"]);
    wait_status(host, "waiting for the disk under its right name", full, SOON).await?;
    nothing_begun(stage, host)?;
    host.run_ok(&["sh", "-c", READ_ONLY]).await?;
    let read_only = |status: &Status| status.says("record-not-kept", &["Read-only"]);
    wait_status(host, "waiting for the disk", read_only, SOON).await?;
    nothing_begun(stage, host)?;

    host.run_ok(&["sh", "-c", "umount /var/lib/rebootd && systemctl restart rebootd"]).await?;
    host.wait_boot_number(2, CYCLE).await?;
    verdict::settled(stage, host).await?;
    verdict::booted(host, 2)
}

/// Since then, when it had its credential, rebootd has read from the API server, and done nothing else there.
fn nothing_written(stage: &Stage, host: &Host, since: Timestamp) -> Result<()> {
    let log = stage.lab.control_plane.audit_log();
    let all = audit::count(&log, &Filter::new().user_agent("rebootd/").between(since, Timestamp::MAX))?;
    let reads = |verb: &str| ["get", "list", "watch"].contains(&verb);
    ensure!(!all.is_empty(), "the audit log names no request of rebootd");
    ensure!(all.keys().all(|(verb, _)| reads(verb)), "rebootd wrote: {all:?}");
    nothing_begun(stage, host)?;
    say(format!("{}: nothing was written", host.name()));
    Ok(())
}

/// No slot and no cordon: at most the Node's label was written.
fn nothing_begun(stage: &Stage, host: &Host) -> Result<()> {
    verdict::holds_nothing(stage, host.name())?;
    let node = stage.node(host.name())?;
    ensure!(!node.unschedulable && !node.cordon_mark, "{} is cordoned", host.name());
    ensure!(stage.holder().is_none(), "the slot is held");
    verdict::cordoned(&stage.observer.history(), host.name(), 0)?;
    verdict::booted(host, 1)
}
