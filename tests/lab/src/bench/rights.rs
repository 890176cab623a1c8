//! `lab bench rights`: what the policies cost a claim and an eviction in a large cluster.
//!
//! The same writes with and without the policies, each a real one that is answered, by the same client. No controller
//! runs meanwhile. Without policies the API server has still kept its caches of pods and Nodes.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::lab::{Lab, LabConfig};
use crate::progress::say;
use crate::scenarios::rights::cluster::{HERE, SLOTS, a_node, a_pod, create, manifests, token};
use crate::simulated::client::{Answer, Client, JSON, MERGE};

const NAMESPACE: &str = "large";
const PODS: &str = "/api/v1/namespaces/large/pods";
const IN_FORCE: Duration = Duration::from_secs(30);

/// How large the cluster is.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// So many Nodes.
    #[arg(long, default_value_t = 1000)]
    nodes: usize,
    /// So many pods, all of one namespace.
    #[arg(long, default_value_t = 1000)]
    pods: usize,
    /// So many writes of each kind; the median counts.
    #[arg(long, default_value_t = 21)]
    writes: usize,
}

/// Medians, in milliseconds.
struct Costs {
    claim: f64,
    reclaim: f64,
    eviction: f64,
    of_others: f64,
}

/// Gives back the figures.
pub async fn run(options: &Options) -> Result<Value> {
    ensure!(options.writes > 0 && options.pods >= 4 * options.writes, "each eviction needs a pod");
    let lab = Lab::start(LabConfig::with_hosts(0)).await?;
    lab.control_plane.apply_directory(&manifests()).await?;
    let admin = Client::new(&lab.control_plane, "lab-admin")?;
    lab.control_plane.stop_controllers().await?;
    let uids = fill(&admin, options).await?;
    say(format!("{} Nodes and {} pods are there", options.nodes, options.pods));
    let uid = create(&admin, "/api/v1/nodes", &a_node(HERE)).await?;
    let agent = Client::with_token(&lab.control_plane, &token(&admin, Some(("Node", HERE, &uid))).await?)?;
    let bench = Bench { admin, agent, uids, writes: options.writes };
    bench.wait_in_force(true).await?;
    let with = bench.measure(0).await?;
    for file in ["policies.yaml", "policies-evictions.yaml"] {
        let file = manifests().join(file).display().to_string();
        lab.control_plane.kubectl(&["delete", "-f", &file]).await?;
    }
    bench.wait_in_force(false).await?;
    let without = bench.measure(2 * options.writes).await?;
    lab.stop().await?;

    println!("\n{:<40} {:>10} {:>10} {:>8}", "median", "policies", "none", "ratio");
    let mut figures = json!({});
    for (what, key, with, without) in [
        ("a claim", "claim", with.claim, without.claim),
        ("freeing a vanished node's slot", "reclaim", with.reclaim, without.reclaim),
        ("an eviction", "eviction", with.eviction, without.eviction),
        ("an eviction by somebody else", "eviction_of_others", with.of_others, without.of_others),
    ] {
        println!("{what:<40} {with:>7.1} ms {without:>7.1} ms {:>8.1}", with / without);
        figures[format!("{key}_ms")] = json!(super::rounded(with));
        figures[format!("{key}_without_ms")] = json!(super::rounded(without));
    }
    println!();
    Ok(figures)
}

/// Gives the uids of the pods, which are all on the own Node.
async fn fill(admin: &Client, options: &Options) -> Result<Vec<String>> {
    admin.post("/api/v1/namespaces", &json!({ "metadata": { "name": NAMESPACE } })).await?;
    let accounts = format!("/api/v1/namespaces/{NAMESPACE}/serviceaccounts");
    // The controller manager may have made it already.
    let account = json!({ "metadata": { "name": "default" } }).to_string();
    let _ = admin.ask("POST", &accounts, JSON, account).await?;
    for number in 1..options.nodes {
        create(admin, "/api/v1/nodes", &a_node(&format!("node-{number}"))).await?;
    }
    let mut uids = Vec::new();
    for number in 0..options.pods {
        uids.push(create(admin, PODS, &a_pod(&format!("pod-{number}"), HERE)).await?);
    }
    let metadata = json!({ "name": "bench", "labels": { "rebootd.io/pool": "bench" } });
    create(admin, SLOTS, &json!({ "metadata": metadata })).await?;
    Ok(uids)
}

