//! What simulated machines write down of themselves, to be judged afterwards.

use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;

/// What a machine wrote down of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MachineEvent {
    /// It is up, in this boot.
    Booted(String),
    /// A call of logind's `Reboot` has arrived, and may be carried out from now on.
    RebootCalled {
        /// Counts the calls of all machines.
        call: u64,
        /// The boot in which it came.
        boot: String,
        /// When this daemon was last told that nothing inhibits a shutdown, if that was the last that it was told.
        told_open: Option<Timestamp>,
    },
    /// This call will never be carried out.
    CallCameToNothing(u64),
    /// It is dark; the text says why.
    Down(&'static str),
    /// Its kubelet says for the first time in this boot that it is Ready.
    Healthy(String),
}

/// One thing that happened to a machine.
#[derive(Clone, Debug)]
pub(crate) struct Note {
    pub(crate) at: Timestamp,
    pub(crate) machine: String,
    pub(crate) event: MachineEvent,
}

/// What all machines write down, with the wall clock of this one.
#[derive(Default)]
pub(crate) struct Chronicle {
    events: Mutex<Vec<Note>>,
    pub(super) calls: AtomicU64,
}

impl Chronicle {
    pub(super) fn note(&self, machine: &str, event: MachineEvent) {
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        // Read under the lock, so that the order of the lines is that of the times.
        events.push(Note { at: Timestamp::now(), machine: machine.to_owned(), event });
    }

    /// All of it so far.
    pub(crate) fn events(&self) -> Vec<Note> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
