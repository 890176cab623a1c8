//! A request that has been open for too long: people are told, and the gates that are configured to yield then open.

use std::time::Duration;

use super::requests::Requests;
use super::settings::{Settings, Yielding};
use super::windows::Open;
use super::{Reason, World};

/// How long the oldest request has been open, and how long until it counts as overdue.
pub(super) struct Overdue {
    open: Duration,
    pub(super) left: Duration,
}

impl Overdue {
    pub(super) fn of(world: &World, settings: &Settings) -> Option<Overdue> {
        let deadline = settings.policy.deadline?;
        let open = Requests::of(world, settings).age(world)?;
        Some(Overdue { open, left: deadline.saturating_sub(open) })
    }

    pub(super) fn is_now(&self) -> bool {
        self.left.is_zero()
    }

    pub(super) fn reason(&self, settings: &Settings) -> Option<Reason> {
        let given_up = || settings.policy.yielding.iter().map(|gate| gate.word()).collect::<Vec<_>>();
        self.is_now().then(|| Reason::RequestOverdue { open: self.open, given_up: given_up().join(", ") })
    }
}

/// The settings without the gates that yield. A node for which nobody has set a window stays without one: this is not
/// a gate that anybody could have chosen to give up.
pub(super) fn relaxed(settings: &Settings) -> Settings {
    let mut relaxed = settings.clone();
    let (windows, gates) = (&mut relaxed.policy.windows, &mut relaxed.gates);
    for gate in &settings.policy.yielding {
        match gate {
            Yielding::Window => windows.iter_mut().for_each(|it| it.open = Open::Always),
            Yielding::Freeze => windows.iter_mut().for_each(|it| it.freezes.clear()),
            Yielding::MinUptime => gates.min_uptime = Duration::ZERO,
            Yielding::BlockingPods => {
                gates.blocking_pods.clear();
                gates.blocking_annotations.clear();
            }
            Yielding::Alerts => gates.query = None,
        }
    }
    relaxed
}
