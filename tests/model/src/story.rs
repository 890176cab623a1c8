//! Stories: a run of the model as text, which a person can read and the model can play again.
//!
//! The part before `---` is the input: comments, the search that it belongs to, and one step a line. What follows is
//! golden output: each step with the state after it, up to the end or to the first step that cannot happen.

use std::fmt::Write as _;

use anyhow::{Context, Result};

use crate::agent::{Agents, BARE, Stage};
use crate::search::{Violation, invariant};
use crate::searches::{self, Search};
use crate::state::{Boot, Cordon, FREE, GONE, OUTSIDE, Power, SlotStamp, State, Taint};
use crate::steps::Steps;

const GOLDEN: &str = "---\n";

/// The input of a story.
pub fn input(search: &Search, title: &str, violation: &Violation) -> String {
    let mut text = format!("# {title}: {}\nsearch {}\n", violation.what, search.name);
    for (label, _) in &violation.run {
        let _ = writeln!(text, "{label}");
    }
    text
}

/// Plays a story; gives the whole file as it should be.
pub fn replay(text: &str) -> Result<String> {
    let input = text.split(GOLDEN).next().unwrap_or_default();
    let lines = || input.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let name = lines().find_map(|line| line.strip_prefix("search ")).context("no line `search NAME`")?;
    let search = searches::find(name)?;
    let mut agents = Agents::new(&search);
    let mut state = State::first(&search, &mut agents);
    let mut told = format!("{}{GOLDEN}", input);
    for line in lines().filter(|line| !line.starts_with("search ")) {
        let mut steps = Steps::new(&search, &mut agents);
        steps.from(&state);
        let Some(next) = steps.next.iter().find(|next| next.label.to_string() == line) else {
            let who = line.split(':').next();
            let labels = steps.next.iter().filter(|next| !next.fault).map(|next| next.label.to_string());
            let instead: Vec<String> = labels.filter(|label| label.split(':').next() == who).collect();
            let _ = writeln!(told, "{line}\n    cannot happen; instead: {}", instead.join("; "));
            return Ok(told);
        };
        state = next.state;
        let _ = writeln!(told, "{line}\n    {}", describe(&search, &agents, &state));
        if let Some(what) = next.broke.or(invariant(&search, &state)) {
            let _ = writeln!(told, "    VIOLATION {what}");
        }
    }
    Ok(told)
}

/// A state in one line: slots, then what is worth telling of each node.
pub fn describe(search: &Search, agents: &Agents, state: &State) -> String {
    let mut parts = Vec::new();
    for (place, slot) in state.slots.iter().take(search.slots).enumerate() {
        let holder = match slot.holder {
            FREE => "free".into(),
            GONE => "gone".into(),
            OUTSIDE => "held by another".into(),
            holder => {
                let boot = match slot.boot {
                    Boot::This => "this boot",
                    Boot::Former => "a former boot",
                    Boot::OtherMachine => "another machine",
                    Boot::Garbled => "garbled",
                };
                let stamp = if slot.stamp == SlotStamp::None { "" } else { ", stamped" };
                format!("held by {} ({boot}{stamp})", char::from(b'A' + holder - 1))
            }
        };
        parts.push(format!("slot {place} {holder}"));
    }
    for (number, agent) in state.agents.iter().take(search.agents).enumerate() {
        let mut words = vec![match agent.power {
            Power::Up if agent.going_down => "going down",
            Power::Up => "up",
            Power::Down => "down",
            Power::Dead => "down for good",
        }];
        if !agent.node.exists {
            words.push("no Node");
        } else {
            match agent.node.cordon {
                Cordon::None => {}
                Cordon::Ours => words.push("cordoned by us"),
                Cordon::Other => words.push("cordoned by a person"),
            }
            let mark_alone = agent.node.mark && agent.node.cordon != Cordon::Ours;
            words.extend(mark_alone.then_some("our mark"));
            words.extend((!agent.node.this_boot).then_some("boot not reported"));
            words.extend((agent.node.taint == Taint::New).then_some("a new taint"));
            words.extend((agent.node.taint == Taint::Ignored).then_some("an ignored taint"));
            words.extend((agent.pod == Some(BARE)).then_some("a bare pod"));
        }
        words.extend(agent.call.then_some("a call of Reboot on its way"));
        words.extend((agent.late != 0).then_some("a late write to the Node on its way"));
        words.extend(
            matches!(agents.get(agent.local).stage, Stage::Pending { .. }).then_some("waits for an answer"),
        );
        parts.push(format!("{} {}", char::from(b'A' + number as u8), words.join(", ")));
    }
    parts.join(" | ")
}
