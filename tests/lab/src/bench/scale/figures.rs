//! The figures of one run, from the audit log and the API server's own metrics.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::ledger::{Ledger, Request, Turn};
use crate::simulated::client::{Client, JSON};

/// What the API server counts of itself.
#[derive(Clone, Copy)]
pub(super) struct Counters {
    cpu_seconds: f64,
    watch_events: f64,
}

impl Counters {
    pub(super) async fn read(admin: &Client) -> Result<Self> {
        let metrics = admin.ask("GET", "/metrics", JSON, String::new()).await?;
        ensure!(metrics.is_yes(), "GET /metrics: {}", metrics.code);
        Ok(Self {
            cpu_seconds: sum(&metrics.text, "process_cpu_seconds_total")?,
            watch_events: sum(&metrics.text, "apiserver_watch_events_total")?,
        })
    }
}

/// Of all the lines of a metric.
fn sum(metrics: &str, name: &str) -> Result<f64> {
    let of_it = metrics.lines().filter(|line| {
        line.strip_prefix(name).is_some_and(|rest| rest.starts_with('{') || rest.starts_with(' '))
    });
    let values: Vec<f64> = of_it.filter_map(|line| line.rsplit(' ').next()?.parse().ok()).collect();
    ensure!(!values.is_empty(), "the API server has no metric {name}");
    Ok(values.iter().sum())
}

/// What a run has to be judged by.
pub(super) struct Run<'a> {
    pub(super) ledger: &'a Ledger,
    pub(super) agents: usize,
    /// The slots' names begin so.
    pub(super) prefix: &'a str,
    pub(super) slots: usize,
    /// All slots became free, and the end of what counts.
    pub(super) from: Timestamp,
    pub(super) until: Timestamp,
    /// At these two times.
    pub(super) counters: [Counters; 2],
    /// What the turn of a node takes that is alone.
    pub(super) alone_seconds: f64,
    /// What it takes an agent, in requests, from its request to its place among those who wait.
    pub(super) to_wait: f64,
}

/// The requests of agents that no reboot is charged with: evictions depend on the pods.
fn counts(ledger: &Ledger, request: &Request) -> bool {
    ledger.name(request.what) != "create pods/eviction"
}

/// All requests in a time.
pub(super) fn requests_between(ledger: &Ledger, from: Timestamp, until: Timestamp) -> usize {
    let all = ledger.requests.iter().filter(|request| request.at >= from && request.at < until);
    all.filter(|request| counts(ledger, request)).count()
}

