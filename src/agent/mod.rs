//! The agent: the loop around the core ([`event_loop`]), and the daemon's edge to this host and the cluster ([`edge`]).

mod announce;
mod configuration;
mod edge;
mod enrolment;
mod event_loop;
mod journal;
mod measuring;
mod metrics;
mod sources;
mod watches;
mod webhook;

pub use configuration::{Configuration, Reload};
pub use edge::{DaemonEdge, Places};
pub use event_loop::{Agent, Edge};
