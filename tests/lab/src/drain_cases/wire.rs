//! Faults on the wire in mid-drain: requests and answers lost, late, refused; watches and lists that break; no API at all.

mod denials;
mod evictions;
mod kills;
mod outages;
mod overload;
mod reads;
mod watches;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::Named;
use super::case::{Case, LOOK, Made};
use super::objects::Pod;
use crate::proxy::{RequestRecord, Rule, Verb};

pub(super) const CASES: [&[Named]; 7] = [
    outages::CASES,
    evictions::CASES,
    overload::CASES,
    watches::CASES,
    reads::CASES,
    denials::CASES,
    kills::CASES,
];

/// They take longer than a run of all cases should.
pub(super) const LONG: [&[Named]; 1] = [outages::LONG];

/// Requests for evictions.
fn evictions() -> Rule {
    Rule::new(Verb::Create, "pods/eviction")
}

/// Requests for the eviction of this pod.
fn evictions_of(pod: &Made) -> Rule {
    evictions().name(&pod.name)
}

/// Lists of the node's pods.
fn pod_lists() -> Rule {
    Rule::new(Verb::List, "pods")
}

/// Only the first so many of the requests that a rule matches.
fn first(count: u32) -> impl Fn(&RequestRecord, &[u8]) -> bool {
    let seen = AtomicU32::new(0);
    move |_, _| seen.fetch_add(1, Ordering::SeqCst) < count
}

/// Something that a rule can be told to wait for.
#[derive(Clone, Default)]
struct Switch(Arc<AtomicBool>);

impl Switch {
    fn turn_on(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// The rule catches nothing until then.
    fn guards(&self, rule: Rule) -> Rule {
        let switch = self.clone();
        rule.when(move |_, _| switch.0.load(Ordering::SeqCst))
    }
}

impl Case {
    /// What rebootd sent, whether or not it reached the server.
    fn sent(&self, verb: Verb, resource: &str) -> Vec<RequestRecord> {
        let sent = self.proxy.requests().into_iter();
        sent.filter(|it| it.verb == verb && it.resource == resource).collect()
    }

    /// Requests for the eviction of this pod that rebootd sent.
    fn sent_evictions(&self, pod: &Made) -> Vec<RequestRecord> {
        let mut all = self.sent(Verb::Create, "pods/eviction");
        all.retain(|it| it.name.as_ref() == Some(&pod.name));
        all
    }

    /// A drain that lasts until the case ends this pod.
    async fn lasting_drain(&mut self) -> Result<Made> {
        let slow = self.create_owned(Pod::named("slow").never_ends()).await?;
        self.drain("")?;
        self.granted(&slow).await?;
        Ok(slow)
    }

    /// Waits until rebootd knows that the eviction of this pod was granted.
    async fn granted(&self, pod: &Made) -> Result<()> {
        self.terminating(pod).await?;
        // What the proxy has written is in the kernel's hands a moment later.
        let arrived = |it: &RequestRecord| it.ended.is_some_and(|at| at.elapsed() > 2 * LOOK);
        self.wait_status("its eviction was answered", |_| {
            self.sent_evictions(pod).last().is_some_and(arrived)
        })
        .await?;
        Ok(())
    }

    /// The cordon stands and the slot is ours.
    fn nothing_is_undone(&self) -> Result<()> {
        let state = self.shared.observer.state();
        let node = state.node(&self.here).context("the Node is gone")?;
        ensure!(node.cordoned_by_us(), "the cordon is gone");
        ensure!(state.holder(&self.here) == Some(self.here.as_str()), "the slot is not held");
        Ok(())
    }

    /// From each of these requests to the next it took this long.
    fn keep_apart(&self, requests: &[RequestRecord], least: Duration) -> Result<()> {
        for pair in requests.windows(2) {
            let apart = pair[1].began - pair[0].began;
            ensure!(apart >= least, "{} was sent again after {apart:?}", pair[0].path);
        }
        Ok(())
    }
}
