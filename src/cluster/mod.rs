//! The cluster: adapters between the Kubernetes API and the core's facts and effects. They decide nothing.

mod api;
mod asked;
mod checks;
mod client;
mod confinement;
mod enrolment;
mod error;
mod events;
mod eviction;
mod fleet;
#[cfg(fuzzing)]
pub mod fuzzing;
mod inventory;
mod kubelet;
mod listed;
mod measurer;
mod objects;
mod others;
mod patches;
mod paths;
mod pods;
mod shown;
mod slots;
mod table;
mod traffic;
mod waiters;
mod watch;
mod webhook;

pub use api::{Api, HeldSlot, PolicyMap};
pub use asked::AskedNode;
pub use enrolment::{BoundNode, Issued, Untaken};
pub use error::ApiError;
pub use events::{ClusterEvent, NodeEvent};
pub use fleet::FleetNode;
pub use inventory::{Kured, POLICIES, PolicyState, TokenPods};
pub use listed::Kind;
pub use measurer::Measurer;
pub use shown::{Condition, Heartbeat, NotLive, ROOM, time};
pub use traffic::Traffic;
pub use watch::Watch;
pub use webhook::send_to_webhook;
