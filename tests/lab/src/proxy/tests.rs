//! The proxy between real TLS clients and a small upstream that records what reached it.

use super::*;
use anyhow::Result;
use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Frame, Incoming};
use hyper::client::conn::{http1, http2};
use hyper::{HeaderMap, Request, Response, StatusCode};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa,
};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;

const SECOND: Duration = Duration::from_secs(1);
/// Long enough, most times, to see that something does happen which must not.
const MOMENT: Duration = Duration::from_millis(150);

/// Waits, also on a busy machine, for what must come.
async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < 20 * SECOND, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

struct Authority(CertifiedIssuer<'static, rcgen::KeyPair>);

impl Authority {
    fn new(name: &str) -> Authority {
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name.push(DnType::CommonName, name);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Authority(CertifiedIssuer::self_signed(parameters, rcgen::KeyPair::generate().unwrap()).unwrap())
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    fn sign(&self, change: impl FnOnce(&mut CertificateParams)) -> KeyPair {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        parameters.distinguished_name = DistinguishedName::new();
        parameters.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut parameters);
        let certificate = parameters.signed_by(&key, &self.0).unwrap();
        KeyPair { certificate_pem: certificate.pem(), key_pem: key.serialize_pem() }
    }

    fn client(&self, user: &str, groups: &[&str]) -> KeyPair {
        self.sign(|parameters| {
            parameters.distinguished_name.push(DnType::CommonName, user);
            // rcgen keeps one value for each type: the second group needs the same type by another name.
            let organization = [DnType::OrganizationName, DnType::CustomDnType(vec![2, 5, 4, 10])];
            for (kind, group) in organization.into_iter().zip(groups) {
                parameters.distinguished_name.push(kind, *group);
            }
        })
    }
}

fn der(pair: &KeyPair) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let chain =
        CertificateDer::pem_slice_iter(pair.certificate_pem.as_bytes()).collect::<Result<_, _>>().unwrap();
    (chain, PrivateKeyDer::from_pem_slice(pair.key_pem.as_bytes()).unwrap())
}

fn trust(authority_pem: &str) -> Arc<RootCertStore> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority_pem.as_bytes()).unwrap()).unwrap();
    Arc::new(roots)
}

#[derive(Clone, Debug)]
struct Seen {
    method: String,
    path: String,
    headers: HeaderMap,
    body: Bytes,
    front_proxy: bool,
}

impl Seen {
    fn header(&self, name: &str) -> Vec<&str> {
        self.headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect()
    }
}

/// Stands for the API server: answers everything with 200 and counts it; a watch streams what `events` are sent.
#[derive(Default)]
struct Upstream {
    seen: Mutex<Vec<Seen>>,
    events: Mutex<Vec<mpsc::UnboundedSender<Bytes>>>,
}

impl Upstream {
    fn start(authority: &Authority, client_authority: &Authority) -> (Arc<Upstream>, SocketAddr) {
        let upstream = Arc::new(Upstream::default());
        let (chain, key) = der(&authority.sign(|_| {}));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(trust(&client_authority.pem()), provider.clone())
                .allow_unauthenticated()
                .build()
                .unwrap();
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let listener = TcpListener::from_std(listener).unwrap();
        let address = listener.local_addr().unwrap();
        let served = upstream.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (acceptor, served) = (acceptor.clone(), served.clone());
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let front_proxy = stream.get_ref().1.peer_certificates().is_some();
                    let service = service_fn(move |request| {
                        let served = served.clone();
                        async move { Ok::<_, Infallible>(served.answer(request, front_proxy).await) }
                    });
                    let builder = auto::Builder::new(TokioExecutor::new());
                    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        (upstream, address)
    }

    async fn answer(
        &self,
        request: Request<Incoming>,
        front_proxy: bool,
    ) -> Response<BoxBody<Bytes, Infallible>> {
        let (parts, body) = request.into_parts();
        let Ok(body) = body.collect().await else { return Response::default() };
        let path = parts.uri.to_string();
        let count = {
            let mut seen = lock(&self.seen);
            seen.push(Seen {
                method: parts.method.to_string(),
                path: path.clone(),
                headers: parts.headers,
                body: body.to_bytes(),
                front_proxy,
            });
            seen.len()
        };
        if path.contains("watch=true") {
            let (sender, receiver) = mpsc::unbounded_channel::<Bytes>();
            lock(&self.events).push(sender);
            return Response::new(Events(receiver).boxed());
        }
        let mut response = Response::new(Full::new(Bytes::from(json!({"count": count}).to_string())).boxed());
        response.headers_mut().insert("content-type", "application/json".parse().unwrap());
        response
    }

