//! What logind and systemd on a simulated machine answer, and what becomes of a call of `Reboot`.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::sleep;

use super::Machine;
use crate::simulated::bus::Answer;
use crate::simulated::chronicle::MachineEvent;

/// A call that rebootd makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Reboot,
    CanReboot,
    ListInhibitors,
    PreparingForShutdown,
    ScheduledShutdown,
    SystemState,
}

/// A call that has arrived.
pub(crate) struct Arrived {
    call: Call,
    /// The boot in which it came; none where the machine was dark.
    boot: Option<String>,
    /// Of a call of `Reboot`: its number and what becomes of it.
    reboot: Option<(u64, Fate)>,
}

/// What becomes of a call of `Reboot`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fate {
    /// It lies around for this long before logind sees it.
    pub(crate) delivered_after: Duration,
    pub(crate) outcome: RebootOutcome,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum RebootOutcome {
    /// Accepted. Something delays the shutdown for this long; then it is dark for this long.
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
pub(crate) enum BusMood {
    Well,
    Failing,
    Hanging,
}

impl Machine {
    pub(crate) fn arrived(&self, call: Call) -> Arrived {
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
    pub(crate) async fn answer(self: Arc<Self>, arrived: Arrived) -> Option<Answer> {
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
            Call::ScheduledShutdown => Answer::Scheduled,
            Call::SystemState => Answer::State(if state.preparing { "stopping" } else { "running" }),
            Call::CanReboot if state.inhibited => Answer::Text("challenge"),
            Call::CanReboot => Answer::Text("yes"),
            Call::ListInhibitors => {
                state.told_open = (!state.inhibited).then(Timestamp::now);
                let backup = state.inhibited.then(|| inhibitor("backup", "a backup runs", "block"));
                let kubelet = state.graceful_shutdown.then(|| inhibitor("kubelet", KUBELET_WHY, "delay"));
                Answer::Inhibitors(backup.into_iter().chain(kubelet).collect())
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
}

/// As the kubelet words it.
const KUBELET_WHY: &str = "Kubelet needs time to handle node shutdown";

fn inhibitor(who: &str, why: &str, mode: &str) -> (String, String, String, String, u32, u32) {
    ("shutdown".to_owned(), who.to_owned(), why.to_owned(), mode.to_owned(), 0, 1)
}
