//! All hosts ask for a reboot at once; what then happens, seen from outside.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::Value;

use crate::host::Host;
use crate::lab::Lab;
use crate::observer::{Change, Handoff, Object, Observer};
use crate::proxy::Verb;

/// What Ubuntu's and Debian's packages create when they need a reboot.
pub const SENTINEL: &str = "/run/reboot-required";

/// The message with which logind begins a shutdown or a reboot (`SD_MESSAGE_SHUTDOWN`).
const LOGIND_GOES_DOWN: &str = "MESSAGE_ID=98268866d1d54a499c4e98921d93bc40";

/// What rebootd publishes on its host, as far as it is looked at here.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct PublishedStatus {
    /// The phase's word.
    pub phase: String,
    /// Phase and reasons in one line.
    pub line: String,
}

impl PublishedStatus {
    /// What `rebootctl status --json` would print on this host; nothing while rebootd does not run there.
    ///
    /// Read from outside, so that looking ten times a second costs the host nothing.
    pub fn of(host: &Host) -> Option<Self> {
        let path = seen_from_outside(host, "/run/rebootd/status.json").ok()?;
        serde_json::from_slice(&fs::read(path).ok()?).ok()
    }
}

/// A path on a host that is on, for this machine.
fn seen_from_outside(host: &Host, path: &str) -> Result<PathBuf> {
    Ok(PathBuf::from(format!("/proc/{}/root{path}", host.leader()?)))
}

/// A rollout that is under way.
pub struct Rollout<'lab> {
    lab: &'lab Lab,
    /// Follows the cluster.
    pub observer: Observer,
    /// The time of day at the observer's start.
    zero: SystemTime,
    /// When the hosts were asked.
    pub asked: Duration,
    boots_before: BTreeMap<String, usize>,
    /// Boots that the observer was told of.
    boots_told: BTreeMap<String, usize>,
}

/// One host's part of a rollout. Times are the observer's.
#[derive(Clone, Debug)]
pub struct HostReport {
    /// Its name.
    pub name: String,
    /// From the claim of a slot to its release.
    pub held: (Duration, Duration),
    /// From our cordon to its removal.
    pub cordoned: (Duration, Duration),
    /// How many pods of Deployments were evicted.
    pub evicted: usize,
    /// When the last of them was gone; where there were none, when the node was cordoned.
    pub drained: Duration,
    /// From logind's first word of the reboot until systemd had started everything.
    pub rebooted: (Duration, Duration),
}

/// How long something took.
pub fn seconds((from, until): (Duration, Duration)) -> f64 {
    until.saturating_sub(from).as_secs_f64()
}

impl<'lab> Rollout<'lab> {
    /// Starts to observe, and asks every host at once, as the packages `linux-image-amd64` and `libc6` would.
    pub async fn begin(lab: &'lab Lab) -> Result<Self> {
        let observer = lab.observe().await?;
        let zero = SystemTime::now() - observer.now();
        let boots: BTreeMap<_, _> =
            lab.hosts.iter().map(|host| (host.name().to_owned(), host.boots().len())).collect();
        for host in &lab.hosts {
            let packages = seen_from_outside(host, &format!("{SENTINEL}.pkgs"))?;
            fs::write(packages, "linux-image-amd64\nlibc6\n")?;
        }
        let asked = observer.now();
        // From outside, since a command on each host would take turns.
        for host in &lab.hosts {
            fs::write(seen_from_outside(host, SENTINEL)?, "*** System restart required ***\n")?;
        }
        Ok(Self { lab, observer, zero, asked, boots_before: boots.clone(), boots_told: boots })
    }

    /// Tells the observer which hosts went down and which are back. Call it several times a second.
    pub fn look_at_hosts(&mut self) {
        let hosts_down = self.observer.state().hosts_down;
        for host in &self.lab.hosts {
            let (name, boots) = (host.name(), host.boots().len());
            let told = self.boots_told.entry(name.to_owned()).or_default();
            if boots > *told || !host.is_on() && !hosts_down.contains(name) {
                *told = boots;
                self.observer.host_down(name);
            } else if hosts_down.contains(name) && PublishedStatus::of(host).is_some() {
                self.observer.host_booted(name);
            }
        }
    }

    /// Whether every host has rebooted and all is as before.
    pub fn is_over(&self) -> bool {
        let state = self.observer.state();
        let free = state.leases.values().all(|slot| slot.holder.is_none());
        free && self.lab.hosts.iter().all(|host| {
            let idle = PublishedStatus::of(host).is_some_and(|status| status.phase == "idle");
            let restored = state
                .node(host.name())
                .is_some_and(|node| node.ready && !node.unschedulable && !node.cordon_mark);
            idle && restored && self.boots_of(host) > 0
        })
    }

    /// How often a host has booted since it was asked.
    pub fn boots_of(&self, host: &Host) -> usize {
        host.boots().len() - self.boots_before.get(host.name()).copied().unwrap_or_default()
    }

