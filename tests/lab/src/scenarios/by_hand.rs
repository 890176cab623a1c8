//! What people do by hand, in each phase: nothing of ours is left behind, and what is theirs stays theirs.
//!
//! Each host has a pool of its own, so several are tried at the same time.

use std::ops::RangeInclusive;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::try_join;

use super::places::{Place, clean, keep, late_answer, over};
use super::stage::{CONFIG, CYCLE, SENTINEL, SOON, Stage, request_reboot, slot_of};
use super::status::wait_phase;
use super::verdict;
use crate::host::Host;
use crate::observer::State;
use crate::progress::say;

/// How much later than rebootd itself the observer may see what it did.
const LAG: Duration = Duration::from_secs(3);
/// A start is followed by a second look after two minutes, which finds what landed late.
const SECOND_LOOK: Duration = Duration::from_secs(160);
/// A node that a person has cordoned would wait otherwise.
const POLICY: &str = "reboot_timeout = \"30s\"\n[gates]\nforeign_cordon = \"reboot\"\n";

async fn install(stage: &Stage) -> Result<()> {
    for host in &stage.lab.hosts {
        stage.install_alone(host, &format!("{CONFIG}{POLICY}")).await?;
    }
    Ok(())
}

/// So many reboots more than before, no mark, this cordon, and the slot not held by the node.
async fn left(
    stage: &Stage,
    host: &Host,
    boots: usize,
    expected: RangeInclusive<usize>,
    cordoned: bool,
) -> Result<()> {
    let more = host.boots().len() - boots;
    ensure!(expected.contains(&more), "{} rebooted {more} times, not {expected:?}", host.name());
    let (name, slot) = (host.name().to_owned(), slot_of(host));
    let as_it_should = move |state: &State| {
        let node = state.node(&name).is_some_and(|node| node.unschedulable == cordoned && !node.cordon_mark);
        node && state.holder(&slot) != Some(&name)
    };
    let what = format!("{}: cordoned {cordoned}, no mark, no slot", host.name());
    stage.wait_for(&what, as_it_should, LAG).await?;
    say(format!("{}: {more} reboots, nothing is left behind", host.name()));
    Ok(())
}

// ---- cordons ----

const CORDONS: [(&[&str], &str); 3] =
    [(&["uncordon"], "uncordons"), (&["cordon"], "cordons"), (&["uncordon", "cordon"], "cordons again")];
const CORDON_PLACES: [Place; 7] = [
    Place::Waiting,
    Place::Cordoning,
    Place::Draining,
    Place::Stamping,
    Place::Stamped,
    Place::Returning,
    Place::Aborting,
];

/// `kubectl uncordon`, `kubectl cordon`, and one after the other: a host for each.
pub(super) async fn cordons(stage: &Stage) -> Result<()> {
    install(stage).await?;
    let [first, second, third] = CORDONS;
    try_join!(
        cordon_cycles(stage, stage.host(1), first),
        cordon_cycles(stage, stage.host(2), second),
        cordon_cycles(stage, stage.host(3), third),
    )?;
    Ok(())
}

async fn cordon_cycles(stage: &Stage, host: &Host, (words, told): (&[&str], &str)) -> Result<()> {
    for place in CORDON_PLACES {
        let done = cordon_cycle(stage, host, place, words, told).await;
        done.with_context(|| format!("a person {told} {} at {place:?}", host.name()))?;
    }
    verdict::cordoned_under_slot(&stage.observer.history(), host.name(), &slot_of(host))
}

async fn cordon_cycle(stage: &Stage, host: &Host, place: Place, words: &[&str], told: &str) -> Result<()> {
    let boots = host.boots().len();
    let kept = keep(stage, host, place).await?;
    for word in words {
        stage.lab.kubectl(&[word, host.name()]).await?;
    }
    say(format!("a person {told} {} at {place:?}", host.name()));
    kept.let_go().await?;
    over(host, false).await?;
    let uncordons = words[0] == "uncordon";
    let expected = match place {
        Place::Aborting => 0..=0,
        Place::Draining if words == ["uncordon"] => 0..=0,
        // Whether the daemon sees it between the two, or before the call of logind, is a matter of luck.
        Place::Draining | Place::Stamping | Place::Stamped if uncordons => 0..=1,
        _ => 1..=1,
    };
    // On a node that is cordoned `kubectl cordon` changes nothing: the cordon stays ours.
    let was_schedulable = matches!(place, Place::Waiting | Place::Cordoning);
    let his = words.last() == Some(&"cordon") && (uncordons || was_schedulable);
    left(stage, host, boots, expected, his).await?;
    stage.lab.kubectl(&["uncordon", host.name()]).await?;
    clean(stage, host).await
}

