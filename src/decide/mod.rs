//! The core: what is known ([`World`]), and what follows from it ([`decide`]).
//!
//! Nothing in this module reads a file, a clock, a random number or a socket, so the daemon, the tests and the model
//! checker run exactly the same code. Facts come in as [`Event`]s through [`observe`]; what to do comes out as a
//! [`Decision`]. The rules are in `docs/architecture.md`, "The order of writes":
//!
//! ```text
//! claim(slot) → cordon(Node) → drain → stamp(slot) → Reboot       uncordon(Node) → release(slot)
//! ```
//!
//! Each arrow waits for the answer to the write before it. A write without an answer may be applied at any later
//! time; only a later, answered write to the same object settles it. What is in doubt is not remembered across
//! processes: a new process begins with every object in doubt, and repeats the write that it builds upon.

mod abort;
mod canary;
mod confinement;
mod decision;
mod drain;
mod effect;
mod event;
mod facts;
mod gates;
mod health;
mod healthy;
mod hook;
mod hooks;
mod identity;
mod jitter;
mod last_reboot;
mod measured;
mod members;
mod observe;
mod overdue;
mod parts;
mod phase;
mod questions;
mod reason;
mod reboot;
mod reclaim;
mod requests;
mod schedule;
pub mod settings;
mod signs;
mod source;
mod text;
mod update;
mod urgent;
mod windows;
mod wish;
mod world;

pub use abort::AbortReason;
pub use canary::news;
pub use confinement::{Confinement, MANIFESTS};
pub use decision::{Decision, Next, Phase, Reads};
pub(crate) use drain::pods_have;
pub use drain::{
    DrainState, EvictionOutcome, EvictionRefusal, GonePod, Leave, Planned, PodDrain, Refusal, Refuser,
    Rehearsal, Retry, Verdict, Warning, budget_namespaces, plan, refusing_budgets,
};
pub use effect::{Effect, Eviction, How, NodeChange, NodeWrite, SlotChange, SlotWrite};
pub use event::{Event, Failure, Outcome, Target};
pub use facts::{
    AfterReadings, Before, Budget, Claim, CredentialState, Inhibitor, Kernel, KubeletLease, Names,
    NewerKernel, NodeView, Now, Others, Owner, PAUSE, PodKey, PodView, Proven, Reading, Request,
    ScheduledShutdown, SlotView, Stamp, Successors, Waiters, ZONE,
};
pub use gates::{GATES, Gate, MidTurn, Moment};
pub use health::Health;
pub use hook::{Hook, HookRun, HookUnit, UnitState};
pub(crate) use jitter::{hash, jitter};
pub use measured::{Figure, Impact, Measured, Replica, Restarts};
pub use members::{ETCD, control_plane_labels, is_control_plane};
pub use observe::observe;
pub use parts::{Part, Parts};
pub use questions::{clock_matters, record_failure};
pub use reason::Reason;
pub use reboot::{Ending, LastReboot};
pub use reclaim::holders;
pub use requests::{requests, requests_in_words};
pub use schedule::decide;
pub use settings::Settings;
pub use signs::{ADDED, KEEP_FROM_AUTOSCALERS, POOL, PROVEN, SignsWrite, Taints, WAITING};
pub use source::{Answer, Source};
pub(crate) use text::span;
pub use update::{Cves, Update, open_cves};
pub use urgent::urgent;
pub use windows::{Closed, Freeze, Judgement, Open, SHORTEST_WINDOW, Window, Windows};
pub use world::{FirstStart, Kernels, Memory, Missing, Setback, Uncordoned, Well, World};
