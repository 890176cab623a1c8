//! The agent: the loop around the core ([`event_loop`]), and the daemon's edge to this host and the cluster ([`daemon`]).

mod configuration;
mod daemon;
mod event_loop;
mod journal;
mod requests;
mod watches;

pub use configuration::{Configuration, Reload};
pub use daemon::{Daemon, Places};
pub use event_loop::{Agent, Edge};