// ---- slots ----

#[derive(Clone, Copy, Debug, PartialEq)]
enum Deed {
    Deletes,
    Takes,
    Frees,
    AppliesAgain,
}

const SLOT_PLACES: [Place; 6] =
    [Place::Cordoning, Place::Draining, Place::Stamping, Place::Stamped, Place::Returning, Place::Aborting];

/// The slot is deleted, taken, freed; its manifest is applied again: a host for each.
pub(super) async fn slots(stage: &Stage) -> Result<()> {
    install(stage).await?;
    try_join!(
        slot_cycles(stage, stage.host(1), Deed::Deletes),
        slot_cycles(stage, stage.host(2), Deed::Takes),
        slot_cycles(stage, stage.host(3), Deed::Frees),
        slot_cycles(stage, stage.host(4), Deed::AppliesAgain),
    )?;
    let again = stage.host(4);
    verdict::cordoned_under_slot(&stage.observer.history(), again.name(), &slot_of(again))
}

async fn slot_cycles(stage: &Stage, host: &Host, deed: Deed) -> Result<()> {
    for place in SLOT_PLACES {
        let done = slot_cycle(stage, host, place, deed).await;
        done.with_context(|| format!("a person {deed:?} the slot of {} at {place:?}", host.name()))?;
    }
    Ok(())
}

async fn slot_cycle(stage: &Stage, host: &Host, place: Place, deed: Deed) -> Result<()> {
    let boots = host.boots().len();
    let slot = slot_of(host);
    let kept = keep(stage, host, place).await?;
    match deed {
        Deed::Deletes => {
            stage.lab.kubectl(&["delete", "lease", &slot, "--namespace=rebootd"]).await?;
            stage.apply_slot_of(host).await?;
        }
        Deed::Takes => stage.set_holder_of(&slot, "\"a-person\"").await?,
        Deed::Frees => stage.set_holder_of(&slot, "null").await?,
        Deed::AppliesAgain => stage.apply_slot_of(host).await?,
    }
    say(format!("a person {deed:?} the slot of {} at {place:?}", host.name()));
    kept.let_go().await?;
    over(host, deed == Deed::Takes).await?;
    let expected = match place {
        Place::Returning => 1..=1,
        Place::Aborting => 0..=0,
        _ if deed == Deed::AppliesAgain => 1..=1,
        // The stamp was answered before the slot was lost: the call follows if it is still in time. And a cordon
        // that conflicts with a report of the kubelet leaves nothing to be undone: the slot is claimed again.
        Place::Stamped | Place::Cordoning => 0..=1,
        _ => 0..=0,
    };
    left(stage, host, boots, expected, false).await?;
    let taken = stage.observer.state().holder(&slot) == Some("a-person");
    ensure!(taken == (deed == Deed::Takes), "the slot was taken back, or is still taken");
    clean(stage, host).await?;
    stage.set_holder_of(&slot, "null").await
}

// ---- requests, reboots and pools ----

/// The request is taken away; somebody reboots; the node's pool is changed: a host for each.
pub(super) async fn requests(stage: &Stage) -> Result<()> {
    install(stage).await?;
    let [withdrawn, rebooted, moved] = [1, 2, 3].map(|number| stage.host(number));
    try_join!(withdrawals(stage, withdrawn), reboots(stage, rebooted), moves(stage, moved))?;
    for host in [withdrawn, rebooted] {
        verdict::cordoned_under_slot(&stage.observer.history(), host.name(), &slot_of(host))?;
    }
    Ok(())
}

async fn withdrawals(stage: &Stage, host: &Host) -> Result<()> {
    for place in [
        Place::Waiting,
        Place::Claiming,
        Place::Cordoning,
        Place::Draining,
        Place::Stamping,
        Place::Stamped,
        Place::Returning,
        Place::Aborting,
    ] {
        withdrawal(stage, host, place).await.with_context(|| format!("withdrawn at {place:?}"))?;
    }
    Ok(())
}

