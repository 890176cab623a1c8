//! What a person has declared urgent: the nodes that need a reboot have it now, in turn as always.

use std::time::Duration;

use super::settings::{Settings, Urgent};
use super::wish::Wish;
use super::{Phase, Reason, World};

/// What is urgent at the moment.
pub fn urgent<'a>(world: &World, settings: &'a Settings) -> Option<&'a Urgent> {
    settings.policy.urgent.as_ref().filter(|urgent| (urgent.from..urgent.until).contains(&world.now.wall))
}

/// The settings while something is urgent: a request does not wait to become older. That no window has to be waited for
/// needs nothing here: the urgent time is one of the windows.
pub(super) fn hurried(settings: &Settings) -> Settings {
    let mut hurried = settings.clone();
    hurried.policy.min_age = Duration::ZERO;
    hurried.host.livepatched_min_age = None;
    hurried
}

/// Says so, and wakes when it begins or ends.
pub(super) fn tell(wish: &mut Wish, world: &World, settings: &Settings) {
    let Some(Urgent { why, from, until }) = &settings.policy.urgent else { return };
    for at in [from, until] {
        if let Some(left) = at.checked_sub(world.now.wall) {
            wish.wake_at(world.now.boot + left, world.now.boot);
        }
    }
    let is_ahead = matches!(wish.phase, Phase::Waiting | Phase::Cordoning | Phase::Draining);
    // A step is told when it is done, and needs no reason; but evictions go on and on.
    let is_told = wish.effect.is_none() || wish.phase == Phase::Draining;
    if is_ahead && is_told && urgent(world, settings).is_some() {
        let left = until.saturating_sub(world.now.wall);
        wish.reasons.push(Reason::Urgent { why: why.clone(), left });
    }
}
