//! Certificates in both directions: what the proxy serves, whom it trusts and how it reaches the API server.

use super::records::Identity;
use anyhow::Context;
use bytes::Bytes;
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    ClientConfig, DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme,
};
use std::sync::Arc;
use std::time::Duration;

/// A certificate chain and its key, both PEM.
#[derive(Clone, Debug)]
pub struct KeyPair {
    /// The certificate, followed by any intermediate ones.
    pub certificate_pem: String,
    /// The private key.
    pub key_pem: String,
}

type DerPair = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

impl KeyPair {
    fn read(&self) -> anyhow::Result<DerPair> {
        let chain = CertificateDer::pem_slice_iter(self.certificate_pem.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .context("certificate PEM")?;
        let key = PrivateKeyDer::from_pem_slice(self.key_pem.as_bytes()).context("private key PEM")?;
        Ok((chain, key))
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn roots(authority_pem: &str) -> anyhow::Result<Arc<RootCertStore>> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(authority_pem.as_bytes()) {
        roots.add(certificate.context("CA PEM")?)?;
    }
    anyhow::ensure!(!roots.is_empty(), "no CA certificate in the PEM given");
    Ok(Arc::new(roots))
}

/// A client that speaks HTTP/1.1 only: each request in flight has a connection of its own, so no limit of streams
/// can let a watch starve a write, and dropping an answer closes its connection.
pub(crate) type HttpsClient = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

pub(crate) fn https_client(authority_pem: &str, credential: Option<&KeyPair>) -> anyhow::Result<HttpsClient> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots(authority_pem)?);
    let config = match credential {
        Some(pair) => {
            let (chain, key) = pair.read()?;
            builder.with_client_auth_cert(chain, key)?
        }
        None => builder.with_no_client_auth(),
    };
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    let connector =
        HttpsConnectorBuilder::new().with_tls_config(config).https_only().enable_http1().wrap_connector(tcp);
    Ok(Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        // Well below the API server's own idle limit, so that no request meets a connection as it closes.
        .pool_idle_timeout(Duration::from_secs(30))
        .build(connector))
}

pub(super) fn server_config(
    pair: &KeyPair,
    verifier: Arc<dyn ClientCertVerifier>,
) -> anyhow::Result<Arc<ServerConfig>> {
    let (chain, key) = pair.read()?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// What a client's certificate says.
#[derive(Debug)]
pub(super) enum Presented {
    Nothing,
    Valid(Identity),
    Invalid(String),
}

/// Takes any certificate in the handshake and judges it at each request: the API server does so too, and a client
/// whose certificate has expired must see its 401, not a broken handshake.
#[derive(Debug)]
pub(super) struct LenientVerifier(Arc<dyn ClientCertVerifier>);

impl LenientVerifier {
    pub(super) fn new(authority_pem: &str) -> anyhow::Result<Arc<LenientVerifier>> {
        let strict =
            WebPkiClientVerifier::builder_with_provider(roots(authority_pem)?, provider()).build()?;
        Ok(Arc::new(LenientVerifier(strict)))
    }

    pub(super) fn judge(&self, chain: &[CertificateDer<'_>]) -> Presented {
        let Some((leaf, intermediates)) = chain.split_first() else { return Presented::Nothing };
        if let Err(error) = self.0.verify_client_cert(leaf, intermediates, UnixTime::now()) {
            return Presented::Invalid(error.to_string());
        }
        match x509_parser::parse_x509_certificate(leaf) {
            Err(error) => Presented::Invalid(error.to_string()),
            Ok((_, certificate)) => {
                let subject = certificate.subject();
                let text = |attribute: &x509_parser::x509::AttributeTypeAndValue<'_>| {
                    attribute.as_str().map(str::to_owned).ok()
                };
                match subject.iter_common_name().next().and_then(text) {
                    Some(user) if !user.is_empty() => Presented::Valid(Identity::Certificate {
                        user,
                        groups: subject.iter_organization().filter_map(text).collect(),
                    }),
                    _ => Presented::Nothing,
                }
            }
        }
    }
}

impl ClientCertVerifier for LenientVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn verify_client_cert(
        &self,
        _leaf: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
