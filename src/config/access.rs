//! The table `[api]`: how to reach the cluster, unless a kubeconfig says so.

use super::error::ConfigError;
use super::merge::Merged;
use super::parts::ApiKeys;
use crate::access::{ApiAccess, Credential, PemSource};

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
