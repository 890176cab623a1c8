//! How a person reaches the cluster: with a kubeconfig, found as kubectl finds it.

use std::path::PathBuf;

use anyhow::{Context, anyhow, bail};
use clap::Args;
use tokio::runtime::Runtime;

use super::exec;
use crate::access::ApiAccess;
use crate::cluster::Api;
use crate::config::read_persons_kubeconfig;

/// Where kubeadm leaves the administrator's kubeconfig.
const ADMIN_KUBECONFIG: &str = "/etc/kubernetes/admin.conf";

#[derive(Debug, Args)]
pub(super) struct Kubeconfig {
    /// Reach the cluster with this kubeconfig; by default $KUBECONFIG, ~/.kube/config, or
    /// /etc/kubernetes/admin.conf
    #[arg(long = "kubeconfig", value_name = "FILE")]
    path: Option<PathBuf>,
}

impl Kubeconfig {
    /// The cluster, and the runtime for requests to it.
    pub(super) fn connect(&self) -> anyhow::Result<(Api, Runtime)> {
        Ok((self.api()?, runtime()?))
    }

    /// The same, where kubectl may have a way to do it without a kubeconfig for rebootctl: these `lines`.
    pub(super) fn connect_or(&self, lines: &str) -> anyhow::Result<(Api, Runtime)> {
        self.connect().map_err(|error| anyhow!("{error:#}\nkubectl can do the same:\n{lines}"))
    }

    /// The cluster, with a credential that is read or asked for once more.
    pub(super) fn api(&self) -> anyhow::Result<Api> {
        Ok(Api::for_person(self.access()?))
    }

    fn access(&self) -> anyhow::Result<ApiAccess> {
        let path = match self.path.clone().or_else(|| variable("KUBECONFIG")) {
            Some(path) if path.to_string_lossy().contains(':') => {
                bail!("$KUBECONFIG names several files; name one of them with --kubeconfig")
            }
            Some(path) => path,
            None => {
                let own = variable("HOME").map(|home| home.join(".kube/config"));
                let places = own.into_iter().chain([PathBuf::from(ADMIN_KUBECONFIG)]);
                let found = places.into_iter().find(|path| path.exists());
                found.context(
                    "no kubeconfig here: run this on a machine that has one (nodes mostly have none), or name it with --kubeconfig \
                     or in $KUBECONFIG",
                )?
            }
        };
        Ok(read_persons_kubeconfig(&path, &exec::run)?)
    }
}

/// The runtime for requests to the cluster.
pub(super) fn runtime() -> std::io::Result<Runtime> {
    // Fails only if it was done before.
    let _ = rustls::crypto::ring::default_provider().install_default();
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

fn variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}
