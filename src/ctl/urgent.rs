//! `rebootctl urgent`: a person lets the nodes that need a reboot have it now, whatever the windows say.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, anyhow, bail, ensure};
use clap::Args;
use jiff::Timestamp;

use super::kubeconfig::Kubeconfig;
use crate::cli::parse_reason;
use crate::cluster::{Api, PolicyMap};
use crate::config::{FleetPolicy, URGENT_FOR, URGENT_KEY, Urgency};
use crate::decide::{Outcome, span};
use crate::host::{clock, identity};
use crate::notation::parse_time_span;
use crate::words::{MESSAGE, words};

/// As with clap: the command was not used as it has to be.
const NOBODY_TO_ASK: u8 = 2;

/// Let nodes that need a reboot have it now: windows and `min_age` do not hold until this ends
///
/// Everything else does: turns, budgets, holds, the pause, freezes, what dpkg is at, health. Without a reason,
/// shows what is urgent. It ends by itself. Exits with 2 if nobody is there to ask, and with 1 on errors.
#[derive(Debug, Args)]
pub(super) struct Urgent {
    /// Why, for people who wonder, such as "CVE-2026-12345"
    #[arg(value_parser = parse_reason, conflicts_with = "end")]
    reason: Option<String>,
    /// For how long, at least 1h and at most 14d
    #[arg(long = "for", value_name = "TIME", default_value = "24h", value_parser = parse_time_span)]
    lasts: Duration,
    /// Only nodes of this pool
    #[arg(long, value_name = "POOL")]
    pool: Option<String>,
    /// Only nodes with these labels, as kubectl -l takes them
    #[arg(long, value_name = "LABELS")]
    selector: Option<String>,
    /// End it now
    #[arg(long)]
    end: bool,
    /// Do not ask for confirmation
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    kubeconfig: Kubeconfig,
}

impl Urgent {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let (mut api, runtime) = self.kubeconfig.connect().map_err(|error| {
            anyhow!(
                "{error:#}\nkubectl shows what is urgent:\n  kubectl -n rebootd get configmap policy -o yaml"
            )
        })?;
        runtime.block_on(async {
            let map = api.policy_map().await.context("cannot read ConfigMap rebootd/policy")?;
            match &self.reason {
                Some(reason) => self.declare(&mut api, reason, map.as_ref()).await,
                None if self.end => end(&mut api, map.as_ref()).await,
                None => show(map.as_ref()),
            }
        })
    }

    async fn declare(
        &self,
        api: &mut Api,
        reason: &str,
        map: Option<&PolicyMap>,
    ) -> anyhow::Result<ExitCode> {
        let (shortest, longest) = URGENT_FOR;
        ensure!(
            (shortest..=longest).contains(&self.lasts),
            "--for {} is not between {} and {}",
            span(self.lasts),
            span(shortest),
            span(longest)
        );
        let from = i64::try_from(clock::now().wall.as_secs()).ok().map(Timestamp::from_second);
        let from = from.context("the clock shows no time")??;
        let urgency = Urgency {
            why: reason.to_owned(),
            by: identity::person(),
            from,
            until: from.checked_add(self.lasts)?,
            pool: self.pool.clone(),
            selector: self.selector.clone(),
        };
        let text = urgency.written()?;
        check(map, &text)?;
        let labels = self.selector.as_deref().unwrap_or_default();
        let mut nodes = api.fleet(labels).await.context("cannot read the Nodes")?;
        nodes.retain(|node| self.pool.is_none() || node.pool == self.pool);
        ensure!(!nodes.is_empty(), "no Node is selected: there is none of that pool and with these labels");
        let waiting = nodes.iter().filter(|it| it.asks()).count();
        if let Some(before) = map.and_then(|map| map.data.get(URGENT_KEY)) {
            match Urgency::parse(before) {
                Ok(before) => println!("Replaces: {}", in_words(&before)),
                Err(error) => println!("Replaces what is not understood: {}", error.summary()),
            }
        }
        println!(
            "Urgent until {}: {} of {} nodes ask for a reboot. They may reboot at any time of the day, one turn after the \
             other; so may those that ask for one until then. Budgets, holds, the pause, freezes, min_interval and a clock \
             that is not synchronised hold.",
            urgency.until,
            waiting,
            nodes.len()
        );
        if !self.yes {
            if !std::io::stdin().is_terminal() {
                eprintln!("rebootctl: nothing was changed: nobody is there to confirm it; see --yes");
                return Ok(ExitCode::from(NOBODY_TO_ASK));
            }
            if !is_confirmed()? {
                println!("Nothing was changed.");
                return Ok(ExitCode::FAILURE);
            }
        }
        write(api, map, Some(&text)).await?;
        println!("Waiting nodes notice it within a second. To see them: rebootctl fleet --watch");
        println!("To end it early: rebootctl urgent --end");
        Ok(ExitCode::SUCCESS)
    }
}

