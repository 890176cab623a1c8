//! The power supply and the firmware of a host: starts systemd-nspawn, and starts it again after a reboot.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail, ensure};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::{command, namespaces, processes};

/// What systemd-nspawn exits with when the machine asked for a reboot.
const REBOOT: i32 = 133;

/// Where the process id of a host's PID 1 is written, for [`crate::host::enter_by_name`].
pub(crate) const LEADER_FILE: &str = "leader";

/// How a boot ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The host rebooted in order.
    Rebooted,
    /// The host was shut down in order.
    PoweredOff,
    /// The power failed.
    PowerLost,
}

/// One boot of a host.
#[derive(Clone, Debug)]
pub struct Boot {
    /// Counts from 1.
    pub number: usize,
    /// When the machine was switched on.
    pub started: SystemTime,
    /// The boot id as programs on the host see it, with dashes; known soon after the start.
    pub id: Option<String>,
    /// When and how it ended.
    pub ended: Option<(SystemTime, Ending)>,
}

#[derive(Clone, Debug)]
pub(crate) struct Power {
    /// Counts the wishes to be on: a machine that is off starts when it grows.
    pub(crate) presses: u64,
    pub(crate) stay_down: bool,
    pub(crate) boot_delay: Duration,
}

pub(crate) struct State {
    pub(crate) boots: Vec<Boot>,
    pub(crate) leader: Option<u32>,
    pub(crate) failure: Option<String>,
}

pub(crate) struct Machine {
    pub(crate) name: String,
    pub(crate) directory: PathBuf,
    pub(crate) cgroup: PathBuf,
    pub(crate) arguments: Vec<String>,
    pub(crate) environment: &'static [(&'static str, &'static str)],
    pub(crate) state: Mutex<State>,
}

impl Machine {
    /// Boots whenever it is switched on, and again whenever it asks for a reboot.
    pub(crate) async fn supervise(&self, power: &mut watch::Receiver<Power>) -> Result<()> {
        let mut answered = 0;
        loop {
            power.wait_for(|power| power.presses > answered).await?;
            let ending = loop {
                let delay = power.borrow().boot_delay;
                sleep(delay).await;
                answered = power.borrow().presses;
                let ending = self.one_boot().await?;
                if ending != Ending::Rebooted || power.borrow().stay_down {
                    break ending;
                }
            };
            crate::progress::say(format!("{} is off ({ending:?})", self.name));
        }
    }

    async fn one_boot(&self) -> Result<Ending> {
        let mut nspawn = self.switch_on()?;
        let number = {
            let mut state = self.state.lock().expect("no panic holds it");
            let number = state.boots.len() + 1;
            state.boots.push(Boot { number, started: SystemTime::now(), id: None, ended: None });
            number
        };
        let id = nspawn.id().context("nspawn has no id")?;
        let status = tokio::select! {
            status = nspawn.wait() => status?,
            result = self.find_leader(id) => {
                result?;
                nspawn.wait().await?
            }
        };
        let ending = self.ending(status)?;
        let mut state = self.state.lock().expect("no panic holds it");
        state.leader = None;
        let _ = fs::remove_file(self.directory.join(LEADER_FILE));
        state.boots[number - 1].ended = Some((SystemTime::now(), ending));
        Ok(ending)
    }

    fn switch_on(&self) -> Result<Child> {
        // A machine shares no cgroup with another one, nor with its own boot before: each starts clean.
        namespaces::remove_cgroup(&self.cgroup);
        fs::create_dir_all(&self.cgroup)?;
        let console = File::options().create(true).append(true).open(self.directory.join("console.log"))?;
        Command::new("sh")
            .args(["-c", "echo 0 > \"$1/cgroup.procs\" && shift && exec systemd-nspawn \"$@\"", "switch-on"])
            .arg(&self.cgroup)
            .args(&self.arguments)
            .env("SYSTEMD_NSPAWN_UNIFIED_HIERARCHY", "1")
            .envs(self.environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(console.try_clone()?)
            .stderr(console)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .context("cannot start systemd-nspawn")
    }

    /// Waits until nspawn's child is PID 1 of its own namespace, and notes it and its boot id.
    async fn find_leader(&self, nspawn: u32) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(60);
        while Instant::now() < deadline {
            if let Some(leader) =
                processes::children(nspawn)?.into_iter().find(|child| processes::is_init(*child))
            {
                // nspawn covers the kernel's own boot id with one for this boot of the machine.
                let id = fs::read_to_string(format!("/proc/{leader}/root/proc/sys/kernel/random/boot_id"));
                let outer = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
                if let Ok(id) = id
                    && id != outer
                {
                    let mut state = self.state.lock().expect("no panic holds it");
                    fs::write(self.directory.join(LEADER_FILE), leader.to_string())?;
                    state.leader = Some(leader);
                    if let Some(boot) = state.boots.last_mut() {
                        boot.id = Some(id.trim().to_owned());
                    }
                    return Ok(());
                }
            }
            sleep(Duration::from_millis(20)).await;
        }
        bail!("systemd-nspawn has started no machine")
    }

    fn ending(&self, status: ExitStatus) -> Result<Ending> {
        Ok(match status.code() {
            Some(REBOOT) => Ending::Rebooted,
            Some(0) => Ending::PoweredOff,
            // A machine whose PID 1 was killed; one that never came up says why on its console.
            _ => {
                let started = self.state.lock().expect("no panic holds it").leader.is_some();
                ensure!(
                    started,
                    "systemd-nspawn: {status}\n{}",
                    command::tail(&self.directory.join("console.log"), 15)
                );
                Ending::PowerLost
            }
        })
    }
}
