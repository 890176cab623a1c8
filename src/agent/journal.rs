//! What the daemon reports to systemd, in `status.json` and in the journal. Nothing is reported twice.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::decide::{
    Decision, Effect, Ending, EvictionOutcome, LastReboot, Next, NodeChange, Outcome, Phase, Planned, PodKey,
    Reason, Settings, SlotChange, Update, Verdict, World, plan, pods_have, requests_in_words,
};
use crate::host::upgrades;
use crate::replace::remove;
use crate::report::dbus::Served;
use crate::report::reboot::{Reboot, sentence};
use crate::report::{kept, messages, status, systemd};

/// Readings that take longer than this are reported on before they have ended.
const LONG_READING: Duration = Duration::from_secs(5);

/// What was last reported.
#[derive(Default)]
pub(super) struct Journal {
    /// The file of [`status`].
    status: Option<PathBuf>,
    /// The same on D-Bus.
    bus: Option<Served>,
    /// Why the file is not there, if it could not be written.
    unpublished: Option<String>,
    last: Option<Reported>,
    /// Who refused which pod of this drain, by uid, as last told.
    refusals: BTreeMap<String, String>,
    /// How many of the pods that have left in this drain were reported.
    gone: usize,
    /// Where the records of the last reboots are kept.
    reboots: Option<PathBuf>,
    /// Whether the turn of a reboot was under way when last seen, if anything was.
    reboot_under_way: Option<bool>,
    /// Since when every decision has been to read something first.
    reading_since: Option<Duration>,
}

#[derive(PartialEq)]
struct Reported {
    line: String,
    phase: Phase,
    kinds: Vec<&'static str>,
    requests: Vec<String>,
    credential_ends: Option<Duration>,
    /// Which updates are not live, as a hash.
    not_live: Option<u64>,
}

impl Journal {
    pub(super) fn new(status: Option<PathBuf>, reboots: Option<PathBuf>, bus: Option<Served>) -> Journal {
        Journal { status, reboots, bus, ..Journal::default() }
    }

    /// Whether the node was last seen to be idle, or has not been seen yet.
    pub(super) fn is_idle(&self) -> bool {
        self.last.as_ref().is_none_or(|last| last.phase == Phase::Idle)
    }

    pub(super) fn decided(&mut self, world: &World, settings: &Settings, decision: &Decision) {
        self.pods_gone(world);
        self.reboot_ended(world, settings);
        self.stands(world, settings, decision);
        if let Next::Act(effect) = &decision.next {
            let (node, phase) = (&settings.node_name, decision.phase.word());
            let why = if begins_turn(effect, world) {
                format!("; request: {}", requests_in_words(world, settings))
            } else {
                String::new()
            };
            if asks_again(effect, world) {
                tracing::debug!(node, phase, "{phase}: {effect}");
            } else {
                tracing::info!(message_id = step(effect), node, phase, "{phase}: {effect}{why}");
            }
        }
    }

    /// A reboot whose turn has ended since the last time. It is told by the process that saw it under way and then ended: so
    /// never twice, and not at all if that process is killed in between. In that case the next one still keeps its record.
    fn reboot_ended(&mut self, world: &World, settings: &Settings) {
        let last = world.memory.last_reboot.as_ref();
        let is_under_way = last.is_some_and(|last| last.ending == Some(Ending::UnderWay));
        let was_under_way = self.reboot_under_way.replace(is_under_way);
        let Some(last) = last.filter(|_| was_under_way != Some(false) && !is_under_way) else { return };
        if was_under_way.is_none() && !self.is_left_out(last, world, settings) {
            return;
        }
        // Without a log that can be read, only the names are known.
        let since = last.up_since.unwrap_or(last.at);
        let upgrades = upgrades::read(Path::new(upgrades::LOG), since, last.at).unwrap_or_default();
        let node = &settings.node_name;
        let Some(record) = Reboot::ended(world, (node, &settings.pool), upgrades) else { return };
        if let Some(path) = &self.reboots
            && let Err(error) = kept::keep(path, &record)
        {
            tracing::warn!(node, "the record of the reboot is not kept: {}: {error}", path.display());
        }
        if was_under_way.is_none() {
            return;
        }
        let (message_id, reboot) = (messages::REBOOT_ENDED, record.json());
        self.bus.iter().for_each(|bus| bus.reboot_ended(&reboot));
        tracing::info!(message_id, node, reboot, "{}", sentence(last));
    }

