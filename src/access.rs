//! How to reach the API server: its address, who vouches for it, and who we are.

use std::fmt;
use std::path::PathBuf;

/// How to reach the API server.
#[derive(Debug, Clone, PartialEq)]
pub struct ApiAccess {
    /// `https://host[:port][/path]`, without a trailing slash.
    pub server: String,
    /// Who must have signed the server's certificate. The system's certificate authorities do not count.
    pub certificate_authority: PemSource,
    /// Who we are.
    pub credential: Credential,
}

/// Where to find certificates or keys in PEM form.
#[derive(Clone, PartialEq)]
pub enum PemSource {
    /// In this file, which may be replaced at any time.
    File(PathBuf),
    /// Directly here.
    Inline(Vec<u8>),
}

impl fmt::Debug for PemSource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => formatter.debug_tuple("File").field(path).finish(),
            // May be a private key.
            Self::Inline(_) => formatter.write_str("Inline"),
        }
    }
}

/// How we prove to the API server who we are.
#[derive(Debug, Clone, PartialEq)]
pub enum Credential {
    /// With the bearer token in this file, which may be replaced at any time.
    TokenFile(PathBuf),
    /// With this bearer token.
    Token(Secret),
    /// With a TLS client certificate.
    ClientCertificate {
        /// The certificate, with the chain up to its authority.
        certificate: PemSource,
        /// Its private key.
        key: PemSource,
    },
}

/// A secret text, such as a token. It has no Display, and its Debug shows nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps `text` so that it cannot be shown.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text itself, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(format!("{:?}", Some(Secret::new("abc".into()))), "Some(Secret)");
    }
}
