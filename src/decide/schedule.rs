//! [`decide`]: permits what the phase wants if the readings suffice for it, and otherwise says what to read first.

use std::time::Duration;

use super::gates::Moment;
use super::overdue::{Overdue, relaxed};
use super::phase;
use super::questions::{self, Asked};
use super::requests::Requests;
use super::settings::{Mode, Settings};
use super::urgent::{self, hurried, urgent};
use super::wish::{GATE_LOOK, WAITING_LOOK, Wish};
use super::world::World;
use super::{
    CredentialState, Decision, Effect, Next, Part, Parts, Phase, Reads, Reason, SlotChange, reclaim,
};

/// Derives the phase and the next step from what is known now.
pub fn decide(world: &World, settings: &Settings) -> Decision {
    if let Some(reason) = without_a_way(world, settings) {
        let asks = Requests::of(world, settings).asking().next().is_some();
        return Decision {
            phase: if asks { Phase::Waiting } else { Phase::Idle },
            reasons: vec![reason],
            next: Next::Wait(None),
            watched: Parts::NONE,
            wants_slot: false,
        };
    }
    let hurried = urgent(world, settings).map(|_| hurried(settings));
    let settings = hurried.as_ref().unwrap_or(settings);
    let overdue = Overdue::of(world, settings);
    let relaxed = overdue.as_ref().filter(|it| it.is_now()).map(|_| relaxed(settings));
    let settings = relaxed.as_ref().unwrap_or(settings);
    if let Some(reboot) = reboot_now(world, settings) {
        return reboot;
    }
    let mut wish = phase::wish(world, settings);
    if let Some(overdue) = overdue {
        wish.wake_at(world.now.boot + overdue.left, world.now.boot);
        // On the way back the request is still there, but has had its reboot.
        let is_ahead = !matches!(wish.phase, Phase::Rebooting | Phase::GoingDown | Phase::Returning);
        wish.reasons.extend(overdue.reason(settings).filter(|_| is_ahead));
    }
    urgent::tell(&mut wish, world, settings);
    allow(world, settings, wish)
}

/// The answered stamp allows the reboot, but only for a moment. The cluster was read before the stamp. The host,
/// which takes milliseconds to read, is read once more after it: dpkg may have begun to work while the stamp was on
/// its way.
fn reboot_now(world: &World, settings: &Settings) -> Option<Decision> {
    let not_after = world.cluster.may_call_until?;
    let requests = Requests::of(world, settings);
    let wanted = requests.is_sure() && !world.step_back;
    if !wanted || world.now.boot > not_after {
        return None;
    }
    let going_down_is_no = world.host.going_down.current() == Some(&false);
    let asked = Asked { world, settings, requests: &requests };
    let next = if world.host.read_at.is_none() {
        Next::Read(Reads::default())
    } else if going_down_is_no && world.cluster.policy.current().is_some() && asked.is_open(Moment::Call) {
        Next::Act(Effect::Reboot { not_after, kexec: settings.policy.kexec })
    } else {
        return None;
    };
    Some(Decision {
        phase: Phase::Rebooting,
        reasons: Vec::new(),
        next,
        watched: Parts::NONE,
        wants_slot: false,
    })
}

/// Why there is no way to the cluster, or none that may be used.
fn without_a_way(world: &World, settings: &Settings) -> Option<Reason> {
    match (&settings.api, &settings.credential_node) {
        (None, _) => Some(Reason::NotEnrolled {
            why: match &world.host.credential {
                CredentialState::Missing(why) | CredentialState::Failing(why) => why.clone(),
                CredentialState::Good => "this host has not been asked for one".to_owned(),
            },
        }),
        (Some(_), Some(bound)) if *bound != settings.node_name => {
            Some(Reason::CredentialOfOtherNode { named: settings.node_name.clone(), bound: bound.clone() })
        }
        _ => None,
    }
}

/// Permits a wish only as far as the readings suffice for it.
fn allow(world: &World, settings: &Settings, mut wish: Wish) -> Decision {
    let acting = wish.effect.is_some();
    let next = next_step(world, settings, &mut wish);
    let configuration = world.host.configuration.clone().map(|why| Reason::ConfigurationUnreadable { why });
    let credential = match &world.host.credential {
        CredentialState::Failing(why) => Some(Reason::CredentialFailing { why: why.clone() }),
        CredentialState::Good | CredentialState::Missing(_) => None,
    };
    let unconfined =
        questions::unconfined(world).into_iter().chain(questions::other_manifests(world)).chain(credential);
    let notes = Requests::of(world, settings).notes().into_iter().chain(configuration).chain(unconfined);
    let notes = notes.filter(|note| !wish.reasons.contains(note));
    let notes: Vec<Reason> = notes.collect();
    wish.reasons.extend(notes);
    // A write that was refused is the reason also while it is only about to be tried again.
    let would_say_nothing = wish.reasons.is_empty() && matches!(next, Next::Wait(_));
    if let Some(why) = trouble_with_api(world, acting || would_say_nothing) {
        wish.reasons.insert(0, why);
    }
    let Wish { phase, reasons, watched, wants_slot, .. } = wish;
    Decision { phase, reasons, next, watched, wants_slot }
}

