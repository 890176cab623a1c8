//! What the Node shows to others while a reboot is ahead: to people, the scheduler, load balancers and autoscalers.
//! Nothing of ours depends on these signs, so we never wait for one, and never write one while another write is due.
//!
//! We remove only what we have put there: whatever was there before is somebody else's, and stays.

use std::collections::{BTreeMap, BTreeSet};

use super::NodeView;
use super::settings::{DrainSettings, Settings};

/// The label, and the key of the taint, of a node that waits for a reboot.
pub const WAITING: &str = "rebootd.io/waiting";
/// The label of a slot, and of a Node, that names its pool.
pub const POOL: &str = "rebootd.io/pool";
/// The label of a Node that has tried something well before others did: what it was, see [`super::news`].
pub const PROVEN: &str = "rebootd.io/proven";
/// The annotation that lists the labels and annotations that we have put on the Node and whose names do not tell that
/// they are ours.
pub const ADDED: &str = "rebootd.io/added";
/// For the cluster autoscaler and Karpenter: do not remove this node, however empty it is.
pub const KEEP_FROM_AUTOSCALERS: [&str; 2] =
    ["cluster-autoscaler.kubernetes.io/scale-down-disabled", "karpenter.sh/do-not-disrupt"];
/// A node with this label gets no traffic from load balancers outside the cluster.
const LEAVE_LOAD_BALANCERS: &str = "node.kubernetes.io/exclude-from-external-load-balancers";

/// How a write to the Node changes its signs. `None` removes a sign.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct SignsWrite {
    /// Labels by name.
    pub labels: BTreeMap<String, Option<String>>,
    /// Annotations by name.
    pub annotations: BTreeMap<String, Option<String>>,
    /// Taints are a single list, which can only be written as a whole.
    pub taints: Option<Taints>,
}

/// All taints of a Node.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Taints {
    /// Whether ours is among them: [`WAITING`], `PreferNoSchedule`.
    pub waiting: bool,
    /// See [`NodeView::taints`].
    pub others: Vec<String>,
}

impl SignsWrite {
    /// Whether the write changes no sign.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.annotations.is_empty() && self.taints.is_none()
    }
}

/// Whether the node waits for a reboot, if that is known.
pub(super) enum Waiting {
    /// It does; the label's value is for people.
    Yes(String),
    No,
    Unknown,
}

/// Where a node stands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// Between the cordon and the uncordon.
    In,
    /// A short time after it: autoscalers would still take the node for one that nobody needs.
    JustOver,
    Out,
}

/// What has to be written so that the Node shows what it should.
pub(super) fn write(node: &NodeView, settings: &Settings, waiting: &Waiting, turn: Turn) -> SignsWrite {
    let (mut write, signs) = (SignsWrite::default(), &settings.signs);
    let has_label = node.labels.contains_key(WAITING);
    match waiting {
        Waiting::Yes(text) if signs.waiting_label && !has_label => {
            write.labels.insert(WAITING.to_owned(), Some(text.clone()));
        }
        Waiting::No if has_label => drop(write.labels.insert(WAITING.to_owned(), None)),
        Waiting::Yes(_) if !signs.waiting_label && has_label => {
            write.labels.insert(WAITING.to_owned(), None);
        }
        _ => {}
    }
    let taint = match waiting {
        Waiting::Yes(_) => signs.waiting_taint,
        Waiting::No => false,
        Waiting::Unknown => node.waiting_taint,
    };
    if taint != node.waiting_taint {
        write.taints = Some(Taints { waiting: taint, others: node.taints.clone() });
    }

    let mut wanted = if turn == Turn::Out { BTreeMap::new() } else { wanted(&settings.drain) };
    if turn == Turn::JustOver {
        let is_there = |sign: &Sign| node.added.contains(&sign.to_string());
        wanted.retain(|sign, _| matches!(sign, Sign::Annotation(_)) && is_there(sign));
    }
    let mut added: BTreeSet<String> = BTreeSet::new();
    for (sign, value) in &wanted {
        let is_there = match sign {
            Sign::Label(name) => node.labels.contains_key(name),
            Sign::Annotation(name) => node.annotations.contains(name),
        };
        if is_there && !node.added.contains(&sign.to_string()) {
            continue;
        }
        added.insert(sign.to_string());
        if !is_there {
            write.set(sign, Some(value.clone()));
        }
    }
    for sign in node.added.iter().filter(|sign| !added.contains(*sign)).filter_map(|sign| Sign::parse(sign)) {
        write.set(&sign, None);
    }
    if added != node.added {
        let text = added.into_iter().collect::<Vec<_>>().join(" ");
        write.annotations.insert(ADDED.to_owned(), Some(text).filter(|text| !text.is_empty()));
    }
    write
}

impl SignsWrite {
    fn set(&mut self, sign: &Sign, value: Option<String>) {
        match sign {
            Sign::Label(name) => self.labels.insert(name.clone(), value),
            Sign::Annotation(name) => self.annotations.insert(name.clone(), value),
        };
    }
}

fn wanted(drain: &DrainSettings) -> BTreeMap<Sign, String> {
    let mut wanted: BTreeMap<Sign, String> =
        drain.labels.iter().map(|(name, value)| (Sign::Label(name.clone()), value.clone())).collect();
    if drain.leave_load_balancers.is_some() {
        wanted.insert(Sign::Label(LEAVE_LOAD_BALANCERS.to_owned()), String::new());
    }
    if drain.keep_from_autoscalers {
        let names = KEEP_FROM_AUTOSCALERS.map(|name| (Sign::Annotation(name.to_owned()), "true".to_owned()));
        wanted.extend(names);
    }
    wanted
}

/// Something whose name does not tell that it is ours, as in [`ADDED`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Sign {
    Label(String),
    Annotation(String),
}

impl Sign {
    fn parse(text: &str) -> Option<Sign> {
        match text.split_once(':')? {
            ("label", name) => Some(Sign::Label(name.to_owned())),
            ("annotation", name) => Some(Sign::Annotation(name.to_owned())),
            _ => None,
        }
    }
}

impl std::fmt::Display for Sign {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Sign::Label(name) => write!(f, "label:{name}"),
            Sign::Annotation(name) => write!(f, "annotation:{name}"),
        }
    }
}
