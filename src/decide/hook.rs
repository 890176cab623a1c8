//! The moments of a turn at which an administrator's own units are started.

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

    /// The word for it, as in the names of its units.
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

    /// The unit that lets us start that one.
    pub fn socket(self) -> String {
        format!("rebootd-hook@{}.socket", self.word())
    }
}