    /// The times of every host, in the order of their turns. Call it when the rollout is over.
    pub async fn reports(&self) -> Result<Vec<HostReport>> {
        let mut reports = Vec::new();
        for host in &self.lab.hosts {
            reports.push(self.report(host).await.with_context(|| format!("the times of {}", host.name()))?);
        }
        reports.sort_by_key(|report| report.held.0);
        Ok(reports)
    }

    async fn report(&self, host: &Host) -> Result<HostReport> {
        let name = host.name();
        let history = self.observer.history();
        let holding = history.holdings().into_iter().find(|it| it.holder == name && it.from >= self.asked);
        let holding = holding.context("it never held a slot")?;
        let cordon = history.disruptions().into_iter().find(|it| it.node == name && it.from >= self.asked);
        let cordon = cordon.context("it was never cordoned")?;
        let mut evicted = history.pods_deleted_by_owner_kind("ReplicaSet");
        evicted
            .retain(|deletion| deletion.pod.node.as_deref() == Some(name) && deletion.asked_at >= self.asked);
        let gone = evicted.iter().filter_map(|deletion| deletion.gone_at).max();
        Ok(HostReport {
            name: name.to_owned(),
            held: (holding.from, holding.until.context("it still holds its slot")?),
            cordoned: (cordon.from, cordon.until.context("it is still cordoned")?),
            evicted: evicted.len(),
            drained: gone.unwrap_or(cordon.from),
            rebooted: (self.went_down(host).await?, self.finished_boot(host).await?),
        })
    }

    /// How long a new pod took from its creation to Ready, in the middle: what a budget waits for. Its old pod
    /// counts as gone from the moment at which it is evicted, however long it takes to end.
    pub fn replacement_seconds(&self) -> f64 {
        let history = self.observer.history();
        let mut created: BTreeMap<&str, Duration> = BTreeMap::new();
        let mut lengths: Vec<f64> = Vec::new();
        for entry in history.entries().iter().filter(|entry| entry.at >= self.asked) {
            let Object::Pod(pod) = &entry.object else { continue };
            if entry.change == Change::Added {
                created.insert(&pod.uid, entry.at);
            } else if pod.ready
                && let Some(at) = created.remove(pod.uid.as_str())
            {
                lengths.push(seconds((at, entry.at)));
            }
        }
        lengths.sort_by(f64::total_cmp);
        lengths.get(lengths.len() / 2).copied().unwrap_or_default()
    }

    /// Pods of DaemonSets that somebody on a host wanted evicted. Some are deleted by their controller: those that the
    /// kubelet has ended for a shutdown.
    pub fn evicted_of_daemon_sets(&self) -> Vec<String> {
        let deleted = self.observer.history().pods_deleted_by_owner_kind("DaemonSet");
        let requests = self.lab.hosts.iter().flat_map(|host| self.lab.proxy(host.name()).requests());
        let evictions = requests.filter(|it| it.verb == Verb::Create && it.resource == "pods/eviction");
        let evicted: Vec<String> = evictions.filter_map(|eviction| eviction.name).collect();
        deleted.into_iter().map(|it| it.pod.name.clone()).filter(|name| evicted.contains(name)).collect()
    }

    /// From each release to the next claim.
    pub fn handoffs(&self) -> Vec<Handoff> {
        let mut handoffs = self.observer.history().handoffs();
        handoffs.retain(|handoff| handoff.released_at >= self.asked);
        handoffs
    }

    /// The time of day at one of the observer's times.
    pub fn time_of_day(&self, at: Duration) -> SystemTime {
        self.zero + at
    }

    /// All hosts run on this machine's clock, so their times of day compare.
    fn at(&self, microseconds: u64) -> Duration {
        let time = SystemTime::UNIX_EPOCH + Duration::from_micros(microseconds);
        time.duration_since(self.zero).unwrap_or_default()
    }

    async fn went_down(&self, host: &Host) -> Result<Duration> {
        let command = ["journalctl", "--quiet", "--no-pager", "--output=json", LOGIND_GOES_DOWN];
        let journal = host.run_ok(&command).await?;
        let last = journal.lines().last().context("logind never said that the host goes down")?;
        let entry: Value = serde_json::from_str(last)?;
        let time = entry["__REALTIME_TIMESTAMP"].as_str().context("a journal entry without its time")?;
        Ok(self.at(time.parse()?))
    }

    async fn finished_boot(&self, host: &Host) -> Result<Duration> {
        const MANAGER: [&str; 3] =
            ["org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager"];
        let command = [&["busctl", "get-property"], &MANAGER[..], &["FinishTimestamp"]].concat();
        let answer = host.run_ok(&command).await?;
        let time = answer.trim().strip_prefix("t ").context("FinishTimestamp is no time")?.parse()?;
        ensure!(time > 0, "the host has not finished its boot");
        Ok(self.at(time))
    }
}
