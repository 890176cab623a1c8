//! Requests: why this host should reboot. Each source is read on its own; all requests together make one reboot.

use std::collections::BTreeMap;
use std::time::Duration;

use super::jitter::jitter;
use super::settings::Settings;
use super::text::span;
use super::world::World;
use super::{Answer, Kernel, Names, NewerKernel, Reading, Reason, Request, Source};
use crate::notation::newest;

/// Hosts that were started at the same time reach `max_uptime` spread over this share of it.
const UPTIME_SPREAD: f64 = 0.1;
/// A request names at most this many packages.
const MOST_PACKAGES: usize = 10;

/// Folds what the sources of this host say. A source that is missing here is no longer configured.
pub(super) fn read(world: &mut World, answers: BTreeMap<Source, Answer>) {
    let rebooted = world.rebooted().is_some();
    let (host, memory) = (&mut world.host, &mut world.memory);
    host.requests.retain(|source, _| answers.contains_key(source));
    memory.asked_since.retain(|source, _| *source == Source::Annotation || answers.contains_key(source));
    for (source, answer) in answers {
        let reading = host.requests.entry(source).or_default();
        let Some(mut answer) = answer else { continue };
        match &mut answer {
            // A source that does not say since when it asks has asked since we first heard of it. Whole seconds,
            // because that is how it is stored.
            Ok(Some(request)) => {
                let now = Duration::from_secs(world.now.wall.as_secs());
                let heard = memory.hear(source, now);
                request.since.get_or_insert(heard);
            }
            Ok(None) => {
                memory.forget(source);
                if let Some(last) = memory.last_reboot.as_mut().filter(|_| rebooted) {
                    last.asked.remove(&source);
                }
            }
            _ => {}
        }
        reading.take(answer);
    }
}

/// What the last known annotation of the Node asks for.
pub(super) fn annotation(world: &World) -> Option<&String> {
    world.cluster.node.last()?.as_ref()?.request.as_ref()
}

/// Remembers since when the Node's annotation asks, by this host's own clock: the server's may differ.
pub(super) fn annotation_read(world: &mut World) {
    if world.cluster.node.current().is_none() {
        return;
    }
    if annotation(world).is_some() {
        let now = Duration::from_secs(world.now.wall.as_secs());
        world.memory.hear(Source::Annotation, now);
    } else {
        world.memory.forget(Source::Annotation);
    }
}

/// All sources of requests, as last known.
pub(super) struct Requests {
    sources: Vec<(Source, Reading<Option<Request>>)>,
    /// Sources that had asked for the reboot that led to this boot, and still ask.
    survived: Vec<Source>,
    not_live: Option<Reason>,
    older: Option<Reason>,
    /// Whether the host would start a kernel that cannot start is not known; it matters if something asks.
    kernels_unreadable: Option<Reason>,
    /// The time since boot from which a long uptime asks.
    pub(super) uptime_asks: Option<Duration>,
}

impl Requests {
    pub(super) fn of(world: &World, settings: &Settings) -> Requests {
        let host = &world.host;
        let mut sources: Vec<_> =
            host.requests.iter().map(|(source, reading)| (*source, reading.clone())).collect();
        let older = older(world);
        let not_live = not_live(world).filter(|_| older.is_none());
        if settings.host.newer_kernel {
            let request = |kernel: &Kernel| {
                let asks = not_live.is_none() && older.is_none() && kernel.cannot_start.is_none();
                kernel.newer.as_ref().filter(|_| asks).map(newer_kernel)
            };
            sources.push((Source::Kernel, host.kernel.map(request)));
        }
        let uptime_asks = settings.host.max_uptime.map(|limit| {
            // Hosts that were started at the same time do not ask at the same time.
            let share = jitter(&[&settings.node_name, "uptime"]);
            limit + limit.mul_f64(UPTIME_SPREAD * share)
        });
        if let Some(at) = uptime_asks {
            let mut reading = Reading::default();
            reading.take(Ok(up_for_long(world, at)));
            sources.push((Source::Uptime, reading));
        }
        if settings.host.request_annotation {
            // Whatever depends on it reads the Node anyway, so the last known value is enough here.
            let mut reading = Reading::default();
            reading.take(Ok(annotation(world).map(|why| annotated(world, why))));
            sources.push((Source::Annotation, reading));
        }
        let last = world.rebooted();
        let survived = sources.iter().filter(|(source, reading)| {
            let asked_before = last.filter(|last| last.asked.contains(source));
            // A request that was made after the reboot is another one.
            let made = |request: &Request| {
                asked_before.is_some_and(|last| request.since.is_none_or(|at| at <= last.at))
            };
            reading.last().and_then(Option::as_ref).is_some_and(made)
        });
        let survived = survived.map(|(source, _)| *source).collect();
        let asked = sources.iter().any(|(_, reading)| matches!(reading.last(), Some(Some(_))));
        let failure = host.kernel.failure().filter(|_| asked && !settings.host.newer_kernel);
        let kernels_unreadable = failure.map(|failure| unreadable(Source::Kernel, Some(failure)));
        Requests { sources, survived, not_live, older, kernels_unreadable, uptime_asks }
    }

