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

/// Names the steps of half a cycle as they come, and knows the one that is looked for.
pub(super) struct Tracker(Mutex<Progress>);

struct Progress {
    after: String,
    counts: BTreeMap<(String, String), usize>,
    steps: Vec<Step>,
    wanted: Option<Point>,
}

impl Tracker {
    /// `begins` is what the half begins with.
    pub(super) fn new(begins: &str, wanted: Option<Point>) -> Tracker {
        let (counts, steps) = (BTreeMap::new(), Vec::new());
        Tracker(Mutex::new(Progress { after: begins.to_owned(), counts, steps, wanted }))
    }

    /// Notes a request; whether it is the one that is looked for.
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
        let is_wanted = self.wanted.as_ref() == Some(&point);
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

/// The points that every one of these runs went through, in the order of the first; and how many others there were.
pub(super) fn common(runs: &[Vec<Step>]) -> (Vec<Step>, usize) {
    let Some((first, others)) = runs.split_first() else { return (Vec::new(), 0) };
    let has = |run: &Vec<Step>, point: &Point| run.iter().any(|step| step.point == *point);
    let everywhere = |step: &&Step| others.iter().all(|run| has(run, &step.point));
    let common: Vec<Step> = first.iter().filter(everywhere).cloned().collect();
    let mut all: Vec<&Point> = runs.iter().flatten().map(|step| &step.point).collect();
    all.sort();
    all.dedup();
    let varying = all.len() - common.len();
    (common, varying)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(steps: &[Step]) -> Vec<String> {
        steps.iter().map(|step| step.point.to_string()).collect()
    }

    fn run(begins: &str, steps: &[(&str, Class)]) -> Vec<Step> {
        let tracker = Tracker::new(begins, None);
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
        let tracker = Tracker::new("request", Some(wanted));
        let found: Vec<bool> =
            (0..3).map(|_| tracker.progress().step("evict".into(), Class::Evict)).collect();
        assert_eq!(found, [false, true, false]);
    }

    #[test]
    fn only_what_all_runs_share_is_common() {
        let short = run("boot", &[("get node", Class::Read), ("uncordon", Class::Write)]);
        let long =
            run("boot", &[("get node", Class::Read), ("get node", Class::Read), ("uncordon", Class::Write)]);
        let (common, varying) = common(&[long, short]);
        assert_eq!(names(&common), ["boot/get node 1", "boot/uncordon 1"]);
        assert_eq!(varying, 1);
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