    fn seen(&self) -> Vec<Seen> {
        lock(&self.seen).clone()
    }

    fn last(&self) -> Seen {
        self.seen().last().cloned().unwrap()
    }

    /// False when the watch's client is gone.
    fn send_event(&self, text: &'static str) -> bool {
        lock(&self.events).last().unwrap().send(Bytes::from_static(text.as_bytes())).is_ok()
    }
}

struct Events(mpsc::UnboundedReceiver<Bytes>);

impl Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|event| event.map(|event| Ok(Frame::data(event))))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Http1,
    Http2,
}

enum Sender {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

/// One connection to the proxy.
struct Client {
    sender: Sender,
    agent: &'static str,
}

impl Client {
    async fn connect(
        address: SocketAddr,
        authority_pem: &str,
        credential: Option<&KeyPair>,
        protocol: Protocol,
    ) -> Result<Client> {
        let builder =
            rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()?
                .with_root_certificates(trust(authority_pem));
        let mut config = match credential {
            None => builder.with_no_client_auth(),
            Some(pair) => {
                let (chain, key) = der(pair);
                builder.with_client_auth_cert(chain, key)?
            }
        };
        config.alpn_protocols = match protocol {
            Protocol::Http1 => vec![b"http/1.1".to_vec()],
            Protocol::Http2 => vec![b"h2".to_vec()],
        };
        let stream = TcpStream::connect(address).await?;
        let name = ServerName::try_from(address.ip().to_string())?;
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
        let stream = TokioIo::new(stream);
        let sender = match protocol {
            Protocol::Http1 => {
                let (sender, connection) = http1::handshake(stream).await?;
                tokio::spawn(connection);
                Sender::Http1(sender)
            }
            Protocol::Http2 => {
                let (sender, connection) = http2::handshake(TokioExecutor::new(), stream).await?;
                tokio::spawn(connection);
                Sender::Http2(sender)
            }
        };
        Ok(Client { sender, agent: "rebootd/0.1.0" })
    }

    fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> impl Future<Output = hyper::Result<Response<Incoming>>> + Send + 'static + use<> {
        let mut request = Request::builder().method(method).uri(match self.sender {
            Sender::Http1(_) => path.to_owned(),
            Sender::Http2(_) => format!("https://127.0.0.1{path}"),
        });
        request = request.header("user-agent", self.agent).header("host", "127.0.0.1");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::from(body.to_owned()))).unwrap();
        let answer: Pin<Box<dyn Future<Output = _> + Send>> = match &mut self.sender {
            Sender::Http1(sender) => Box::pin(sender.send_request(request)),
            Sender::Http2(sender) => Box::pin(sender.send_request(request)),
        };
        async move { tokio::time::timeout(30 * SECOND, answer).await.expect("no answer") }
    }

    async fn get(&mut self, path: &str) -> hyper::Result<Response<Incoming>> {
        self.send("GET", path, &[], "").await
    }

    fn closed(&self) -> bool {
        match &self.sender {
            Sender::Http1(sender) => sender.is_closed(),
            Sender::Http2(sender) => sender.is_closed(),
        }
    }
}

async fn text(response: Response<Incoming>) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

struct Bench {
    authority: Authority,
    front_proxy_authority: Authority,
    upstream: Arc<Upstream>,
    proxy: Proxy,
    protocol: Protocol,
}

impl Bench {
    async fn new(protocol: Protocol) -> Bench {
        Bench::with(protocol, |_| {}).await
    }

    async fn with(protocol: Protocol, change: impl FnOnce(&mut ProxyConfig)) -> Bench {
        let authority = Authority::new("lab");
        let front_proxy_authority = Authority::new("front proxy");
        let (upstream, address) = Upstream::start(&authority, &front_proxy_authority);
        let mut config = ProxyConfig {
            listen: "127.0.0.1:0".parse().unwrap(),
            upstream: format!("https://{address}"),
            serving: authority.sign(|_| {}),
            client_authority_pem: authority.pem(),
            upstream_authority_pem: authority.pem(),
            front_proxy: front_proxy_authority.client("front-proxy", &[]),
            fill_node_info: None,
        };
        change(&mut config);
        let proxy = Proxy::start(config).await.unwrap();
        Bench { authority, front_proxy_authority, upstream, proxy, protocol }
    }

