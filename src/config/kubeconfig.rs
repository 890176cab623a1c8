//! A kubeconfig: its current context names a cluster and a user, and these say how
//! to reach the API server and who we are.
//!
//! What would need another program, or would make the connection less safe than it
//! looks, is refused rather than ignored. No message repeats text from the file,
//! which may be secret.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_saphyr::{Location, Spanned};

use super::error::{ConfigError, Place, Position};
use super::value::ServerAddress;
use crate::access::{ApiAccess, Credential, PemSource, Secret};

/// Reads the kubeconfig at `path`; None if there is none.
pub(super) fn read(path: &Path) -> Result<Option<ApiAccess>, ConfigError> {
    match std::fs::read_to_string(path) {
        Ok(text) => parse(path, &text).map(Some),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unreadable(path, &error)),
    }
}

/// Reads the kubeconfig of a person, who runs a program himself.
pub fn read_persons(path: &Path) -> Result<ApiAccess, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|error| ConfigError::unreadable(path, &error))?;
    parse(path, &text)
}

/// A kubeconfig that is there and cannot be read; the usual cause has a cure.
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
    // The one key that is not in kebab case.
    #[serde(rename = "tokenFile")]
    token_file: Option<Spanned<String>>,
    client_certificate: Option<Spanned<String>>,
    client_certificate_data: Option<Spanned<String>>,
    client_key: Option<Spanned<String>>,
    client_key_data: Option<Spanned<String>>,
    exec: Option<Spanned<IgnoredAny>>,
    auth_provider: Option<Spanned<IgnoredAny>>,
    username: Option<Spanned<IgnoredAny>>,
    #[serde(rename = "as")]
    impersonate: Option<Spanned<IgnoredAny>>,
}

/// Understands the content of the kubeconfig at `path`.
fn parse(path: &Path, text: &str) -> Result<ApiAccess, ConfigError> {
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
    Ok(ApiAccess { server, certificate_authority, credential: reader.credential(user)? })
}

/// Reads the parts of one kubeconfig; knows its path, for messages and for the
/// relative paths in it.
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
        self.refuse(&user.exec, "exec")?;
        self.refuse(&user.auth_provider, "auth-provider")?;
        self.refuse(&user.username, "username")?;
        self.refuse(&user.impersonate, "as")
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
        let Some(server) = given(&cluster.server) else {
            return Err(self.error(&named.name, "this cluster has no server"));
        };
        let address = ServerAddress::try_from(server.value.clone());
        let address = address.map_err(|message| self.error(server, message))?;
        let authority = self.pem(&cluster.certificate_authority_data, &cluster.certificate_authority)?;
        let authority = authority.ok_or_else(|| {
            let message = "this cluster has neither certificate-authority-data nor certificate-authority";
            self.error(&named.name, message)
        })?;
        Ok((address.0, authority))
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

    /// serde and the YAML parser quote what they did not expect, so of their message
    /// only the place is shown.
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
mod tests {
    use super::*;

    const PEM: &[u8] = b"-----BEGIN CERTIFICATE-----\n";
    const PEM_IN_BASE64: &str = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCg==";

