//! `rebootctl rehearse --reboot NODE`: a person has one node reboot in its turn, and watches it.

use std::io::{BufRead, IsTerminal, Write};
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::super::fleet::{EVENTS, holders, is_of_another_time};
use super::super::kubeconfig::Kubeconfig;
use super::super::report;
use super::watched::{Over, Seen, Step, Watched};
use crate::cluster::{Api, ApiError, time};
use crate::decide::Outcome;
use crate::host::{clock, identity};
use crate::report::reboot::Reboot;

/// How often it looks.
const LOOK: Duration = Duration::from_secs(2);
/// A kubelet writes its Node at any time, and the request then has to be written once more.
const TRIES: usize = 5;

/// How it ended.
pub(super) enum Ending {
    Well,
    NotWell,
    /// The person said no or watches no longer, or somebody has withdrawn the request.
    Stopped,
    NobodyToAsk,
}

pub(super) struct Supervised<'a> {
    pub(super) node: &'a str,
    pub(super) yes: bool,
    pub(super) kubeconfig: &'a Kubeconfig,
}

impl Supervised<'_> {
    pub(super) async fn run(&self, api: &mut Api) -> anyhow::Result<Ending> {
        let node = self.node;
        let before = look(api, node).await?;
        if let Some(why) = no_rebootd(&before, clock::now().wall.as_secs()) {
            println!("{node} is not asked to reboot: {why}. See there: systemctl status rebootd");
            return Ok(Ending::NotWell);
        }
        if before.asks().is_none()
            && let Some(ending) = self.confirm()?
        {
            return Ok(ending);
        }
        // From here on Ctrl-C must not end this without a word about the request.
        let mut interrupt = signal(SignalKind::interrupt())?;
        let before = self.ask(api).await?;
        println!(
            "Ctrl-C ends the watching only. What it waits for, in a sentence: rebootctl status there. Each step is an Event as well: \
             {EVENTS}"
        );
        self.watch(api, Watched::new(&before), &mut interrupt).await
    }

    /// How it ends already, if nobody says yes.
    fn confirm(&self) -> anyhow::Result<Option<Ending>> {
        if self.yes {
            return Ok(None);
        }
        if !std::io::stdin().is_terminal() {
            eprintln!("rebootctl: nothing was changed: nobody is there to confirm it; see --yes");
            return Ok(Some(Ending::NobodyToAsk));
        }
        print!("Have {0} reboot in its turn? Type \"{0}\": ", self.node);
        std::io::stdout().flush()?;
        let mut answer = String::new();
        std::io::stdin().lock().read_line(&mut answer)?;
        if answer.trim() == self.node {
            return Ok(None);
        }
        println!("Nothing was changed.");
        Ok(Some(Ending::Stopped))
    }

    /// Asks, unless something does so already; gives back what was seen before.
    async fn ask(&self, api: &mut Api) -> anyhow::Result<Seen> {
        let node = self.node;
        let why = format!("rebootctl rehearse --reboot ({})", identity::person());
        for _ in 0..TRIES {
            let seen = look(api, node).await?;
            if let Some(already) = seen.asks() {
                println!("{node} is asked to reboot already, and is only watched: {already}.");
                return Ok(seen);
            }
            let view = seen.node.as_ref().with_context(|| format!("there is no Node {node} any more"))?;
            match api.ask_for_reboot(node, view, &why).await {
                Outcome::Answered => {
                    println!(
                        "{node} is asked to reboot in its turn. Windows, budgets and all other gates hold."
                    );
                    return Ok(seen);
                }
                Outcome::Refused { conflict: true, .. } => {}
                Outcome::Refused { failure, .. } => bail!("{node} is not asked: {}", failure.message),
                Outcome::Unanswered(failure) => bail!(
                    "no answer, so nobody knows whether {node} is asked; if it is, this command will only watch it: {}",
                    failure.message
                ),
            }
        }
        bail!("{node} is not asked: its Node changes all the time; try again")
    }

    async fn watch(
        &self,
        api: &mut Api,
        mut watched: Watched,
        interrupt: &mut Signal,
    ) -> anyhow::Result<Ending> {
        let (mut told, mut is_away) = (String::new(), false);
        loop {
            let seen = tokio::select! {
                seen = look(api, self.node) => seen,
                _ = interrupt.recv() => return Ok(self.interrupted()),
            };
            let now = time(clock::now().wall).context("the clock shows no time")?;
            match seen.map(|seen| watched.look(&seen, now)) {
                Ok(Step::Over(over)) => return Ok(self.over(over)),
                Ok(Step::Goes(line)) => {
                    if is_away || line != told {
                        println!("{now}  {} {line}", self.node);
                    }
                    (told, is_away) = (line, false);
                }
                Err(error) => {
                    if !is_away {
                        println!("{now}  {error:#}; tried again until it is answered");
                    }
                    is_away = true;
                    self.reconnect(api, &error);
                }
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                _ = interrupt.recv() => return Ok(self.interrupted()),
            }
        }
    }

    /// Who watches a whole night sees tokens that expire.
    fn reconnect(&self, api: &mut Api, error: &anyhow::Error) {
        if error.downcast_ref().is_some_and(ApiError::refuses_the_credential)
            && let Ok(again) = self.kubeconfig.api()
        {
            *api = again;
        }
    }

    fn interrupted(&self) -> Ending {
        let node = self.node;
        println!("\nThis watches no longer. {node} goes on, and reboots in its turn.");
        println!(
            "To withdraw the request, until the node is drained: kubectl annotate node {node} rebootd.io/request-"
        );
        println!("To watch further: rebootctl fleet --watch, or this command once more; each step: {EVENTS}");
        Ending::Stopped
    }

    fn over(&self, over: Over) -> Ending {
        let node = self.node;
        match over {
            Over::Reported(record) => reported(Reboot { node: node.to_owned(), ..*record }),
            Over::Unrecorded => {
                println!(
                    "{node} has had its turn, and has no record of it: its memory was lost, or it was rebooted by hand. See there: \
                     journalctl -u rebootd"
                );
                Ending::NotWell
            }
            Over::Deleted => {
                println!(
                    "The Node {node} was deleted, and the request with it. Its slot, if it had one: rebootctl fleet"
                );
                Ending::NotWell
            }
            Over::Withdrawn => {
                println!("Nothing asks {node} for a reboot any more: somebody has withdrawn the request.");
                Ending::Stopped
            }
        }
    }
}

