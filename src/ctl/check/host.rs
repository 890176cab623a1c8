//! Judgements on the host: what delays a shutdown, the clock, the kubelet, and what will start after a reboot.

use super::daemon::reason;
use super::facts::{Facts, Read};
use super::finding::Finding;
use crate::decide::{Open, span};

/// The name under which the kubelet delays a shutdown.
const KUBELET: &str = "kubelet";
/// dpkg names them all.
const MOST_PACKAGES: usize = 3;

/// Judges what could be read.
pub(super) fn known<T>(read: &Read<T>, judge: impl FnOnce(&T) -> Finding) -> Finding {
    read.as_ref().map_or_else(Finding::unknown, judge)
}

pub(super) fn inhibitors(facts: &Facts) -> Finding {
    known(&facts.inhibitors, |inhibitors| match inhibitors.iter().find(|inhibitor| !inhibitor.delays) {
        Some(by) => Finding::warning(format!("{} keeps this host from shutting down: {}", by.who, by.why))
            .remedy("systemd-inhibit --list; end that program"),
        None => Finding::ok("nothing keeps this host from shutting down"),
    })
}

pub(super) fn shutdown_delay(facts: &Facts) -> Finding {
    known(&facts.longest_delay, |delay| {
        known(&facts.policy, |policy| {
            let (timeout, longest) = (policy.settings.reboot_timeout, span(*delay));
            let found = format!(
                "logind lets a shutdown be delayed by {longest} (InhibitDelayMaxSec), and `reboot_timeout` is {}",
                span(timeout)
            );
            if *delay < timeout {
                return Finding::ok(found);
            }
            Finding::problem(format!("{found}: a delayed reboot could come after the turn was given up"))
                .remedy(format!("`reboot_timeout` in [policy], longer than {longest}"))
        })
    })
}

pub(super) fn clock(facts: &Facts) -> Finding {
    let by_calendar = facts.policy.as_ref().ok().and_then(|policy| policy.windows.as_ref());
    let by_calendar = by_calendar.is_some_and(|it| it.open != Open::Always || !it.freezes.is_empty());
    let is_asked = facts.settings.as_ref().is_ok_and(|settings| settings.gates.require_synchronized_clock);
    known(&facts.clock_synchronized, |synchronized| {
        let remedy = "timedatectl; apt install systemd-timesyncd, or chrony";
        match synchronized {
            true => Finding::ok("it is synchronised"),
            false if by_calendar && is_asked => {
                Finding::problem("it is not synchronised, and until it is no window opens").remedy(remedy)
            }
            false => Finding::warning("it is not synchronised").remedy(remedy),
        }
    })
}

pub(super) fn zones(facts: &Facts) -> Finding {
    match &facts.zone {
        _ if !facts.has_zones => {
            Finding::problem("/usr/share/zoneinfo is missing, so no window can name a zone")
                .remedy("apt install tzdata")
        }
        Err(why) => Finding::warning(format!("local time counts as UTC: {why}"))
            .remedy("timedatectl set-timezone ZONE"),
        Ok(zone) => Finding::ok(format!("windows without a zone count in {zone}")),
    }
}

pub(super) fn graceful_shutdown(facts: &Facts) -> Finding {
    let delays = facts.inhibitors.iter().flatten().any(|it| it.delays && it.who == KUBELET);
    if delays {
        return Finding::ok("the kubelet delays a shutdown until the pods that stayed have ended");
    }
    known(&facts.graceful, |graceful| match graceful {
        None => Finding::unknown(
            "no inhibitor of the kubelet, and no kubelet that names a configuration file; it may be off, or part of another \
             program",
        ),
        Some(graceful) => match &graceful.period {
            None => Finding::ok(format!(
                "off (shutdownGracePeriod in {}): the pods that stay through a drain end as systemd ends their containers",
                graceful.file.display()
            )),
            Some(period) => known(&facts.inhibitors, |_| {
                Finding::warning(format!(
                    "shutdownGracePeriod is {period} in {}, and yet the kubelet delays no shutdown",
                    graceful.file.display()
                ))
                .remedy("systemctl restart kubelet; InhibitDelayMaxSec= of logind.conf has to be as long")
            }),
        },
    })
}

pub(super) fn room(facts: &Facts) -> Finding {
    known(&facts.room, |room| {
        let megabytes = |bytes: u64| bytes.div_ceil(1_000_000);
        if room.kernel == 0 {
            return Finding::ok("no kernel is installed there");
        }
        let found = format!(
            "{} MB are free, and the largest kernel with its initrd takes {} MB",
            room.free / 1_000_000,
            megabytes(room.kernel)
        );
        match room.free < room.kernel {
            true => Finding::warning(format!("{found}: the next one does not fit"))
                .remedy("apt autoremove --purge"),
            false => Finding::ok(found),
        }
    })
}

pub(super) fn packages(facts: &Facts) -> Finding {
    known(&facts.half_installed, |names| match names.count() {
        0 => Finding::ok("dpkg has finished what it began"),
        count => {
            let first: Vec<&str> = names.first.iter().take(MOST_PACKAGES).map(String::as_str).collect();
            let more = if count > first.len() { " and others" } else { "" };
            Finding::problem(format!("half-installed: {}{more}", first.join(", ")))
                .remedy("dpkg --configure -a, or apt --fix-broken install")
        }
    })
}

pub(super) fn kernel(facts: &Facts) -> Finding {
    if let Some(message) = reason(facts, &["not-live", "older-kernel"]) {
        return Finding::problem(message);
    }
    known(&facts.kernel, |kernel| {
        let running = &kernel.running;
        match (&kernel.cannot_start, &kernel.newer) {
            (Some(why), _) => Finding::problem(format!("this host would not come up again: {why}")),
            (None, Some(newer)) => Finding::ok(format!("{running} runs, {} will start", newer.release)),
            (None, None) => Finding::ok(format!("{running} runs, and none of its kind is newer")),
        }
    })
}
