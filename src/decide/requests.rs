//! Requests: why this host should reboot. Each source is read on its own; all that ask make one reboot.

use std::collections::BTreeMap;
use std::time::Duration;

use super::world::World;
use super::{Reading, Reason, Request};

/// Where a request comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    /// The sentinel file.
    SentinelFile,
    /// The sentinel command.
    SentinelCommand,
}

impl Source {
    /// Every source.
    pub const ALL: [Source; 2] = [Source::SentinelFile, Source::SentinelCommand];

    /// A short, stable name for scripts.
    pub fn word(self) -> &'static str {
        match self {
            Source::SentinelFile => "sentinel-file",
            Source::SentinelCommand => "sentinel-command",
        }
    }

    /// For people.
    pub(super) fn name(self) -> &'static str {
        match self {
            Source::SentinelFile => "the sentinel file",
            Source::SentinelCommand => "the sentinel command",
        }
    }
}

/// What a source says; `None` while it has not been asked yet.
pub type Answer = Option<Result<Option<Request>, String>>;

/// Folds what the sources of this host say. A source that is not among them is not configured any more.
pub(super) fn read(world: &mut World, answers: BTreeMap<Source, Answer>) {
    let (host, memory) = (&mut world.host, &mut world.memory);
    host.requests.retain(|source, _| answers.contains_key(source));
    memory.asked_since.retain(|source, _| answers.contains_key(source));
    for (source, answer) in answers {
        let reading = host.requests.entry(source).or_default();
        let Some(mut answer) = answer else { continue };
        match &mut answer {
            // A source that does not say since when asks since it was first heard. In whole seconds, as remembered.
            Ok(Some(request)) if request.since.is_none() => {
                let now = Duration::from_secs(world.now.wall.as_secs());
                request.since = Some(*memory.asked_since.entry(source).or_insert(now));
            }
            Ok(None) => {
                memory.asked_since.remove(&source);
            }
            _ => {}
        }
        reading.take(answer);
    }
}

/// All sources of requests, as far as they are known now.
pub(super) struct Requests {
    sources: Vec<(Source, Reading<Option<Request>>)>,
}

impl Requests {
    pub(super) fn of(world: &World) -> Requests {
        let sources =
            world.host.requests.iter().map(|(source, reading)| (*source, reading.clone())).collect();
        Requests { sources }
    }

    /// Those that ask, as last known.
    pub(super) fn asking(&self) -> impl Iterator<Item = (Source, &Request)> {
        self.sources.iter().filter_map(|(source, reading)| Some((*source, reading.last()?.as_ref()?)))
    }

    /// Whether one asks that could be read just now.
    pub(super) fn is_sure(&self) -> bool {
        self.sources.iter().any(|(_, reading)| reading.current().is_some_and(Option::is_some))
    }

    /// Whether none asks any more, which takes all of them to be read.
    pub(super) fn are_gone(&self) -> bool {
        self.sources.iter().all(|(_, reading)| reading.current() == Some(&None))
    }

    /// What holds up progress: none that could be read asks. One that does makes up for all that cannot be read.
    pub(super) fn closed(&self) -> Vec<Reason> {
        if self.is_sure() {
            return Vec::new();
        }
        let unknown = self.sources.iter().filter(|(_, reading)| reading.current().is_none());
        unknown.map(|(source, reading)| unreadable(*source, reading.failure())).collect()
    }

    /// What holds up nothing by itself, and people should know all the same.
    pub(super) fn notes(&self) -> Vec<Reason> {
        let failed = self.sources.iter().filter(|(_, reading)| reading.failure().is_some());
        failed.map(|(source, reading)| unreadable(*source, reading.failure())).collect()
    }

    /// Why, in one line.
    pub(super) fn why(&self) -> String {
        self.asking().map(|(_, request)| request.reason.as_str()).collect::<Vec<_>>().join("; ")
    }
}

fn unreadable(source: Source, failure: Option<&str>) -> Reason {
    Reason::Unreadable { what: source.name(), why: failure.unwrap_or("not read yet").to_owned() }
}

/// The requests that are open, each with its source.
pub fn requests(world: &World) -> Vec<(Source, Request)> {
    Requests::of(world).asking().map(|(source, request)| (source, request.clone())).collect()
}
