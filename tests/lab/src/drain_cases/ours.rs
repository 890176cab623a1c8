//! "Ours" (facts/kubernetes.md §3): what other tools got wrong, and what our own design asks for.

mod budgets;
mod order;

use super::Named;

pub(super) const CASES: [&[Named]; 2] = [budgets::CASES, order::CASES];
