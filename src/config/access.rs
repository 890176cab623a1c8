//! The table `[api]`: how to reach the cluster, unless a kubeconfig says so.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

use super::error::ConfigError;
use super::merge::Merged;
use super::parts::{ApiKeys, NodeKeys};
use super::value::NodeName;
use crate::access::{ApiAccess, Credential, PemSource};
use crate::read::read_text;

const LONGEST_TOKEN: u64 = 64 << 10;

/// The access that `server` and the keys beside it describe, if `server` is there.
pub(super) fn by_keys(merged: &Merged) -> Result<Option<ApiAccess>, ConfigError> {
    let keys: ApiKeys = merged.read("api")?;
    let (Some(server), Some(at)) = (keys.server, merged.place(&["api.server"])) else {
        return refuse_without_server(merged).map(|()| None);
    };
    if let Some(kubeconfig) = merged.place(&["api.kubeconfig"]) {
        let message = format!("either \"kubeconfig\" or \"server\" ({at}), not both");
        return Err(ConfigError::at(kubeconfig, message));
    }
    let missing = |key| ConfigError::at(at.clone(), format!("\"server\" needs {key} as well"));
    let authority = keys.certificate_authority.ok_or_else(|| missing("\"certificate_authority\""))?;
    let client = merged.place(&["api.client_certificate", "api.client_key"]);
    let credential = match (keys.token_file, keys.client_certificate, keys.client_key, client) {
        (Some(token), None, None, _) => Credential::TokenFile(token),
        (None, Some(certificate), Some(key), _) => Credential::ClientCertificate {
            certificate: PemSource::File(certificate),
            key: PemSource::File(key),
        },
        (Some(_), _, _, Some(client)) => {
            return Err(ConfigError::at(client, "either \"token_file\" or a client certificate, not both"));
        }
        (None, Some(_), None, _) => return Err(missing("\"client_key\"")),
        (None, None, Some(_), _) => return Err(missing("\"client_certificate\"")),
        _ => return Err(missing("\"token_file\", or \"client_certificate\" and \"client_key\"")),
    };
    Ok(Some(ApiAccess { server: server.0, certificate_authority: PemSource::File(authority), credential }))
}

/// The Node that the token is bound to, if it is one and says so. It is not checked: whoever can put a token there
/// decides what this node does anyway, and the API server checks it at every request.
pub(super) fn bound_node(access: &ApiAccess) -> Option<String> {
    #[derive(Deserialize)]
    struct Claims {
        #[serde(rename = "kubernetes.io")]
        kubernetes: BoundTo,
    }
    #[derive(Deserialize)]
    struct BoundTo {
        node: Node,
    }
    #[derive(Deserialize)]
    struct Node {
        name: String,
    }

    let token = match &access.credential {
        Credential::TokenFile(path) => read_text(path, LONGEST_TOKEN).ok()?,
        Credential::Token(token) => token.expose().to_owned(),
        Credential::ClientCertificate { .. } => return None,
    };
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let claims: Claims = serde_json::from_slice(&claims).ok()?;
    NodeName::try_from(claims.kubernetes.node.name).ok().map(|name| name.0)
}

/// The longest life that the cluster's policies allow.
const LONGEST_LIFE: Duration = Duration::from_secs(24 * 60 * 60);

/// For how long the tokens are valid that the node gets for itself.
pub(super) fn token_life(merged: &Merged) -> Result<Duration, ConfigError> {
    let NodeKeys { token_life, .. } = merged.read("node")?;
    match (token_life, merged.place(&["node.token_life"])) {
        (Some(life), Some(place)) if life > LONGEST_LIFE => {
            Err(ConfigError::at(place, "must be at most 24h"))
        }
        (life, _) => Ok(life.unwrap_or(LONGEST_LIFE)),
    }
}

/// Keys that would silently have no effect are mistakes.
fn refuse_without_server(merged: &Merged) -> Result<(), ConfigError> {
    let keys = ["api.certificate_authority", "api.token_file", "api.client_certificate", "api.client_key"];
    match merged.place(&keys) {
        Some(place) => {
            let message = "this has no effect without \"server\"; a kubeconfig brings its own credential";
            Err(ConfigError::at(place, message))
        }
        None => Ok(()),
    }
}
