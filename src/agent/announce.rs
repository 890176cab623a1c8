//! What the cluster is told besides the turn itself: a heartbeat and the condition `RebootRequired` on the own Node, and
//! Events. Nothing waits for it, nothing rests on it, and whatever fails is told once and left.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use tokio::task::JoinSet;

use super::webhook::Webhook;
use crate::cluster::{Api, ApiError, ClusterEvent, Condition, Heartbeat};
use crate::decide::settings::{Mode, Settings};
use crate::decide::{
    Decision, Effect, EvictionOutcome, How, Next, Outcome, Phase, PodKey, Reason, WAITING, World,
    requests_in_words,
};
use crate::report::shown::{condition, heartbeat, of_effect};

/// Written again when something is decided after this long: an idle node looks at the cluster every 4.5 to 7.5 hours.
const HEARTBEAT: Duration = Duration::from_secs(4 * 60 * 60);
/// What matters less than a request is written no more often than this.
const LESSER_NEWS: Duration = Duration::from_secs(10 * 60);
/// Who looks at the fleet sees these in the slots, and they change for all who wait at each change of a slot.
const SEEN_IN_SLOTS: [&str; 3] = ["paused", "no-free-slot", "my-turn-comes"];
/// After a failure.
const AGAIN: Duration = Duration::from_secs(10 * 60);
const HOUR: Duration = Duration::from_secs(60 * 60);
/// Events of an hour: a drain has some for each pod.
const MOST_EVENTS: usize = 300;

#[derive(Default)]
pub(super) struct Announcer {
    sending: JoinSet<Sent>,
    queue: VecDeque<ClusterEvent>,
    webhook: Webhook,
    /// When the hour began, in time since boot, and how many Events it has had.
    hour: (Duration, usize),
    shown: Option<Shown>,
    /// The last heartbeat could not be shown.
    has_failed: bool,
    /// No heartbeat before this time since boot.
    not_before: Duration,
    /// What last failed, as it was told.
    failure: Option<String>,
    /// The phase and the alarm when last seen.
    before: Option<(Phase, Option<&'static str>)>,
    /// Of which pods, by uid, the refusal was told in this turn.
    refused: BTreeSet<String>,
}

struct Shown {
    heartbeat: Heartbeat,
    condition: Condition,
    /// In time since boot.
    at: Duration,
}

struct Sent {
    is_heartbeat: bool,
    result: Result<(), ApiError>,
}

impl Announcer {
    /// Whether something is still being sent.
    pub(super) fn is_busy(&self) -> bool {
        !self.sending.is_empty()
    }

    /// Waits until something was sent; forever if nothing is.
    pub(super) async fn sent(&mut self) {
        match self.sending.join_next().await {
            Some(Ok(sent)) => self.note(sent),
            Some(Err(_)) => {}
            None => std::future::pending().await,
        }
    }

    fn note(&mut self, Sent { is_heartbeat, result }: Sent) {
        let Err(error) = result else { return };
        self.has_failed |= is_heartbeat;
        let why = error.to_string();
        // visibility.yaml may have been left out by choice.
        if matches!(error, ApiError::Status { code: 403, .. }) && !is_heartbeat {
            tracing::debug!("an Event is missing: {why}");
            return;
        }
        if self.failure.as_ref() != Some(&why) {
            let what = if is_heartbeat { "the heartbeat is not on the Node" } else { "an Event is missing" };
            tracing::info!("{what}, which changes nothing else: {why}");
            self.failure = Some(why);
        }
    }

    /// Tells what follows from a decision.
    pub(super) fn decided(&mut self, api: &mut Api, world: &World, settings: &Settings, decision: &Decision) {
        while let Some(Ok(sent)) = self.sending.try_join_next() {
            self.note(sent);
        }
        let Some(uid) = own_node(world).filter(|_| settings.mode == Mode::Active && !world.step_back) else {
            self.queue.clear();
            return;
        };
        self.stands(world, settings, decision);
        if std::mem::take(&mut self.has_failed) {
            (self.shown, self.not_before) = (None, world.now.boot + AGAIN);
        }
        let may_show = matches!(decision.next, Next::Wait(_)) && decision.phase != Phase::GoingDown;
        if may_show && !self.is_busy() && world.now.boot >= self.not_before {
            self.show(api, uid, world, settings, decision);
        }
        self.flush(api, uid, world.now.boot);
        self.webhook.flush(settings);
    }

    /// While a turn goes on, nothing but the heartbeat itself: a write to the Node would make those of the turn conflict.
    fn show(&mut self, api: &mut Api, uid: &str, world: &World, settings: &Settings, decision: &Decision) {
        let Some(new) = heartbeat(world, settings, decision) else { return };
        let condition = condition(world, settings, self.shown.as_ref().map(|it| &it.condition));
        let at = world.now.boot;
        if let Some(old) = &self.shown {
            let age = at.saturating_sub(old.at);
            let may = matches!(decision.phase, Phase::Idle | Phase::Waiting);
            let is_news = old.condition != condition
                || old.heartbeat.live != new.live
                || old.heartbeat.last_reboot != new.last_reboot
                || old.heartbeat.held != new.held;
            let differs = differs(&old.heartbeat, &new);
            if age < HEARTBEAT && !(may && (is_news || differs && age >= LESSER_NEWS)) {
                return;
            }
        }
        let write = api.show(uid, &new, &condition);
        self.sending.spawn(async move { Sent { is_heartbeat: true, result: write.await } });
        self.shown = Some(Shown { heartbeat: new, condition, at });
    }