    /// How long until the oldest open request is old enough.
    pub(super) fn too_new(&self, world: &World, min_age: Duration) -> Option<Duration> {
        self.age(world).and_then(|age| min_age.checked_sub(age)).filter(|left| !left.is_zero())
    }

    /// If only the sentinel asks, and Livepatch covers it, the request can wait: why, and until when, in time since
    /// boot.
    pub(super) fn livepatched(
        &self,
        world: &World,
        min_age: Option<Duration>,
    ) -> Option<(Reason, Option<Duration>)> {
        let left = self.too_new(world, min_age?)?;
        if self.asking().any(|(source, _)| source != Source::SentinelFile) {
            return None;
        }
        let covered = &world.host.livepatched;
        match covered.current() {
            Some(false) => None,
            Some(true) => Some((Reason::Livepatched { left }, Some(world.now.boot + left))),
            None => {
                let why = covered.failure().unwrap_or("not read yet").to_owned();
                Some((Reason::Unreadable { what: "whether Livepatch covers the request", why }, None))
            }
        }
    }

    /// How long the oldest open request has been open.
    pub(super) fn age(&self, world: &World) -> Option<Duration> {
        let first_start = world.memory.first_start.as_ref();
        let ages = self.asking().map(|(source, request)| {
            let age = request.since.map_or(Duration::ZERO, |at| world.elapsed_since(at));
            // A clock that is set in this boot makes nothing older.
            let Some(first) = first_start.filter(|first| first.heard.contains(&source)) else { return age };
            // The source's own time may be before our first start, but not before the boot.
            let is_own_time = world.memory.asked_since.get(&source) != request.since.as_ref();
            match world.known_for().filter(|_| !is_own_time) {
                Some(known_for) => age.min(known_for),
                None if first.clock_was_set => age.min(world.now.boot),
                None => age,
            }
        });
        ages.max()
    }

    /// Whether a source could not be read.
    pub(super) fn are_unreadable(&self) -> bool {
        self.sources.iter().any(|(_, reading)| reading.failure().is_some())
    }

    /// The sources that ask, as last known.
    pub(super) fn asking(&self) -> impl Iterator<Item = (Source, &Request)> {
        self.sources.iter().filter_map(|(source, reading)| Some((*source, reading.last()?.as_ref()?)))
    }

    /// Whether any source asks that could be read just now.
    pub(super) fn is_sure(&self) -> bool {
        self.sources.iter().any(|(_, reading)| reading.current().is_some_and(Option::is_some))
    }

    /// Whether no source asks any more; to say so, all of them have to be readable.
    pub(super) fn are_gone(&self) -> bool {
        self.sources.iter().all(|(_, reading)| reading.current() == Some(&None))
    }

    /// What stops progress: no readable source asks, and others cannot be read. One readable source that asks is
    /// enough.
    pub(super) fn closed(&self) -> Vec<Reason> {
        if self.is_sure() {
            return Vec::new();
        }
        let unknown = self.sources.iter().filter(|(_, reading)| reading.current().is_none());
        unknown.map(|(source, reading)| unreadable(*source, reading.failure())).collect()
    }

