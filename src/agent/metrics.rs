//! The file of [`crate::report::metrics`]: written when something in it is new, so it costs an idle host no wake-up.

use std::path::PathBuf;
use std::time::Duration;

use crate::cluster::Traffic;
use crate::decide::{Decision, Ending, Next, Phase, Settings, Update, World};
use crate::read::read;
use crate::replace::replace;
use crate::report::metrics::{self, Besides, Counts};
use crate::report::reboot::made_live;

/// Written again when something is decided after this long.
const OLD: Duration = Duration::from_secs(60 * 60);
/// The counts have some hundred bytes.
const LONGEST: u64 = 64 << 10;

#[derive(Default)]
pub(super) struct Metrics {
    path: Option<PathBuf>,
    /// Where the counts are kept.
    kept: Option<PathBuf>,
    besides: Besides,
    text: String,
    /// When it was written, in time since boot.
    written: Duration,
    /// Why the file could not be written the last time.
    failure: Option<String>,
    /// The phase, and how the latest turn has ended, when last seen.
    before: Option<(Phase, Option<(Duration, Ending)>)>,
}

impl Metrics {
    pub(super) fn new(path: Option<PathBuf>, kept: Option<PathBuf>) -> Metrics {
        // What cannot be read begins again: a count that falls is what Prometheus expects of a restart.
        let content = kept.as_deref().and_then(|kept| read(kept, LONGEST).ok());
        let counts = content.and_then(|content| serde_json::from_slice(&content).ok()).unwrap_or_default();
        Metrics { path, kept, besides: Besides { counts, ..Besides::default() }, ..Metrics::default() }
    }

    pub(super) fn decided(&mut self, world: &World, settings: &Settings, decision: &Decision) {
        let Some(path) = &self.path else { return };
        // What is about to be read is not known yet.
        if matches!(decision.next, Next::Read(_)) && !self.text.is_empty() {
            return;
        }
        let path = path.clone();
        self.count(world, decision.phase);
        self.besides.looked = world.cluster.look.and_then(|look| look.ended).or(self.besides.looked);
        self.besides.traffic = Traffic::now();
        let text = metrics::text(world, settings, decision, &self.besides);
        // What does not change is written now and then all the same: its age tells whether the daemon lives.
        let is_old = world.now.boot.saturating_sub(self.written) >= OLD;
        if text == self.text && !is_old {
            return;
        }
        let failure = replace(&path, metrics::written(&text, world.now.wall).as_bytes(), 0o644)
            .err()
            .map(|error| format!("{}: {error}", path.display()));
        if let Some(why) = failure.as_ref().filter(|_| failure != self.failure) {
            tracing::warn!("no metrics: {why}; if their directory is gone: systemctl restart rebootd");
        }
        // Tried again with the next decision.
        self.text = if failure.is_none() { text } else { String::new() };
        (self.written, self.failure) = (world.now.boot, failure);
    }

    /// What has ended since the last time.
    fn count(&mut self, world: &World, phase: Phase) {
        let last = world.memory.last_reboot.as_ref().and_then(|it| Some((it.at, it.ending?)));
        let Some((phase_before, last_before)) = self.before.replace((phase, last)) else { return };
        let Counts { turns, aborts, to_live } = &mut self.besides.counts;
        let ended = last.filter(|it| it.1 != Ending::UnderWay && last_before != last);
        if let Some((_, ending)) = ended {
            let count = turns.entry(ending.word().to_owned()).or_default();
            *count = count.saturating_add(1);
            if let Some(reboot) = world.memory.last_reboot.as_ref().filter(|_| ending == Ending::Well) {
                // It was live as soon as the machine was up again.
                let live = reboot.ready_at.unwrap_or(reboot.at).as_secs();
                let runs = world.memory.kernels.as_ref().map(|it| it.running.as_str());
                let is_live = |it: &&Update| it.installed.is_some() && made_live(&it.package, runs);
                let packages = reboot.updates.iter().filter(is_live);
                packages.filter_map(|it| live.checked_sub(it.since?)).for_each(|took| to_live.add(took));
            }
        }
        let is_aborted = phase == Phase::Aborting && phase_before != Phase::Aborting;
        *aborts = aborts.saturating_add(u64::from(is_aborted));
        if (ended.is_some() || is_aborted)
            && let Some(kept) = &self.kept
        {
            // Not worth a word: nothing rests on it.
            let _ = serde_json::to_vec(&self.besides.counts).map(|content| replace(kept, &content, 0o600));
        }
    }
}
