//! A webhook on the host is told of a turn; one that never answers holds up nothing.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::stage::{CONFIG, CYCLE, SOON, Stage, request_reboot};
use super::status::wait_phase;
use super::verdict;
use crate::host::Host;
use crate::progress::say;

const NOTIFY: &str = "[notify]\nwebhook_file = \"/etc/rebootd/webhook\"\nwebhook_events = \"turns\"\n";
const SECRET: &str = "a-secret-path";
const RECEIVED: &str = "/var/log/received";
/// Keeps the body of each request, and answers.
const RECEIVER: &str = "#!/bin/bash\nlength=0\nwhile read -r line && [ \"$line\" != $'\\r' ]; do\n\
    case \"${line,,}\" in content-length:*) length=${line##*: }; length=${length%$'\\r'} ;; esac\ndone\n\
    body=$(head -c \"$length\")\n[ ! -e /etc/hangs ] || sleep 1000\nprintf '%s\\n' \"$body\" >>/var/log/received\n\
    printf 'HTTP/1.1 200 OK\\r\\nContent-Length: 0\\r\\nConnection: close\\r\\n\\r\\n'\n";
const SOCKET: &str =
    "[Socket]\nListenStream=127.0.0.1:8080\nAccept=yes\n[Install]\nWantedBy=sockets.target\n";
const SERVICE: &str = "[Service]\nExecStart=/usr/local/bin/receiver\nStandardInput=socket\n";

pub(super) async fn run(stage: &Stage, host: &Host) -> Result<()> {
    host.write_file("/usr/local/bin/receiver", RECEIVER).await?;
    host.write_file("/etc/systemd/system/receiver.socket", SOCKET).await?;
    host.write_file("/etc/systemd/system/receiver@.service", SERVICE).await?;
    let start = "chmod 755 /usr/local/bin/receiver && systemctl enable --now --quiet receiver.socket";
    host.run_ok(&["sh", "-c", start]).await?;
    stage.install_alone(host, CONFIG).await?;
    wait_phase(host, "idle", SOON).await?;
    let address = format!("http://127.0.0.1:8080/{SECRET}");
    let tell = format!(
        "echo {address} >/etc/rebootd/webhook && chgrp rebootd /etc/rebootd/webhook && chmod 640 /etc/rebootd/webhook"
    );
    host.run_ok(&["sh", "-c", &tell]).await?;
    host.write_file("/etc/rebootd/config.d/notify.toml", NOTIFY).await?;
    host.run_ok(&["systemctl", "reload", "rebootd"]).await?;

    request_reboot(host).await?;
    host.wait_boot_number(2, CYCLE).await?;
    verdict::settled(stage, host).await?;
    let told = received(host, "RebootDone").await?;
    ensure!(told.iter().any(|it| it["event"] == "RebootSlotClaimed"), "nothing of the claim: {told:?}");
    for it in &told {
        ensure!(it["node"] == host.name() && it["pool"] == host.name() && it["warning"] == false, "{it}");
    }
    say(format!("the webhook was told {} times", told.len()));

    host.run_ok(&["touch", "/etc/hangs"]).await?;
    request_reboot(host).await?;
    host.wait_boot_number(3, CYCLE).await?;
    verdict::settled(stage, host).await?;
    say("a webhook that does not answer held up nothing");
    let journal = host.journal(Some("rebootd")).await?;
    ensure!(!journal.contains(SECRET), "the address is in the journal");
    Ok(())
}

/// What was received, once this has been.
async fn received(host: &Host, event: &str) -> Result<Vec<Value>> {
    let deadline = Instant::now() + SOON;
    loop {
        let bodies = host.run_ok(&["sh", "-c", &format!("cat {RECEIVED} 2>/dev/null || true")]).await?;
        let told = bodies.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>();
        let told = told.with_context(|| bodies.clone())?;
        if told.iter().any(|it| it["event"] == event) {
            return Ok(told);
        }
        ensure!(Instant::now() < deadline, "{event} did not come: {bodies}");
        sleep(Duration::from_millis(500)).await;
    }
}
