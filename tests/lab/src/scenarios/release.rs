//! `rebootctl release` and `free`, as a person runs them on another host, with a kubeconfig of their own.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tokio::time::{Instant, sleep};
use tokio::try_join;

use super::stage::{CONFIG, SENTINEL, SLOT, SOON, Stage, request_reboot, run_anyway};
use super::status::{Status, wait_status};
use super::verdict;
use crate::host::Host;
use crate::progress::say;

const KUBECONFIG: &str = "/root/.kube/config";

pub(super) async fn run(stage: &Stage) -> Result<()> {
    let [first, second, third] = [1, 2, 3].map(|number| stage.host(number));
    stage.install_everywhere(CONFIG).await?;
    let admin = stage.lab.control_plane.pki.client("person", "a-person", &["system:masters"])?;
    for host in [first, second] {
        let kubeconfig = stage.lab.control_plane.kubeconfig(&stage.lab.server_for(host.name()), &admin)?;
        host.write_file(KUBECONFIG, kubeconfig).await?;
    }
    release(second, &["node1"], 0, &["node1 holds no slot"]).await?;
    release(second, &["node9"], 1, &["there is no Node node9"]).await?;
    free(second, &[SLOT], 0, &["worker-1 is free"]).await?;
    free(second, &["node1"], 1, &["there is no slot node1", "worker-1 (pool worker): free"]).await?;

    say("a Ready holder in mid-drain steps back");
    stage.stuck_drain(first).await?;
    release(second, &["node1"], 0, &["node1 is Ready", "not stamped", "told to step back", "given back"])
        .await?;
    let asked = |status: &Status| status.says("backing-off", &["a person asked it to step back"]);
    wait_status(first, "backing off", asked, SOON).await?;
    let node = stage.node("node1")?;
    ensure!(!node.unschedulable && !node.cordon_mark, "node1 is still cordoned");
    first.run_ok(&["rm", SENTINEL]).await?;

    say("one whose daemon is stopped does not, and nobody is there to confirm");
    stage.stuck_drain(third).await?;
    third.run_ok(&["systemctl", "stop", "rebootd"]).await?;
    let unanswered = ["node3 is Ready", "did not step back", "asked to step back by", "nobody is there"];
    release(second, &["node3", "--timeout", "3s"], 2, &unanswered).await?;
    ensure!(stage.holder().as_deref() == Some("node3"), "the slot was freed without a confirmation");
    say("the daemon runs again, and finds what it was told");
    third.run_ok(&["systemctl", "start", "rebootd"]).await?;
    stage.wait_for("node3 steps back", |state| state.holder(SLOT).is_none(), SOON).await?;
    wait_status(third, "backing off", asked, SOON).await?;
    third.run_ok(&["rm", SENTINEL]).await?;

    say("one that is off, and stamped");
    second.stay_down(true);
    request_reboot(second).await?;
    second.wait_off(SOON).await?;
    let stamped = ["stamped for its reboot", "go down while node2 still is"];
    release(first, &["node2"], 2, &stamped).await?;
    free(first, &[SLOT], 2, &stamped).await?;
    answer(first, "release node2", "no", 1, "Nothing was freed").await?;
    answer(first, "free worker-1", "no", 1, "Nothing was freed").await?;
    ensure!(stage.holder().as_deref() == Some("node2"), "the slot was freed against the person's word");
    changed_meanwhile(stage, first).await?;
    answer(first, "release node2", "yes", 0, "worker-1 is free").await?;
    nothing_is_left(stage).await?;

    say("without asking; nobody is told to step back from what no daemon has claimed");
    stage.set_holder("\"node2\"").await?;
    release(first, &["node2", "--yes"], 0, &["put there by hand", "worker-1 is free"]).await?;
    release(first, &["node2", "--yes"], 0, &["node2 holds no slot"]).await?;
    stage.set_holder("\"../some body\"").await?;
    free(first, &[SLOT, "--yes"], 0, &["is no Node", "put there by hand", "worker-1 is free"]).await?;
    second.boot();
    second.wait_boot_number(2, SOON).await?;
    verdict::settled(stage, second).await?;

    say("a slot is taken from a Ready node in mid-drain, which is not asked, and undoes what it did");
    // Its slot was taken from it before, so it backs off for half an hour: it remembers that in this file.
    let forget = "systemctl stop rebootd && rm /var/lib/rebootd/state.json && systemctl start rebootd";
    second.run_ok(&["sh", "-c", forget]).await?;
    stage.stuck_drain(second).await?;
    free(first, &[SLOT], 2, &["node2 is Ready", "not stamped", "rebootctl release node2", "nobody is there"])
        .await?;
    ensure!(stage.holder().as_deref() == Some("node2"), "the slot was freed without a confirmation");
    answer(first, "free worker-1", "yes", 0, "worker-1 is free").await?;
    nothing_is_left(stage).await?;
    second.run_ok(&["rm", SENTINEL]).await?;
    verdict::settled(stage, second).await?;

    say("a kubeconfig that logs in by a program");
    let kubeconfig = stage.lab.control_plane.kubeconfig(&stage.lab.server_for(first.name()), &admin)?;
    let mut kubeconfig: serde_json::Value = serde_json::from_str(&kubeconfig)?;
    let plugin = |command: &str| {
        json!([{"name": "lab", "user": {"exec": {
            "apiVersion": "client.authentication.k8s.io/v1", "command": command, "args": [GIVEN],
            "interactiveMode": "IfAvailable", "provideClusterInfo": false,
        }}}])
    };
    let given = json!({
        "apiVersion": "client.authentication.k8s.io/v1",
        "kind": "ExecCredential",
        "status": {
            "clientCertificateData": fs::read_to_string(&admin.certificate)?,
            "clientKeyData": fs::read_to_string(&admin.key)?,
        },
    });
    first.write_file(GIVEN, given.to_string()).await?;
    kubeconfig["users"] = plugin("cat");
    first.write_file(KUBECONFIG, kubeconfig.to_string()).await?;
    release(first, &["node2"], 0, &["node2 holds no slot"]).await?;

    say("kubeconfigs that it cannot use");
    kubeconfig["users"] = plugin("no-such-login");
    first.write_file(KUBECONFIG, kubeconfig.to_string()).await?;
    let cannot = "cannot run no-such-login";
    release(first, &["node2"], 1, &[cannot, "kubectl -n rebootd patch lease"]).await?;
    free(first, &[SLOT], 1, &[cannot, "kubectl -n rebootd patch lease worker-1"]).await?;
    first.run_ok(&["rm", KUBECONFIG]).await?;
    release(first, &["node2"], 1, &["no kubeconfig", "--kubeconfig"]).await
}

