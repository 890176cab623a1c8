//! `lab check`: does the lab itself do what tests will ask of it?

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::time::{Instant, sleep};

use crate::host::Host;
use crate::kubelet::Kind;
use crate::lab::{Lab, LabConfig};
use crate::machine::Ending;
use crate::network::Cut;
use crate::progress::say;
use crate::workload::{self, Deployment};

const LIMIT: Duration = Duration::from_secs(90);

/// Three hollow hosts, of which the third has a small root, and a real one.
pub fn lab() -> LabConfig {
    let mut config = LabConfig::with_hosts(4);
    config.hosts[2].root_size = Some("128M".to_owned());
    config.hosts[3].kind = Kind::Real;
    config
}

/// Goes through everything once.
pub async fn run(lab: &Lab, deb: Option<&Path>) -> Result<()> {
    let [first, second, third, real] = &lab.hosts[..] else { anyhow::bail!("the check needs four hosts") };
    pods(lab).await?;
    reboot(lab, first).await?;
    reboot(lab, second).await?;
    power(lab, second).await?;
    network(first).await?;
    network(second).await?;
    disk(third).await?;
    containers(lab, real).await?;
    api_server(lab).await?;
    if let Some(deb) = deb {
        for host in [first, second] {
            lab.install_rebootd(host, deb, "").await?;
            let file = deb.file_name().unwrap_or_default().to_string_lossy();
            say(format!("{}: {file} is installed, rebootd is {}", host.name(), rebootd_state(host).await?));
        }
    }
    Ok(())
}

async fn pods(lab: &Lab) -> Result<()> {
    let deployment = Deployment { min_available: Some(5), ..Deployment::new("web", 6) };
    deployment.create(&lab.control_plane).await?;
    workload::create_daemon_set(&lab.control_plane, "agent").await?;
    workload::create_bare_pod(&lab.control_plane, "lonely", lab.hosts[0].name()).await?;
    workload::wait_running(&lab.control_plane, "web", 6, LIMIT).await?;
    workload::wait_running(&lab.control_plane, "agent", lab.hosts.len(), LIMIT).await?;
    workload::wait_running(&lab.control_plane, "lonely", 1, LIMIT).await?;
    say(format!("pods run: {:?}", workload::pods_by_node(&lab.control_plane, "web").await?));
    Ok(())
}

async fn reboot(lab: &Lab, host: &Host) -> Result<()> {
    let before = host.boots().len();
    host.run(&["systemctl", "reboot"]).await?;
    host.wait_boot_number(before + 1, LIMIT).await?;
    say(format!("{} has gone down for a reboot", host.name()));
    host.wait_booted(LIMIT).await?;
    say(format!("{} has booted", host.name()));
    lab.wait_node_ready(host.name(), LIMIT).await?;
    let boots = host.boots();
    ensure!(boots[before - 1].ended.is_some_and(|(_, how)| how == Ending::Rebooted), "{boots:?}");
    ensure!(boots[before - 1].id != boots[before].id, "the same boot id twice: {boots:?}");
    let inside = host.read_file("/proc/sys/kernel/random/boot_id").await?.trim().to_owned();
    ensure!(boots[before].id.as_deref() == Some(&inside), "{boots:?}, but the host says {inside}");
    let deadline = Instant::now() + LIMIT;
    // The kubelet reports late, as real ones do.
    while lab.kubectl(&["get", "node", host.name(), "-ojsonpath={.status.nodeInfo.bootID}"]).await? != inside
    {
        ensure!(Instant::now() < deadline, "the Node does not say that {} is in boot {inside}", host.name());
        sleep(Duration::from_millis(200)).await;
    }
    let journal = host.run_ok(&["journalctl", "--list-boots", "--no-pager"]).await?;
    ensure!(
        journal.lines().filter(|line| line.contains(' ')).count() > before,
        "the journal forgot a boot:\n{journal}"
    );
    Ok(())
}

