//! `rebootctl rehearse NODE`: whether a node would reboot now, what its drain would do, and to whom.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use serde::Serialize;

use super::super::status;
use super::read;
use crate::cluster::{Api, FleetNode, HeldSlot, Kind};
use crate::config::{DEFAULT_DIRECTORIES, Files, FleetPolicy};
use crate::decide::settings::BarePods;
use crate::decide::{
    self, Inhibitor, Judgement, Memory, Now, Owner, Planned, PodView, Settings, World, budget_namespaces,
    is_control_plane, span,
};
use crate::host::logind::{self, Bus};
use crate::host::{clock, identity, kernel};
use crate::rehearse::{AskingPod, Judged, Namespace, Room, RoomyNode, Verdict, judge};
use crate::report::kept;
use crate::report::status::Status;

/// The name under which a kubelet takes its inhibitor (`pkg/kubelet/nodeshutdown`).
const KUBELET: &str = "kubelet";

/// Stands in the place of a gate for what the daemon of the node itself says of all of them.
const DAEMON: &str = "daemon";

/// A node, as it would be rebooted. Fields are added, never changed or removed.
#[derive(Debug, Serialize)]
pub(super) struct NodeRehearsal {
    node: String,
    pool: String,
    /// The worst of its pods and workloads.
    pub(super) verdict: Verdict,
    gates: Vec<Gate>,
    pods: Vec<Pod>,
    /// The longest grace period of those that leave, in seconds.
    longest_grace: u64,
    /// How long the last drains of this node took, in seconds, the latest last; on the node itself.
    last_drains: Vec<u64>,
    /// Volumes of those that leave.
    claims: usize,
    /// Pods of DaemonSets and static pods, which have to be well again after the reboot.
    come_back: usize,
    is_control_plane: bool,
    /// The kernel that would start; on the node itself.
    kernel: Option<String>,
    /// Nothing where it could not be read.
    room: Option<Room>,
    workloads: Vec<Judged>,
    not_looked_at: Vec<String>,
}

/// Something that has to be open before a turn begins.
#[derive(Debug, Serialize)]
struct Gate {
    gate: &'static str,
    /// Nothing where it is not known.
    open: Option<bool>,
    found: String,
}

/// What becomes of a pod.
#[derive(Debug, Serialize)]
struct Pod {
    pod: String,
    /// `leaves`, `stays` or `in-the-way`.
    becomes: &'static str,
    why: String,
}

pub(super) async fn rehearse(api: &mut Api, name: &str) -> anyhow::Result<NodeRehearsal> {
    let nodes = api.fleet("").await.context("cannot read the Nodes")?;
    let Some(node) = nodes.iter().find(|node| node.name == name) else { bail!("there is no Node {name}") };
    let view = api.node_named(name).await?.with_context(|| format!("there is no Node {name}"))?;
    let here = status::read().ok().filter(|status| status.node == name);
    let (settings, unread) = settings(api, name, &view.labels, here.is_some()).await?;
    let pods = api.pods_of(name).await.context("cannot read its pods")?;
    let graceful = graceful(api, name, here.is_some()).await;
    let world = world(api, pods, &settings, graceful.as_ref().is_ok_and(|it| *it)).await;
    let planned = decide::plan(&world, &settings).unwrap_or_default();
    // Where bare pods are evicted, it ends none.
    let ends_bare = graceful.as_ref().ok().map(|it| *it && settings.drain.bare_pods == BarePods::Leave);
    let workloads = workloads(api, name, &planned, (settings.drain.timeout, ends_bare)).await?;
    let leaving: Vec<&PodView> = planned.iter().filter(|it| leaves(it)).map(|it| it.pod).collect();
    let uids: Vec<&str> = leaving.iter().map(|pod| pod.key.uid.as_str()).collect();
    let room = room(api, name, &uids).await;
    let in_the_way = planned.iter().any(|it| matches!(it.verdict, decide::Verdict::Refuse(_)));
    let has_bare = planned.iter().any(|it| matches!(it.verdict, decide::Verdict::Leave(decide::Leave::Bare)));
    let unsure = graceful.err().filter(|_| has_bare);
    let worst = workloads.iter().map(|it| it.verdict).max().unwrap_or(Verdict::NobodyNotices);
    let worst = if unsure.is_some() { worst.max(Verdict::CouldNotTell) } else { worst };
    let slots = api.held_slots().await.context("cannot read the slots")?;
    let gates = gates(node, &nodes, &slots, api.paused().await.context("cannot read the pause")?, &settings);
    Ok(NodeRehearsal {
        node: name.to_owned(),
        pool: settings.pool.clone(),
        verdict: if in_the_way { Verdict::Blocks } else { worst },
        gates: gates.into_iter().chain(here.iter().map(own_word)).collect(),
        longest_grace: leaving.iter().map(|pod| pod.grace.as_secs()).max().unwrap_or_default(),
        claims: leaving.iter().map(|pod| pod.claims.len()).sum(),
        last_drains: if here.is_some() { last_drains() } else { Vec::new() },
        come_back: planned
            .iter()
            .filter(|it| matches!(it.pod.owner, Owner::DaemonSet | Owner::Kubelet))
            .count(),
        is_control_plane: is_control_plane(&view.labels, &[]),
        kernel: here.as_ref().map(|_| starts()),
        pods: planned.iter().map(pod).collect(),
        not_looked_at: not_looked_at(here.is_some(), name)
            .into_iter()
            .chain(unread)
            .chain(unsure)
            .chain(room.as_ref().err().cloned())
            .collect(),
        room: room.ok(),
        workloads,
    })
}

