//! What the own Node shows to people: the heartbeat, the condition `RebootRequired` and Events. docs/status.md describes
//! them.

use std::collections::BTreeMap;

use serde_json::Value;

use super::reboot::{MOST_NAMED, MOST_SHOWN, Reboot};
use crate::cluster::{Condition, Heartbeat, NotLive, ROOM, time};
use crate::decide::settings::Settings;
use crate::decide::{
    Decision, Effect, Judgement, NodeChange, Phase, Reason, SlotChange, Source, Update, World, open_cves,
    requests,
};

/// What asks is named up to here.
const MOST: usize = 10;

/// The heartbeat; `None` while nothing is known, or where the clock shows a time that no calendar has.
pub fn heartbeat(world: &World, settings: &Settings, decision: &Decision) -> Option<Heartbeat> {
    if decision.phase == Phase::Starting {
        return None;
    }
    let judgement = settings.policy.windows.as_ref().map(|windows| windows.judge(world.now.wall));
    let opens = match judgement {
        Some(Judgement::Closed { opens, .. }) => opens.and_then(time),
        _ => None,
    };
    Some(Heartbeat {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        at: time(world.now.wall)?,
        phase: decision.phase.word().to_owned(),
        reason: decision.reasons.first().map(|reason| reason.kind().to_owned()),
        held: world.host.hold.last().cloned().flatten(),
        live: is_live(world, settings, decision),
        asking: asking(world, settings),
        not_live: not_live(world),
        window_opens: opens,
        credential_ends: settings.credential_ends.and_then(time),
        last_reboot: last_reboot(world, settings),
    })
}

/// The first of the updates that are not live, or all.
fn not_live(world: &World) -> Option<NotLive> {
    let updates = world.host.updates.as_ref()?;
    let shown = updates.iter().take(MOST_SHOWN).map(|update| update.clone().naming(MOST_NAMED));
    let mut shown: Vec<Update> = shown.collect();
    while serde_json::to_string(&shown).is_ok_and(|text| text.len() > ROOM / 3) && shown.pop().is_some() {}
    Some(NotLive { count: updates.len(), cves: open_cves(updates), updates: shown })
}

/// All its packages are in the record on the host: an annotation has no room for them.
fn last_reboot(world: &World, settings: &Settings) -> Option<Value> {
    let record = Reboot::ended(world, (&settings.node_name, &settings.pool), BTreeMap::new())?;
    serde_json::to_value(record.shortened(2 * ROOM / 3)).ok()
}

/// Whether nothing that is installed waits for a reboot.
pub fn is_live(world: &World, settings: &Settings, decision: &Decision) -> bool {
    let is_old = |it: &Reason| matches!(it, Reason::NotLive { .. } | Reason::OlderKernel { .. });
    requests(world, settings).is_empty() && !decision.reasons.iter().any(is_old)
}

/// The packages that ask, or what asks where it names none.
fn asking(world: &World, settings: &Settings) -> Vec<String> {
    let requests = requests(world, settings).into_iter();
    let each = requests.flat_map(|(_, request)| match request.packages {
        packages if packages.is_empty() => vec![request.reason],
        packages => packages,
    });
    each.take(MOST).collect()
}

/// The condition; `before` is the one that was last shown.
pub fn condition(world: &World, settings: &Settings, before: Option<&Condition>) -> Condition {
    let requests = requests(world, settings);
    let is_required = !requests.is_empty();
    let reasons: Vec<&str> = requests.iter().map(|(_, request)| request.reason.as_str()).collect();
    let packages: Vec<&str> =
        requests.iter().flat_map(|(_, request)| request.packages.iter().map(String::as_str)).collect();
    let named = match packages.len() {
        0 | 1 => String::new(),
        count => {
            let first = packages.iter().take(MOST).copied().collect::<Vec<_>>().join(", ");
            let more = if count > MOST { format!(" and {} more", count - MOST) } else { String::new() };
            format!(" ({first}{more})")
        }
    };
    let asks = if is_required { reasons.join("; ") + &named } else { "nothing asks for a reboot".to_owned() };
    let message = match world.host.updates.as_deref() {
        None | Some([]) => asks,
        Some(updates) => format!("{asks}; installed and not live: {}", in_brief(updates)),
    };
    let first = requests.iter().filter_map(|(_, request)| request.since).min();
    let known = before.filter(|before| before.is_required == is_required).map(|before| before.since);
    let since = first.or(known).unwrap_or(world.now.wall);
    let reason = requests.first().map_or("NothingAsks", |(source, _)| in_one_word(*source));
    Condition { is_required, reason, message, since }
}

/// `libc6 and 2 more, at least 14 CVEs`.
fn in_brief(updates: &[Update]) -> String {
    let first = updates.first().map_or("", |it| &it.package);
    let more = if updates.len() > 1 { format!(" and {} more", updates.len() - 1) } else { String::new() };
    format!("{first}{more}, {}", open_cves(updates))
}

fn in_one_word(source: Source) -> &'static str {
    match source {
        Source::SentinelFile => "SentinelFile",
        Source::SentinelCommand => "SentinelCommand",
        Source::Kernel => "NewerKernel",
        Source::Needrestart => "Needrestart",
        Source::Uptime => "MaxUptime",
        Source::Annotation => "Annotation",
    }
}

/// The reasons of all Events. None is ever changed, new ones may come.
pub const EVENT_REASONS: [&str; 12] = [
    "RebootRequired",
    "RebootSlotClaimed",
    "RebootSlotFreed",
    "RebootCordoned",
    "RebootEviction",
    "RebootEvictionRefused",
    "Rebooting",
    "Rebooted",
    "RebootUncordoned",
    "RebootDone",
    "RebootCalledOff",
    "RebootHeldUp",
];

/// What an answered write means to people: the Event's reason, whether it is a warning, and a sentence.
pub fn of_effect(effect: &Effect) -> Option<(&'static str, bool, String)> {
    Some(match effect {
        Effect::WriteSlot(write) => {
            let slot = &write.slot;
            match &write.change {
                SlotChange::Claim(claim) => {
                    ("RebootSlotClaimed", false, format!("holds slot {slot} to reboot: {}", claim.reason))
                }
                SlotChange::Stamp(stamp, _) => {
                    ("Rebooting", false, format!("drained; about to reboot (try {})", stamp.attempt))
                }
                SlotChange::Returned => return None,
                SlotChange::Release { because: None } => {
                    ("RebootDone", false, format!("gives slot {slot} back"))
                }
                SlotChange::Release { because: Some(because) } => {
                    ("RebootCalledOff", true, format!("gives slot {slot} back without a reboot: {because}"))
                }
                SlotChange::Free { holder } => (
                    "RebootSlotFreed",
                    true,
                    format!("has freed slot {slot}, whose holder {holder} has no Node any more"),
                ),
            }
        }
        Effect::WriteNode(write) => match &write.change {
            NodeChange::Cordon { why } => {
                ("RebootCordoned", false, format!("cordoned, to drain and reboot: {why}"))
            }
            NodeChange::Uncordon { because: None } => {
                ("RebootUncordoned", false, "uncordoned by rebootd".to_owned())
            }
            NodeChange::Uncordon { because: Some(because) } => {
                ("RebootUncordoned", true, format!("uncordoned by rebootd without a reboot: {because}"))
            }
            NodeChange::RemoveMark | NodeChange::Confirm { .. } => return None,
        },
        _ => return None,
    })
}
