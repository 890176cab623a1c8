//! What this process has sent to the API server, counted for the metrics.

use std::sync::atomic::{AtomicU64, Ordering};

use super::error::ApiError;

static REQUESTS: AtomicU64 = AtomicU64::new(0);
static UNANSWERED: AtomicU64 = AtomicU64::new(0);
static REFUSED: AtomicU64 = AtomicU64::new(0);
static FAILED: AtomicU64 = AtomicU64::new(0);

/// What the daemon has sent to the API server since it was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// Requests, a watch being one.
    pub requests: u64,
    /// Those without an answer.
    pub unanswered: u64,
    /// Those that were answered by 4xx.
    pub refused: u64,
    /// Those that were answered by 5xx.
    pub failed: u64,
}

impl Traffic {
    /// Until now.
    pub fn now() -> Traffic {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Traffic {
            requests: read(&REQUESTS),
            unanswered: read(&UNANSWERED),
            refused: read(&REFUSED),
            failed: read(&FAILED),
        }
    }
}

pub(super) fn sent() {
    REQUESTS.fetch_add(1, Ordering::Relaxed);
}

pub(super) fn ended_badly(error: &ApiError) {
    let count = match error {
        ApiError::Status { code, .. } if *code >= 500 => &FAILED,
        ApiError::Status { .. } => &REFUSED,
        _ => &UNANSWERED,
    };
    count.fetch_add(1, Ordering::Relaxed);
}
