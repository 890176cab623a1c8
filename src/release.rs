//! `rebootctl release`: a person frees the slots that a node holds, with a credential of his own.
//!
//! A Ready holder is told to step back first, by an annotation that its daemon obeys before its stamp. What is left
//! is freed by compare-and-swap on what was shown, once the person has said that he means it.

use std::io::{BufRead, IsTerminal, Write};
use std::time::Duration;

use anyhow::{Context, bail};

use crate::cluster::{Api, HeldSlot};
use crate::decide::{Outcome, SlotChange, SlotWrite};
use crate::host::{clock, identity};

/// How often the slots are read while the holder steps back.
const LOOK: Duration = Duration::from_secs(1);
/// How often it is said that this takes time.
const PROGRESS: Duration = Duration::from_secs(10);

/// What a person asks for.
#[derive(Debug, Clone)]
pub struct Release {
    /// The node that holds the slots.
    pub node: String,
    /// How long it may take to step back.
    pub timeout: Duration,
    /// Free them without asking.
    pub yes: bool,
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The node holds no slot.
    Free,
    /// Nothing was freed: the person said no, or something changed meanwhile.
    Kept,
    /// Nothing was freed: there is no terminal to ask on, and `--yes` was not given.
    NobodyToAsk,
}

/// What a holder's Node says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NodeIs {
    Ready,
    NotReady,
    Missing,
}

/// The node and what it holds, as last read.
struct Seen {
    node: NodeIs,
    held: Vec<HeldSlot>,
}

impl Release {
    /// Runs it, and tells on standard output what goes on.
    pub async fn run(&self, api: &mut Api) -> anyhow::Result<Ending> {
        let mut seen = self.look(api).await?;
        if seen.held.is_empty() {
            return self.holds_nothing(&seen);
        }
        self.show(&seen);
        let asks = seen.node == NodeIs::Ready && seen.can_step_back().next().is_some();
        if asks {
            self.ask_to_step_back(api, &seen).await?;
            self.wait(api).await;
            seen = self.look(api).await?;
            if seen.held.is_empty() {
                println!("{} has given back what it held.", self.node);
                return Ok(Ending::Free);
            }
            println!("{} still holds a slot:", self.node);
            self.show(&seen);
        }
        print!("{}", self.what_it_means(&seen, asks));
        if !self.yes {
            if !std::io::stdin().is_terminal() {
                eprintln!("rebootctl: nothing was freed: nobody is there to confirm it; see --yes");
                return Ok(Ending::NobodyToAsk);
            }
            if !self.confirmed(&seen)? {
                println!("Nothing was freed.");
                return Ok(Ending::Kept);
            }
        }
        self.free(api, &seen).await
    }

    /// Node first, slots then: of the two, others compete for the slots.
    async fn look(&self, api: &mut Api) -> anyhow::Result<Seen> {
        let node = match api.node().await.context("cannot read the Node")? {
            None => NodeIs::Missing,
            Some(node) if node.ready => NodeIs::Ready,
            Some(_) => NodeIs::NotReady,
        };
        let mut held = api.held_slots().await.context("cannot read the slots")?;
        held.retain(|held| held.slot.holder.as_ref() == Some(&self.node));
        Ok(Seen { node, held })
    }

    fn holds_nothing(&self, seen: &Seen) -> anyhow::Result<Ending> {
        if seen.node == NodeIs::Missing {
            bail!(
                "there is no Node {0}, and {0} holds no slot; see: kubectl -n rebootd get leases",
                self.node
            );
        }
        println!("{} holds no slot.", self.node);
        Ok(Ending::Free)
    }

    fn show(&self, seen: &Seen) {
        let node = match seen.node {
            NodeIs::Ready => "is Ready",
            NodeIs::NotReady => "is not Ready",
            NodeIs::Missing => "has no Node (any more)",
        };
        println!("{} {node}", self.node);
        for held in &seen.held {
            println!("  {}", line(held));
        }
    }

    async fn ask_to_step_back(&self, api: &mut Api, seen: &Seen) -> anyhow::Result<()> {
        let who = identity::person();
        for held in seen.can_step_back() {
            match api.ask_to_step_back(&held.slot, &who).await {
                Outcome::Answered => println!("{} is told to step back from {}.", self.node, held.slot.name),
                // Whatever has changed is seen in the next look.
                Outcome::Refused { conflict: true, .. } => {}
                Outcome::Refused { failure, .. } | Outcome::Unanswered(failure) => {
                    bail!("{} cannot be told to step back: {}", self.node, failure.message)
                }
            }
        }
        Ok(())
    }

    /// Until nothing is held that can be stepped back from, or the time is over. A read that fails is repeated.
    async fn wait(&self, api: &mut Api) {
        let until = clock::now().boot + self.timeout;
        let mut told = clock::now().boot;
        loop {
            tokio::time::sleep(LOOK).await;
            let now = clock::now().boot;
            let seen = self.look(api).await;
            if now >= until || seen.as_ref().is_ok_and(|seen| seen.can_step_back().next().is_none()) {
                return;
            }
            if now >= told + PROGRESS {
                told = now;
                let left = (until - now).as_secs();
                match seen {
                    Ok(_) => println!("{} has not stepped back yet; waiting {left} s more", self.node),
                    Err(error) => println!("{error:#}; trying for {left} s more"),
                }
            }
        }
    }

