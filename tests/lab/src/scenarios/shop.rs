//! A made shop with one fault of each kind, and what only looks like one: each finding appears, its remedy makes it go, and all
//! else stays silent. Pods are those of [simulated](crate::simulated) kubelets; budgets, workloads and evictions are real.

mod faults;
mod silent;

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::stage::{SOON, Stage};
use crate::progress::say;
use crate::rehearsal::{Rehearsal, findings};
use crate::simulated::{Ground, Name, Site};
use std::time::Duration;

const NAMESPACE: &str = "shop";
/// Nodes that take pods; the fourth is cordoned by a person.
const NODES: [&str; 4] = ["shop1", "shop2", "shop3", "shop4"];
const PAUSE: Duration = Duration::from_millis(500);

/// A workload, what is to be said of it, and what becomes of that.
struct Expected {
    /// As the rehearsal names it.
    workload: &'static str,
    /// Severity and name of each finding, the worst first: `blocks budget-never`.
    findings: &'static [&'static str],
    objects: Vec<Value>,
    /// What kubectl is asked for once its pods run.
    then: Vec<Vec<String>>,
    mend: Vec<Mend>,
    /// What is left afterwards; nothing where it has gone.
    left: Option<&'static [&'static str]>,
}

/// How a finding is mended.
enum Mend {
    /// By the YAML of its remedy, as docs/rehearse.md says.
    Paste(&'static str),
    /// The same in the manifest of a Job, which is then created again.
    Again(&'static str),
    /// By a person, since the remedy has words only: arguments of kubectl.
    By(Vec<String>),
    /// By a person, who applies this.
    Apply(Value),
}

impl Expected {
    fn new(workload: &'static str, findings: &'static [&'static str], objects: Vec<Value>) -> Self {
        Self { workload, findings, objects, then: Vec::new(), mend: Vec::new(), left: Some(&[]) }
    }

    fn then(mut self, arguments: &[&str]) -> Self {
        self.then.push(owned(arguments));
        self
    }

    fn paste(mut self, id: &'static str) -> Self {
        self.mend.push(Mend::Paste(id));
        self
    }

    fn again(mut self, id: &'static str) -> Self {
        self.mend.push(Mend::Again(id));
        self
    }

    fn by(mut self, arguments: &[&str]) -> Self {
        self.mend.push(Mend::By(owned(arguments)));
        self
    }

    fn apply(mut self, object: Value) -> Self {
        self.mend.push(Mend::Apply(object));
        self
    }

    fn left(mut self, findings: &'static [&'static str]) -> Self {
        self.left = Some(findings);
        self
    }

    /// It is no longer there.
    fn gone(mut self) -> Self {
        self.left = None;
        self
    }
}

fn owned(arguments: &[&str]) -> Vec<String> {
    arguments.iter().map(|it| (*it).to_owned()).collect()
}

struct Shop<'stage> {
    stage: &'stage Stage,
    rebootctl: PathBuf,
    all: Vec<Expected>,
}

pub(super) async fn run(stage: &Stage) -> Result<()> {
    let directory = stage.lab.directory().join("shop");
    let ground = Ground::prepare(&stage.lab, &stage.package, directory.clone()).await?;
    let cluster = &stage.lab.control_plane;
    cluster.kubectl(&["create", "namespace", NAMESPACE]).await?;
    let all: Vec<Expected> = faults::all().into_iter().chain(silent::all()).collect();
    let shop = Shop { stage, rebootctl: directory.join("package/usr/bin/rebootctl"), all };

    // The shop begins on one node: what is there by then is on that one.
    let mut sites = vec![site(stage, &ground, 0).await?];
    shop.apply(faults::on_one_node()).await?;
    shop.run_on_one_node().await?;
    for number in 1..NODES.len() {
        sites.push(site(stage, &ground, number).await?);
    }
    cluster.kubectl(&["label", "node", NODES[0], NODES[3], "disk=ssd"]).await?;
    cluster.kubectl(&["cordon", NODES[3]]).await?;
    shop.apply(faults::around()).await?;
    shop.apply(shop.all.iter().flat_map(|it| it.objects.clone()).collect()).await?;
    shop.apply(operated(&shop).await?).await?;
    shop.pods_run().await?;
    for then in shop.all.iter().flat_map(|it| &it.then) {
        shop.kubectl(then).await?;
    }

    let before = shop.finds("with all its faults", |it| Some(it.findings)).await?;
    let faults = shop.all.iter().filter(|it| !it.mend.is_empty()).count();
    say(format!(
        "each of the {faults} faults is found, and nothing of the {} others",
        shop.all.len() - faults
    ));
    unread(&shop).await?;
    for expected in &shop.all {
        shop.mend(expected, &before).await.with_context(|| format!("mending {}", expected.workload))?;
    }
    shop.finds("with all faults mended", |it| it.left).await?;
    say("each remedy has made its finding go");
    drop(sites);
    Ok(())
}

/// A simulated machine with its kubelet and Node; no rebootd runs on it.
async fn site(stage: &Stage, ground: &Ground, number: usize) -> Result<Site> {
    let name = Name { node: NODES[number], pool: "shop", number, tells_ids: true };
    let site = ground.site(&stage.lab, name).await?;
    stage
        .wait_for(
            "the Node is Ready",
            move |state| state.node(NODES[number]).is_some_and(|node| node.ready),
            SOON,
        )
        .await?;
    Ok(site)
}

/// What an operator has made, which names its own object as owner.
async fn operated(shop: &Shop<'_>) -> Result<Vec<Value>> {
    let cluster = &shop.stage.lab.control_plane;
    cluster.apply(&silent::operators_kind().to_string()).await?;
    cluster.kubectl(&["wait", "--for=condition=Established", "--timeout=90s", "crd", silent::KIND]).await?;
    shop.apply(vec![silent::operators_object()]).await?;
    let made = cluster.kubectl_json(&["get", silent::KIND, "-n", NAMESPACE]).await?;
    let uid = made["items"][0]["metadata"]["uid"].as_str().context("it has no uid")?;
    Ok(silent::made_by_operator(uid))
}

/// Who may not list budgets is told so, and is told all once he may.
async fn unread(shop: &Shop<'_>) -> Result<()> {
    let clerk = shop.stage.kubeconfig_of("clerk")?;
    let kinds = "--resource=pods,services,persistentvolumeclaims,deployments.apps,replicasets.apps,statefulsets.apps,jobs.batch,horizontalpodautoscalers.autoscaling";
    shop.kubectl(&owned(&["create", "role", "clerk", "--verb=list", kinds])).await?;
    shop.kubectl(&owned(&["create", "rolebinding", "clerk", "--role=clerk", "--user=clerk"])).await?;
    let arguments = ["-n", NAMESPACE, "--patience=0s", "--workload", "deployment/half"];
    let cluster = &shop.stage.lab.control_plane;
    let until = Instant::now() + SOON;
    for (budgets, expected) in [(false, &["unknown budgets-unread"][..]), (true, &[])] {
        if budgets {
            shop.kubectl(&owned(&[
                "create",
                "role",
                "more",
                "--verb=list",
                "--resource=poddisruptionbudgets.policy",
            ]))
            .await?;
            shop.kubectl(&owned(&["create", "rolebinding", "more", "--role=more", "--user=clerk"])).await?;
        }
        loop {
            // The API server takes up new rights a moment later.
            let said = Rehearsal::of(cluster, &shop.rebootctl, &arguments, Some(&clerk)).await;
            match said.map(|it| it.workloads().next().map(short)) {
                Ok(Some(found)) if found == expected => break,
                other => ensure!(Instant::now() < until, "a clerk is told {other:?}, not {expected:?}"),
            }
            sleep(PAUSE).await;
        }
    }
    Ok(())
}

/// Severity and name of each finding; of one that was accepted that instead.
fn short(workload: &Value) -> Vec<String> {
    let one = |it: &Value| {
        let severity = if it["accepted"].is_null() { it["severity"].as_str() } else { Some("accepted") };
        format!("{} {}", severity.unwrap_or(""), it["id"].as_str().unwrap_or(""))
    };
    findings(workload).map(one).collect()
}

/// The verdict that follows from such findings.
fn verdict(findings: &[String]) -> &'static str {
    let has = |severity: &str| findings.iter().any(|it| it.starts_with(severity));
    match (has("blocks "), has("unknown "), has("warns ")) {
        (true, ..) => "blocks",
        (_, true, _) => "could-not-tell",
        (.., true) => "warns",
        _ => "nobody-notices",
    }
}

