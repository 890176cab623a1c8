//! A node that was asked to reboot, look by look: what it does, in one line, and when that is over.

use jiff::Timestamp;

use super::super::fleet::{BY_CALENDAR, EVENTS};
use crate::cluster::Heartbeat;
use crate::decide::{NodeView, Phase, SlotView, Stamp, WAITING};
use crate::report::reboot::Reboot;

/// A Node may be deleted while its machine is down, and registered again after the boot: in seconds.
const LONG_GONE: i64 = 15 * 60;

/// What one look at the cluster shows.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    pub(super) node: Option<NodeView>,
    /// What its rebootd last said about itself.
    pub(super) said: Option<Heartbeat>,
    /// Whether its condition says that a reboot is required.
    pub(super) required: Option<bool>,
    /// The slots that it holds.
    pub(super) held: Vec<SlotView>,
    /// Who holds the slots of its pool, if all are held.
    pub(super) holders: Vec<String>,
    /// Why the fleet is paused, if it is.
    pub(super) paused: Option<String>,
}

impl Seen {
    /// What asks for a reboot, if anything is seen to.
    pub(super) fn asks(&self) -> Option<String> {
        if let Some(text) = self.node.as_ref().and_then(|node| node.request.as_ref()) {
            return Some(format!("the Node's annotation rebootd.io/request says \"{text}\""));
        }
        if let Some(slot) = self.held.first() {
            return Some(format!("it holds slot {}", slot.name));
        }
        let asking = self.said.as_ref().map(|said| said.asking.join(", ")).filter(|it| !it.is_empty());
        self.waits().then(|| asking.unwrap_or_else(|| "it waits for its turn".to_owned()))
    }

    fn waits(&self) -> bool {
        // The label and the heartbeat stay for a while when a request is withdrawn.
        let is_shown = self.node.as_ref().is_some_and(|node| node.labels.contains_key(WAITING));
        self.required != Some(false) && (is_shown || self.says(Phase::Waiting))
    }

    fn says(&self, phase: Phase) -> bool {
        self.said.as_ref().is_some_and(|said| said.phase == phase.word())
    }

    fn uid(&self) -> &str {
        self.node.as_ref().map(|node| node.uid.as_str()).unwrap_or_default()
    }

    fn boot(&self) -> &str {
        self.node.as_ref().map(|node| node.boot_id.as_str()).unwrap_or_default()
    }

    fn stamp(&self) -> Option<&Stamp> {
        self.held.iter().find_map(|slot| slot.stamp.as_ref())
    }

    /// The record of the last reboot whose turn has ended.
    fn record(&self) -> Option<Reboot> {
        serde_json::from_value(self.said.as_ref()?.last_reboot.clone()?).ok()
    }
}

/// What follows from a look.
#[derive(Debug, PartialEq)]
pub(super) enum Step {
    /// It goes on, and this is what the node does.
    Goes(String),
    Over(Over),
}

/// How it ended.
#[derive(Debug, PartialEq)]
pub(super) enum Over {
    /// With a record.
    Reported(Box<Reboot>),
    /// The node has rebooted and has no record of it.
    Unrecorded,
    /// Nothing asks any more, and it has not rebooted.
    Withdrawn,
    /// The Node was deleted, and the request with it.
    Deleted,
}

/// What is remembered from one look to the next.
#[derive(Debug)]
pub(super) struct Watched {
    /// The record that was there before.
    record: Option<Reboot>,
    /// The boot from which it is to reboot; empty if the kubelet tells none.
    boot: String,
    /// The reboot that led to this boot was not over.
    was_under_way: bool,
    /// The Node's uid.
    uid: String,
    /// Since when there is no Node.
    gone_since: Option<Timestamp>,
    /// When its rebootd last said something before the reboot.
    said_at: Option<Timestamp>,
    was_stamped: bool,
    has_rebooted: bool,
    held: bool,
    /// It had a slot, and gave it back without a reboot.
    was_called_off: bool,
}

impl Watched {
    /// From the look before the request.
    pub(super) fn new(before: &Seen) -> Watched {
        Watched {
            record: before.record(),
            boot: before.boot().to_owned(),
            was_under_way: before.stamp().is_some_and(|stamp| stamp.boot_id != before.boot()),
            uid: before.uid().to_owned(),
            gone_since: None,
            said_at: before.said.as_ref().map(|said| said.at),
            was_stamped: false,
            has_rebooted: false,
            held: false,
            was_called_off: false,
        }
    }

    pub(super) fn look(&mut self, seen: &Seen, now: Timestamp) -> Step {
        self.remember(seen, now);
        match self.over(seen, now) {
            Some(over) => Step::Over(over),
            None => Step::Goes(self.line(seen, now)),
        }
    }

    fn remember(&mut self, seen: &Seen, now: Timestamp) {
        self.gone_since = seen.node.is_none().then(|| self.gone_since.unwrap_or(now));
        self.was_stamped |= seen.stamp().is_some();
        let is_other = !self.boot.is_empty() && !seen.boot().is_empty() && self.boot != seen.boot();
        // Only a reboot in its turn takes the annotation away; after one by somebody else's hand it asks further.
        let asks = seen.node.as_ref().is_some_and(|node| node.request.is_some());
        let by_hand = is_other && asks && !self.was_stamped;
        self.has_rebooted = is_other && !by_hand;
        if by_hand {
            self.boot = seen.boot().to_owned();
        }
        let holds = !seen.held.is_empty();
        self.was_called_off = !holds && (self.was_called_off || self.held) && !self.is_past_return();
        self.held = holds;
        if !self.is_past_return() {
            self.said_at = seen.said.as_ref().map(|said| said.at);
        }
    }

