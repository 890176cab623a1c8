//! Stands between rebootd and its host's system bus, so that a test can stop any single call or its answer.
//!
//! The way is: rebootd → a socket of this program on the host → [`UPSTREAM`], systemd-socket-proxyd as the user
//! rebootd → the bus. dbus-daemon and polkit judge the process that connects to them, so the last step must be one of
//! the host's own processes with rebootd's uid. No file descriptors pass (rebootd's calls have none): a client that
//! asks whether they may is told that they may not.
//!
//! The socket is made again at each boot, before the host's systemd starts anything.

mod message;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};

use crate::host::Host;
use crate::lab::Lab;
use crate::progress::say;
use message::Meaning;

pub use message::Call;

/// On the host, where both sockets are.
const DIRECTORY: &str = "/run/rebootd-lab";
/// Where rebootd connects to.
const SOCKET: &str = "bus";
/// Where this program connects to.
const UPSTREAM: &str = "upstream";

/// When to hold a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Before the bus has seen it.
    Before,
    /// When its answer is there and not yet delivered.
    After,
}

/// A call that is held. Dropping it lets it die, and its connection with it.
#[derive(Debug)]
pub struct Held {
    /// The call.
    pub call: Call,
    fate: oneshot::Sender<()>,
}

impl Held {
    /// Lets it go on, also where its client is gone meanwhile: as a message that was long on its way.
    pub fn release(self) {
        let _ = self.fate.send(());
    }
}

/// Asked about every call, in order; true for those to be held.
type Test = Box<dyn Fn(&Call) -> bool + Send>;

struct Trap {
    test: Test,
    place: Place,
    held: mpsc::UnboundedSender<Held>,
}

#[derive(Default)]
struct Shared(Mutex<Option<Trap>>);

impl Shared {
    fn trap(&self) -> MutexGuard<'_, Option<Trap>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this call is to be held, where, and whom to tell.
    fn judge(&self, call: &Call) -> Option<(Place, mpsc::UnboundedSender<Held>)> {
        let trap = self.trap();
        let trap = trap.as_ref().filter(|trap| (trap.test)(call))?;
        Some((trap.place, trap.held.clone()))
    }
}

/// The proxy of one host. It ends when this is dropped.
pub struct BusProxy {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl BusProxy {
    /// Puts itself between rebootd, which is installed on this host of the lab (counted from 0), and its bus.
    pub async fn start(lab: &Arc<Lab>, number: usize) -> Result<BusProxy> {
        let shared = Arc::new(Shared::default());
        let task = tokio::spawn(serve_each_boot(Arc::clone(lab), number, Arc::clone(&shared)));
        set_up(&lab.hosts[number]).await?;
        Ok(BusProxy { shared, task })
    }

    /// From now on the test is asked about every call, in order, and those for which it says yes are held.
    pub fn hold(
        &self,
        place: Place,
        test: impl Fn(&Call) -> bool + Send + 'static,
    ) -> mpsc::UnboundedReceiver<Held> {
        let (held, receiver) = mpsc::unbounded_channel();
        *self.shared.trap() = Some(Trap { test: Box::new(test), place, held });
        receiver
    }