impl Shop<'_> {
    async fn kubectl(&self, arguments: &[String]) -> Result<String> {
        let all: Vec<&str> =
            ["-n", NAMESPACE].into_iter().chain(arguments.iter().map(String::as_str)).collect();
        self.stage.lab.control_plane.kubectl(&all).await
    }

    async fn apply(&self, items: Vec<Value>) -> Result<()> {
        let list = json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string();
        self.stage
            .lab
            .control_plane
            .kubectl_with_input(&["apply", "-n", NAMESPACE, "-f", "-"], Some(&list))
            .await?;
        Ok(())
    }

    /// Until those of the first node run there.
    async fn run_on_one_node(&self) -> Result<()> {
        let is_there = |state: &crate::observer::State| {
            let running = state.pods.values().filter(|pod| pod.namespace == NAMESPACE && pod.ready);
            running.count() == faults::ON_ONE_NODE
        };
        self.stage.wait_for("the first pods run", is_there, SOON).await?;
        Ok(())
    }

    /// Until each pod runs that will.
    async fn pods_run(&self) -> Result<()> {
        let until = Instant::now() + SOON;
        loop {
            let wide = ["get", "deployments,statefulsets,jobs,daemonsets", "-n", NAMESPACE];
            let all = self.stage.lab.control_plane.kubectl_json(&wide).await?;
            let is_behind = |it: &&Value| {
                let (spec, status) = (&it["spec"], &it["status"]);
                let wanted = [&spec["replicas"], &spec["parallelism"], &status["desiredNumberScheduled"]];
                let wanted = wanted.iter().find_map(|it| it.as_u64()).unwrap_or(1);
                let there = [&status["replicas"], &status["active"], &status["currentNumberScheduled"]];
                let there = there.iter().find_map(|it| it.as_u64()).unwrap_or(0);
                there < wanted
            };
            let behind: Vec<&Value> =
                all["items"].as_array().into_iter().flatten().filter(is_behind).collect();
            if behind.is_empty() {
                return Ok(());
            }
            ensure!(Instant::now() < until, "pods are missing of {behind:#?}");
            sleep(PAUSE).await;
        }
    }

    /// Rehearses until it finds just this, and no other workload.
    async fn finds(
        &self,
        when: &str,
        expected: impl Fn(&Expected) -> Option<&'static [&'static str]>,
    ) -> Result<Rehearsal> {
        let wanted: BTreeMap<&str, Vec<String>> =
            self.all.iter().filter_map(|it| Some((it.workload, owned(expected(it)?)))).collect();
        let until = Instant::now() + SOON;
        loop {
            let arguments = ["-n", NAMESPACE, "--patience=0s"];
            let said =
                Rehearsal::of(&self.stage.lab.control_plane, &self.rebootctl, &arguments, None).await?;
            let found: BTreeMap<&str, Vec<String>> =
                said.workloads().map(|it| (it["workload"].as_str().unwrap_or(""), short(it))).collect();
            for it in said.workloads() {
                ensure!(it["verdict"] == verdict(&short(it)), "its findings do not make its verdict: {it:#}");
            }
            if found == wanted {
                return Ok(said);
            }
            if Instant::now() > until {
                let differ: Vec<String> = wanted
                    .keys()
                    .chain(found.keys())
                    .filter(|it| wanted.get(*it) != found.get(*it))
                    .map(|it| format!("{it}: expected {:?}, found {:?}", wanted.get(it), found.get(it)))
                    .collect();
                say(format!("{:#}", said.found));
                bail!("{when}:\n{}", differ.join("\n"));
            }
            sleep(PAUSE).await;
        }
    }

    async fn mend(&self, expected: &Expected, before: &Rehearsal) -> Result<()> {
        for mend in &expected.mend {
            match mend {
                Mend::By(arguments) => drop(self.kubectl(arguments).await?),
                Mend::Apply(object) => self.apply(vec![object.clone()]).await?,
                Mend::Paste(id) => self.paste(&before.finding(expected.workload, id)?["remedy"]).await?,
                Mend::Again(id) => {
                    self.again(expected, &before.finding(expected.workload, id)?["remedy"]).await?;
                }
            }
        }
        Ok(())
    }

    /// What the remedy gives, as docs/rehearse.md says.
    async fn paste(&self, remedy: &Value) -> Result<()> {
        let (object, yaml) = told(remedy)?;
        if yaml.starts_with("apiVersion:") {
            let new = ["apply", "-n", NAMESPACE, "-f", "-"];
            self.stage.lab.control_plane.kubectl_with_input(&new, Some(yaml)).await?;
            return Ok(());
        }
        self.kubectl(&owned(&["patch", object, "--patch", yaml])).await?;
        Ok(())
    }

    /// Changes the manifest, and creates the object again.
    async fn again(&self, expected: &Expected, remedy: &Value) -> Result<()> {
        let (object, yaml) = told(remedy)?;
        let manifest = expected.objects.first().context("it has no manifest")?.to_string();
        let change = ["patch", "--local", "-f", "-", "-o", "json", "--patch", yaml];
        let cluster = &self.stage.lab.control_plane;
        let changed = cluster.kubectl_with_input(&change, Some(&manifest)).await?;
        self.kubectl(&owned(&["delete", object])).await?;
        self.apply(vec![serde_json::from_str(&changed)?]).await
    }
}

/// The object of a remedy and its YAML, which it has to have.
fn told(remedy: &Value) -> Result<(&str, &str)> {
    let text = |name: &str| remedy[name].as_str().filter(|it| !it.is_empty());
    text("object").zip(text("yaml")).with_context(|| format!("nothing to paste in {remedy:#}"))
}
