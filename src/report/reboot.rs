//! The record of a reboot whose turn has ended: a sentence for people, and one line of JSON for whoever collects the
//! journal. docs/status.md says what each field means; fields are added, never changed or removed.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::decide::{Cves, Ending, LastReboot, Measured, World, span};
use crate::host::upgrades::Upgrade;

/// The most packages in one record.
const MOST_PACKAGES: usize = 100;
/// The most packages that are shown on a Node, and CVEs of each.
pub(super) const MOST_SHOWN: usize = 8;
pub(super) const MOST_NAMED: usize = 5;

/// A reboot whose turn has ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reboot {
    pub(crate) node: String,
    pub(crate) pool: String,
    pub(crate) outcome: String,
    pub(crate) request: String,
    pub(crate) boot_before: String,
    pub(crate) boot_after: Option<String>,
    pub(crate) kernel_before: Option<String>,
    pub(crate) kernel_after: Option<String>,
    pub(crate) packages: Vec<Package>,
    pub(crate) more_packages: usize,
    pub(crate) asked: Option<Timestamp>,
    pub(crate) claimed: Option<Timestamp>,
    pub(crate) cordoned: Option<Timestamp>,
    pub(crate) drained: Option<Timestamp>,
    pub(crate) down: Option<Timestamp>,
    pub(crate) ready: Option<Timestamp>,
    pub(crate) uncordoned: Option<Timestamp>,
    pub(crate) released: Option<Timestamp>,
    #[serde(flatten)]
    pub(crate) measured: Measured,
}

/// A package that a reboot made live.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) before: Option<String>,
    pub(crate) after: Option<String>,
    pub(crate) requested: bool,
    /// When the version after was installed.
    #[serde(default)]
    pub(crate) installed: Option<Timestamp>,
    /// What was open until the reboot; `None` if nothing tells.
    #[serde(default)]
    pub(crate) cves: Option<Cves>,
}

impl Reboot {
    /// The record of the latest reboot, if its turn has ended; `upgrades` are what it has made live.
    pub fn ended(
        world: &World,
        (node, pool): (&str, &str),
        upgrades: BTreeMap<String, Upgrade>,
    ) -> Option<Reboot> {
        let last = world.memory.last_reboot.as_ref()?;
        let ending = last.ending.filter(|ending| *ending != Ending::UnderWay)?;
        let here = &world.host.boot_id;
        let kernels = world.memory.kernels.as_ref().filter(|it| it.boot_id == *here);
        let stayed = last.boot_id == *here;
        let (kernel_before, kernel_after) = match kernels {
            Some(kernels) if stayed => (Some(kernels.running.clone()), None),
            Some(kernels) => (kernels.before.clone(), Some(kernels.running.clone())),
            None => (None, None),
        };
        let mut packages = packages(last, upgrades);
        let more_packages = packages.len().saturating_sub(MOST_PACKAGES);
        packages.truncate(MOST_PACKAGES);
        Some(Reboot {
            node: node.to_owned(),
            pool: pool.to_owned(),
            outcome: ending.word().to_owned(),
            request: last.why.clone(),
            boot_before: last.boot_id.clone(),
            boot_after: last.led_to.clone(),
            kernel_before,
            kernel_after,
            packages,
            more_packages,
            asked: time(last.requested_at),
            claimed: time(last.claimed_at),
            cordoned: time(last.cordoned_at),
            drained: time(last.drained_at),
            down: time(Some(last.at)),
            ready: time(last.ready_at),
            uncordoned: time(last.uncordoned_at),
            released: time(last.ended_at.filter(|_| ending != Ending::SlotLost)),
            measured: last.measured.clone(),
        })
    }

    /// Whether both are of one call of logind.
    pub(crate) fn is_same(&self, other: &Reboot) -> bool {
        (&self.boot_before, self.down) == (&other.boot_before, other.down)
    }

    /// The same in so many bytes, or little more, to be shown on a Node: the packages that asked or were known not to be live, and the latest CVEs.
    pub(super) fn shortened(mut self, room: usize) -> Reboot {
        let all = self.packages.len();
        self.packages.retain(|it| it.requested || it.cves.is_some());
        self.packages.truncate(MOST_SHOWN);
        let cves = self.packages.iter_mut().filter_map(|it| it.cves.as_mut());
        cves.for_each(|cves| cves.named.truncate(MOST_NAMED));
        self.more_packages += all - self.packages.len();
        self.measured.keep_worst(MOST_SHOWN);
        while self.json().len() > room && self.leave_out_one() {}
        self
    }

    /// The same with a workload or a package less, if there is one.
    fn leave_out_one(&mut self) -> bool {
        let Measured { workloads, more_workloads, .. } = &mut self.measured;
        let left_out = if workloads.len() >= self.packages.len() {
            workloads.pop().map(|_| more_workloads)
        } else {
            self.packages.pop().map(|_| &mut self.more_packages)
        };
        left_out.map(|count| *count += 1).is_some()
    }

