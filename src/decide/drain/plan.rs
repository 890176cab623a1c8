//! The plan of a drain: what happens to each pod of this node. Pure data, made before anything is touched.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use super::super::reboot::LastReboot;
use super::super::settings::{BarePods, BlockingPodsAfter, DrainMode, EmptyDirPods, Settings};
use super::super::text::span;
use super::super::world::World;
use super::super::{Budget, Owner, PodView};
use super::state::{Returned, awaited_until, overdue_by};

/// If all of a controller's pods have come back to this cordoned node this many times, evicting them would never end:
/// they tolerate the cordon, or their controller puts them here itself.
const COMES_BACK: usize = 3;

/// A pod of this node, and what happens to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned<'a> {
    /// The pod.
    pub pod: &'a PodView,
    /// What happens to it.
    pub verdict: Verdict,
}

/// What happens to a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is evicted; if it is terminating already, we only wait for it.
    Evict,
    /// It is evicted, and people should know what is lost by that.
    Warn(Vec<Warning>),
    /// It stays, and the reboot ends it.
    Leave(Leave),
    /// Nothing is evicted before it has ended: the key that says so, and its selector as written.
    Await(&'static str, String),
    /// It stands in the way of the reboot until a person has decided.
    Refuse(Refusal),
}

/// What is lost by an eviction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Warning {
    /// The content of its emptyDir volumes is lost.
    EmptyDir,
    /// No controller recreates it.
    Bare,
}

/// Why a pod stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leave {
    /// A mirror of a static pod, which belongs to the kubelet.
    Mirror,
    /// None of its containers runs any more.
    Finished,
    /// Its DaemonSet would bring it straight back.
    DaemonSet,
    /// It came back over the cordon each time it was evicted.
    ComesBack,
    /// Nothing would recreate it; the kubelet starts it again after the reboot.
    Bare,
    /// This node is not drained.
    NotDrained,
    /// The configuration names it.
    Selected,
    /// It was deleted long ago and is still here.
    NeverEnds,
}

/// Why a pod stands in the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The configuration wants pods like it to finish first: the key, and the selector as written.
    Blocking(&'static str, String),
    /// It has emptyDir volumes, and the configuration does not allow their loss.
    EmptyDir,
    /// It has no controller, and the configuration leaves such pods to a person.
    Bare,
    /// It has no controller, so it would stay; but this budget covers it, and a reboot does not respect budgets.
    BareUnderBudget(String),
    /// It has no controller, so it would stay; but the budgets that may cover it cannot be read.
    BareWithUnreadableBudgets(String),
    /// It has no controller, so it would stay; but the reboot would end it for good.
    BareAndRunsOnce,
    /// It has no controller, so it would stay; but the kubelet ends all pods at shutdown, and this one would not
    /// start again.
    BareAtGracefulShutdown,
    /// It has no controller, so it would stay; but whether the kubelet would end it cannot be read.
    BareWithUnreadableInhibitors(String),
    /// It has no controller, so it would stay; but this host is away for longer (the first) than the pod is kept
    /// without its node (the second).
    BareAndDeletedMeanwhile(Duration, Duration),
}

/// What a filter says about a pod.
enum Opinion {
    /// Ask the next filter.
    Okay,
    /// Ask the next filter, and tell people.
    Warn(Warning),
    /// Decided: no other filter is asked.
    Is(Verdict),
}

type Filter = fn(&PodView, &World, &Settings) -> Opinion;

/// Asked in this order: the first filter that decides is final.
const FILTERS: [Filter; 10] =
    [mirror, finished, blocking, daemon_set, selected, not_drained, leaving, comes_back, empty_dir, bare];

/// What happens to each pod, in a stable order. `None` if the pods were never read.
pub fn plan<'a>(world: &'a World, settings: &Settings) -> Option<Vec<Planned<'a>>> {
    let pods = world.cluster.pods.last()?.values();
    Some(pods.map(|pod| Planned { pod, verdict: verdict(pod, world, settings) }).collect())
}

fn verdict(pod: &PodView, world: &World, settings: &Settings) -> Verdict {
    let mut warnings = Vec::new();
    for filter in FILTERS {
        match filter(pod, world, settings) {
            Opinion::Okay => {}
            Opinion::Warn(warning) => warnings.push(warning),
            Opinion::Is(verdict) => return verdict,
        }
    }
    if warnings.is_empty() { Verdict::Evict } else { Verdict::Warn(warnings) }
}

fn leave_if(holds: bool, why: Leave) -> Opinion {
    if holds { Opinion::Is(Verdict::Leave(why)) } else { Opinion::Okay }
}

fn mirror(pod: &PodView, _: &World, _: &Settings) -> Opinion {
    leave_if(pod.owner == Owner::Kubelet, Leave::Mirror)
}

fn finished(pod: &PodView, world: &World, _: &Settings) -> Opinion {
    let awaited = awaited_until(&world.cluster.drain, pod).is_some_and(|until| world.now.boot < until);
    leave_if(pod.finished && !awaited, Leave::Finished)
}

