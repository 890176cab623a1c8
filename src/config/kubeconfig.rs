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
use serde_saphyr::Location;

use super::document::LONGEST;
use super::error::{ConfigError, Place, Position};
use super::value::ServerAddress;
use crate::access::{ApiAccess, Credential, PemSource, Secret};
use crate::read::{read_named, read_text};
use crate::yaml::{self, Node};

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
    let document = reader.document(&text)?;
    let cluster = reader.cluster(&document, reader.context(&document)?)?;
    let authority = reader.pem(cluster.content, "certificate-authority")?;
    Ok((reader.address(&cluster)?, authority))
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
    let document = reader.document(text)?;
    let context = reader.context(&document)?;
    let cluster = reader.cluster(&document, context)?;
    let user = reader.user(&document, context)?;

    reader.refuse_in_cluster(cluster.content)?;
    for key in ["auth-provider", "username", "as"] {
        reader.refuse(user.content, key)?;
    }
    let server = reader.address(&cluster)?;
    let authority = reader.pem(cluster.content, "certificate-authority")?;
    let certificate_authority = authority.ok_or_else(|| {
        let message = "this cluster has neither certificate-authority-data nor certificate-authority";
        reader.error(cluster.name, message)
    })?;
    let credential = match user.content.get("exec") {
        Some(plugin) => reader.run(plugin, run)?,
        None => reader.credential(&user)?,
    };
    Ok(ApiAccess { server, certificate_authority, credential })
}

/// An entry of one of the lists: where its name is, and what it holds.
struct Named<'d> {
    name: &'d Node,
    content: &'d Node,
}

/// A text that is not empty, and where it is.
struct Text<'d> {
    text: &'d str,
    at: &'d Node,
}

/// Reads the parts of one kubeconfig; it knows the path for messages and for relative paths in the file.
struct Reader<'a> {
    path: &'a Path,
}

