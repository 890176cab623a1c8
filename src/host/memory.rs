//! What is remembered across restarts, in `/var/lib/rebootd/state.json`. Losing it may make the daemon less polite,
//! never less safe.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::decide::{
    AbortReason, Ending, FirstStart, Hook, HookRun, Kernels, LastReboot, Measured, Memory, Setback, Source,
    Uncordoned, Update, Well,
};

use crate::read::read;
use crate::replace::replace;
use crate::words::{NOTE, words};

/// The most bytes of the file.
const LONGEST: u64 = 1 << 20;
/// Wall time in the year 5138.
const LATEST: u64 = 100_000_000_000;
/// Goes up only when the meaning of a field changes: an older version then sets the file aside, and pauses and limits are
/// forgotten.
const VERSION: u32 = 1;
/// What is appended to the name of a file that cannot be read.
const ASIDE: &str = ".unread";

#[derive(Serialize, Deserialize)]
struct Stored {
    version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    setback: Option<StoredSetback>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_reboot: Option<StoredReboot>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    first_start: Option<StoredFirstStart>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    well: Option<StoredWell>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kernels: Option<StoredKernels>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    uncordoned: Option<StoredStart>,
    /// Seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cordoned_at: Option<u64>,
    /// Seconds since 1970.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    earlier_reboots: Vec<u64>,
    /// Source → seconds since 1970.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    asked_since: BTreeMap<String, u64>,
    /// By the name of the hook.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    hooks: BTreeMap<String, StoredHook>,
}

/// Times are seconds since that boot.
#[derive(Serialize, Deserialize)]
struct StoredHook {
    boot_id: String,
    turn: u64,
    asked: u64,
    before: String,
}

#[derive(Serialize, Deserialize)]
struct StoredWell {
    boot_id: String,
    transition: String,
    seconds_since_boot: u64,
}

