//! The API server is away for a minute, for hosts that stand at four places of their cycles: no reboot starts
//! without it, and afterwards all of them come to their end.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::time::sleep;
use tokio::try_join;

use super::places::{Kept, Place, keep};
use super::stage::{CONFIG, CYCLE, SOON, Stage, slot_of};
use super::status::wait_status;
use super::verdict;
use crate::network::Cut;
use crate::progress::say;

/// Longer than requests, connections and kubelets hold out.
const AWAY: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Outage {
    /// The API server's process is killed, and nothing listens.
    Stopped,
    /// The hosts' network does this.
    Cut(Cut),
}

/// The API server is stopped.
pub(super) async fn stopped(stage: &Stage) -> Result<()> {
    install(stage).await?;
    outage(stage, Outage::Stopped, 1).await
}

/// The hosts' packets vanish; then their connections are refused.
pub(super) async fn cut_off(stage: &Stage) -> Result<()> {
    install(stage).await?;
    outage(stage, Outage::Cut(Cut::Silent), 1).await?;
    outage(stage, Outage::Cut(Cut::Refuse), 2).await
}

async fn install(stage: &Stage) -> Result<()> {
    for host in &stage.lab.hosts {
        stage.install_alone(host, &format!("{CONFIG}reboot_timeout = \"30s\"\n")).await?;
    }
    Ok(())
}

/// `round` counts the reboots that each host has to make.
async fn outage(stage: &Stage, outage: Outage, round: usize) -> Result<()> {
    let (draining, stamping, returning) = try_join!(
        keep(stage, stage.host(1), Place::Draining),
        keep(stage, stage.host(2), Place::Stamping),
        keep(stage, stage.host(4), Place::Returning),
    )?;
    // Last: a daemon waits for an answer only so long, and then reads for itself that it may go down.
    let stamped = keep(stage, stage.host(3), Place::Stamped).await?;
    let kept: [Kept<'_>; 4] = [draining, stamping, stamped, returning];
    let boots: Vec<usize> = stage.lab.hosts.iter().map(|host| host.boots().len()).collect();
    begin(stage, outage).await?;
    say(format!("{outage:?}: the API server is away"));
    let failing = |number| {
        wait_status(
            stage.host(number),
            "missing the API",
            |status| status.reason("api-failing").is_some(),
            SOON,
        )
    };
    let away = async {
        sleep(AWAY).await;
        anyhow::Ok(())
    };
    try_join!(away, failing(1), failing(2), failing(3), failing(4))?;
    for (host, boots) in stage.lab.hosts.iter().zip(&boots) {
        ensure!(host.is_on() && host.boots().len() == *boots, "{} went down without the API", host.name());
    }
    end(stage, outage).await?;
    say(format!("{outage:?}: the API server is back"));
    for (host, kept) in stage.lab.hosts.iter().zip(kept) {
        let place = kept.place;
        // What was held for this long arrives now.
        kept.let_go().await.with_context(|| format!("{} at {place:?}", host.name()))?;
    }
    for host in &stage.lab.hosts {
        host.wait_boot_number(round + 1, CYCLE).await?;
        verdict::settled(stage, host).await?;
        verdict::booted(host, round + 1)?;
        verdict::cordoned(&stage.observer.history(), host.name(), round)?;
        verdict::cordoned_under_slot(&stage.observer.history(), host.name(), &slot_of(host))?;
    }
    Ok(())
}

async fn begin(stage: &Stage, outage: Outage) -> Result<()> {
    match outage {
        Outage::Stopped => {
            for host in &stage.lab.hosts {
                stage.lab.proxy(host.name()).set_refuse(true);
            }
            stage.lab.control_plane.stop_api_server().await?;
            for host in &stage.lab.hosts {
                stage.lab.proxy(host.name()).kill_connections();
            }
        }
        Outage::Cut(how) => {
            for host in &stage.lab.hosts {
                host.cut_network(how).await?;
            }
        }
    }
    Ok(())
}

async fn end(stage: &Stage, outage: Outage) -> Result<()> {
    if outage == Outage::Stopped {
        stage.lab.control_plane.start_api_server().await?;
    }
    for host in &stage.lab.hosts {
        stage.lab.proxy(host.name()).set_refuse(false);
        host.restore_network().await?;
    }
    Ok(())
}
