//! This host: adapters that read facts and carry out effects. They decide nothing.

pub mod changelog;
pub mod clock;
pub mod command;
pub mod credential;
pub mod dpkg;
pub mod graceful;
pub mod hold;
pub mod hooks;
pub mod identity;
pub mod kernel;
pub mod kubelet;
pub mod live;
pub mod livepatch;
pub mod logind;
pub mod memory;
pub mod needrestart;
pub mod offered;
pub mod others;
pub mod packages;
pub mod sentinel;
pub mod upgrades;