fn blocking(pod: &PodView, _: &World, settings: &Settings) -> Opinion {
    let gates = &settings.gates;
    let by_label = gates.blocking_pods.iter().find(|selector| selector.selects(&pod.labels));
    let by_annotation = || gates.blocking_annotations.iter().find(|it| it.selects(&pod.annotations));
    let by = by_label.map(|it| ("blocking_pods", it));
    match by.or_else(|| by_annotation().map(|it| ("blocking_annotations", it))) {
        None => Opinion::Okay,
        Some((key, selector)) => Opinion::Is(match gates.blocking_pods_after {
            BlockingPodsAfter::Request => Verdict::Refuse(Refusal::Blocking(key, selector.to_string())),
            BlockingPodsAfter::Cordon => Verdict::Await(key, selector.to_string()),
        }),
    }
}

fn selected(pod: &PodView, _: &World, settings: &Settings) -> Opinion {
    leave_if(settings.drain.leave_pods.iter().any(|it| it.selects(&pod.labels)), Leave::Selected)
}

fn daemon_set(pod: &PodView, _: &World, _: &Settings) -> Opinion {
    leave_if(pod.owner == Owner::DaemonSet, Leave::DaemonSet)
}

/// Pods without a controller are judged as usual: the reboot may end them for good.
fn not_drained(pod: &PodView, _: &World, settings: &Settings) -> Opinion {
    let never = settings.policy.drain == DrainMode::Never;
    let is_judged = pod.owner == Owner::Nobody && settings.drain.bare_pods != BarePods::Evict;
    leave_if(never && !is_judged, Leave::NotDrained)
}

/// Somebody who deletes a pod has decided; the reboot waits until the pod is gone, whatever pod it is.
fn leaving(pod: &PodView, world: &World, settings: &Settings) -> Opinion {
    if !pod.terminating {
        return Opinion::Okay;
    }
    let overdue = overdue_by(&world.cluster.drain, pod, world.now.boot);
    let never_ends =
        settings.drain.leaving_pods.zip(overdue).is_some_and(|(limit, overdue)| overdue >= limit);
    Opinion::Is(if never_ends { Verdict::Leave(Leave::NeverEnds) } else { Verdict::Evict })
}

fn comes_back(pod: &PodView, world: &World, _: &Settings) -> Opinion {
    let returned = world.cluster.drain.returned.get(&pod.controller_uid);
    // A pod of it that was here all the time may be kept by a budget: it is asked for as any other.
    let is_one = |it: &Returned| it.come >= COMES_BACK * it.before.max(1) && it.here.contains(&pod.key.uid);
    leave_if(returned.is_some_and(is_one), Leave::ComesBack)
}

fn empty_dir(pod: &PodView, _: &World, settings: &Settings) -> Opinion {
    match settings.drain.empty_dir_pods {
        // A pod without a controller that stays keeps its volumes, too.
        _ if !pod.empty_dir || stays_bare(pod, settings) => Opinion::Okay,
        EmptyDirPods::Evict => Opinion::Warn(Warning::EmptyDir),
        EmptyDirPods::Refuse => Opinion::Is(Verdict::Refuse(Refusal::EmptyDir)),
    }
}

fn bare(pod: &PodView, world: &World, settings: &Settings) -> Opinion {
    if pod.owner != Owner::Nobody {
        return Opinion::Okay;
    }
    match settings.drain.bare_pods {
        BarePods::Evict => Opinion::Warn(Warning::Bare),
        BarePods::Refuse => Opinion::Is(Verdict::Refuse(Refusal::Bare)),
        BarePods::Leave => Opinion::Is(match would_be_hurt(pod, world) {
            None => Verdict::Leave(Leave::Bare),
            Some(refusal) => Verdict::Refuse(refusal),
        }),
    }
}

fn stays_bare(pod: &PodView, settings: &Settings) -> bool {
    pod.owner == Owner::Nobody && settings.drain.bare_pods == BarePods::Leave
}

/// Why a pod without a controller must not stay through the reboot.
fn would_be_hurt(pod: &PodView, world: &World) -> Option<Refusal> {
    if pod.runs_once {
        return Some(Refusal::BareAndRunsOnce);
    }
    let not_read = |failure: Option<&str>| failure.unwrap_or("not read yet").to_owned();
    let inhibitors = &world.host.inhibitors;
    let Some(current) = inhibitors.current() else {
        return Some(Refusal::BareWithUnreadableInhibitors(not_read(inhibitors.failure())));
    };
    if current.iter().any(|inhibitor| inhibitor.delays && inhibitor.who == "kubelet") {
        return Some(Refusal::BareAtGracefulShutdown);
    }
    let away = world.memory.last_reboot.as_ref().and_then(LastReboot::away_for);
    if let Some((away, kept)) = away.zip(pod.deleted_without_node).filter(|(away, kept)| kept < away) {
        return Some(Refusal::BareAndDeletedMeanwhile(away, kept));
    }
    let budgets = &world.cluster.budgets;
    let Some(current) = budgets.current() else {
        return Some(Refusal::BareWithUnreadableBudgets(not_read(budgets.failure())));
    };
    let covers = |budget: &&Budget| {
        let selector = budget.selector.as_ref();
        budget.namespace == pod.key.namespace && selector.is_some_and(|it| it.selects(&pod.labels))
    };
    current.iter().find(covers).map(|budget| Refusal::BareUnderBudget(budget.name.clone()))
}

