//! The watches that are running.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::task::Poll;

use crate::cluster::{Api, Watch};
use crate::decide::{Event, Part, Parts};

/// One for each watched part.
#[derive(Default)]
pub(super) struct Watches {
    running: BTreeMap<Part, Watch>,
    /// The part whose event was the last to be taken: the others come first now, so that none has to wait for one that
    /// never falls silent.
    last: Option<Part>,
}

impl Watches {
    /// Starts the wanted watches and ends the others. All except that of the annotations start from a list, so they
    /// need a complete look.
    pub(super) fn follow(&mut self, wanted: Parts, api: &mut Api, has_looked: bool) {
        self.running.retain(|part, _| wanted.has(*part));
        for part in wanted.in_order().filter(|part| has_looked || *part == Part::Annotations) {
            if !self.running.contains_key(&part)
                && let Some(watch) = api.watch(part)
            {
                self.running.insert(part, watch);
            }
        }
    }

    /// Ends all watches that start from a look: the next look starts them again, all from the same point.
    pub(super) fn end(&mut self) {
        self.running.retain(|part, _| *part == Part::Annotations);
    }

    /// Whether there is any watch besides that of the annotations, which has a connection of its own.
    pub(super) fn any(&self) -> bool {
        self.running.keys().any(|part| *part != Part::Annotations)
    }

    /// The next event of any of them. Waits forever if there is none.
    pub(super) async fn next(&mut self) -> Event {
        let event = poll_fn(|context| {
            let last = self.last;
            let mut watches: Vec<_> = self.running.iter_mut().collect();
            watches.sort_by_key(|(part, _)| Some(**part) <= last);
            for (part, watch) in watches {
                if let Poll::Ready(event) = watch.poll_next(context) {
                    self.last = Some(*part);
                    return Poll::Ready(event.unwrap_or(Event::WatchEnded));
                }
            }
            Poll::Pending
        })
        .await;
        if event == Event::WatchEnded {
            self.end();
        }
        event
    }
}
