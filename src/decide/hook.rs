//! The moments of a turn at which an administrator's own units are started.

use std::time::Duration;

/// When an administrator's own unit is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Hook {
    /// With the slot claimed, before the cordon.
    BeforeDrain,
    /// With the node drained, before the slot is stamped.
    BeforeReboot,
    /// After the boot, once the node is healthy, before the uncordon.
    AfterBoot,
}

impl Hook {
    /// Every hook.
    pub const ALL: [Hook; 3] = [Hook::BeforeDrain, Hook::BeforeReboot, Hook::AfterBoot];

    /// Its name, as in the names of its units.
    pub fn word(self) -> &'static str {
        match self {
            Hook::BeforeDrain => "before-drain",
            Hook::BeforeReboot => "before-reboot",
            Hook::AfterBoot => "after-boot",
        }
    }

    /// The administrator's unit.
    pub fn unit(self) -> String {
        format!("rebootd-{}.service", self.word())
    }

    /// The unit that allows us to start that one.
    pub fn socket(self) -> String {
        format!("rebootd-hook@{}.socket", self.word())
    }
}

/// What systemd says about a hook's unit.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HookUnit {
    /// Why we could not start it now, if so.
    pub obstacle: Option<String>,
    /// The id of its latest start; empty if it was not started in this boot.
    pub invocation: String,
    /// What became of that start.
    pub state: UnitState,
}

/// What became of a unit's latest start.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum UnitState {
    /// It still runs.
    Runs,
    /// It has ended, or was never started.
    Ended {
        /// What went wrong, if something did.
        failure: Option<String>,
    },
}

/// A hook that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HookRun {
    /// The boot.
    pub boot_id: String,
    /// Which turn: when its slot was claimed, in whole seconds since that boot; zero after a boot.
    pub turn: Duration,
    /// When it was first asked for, in time since that boot.
    pub asked: Duration,
    /// The latest start of its unit before that.
    pub before: String,
}
