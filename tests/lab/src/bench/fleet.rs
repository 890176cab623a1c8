//! `lab bench fleet`: what a person waits for `rebootctl fleet` in a large cluster, beside `kubectl get nodes`.

use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::{Value, json};

use crate::command;
use crate::lab::{Lab, LabConfig};
use crate::package;
use crate::progress::say;
use crate::scenarios::rights::cluster::{create, manifests};
use crate::simulated::client::{Client, MERGE};

const NODES: &str = "/api/v1/nodes";
/// A kubelet reports as many images of its node.
const IMAGES: usize = 50;

/// How large the cluster is.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// So many Nodes.
    #[arg(long, default_value_t = 5000)]
    nodes: usize,
    /// So many tries; the median counts.
    #[arg(long, default_value_t = 5)]
    tries: usize,
}

/// Gives back the figures.
pub async fn run(package: &Path, options: &Options) -> Result<Value> {
    ensure!(options.tries > 0, "nothing would be measured");
    let lab = Lab::start(LabConfig::with_hosts(0)).await?;
    lab.control_plane.apply_directory(&manifests()).await?;
    let admin = Client::new(&lab.control_plane, "lab-admin")?;
    lab.control_plane.stop_controllers().await?;
    for number in 0..options.nodes {
        let name = format!("node-{number}");
        create(&admin, NODES, &a_node(number, &name)).await?;
        let answer =
            admin.ask("PATCH", &format!("{NODES}/{name}/status"), MERGE, status().to_string()).await?;
        ensure!(answer.code == 200, "{}", answer.text);
    }
    say(format!("{} Nodes are there", options.nodes));
    let directory = lab.directory().join("unpacked");
    fs::create_dir_all(&directory)?;
    package::unpack(package, &directory).await?;
    let kubeconfig = format!("--kubeconfig={}", lab.control_plane.admin_kubeconfig().display());
    let rebootctl = directory.join("usr/bin/rebootctl");
    let (mut fleet, mut kubectl) = (Vec::new(), Vec::new());
    for _ in 0..options.tries {
        let began = Instant::now();
        let told = command::run(text(&rebootctl)?, &["fleet", &kubeconfig]).await?;
        fleet.push(began.elapsed().as_secs_f64());
        ensure!(told.contains(&format!("{} nodes: ", options.nodes)), "rebootctl fleet says {told}");
        let began = Instant::now();
        lab.kubectl(&["get", "nodes"]).await?;
        kubectl.push(began.elapsed().as_secs_f64());
    }
    lab.stop().await?;
    let (fleet, kubectl) = (super::median(fleet), super::median(kubectl));
    println!("\nrebootctl fleet {fleet:.1} s, kubectl get nodes {kubectl:.1} s, {} Nodes\n", options.nodes);
    Ok(
        json!({ "nodes": options.nodes, "fleet_s": super::rounded(fleet), "kubectl_s": super::rounded(kubectl) }),
    )
}

/// Every tenth waits for a reboot.
fn a_node(number: usize, name: &str) -> Value {
    let mut labels = json!({ "rebootd.io/pool": "worker", "kubernetes.io/hostname": name });
    if number.is_multiple_of(10) {
        labels["rebootd.io/waiting"] = json!("2026-11-24T0740Z");
    }
    json!({ "metadata": { "name": name, "labels": labels, "annotations": { "example.com/note": "x".repeat(500) } } })
}

fn status() -> Value {
    let images: Vec<Value> = (0..IMAGES)
        .map(|number| json!({ "names": [format!("registry.example.com/team/image-{number}:1.2.3")], "sizeBytes": 1 << 27 }))
        .collect();
    let condition = json!({ "type": "Ready", "status": "True", "lastHeartbeatTime": "2026-11-27T17:00:00Z" });
    json!({ "status": { "conditions": [condition], "images": images } })
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path that is no text")
}