    async fn connect(&self, credential: Option<&KeyPair>) -> Result<Client> {
        Client::connect(self.proxy.address(), &self.authority.pem(), credential, self.protocol).await
    }

    async fn client(&self) -> Client {
        self.connect(None).await.unwrap()
    }

    async fn kubelet(&self) -> Client {
        let pair = self.authority.client("system:node:a", &["system:nodes", "system:authenticated"]);
        let mut client = self.connect(Some(&pair)).await.unwrap();
        client.agent = "kubelet/v1.37.1";
        client
    }
}

/// Runs a test over both protocols.
macro_rules! both {
    ($($name:ident => $body:ident;)*) => {$(
        mod $name {
            #[tokio::test]
            async fn http1() { super::$body(super::Protocol::Http1).await }
            #[tokio::test]
            async fn http2() { super::$body(super::Protocol::Http2).await }
        }
    )*};
}

mod broken;

both! {
    certificate => a_certificate_becomes_a_front_proxy_identity;
    token => a_token_goes_through_and_nobody_forges_an_identity;
    bad_certificate => a_certificate_that_does_not_verify_is_unauthorized;
    stream => a_watch_streams_and_ends_with_its_client;
    hold => hold_stops_before_the_server;
    late => a_held_write_lands_although_its_client_gave_up;
    drop_before => drop_before_never_reaches_the_server;
    drop_after => drop_after_reaches_the_server;
    hold_answer => hold_answer_stops_after_the_server;
    delays => delays_before_and_after;
    answer => answer_does_not_ask_the_server;
    kill => kill_connection_takes_the_other_streams_along;
    matching => rules_match_by_every_part_and_count;
    refuse => refuse_closes_at_once;
    black_hole => black_hole_is_silence_and_then_all_goes_on;
    certificate_swap => another_certificate_can_be_served;
    node_info => node_info_is_filled_for_the_kubelet_only;
    upstream_down => an_upstream_that_is_down_breaks_the_connection;
    records => requests_are_recorded;
    stop => dropping_the_proxy_closes_everything;
}

