//! What a node's credential may do in the cluster: every act of docs/rights.md is refused, and by whom; every write of
//! a cycle, of a reclaim and of a renewal is allowed.

mod acts;
pub(crate) mod cluster;
mod in_force;

use std::collections::BTreeMap;
use std::time::Duration;

use ::rebootd::access::{ApiAccess, Credential, PemSource, Secret};
use ::rebootd::cluster::{Api, ClusterEvent, Condition, Heartbeat, time};
use ::rebootd::decide::{
    Claim, EvictionOutcome, How, NodeChange, NodeWrite, Outcome, PodKey, SignsWrite, SlotChange, SlotView,
    SlotWrite, Stamp, Successors, Taints,
};
use ::rebootd::host::clock;
use anyhow::{Context, Result, bail, ensure};
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::stage::{SOON, Stage};
use crate::control_plane;
use crate::progress::say;
use crate::simulated::client::{Answer, Client};
use acts::{ACTS, Act, By};
use cluster::{Cluster, HERE};

/// A policy takes effect a moment after it was applied, and knows new objects a moment late.
const IN_FORCE: Duration = Duration::from_secs(20);

pub(super) async fn run(stage: &Stage) -> Result<()> {
    let control_plane = &stage.lab.control_plane;
    let admin = Client::new(control_plane, "lab-admin")?;
    let cluster = Cluster::build(control_plane, &admin).await?;
    say("two Nodes with their pods, slots and tokens are there");
    let (mut refused, mut wrong) = (BTreeMap::<String, usize>::new(), Vec::new());
    for (section, acts) in ACTS {
        for act in *acts {
            match is_refused(&cluster, act).await {
                Ok(by) => *refused.entry(by).or_default() += 1,
                Err(error) => wrong.push(format!("{section}: {}: {error:#}", act.what)),
            }
        }
    }
    for (by, count) in &refused {
        say(format!("{count} acts are refused by {by}"));
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    cycle(stage, &cluster).await?;
    policies_are_understood(stage).await?;
    in_force::run(stage, &cluster).await
}

/// By whom.
async fn is_refused(cluster: &Cluster, act: &Act) -> Result<String> {
    let deadline = Instant::now() + IN_FORCE;
    loop {
        let answer = cluster.ask(&(act.ask)(cluster)).await?;
        if is_by(act.by, &answer) {
            return Ok(told(act.by));
        }
        if Instant::now() > deadline || (answer.code >= 400 && answer.code != 403) {
            bail!("not refused by {}: {} {}", told(act.by), answer.code, answer.text);
        }
        sleep(Duration::from_millis(200)).await;
    }
}

fn is_by(by: By, answer: &Answer) -> bool {
    let message = answer.body["message"].as_str().unwrap_or_default();
    match by {
        By::Role => answer.code == 403 && message.contains(" cannot "),
        By::Policy(policies) => {
            let names = |name: &&str| message.contains(&format!("ValidatingAdmissionPolicy '{name}'"));
            answer.code == 403 && policies.iter().any(names)
        }
        By::Login => answer.code == 401,
    }
}

/// As docs/rights.md has it.
fn told(by: By) -> String {
    match by {
        By::Role => "no role".to_owned(),
        By::Policy(policies) => format!("`{}`", policies.join("`, `")),
        By::Login => "401".to_owned(),
    }
}

/// The daemon's own adapter, with the token of the Node [`HERE`].
fn api(stage: &Stage, cluster: &Cluster) -> Api {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let access = ApiAccess {
        server: control_plane::server(),
        certificate_authority: PemSource::File(stage.lab.control_plane.pki.ca()),
        credential: Credential::Token(Secret::new(cluster.token.clone())),
    };
    Api::new(access, HERE.to_owned())
}

/// All that a daemon writes.
async fn cycle(stage: &Stage, cluster: &Cluster) -> Result<()> {
    let mut agent = Agent { api: api(stage, cluster), writes: 0 };
    agent.slot("gone", |_| SlotChange::Free { holder: "gone".to_owned() }).await?;
    for slot in ["cycle", "gone"] {
        agent.slot(slot, |_| SlotChange::Claim(Claim::default())).await?;
        agent.slot(slot, |_| SlotChange::Claim(Claim { reason: "again".into(), ..Claim::default() })).await?;
        let asked = ["get", "lease", slot, "-n", "rebootd", "-ojsonpath={.metadata.labels}"];
        ensure!(
            stage.lab.kubectl(&asked).await?.trim() == r#"{"rebootd.io/pool":"worker"}"#,
            "{slot}: the mark of the reclaim stays"
        );
        agent.node(NodeChange::Cordon { why: "a new kernel".into() }, true).await?;
        agent.evict(cluster, How::DryRun).await?;
        let stamp = Stamp {
            boot_id: "b".repeat(32),
            attempt: 1,
            at: Duration::from_secs(1),
            daemon_sets: Default::default(),
            request: None,
        };
        agent.slot(slot, |_| SlotChange::Stamp(stamp.clone(), Successors::default())).await?;
        agent.node(NodeChange::Uncordon { because: None }, false).await?;
        agent.node(NodeChange::Confirm { in_turn: false }, false).await?;
        agent.slot(slot, |_| SlotChange::Release { because: None }).await?;
    }
    agent.evict(cluster, How::Evict).await?;
    visible(stage, cluster, &mut agent.api).await?;
    let client = Client::with_token(&stage.lab.control_plane, &cluster.token)?;
    let object = json!({ "kind": "Node", "apiVersion": "v1", "name": HERE, "uid": cluster.uid(HERE) });
    let spec = json!({ "boundObjectRef": object, "expirationSeconds": 86400 });
    let path = "/api/v1/namespaces/rebootd/serviceaccounts/rebootd/token";
    let renewed = client.post(path, &json!({ "spec": spec })).await?;
    let renewed = renewed["status"]["token"].as_str().context("no token")?;
    let client = Client::with_token(&stage.lab.control_plane, renewed)?;
    let review = json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview" });
    let review = client.post("/apis/authentication.k8s.io/v1/selfsubjectreviews", &review).await?;
    let extra = &review["status"]["userInfo"]["extra"];
    ensure!(extra["authentication.kubernetes.io/node-name"][0] == HERE, "the new token is bound to: {extra}");
    say("a reclaim, two cycles and a renewal are allowed");
    Ok(())
}

/// The condition comes and goes, and leaves those of others alone; Events are found by who describes Node or pod.
async fn visible(stage: &Stage, cluster: &Cluster, api: &mut Api) -> Result<()> {
    let ready = r#"{"status":{"conditions":[{"type":"Ready","status":"True","reason":"KubeletReady","message":"m"}]}}"#;
    stage
        .lab
        .kubectl(&["patch", "node", HERE, "--subresource=status", "--type=strategic", "-p", ready])
        .await?;
    let now = clock::now().wall;
    let heartbeat = Heartbeat {
        held: None,
        last_reboot: None,
        version: "0".into(),
        at: time(now).context("no time")?,
        phase: "waiting".into(),
        reason: None,
        live: false,
        not_live: None,
        asking: vec!["libc6".into()],
        window_opens: None,
        credential_ends: None,
    };
    let condition = Condition {
        is_required: true,
        reason: "SentinelFile",
        message: "/run/reboot-required by libc6".into(),
        since: now,
    };
    api.show(cluster.uid(HERE), &heartbeat, &condition).await?;
    let conditions = r#"-ojsonpath={range .status.conditions[*]}{.type}={.status} {end}"#;
    let shown = async || stage.lab.kubectl(&["get", "node", HERE, conditions]).await;
    let (with, told) = (shown().await?, stage.lab.kubectl(&["get", "node", HERE, "-ojson"]).await?);
    ensure!(with.contains("Ready=True") && with.contains("RebootRequired=True"), "{with}");
    ensure!(told.contains("rebootd.io/agent"), "{told}");
    let pod =
        PodKey { namespace: "tenant".into(), name: "pod-here".into(), uid: cluster.uid("pod-here").into() };
    for pod in [None, Some(pod)] {
        let (reason, note) = ("Rebooting", "about to reboot".to_owned());
        let event = ClusterEvent { pod, reason, is_warning: false, note, at: now };
        api.tell(&event, cluster.uid(HERE)).await?;
    }
    for asked in [vec!["describe", "node", HERE], vec!["describe", "pod", "pod-here", "-n", "tenant"]] {
        let told = stage.lab.kubectl(&asked).await?;
        ensure!(told.contains("about to reboot"), "{told}");
    }
    api.show_nothing(cluster.uid(HERE)).await?;
    let (without, told) = (shown().await?, stage.lab.kubectl(&["get", "node", HERE, "-ojson"]).await?);
    ensure!(without.trim() == "Ready=True" && !told.contains("rebootd.io/agent"), "{without} {told}");
    say("condition, heartbeat and Events are shown, and taken back");
    Ok(())
}

struct Agent {
    api: Api,
    writes: usize,
}

impl Agent {
    async fn slot(&mut self, name: &str, change: impl Fn(&SlotView) -> SlotChange) -> Result<()> {
        let slots = self.api.slots().await?;
        let slot = slots.iter().find(|slot| slot.name == name).context("no such slot")?;
        self.writes += 1;
        let write = SlotWrite {
            slot: slot.name.clone(),
            uid: slot.uid.clone(),
            resource_version: slot.resource_version.clone(),
            nonce: format!("rights-{}", self.writes),
            change: change(slot),
        };
        let outcome = self.api.write_slot(&write, clock::now().wall).await;
        ensure!(outcome == Outcome::Answered, "{:?}: {outcome:?}", write.change);
        Ok(())
    }

    /// With every sign that the daemon may set. The controllers write the Node as well.
    async fn node(&mut self, change: NodeChange, in_turn: bool) -> Result<()> {
        let deadline = Instant::now() + SOON;
        loop {
            let node = self.api.node().await?.context("no Node")?;
            let sign = |name: &str| (name.to_owned(), in_turn.then(|| "true".to_owned()));
            self.writes += 1;
            let write = NodeWrite {
                uid: node.uid,
                resource_version: node.resource_version,
                nonce: format!("rights-{}", self.writes),
                pool: "worker".to_owned(),
                fulfils_request: true,
                signs: SignsWrite {
                    labels: BTreeMap::from([
                        sign("rebootd.io/waiting"),
                        sign("node.kubernetes.io/exclude-from-external-load-balancers"),
                    ]),
                    annotations: BTreeMap::from([
                        sign("rebootd.io/added"),
                        sign("cluster-autoscaler.kubernetes.io/scale-down-disabled"),
                        sign("karpenter.sh/do-not-disrupt"),
                    ]),
                    taints: Some(Taints { waiting: in_turn, others: node.taints }),
                },
                change: change.clone(),
            };
            match self.api.write_node(&write).await {
                Outcome::Answered => return Ok(()),
                Outcome::Refused { conflict: true, .. } if Instant::now() < deadline => {}
                outcome => bail!("{change:?}: {outcome:?}"),
            }
        }
    }

    async fn evict(&mut self, cluster: &Cluster, how: How) -> Result<()> {
        let name = "pod-here";
        let pod = PodKey { namespace: "tenant".into(), name: name.into(), uid: cluster.uid(name).to_owned() };
        let outcome = self.api.eviction(&pod, how, None).await;
        ensure!(outcome == EvictionOutcome::Granted, "{how:?}: {outcome:?}");
        Ok(())
    }
}

/// The controller manager looks over the expressions of all policies.
async fn policies_are_understood(stage: &Stage) -> Result<()> {
    let deadline = Instant::now() + SOON;
    loop {
        let all = stage.lab.control_plane.kubectl_json(&["get", "validatingadmissionpolicies"]).await?;
        let items = all["items"].as_array().context("no policies")?;
        let warned = items.iter().find(|policy| {
            policy["status"]["typeChecking"]["expressionWarnings"]
                .as_array()
                .is_some_and(|warnings| !warnings.is_empty())
        });
        if let Some(policy) = warned {
            bail!("{}: {}", policy["metadata"]["name"], policy["status"]);
        }
        if items.iter().all(|policy| !policy["status"]["observedGeneration"].is_null()) {
            say(format!("all {} policies are understood", items.len()));
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "nobody has looked at the policies");
        sleep(Duration::from_millis(200)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docs_rights_has_every_act_and_who_refuses_it() {
        let path = cluster::manifests().ancestors().nth(5).unwrap().join("docs/rights.md");
        let text = std::fs::read_to_string(path).unwrap();
        let mut expected = String::new();
        for (section, acts) in ACTS {
            expected.push_str(&format!("\n| {section} | refused by |\n|---|---|\n"));
            for act in *acts {
                expected.push_str(&format!("| {} | {} |\n", act.what, told(act.by)));
            }
        }
        for table in expected.split("\n\n") {
            assert!(text.contains(table.trim()), "docs/rights.md should have:\n{expected}");
        }
        assert!(ACTS.iter().map(|(_, acts)| acts.len()).sum::<usize>() >= 60);
    }
}
