//! What `rebootctl release` and `rebootctl free` share: who holds which slot, what taking it away means, and the
//! write.

use std::io::{BufRead, IsTerminal, Write};
use std::process::ExitCode;

use anyhow::{Context, bail};

use crate::cluster::{Api, HeldSlot};
use crate::decide::{NodeView, Outcome, SlotChange, SlotWrite};
use crate::host::clock;

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// The slots that were to be freed are free.
    Free,
    /// Nothing was freed: the person said no, or something changed meanwhile.
    Kept,
    /// Nothing was freed: there is no terminal to ask on, and `--yes` was not given.
    NobodyToAsk,
}

impl From<Ending> for ExitCode {
    fn from(ending: Ending) -> ExitCode {
        match ending {
            Ending::Free => ExitCode::SUCCESS,
            Ending::Kept => ExitCode::FAILURE,
            Ending::NobodyToAsk => ExitCode::from(2),
        }
    }
}

/// What a holder's Node says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NodeIs {
    Ready,
    /// Ready, in a later boot than the one in which it asked for its reboot.
    Back,
    NotReady,
    Missing,
}

impl NodeIs {
    /// `held`: the slots that it holds.
    pub(super) async fn read(api: &mut Api, name: &str, held: &[HeldSlot]) -> anyhow::Result<NodeIs> {
        // A person may have written anything as the holder.
        if parse_name(name).is_err() {
            return Ok(NodeIs::Missing);
        }
        Ok(match api.node_named(name).await.context("cannot read the holder's Node")? {
            None => NodeIs::Missing,
            Some(node) if node.ready && has_rebooted(&node, held) => NodeIs::Back,
            Some(node) if node.ready => NodeIs::Ready,
            Some(_) => NodeIs::NotReady,
        })
    }
}

fn has_rebooted(node: &NodeView, held: &[HeldSlot]) -> bool {
    let mut stamps = held.iter().filter_map(|held| held.slot.stamp.as_ref()).peekable();
    let is_known = !node.boot_id.is_empty() && stamps.peek().is_some();
    is_known && stamps.all(|stamp| !stamp.boot_id.is_empty() && stamp.boot_id != node.boot_id)
}

/// Who holds slots, and which: as last read.
#[derive(Debug)]
pub(super) struct Holder {
    pub(super) name: String,
    pub(super) node: NodeIs,
    pub(super) held: Vec<HeldSlot>,
}

impl Holder {
    pub(super) fn show(&self) {
        let node = match self.node {
            NodeIs::Ready => "is Ready",
            NodeIs::Back => "has rebooted, is Ready again",
            NodeIs::NotReady => "is not Ready",
            NodeIs::Missing => "has no Node (any more)",
        };
        println!("{} {node}, and holds:", self.name);
        for held in &self.held {
            println!("  {}", line(held));
        }
    }

    /// Whether its daemon may still give them back itself.
    pub(super) fn may_give_back(&self) -> bool {
        let is_back = self.node == NodeIs::Back && !self.held.is_empty();
        is_back || (self.node == NodeIs::Ready && self.can_step_back().next().is_some())
    }

    /// Slots that a daemon has claimed but not stamped: it may still give them back.
    pub(super) fn can_step_back(&self) -> impl Iterator<Item = &HeldSlot> {
        self.held.iter().filter(|held| is_claimed(held) && held.slot.stamp.is_none())
    }

    /// Frees the slots once a person has read what that means and has confirmed it.
    pub(super) async fn free(&self, api: &mut Api, asked: bool, yes: bool) -> anyhow::Result<Ending> {
        print!("{}", self.what_it_means(asked));
        if !yes {
            if !std::io::stdin().is_terminal() {
                eprintln!("rebootctl: nothing was freed: nobody is there to confirm it; see --yes");
                return Ok(Ending::NobodyToAsk);
            }
            if !self.is_confirmed()? {
                println!("Nothing was freed.");
                return Ok(Ending::Kept);
            }
        }
        self.write(api).await
    }