async fn a_certificate_becomes_a_front_proxy_identity(protocol: Protocol) {
    let bench = Bench::new(protocol).await;
    let mut kubelet = bench.kubelet().await;
    let forged =
        [("X-Remote-User", "admin"), ("X-Remote-Group", "system:masters"), ("x-remote-extra-a", "b")];
    let answer = kubelet.send("PATCH", "/api/v1/nodes/a?x=y", &forged, "body").await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(text(answer).await, r#"{"count":1}"#);
    let seen = bench.upstream.last();
    assert!(seen.front_proxy);
    assert_eq!(
        (seen.method.as_str(), seen.path.as_str(), &seen.body[..]),
        ("PATCH", "/api/v1/nodes/a?x=y", &b"body"[..])
    );
    assert_eq!(seen.header("x-remote-user"), ["system:node:a"]);
    assert_eq!(seen.header("x-remote-group"), ["system:nodes", "system:authenticated"]);
    assert!(seen.header("x-remote-extra-a").is_empty());
    assert_eq!(seen.header("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(seen.header("user-agent"), ["kubelet/v1.37.1"]);
    assert_eq!(seen.header("host").len(), 1);
}

async fn a_token_goes_through_and_nobody_forges_an_identity(protocol: Protocol) {
    let bench = Bench::new(protocol).await;
    let mut client = bench.client().await;
    // {"sub":"system:serviceaccount:rebootd:agent"}
    let token = "Bearer x.eyJzdWIiOiJzeXN0ZW06c2VydmljZWFjY291bnQ6cmVib290ZDphZ2VudCJ9.x";
    let headers = [("authorization", token), ("x-remote-user", "admin")];
    client.send("GET", "/api/v1/nodes", &headers, "").await.unwrap();
    let seen = bench.upstream.last();
    assert!(!seen.front_proxy);
    assert_eq!(seen.header("authorization"), [token]);
    assert!(seen.header("x-remote-user").is_empty());
    client.send("GET", "/api/v1/nodes", &[("x-remote-user", "admin")], "").await.unwrap();
    let seen = bench.upstream.last();
    assert!(!seen.front_proxy && seen.header("x-remote-user").is_empty());

    let records = bench.proxy.requests();
    let user = Some("system:serviceaccount:rebootd:agent".to_owned());
    assert_eq!(records[0].identity, Identity::Token { subject: user });
    assert_eq!(records[1].identity, Identity::Anonymous);

    // As in the API server, a certificate comes first.
    let mut kubelet = bench.kubelet().await;
    kubelet.send("GET", "/api/v1/nodes", &headers, "").await.unwrap();
    assert_eq!(bench.upstream.last().header("x-remote-user"), ["system:node:a"]);
}

async fn a_certificate_that_does_not_verify_is_unauthorized(protocol: Protocol) {
    let bench = Bench::new(protocol).await;
    let expired = bench.authority.sign(|parameters| {
        parameters.distinguished_name.push(DnType::CommonName, "system:node:a");
        parameters.not_after = rcgen::date_time_ymd(2020, 1, 1);
    });
    let stranger = bench.front_proxy_authority.client("system:node:a", &[]);
    for pair in [expired, stranger] {
        let mut client = bench.connect(Some(&pair)).await.unwrap();
        let answer = client.get("/api/v1/nodes").await.unwrap();
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
        assert!(text(answer).await.contains(r#""reason":"Unauthorized""#));
        assert!(bench.upstream.seen().is_empty());
    }
    let pair = bench.front_proxy_authority.client("x", &[]);
    let mut client = bench.connect(Some(&pair)).await.unwrap();
    let answer = client.send("GET", "/api/v1/nodes", &[("authorization", "Bearer t")], "").await.unwrap();
    assert_eq!(answer.status(), 200);
    assert!(!bench.upstream.last().front_proxy);
}

async fn a_watch_streams_and_ends_with_its_client(protocol: Protocol) {
    let bench = Bench::new(protocol).await;
    let mut client = bench.client().await;
    let answer = client.get("/api/v1/nodes?watch=true").await.unwrap();
    let mut body = answer.into_body();
    for event in ["one\n", "two\n", "three\n"] {
        assert!(bench.upstream.send_event(event));
        let frame = tokio::time::timeout(10 * SECOND, body.frame()).await.unwrap().unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), event);
    }
    assert_eq!(bench.proxy.requests()[0].outcome, Outcome::UnderWay);
    assert_eq!(bench.proxy.requests()[0].status, Some(200));
    drop(body);
    drop(client);
    eventually("end of the record", || bench.proxy.requests()[0].outcome == Outcome::ClientGone).await;
    eventually("end of the server's stream", || !bench.upstream.send_event("four\n")).await;
}

async fn hold_stops_before_the_server(protocol: Protocol) {
    let bench = Bench::new(protocol).await;
    let rule = bench.proxy.add(Rule::new(Verb::Patch, "leases"), Action::Hold);
    let mut client = bench.client().await;
    let path = "/apis/coordination.k8s.io/v1/namespaces/rebootd/leases/slot";
    let answer = tokio::spawn(client.send("PATCH", path, &[], r#"{"a":1}"#));
    let hit = rule.wait_hit().await;
    assert_eq!((hit.method.as_str(), hit.path.as_str(), hit.json()), ("PATCH", path, json!({"a": 1})));
    assert_eq!((hit.namespace.as_deref(), hit.name.as_deref()), (Some("rebootd"), Some("slot")));
    tokio::time::sleep(MOMENT).await;
    assert!(bench.upstream.seen().is_empty() && !answer.is_finished());
    rule.release();
    assert_eq!(answer.await.unwrap().unwrap().status(), 200);
    assert_eq!(bench.upstream.seen().len(), 1);

    let answer = tokio::spawn(client.send("PATCH", path, &[], ""));
    rule.wait_hit().await.drop_request();
    answer.await.unwrap().unwrap_err();
    assert_eq!(bench.upstream.seen().len(), 1);

    // Removal and clear release what is held.
    let mut client = bench.client().await;
    let answer = tokio::spawn(client.send("PATCH", path, &[], ""));
    rule.wait_hit().await;
    rule.remove();
    assert_eq!(answer.await.unwrap().unwrap().status(), 200);
    let rule = bench.proxy.add(Rule::any(), Action::Hold);
    let answer = tokio::spawn(client.send("PATCH", path, &[], ""));
    rule.wait_hit().await;
    bench.proxy.clear();
    assert_eq!(answer.await.unwrap().unwrap().status(), 200);
    assert_eq!(client.get("/version").await.unwrap().status(), 200);
}

async fn a_held_write_lands_although_its_client_gave_up(protocol: Protocol) {
    let bench = Bench::new(protocol).await;
    let rule = bench.proxy.add(Rule::new(Verb::Patch, "nodes"), Action::Hold);
    let mut client = bench.client().await;
    let answer = tokio::spawn(client.send("PATCH", "/api/v1/nodes/a", &[], "cordon"));
    let hit = rule.wait_hit().await;
    answer.abort();
    drop(client);
    eventually("end of the record", || bench.proxy.requests()[0].outcome == Outcome::ClientGone).await;
    assert!(bench.upstream.seen().is_empty());
    hit.release();
    eventually("late answer", || bench.proxy.requests()[0].server_status.is_some()).await;
    assert_eq!(bench.upstream.last().body, "cordon");
    assert_eq!(bench.proxy.requests()[0].server_status, Some(200));
    assert_eq!(bench.proxy.requests()[0].status, None);
}

async fn drop_before_never_reaches_the_server(protocol: Protocol) {
    let bench = Bench::new(protocol).await;
    let rule = bench.proxy.add(Rule::new(Verb::Get, "nodes").nth(2), Action::DropBefore);
    let mut client = bench.client().await;
    assert_eq!(client.get("/api/v1/nodes/a").await.unwrap().status(), 200);
    client.get("/api/v1/nodes/a").await.unwrap_err();
    assert_eq!(rule.wait_hit().await.server_status, None);
    assert_eq!(bench.upstream.seen().len(), 1);
    assert_eq!(bench.proxy.requests()[1].outcome, Outcome::Dropped);
    // HTTP/2 loses the stream, HTTP/1.1 the connection.
    match protocol {
        Protocol::Http1 => eventually("closed", || client.closed()).await,
        Protocol::Http2 => assert_eq!(client.get("/api/v1/nodes/a").await.unwrap().status(), 200),
    }
}

async fn drop_after_reaches_the_server(protocol: Protocol) {
    let bench = Bench::new(protocol).await;
    let rule = bench.proxy.add(Rule::any(), Action::DropAfter);
    let mut client = bench.client().await;
    client.send("POST", "/api/v1/namespaces/d/pods/p/eviction", &[], "{}").await.unwrap_err();
    let hit = rule.wait_hit().await;
    assert_eq!((hit.resource.as_str(), hit.server_status), ("pods/eviction", Some(200)));
    assert_eq!(bench.upstream.seen().len(), 1);
    let record = &bench.proxy.requests()[0];
    assert_eq!((record.outcome, record.status, record.server_status), (Outcome::Dropped, None, Some(200)));
}

async fn hold_answer_stops_after_the_server(protocol: Protocol) {
    let bench = Bench::new(protocol).await;
    let rule = bench.proxy.add(Rule::new(Verb::Update, "leases"), Action::HoldAnswer);
    let mut client = bench.client().await;
    let path = "/apis/coordination.k8s.io/v1/namespaces/rebootd/leases/slot";
    let answer = tokio::spawn(client.send("PUT", path, &[], "{}"));
    let hit = rule.wait_hit().await;
    assert_eq!(hit.server_status, Some(200));
    assert_eq!(bench.upstream.seen().len(), 1);
    tokio::time::sleep(MOMENT).await;
    assert!(!answer.is_finished());
    hit.release();
    let answer = answer.await.unwrap().unwrap();
    assert_eq!(text(answer).await, r#"{"count":1}"#);

    let answer = tokio::spawn(client.send("PUT", path, &[], "{}"));
    rule.wait_hit().await;
    rule.drop_request();
    answer.await.unwrap().unwrap_err();
    assert_eq!(bench.upstream.seen().len(), 2);
}

async fn delays_before_and_after(protocol: Protocol) {
    let bench = Bench::new(protocol).await;
    let before = bench.proxy.add(Rule::new(Verb::Get, "nodes"), Action::Delay(2 * MOMENT));
    let after = bench.proxy.add(Rule::new(Verb::Get, "pods"), Action::DelayAnswer(2 * MOMENT));
    let mut client = bench.client().await;
    for (rule, path, reached) in [(before, "/api/v1/nodes/a", 0), (after, "/api/v1/namespaces/d/pods/p", 2)] {
        let began = Instant::now();
        let answer = tokio::spawn(client.send("GET", path, &[], ""));
        rule.wait_hit().await;
        let seen = (bench.upstream.seen().len(), answer.is_finished());
        // On a busy machine the delay may be over before anybody looks.
        if began.elapsed() < 2 * MOMENT {
            assert_eq!(seen, (reached, false));
        }
        assert_eq!(answer.await.unwrap().unwrap().status(), 200);
        assert!(began.elapsed() >= 2 * MOMENT);
    }
}

async fn answer_does_not_ask_the_server(protocol: Protocol) {
    let bench = Bench::new(protocol).await;
    let rule =
        bench.proxy.add(Rule::new(Verb::Get, "nodes").nth(1), Action::answer_error(409, "Conflict", "stale"));
    let mut client = bench.client().await;
    let answer = client.get("/api/v1/nodes/a").await.unwrap();
    assert_eq!(answer.status(), 409);
    assert_eq!(answer.headers()["content-type"], "application/json");
    let body: Value = serde_json::from_str(&text(answer).await).unwrap();
    assert_eq!(
        (&body["kind"], &body["reason"], &body["code"]),
        (&"Status".into(), &"Conflict".into(), &409.into())
    );
    assert_eq!(rule.hits().len(), 1);
    assert_eq!(client.get("/api/v1/nodes/a").await.unwrap().status(), 200);
    assert_eq!(rule.seen(), 2);

    bench.proxy.add(Rule::any(), Action::answer_overloaded(7));
    let answer = client.get("/api/v1/nodes/a").await.unwrap();
    assert_eq!((answer.status().as_u16(), &answer.headers()["retry-after"]), (429, &"7".parse().unwrap()));
    assert_eq!(bench.upstream.seen().len(), 1);
    assert_eq!(bench.proxy.requests()[2].status, Some(429));
}

async fn kill_connection_takes_the_other_streams_along(protocol: Protocol) {
    let bench = Bench::new(protocol).await;
    bench.proxy.add(Rule::new(Verb::Get, "nodes").kill_connection(), Action::DropBefore);
    let mut client = bench.client().await;
    let watching = match protocol {
        Protocol::Http1 => None,
        Protocol::Http2 => Some(client.get("/api/v1/pods?watch=true").await.unwrap().into_body()),
    };
    client.get("/api/v1/nodes/a").await.unwrap_err();
    eventually("closed", || client.closed()).await;
    if let Some(mut body) = watching {
        body.frame().await.unwrap().unwrap_err();
    }
    eventually("no connection", || bench.proxy.open_connections() == 0).await;
}

async fn rules_match_by_every_part_and_count(protocol: Protocol) {
    let bench = Bench::new(protocol).await;
    let general = bench
        .proxy
        .add(Rule::new(Verb::Patch, "leases").namespace("rebootd"), Action::answer_error(500, "a", ""));
    let stamp = bench.proxy.add(
        Rule::any().resource("leases").name("slot").from_agent("rebootd/").body_contains("rebooting").nth(2),
        Action::answer_error(501, "b", ""),
    );
    let own = |record: &RequestRecord, body: &[u8]| {
        record.namespace.as_deref() == Some("other") && body == b"claim"
    };
    let of_its_own = bench.proxy.add(Rule::any().when(own), Action::answer_error(502, "c", ""));
    let mut agent = bench.client().await;
    let mut kubelet = bench.kubelet().await;
    let path = "/apis/coordination.k8s.io/v1/namespaces/rebootd/leases/slot";
    let other = "/apis/coordination.k8s.io/v1/namespaces/other/leases/slot";
    let mut statuses = Vec::new();
    for (from_agent, path, body) in [
        (true, path, "claim"),
        (true, path, "rebooting"),
        (false, path, "rebooting"),
        (true, other, "claim"),
        (true, path, "rebooting"),
        (true, path, "rebooting"),
    ] {
        let client = if from_agent { &mut agent } else { &mut kubelet };
        statuses.push(client.send("PATCH", path, &[], body).await.unwrap().status().as_u16());
    }
    // The rule added last acts; the earlier one counts all the same.
    assert_eq!(statuses, [500, 500, 500, 502, 501, 500]);
    assert_eq!(of_its_own.hits().len(), 1);
    assert_eq!((general.seen(), stamp.seen(), stamp.hits().len()), (5, 3, 1));
}

async fn refuse_closes_at_once(protocol: Protocol) {
    let bench = Bench::new(protocol).await;
    let mut open = bench.client().await;
    bench.proxy.set_refuse(true);
    assert!(bench.connect(None).await.is_err());
    assert_eq!(open.get("/version").await.unwrap().status(), 200);
    bench.proxy.kill_connections();
    open.get("/version").await.unwrap_err();
    bench.proxy.set_refuse(false);
    assert_eq!(bench.client().await.get("/version").await.unwrap().status(), 200);
}

async fn black_hole_is_silence_and_then_all_goes_on(protocol: Protocol) {
    let bench = Bench::new(protocol).await;
    let mut client = bench.client().await;
    let mut watching = bench.client().await;
    let mut events = watching.get("/api/v1/pods?watch=true").await.unwrap().into_body();
    bench.proxy.set_black_hole(true);
    let answer = tokio::spawn(client.send("GET", "/version", &[], ""));
    let (address, authority) = (bench.proxy.address(), bench.authority.pem());
    let connecting = tokio::spawn(async move { Client::connect(address, &authority, None, protocol).await });
    assert!(bench.upstream.send_event("one\n"));
    assert!(tokio::time::timeout(MOMENT, events.frame()).await.is_err());
    assert!(!answer.is_finished() && !connecting.is_finished());
    assert_eq!(bench.upstream.seen().len(), 1);
    bench.proxy.set_black_hole(false);
    assert_eq!(answer.await.unwrap().unwrap().status(), 200);
    connecting.await.unwrap().unwrap();
    assert_eq!(events.frame().await.unwrap().unwrap().into_data().unwrap(), "one\n");

    // What clients sent into the hole dies with their connections.
    bench.proxy.set_black_hole(true);
    let answer = tokio::spawn(client.send("GET", "/version", &[], ""));
    tokio::time::sleep(MOMENT).await;
    bench.proxy.kill_connections();
    bench.proxy.set_black_hole(false);
    answer.await.unwrap().unwrap_err();
    assert_eq!(bench.upstream.seen().len(), 2);
}

async fn another_certificate_can_be_served(protocol: Protocol) {
    let bench = Bench::new(protocol).await;
    let stranger = Authority::new("stranger");
    bench.proxy.set_certificate(&stranger.sign(|_| {})).unwrap();
    assert!(bench.connect(None).await.is_err());
    assert!(Client::connect(bench.proxy.address(), &stranger.pem(), None, protocol).await.is_ok());
    bench.proxy.set_certificate(&bench.authority.sign(|_| {})).unwrap();
    assert!(bench.connect(None).await.is_ok());
}

async fn node_info_is_filled_for_the_kubelet_only(protocol: Protocol) {
    let source: NodeInfoSource = Arc::new(|| {
        let kernel_version = Some("6.8.0-50".to_owned());
        Some(NodeInfo { boot_id: "boot".to_owned(), machine_id: "machine".to_owned(), kernel_version })
    });
    let bench = Bench::with(protocol, |config| config.fill_node_info = Some(source)).await;
    let mut kubelet = bench.kubelet().await;
    let merge = [("content-type", "application/strategic-merge-patch+json")];
    let status = "/api/v1/nodes/a/status?timeout=10s";
    let filled = json!({"bootID": "boot", "machineID": "machine", "kernelVersion": "6.8.0-50"});

    kubelet.send("PATCH", status, &merge, r#"{"status":{"conditions":[]}}"#).await.unwrap();
    let seen = bench.upstream.last();
    let body: Value = serde_json::from_slice(&seen.body).unwrap();
    assert_eq!(body, json!({"status": {"conditions": [], "nodeInfo": filled}}));
    assert_eq!(seen.header("content-length"), [seen.body.len().to_string()]);

    let sent = r#"{"status":{"nodeInfo":{"bootID":"","machineID":null,"kernelVersion":"3.16"}}}"#;
    kubelet.send("PATCH", status, &merge, sent).await.unwrap();
    let body: Value = serde_json::from_slice(&bench.upstream.last().body).unwrap();
    assert_eq!(body["status"]["nodeInfo"], filled);

    let sent = r#"{"status":{"nodeInfo":{"bootID":"real"}}}"#;
    kubelet.send("POST", "/api/v1/nodes", &[("content-type", "application/json")], sent).await.unwrap();
    let body: Value = serde_json::from_slice(&bench.upstream.last().body).unwrap();
    assert_eq!(body["status"]["nodeInfo"]["bootID"], "real");
    assert_eq!(body["status"]["nodeInfo"]["machineID"], "machine");

    let untouched = r#"{"metadata":{}}"#;
    let protobuf = [("content-type", "application/vnd.kubernetes.protobuf")];
    kubelet.send("POST", "/api/v1/nodes", &protobuf, untouched).await.unwrap();
    assert_eq!(bench.upstream.last().body, untouched);
    kubelet.send("PATCH", "/api/v1/nodes/a", &merge, untouched).await.unwrap();
    assert_eq!(bench.upstream.last().body, untouched);
    kubelet.agent = "rebootd/0.1.0";
    kubelet.send("PATCH", status, &merge, untouched).await.unwrap();
    assert_eq!(bench.upstream.last().body, untouched);
    let mut other = bench.client().await;
    other.send("PATCH", status, &merge, untouched).await.unwrap();
    assert_eq!(bench.upstream.last().body, untouched);
}

async fn an_upstream_that_is_down_breaks_the_connection(protocol: Protocol) {
    // A port that was free a moment ago.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let bench = Bench::with(protocol, |config| config.upstream = format!("https://{free}")).await;
    let mut client = bench.client().await;
    client.get("/api/v1/nodes").await.unwrap_err();
    eventually("closed", || client.closed()).await;
    assert_eq!(bench.proxy.requests()[0].outcome, Outcome::UpstreamFailed);
}

async fn requests_are_recorded(protocol: Protocol) {
    let bench = Bench::new(protocol).await;
    let mut events = bench.proxy.subscribe();
    let mut kubelet = bench.kubelet().await;
    let answer = kubelet.send("PATCH", "/api/v1/nodes/a/status", &[], "12345").await.unwrap();
    text(answer).await;
    assert!(matches!(events.recv().await.unwrap(), RequestEvent::Began(record) if record.status.is_none()));
    let Ok(RequestEvent::Ended(record)) = events.recv().await else { panic!("no end") };
    assert_eq!((record.number, record.verb, record.resource.as_str()), (0, Verb::Patch, "nodes/status"));
    assert_eq!((record.namespace.as_deref(), record.name.as_deref()), (None, Some("a")));
    assert_eq!(
        (record.user_agent.as_str(), record.identity.user()),
        ("kubelet/v1.37.1", Some("system:node:a"))
    );
    assert_eq!((record.status, record.server_status, record.body_size), (Some(200), Some(200), 5));
    assert_eq!(record.outcome, Outcome::Answered);
    assert!(record.ended.unwrap() >= record.began);
    assert_eq!(bench.proxy.requests().len(), 1);
}

async fn dropping_the_proxy_closes_everything(protocol: Protocol) {
    let Bench { proxy, upstream, authority, .. } = Bench::new(protocol).await;
    let address = proxy.address();
    let rule = proxy.add(Rule::any(), Action::Hold);
    let mut client = Client::connect(address, &authority.pem(), None, protocol).await.unwrap();
    let answer = tokio::spawn(client.send("GET", "/version", &[], ""));
    rule.wait_hit().await;
    drop(proxy);
    answer.await.unwrap().unwrap_err();
    eventually("closed", || client.closed()).await;
    assert!(upstream.seen().is_empty());
    let began = Instant::now();
    while TcpStream::connect(address).await.is_ok() {
        assert!(began.elapsed() < 20 * SECOND, "it still listens");
    }
}