    /// What stops nothing by itself, but people should know.
    pub(super) fn notes(&self) -> Vec<Reason> {
        let failed = self.sources.iter().filter(|(_, reading)| reading.failure().is_some());
        let failed = failed.map(|(source, reading)| unreadable(*source, reading.failure()));
        let failed = failed.chain(self.kernels_unreadable.clone());
        let survived = self.survived.iter().map(|source| Reason::SurvivedReboot { what: source.name() });
        failed.chain(self.not_live.clone()).chain(self.older.clone()).chain(survived).collect()
    }

    /// Why what was to become live by the last reboot is not, if that is known.
    pub(super) fn not_live(&self) -> Option<&Reason> {
        self.not_live.as_ref().or(self.older.as_ref())
    }

    /// The reasons, in one line.
    pub(super) fn why(&self) -> String {
        self.asking().map(|(_, request)| request.reason.as_str()).collect::<Vec<_>>().join("; ")
    }
}

fn unreadable(source: Source, failure: Option<&str>) -> Reason {
    Reason::Unreadable { what: source.name(), why: failure.unwrap_or("not read yet").to_owned() }
}

/// The newest kernel was there before this boot, and yet an older one runs: another reboot would change nothing. If the
/// reboot was ours, its record tells; otherwise the time at which the kernel was installed does.
fn not_live(world: &World) -> Option<Reason> {
    let kernel = world.host.kernel.last()?;
    let newer = kernel.newer.as_ref()?;
    let meant = world.rebooted().is_some_and(|last| last.kernel.as_ref() == Some(&newer.release));
    let booted = world.now.wall.checked_sub(world.now.boot);
    let was_there = newer.since.zip(booted).is_some_and(|(since, booted)| since < booted);
    (meant || was_there)
        .then(|| Reason::NotLive { kernel: newer.release.clone(), running: kernel.running.clone() })
}

/// An older kernel runs than before this boot.
fn older(world: &World) -> Option<Reason> {
    let kernels = world.memory.kernels.as_ref().filter(|it| it.boot_id == world.host.boot_id)?;
    let before = kernels.before.as_ref()?;
    (newest(&kernels.running, [before.as_str()]) == Some(before.as_str()))
        .then(|| Reason::OlderKernel { before: before.clone(), running: kernels.running.clone() })
}

fn newer_kernel(newer: &NewerKernel) -> Request {
    Request {
        reason: format!("kernel {} is installed", newer.release),
        packages: Vec::new(),
        since: newer.since,
    }
}

fn annotated(world: &World, why: &str) -> Request {
    let reason = if why.is_empty() { Source::Annotation.name() } else { why };
    Request {
        reason: reason.to_owned(),
        packages: Vec::new(),
        since: world.memory.asked_since.get(&Source::Annotation).copied(),
    }
}

fn up_for_long(world: &World, at: Duration) -> Option<Request> {
    let open = world.now.boot.checked_sub(at)?;
    let since = world.now.wall.saturating_sub(open);
    Some(Request {
        reason: "up for longer than `max_uptime`".to_owned(),
        packages: Vec::new(),
        since: Some(since),
    })
}

/// The open requests, each with its source.
pub fn requests(world: &World, settings: &Settings) -> Vec<(Source, Request)> {
    Requests::of(world, settings).asking().map(|(source, request)| (source, request.clone())).collect()
}

/// The requests for people, in one line: why, for how long, which packages.
pub fn requests_in_words(world: &World, settings: &Settings) -> String {
    let told = |(_, request): (Source, Request)| {
        let age = request.since.map(|since| format!(", {} old", span(world.elapsed_since(since))));
        let packages = Names { first: request.packages, more: 0 }.shortened(MOST_PACKAGES);
        // If there is only one, the reason already says it.
        let named = if packages.count() > 1 { format!(" ({packages})") } else { String::new() };
        format!("{}{}{named}", request.reason, age.unwrap_or_default())
    };
    requests(world, settings).into_iter().map(told).collect::<Vec<_>>().join("; ")
}