/// On the node itself those of its files, elsewhere the defaults; the fleet's policy over both, or why that is not in them.
async fn settings(
    api: &mut Api,
    name: &str,
    labels: &std::collections::BTreeMap<String, String>,
    here: bool,
) -> anyhow::Result<(Settings, Option<String>)> {
    let directories: Vec<&Path> = DEFAULT_DIRECTORIES.iter().map(Path::new).filter(|_| here).collect();
    let files = Files::read(&directories)?;
    let host = if here { identity::host_name()? } else { name.to_owned() };
    let mut settings = files.settings(&host)?;
    let (map, unread) = match api.policy_map().await {
        Ok(map) => (map, None),
        Err(error) => (None, Some(format!("the fleet's policy, and with it windows: {error}"))),
    };
    let fleet = map.map(|map| FleetPolicy::from_config_map(&map.data)).transpose();
    let fleet = fleet.context("the fleet's policy is not understood, so nothing starts")?;
    files.apply_fleet(&mut settings, fleet.as_ref(), labels)?;
    Ok((settings, unread))
}

/// As far as the plan of a drain asks for it.
async fn world(api: &mut Api, pods: Vec<PodView>, settings: &Settings, graceful: bool) -> World {
    let now = Now { boot: Duration::ZERO, wall: clock::now().wall };
    let mut world = World::new(now, String::new(), String::new(), String::new(), Memory::default());
    world.cluster.pods.take(Ok(pods.into_iter().map(|pod| (pod.key.uid.clone(), pod)).collect()));
    let namespaces = budget_namespaces(&world, settings);
    let budgets = api.budgets(&namespaces).await.map_err(|error| error.to_string());
    world.cluster.budgets.take(budgets);
    let kubelets = Inhibitor { who: KUBELET.to_owned(), why: String::new(), delays: true };
    world.host.inhibitors.take(Ok(Some(kubelets).filter(|_| graceful).into_iter().collect()));
    world
}

/// Whether the kubelet there delays a shutdown to end all pods: as logind has it, or as its configuration says; or why that is
/// not known.
async fn graceful(api: &mut Api, name: &str, here: bool) -> Result<bool, String> {
    let told = |error: String| {
        format!("whether a graceful shutdown of the kubelet would end pods without a controller: {error}")
    };
    if here {
        let inhibitors = Bus::default().inhibitors().await.map_err(logind::told).map_err(told)?;
        return Ok(inhibitors.iter().any(|it| it.delays && it.who == KUBELET));
    }
    api.shuts_down_gracefully(name).await.map_err(|error| told(error.to_string()))
}

/// Reads what all pods request: a page at a time, and only that.
async fn room(api: &mut Api, node: &str, leaving: &[&str]) -> Result<Room, String> {
    let kind = |name| Kind { api: "/api/v1", name };
    let told = |error| format!("whether other nodes have room for the pods that leave: {error}");
    let nodes: Vec<RoomyNode> = api.list(kind("nodes"), "").await.map_err(told)?;
    let pods: Vec<AskingPod> = api.list(kind("pods"), "").await.map_err(told)?;
    Ok(Room::elsewhere(node, leaving, &nodes, &pods))
}

