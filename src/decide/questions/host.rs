//! Questions about this host: is anything at work on it that a reboot would disturb, or that prevents a reboot?

use super::super::hooks;
use super::super::requests::requests;
use super::super::settings::Settings;
use super::super::world::World;
use super::super::{Inhibitor, Open, Reason, Windows};
use super::MOST_NAMED;
use super::asked::{Asked, Closed, closed, read};

/// Anybody may take thousands of inhibitors; this many are told.
const MOST_INHIBITORS: usize = 10;

pub(in crate::decide) fn clock_is_right(asked: &Asked<'_>) -> Vec<Closed> {
    if !is_by_the_clock(asked.settings) {
        return vec![];
    }
    let what = "whether the clock is synchronised (`require_synchronized_clock` in [gates])";
    match read(what, &asked.world.host.clock_synchronized) {
        Ok(true) => vec![],
        Ok(false) => vec![closed(Reason::ClockNotSynchronized)],
        Err(reason) => vec![closed(reason)],
    }
}

/// Whether the clock has to be right: windows or freezes are in force, and something asks for a reboot.
pub fn clock_matters(world: &World, settings: &Settings) -> bool {
    is_by_the_clock(settings) && !requests(world, settings).is_empty()
}

fn is_by_the_clock(settings: &Settings) -> bool {
    let by_calendar = |windows: &Windows| windows.open != Open::Always || !windows.freezes.is_empty();
    settings.gates.require_synchronized_clock && settings.policy.windows.as_ref().is_some_and(by_calendar)
}

/// That it is certainly shutting down is a phase of its own.
pub(in crate::decide) fn shutdown_is_known(asked: &Asked<'_>) -> Vec<Closed> {
    let going_down = read("whether the host is shutting down", &asked.world.host.going_down);
    going_down.err().map(closed).into_iter().collect()
}

pub(in crate::decide) fn hold_is_known(asked: &Asked<'_>) -> Vec<Closed> {
    let hold = read("whether a person holds this node", &asked.world.host.hold);
    hold.err().map(closed).into_iter().collect()
}

pub(in crate::decide) fn no_shutdown_is_scheduled(asked: &Asked<'_>) -> Vec<Closed> {
    let now = asked.world.now.wall;
    match read("what shutdown is scheduled", &asked.world.host.scheduled) {
        // logind keeps a reboot that was requested without a delay, including ours, and shows it forever if it never
        // happened: a time in the past is not a plan. Whether a shutdown is under way is a separate reading.
        Ok(Some(scheduled)) if scheduled.at > now => {
            let left = scheduled.at.saturating_sub(now);
            vec![closed(Reason::ShutdownScheduled { kind: scheduled.kind.clone(), left })]
        }
        Ok(_) => vec![],
        Err(reason) => vec![closed(reason)],
    }
}

pub(in crate::decide) fn dpkg_rests(asked: &Asked<'_>) -> Vec<Closed> {
    match read("dpkg's locks", &asked.world.host.package_manager) {
        Ok(Some(lock)) => vec![closed(Reason::PackageManager { lock: lock.clone() })],
        Ok(None) => vec![],
        Err(reason) => vec![closed(reason)],
    }
}

pub(in crate::decide) fn machine_id_lasts(asked: &Asked<'_>) -> Vec<Closed> {
    let transient = asked.world.host.machine_id_is_transient;
    transient.then(|| closed(Reason::MachineIdIsTransient)).into_iter().collect()
}

/// A host with half-installed packages may not come up again.
pub(in crate::decide) fn packages_are_installed(asked: &Asked<'_>) -> Vec<Closed> {
    if !asked.settings.gates.require_installed_packages {
        return vec![];
    }
    match read("which packages are half-installed", &asked.world.host.unfinished_packages) {
        Ok(packages) if packages.count() == 0 => vec![],
        Ok(packages) => {
            let packages = packages.clone().shortened(MOST_NAMED);
            vec![closed(Reason::PackagesHalfInstalled { packages })]
        }
        Err(reason) => vec![closed(reason)],
    }
}

/// A kernel without its initrd, where other kernels have one, does not find the root file system.
pub(in crate::decide) fn kernel_can_start(asked: &Asked<'_>) -> Vec<Closed> {
    // On some hosts only root may look into /boot. That is told, see `Requests::notes`, but stops nothing.
    let kernel = asked.world.host.kernel.current();
    let why = kernel.and_then(|kernel| kernel.cannot_start.clone());
    why.map(|why| closed(Reason::KernelCannotStart { why })).into_iter().collect()
}

pub(in crate::decide) fn nothing_inhibits(asked: &Asked<'_>) -> Vec<Closed> {
    match read("logind's inhibitors", &asked.world.host.inhibitors) {
        Ok(inhibitors) => {
            let blocks = inhibitors.iter().filter(|one| !one.delays);
            blocks
                .take(MOST_INHIBITORS)
                .map(|one| closed(Reason::Inhibited { inhibitor: one.clone() }))
                .collect()
        }
        Err(reason) => vec![closed(reason)],
    }
}

/// While something is inhibited, logind says no to everybody: the inhibitor is the reason then.
pub(in crate::decide) fn logind_lets_us(asked: &Asked<'_>) -> Vec<Closed> {
    let host = &asked.world.host;
    let is_block = |one: &Inhibitor| !one.delays;
    let Some(inhibitors) = host.inhibitors.current() else { return vec![] };
    match read("whether logind lets us reboot", &host.may_reboot) {
        Ok(false) if !inhibitors.iter().any(is_block) => vec![closed(Reason::MayNotReboot)],
        Ok(_) => vec![],
        Err(reason) => vec![closed(reason)],
    }
}

pub(in crate::decide) fn hooks_can_be_started(asked: &Asked<'_>) -> Vec<Closed> {
    hooks::not_ready(asked.world, asked.settings).into_iter().map(closed).collect()
}
