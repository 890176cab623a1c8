//! A long time in which hosts ask again and again, and something goes wrong every few seconds.
//!
//! What goes wrong is drawn at random; the seed is printed. Whatever happens: never two at a time, and in the end
//! every host is back.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Result, ensure};
use tokio::time::{Instant, sleep};

use super::stage::{CONFIG, CYCLE, SENTINEL, SLOT, Stage, is_absent};
use super::status::{status, wait_phase};
use super::verdict;
use crate::dice::Dice;
use crate::host::Host;
use crate::observer::State;
use crate::progress::say;
use crate::workload::Deployment;

const TIME: Duration = Duration::from_secs(600);
/// A host that lost its power is off for this long.
const DARK: Duration = Duration::from_secs(5);
const PODS: u32 = 9;

pub(super) async fn run(stage: &Stage) -> Result<()> {
    let config = format!("{CONFIG}reboot_timeout = \"30s\"\n[drain]\ntimeout = \"2min\"\n");
    stage.install_everywhere(&config).await?;
    let pods = Deployment { pre_stop_seconds: 2, ..Deployment::new("web", PODS) };
    pods.create(&stage.lab.control_plane).await?;
    stage.wait_pods(&pods).await?;
    let seed = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    say(format!("seed {seed}"));
    let mut dice = Dice::new(seed);
    let until = Instant::now() + TIME;
    while Instant::now() < until {
        for host in &stage.lab.hosts {
            // A host that is off, or about to be, asks when it is back.
            if host.is_on() && is_absent(host, SENTINEL).await.unwrap_or(false) {
                let _ = host.run(&["touch", SENTINEL]).await;
            }
        }
        let host = &stage.lab.hosts[dice.roll(stage.lab.hosts.len())];
        mishap(stage, host, dice.roll(10)).await?;
        sleep(Duration::from_millis(500 + 500 * dice.roll(10) as u64)).await;
    }
    say("nothing goes wrong any more");
    recover(stage).await?;
    let history = stage.observer.history();
    let reboots: usize = stage.lab.hosts.iter().map(|host| host.boots().len() - 1).sum();
    say(format!("{reboots} boots, {} claims", history.holdings().len()));
    ensure!(reboots >= 6, "hardly anything happened");
    let wrong = history.disrupted_more_than(1, "worker");
    ensure!(wrong.is_empty(), "disrupted at the same time: {wrong:?}");
    Ok(())
}

/// Something that goes wrong; most often nothing does.
async fn mishap(stage: &Stage, host: &Host, which: usize) -> Result<()> {
    let proxy = stage.lab.proxy(host.name());
    match which {
        0..3 if host.is_on() => {
            say(format!("{}: rebootd is killed", host.name()));
            let kill = ["systemctl", "kill", "--kill-whom=main", "--signal=KILL", "rebootd"];
            let _ = host.run(&kill).await;
        }
        3 => {
            say(format!("{}: connections break", host.name()));
            proxy.kill_connections();
        }
        4 => {
            say(format!("{}: the server is silent for a while", host.name()));
            proxy.set_black_hole(true);
            sleep(Duration::from_secs(8)).await;
            proxy.set_black_hole(false);
        }
        // Only where the slot is sure to be held for a while: then nobody else may be disrupted meanwhile.
        5 if status(host).await.is_some_and(|status| status.phase == "draining") => {
            say(format!("{}: the power fails", host.name()));
            if host.power_off_abruptly().await.is_ok() {
                sleep(DARK).await;
            }
            if !host.is_on() {
                host.boot();
            }
        }
        _ => {}
    }
    Ok(())
}

/// Waits until nobody asks any more and all is as it was.
async fn recover(stage: &Stage) -> Result<()> {
    for host in &stage.lab.hosts {
        wait_phase(host, "idle", CYCLE * 2).await?;
    }
    let free = |state: &State| state.holder(SLOT).is_none();
    stage.wait_for("the slot is free", free, CYCLE).await?;
    for host in &stage.lab.hosts {
        verdict::settled(stage, host).await?;
    }
    Ok(())
}
