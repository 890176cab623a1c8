//! `rebootctl free`: a person takes one slot away from whoever holds it, with a credential of their own.

use std::process::ExitCode;

use anyhow::{Context, anyhow, bail};
use clap::Args;

use super::kubeconfig::Kubeconfig;
use super::slots::{Ending, Holder, NodeIs, kubectl_line, parse_name};
use crate::cluster::{Api, HeldSlot};

/// Take a slot away from its holder, without asking that node
///
/// For a holder that cannot give it back: a machine that is gone or was replaced, a name that somebody
/// wrote there, a record that was changed. Of any other holder, `release NODE` is safer: it has the node
/// step back first. Shows who holds the slot, says what freeing it means, and asks.
/// Exits with 0 once the slot is free, with 2 if nobody is there to ask, else with 1.
#[derive(Debug, Args)]
pub(super) struct Free {
    /// The slot, as `kubectl -n rebootd get leases` names it
    #[arg(value_parser = parse_name)]
    pub(super) slot: String,
    /// Do not ask for confirmation; for scripts, which have to know what they do
    #[arg(long)]
    pub(super) yes: bool,
    #[command(flatten)]
    kubeconfig: Kubeconfig,
}

impl Free {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let connected = self.kubeconfig.connect();
        let (mut api, runtime) = connected.map_err(|error| {
            anyhow!(
                "{error:#}\nkubectl can do the same, without questions. The next node may then go down while the \
                 holder still is:\n  {}",
                kubectl_line(&self.slot)
            )
        })?;
        runtime.block_on(self.free(&mut api)).map(ExitCode::from)
    }

    async fn free(&self, api: &mut Api) -> anyhow::Result<Ending> {
        let mut slots = api.held_slots().await.context("cannot read the slots")?;
        let Some(place) = slots.iter().position(|held| held.slot.name == self.slot) else {
            bail!("{}", unknown(&self.slot, &slots));
        };
        let held = slots.swap_remove(place);
        let Some(name) = held.slot.holder.clone() else {
            println!("{} is free.", self.slot);
            return Ok(Ending::Free);
        };
        let held = vec![held];
        let node = NodeIs::read(api, &name, &held).await?;
        let holder = Holder { name, node, held };
        holder.show();
        holder.free(api, false, self.yes).await
    }
}

/// Lists the slots that exist.
fn unknown(slot: &str, slots: &[HeldSlot]) -> String {
    if slots.is_empty() {
        return format!(
            "there is no slot {slot}, nor any other; see /usr/share/rebootd/manifests/slots.yaml"
        );
    }
    let mut text = format!("there is no slot {slot}; the slots are:");
    for HeldSlot { slot, .. } in slots {
        let held = slot.holder.as_ref().map_or("free".to_owned(), |holder| format!("held by {holder}"));
        text += &format!("\n  {} (pool {}): {held}", slot.name, slot.pool.as_deref().unwrap_or("none"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::slots::tests::claimed;
    use super::*;

    #[test]
    fn a_slot_that_is_unknown_is_told_with_those_that_are_known() {
        assert!(unknown("x", &[]).contains("nor any other"));
        let mut free = claimed();
        free.slot.name = "worker-2".into();
        free.slot.holder = None;
        assert_eq!(
            unknown("node1", &[claimed(), free]),
            "there is no slot node1; the slots are:\
             \n  worker-1 (pool worker): held by node1\
             \n  worker-2 (pool worker): free"
        );
    }
}
