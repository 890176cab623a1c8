//! Stands between one host and the API server, so that a test can stop, lose or delay any single step.
//!
//! One [`Proxy`] per host ends TLS, names each request as Kubernetes does, records it and forwards it. It speaks
//! HTTP/1.1 and HTTP/2 to clients and HTTP/1.1 to the API server. Answers stream, so watches flow at once; request
//! bodies are read whole first (all of Kubernetes' are short, but for exec and the like, which do not work here).
//!
//! Identities: who presents a client certificate of the lab's CA is forwarded as that user over a front-proxy
//! connection; everything else, bearer tokens among it, goes upstream as it came. A certificate comes before a
//! token, as in the API server itself; a certificate that does not verify is a 401, unless a token comes with it.
//!
//! ```ignore
//! let proxy = Proxy::start(config).await?;
//! let stamp = proxy.add(Rule::new(Verb::Patch, "leases").from_agent("rebootd").nth(2), Action::HoldAnswer);
//! let hit = stamp.wait_hit().await;      // the server has applied it, the daemon does not know
//! // … kill the daemon, cut the host's power …
//! stamp.drop_request();
//! ```
//!
//! A hollow kubelet reports neither boot id nor machine id; [`ProxyConfig::fill_node_info`] puts them into what it
//! writes. That needs JSON. Its status patches always are; its registration is Protobuf unless it runs with
//! `--kube-api-content-type=application/json`. Protobuf bodies are left alone: the ids then come with the first patch.

mod black_hole;
mod forward;
mod node_info;
mod records;
mod request_info;
mod rules;
#[cfg(test)]
mod tests;
mod tls;

pub use node_info::{NodeInfo, NodeInfoSource};
pub use records::{Identity, Outcome, RequestEvent, RequestRecord};
pub use request_info::{RequestInfo, Verb};
pub use rules::{Action, Hit, Rule, RuleHandle};
pub use tls::KeyPair;
pub(crate) use tls::{HttpsClient, https_client};

use anyhow::Context;
use black_hole::{BlackHole, SilencedStream};
use forward::{Connection, Upstream};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use records::Records;
use rules::Rules;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tls::LenientVerifier;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

/// A test that panicked must not hide its message behind those of poisoned locks.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a proxy needs to run.
#[derive(Clone)]
pub struct ProxyConfig {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The API server: `https://10.77.0.1:6443`.
    pub upstream: String,
    /// What the proxy serves; must name the address that clients use.
    pub serving: KeyPair,
    /// The CA of client certificates, PEM.
    pub client_authority_pem: String,
    /// The CA of the API server's own certificate, PEM.
    pub upstream_authority_pem: String,
    /// The API server's `--requestheader-client-ca-file` must have signed it, and `--requestheader-allowed-names`
    /// must name it or be empty.
    pub front_proxy: KeyPair,
    /// Completes what a hollow kubelet writes of its Node.
    pub fill_node_info: Option<NodeInfoSource>,
}

struct Shared {
    upstream: Upstream,
    verifier: Arc<LenientVerifier>,
    acceptor: Mutex<TlsAcceptor>,
    rules: Arc<Rules>,
    records: Arc<Records>,
    fill_node_info: Option<NodeInfoSource>,
    refuse: AtomicBool,
    /// Of the connections there are and those to come; replaced where only the former fall silent.
    black_hole: Mutex<BlackHole>,
    open_connections: AtomicUsize,
    /// Ends everything.
    stop: CancellationToken,
    /// Ends the connections there are; replaced at each use.
    connections: Mutex<CancellationToken>,
}

/// A running proxy. Dropping it closes the listener and every connection.
pub struct Proxy {
    shared: Arc<Shared>,
    address: SocketAddr,
}

impl Proxy {
    /// Listens and serves until dropped.
    pub async fn start(config: ProxyConfig) -> anyhow::Result<Proxy> {
        let listener =
            TcpListener::bind(config.listen).await.with_context(|| format!("listen on {}", config.listen))?;
        Proxy::start_on(listener, config)
    }