/// The namespaces whose budgets the plan has to know: those of pods without a controller that would stay.
pub fn budget_namespaces(world: &World, settings: &Settings) -> BTreeSet<String> {
    let pods = world.cluster.pods.last().into_iter().flat_map(|pods| pods.values());
    pods.filter(|pod| stays_bare(pod, settings) && !pod.finished && !pod.terminating)
        .map(|pod| pod.key.namespace.clone())
        .collect()
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Evict => f.write_str("is evicted"),
            Verdict::Warn(warnings) => {
                let costs: Vec<&str> = warnings.iter().map(|warning| warning.text()).collect();
                write!(f, "is evicted: {}", costs.join("; "))
            }
            Verdict::Leave(why) => write!(f, "stays: {}", why.text()),
            Verdict::Await(key, selector) => {
                write!(f, "is waited for: `{key}` in [gates] names it ({selector})")
            }
            Verdict::Refuse(refusal) => write!(f, "stands in the way: {refusal}"),
        }
    }
}

impl Refusal {
    /// Whether it goes away by itself: a pod ends, or something can be read again. That stops progress, but undoes
    /// nothing.
    pub(in crate::decide) fn may_end(&self) -> bool {
        use Refusal::{BareWithUnreadableBudgets, BareWithUnreadableInhibitors, Blocking};
        matches!(self, Blocking(..) | BareWithUnreadableBudgets(_) | BareWithUnreadableInhibitors(_))
    }
}

impl Warning {
    fn text(self) -> &'static str {
        match self {
            Warning::EmptyDir => "what is in its emptyDir volumes is lost",
            Warning::Bare => "no controller recreates it",
        }
    }
}

impl Leave {
    fn text(self) -> &'static str {
        match self {
            Leave::Mirror => "a static pod of the kubelet",
            Leave::Finished => "it has ended",
            Leave::DaemonSet => "its DaemonSet would bring it straight back",
            Leave::ComesBack => "it came back over the cordon each time it was evicted",
            Leave::Selected => "`leave_pods` in [drain] names it, and the reboot ends it",
            Leave::NeverEnds => {
                "it is being deleted and does not end (`leaving_pods` in [drain]), and the reboot ends it"
            }
            Leave::NotDrained => "`drain` in [policy] is \"never\", and the reboot ends it",
            Leave::Bare => {
                "no controller would recreate it, and the kubelet starts it again after the reboot"
            }
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Blocking(key, selector) => {
                write!(f, "`{key}` in [gates] names it ({selector}); the reboot waits for its end")
            }
            Refusal::EmptyDir => f.write_str("it has emptyDir volumes, and `empty_dir_pods` in [drain] is \"refuse\""),
            Refusal::Bare => f.write_str("it has no controller, and `bare_pods` in [drain] is \"refuse\""),
            Refusal::BareUnderBudget(budget) => write!(
                f,
                "it has no controller and would stay, but budget {budget} covers it; delete it, or have all \
                 such pods evicted (`bare_pods = \"evict\"` in [drain])"
            ),
            Refusal::BareWithUnreadableBudgets(why) => write!(
                f,
                "it has no controller and would stay, but the budgets of its namespace cannot be read: {why}"
            ),
            Refusal::BareAndRunsOnce => f.write_str(
                "it has no controller and would stay, but its restartPolicy is Never, so that the reboot would end it for \
                 good; let it finish, delete it, or have all such pods evicted (`bare_pods = \"evict\"` in [drain])",
            ),
            Refusal::BareAtGracefulShutdown => f.write_str(
                "it has no controller and would stay, but the kubelet's graceful shutdown would end it for good; \
                 delete it, or have all such pods evicted (`bare_pods = \"evict\"` in [drain])",
            ),
            Refusal::BareAndDeletedMeanwhile(away, kept) => write!(
                f,
                "it has no controller and would stay, but this host was away for {} at its last reboot, and the cluster \
                 deletes the pod after {} without its node; give it longer tolerations of \
                 node.kubernetes.io/unreachable and not-ready, delete it, or have all such pods evicted (`bare_pods = \"evict\"` in [drain])",
                span(*away),
                span(*kept)
            ),
            Refusal::BareWithUnreadableInhibitors(why) => write!(
                f,
                "it has no controller and would stay, but whether the kubelet would end it at shutdown cannot be read: \
                 {why}"
            ),
        }
    }
}
