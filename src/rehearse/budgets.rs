//! Budgets: whether they can ever let a pod go, and whether they do now.

use std::collections::{BTreeMap, BTreeSet};

use super::finding::{Finding, Severity};
use super::namespace::{Answer, Namespace};
use super::objects::{Amount, Budget, Pod};
use super::operators;
use super::workload::{Workload, known};
use crate::notation::Selector;

/// What a budget allows, by its own numbers.
struct Allows<'a> {
    budget: &'a Budget,
    /// How many pods it is about.
    expected: i64,
    /// How many of them have to be healthy.
    desired: i64,
}

/// How many pods have to be healthy. Shares are rounded up, of both kinds: so `maxUnavailable: 1%` of three pods lets one
/// go, and `minAvailable: 51%` of three keeps two (`getExpectedPodCount` in Kubernetes'
/// `pkg/controller/disruption/disruption.go`).
fn desired(budget: &Budget, expected: i64) -> i64 {
    let of = |amount: &Amount| match amount {
        Amount::Number(number) => *number,
        Amount::Share(share) => {
            let percent: i64 = share.trim_end_matches('%').parse().unwrap_or(0);
            percent.clamp(0, 1_000_000).saturating_mul(expected).saturating_add(99) / 100
        }
    };
    match (&budget.spec.min_available, &budget.spec.max_unavailable) {
        (Some(least), _) => of(least),
        (None, Some(most)) => (expected - of(most)).max(0),
        // The API server's default for a budget that says neither.
        (None, None) => 1,
    }
}

fn selects(budget: &Budget, labels: &BTreeMap<String, String>) -> bool {
    budget.spec.selector.clone().map(Selector::from).is_some_and(|selector| selector.selects(labels))
}

/// Those of its pods that a budget selects.
fn selected<'a>(budget: &Budget, workload: &Workload<'a>) -> Vec<&'a Pod> {
    workload.pods.iter().copied().filter(|pod| selects(budget, &pod.metadata.labels)).collect()
}

fn of<'a>(workload: &Workload<'_>, namespace: &'a Namespace) -> Vec<&'a Budget> {
    known(&namespace.budgets).iter().filter(|budget| !selected(budget, workload).is_empty()).collect()
}

/// The names of the budgets that cover a pod.
pub(super) fn names_of<'a>(pod: &Pod, namespace: &'a Namespace) -> BTreeSet<&'a str> {
    let covers = known(&namespace.budgets).iter().filter(|budget| selects(budget, &pod.metadata.labels));
    covers.map(|budget| budget.metadata.name.as_str()).collect()
}

/// Whether some budget covers a pod of it.
pub(super) fn covers(workload: &Workload<'_>, namespace: &Namespace) -> bool {
    !of(workload, namespace).is_empty()
}

/// How many of its pods may be away at the same time, by a budget that covers all of them; `None` if there is none.
pub(super) fn lets_go(workload: &Workload<'_>, namespace: &Namespace) -> Option<i64> {
    let all =
        of(workload, namespace).into_iter().filter(|it| selected(it, workload).len() == workload.pods.len());
    all.map(|budget| allows(budget, workload)).map(|it| (it.expected - it.desired).max(0)).min()
}

/// Whether a finding about its budgets tells more than its numbers would.
pub(super) fn tell(workload: &Workload<'_>, namespace: &Namespace) -> bool {
    of_workload(workload, namespace).iter().any(|it| it.severity >= Severity::Unknown)
}

fn key(budget: &Budget) -> String {
    format!("poddisruptionbudget/{}", budget.metadata.name)
}

/// Its spec, as people write it.
fn words(budget: &Budget) -> String {
    let told = |name: &str, amount: &Option<Amount>| match amount {
        None => None,
        Some(Amount::Number(number)) => Some(format!("{name}: {number}")),
        Some(Amount::Share(share)) => Some(format!("{name}: {share}")),
    };
    let spec = &budget.spec;
    let told =
        told("minAvailable", &spec.min_available).or_else(|| told("maxUnavailable", &spec.max_unavailable));
    told.unwrap_or_else(|| "minAvailable: 1".to_owned())
}

