//! The HTTP client: TLS, credentials, timeouts.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Certificate, ClientBuilder, Identity, Method, RequestBuilder, Response};
use serde::de::DeserializeOwned;

use super::error::{ApiError, chain, no_answer, status_of, whole};
use crate::access::{ApiAccess, Credential, PemSource};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Much shorter than the watchdog's time, so that a request never gets the process killed.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);
const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";
/// A dead server is detected by an unanswered HTTP/2 ping, on connections with an open request or watch.
const PING_INTERVAL: Duration = Duration::from_secs(15);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// On a connection that should not wake anybody, the kernel checks instead, and seldom.
const QUIET_KEEP_ALIVE: Duration = Duration::from_secs(300);
const METADATA: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";

/// A client with the credentials as they were when it was created.
#[derive(Debug, Clone)]
pub(super) struct Client {
    http: reqwest::Client,
    server: String,
    authorization: Option<HeaderValue>,
    /// The files that it was created from, and when each was last changed.
    files: Vec<(PathBuf, Option<SystemTime>)>,
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
        let authority = pem(&access.certificate_authority, &mut files)?;
        let authorities = Certificate::from_pem_bundle(&authority)
            .map_err(|error| unusable(&access.certificate_authority, &error))?;
        let mut builder = connection(builder(authorities));
        let mut authorization = None;
        match &access.credential {
            Credential::Token(token) => authorization = Some(bearer(token.expose())?),
            Credential::TokenFile(path) => authorization = Some(bearer_in(path, &mut files)?),
            Credential::ClientCertificate { certificate, key } => {
                let mut both = pem(certificate, &mut files)?;
                both.push(b'\n');
                both.extend(pem(key, &mut files)?);
                builder = builder
                    .identity(Identity::from_pem(&both).map_err(|error| unusable(certificate, &error))?);
            }
        }
        let http = builder.build().map_err(|error| ApiError::Client(chain(&error)))?;
        Ok(Client { http, server: access.server.clone(), authorization, files })
    }

    /// A client for a server other than the API server.
    pub(super) fn for_url(url: &str, token: Option<&Path>, authority: &Path) -> Result<Client, ApiError> {
        let mut files = Vec::new();
        let authorization = token.map(|path| bearer_in(path, &mut files)).transpose()?;
        let mut authorities = Vec::new();
        if url.starts_with("https:") {
            let pem = read(authority, &mut files)?;
            authorities = Certificate::from_pem_bundle(&pem)
                .map_err(|error| unusable(&PemSource::File(authority.to_owned()), &error))?;
        }
        let http = builder(authorities).build().map_err(|error| ApiError::Client(chain(&error)))?;
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
    let response = request.send().await.map_err(no_answer)?;
    if response.status().is_success() { Ok(response) } else { Err(status_of(response).await) }
}

async fn parse<T: DeserializeOwned>(response: Response) -> Result<T, ApiError> {
    let bytes = response.bytes().await.map_err(no_answer)?;
    serde_json::from_slice(&bytes).map_err(ApiError::garbled)
}

fn pem(source: &PemSource, files: &mut Vec<(PathBuf, Option<SystemTime>)>) -> Result<Vec<u8>, ApiError> {
    match source {
        PemSource::File(path) => read(path, files),
        PemSource::Inline(bytes) => Ok(bytes.clone()),
    }
}

/// Reads a credential, and remembers when it was changed. That is asked first, so that no change is missed.
fn read(path: &Path, files: &mut Vec<(PathBuf, Option<SystemTime>)>) -> Result<Vec<u8>, ApiError> {
    files.push((path.to_owned(), changed_at(path)));
    std::fs::read(path)
        .map_err(|error| ApiError::Credential { path: path.to_owned(), why: error.to_string() })
}

fn changed_at(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok()
}

fn bearer_in(path: &Path, files: &mut Vec<(PathBuf, Option<SystemTime>)>) -> Result<HeaderValue, ApiError> {
    let not_a_token = |_| ApiError::Credential { path: path.to_owned(), why: "is not a token".to_owned() };
    let token = String::from_utf8(read(path, files)?).map_err(not_a_token)?;
    match token.trim() {
        // Sent empty it would be taken for no credential at all, and answered with a missing right.
        "" => Err(ApiError::Credential { path: path.to_owned(), why: "is empty".to_owned() }),
        token => bearer(token),
    }
}

fn bearer(token: &str) -> Result<HeaderValue, ApiError> {
    // The error is not passed on, because it might show the token.
    let mut value = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| {
        ApiError::Client("the token contains characters that a token cannot contain".to_owned())
    })?;
    value.set_sensitive(true);
    Ok(value)
}

fn unusable(source: &PemSource, error: &reqwest::Error) -> ApiError {
    let path = match source {
        PemSource::File(path) => path.clone(),
        PemSource::Inline(_) => PathBuf::from("kubeconfig"),
    };
    ApiError::Credential { path, why: chain(error) }
}
