//! What a cycle consists of, and names for its steps that are the same in every run.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use crate::bus::Call;
use crate::proxy::{RequestRecord, Verb};

/// What kind of thing a step is: it says what can go wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Class {
    /// A request that reads.
    Read,
    /// A watch: it has no end and no timeout.
    Watch,
    /// A request that writes.
    Write,
    /// A request for an eviction; several run beside each other.
    Evict,
    /// A D-Bus call that reads.
    Ask,
    /// The D-Bus call that reboots.
    Reboot,
}

/// A step of a cycle by its name: the n-th of its kind since the last write.
///
/// Reads are repeated, in numbers that vary. What a write was preceded by does not, so a read counts from there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Point {
    /// The last write before it, or `request` and `boot`, with which the two halves of a cycle begin.
    pub(super) after: String,
    /// What it is.
    pub(super) kind: String,
    /// Counted from 1.
    pub(super) number: usize,
}

impl fmt::Display for Point {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{} {}", self.after, self.kind, self.number)
    }
}

/// A step as it was seen.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) point: Point,
    pub(super) class: Class,
}

/// Names the steps of half a cycle as they come, and knows those that are looked for.
pub(super) struct Tracker(Mutex<Progress>);

struct Progress {
    after: String,
    counts: BTreeMap<(String, String), usize>,
    steps: Vec<Step>,
    wanted: Vec<Point>,
}

impl Tracker {
    /// `begins` is what the half begins with.
    pub(super) fn new(begins: &str, wanted: Vec<Point>) -> Tracker {
        let (counts, steps) = (BTreeMap::new(), Vec::new());
        Tracker(Mutex::new(Progress { after: begins.to_owned(), counts, steps, wanted }))
    }

    /// Notes a request; whether it is one that is looked for.
    pub(super) fn request(&self, record: &RequestRecord, body: &[u8]) -> bool {
        let (kind, class) = request(record, body);
        self.progress().step(kind, class)
    }

    /// The same for a D-Bus call.
    pub(super) fn call(&self, call: &Call) -> bool {
        let class = if call.member == "Reboot" { Class::Reboot } else { Class::Ask };
        self.progress().step(format!("D-Bus {call}"), class)
    }

    /// All so far.
    pub(super) fn steps(&self) -> Vec<Step> {
        self.progress().steps.clone()
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Progress {
    fn step(&mut self, kind: String, class: Class) -> bool {
        let number = self.counts.entry((self.after.clone(), kind.clone())).or_default();
        *number += 1;
        let point = Point { after: self.after.clone(), kind: kind.clone(), number: *number };
        if matches!(class, Class::Write | Class::Reboot) {
            self.after = kind;
        }
        let is_wanted = self.wanted.contains(&point);
        self.steps.push(Step { point, class });
        is_wanted
    }
}

/// What a request of rebootd's is. One that nobody has thought of has a name all the same, and is tried as well.
fn request(record: &RequestRecord, body: &[u8]) -> (String, Class) {
    let slots = record.namespace.as_deref() == Some("rebootd");
    let (kind, class) = match (record.verb, record.resource.as_str()) {
        (Verb::Get, "nodes") => ("get node", Class::Read),
        (Verb::List, "leases") if slots => ("list slots", Class::Read),
        (Verb::Get, "leases") if !slots => ("get kubelet lease", Class::Read),
        (Verb::List, "pods") => ("list pods", Class::Read),
        (Verb::Watch, "nodes") => ("watch node", Class::Watch),
        (Verb::Watch, "leases") if slots => ("watch slots", Class::Watch),
        (Verb::Watch, "leases") => ("watch kubelet lease", Class::Watch),
        (Verb::Watch, "pods") => ("watch pods", Class::Watch),
        (Verb::Patch, "leases") if slots => (slot_write(body), Class::Write),
        (Verb::Patch, "nodes") => (node_write(body), Class::Write),
        (Verb::Create, "pods/eviction") => ("evict", Class::Evict),
        (verb, resource) => {
            let class = match verb {
                Verb::Get | Verb::List | Verb::NonResource => Class::Read,
                Verb::Watch => Class::Watch,
                _ => Class::Write,
            };
            return (format!("{verb} {resource}"), class);
        }
    };
    (kind.to_owned(), class)
}

fn slot_write(body: &[u8]) -> &'static str {
    let patch: Value = serde_json::from_slice(body).unwrap_or_default();
    match patch.pointer("/spec/holderIdentity") {
        Some(Value::Null) => "release",
        Some(_) => "claim",
        None => "stamp",
    }
}

fn node_write(body: &[u8]) -> &'static str {
    let patch: Value = serde_json::from_slice(body).unwrap_or_default();
    let mark = patch.pointer("/metadata/annotations/rebootd.io~1cordon");
    match patch.pointer("/spec/unschedulable") {
        Some(Value::Bool(true)) => "cordon",
        Some(_) => "uncordon",
        None if mark.is_some() => "remove mark",
        None => "confirm",
    }
}

