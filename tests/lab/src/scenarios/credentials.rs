//! Wrong credentials, missing rights, no server: named in the status, survived, and recovered from without a
//! restart. One host waits for a slot that a person holds, so that it has something to read all the time.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::stage::{CONFIG, CYCLE, SOON, Stage, request_reboot, unit};
use super::status::{Status, wait_status};
use super::verdict;
use crate::host::Host;
use crate::pki::Pki;
use crate::progress::say;
use crate::rebootd;

const TOKEN: &str = "/etc/rebootd/token";
const WRONG_TOKEN: &str = "this-is-not-the-token-you-are-looking-for";
/// The longest pause between two tries is a minute.
const RECOVERY: Duration = Duration::from_secs(130);

pub(super) async fn run(stage: &Stage) -> Result<()> {
    let host = stage.host(1);
    stage.install(host, CONFIG).await?;
    let server = stage.lab.server_for(host.name());
    rebootd::write_kubeconfig(&stage.lab.control_plane, host, &server).await?;
    host.run_ok(&["systemctl", "restart", "rebootd"]).await?;
    stage.set_holder("\"a-person\"").await?;
    request_reboot(host).await?;
    recovers(host).await?;
    let pid = unit(host, "MainPID").await?;
    let token = host.read_file(TOKEN).await?;

    say("a wrong token, then the right one again");
    host.write_file(TOKEN, WRONG_TOKEN).await?;
    read_again(stage, host);
    complains(host, "about the token", &["401", "credential"]).await?;
    host.write_file(TOKEN, &token).await?;
    recovers(host).await?;

    say("a server with another authority's certificate");
    let proxy = stage.lab.proxy(host.name());
    let stranger = Pki::new(&stage.lab.directory().join("stranger"))?.server("stranger")?;
    proxy.set_certificate(&stranger.read()?)?;
    read_again(stage, host);
    complains(host, "about the certificate", &["certificate"]).await?;
    proxy.set_certificate(&stage.lab.control_plane.pki.server("proxy-again")?.read()?)?;
    recovers(host).await?;

    say("no rights on Nodes");
    stage.lab.kubectl(&["delete", "clusterrolebinding", "rebootd"]).await?;
    read_again(stage, host);
    complains(host, "about missing rights", &["403", "forbidden", "nodes"]).await?;
    let manifests = host.root().join("usr/share/rebootd/manifests/rebootd.yaml");
    stage.lab.kubectl(&["apply", "-f", &manifests.to_string_lossy()]).await?;
    recovers(host).await?;
    ensure!(unit(host, "MainPID").await? == pid, "the daemon was started again in between");

    say("no API server when the daemon starts");
    // As a machine whose API server is down: it refuses connections.
    proxy.set_refuse(true);
    stage.lab.control_plane.stop_api_server().await?;
    host.run_ok(&["systemctl", "restart", "rebootd"]).await?;
    let restarted = unit(host, "MainPID").await?;
    ensure!(restarted != pid, "the daemon was not restarted");
    complains(host, "about the API server", &[]).await?;
    ensure!(unit(host, "ActiveState").await? == "active", "the service is not active");
    stage.lab.control_plane.start_api_server().await?;
    proxy.set_refuse(false);
    recovers(host).await?;
    ensure!(unit(host, "MainPID").await? == restarted, "the daemon was started again in between");
    ensure!(unit(host, "NRestarts").await? == "0", "the daemon crashed");

    stage.set_holder("null").await?;
    host.wait_boot_number(2, CYCLE).await?;
    verdict::settled(stage, host).await?;
    verdict::booted(host, 2)?;
    no_secrets(host, &token).await
}

/// Ends what the daemon reads, so that it has to ask again.
fn read_again(stage: &Stage, host: &Host) {
    stage.lab.proxy(host.name()).kill_connections();
}

async fn complains(host: &Host, what: &str, words: &[&str]) -> Result<()> {
    let complains = |status: &Status| status.says("api-failing", words);
    wait_status(host, &format!("complaining {what}"), complains, SOON).await?;
    let line = unit(host, "StatusText").await?;
    ensure!(words.iter().all(|word| line.contains(word)), "systemctl status only says: {line}");
    Ok(())
}

/// Back to waiting for the slot, and for nothing else.
async fn recovers(host: &Host) -> Result<()> {
    let waits = |status: &Status| status.reasons.len() == 1 && status.says("no-free-slot", &["a-person"]);
    wait_status(host, "waiting for the slot only", waits, RECOVERY).await?;
    Ok(())
}

/// Neither token, nor the part of the right one that proves it, in anything that the host wrote or that others see of the
/// daemon; and nobody else may read the files in which it may be.
async fn no_secrets(host: &Host, token: &str) -> Result<()> {
    let process = format!("/proc/{}", unit(host, "MainPID").await?);
    let seen =
        format!("cat {process}/cmdline {process}/environ /run/rebootd/status.json; systemctl show rebootd");
    let seen = host.journal(None).await? + &host.run_ok(&["sh", "-c", &seen]).await?;
    let signature = token.trim().rsplit('.').next().unwrap_or(token);
    for secret in [WRONG_TOKEN, token.trim(), signature] {
        ensure!(
            !seen.contains(secret),
            "{}: a token is in the journal, the status or the process",
            host.name()
        );
    }
    let limits = host.run_ok(&["grep", "core file", &format!("{process}/limits")]).await?;
    ensure!(limits.split_whitespace().nth(4) == Some("0"), "the daemon may dump its core: {limits}");
    let open = host.run_ok(&["find", "/var/lib/rebootd", "-type", "f", "-perm", "/077"]).await?;
    ensure!(open.is_empty(), "others may read {open}");
    say("no token is in the journal, the status or the process");
    Ok(())
}
