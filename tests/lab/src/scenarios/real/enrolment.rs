//! A node comes to its credential without a step of its own: the kubelet brings a token, root's unit hands it on, and from
//! then on the node renews its own.

use std::time::Duration;

use ::rebootd::host::clock;
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::super::places::{Place, keep};
use super::super::stage::{CONFIG, CYCLE, SOON, Stage, request_reboot};
use super::super::status::{Status, wait_status};
use super::super::verdict;
use crate::host::Host;
use crate::kubelet::containers;
use crate::progress::say;
use crate::rebootd;

/// What only real kubelets can use.
const TOKEN_PODS: &str = "usr/share/rebootd/manifests/token-pods.yaml";
/// The shortest for which the API server issues tokens.
const LIFE: Duration = Duration::from_secs(600);
const OWN: &str = "/var/lib/rebootd/token";

/// Three hosts: one with the package before the manifests, one after them, one that a tenant's pods imitate.
pub(in crate::scenarios) async fn run(stage: &Stage) -> Result<()> {
    let [before, after, imitated] = [1, 2, 3].map(|number| stage.host(number));
    install(stage, before).await?;
    let waits = |status: &Status| status.says("not-enrolled", &["DaemonSet"]);
    wait_status(before, "without a credential", waits, SOON).await?;
    imitate(stage, imitated).await?;
    install(stage, imitated).await?;
    apply(stage, before).await?;
    install(stage, after).await?;
    for host in [before, after, imitated] {
        is_enrolled(stage, host).await?;
    }

    // Bare pods would keep their node from rebooting.
    stage.lab.kubectl(&["delete", "pod", "imitation-0", "imitation-1"]).await?;
    say("all three reboot by their own credentials");
    for host in [before, after, imitated] {
        request_reboot(host).await?;
    }
    for host in [before, after, imitated] {
        host.wait_boot_number(2, CYCLE * 3).await?;
        verdict::settled(stage, host).await?;
    }

    say("the Node is deleted and comes back");
    let token = own_token(before).await?;
    stage.lab.kubectl(&["delete", "node", before.name()]).await?;
    before.run_ok(&["systemctl", "restart", "kubelet"]).await?;
    stage.lab.wait_node_ready(before.name(), SOON).await?;
    // Whoever needs the API finds out.
    request_reboot(before).await?;
    before.wait_boot_number(3, CYCLE * 2).await?;
    verdict::settled(stage, before).await?;
    ensure!(own_token(before).await? != token, "the token of a Node that is gone is still there");

    say("the DaemonSet is deleted, and nobody needs it");
    stage.lab.kubectl(&["delete", "daemonset", "-n", "rebootd", "rebootd-credential"]).await?;
    request_reboot(after).await?;
    after.wait_boot_number(3, CYCLE).await?;
    verdict::settled(stage, after).await
}

/// Two hosts whose tokens last for ten minutes: one renews its own three times, the other is off until its own has expired.
pub(in crate::scenarios) async fn renewed(stage: &Stage) -> Result<()> {
    let [renewing, off] = [1, 2].map(|number| stage.host(number));
    let config = format!("{CONFIG}[node]\ntoken_life = \"10min\"\n");
    for host in [renewing, off] {
        install_with(stage, host, &config).await?;
    }
    apply(stage, renewing).await?;
    for host in [renewing, off] {
        is_enrolled(stage, host).await?;
    }
    tokio::try_join!(renews(renewing), outlives_its_token(stage, off))?;
    let alarms = renewing.journal(Some("rebootd")).await?;
    ensure!(!alarms.contains("the credential of this node fails"), "{alarms}");
    // The old tokens are gone, and the last one reboots the host.
    request_reboot(renewing).await?;
    renewing.wait_boot_number(2, CYCLE).await?;
    verdict::settled(stage, renewing).await
}

async fn renews(host: &Host) -> Result<()> {
    let mut token = own_token(host).await?;
    for number in 1..=3 {
        let deadline = Instant::now() + LIFE;
        while own_token(host).await? == token {
            ensure!(Instant::now() < deadline, "{} has not renewed its token in {LIFE:?}", host.name());
            sleep(Duration::from_secs(2)).await;
        }
        token = own_token(host).await?;
        let (begin, end) = lasts(&claims(&token)?)?;
        ensure!(Duration::from_secs(end - begin) == LIFE, "the token lasts from {begin} to {end}");
        say(format!("{} has renewed its token: {number}", host.name()));
    }
    Ok(())
}