/// A step, and in how many runs it was seen.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) step: Step,
    pub(super) runs: usize,
    /// Whether it is a point to be tried: the first of its kind there, or one that most runs came to. What is left
    /// are looks repeated while time passes, as often as the time of the day has it.
    pub(super) is_point: bool,
}

/// All steps of these runs of the same half, in order.
pub(super) fn merge(runs: &[Vec<Step>]) -> Vec<Seen> {
    let mut segments: Vec<&str> = Vec::new();
    // Where in its segment a step came first, and in how many runs it came.
    let mut places: BTreeMap<&Point, (usize, usize, &Step)> = BTreeMap::new();
    for run in runs {
        let mut place: BTreeMap<&str, usize> = BTreeMap::new();
        for step in run {
            let segment = step.point.after.as_str();
            if !segments.contains(&segment) {
                segments.push(segment);
            }
            let place = place.entry(segment).or_default();
            *place += 1;
            let (first, times, _) = places.entry(&step.point).or_insert((*place, 0, step));
            (*first, *times) = ((*first).min(*place), *times + 1);
        }
    }
    let mut all: Vec<_> = places.into_values().collect();
    all.sort_by_key(|(place, _, step)| {
        (segments.iter().position(|segment| *segment == step.point.after), *place)
    });
    let seen = |(_, times, step): (usize, usize, &Step)| Seen {
        step: step.clone(),
        runs: times,
        is_point: step.point.number == 1 || 2 * times > runs.len(),
    };
    all.into_iter().map(seen).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(steps: &[Step]) -> Vec<String> {
        steps.iter().map(|step| step.point.to_string()).collect()
    }

    fn run(begins: &str, steps: &[(&str, Class)]) -> Vec<Step> {
        let tracker = Tracker::new(begins, Vec::new());
        for (kind, class) in steps {
            tracker.progress().step((*kind).to_owned(), *class);
        }
        tracker.steps()
    }

    #[test]
    fn reads_count_from_the_last_write() {
        let steps = [
            ("get node", Class::Read),
            ("get node", Class::Read),
            ("claim", Class::Write),
            ("get node", Class::Read),
        ];
        let names = names(&run("request", &steps));
        assert_eq!(
            names,
            ["request/get node 1", "request/get node 2", "request/claim 1", "claim/get node 1"]
        );
    }

    #[test]
    fn the_wanted_step_is_found_once() {
        let wanted = Point { after: "request".into(), kind: "evict".into(), number: 2 };
        let tracker = Tracker::new("request", vec![wanted]);
        let found: Vec<bool> =
            (0..3).map(|_| tracker.progress().step("evict".into(), Class::Evict)).collect();
        assert_eq!(found, [false, true, false]);
    }

    #[test]
    fn what_only_some_runs_repeat_is_no_point() {
        let (read, write) = (("get node", Class::Read), ("uncordon", Class::Write));
        let runs = [
            run("boot", &[read, write]),
            run("boot", &[read, read, read, write]),
            run("boot", &[read, read, write, ("get node", Class::Read)]),
        ];
        let merged = merge(&runs);
        let told: Vec<(String, usize, bool)> =
            merged.iter().map(|seen| (seen.step.point.to_string(), seen.runs, seen.is_point)).collect();
        let told: Vec<(&str, usize, bool)> =
            told.iter().map(|(name, runs, is)| (name.as_str(), *runs, *is)).collect();
        assert_eq!(
            told,
            [
                ("boot/get node 1", 3, true),
                ("boot/get node 2", 2, true),
                ("boot/uncordon 1", 3, true),
                ("boot/get node 3", 1, false),
                ("uncordon/get node 1", 1, true),
            ]
        );
    }

    #[test]
    fn writes_are_told_apart_by_what_they_write() {
        for (patch, name) in [
            (r#"{"spec":{"holderIdentity":"a"}}"#, "claim"),
            (r#"{"spec":{"holderIdentity":null}}"#, "release"),
            (r#"{"metadata":{"annotations":{"rebootd.io/rebooting":"x"}},"spec":{}}"#, "stamp"),
        ] {
            assert_eq!(slot_write(patch.as_bytes()), name);
        }
        for (patch, name) in [
            (r#"{"spec":{"unschedulable":true}}"#, "cordon"),
            (r#"{"spec":{"unschedulable":null}}"#, "uncordon"),
            (r#"{"metadata":{"annotations":{"rebootd.io/cordon":null}},"spec":{}}"#, "remove mark"),
            (r#"{"metadata":{"annotations":{"rebootd.io/nonce":"1"}},"spec":{}}"#, "confirm"),
        ] {
            assert_eq!(node_write(patch.as_bytes()), name);
        }
    }
}
