//! The cluster: adapters between the Kubernetes API and the core's facts and effects. They take no decisions.

mod api;
mod checks;
mod client;
mod eviction;
mod objects;
mod patches;
mod pods;
mod table;
mod watch;

pub use api::{Api, HeldSlot};
pub use client::ApiError;
pub use watch::Watch;
