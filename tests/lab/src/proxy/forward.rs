//! The way of one request through the proxy.

use super::records::{ClientPresence, Identity, Outcome, RequestRecord, Tracker};
use super::request_info::RequestInfo;
use super::rules::{Action, ActiveRule, Fate};
use super::tls::Presented;
use super::{HttpsClient, ProxyConfig, Shared, Verb, https_client, node_info};
use anyhow::Context as _;
use base64::Engine;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Request, Response, Uri};
use rustls::pki_types::CertificateDer;
use std::fmt;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::time::{Sleep, sleep};
use tokio_util::sync::CancellationToken;

/// One client's connection.
pub(super) struct Connection {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) peer: SocketAddr,
    pub(super) kill: CancellationToken,
    /// It takes no more requests and ends with those that it has.
    pub(super) close: CancellationToken,
}

/// Tells hyper to break off: it resets the stream (HTTP/2) or closes the connection (HTTP/1.1).
#[derive(Debug)]
pub(super) struct Broken;

impl fmt::Display for Broken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("broken off")
    }
}

impl std::error::Error for Broken {}

/// The API server, reached with and without the front proxy's certificate.
pub(super) struct Upstream {
    authority: hyper::http::uri::Authority,
    plain: HttpsClient,
    front_proxy: HttpsClient,
}

impl Upstream {
    pub(super) fn new(config: &ProxyConfig) -> anyhow::Result<Upstream> {
        let uri: Uri = config.upstream.parse().context("upstream URL")?;
        anyhow::ensure!(uri.scheme_str() == Some("https"), "upstream must be an https URL");
        Ok(Upstream {
            authority: uri.authority().cloned().context("upstream URL without host")?,
            plain: https_client(&config.upstream_authority_pem, None).context("upstream CA")?,
            front_proxy: https_client(&config.upstream_authority_pem, Some(&config.front_proxy))
                .context("front proxy certificate")?,
        })
    }

    async fn send(
        &self,
        outgoing: Outgoing,
    ) -> Result<Response<Incoming>, hyper_util::client::legacy::Error> {
        let Outgoing { mut parts, body, identity, peer } = outgoing;
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        let uri =
            Uri::builder().scheme("https").authority(self.authority.clone()).path_and_query(path).build();
        let mut request = Request::new(Full::new(body));
        if let Ok(uri) = uri {
            *request.uri_mut() = uri;
        }
        *request.method_mut() = parts.method;

        let headers = &mut parts.headers;
        remove_hop_by_hop(headers);
        for name in [header::HOST, header::CONTENT_LENGTH, header::EXPECT] {
            headers.remove(name);
        }
        // Only this proxy may say who somebody is.
        let forged: Vec<HeaderName> =
            headers.keys().filter(|name| name.as_str().starts_with("x-remote-")).cloned().collect();
        for name in forged {
            headers.remove(name);
        }
        // The audit log then names the host, not the proxy.
        if let Ok(address) = HeaderValue::from_str(&peer.ip().to_string()) {
            headers.insert("x-forwarded-for", address);
        }
        let client = match &identity {
            Identity::Certificate { user, groups } => {
                append(headers, "x-remote-user", user);
                for group in groups {
                    append(headers, "x-remote-group", group);
                }
                &self.front_proxy
            }
            Identity::Token { .. } | Identity::Anonymous => &self.plain,
        };
        *request.headers_mut() = parts.headers;
        client.request(request).await
    }
}

struct Outgoing {
    parts: Parts,
    body: Bytes,
    identity: Identity,
    peer: SocketAddr,
}

fn append(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.append(name, value);
    }
}

fn remove_hop_by_hop(headers: &mut HeaderMap) {
    for name in
        ["connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"]
    {
        headers.remove(name);
    }
}