/// What the budgets of a workload say.
pub(super) fn of_workload(workload: &Workload<'_>, namespace: &Namespace) -> Vec<Finding> {
    if let Err(why) = &namespace.budgets {
        return vec![Finding::new(
            "budgets-unread",
            Severity::Unknown,
            format!("whether a budget is in the way is not known: {why}"),
        )];
    }
    // A pod of its own that stays is judged for itself.
    if workload.stays() || workload.is_bare || workload.pods.is_empty() {
        return Vec::new();
    }
    let budgets = of(workload, namespace);
    let twice = workload.pods.iter().find_map(|pod| {
        let mut of_pod = budgets.iter().filter(|budget| selects(budget, &pod.metadata.labels));
        of_pod.next().zip(of_pod.next())
    });
    if let Some((first, second)) = twice {
        let names = format!("{} and {}", first.metadata.name, second.metadata.name);
        let finding = Finding::new(
            "two-budgets",
            Severity::Blocks,
            format!("budgets {names} cover the same pod, and the API server evicts no such pod"),
        );
        let what = "keep one of them, and then change it in any way (an annotation will do): only then is it counted again; or narrow the \
                    selector of the other";
        return vec![finding.about(key(second)).remedy(what, key(second), "")];
    }
    let said = refusals(workload, namespace);
    let judged = budgets.into_iter().filter_map(|budget| judge(budget, workload, namespace));
    judged
        .map(|finding| match &said {
            Some(said) if finding.severity >= Severity::Unknown => finding.seen(said),
            _ => finding,
        })
        .collect()
}

fn judge(budget: &Budget, workload: &Workload<'_>, namespace: &Namespace) -> Option<Finding> {
    let status = &budget.status;
    let broken =
        status.conditions.iter().find(|it| it.kind == "DisruptionAllowed" && it.reason == "SyncFailed");
    if let Some(broken) = broken {
        let found = format!("budget {} lets no pod go: {}", budget.metadata.name, broken.message);
        let yaml = number(budget, selected(budget, workload).len().saturating_sub(1).min(1));
        let finding = Finding::new("budget-broken", Severity::Blocks, found).about(key(budget));
        return Some(finding.remedy("have it count pods", key(budget), yaml));
    }
    let by = budget.metadata.owner_references.iter().find_map(|owner| operators::of(&owner.api_version));
    let operator = by.or_else(|| workload.operator());
    let allows = allows(budget, workload);
    let found = if allows.desired >= allows.expected {
        never(&allows, workload)
    } else if status.disruptions_allowed <= 0 {
        not_now(budget, workload)
    } else {
        return at_minimum(&allows, workload);
    };
    match operator {
        None => Some(found),
        Some(does) => Some(Finding {
            severity: Severity::Note,
            found: format!("{}; {does}", found.found),
            remedy: None,
            id: "operator",
            ..found
        }),
    }
    .filter(|found| !(found.id == "budget-not-now" && answered_otherwise(workload, namespace)))
}

/// The API server lets sick pods go that a budget does not count.
fn answered_otherwise(workload: &Workload<'_>, namespace: &Namespace) -> bool {
    let mut answers =
        workload.pods.iter().filter_map(|pod| namespace.answers.get(&pod.metadata.uid)).peekable();
    answers.peek().is_some() && answers.all(|answer| *answer == Answer::Granted)
}

