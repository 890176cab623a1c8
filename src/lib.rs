//! rebootd: Kubernetes nodes that reboot themselves, one at a time, after a security update.
//!
//! ```text
//! events ──► World ──► decide(&World, &Settings) ──► Decision ──► act ──► report
//! host/ cluster/       decide/  (pure)                            agent    report/
//! ```
//!
//! `docs/architecture.md` explains how the pieces meet, and why the writes come in this order.

pub mod access;
pub mod agent;
mod cli;
pub mod cluster;
pub mod config;
pub mod ctl;
pub mod daemon;
pub mod decide;
pub mod host;
pub mod notation;
mod read;
pub mod rehearse;
mod replace;
pub mod report;
mod words;
mod yaml;
