//! `org.rebootd.Rebootd1` on the system bus: the status as read-only properties, and a signal when a reboot is over.
//!
//! A task of its own speaks with the bus, whatever state that is in; nobody waits for it. It sleeps until there is news,
//! and tries again what has failed when the daemon next decides something.

use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;
use zbus::object_server::SignalEmitter;
use zbus::{Connection, Variant, connection, fdo, interface};

use super::status::Status;

/// The name that the daemon owns.
pub const NAME: &str = "org.rebootd.Rebootd1";
/// Its only object.
pub const PATH: &str = "/org/rebootd/Rebootd1";

/// The bus answers within milliseconds.
const TIMEOUT: Duration = Duration::from_secs(10);
const BUS: &str = "org.freedesktop.DBus";
/// Of `RequestName`: fail if somebody else has the name.
const DO_NOT_QUEUE: u32 = 4;
/// Its answers if the name is ours.
const OWNER: [u32; 2] = [1, 4];

/// What is told.
#[derive(Debug, Clone, Default)]
struct Told {
    node: String,
    pool: String,
    mode: String,
    phase: String,
    line: String,
    reasons: Vec<String>,
    requests: Vec<String>,
    slots: Vec<String>,
    /// Of the latest reboot whose turn has ended in this process.
    record: String,
}

#[interface(name = "org.rebootd.Rebootd1")]
impl Told {
    #[zbus(property)]
    fn node(&self) -> &str {
        &self.node
    }

    #[zbus(property)]
    fn pool(&self) -> &str {
        &self.pool
    }

    #[zbus(property)]
    fn mode(&self) -> &str {
        &self.mode
    }

    #[zbus(property)]
    fn phase(&self) -> &str {
        &self.phase
    }

    #[zbus(property)]
    fn line(&self) -> &str {
        &self.line
    }

    #[zbus(property)]
    fn reasons(&self) -> Vec<String> {
        self.reasons.clone()
    }

    #[zbus(property)]
    fn requests(&self) -> Vec<String> {
        self.requests.clone()
    }

    #[zbus(property)]
    fn slots(&self) -> Vec<String> {
        self.slots.clone()
    }

    #[zbus(signal)]
    async fn reboot_ended(emitter: &SignalEmitter<'_>, record: &str) -> zbus::Result<()>;
}

impl Told {
    /// The properties that are not what they were.
    fn changed(&self, before: &Told) -> HashMap<&'static str, Variant<'_>> {
        let texts = [
            ("Node", &self.node, &before.node),
            ("Pool", &self.pool, &before.pool),
            ("Mode", &self.mode, &before.mode),
            ("Phase", &self.phase, &before.phase),
            ("Line", &self.line, &before.line),
        ];
        let lists = [
            ("Reasons", &self.reasons, &before.reasons),
            ("Requests", &self.requests, &before.requests),
            ("Slots", &self.slots, &before.slots),
        ];
        let texts = texts.into_iter().filter(|(_, new, old)| new != old);
        let lists = lists.into_iter().filter(|(_, new, old)| new != old);
        texts
            .map(|(name, new, _)| (name, Variant::from(new.as_str())))
            .chain(lists.map(|(name, new, _)| (name, Variant::from(new))))
            .collect()
    }
}

/// The daemon's end of it.
#[derive(Debug)]
pub struct Served {
    told: watch::Sender<Told>,
    is_failing: Arc<AtomicBool>,
}

impl Served {
    /// Begins to serve, within the runtime that calls it.
    pub fn start() -> Served {
        let (told, news) = watch::channel(Told::default());
        let is_failing = Arc::new(AtomicBool::new(false));
        tokio::spawn(serve(news, Arc::clone(&is_failing)));
        Served { told, is_failing }
    }

    /// Tells the status.
    pub fn status(&self, status: &Status) {
        self.told.send_modify(|told| {
            *told = Told {
                node: status.node.clone(),
                pool: status.pool.clone(),
                mode: status.mode.clone(),
                phase: status.phase.clone(),
                line: status.line.clone(),
                reasons: status.reasons.iter().map(|it| it.kind.clone()).collect(),
                requests: status.requests.iter().map(|it| it.reason.clone()).collect(),
                slots: status.slots.clone(),
                record: std::mem::take(&mut told.record),
            };
        });
    }

    /// Tells that the turn of a reboot has ended.
    pub fn reboot_ended(&self, record: &str) {
        self.told.send_modify(|told| record.clone_into(&mut told.record));
    }

    /// Tries again what has failed.
    pub fn retry(&self) {
        if self.is_failing.load(Ordering::Relaxed) {
            self.told.send_modify(|_| {});
        }
    }
}

/// Ends with the daemon.
async fn serve(mut news: watch::Receiver<Told>, is_failing: Arc<AtomicBool>) {
    let mut connection = None;
    let mut failure = None;
    loop {
        tokio::select! {
            changed = news.changed() => if changed.is_err() { return },
            () = closed(connection.as_ref()) => {
                connection = None;
                is_failing.store(true, Ordering::Relaxed);
                continue;
            }
        }
        let told = news.borrow_and_update().clone();
        let result = timeout(TIMEOUT, publish(&mut connection, told)).await;
        let result = result.unwrap_or_else(|_| Err(io::Error::from(ErrorKind::TimedOut).into()));
        is_failing.store(result.is_err(), Ordering::Relaxed);
        let Err(error) = result else {
            failure = None;
            continue;
        };
        connection = None;
        let new = kind(&error);
        if failure.as_ref() != Some(&new) {
            tracing::info!("{NAME} is not on D-Bus: {error}; nothing else depends on it");
        }
        failure = Some(new);
    }
}

/// What tells one failure from another: the text of a refusal names the connection, which is another one each time.
fn kind(error: &zbus::Error) -> String {
    match error {
        zbus::Error::MethodError(name, _, _) => name.to_string(),
        other => other.to_string(),
    }
}

async fn closed(connection: Option<&Connection>) {
    match connection {
        Some(connection) => connection.closed().await,
        None => std::future::pending().await,
    }
}

async fn publish(connection: &mut Option<Connection>, new: Told) -> zbus::Result<()> {
    let Some(connection) = connection else {
        *connection = Some(connect(new).await?);
        return Ok(());
    };
    let server = connection.object_server().interface::<_, Told>(PATH).await?;
    let before = std::mem::replace(&mut *server.get_mut().await, new.clone());
    let (changed, emitter) = (new.changed(&before), server.signal_emitter());
    if !changed.is_empty() {
        let name = NAME.try_into()?;
        fdo::Properties::properties_changed(emitter, name, changed, (&[][..]).into()).await?;
    }
    if new.record != before.record {
        Told::reboot_ended(emitter, &new.record).await?;
    }
    Ok(())
}

/// The object is there before its name is.
async fn connect(told: Told) -> zbus::Result<Connection> {
    let builder = connection::Builder::system().method_timeout(TIMEOUT);
    let connection = builder.serve_at(PATH, told).build().await?;
    let request = (NAME, DO_NOT_QUEUE);
    let answer =
        connection.call_method(Some(BUS), "/org/freedesktop/DBus", Some(BUS), "RequestName", &request);
    let answer: u32 = answer.await?.body().deserialize()?;
    if OWNER.contains(&answer) {
        return Ok(connection);
    }
    Err(zbus::Error::NameTaken)
}
