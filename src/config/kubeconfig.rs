//! A kubeconfig: its current context names a cluster and a user, and these say how to reach the API server and who we
//! are.
//!
//! Anything that would need another program, or would make the connection less safe than it looks, is refused rather
//! than ignored. No message repeats text from the file, because it may be secret.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_saphyr::{Location, Spanned};

use super::document::LONGEST;
use super::error::{ConfigError, Place, Position};
use super::value::ServerAddress;
use crate::access::{ApiAccess, Credential, PemSource, Secret};
use crate::read::{read_named, read_text};

/// Reads the kubeconfig at `path`; None if there is none.
pub(super) fn read(path: &Path) -> Result<Option<ApiAccess>, ConfigError> {
    match read_text(path, LONGEST as u64) {
        Ok(text) => parse(path, &text, None).map(Some),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unreadable(path, &error)),
    }
}

/// Runs a credential plugin.
pub(super) type RunPlugin = dyn Fn(&ExecPlugin) -> Result<Credential, String>;

/// Reads the kubeconfig of the person who runs the program, and `run`s the plugin that it may name.
pub fn read_persons(path: &Path, run: &RunPlugin) -> Result<ApiAccess, ConfigError> {
    let text = read_named(path, LONGEST as u64).map_err(|error| ConfigError::unreadable(path, &error))?;
    parse(path, &text, Some(run))
}