    /// In plain words, so that nobody misunderstands what it does.
    fn what_it_means(&self, asked: bool) -> String {
        let (name, state) = (&self.name, self.state(asked));
        let pools: Vec<&str> = self.held.iter().filter_map(|held| held.slot.pool.as_deref()).collect();
        if !self.held.iter().any(is_claimed) {
            return format!(
                "
{name} {state}
They may want to hold back the pool: once the slot is free, the next node of pool {} may be drained and reboot.

",
                pools.join(" or ")
            );
        }
        format!(
            "
{name} {state}
Once the slot is free, the next node of pool {pools} may be drained and go down while {name} still is; if {name}
is not Ready then, only where `max_nodes_not_ready` allows that. Check first:
  - the machine, at its console: is it up, in the middle of a boot, or down for good?
  - there, if you can reach it: rebootctl status; journalctl -u rebootd
  - why it does not go on by itself: would the next node meet the same fate?
  - whether the pool can spare another node at the moment: kubectl get nodes -l rebootd.io/pool={pool}
If {name} comes back later, its rebootd finds that the slot is gone, and uncordons the node once it is healthy.

",
            pools = pools.join(" or "),
            pool = pools.first().unwrap_or(&"POOL"),
        )
    }

    /// The state of the holder; `asked`: it was asked to step back, and had time to.
    fn state(&self, asked: bool) -> String {
        let is_stamped = self.held.iter().any(|held| held.slot.stamp.is_some());
        match self.node {
            NodeIs::Back => {
                "has rebooted and is Ready again: once it has settled, it gives the slot back itself, unless rebootd was\n\
                 removed from it. Until then it is still disrupted."
            }
            NodeIs::Ready if is_stamped => {
                "says Ready, but has asked for its reboot: it may go down at any moment, or be down already."
            }
            NodeIs::Ready if self.can_step_back().next().is_none() => {
                "is Ready, but no rebootd has claimed the slot in its name: somebody wrote it there."
            }
            NodeIs::Ready if asked => {
                "says Ready, but did not step back: its rebootd may be stopped or cut off, or is still at it."
            }
            NodeIs::Ready => {
                return format!(
                    "is Ready: its rebootd may be able to undo what it has begun and give the slot back itself.\n\
                     That is safer. To ask it to: rebootctl release {}",
                    self.name
                );
            }
            NodeIs::NotReady => "is not Ready: it may be down, sick, or in the middle of its reboot.",
            NodeIs::Missing if self.held.iter().any(is_claimed) => {
                "has no Node: the machine may be gone for good, down, or about to come back."
            }
            NodeIs::Missing => "is no Node, and no rebootd has claimed the slot: somebody wrote the name there.",
        }
        .to_owned()
    }

    fn is_confirmed(&self) -> std::io::Result<bool> {
        let names: Vec<&str> = self.held.iter().map(|held| held.slot.name.as_str()).collect();
        print!("Free {}, held by {}? Type \"yes\": ", names.join(" and "), self.name);
        std::io::stdout().flush()?;
        let mut answer = String::new();
        std::io::stdin().lock().read_line(&mut answer)?;
        Ok(answer.trim() == "yes")
    }