    /// Whether the daemon before this one did not come to keep the record. In another boot, what it would tell of kernels is not
    /// true any more.
    fn is_left_out(&self, last: &LastReboot, world: &World, settings: &Settings) -> bool {
        let here = &world.host.boot_id;
        let is_of_this_boot = last.led_to.as_ref() == Some(here) || last.boot_id == *here;
        let Some(path) = self.reboots.as_ref().filter(|_| is_of_this_boot) else { return false };
        let record = Reboot::ended(world, (&settings.node_name, &settings.pool), BTreeMap::new());
        record.is_some_and(|record| kept::has(path, &record).is_ok_and(|has| !has))
    }

    /// Where the node stands, if that is new.
    fn stands(&mut self, world: &World, settings: &Settings, decision: &Decision) {
        let new = Reported {
            line: status::line(decision),
            phase: decision.phase,
            kinds: decision.reasons.iter().map(Reason::kind).collect(),
            requests: world
                .host
                .requests
                .values()
                .filter_map(|it| it.last()?.as_ref())
                .map(|it| it.reason.clone())
                .collect(),
            credential_ends: settings.credential_ends,
            not_live: world.host.updates.as_ref().map(hash),
        };
        if self.is_old(world, decision) {
            return;
        }
        if self.last.as_ref() == Some(&new) {
            if self.unpublished.is_some() {
                self.publish(world, settings, decision);
            }
            self.bus.iter().for_each(Served::retry);
            return;
        }
        if self.was_draining()
            && new.phase != Phase::Draining
            && let Some(summary) = world.cluster.drain.summary()
        {
            tracing::info!(message_id = messages::DRAINED, "{summary}");
        }
        systemd::status(&new.line);
        self.publish(world, settings, decision);
        self.tell(&new, settings, decision);
        if new.phase != Phase::Draining {
            self.refusals.clear();
        }
        self.last = Some(new);
    }

    /// Writes the file of the status. If there is no room for a second one, the old one goes first: it would pass for the
    /// current one.
    fn publish(&mut self, world: &World, settings: &Settings, decision: &Decision) {
        let Some(path) = &self.status else { return };
        let status = status::Status::new(world, settings, decision);
        self.bus.iter().for_each(|bus| bus.status(&status));
        let failure = status.publish(path).or_else(|_| {
            remove(path)?;
            status.publish(path)
        });
        let failure = failure.err().map(|error| error.to_string());
        if let Some(why) = failure.as_ref().filter(|why| self.unpublished.as_ref() != Some(why)) {
            tracing::warn!("{}: cannot publish the status for rebootctl: {why}", path.display());
        }
        self.unpublished = failure;
    }

    /// How an eviction was answered; a refusal only if it is not the same as the last time.
    pub(super) fn eviction_ended(&mut self, pod: &PodKey, outcome: &EvictionOutcome) {
        let told = match outcome {
            EvictionOutcome::Refused(refusal) => {
                self.refusals.insert(pod.uid.clone(), refusal.message.clone()).as_ref()
                    == Some(&refusal.message)
            }
            _ => false,
        };
        if !told {
            tell_eviction(pod, outcome);
        }
    }

    /// What is about to be read again may be out of date: it is reported after it has been read, unless that takes
    /// long. If somebody does not answer, each reading may be old once the next one has ended.
    fn is_old(&mut self, world: &World, decision: &Decision) -> bool {
        if !matches!(decision.next, Next::Read(_)) || self.last.is_none() {
            self.reading_since = None;
            return false;
        }
        let since = *self.reading_since.get_or_insert(world.now.boot);
        world.now.boot < since + LONG_READING
    }

    fn was_draining(&self) -> bool {
        self.last.as_ref().is_some_and(|last| last.phase == Phase::Draining)
    }

    /// Actions are logged when they are done; a number that changes in a reason is not news.
    fn tell(&self, new: &Reported, settings: &Settings, decision: &Decision) {
        let told = self.last.as_ref().is_some_and(|old| old.phase == new.phase && old.kinds == new.kinds);
        let is_done = matches!(decision.next, Next::Act(_)) && new.kinds.is_empty();
        let (node, phase) = (&settings.node_name, new.phase.word());
        let alarm = decision.reasons.iter().find(|reason| reason.is_alarm()).map(Reason::kind);
        let is_new = |kind: &&'static str| self.last.as_ref().is_none_or(|old| !old.kinds.contains(kind));
        if let Some(alarm) = alarm.filter(is_new) {
            tracing::error!(message_id = messages::of_reason(alarm), node, phase, "{}", new.line);
        } else if !told && !is_done {
            let first = new.kinds.first().and_then(|kind| messages::of_reason(kind));
            tracing::info!(message_id = first, node, phase, "{}", new.line);
        }
    }