    /// Where the node stands, if that is new and somebody who looks at the Node may want to know.
    fn stands(&mut self, world: &World, settings: &Settings, decision: &Decision) {
        if matches!(decision.next, Next::Read(_)) {
            return;
        }
        let alarm = decision.reasons.iter().find(|reason| reason.is_alarm());
        let new = (decision.phase, alarm.map(Reason::kind));
        let Some((phase, told)) = self.before.replace(new).map_or(Some((None, None)), |(phase, alarm)| {
            ((phase, alarm) != new).then_some((Some(phase), alarm))
        }) else {
            return;
        };
        let mut push = |reason, is_warning, note| self.push(world, settings, None, reason, is_warning, note);
        if phase != Some(decision.phase) {
            match decision.phase {
                // A daemon that was restarted finds the label that the one before it has left.
                Phase::Waiting if phase.is_none_or(|it| it == Phase::Starting) && is_known_to_wait(world) => {
                }
                Phase::Waiting if phase.is_none_or(|it| matches!(it, Phase::Idle | Phase::Starting)) => {
                    push("RebootRequired", false, requests_in_words(world, settings));
                }
                Phase::Returning => {
                    push("Rebooted", false, "back from the reboot; not healthy yet".to_owned());
                }
                _ => {}
            }
        }
        if let Some(alarm) = alarm.filter(|alarm| told != Some(alarm.kind())) {
            push("RebootHeldUp", true, alarm.to_string());
        }
    }

    /// A write was answered.
    pub(super) fn wrote(&mut self, effect: &Effect, outcome: &Outcome, world: &World, settings: &Settings) {
        let Some((reason, is_warning, note)) = of_effect(effect).filter(|_| *outcome == Outcome::Answered)
        else {
            return;
        };
        self.refused.clear();
        self.push(world, settings, None, reason, is_warning, note);
    }

    /// An eviction was answered.
    pub(super) fn evicted(
        &mut self,
        pod: &PodKey,
        how: How,
        outcome: &EvictionOutcome,
        world: &World,
        settings: &Settings,
    ) {
        let node = &settings.node_name;
        match outcome {
            EvictionOutcome::Granted if how != How::DryRun => {
                let note = format!("has to leave node {node}, which is about to reboot");
                self.push(world, settings, Some(pod), "RebootEviction", false, note);
            }
            EvictionOutcome::Refused(refusal) if self.refused.insert(pod.uid.clone()) => {
                let note = format!("may not leave node {node} for its reboot: {}", refusal.by);
                self.push(world, settings, Some(pod), "RebootEvictionRefused", true, note);
            }
            _ => {}
        }
    }

    fn push(
        &mut self,
        world: &World,
        settings: &Settings,
        pod: Option<&PodKey>,
        reason: &'static str,
        is_warning: bool,
        note: String,
    ) {
        let event = ClusterEvent { pod: pod.cloned(), reason, is_warning, note, at: world.now.wall };
        self.webhook.tell(&event, settings);
        if self.queue.len() < MOST_EVENTS {
            self.queue.push_back(event);
        }
    }

    /// Sends what is in the queue, one after the other, unless that is under way already.
    fn flush(&mut self, api: &mut Api, uid: &str, now: Duration) {
        if self.is_busy() {
            return;
        }
        if now >= self.hour.0 + HOUR {
            self.hour = (now, 0);
        }
        let most = MOST_EVENTS.saturating_sub(self.hour.1);
        let events: Vec<_> = self.queue.drain(..).take(most).map(|event| api.tell(&event, uid)).collect();
        self.hour.1 += events.len();
        if events.is_empty() {
            return;
        }
        self.sending.spawn(async move {
            let mut result = Ok(());
            for event in events {
                // One may concern a namespace that is about to go; after a second one, the rest would only fail, too.
                match (event.await, &result) {
                    (Ok(()), _) => {}
                    (failed, Ok(())) => result = failed,
                    (Err(_), Err(_)) => break,
                }
            }
            Sent { is_heartbeat: false, result }
        });
    }
}

fn is_known_to_wait(world: &World) -> bool {
    let node = world.cluster.node.last().and_then(Option::as_ref);
    node.is_some_and(|node| node.labels.contains_key(WAITING))
}

/// Whether there is something in it that cannot be seen elsewhere.
fn differs(old: &Heartbeat, new: &Heartbeat) -> bool {
    let told = |it: &Heartbeat| it.reason.clone().filter(|it| !SEEN_IN_SLOTS.contains(&it.as_str()));
    Heartbeat { at: old.at, reason: told(new), ..new.clone() }
        != Heartbeat { reason: told(old), ..old.clone() }
}

/// The uid of the own Node. A clone of another machine says nothing in its name.
pub(super) fn own_node(world: &World) -> Option<&String> {
    let node = world.cluster.node.last()?.as_ref()?;
    (node.machine_id == world.host.machine_id).then_some(&node.uid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_slots_show_is_no_news() {
        let said = |reason: Option<&str>| {
            let mut text =
                serde_json::json!({"version": "0.1.0", "at": "2026-11-28T12:00:00Z", "phase": "waiting"});
            text["reason"] = reason.into();
            serde_json::from_value::<Heartbeat>(text).unwrap()
        };
        let later = |it: &Heartbeat| Heartbeat { at: it.at + Duration::from_secs(60), ..it.clone() };
        let queued = said(Some("no-free-slot"));
        assert!(!differs(&queued, &later(&queued)));
        assert!(!differs(&queued, &said(Some("my-turn-comes"))) && !differs(&said(None), &queued));
        assert!(differs(&queued, &said(Some("inhibited"))) && differs(&said(Some("held")), &queued));
        assert!(differs(&queued, &Heartbeat { phase: "idle".into(), ..queued.clone() }));
    }
}
