//! The sources of requests on this host: when each is asked, and what it answers.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use notify::INotifyWatcher;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::decide::settings::HostSettings;
use crate::decide::{Answer, Request, Source};
use crate::host::{clock, command, live, livepatch, needrestart, sentinel};

/// If the sentinel cannot be watched, it is looked at this often: more often than the watchdog wakes us, because each
/// waking restarts the wait.
const SENTINEL_LOOK: Duration = Duration::from_secs(20);
/// needrestart may take this long after the boot to finish its first run.
const NEEDRESTART_RUNS: Duration = Duration::from_secs(10 * 60);
/// While a reboot is under way, the command is asked at least this often.
const COMMAND_LOOK: Duration = Duration::from_secs(60);

/// The sources, with the watch on the sentinel's directory and the latest answer of the command.
pub(super) struct Sources {
    settings: HostSettings,
    changes: mpsc::Receiver<()>,
    changed: mpsc::Sender<()>,
    /// Kept because dropping it ends the watch. `None` while the host has no watch left: containers that run as root
    /// share `fs.inotify.max_user_instances` with the daemon, and may have used them up.
    watcher: Option<INotifyWatcher>,
    /// It has been logged that there is no watch.
    complained: bool,
    answer: Answer,
    /// When the command was last started, in time since boot.
    asked_at: Option<Duration>,
    asked: Option<JoinHandle<Result<Option<Request>, String>>>,
}

impl Sources {
    pub(super) fn new(settings: &HostSettings) -> Sources {
        // One token is enough: it says "look", and one look sees all changes, however many there were.
        let (changed, changes) = mpsc::channel(1);
        Sources {
            settings: settings.clone(),
            changes,
            changed,
            watcher: None,
            complained: false,
            answer: None,
            asked_at: None,
            asked: None,
        }
    }

    /// What the sources say now. We do not wait for the command: it may run for longer than the reading that a write
    /// rests on stays fresh. So it is started again when its answer is old, and its answer is taken when it ends.
    pub(super) fn read(&mut self, under_way: bool) -> BTreeMap<Source, Answer> {
        // The watch is set up before we look, so that no later change is missed.
        self.watch();
        let mut answers =
            BTreeMap::from([(Source::SentinelFile, Some(sentinel::read(&self.settings.sentinel)))]);
        if self.settings.needrestart {
            answers.insert(Source::Needrestart, self.needrestart());
        }
        if !self.settings.sentinel_command.is_empty() {
            let oldest = if under_way { COMMAND_LOOK } else { Duration::MAX };
            if self.asked.is_none() && self.left(oldest).is_zero() {
                let words = self.settings.sentinel_command.clone();
                self.asked_at = Some(clock::now().boot);
                self.asked = Some(tokio::spawn(async move { command::ask(&words).await }));
            }
            answers.insert(Source::SentinelCommand, self.answer.clone());
        }
        answers
    }

    fn needrestart(&self) -> Answer {
        let path = Path::new(needrestart::PATH);
        let not_there = || {
            let why =
                format!("{}: is not there; see: systemctl status rebootd-needrestart.path", path.display());
            // Its first run in this boot may still be under way.
            (clock::now().boot >= NEEDRESTART_RUNS).then_some(Err(why))
        };
        needrestart::read(path).or_else(not_there)
    }

    /// How long until the command's answer is too old.
    fn left(&self, oldest: Duration) -> Duration {
        let oldest = oldest.min(self.settings.sentinel_command_interval);
        self.asked_at.map_or(Duration::ZERO, |at| (at + oldest).saturating_sub(clock::now().boot))
    }

    /// Returns when the sources have to be read again.
    pub(super) async fn changed(&mut self) {
        let unwatched = self.watcher.is_none().then_some(SENTINEL_LOOK);
        let due = !self.settings.sentinel_command.is_empty() && self.asked.is_none();
        let due = due.then(|| self.left(Duration::MAX));
        tokio::select! {
            Some(()) = self.changes.recv() => self.asked_at = None,
            Some(ended) = ended(&mut self.asked) => {
                self.asked = None;
                self.answer = Some(ended);
            }
            () = sleep(due) => {}
            () = sleep(unwatched) => {}
        }
    }

    /// Starts the watch if it does not run yet.
    fn watch(&mut self) {
        if self.watcher.is_some() {
            return;
        }
        let changed = self.changed.clone();
        let mut files: Vec<&Path> = vec![&self.settings.sentinel, &self.settings.hold, Path::new(live::PATH)];
        files.extend(self.settings.needrestart.then_some(Path::new(needrestart::PATH)));
        let livepatch = self.settings.livepatched_min_age.map(|_| Path::new(livepatch::PATH));
        files.extend(livepatch);
        let watcher = sentinel::watch(&files, self.settings.newer_kernel, move || {
            let _ = changed.try_send(());
        });
        match watcher {
            Ok(watcher) => self.watcher = Some(watcher),
            Err(error) if !self.complained => {
                self.complained = true;
                let (path, every) = (self.settings.sentinel.display(), SENTINEL_LOOK.as_secs());
                tracing::warn!(
                    "cannot watch {path}, so it is looked at every {every} s: {error} (is \
                     fs.inotify.max_user_instances used up?)"
                );
            }
            Err(_) => {}
        }
    }
}

impl Drop for Sources {
    fn drop(&mut self) {
        if let Some(asked) = &self.asked {
            asked.abort();
        }
    }
}

/// The command's answer, when it ends. Never returns while the command is not running.
async fn ended(
    asked: &mut Option<JoinHandle<Result<Option<Request>, String>>>,
) -> Option<Result<Option<Request>, String>> {
    let ended = asked.as_mut()?.await;
    Some(ended.unwrap_or_else(|error| Err(error.to_string())))
}

/// Sleeps until then; forever if there is no time.
pub(super) async fn sleep(time: Option<Duration>) {
    match time {
        Some(time) => tokio::time::sleep(time).await,
        None => std::future::pending().await,
    }
}