    /// In plain words, so that nobody frees a slot for another thing than he thinks it is.
    fn what_it_means(&self, seen: &Seen, asked: bool) -> String {
        let node = &self.node;
        let stamped = seen.held.iter().any(|held| held.slot.stamp.is_some());
        let state = match seen.node {
            NodeIs::Ready if stamped => {
                "says Ready, but has asked for its reboot: it may go down at any moment, or be down already."
            }
            NodeIs::Ready if asked => {
                "says Ready, but did not step back: its rebootd may be stopped or cut off, or is still at it."
            }
            NodeIs::Ready => "says Ready.",
            NodeIs::NotReady => "is not Ready: it may be down, sick, or in the middle of its reboot.",
            NodeIs::Missing => "has no Node: the machine may be gone for good, down, or about to come back.",
        };
        let pools: Vec<&str> = seen.held.iter().filter_map(|held| held.slot.pool.as_deref()).collect();
        format!(
            "
{node} {state}
Its slot is all that holds back the others: once it is free, the next node of pool {pools} may be drained and
go down while {node} still is. Check first:
  - the machine, at its console: is it up, in the middle of a boot, or down for good?
  - there, where it can be reached: rebootctl status; journalctl -u rebootd
  - why it does not go on by itself: would the next node meet the same fate?
  - whether the pool can spare one node more just now: kubectl get nodes -l rebootd.io/pool={pool}
If {node} comes back later, its rebootd finds that the slot is gone, and uncordons the node once it is healthy.

",
            pools = pools.join(" or "),
            pool = pools.first().unwrap_or(&"POOL"),
        )
    }

    fn confirmed(&self, seen: &Seen) -> std::io::Result<bool> {
        let names: Vec<&str> = seen.held.iter().map(|held| held.slot.name.as_str()).collect();
        print!("Free {}, held by {}? Type \"yes\": ", names.join(" and "), self.node);
        std::io::stdout().flush()?;
        let mut answer = String::new();
        std::io::stdin().lock().read_line(&mut answer)?;
        Ok(answer.trim() == "yes")
    }

    async fn free(&self, api: &mut Api, seen: &Seen) -> anyhow::Result<Ending> {
        let mut ending = Ending::Free;
        for HeldSlot { slot, .. } in &seen.held {
            let write = SlotWrite {
                slot: slot.name.clone(),
                uid: slot.uid.clone(),
                resource_version: slot.resource_version.clone(),
                nonce: clock::random()?,
                change: SlotChange::Free { holder: self.node.clone() },
            };
            match api.write_slot(&write).await {
                Outcome::Answered => println!("{} is free.", slot.name),
                Outcome::Refused { conflict: true, .. } => {
                    ending = Ending::Kept;
                    println!("{} has changed meanwhile and was left as it is; look again.", slot.name);
                }
                Outcome::Refused { failure, .. } => {
                    bail!("{} was not freed: {}", slot.name, failure.message)
                }
                Outcome::Unanswered(failure) => bail!(
                    "nobody knows whether {} was freed: {}; see: kubectl -n rebootd get lease {0}",
                    slot.name,
                    failure.message
                ),
            }
        }
        Ok(ending)
    }
}

impl Seen {
    /// Slots that a daemon has claimed and not stamped: it may still give them back.
    fn can_step_back(&self) -> impl Iterator<Item = &HeldSlot> {
        let may = |held: &&HeldSlot| held.slot.stamp.is_none() && held.slot.claim.boot_id.is_some();
        self.held.iter().filter(may)
    }
}

/// One slot, for a person.
fn line(held: &HeldSlot) -> String {
    let slot = &held.slot;
    let pool = slot.pool.as_deref().unwrap_or("none");
    let what = match (&slot.stamp, &slot.claim.boot_id) {
        (Some(_), _) => "stamped for its reboot",
        (None, Some(_)) => "not stamped, claimed",
        (None, None) => "put there by hand",
    };
    let since = held.since.as_ref().map(|since| format!(" at {since}")).unwrap_or_default();
    let asked = slot.step_back.as_ref().map(|who| format!(", asked to step back by {who}"));
    format!("{} (pool {pool}): {what}{since}{}", slot.name, asked.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::{Claim, SlotView, Stamp};

    #[test]
    fn a_slot_is_told_with_what_its_holder_is_doing_and_since_when() {
        let boot_id = "b".repeat(32);
        let mut held = HeldSlot {
            slot: SlotView {
                name: "worker-1".into(),
                pool: Some("worker".into()),
                claim: Claim { boot_id: Some(boot_id.clone()), ..Claim::default() },
                step_back: Some("root@admin".into()),
                ..SlotView::default()
            },
            since: Some("2026-11-23T12:55:25Z".into()),
        };
        assert_eq!(
            line(&held),
            "worker-1 (pool worker): not stamped, claimed at 2026-11-23T12:55:25Z, asked to step back by root@admin"
        );
        held.slot.stamp = Some(Stamp {
            boot_id,
            attempt: 1,
            at: Duration::ZERO,
            unready: Default::default(),
            request: None,
        });
        assert!(line(&held).contains("stamped for its reboot at 2026"));
    }
}
