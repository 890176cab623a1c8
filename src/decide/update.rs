//! What is installed and not live.

use std::fmt::{self, Display, Formatter};

use serde::{Deserialize, Serialize};

use crate::words::{NOTE, words};

/// The most updates that are remembered, and CVEs of each that are named.
const MOST: usize = 100;
const MOST_NAMED: usize = 50;

/// An update that is installed and not live: what was loaded before it still runs.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Update {
    /// The package, or the service whose code is outdated.
    pub package: String,
    /// The version that runs, if it is known.
    pub running: Option<String>,
    /// The version that is installed; none of a service.
    pub installed: Option<String>,
    /// Since when: seconds since 1970. Of several updates that are not live, since the first.
    pub since: Option<u64>,
    /// The CVEs that this leaves open; `None` if nothing tells, which never means that there are none.
    pub cves: Option<Cves>,
}

/// What a package's changelog says of the versions between the one that runs and the one that is installed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Cves {
    /// How many it names.
    pub count: usize,
    /// The changelog does not go back to the version that runs, so there may be more.
    pub at_least: bool,
    /// All of them, or the latest.
    pub named: Vec<String>,
}

impl Update {
    /// Those that somebody else has written, clean and not too many.
    pub fn bounded(updates: Vec<Update>) -> Vec<Update> {
        let clean = |text: String| words(&text, NOTE);
        let cves = |cves: Cves| Cves { named: cves.named.into_iter().map(clean).collect(), ..cves };
        let updates = updates.into_iter().take(MOST).map(|update| update.naming(MOST_NAMED));
        let each = updates.map(|update| Update {
            package: clean(update.package),
            running: update.running.map(clean),
            installed: update.installed.map(clean),
            since: update.since,
            cves: update.cves.map(cves),
        });
        each.collect()
    }

    /// The same with at most so many names of CVEs.
    pub fn naming(mut self, most: usize) -> Update {
        self.cves.iter_mut().for_each(|cves| cves.named.truncate(most));
        self
    }

    /// The package with its versions and its CVEs, for people.
    pub fn in_words(&self) -> String {
        let versions = match (&self.running, &self.installed) {
            (Some(running), Some(installed)) => format!("{running} runs, {installed} is installed, "),
            (None, Some(installed)) => format!("{installed} is installed, "),
            _ => String::new(),
        };
        format!("{} ({versions}{})", self.package, open_cves([self]))
    }
}

/// How many CVEs these updates leave open, without their names.
pub fn open_cves<'a>(updates: impl IntoIterator<Item = &'a Update>) -> Cves {
    let mut all = Cves::default();
    for update in updates {
        all.count = all.count.saturating_add(update.cves.as_ref().map_or(0, |cves| cves.count));
        all.at_least |= update.cves.as_ref().is_none_or(|cves| cves.at_least);
    }
    all
}

/// How many, for people.
impl Display for Cves {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let noun = if self.count == 1 { "CVE" } else { "CVEs" };
        match (self.at_least, self.count) {
            (true, 0) => write!(f, "CVEs not known"),
            (false, 0) => write!(f, "no CVE named"),
            (true, count) => write!(f, "at least {count} {noun}"),
            (false, count) => write!(f, "{count} {noun}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn update(cves: Option<(usize, bool)>) -> Update {
        Update {
            package: "libc6".into(),
            running: Some("1".into()),
            installed: Some("2".into()),
            since: None,
            cves: cves.map(|(count, at_least)| Cves { count, at_least, named: vec![] }),
        }
    }

    #[test]
    fn what_is_not_known_is_never_told_as_none() {
        for (updates, expected) in [
            (vec![Some((2, false)), Some((1, false))], "3 CVEs"),
            (vec![Some((1, false)), Some((0, false))], "1 CVE"),
            (vec![Some((2, false)), None], "at least 2 CVEs"),
            (vec![Some((0, false)), None], "CVEs not known"),
            (vec![Some((0, true))], "CVEs not known"),
            (vec![Some((0, false))], "no CVE named"),
            (vec![None], "CVEs not known"),
        ] {
            let updates: Vec<Update> = updates.into_iter().map(update).collect();
            assert_eq!(open_cves(&updates).to_string(), expected, "{updates:?}");
        }
        assert_eq!(update(Some((9, false))).in_words(), "libc6 (1 runs, 2 is installed, 9 CVEs)");
        let service =
            Update { package: "cron.service".into(), running: None, installed: None, ..update(None) };
        assert_eq!(service.in_words(), "cron.service (CVEs not known)");
    }
}
