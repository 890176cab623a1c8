//! Folds events into a state and a log, and judges the log. No I/O and no clock.

use super::state::{Kind, LeaseState, NodeState, PodState, State};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

/// How an object changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Change {
    Added,
    Modified,
    Deleted,
}

/// One thing that was observed.
#[derive(Clone, Debug)]
pub enum Input {
    /// All objects of a kind at one moment: the start, and whenever a watch could not be resumed.
    Listed(Kind, Vec<Value>),
    /// A watch event.
    Changed(Kind, Change, Value),
    /// A kind's watch broke off: what happens from now on is not seen.
    WatchLost(Kind),
    /// It goes on, and brings all that happened meanwhile.
    WatchResumed(Kind),
    /// The test takes a host down.
    HostDown(String),
    /// The test saw a host boot.
    HostBooted(String),
}

/// What an entry of the log is about.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub enum Object {
    Node(Arc<NodeState>),
    Lease(Arc<LeaseState>),
    Pod(Arc<PodState>),
    HostDown(String),
    HostBooted(String),
}

/// One line of the log.
#[derive(Clone, Debug)]
pub struct Entry {
    /// When it was seen.
    pub at: Duration,
    /// Entries of one list share a step: there was no moment between them.
    pub step: u64,
    /// How the object changed; `Modified` for hosts.
    pub change: Change,
    /// The object after the change; of a deleted one its last state.
    pub object: Object,
    /// The API server's own order over all kinds; 0 for hosts.
    pub resource_version: u64,
}

/// A time in which a node was disrupted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disruption {
    /// The node.
    pub node: String,
    /// Its pool when it began.
    pub pool: Option<String>,
    /// From then …
    pub from: Duration,
    /// … until then; still going on where absent.
    pub until: Option<Duration>,
}

/// Nodes that were disrupted at the same time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overlap {
    /// From then …
    pub from: Duration,
    /// … until then; still going on where absent.
    pub until: Option<Duration>,
    /// Who.
    pub nodes: BTreeSet<String>,
}

impl Overlap {
    /// How many.
    pub fn count(&self) -> usize {
        self.nodes.len()
    }
}

/// A time in which a Lease was held by one holder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holding {
    /// The Lease.
    pub lease: String,
    /// Its pool when it was claimed.
    pub pool: Option<String>,
    /// Who held it.
    pub holder: String,
    /// From then …
    pub from: Duration,
    /// … until then; still held where absent.
    pub until: Option<Duration>,
}

/// A slot given back, and the next claim in the same pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handoff {
    /// The pool.
    pub pool: Option<String>,
    /// Who gave back.
    pub released_by: String,
    /// When.
    pub released_at: Duration,
    /// Who claimed next; its own name where the same node claimed again.
    pub claimed_by: String,
    /// When.
    pub claimed_at: Duration,
}

impl Handoff {
    /// How long the slot lay idle.
    pub fn seconds(&self) -> f64 {
        self.claimed_at.saturating_sub(self.released_at).as_secs_f64()
    }
}

/// A Pod that went away.
#[derive(Clone, Debug, PartialEq)]
pub struct PodDeletion {
    /// When its deletion was first seen to be asked for.
    pub asked_at: Duration,
    /// When it was gone; still terminating where absent.
    pub gone_at: Option<Duration>,
    /// Its last state.
    pub pod: Arc<PodState>,
}

/// A time in which something may have been missed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Of which kind.
    pub kind: Kind,
    /// When its watch broke off.
    pub from: Duration,
    /// When it was listed again.
    pub until: Duration,
}

/// The fewest Ready pods at any moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MinimumReady {
    /// How many.
    pub count: usize,
    /// When that was first so.
    pub at: Duration,
}

/// All that was seen.
#[derive(Clone, Debug, Default)]
pub struct History {
    state: State,
    entries: Vec<Entry>,
    step: u64,
    listed: BTreeSet<Kind>,
    lost: BTreeMap<Kind, Duration>,
    gaps: Vec<Gap>,
    /// When pods were first known, be it that there are none.
    pods_known: Option<Duration>,
}

fn resource_version(raw: &Value) -> u64 {
    raw.pointer("/metadata/resourceVersion")
        .and_then(Value::as_str)
        .and_then(|text| text.parse().ok())
        .unwrap_or(0)
}

impl History {
    /// Nothing seen yet.
    pub fn new() -> History {
        History::default()
    }

