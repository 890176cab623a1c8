//! A simulated machine: power, boots, logind and a sentinel in memory; on it runs the real rebootd.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde_json::Value;
use tokio::process::Command;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::bus::Answer;
use super::checker::{Event, MachineEvent, What};

/// systemd starts a dead daemon again after this long.
const RESTART: Duration = Duration::from_millis(300);
/// What stops before the power goes: the daemon among it.
const SHUTDOWN: Duration = Duration::from_millis(300);

/// What all machines write down, with the wall clock of this one.
#[derive(Default)]
pub(super) struct Chronicle {
    events: Mutex<Vec<Event>>,
    calls: AtomicU64,
}

impl Chronicle {
    fn note(&self, machine: &str, event: MachineEvent) {
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        // Read under the lock, so that the order of the lines is that of the times.
        events.push(Event { at: Timestamp::now(), what: What::Machine(machine.to_owned(), event) });
    }

    /// All of it so far.
    pub(super) fn events(&self) -> Vec<Event> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A call that rebootd makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    Reboot,
    CanReboot,
    ListInhibitors,
    PreparingForShutdown,
    SystemState,
}

/// A call that has arrived.
pub(super) struct Arrived {
    call: Call,
    /// The boot in which it came; none where the machine was dark.
    boot: Option<String>,
    /// Of a call of `Reboot`: its number and what becomes of it.
    reboot: Option<(u64, Fate)>,
}

/// What becomes of a call of `Reboot`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fate {
    /// It lies around for so long before logind sees it.
    pub(super) delivered_after: Duration,
    pub(super) outcome: RebootOutcome,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum RebootOutcome {
    /// Accepted. Something delays the shutdown for so long; then it is dark for so long.
    Happens { after: Duration, dark: Duration },
    /// Accepted, but it never happens.
    Never,
    /// An error.
    Refused,
}

impl Default for Fate {
    fn default() -> Self {
        let (after, dark) = (Duration::from_millis(200), Duration::from_secs(1));
        Self { delivered_after: Duration::ZERO, outcome: RebootOutcome::Happens { after, dark } }
    }
}

/// How the bus is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BusMood {
    Well,
    Failing,
    Hanging,
}

/// A machine's name, place and credentials; its power and the rest are inside.
pub(super) struct Machine {
    pub(super) name: String,
    pub(super) pool: String,
    pub(super) machine_id: String,
    /// Its kubelet tells boot id and machine id, as a real one does.
    pub(super) tells_ids: bool,
    directory: PathBuf,
    number: usize,
    chronicle: Arc<Chronicle>,
    state: Mutex<State>,
    changed: watch::Sender<()>,
}

struct State {
    boot: Option<String>,
    boots: u64,
    preparing: bool,
    inhibited: bool,
    bus: BusMood,
    fates: VecDeque<Fate>,
    told_open: Option<Timestamp>,
    daemon: Option<u32>,
    kubelet_from: Instant,
    kubelet_ready: bool,
    healthy: bool,
    connections: CancellationToken,
}

impl Machine {
    /// A machine that is dark; the configuration of its rebootd lies in the directory.
    pub(super) fn new(
        directory: &Path,
        number: usize,
        pool: &str,
        tells_ids: bool,
        chronicle: Arc<Chronicle>,
    ) -> Result<Arc<Self>> {
        let machine = Self {
            name: format!("sim{number}"),
            pool: pool.to_owned(),
            machine_id: format!("{:032x}", 0xa000 + number),
            tells_ids,
            directory: directory.to_owned(),
            number,
            chronicle,
            state: Mutex::new(State {
                boot: None,
                boots: 0,
                preparing: false,
                inhibited: false,
                bus: BusMood::Well,
                fates: VecDeque::new(),
                told_open: None,
                daemon: None,
                kubelet_from: Instant::now(),
                kubelet_ready: true,
                healthy: false,
                connections: CancellationToken::new(),
            }),
            changed: watch::Sender::new(()),
        };
        for part in ["run", "state", "config", "status"] {
            fs::create_dir_all(directory.join(part))?;
        }
        fs::write(directory.join("machine-id"), format!("{}\n", machine.machine_id))?;
        Ok(Arc::new(machine))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, event: MachineEvent) {
        self.chronicle.note(&self.name, event);
    }

    // ---- places ----

    pub(super) fn bus_path(&self) -> PathBuf {
        self.directory.join("bus")
    }

    pub(super) fn sentinel(&self) -> PathBuf {
        self.directory.join("run/reboot-required")
    }

    pub(super) fn config(&self) -> PathBuf {
        self.directory.join("config")
    }

    pub(super) fn log(&self) -> PathBuf {
        self.directory.join("rebootd.log")
    }

    pub(super) fn asks(&self) -> bool {
        self.sentinel().exists()
    }

