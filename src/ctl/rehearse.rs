//! `rebootctl rehearse`: what a reboot would do to applications, before it does.

mod baseline;
mod node;
mod read;
mod reboot;
mod watched;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{ArgGroup, Args};
use serde::Serialize;

use self::baseline::Baseline;
use self::reboot::{Ending, Supervised};
use super::kubeconfig::Kubeconfig;
use super::slots::parse_name;
use crate::cluster::Api;
use crate::host::clock;
use crate::notation::{is_namespace, parse_time_span};
use crate::rehearse::{Judged, Verdict, judge, lines};

/// EX_USAGE of sysexits.h: 2 has another meaning here.
pub(super) const USAGE: u8 = 64;
/// How often a budget that refuses is asked again.
const AGAIN: Duration = Duration::from_secs(10);

/// Say what a reboot would do: to the applications of a namespace, or of a node
///
/// For each workload: nobody notices, warns, blocks, or could not tell; why, and what to change, as YAML to paste. It
/// changes nothing: where you may evict pods it asks the API server by a dry run, otherwise it judges budgets by their
/// numbers, and says so. A finding that is meant to be so is accepted by an annotation of the workload, such as
/// rebootd.io/accept: "single-replica until 2027-06: closed at night".
///
/// With --reboot it then has the node reboot in its turn, once a person has confirmed it, tells what the node does, and
/// shows the report.
///
/// Exits with 0 if nobody notices anything, 1 if somebody may (2 with --strict), 2 if a node would not reboot, 3 if it
/// could not be told, and 64 if the command line was wrong. With --reboot: 0 if the reboot ended well, 2 if it did not or the
/// node would not reboot, 1 if nobody said yes, the request was withdrawn, or Ctrl-C ended the watching.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("what").required(true).args(["node", "namespace"]))]
pub(super) struct Rehearse {
    /// The node, instead of a namespace: its gates, its drain, and every workload that has a pod there
    #[arg(value_parser = parse_name, conflicts_with_all = ["workload", "baseline"])]
    node: Option<String>,
    /// The namespace of the applications
    #[arg(long, short, value_name = "NAMESPACE", value_parser = parse_namespace)]
    namespace: Option<String>,
    /// Only this workload, as kubectl names it: deployment/api, or api
    #[arg(long, value_name = "NAME")]
    workload: Option<String>,
    /// How long a budget that lets nobody go now may take until it does
    #[arg(long, value_name = "TIME", default_value = "1min", value_parser = parse_time_span)]
    patience: Duration,
    /// Count only findings that are not in this file, which an earlier --json has printed
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
    /// Exit with 2 if somebody may notice it
    #[arg(long)]
    strict: bool,
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
    /// Then have the node reboot in its turn, and watch it until its report is there
    #[arg(long, requires = "node", conflicts_with_all = ["json", "namespace"])]
    reboot: bool,
    /// Do not ask for confirmation of --reboot
    #[arg(long, requires = "reboot")]
    yes: bool,
    #[command(flatten)]
    kubeconfig: Kubeconfig,
}

/// What `--json` prints. Fields are added, never changed or removed.
#[derive(Debug, Serialize)]
struct Rehearsal {
    namespace: String,
    /// The worst of all, without what is in the baseline.
    verdict: Verdict,
    workloads: Vec<Judged>,
}

fn parse_namespace(text: &str) -> Result<String, String> {
    match is_namespace(text) {
        true => Ok(text.to_owned()),
        false => Err("a namespace has lower-case letters, digits and '-' only".to_owned()),
    }
}

impl Rehearse {
    pub(super) fn run(&self) -> ExitCode {
        match self.rehearse() {
            Ok(code) => code,
            Err(error) => {
                eprintln!("rebootctl: {error:#}");
                self.exit_code(Verdict::CouldNotTell)
            }
        }
    }

    fn rehearse(&self) -> anyhow::Result<ExitCode> {
        match (&self.node, &self.namespace) {
            (Some(node), _) => self.node(node),
            (None, Some(namespace)) => self.namespace(namespace),
            // clap has seen to it that there is one.
            (None, None) => Ok(ExitCode::from(USAGE)),
        }
    }

    fn node(&self, name: &str) -> anyhow::Result<ExitCode> {
        let (mut api, runtime) = self.kubeconfig.connect()?;
        let rehearsal = runtime.block_on(node::rehearse(&mut api, name))?;
        match self.json {
            true => println!("{}", serde_json::to_string_pretty(&rehearsal)?),
            false => {
                rehearsal.lines().iter().for_each(|line| println!("{line}"));
                println!("");
                lines(&format!("Of node {name}"), rehearsal.workloads(), |_, _| false)
                    .iter()
                    .for_each(|line| println!("{line}"));
                rehearsal.not_looked_at().iter().for_each(|line| println!("Not looked at: {line}"));
            }
        }
        match self.reboot {
            true => runtime.block_on(self.reboot(&mut api, name, rehearsal.verdict)),
            false => Ok(self.exit_code(rehearsal.verdict)),
        }
    }

