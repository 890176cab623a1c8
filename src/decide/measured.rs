//! What is measured of a turn, for its record. Nothing is decided by it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Owner, PodKey, PodView, span};
use crate::words::{NOTE, words};

/// The most workloads that are looked at.
const MOST: usize = 20;
/// The most kinds of reasons: there are not that many.
const MOST_REASONS: usize = 100;
/// The most bytes of a selector.
const LONGEST_SELECTOR: usize = 1000;
/// Labels that are another one's in each pod, or in each version of a workload: replacements have others.
const OF_ONE: [&str; 7] = [
    "pod-template-hash",
    "controller-revision-hash",
    "pod-template-generation",
    "statefulset.kubernetes.io/pod-name",
    "apps.kubernetes.io/pod-index",
    "batch.kubernetes.io/job-completion-index",
    "job-completion-index",
];

/// Labels of the pods of a Job, which end and are never ready again.
const OF_JOBS: [&str; 2] = ["batch.kubernetes.io/job-name", "job-name"];

/// What was measured of a turn.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Measured {
    /// For how long the node had waited for what, in seconds: by the kind of the reason that came first.
    #[serde(rename = "waited_seconds")]
    pub waited: BTreeMap<String, u64>,
    /// What became of the workloads whose pods had to leave.
    pub workloads: Vec<Impact>,
    /// How many more there were.
    pub more_workloads: usize,
    /// For how long nobody could look at them, while the machine was down: seconds.
    #[serde(rename = "unseen_seconds")]
    pub unseen: Option<u64>,
    /// For how long nobody looked because the API server did not answer: seconds.
    #[serde(rename = "unanswered_seconds")]
    pub unanswered: u64,
    /// The daemon was started while pods left: what was before that is not in it.
    pub began_late: bool,
    /// What the administrator's expression gave, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub figure: Option<Figure>,
}

/// What an expression in PromQL gave before, during and after: numbers as Prometheus writes them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Figure {
    /// As the drain began; none if Prometheus gave no number then.
    pub before: Option<String>,
    /// The lowest of all.
    pub lowest: Option<String>,
    /// The highest.
    pub highest: Option<String>,
    /// The last one.
    pub after: Option<String>,
}

/// What became of the pods of a workload while pods of it left this node.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Impact {
    /// Its namespace.
    pub namespace: String,
    /// The controller of the pods that left.
    pub workload: String,
    /// Its pods, by their labels, as a selector.
    pub pods: String,
    /// How many of them were on this node and had to leave.
    pub left: usize,
    /// How many were ready before; `None` until somebody has looked.
    pub ready_before: Option<usize>,
    /// The fewest that were ready at the same time.
    pub fewest_ready: usize,
    /// For how long fewer were ready than before: seconds.
    #[serde(rename = "below_seconds")]
    pub below: u64,
    /// For how long one of its pods waited to be started: seconds.
    #[serde(rename = "pending_seconds")]
    pub pending: u64,
    /// How often containers of it were restarted.
    pub restarts: u64,
    /// As many were ready as before when somebody looked last.
    pub recovered: bool,
}

/// A pod of a workload, wherever it runs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Replica {
    /// Its uid.
    pub uid: String,
    /// It is ready, and nobody has asked it to leave.
    pub ready: bool,
    /// It was ready until it was asked to leave.
    pub leaving: bool,
    /// It has not been started yet.
    pub pending: bool,
    /// How often its containers were restarted.
    pub restarts: u64,
}

/// How often the containers of each pod had been restarted.
pub type Restarts = BTreeMap<String, u64>;

