//! What happens to a pod that ends: whether it comes back, ends in time, and what its end costs.

use std::time::Duration;

use super::budgets;
use super::finding::{Finding, Severity};
use super::namespace::Namespace;
use super::objects::{Controller, FailureRule, Pod};
use super::workload::Workload;
use crate::decide::span;

/// The API server's own default, in seconds.
const DEFAULT_GRACE: i64 = 30;
/// The exit code of a process that was killed (128 + SIGKILL).
const KILLED: i32 = 137;
/// Reasons that go with it without a grace period: no memory, or a container that was gone when the kubelet looked, as after a
/// reboot.
const OTHERWISE: [&str; 2] = ["OOMKilled", "ContainerStatusUnknown"];

/// A pod that nothing looks after stays through the drain, and starts again with the node.
pub(super) fn bare(workload: &Workload<'_>, namespace: &Namespace) -> Vec<Finding> {
    let (Some(pod), true) = (workload.pods.first(), workload.is_bare) else { return Vec::new() };
    let name = &pod.metadata.name;
    let recreate = "have a controller look after it, such as a Deployment, which creates it elsewhere";
    if pod.spec.restart_policy == "Never" {
        let found = "it runs only once (restartPolicy: Never), and nothing would create it again: the node waits for its end";
        let finding = Finding::new("runs-once", Severity::Blocks, found);
        return vec![finding.remedy(
            "run it as a Job, which begins it again elsewhere",
            format!("pod/{name}"),
            "",
        )];
    }
    if budgets::covers(workload, namespace) {
        let found = "nothing looks after it, so it would stay through the reboot; but a budget covers it, and a reboot asks no budget: \
                     the node waits for a person";
        return vec![Finding::new("bare-under-budget", Severity::Blocks, found).remedy(
            recreate,
            format!("pod/{name}"),
            "",
        )];
    }
    if namespace.graceful == Some(true) {
        let found = "nothing looks after it, so it would stay through the reboot; but the kubelet's graceful shutdown \
                     (shutdownGracePeriod) would end it for good: the node waits for a person";
        return vec![Finding::new("bare-ends", Severity::Blocks, found).remedy(
            recreate,
            format!("pod/{name}"),
            "",
        )];
    }
    let found = match namespace.graceful {
        Some(_) => "nothing looks after it: it is down as long as its node, and starts again there",
        None => {
            "nothing looks after it: it is down as long as its node, and starts again there; unless the kubelet shuts down gracefully \
             (shutdownGracePeriod), which would end it for good: then the node waits for a person"
        }
    };
    vec![Finding::new("bare", Severity::Warns, found).remedy(recreate, format!("pod/{name}"), "")]
}

/// A Job begins its pod again, if it may fail once more.
pub(super) fn job(workload: &Workload<'_>, _: &Namespace) -> Vec<Finding> {
    let Some(job) = workload.object.filter(|_| workload.ends() && !workload.pods.is_empty()) else {
        return Vec::new();
    };
    if ignores_disruptions(job) {
        return vec![Finding::new("job-begins-again", Severity::Note, "its pod begins again elsewhere")];
    }
    if job.spec.backoff_limit == Some(0) {
        let found = "its pod would fail by the eviction, and with backoffLimit: 0 so does the Job";
        let yaml = "spec:\n  podFailurePolicy:\n    rules:\n    - action: Ignore\n      onPodConditions:\n      - type: DisruptionTarget\n  template:\n    spec:\n      restartPolicy: Never\n";
        return vec![Finding::new("job-fails", Severity::Warns, found).remedy(
            "do not count an eviction as a failure, in the manifest: a Job that is there cannot be changed, and is created again",
            workload.to_change(),
            yaml,
        )];
    }
    vec![Finding::new(
        "job-begins-again",
        Severity::Note,
        "its pod begins again elsewhere; what it has done so far may be lost",
    )]
}

fn ignores_disruptions(job: &Controller) -> bool {
    let is_of_disruption =
        |rule: &&FailureRule| rule.on_pod_conditions.iter().any(|it| it.kind == "DisruptionTarget");
    let rule = job.spec.pod_failure_policy.rules.iter().find(is_of_disruption);
    rule.is_some_and(|rule| matches!(rule.action.as_str(), "Ignore" | "FailIndex"))
}

/// A grace period that no drain has time for.
pub(super) fn grace(workload: &Workload<'_>, namespace: &Namespace) -> Vec<Finding> {
    let (Some(deadline), Some(spec), false) = (&namespace.deadline, workload.spec(), workload.stays()) else {
        return Vec::new();
    };
    let grace = spec.termination_grace_period_seconds.unwrap_or(DEFAULT_GRACE).max(0);
    let grace = Duration::from_secs(grace.unsigned_abs());
    if grace <= *deadline {
        return Vec::new();
    }
    let found = format!(
        "it may take {} to end (terminationGracePeriodSeconds), and a drain is given up after {}",
        span(grace),
        span(*deadline)
    );
    let seconds = deadline.as_secs() * 4 / 5;
    let yaml = format!("spec:\n  template:\n    spec:\n      terminationGracePeriodSeconds: {seconds}\n");
    vec![Finding::new("grace-too-long", Severity::Blocks, found).remedy(
        "end sooner; or have the administrators give a drain more time (`timeout` in [drain])",
        workload.to_change(),
        workload.in_template(&yaml),
    )]
}

/// A container that did not end when it was told to.
pub(super) fn killed(workload: &Workload<'_>, _: &Namespace) -> Vec<Finding> {
    let killed = |pod: &&Pod| {
        pod.status.container_statuses.iter().find_map(|it| {
            let ended = it.last_state.terminated.as_ref()?;
            let is_killed = ended.exit_code == KILLED && !OTHERWISE.contains(&ended.reason.as_str());
            let at = if ended.finished_at.is_empty() {
                String::new()
            } else {
                format!(" at {}", ended.finished_at)
            };
            is_killed.then(|| format!("container {} of pod {}{at}", it.name, pod.metadata.name))
        })
    };
    let Some(seen) = workload.pods.iter().find_map(killed) else { return Vec::new() };
    let found = "a container was killed the last time it ended: it may not heed SIGTERM, or take longer than its grace period; \
                 requests that it serves then are cut off";
    let yaml = "spec:\n  template:\n    spec:\n      terminationGracePeriodSeconds: 60   # as long as it needs to end well\n";
    vec![Finding::new("killed", Severity::Warns, found).seen(seen).remedy(
        "end on SIGTERM, and within the grace period",
        workload.to_change(),
        workload.in_template(yaml),
    )]
}