    /// Whether it is about to reboot or has done so: only its record tells how that ends.
    fn is_past_return(&self) -> bool {
        self.was_stamped || self.has_rebooted
    }

    fn over(&self, seen: &Seen, now: Timestamp) -> Option<Over> {
        // Of this boot, or of the reboot that led to it, which was under way already.
        let boots = |it: &Reboot| [Some(&it.boot_before), it.boot_after.as_ref()].contains(&Some(&self.boot));
        let is_new = |it: &Reboot| {
            let is_here = self.boot.is_empty() || boots(it);
            is_here && !self.record.as_ref().is_some_and(|before| before.is_same(it))
        };
        // The kubelet must say so as well: whoever has only the credential of that rebootd can write a record.
        let is_other = seen.boot().is_empty() || self.boot.is_empty() || seen.boot() != self.boot;
        let has_happened = |it: &Reboot| {
            let led_here = self.was_under_way && it.boot_after.as_ref() == Some(&self.boot);
            is_other || led_here || it.outcome == "stayed-up"
        };
        if let Some(record) = seen.record().filter(is_new).filter(has_happened) {
            return Some(Over::Reported(Box::new(record)));
        }
        if let Some(since) = self.gone_since {
            let is_long = now.duration_since(since) > jiff::SignedDuration::from_secs(LONG_GONE);
            return is_long.then_some(Over::Deleted);
        }
        if seen.asks().is_some() {
            return None;
        }
        // Another machine under its name, where no rebootd is.
        if self.uid != seen.uid() && seen.said.is_none() {
            return Some(Over::Deleted);
        }
        if !self.is_past_return() {
            let is_same = self.uid == seen.uid();
            return Some(if is_same { Over::Withdrawn } else { Over::Deleted });
        }
        // The record comes with the first word after the turn, unless the host's memory was lost.
        let is_later = seen.said.as_ref().is_some_and(|said| Some(said.at) != self.said_at);
        (is_later && seen.says(Phase::Idle)).then_some(Over::Unrecorded)
    }

    fn line(&self, seen: &Seen, now: Timestamp) -> String {
        match (&seen.node, seen.held.first()) {
            (None, _) => "there is no Node of this name any more".to_owned(),
            (Some(node), Some(slot)) => match &slot.stamp {
                Some(stamp) => stamped(node, slot, stamp),
                None => prepares(node, slot),
            },
            (Some(node), None) if self.is_past_return() => released(node),
            (Some(node), None) => self.waits(node, seen, now),
        }
    }

    fn waits(&self, node: &NodeView, seen: &Seen, now: Timestamp) -> String {
        let said = seen.said.as_ref();
        let reason = said.and_then(|said| said.reason.as_deref()).unwrap_or_default();
        let opens = said.and_then(|said| said.window_opens).filter(|opens| *opens > now);
        let hold = node.hold.as_ref().or_else(|| said?.held.as_ref());
        if node.mark.is_some() {
            return "holds no slot any more, and undoes its drain".to_owned();
        }
        match (hold, &seen.paused, opens) {
            (Some(why), _, _) => return format!("waits: it is held: {why}"),
            (None, Some(why), _) => return format!("waits: the fleet is paused: {why}"),
            (None, None, Some(opens)) if seen.waits() && BY_CALENDAR.contains(&reason) => {
                return format!("waits: {reason}; the next window opens at {opens}");
            }
            _ => {}
        }
        if self.was_called_off {
            return format!("has given its slot back without a reboot; why: {EVENTS}");
        }
        if !seen.holders.is_empty() {
            return format!("waits for {}, as all slots of its pool are held", seen.holders.join(", "));
        }
        match reason {
            _ if !seen.waits() => {
                "is asked; its rebootd has not taken it up yet (if that lasts: `rebootctl status` there, and \
                                   whether `request_annotation` is off)"
                    .to_owned()
            }
            // The slots say otherwise by now.
            "" | "paused" | "no-free-slot" | "my-turn-comes" => "waits for its turn".to_owned(),
            reason => format!("waits: {reason}"),
        }
    }
}

fn prepares(node: &NodeView, slot: &SlotView) -> String {
    let name = &slot.name;
    match &slot.step_back {
        Some(who) => format!("is told to step back from {name} by {who}"),
        None if !node.ready => format!("holds {name}, and is not Ready"),
        None if node.unschedulable => format!("is cordoned, and its pods leave (it holds {name})"),
        None => format!("holds {name}, and is cordoned next"),
    }
}

fn stamped(node: &NodeView, slot: &SlotView, stamp: &Stamp) -> String {
    let name = &slot.name;
    let is_known = !node.boot_id.is_empty() && !stamp.boot_id.is_empty();
    match (is_known && node.boot_id != stamp.boot_id, node.ready) {
        (true, true) if node.unschedulable => {
            "has rebooted, is Ready again, and waits until it is healthy".to_owned()
        }
        (true, true) => format!("is uncordoned, and gives {name} back next"),
        (true, false) => "has rebooted, and is not Ready yet".to_owned(),
        (false, false) => "is down".to_owned(),
        (false, true) if is_known => "is drained, and about to reboot".to_owned(),
        (false, true) => "is Ready: about to reboot, or back".to_owned(),
    }
}

fn released(node: &NodeView) -> String {
    match node.mark {
        Some(_) => "holds no slot any more, and uncordons itself once it is healthy".to_owned(),
        None => "holds no slot any more; its report follows".to_owned(),
    }
}

#[cfg(test)]
mod tests;
