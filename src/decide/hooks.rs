//! Hooks: the administrator's units, started at certain moments of a turn and waited for.
//!
//! The daemon only remembers when it asked for a hook and which start of the unit was the latest before that. Whether
//! the unit has run since, and how it ended, is asked of systemd. So a restarted daemon does not ask for a hook a
//! second time if it can see that the hook has begun.

use std::time::Duration;

use super::settings::{OnHookFailure, Settings};
use super::world::World;
use super::{AbortReason, Hook, HookRun, HookUnit, Reason, UnitState};

/// A unit that has not begun within this time is asked for again: the daemon may have died just before it sent the
/// request.
const START_WITHIN: Duration = Duration::from_secs(10);

/// Where a hook stands.
pub(super) enum Step {
    /// There is none, or it is done, or it failed and its failures are ignored.
    Done,
    /// It has to be started.
    Start,
    /// It has to be waited for.
    Wait(Reason),
    /// It failed, in these words.
    Failed(Reason),
}

/// The state of this turn's hook.
pub(super) fn step(world: &World, settings: &Settings, hook: Hook, turn: Duration) -> Step {
    if !settings.hooks.wanted.contains(&hook) {
        return Step::Done;
    }
    let unit = match read(world, hook) {
        Ok(unit) => unit,
        Err(reason) => return Step::Wait(reason),
    };
    let now = world.now.boot;
    let Some(run) = asked_for(world, hook, turn) else {
        let runs = (unit.state == UnitState::Runs)
            .then(|| "it is already running, but rebootd did not start it".to_owned());
        return match runs.or_else(|| unit.obstacle.clone()) {
            Some(why) => Step::Wait(Reason::HookNotReady { hook, why }),
            None => Step::Start,
        };
    };
    let timeout = settings.hooks.timeout;
    let left = (run.asked + timeout).saturating_sub(now);
    let begun = unit.invocation != run.before && !unit.invocation.is_empty();
    let told = world.host.hook_told.filter(|(told, _)| *told == hook).map(|(_, at)| at);
    let why = match &unit.state {
        UnitState::Ended { failure: None } if begun => return Step::Done,
        UnitState::Ended { failure: Some(why) } if begun => why.clone(),
        UnitState::Runs if begun && !left.is_zero() => {
            return Step::Wait(Reason::HookRuns { hook, since: now.saturating_sub(run.asked), left });
        }
        UnitState::Runs if begun => "it takes longer than `timeout` in [hooks]".to_owned(),
        _ if left.is_zero() => "it does not start; is a condition of the unit not met?".to_owned(),
        _ if told.is_some_and(|at| now < at + START_WITHIN) => {
            return Step::Wait(Reason::HookStarting { hook });
        }
        _ => return Step::Start,
    };
    match goes_on(settings, hook) {
        true => Step::Done,
        false => Step::Failed(Reason::HookFailed { hook, why }),
    }
}

fn goes_on(settings: &Settings, hook: Hook) -> bool {
    let hooks = &settings.hooks;
    let on_failure = if hook == Hook::AfterBoot { hooks.on_failure_after_boot } else { hooks.on_failure };
    on_failure == OnHookFailure::Continue
}

/// The hook whose failure ends this turn, if there is one.
pub(super) fn failed(world: &World, settings: &Settings, turn: Duration) -> Option<Reason> {
    [Hook::BeforeDrain, Hook::BeforeReboot].into_iter().find_map(|hook| {
        match step(world, settings, hook, turn) {
            Step::Failed(reason) => Some(reason),
            Step::Done | Step::Start | Step::Wait(_) => None,
        }
    })
}

/// The same, as the reason why the turn is undone.
pub(super) fn abort(world: &World, settings: &Settings, turn: Duration) -> Option<AbortReason> {
    failed(world, settings, turn).map(|_| AbortReason::HookFailed)
}

/// Hooks that are wanted but cannot be started: the node does not take a slot while there are any.
pub(super) fn not_ready(world: &World, settings: &Settings) -> Vec<Reason> {
    let closed = |hook: &Hook| match read(world, *hook) {
        Ok(unit) => unit.obstacle.clone().map(|why| Reason::HookNotReady { hook: *hook, why }),
        Err(reason) => Some(reason),
    };
    settings.hooks.wanted.iter().filter_map(closed).collect()
}

/// When the hook was asked for in this turn, if it was.
pub(super) fn asked_for(world: &World, hook: Hook, turn: Duration) -> Option<&HookRun> {
    let run = world.memory.hooks.get(&hook)?;
    (run.boot_id == world.host.boot_id && run.turn == turn).then_some(run)
}

/// Folds that the hook is about to be asked for, possibly a second time.
pub(super) fn begun(world: &mut World, hook: Hook, turn: Duration) {
    let now = world.now.boot;
    world.host.hook_told = Some((hook, now));
    if asked_for(world, hook, turn).is_none() {
        let unit = world.host.hooks.get(&hook).and_then(|reading| reading.last());
        let before = unit.map(|unit| unit.invocation.clone()).unwrap_or_default();
        // Whole seconds, because that is how it is stored.
        let asked = Duration::from_secs(now.as_secs());
        let run = HookRun { boot_id: world.host.boot_id.clone(), turn, asked, before };
        world.memory.hooks.insert(hook, run);
    }
}

fn read(world: &World, hook: Hook) -> Result<&HookUnit, Reason> {
    let reading = world.host.hooks.get(&hook);
    reading.and_then(|reading| reading.current()).ok_or_else(|| Reason::Unreadable {
        what: "the units of the hooks",
        why: reading.and_then(|reading| reading.failure()).unwrap_or("not read yet").to_owned(),
    })
}