/// Every agent has to understand what the ConfigMap then contains.
fn check(map: Option<&PolicyMap>, text: &str) -> anyhow::Result<()> {
    let mut data = map.map(|map| map.data.clone()).unwrap_or_default();
    data.insert(URGENT_KEY.to_owned(), text.to_owned());
    FleetPolicy::from_config_map(&data).map(drop).context("agents would not understand it")
}

fn show(map: Option<&PolicyMap>) -> anyhow::Result<ExitCode> {
    match map.and_then(|map| map.data.get(URGENT_KEY)) {
        Some(text) => println!("{}", in_words(&Urgency::parse(text)?)),
        None => println!("Nothing is urgent."),
    }
    Ok(ExitCode::SUCCESS)
}

async fn end(api: &mut Api, map: Option<&PolicyMap>) -> anyhow::Result<ExitCode> {
    let Some(text) = map.and_then(|map| map.data.get(URGENT_KEY)) else {
        println!("Nothing was urgent.");
        return Ok(ExitCode::SUCCESS);
    };
    write(api, map, None).await?;
    println!(
        "Windows and `min_age` hold again. A node in its turn outside of a window undoes it within a minute, unless it is about \
         to reboot."
    );
    match Urgency::parse(text) {
        Ok(urgency) => println!("It was: {}", in_words(&urgency)),
        Err(error) => println!("It was not understood: {}", error.summary()),
    }
    Ok(ExitCode::SUCCESS)
}

async fn write(api: &mut Api, map: Option<&PolicyMap>, text: Option<&str>) -> anyhow::Result<()> {
    match api.write_policy_key(map, URGENT_KEY, text).await {
        Outcome::Answered => Ok(()),
        Outcome::Refused { conflict: true, .. } => {
            bail!("the policy has changed meanwhile, and was left as it is; try again")
        }
        Outcome::Refused { failure, .. } => bail!("nothing was changed: {}", failure.message),
        Outcome::Unanswered(failure) => {
            bail!(
                "no answer, so nobody knows whether it was changed; see rebootctl urgent: {}",
                failure.message
            )
        }
    }
}

fn in_words(urgency: &Urgency) -> String {
    let Urgency { why, by, from, until, .. } = urgency;
    let is = if is_over(urgency) { "was urgent, and is over" } else { "is urgent" };
    let text = format!("{why} ({by}) {is}: from {from} until {until}, for all nodes{}", selected(urgency));
    words(&text, MESSAGE)
}

/// What is urgent at this moment, for a list of nodes.
pub(super) fn now(map: &PolicyMap) -> Option<String> {
    let urgency = Urgency::parse(map.data.get(URGENT_KEY)?).ok().filter(|urgency| !is_over(urgency))?;
    let Urgency { why, by, until, .. } = &urgency;
    Some(words(&format!("{why} ({by}), until {until}, for all nodes{}", selected(&urgency)), MESSAGE))
}

fn is_over(urgency: &Urgency) -> bool {
    let now = i64::try_from(clock::now().wall.as_secs()).unwrap_or_default();
    urgency.until.as_second() <= now
}

fn selected(Urgency { pool, selector, .. }: &Urgency) -> String {
    let pool = pool.as_ref().map(|pool| format!(" of pool {pool}")).unwrap_or_default();
    let labels = selector.as_ref().map(|labels| format!(" with labels {labels}")).unwrap_or_default();
    pool + &labels
}

fn is_confirmed() -> std::io::Result<bool> {
    print!("Declare it urgent? Type \"yes\": ");
    std::io::stdout().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(answer.trim() == "yes")
}
