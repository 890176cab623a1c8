//! The package on a host without a cluster, with a wrong configuration, looked at by `rebootctl check`, and its removal while nothing is under way.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tokio::time::sleep;

use super::check;
use super::stage::{CONFIG, SOON, Stage, is_absent, run_anyway, unit};
use super::status::{Status, wait_phase, wait_status};
use super::verdict;
use crate::host::Host;
use crate::progress::say;
use crate::rebootd;

const FILE: &str = "/etc/rebootd/config.toml";
/// EX_CONFIG of sysexits.h.
const BAD_CONFIGURATION: &str = "78";
/// Longer than systemd waits before it would start the service again.
const NO_RESTART: Duration = Duration::from_secs(15);
/// Bytes that each program may take. The daemon's are in the memory of every node.
const BUDGETS: [(&str, u64); 2] = [("rebootd", 6_600_000), ("rebootctl", 6_250_000)];

pub(super) async fn run(stage: &Stage) -> Result<()> {
    let [host, configured] = [1, 2].map(|number| stage.host(number));
    rebootd::install_package(host, &stage.package).await?;
    programs(host).await?;
    without_credential(host).await?;
    check::without_credential(host).await?;
    bad_configuration(host).await?;
    removed(host).await?;

    stage.install(configured, CONFIG).await?;
    wait_phase(configured, "idle", SOON).await?;
    check::run(stage, configured).await?;
    removed(configured).await?;
    verdict::holds_nothing(stage, configured.name())
}

/// The programs are small; the one for people is a package of its own, which needs nothing else.
async fn programs(host: &Host) -> Result<()> {
    for (name, budget) in BUDGETS {
        let program = format!("/usr/bin/{name}");
        let owner = host.run_ok(&["dpkg", "-S", &program]).await?;
        ensure!(owner.trim() == format!("{name}: {program}"), "it is of {owner}");
        let bytes: u64 = host.run_ok(&["stat", "--format=%s", &program]).await?.trim().parse()?;
        say(format!("{name} takes {:.2} MB", bytes as f64 / 1e6));
        ensure!(
            (1..=budget).contains(&bytes),
            "{name} takes {bytes} bytes, not 1 to {budget}. What made it grow (cargo bloat --release --bin {name} \
             --crates)? Is there a smaller way? If it is worth it, raise the budget in this file"
        );
    }
    let needs = host.run_ok(&["dpkg-query", "-W", "-f", "${Depends}", "rebootctl"]).await?;
    let needs: Vec<&str> = needs.split(", ").filter_map(|it| it.split(' ').next()).collect();
    say(format!("rebootctl needs {needs:?}"));
    ensure!(needs.iter().all(|it| ["libc6", "libgcc-s1"].contains(it)), "rebootctl needs {needs:?}");
    for name in ["rebootd", "rebootctl"] {
        let version = host.run_ok(&[name, "--version"]).await?;
        ensure!(version.starts_with(&format!("{name} ")), "{name} --version says: {version}");
    }
    let bill = "test -s /usr/share/doc/rebootd/rebootd.cdx.json && dpkg -L rebootctl | grep -qx /usr/share/doc/rebootctl/rebootd.cdx.json";
    host.run_ok(&["sh", "-c", bill]).await?;
    Ok(())
}

async fn without_credential(host: &Host) -> Result<()> {
    let says_so = |status: &Status| status.says("not-enrolled", &["DaemonSet", "rebootctl enroll"]);
    wait_status(host, "without a credential", says_so, SOON).await?;
    ensure!(unit(host, "ActiveState").await? == "active", "the service is not active");
    let line = unit(host, "StatusText").await?;
    ensure!(line.contains("no credential yet"), "systemctl status says: {line}");
    Ok(())
}

async fn bad_configuration(host: &Host) -> Result<()> {
    let good = host.read_file(FILE).await?;
    host.write_file(FILE, "[policy]\nwindows = \"always\"\n").await?;
    // It ends at once, or systemd sees it start and end: both are a refusal.
    host.run(&["systemctl", "restart", "rebootd"]).await?;
    let deadline = Instant::now() + SOON;
    while unit(host, "ActiveState").await? != "failed" {
        ensure!(Instant::now() < deadline, "a wrong configuration does not end the service");
        sleep(Duration::from_millis(200)).await;
    }
    sleep(NO_RESTART).await;
    ensure!(unit(host, "ActiveState").await? == "failed", "the service was started again");
    let code = unit(host, "ExecMainStatus").await?;
    ensure!(code == BAD_CONFIGURATION, "the service ended with {code}");
    let journal = host.journal(Some("rebootd")).await?;
    let complaint = journal.lines().find(|line| line.contains("config.toml:2:") && line.contains("windows"));
    let complaint = complaint.unwrap_or_default();
    ensure!(complaint.contains("\"window\"") || complaint.contains("`window`"), "journal:\n{journal}");
    say(format!("{}: {complaint}", host.name()));
    host.write_file(FILE, good).await?;
    host.run_ok(&["systemctl", "restart", "rebootd"]).await?;
    without_credential(host).await
}

/// Nothing is under way: the package goes at once, and its service with it.
async fn removed(host: &Host) -> Result<()> {
    let began = Instant::now();
    let (code, text) = run_anyway(host, &["apt-get", "remove", "-y", "rebootd"]).await?;
    let took = began.elapsed().as_secs_f64();
    ensure!(code == Some(0), "apt-get remove ended with {code:?}:\n{text}");
    ensure!(took < 20.0, "the removal took {took:.1} s:\n{text}");
    ensure!(!text.contains("kubectl"), "nothing was under way, and yet:\n{text}");
    ensure!(is_absent(host, "/usr/bin/rebootd").await?, "the program is still there");
    host.run_ok(&["rebootctl", "--version"]).await?;
    let state = run_anyway(host, &["systemctl", "is-active", "rebootd"]).await?.1;
    ensure!(state.trim() != "active", "the service still runs");
    say(format!("{}: removed in {took:.1} s", host.name()));
    Ok(())
}
