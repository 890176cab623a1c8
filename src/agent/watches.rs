//! The watches that are running.

use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::task::Poll;

use crate::cluster::{Api, Watch};
use crate::decide::{Event, Part, Parts};

/// A watched part; of the budgets, which one.
type Watched = (Part, String);

/// One for each watched part, and one for each budget.
#[derive(Default)]
pub(super) struct Watches {
    running: BTreeMap<Watched, Watch>,
    /// Whose event was the last to be taken: the others come first now, so that none has to wait for one that never
    /// falls silent.
    last: Option<Watched>,
}

impl Watches {
    /// Starts the wanted watches and ends the others. Those that start from a list need a complete look.
    pub(super) fn follow(
        &mut self,
        parts: Parts,
        budgets: &BTreeSet<String>,
        api: &mut Api,
        has_looked: bool,
    ) {
        let mut wanted: BTreeSet<Watched> = parts.without(Part::Budgets).in_order().map(of).collect();
        if parts.has(Part::Budgets) {
            wanted.extend(budgets.iter().map(|budget| (Part::Budgets, budget.clone())));
        }
        self.running.retain(|watched, _| wanted.contains(watched));
        for watched in wanted.into_iter().filter(|watched| has_looked || lasts(watched)) {
            if self.running.contains_key(&watched) {
                continue;
            }
            let watch = match &watched {
                (Part::Budgets, budget) => api.watch_budget(budget),
                (part, _) => api.watch(*part),
            };
            self.running.extend(watch.map(|watch| (watched, watch)));
        }
    }

    /// Ends all watches that start from a look: the next look starts them again, all from the same point.
    pub(super) fn end(&mut self) {
        self.running.retain(|watched, _| lasts(watched));
    }

    /// Whether there is any watch besides that of the annotations, which has a connection of its own.
    pub(super) fn any(&self) -> bool {
        self.running.keys().any(|(part, _)| *part != Part::Annotations)
    }

    /// The next event of any of them. Waits forever if there is none.
    pub(super) async fn next(&mut self) -> Event {
        let event = poll_fn(|context| {
            let last = self.last.as_ref();
            let mut watches: Vec<_> = self.running.iter_mut().collect();
            watches.sort_by_key(|(watched, _)| Some(*watched) <= last);
            for (watched, watch) in watches {
                if let Poll::Ready(event) = watch.poll_next(context) {
                    self.last = Some(watched.clone());
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

fn of(part: Part) -> Watched {
    (part, String::new())
}

/// Whether a watch goes on by itself for as long as it is wanted: it begins with what it watches as that is.
fn lasts((part, _): &Watched) -> bool {
    matches!(part, Part::Annotations | Part::Budgets)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rcgen::{CertificateParams, KeyPair};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::access::{ApiAccess, Credential, PemSource, Secret};

    /// Tells of changes of Nodes for ever, and of one change of a slot.
    async fn play(mut connection: TcpStream) {
        let mut request = vec![0; 4096];
        let length = connection.read(&mut request).await.unwrap();
        let of_node = String::from_utf8_lossy(&request[..length]).contains("/nodes?");
        let _ = connection.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
        let uid = if of_node { "node" } else { "slot" };
        let line = format!("{{\"type\":\"MODIFIED\",\"object\":{{\"metadata\":{{\"uid\":\"{uid}\"}}}}}}\n");
        while connection.write_all(line.as_bytes()).await.is_ok() {
            if !of_node {
                std::future::pending::<()>().await;
            }
        }
    }

    #[test]
    fn a_watch_that_never_falls_silent_keeps_no_other_waiting() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let server = format!("http://{}", listener.local_addr().unwrap());
            tokio::spawn(async move {
                while let Ok((connection, _)) = listener.accept().await {
                    tokio::spawn(play(connection));
                }
            });
            let key = KeyPair::generate().unwrap();
            let ca = CertificateParams::new(Vec::new()).unwrap().self_signed(&key).unwrap().pem();
            let certificate_authority = PemSource::Inline(ca.into_bytes());
            let credential = Credential::Token(Secret::new("t".to_owned()));
            let access = ApiAccess { server, certificate_authority, credential };
            let mut watches = Watches::default();
            watches.follow(
                Parts::only(Part::Node).with(Part::Slots),
                &BTreeSet::new(),
                &mut Api::new(access, "n".into()),
                true,
            );
            tokio::time::sleep(Duration::from_secs(1)).await;
            let mut seen = Vec::new();
            while seen.len() < 3 {
                match watches.next().await {
                    Event::Changed { uid, .. } => seen.push(uid),
                    Event::SlotSeen(slot) => seen.push(slot.uid),
                    other => panic!("{other:?}"),
                }
            }
            assert!(seen.iter().any(|uid| uid == "slot"), "{seen:?}");
        });
    }
}
