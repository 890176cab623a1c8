//! What the edge tells the core.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{
    AfterReadings, Answer, Budget, Effect, EvictionOutcome, Hook, HookUnit, How, Inhibitor, Kernel,
    KubeletLease, Names, NodeView, Others, PodKey, PodView, Reads, ScheduledShutdown, SlotView, Source,
};

/// What a write is sent to, by uid.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Target(pub String);

impl Event {
    /// Whether this is a reading that failed so that the rest of its look would only fail, too. What only shuts a gate of
    /// its own (the other nodes, alerts, the gates after a reboot, budgets) does not: what follows is read all the same.
    pub fn ends_look(&self) -> bool {
        matches!(
            self,
            Event::PolicyUnanswered(_)
                | Event::Node(Err(_))
                | Event::Slots(Err(_))
                | Event::Holder { exists: Err(_), .. }
                | Event::Kubelet(Err(_))
                | Event::Pods(Err(_))
        )
    }
}

/// Why a read failed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Failure {
    /// For people.
    pub message: String,
    /// The server asked for this much patience.
    pub retry_after: Option<Duration>,
}

/// How a write ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// 2xx: it is applied, and every earlier write to the object is dead.
    Answered,
    /// The server refused it: it is not applied. Earlier doubts remain.
    Refused {
        /// What the server said.
        failure: Failure,
        /// A conflict (409): somebody else was faster, look and go on.
        conflict: bool,
    },
    /// No answer, or one that does not say: it may be applied, now or later.
    Unanswered(Failure),
}

/// Something that happened, as told by the edge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Time passed.
    Tick,
    /// The sources of requests on this host were read, all that are configured.
    Requests(BTreeMap<Source, Answer>),
    /// The file of a person who holds this node was read.
    Hold(Result<Option<String>, String>),
    /// Which kernel runs, and which is installed, was read.
    Kernel(Result<Kernel, String>),
    /// Whether Livepatch covers what the sentinel asks for was read.
    Livepatch(Result<bool, String>),
    /// Whether the clock is synchronised was read.
    Clock(Result<bool, String>),
    /// Who is logged in was read.
    Sessions(Result<Vec<String>, String>),
    /// The units of the hooks were read, all that are wanted.
    Hooks(BTreeMap<Hook, Result<HookUnit, String>>),
    /// The rest of the host was read.
    Host {
        /// logind or systemd says that the host is shutting down.
        going_down: Result<bool, String>,
        /// The file that dpkg or apt holds a lock on.
        package_manager: Result<Option<String>, String>,
        /// Inhibitors on shutdown.
        inhibitors: Result<Vec<Inhibitor>, String>,
        /// logind would let us reboot.
        may_reboot: Result<bool, String>,
        /// The shutdown that somebody has scheduled.
        scheduled: Result<Option<ScheduledShutdown>, String>,
    },
    /// The daemon is about to ask those who are logged in to log out.
    PeopleTold,
    /// The daemon is about to ask systemd for a hook, in the turn of the slot claimed then.
    HookBegun {
        /// Which.
        hook: Hook,
        /// See [`super::HookRun`].
        turn: Duration,
    },
    /// A look begins: what follows was read after this.
    LookBegun,
    /// The own Node was read.
    Node(Result<Option<NodeView>, Failure>),
    /// The slots were read.
    Slots(Result<Vec<SlotView>, Failure>),
    /// Whether the Node of a slot's holder exists was read.
    Holder {
        /// The Node's name.
        name: String,
        /// Whether there is one.
        exists: Result<bool, Failure>,
    },
    /// The other nodes were read.
    Others(Result<Others, Failure>),
    /// The fleet's policy was read, and is in the settings from now on; or why it is not: it is not understood, or we may
    /// not read it.
    Policy(Result<(), String>),
    /// The API server did not answer the question for the fleet's policy: the look has failed.
    PolicyUnanswered(Failure),
    /// A watch says that the fleet's policy is another.
    PolicyChanged,
    /// The host's configuration was read anew: what is wrong with it, if something is. The settings are those of before.
    Configuration(Option<String>),
    /// Prometheus was asked for what keeps a reboot from starting.
    Alerts(Result<Names, Failure>),
    /// What the gates after a reboot ask for was read.
    After(AfterReadings),
    /// The kubelet's Lease was read.
    Kubelet(Result<KubeletLease, Failure>),
    /// The pods of this node were read.
    Pods(Result<Vec<PodView>, Failure>),
    /// The budgets of [`super::budget_namespaces`] were read.
    Budgets(Result<Vec<Budget>, Failure>),
    /// The look ended.
    LookEnded(Reads),
    /// A watch says that an object may have changed: its uid and resourceVersion.
    Changed {
        /// `metadata.uid`.
        uid: String,
        /// `metadata.resourceVersion`.
        resource_version: String,
    },
    /// A watch says what people have written on the own Node.
    Annotations {
        /// `metadata.uid`; empty where the Node is gone.
        uid: String,
        /// As in [`NodeView::hold`].
        hold: Option<String>,
        /// As in [`NodeView::request`].
        request: Option<String>,
        /// As in [`NodeView::labels`].
        labels: BTreeMap<String, String>,
    },
    /// A watch says what a pod is now.
    PodSeen(PodView),
    /// A watch says that a pod has left this node.
    PodGone(PodKey),
    /// A watch broke off: what it follows may have changed.
    WatchEnded,
    /// A write is about to be sent.
    WriteBegun(Target),
    /// A write came to its end.
    WriteEnded {
        /// The write.
        effect: Effect,
        /// When it was sent, in time since boot.
        sent: Duration,
        /// How it ended.
        outcome: Outcome,
    },
    /// Evictions are about to be asked for.
    EvictionsBegun {
        /// Of these pods.
        pods: Vec<PodKey>,
        /// In which way.
        how: How,
    },
    /// An eviction was answered, or not.
    EvictionEnded {
        /// The pod.
        pod: PodKey,
        /// In which way it was asked for.
        how: How,
        /// How that ended.
        outcome: EvictionOutcome,
    },
    /// The reboot is about to be asked for.
    RebootBegun,
    /// logind answered.
    RebootEnded(Result<(), String>),
    /// Somebody asks this node to give back what it holds and to claim nothing.
    StepBack,
    /// The settings changed: what was read under the old ones no longer counts.
    Reloaded,
}
