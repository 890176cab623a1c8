//! The metrics, as a real node_exporter and a real promtool read them.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::process::Command;
use tokio::time::{Instant, sleep};

use super::stage::{CONFIG, CYCLE, SOON, Stage, request_reboot};
use super::status::wait_phase;
use super::verdict;
use crate::command;
use crate::host::Host;
use crate::prometheus::{self, EXPORTER_PORT, TEXTFILES};

const LINK: &str = "/var/lib/prometheus/node-exporter/rebootd.prom";
const RULES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../alerts.test.yaml");

pub(super) async fn run(stage: &Stage) -> Result<()> {
    let promtool = prometheus::fetch().await?.with_file_name("promtool");
    let told = command::run(path(&promtool)?, &["test", "rules", RULES]).await?;
    ensure!(told.contains("SUCCESS"), "{told}");

    let host = stage.host(1);
    host.run_ok(&["mkdir", "-p", TEXTFILES]).await?;
    stage.install_alone(host, CONFIG).await?;
    wait_phase(host, "idle", SOON).await?;
    prometheus::export(host).await?;
    wait_page(
        host,
        EXPORTER_PORT,
        &["rebootd_phase{phase=\"idle\"} 1", "rebootd_turns_total{outcome=\"well\"} 0"],
    )
    .await?;
    let page = page(host, EXPORTER_PORT).await?;
    ensure!(page.contains("node_textfile_scrape_error 0"), "node_exporter finds a mistake:\n{page}");
    ensure!(
        page.contains(&format!("node_textfile_mtime_seconds{{file=\"{LINK}\"}}")),
        "no time of {LINK}:\n{page}"
    );
    check(&promtool, &page).await?;
    let rebootd = host.read_file("/run/rebootd-metrics/rebootd.prom").await?;

    // Without node_exporter, systemd listens.
    host.run_ok(&["systemctl", "start", "rebootd-metrics.socket"]).await?;
    let served = self::page(host, 9973).await?;
    let (head, body) = served.split_once("\r\n\r\n").context("no head")?;
    ensure!(head.starts_with("HTTP/1.1 200 OK\r\n") && body == rebootd, "served is {served}");

    request_reboot(host).await?;
    host.wait_boot_number(2, CYCLE).await?;
    verdict::settled(stage, host).await?;
    let counted = [
        "rebootd_turns_total{outcome=\"well\"} 1",
        "rebootd_boot_proven_timestamp_seconds ",
        "rebootd_live 1",
    ];
    wait_page(host, EXPORTER_PORT, &counted).await?;

    // What a daemon that ends has written stays, so that its age tells; it counts on from there.
    host.run_ok(&["systemctl", "stop", "rebootd"]).await?;
    wait_page(host, EXPORTER_PORT, &counted).await?;
    host.run_ok(&["systemctl", "start", "rebootd"]).await?;
    wait_page(host, EXPORTER_PORT, &counted).await?;
    host.run_ok(&["env", "DEBIAN_FRONTEND=noninteractive", "dpkg", "--purge", "rebootd"]).await?;
    host.run_ok(&["sh", "-c", &format!("test ! -L {LINK} && test ! -e /run/rebootd-metrics")]).await?;
    Ok(())
}

async fn page(host: &Host, port: u16) -> Result<String> {
    let ask = format!(
        "exec 3<>/dev/tcp/127.0.0.1/{port} && printf 'GET /metrics HTTP/1.0\\r\\nHost: a\\r\\n\\r\\n' >&3 && cat <&3"
    );
    host.run_ok(&["bash", "-c", &ask]).await
}

async fn wait_page(host: &Host, port: u16, lines: &[&str]) -> Result<()> {
    let deadline = Instant::now() + SOON;
    loop {
        let page = page(host, port).await.unwrap_or_default();
        match lines.iter().find(|line| !page.contains(**line)) {
            None => return Ok(()),
            Some(line) => ensure!(Instant::now() < deadline, "{line:?} is not in\n{page}"),
        }
        sleep(Duration::from_millis(500)).await;
    }
}

/// What promtool says of our own lines, which are what node_exporter has made of them.
async fn check(promtool: &Path, page: &str) -> Result<()> {
    let ours: Vec<&str> = page.lines().filter(|line| line.contains("rebootd_")).collect();
    let file = std::env::temp_dir().join("rebootd.prom");
    fs::write(&file, ours.join("\n") + "\n")?;
    let output =
        Command::new(promtool).args(["check", "metrics"]).stdin(fs::File::open(&file)?).output().await?;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success() && told.is_empty(), "promtool check metrics: {told}");
    Ok(())
}

fn path(path: &Path) -> Result<&str> {
    path.to_str().context("a path that is no text")
}