#[derive(Serialize, Deserialize)]
struct StoredKernels {
    boot_id: String,
    running: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    before: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct StoredFirstStart {
    boot_id: String,
    seconds_since_boot: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    heard: Vec<String>,
    #[serde(default)]
    clock_was_set: bool,
}

#[derive(Serialize, Deserialize)]
struct StoredStart {
    boot_id: String,
    seconds_since_boot: u64,
}

#[derive(Serialize, Deserialize)]
struct StoredSetback {
    boot_id: String,
    seconds_since_boot: u64,
    count: u32,
    because: String,
}

#[derive(Serialize, Deserialize)]
struct StoredReboot {
    boot_id: String,
    seconds_since_1970: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    asked: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kernel: Option<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    why: String,
    /// Seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cordoned_at: Option<u64>,
    /// Seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    uncordoned_at: Option<u64>,
    /// Seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ready_at: Option<u64>,
    /// Seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    requested_at: Option<u64>,
    /// Seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    up_since: Option<u64>,
    /// Seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    claimed_at: Option<u64>,
    /// Seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    drained_at: Option<u64>,
    /// Seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ended_at: Option<u64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    packages: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    updates: Vec<Update>,
    #[serde(default)]
    measured: Measured,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    led_to: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ending: Option<String>,
}

/// Each remembered reason, with its name in the file.
const SETBACKS: [(AbortReason, &str); 7] = [
    (AbortReason::CordonRemoved, "cordon-removed"),
    (AbortReason::DrainDeadline, "drain-deadline"),
    (AbortReason::BlockingPods, "blocking-pods"),
    (AbortReason::RebootFailed, "reboot-failed"),
    (AbortReason::SlotLost, "slot-lost"),
    (AbortReason::AskedToStepBack, "asked-to-step-back"),
    (AbortReason::HookFailed, "hook-failed"),
];

/// A source that only another version knows is forgotten.
fn source(word: &str) -> Option<Source> {
    Source::ALL.into_iter().find(|source| source.word() == word)
}

fn sources(words: &[String]) -> BTreeSet<Source> {
    words.iter().filter_map(|word| source(word)).collect()
}

fn stored_sources(sources: &BTreeSet<Source>) -> Vec<String> {
    sources.iter().map(|source| source.word().to_owned()).collect()
}

fn hook(word: &str) -> Option<Hook> {
    Hook::ALL.into_iter().find(|hook| hook.word() == word)
}

/// An ending that only another version knows is unknown.
fn ending(word: &str) -> Option<Ending> {
    Ending::ALL.into_iter().find(|ending| ending.word() == word)
}

fn reboot(stored: StoredReboot) -> LastReboot {
    LastReboot {
        boot_id: stored.boot_id,
        at: bounded(stored.seconds_since_1970),
        asked: sources(&stored.asked),
        kernel: stored.kernel,
        why: words(&stored.why, NOTE),
        cordoned_at: stored.cordoned_at.map(bounded),
        uncordoned_at: stored.uncordoned_at.map(bounded),
        ready_at: stored.ready_at.map(bounded),
        requested_at: stored.requested_at.map(bounded),
        up_since: stored.up_since.map(bounded),
        claimed_at: stored.claimed_at.map(bounded),
        drained_at: stored.drained_at.map(bounded),
        ended_at: stored.ended_at.map(bounded),
        packages: stored.packages.iter().map(|package| words(package, NOTE)).collect(),
        updates: Update::bounded(stored.updates),
        measured: stored.measured.bounded(),
        led_to: stored.led_to,
        ending: stored.ending.as_deref().and_then(ending),
    }
}

fn stored_reboot(last: &LastReboot) -> StoredReboot {
    StoredReboot {
        boot_id: last.boot_id.clone(),
        seconds_since_1970: last.at.as_secs(),
        asked: stored_sources(&last.asked),
        kernel: last.kernel.clone(),
        why: last.why.clone(),
        cordoned_at: seconds(last.cordoned_at),
        uncordoned_at: seconds(last.uncordoned_at),
        ready_at: seconds(last.ready_at),
        requested_at: seconds(last.requested_at),
        up_since: seconds(last.up_since),
        claimed_at: seconds(last.claimed_at),
        drained_at: seconds(last.drained_at),
        ended_at: seconds(last.ended_at),
        packages: last.packages.iter().cloned().collect(),
        updates: last.updates.clone(),
        measured: last.measured.clone(),
        led_to: last.led_to.clone(),
        ending: last.ending.map(|ending| ending.word().to_owned()),
    }
}

fn seconds(time: Option<Duration>) -> Option<u64> {
    time.map(|time| time.as_secs())
}

fn run(stored: StoredHook) -> HookRun {
    HookRun {
        boot_id: stored.boot_id,
        turn: bounded(stored.turn),
        asked: bounded(stored.asked),
        before: stored.before,
    }
}

fn stored_hook(run: &HookRun) -> StoredHook {
    StoredHook {
        boot_id: run.boot_id.clone(),
        turn: run.turn.as_secs(),
        asked: run.asked.as_secs(),
        before: run.before.clone(),
    }
}

/// What is remembered at a start. A file that cannot be read is set aside, for people and for the newer version that may
/// have written it, and nothing is remembered.
pub fn recall(path: &Path) -> Memory {
    load(path).unwrap_or_else(|error| {
        let mut aside = path.as_os_str().to_owned();
        aside.push(ASIDE);
        let kept = match fs::rename(path, &aside) {
            Ok(()) => format!("it is set aside as {}", Path::new(&aside).display()),
            Err(why) => format!("it cannot be set aside either ({why})"),
        };
        tracing::warn!(
            "cannot read what was remembered: {}: {error}; {kept}, and nothing is remembered",
            path.display()
        );
        Memory::default()
    })
}

/// Reads the file; a missing one is an empty memory. Fields that only a newer version knows are ignored.
pub fn load(path: &Path) -> io::Result<Memory> {
    let content = match read(path, LONGEST) {
        Ok(content) => content,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Memory::default()),
        Err(error) => return Err(error),
    };
    let stored: Stored = serde_json::from_slice(&content)?;
    if stored.version != VERSION {
        return Err(io::Error::other(format!("version {} is not known, only {VERSION}", stored.version)));
    }
    Ok(Memory {
        setback: stored.setback.and_then(|it| {
            let because = SETBACKS.iter().find(|(_, name)| *name == it.because)?.0;
            let at = bounded(it.seconds_since_boot);
            Some(Setback { boot_id: it.boot_id, at, count: it.count, because })
        }),
        last_reboot: stored.last_reboot.map(reboot),
        cordoned_at: stored.cordoned_at.map(bounded),
        earlier_reboots: stored.earlier_reboots.into_iter().map(bounded).collect(),
        first_start: stored.first_start.map(|it| FirstStart {
            boot_id: it.boot_id,
            at: bounded(it.seconds_since_boot),
            heard: sources(&it.heard),
            clock_was_set: it.clock_was_set,
        }),
        well: stored.well.map(|it| Well {
            boot_id: it.boot_id,
            transition: it.transition,
            at: bounded(it.seconds_since_boot),
        }),
        kernels: stored.kernels.map(|it| Kernels {
            boot_id: it.boot_id,
            running: words(&it.running, NOTE),
            before: it.before.map(|before| words(&before, NOTE)),
        }),
        uncordoned: stored
            .uncordoned
            .map(|it| Uncordoned { boot_id: it.boot_id, at: bounded(it.seconds_since_boot) }),
        asked_since: stored
            .asked_since
            .into_iter()
            .filter_map(|(word, since)| Some((source(&word)?, bounded(since))))
            .collect(),
        hooks: stored.hooks.into_iter().filter_map(|(word, it)| Some((hook(&word)?, run(it)))).collect(),
    })
}

