//! The HTTP client: TLS, credentials, timeouts.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Certificate, ClientBuilder, Identity, Method, RequestBuilder, Response};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde::de::DeserializeOwned;

use super::error::{ApiError, chain, no_answer, status_of, whole};
use super::traffic;
use crate::access::{ApiAccess, Credential, PemSource};
use crate::read;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Much shorter than the watchdog's time, so that a request never gets the process killed.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);
const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";
/// A dead server is detected by an unanswered HTTP/2 ping, on connections with an open request or watch.
const PING_INTERVAL: Duration = Duration::from_secs(15);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// On a connection that should not wake anybody, the kernel checks instead, and seldom.
const QUIET_KEEP_ALIVE: Duration = Duration::from_secs(300);
/// The most bytes of a file with certificates or keys: more than all authorities of a system.
const LONGEST_PEM: u64 = 4 << 20;
/// More bytes than a server accepts in a header.
pub(super) const LONGEST_TOKEN: u64 = 64 << 10;
/// A list in one answer: several times what the largest node's pods are.
const LONGEST_ANSWER: usize = 64 << 20;
const METADATA: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
const METADATA_LIST: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";

/// The files that a client was created from, and when each was last changed.
type Files = Vec<(PathBuf, Option<SystemTime>)>;

/// A client with the credentials as they were when it was created.
#[derive(Debug, Clone)]
pub(super) struct Client {
    http: reqwest::Client,
    server: String,
    authorization: Option<HeaderValue>,
    files: Files,
}

impl Client {
    pub(super) fn new(access: &ApiAccess) -> Result<Client, ApiError> {
        Client::with(access, |builder| builder)
    }

    /// A client whose connection causes no traffic of its own: for an answer that goes on for long and is in no
    /// hurry.
    pub(super) fn quiet(access: &ApiAccess) -> Result<Client, ApiError> {
        Client::with(access, |builder| {
            builder.http2_keep_alive_interval(None).tcp_keepalive(QUIET_KEEP_ALIVE)
        })
    }

    fn with(
        access: &ApiAccess,
        connection: impl FnOnce(ClientBuilder) -> ClientBuilder,
    ) -> Result<Client, ApiError> {
        let mut files = Vec::new();
        let authorities = authorities(&access.certificate_authority, &mut files)?;
        let mut builder = connection(builder(authorities));
        let mut authorization = None;
        match &access.credential {
            Credential::Token(token) => {
                let header = bearer(token.expose());
                authorization =
                    Some(header.ok_or_else(|| refused(Path::new("kubeconfig"), "its token is not a token"))?);
            }
            Credential::TokenFile(path) => authorization = Some(bearer_in(path, &mut files)?),
            Credential::ClientCertificate { certificate, key } => {
                let mut both = pem(certificate, &mut files)?;
                if CertificateDer::from_pem_slice(&both).is_err() {
                    return Err(unusable(certificate, "contains no certificate"));
                }
                let secret = pem(key, &mut files)?;
                if PrivateKeyDer::from_pem_slice(&secret).is_err() {
                    return Err(unusable(key, "contains no private key"));
                }
                both.push(b'\n');
                both.extend(secret);
                builder = builder.identity(
                    Identity::from_pem(&both).map_err(|error| unusable(certificate, chain(&error)))?,
                );
            }
        }
        let http = builder.build().map_err(|error| match &access.credential {
            Credential::ClientCertificate { certificate, .. } => unusable(certificate, chain(&error)),
            _ => ApiError::Client(chain(&error)),
        })?;
        Ok(Client { http, server: access.server.clone(), authorization, files })
    }

    /// A client for a server other than the API server.
    pub(super) fn for_url(url: &str, token: Option<&Path>, authority: &Path) -> Result<Client, ApiError> {
        let mut files = Vec::new();
        let authorization = token.map(|path| bearer_in(path, &mut files)).transpose()?;
        let mut trusted = Vec::new();
        if url.starts_with("https:") {
            trusted = authorities(&PemSource::File(authority.to_owned()), &mut files)?;
        }
        let http = builder(trusted).build().map_err(|error| ApiError::Client(chain(&error)))?;
        Ok(Client { http, server: url.to_owned(), authorization, files })
    }

    /// Whether a credential's file has been replaced since.
    pub(super) fn is_outdated(&self) -> bool {
        self.files.iter().any(|(path, changed)| changed_at(path) != *changed)
    }

    /// Sends a request and reads the whole answer.
    pub(super) async fn json<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<(&'static str, Vec<u8>)>,
        timeout: Option<Duration>,
    ) -> Result<T, ApiError> {
        let timeout = timeout.unwrap_or(REQUEST_TIMEOUT);
        let response = self.send(method, path, body, timeout).await?;
        parse(response).await
    }

    /// Reads a list as `kubectl get` shows it: a few hundred bytes per object, however large the object is.
    pub(super) async fn table<T: DeserializeOwned>(&self, path: &str) -> Result<T, ApiError> {
        let request = self.request(Method::GET, path).header(ACCEPT, TABLE).timeout(REQUEST_TIMEOUT);
        parse(answered(request).await?).await
    }