impl Reader<'_> {
    /// serde and the YAML parser quote what they did not expect, so only the place is taken from their message.
    fn document(&self, text: &str) -> Result<Node, ConfigError> {
        let document = yaml::parse(text).map_err(|error| self.unexpected(error.location()))?;
        if document.is_map() { Ok(document) } else { Err(self.unexpected(Some(document.at))) }
    }

    fn context<'d>(&self, document: &'d Node) -> Result<&'d Node, ConfigError> {
        let Some(wanted) = self.text(document, "current-context")? else {
            return Err(ConfigError::at(Place::file(self.path), "has no current-context"));
        };
        let found = self.named(document, "contexts", "context", wanted.text)?;
        found.map(|it| it.content).ok_or_else(|| self.error(wanted.at, "no context has this name"))
    }

    fn cluster<'d>(&self, document: &'d Node, context: &'d Node) -> Result<Named<'d>, ConfigError> {
        let name = self.name(context, "cluster")?;
        let found = self.named(document, "clusters", "cluster", name.text)?;
        found.ok_or_else(|| self.error(name.at, "no cluster has this name"))
    }

    fn user<'d>(&self, document: &'d Node, context: &'d Node) -> Result<Named<'d>, ConfigError> {
        let name = self.name(context, "user")?;
        let found = self.named(document, "users", "user", name.text)?;
        found.ok_or_else(|| self.error(name.at, "no user has this name"))
    }

    /// What a context has to name.
    fn name<'d>(&self, context: &'d Node, key: &str) -> Result<Text<'d>, ConfigError> {
        self.text(context, key)?.ok_or_else(|| self.unexpected(Some(context.at)))
    }

    /// The entry of a list that has this name.
    fn named<'d>(
        &self,
        document: &'d Node,
        list: &str,
        part: &str,
        wanted: &str,
    ) -> Result<Option<Named<'d>>, ConfigError> {
        let Some(list) = document.get(list) else { return Ok(None) };
        let entries = list.list().ok_or_else(|| self.unexpected(Some(list.at)))?;
        for entry in entries {
            let Some(name) = self.text(entry, "name")?.filter(|name| name.text == wanted) else { continue };
            let content = entry.get(part).ok_or_else(|| self.unexpected(Some(entry.at)))?;
            return Ok(Some(Named { name: name.at, content }));
        }
        Ok(None)
    }

    /// kubectl writes keys that are not set as empty text.
    fn text<'d>(&self, map: &'d Node, key: &str) -> Result<Option<Text<'d>>, ConfigError> {
        let Some(at) = map.get(key) else { return Ok(None) };
        let text = at.text().ok_or_else(|| self.unexpected(Some(at.at)))?;
        Ok(Some(Text { text, at }).filter(|it| !it.text.is_empty()))
    }

    fn refuse_in_cluster(&self, cluster: &Node) -> Result<(), ConfigError> {
        let key = "insecure-skip-tls-verify";
        if let Some(skip) = cluster.get(key)
            && skip.bool() != Some(false)
        {
            let message = format!("{key} is not supported: the server must prove who it is");
            return Err(self.error(skip, message));
        }
        self.refuse(cluster, "tls-server-name")?;
        self.refuse(cluster, "proxy-url")
    }

    fn refuse(&self, map: &Node, key: &str) -> Result<(), ConfigError> {
        match map.get(key) {
            Some(value) => Err(self.error(value, format!("{key} is not supported by rebootd"))),
            None => Ok(()),
        }
    }

    fn run(&self, plugin: &Node, run: Option<&RunPlugin>) -> Result<Credential, ConfigError> {
        let Some(run) = run else {
            let message = "exec is not supported by rebootd, which runs no program for a kubeconfig; use one with a token \
                           instead, see docs/credentials.md";
            return Err(self.error(plugin, message));
        };
        let mut wanted: ExecPlugin =
            serde_json::from_value(plugin.to_json()).map_err(|_| self.unexpected(Some(plugin.at)))?;
        let is_name = wanted.command.components().count() == 1 && wanted.command.is_relative();
        if !is_name {
            wanted.command = self.resolve(&wanted.command.to_string_lossy());
        }
        run(&wanted).map_err(|why| self.error(plugin, why))
    }

    fn address(&self, cluster: &Named<'_>) -> Result<String, ConfigError> {
        let Some(server) = self.text(cluster.content, "server")? else {
            return Err(self.error(cluster.name, "this cluster has no server"));
        };
        let address = ServerAddress::try_from(server.text.to_owned());
        Ok(address.map_err(|message| self.error(server.at, message))?.0)
    }

    /// Who we are. As in kubectl, tokenFile wins over token.
    fn credential(&self, user: &Named<'_>) -> Result<Credential, ConfigError> {
        let token_file = self.text(user.content, "tokenFile")?;
        let token_file = token_file.map(|path| Credential::TokenFile(self.resolve(path.text)));
        let token = self.text(user.content, "token")?;
        let token = token.map(|token| Credential::Token(Secret::new(token.text.to_owned())));
        let certificate = self.pem(user.content, "client-certificate")?;
        let key = self.pem(user.content, "client-key")?;
        match (token_file.or(token), certificate, key) {
            (Some(token), None, None) => Ok(token),
            (None, Some(certificate), Some(key)) => Ok(Credential::ClientCertificate { certificate, key }),
            (Some(_), _, _) => {
                Err(self.error(user.name, "this user has a token and a client certificate, keep one"))
            }
            (None, None, None) => {
                Err(self.error(user.name, "this user has neither a token nor a client certificate"))
            }
            (None, _, _) => Err(self.error(
                user.name,
                "client-certificate and client-key (or both with -data) belong together, this user has one",
            )),
        }
    }

    /// A certificate or key; as in kubectl, the -data form wins over the path.
    fn pem(&self, map: &Node, key: &str) -> Result<Option<PemSource>, ConfigError> {
        if let Some(data) = self.text(map, &format!("{key}-data"))? {
            // YAML may have folded it.
            let text: String = data.text.split_whitespace().collect();
            return match STANDARD.decode(text) {
                Ok(bytes) if contains_pem(&bytes) => Ok(Some(PemSource::Inline(bytes))),
                _ => Err(self.error(data.at, "this is not a certificate or key in PEM form, in base64")),
            };
        }
        Ok(self.text(map, key)?.map(|path| PemSource::File(self.resolve(path.text))))
    }

    /// Paths are relative to the kubeconfig's directory, as in kubectl.
    fn resolve(&self, path: &str) -> PathBuf {
        self.path.parent().unwrap_or(Path::new("/")).join(path)
    }

    fn error(&self, at: &Node, message: impl Into<String>) -> ConfigError {
        ConfigError::at(self.place(Some(at.at)), message)
    }

    fn unexpected(&self, location: Option<Location>) -> ConfigError {
        let message = "not valid YAML, or not what a kubeconfig has here (not shown, as it may be secret)";
        ConfigError::at(self.place(location), message)
    }

    fn place(&self, location: Option<Location>) -> Place {
        let position = location.map(|at| Position { line: at.line(), column: at.column() });
        Place { path: self.path.to_owned(), position }
    }
}

/// Comments may stand before the first block.
fn contains_pem(bytes: &[u8]) -> bool {
    bytes.split(|byte| *byte == b'\n').any(|line| line.starts_with(b"-----BEGIN "))
}

#[cfg(test)]
mod tests;
