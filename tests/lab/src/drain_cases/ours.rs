//! "Ours" (facts/kubernetes.md §3): what other tools got wrong, and what our own design asks for.

mod budgets;
mod cluster;
mod crash;
mod order;
mod stuck;
mod tries;

use super::Named;

pub(super) const CASES: [&[Named]; 6] =
    [cluster::CASES, stuck::CASES, tries::CASES, budgets::CASES, crash::CASES, order::CASES];
