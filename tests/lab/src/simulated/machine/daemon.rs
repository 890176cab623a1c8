//! rebootd on a simulated machine.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::process::Command;
use tokio::time::sleep;

use super::Machine;

/// systemd starts a dead daemon again after this long.
const RESTART: Duration = Duration::from_millis(300);

impl Machine {
    /// Sends a signal to rebootd, if it runs.
    pub(crate) async fn signal(&self, signal_name: &str) -> bool {
        let daemon = self.lock().daemon;
        signal(daemon, signal_name).await
    }

    /// rebootd's memory is lost.
    pub(crate) fn forget(&self) {
        let _ = fs::remove_file(self.directory.join("state/state.json"));
    }

    /// Keeps rebootd running while the machine is up.
    pub(crate) async fn supervise(self: Arc<Self>, rebootd: PathBuf) -> Result<()> {
        let mut changed = self.changed.subscribe();
        loop {
            let Some(boot) = self.boot_id() else {
                changed.changed().await?;
                continue;
            };
            let mut child = self.start(&rebootd, &boot)?;
            self.lock().daemon = child.id();
            if self.boot_id().as_deref() != Some(&boot) {
                child.start_kill()?;
            }
            child.wait().await?;
            self.lock().daemon = None;
            self.changed.send_replace(());
            sleep(RESTART).await;
        }
    }

    /// In a mount namespace of its own it sees this machine's id; in a time namespace the clock of a fresh boot.
    fn start(&self, rebootd: &Path, boot: &str) -> Result<tokio::process::Child> {
        let log = File::options().create(true).append(true).open(self.log())?;
        let up = fs::read_to_string("/proc/uptime")?;
        let up: f64 = up.split(' ').next().unwrap_or_default().parse()?;
        let began = self.lock().boots;
        let offset = self.boot_offset(began, up);
        let script = "mount --bind \"$1/machine-id\" /etc/machine-id &&
            mount --bind \"$1/status\" /run/rebootd &&
            exec \"$2\" run --boot-id \"$3\" --config-dir \"$1/config\"";
        Command::new("unshare")
            .args(["--mount", "--time", &format!("--boottime={offset}")])
            .args(["sh", "-c", script, "sh"])
            .arg(&self.directory)
            .arg(rebootd)
            .arg(boot)
            .env("STATE_DIRECTORY", self.directory.join("state"))
            .env("DBUS_SYSTEM_BUS_ADDRESS", format!("unix:path={}", self.bus_path().display()))
            .env_remove("NOTIFY_SOCKET")
            .env_remove("INVOCATION_ID")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .context("cannot start unshare")
    }

    /// By how much the boot clock of this boot differs from that of the machine underneath: fixed at its first process.
    fn boot_offset(&self, boot: u64, up: f64) -> i64 {
        let path = self.directory.join(format!("offset-{boot}"));
        let known = fs::read_to_string(&path).ok().and_then(|text| text.parse().ok());
        known.unwrap_or_else(|| {
            let offset = 5 - up as i64;
            let _ = fs::write(&path, offset.to_string());
            offset
        })
    }

    /// For the next rebootd so much more time of this boot has passed.
    pub(crate) fn pass_time(&self, time: Duration) -> Result<()> {
        let path = self.directory.join(format!("offset-{}", self.lock().boots));
        let offset: i64 = fs::read_to_string(&path)?.parse()?;
        Ok(fs::write(&path, (offset + i64::try_from(time.as_secs())?).to_string())?)
    }
}

pub(super) async fn signal(process: Option<u32>, signal: &str) -> bool {
    let Some(process) = process else { return false };
    let status =
        Command::new("kill").args([signal, &process.to_string()]).stderr(Stdio::null()).status().await;
    status.is_ok_and(|status| status.success())
}