/// No holder, no stamp and nothing else of the claim.
async fn nothing_is_left(stage: &Stage) -> Result<()> {
    stage.wait_for("the slot is free", |state| state.holder(SLOT).is_none(), SOON).await?;
    let slot = stage.observer.state().leases.get(SLOT).cloned().context("there is no slot")?;
    for name in ["rebooting", "boot-id", "node-uid", "machine-id", "reason", "step-back"] {
        let left = slot.annotation(&format!("rebootd.io/{name}"));
        ensure!(left.is_none(), "{name} stayed: {left:?}");
    }
    Ok(())
}

/// What the program prints.
const GIVEN: &str = "/root/given.json";

/// Runs it without a terminal.
async fn release(on: &Host, arguments: &[&str], code: i32, words: &[&str]) -> Result<()> {
    expect(on, &[&["rebootctl", "release"], arguments].concat(), code, words).await
}

async fn free(on: &Host, arguments: &[&str], code: i32, words: &[&str]) -> Result<()> {
    expect(on, &[&["rebootctl", "free"], arguments].concat(), code, words).await
}

/// Runs a subcommand on a terminal, and types this.
async fn answer(on: &Host, command: &str, answer: &str, code: i32, word: &str) -> Result<()> {
    let script = format!("echo {answer} | script -qec 'rebootctl {command}' /dev/null");
    expect(on, &["sh", "-c", &script], code, &[word]).await
}

/// The slot is written between the question and the answer.
async fn changed_meanwhile(stage: &Stage, on: &Host) -> Result<()> {
    let script = "mkfifo /run/answer && exec script -qefc 'rebootctl release node2' /run/shown <>/run/answer";
    let command = ["sh", "-c", script];
    let question = expect(on, &command, 1, &["worker-1 has changed meanwhile"]);
    let change = async {
        let deadline = Instant::now() + SOON;
        while run_anyway(on, &["grep", "-q", "Type", "/run/shown"]).await?.0 != Some(0) {
            ensure!(Instant::now() < deadline, "it never asked");
            sleep(Duration::from_millis(200)).await;
        }
        let slot = ["annotate", "lease", SLOT, "-n", "rebootd", "somebody/was-here=yes"];
        stage.lab.kubectl(&slot).await?;
        on.run_ok(&["sh", "-c", "echo yes >/run/answer"]).await
    };
    try_join!(question, change)?;
    ensure!(stage.holder().as_deref() == Some("node2"), "what had changed was freed");
    Ok(())
}

async fn expect(on: &Host, command: &[&str], code: i32, words: &[&str]) -> Result<()> {
    let (ended, text) = run_anyway(on, command).await?;
    say(format!("{}: exit code {ended:?}\n{text}", command.join(" ")));
    ensure!(ended == Some(code), "exit code {ended:?}, not {code}");
    for word in words {
        ensure!(text.contains(word), "{word:?} is not in what it printed");
    }
    Ok(())
}