    /// Holds nothing more. What is held stays so.
    pub fn let_pass(&self) {
        *self.shared.trap() = None;
    }
}

impl Drop for BusProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Makes the way to the bus on the host, for this boot and those to come, and sends rebootd along it.
async fn set_up(host: &Host) -> Result<()> {
    let socket = format!(
        "[Socket]\nListenStream={DIRECTORY}/{UPSTREAM}\nSocketMode=0600\n\n[Install]\nWantedBy=sockets.target\n"
    );
    // Before rebootd: so that it is stopped after it.
    let service = "[Unit]\nBefore=rebootd.service\n\n[Service]\nUser=rebootd\n\
                   ExecStart=/lib/systemd/systemd-socket-proxyd /run/dbus/system_bus_socket\n";
    let drop_in = format!("[Service]\nEnvironment=DBUS_SYSTEM_BUS_ADDRESS=unix:path={DIRECTORY}/{SOCKET}\n");
    host.write_file("/etc/systemd/system/rebootd-lab-bus.socket", socket).await?;
    host.write_file("/etc/systemd/system/rebootd-lab-bus.service", service).await?;
    host.write_file("/etc/systemd/system/rebootd.service.d/lab-bus.conf", drop_in).await?;
    host.run_ok(&["systemctl", "daemon-reload"]).await?;
    host.run_ok(&["systemctl", "enable", "--now", "--quiet", "rebootd-lab-bus.socket"]).await?;
    host.run_ok(&["systemctl", "restart", "rebootd"]).await?;
    Ok(())
}

async fn serve_each_boot(lab: Arc<Lab>, number: usize, shared: Arc<Shared>) {
    let host = &lab.hosts[number];
    let mut served = None;
    // Emptied, and with it every connection closed, as soon as there is another boot, or none.
    let mut serving = JoinSet::new();
    loop {
        let leader = host.leader().ok();
        if leader != served {
            serving.abort_all();
            if let Some(leader) = leader {
                match listen(leader) {
                    Ok((listener, directory)) => {
                        serving.spawn(accept(listener, directory, Arc::clone(&shared)));
                    }
                    // It may be off again already.
                    Err(error) => say(format!("{}: no proxy for its bus: {error}", host.name())),
                }
            }
            served = leader;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn listen(leader: u32) -> io::Result<(UnixListener, PathBuf)> {
    let directory = PathBuf::from(format!("/proc/{leader}/root{DIRECTORY}"));
    fs::create_dir_all(&directory)?;
    fs::set_permissions(&directory, Permissions::from_mode(0o755))?;
    let path = directory.join(SOCKET);
    let listener = UnixListener::bind(&path)?;
    fs::set_permissions(&path, Permissions::from_mode(0o666))?;
    Ok((listener, directory))
}

async fn accept(listener: UnixListener, directory: PathBuf, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let (upstream, shared) = (directory.join(UPSTREAM), Arc::clone(&shared));
        connections.spawn(async move {
            // Without a bus the client sees what it would see without us: its connection ends.
            if let Ok(bus) = UnixStream::connect(upstream).await {
                Connection::new(shared).serve(client, bus).await;
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

/// What both directions of a connection know of each other.
struct Connection {
    shared: Arc<Shared>,
    /// Calls whose answers are to be held.
    to_hold: Mutex<Vec<(Call, mpsc::UnboundedSender<Held>)>>,
    /// Calls that the bus has seen and not answered.
    unanswered: watch::Sender<BTreeSet<u32>>,
}

impl Connection {
    fn new(shared: Arc<Shared>) -> Connection {
        Connection { shared, to_hold: Mutex::default(), unanswered: watch::channel(BTreeSet::new()).0 }
    }

    async fn serve(self, client: UnixStream, bus: UnixStream) {
        let (from_client, to_client) = client.into_split();
        let (from_bus, to_bus) = bus.into_split();
        // Either ends with an error where a test lets something die: then both sockets close.
        let _ = tokio::try_join!(self.calls(from_client, to_bus), self.answers(from_bus, to_client));
    }

    async fn calls(&self, mut client: OwnedReadHalf, mut bus: OwnedWriteHalf) -> io::Result<()> {
        pass_authentication(&mut client, &mut bus).await?;
        while let Ok(bytes) = read_message(&mut client).await {
            if let Meaning::Call(call) = message::read(&bytes) {
                match self.shared.judge(&call) {
                    Some((Place::Before, held)) => wait_for_fate(call.clone(), &held).await?,
                    Some((Place::After, held)) => {
                        self.to_hold
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .push((call.clone(), held));
                    }
                    None => {}
                }
                if call.is_answered {
                    self.unanswered.send_modify(|calls| {
                        calls.insert(call.serial);
                    });
                }
            }
            bus.write_all(&bytes).await?;
        }
        // logind and polkit ask who called: a name that is gone is refused. So the caller, dead or not, stays until
        // its calls are answered; that is the worst that a call can do that was under way when its process died.
        let _ = self.unanswered.subscribe().wait_for(BTreeSet::is_empty).await;
        bus.shutdown().await
    }

    async fn answers(&self, mut bus: OwnedReadHalf, mut client: OwnedWriteHalf) -> io::Result<()> {
        let first = pass_lines(&mut bus, &mut client).await?;
        let mut next = read_rest(first, &mut bus).await;
        while let Ok(bytes) = next {
            if let Meaning::Answer(serial) = message::read(&bytes) {
                self.unanswered.send_modify(|calls| {
                    calls.remove(&serial);
                });
                if let Some((call, held)) = self.take_to_hold(serial) {
                    wait_for_fate(call, &held).await?;
                }
            }
            // A client that is gone does not end this: its last calls are still to be answered.
            let _ = client.write_all(&bytes).await;
            next = read_message(&mut bus).await;
        }
        // The bus has closed the connection; so must we.
        Err(io::ErrorKind::ConnectionAborted.into())
    }

    fn take_to_hold(&self, serial: u32) -> Option<(Call, mpsc::UnboundedSender<Held>)> {
        let mut to_hold = self.to_hold.lock().unwrap_or_else(PoisonError::into_inner);
        let index = to_hold.iter().position(|(call, _)| call.serial == serial)?;
        Some(to_hold.swap_remove(index))
    }
}

async fn wait_for_fate(call: Call, held: &mpsc::UnboundedSender<Held>) -> io::Result<()> {
    let (fate, decided) = oneshot::channel();
    let _ = held.send(Held { call, fate });
    decided.await.map_err(|_| io::ErrorKind::ConnectionAborted.into())
}

/// Passes on what a client says before its messages: a zero byte and lines, the last of which is BEGIN.
async fn pass_authentication(client: &mut OwnedReadHalf, bus: &mut OwnedWriteHalf) -> io::Result<()> {
    const BEGIN: &[u8] = b"BEGIN\r\n";
    let mut line = Vec::new();
    while line != BEGIN {
        line = read_line(Vec::new(), client).await?;
        bus.write_all(&line).await?;
    }
    Ok(())
}

/// Passes on the bus' side of the same; gives the first byte of the message that follows.
async fn pass_lines(bus: &mut OwnedReadHalf, client: &mut OwnedWriteHalf) -> io::Result<Vec<u8>> {
    loop {
        let first = bus.read_u8().await?;
        // No line of a server begins like this, but every message.
        if matches!(first, b'l' | b'B') {
            return Ok(vec![first]);
        }
        let line = read_line(vec![first], bus).await?;
        let line = if line.starts_with(b"AGREE_UNIX_FD") { b"ERROR\r\n".to_vec() } else { line };
        client.write_all(&line).await?;
    }
}

async fn read_line(mut line: Vec<u8>, from: &mut OwnedReadHalf) -> io::Result<Vec<u8>> {
    while !line.ends_with(b"\r\n") {
        line.push(from.read_u8().await?);
    }
    Ok(line)
}

async fn read_message(from: &mut OwnedReadHalf) -> io::Result<Vec<u8>> {
    read_rest(Vec::new(), from).await
}

/// The whole message of which the beginning has been read.
async fn read_rest(mut message: Vec<u8>, from: &mut OwnedReadHalf) -> io::Result<Vec<u8>> {
    let read = message.len();
    message.resize(message::FIXED, 0);
    from.read_exact(&mut message[read..]).await?;
    let length = message::length(&message).ok_or(io::ErrorKind::InvalidData)?;
    message.resize(length, 0);
    from.read_exact(&mut message[message::FIXED..]).await?;
    Ok(message)
}