    /// As [`Proxy::start`] on a socket that is listening already, made in another network namespace perhaps;
    /// `config.listen` is not used.
    pub fn start_on(listener: TcpListener, config: ProxyConfig) -> anyhow::Result<Proxy> {
        let address = listener.local_addr()?;
        let verifier = LenientVerifier::new(&config.client_authority_pem).context("client CA")?;
        let stop = CancellationToken::new();
        let shared = Arc::new(Shared {
            upstream: Upstream::new(&config)?,
            acceptor: Mutex::new(
                tls::server_config(&config.serving, verifier.clone()).context("serving certificate")?.into(),
            ),
            verifier,
            rules: Arc::default(),
            records: Records::new(),
            fill_node_info: config.fill_node_info,
            refuse: AtomicBool::new(false),
            black_hole: Mutex::default(),
            open_connections: AtomicUsize::new(0),
            connections: Mutex::new(stop.child_token()),
            stop,
        });
        tokio::spawn(accept(shared.clone(), listener));
        Ok(Proxy { shared, address })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Adds a rule. Where several match a request, all count it and the one added last acts.
    pub fn add(&self, rule: Rule, action: Action) -> RuleHandle {
        self.shared.rules.add(rule, action)
    }

    /// Removes all rules and releases what they hold.
    pub fn clear(&self) {
        self.shared.rules.clear();
    }

    /// All requests so far, in the order of arrival.
    pub fn requests(&self) -> Vec<RequestRecord> {
        self.shared.records.all()
    }

    /// One request by its number, as it stands now.
    pub fn request(&self, number: usize) -> Option<RequestRecord> {
        self.shared.records.get(number)
    }

    /// Beginning and end of each request from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<RequestEvent> {
        self.shared.records.subscribe()
    }

    /// Closes new connections at once. Those that are open stay: see [`Proxy::kill_connections`].
    pub fn set_refuse(&self, refuse: bool) {
        self.shared.refuse.store(refuse, Ordering::SeqCst);
    }

    /// Falls silent: connections stay open and new ones are accepted, but no byte is read or written, not even of a
    /// TLS handshake. What the API server has already been asked it still does. Once lifted, all goes on where it
    /// stopped: what clients sent meanwhile reaches the server, late, unless [`Proxy::kill_connections`] comes first.
    pub fn set_black_hole(&self, black_hole: bool) {
        lock(&self.shared.black_hole).set(black_hole);
    }

    /// The connections there are fall silent for ever, and new ones work: a firewall on the way has forgotten them.
    pub fn silence_connections(&self) {
        std::mem::take(&mut *lock(&self.shared.black_hole)).set(true);
    }

    /// Breaks every connection that is open now.
    pub fn kill_connections(&self) {
        let mut connections = lock(&self.shared.connections);
        connections.cancel();
        *connections = self.shared.stop.child_token();
    }

    /// How many connections clients have open.
    pub fn open_connections(&self) -> usize {
        self.shared.open_connections.load(Ordering::SeqCst)
    }

    /// Serves another certificate to new connections; earlier TLS sessions cannot be resumed. Open connections
    /// go on with the old one: see [`Proxy::kill_connections`].
    pub fn set_certificate(&self, serving: &KeyPair) -> anyhow::Result<()> {
        *lock(&self.shared.acceptor) = tls::server_config(serving, self.shared.verifier.clone())?.into();
        Ok(())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.stop.cancel();
    }
}

async fn accept(shared: Arc<Shared>, listener: TcpListener) {
    loop {
        let accepted = tokio::select! {
            () = shared.stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok(_) if shared.refuse.load(Ordering::SeqCst) => {}
            Ok((stream, peer)) => {
                let kill = lock(&shared.connections).child_token();
                tokio::spawn(serve(shared.clone(), stream, peer, kill));
            }
            // Out of file descriptors, most likely: others must close some first.
            Err(_) => tokio::time::sleep(std::time::Duration::from_millis(50)).await,
        }
    }
}

struct CountDown(Arc<Shared>);

impl Drop for CountDown {
    fn drop(&mut self) {
        self.0.open_connections.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn serve(shared: Arc<Shared>, stream: TcpStream, peer: SocketAddr, kill: CancellationToken) {
    shared.open_connections.fetch_add(1, Ordering::SeqCst);
    let _count_down = CountDown(shared.clone());
    let _ = stream.set_nodelay(true);
    let stream = SilencedStream::new(stream, lock(&shared.black_hole).clone());
    let acceptor = lock(&shared.acceptor).clone();
    let stream = tokio::select! {
        () = kill.cancelled() => return,
        stream = acceptor.accept(stream) => match stream {
            Ok(stream) => stream,
            Err(_) => return,
        },
    };
    let chain = stream.get_ref().1.peer_certificates().map(<[_]>::to_vec).unwrap_or_default();
    let close = CancellationToken::new();
    let connection = Arc::new(Connection { chain, peer, kill: kill.clone(), close: close.clone() });
    let service = service_fn(move |request| forward::handle(shared.clone(), connection.clone(), request));
    let builder = auto::Builder::new(TokioExecutor::new());
    let mut served = pin!(builder.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        () = kill.cancelled() => return,
        _ = served.as_mut() => return,
        () = close.cancelled() => served.as_mut().graceful_shutdown(),
    }
    tokio::select! {
        () = kill.cancelled() => {}
        _ = served => {}
    }
}
