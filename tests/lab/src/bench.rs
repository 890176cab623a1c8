//! Benchmarks on a lab: a table for people, and figures as a JSON object for programs.

pub mod drain;
pub mod faults;
pub mod fleet;
pub mod idle;
pub mod rehearse;
pub mod rights;
pub mod rollout;
pub mod scale;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::SystemTime;

use anyhow::Result;
use jiff::Timestamp;

use crate::audit::{self, Filter};

/// Requests by "verb resource", of rebootd on any host, with their `total`.
fn requests(audit_log: &Path, from: SystemTime, until: SystemTime) -> Result<BTreeMap<String, u64>> {
    let filter =
        Filter::new().between(Timestamp::try_from(from)?, Timestamp::try_from(until)?).user_agent("rebootd/");
    let mut counts =
        audit::count_by(audit_log, &filter, |request| format!("{} {}", request.verb, request.resource))?;
    counts.insert("total".to_owned(), counts.values().sum());
    Ok(counts)
}

/// To one digit after the point: the figures are no better than that.
fn rounded(seconds: f64) -> f64 {
    (seconds * 10.0).round() / 10.0
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or_default()
}