fn reported(record: Reboot) -> Ending {
    let is_well = record.outcome == "well";
    println!("");
    let record = [record];
    let lines = report::table(&record, true).into_iter().chain(report::measured(&record, false));
    lines.for_each(|line| println!("{line}"));
    if is_well { Ending::Well } else { Ending::NotWell }
}

/// Why nobody there would take a request up.
fn no_rebootd(seen: &Seen, now: u64) -> Option<String> {
    match &seen.said {
        None => Some("no rebootd there has said anything that is understood".to_owned()),
        Some(said) if is_of_another_time(said, now) => {
            Some(format!("its rebootd has last said something at {}", said.at))
        }
        Some(_) => None,
    }
}

/// The own Node before the slots, so that a slot that is gone is never older than the Node.
async fn look(api: &mut Api, name: &str) -> anyhow::Result<Seen> {
    let asked = api.asked_node(name).await.context("cannot read the Node")?;
    let slots = api.held_slots().await.context("cannot read the slots")?;
    let paused = api.paused().await.context("cannot read whether the fleet is paused")?;
    let (mut node, mut said, mut required) = (None, None, None);
    if let Some(asked) = asked {
        (node, said, required) = (Some(asked.node), asked.said, asked.required);
    }
    let pool = node.as_ref().and_then(|node| node.pool_label.as_deref());
    let holders = holders(&slots, pool);
    let held = slots.into_iter().map(|held| held.slot).filter(|slot| slot.holder.as_deref() == Some(name));
    Ok(Seen { node, said, required, held: held.collect(), holders, paused })
}
