//! `rebootctl release`: a person frees the slots that a node holds, with a credential of their own.
//!
//! If the holder is Ready, it is first asked to step back, by an annotation that its daemon obeys until its stamp.
//! What it still holds after that is freed by compare-and-swap on what was shown, once the person has confirmed.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use clap::Args;

use super::kubeconfig::Kubeconfig;
use super::slots::{Ending, Holder, NodeIs, kubectl_line, parse_name};
use crate::cluster::{Api, HeldSlot};
use crate::decide::Outcome;
use crate::host::{clock, identity};
use crate::notation::parse_time_span;

/// How often the slots are read while the holder steps back.
const LOOK: Duration = Duration::from_secs(1);
/// How often to say that this takes time.
const PROGRESS: Duration = Duration::from_secs(10);

/// Free the slots that a node holds, so that the next node gets its turn
///
/// A Ready node is first told to step back: to undo its drain and give the slot back itself. If it does
/// not, or is not Ready, this says what freeing its slot means, and asks.
/// Exits with 0 once the node holds no slot, with 2 if nobody is there to ask, else with 1.
#[derive(Debug, Args)]
pub(super) struct Release {
    /// The node that holds a slot, as `kubectl -n rebootd get leases` names it
    #[arg(value_parser = parse_name)]
    pub(super) node: String,
    /// How long the node may take to step back, for example "2min"
    #[arg(long, value_name = "TIME", default_value = "2min", value_parser = parse_time_span)]
    pub(super) timeout: Duration,
    /// Do not ask for confirmation; for scripts, which have to know what they do
    #[arg(long)]
    pub(super) yes: bool,
    #[command(flatten)]
    kubeconfig: Kubeconfig,
}

impl Release {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let connected = self.kubeconfig.connect();
        let (mut api, runtime) =
            connected.map_err(|error| anyhow!("{error:#}\n{}", by_kubectl(&self.node)))?;
        runtime.block_on(self.release(&mut api)).map(ExitCode::from)
    }

    async fn release(&self, api: &mut Api) -> anyhow::Result<Ending> {
        let mut seen = self.look(api).await?;
        if seen.held.is_empty() {
            return self.holds_nothing(&seen);
        }
        seen.show();
        let asks = seen.node == NodeIs::Ready && seen.can_step_back().next().is_some();
        if asks {
            self.ask_to_step_back(api, &seen).await?;
        } else if seen.node == NodeIs::Back {
            println!("{} has rebooted; waiting until its rebootd gives the slot back.", self.node);
        }
        if seen.may_give_back() {
            self.wait(api).await;
            seen = self.look(api).await?;
            if seen.held.is_empty() {
                println!("{} has given back what it held.", self.node);
                return Ok(Ending::Free);
            }
            seen.show();
            seen.held.iter().for_each(|held| print!("{}", still_asked(&seen, held)));
        }
        seen.free(api, asks, self.yes).await
    }

    /// Whether the slots are still the same is for the write to find out.
    async fn look(&self, api: &mut Api) -> anyhow::Result<Holder> {
        let mut held = api.held_slots().await.context("cannot read the slots")?;
        held.retain(|held| held.slot.holder.as_ref() == Some(&self.node));
        let node = NodeIs::read(api, &self.node, &held).await?;
        Ok(Holder { name: self.node.clone(), node, held })
    }

    fn holds_nothing(&self, seen: &Holder) -> anyhow::Result<Ending> {
        if seen.node == NodeIs::Missing {
            bail!(
                "there is no Node {0}, and {0} holds no slot; see: kubectl -n rebootd get leases",
                self.node
            );
        }
        println!("{} holds no slot.", self.node);
        Ok(Ending::Free)
    }

    async fn ask_to_step_back(&self, api: &mut Api, seen: &Holder) -> anyhow::Result<()> {
        let who = identity::person();
        for held in seen.can_step_back() {
            match api.ask_to_step_back(&held.slot, &who).await {
                Outcome::Answered => println!(
                    "{} is told to step back from {}. It undoes what it has begun, and claims no slot for the next half hour or \
                     longer.",
                    self.node, held.slot.name
                ),
                // If something has changed, the next look shows it.
                Outcome::Refused { conflict: true, .. } => {}
                Outcome::Refused { failure, .. } | Outcome::Unanswered(failure) => {
                    bail!("{} cannot be told to step back: {}", self.node, failure.message)
                }
            }
        }
        Ok(())
    }

    /// Waits until nothing is held that the node can give back, or the time is over. A read that fails is repeated.
    async fn wait(&self, api: &mut Api) {
        let until = clock::now().boot + self.timeout;
        let mut told = clock::now().boot;
        loop {
            tokio::time::sleep(LOOK).await;
            let now = clock::now().boot;
            let seen = self.look(api).await;
            if now >= until || seen.as_ref().is_ok_and(|seen| !seen.may_give_back()) {
                return;
            }
            if now >= told + PROGRESS {
                told = now;
                let left = (until - now).as_secs();
                match seen {
                    Ok(_) => println!("{} has not given it back yet; waiting {left} s more", self.node),
                    Err(error) => println!("{error:#}; trying for {left} s more"),
                }
            }
        }
    }
}

/// The request outlives us: a daemon that comes back obeys it.
fn still_asked(seen: &Holder, held: &HeldSlot) -> String {
    let (node, slot) = (&seen.name, &held.slot.name);
    if held.slot.step_back.is_none() {
        return String::new();
    }
    format!(
        "{slot} keeps the request: {node} steps back as soon as its rebootd can. To take it back:\n  \
         kubectl -n rebootd annotate lease {slot} rebootd.io/step-back-\n"
    )
}

/// For somebody who can reach the cluster with kubectl only.
fn by_kubectl(node: &str) -> String {
    format!(
        "kubectl can do the same, without questions. Which slot does {node} hold?\
         \n  kubectl -n rebootd get leases\
         \nA node that is Ready, and not stamped, is told to step back, and frees the slot itself:\
         \n  kubectl -n rebootd annotate lease SLOT rebootd.io/step-back=\"$USER\"\
         \nA slot is taken from a node that cannot. The next node may then go down while {node} still is:\
         \n  {}",
        kubectl_line("SLOT")
    )
}

#[cfg(test)]
mod tests {
    use super::super::slots::tests::claimed;
    use super::*;

    #[test]
    fn a_request_that_stays_is_told_with_how_to_take_it_back() {
        let mut held = claimed();
        let seen = Holder { name: "node1".into(), node: NodeIs::Ready, held: vec![held.clone()] };
        assert_eq!(still_asked(&seen, &held), "");
        held.slot.step_back = Some("root@admin".into());
        let told = still_asked(&seen, &held);
        assert!(
            told.contains("kubectl -n rebootd annotate lease worker-1 rebootd.io/step-back-\n"),
            "{told}"
        );
    }
}
