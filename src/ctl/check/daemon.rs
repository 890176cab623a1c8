//! Judgements on the daemon, its configuration, its credential and its rights.

use std::path::Path;
use std::time::Duration;

use super::super::status::{credential as way, time};
use super::facts::{Facts, says};
use super::finding::Finding;
use crate::decide::settings::Mode;
use crate::report::status::Status;

/// EX_CONFIG of sysexits.h.
const BAD_CONFIGURATION: &str = "78";
const APPLY: &str = "kubectl apply -f /usr/share/rebootd/manifests/";

/// The message of a reason that the daemon gives now.
pub(super) fn reason<'a>(facts: &'a Facts, kinds: &[&str]) -> Option<&'a str> {
    let reasons = &facts.status.as_ref().ok()?.reasons;
    reasons.iter().find(|reason| kinds.contains(&reason.kind.as_str())).map(|reason| reason.message.as_str())
}

/// Judges what only the daemon knows.
fn by_status(facts: &Facts, judge: impl FnOnce(&Status) -> Finding) -> Finding {
    match &facts.status {
        Ok(status) => judge(status),
        Err(_) => Finding::unknown("only a running daemon tells it"),
    }
}

pub(super) fn daemon(facts: &Facts) -> Finding {
    match &facts.service {
        Err(why) => Finding::unknown(why),
        Ok(service) if service.state == "active" => match &facts.status {
            Ok(status) => Finding::ok(format!("it runs on {}: {}", status.node, status.line)),
            Err(_) => Finding::ok("it runs"),
        },
        Ok(service) if service.code == BAD_CONFIGURATION => {
            Finding::problem("it has ended because its configuration is wrong").remedy("rebootd check-config")
        }
        Ok(service) => Finding::problem(format!("it does not run ({})", service.state))
            .remedy("systemctl enable --now rebootd; where a kubeconfig is: rebootctl check --fleet"),
    }
}

pub(super) fn status(facts: &Facts) -> Finding {
    match (&facts.status, &facts.service) {
        (Err(why), _) => Finding::problem(why),
        (Ok(status), Ok(service)) if service.state == "active" && !says(service, status) => {
            Finding::problem(format!("what is published is not what the daemon says now: {}", service.line))
                .remedy("df -h /run; systemctl restart rebootd")
        }
        (Ok(status), _) => Finding::ok(format!("published at {}", time(status.written))),
    }
}

pub(super) fn configuration(facts: &Facts) -> Finding {
    if let Some(message) = reason(facts, &["configuration-unreadable"]) {
        return Finding::problem(message).remedy("rebootctl config check");
    }
    if let Some(message) = reason(facts, &["policy-unreadable"]) {
        return Finding::problem(message).remedy("kubectl -n rebootd edit configmap policy");
    }
    let (settings, policy) = match (&facts.settings, &facts.policy) {
        (Err(why), _) | (_, Err(why)) => return Finding::problem(why).remedy("rebootctl config check"),
        (Ok(settings), Ok(policy)) => (settings, policy),
    };
    if settings.mode == Mode::Observe {
        return Finding::warning("this node only observes and never reboots").remedy("mode = \"active\"");
    }
    if policy.windows.is_none() {
        let of = if policy.without_fleet.is_some() { "the files of this host" } else { "host and fleet" };
        let finding = format!("no window is configured by {of}, so nothing ever reboots");
        // The fleet's policy may have one.
        return match &policy.without_fleet {
            Some(why) if reason(facts, &["no-window"]).is_none() => Finding::unknown(format!(
                "{finding}; the fleet's policy may have one, and was not read: {why}"
            ))
            .remedy("window in [policy], here or for the fleet"),
            _ => Finding::warning(finding).remedy("window = \"always\" in [policy]"),
        };
    }
    match &policy.without_fleet {
        None => Finding::ok("files and fleet's policy are valid, and say when reboots may start"),
        Some(why) => Finding::ok(format!("the files are valid; the fleet's policy was not read: {why}")),
    }
}

pub(super) fn credential(facts: &Facts) -> Finding {
    if let Some(message) = reason(facts, &["not-enrolled", "credential-of-other-node", "credential-failing"])
    {
        return Finding::problem(message);
    }
    by_status(facts, |status| {
        let Some(credential) = &status.credential else {
            return Finding::problem("there is none").remedy("rebootctl status");
        };
        let text = way(credential);
        if credential.ends.is_some_and(|ends| Duration::from_secs(ends) < facts.now) {
            return Finding::problem(format!("it has expired: {text}")).remedy("journalctl -u rebootd");
        }
        match reason(facts, &["api-failing"]) {
            Some(message) => Finding::warning(format!("it could not be tried: {message}")),
            None => Finding::ok(text),
        }
    })
}

pub(super) fn secrets(facts: &Facts) -> Finding {
    let open = |mode: Option<u32>| mode.is_some_and(|mode| mode & 0o004 != 0);
    let names =
        |paths: Vec<&Path>| paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(" ");
    let everybodys: Vec<&Path> =
        facts.secrets.iter().filter(|(_, mode)| open(*mode)).map(|(path, _)| path.as_path()).collect();
    if !everybodys.is_empty() {
        let names = names(everybodys);
        return Finding::problem(format!("everybody on this host may read {names}"))
            .remedy(format!("chmod o= {names}"));
    }
    let unseen: Vec<&Path> =
        facts.secrets.iter().filter(|(_, mode)| mode.is_none()).map(|(path, _)| path.as_path()).collect();
    if !unseen.is_empty() {
        return Finding::unknown(format!("only root can see who may read {}", names(unseen)))
            .remedy("sudo rebootctl check");
    }
    match facts.secrets.iter().map(|(path, _)| path.as_path()).collect::<Vec<_>>() {
        paths if paths.is_empty() => Finding::ok("none is kept on this host"),
        paths => Finding::ok(format!("not open to everybody: {}", names(paths))),
    }
}

pub(super) fn policies(facts: &Facts) -> Finding {
    if let Some(message) = reason(facts, &["policies-not-in-force"]) {
        return Finding::problem(message);
    }
    if let Some(message) = reason(facts, &["manifests-older", "manifests-newer"]) {
        return Finding::warning(message);
    }
    by_status(facts, |status| match status.policies_in_force {
        Some(true) => Finding::ok("the cluster confines this node's credential, as a dry run has shown"),
        Some(false) => Finding::problem("the cluster does not confine this node's credential").remedy(APPLY),
        None => Finding::unknown(
            "the daemon has not tried it: it has not reached the cluster yet, or its credential is of another account \
             than rebootd",
        ),
    })
}

pub(super) fn permission(facts: &Facts) -> Finding {
    if let Some(message) = reason(facts, &["may-not-reboot"]) {
        return Finding::problem(message);
    }
    let answer = match &facts.may_reboot {
        Err(why) => return Finding::unknown(why),
        Ok(answer) if answer == "yes" => return Finding::ok("logind and polkit let the daemon reboot"),
        Ok(answer) => answer,
    };
    // While shutdown is inhibited, logind says no to everybody.
    match facts.inhibitors.iter().flatten().find(|inhibitor| !inhibitor.delays) {
        Some(by) => Finding::unknown(format!("logind answers {answer:?} while {} inhibits shutdown", by.who)),
        None => Finding::problem(format!("logind would not let the daemon reboot: it answers {answer:?}"))
            .remedy("systemctl status polkit; systemctl unmask reboot.target; apt install --reinstall rebootd polkitd"),
    }
}
