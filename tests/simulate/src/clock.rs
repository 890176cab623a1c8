//! Virtual time: whoever waits says until when, and time goes on to the earliest of them.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::fleet::Fleet;

/// Something that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Due {
    /// The loop of this node goes on.
    Loop(usize),
    /// apt has installed something there.
    Asks(usize),
    /// The host goes down.
    Down(usize),
    /// It boots: its daemon starts.
    Boots(usize),
    /// Its kubelet reports this boot.
    Kubelet(usize),
    /// Its kubelet renews its Lease, and somebody watches that.
    Renews(usize),
    /// The control plane finds it missing.
    Missed(usize),
    /// A pod of it has left.
    PodGone(usize, usize),
    /// Its daemon is killed, and starts again.
    Killed(usize),
    /// A slot that became free in this version may still be.
    StillFree(usize, u64),
    /// A person frees what this node holds.
    Released(usize),
    /// How many nodes are in which phase.
    Sample,
}

/// What is due, in its order.
#[derive(Default)]
pub struct Clock {
    pub now: Duration,
    due: BinaryHeap<Reverse<(Duration, u64, Due)>>,
    count: u64,
}

impl Clock {
    pub fn at(&mut self, at: Duration, due: Due) {
        self.count += 1;
        self.due.push(Reverse((at.max(self.now), self.count, due)));
    }

    pub fn after(&mut self, time: Duration, due: Due) {
        self.at(self.now + time, due);
    }

    /// Goes on to what is due next.
    pub fn next(&mut self) -> Option<Due> {
        let Reverse((at, _, due)) = self.due.pop()?;
        self.now = at;
        Some(due)
    }
}

/// Ready at this time.
pub struct Sleep {
    pub fleet: Rc<RefCell<Fleet>>,
    pub node: usize,
    pub until: Duration,
    pub is_set: bool,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        let (until, node, is_set) = (self.until, self.node, self.is_set);
        self.is_set = true;
        let mut fleet = self.fleet.borrow_mut();
        if fleet.clock.now >= until {
            return Poll::Ready(());
        }
        if !is_set {
            fleet.clock.at(until, Due::Loop(node));
        }
        Poll::Pending
    }
}
