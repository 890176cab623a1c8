//! The watches that are running.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::task::Poll;

use crate::cluster::{Api, Watch};
use crate::decide::{Event, Part, Parts};

/// One for each watched part.
#[derive(Default)]
pub(super) struct Watches(BTreeMap<Part, Watch>);

impl Watches {
    /// Starts the wanted watches and ends the others. All except that of the annotations start from a list, so they
    /// need a complete look.
    pub(super) fn follow(&mut self, wanted: Parts, api: &mut Api, has_looked: bool) {
        self.0.retain(|part, _| wanted.has(*part));
        for part in wanted.in_order().filter(|part| has_looked || *part == Part::Annotations) {
            if !self.0.contains_key(&part)
                && let Some(watch) = api.watch(part)
            {
                self.0.insert(part, watch);
            }
        }
    }

    /// Ends all watches that start from a look: the next look starts them again, all from the same point.
    pub(super) fn end(&mut self) {
        self.0.retain(|part, _| *part == Part::Annotations);
    }

    /// Whether there is any watch besides that of the annotations, which has a connection of its own.
    pub(super) fn any(&self) -> bool {
        self.0.keys().any(|part| *part != Part::Annotations)
    }

    /// The next event of any of them. Waits forever if there is none.
    pub(super) async fn next(&mut self) -> Event {
        let event = poll_fn(|context| {
            let ready = self.0.values_mut().find_map(|watch| match watch.poll_next(context) {
                Poll::Ready(event) => Some(event.unwrap_or(Event::WatchEnded)),
                Poll::Pending => None,
            });
            ready.map_or(Poll::Pending, Poll::Ready)
        })
        .await;
        if event == Event::WatchEnded {
            self.end();
        }
        event
    }
}
