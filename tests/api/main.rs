//! The adapters to the API server, without root: against a real one, and against scripted answers for what a real one
//! does not give.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    missing_docs,
    reason = "tests"
)]

mod enrolment;
mod evictions;
mod journal;
mod manifests;
mod reads;
mod scripted;
mod server;
mod watches;
mod webhook;
mod writes;

/// The next event of a watch; `None` when it has ended.
async fn next(watch: &mut rebootd::cluster::Watch) -> Option<rebootd::decide::Event> {
    std::future::poll_fn(|context| watch.poll_next(context)).await
}