    /// Each pod that has left while the node drains.
    fn pods_gone(&mut self, world: &World) {
        let gone = &world.cluster.drain.gone;
        let told = std::mem::replace(&mut self.gone, gone.len());
        if self.was_draining() {
            gone.iter().skip(told).for_each(|pod| tracing::info!("{pod}"));
        }
    }
}

/// The MESSAGE_ID of the line that tells this effect.
fn step(effect: &Effect) -> Option<&'static str> {
    match effect {
        Effect::WriteSlot(write) => Some(match &write.change {
            SlotChange::Claim(_) => messages::CLAIM,
            SlotChange::Stamp(..) => messages::STAMP,
            SlotChange::Release { because: None } => messages::RELEASE,
            SlotChange::Release { because: Some(_) } => messages::ABORT,
            SlotChange::Free { .. } => messages::FREE,
            SlotChange::Returned => return None,
        }),
        Effect::WriteNode(write) => match &write.change {
            NodeChange::Cordon { .. } => Some(messages::CORDON),
            NodeChange::Uncordon { .. } | NodeChange::RemoveMark => Some(messages::UNCORDON),
            NodeChange::Confirm { .. } => None,
        },
        Effect::Reboot { .. } => Some(messages::REBOOT_ASKED),
        Effect::Evict(_) | Effect::StartHook { .. } | Effect::TellPeople => None,
    }
}

/// Claiming a free slot is the first step of a turn; a slot that this node already holds is only claimed again.
fn begins_turn(effect: &Effect, world: &World) -> bool {
    let Effect::WriteSlot(write) = effect else { return false };
    let mut slots = world.cluster.slots.last().into_iter().flatten();
    matches!(write.change, SlotChange::Claim(_))
        && slots.any(|slot| slot.uid == write.uid && slot.holder.is_none())
}

/// What happens to each pod, before the first is touched.
pub(super) fn tell_plan(world: &World, settings: &Settings) {
    // If the cordon is only repeated, the list of the pods need not be known.
    let Some(plan) = plan(world, settings) else { return };
    let mut stay = 0;
    for Planned { pod, verdict } in &plan {
        match verdict {
            Verdict::Leave(_) => {
                stay += 1;
                tracing::debug!("{} {verdict}", pod.key);
            }
            Verdict::Warn(_) | Verdict::Await(..) | Verdict::Refuse(_) => {
                tracing::warn!("{} {verdict}", pod.key)
            }
            Verdict::Evict => {}
        }
    }
    tracing::info!("{} to leave, {stay} stay", pods_have(plan.len() - stay));
}

fn hash(updates: &Vec<Update>) -> u64 {
    let mut hasher = DefaultHasher::new();
    updates.hash(&mut hasher);
    hasher.finish()
}

pub(super) fn tell_write(effect: &Effect, outcome: &Outcome) {
    match outcome {
        Outcome::Answered => {}
        Outcome::Refused { failure, conflict } => {
            let message_id = messages::WRITE_REFUSED;
            tracing::info!(message_id, conflict, "refused: {effect}: {}", failure.message);
        }
        Outcome::Unanswered(failure) => {
            let message_id = messages::WRITE_UNANSWERED;
            tracing::warn!(message_id, "no answer, so it may still happen: {effect}: {}", failure.message);
        }
    }
}

/// A budget may refuse for hours, and is asked every few seconds.
fn asks_again(effect: &Effect, world: &World) -> bool {
    let Effect::Evict(eviction) = effect else { return false };
    let asked = |pod: &PodKey| world.cluster.drain.pods.get(&pod.uid).is_some_and(|it| it.asked > 0);
    eviction.pods.iter().all(asked)
}