/// Serves one request. hyper drops this future when the client goes away.
pub(super) async fn handle(
    shared: Arc<Shared>,
    connection: Arc<Connection>,
    request: Request<Incoming>,
) -> Result<Response<AnswerBody>, Broken> {
    let (parts, body) = request.into_parts();
    // A request that did not arrive whole is none.
    let body = body.collect().await.map_err(|_| Broken)?.to_bytes();
    let (identity, refused) = identify(&shared, &connection, &parts.headers);
    let mut record = new_record(&parts, &body, identity.clone());
    let tracker = Arc::new(shared.records.begin(record.clone()));
    record.number = tracker.number();
    let presence = ClientPresence(tracker.clone());

    let caught = shared.rules.catch(&record, &body);
    if let (None, Some(reason)) = (&caught, refused) {
        let Action::Answer { status, headers, body } = Action::answer_error(401, "Unauthorized", &reason)
        else {
            return Err(Broken);
        };
        return Ok(own_answer(status, &headers, body, presence));
    }
    let forwarded = shared
        .fill_node_info
        .as_ref()
        .and_then(|source| node_info::fill(source, &record, &parts.headers, &body))
        .unwrap_or_else(|| body.clone());
    let step = Step {
        shared: shared.clone(),
        connection: connection.clone(),
        tracker,
        record,
        body,
        outgoing: Outgoing { parts, body: forwarded, identity, peer: connection.peer },
    };
    let Some(rule) = caught else {
        return step.ask_server().await.map(|answer| streamed(answer, None, presence));
    };
    if let Action::Answer { status, headers, body } = &rule.action {
        rule.report(&step.record, step.body.clone(), None);
        if headers.iter().any(|(name, value)| name == "connection" && value == "close") {
            connection.close.cancel();
        }
        return Ok(own_answer(*status, headers, body.clone(), presence));
    }
    // A task of its own, so that it goes on when the client gives up and hyper drops this future.
    let stop = shared.stop.clone();
    let cut_after = match rule.action {
        Action::CutAnswer(bytes) => Some(bytes),
        _ => None,
    };
    let task = tokio::spawn(async move { stop.run_until_cancelled_owned(step.run(rule)).await });
    match task.await {
        Ok(Some(Ok(answer))) => Ok(streamed(answer, cut_after, presence)),
        _ => Err(Broken),
    }
}

struct Step {
    shared: Arc<Shared>,
    connection: Arc<Connection>,
    tracker: Arc<Tracker>,
    record: RequestRecord,
    body: Bytes,
    outgoing: Outgoing,
}

impl Step {
    async fn ask_server(self) -> Result<Response<Incoming>, Broken> {
        match self.shared.upstream.send(self.outgoing).await {
            Ok(answer) => {
                self.tracker.server_answered(answer.status().as_u16());
                Ok(answer)
            }
            Err(error) => {
                self.tracker.end(Outcome::UpstreamFailed);
                // The API server is down: its clients' connections would be, too.
                if error.is_connect() {
                    self.connection.kill.cancel();
                }
                Err(Broken)
            }
        }
    }

    async fn run(self, rule: Arc<ActiveRule>) -> Result<Response<Incoming>, Broken> {
        let tracker = self.tracker.clone();
        let connection = self.connection.clone();
        let result = self.act(&rule).await;
        if result.is_err() {
            tracker.end(Outcome::Dropped);
            if rule.kills_connection() {
                connection.kill.cancel();
            }
        }
        result
    }

    async fn act(self, rule: &ActiveRule) -> Result<Response<Incoming>, Broken> {
        let (record, body) = (self.record.clone(), self.body.clone());
        let report = |server_status| rule.report(&record, body.clone(), server_status);
        match rule.action {
            Action::DropBefore => {
                report(None);
                Err(Broken)
            }
            Action::Hold => {
                decided(report(None)).await?;
                self.ask_server().await
            }
            Action::Delay(duration) => {
                report(None);
                sleep(duration).await;
                self.ask_server().await
            }
            Action::DropAfter => {
                let streams = self.record.verb == Verb::Watch;
                let answer = self.ask_server().await?;
                let status = answer.status().as_u16();
                if !streams {
                    let _ = answer.into_body().collect().await;
                }
                report(Some(status));
                Err(Broken)
            }
            Action::HoldAnswer => {
                let answer = self.ask_server().await?;
                decided(report(Some(answer.status().as_u16()))).await?;
                Ok(answer)
            }
            Action::DelayAnswer(duration) => {
                let answer = self.ask_server().await?;
                report(Some(answer.status().as_u16()));
                sleep(duration).await;
                Ok(answer)
            }
            Action::CutAnswer(_) => {
                let answer = self.ask_server().await?;
                report(Some(answer.status().as_u16()));
                Ok(answer)
            }
            Action::Answer { .. } => Err(Broken),
        }
    }
}

async fn decided(mut fate: watch::Receiver<Option<Fate>>) -> Result<(), Broken> {
    match fate.wait_for(Option::is_some).await.as_deref() {
        Ok(Some(Fate::Forward)) => Ok(()),
        _ => Err(Broken),
    }
}

/// The second part is why the API server would not let this certificate in.
fn identify(shared: &Shared, connection: &Connection, headers: &HeaderMap) -> (Identity, Option<String>) {
    let token = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| Identity::Token { subject: subject_of(token.trim()) });
    match (shared.verifier.judge(&connection.chain), token) {
        (Presented::Valid(identity), _) => (identity, None),
        (_, Some(token)) => (token, None),
        (Presented::Nothing, None) => (Identity::Anonymous, None),
        (Presented::Invalid(reason), None) => (Identity::Anonymous, Some(reason)),
    }
}

