//! The node's own credential, as it is kept in the daemon's state directory: the token, which the clients read, and
//! beside it what else has to be known.
//!
//! A token without the other file is not used, and one that is older than that file says is only renewed too early.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::access::{ApiAccess, Credential, PemSource, Secret};
use crate::read::read;
use crate::replace::replace;

/// The daemon's state directory, for who is not the daemon.
pub const DIRECTORY: &str = "/var/lib/rebootd";
/// The token there.
pub const TOKEN: &str = "token";
const BESIDE: &str = "credential.json";
const LONGEST: u64 = 1 << 20;
const MODE: u32 = 0o600;

/// What is known of the token beside it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    /// The API server's address.
    pub server: String,
    /// Who has to have signed its certificate, as PEM.
    pub certificate_authority: String,
    /// The Node that the token is bound to.
    pub node: String,
    /// Its `metadata.uid`.
    pub node_uid: String,
    /// The machine that it was issued to. A copy of its disk is another machine.
    pub machine_id: String,
    /// When the token was issued: wall time since 1970, in seconds, by this host's clock.
    pub issued: u64,
    /// For how long it is valid, in seconds.
    pub life: u64,
}

impl Kept {
    /// How to reach the API server with it.
    pub fn access(&self, directory: &Path) -> ApiAccess {
        ApiAccess {
            server: self.server.clone(),
            certificate_authority: PemSource::Inline(self.certificate_authority.clone().into_bytes()),
            credential: Credential::TokenFile(directory.join(TOKEN)),
        }
    }

    /// When it expires: wall time since 1970.
    pub fn ends(&self) -> Duration {
        Duration::from_secs(self.issued.saturating_add(self.life))
    }

    fn is_of_the_same(&self, other: &Kept) -> bool {
        (&self.server, &self.node, &self.node_uid) == (&other.server, &other.node, &other.node_uid)
    }
}

/// What is kept in this directory, if anything that can be used.
pub fn load(directory: &Path) -> io::Result<Option<Kept>> {
    if !directory.join(TOKEN).exists() {
        return Ok(None);
    }
    match read(&directory.join(BESIDE), LONGEST) {
        Ok(content) => Ok(Some(serde_json::from_slice(&content)?)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Keeps a token. One for another server or Node is never mixed up with it, wherever this ends.
pub fn store(directory: &Path, kept: &Kept, token: &Secret) -> io::Result<()> {
    let beside = directory.join(BESIDE);
    if load(directory).ok().flatten().is_none_or(|before| !before.is_of_the_same(kept)) {
        match fs::remove_file(&beside) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    replace(&directory.join(TOKEN), token.expose().as_bytes(), MODE)?;
    replace(&beside, &serde_json::to_vec(kept)?, MODE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(node: &str, issued: u64) -> Kept {
        Kept {
            server: "https://x".into(),
            certificate_authority: "ca".into(),
            node: node.into(),
            node_uid: "u".into(),
            machine_id: "m".into(),
            issued,
            life: 600,
        }
    }

    #[test]
    fn a_token_is_used_only_with_what_is_known_of_it() {
        let place = std::env::temp_dir().join(format!("rebootd-credential-{}", std::process::id()));
        fs::create_dir_all(&place).unwrap();
        assert_eq!(load(&place).unwrap(), None);
        store(&place, &kept("n1", 1), &Secret::new("a".into())).unwrap();
        store(&place, &kept("n1", 2), &Secret::new("b".into())).unwrap();
        assert_eq!(load(&place).unwrap(), Some(kept("n1", 2)));
        assert_eq!(fs::read_to_string(place.join(TOKEN)).unwrap(), "b");
        // The token of another Node cannot be written: what is known of the one before is gone, too.
        fs::remove_file(place.join(TOKEN)).unwrap();
        fs::create_dir(place.join(TOKEN)).unwrap();
        assert!(store(&place, &kept("n2", 3), &Secret::new("c".into())).is_err());
        assert_eq!(load(&place).unwrap(), None);
        fs::remove_dir(place.join(TOKEN)).unwrap();
        store(&place, &kept("n2", 3), &Secret::new("c".into())).unwrap();
        for cut in 0..fs::read(place.join(BESIDE)).unwrap().len() {
            let content = serde_json::to_vec(&kept("n2", 3)).unwrap();
            fs::write(place.join(BESIDE), &content[..cut]).unwrap();
            assert!(load(&place).is_err(), "{cut}");
        }
        fs::remove_file(place.join(TOKEN)).unwrap();
        assert_eq!(load(&place).unwrap(), None);
        fs::remove_dir_all(&place).unwrap();
    }
}