impl Run<'_> {
    /// Prints a table, and gives the figures.
    pub(super) fn judge(&self) -> Value {
        let turns = self.ledger.turns(self.prefix);
        let finished: Vec<&Turn> = turns.values().flatten().filter(|turn| self.is_over(turn)).collect();
        // Where no node came so far, a figure per reboot is no number, and null in the JSON.
        let reboots = finished.len() as f64;
        let in_time: Vec<&Request> = self
            .ledger
            .requests
            .iter()
            .filter(|request| request.at >= self.from && request.at < self.until)
            .collect();
        let tried = in_time.iter().filter(|request| request.claims);
        let conflicts = tried.filter(|request| [403, 409].contains(&request.status)).count();
        let claims = turns.values().flatten().filter(|turn| turn.claimed < self.until).count();

        let mut handoffs = self.handoffs(&turns);
        handoffs.sort_by(f64::total_cmp);
        let open = self.longest_open(&turns);
        let shares = self.shares(&turns, &in_time);
        let [by_waiters, in_turns, after] = shares.map(|count| count as f64 / reboots);
        let requests = self.to_wait + by_waiters + in_turns + after;
        let mut turn_seconds: Vec<f64> = finished.iter().filter_map(|turn| turn.seconds()).collect();
        turn_seconds.sort_by(f64::total_cmp);
        let turn_seconds = percentile(&turn_seconds, 50.0);
        let ratio = self.ratio(&turns);
        let seconds = self.until.duration_since(self.from).as_secs_f64();
        let [before, afterwards] = self.counters;
        let cpu_seconds = afterwards.cpu_seconds - before.cpu_seconds;
        let watch_events = afterwards.watch_events - before.watch_events;
        let refused = self.refused(&in_time);
        let conflicts_per_claim = conflicts as f64 / claims.max(1) as f64;
        let (p50, p99) = (percentile(&handoffs, 50.0), percentile(&handoffs, 99.0));

        println!("\n{} agents, {} slots: {reboots} reboots in {seconds:.0} s", self.agents, self.slots);
        let row = |what: &str, reached: String, aim: &str| println!("{what:<44} {reached:>14} {aim:>8}");
        row("", String::new(), "aim");
        row("conflicts per claim", format!("{conflicts_per_claim:.2}"), "0.1");
        row("  conflicts, claims", format!("{conflicts}, {claims}"), "");
        row("requests per reboot, besides evictions", format!("{requests:.1}"), "30");
        row("  once, to wait", format!("{:.1}", self.to_wait), "");
        row("  of those who wait", format!("{by_waiters:.1}"), "");
        row("  of the node, from claim to release", format!("{in_turns:.1}"), "");
        row("  of nodes that have rebooted", format!("{after:.1}"), "");
        row("hand-off, median", format!("{p50:.0} ms"), "300 ms");
        row("hand-off, 99 %", format!("{p99:.0} ms"), "1000 ms");
        row("  hand-offs", handoffs.len().to_string(), "");
        row("  longest that was not over in the end", format!("{open:.0} ms"), "");
        row("time, of N*T/K", format!("{ratio:.3}"), "1.05");
        row("  a turn of one alone (T)", format!("{:.1} s", self.alone_seconds), "");
        row("  a turn in this run, median", format!("{turn_seconds:.1} s"), "");
        row("processor time of the API server", format!("{cpu_seconds:.0} s"), "");
        row("watch events sent", format!("{watch_events:.0}"), "");
        row("  per reboot", format!("{:.0}", watch_events / reboots), "");
        for (what, count) in self.by_kind(&in_time) {
            row(&format!("  {what}"), format!("{:.2}", count as f64 / reboots), "");
        }
        for (status, count) in &refused {
            row(&format!("answers {status}"), count.to_string(), "");
        }
        json!({
            "agents": self.agents,
            "slots": self.slots,
            "reboots": finished.len(),
            "seconds": super::super::rounded(seconds),
            "claims": claims,
            "conflicts_per_claim": hundredths(conflicts_per_claim),
            "requests_per_reboot": hundredths(requests),
            "requests_to_wait": hundredths(self.to_wait),
            "requests_of_waiters_per_reboot": hundredths(by_waiters),
            "requests_per_turn": hundredths(in_turns),
            "handoffs": handoffs.len(),
            "handoff_open_ms": open.round(),
            "handoff_p50_ms": p50.round(),
            "handoff_p99_ms": p99.round(),
            "rollout_ratio": (ratio * 1000.0).round() / 1000.0,
            "turn_alone_seconds": hundredths(self.alone_seconds),
            "turn_seconds": hundredths(turn_seconds),
            "api_server_cpu_seconds": super::super::rounded(cpu_seconds),
            "watch_events": watch_events.round(),
            "refused": refused,
        })
    }

    fn is_over(&self, turn: &Turn) -> bool {
        turn.released.is_some_and(|released| released < self.until)
    }

    /// From each release to the cordon of the node that got the slot next, in milliseconds.
    fn handoffs(&self, turns: &BTreeMap<&str, Vec<Turn>>) -> Vec<f64> {
        let pairs = turns.values().flat_map(|turns| turns.windows(2));
        let times = pairs.filter_map(|pair| Some((pair.first()?.released?, pair.last()?.cordoned?)));
        times
            .filter(|(_, cordoned)| *cordoned < self.until)
            .map(|(released, cordoned)| cordoned.duration_since(released).as_secs_f64() * 1000.0)
            .collect()
    }

    /// The longest time, in milliseconds, that a slot is free, or its node not yet cordoned, when the run ends: such hand-offs
    /// are not among the others.
    fn longest_open(&self, turns: &BTreeMap<&str, Vec<Turn>>) -> f64 {
        let since = turns.values().filter_map(|turns| match turns.as_slice() {
            [.., before, last] if last.cordoned.is_none() && last.released.is_none() => before.released,
            [.., last] => last.released,
            [] => None,
        });
        let open = since.filter(|released| *released < self.until);
        let times = open.map(|released| self.until.duration_since(released).as_secs_f64() * 1000.0);
        times.fold(0.0, f64::max)
    }

    /// A run ends amid turns, so that its end tells little. Each slot is looked at from when it became free to its last
    /// release: that time, of the time that as many turns take that follow each other at once. All of the run counts for one
    /// that has had no turn.
    fn ratio(&self, turns: &BTreeMap<&str, Vec<Turn>>) -> f64 {
        let (mut took, mut unavoidable) = (0.0, 0.0);
        for turns in turns.values() {
            let over: Vec<&Turn> = turns.iter().filter(|turn| self.is_over(turn)).collect();
            let last = over.last().and_then(|turn| turn.released).unwrap_or(self.until);
            took += last.duration_since(self.from).as_secs_f64();
            unavoidable += over.len() as f64 * self.alone_seconds;
        }
        took / unavoidable
    }

    /// How many requests there were of nodes before their turn, in it and after it.
    fn shares(&self, turns: &BTreeMap<&str, Vec<Turn>>, requests: &[&Request]) -> [usize; 3] {
        let of_node: BTreeMap<usize, &Turn> =
            turns.values().flatten().rev().map(|turn| (turn.node, turn)).collect();
        let mut shares = [0; 3];
        for request in requests.iter().filter(|request| counts(self.ledger, request)) {
            let share = match of_node.get(&request.node) {
                Some(turn) if request.at >= turn.begun => {
                    usize::from(turn.released.is_some_and(|released| request.at > released)) + 1
                }
                _ => 0,
            };
            if let Some(count) = shares.get_mut(share) {
                *count += 1;
            }
        }
        shares
    }

    /// The most frequent kinds of requests.
    fn by_kind(&self, requests: &[&Request]) -> Vec<(&str, usize)> {
        let mut counts = BTreeMap::new();
        for request in requests {
            *counts.entry(self.ledger.name(request.what)).or_default() += 1;
        }
        let mut counts: Vec<(&str, usize)> = counts.into_iter().collect();
        counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        counts.truncate(10);
        counts
    }

    /// Answers that were no yes, by status.
    fn refused(&self, requests: &[&Request]) -> BTreeMap<String, usize> {
        let mut refused = BTreeMap::new();
        for request in requests.iter().filter(|request| request.status >= 400 || request.status == 0) {
            *refused.entry(request.status.to_string()).or_default() += 1;
        }
        refused
    }
}