/// It enrols again by itself; and a token's pod that goes in the middle of a drain harms nothing.
async fn outlives_its_token(stage: &Stage, host: &Host) -> Result<()> {
    let token = own_token(host).await?;
    let (_, end) = lasts(&claims(&token)?)?;
    host.stay_down(true);
    host.power_off_abruptly().await?;
    host.stay_down(false);
    let left = Duration::from_secs(end).saturating_sub(clock::now().wall);
    say(format!("{} is off for {} s, until its token has expired", host.name(), left.as_secs()));
    sleep(left + Duration::from_secs(20)).await;
    host.boot();
    host.wait_booted(SOON).await?;
    let deadline = Instant::now() + CYCLE;
    while own_token(host).await? == token {
        ensure!(Instant::now() < deadline, "{} has not enrolled again", host.name());
        sleep(Duration::from_secs(1)).await;
    }
    is_enrolled(stage, host).await?;

    let draining = keep(stage, host, Place::Draining).await?;
    let on_host = format!("--field-selector=spec.nodeName={}", host.name());
    stage.lab.kubectl(&["delete", "pod", "-n", "rebootd", &on_host]).await?;
    say(format!("the token's pod of {} is deleted in the middle of its drain", host.name()));
    draining.let_go().await?;
    host.wait_boot_number(3, CYCLE).await?;
    verdict::settled(stage, host).await
}

/// When a token begins and ends, in seconds since 1970.
fn lasts(claims: &Value) -> Result<(u64, u64)> {
    claims["iat"].as_u64().zip(claims["exp"].as_u64()).context("a token without times")
}

async fn install(stage: &Stage, host: &Host) -> Result<()> {
    install_with(stage, host, CONFIG).await
}

pub(super) async fn install_with(stage: &Stage, host: &Host, config: &str) -> Result<()> {
    rebootd::install_package(host, &stage.package).await?;
    host.write_file("/etc/rebootd/config.d/local.toml", config).await?;
    host.run_ok(&["systemctl", "restart", "rebootd"]).await?;
    say(format!("{}: the package is installed, and nothing else", host.name()));
    Ok(())
}

/// As an administrator does, with an image that the lab has.
pub(super) async fn apply(stage: &Stage, host: &Host) -> Result<()> {
    rebootd::apply_manifests(&stage.lab.control_plane, host).await?;
    let manifest = tokio::fs::read_to_string(host.root().join(TOKEN_PODS)).await?;
    let manifest = manifest.replace("registry.k8s.io/pause:3.10", containers::PAUSE);
    stage.lab.control_plane.apply(&manifest).await
}

/// A tenant runs pods with a volume of that name, with a token that he has made up, and one of his own account.
async fn imitate(stage: &Stage, host: &Host) -> Result<()> {
    let data =
        json!({"token": "eyJhbGciOiJSUzI1NiJ9.e30.bm8", "ca.crt": "-----BEGIN CERTIFICATE-----\nno\n"});
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": "imitation", "namespace": "default"}, "stringData": data,
    });
    stage.lab.control_plane.apply(&secret.to_string()).await?;
    let made_up = json!([{"secret": {"name": "imitation"}}]);
    let of_another_account = json!([
        {"serviceAccountToken": {"path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
    ]);
    for (number, sources) in [made_up, of_another_account].into_iter().enumerate() {
        let pod = tenants_pod(host, &format!("imitation-{number}"), &sources);
        stage.lab.control_plane.apply(&pod.to_string()).await?;
        crate::workload::wait_running(&stage.lab.control_plane, &format!("imitation-{number}"), 1, SOON)
            .await?;
    }
    Ok(())
}

fn tenants_pod(host: &Host, name: &str, sources: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "labels": {"app": name}},
        "spec": {
            "nodeName": host.name(),
            "terminationGracePeriodSeconds": 0,
            "containers": [{
                "name": "main", "image": containers::PAUSE, "imagePullPolicy": "Never",
                "volumeMounts": [{"name": "rebootd-credential", "mountPath": "/credential"}],
            }],
            "volumes": [{"name": "rebootd-credential", "projected": {"sources": sources}}],
        },
    })
}

/// It has a token of its own, which nobody else can read, bound to its Node.
pub(super) async fn is_enrolled(stage: &Stage, host: &Host) -> Result<()> {
    let idle = |status: &Status| status.phase == "idle" && status.reasons.is_empty();
    wait_status(host, "enrolled", idle, SOON * 2).await?;
    let mode = host.run_ok(&["stat", "--format=%U:%a", OWN]).await?;
    ensure!(mode.trim() == "rebootd:600", "{}: {OWN} is {mode}", host.name());
    let claims = claims(&own_token(host).await?)?;
    let node = &claims["kubernetes.io"]["node"];
    ensure!(node["name"] == host.name() && claims["kubernetes.io"]["pod"].is_null(), "{claims}");
    let (begin, end) = lasts(&claims)?;
    ensure!(Duration::from_secs(end - begin) <= Duration::from_secs(86_400), "{claims}");
    let uid = stage.lab.kubectl(&["get", "node", host.name(), "-o", "jsonpath={.metadata.uid}"]).await?;
    ensure!(node["uid"] == uid.trim(), "{claims}, but the Node is {uid}");
    say(format!("{} has a token of its own", host.name()));
    Ok(())
}

async fn own_token(host: &Host) -> Result<String> {
    host.run_ok(&["cat", OWN]).await
}

fn claims(token: &str) -> Result<Value> {
    use base64::Engine;
    let claims = token.split('.').nth(1).context("no token")?;
    Ok(serde_json::from_slice(&base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(claims)?)?)
}
