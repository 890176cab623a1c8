//! What a gate is asked about, and what it answers.

use std::time::Duration;

use super::super::requests::Requests;
use super::super::settings::Settings;
use super::super::world::World;
use super::super::{Reading, Reason};

/// What a gate is asked about.
pub(in crate::decide) struct Asked<'a> {
    pub(in crate::decide) world: &'a World,
    pub(in crate::decide) settings: &'a Settings,
    pub(in crate::decide) requests: &'a Requests,
}

/// Why a gate is closed.
pub(in crate::decide) struct Closed {
    pub(in crate::decide) reason: Reason,
    /// When it opens by itself, in time since boot, if that is known.
    pub(in crate::decide) opens: Option<Duration>,
}

pub(super) fn shut(reason: Reason, opens: Option<Duration>) -> Closed {
    Closed { reason, opens }
}

/// Closed, and it is not known when it opens.
pub(super) fn closed(reason: Reason) -> Closed {
    shut(reason, None)
}

pub(super) fn read<'a, T>(what: &'static str, reading: &'a Reading<T>) -> Result<&'a T, Reason> {
    reading.current().ok_or_else(|| Reason::Unreadable {
        what,
        why: reading.failure().unwrap_or("not read yet").to_owned(),
    })
}