async fn withdrawal(stage: &Stage, host: &Host, place: Place) -> Result<()> {
    let boots = host.boots().len();
    let kept = keep(stage, host, place).await?;
    if place == Place::Aborting {
        say("… and is made again");
        request_reboot(host).await?;
    } else {
        host.run_ok(&["rm", "-f", SENTINEL]).await?;
        say(format!("{}: the sentinel is removed at {place:?}", host.name()));
    }
    kept.let_go().await?;
    let reboots = usize::from(matches!(place, Place::Returning | Place::Aborting));
    host.wait_boot_number(boots + reboots, CYCLE).await?;
    wait_phase(host, "idle", CYCLE).await?;
    left(stage, host, boots, reboots..=reboots, false).await?;
    clean(stage, host).await
}

async fn reboots(stage: &Stage, host: &Host) -> Result<()> {
    for place in [
        Place::Waiting,
        Place::Claiming,
        Place::Cordoning,
        Place::Stamping,
        Place::Stamped,
        Place::Returning,
        Place::Aborting,
    ] {
        reboot(stage, host, place).await.with_context(|| format!("rebooted at {place:?}"))?;
    }
    Ok(())
}

async fn reboot(stage: &Stage, host: &Host, place: Place) -> Result<()> {
    let boots = host.boots().len();
    let mut kept = keep(stage, host, place).await?;
    let booted = host.boots().len();
    say(format!("somebody reboots {} at {place:?}", host.name()));
    // The host may be gone before this is answered.
    let _ = host.run(&["systemctl", "reboot"]).await;
    host.wait_boot_number(booted + 1, CYCLE).await?;
    host.wait_booted(SOON).await?;
    let held = kept.hit.take();
    // What was on its way then arrives when all is over, where nothing of it is needed to get there.
    let late = held.filter(|_| matches!(place, Place::Claiming | Place::Cordoning | Place::Stamping));
    if let Some(late) = late {
        wait_phase(host, "idle", CYCLE).await?;
        kept.let_go().await?;
        let answer = late_answer(stage, host, &late).await?;
        say(format!("{}: {:?} arrives late and is answered {answer}", host.name(), place));
        // Nobody has written to the slot since: the claim lands, and the second look finds it.
        ensure!(place == Place::Claiming || answer == 409, "{place:?} landed late: {answer}");
        let (name, slot) = (host.name().to_owned(), slot_of(host));
        let free = move |state: &State| state.holder(&slot) != Some(&name);
        stage.wait_for("the slot is free", free, SECOND_LOOK).await?;
    } else {
        kept.let_go().await?;
    }
    wait_phase(host, "idle", CYCLE).await?;
    let reboots = 1 + booted - boots;
    left(stage, host, boots, reboots..=reboots, false).await?;
    clean(stage, host).await
}

async fn moves(stage: &Stage, host: &Host) -> Result<()> {
    let (home, slot) = (host.name(), slot_of(host));
    let other = format!("{home}-b");
    let lease = format!(
        "apiVersion: coordination.k8s.io/v1\nkind: Lease\nmetadata: {{name: {other}-1, namespace: rebootd, \
         labels: {{rebootd.io/pool: {other}}}}}\n"
    );
    stage.lab.control_plane.apply(&lease).await?;
    for place in [Place::Waiting, Place::Cordoning, Place::Draining, Place::Stamped, Place::Returning] {
        let boots = host.boots().len();
        let kept = keep(stage, host, place).await?;
        set_pool(host, &other).await?;
        say(format!("{home} is moved to another pool at {place:?}"));
        if place == Place::Draining {
            // Stuck there, it can go on only after it has given back the slot of the old pool.
            let (name, from, to) = (home.to_owned(), slot.clone(), format!("{other}-1"));
            let moved =
                move |state: &State| state.holder(&from).is_none() && state.holder(&to) == Some(&name);
            stage.wait_for("it has changed slots", moved, SOON).await?;
        }
        kept.let_go().await?;
        host.wait_boot_number(boots + 1, CYCLE).await?;
        wait_phase(host, "idle", CYCLE).await.with_context(|| format!("moved at {place:?}"))?;
        left(stage, host, boots, 1..=1, false).await?;
        ensure!(stage.observer.state().holder(&format!("{other}-1")).is_none(), "the other slot is held");
        ensure!(stage.node(home)?.pool.as_deref() == Some(&other), "the label names the old pool");
        set_pool(host, home).await?;
        clean(stage, host).await?;
    }
    Ok(())
}

async fn set_pool(host: &Host, pool: &str) -> Result<()> {
    let config = format!("{CONFIG}{POLICY}[node]\npool = \"{pool}\"\n");
    host.write_file("/etc/rebootd/config.toml", config).await?;
    host.run_ok(&["systemctl", "reload", "rebootd"]).await?;
    Ok(())
}