    /// What rebootd publishes.
    pub(super) fn status(&self) -> Option<Value> {
        serde_json::from_slice(&fs::read(self.directory.join("status/status.json")).ok()?).ok()
    }

    // ---- power ----

    pub(super) fn boot_id(&self) -> Option<String> {
        self.lock().boot.clone()
    }

    /// Power comes, if it was gone. The sentinel's directory is a tmpfs: it comes up empty.
    pub(super) fn boot(&self) {
        let mut state = self.lock();
        if state.boot.is_some() {
            return;
        }
        let _ = fs::remove_file(self.sentinel());
        let _ = fs::remove_file(self.directory.join("status/status.json"));
        state.boots += 1;
        let boot = format!("{:016x}{:016x}", 0xb000 + self.number, state.boots);
        state.boot = Some(boot.clone());
        state.preparing = false;
        state.inhibited = false;
        state.bus = BusMood::Well;
        state.told_open = None;
        state.healthy = false;
        state.kubelet_from = state.kubelet_from.max(Instant::now() + Duration::from_millis(500));
        self.note(MachineEvent::Booted(boot));
        drop(state);
        self.changed.send_replace(());
    }

    /// Power goes: whatever runs is dead when this returns.
    pub(super) async fn power_off(&self, why: &'static str) {
        let daemon = {
            let mut state = self.lock();
            if state.boot.take().is_none() {
                return;
            }
            state.connections.cancel();
            state.connections = CancellationToken::new();
            self.note(MachineEvent::Down(why));
            state.daemon
        };
        self.changed.send_replace(());
        signal(daemon, "-KILL").await;
        let mut changed = self.changed.subscribe();
        while self.lock().daemon.is_some() {
            let _ = changed.changed().await;
        }
    }

    /// An orderly reboot of this boot, however it came to it.
    pub(super) async fn reboot(&self, boot: &str, after: Duration, dark: Duration, why: &'static str) {
        sleep(after).await;
        if self.boot_id().as_deref() != Some(boot) {
            return;
        }
        self.lock().preparing = true;
        self.signal("-TERM").await;
        sleep(SHUTDOWN).await;
        if self.boot_id().as_deref() == Some(boot) {
            self.power_off(why).await;
            sleep(dark).await;
            self.boot();
        }
    }

    /// Somebody says `systemctl reboot`.
    pub(super) fn prepare_shutdown(&self) -> Option<String> {
        let mut state = self.lock();
        let boot = state.boot.clone().filter(|_| !state.preparing)?;
        state.preparing = true;
        Some(boot)
    }

    // ---- the daemon ----

    /// Sends a signal to rebootd, if it runs.
    pub(super) async fn signal(&self, signal_name: &str) -> bool {
        let daemon = self.lock().daemon;
        signal(daemon, signal_name).await
    }

    /// rebootd's memory is lost.
    pub(super) fn forget(&self) {
        let _ = fs::remove_file(self.directory.join("state/state.json"));
    }

