//! The cluster's certificates: one authority for the cluster and one for the front proxy.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, KeyPair, KeyUsagePurpose,
};

use crate::network::LAB_ADDRESS;
use crate::proxy;

/// A certificate and its key, as PEM files.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

impl Identity {
    /// The contents of both files.
    pub fn read(&self) -> Result<proxy::KeyPair> {
        Ok(proxy::KeyPair {
            certificate_pem: fs::read_to_string(&self.certificate)?,
            key_pem: fs::read_to_string(&self.key)?,
        })
    }
}

/// The authorities, and the directory in which every certificate lies.
pub struct Pki {
    directory: PathBuf,
    cluster: CertifiedIssuer<'static, KeyPair>,
    front_proxy: CertifiedIssuer<'static, KeyPair>,
}

impl Pki {
    /// Makes both authorities and the key that signs service account tokens.
    pub fn new(directory: &Path) -> Result<Self> {
        fs::create_dir_all(directory)?;
        let pki = Self {
            directory: directory.to_owned(),
            cluster: authority("lab cluster")?,
            front_proxy: authority("lab front proxy")?,
        };
        fs::write(pki.ca(), pki.cluster.pem())?;
        fs::write(pki.front_proxy_ca(), pki.front_proxy.pem())?;
        let tokens = KeyPair::generate()?;
        fs::write(pki.service_account_key(), tokens.serialize_pem())?;
        fs::write(directory.join("service-account-public.pem"), tokens.public_key_pem())?;
        Ok(pki)
    }

    /// The cluster's CA certificate.
    pub fn ca(&self) -> PathBuf {
        self.directory.join("ca.pem")
    }

    /// The CA certificate that front proxies' client certificates come from.
    pub fn front_proxy_ca(&self) -> PathBuf {
        self.directory.join("front-proxy-ca.pem")
    }

    /// The private key that signs service account tokens.
    pub fn service_account_key(&self) -> PathBuf {
        self.directory.join("service-account.pem")
    }

    /// The cluster CA's certificate and key, for the controller manager.
    pub fn write_ca_key(&self) -> Result<PathBuf> {
        let path = self.directory.join("ca-key.pem");
        fs::write(&path, self.cluster.key().serialize_pem())?;
        Ok(path)
    }

    /// A certificate for whatever serves at the lab's address: the API server and the proxies.
    pub fn server(&self, name: &str) -> Result<Identity> {
        let names = [
            LAB_ADDRESS.to_string(),
            "127.0.0.1".to_owned(),
            // The first address of the service network.
            "10.96.0.1".to_owned(),
            "localhost".to_owned(),
            "kubernetes".to_owned(),
            "kubernetes.default.svc".to_owned(),
        ];
        self.issue(name, name, &[], names.to_vec(), ExtendedKeyUsagePurpose::ServerAuth, &self.cluster)
    }

    /// The same, valid from yesterday on: for what a host with a wrong clock makes of it.
    pub fn young_server(&self, name: &str) -> Result<Identity> {
        self.issue_from(
            SystemTime::now() - Duration::from_secs(86_400),
            name,
            name,
            &[],
            vec![LAB_ADDRESS.to_string()],
            ExtendedKeyUsagePurpose::ServerAuth,
            &self.cluster,
        )
    }

    /// A client certificate: the user name is the common name, the groups are organisations.
    pub fn client(&self, file: &str, user: &str, groups: &[&str]) -> Result<Identity> {
        self.issue(file, user, groups, Vec::new(), ExtendedKeyUsagePurpose::ClientAuth, &self.cluster)
    }

    /// The client certificate by which the API server knows a proxy that names the user itself.
    pub fn front_proxy_client(&self, name: &str) -> Result<Identity> {
        self.issue(name, name, &[], Vec::new(), ExtendedKeyUsagePurpose::ClientAuth, &self.front_proxy)
    }

    fn issue(
        &self,
        file: &str,
        common_name: &str,
        organisations: &[&str],
        alternative_names: Vec<String>,
        usage: ExtendedKeyUsagePurpose,
        issuer: &CertifiedIssuer<'static, KeyPair>,
    ) -> Result<Identity> {
        let for_ever = SystemTime::UNIX_EPOCH;
        self.issue_from(for_ever, file, common_name, organisations, alternative_names, usage, issuer)
    }

    #[allow(clippy::too_many_arguments, reason = "each is one field of a certificate")]
    fn issue_from(
        &self,
        not_before: SystemTime,
        file: &str,
        common_name: &str,
        organisations: &[&str],
        alternative_names: Vec<String>,
        usage: ExtendedKeyUsagePurpose,
        issuer: &CertifiedIssuer<'static, KeyPair>,
    ) -> Result<Identity> {
        let mut parameters = CertificateParams::new(alternative_names)?;
        parameters.distinguished_name = DistinguishedName::new();
        parameters.distinguished_name.push(DnType::CommonName, common_name);
        for organisation in organisations {
            parameters.distinguished_name.push(DnType::OrganizationName, *organisation);
        }
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages = vec![usage];
        parameters.not_before = not_before.into();
        let key = KeyPair::generate()?;
        let certificate = parameters.signed_by(&key, issuer)?;
        let identity = Identity {
            certificate: self.directory.join(format!("{file}.pem")),
            key: self.directory.join(format!("{file}-key.pem")),
        };
        fs::write(&identity.certificate, certificate.pem())?;
        fs::write(&identity.key, key.serialize_pem())?;
        Ok(identity)
    }
}

fn authority(name: &str) -> Result<CertifiedIssuer<'static, KeyPair>> {
    let mut parameters = CertificateParams::new(Vec::new())?;
    parameters.distinguished_name = DistinguishedName::new();
    parameters.distinguished_name.push(DnType::CommonName, name);
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters.key_usages =
        vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::CrlSign];
    CertifiedIssuer::self_signed(parameters, KeyPair::generate()?)
        .context("cannot make a certificate authority")
}

/// A kubeconfig that carries everything in itself, so that it can be copied to a host.
pub fn kubeconfig(server: &str, ca: &Path, identity: &Identity) -> Result<String> {
    let json = serde_json::json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "lab",
        "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "lab"}}],
        "clusters": [{"name": "lab", "cluster": {
            "server": server,
            "certificate-authority-data": STANDARD.encode(fs::read(ca)?),
        }}],
        "users": [{"name": "lab", "user": {
            "client-certificate-data": STANDARD.encode(fs::read(&identity.certificate)?),
            "client-key-data": STANDARD.encode(fs::read(&identity.key)?),
        }}],
    });
    // Every JSON document is a YAML document.
    Ok(serde_json::to_string_pretty(&json)?)
}
