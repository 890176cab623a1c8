//! Keys that make a setting only together with others, or with what the host tells. All other keys are fields of
//! [`crate::decide::settings`].

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::value::{
    Expression, Namespaces, NodeName, PoolName, PrometheusUrl, ServerAddress, ServicePort, Tables,
};
use crate::decide::settings::written::{AtLeast, absolute_path};
use crate::decide::settings::{Mode, ObjectField};

/// The keys at the top, before any table.
#[derive(Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct TopKeys {
    pub(super) mode: Mode,
}

/// Who this node is.
#[derive(Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct NodeKeys {
    #[serde(skip_serializing)]
    pub(super) name: Option<NodeName>,
    #[serde(skip_serializing)]
    pub(super) pool: Option<PoolName>,
    #[serde(skip_serializing, deserialize_with = "AtLeast::<600>::deserialize")]
    pub(super) token_life: Option<Duration>,
}

/// The keys of `[drain]` that are written together or not at all.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct DeleteKeys {
    #[serde(deserialize_with = "AtLeast::<1>::deserialize")]
    pub(super) delete_after: Option<Duration>,
    pub(super) delete_namespaces: Option<Namespaces>,
}

/// Which hooks exist.
#[derive(Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct HookKeys {
    pub(super) before_drain: bool,
    pub(super) before_reboot: bool,
    pub(super) after_boot: bool,
}

/// The table `[api]`.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ApiKeys {
    #[serde(deserialize_with = "absolute_path")]
    pub(super) kubeconfig: Option<PathBuf>,
    pub(super) server: Option<ServerAddress>,
    #[serde(deserialize_with = "absolute_path")]
    pub(super) certificate_authority: Option<PathBuf>,
    #[serde(deserialize_with = "absolute_path")]
    pub(super) token_file: Option<PathBuf>,
    #[serde(deserialize_with = "absolute_path")]
    pub(super) client_certificate: Option<PathBuf>,
    #[serde(deserialize_with = "absolute_path")]
    pub(super) client_key: Option<PathBuf>,
}

/// The keys of `[gates]` that ask Prometheus.
#[derive(Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct BeforeKeys {
    pub(super) alerts: bool,
    #[serde(skip_serializing)]
    pub(super) ignore_alerts: Vec<String>,
    #[serde(skip_serializing)]
    pub(super) query: Option<Expression>,
}

/// The keys of `[after]` that ask for something.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct AfterKeys {
    pub(super) query: Option<Expression>,
    pub(super) object: Tables<ObjectField>,
}

/// The table `[prometheus]`.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct PrometheusKeys {
    pub(super) measure: Option<Expression>,
    pub(super) url: Option<PrometheusUrl>,
    pub(super) service: Option<ServicePort>,
    #[serde(deserialize_with = "absolute_path")]
    pub(super) token_file: Option<PathBuf>,
    #[serde(deserialize_with = "absolute_path")]
    pub(super) certificate_authority: Option<PathBuf>,
}
