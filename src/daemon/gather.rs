//! What root gathers for the daemon: how the kubelet reaches the API server, and the tokens of rebootd's own pod.

use std::path::Path;

use crate::access::PemSource;
use crate::config::read_kubelets_cluster;
use crate::host::offered::{self, Offered};
use crate::host::{clock, kubelet};
use crate::read::read_text;

const LONGEST_AUTHORITY: u64 = 256 << 10;

/// Writes what this host has to offer.
pub(super) fn gather(into: &Path) -> anyhow::Result<()> {
    let (server, certificate_authority) = match server() {
        Ok((server, authority)) => (Ok(server), authority),
        Err(why) => (Err(why), None),
    };
    let directories = kubelet::directories(Path::new("/proc"));
    let turn = clock::now().boot.subsec_micros();
    let candidates = kubelet::candidates(&directories, Path::new(kubelet::LOGS), turn as usize);
    // For who looks into the unit's journal.
    match &server {
        Ok(server) => println!("{} tokens; the API server is {server}", candidates.len()),
        Err(why) => println!("{} tokens; the API server is not known: {why}", candidates.len()),
    }
    offered::store(into, &Offered { server, certificate_authority, candidates })?;
    Ok(())
}

fn server() -> Result<(String, Option<String>), String> {
    let mut why = "no kubeconfig of a kubelet was found on this host".to_owned();
    for path in kubelet::kubeconfigs(Path::new("/proc")) {
        match read_kubelets_cluster(&path)
            .map_err(|error| error.summary())
            .and_then(|(server, authority)| Ok((server, authority.map(|source| text(&source)).transpose()?)))
        {
            Ok(found) => return Ok(found),
            Err(error) => why = error,
        }
    }
    Err(why)
}

fn text(source: &PemSource) -> Result<String, String> {
    match source {
        PemSource::File(path) => {
            read_text(path, LONGEST_AUTHORITY).map_err(|error| format!("{}: {error}", path.display()))
        }
        PemSource::Inline(bytes) => {
            String::from_utf8(bytes.clone()).map_err(|_| "a certificate authority that is no text".to_owned())
        }
    }
}