/// The workloads that have a pod there which leaves or stands in the way, each judged as its developers would.
async fn workloads(
    api: &mut Api,
    node: &str,
    planned: &[Planned<'_>],
    (deadline, graceful): (Option<Duration>, Option<bool>),
) -> anyhow::Result<Vec<Judged>> {
    let concerned = planned.iter().filter(|it| !matches!(it.verdict, decide::Verdict::Leave(_)));
    let namespaces: BTreeSet<&str> = concerned.map(|it| it.pod.key.namespace.as_str()).collect();
    let mut all = Vec::new();
    for name in namespaces {
        let namespace = Namespace { deadline, graceful, ..read::namespace(api, name, Some(node)).await? };
        let mut judged = judge(&namespace);
        judged.retain(|it| it.nodes.contains(node) && !it.workload.starts_with("daemonset/"));
        judged.iter_mut().for_each(|it| it.workload = format!("{name}/{}", it.workload));
        all.extend(judged);
    }
    all.sort_unstable_by(|a, b| b.verdict.cmp(&a.verdict).then_with(|| a.workload.cmp(&b.workload)));
    Ok(all)
}

fn leaves(planned: &Planned<'_>) -> bool {
    use decide::Verdict::{Await, Evict, Warn};
    matches!(planned.verdict, Evict | Warn(_) | Await(..))
}

fn pod(planned: &Planned<'_>) -> Pod {
    let becomes = match planned.verdict {
        decide::Verdict::Leave(_) => "stays",
        decide::Verdict::Refuse(_) => "in-the-way",
        _ => "leaves",
    };
    Pod { pod: planned.pod.key.to_string(), becomes, why: planned.verdict.to_string() }
}

/// What can be seen from outside.
fn gates(
    node: &FleetNode,
    nodes: &[FleetNode],
    slots: &[HeldSlot],
    paused: Option<String>,
    settings: &Settings,
) -> Vec<Gate> {
    let gate = |gate, open, found: String| Gate { gate, open, found };
    let has_slot = slots.iter().any(|it| it.slot.holder.as_ref() == Some(&node.name));
    let asks = has_slot || node.asks();
    // What its rebootd said before its turn is over by then.
    let said = node.heartbeat.as_ref().filter(|_| !has_slot);
    let hold = node.hold.clone().or_else(|| said?.held.clone());
    let of_pool: Vec<&FleetNode> =
        nodes.iter().filter(|it| it.pool.as_ref() == Some(&settings.pool) && it.name != node.name).collect();
    let sick: Vec<&str> = of_pool.iter().filter(|it| !it.is_ready).map(|it| it.name.as_str()).collect();
    vec![
        gate(
            "request",
            Some(asks),
            if asks { "it asks for a reboot" } else { "nothing is seen to ask for a reboot" }.to_owned(),
        ),
        gate(
            "pause",
            Some(paused.is_none()),
            paused.map_or("the fleet is not paused".to_owned(), |why| format!("the fleet is paused: {why}")),
        ),
        gate(
            "hold",
            Some(hold.is_none()),
            hold.map_or("nobody holds it".to_owned(), |why| format!("it is held: {why}")),
        ),
        slot(node, slots, &settings.pool),
        window(settings),
        gate(
            "ready",
            Some(node.is_ready),
            if node.is_ready { "it is Ready" } else { "it is not Ready" }.to_owned(),
        ),
        gate(
            "other-nodes",
            Some(sick.len() <= settings.gates.max_nodes_not_ready.of(of_pool.len() + 1)),
            match sick.as_slice() {
                [] => "the other nodes of its pool are Ready".to_owned(),
                sick => format!("not Ready in its pool: {}", sick.join(", ")),
            },
        ),
    ]
}

fn slot(node: &FleetNode, slots: &[HeldSlot], pool: &str) -> Gate {
    let of_pool: Vec<&HeldSlot> = slots.iter().filter(|it| it.slot.pool.as_deref() == Some(pool)).collect();
    let holders: Vec<&str> = of_pool.iter().filter_map(|it| it.slot.holder.as_deref()).collect();
    let (open, found) = match (of_pool.len(), holders.len()) {
        (0, _) => (false, format!("pool {pool} has no slot")),
        _ if holders.contains(&node.name.as_str()) => (true, "it holds a slot".to_owned()),
        (all, held) if held < all => (true, format!("{} of {all} slots of pool {pool} are free", all - held)),
        _ => (false, format!("the slots of pool {pool} are held by {}", holders.join(", "))),
    };
    Gate { gate: "slot", open: Some(open), found }
}

fn window(settings: &Settings) -> Gate {
    let now = clock::now().wall;
    let (open, found) = match settings.policy.windows.as_ref().map(|windows| windows.judge(now)) {
        None => (None, "no window is configured for the fleet; the node may have its own".to_owned()),
        Some(Judgement::Closed { opens: Some(opens), .. }) => {
            (Some(false), format!("no window is open; the next opens in {}", span(opens.saturating_sub(now))))
        }
        Some(Judgement::Closed { .. }) => (Some(false), "no window will ever open".to_owned()),
        Some(_) => (Some(true), "a window is open".to_owned()),
    };
    Gate { gate: "window", open, found }
}

/// What its own daemon says.
fn own_word(status: &Status) -> Gate {
    Gate { gate: DAEMON, open: None, found: status.line.clone() }
}

fn last_drains() -> Vec<u64> {
    let reboots = kept::read(Path::new(kept::PATH)).unwrap_or_default();
    reboots.iter().rev().take(3).rev().filter_map(|it| it.drained_for()).map(|it| it.as_secs()).collect()
}

fn starts() -> String {
    match kernel::read() {
        Err(why) => format!("not known: {why}"),
        Ok(kernel) => match (kernel.cannot_start, kernel.newer) {
            (Some(why), _) => format!("none: this host would not come up again: {why}"),
            (None, Some(newer)) => newer.release,
            (None, None) => kernel.running,
        },
    }
}

fn not_looked_at(here: bool, node: &str) -> Option<String> {
    let elsewhere = format!(
        "what only the node knows: its own configuration, packages, kernel, the last drains (sudo rebootctl check, and this command, on {node})"
    );
    Some(elsewhere).filter(|_| !here)
}

impl NodeRehearsal {
    /// For people.
    pub(super) fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!(
            "{:<14}  node {} (pool {}{})",
            self.verdict.words(),
            self.node,
            self.pool,
            if self.is_control_plane { ", a member of the control plane" } else { "" }
        )];
        for gate in &self.gates {
            let state = match gate.open {
                Some(true) => "open",
                Some(false) => "closed",
                None if gate.gate == DAEMON => "says",
                None => "?",
            };
            lines.push(format!("  {state:<6}  {:<11}  {}", gate.gate, gate.found));
        }
        lines.push(String::new());
        lines.push(self.drain());
        lines.extend(self.room.as_ref().map(Room::in_words));
        let shown = self
            .pods
            .iter()
            .filter(|pod| pod.becomes == "in-the-way" || pod.why.contains(':') && pod.becomes == "leaves");
        lines.extend(shown.map(|pod| format!("  {} {}", pod.pod, pod.why)));
        lines
    }

    fn drain(&self) -> String {
        let count = |becomes: &str| self.pods.iter().filter(|pod| pod.becomes == becomes).count();
        let last: Vec<String> = self.last_drains.iter().map(|it| span(Duration::from_secs(*it))).collect();
        format!(
            "The drain: {} pods leave, {} stay, {} are in the way; the longest grace period is {}{}. {} volumes go along. After the reboot, {} pods of \
             DaemonSets and static pods have to be back{}.",
            count("leaves"),
            count("stays"),
            count("in-the-way"),
            span(Duration::from_secs(self.longest_grace)),
            if last.is_empty() {
                String::new()
            } else {
                format!(", the last drains took {}", last.join(", "))
            },
            self.claims,
            self.come_back,
            self.kernel.as_ref().map(|it| format!("; the kernel that starts: {it}")).unwrap_or_default()
        )
    }

    pub(super) fn workloads(&self) -> &[Judged] {
        &self.workloads
    }

    pub(super) fn not_looked_at(&self) -> &[String] {
        &self.not_looked_at
    }
}