    /// Compare-and-swap on what was shown.
    async fn write(&self, api: &mut Api) -> anyhow::Result<Ending> {
        let mut ending = Ending::Free;
        for HeldSlot { slot, .. } in &self.held {
            let write = SlotWrite {
                slot: slot.name.clone(),
                uid: slot.uid.clone(),
                resource_version: slot.resource_version.clone(),
                nonce: clock::random()?,
                change: SlotChange::Free { holder: self.name.clone() },
            };
            match api.write_slot(&write, clock::now().wall).await {
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
        if ending == Ending::Free {
            print!("{}", self.what_comes_next());
        }
        Ok(ending)
    }

    /// A node that is not Ready holds back the others without a slot, too.
    fn what_comes_next(&self) -> String {
        if self.node != NodeIs::NotReady || !self.held.iter().any(is_claimed) {
            return String::new();
        }
        format!(
            "\
While {name} is not Ready, the others of its pool still wait for it, by `max_nodes_not_ready`. They go on as soon as
  - it is Ready again, or
  - its Node is deleted, if the machine is lost: kubectl delete node {name}
  - or `max_nodes_not_ready` in [gates] is higher, on each node that is to go on, and rebootd there is reloaded.
",
            name = self.name
        )
    }
}

fn is_claimed(held: &HeldSlot) -> bool {
    held.slot.stamp.is_some() || held.slot.claim.boot_id.is_some()
}

/// One held slot, in words for people.
fn line(held: &HeldSlot) -> String {
    let slot = &held.slot;
    let pool = slot.pool.as_deref().unwrap_or("none");
    let what = match (&slot.stamp, is_claimed(held)) {
        (Some(_), _) => "stamped for its reboot",
        (None, true) => "not stamped, claimed",
        (None, false) => "put there by hand",
    };
    let since = held.since.as_ref().map(|since| format!(" at {since}")).unwrap_or_default();
    let asked = slot.step_back.as_ref().map(|who| format!(", asked to step back by {who}"));
    format!("{} (pool {pool}): {what}{since}{}", slot.name, asked.unwrap_or_default())
}

/// For somebody who can reach the cluster with kubectl only.
pub(super) fn kubectl_line(slot: &str) -> String {
    format!(
        "kubectl -n rebootd patch lease {slot} --type merge -p '{{\"spec\":{{\"holderIdentity\":null}}}}'"
    )
}

/// The name of a node or a slot, which becomes part of a path at the API server.
pub(super) fn parse_name(text: &str) -> Result<String, String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if text.starts_with(|first: char| first.is_ascii_alphanumeric()) && text.bytes().all(allowed) {
        return Ok(text.to_owned());
    }
    Err("names have letters, digits, '-' and '.' only".to_owned())
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use super::*;
    use crate::decide::{Claim, SlotView, Stamp};

    /// Slot `worker-1`, claimed by `node1`.
    pub(in super::super) fn claimed() -> HeldSlot {
        HeldSlot {
            slot: SlotView {
                name: "worker-1".into(),
                pool: Some("worker".into()),
                holder: Some("node1".into()),
                claim: Claim { boot_id: Some("b".repeat(32)), ..Claim::default() },
                ..SlotView::default()
            },
            since: Some("2026-11-23T12:55:25Z".into()),
        }
    }

    fn stamped() -> HeldSlot {
        let mut held = claimed();
        held.slot.stamp = Some(Stamp {
            boot_id: "b".repeat(32),
            attempt: 1,
            at: Duration::ZERO,
            daemon_sets: Default::default(),
            request: None,
        });
        held
    }

    #[test]
    fn a_slot_is_told_with_what_its_holder_is_doing_and_since_when() {
        let mut held = claimed();
        held.slot.step_back = Some("root@admin".into());
        assert_eq!(
            line(&held),
            "worker-1 (pool worker): not stamped, claimed at 2026-11-23T12:55:25Z, asked to step back by root@admin"
        );
        assert!(line(&stamped()).contains("stamped for its reboot at 2026"));
    }

    #[test]
    fn a_stamped_node_in_a_later_boot_is_back() {
        let node = |boot_id: &str| NodeView { boot_id: boot_id.into(), ..NodeView::default() };
        let stamp = stamped().slot.stamp.unwrap().boot_id;
        assert!(has_rebooted(&node("later"), &[stamped()]));
        assert!(!has_rebooted(&node(&stamp), &[stamped()]));
        assert!(!has_rebooted(&node(""), &[stamped()]) && !has_rebooted(&node("later"), &[claimed()]));
    }

    #[test]
    fn a_person_reads_where_the_holder_stands() {
        let by_hand = || {
            let mut held = claimed();
            held.slot.claim.boot_id = None;
            held
        };
        for (node, held, asked, words) in [
            (NodeIs::Ready, claimed(), false, "To ask it to: rebootctl release node1"),
            (NodeIs::Ready, claimed(), true, "did not step back"),
            (NodeIs::Ready, stamped(), false, "may go down at any moment"),
            (NodeIs::Ready, by_hand(), false, "no rebootd has claimed"),
            (NodeIs::Back, stamped(), false, "gives the slot back itself"),
            (NodeIs::NotReady, stamped(), false, "in the middle of its reboot"),
            (NodeIs::Missing, claimed(), false, "may be gone for good"),
            (NodeIs::Missing, by_hand(), false, "is no Node"),
        ] {
            let holder = Holder { name: "node1".into(), node, held: vec![held] };
            let text = holder.what_it_means(asked);
            assert!(text.contains(words), "{words:?} is not in {text}");
            assert_eq!(holder.what_comes_next().contains("delete node node1"), node == NodeIs::NotReady);
            let is_claimed = is_claimed(&holder.held[0]);
            assert_eq!(text.contains("go down while node1 still is"), is_claimed, "{text}");
        }
    }
}