fn next_step(world: &World, settings: &Settings, wish: &mut Wish) -> Next {
    let now = world.now.boot;
    let mut effect = wish.effect.take();
    if settings.mode == Mode::Observe
        && let Some(effect) = effect.take()
    {
        wish.reasons.insert(0, Reason::Observing { would: effect.to_string() });
        wish.look_age = Some(WAITING_LOOK);
    }
    let shutdown_unknown = || {
        let requests = Requests::of(world, settings);
        Asked { world, settings, requests: &requests }.reasons(Moment::Effect)
    };
    // Said also while something is about to be read again.
    if effect.is_some() && world.host.going_down.failure().is_some() {
        wish.reasons.extend(shutdown_unknown());
    }
    if wish.phase == Phase::GoingDown {
        effect = None;
    } else if look_is_due(world, wish, effect.as_ref()) {
        return unless_backing_off(
            world,
            Next::Read(Reads { parts: wish.reads, confirms_drained: wish.confirms_drained }),
        );
    } else if wish.list_pods {
        return unless_backing_off(
            world,
            Next::Read(Reads { parts: Parts::only(Part::Pods), confirms_drained: false }),
        );
    }
    if wish.host_age.is_some_and(|age| world.host.read_at.is_none_or(|at| at + age <= now)) {
        return Next::Read(Reads::default());
    }
    match effect {
        // Unreadable counts as shutting down: nothing is written then.
        Some(_) if world.host.going_down.current() != Some(&false) => {
            if world.host.going_down.failure().is_none() {
                wish.reasons.extend(shutdown_unknown());
            }
            Next::Wait(Some(now + GATE_LOOK))
        }
        Some(effect) => unless_backing_off(world, Next::Act(effect)),
        None => Next::Wait(wait_until(world, wish)),
    }
}

fn unless_backing_off(world: &World, next: Next) -> Next {
    match world.cluster.retry_at.filter(|at| *at > world.now.boot) {
        Some(at) => Next::Wait(Some(at)),
        None => next,
    }
}

fn look_is_due(world: &World, wish: &Wish, effect: Option<&Effect>) -> bool {
    let cluster = &world.cluster;
    let Some(look) = cluster.look else { return true };
    let now = world.now.boot;
    // For holders, the age of the answer about each one counts, not that of the look.
    let wanted = wish.reads.without(Part::Holders);
    // A gate of the other nodes may open with the turn of one of them: then their list is read again.
    let asks_for_others = wish.reads.has(Part::Others) || wish.reads.has(Part::Proven);
    let only_waits = wish.phase == Phase::Waiting && effect.is_none() && !wish.list_pods && !asks_for_others;
    if look.slots_changed && !only_waits {
        return true;
    }
    let lacks = !look.read.has_all(wanted) || (wish.confirms_drained && !look.confirms_drained);
    let pods = wanted.has(Part::Pods);
    // However long a look took, a write may rest on it for a moment: a slow server would never let one through.
    let rests_on_it = effect.is_some() && world.look_is_fresh();
    let old = wish.look_age.is_some_and(|age| look.begun + age <= now) && !rests_on_it;
    let second = cluster.second_look.is_some_and(|due| due <= now);
    let too_old_to_write = match effect {
        Some(Effect::WriteSlot(write)) => {
            let frees = matches!(write.change, SlotChange::Free { .. });
            // If pods matter, as they do for a stamp, pods known from a watch are not enough.
            !world.look_is_fresh()
                || (pods && look.pods_changed)
                || (frees && !reclaim::is_missing_since(world, &write.uid, look.begun))
        }
        Some(Effect::WriteNode(_)) => !world.look_is_fresh() || (pods && look.pods_changed),
        Some(Effect::Evict(_) | Effect::Reboot { .. } | Effect::StartHook { .. } | Effect::TellPeople)
        | None => false,
    };
    lacks || old || second || too_old_to_write
}

fn wait_until(world: &World, wish: &Wish) -> Option<Duration> {
    let look = world.cluster.look.zip(wish.look_age).map(|(look, age)| look.begun + age);
    let host = world.host.read_at.zip(wish.host_age).map(|(at, age)| at + age);
    let times = [look, host, wish.until, world.cluster.second_look].into_iter().flatten();
    // Times in the past have already had their effect: there is nothing to wait for.
    times.filter(|at| *at > world.now.boot).min()
}

/// A server may ask for a pause of up to ten minutes, which people should know of. Our own pauses are shorter.
const TOLD_PAUSE: Duration = Duration::from_secs(90);

/// A step that has failed for this long will not succeed by itself: a right is gone, or a webhook refuses it.
const FAILS_FOR_LONG: Duration = Duration::from_secs(10 * 60);

fn trouble_with_api(world: &World, acting: bool) -> Option<Reason> {
    let cluster = &world.cluster;
    if let Some(why) = &cluster.read_failure {
        let again = cluster.retry_at.and_then(|at| at.checked_sub(world.now.boot));
        return Some(Reason::ApiFailing {
            why: why.clone(),
            again: again.filter(|again| *again >= TOLD_PAUSE),
        });
    }
    let why = cluster.write_failure.clone().filter(|_| acting)?;
    let since = world.failing_since().map(|since| world.now.boot.saturating_sub(since));
    Some(match since.filter(|since| *since >= FAILS_FOR_LONG) {
        Some(since) => Reason::StepFailing { why, since },
        None => Reason::Refused { why },
    })
}