impl Measured {
    /// The workloads of these pods, which leave; gives back their uids: they were there before.
    pub fn begin(&mut self, leaving: &[&PodView]) -> BTreeSet<String> {
        let mut left = BTreeSet::new();
        let mut found: BTreeMap<(String, String), Impact> = BTreeMap::new();
        let mut without = BTreeSet::new();
        for pod in leaving.iter().filter(|pod| pod.owner == Owner::Controller && !is_of_job(pod)) {
            let PodKey { namespace, uid, .. } = &pod.key;
            let Some(pods) = selector(&pod.labels) else {
                without.insert((namespace, &pod.controller));
                continue;
            };
            left.insert(uid.clone());
            let impact = found.entry((namespace.clone(), pods.clone())).or_insert_with(|| Impact {
                namespace: namespace.clone(),
                workload: pod.controller.clone(),
                pods,
                ..Impact::default()
            });
            impact.left += 1;
        }
        self.more_workloads = without.len() + found.len().saturating_sub(MOST);
        self.workloads = found.into_values().take(MOST).collect();
        left
    }

    /// Leaves so many workloads, those that were short for longest.
    pub fn keep_worst(&mut self, most: usize) {
        let worst =
            |it: &Impact| (it.fewest_ready > 0, std::cmp::Reverse((it.below, it.pending, it.restarts)));
        self.workloads.sort_by_key(worst);
        self.more_workloads += self.workloads.len().saturating_sub(most);
        self.workloads.truncate(most);
    }

    /// What somebody else has written, clean and not too much of it.
    pub fn bounded(self) -> Measured {
        let clean = |text: String| words(&text, NOTE);
        let waited = self.waited.into_iter().take(MOST_REASONS);
        let workloads = self.workloads.into_iter().take(MOST).map(|it| Impact {
            namespace: clean(it.namespace),
            workload: clean(it.workload),
            pods: words(&it.pods, LONGEST_SELECTOR),
            ..it
        });
        let figure = self.figure.map(|it| Figure {
            before: it.before.map(clean),
            lowest: it.lowest.map(clean),
            highest: it.highest.map(clean),
            after: it.after.map(clean),
        });
        Measured {
            figure,
            waited: waited.map(|(reason, seconds)| (clean(reason), seconds)).collect(),
            workloads: workloads.collect(),
            ..self
        }
    }
}

impl Figure {
    /// Prometheus has given this number, or none.
    pub fn seen(&mut self, number: Option<f64>, is_first: bool) {
        let Some(number) = number else { return };
        let is_short = number == 0.0 || (1e-6..1e15).contains(&number.abs());
        let text = if is_short { number.to_string() } else { format!("{number:e}") };
        let known = |it: &Option<String>| it.as_ref().and_then(|text| text.parse::<f64>().ok());
        if known(&self.lowest).is_none_or(|lowest| number < lowest) {
            self.lowest = Some(text.clone());
        }
        if known(&self.highest).is_none_or(|highest| number > highest) {
            self.highest = Some(text.clone());
        }
        if is_first {
            self.before = Some(text.clone());
        }
        self.after = Some(text);
    }
}

/// In one line, for people.
impl Display for Figure {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match (&self.before, &self.lowest, &self.highest, &self.after) {
            (before, Some(lowest), Some(highest), Some(after)) => {
                let before = before.as_deref().unwrap_or("not known");
                write!(f, "{before} before, {lowest} to {highest} meanwhile, {after} when last seen")
            }
            _ => f.write_str("no number was seen"),
        }
    }
}

impl Impact {
    /// Somebody has looked, this many seconds after the last time. At the first time, `left` still counts as ready.
    pub fn seen(
        &mut self,
        replicas: &[Replica],
        left: &BTreeSet<String>,
        restarts: &mut Option<Restarts>,
        seconds: u64,
    ) {
        let ready = replicas.iter().filter(|it| it.ready).count();
        let before = *self.ready_before.get_or_insert_with(|| {
            let already = replicas.iter().filter(|it| it.leaving && left.contains(&it.uid));
            self.fewest_ready = ready + already.count();
            self.fewest_ready
        });
        self.fewest_ready = self.fewest_ready.min(ready);
        self.recovered = ready >= before;
        let add = |sum: &mut u64, is_so: bool| *sum = sum.saturating_add(if is_so { seconds } else { 0 });
        if ready < before {
            // Nobody knows for how long at the first look, but it was so.
            self.below = self.below.saturating_add(seconds.max(1));
        }
        add(&mut self.pending, replicas.iter().any(|it| it.pending));
        let now: Restarts = replicas.iter().map(|it| (it.uid.clone(), it.restarts)).collect();
        if let Some(last) = restarts.as_ref() {
            let more = |(uid, count): (&String, &u64)| {
                count.saturating_sub(last.get(uid).copied().unwrap_or_default())
            };
            self.restarts = self.restarts.saturating_add(now.iter().map(more).sum());
        }
        *restarts = Some(now);
    }
}