    /// What is true now.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The log, oldest first.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Where a watch could not be resumed, so that something in between may have been missed. Always so when the API
    /// server restarts: it does not serve watches from before its start. A test whose verdict rests on the checks
    /// asserts that this is empty, or that each gap lies within an outage of its own making.
    pub fn gaps(&self) -> &[Gap] {
        &self.gaps
    }

    /// Folds one observation.
    pub fn observe(&mut self, at: Duration, input: Input) {
        self.step += 1;
        match input {
            Input::Listed(kind, objects) => self.listed(at, kind, objects),
            Input::Changed(kind, change, object) => self.changed(at, kind, change, object),
            Input::WatchLost(kind) => {
                self.lost.entry(kind).or_insert(at);
            }
            Input::WatchResumed(kind) => {
                self.lost.remove(&kind);
            }
            Input::HostDown(name) => {
                self.state.hosts_down.insert(name.clone());
                self.push(at, Change::Modified, Object::HostDown(name), 0);
            }
            Input::HostBooted(name) => {
                self.state.hosts_down.remove(&name);
                self.push(at, Change::Modified, Object::HostBooted(name), 0);
            }
        }
    }

    fn push(&mut self, at: Duration, change: Change, object: Object, resource_version: u64) {
        self.entries.push(Entry { at, step: self.step, change, object, resource_version });
    }

