//! A simulated machine: power, boots, logind and a sentinel in memory; on it runs the real rebootd.

mod daemon;
mod logind;

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Result;
use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::Name;
use super::chronicle::{Chronicle, MachineEvent};

pub(crate) use logind::{BusMood, Call, Fate, RebootOutcome};

/// What stops before the power goes: the daemon among it.
const SHUTDOWN: Duration = Duration::from_millis(300);

/// A machine's name, place and credentials; its power and the rest are inside.
pub(crate) struct Machine {
    pub(crate) name: String,
    pub(crate) pool: String,
    pub(crate) machine_id: String,
    /// Its kubelet tells boot id and machine id, as a real one does.
    pub(crate) tells_ids: bool,
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
    /// Its kubelet delays shutdowns, to end pods first.
    graceful_shutdown: bool,
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
    pub(crate) fn new(directory: &Path, name: &Name<'_>, chronicle: Arc<Chronicle>) -> Result<Arc<Self>> {
        let machine = Self {
            name: name.node.to_owned(),
            pool: name.pool.to_owned(),
            machine_id: format!("{:032x}", 0xa000 + name.number),
            tells_ids: name.tells_ids,
            directory: directory.to_owned(),
            number: name.number,
            chronicle,
            state: Mutex::new(State {
                boot: None,
                boots: 0,
                preparing: false,
                inhibited: false,
                graceful_shutdown: false,
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

    pub(crate) fn bus_path(&self) -> PathBuf {
        self.directory.join("bus")
    }

    pub(crate) fn sentinel(&self) -> PathBuf {
        self.directory.join("run/reboot-required")
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.directory.join("config")
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.directory.join("rebootd.log")
    }

    pub(crate) fn asks(&self) -> bool {
        self.sentinel().exists()
    }

    /// What rebootd publishes.
    pub(crate) fn status(&self) -> Option<Value> {
        serde_json::from_slice(&fs::read(self.directory.join("status/status.json")).ok()?).ok()
    }

    /// What it has published so far says nothing any more.
    pub(crate) fn forget_status(&self) {
        let _ = fs::remove_file(self.directory.join("status/status.json"));
    }

    // ---- power ----

    pub(crate) fn boot_id(&self) -> Option<String> {
        self.lock().boot.clone()
    }

    /// Power comes, if it was gone. The sentinel's directory is a tmpfs: it comes up empty.
    pub(crate) fn boot(&self) {
        let mut state = self.lock();
        if state.boot.is_some() {
            return;
        }
        let _ = fs::remove_file(self.sentinel());
        self.forget_status();
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
    pub(crate) async fn power_off(&self, why: &'static str) {
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
        daemon::signal(daemon, "-KILL").await;
        let mut changed = self.changed.subscribe();
        while self.lock().daemon.is_some() {
            let _ = changed.changed().await;
        }
    }

    /// An orderly reboot of this boot, however it came to it.
    pub(crate) async fn reboot(&self, boot: &str, after: Duration, dark: Duration, why: &'static str) {
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
    pub(crate) fn prepare_shutdown(&self) -> Option<String> {
        let mut state = self.lock();
        let boot = state.boot.clone().filter(|_| !state.preparing)?;
        state.preparing = true;
        Some(boot)
    }

    // ---- the bus ----

    /// Cancelled when connections to the bus break.
    pub(crate) fn connection_to_bus(&self) -> CancellationToken {
        self.lock().connections.clone()
    }

    pub(crate) fn break_bus_connections(&self) {
        let mut state = self.lock();
        state.connections.cancel();
        state.connections = CancellationToken::new();
    }

    pub(crate) fn set_bus(&self, mood: BusMood) {
        self.lock().bus = mood;
        self.changed.send_replace(());
    }

    pub(crate) fn set_inhibited(&self, inhibited: bool) {
        self.lock().inhibited = inhibited;
    }

    pub(crate) fn set_graceful_shutdown(&self, graceful: bool) {
        self.lock().graceful_shutdown = graceful;
    }

    /// The next call of `Reboot` fares like this.
    pub(crate) fn expect(&self, fate: Fate) {
        self.lock().fates.push_back(fate);
    }

    pub(crate) fn forget_fates(&self) -> usize {
        std::mem::take(&mut self.lock().fates).len()
    }

    pub(crate) fn fates_left(&self) -> usize {
        self.lock().fates.len()
    }

    // ---- the kubelet ----

    /// The boot that the kubelet runs in, if it runs.
    pub(crate) fn kubelet(&self) -> Option<String> {
        let state = self.lock();
        state.boot.clone().filter(|_| state.kubelet_from <= Instant::now())
    }

    pub(crate) fn kubelet_is_ready(&self) -> bool {
        self.lock().kubelet_ready
    }

    pub(crate) fn set_kubelet_ready(&self, ready: bool) {
        self.lock().kubelet_ready = ready;
    }

    /// The kubelet is dead for this long, across boots.
    pub(crate) fn stop_kubelet(&self, time: Duration) {
        self.lock().kubelet_from = Instant::now() + time;
    }

    /// To be called right before the kubelet says that it is Ready: nobody can have seen it earlier.
    pub(crate) fn becomes_healthy(&self, boot: &str) {
        let mut state = self.lock();
        if !state.healthy && state.boot.as_deref() == Some(boot) {
            state.healthy = true;
            self.note(MachineEvent::Healthy(boot.to_owned()));
        }
    }

    /// Up, not on its way down, and its kubelet says that it is Ready.
    pub(crate) fn is_well(&self) -> bool {
        let state = self.lock();
        state.boot.is_some() && state.healthy && !state.preparing
    }

    /// Nothing is wrong with it any more.
    pub(crate) fn heal(&self) {
        let mut state = self.lock();
        state.inhibited = false;
        state.bus = BusMood::Well;
        state.kubelet_ready = true;
        state.kubelet_from = state.kubelet_from.min(Instant::now());
        drop(state);
        self.changed.send_replace(());
    }
}