impl Impact {
    /// What became of its pods, for people.
    pub fn in_words(&self) -> String {
        let seconds = |seconds: u64| span(Duration::from_secs(seconds));
        let mut text = match self.ready_before {
            None => "not seen".to_owned(),
            Some(before) if self.below == 0 => {
                format!("{before} ready at each look, and {} of them had to leave", self.left)
            }
            Some(before) => {
                let (fewest, below) = (self.fewest_ready, seconds(self.below));
                format!("{fewest} of {before} ready, fewer than before for {below}")
            }
        };
        if self.pending > 0 {
            text += &format!(", pods pending for {}", seconds(self.pending));
        }
        if self.restarts > 0 {
            text += &format!(", {} restarts", self.restarts);
        }
        if self.ready_before.is_some() && !self.recovered {
            text += "; still fewer when last seen";
        }
        text
    }

    /// Whether a pod of this namespace with these labels, whose controller is this workload or was made by it, is one of
    /// its pods.
    pub fn is_of(&self, namespace: &str, workload: &str, labels: &BTreeMap<String, String>) -> bool {
        // A Deployment's ReplicaSets have its name and a hash.
        let name = self.workload.strip_prefix(workload);
        let is_its = name.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'));
        let has = |(key, value): (&str, &str)| labels.get(key).is_some_and(|it| it == value);
        let selects = self.pods.split(',').all(|each| each.split_once('=').is_some_and(has));
        self.namespace == namespace && is_its && selects
    }
}

/// In one line, for people.
impl Display for Impact {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} ({}): {}", self.namespace, self.workload, self.pods, self.in_words())
    }
}

fn is_of_job(pod: &PodView) -> bool {
    OF_JOBS.iter().any(|label| pod.labels.contains_key(*label))
}

/// By all labels that its replacement will have as well.
fn selector(labels: &BTreeMap<String, String>) -> Option<String> {
    // In the place of a value that is too long stands what is none.
    let selects = |(key, value): &(&String, &String)| {
        !OF_ONE.contains(&key.as_str()) && !value.contains(['(', ',', ' ']) && !key.contains([',', ' '])
    };
    let each = labels.iter().filter(selects).map(|(key, value)| format!("{key}={value}"));
    let all = each.collect::<Vec<_>>().join(",");
    (!all.is_empty() && all.len() <= LONGEST_SELECTOR).then_some(all)
}