async fn power(lab: &Lab, host: &Host) -> Result<()> {
    let before = host.boots().len();
    host.power_off_abruptly().await?;
    ensure!(
        host.boots().last().is_some_and(|boot| boot.ended.is_some_and(|(_, how)| how == Ending::PowerLost))
    );
    ensure!(!host.is_on() && host.run(&["true"]).await.is_err(), "{} is still there", host.name());
    host.boot_after(Duration::from_secs(1));
    host.wait_boot_number(before + 1, LIMIT).await?;
    host.boot_after(Duration::ZERO);
    host.wait_booted(LIMIT).await?;
    host.stay_down(true);
    host.run(&["systemctl", "reboot"]).await?;
    host.wait_off(LIMIT).await?;
    sleep(Duration::from_secs(1)).await;
    ensure!(!host.is_on(), "{} came back", host.name());
    host.boot();
    host.wait_boot_number(before + 2, LIMIT).await?;
    host.wait_booted(LIMIT).await?;
    host.run(&["systemctl", "poweroff"]).await?;
    host.wait_off(LIMIT).await?;
    host.boot();
    host.wait_boot_number(before + 3, LIMIT).await?;
    host.wait_booted(LIMIT).await?;
    lab.wait_node_ready(host.name(), LIMIT).await?;
    say(format!("{} was powered off in three ways and is back", host.name()));
    Ok(())
}

async fn network(host: &Host) -> Result<()> {
    let url = format!("{}/readyz", crate::control_plane::server());
    let ask = ["curl", "--insecure", "--silent", "--show-error", "--max-time", "2", &url];
    let ask = || async { anyhow::Ok(host.run(&ask).await?.status.code()) };
    ensure!(ask().await? == Some(0), "{} does not reach the API server", host.name());
    host.cut_network(Cut::Silent).await?;
    let silent = ask().await?;
    ensure!(silent == Some(28), "cut off silently, curl ended with {silent:?}, not its time-out");
    host.cut_network(Cut::Refuse).await?;
    let refused = ask().await?;
    ensure!(
        refused == Some(7),
        "cut off with a reset, curl ended with {refused:?}, not 'connection refused'"
    );
    host.restore_network().await?;
    ensure!(ask().await? == Some(0), "{} is not back on the network", host.name());
    say(format!("{} was cut off in two ways and is back", host.name()));
    Ok(())
}

async fn disk(host: &Host) -> Result<()> {
    host.fill_disk().await?;
    let full = host.write_file("/var/tmp/one-more", vec![0; 4096]).await;
    ensure!(full.is_err(), "the disk of {} is not full", host.name());
    host.free_disk().await?;
    host.write_file("/var/tmp/one-more", "fits").await?;
    say(format!("the disk of {} was full and is not any more", host.name()));
    Ok(())
}

async fn containers(lab: &Lab, host: &Host) -> Result<()> {
    workload::create_bare_pod(&lab.control_plane, "real", host.name()).await?;
    workload::wait_running(&lab.control_plane, "real", 1, LIMIT).await?;
    let logs = lab.kubectl(&["logs", "real"]).await?;
    ensure!(logs.trim().ends_with(" real START"), "its container says {logs:?}");
    let processes = lab.kubectl(&["exec", "real", "--", "ps"]).await?;
    ensure!(processes.contains("/bin/sh /app"), "in its container run {processes}");
    let inhibitors = host.run_ok(&["systemd-inhibit", "--list", "--no-pager"]).await?;
    ensure!(inhibitors.contains("kubelet"), "the kubelet does not hold up a shutdown:\n{inhibitors}");
    say(format!("{} runs containers", host.name()));
    reboot(lab, host).await
}

async fn api_server(lab: &Lab) -> Result<()> {
    let before = lab.kubectl(&["get", "nodes", "-oname"]).await?;
    lab.control_plane.stop_api_server().await?;
    ensure!(lab.kubectl(&["get", "--raw", "/readyz"]).await.is_err(), "the API server still answers");
    lab.control_plane.start_api_server().await?;
    ensure!(before == lab.kubectl(&["get", "nodes", "-oname"]).await?);
    say("the API server was stopped and is back with its data");
    let audit = std::fs::read_to_string(lab.control_plane.audit_log())?;
    ensure!(
        audit.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()),
        "audit log is no JSON"
    );
    ensure!(
        audit.contains("\"ResponseComplete\"") && audit.contains("\"ResponseStarted\""),
        "stages are missing"
    );
    Ok(())
}

async fn rebootd_state(host: &Host) -> Result<String> {
    let output = host.run(&["systemctl", "is-active", "rebootd"]).await?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
