//! What is new runs on one node first: a canary that is well, and one that does not come back.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::try_join;

use super::stage::{CONFIG, CYCLE, SENTINEL, SOON, Stage, request_reboot};
use super::status::{Status, wait_phase, wait_status};
use super::verdict;
use crate::host::Host;
use crate::observer::State;
use crate::progress::say;

const SOAK: Duration = Duration::from_secs(20);
const LONG_ENOUGH: Duration = Duration::from_secs(30);
const POLICY: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: policy, namespace: rebootd}\ndata:\n  policy.toml: |\n    \
    version = 1\n    [policy]\n    canary = { nodes = 1, soak = \"20s\" }\n";

pub(super) async fn run(stage: &Stage) -> Result<()> {
    let hosts = [1, 2, 3].map(|number| stage.host(number));
    stage.install_everywhere(CONFIG).await?;
    for host in hosts {
        wait_phase(host, "idle", SOON).await?;
    }
    let program = hosts[0].root().join("usr/bin/rebootctl");
    stage.lab.control_plane.rebootctl(&program, &["slots", "--pool=worker", "--count=3"]).await?;
    stage.lab.control_plane.apply(POLICY).await?;

    say("three ask for the same: one goes, and soaks");
    try_join!(request_reboot(hosts[0]), request_reboot(hosts[1]), request_reboot(hosts[2]))?;
    // Of two that claim at the same moment one gives its slot back.
    stage.wait_for("a canary is cordoned", |state| cordoned(state).is_some(), SOON).await?;
    let first = cordoned(&stage.observer.state()).context("no canary")?;
    let waits = |status: &Status| status.says("canary-first", &[&first]);
    for host in hosts.iter().filter(|host| host.name() != first) {
        wait_status(host, "waiting for the canary", waits, SOON).await?;
    }
    for host in hosts {
        host.wait_boot_number(2, 2 * CYCLE).await?;
        verdict::settled(stage, host).await?;
        verdict::booted(host, 2)?;
    }
    let disruptions = stage.observer.history().disruptions();
    let canarys = disruptions.iter().find(|it| it.node == first).context("it was not disrupted")?;
    let back = canarys.until.context("it is not back")?;
    let too_early = disruptions.iter().find(|it| it.node != first && it.from < back + SOAK);
    ensure!(disruptions.len() == 3 && too_early.is_none(), "{first} was the canary: {disruptions:?}");
    let node = stage.node(&first)?;
    ensure!(node.label("rebootd.io/proven").is_some(), "{first} does not say what it has proven");

    say("another set of packages, and the canary does not come back");
    let lost = hosts[0];
    lost.stay_down(true);
    ask_for(lost, "openssl").await?;
    lost.wait_off(SOON).await?;
    for host in [hosts[1], hosts[2]] {
        ask_for(host, "openssl").await?;
        let waits = |status: &Status| status.says("canary-first", &["node1"]);
        wait_status(host, "waiting for node1", waits, SOON).await?;
    }
    let another = |state: &State| {
        ["node2", "node3"].iter().any(|name| state.node(name).is_none_or(|node| node.unschedulable))
    };
    stage.never("another one tries it", another, LONG_ENOUGH).await?;
    lost.boot();
    for host in hosts {
        host.wait_boot_number(3, 2 * CYCLE).await?;
        verdict::settled(stage, host).await?;
        verdict::booted(host, 3)?;
    }
    Ok(())
}

fn cordoned(state: &State) -> Option<String> {
    state.nodes.iter().find(|(_, node)| node.unschedulable).map(|(name, _)| name.clone())
}

async fn ask_for(host: &Host, package: &str) -> Result<()> {
    host.write_file(&format!("{SENTINEL}.pkgs"), format!("{package}\n")).await?;
    host.write_file(SENTINEL, "*** System restart required ***\n").await
}