    /// Keeps rebootd running while the machine is up.
    pub(super) async fn supervise(self: Arc<Self>, rebootd: PathBuf) -> Result<()> {
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
            .args(["--mount", "--time", &format!("--boottime=-{offset}")])
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

    /// How much the boot clock of this boot is behind that of the machine underneath: fixed at its first process.
    fn boot_offset(&self, boot: u64, up: f64) -> u64 {
        let path = self.directory.join(format!("offset-{boot}"));
        let known = fs::read_to_string(&path).ok().and_then(|text| text.parse().ok());
        known.unwrap_or_else(|| {
            let offset = (up as u64).saturating_sub(5);
            let _ = fs::write(&path, offset.to_string());
            offset
        })
    }

    // ---- the bus ----

    /// Cancelled when connections to the bus break.
    pub(super) fn connection_to_bus(&self) -> CancellationToken {
        self.lock().connections.clone()
    }

    pub(super) fn break_bus_connections(&self) {
        let mut state = self.lock();
        state.connections.cancel();
        state.connections = CancellationToken::new();
    }

    pub(super) fn set_bus(&self, mood: BusMood) {
        self.lock().bus = mood;
        self.changed.send_replace(());
    }

    pub(super) fn set_inhibited(&self, inhibited: bool) {
        self.lock().inhibited = inhibited;
    }

    /// The next call of `Reboot` fares like this.
    pub(super) fn expect(&self, fate: Fate) {
        self.lock().fates.push_back(fate);
    }

    pub(super) fn forget_fates(&self) -> usize {
        std::mem::take(&mut self.lock().fates).len()
    }

    pub(super) fn fates_left(&self) -> usize {
        self.lock().fates.len()
    }

    pub(super) fn arrived(&self, call: Call) -> Arrived {
        let mut state = self.lock();
        let boot = state.boot.clone();
        let reboot = match &boot {
            Some(boot) if call == Call::Reboot => {
                let number = self.chronicle.calls.fetch_add(1, Ordering::SeqCst);
                let told_open = state.told_open;
                self.note(MachineEvent::RebootCalled { call: number, boot: boot.clone(), told_open });
                Some((number, state.fates.pop_front().unwrap_or_default()))
            }
            _ => None,
        };
        Arrived { call, boot, reboot }
    }

    /// The answer, once there is one: none from a machine that is dark, or has been since.
    pub(super) async fn answer(self: Arc<Self>, arrived: Arrived) -> Option<Answer> {
        let Arrived { call, boot, reboot } = arrived;
        let boot = boot?;
        let mut changed = self.changed.subscribe();
        while self.lock().bus == BusMood::Hanging && self.boot_id().as_ref() == Some(&boot) {
            changed.changed().await.ok()?;
        }
        if let Some((_, fate)) = &reboot {
            sleep(fate.delivered_after).await;
        }
        let mut state = self.lock();
        if state.boot.as_ref() != Some(&boot) {
            return None;
        }
        if state.bus == BusMood::Failing {
            state.told_open = None;
            if let Some((number, _)) = reboot {
                self.note(MachineEvent::CallCameToNothing(number));
            }
            return Some(Answer::Error("Connection timed out"));
        }
        Some(match call {
            Call::PreparingForShutdown => Answer::Flag(state.preparing),
            Call::SystemState => Answer::State(if state.preparing { "stopping" } else { "running" }),
            Call::CanReboot if state.inhibited => Answer::Text("challenge"),
            Call::CanReboot => Answer::Text("yes"),
            Call::ListInhibitors => {
                state.told_open = (!state.inhibited).then(Timestamp::now);
                Answer::Inhibitors(if state.inhibited { vec![inhibitor()] } else { Vec::new() })
            }
            Call::Reboot => {
                let (number, fate) = reboot?;
                drop(state);
                self.reboot_called(boot, number, fate.outcome)
            }
        })
    }

    fn reboot_called(self: Arc<Self>, boot: String, number: u64, outcome: RebootOutcome) -> Answer {
        let mut state = self.lock();
        match outcome {
            RebootOutcome::Happens { after, dark } if !state.inhibited && !state.preparing => {
                state.preparing = true;
                drop(state);
                let machine = Arc::clone(&self);
                tokio::spawn(async move { machine.reboot(&boot, after, dark, "rebooted by rebootd").await });
                Answer::Nothing
            }
            RebootOutcome::Never if !state.inhibited && !state.preparing => {
                self.note(MachineEvent::CallCameToNothing(number));
                Answer::Nothing
            }
            _ => {
                self.note(MachineEvent::CallCameToNothing(number));
                Answer::Error("Operation refused")
            }
        }
    }

    // ---- the kubelet ----

    /// The boot that the kubelet runs in, if it runs.
    pub(super) fn kubelet(&self) -> Option<String> {
        let state = self.lock();
        state.boot.clone().filter(|_| state.kubelet_from <= Instant::now())
    }

    pub(super) fn kubelet_is_ready(&self) -> bool {
        self.lock().kubelet_ready
    }

    pub(super) fn set_kubelet_ready(&self, ready: bool) {
        self.lock().kubelet_ready = ready;
    }

    /// The kubelet is dead for so long, across boots.
    pub(super) fn stop_kubelet(&self, time: Duration) {
        self.lock().kubelet_from = Instant::now() + time;
    }

    /// To be called right before the kubelet says that it is Ready: nobody can have seen it earlier.
    pub(super) fn becomes_healthy(&self, boot: &str) {
        let mut state = self.lock();
        if !state.healthy && state.boot.as_deref() == Some(boot) {
            state.healthy = true;
            self.note(MachineEvent::Healthy(boot.to_owned()));
        }
    }

    /// Up, not on its way down, and its kubelet says that it is Ready.
    pub(super) fn is_well(&self) -> bool {
        let state = self.lock();
        state.boot.is_some() && state.healthy && !state.preparing
    }

    /// Nothing is wrong with it any more.
    pub(super) fn heal(&self) {
        let mut state = self.lock();
        state.inhibited = false;
        state.bus = BusMood::Well;
        state.kubelet_ready = true;
        state.kubelet_from = state.kubelet_from.min(Instant::now());
        drop(state);
        self.changed.send_replace(());
    }
}

fn inhibitor() -> (String, String, String, String, u32, u32) {
    let [what, who, why, mode] = ["shutdown", "backup", "a backup runs", "block"].map(str::to_owned);
    (what, who, why, mode, 0, 1)
}

async fn signal(process: Option<u32>, signal: &str) -> bool {
    let Some(process) = process else { return false };
    let status =
        Command::new("kill").args([signal, &process.to_string()]).stderr(Stdio::null()).status().await;
    status.is_ok_and(|status| status.success())
}
