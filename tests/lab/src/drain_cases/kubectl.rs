//! "From kubectl tests" (facts/kubernetes.md §3), through the daemon: what is evicted, what stays, what is refused
//! before anything is touched, and what is waited for.

mod owners;
mod stays;
mod waiting;

use super::Named;

pub(super) const CASES: [&[Named]; 3] = [owners::CASES, stays::CASES, waiting::CASES];
