//! "From server eviction tests" (facts/kubernetes.md §3): what the server answers, and what rebootd takes it for.

mod budgets;
mod preconditions;
mod refusals;
mod unhealthy;

use anyhow::{Result, ensure};

use super::Named;
use super::answers::{Said, Taken};
use super::case::{Case, Made};

pub(super) const CASES: [&[Named]; 4] =
    [budgets::CASES, unhealthy::CASES, preconditions::CASES, refusals::CASES];

/// Says no because of this budget, to the server's client and to rebootd, and touches nothing.
async fn is_refused_by(case: &Case, pod: &Made, budget: &str) -> Result<Said> {
    let said = case.evict_raw(pod).await?;
    ensure!(said.code == 429 && said.cause() == "DisruptionBudget", "{said}");
    case.is_taken_for(pod, &Taken::Budget(budget.to_owned())).await?;
    case.untouched(pod)?;
    Ok(said)
}

/// Says yes, to rebootd as well, and the pod leaves.
async fn is_granted(case: &Case, pod: &Made) -> Result<()> {
    let rehearsed = super::answers::options(pod, true);
    let said = case.ask_eviction(pod, rehearsed).await?;
    ensure!(said.code == 201, "{said}");
    case.is_taken_for(pod, &Taken::Granted).await?;
    case.gone(pod).await
}