    /// Reads a list of which the server sends only the objects' metadata.
    pub(super) async fn metadata_list<T: DeserializeOwned>(&self, path: &str) -> Result<T, ApiError> {
        let request = self.request(Method::GET, path).header(ACCEPT, METADATA_LIST).timeout(REQUEST_TIMEOUT);
        parse(answered(request).await?).await
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.server));
        match &self.authorization {
            Some(authorization) => request.header(AUTHORIZATION, authorization.clone()),
            None => request,
        }
    }

    /// Sends a request; the caller reads the answer's body, all of it within the timeout.
    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<(&'static str, Vec<u8>)>,
        timeout: Duration,
    ) -> Result<Response, ApiError> {
        let mut request = self.request(method, path).timeout(timeout);
        if let Some((content_type, body)) = body {
            request = request.header(CONTENT_TYPE, content_type).body(body);
        }
        answered(request).await
    }

    /// Watches objects for at most this long; the server sends only their metadata.
    pub(super) async fn metadata(&self, path: &str, timeout: Duration) -> Result<Response, ApiError> {
        answered(self.request(Method::GET, path).header(ACCEPT, METADATA).timeout(timeout)).await
    }

    /// Reads an answer whatever its status, if it is not longer than this many bytes.
    pub(super) async fn whole(&self, path: &str, most: usize) -> Result<(u16, Vec<u8>), ApiError> {
        let request = self.request(Method::GET, path).timeout(REQUEST_TIMEOUT);
        let response = request.send().await.map_err(no_answer)?;
        let code = response.status().as_u16();
        Ok((code, whole(response, most).await?))
    }

    /// Sends something to a server that is not the API server, at the client's own address.
    pub(super) async fn tell(&self, body: Vec<u8>) -> Result<(), ApiError> {
        let request = self.request(Method::POST, "").timeout(REQUEST_TIMEOUT);
        let request = request.header(CONTENT_TYPE, "application/json").body(body);
        match request.send().await.map_err(no_answer)?.status() {
            status if status.is_success() => Ok(()),
            status => Err(ApiError::status(status.as_u16(), status.canonical_reason().unwrap_or_default())),
        }
    }

    /// Asks whether an object exists; if it does, the server sends only its metadata.
    pub(super) async fn exists(&self, path: &str) -> Result<bool, ApiError> {
        let request = self.request(Method::GET, path).header(ACCEPT, METADATA).timeout(REQUEST_TIMEOUT);
        match answered(request).await {
            Ok(_) => Ok(true),
            Err(ApiError::Status { code: 404, .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

fn builder(authorities: Vec<Certificate>) -> ClientBuilder {
    reqwest::Client::builder()
        .user_agent(concat!("rebootd/", env!("CARGO_PKG_VERSION")))
        .no_proxy()
        .tls_certs_only(authorities)
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(PING_INTERVAL)
        .http2_keep_alive_timeout(PING_TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
}

async fn answered(request: RequestBuilder) -> Result<Response, ApiError> {
    traffic::sent();
    let result = match request.send().await {
        Ok(response) if response.status().is_success() => Ok(response),
        Ok(response) => Err(status_of(response).await),
        Err(error) => Err(no_answer(error)),
    };
    result.inspect_err(traffic::ended_badly)
}

async fn parse<T: DeserializeOwned>(response: Response) -> Result<T, ApiError> {
    let bytes = whole(response, LONGEST_ANSWER).await?;
    serde_json::from_slice(&bytes).map_err(ApiError::garbled)
}

/// Whose signature under a server's certificate counts.
fn authorities(source: &PemSource, files: &mut Files) -> Result<Vec<Certificate>, ApiError> {
    let found = Certificate::from_pem_bundle(&pem(source, files)?);
    let found = found.map_err(|error| unusable(source, chain(&error)))?;
    if found.is_empty() { Err(unusable(source, "contains no certificate")) } else { Ok(found) }
}

fn pem(source: &PemSource, files: &mut Files) -> Result<Vec<u8>, ApiError> {
    match source {
        PemSource::File(path) => read(path, LONGEST_PEM, files),
        PemSource::Inline(bytes) => Ok(bytes.clone()),
    }
}

/// Reads a credential, and remembers when it was changed. That is asked first, so that no change is missed.
fn read(path: &Path, most: u64, files: &mut Files) -> Result<Vec<u8>, ApiError> {
    files.push((path.to_owned(), changed_at(path)));
    read::read(path, most).map_err(|error| refused(path, error))
}

fn changed_at(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok()
}

fn bearer_in(path: &Path, files: &mut Files) -> Result<HeaderValue, ApiError> {
    let token = String::from_utf8(read(path, LONGEST_TOKEN, files)?);
    match token.map_err(|_| refused(path, "is not a token"))?.trim() {
        // Sent empty it would be taken for no credential at all, and answered with a missing right.
        "" => Err(refused(path, "is empty")),
        token => bearer(token).ok_or_else(|| refused(path, "is not a token")),
    }
}

/// None if a token cannot contain these characters. The header's own error might show the token.
fn bearer(token: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(&format!("Bearer {token}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}

fn unusable(source: &PemSource, why: impl Display) -> ApiError {
    match source {
        PemSource::File(path) => refused(path, why),
        PemSource::Inline(_) => refused(Path::new("kubeconfig"), why),
    }
}

/// A credential that cannot be used.
fn refused(path: &Path, why: impl Display) -> ApiError {
    ApiError::Credential { path: path.to_owned(), why: why.to_string() }
}