fn tell_eviction(pod: &PodKey, outcome: &EvictionOutcome) {
    match outcome {
        EvictionOutcome::Granted => {}
        EvictionOutcome::Outdated => tracing::debug!("{pod} is gone or was replaced"),
        EvictionOutcome::Refused(refusal) => {
            let message_id = messages::EVICTION_REFUSED;
            tracing::info!(message_id, "{pod} may not leave: {} ({})", refusal.by, refusal.message);
        }
        EvictionOutcome::Overloaded { message, .. } => {
            tracing::info!("the server grants no evictions: {message}");
        }
        EvictionOutcome::Unanswered { message } => tracing::info!("no answer about {pod}: {message}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Files;
    use crate::decide::{Claim, Event, Memory, Now, Parts, Reads, SlotView, SlotWrite, observe};

    #[test]
    fn only_the_claim_of_a_free_slot_begins_a_turn() {
        let now = Now { boot: Duration::from_secs(9), wall: Duration::from_secs(9) };
        let mut world = World::new(now, "p".into(), "b".into(), "m".into(), Memory::default());
        let slot = SlotView { name: "s".into(), uid: "u".into(), ..SlotView::default() };
        let write = |change| {
            Effect::WriteSlot(SlotWrite {
                slot: "s".into(),
                uid: "u".into(),
                resource_version: "1".into(),
                nonce: "n".into(),
                change,
            })
        };
        let claim = || write(SlotChange::Claim(Claim::default()));
        observe(&mut world, Event::Slots(Ok(vec![slot.clone()])), now);
        assert!(begins_turn(&claim(), &world));
        assert!(!begins_turn(&write(SlotChange::Release { because: None }), &world));
        let held = SlotView { holder: Some("n".into()), ..slot };
        observe(&mut world, Event::Slots(Ok(vec![held])), now);
        assert!(!begins_turn(&claim(), &world));
    }

    #[test]
    fn a_status_that_cannot_be_published_leaves_no_old_one_and_is_tried_again() {
        let directory = std::env::temp_dir().join(format!("rebootd-status-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join("status.json");
        let now = Now { boot: Duration::from_secs(9), wall: Duration::from_secs(9) };
        let world = World::new(now, "p".into(), "b".into(), "m".into(), Memory::default());
        let settings = Files::read(&[]).unwrap().settings("n").unwrap();
        let mut journal = Journal::new(Some(path.clone()), None, None);
        let mut published = |reason| {
            let (next, watched) = (Next::Wait(None), Parts::NONE);
            let decision =
                Decision { phase: Phase::Waiting, reasons: vec![reason], next, watched, wants_slot: false };
            journal.decided(&world, &settings, &decision);
            (path.exists(), journal.unpublished.clone())
        };
        assert_eq!(published(Reason::NothingRead), (true, None));
        // Something is in the way of the new file, as a full file system would be.
        let obstacle = directory.join("status.json.new");
        std::fs::create_dir(&obstacle).unwrap();
        let (there, why) = published(Reason::GoingDown);
        assert!(!there && why.is_some());
        std::fs::remove_dir(&obstacle).unwrap();
        assert_eq!(published(Reason::GoingDown), (true, None));
        std::fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn what_is_read_for_long_is_reported_meanwhile() {
        let at = |seconds| Now { boot: Duration::from_secs(seconds), wall: Duration::from_secs(seconds) };
        let mut world = World::new(at(9), "p".into(), "b".into(), "m".into(), Memory::default());
        let settings = Files::read(&[]).unwrap().settings("n").unwrap();
        let mut journal = Journal::default();
        let mut reported = |seconds, next, reason| {
            observe(&mut world, Event::Tick, at(seconds));
            let decision = Decision {
                phase: Phase::Waiting,
                reasons: vec![reason],
                next,
                watched: Parts::NONE,
                wants_slot: false,
            };
            journal.decided(&world, &settings, &decision);
            journal.last.as_ref().unwrap().kinds.clone()
        };
        let read = || Next::Read(Reads::default());
        assert_eq!(reported(10, Next::Wait(None), Reason::NothingRead), ["nothing-read"]);
        // Hours later; and soon read.
        assert_eq!(reported(9000, read(), Reason::GoingDown), ["nothing-read"]);
        assert_eq!(reported(9001, read(), Reason::GoingDown), ["nothing-read"]);
        assert_eq!(reported(9002, Next::Wait(None), Reason::BootNotReported), ["boot-not-reported"]);
        // Somebody does not answer.
        assert_eq!(reported(9003, read(), Reason::GoingDown), ["boot-not-reported"]);
        assert_eq!(reported(9013, read(), Reason::GoingDown), ["going-down"]);
    }
}
