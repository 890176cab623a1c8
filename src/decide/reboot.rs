//! The record of a reboot.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Measured, Source, Update};

/// A reboot that we asked for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct LastReboot {
    /// The boot that it was meant to end.
    pub boot_id: String,
    /// When: wall time since 1970, by this host's clock.
    pub at: Duration,
    /// The sources of this host that asked for it, without those that have stopped asking since.
    pub asked: BTreeSet<Source>,
    /// The newer kernel that it was meant to start.
    pub kernel: Option<String>,
    /// Why, for people: what the claim said. Empty if not known.
    pub why: String,
    /// When our cordon for it was confirmed, if there was one: by the same clock as [`LastReboot::at`].
    pub cordoned_at: Option<Duration>,
    /// When it was confirmed that this cordon is gone.
    pub uncordoned_at: Option<Duration>,
    /// When the Node was first seen Ready in the boot after it.
    pub ready_at: Option<Duration>,
    /// Since when the oldest request that led to it had asked, if that is known.
    pub requested_at: Option<Duration>,
    /// The packages that asked for it; not all if they are very many.
    pub packages: BTreeSet<String>,
    /// The updates that were not live before it.
    pub updates: Vec<Update>,
    /// What was measured of its turn.
    pub measured: Measured,
    /// When the boot that it was meant to end had begun: what was installed since is what it makes live.
    pub up_since: Option<Duration>,
    /// When the slot was claimed for it.
    pub claimed_at: Option<Duration>,
    /// When no pod was left that had to leave: the last of them had left, or, if none had to, the cordon was confirmed.
    pub drained_at: Option<Duration>,
    /// When its turn ended.
    pub ended_at: Option<Duration>,
    /// The boot in which the agent first ran after it.
    pub led_to: Option<String>,
    /// How its turn ended; `None` if an earlier version did not record it.
    pub ending: Option<Ending>,
}

impl LastReboot {
    pub(super) fn end(&mut self, ending: Ending, now: Duration) {
        (self.ending, self.ended_at) = (Some(ending), Some(now));
    }

    /// For how long the Node was cordoned for it.
    pub fn cordoned_for(&self) -> Option<Duration> {
        // If the clock was set back meanwhile, the difference says nothing.
        self.uncordoned_at?.checked_sub(self.cordoned_at?)
    }

    /// How long it took from the call until the Node was Ready again.
    pub fn away_for(&self) -> Option<Duration> {
        self.ready_at?.checked_sub(self.at)
    }
}

/// How the turn of a reboot ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ending {
    /// It has not ended yet.
    UnderWay,
    /// The machine rebooted, the node was healthy, and the slot was given back.
    Well,
    /// The machine stayed up, and the slot was given back.
    StayedUp,
    /// A person freed the slot before the node gave it back.
    SlotLost,
}

impl Ending {
    /// Every ending.
    pub const ALL: [Ending; 4] = [Ending::UnderWay, Ending::Well, Ending::StayedUp, Ending::SlotLost];

    /// A short, stable name.
    pub fn word(self) -> &'static str {
        match self {
            Ending::UnderWay => "under-way",
            Ending::Well => "well",
            Ending::StayedUp => "stayed-up",
            Ending::SlotLost => "slot-lost",
        }
    }
}
