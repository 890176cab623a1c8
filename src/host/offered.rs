//! The file by which root hands this host's ways to a credential to the daemon: which server, and which tokens.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::access::Secret;
use crate::read::read;
use crate::replace::replace;

/// Where `rebootd-credential.service` leaves it.
pub const PATH: &str = "/run/rebootd-credential/offered.json";
/// Where `rebootctl credential install` leaves what a person has brought, in the same form.
pub const INSTALLED: &str = "/run/rebootd-credential/installed.json";
/// The unit that writes [`PATH`], as [`super::hooks::start`] names it.
pub const UNIT: &str = "credential";
/// The most bytes of the file.
const LONGEST: u64 = 8 << 20;
/// Root's and the daemon's.
const MODE: u32 = 0o640;

/// What this host has to offer.
#[derive(Debug, Clone, PartialEq)]
pub struct Offered {
    /// The API server's address, as the kubelet reaches it; or why it is not known.
    pub server: Result<String, String>,
    /// Who has to have signed its certificate, as PEM; if the kubelet does not say so, each token's own.
    pub certificate_authority: Option<String>,
    /// The tokens, the likeliest first.
    pub candidates: Vec<Candidate>,
}

/// A token that may be of our account.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// The token.
    pub token: Secret,
    /// The certificate authority that came with it, as PEM.
    pub certificate_authority: String,
}

#[derive(Serialize, Deserialize, Default)]
struct Stored {
    #[serde(default)]
    server: Option<String>,
    #[serde(default)]
    why_no_server: Option<String>,
    #[serde(default)]
    certificate_authority: Option<String>,
    #[serde(default)]
    candidates: Vec<StoredCandidate>,
}

#[derive(Serialize, Deserialize)]
struct StoredCandidate {
    token: String,
    certificate_authority: String,
}

/// Reads the file.
pub fn load(path: &Path) -> io::Result<Offered> {
    parse(&read(path, LONGEST)?)
}

/// What such a file says.
pub fn parse(content: &[u8]) -> io::Result<Offered> {
    let stored: Stored = serde_json::from_slice(content).map_err(|error| unquoted(&error))?;
    if stored.server.as_ref().is_some_and(|server| !server.starts_with("https://")) {
        return Err(io::Error::other("its server's address does not begin with https://"));
    }
    let candidates = stored.candidates.into_iter().map(|it| Candidate {
        token: Secret::new(it.token),
        certificate_authority: it.certificate_authority,
    });
    Ok(Offered {
        server: stored.server.ok_or(stored.why_no_server.unwrap_or_default()),
        certificate_authority: stored.certificate_authority,
        candidates: candidates.collect(),
    })
}

/// Replaces the file.
pub fn store(path: &Path, offered: &Offered) -> io::Result<()> {
    replace(path, &written(offered)?, MODE)
}

/// The content of such a file.
pub fn written(offered: &Offered) -> io::Result<Vec<u8>> {
    let candidates = offered.candidates.iter().map(|it| StoredCandidate {
        token: it.token.expose().to_owned(),
        certificate_authority: it.certificate_authority.clone(),
    });
    let stored = Stored {
        server: offered.server.clone().ok(),
        why_no_server: offered.server.clone().err(),
        certificate_authority: offered.certificate_authority.clone(),
        candidates: candidates.collect(),
    };
    Ok(serde_json::to_vec(&stored)?)
}

/// The parser quotes what it did not expect, which may be a token.
fn unquoted(error: &serde_json::Error) -> io::Error {
    let (line, column) = (error.line(), error.column());
    io::Error::other(format!(
        "is not what such a file contains (line {line}, column {column}; not shown, as it may be secret)"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_the_file_is_told_without_a_token() {
        let path = std::env::temp_dir().join(format!("rebootd-offered-{}", std::process::id()));
        for content in
            [r#"{"candidates": "abcdef"}"#, r#"{"candidates": [{"token": ["abcdef"]}]}"#, r#"{"server": "#]
        {
            std::fs::write(&path, content).unwrap();
            let error = load(&path).unwrap_err().to_string();
            assert!(error.contains("line 1, column") && !error.contains("abcdef"), "{error}");
        }
        assert!(parse(br#"{"server": "http://a"}"#).unwrap_err().to_string().contains("https://"));
        std::fs::remove_file(&path).unwrap();
    }
}
