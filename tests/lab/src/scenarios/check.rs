//! `rebootctl check`, on a host and from outside: it finds what is broken on purpose, and nothing else changes.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::stage::{SLOT, SOON, Stage, run_anyway};
use crate::host::Host;
use crate::progress::say;

const CRON: &str = "/etc/cron.d/weekly-reboot";
const TIMER: &str = "/etc/systemd/system/nightly.timer";
const STATE: &str = "/var/lib/rebootd";
const TOKEN: &str = "/var/lib/rebootd/token";
const BINDING: &str = "validatingadmissionpolicybinding/rebootd-nodes";

/// A report, as programs read it, and its exit code.
struct Report {
    code: Option<i32>,
    checks: Vec<Value>,
    text: String,
}

impl Report {
    fn new(code: Option<i32>, text: String) -> Result<Report> {
        let report: Value = serde_json::from_str(&text).with_context(|| format!("code {code:?}: {text}"))?;
        let checks = report["checks"].as_array().context("no checks")?.clone();
        Ok(Report { code, checks, text })
    }

    /// What this check found: its verdict and its words.
    fn of(&self, name: &str) -> Result<(&str, String)> {
        let check = self.checks.iter().find(|check| check["check"] == name);
        let check = check.with_context(|| format!("no check {name}: {}", self.text))?;
        Ok((check["verdict"].as_str().unwrap_or_default(), format!("{} {}", check["found"], check["remedy"])))
    }

    /// These checks found this, with these words.
    fn tells(&self, expected: &[(&str, &str, &str)]) -> Result<()> {
        for (name, verdict, words) in expected {
            let (told, found) = self.of(name)?;
            ensure!(
                told == *verdict && found.contains(words),
                "{name}: {told} {found}, not {verdict} {words}"
            );
            say(format!("{name}: {told} {found}"));
        }
        Ok(())
    }

    /// Everything is right, but for these.
    fn is_well_but(&self, allowed: &[&str]) -> Result<()> {
        for check in &self.checks {
            let is_allowed = allowed.iter().any(|name| check["check"] == *name);
            ensure!(is_allowed || check["verdict"] == "ok", "this should be well: {check}");
        }
        Ok(())
    }
}

async fn on(host: &Host) -> Result<Report> {
    by(host, &[]).await
}