    /// After a rehearsal that has found nothing against it.
    async fn reboot(&self, api: &mut Api, node: &str, verdict: Verdict) -> anyhow::Result<ExitCode> {
        println!("");
        if let Some(what) = self.against(verdict) {
            println!("{node} is not asked to reboot: {what}.");
            return Ok(self.exit_code(verdict));
        }
        let supervised = Supervised { node, yes: self.yes, kubeconfig: &self.kubeconfig };
        Ok(ExitCode::from(match supervised.run(api).await? {
            Ending::Well => 0,
            Ending::Stopped => 1,
            Ending::NotWell => 2,
            Ending::NobodyToAsk => USAGE,
        }))
    }

    /// What has to be mended before it reboots under a person's eyes.
    fn against(&self, verdict: Verdict) -> Option<&'static str> {
        match verdict {
            Verdict::Blocks => Some("its drain would not end; mend what blocks, then rehearse it again"),
            Verdict::CouldNotTell => Some("not everything that decides it is known; see above what that is"),
            Verdict::Warns if self.strict => {
                Some("somebody may notice it; accept or mend what is found, or leave --strict out")
            }
            Verdict::Warns | Verdict::NobodyNotices => None,
        }
    }

    fn namespace(&self, namespace: &str) -> anyhow::Result<ExitCode> {
        let baseline = self.baseline.as_deref().map(|path| Baseline::read(path, namespace)).transpose()?;
        let (mut api, runtime) = self.kubeconfig.connect()?;
        let mut workloads = runtime.block_on(self.judged(&mut api, namespace))?;
        workloads.retain(|it| self.is_wanted(&it.workload));
        if workloads.is_empty() {
            anyhow::bail!(
                "there is no {} in namespace {}",
                self.workload.as_deref().unwrap_or("workload"),
                namespace
            );
        }
        let is_compared = baseline.is_some();
        let known = baseline.unwrap_or_default();
        let verdict = workloads.iter().map(|it| known.verdict(it)).max().unwrap_or(Verdict::NobodyNotices);
        let rehearsal = Rehearsal { namespace: namespace.to_owned(), verdict, workloads };
        match self.json {
            true => println!("{}", serde_json::to_string_pretty(&rehearsal)?),
            false => {
                let of = format!("Namespace {namespace}");
                let lines = lines(&of, &rehearsal.workloads, |workload, it| known.has(workload, it));
                lines.iter().for_each(|line| println!("{line}"));
                if is_compared {
                    let new: usize = rehearsal.workloads.iter().map(|it| known.count_new(it)).sum();
                    println!(
                        "Against the baseline: {new} new, and only what is new counts: {}.",
                        verdict.words()
                    );
                }
            }
        }
        Ok(self.exit_code(verdict))
    }

    /// Asks again while there is a budget that lets nobody go now, and may soon.
    async fn judged(&self, api: &mut Api, namespace: &str) -> anyhow::Result<Vec<Judged>> {
        let until = clock::now().boot + self.patience;
        loop {
            let judged = judge(&read::namespace(api, namespace, None).await?);
            let wanted = judged.iter().filter(|it| self.is_wanted(&it.workload));
            let waits = wanted.flat_map(|it| &it.findings).filter(|it| it.id == "budget-not-now").count();
            let left = until.saturating_sub(clock::now().boot);
            if waits == 0 || left.is_zero() {
                return Ok(judged);
            }
            let pause = AGAIN.min(left);
            eprintln!("{waits} of the budgets let nobody go now; asked again for {} s more", left.as_secs());
            tokio::time::sleep(pause).await;
        }
    }

    fn is_wanted(&self, workload: &str) -> bool {
        self.workload.as_deref().is_none_or(|wanted| {
            workload == wanted.to_lowercase()
                || workload.split_once('/').is_some_and(|(_, name)| name == wanted)
        })
    }

    fn exit_code(&self, verdict: Verdict) -> ExitCode {
        ExitCode::from(match verdict {
            Verdict::NobodyNotices => 0,
            Verdict::Warns if !self.strict => 1,
            Verdict::Warns | Verdict::Blocks => 2,
            Verdict::CouldNotTell => 3,
        })
    }
}