#[cfg(test)]
impl Measured {
    /// One with something in each field.
    pub(crate) fn sample() -> Measured {
        Measured {
            waited: BTreeMap::from([("no-free-slot".to_owned(), 60)]),
            workloads: vec![Impact {
                namespace: "shop".into(),
                workload: "api".into(),
                pods: "app=api".into(),
                left: 1,
                ready_before: Some(3),
                fewest_ready: 2,
                below: 10,
                recovered: true,
                ..Impact::default()
            }],
            more_workloads: 1,
            unseen: Some(40),
            unanswered: 0,
            began_late: false,
            figure: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replica(uid: &str, state: &str, restarts: u64) -> Replica {
        Replica {
            uid: uid.into(),
            ready: state == "ready",
            leaving: state == "leaving",
            pending: state == "pending",
            restarts,
        }
    }

    #[test]
    fn a_dip_is_as_deep_and_as_long_as_it_was_seen() {
        let (mut impact, mut restarts) = (Impact::default(), None);
        let left = BTreeSet::from(["a".to_owned()]);
        let looks = [
            // Its pod was asked to leave before the first look, which is a dip already.
            (vec![replica("a", "leaving", 7), replica("b", "ready", 1), replica("c", "ready", 0)], 0),
            (vec![replica("a", "leaving", 7), replica("b", "ready", 1), replica("d", "pending", 0)], 5),
            (vec![replica("b", "ready", 2), replica("c", "ready", 0), replica("d", "pending", 0)], 5),
            (vec![replica("b", "ready", 2), replica("c", "ready", 0), replica("d", "ready", 1)], 6),
        ];
        for (replicas, seconds) in looks {
            impact.seen(&replicas, &left, &mut restarts, seconds);
        }
        assert_eq!((impact.ready_before, impact.fewest_ready), (Some(3), 1));
        assert_eq!((impact.below, impact.pending, impact.restarts), (11, 10, 2));
        assert!(impact.recovered);
        impact =
            Impact { namespace: "shop".into(), workload: "api".into(), pods: "app=api".into(), ..impact };
        assert_eq!(
            impact.to_string(),
            "shop/api (app=api): 1 of 3 ready, fewer than before for 11s, pods pending for 10s, 2 restarts"
        );
        let unseen = Impact::default();
        assert!(unseen.to_string().ends_with(": not seen"), "{unseen}");
    }

    #[test]
    fn a_workload_is_what_its_next_pods_have_in_common() {
        let pod = |name: &str, labels: &[(&str, &str)]| PodView {
            key: PodKey { namespace: "shop".into(), name: name.into(), uid: name.into() },
            owner: Owner::Controller,
            controller: "api-5d9c".into(),
            labels: labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
            ..PodView::default()
        };
        let pods = [
            pod("one", &[("app", "api"), ("pod-template-hash", "5d9c")]),
            pod("two", &[("app", "api"), ("pod-template-hash", "7aaa")]),
            pod("unlabelled", &[("pod-template-hash", "5d9c")]),
            pod("odd", &[("app", "(too long)")]),
            pod("job", &[("app", "import"), ("job-name", "import")]),
            PodView { owner: Owner::Nobody, ..pod("bare", &[("app", "bare")]) },
        ];
        let leaving: Vec<&PodView> = pods.iter().collect();
        let mut measured = Measured::default();
        let left = measured.begin(&leaving);
        assert_eq!(left, BTreeSet::from(["one".to_owned(), "two".to_owned()]));
        let found: Vec<&str> = measured.workloads.iter().map(|it| it.pods.as_str()).collect();
        assert_eq!((found, measured.more_workloads), (vec!["app=api"], 1));
    }

    #[test]
    fn a_figure_is_what_was_first_and_last_and_between() {
        let mut figure = Figure::default();
        assert_eq!(figure.to_string(), "no number was seen");
        for (number, is_first) in [(0.25, true), (-1.0, false), (1e300, false), (2.5, false)] {
            figure.seen(Some(number), is_first);
            figure.seen(None, false);
        }
        assert_eq!(figure.to_string(), "0.25 before, -1 to 1e300 meanwhile, 2.5 when last seen");
        let mut late = Figure::default();
        late.seen(Some(1.0), false);
        assert_eq!(late.to_string(), "not known before, 1 to 1 meanwhile, 1 when last seen");
    }

    #[test]
    fn what_a_file_says_is_bounded() {
        let many = Measured {
            waited: BTreeMap::from([("a\nb".to_owned(), 1)]),
            workloads: vec![Impact { workload: "\u{1b}[31m".into(), ..Impact::default() }; 30],
            ..Measured::default()
        };
        let bounded = many.bounded();
        assert_eq!(
            (bounded.workloads.len(), bounded.waited.keys().next().map(String::as_str)),
            (20, Some("a b"))
        );
        assert!(!bounded.workloads[0].workload.contains('\u{1b}'));
    }
}
