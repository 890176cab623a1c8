//! Windows and freezes on a real host: closed, frozen, open, and at their end in mid-drain.

use anyhow::{Result, ensure};
use jiff::Timestamp;

use super::stage::{CYCLE, SENTINEL, SOON, Stage, request_reboot};
use super::status::{Status, wait_status};
use super::undone::{drain, undone};
use super::verdict;
use crate::host::Host;
use crate::progress::say;

/// Nobody vouches for the clock of the lab's hosts.
const CLOCK: &str = "[gates]\nrequire_synchronized_clock = false\n";
/// What is configured besides windows and freezes.
const POLICY: &str = "settle = \"5s\"\nmin_interval = \"0\"\nwindow_left = \"0\"\n";

pub(super) async fn run(stage: &Stage) -> Result<()> {
    let host = stage.host(1);
    stage.install(host, &format!("{CLOCK}[policy]\n{POLICY}")).await?;
    request_reboot(host).await?;
    let unset = |status: &Status| status.says("no-window", &["window"]);
    wait_status(host, "without a window", unset, SOON).await?;

    let begun = Timestamp::now();
    let window = |start| format!("window = {{ start = \"{}\", length = \"3h\" }}\n", date(start));
    configure(host, &window(after(begun, 3600))).await?;
    let closed = |status: &Status| status.says("window-closed", &["opens in"]);
    wait_status(host, "before the window", closed, SOON).await?;
    urgent(stage, host).await?;
    wait_status(host, "before the window again", closed, SOON).await?;

    // Far enough away for a busy machine to see it.
    let thaws = after(Timestamp::now(), 20);
    let (from, to) = (date(begun), date(thaws));
    let freeze = format!("freeze = {{ from = \"{from}\", to = \"{to}\", why = \"holidays\" }}\n");
    configure(host, &format!("{}{freeze}", window(begun))).await?;
    let frozen = |status: &Status| status.says("frozen", &["holidays", "opens in"]);
    wait_status(host, "frozen in the window", frozen, SOON).await?;
    host.wait_boot_number(2, CYCLE).await?;
    ensure!(Timestamp::now() >= thaws, "it rebooted while reboots were frozen");
    verdict::settled(stage, host).await?;

    say("the window ends in mid-drain");
    stage.stuck_pods_on(host, 1).await?;
    let begun = Timestamp::now();
    let start = date(after(begun, -5));
    configure(host, &format!("window = {{ start = \"{start}\", length = \"1min 30s\" }}\n")).await?;
    drain(stage, host).await?;
    undone(stage, host, "the window has ended").await?;
    let gone = |status: &Status| status.says("window-closed", &["none comes"]);
    wait_status(host, "after the window", gone, SOON).await?;
    ensure!(Timestamp::now() >= after(begun, 60), "the drain was undone before the window's end");
    host.run_ok(&["rm", SENTINEL]).await?;
    verdict::booted(host, 2)?;

    say("the window yields to a request that is overdue");
    stage.lab.kubectl(&["delete", "deployment,pdb", "--all"]).await?;
    let closed = window(after(Timestamp::now(), 3600));
    configure(host, &format!("{closed}deadline = \"14d\"\ngive_up_after_deadline = [\"freeze\"]\n")).await?;
    host.run_ok(&["touch", "--date=20 days ago", SENTINEL]).await?;
    let overdue = |status: &Status| {
        status.says("window-closed", &["opens in"]) && status.says("request-overdue", &["20d", "freeze"])
    };
    wait_status(host, "overdue, and held by the window", overdue, SOON).await?;
    configure(host, &format!("{closed}give_up_after_deadline = [\"window\"]\n")).await?;
    host.wait_boot_number(3, CYCLE).await?;
    verdict::settled(stage, host).await?;

    say("expressions can be tried");
    let first_saturdays = ["rebootctl", "windows", "--calendar", "Sat *-*-1..7 02:00 UTC"];
    let base = ["--base-time", "2026-11-23T20:00:00Z", "--iterations", "2"];
    let starts = host.run_ok(&[&first_saturdays[..], &base].concat()).await?;
    ensure!(starts == "2026-12-05T02:00:00Z\n2027-01-02T02:00:00Z\n", "{starts}");
    Ok(())
}

/// A person declares something urgent, and ends it in mid-drain; meanwhile everybody sees what happens.
async fn urgent(stage: &Stage, host: &Host) -> Result<()> {
    let admin = stage.lab.control_plane.pki.client("person", "a-person", &["system:masters"])?;
    let kubeconfig = stage.lab.control_plane.kubeconfig(&stage.lab.server_for(host.name()), &admin)?;
    host.write_file("/etc/kubernetes/admin.conf", kubeconfig).await?;
    stage.stuck_pods_on(host, 1).await?;
    let declared = host
        .run_ok(&["rebootctl", "urgent", "CVE-2026-1", "--for", "2h", "--pool", "worker", "--yes"])
        .await?;
    ensure!(declared.contains("1 of 1 nodes ask for a reboot"), "{declared}");
    drain(stage, host).await?;
    let says = |status: &Status| status.says("urgent", &["CVE-2026-1 (root@node1)"]);
    wait_status(host, "urgent", says, SOON).await?;
    let node = stage.lab.kubectl(&["describe", "node", host.name()]).await?;
    let pods = stage.lab.kubectl(&["get", "events", "--all-namespaces"]).await?;
    say(format!("what people see:\n{node}\n{pods}"));
    for word in ["RebootRequired   True", "SentinelFile", "RebootSlotClaimed", "RebootCordoned"] {
        ensure!(node.contains(word), "kubectl describe node does not tell {word}");
    }
    ensure!(pods.contains("RebootEvictionRefused"), "no Event tells why the pod stays");
    let shown = host.run_ok(&["rebootctl", "urgent"]).await?;
    ensure!(shown.contains("CVE-2026-1 (root@node1) is urgent"), "{shown}");
    host.run_ok(&["rebootctl", "urgent", "--end"]).await?;
    undone(stage, host, "nothing is urgent any more").await?;
    let fleet = host.run_ok(&["rebootctl", "fleet"]).await?;
    say(format!("rebootctl fleet:\n{fleet}"));
    stage.lab.kubectl(&["delete", "deployment,pdb", "--all"]).await?;
    Ok(())
}

async fn configure(host: &Host, windows: &str) -> Result<()> {
    host.write_file("/etc/rebootd/config.toml", format!("{CLOCK}[policy]\n{POLICY}{windows}")).await?;
    let shown = host.run_ok(&["rebootctl", "windows"]).await?;
    say(format!("what people see:\n{shown}"));
    host.run_ok(&["systemctl", "reload", "rebootd"]).await?;
    Ok(())
}

/// In whole seconds, as [`date`] writes it.
fn after(instant: Timestamp, seconds: i64) -> Timestamp {
    Timestamp::from_second(instant.as_second() + seconds).unwrap_or(instant)
}

/// A date and time for systemd.
fn date(instant: Timestamp) -> String {
    instant.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}
