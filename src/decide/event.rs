//! What the edge tells the core.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{
    AfterReadings, Answer, Budget, Confinement, CredentialState, Effect, EvictionOutcome, Hook, HookUnit,
    How, Inhibitor, Kernel, KubeletLease, Measured, Names, NodeView, Others, Parts, PodKey, PodView, Proven,
    Reads, ScheduledShutdown, SlotView, Source, Update, Waiters,
};

/// The object that a write is sent to, by uid.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Target(pub String);

impl Event {
    /// Whether this reading failed in such a way that the rest of its look would only fail, too. A reading that only
    /// closes its own gate (the other nodes, alerts, the gates after a reboot, budgets) does not count: what follows
    /// is read anyway.
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
    /// The reason, for people.
    pub message: String,
    /// The server asked us to wait this long.
    pub retry_after: Option<Duration>,
}

/// How a write ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// 2xx: the write is applied, and no earlier write to the object can be applied any more.
    Answered,
    /// The server refused it, so it is not applied. Doubts about earlier writes remain.
    Refused {
        /// What the server said.
        failure: Failure,
        /// A conflict (409): somebody else was faster; look and go on.
        conflict: bool,
    },
    /// No answer, or one that does not say: the write may be applied, now or later.
    Unanswered(Failure),
}

/// Something that happened, as told by the edge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Time passed.
    Tick,
    /// How it stands with this node's own credential.
    Credential(CredentialState),
    /// The sources of requests on this host were read: all that are configured.
    Requests(BTreeMap<Source, Answer>),
    /// The hold file, with which a person holds this node, was read.
    Hold(Result<Option<String>, String>),
    /// Which kernel runs, and which is installed, was read.
    Kernel(Result<Kernel, String>),
    /// Which updates are installed and not live was read; `None` if nobody has worked it out in this boot.
    Updates(Option<Vec<Update>>),
    /// What was measured of this turn so far.
    Measured(Measured),
    /// What dpkg has left half done was read.
    Packages(Result<Names, String>),
    /// The agent tried to keep its memory in a file.
    Remembered(Result<(), String>),
    /// Whether Livepatch covers what the sentinel asks for was read.
    Livepatch(Result<bool, String>),
    /// Whether the clock is synchronised was read.
    Clock(Result<bool, String>),
    /// Who is logged in was read.
    Sessions(Result<Vec<String>, String>),
    /// The units of all the wanted hooks were read.
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
    /// The daemon is about to ask systemd to start a hook, in the turn of the slot claimed at this time.
    HookBegun {
        /// Which hook.
        hook: Hook,
        /// See [`super::HookRun`].
        turn: Duration,
    },
    /// The loop waits: for a slot, or for something else or nothing; and watches these parts meanwhile.
    Waits {
        /// See [`super::Decision::wants_slot`].
        for_slot: bool,
        /// What is watched from now on.
        watched: Parts,
    },
    /// A look begins: the readings that follow belong to it.
    LookBegun,
    /// The own Node was read.
    Node(Result<Option<NodeView>, Failure>),
    /// The slots were read.
    Slots(Result<Vec<SlotView>, Failure>),
    /// Whether policies confine this node's credential was tried.
    Confinement(Result<Confinement, String>),
    /// Whether the Node of a slot's holder exists was read.
    Holder {
        /// The Node's name.
        name: String,
        /// Whether there is one.
        exists: Result<bool, Failure>,
    },
    /// The other nodes were read.
    Others(Result<Others, Failure>),
    /// The other nodes that wait were read, or not: then as if there were none.
    Waiters(Waiters),
    /// The nodes that have tried what this one would make live were read.
    Proven(Result<Proven, Failure>),
    /// The fleet's policy was read and now applies in the settings; or why it does not: it cannot be understood, or
    /// we may not read it.
    Policy(Result<(), String>),
    /// The API server did not answer when asked for the fleet's policy: the look has failed.
    PolicyUnanswered(Failure),
    /// A watch says that the fleet's policy has changed.
    PolicyChanged,
    /// The host's configuration was read again; what is wrong with it, if anything. The settings stay as they were.
    Configuration(Option<String>),
    /// Prometheus was asked for whatever keeps a reboot from starting.
    Alerts(Result<Names, Failure>),
    /// What the gates after a reboot ask about was read.
    After(AfterReadings),
    /// The kubelet's Lease was read.
    Kubelet(Result<KubeletLease, Failure>),
    /// The pods of this node were read.
    Pods(Result<Vec<PodView>, Failure>),
    /// The budgets of [`super::budget_namespaces`] were read.
    Budgets(Result<Vec<Budget>, Failure>),
    /// A watch says whether a budget lets a pod go now.
    BudgetSeen {
        /// `namespace/name`.
        budget: String,
        /// Also false if it is not known any more.
        opens: bool,
    },
    /// The look ended.
    LookEnded(Reads),
    /// A watch says that an object may have changed: its uid and resourceVersion.
    Changed {
        /// `metadata.uid`.
        uid: String,
        /// `metadata.resourceVersion`.
        resource_version: String,
    },
    /// A watch says how a slot is now.
    SlotSeen(SlotView),
    /// A watch says what people have annotated on the own Node.
    Annotations {
        /// `metadata.uid`; empty if the Node is gone.
        uid: String,
        /// As in [`NodeView::hold`].
        hold: Option<String>,
        /// As in [`NodeView::request`].
        request: Option<String>,
        /// As in [`NodeView::labels`].
        labels: BTreeMap<String, String>,
    },
    /// A watch says what a pod looks like now.
    PodSeen(PodView),
    /// A watch says that a pod has left this node.
    PodGone(PodKey),
    /// A watch broke off: what it watched may have changed.
    WatchEnded,
    /// A write is about to be sent.
    WriteBegun(Target),
    /// A write ended.
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
        /// The pods.
        pods: Vec<PodKey>,
        /// How they are asked to end.
        how: How,
    },
    /// A request for an eviction was answered, or failed without an answer.
    EvictionEnded {
        /// The pod.
        pod: PodKey,
        /// How it was asked to end.
        how: How,
        /// How the request ended.
        outcome: EvictionOutcome,
    },
    /// The reboot is about to be asked for.
    RebootBegun,
    /// logind answered.
    RebootEnded(Result<(), String>),
    /// Somebody asks this node to give back its slots and to claim nothing.
    StepBack,
    /// The settings changed: readings made under the old ones no longer count.
    Reloaded,
}