    /// A kubeconfig with the given lines in its cluster and its user. The cluster's
    /// begin in line 8, the user's follow three lines after them.
    fn kubeconfig(cluster: &[&str], user: &[&str]) -> String {
        let indented = |lines: &[&str]| lines.iter().map(|line| format!("    {line}\n")).collect::<String>();
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: here\npreferences: {{}}\nclusters:\n- name: there\n  \
             cluster:\n{}users:\n- name: me\n  user:\n{}contexts:\n- name: other\n  context: {{cluster: none, user: \
             none}}\n- name: here\n  context:\n    cluster: there\n    user: me\n",
            indented(cluster),
            indented(user)
        )
    }

    const CLUSTER: &[&str] = &["server: https://10.0.0.1:6443", "certificate-authority: pki/ca.crt"];

    fn access(text: &str) -> Result<ApiAccess, String> {
        parse(Path::new("/etc/k/config"), text).map_err(|error| error.to_string())
    }

    fn credential(user: &[&str]) -> Result<Credential, String> {
        access(&kubeconfig(CLUSTER, user)).map(|access| access.credential)
    }

    #[test]
    fn reads_server_and_authority() {
        let read = access(&kubeconfig(CLUSTER, &["token: abc"])).unwrap();
        assert_eq!(read.server, "https://10.0.0.1:6443");
        assert_eq!(read.certificate_authority, PemSource::File("/etc/k/pki/ca.crt".into()));

        let data = format!("certificate-authority-data: {PEM_IN_BASE64}");
        let read =
            access(&kubeconfig(&["server: https://a", "certificate-authority: /x", &data], &["token: abc"]));
        assert_eq!(read.unwrap().certificate_authority, PemSource::Inline(PEM.into()));
    }

    #[test]
    fn reads_each_credential() {
        let file = |path: &str| PemSource::File(path.into());
        let data = |key| format!("{key}: {PEM_IN_BASE64}");
        assert_eq!(credential(&["token: abc"]), Ok(Credential::Token(Secret::new("abc".into()))));
        assert_eq!(credential(&["token: 12345"]), Ok(Credential::Token(Secret::new("12345".into()))));
        assert_eq!(
            credential(&["token: abc", "tokenFile: t", "client-key: ''"]),
            Ok(Credential::TokenFile("/etc/k/t".into()))
        );
        assert_eq!(
            credential(&["client-certificate: /c.pem", "client-key: c.key"]),
            Ok(Credential::ClientCertificate { certificate: file("/c.pem"), key: file("/etc/k/c.key") })
        );
        assert_eq!(
            credential(&[&data("client-certificate-data"), &data("client-key-data")]),
            Ok(Credential::ClientCertificate {
                certificate: PemSource::Inline(PEM.into()),
                key: PemSource::Inline(PEM.into())
            })
        );
    }

    /// What k3s, kubeadm and kubectl write is JSON as often as YAML.
    #[test]
    fn reads_json() {
        let text = r#"{"current-context":"c","contexts":[{"name":"c","context":{"cluster":"c","user":"u"}}],
            "clusters":[{"name":"c","cluster":{"server":"https://a","certificate-authority":"/ca"}}],
            "users":[{"name":"u","user":{"token":"t"}}]}"#;
        assert_eq!(access(text).unwrap().server, "https://a");
    }

    #[test]
    fn refuses_what_it_cannot_do() {
        for (line, message) in [
            (
                "insecure-skip-tls-verify: true",
                "insecure-skip-tls-verify is not supported: the server must prove who it is",
            ),
            ("tls-server-name: a", "tls-server-name is not supported by rebootd"),
            ("proxy-url: http://p", "proxy-url is not supported by rebootd"),
        ] {
            let column = line.find(' ').unwrap() + 6;
            let cluster = [CLUSTER, &[line]].concat();
            let refused = access(&kubeconfig(&cluster, &["token: abc"])).unwrap_err();
            assert_eq!(refused, format!("/etc/k/config:10:{column}: {message}"));
        }
        for line in ["exec: {command: aws}", "auth-provider: {name: gcp}", "username: u", "as: admin"] {
            let key = line.split(':').next().unwrap();
            let refused = credential(&["token: abc", line]).unwrap_err();
            let column = key.len() + 7;
            assert_eq!(refused, format!("/etc/k/config:14:{column}: {key} is not supported by rebootd"));
        }
        assert!(
            access(&kubeconfig(&[CLUSTER, &["insecure-skip-tls-verify: false"]].concat(), &["token: a"]))
                .is_ok()
        );
    }

    #[test]
    fn says_what_is_missing() {
        let certificate = format!("client-certificate-data: {PEM_IN_BASE64}");
        for (user, message) in [
            (vec!["token: ''"], "11:9: this user has neither a token nor a client certificate"),
            (
                vec!["client-key: /k"],
                "11:9: client-certificate and client-key (or both with -data) belong together, this user has one",
            ),
            (
                vec!["token: a", &certificate],
                "11:9: this user has a token and a client certificate, keep one",
            ),
            (vec!["client-key-data: '%%'"], "13:22: this is not a certificate or key in PEM form, in base64"),
            (
                vec!["client-key-data: Zm9vYmFy"],
                "13:22: this is not a certificate or key in PEM form, in base64",
            ),
        ] {
            assert_eq!(credential(&user).unwrap_err(), format!("/etc/k/config:{message}"));
        }
        let cluster = |lines| access(&kubeconfig(lines, &["token: a"])).unwrap_err();
        assert_eq!(cluster(&["certificate-authority: /c"]), "/etc/k/config:6:9: this cluster has no server");
        assert_eq!(
            cluster(&["server: https://a"]),
            "/etc/k/config:6:9: this cluster has neither certificate-authority-data nor certificate-authority"
        );
        assert_eq!(
            cluster(&["server: http://a", "certificate-authority: /c"]),
            "/etc/k/config:8:13: the server's address must begin with https://"
        );

        let text = kubeconfig(CLUSTER, &["token: a"]);
        assert_eq!(access("{}"), Err("/etc/k/config: has no current-context".to_owned()));
        for (from, to, message) in [
            ("current-context: here", "current-context: hm", "3:18: no context has this name"),
            ("cluster: there", "cluster: where", "19:14: no cluster has this name"),
            ("user: me", "user: you", "20:11: no user has this name"),
        ] {
            assert_eq!(access(&text.replace(from, to)), Err(format!("/etc/k/config:{message}")));
        }
    }

    #[test]
    fn without_permission_says_how_to_give_it() {
        let message = |kind: ErrorKind| unreadable(Path::new("/etc/k/config"), &kind.into()).to_string();
        assert_eq!(
            message(ErrorKind::PermissionDenied),
            "/etc/k/config: permission denied; the daemon reads it as the user rebootd: \
             chown root:rebootd /etc/k/config && chmod 0640 /etc/k/config"
        );
        assert_eq!(message(ErrorKind::IsADirectory), "/etc/k/config: cannot be read: is a directory");
    }

    #[test]
    fn never_shows_what_may_be_secret() {
        for user in [
            &["token: [SECRET]"][..],
            &["token: {SECRET: 1}"],
            &["token: SECRET", "token: SECRET"],
            &["token: \"SECRET"],
            &["token: *SECRET"],
            &["SECRET"],
            &["client-key-data: SECRET"],
            &["token: SECRET", "client-key-data: LS0tLS1CRUdJTiA="],
        ] {
            let message = credential(user).unwrap_err();
            assert!(message.starts_with("/etc/k/config:1"), "{message}");
            assert!(!message.contains("SECRET"), "{message}");
        }
        let shown = format!("{:?}", credential(&["token: SECRET"]));
        assert!(!shown.contains("SECRET"), "{shown}");
        let key = format!("client-key-data: {PEM_IN_BASE64}");
        let certificate = format!("client-certificate-data: {PEM_IN_BASE64}");
        let shown = format!("{:?}", credential(&[&key, &certificate]));
        assert!(!shown.contains("45"), "{shown}");
    }
}