    fn listed(&mut self, at: Duration, kind: Kind, objects: Vec<Value>) {
        let lost = self.lost.remove(&kind);
        if !self.listed.insert(kind) {
            self.gaps.push(Gap { kind, from: lost.unwrap_or(at), until: at });
        }
        if kind == Kind::Pod {
            self.pods_known.get_or_insert(at);
        }
        let uid = |object: &Value| {
            object.pointer("/metadata/uid").and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let listed: BTreeSet<String> = objects.iter().map(uid).collect();
        let known: BTreeMap<String, Arc<Value>> = match kind {
            Kind::Node => {
                self.state.nodes.values().map(|node| (node.uid.clone(), node.raw.clone())).collect()
            }
            Kind::Lease => {
                self.state.leases.values().map(|lease| (lease.uid.clone(), lease.raw.clone())).collect()
            }
            Kind::Pod => self.state.pods.values().map(|pod| (pod.uid.clone(), pod.raw.clone())).collect(),
        };
        // First what is gone: its successor may have the same name.
        for (uid, raw) in &known {
            if !listed.contains(uid) {
                self.changed(at, kind, Change::Deleted, raw.as_ref().clone());
            }
        }
        for object in objects {
            match known.get(&uid(&object)) {
                Some(before) if resource_version(before) == resource_version(&object) => {}
                Some(_) => self.changed(at, kind, Change::Modified, object),
                None => self.changed(at, kind, Change::Added, object),
            }
        }
    }

    fn changed(&mut self, at: Duration, kind: Kind, change: Change, raw: Value) {
        fn store<T>(map: &mut BTreeMap<String, Arc<T>>, key: String, value: &Arc<T>, change: Change) {
            match change {
                Change::Deleted => map.remove(&key),
                Change::Added | Change::Modified => map.insert(key, value.clone()),
            };
        }
        let version = resource_version(&raw);
        let raw = Arc::new(raw);
        let object = match kind {
            Kind::Node => NodeState::read(raw).map(|node| {
                let node = Arc::new(node);
                store(&mut self.state.nodes, node.name.clone(), &node, change);
                Object::Node(node)
            }),
            Kind::Lease => LeaseState::read(raw).map(|lease| {
                let lease = Arc::new(lease);
                store(&mut self.state.leases, lease.name.clone(), &lease, change);
                Object::Lease(lease)
            }),
            Kind::Pod => PodState::read(raw).map(|pod| {
                let pod = Arc::new(pod);
                store(&mut self.state.pods, pod.key(), &pod, change);
                Object::Pod(pod)
            }),
        };
        if let Some(object) = object {
            self.push(at, change, object, version);
        }
    }

    /// When which node was disrupted: from our cordon seen until it is removed, and while its host is down.
    pub fn disruptions(&self) -> Vec<Disruption> {
        #[derive(Default)]
        struct Node {
            pool: Option<String>,
            cordoned: bool,
            down: bool,
            open: Option<usize>,
        }
        let mut nodes: BTreeMap<String, Node> = BTreeMap::new();
        let mut disruptions: Vec<Disruption> = Vec::new();
        for entry in &self.entries {
            let name = match &entry.object {
                Object::Node(node) => &node.name,
                Object::HostDown(name) | Object::HostBooted(name) => name,
                Object::Lease(_) | Object::Pod(_) => continue,
            };
            let known = nodes.entry(name.clone()).or_default();
            match &entry.object {
                Object::Node(node) => {
                    known.cordoned = entry.change != Change::Deleted && node.cordoned_by_us();
                    known.pool = node.pool.clone();
                }
                Object::HostDown(_) => known.down = true,
                _ => known.down = false,
            }
            match (known.cordoned || known.down, known.open) {
                (true, None) => {
                    known.open = Some(disruptions.len());
                    disruptions.push(Disruption {
                        node: name.clone(),
                        pool: known.pool.clone(),
                        from: entry.at,
                        until: None,
                    });
                }
                (false, Some(open)) => {
                    known.open = None;
                    if let Some(disruption) = disruptions.get_mut(open) {
                        disruption.until = Some(entry.at);
                    }
                }
                _ => {}
            }
        }
        disruptions
    }

    /// The most nodes that were disrupted at one time, whatever their pool; the first such time.
    pub fn max_disrupted_at_once(&self) -> Overlap {
        most(overlaps(self.disruptions()))
    }

    /// The same in one pool.
    pub fn max_disrupted_at_once_in(&self, pool: &str) -> Overlap {
        most(overlaps(self.disruptions_in(pool)))
    }

    /// Every time in which more nodes of a pool were disrupted than allowed: a broken promise P1.
    pub fn disrupted_more_than(&self, allowed: usize, pool: &str) -> Vec<Overlap> {
        let mut over = overlaps(self.disruptions_in(pool));
        over.retain(|overlap| overlap.count() > allowed);
        over
    }

    fn disruptions_in(&self, pool: &str) -> Vec<Disruption> {
        let mut disruptions = self.disruptions();
        disruptions.retain(|disruption| disruption.pool.as_deref() == Some(pool));
        disruptions
    }

    /// Who held which Lease when, by the time of the claim.
    pub fn holdings(&self) -> Vec<Holding> {
        let mut open: BTreeMap<&str, usize> = BTreeMap::new();
        let mut holdings: Vec<Holding> = Vec::new();
        for entry in &self.entries {
            let Object::Lease(lease) = &entry.object else { continue };
            let holder = lease.holder.as_ref().filter(|_| entry.change != Change::Deleted);
            let before = open.get(lease.name.as_str()).copied();
            let held_by = before.and_then(|index| holdings.get(index)).map(|holding| &holding.holder);
            if held_by == holder {
                continue;
            }
            if let Some(holding) = before.and_then(|index| holdings.get_mut(index)) {
                holding.until = Some(entry.at);
            }
            open.remove(lease.name.as_str());
            if let Some(holder) = holder {
                open.insert(&lease.name, holdings.len());
                holdings.push(Holding {
                    lease: lease.name.clone(),
                    pool: lease.pool.clone(),
                    holder: holder.clone(),
                    from: entry.at,
                    until: None,
                });
            }
        }
        holdings
    }

    /// The resourceVersions from which on our cordon stood on this node although it held no slot. In the API server's
    /// own order, which the order of arrival is not.
    pub fn cordoned_without_slot(&self, node: &str) -> Vec<u64> {
        let mut entries: Vec<&Entry> =
            self.entries.iter().filter(|entry| entry.resource_version > 0).collect();
        entries.sort_by_key(|entry| entry.resource_version);
        let mut slots: BTreeSet<&str> = BTreeSet::new();
        let (mut cordoned, mut wrong, mut found) = (false, false, Vec::new());
        for entry in entries {
            match &entry.object {
                Object::Node(seen) if seen.name == node => {
                    cordoned = entry.change != Change::Deleted && seen.cordoned_by_us();
                }
                Object::Lease(lease) => {
                    let holds = entry.change != Change::Deleted && lease.holder.as_deref() == Some(node);
                    if holds {
                        slots.insert(&lease.name)
                    } else {
                        slots.remove(lease.name.as_str())
                    };
                }
                _ => continue,
            }
            let was_wrong = std::mem::replace(&mut wrong, cordoned && slots.is_empty());
            if wrong && !was_wrong {
                found.push(entry.resource_version);
            }
        }
        found
    }

    /// What stood in the slot that this node held, each time its host went down; nothing where it held none.
    pub fn slots_when_down(&self, node: &str) -> Vec<Option<Arc<LeaseState>>> {
        let mut held: BTreeMap<&str, &Arc<LeaseState>> = BTreeMap::new();
        let mut found = Vec::new();
        for entry in &self.entries {
            match &entry.object {
                Object::Lease(lease)
                    if entry.change != Change::Deleted && lease.holder.as_deref() == Some(node) =>
                {
                    held.insert(&lease.name, lease);
                }
                Object::Lease(lease) => {
                    held.remove(lease.name.as_str());
                }
                Object::HostDown(name) if name == node => {
                    found.push(held.values().next().map(|lease| Arc::clone(lease)));
                }
                _ => {}
            }
        }
        found
    }

    /// From each release to the next claim in the same pool. Where several slots lie free, the one that was given
    /// back first counts as claimed first. A release that nobody followed is not among them.
    pub fn handoffs(&self) -> Vec<Handoff> {
        enum Step<'holding> {
            Release(&'holding Holding),
            Claim(&'holding Holding),
        }
        let holdings = self.holdings();
        let mut steps: Vec<(Duration, Step<'_>)> = Vec::new();
        for holding in &holdings {
            steps.push((holding.from, Step::Claim(holding)));
            steps.extend(holding.until.map(|until| (until, Step::Release(holding))));
        }
        // A holder that is replaced in one write releases before the other claims.
        steps.sort_by_key(|(at, step)| (*at, matches!(step, Step::Claim(_))));
        let mut released: BTreeMap<Option<&str>, VecDeque<(Duration, &Holding)>> = BTreeMap::new();
        let mut handoffs = Vec::new();
        for (at, step) in steps {
            match step {
                Step::Release(holding) => {
                    released.entry(holding.pool.as_deref()).or_default().push_back((at, holding))
                }
                Step::Claim(holding) => {
                    let pool = holding.pool.as_deref();
                    if let Some((released_at, before)) = released.get_mut(&pool).and_then(VecDeque::pop_front)
                    {
                        handoffs.push(Handoff {
                            pool: holding.pool.clone(),
                            released_by: before.holder.clone(),
                            released_at,
                            claimed_by: holding.holder.clone(),
                            claimed_at: at,
                        });
                    }
                }
            }
        }
        handoffs
    }

    /// Pods that were deleted or are being deleted, in the order in which that was asked for.
    pub fn pod_deletions(&self) -> Vec<PodDeletion> {
        let mut deletions: Vec<PodDeletion> = Vec::new();
        let mut known: BTreeMap<String, usize> = BTreeMap::new();
        for entry in &self.entries {
            let Object::Pod(pod) = &entry.object else { continue };
            let gone = entry.change == Change::Deleted;
            if !gone && !pod.terminating {
                continue;
            }
            let index = *known.entry(pod.uid.clone()).or_insert_with(|| {
                deletions.push(PodDeletion { asked_at: entry.at, gone_at: None, pod: pod.clone() });
                deletions.len() - 1
            });
            if let Some(deletion) = deletions.get_mut(index) {
                deletion.pod = pod.clone();
                deletion.gone_at = gone.then_some(entry.at);
            }
        }
        deletions
    }

    /// The same for one kind of controlling owner; `""` for pods without one.
    pub fn pods_deleted_by_owner_kind(&self, kind: &str) -> Vec<PodDeletion> {
        let mut deletions = self.pod_deletions();
        deletions.retain(|deletion| deletion.pod.owner_kind.as_deref().unwrap_or_default() == kind);
        deletions
    }

    /// The fewest Ready pods that a label selector found since the first list of pods. Absent before that.
    pub fn min_ready(&self, selector: &Selector) -> Option<MinimumReady> {
        self.min_ready_since(selector, Duration::ZERO)
    }

    /// The same from a moment on: let it be one at which the workload is complete. Pods that terminate do not count,
    /// as for a PodDisruptionBudget.
    pub fn min_ready_since(&self, selector: &Selector, since: Duration) -> Option<MinimumReady> {
        let known = self.pods_known?;
        let mut ready: BTreeSet<String> = BTreeSet::new();
        // How many there were after the step that ended last, and when it ended.
        let mut before: Option<(usize, Duration)> = None;
        let mut minimum: Option<MinimumReady> = None;
        let mut judge = |count: usize, at: Duration| {
            if minimum.as_ref().is_none_or(|minimum| count < minimum.count) {
                minimum = Some(MinimumReady { count, at });
            }
        };
        let pods = self.entries.iter().filter(|entry| matches!(entry.object, Object::Pod(_)));
        let mut pods = pods.peekable();
        if pods.peek().is_none_or(|first| first.at > known) {
            if known >= since {
                judge(0, known);
            }
            before = Some((0, known));
        }
        while let Some(entry) = pods.next() {
            let Object::Pod(pod) = &entry.object else { continue };
            if entry.change != Change::Deleted
                && pod.ready
                && !pod.terminating
                && selector.matches(&pod.labels)
            {
                ready.insert(pod.uid.clone());
            } else {
                ready.remove(&pod.uid);
            }
            if pods.peek().is_some_and(|next| next.step == entry.step) {
                continue;
            }
            if entry.at >= since {
                // What held at `since` itself, when this is the first step after it.
                if let Some((count, _)) = before.filter(|(_, at)| *at < since && entry.at > since) {
                    judge(count, since);
                }
                judge(ready.len(), entry.at);
            }
            before = Some((ready.len(), entry.at));
        }
        if before.is_none_or(|(_, at)| at < since) {
            judge(ready.len(), since);
        }
        minimum
    }
}

/// Each stretch of time in which the same nodes were disrupted, and at least one was.
fn overlaps(disruptions: Vec<Disruption>) -> Vec<Overlap> {
    let mut steps: Vec<(Duration, bool, String)> = Vec::new();
    for disruption in disruptions {
        steps.extend(disruption.until.map(|until| (until, false, disruption.node.clone())));
        steps.push((disruption.from, true, disruption.node));
    }
    // At the same instant an end comes before a beginning; only entries of one list share an instant.
    steps.sort();
    let mut overlaps: Vec<Overlap> = Vec::new();
    let mut nodes = BTreeSet::new();
    let mut steps = steps.into_iter().peekable();
    while let Some((at, begins, node)) = steps.next() {
        if begins {
            nodes.insert(node);
        } else {
            nodes.remove(&node);
        }
        if steps.peek().is_some_and(|(next, ..)| *next == at) {
            continue;
        }
        if let Some(last) = overlaps.last_mut().filter(|last| last.until.is_none()) {
            last.until = Some(at);
        }
        if !nodes.is_empty() {
            overlaps.push(Overlap { from: at, until: None, nodes: nodes.clone() });
        }
    }
    overlaps
}

fn most(overlaps: Vec<Overlap>) -> Overlap {
    overlaps.into_iter().rev().max_by_key(Overlap::count).unwrap_or_default()
}

/// A label selector: `app=web,tier!=cache,canary,!old`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector(Vec<Requirement>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Requirement {
    Equal(String, String),
    NotEqual(String, String),
    Exists(String),
    Absent(String),
}

impl Selector {
    /// Whether these labels are selected.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|requirement| match requirement {
            Requirement::Equal(key, value) => labels.get(key) == Some(value),
            Requirement::NotEqual(key, value) => labels.get(key) != Some(value),
            Requirement::Exists(key) => labels.contains_key(key),
            Requirement::Absent(key) => !labels.contains_key(key),
        })
    }
}