/// The smallest value that so many percent do not exceed; no number where there is none.
fn percentile(sorted: &[f64], percent: f64) -> f64 {
    let rank = (sorted.len() as f64 * percent / 100.0).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

fn hundredths(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

/// The median of the turns of nodes that were alone.
pub(super) fn alone_seconds(ledger: &Ledger, prefix: &str) -> Result<f64> {
    let turns = ledger.turns(prefix);
    let seconds: Vec<f64> = turns.values().flatten().filter_map(Turn::seconds).collect();
    seconds.first().context("no node has rebooted alone")?;
    Ok(super::super::median(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_one_of_the_values() {
        let values: Vec<f64> = (1..=200).map(f64::from).collect();
        assert_eq!((percentile(&values, 50.0), percentile(&values, 99.0)), (100.0, 198.0));
        assert_eq!(percentile(&[7.0], 99.0), 7.0);
        assert!(percentile(&[], 50.0).is_nan());
    }

    #[test]
    fn a_metric_is_the_sum_of_its_lines() {
        let metrics = "# TYPE x_total counter\nx_total{a=\"b\"} 1\nx_total{a=\"c\"} 2e1\nx_totals 5\ny 3.5\n";
        assert_eq!((sum(metrics, "x_total").unwrap(), sum(metrics, "y").unwrap()), (21.0, 3.5));
        assert!(sum(metrics, "z").is_err());
    }
}
