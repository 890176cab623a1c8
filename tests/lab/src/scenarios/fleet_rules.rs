//! What nodes owe to each other beyond their slots: slots as a share of the pool, one zone at a time, the breaker.

use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::try_join;

use super::stage::{CONFIG, CYCLE, SOON, Stage, request_reboot};
use super::status::{Status, wait_phase, wait_status};
use super::verdict;
use crate::observer::State;
use crate::progress::say;

/// With `settle`, the time after which a node that is not back stops all others.
const RETURN_TIMEOUT: Duration = Duration::from_secs(60);
const LONG_ENOUGH: Duration = Duration::from_secs(20);
const POLICY: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: policy, namespace: rebootd}\ndata:\n  policy.toml: |\n    \
    version = 1\n    [policy]\n    zones = \"one\"\n    [gates]\n    max_nodes_not_ready = \"1%\"\n";

pub(super) async fn run(stage: &Stage) -> Result<()> {
    let [first, second, elsewhere, other] = [1, 2, 3, 4].map(|number| stage.host(number));
    for (host, zone) in [(first, "a"), (second, "a"), (elsewhere, "b"), (other, "b")] {
        let label = format!("topology.kubernetes.io/zone={zone}");
        stage.lab.kubectl(&["label", "node", host.name(), &label]).await?;
    }
    let config = format!("{CONFIG}return_timeout = \"{}s\"\n", RETURN_TIMEOUT.as_secs());
    for host in [first, second, elsewhere] {
        stage.install(host, &config).await?;
    }
    stage.install_alone(other, &config).await?;
    for host in [first, second, elsewhere, other] {
        wait_phase(host, "idle", SOON).await?;
    }
    shares(stage).await?;

    stage.lab.control_plane.apply(POLICY).await?;
    try_join!(request_reboot(first), request_reboot(elsewhere), request_reboot(second))?;
    for host in [first, second, elsewhere] {
        host.wait_boot_number(2, 2 * CYCLE).await?;
        verdict::settled(stage, host).await?;
    }
    let disruptions = stage.observer.history().disruptions();
    let of = |names: &[&str]| -> Vec<_> {
        disruptions.iter().filter(|it| names.contains(&it.node.as_str())).cloned().collect()
    };
    let (here, there) = (of(&["node1", "node2"]), of(&["node3"]));
    ensure!(here.len() == 2 && there.len() == 1, "not each of them was disrupted once: {disruptions:?}");
    for (one, another) in here.iter().flat_map(|one| there.iter().map(move |another| (one, another))) {
        let is_before = |first: Option<Duration>, then: Duration| first.is_some_and(|first| first <= then);
        ensure!(
            is_before(one.until, another.from) || is_before(another.until, one.from),
            "nodes of two zones were disrupted together: {one:?}, {another:?}"
        );
    }

    say("node1 does not come back: nodes of other pools stay up");
    first.stay_down(true);
    request_reboot(first).await?;
    first.wait_off(SOON).await?;
    tokio::time::sleep(RETURN_TIMEOUT + Duration::from_secs(10)).await;
    request_reboot(other).await?;
    let waits = |status: &Status| status.says("node-not-back", &["node1", "rebootctl release node1"]);
    wait_status(other, "waiting for node1", waits, SOON).await?;
    let cordoned = |state: &State| state.node("node4").is_none_or(|node| node.unschedulable);
    stage.never("node4 is cordoned", cordoned, LONG_ENOUGH).await?;
    say("node1 is switched on again");
    first.boot();
    for (host, boots) in [(first, 3), (other, 2)] {
        host.wait_boot_number(boots, 2 * CYCLE).await?;
        verdict::settled(stage, host).await?;
        verdict::booted(host, boots)?;
    }
    Ok(())
}

/// A person makes and deletes slots.
async fn shares(stage: &Stage) -> Result<()> {
    let program = stage.host(1).root().join("usr/bin/rebootctl");
    let control_plane = &stage.lab.control_plane;
    for (wanted, said) in [
        (&["--share", "1%"][..], "Pool worker: 3 nodes, 1 slots, 1 wanted."),
        (&["--count", "3"][..], "worker-3 made"),
        (&["--share", "70%", "--dry-run"][..], "worker-3 would be deleted"),
        (&["--share", "70%"][..], "worker-3 deleted"),
    ] {
        let told =
            control_plane.rebootctl(&program, &[&["slots", "--pool", "worker"], wanted].concat()).await?;
        say(told.clone());
        ensure!(told.contains(said), "it does not say {said:?}: {told}");
    }
    let told = control_plane.rebootctl(&program, &["slots"]).await?;
    ensure!(told.lines().any(|line| line.split_whitespace().eq(["worker", "3", "2"])), "{told}");
    let refused =
        control_plane.rebootctl_output(&program, &["slots", "--pool", "wrker", "--share", "5%"]).await?;
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    ensure!(
        !refused.status.success() && why.contains("no Node has the label rebootd.io/pool=wrker"),
        "{why}"
    );
    Ok(())
}