/// Replaces the file: the next start finds either the old or the new one, complete; after this has returned, the new
/// one.
pub fn store(path: &Path, memory: &Memory) -> io::Result<()> {
    let stored = Stored {
        version: VERSION,
        setback: memory.setback.as_ref().map(|it| StoredSetback {
            boot_id: it.boot_id.clone(),
            seconds_since_boot: it.at.as_secs(),
            count: it.count,
            because: SETBACKS
                .iter()
                .find(|(because, _)| *because == it.because)
                .map_or("", |(_, name)| name)
                .to_owned(),
        }),
        last_reboot: memory.last_reboot.as_ref().map(stored_reboot),
        cordoned_at: seconds(memory.cordoned_at),
        earlier_reboots: memory.earlier_reboots.iter().map(Duration::as_secs).collect(),
        first_start: memory.first_start.as_ref().map(|it| StoredFirstStart {
            boot_id: it.boot_id.clone(),
            seconds_since_boot: it.at.as_secs(),
            heard: stored_sources(&it.heard),
            clock_was_set: it.clock_was_set,
        }),
        well: memory.well.as_ref().map(|it| StoredWell {
            boot_id: it.boot_id.clone(),
            transition: it.transition.clone(),
            // Rounded up: what is remembered must not make the time longer.
            seconds_since_boot: it.at.as_secs() + u64::from(it.at.subsec_nanos() > 0),
        }),
        kernels: memory.kernels.as_ref().map(|it| StoredKernels {
            boot_id: it.boot_id.clone(),
            running: it.running.clone(),
            before: it.before.clone(),
        }),
        uncordoned: memory
            .uncordoned
            .as_ref()
            .map(|it| StoredStart { boot_id: it.boot_id.clone(), seconds_since_boot: it.at.as_secs() }),
        asked_since: memory
            .asked_since
            .iter()
            .map(|(source, since)| (source.word().to_owned(), since.as_secs()))
            .collect(),
        hooks: memory.hooks.iter().map(|(hook, run)| (hook.word().to_owned(), stored_hook(run))).collect(),
    };
    replace(path, serde_json::to_string_pretty(&stored)?.as_bytes(), 0o600)
}

/// Of a file that may say anything: little enough that no sum of times overflows.
fn bounded(number: u64) -> Duration {
    Duration::from_secs(number.min(LATEST))
}

#[cfg(test)]
mod tests;
