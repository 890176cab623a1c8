//! The drain: which pods leave, how far each has come, and what the server answered. [`plan`](plan()) decides what
//! happens to each pod, [`queue`] which one to ask for next.

mod folding;
mod keepers;
mod plan;
mod progress;
mod queue;
mod rehearsal;
mod state;

pub(super) use folding::{budget_seen, eviction_ended, evictions_begun, pod_gone, pod_seen, pods_read};
pub use keepers::refusing_budgets;
pub use plan::{Leave, Planned, Refusal, Verdict, Warning, budget_namespaces, plan};
pub(crate) use progress::pods_have;
pub(super) use progress::progress;
pub(super) use queue::Queue;
pub(super) use rehearsal::{Rehearsed, blocked, judge};
pub use state::{DrainState, EvictionOutcome, EvictionRefusal, GonePod, PodDrain, Refuser, Rehearsal, Retry};
pub(super) use state::{awaited_until, named_from};
