//! The core, run through whole stories against a small imitation of a cluster and its hosts. It shows what the
//! core decides, in seconds; what a real API server and a real systemd do is the lab's to show.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    missing_docs,
    reason = "tests"
)]

mod breaker;
mod drain;
mod fleet;
mod gates;
mod imitation;
mod reclaim;
mod rehearse;
mod requests;
mod scenarios;
mod stories;
mod trouble;
