//! The record of a reboot whose turn has ended: a sentence for people, and one line of JSON for whoever collects the
//! journal. docs/status.md says what each field means; fields are added, never changed or removed.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::decide::{Ending, LastReboot, World, span};
use crate::host::upgrades::Versions;

/// The most packages in one record.
const MOST_PACKAGES: usize = 100;

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
}

/// A package that a reboot made live.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) before: Option<String>,
    pub(crate) after: Option<String>,
    pub(crate) requested: bool,
}

impl Reboot {
    /// The record of the latest reboot, if its turn has ended; `upgrades` are what it has made live.
    pub fn ended(
        world: &World,
        (node, pool): (&str, &str),
        upgrades: BTreeMap<String, Versions>,
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
        })
    }

    /// Whether both are of one call of logind.
    pub(super) fn is_same(&self, other: &Reboot) -> bool {
        (&self.boot_before, self.down) == (&other.boot_before, other.down)
    }

    /// The same, short enough to be shown on a Node.
    pub(super) fn without_packages(self) -> Reboot {
        let more_packages = self.more_packages + self.packages.len();
        Reboot { packages: Vec::new(), more_packages, ..self }
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

/// Those that asked come first.
fn packages(last: &LastReboot, mut upgrades: BTreeMap<String, Versions>) -> Vec<Package> {
    let package = |name: String, versions: Option<Versions>, requested| {
        let (before, after) = versions.map_or((None, None), |(before, after)| (before, Some(after)));
        Package { name, before, after, requested }
    };
    let asked = last.packages.iter().map(|name| (name.clone(), upgrades.remove(name)));
    let asked: Vec<Package> = asked.map(|(name, versions)| package(name, versions, true)).collect();
    let others = upgrades.into_iter().map(|(name, versions)| package(name, Some(versions), false));
    asked.into_iter().chain(others).collect()
}

fn time(since_1970: Option<Duration>) -> Option<Timestamp> {
    let second = i64::try_from(since_1970?.as_secs()).ok()?;
    Timestamp::from_second(second).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::{Kernels, Memory, Now};

    fn at(second: u64) -> Option<Duration> {
        Some(Duration::from_secs(1_795_662_720 + second))
    }

    fn last() -> LastReboot {
        LastReboot {
            boot_id: "before".into(),
            at: at(0).unwrap(),
            why: "/run/reboot-required by libc6 and 1 more".into(),
            packages: ["libc6".to_owned(), "unheard-of".to_owned()].into(),
            requested_at: at(0).map(|at| at - Duration::from_secs(86_400)),
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

    fn record(last: LastReboot, here: &str, upgrades: BTreeMap<String, Versions>) -> Option<Reboot> {
        let kernels = Kernels { boot_id: here.into(), running: "new".into(), before: Some("old".into()) };
        let memory = Memory { last_reboot: Some(last), kernels: Some(kernels), ..Memory::default() };
        let now = Now { boot: Duration::from_secs(9), wall: Duration::from_secs(9) };
        let world = World::new(now, "p".into(), here.into(), "m".into(), memory);
        Reboot::ended(&world, ("node1", "worker"), upgrades)
    }

    #[test]
    fn the_fields_stay_what_they_are() {
        let upgrades = BTreeMap::from([
            ("libc6".to_owned(), (Some("2.36-9".to_owned()), "2.36-10".to_owned())),
            ("linux-image-new".to_owned(), (None, "6.1.1".to_owned())),
        ]);
        let expected = concat!(
            r#"{"node":"node1","pool":"worker","outcome":"well","request":"/run/reboot-required by libc6 and 1 more","#,
            r#""boot_before":"before","boot_after":"after","kernel_before":"old","kernel_after":"new","#,
            r#""packages":[{"name":"libc6","before":"2.36-9","after":"2.36-10","requested":true},"#,
            r#"{"name":"unheard-of","before":null,"after":null,"requested":true},"#,
            r#"{"name":"linux-image-new","before":null,"after":"6.1.1","requested":false}],"more_packages":0,"#,
            r#""asked":"2026-11-25T03:12:00Z","claimed":"2026-11-26T03:11:30Z","cordoned":"2026-11-26T03:11:31Z","#,
            r#""drained":"2026-11-26T03:11:58Z","down":"2026-11-26T03:12:00Z","ready":"2026-11-26T03:12:40Z","#,
            r#""uncordoned":"2026-11-26T03:12:43Z","released":"2026-11-26T03:13:43Z"}"#,
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
    fn many_packages_are_counted() {
        let upgrade = |number: usize| (format!("p{number:03}"), (None, "1".to_owned()));
        let record = record(last(), "after", (0..150).map(upgrade).collect()).unwrap();
        assert_eq!((record.packages.len(), record.more_packages), (100, 52));
        assert_eq!(record.packages[0].name, "libc6", "those that asked come first");
    }
}