fn subject_of(token: &str) -> Option<String> {
    let payload = token.split('.').nth(1)?;
    let payload = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(payload).ok()?;
    let claims: serde_json::Value = serde_json::from_slice(&payload).ok()?;
    claims.get("sub")?.as_str().map(str::to_owned)
}

fn new_record(parts: &Parts, body: &Bytes, identity: Identity) -> RequestRecord {
    let info = RequestInfo::parse(&parts.method, &parts.uri);
    let user_agent = parts.headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok());
    RequestRecord {
        number: 0,
        began: Instant::now(),
        began_at: jiff::Timestamp::now(),
        ended: None,
        verb: info.verb,
        resource: info.resource,
        namespace: info.namespace,
        name: info.name,
        method: parts.method.to_string(),
        path: parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
        user_agent: user_agent.unwrap_or_default().to_owned(),
        identity,
        body_size: body.len(),
        status: None,
        server_status: None,
        outcome: Outcome::UnderWay,
    }
}

fn streamed(
    answer: Response<Incoming>,
    cut_after: Option<usize>,
    presence: ClientPresence,
) -> Response<AnswerBody> {
    let (mut parts, body) = answer.into_parts();
    remove_hop_by_hop(&mut parts.headers);
    parts.version = hyper::Version::default();
    parts.extensions.clear();
    presence.0.client_answered(parts.status.as_u16());
    Response::from_parts(parts, AnswerBody::new(Source::Server(body), cut_after.map(Cut::after), presence))
}

fn own_answer(
    status: u16,
    headers: &[(String, String)],
    body: Bytes,
    presence: ClientPresence,
) -> Response<AnswerBody> {
    presence.0.client_answered(status);
    let mut response = Response::new(AnswerBody::new(Source::Own(Full::new(body)), None, presence));
    if let Ok(status) = hyper::StatusCode::from_u16(status) {
        *response.status_mut() = status;
    }
    for (name, value) in headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            response.headers_mut().append(name, value);
        }
    }
    response
}

enum Source {
    Server(Incoming),
    Own(Full<Bytes>),
}

/// Where an answer breaks off.
struct Cut {
    /// After so many more bytes.
    left: usize,
    /// hyper throws away what it has not sent when a body breaks off: they get a moment.
    moment: Pin<Box<Sleep>>,
}

impl Cut {
    const MOMENT: Duration = Duration::from_millis(30);

    fn after(left: usize) -> Cut {
        Cut { left, moment: Box::pin(sleep(Cut::MOMENT)) }
    }

    fn shorten(&mut self, data: &mut Bytes) {
        data.truncate(self.left);
        self.left -= data.len();
        self.moment.as_mut().reset(tokio::time::Instant::now() + Cut::MOMENT);
    }
}

/// An answer's body; notes when the client has all of it.
pub(super) struct AnswerBody {
    source: Source,
    cut: Option<Cut>,
    presence: ClientPresence,
}

impl AnswerBody {
    fn new(source: Source, cut: Option<Cut>, presence: ClientPresence) -> AnswerBody {
        let body = AnswerBody { source, cut, presence };
        // hyper never polls a body that it knows to be empty.
        if body.is_end_stream() {
            body.presence.0.end(Outcome::Answered);
        }
        body
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if let Some(cut) = self.cut.as_mut().filter(|cut| cut.left == 0) {
            std::task::ready!(cut.moment.as_mut().poll(context));
            self.presence.0.end(Outcome::Dropped);
            return Poll::Ready(Some(Err(Broken)));
        }
        let mut frame = match &mut self.source {
            Source::Server(body) => Pin::new(body).poll_frame(context).map_err(|_| Broken),
            Source::Own(body) => Pin::new(body).poll_frame(context).map_err(|_| Broken),
        };
        if let (Some(cut), Poll::Ready(Some(Ok(part)))) = (&mut self.cut, &mut frame)
            && let Some(data) = part.data_mut()
        {
            cut.shorten(data);
        }
        match &frame {
            Poll::Ready(Some(Err(_))) => self.presence.0.end(Outcome::UpstreamFailed),
            Poll::Ready(None) => self.presence.0.end(Outcome::Answered),
            // With a known length hyper does not ask again after the last byte.
            Poll::Ready(Some(Ok(_))) if self.is_end_stream() => self.presence.0.end(Outcome::Answered),
            _ => {}
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            _ if self.cut.is_some() => false,
            Source::Server(body) => body.is_end_stream(),
            Source::Own(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Server(body) => body.size_hint(),
            Source::Own(body) => body.size_hint(),
        }
    }
}
