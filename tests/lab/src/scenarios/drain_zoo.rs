//! kubectl as the oracle: what becomes of each pod of a zoo by `kubectl drain --dry-run`, and by rebootd's plan.
//!
//! Where they differ, the difference is one of [`DIFFERENCES`], which `docs/drain.md` explains, and no other.

mod oracle;
mod ours;
mod zoo;

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};

use super::stage::Stage;
use crate::progress::say;
use zoo::{Owner, ZooPod};

/// What becomes of a pod. kubectl's warnings are not compared: of several it prints the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Evict,
    Leave,
    Refuse,
}

/// By namespace and name.
type Verdicts = BTreeMap<String, Verdict>;

/// kubectl's flags beside the configuration of rebootd that says the same, or comes closest.
struct Question {
    flags: &'static [&'static str],
    config: &'static str,
}

const IGNORE_DAEMON_SETS: &str = "--ignore-daemonsets";
const DELETE_EMPTY_DIR: &str = "--delete-emptydir-data";
const FORCE: &str = "--force";
const LEAVE_BARE: &str = "";

const QUESTIONS: [Question; 5] = [
    Question { flags: &[], config: "bare_pods = \"refuse\"\nempty_dir_pods = \"refuse\"\n" },
    Question {
        flags: &[IGNORE_DAEMON_SETS],
        config: "bare_pods = \"refuse\"\nempty_dir_pods = \"refuse\"\n",
    },
    Question { flags: &[IGNORE_DAEMON_SETS, DELETE_EMPTY_DIR], config: "bare_pods = \"refuse\"\n" },
    Question { flags: &[IGNORE_DAEMON_SETS, DELETE_EMPTY_DIR, FORCE], config: "bare_pods = \"evict\"\n" },
    Question { flags: &[IGNORE_DAEMON_SETS, DELETE_EMPTY_DIR, FORCE], config: LEAVE_BARE },
];

const MIRROR: &str = "a mirror pod whose owner is a DaemonSet";
const FINISHED: &str = "a finished pod";
const DAEMON_SET: &str = "a pod of a DaemonSet";
const LOST_DAEMON_SET: &str = "a pod of a DaemonSet that is gone";
const OTHER_DAEMON_SET: &str = "a pod of a DaemonSet of another API group";
const LEAVING: &str = "a pod that is leaving already";
const BARE: &str = "a bare pod";
const BARE_UNDER_BUDGET: &str = "a bare pod under a budget";
const BARE_RUNS_ONCE: &str = "a bare pod that runs only once";

/// All that may differ; each occurs in every zoo.
const DIFFERENCES: [&str; 9] = [
    MIRROR,
    FINISHED,
    DAEMON_SET,
    LOST_DAEMON_SET,
    OTHER_DAEMON_SET,
    LEAVING,
    BARE,
    BARE_UNDER_BUDGET,
    BARE_RUNS_ONCE,
];

pub(super) async fn run(stage: &Stage) -> Result<()> {
    let seed = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let control_plane = &stage.lab.control_plane;
    control_plane.stop_controllers().await?;
    let pods = zoo::pods(seed);
    zoo::build(control_plane, &pods).await?;
    say(format!("{} pods are in the zoo of seed {seed}", pods.len()));

    // At once: for each pod of a DaemonSet kubectl asks for the DaemonSet, and it allows itself five requests a second.
    let ask = |question: &'static Question| oracle::ask(control_plane, question.flags, &pods);
    let [first, second, third, fourth, _] = &QUESTIONS;
    let (first, second, third, fourth) = tokio::try_join!(ask(first), ask(second), ask(third), ask(fourth))?;
    let answers = [&first, &second, &third, &fourth, &fourth];

    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for (question, theirs) in QUESTIONS.iter().zip(answers) {
        let ours = ours::ask(&stage.lab, question.config).await?;
        ensure!(ours.len() == pods.len(), "rebootd speaks of pods that are not there");
        let mut agreed = 0;
        for pod in &pods {
            let verdict = |verdicts: &Verdicts| verdicts.get(&pod.key()).copied();
            let theirs = verdict(theirs).context("kubectl does not know it")?;
            let ours = verdict(&ours).with_context(|| format!("rebootd does not know {}", pod.key()))?;
            if theirs == ours {
                agreed += 1;
            } else if let Some(difference) = difference(pod, question, theirs, ours) {
                *seen.entry(difference).or_default() += 1;
            } else {
                let config = question.config.replace('\n', " ");
                bail!("kubectl {:?}: {theirs:?}, rebootd with {config}: {ours:?}\n{pod}", question.flags);
            }
        }
        say(format!("kubectl drain {}: {agreed} of {} agreed", question.flags.join(" "), pods.len()));
    }
    for (difference, count) in &seen {
        say(format!("{count} × {difference}"));
    }
    let missing: Vec<_> = DIFFERENCES.iter().filter(|difference| !seen.contains_key(*difference)).collect();
    ensure!(missing.is_empty(), "these differences did not occur: {missing:?}");
    Ok(())
}

/// Which difference this is, if it is one that is meant.
fn difference(pod: &ZooPod, question: &Question, theirs: Verdict, ours: Verdict) -> Option<&'static str> {
    use Verdict::{Evict, Leave, Refuse};
    let lost = pod.owner == Owner::LostDaemonSet;
    let other = pod.owner == Owner::OtherDaemonSet;
    let left_bare = pod.is_bare() && question.config == LEAVE_BARE;
    match (theirs, ours) {
        (Refuse, Leave) if pod.mirror && (pod.is_of_daemon_set() || lost) => Some(MIRROR),
        (Evict, Leave) if pod.is_finished() => Some(FINISHED),
        (Refuse, Leave) if pod.is_of_daemon_set() && question.flags.is_empty() => Some(DAEMON_SET),
        (Evict | Refuse, Leave) if lost => Some(LOST_DAEMON_SET),
        (Evict | Refuse, Leave) if other => Some(OTHER_DAEMON_SET),
        (Refuse, Evict) if pod.terminating => Some(LEAVING),
        (Evict, Leave) if left_bare && !pod.guarded && !pod.runs_once => Some(BARE),
        (Evict, Refuse) if left_bare && pod.runs_once => Some(BARE_RUNS_ONCE),
        (Evict, Refuse) if left_bare && pod.guarded => Some(BARE_UNDER_BUDGET),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::DIFFERENCES;

    #[test]
    fn each_difference_from_kubectl_is_explained_and_nothing_else_is() {
        let document = include_str!("../../../../docs/drain.md");
        let section = document.split_once("\n## Where kubectl differs\n").unwrap().1;
        let rows = section.lines().filter_map(|line| line.strip_prefix("| **")?.split("**").next());
        let mut explained: Vec<&str> = rows.collect();
        let mut differences = DIFFERENCES.to_vec();
        explained.sort_unstable();
        differences.sort_unstable();
        assert_eq!(explained, differences);
    }
}