/// The API server that a kubeconfig names, and who signs its certificate if the file says so. Nothing else of it is
/// read: whose it is does not matter.
pub fn read_cluster(path: &Path) -> Result<(String, Option<PemSource>), ConfigError> {
    let text = read_text(path, LONGEST as u64).map_err(|error| ConfigError::unreadable(path, &error))?;
    let reader = Reader { path };
    let document: ClustersOnly =
        serde_saphyr::from_str(&text).map_err(|error| reader.not_a_kubeconfig(&error))?;
    let mut context = document.contexts.iter().flatten();
    let context = context.find(|named| document.current_context.as_ref() == Some(&named.name));
    let mut clusters = document.clusters.iter().flatten();
    let named = clusters.find(|named| context.is_some_and(|it| it.context.cluster == named.name.value));
    let named =
        named.ok_or_else(|| ConfigError::at(Place::file(path), "its current-context names no cluster"))?;
    let authority =
        reader.pem(&named.cluster.certificate_authority_data, &named.cluster.certificate_authority)?;
    Ok((reader.address(named)?, authority))
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct ClustersOnly {
    current_context: Option<String>,
    contexts: Option<Vec<ContextOfCluster>>,
    clusters: Option<Vec<NamedCluster>>,
}

#[derive(Deserialize)]
struct ContextOfCluster {
    name: String,
    context: ClusterName,
}

#[derive(Deserialize)]
struct ClusterName {
    cluster: String,
}

/// A kubeconfig that exists but cannot be read; the message says what to do about the usual cause.
fn unreadable(path: &Path, error: &io::Error) -> ConfigError {
    if error.kind() != ErrorKind::PermissionDenied {
        return ConfigError::unreadable(path, error);
    }
    let shown = path.display();
    let message = format!(
        "permission denied; the daemon reads it as the user rebootd: \
         chown root:rebootd {shown} && chmod 0640 {shown}"
    );
    ConfigError::at(Place::file(path), message)
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Document {
    current_context: Option<Spanned<String>>,
    contexts: Option<Vec<NamedContext>>,
    clusters: Option<Vec<NamedCluster>>,
    users: Option<Vec<NamedUser>>,
}

#[derive(Deserialize)]
struct NamedContext {
    name: String,
    context: Context,
}

#[derive(Deserialize)]
struct Context {
    cluster: Spanned<String>,
    user: Spanned<String>,
}

#[derive(Deserialize)]
struct NamedCluster {
    name: Spanned<String>,
    cluster: Cluster,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Cluster {
    server: Option<Spanned<String>>,
    certificate_authority: Option<Spanned<String>>,
    certificate_authority_data: Option<Spanned<String>>,
    insecure_skip_tls_verify: Option<Spanned<bool>>,
    tls_server_name: Option<Spanned<IgnoredAny>>,
    proxy_url: Option<Spanned<IgnoredAny>>,
}

#[derive(Deserialize)]
struct NamedUser {
    name: Spanned<String>,
    user: User,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct User {
    token: Option<Spanned<String>>,
    // The only key that is not in kebab case.
    #[serde(rename = "tokenFile")]
    token_file: Option<Spanned<String>>,
    client_certificate: Option<Spanned<String>>,
    client_certificate_data: Option<Spanned<String>>,
    client_key: Option<Spanned<String>>,
    client_key_data: Option<Spanned<String>>,
    exec: Option<Spanned<ExecPlugin>>,
    auth_provider: Option<Spanned<IgnoredAny>>,
    username: Option<Spanned<IgnoredAny>>,
    #[serde(rename = "as")]
    impersonate: Option<Spanned<IgnoredAny>>,
}

/// A program that gives a credential (`ExecConfig` of `client.authentication.k8s.io`).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExecPlugin {
    /// The program. A path that is not absolute is relative to the kubeconfig; a mere name is looked for as a shell does.
    pub command: PathBuf,
    /// Its arguments.
    #[serde(default, deserialize_with = "or_none")]
    pub args: Vec<String>,
    /// What is added to its environment.
    #[serde(default, deserialize_with = "or_none")]
    pub env: Vec<EnvironmentVariable>,
    /// In which version it speaks.
    #[serde(default)]
    pub api_version: String,
    /// What to do where it is not installed.
    #[serde(default, rename = "installHint")]
    pub hint: Option<String>,
}

/// A variable of an environment.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct EnvironmentVariable {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// kubectl writes `null` for an empty list.
fn or_none<'de, T: Deserialize<'de>, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<T>, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// Parses the content of the kubeconfig at `path`.
fn parse(path: &Path, text: &str, run: Option<&RunPlugin>) -> Result<ApiAccess, ConfigError> {
    let reader = Reader { path };
    let document: Document = serde_saphyr::from_str(text).map_err(|error| reader.not_a_kubeconfig(&error))?;
    let context = reader.current_context(&document)?;
    let cluster = document.clusters.iter().flatten().find(|named| named.name.value == context.cluster.value);
    let cluster = cluster.ok_or_else(|| reader.error(&context.cluster, "no cluster has this name"))?;
    let user = document.users.iter().flatten().find(|named| named.name.value == context.user.value);
    let user = user.ok_or_else(|| reader.error(&context.user, "no user has this name"))?;

    reader.refuse_in_cluster(&cluster.cluster)?;
    reader.refuse_in_user(&user.user)?;
    let (server, certificate_authority) = reader.server(cluster)?;
    let credential = match &user.user.exec {
        Some(plugin) => reader.run(plugin, run)?,
        None => reader.credential(user)?,
    };
    Ok(ApiAccess { server, certificate_authority, credential })
}

/// Reads the parts of one kubeconfig; it knows the path for messages and for relative paths in the file.
struct Reader<'a> {
    path: &'a Path,
}

impl Reader<'_> {
    fn current_context<'d>(&self, document: &'d Document) -> Result<&'d Context, ConfigError> {
        let Some(wanted) = given(&document.current_context) else {
            return Err(ConfigError::at(Place::file(self.path), "has no current-context"));
        };
        let found = document.contexts.iter().flatten().find(|named| named.name == wanted.value);
        found.map(|named| &named.context).ok_or_else(|| self.error(wanted, "no context has this name"))
    }

    fn refuse_in_cluster(&self, cluster: &Cluster) -> Result<(), ConfigError> {
        if let Some(skip) = cluster.insecure_skip_tls_verify.as_ref().filter(|skip| skip.value) {
            let message = "insecure-skip-tls-verify is not supported: the server must prove who it is";
            return Err(self.error(skip, message));
        }
        self.refuse(&cluster.tls_server_name, "tls-server-name")?;
        self.refuse(&cluster.proxy_url, "proxy-url")
    }

    fn refuse_in_user(&self, user: &User) -> Result<(), ConfigError> {
        self.refuse(&user.auth_provider, "auth-provider")?;
        self.refuse(&user.username, "username")?;
        self.refuse(&user.impersonate, "as")
    }

    fn run(&self, plugin: &Spanned<ExecPlugin>, run: Option<&RunPlugin>) -> Result<Credential, ConfigError> {
        let Some(run) = run else {
            let message = "exec is not supported by rebootd, which runs no program for a kubeconfig; use one with a token \
                           instead, see docs/credentials.md";
            return Err(self.error(plugin, message));
        };
        let command = &plugin.value.command;
        let is_name = command.components().count() == 1 && command.is_relative();
        let command = if is_name { command.clone() } else { self.resolve(&command.to_string_lossy()) };
        run(&ExecPlugin { command, ..plugin.value.clone() }).map_err(|why| self.error(plugin, why))
    }

    fn refuse(&self, value: &Option<Spanned<IgnoredAny>>, key: &str) -> Result<(), ConfigError> {
        match value {
            Some(value) => Err(self.error(value, format!("{key} is not supported by rebootd"))),
            None => Ok(()),
        }
    }

    /// The server's address and who must have signed its certificate.
    fn server(&self, named: &NamedCluster) -> Result<(String, PemSource), ConfigError> {
        let cluster = &named.cluster;
        let address = self.address(named)?;
        let authority = self.pem(&cluster.certificate_authority_data, &cluster.certificate_authority)?;
        let authority = authority.ok_or_else(|| {
            let message = "this cluster has neither certificate-authority-data nor certificate-authority";
            self.error(&named.name, message)
        })?;
        Ok((address, authority))
    }

    fn address(&self, named: &NamedCluster) -> Result<String, ConfigError> {
        let Some(server) = given(&named.cluster.server) else {
            return Err(self.error(&named.name, "this cluster has no server"));
        };
        let address = ServerAddress::try_from(server.value.clone());
        Ok(address.map_err(|message| self.error(server, message))?.0)
    }

    /// Who we are. As in kubectl, tokenFile wins over token.
    fn credential(&self, named: &NamedUser) -> Result<Credential, ConfigError> {
        let user = &named.user;
        let token_file = given(&user.token_file).map(|path| Credential::TokenFile(self.resolve(&path.value)));
        let token = given(&user.token).map(|token| Credential::Token(Secret::new(token.value.clone())));
        let certificate = self.pem(&user.client_certificate_data, &user.client_certificate)?;
        let key = self.pem(&user.client_key_data, &user.client_key)?;
        match (token_file.or(token), certificate, key) {
            (Some(token), None, None) => Ok(token),
            (None, Some(certificate), Some(key)) => Ok(Credential::ClientCertificate { certificate, key }),
            (Some(_), _, _) => {
                Err(self.error(&named.name, "this user has a token and a client certificate, keep one"))
            }
            (None, None, None) => {
                Err(self.error(&named.name, "this user has neither a token nor a client certificate"))
            }
            (None, _, _) => Err(self.error(
                &named.name,
                "client-certificate and client-key (or both with -data) belong together, this user has one",
            )),
        }
    }

    /// A certificate or key; as in kubectl, the -data form wins over the path.
    fn pem(
        &self,
        data: &Option<Spanned<String>>,
        path: &Option<Spanned<String>>,
    ) -> Result<Option<PemSource>, ConfigError> {
        if let Some(data) = given(data) {
            // YAML may have folded it.
            let text: String = data.value.split_whitespace().collect();
            return match STANDARD.decode(text) {
                Ok(bytes) if contains_pem(&bytes) => Ok(Some(PemSource::Inline(bytes))),
                _ => Err(self.error(data, "this is not a certificate or key in PEM form, in base64")),
            };
        }
        Ok(given(path).map(|path| PemSource::File(self.resolve(&path.value))))
    }

    /// Paths are relative to the kubeconfig's directory, as in kubectl.
    fn resolve(&self, path: &str) -> PathBuf {
        self.path.parent().unwrap_or(Path::new("/")).join(path)
    }

    fn error<T>(&self, at: &Spanned<T>, message: impl Into<String>) -> ConfigError {
        ConfigError::at(self.place(Some(at.referenced)), message)
    }

    /// serde and the YAML parser quote what they did not expect, so only the place is taken from their message.
    fn not_a_kubeconfig(&self, error: &serde_saphyr::Error) -> ConfigError {
        let message = "not valid YAML, or not what a kubeconfig has here (not shown, as it may be secret)";
        ConfigError::at(self.place(error.location()), message)
    }

    fn place(&self, location: Option<Location>) -> Place {
        let position = location.map(|at| Position { line: at.line(), column: at.column() });
        Place { path: self.path.to_owned(), position }
    }
}

/// kubectl writes keys that are not set as empty text.
fn given(value: &Option<Spanned<String>>) -> Option<&Spanned<String>> {
    value.as_ref().filter(|value| !value.value.is_empty())
}

/// Comments may stand before the first block.
fn contains_pem(bytes: &[u8]) -> bool {
    bytes.split(|byte| *byte == b'\n').any(|line| line.starts_with(b"-----BEGIN "))
}

#[cfg(test)]
mod tests;