/// A selector in set notation (`in`, `notin`) or without a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SelectorError(String);

impl fmt::Display for SelectorError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?} is no label selector that is understood here", self.0)
    }
}

impl std::error::Error for SelectorError {}

impl FromStr for Selector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Selector, SelectorError> {
        let requirements = text.split(',').map(|part| {
            let part = part.trim();
            let requirement = if let Some((key, value)) = part.split_once("!=") {
                Requirement::NotEqual(key.trim().to_owned(), value.trim().to_owned())
            } else if let Some((key, value)) = part.split_once('=') {
                Requirement::Equal(key.trim().to_owned(), value.trim_start_matches('=').trim().to_owned())
            } else if let Some(key) = part.strip_prefix('!') {
                Requirement::Absent(key.trim().to_owned())
            } else {
                Requirement::Exists(part.to_owned())
            };
            let key = match &requirement {
                Requirement::Equal(key, _)
                | Requirement::NotEqual(key, _)
                | Requirement::Exists(key)
                | Requirement::Absent(key) => key,
            };
            if key.is_empty() || key.contains([' ', '(', ')']) {
                Err(SelectorError(text.to_owned()))
            } else {
                Ok(requirement)
            }
        });
        Ok(Selector(requirements.collect::<Result<_, _>>()?))
    }
}