struct Bench {
    admin: Client,
    agent: Client,
    uids: Vec<String>,
    writes: usize,
}

impl Bench {
    /// Until the API server has noticed that the policies are there, or gone.
    async fn wait_in_force(&self, wanted: bool) -> Result<()> {
        let deadline = Instant::now() + IN_FORCE;
        let path = format!("{PODS}/none.rebootd.io/eviction?dryRun=All");
        loop {
            let body = eviction("none.rebootd.io", "none", true).to_string();
            let refused = self.agent.ask("POST", &path, JSON, body).await?.code == 403;
            let label = json!({ "metadata": { "labels": { "x": "y" } } }).to_string();
            let node = format!("/api/v1/nodes/{HERE}?dryRun=All");
            let other = self.agent.ask("PATCH", &node, MERGE, label).await?.code == 403;
            if refused == wanted && other == wanted {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "the policies are not as wanted after {IN_FORCE:?}");
            sleep(Duration::from_millis(200)).await;
        }
    }

    /// Evicts pods from this number on.
    async fn measure(&self, first_pod: usize) -> Result<Costs> {
        let slot = format!("{SLOTS}/bench");
        let (mut claims, mut reclaims, mut evictions, mut of_others) = (vec![], vec![], vec![], vec![]);
        for number in first_pod..first_pod + self.writes {
            claims.push(timed(&self.agent, "PATCH", &slot, MERGE, &holder(HERE, None)).await?);
            timed(&self.agent, "PATCH", &slot, MERGE, &holder("", None)).await?;
            timed(&self.admin, "PATCH", &slot, MERGE, &holder("vanished", None)).await?;
            reclaims.push(timed(&self.agent, "PATCH", &slot, MERGE, &holder("", Some("true"))).await?);
            timed(&self.admin, "PATCH", &slot, MERGE, &holder("", None)).await?;
            evictions.push(self.evict(&self.agent, number, true).await?);
            of_others.push(self.evict(&self.admin, number + self.writes, false).await?);
        }
        Ok(Costs {
            claim: super::median(claims),
            reclaim: super::median(reclaims),
            eviction: super::median(evictions),
            of_others: super::median(of_others),
        })
    }

    async fn evict(&self, by: &Client, number: usize, marked: bool) -> Result<f64> {
        let name = format!("pod-{number}");
        let uid = self.uids.get(number).context("no such pod")?;
        timed(by, "POST", &format!("{PODS}/{name}/eviction"), JSON, &eviction(&name, uid, marked)).await
    }
}

fn holder(name: &str, reclaimed: Option<&str>) -> Value {
    let name = Some(name).filter(|name| !name.is_empty());
    json!({ "metadata": { "labels": { "rebootd.io/reclaimed": reclaimed } }, "spec": { "holderIdentity": name } })
}

fn eviction(name: &str, uid: &str, marked: bool) -> Value {
    let labels = if marked { json!({ "rebootd.io/by": "agent" }) } else { json!({}) };
    json!({
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": { "namespace": NAMESPACE, "name": name, "labels": labels },
        "deleteOptions": { "preconditions": { "uid": uid } },
    })
}

/// In milliseconds.
async fn timed(by: &Client, method: &str, path: &str, content_type: &str, body: &Value) -> Result<f64> {
    let began = Instant::now();
    let Answer { code, text, .. } = by.ask(method, path, content_type, body.to_string()).await?;
    let took = began.elapsed().as_secs_f64() * 1000.0;
    if !(200..300).contains(&code) {
        bail!("{method} {path}: {code} {text}");
    }
    Ok(took)
}
