//! Judgements on others that reboot this host behind rebootd's back, and on what asks rebootd for a reboot.

use super::daemon::reason;
use super::facts::Facts;
use super::finding::Finding;
use super::host::known;

const BEHIND: &str = "without a slot and without a drain";

pub(super) fn unattended_upgrades(facts: &Facts) -> Finding {
    known(&facts.automatic_reboot, |automatic| {
        match automatic {
        None => Finding::ok("not installed"),
        Some(false) => Finding::ok("Automatic-Reboot is off"),
        Some(true) => Finding::problem(format!("Automatic-Reboot is on: it reboots this host {BEHIND}")).remedy(
            "Unattended-Upgrade::Automatic-Reboot \"false\"; in a file of /etc/apt/apt.conf.d/ that comes after the others",
        ),
    }
    })
}

pub(super) fn cron(facts: &Facts) -> Finding {
    let jobs = &facts.cron;
    match (jobs.found.first(), jobs.unread.first()) {
        (Some(first), _) => {
            let more = match jobs.found.len() {
                1 => String::new(),
                count => format!(" and {} more", count - 1),
            };
            Finding::warning(format!("a job seems to reboot this host {BEHIND}: {first}{more}"))
                .remedy("have it touch /run/reboot-required instead")
        }
        (None, Some(unread)) => Finding::unknown(format!("no other job reboots this host, but {unread}")),
        (None, None) => Finding::ok("no job reboots this host"),
    }
}

pub(super) fn timers(facts: &Facts) -> Finding {
    known(&facts.timers, |timers| match timers.first() {
        Some(first) => Finding::warning(format!("a timer seems to reboot this host {BEHIND}: {first}"))
            .remedy("have it touch /run/reboot-required instead, or systemctl disable --now it"),
        None => Finding::ok("no active timer reboots this host"),
    })
}

pub(super) fn kured(facts: &Facts) -> Finding {
    if let Some(message) = reason(facts, &["kured-here"]) {
        return Finding::problem(message);
    }
    known(&facts.kured_runs, |runs| match runs {
        true => Finding::problem("kured runs on this host as well, and watches the same file")
            .remedy("have it leave this node: /usr/share/doc/rebootd/docs/kured.md"),
        false => Finding::ok("it does not run on this host"),
    })
}

pub(super) fn sentinel(facts: &Facts) -> Finding {
    known(&facts.settings, |settings| {
        let host = &settings.host;
        if host.needrestart && !facts.has_needrestart {
            return Finding::problem("`needrestart` is on in [host], and needrestart is not installed")
                .remedy("apt install needrestart");
        }
        let by_settings = [
            (host.newer_kernel, "`newer_kernel`"),
            (host.needrestart, "`needrestart`"),
            (!host.sentinel_command.is_empty(), "`sentinel_command`"),
            (host.max_uptime.is_some(), "`max_uptime`"),
        ];
        let by_settings = by_settings.into_iter().filter(|(is_on, _)| *is_on).map(|(_, key)| key);
        let asking: Vec<&str> = facts.sentinel_makers.iter().copied().chain(by_settings).collect();
        if asking.is_empty() {
            return Finding::warning(format!(
                "no package that is known for it creates {}, and no key of [host] asks in its place",
                host.sentinel.display()
            ))
            .remedy("newer_kernel = true in [host]; for libraries apt install needrestart, and needrestart = true");
        }
        Finding::ok(format!("after an update, these ask for a reboot: {}", asking.join(", ")))
    })
}