/// The same through another command.
async fn by(host: &Host, command: &[&str]) -> Result<Report> {
    let output = host.run(&[command, &["rebootctl", "check", "--json"]].concat()).await?;
    Report::new(output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

async fn from_outside(stage: &Stage, host: &Host) -> Result<Report> {
    let program = host.root().join("usr/bin/rebootctl");
    let output = stage.lab.control_plane.rebootctl_output(&program, &["check", "--fleet", "--json"]).await?;
    Report::new(output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

/// What both say to a person, kept for the documents.
async fn keep(stage: &Stage, host: &Host, name: &str) -> Result<()> {
    let program = host.root().join("usr/bin/rebootctl");
    let fleet = stage.lab.control_plane.rebootctl_output(&program, &["check", "--fleet"]).await?;
    let (_, node) = run_anyway(host, &["rebootctl", "check"]).await?;
    let text = format!("{node}\n{}", String::from_utf8_lossy(&fleet.stdout));
    std::fs::write(stage.results.join(format!("check-{name}")), text)?;
    Ok(())
}

/// A host without a credential says so, and that it does not know what only the cluster tells.
pub(super) async fn without_credential(host: &Host) -> Result<()> {
    let report = on(host).await?;
    ensure!(report.code == Some(1), "the exit code is {:?}: {}", report.code, report.text);
    report.tells(&[
        ("daemon", "ok", "no credential yet"),
        ("credential", "problem", "rebootctl enroll"),
        ("policies", "unknown", ""),
        ("permission", "ok", "logind"),
    ])
}

/// Once the daemon has tried what its credential can do.
async fn settled(host: &Host) -> Result<Report> {
    let deadline = Instant::now() + SOON;
    loop {
        let report = on(host).await?;
        if report.of("policies")?.0 == "ok" || Instant::now() > deadline {
            return Ok(report);
        }
        sleep(Duration::from_millis(500)).await;
    }
}

/// A host that is idle in a cluster where everything is right; then one thing after the other is broken.
pub(super) async fn run(stage: &Stage, host: &Host) -> Result<()> {
    let report = settled(host).await?;
    // What a small container of the lab lacks.
    let lacks = ["clock", "sentinel", "graceful-shutdown"];
    report.is_well_but(&lacks)?;
    ensure!(report.code == Some(0), "the exit code is {:?}: {}", report.code, report.text);
    let anybody = by(host, &["runuser", "-u", "nobody", "--"]).await?;
    anybody.tells(&[("permission", "unknown", "sudo"), ("secrets", "unknown", TOKEN)])?;
    let (code, _) = run_anyway(host, &["rebootctl", "check", "--kubeconfig=x"]).await?;
    ensure!(code == Some(2), "a wrong command line ends with {code:?}");
    from_outside(stage, host).await?.is_well_but(&["agents", "token-pods"])?;
    keep(stage, host, "well").await?;

    host.write_file(CRON, "# m h dom mon dow user command\n0 4 * * 0 root /sbin/shutdown -r now\n").await?;
    host.write_file(TIMER, "[Timer]\nOnCalendar=2099-01-01\nUnit=reboot.target\n").await?;
    host.run_ok(&["systemctl", "daemon-reload"]).await?;
    host.run_ok(&["systemctl", "start", "nightly.timer"]).await?;
    host.run_ok(&["chmod", "a+rX", STATE, TOKEN]).await?;
    let inhibit = [
        "systemd-run",
        "--unit=backup",
        "systemd-inhibit",
        "--what=shutdown",
        "--who=backup",
        "--why=full backup",
    ];
    host.run_ok(&[&inhibit[..], &["sleep", "1000"]].concat()).await?;
    let (code, _) =
        run_anyway(host, &["sh", "-c", "until systemd-inhibit --list | grep -q backup; do sleep 0.1; done"])
            .await?;
    ensure!(code == Some(0), "nothing inhibits");
    let report = on(host).await?;
    report.tells(&[
        ("cron", "warning", "/etc/cron.d/weekly-reboot:2: 0 4 * * 0 root /sbin/shutdown -r now"),
        ("timers", "warning", "nightly.timer starts reboot.target"),
        ("secrets", "problem", TOKEN),
        ("inhibitors", "warning", "full backup"),
    ])?;
    ensure!(report.code == Some(1), "the exit code is {:?}", report.code);

    break_the_cluster(stage).await?;
    let report = from_outside(stage, host).await?;
    report.tells(&[
        ("pause", "warning", "incident 42"),
        ("holders", "warning", "gone"),
        ("policies", "problem", "rebootd-nodes has no binding that denies"),
        ("kured", "warning", "kube-system/kured"),
        ("pools", "ok", ""),
    ])?;
    ensure!(report.code == Some(1), "the exit code is {:?}", report.code);
    keep(stage, host, "broken").await?;
    without_rights(stage, host).await?;
    mend(stage, host).await
}

async fn break_the_cluster(stage: &Stage) -> Result<()> {
    let cluster = &stage.lab.control_plane;
    let pause = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": "pause", "namespace": "rebootd"}, "spec": {"holderIdentity": "incident 42"}});
    let labels = json!({"name": "kured"});
    let template = json!({"metadata": {"labels": labels}, "spec": {
        "nodeSelector": {"lab/none": "true"}, "containers": [{"name": "kured", "image": "none"}]}});
    let kured = json!({"apiVersion": "apps/v1", "kind": "DaemonSet",
        "metadata": {"name": "kured", "namespace": "kube-system", "labels": labels},
        "spec": {"selector": {"matchLabels": labels}, "template": template}});
    for object in [pause, kured] {
        cluster.apply(&object.to_string()).await?;
    }
    stage.set_holder("\"gone\"").await?;
    let warn = r#"{"spec":{"validationActions":["Warn"]}}"#;
    cluster.kubectl(&["patch", BINDING, "--type=merge", "--patch", warn]).await?;
    Ok(())
}

/// Somebody who may only list Nodes is told which rights the rest needs.
async fn without_rights(stage: &Stage, host: &Host) -> Result<()> {
    let cluster = &stage.lab.control_plane;
    cluster
        .kubectl(&["create", "clusterrole", "looks-at-nodes", "--verb=get,list", "--resource=nodes"])
        .await?;
    cluster
        .kubectl(&[
            "create",
            "clusterrolebinding",
            "looks-at-nodes",
            "--clusterrole=looks-at-nodes",
            "--user=looker",
        ])
        .await?;
    let kubeconfig = stage.kubeconfig_of("looker")?;
    let named = format!("--kubeconfig={}", kubeconfig.display());
    let program = host.root().join("usr/bin/rebootctl");
    let output = cluster.rebootctl_output(&program, &["check", "--fleet", "--json", &named]).await?;
    let report = Report::new(output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())?;
    report.tells(&[
        ("cluster", "ok", "the API server answers"),
        ("slots", "unknown", "list leases in the namespace rebootd"),
        ("policies", "unknown", "validatingadmissionpolicies"),
        ("kured", "unknown", "list daemonsets"),
    ])?;
    ensure!(report.code == Some(0), "what is unknown is no problem: {:?}", report.code);
    Ok(())
}

async fn mend(stage: &Stage, host: &Host) -> Result<()> {
    let cluster = &stage.lab.control_plane;
    cluster.kubectl(&["delete", "-n", "rebootd", "lease", "pause"]).await?;
    cluster.kubectl(&["delete", "-n", "kube-system", "daemonset", "kured"]).await?;
    let deny = r#"{"spec":{"validationActions":["Deny"]}}"#;
    cluster.kubectl(&["patch", BINDING, "--type=merge", "--patch", deny]).await?;
    stage.set_holder("null").await?;
    host.run_ok(&["systemctl", "stop", "nightly.timer", "backup.service"]).await?;
    host.run_ok(&["chmod", "go=", STATE, TOKEN]).await?;
    host.run_ok(&["rm", CRON, TIMER]).await?;
    ensure!(stage.holder().is_none(), "{SLOT} is still held");
    let report = on(host).await?;
    ensure!(report.code == Some(0), "once it is mended: {}", report.text);
    Ok(())
}