    /// How long its drain took: from the cordon until the last pod had left.
    pub(crate) fn drained_for(&self) -> Option<Duration> {
        Duration::try_from(self.drained?.duration_since(self.cordoned?)).ok()
    }

    /// In one line, for programs.
    pub fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// Whether a reboot made this package live, as far as the kernel tells that runs after it: a boot loader may start another one.
pub(crate) fn made_live(package: &str, kernel_after: Option<&str>) -> bool {
    let release = ["linux-image-", "linux-modules-"].iter().find_map(|it| package.strip_prefix(it));
    let release = release.filter(|it| it.starts_with(|letter: char| letter.is_ascii_digit()));
    release.zip(kernel_after).is_none_or(|(release, runs)| release == runs)
}

/// In one sentence, for people.
pub fn sentence(last: &LastReboot) -> String {
    let what = if last.why.is_empty() { String::new() } else { format!(" for {}", last.why) };
    let told = |time: Option<Duration>, what: &str| time.map(|it| format!("{what} {}", span(it)));
    let times = [told(last.cordoned_for(), "cordoned for"), told(last.away_for(), "away for")];
    let times = times.into_iter().flatten().collect::<Vec<_>>().join(", ");
    let times = if times.is_empty() { times } else { format!(": {times}") };
    match last.ending {
        Some(Ending::StayedUp) => format!("the reboot{what} did not happen: the machine stayed up"),
        Some(Ending::SlotLost) => {
            format!("the turn of the reboot{what} has ended: the slot was lost before the node was healthy")
        }
        _ => format!("the reboot{what} is over{times}"),
    }
}

/// Those that asked come first, then those that were known not to be live.
fn packages(last: &LastReboot, mut upgrades: BTreeMap<String, Upgrade>) -> Vec<Package> {
    let updates = || last.updates.iter().filter(|it| it.installed.is_some());
    let mut names: Vec<String> = Vec::new();
    let not_live = updates().map(|it| &it.package);
    for name in last.packages.iter().chain(not_live).chain(upgrades.keys()) {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    let package = |name: String| {
        let upgrade = upgrades.remove(&name);
        let update = updates().find(|it| it.package == name);
        let (before, after, at) = match upgrade {
            Some(upgrade) => (upgrade.before, Some(upgrade.after), Some(upgrade.at)),
            None => (None, None, None),
        };
        Package {
            // A new kernel is a package that was not there before.
            before: before.or_else(|| update?.running.clone()),
            after: after.or_else(|| update?.installed.clone()),
            requested: last.packages.contains(&name),
            installed: time(at.or_else(|| update?.since.map(Duration::from_secs))),
            cves: update.and_then(|it| it.cves.clone()),
            name,
        }
    };
    names.into_iter().map(package).collect()
}

fn time(since_1970: Option<Duration>) -> Option<Timestamp> {
    let second = i64::try_from(since_1970?.as_secs()).ok()?;
    Timestamp::from_second(second).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::{Impact, Kernels, Memory, Now, Update};

    fn at(second: u64) -> Option<Duration> {
        Some(Duration::from_secs(1_795_662_720 + second))
    }

    fn update(package: &str, installed: Option<&str>, cves: Option<Cves>) -> Update {
        let (package, installed) = (package.to_owned(), installed.map(str::to_owned));
        Update { package, running: Some("6.1.0".into()), installed, since: None, cves }
    }

    fn last() -> LastReboot {
        LastReboot {
            boot_id: "before".into(),
            at: at(0).unwrap(),
            why: "/run/reboot-required by libc6 and 1 more".into(),
            packages: ["libc6".to_owned(), "unheard-of".to_owned()].into(),
            requested_at: at(0).map(|at| at - Duration::from_secs(86_400)),
            updates: vec![
                update("linux-image-new", Some("6.1.1"), None),
                update(
                    "libc6",
                    Some("2.36-10"),
                    Some(Cves { count: 2, at_least: false, named: vec!["CVE-2026-0001".into()] }),
                ),
                update("cron.service", None, None),
            ],
            measured: Measured::sample(),
            claimed_at: at(0).map(|at| at - Duration::from_secs(30)),
            cordoned_at: at(0).map(|at| at - Duration::from_secs(29)),
            drained_at: at(0).map(|at| at - Duration::from_secs(2)),
            ready_at: at(40),
            uncordoned_at: at(43),
            ended_at: at(103),
            led_to: Some("after".into()),
            ending: Some(Ending::Well),
            ..LastReboot::default()
        }
    }

    fn record(last: LastReboot, here: &str, upgrades: BTreeMap<String, Upgrade>) -> Option<Reboot> {
        let kernels = Kernels { boot_id: here.into(), running: "new".into(), before: Some("old".into()) };
        let memory = Memory { last_reboot: Some(last), kernels: Some(kernels), ..Memory::default() };
        let now = Now { boot: Duration::from_secs(9), wall: Duration::from_secs(9) };
        let world = World::new(now, "p".into(), here.into(), "m".into(), memory);
        Reboot::ended(&world, ("node1", "worker"), upgrades)
    }

    fn upgrade(name: &str, before: Option<&str>, after: &str) -> (String, Upgrade) {
        let at = at(0).unwrap() - Duration::from_secs(90_000);
        (
            name.to_owned(),
            Upgrade { before: before.map(str::to_owned), after: after.to_owned(), at, first: at },
        )
    }

    #[test]
    fn the_fields_stay_what_they_are() {
        let upgrades = BTreeMap::from([
            upgrade("libc6", Some("2.36-9"), "2.36-10"),
            upgrade("linux-image-new", None, "6.1.1"),
        ]);
        let expected = concat!(
            r#"{"node":"node1","pool":"worker","outcome":"well","request":"/run/reboot-required by libc6 and 1 more","#,
            r#""boot_before":"before","boot_after":"after","kernel_before":"old","kernel_after":"new","#,
            r#""packages":[{"name":"libc6","before":"2.36-9","after":"2.36-10","requested":true,"#,
            r#""installed":"2026-11-25T02:12:00Z","cves":{"count":2,"at_least":false,"named":["CVE-2026-0001"]}},"#,
            r#"{"name":"unheard-of","before":null,"after":null,"requested":true,"installed":null,"cves":null},"#,
            r#"{"name":"linux-image-new","before":"6.1.0","after":"6.1.1","requested":false,"#,
            r#""installed":"2026-11-25T02:12:00Z","cves":null}],"more_packages":0,"#,
            r#""asked":"2026-11-25T03:12:00Z","claimed":"2026-11-26T03:11:30Z","cordoned":"2026-11-26T03:11:31Z","#,
            r#""drained":"2026-11-26T03:11:58Z","down":"2026-11-26T03:12:00Z","ready":"2026-11-26T03:12:40Z","#,
            r#""uncordoned":"2026-11-26T03:12:43Z","released":"2026-11-26T03:13:43Z","#,
            r#""waited_seconds":{"no-free-slot":60},"workloads":[{"namespace":"shop","workload":"api","pods":"app=api","left":1,"#,
            r#""ready_before":3,"fewest_ready":2,"below_seconds":10,"pending_seconds":0,"restarts":0,"recovered":true}],"#,
            r#""more_workloads":1,"unseen_seconds":40,"unanswered_seconds":0,"began_late":false}"#,
        );
        assert_eq!(record(last(), "after", upgrades).unwrap().json(), expected);
        assert_eq!(
            sentence(&last()),
            "the reboot for /run/reboot-required by libc6 and 1 more is over: cordoned for 1min 12s, away for 40s"
        );
    }

    #[test]
    fn what_is_not_over_is_not_told_and_what_did_not_happen_is_not_made_up() {
        let under_way = LastReboot { ending: Some(Ending::UnderWay), ..last() };
        assert_eq!(record(under_way, "after", BTreeMap::new()), None);
        let stayed = LastReboot { ending: Some(Ending::StayedUp), led_to: None, ..last() };
        let stayed = record(stayed, "before", BTreeMap::new()).unwrap();
        assert_eq!((stayed.kernel_before.as_deref(), stayed.kernel_after), (Some("new"), None));
        let lost = LastReboot { ending: Some(Ending::SlotLost), ..last() };
        assert_eq!(record(lost, "after", BTreeMap::new()).unwrap().released, None);
    }

    #[test]
    fn what_a_node_shows_has_room_there() {
        let mut last = last();
        let long = Impact { pods: "k=v,".repeat(250), ..last.measured.workloads[0].clone() };
        last.measured.workloads = vec![long; 20];
        let record = record(last, "after", BTreeMap::new()).unwrap();
        let shown = record.shortened(4096);
        assert!(shown.json().len() <= 4096 && !shown.packages.is_empty(), "{}", shown.json().len());
        assert_eq!(shown.measured.workloads.len() + shown.measured.more_workloads, 21);
    }

    #[test]
    fn a_kernel_that_the_boot_loader_did_not_start_is_not_live() {
        for (package, expected) in [
            ("linux-image-6.1.0-56-amd64", false),
            ("linux-modules-6.1.0-50-amd64", true),
            ("linux-image-amd64", true),
            ("libc6", true),
        ] {
            assert_eq!(made_live(package, Some("6.1.0-50-amd64")), expected, "{package}");
            assert!(made_live(package, None));
        }
    }

    #[test]
    fn many_packages_are_counted() {
        let upgrades = (0..150).map(|number| upgrade(&format!("p{number:03}"), None, "1")).collect();
        let record = record(last(), "after", upgrades).unwrap();
        assert_eq!((record.packages.len(), record.more_packages), (100, 53));
        assert_eq!(record.packages[0].name, "libc6", "those that asked come first");
        let shown = record.shortened(4096);
        let names: Vec<&str> = shown.packages.iter().map(|it| &*it.name).collect();
        assert_eq!((names, shown.more_packages), (vec!["libc6", "unheard-of"], 151));
    }
}