/// By the budget's own count where it is of this spec, else by the replicas that there should be.
fn allows<'a>(budget: &'a Budget, workload: &Workload<'_>) -> Allows<'a> {
    let status = &budget.status;
    let is_current = status.observed_generation >= budget.metadata.generation && status.expected_pods > 0;
    let of_it = selected(budget, workload).len();
    let is_all = of_it == workload.pods.len();
    let counted =
        workload.specified().filter(|_| is_all).unwrap_or_else(|| i64::try_from(of_it).unwrap_or(i64::MAX));
    let expected = if is_current { status.expected_pods } else { counted };
    Allows { budget, expected, desired: desired(budget, expected) }
}

fn never(allows: &Allows<'_>, workload: &Workload<'_>) -> Finding {
    let Allows { budget, expected, desired } = allows;
    let name = &budget.metadata.name;
    let of = if *expected == 1 { "its only pod".to_owned() } else { format!("all {expected} pods") };
    let found = format!(
        "budget {name} ({}) wants {of} healthy{}: it never lets one go",
        words(budget),
        if desired > expected { format!(", and {desired} at least") } else { String::new() }
    );
    let is_some = selected(budget, workload).len() < workload.pods.len();
    let what = match expected {
        1 if is_some => {
            "let it go at a drain, or have whoever gives it this role give it to another pod first".to_owned()
        }
        1 => format!(
            "let its pod go, and have two replicas so that nobody notices (replicas: 2 in {})",
            workload.to_change()
        ),
        _ => "let one go at a time".to_owned(),
    };
    Finding::new("budget-never", Severity::Blocks, found).about(key(budget)).remedy(
        what,
        key(budget),
        one_may_go(budget, workload, *expected),
    )
}

fn not_now(budget: &Budget, workload: &Workload<'_>) -> Finding {
    let status = &budget.status;
    let found = format!(
        "budget {} ({}) lets no pod go now: {} of {} are healthy, and {} have to be",
        budget.metadata.name,
        words(budget),
        status.current_healthy,
        status.expected_pods,
        status.desired_healthy
    );
    let is_rolling = workload.is_rolling() || workload.is_unfinished();
    let severity = if is_rolling { Severity::Unknown } else { Severity::Blocks };
    let finding = Finding::new("budget-not-now", severity, found).about(key(budget));
    if is_rolling {
        return finding.seen("a rollout is under way; ask again when it is over");
    }
    let always = budget.spec.unhealthy_pod_eviction_policy.as_deref() == Some("AlwaysAllow");
    let (ready, sick): (Vec<&Pod>, Vec<&Pod>) =
        selected(budget, workload).into_iter().partition(|pod| pod.is_ready());
    let is_old = i64::try_from(ready.len()).is_ok_and(|ready| ready > status.current_healthy);
    match sick.first() {
        // The disruption controller forgets a budget whose pods another one covered, also once that is gone.
        None if is_old => finding.seen(format!("{} are Ready: its count is old", ready.len())).remedy(
            "have it counted again, by any change of it",
            key(budget),
            "metadata:\n  annotations:\n    rebootd.io/counted: again\n",
        ),
        None => finding,
        Some(pod) if always => finding.seen(format!("pod {} is not Ready", pod.metadata.name)),
        Some(pod) => finding.seen(format!("pod {} is not Ready", pod.metadata.name)).remedy(
            "mend the pods that are not Ready; and let them go, so that a sick application never holds up a patch",
            key(budget),
            "spec:\n  unhealthyPodEvictionPolicy: AlwaysAllow\n",
        ),
    }
}

/// Whether it would never let one go once there are as few replicas as an autoscaler may leave.
fn at_minimum(allows: &Allows<'_>, workload: &Workload<'_>) -> Option<Finding> {
    let scaler = workload.autoscaler?;
    let least = scaler.spec.min_replicas.unwrap_or(1);
    let budget = allows.budget;
    if least >= allows.expected || desired(budget, least) < least {
        return None;
    }
    let found = format!(
        "budget {} ({}) never lets a pod go while autoscaler {} is at its minimum of {least}, as at night",
        budget.metadata.name,
        words(budget),
        scaler.metadata.name
    );
    let finding = Finding::new("budget-never-at-minimum", Severity::Warns, found).about(key(budget));
    Some(finding.remedy(
        "let one go at a time, however many there are",
        key(budget),
        one_may_go(budget, workload, least),
    ))
}

/// A budget has one of the two. Only a number counts pods of an owner that has no scale, such as a Job.
fn one_may_go(budget: &Budget, workload: &Workload<'_>, expected: i64) -> String {
    if workload.ends() {
        return number(budget, usize::try_from(expected.saturating_sub(1)).unwrap_or(0));
    }
    let without = if budget.spec.max_unavailable.is_none() { "  minAvailable: null\n" } else { "" };
    format!("spec:\n{without}  maxUnavailable: 1\n")
}

/// It counts pods of any owner.
fn number(budget: &Budget, least: usize) -> String {
    let without = if budget.spec.max_unavailable.is_some() { "  maxUnavailable: null\n" } else { "" };
    format!(
        "spec:\n{without}  minAvailable: {least}   # a number counts pods of any owner; a share and maxUnavailable do not\n"
    )
}

/// What the API server said to dry runs: evidence of what budgets say, and what others say.
pub(super) fn answers(workload: &Workload<'_>, namespace: &Namespace) -> Vec<Finding> {
    let asked =
        || workload.pods.iter().filter_map(|pod| Some((pod, namespace.answers.get(&pod.metadata.uid)?)));
    let by_others = asked().find_map(|(pod, answer)| match answer {
        Answer::ByOthers(why) => Some((pod, why)),
        _ => None,
    });
    let by_numbers = of_workload(workload, namespace);
    // An operator's budget refuses on purpose, which is only worth knowing.
    let explained = by_numbers.iter().any(|it| it.severity >= Severity::Unknown || it.id == "operator");
    // What its budgets say by their numbers may leave something out; the API server has the last word.
    let by_budget = asked().find_map(|(pod, answer)| match answer {
        Answer::ByBudget(why) if !explained => Some((pod, why)),
        _ => None,
    });
    let refused = by_others.or(by_budget).map(|(pod, why)| {
        let found = format!("the API server would not let pod {} go: {why}", pod.metadata.name);
        match operators::of_refusal(why) {
            None if workload.is_rolling() => Finding::new("refused", Severity::Unknown, found),
            None => Finding::new("refused", Severity::Blocks, found),
            Some(does) => Finding::new("operator", Severity::Note, format!("{found}; {does}")),
        }
    });
    refused.into_iter().collect()
}

/// What the dry runs of a workload's pods said of budgets.
fn refusals(workload: &Workload<'_>, namespace: &Namespace) -> Option<String> {
    workload.pods.iter().find_map(|pod| match namespace.answers.get(&pod.metadata.uid)? {
        Answer::ByBudget(why) => {
            Some(format!("a dry run of the eviction of pod {} says: {why}", pod.metadata.name))
        }
        _ => None,
    })
}

/// Budgets that select nothing: mostly a label that was changed.
pub(super) fn without_pods(workloads: &[Workload<'_>], namespace: &Namespace) -> Vec<Finding> {
    let useless = known(&namespace.budgets).iter().filter(|budget| {
        let of_template =
            |workload: &Workload<'_>| workload.labels().is_some_and(|labels| selects(budget, labels));
        let has_pods = |workload: &Workload<'_>| !selected(budget, workload).is_empty();
        !workloads.iter().any(|it| has_pods(it) || of_template(it)) && budget.status.expected_pods == 0
    });
    useless
        .map(|budget| {
            let name = &budget.metadata.name;
            let found = format!("budget {name} selects no pod, so it protects nothing");
            Finding::new("budget-without-pods", Severity::Warns, found).about(key(budget)).remedy(
                "have its selector fit the labels of the pods that it is meant for, or delete it",
                key(budget),
                "",
            )
        })
        .collect()
}
