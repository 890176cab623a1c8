//! What the keys of the configuration can be set to: words that a person chooses between, and values that are put
//! together from several keys.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::written::{AnyTime, Between};

/// Whether to act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Drain and reboot this node when its turn comes.
    #[default]
    Active,
    /// Write nothing and reboot nothing, but say what would be done.
    Observe,
}

/// What a node does that a person or another program has cordoned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ForeignCordon {
    /// It waits: somebody is at work on it.
    Wait,
    /// It reboots, and leaves the cordon as it was.
    Reboot,
}

/// Whether pods have to leave before a reboot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DrainMode {
    /// They leave; the only node of a cluster or of its control plane does not reboot.
    Auto,
    /// They leave, and any node reboots.
    Always,
    /// They stay, and the reboot ends them.
    Never,
}

/// A gate that may yield to an overdue request. Not among these gates: what people are saying right now (hold,
/// pause), what is at work on the host, the other nodes, and what prevents one reboot after another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Yielding {
    /// The window, if one is configured.
    Window,
    /// Freezes.
    Freeze,
    /// How long the host has been up.
    MinUptime,
    /// Pods that must not be interrupted.
    BlockingPods,
    /// What Prometheus finds.
    Alerts,
}

impl Yielding {
    /// Its word in the configuration.
    pub fn word(self) -> String {
        struct Word(Yielding);
        impl std::fmt::Display for Word {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.serialize(formatter)
            }
        }
        Word(self).to_string()
    }
}

/// Which nodes stay up while one has not come back from its reboot within its `return_timeout`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Breaker {
    /// Those of all pools: what it installed may be what others are about to start.
    Cluster,
    /// Those of its pool.
    Pool,
    /// None, as long as there are free slots.
    Off,
}

/// Of how many zones nodes of a pool may have their turn at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Zones {
    /// As many as there are.
    Any,
    /// One after the other.
    One,
}

/// What is new runs on some nodes first, and on the others once it has run there for a while.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Canary {
    /// So many nodes of the pool go first.
    #[serde(with = "Between::<1, 100>")]
    pub nodes: u32,
    /// For how long it has to run there, well.
    #[serde(with = "AnyTime")]
    pub soak: Duration,
}

impl Default for Canary {
    fn default() -> Canary {
        Canary { nodes: 1, soak: Duration::from_secs(60 * 60) }
    }
}

/// How many nodes, as a number or as a share of the nodes of the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// So many.
    Nodes(u32),
    /// So many in a hundred, rounded down.
    Percent(u32),
}

impl Share {
    /// How many of so many nodes.
    pub fn of(self, nodes: usize) -> usize {
        match self {
            Share::Nodes(number) => number as usize,
            Share::Percent(percent) => nodes.saturating_mul(percent as usize) / 100,
        }
    }
}

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Share, String> {
        let percent = text.strip_suffix('%').and_then(|number| number.parse().ok());
        let percent = percent.filter(|percent| *percent <= 100);
        percent
            .map(Share::Percent)
            .ok_or_else(|| format!("\"{text}\" is no share; write a number, or as in \"10%\""))
    }
}

impl<'de> Deserialize<'de> for Share {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Share, D::Error> {
        struct Either;
        impl Visitor<'_> for Either {
            type Value = Share;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number, or a share as in \"10%\"")
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Share, E> {
                u32::try_from(number)
                    .map(Share::Nodes)
                    .map_err(|_| E::invalid_value(Unexpected::Signed(number), &self))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Share, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl Serialize for Share {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Share::Nodes(number) => serializer.serialize_u32(*number),
            Share::Percent(percent) => serializer.collect_str(&format_args!("{percent}%")),
        }
    }
}

/// In which form a webhook is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum WebhookFormat {
    /// As JSON with one field for each fact.
    Json,
    /// For Slack.
    Slack,
    /// For Mattermost.
    Mattermost,
    /// For Microsoft Teams.
    Teams,
}

/// What a webhook is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum WebhookEvents {
    /// What deserves attention.
    Failures,
    /// That, and the begin and the end of each turn.
    Turns,
    /// Every step.
    All,
}

/// After which step of a turn blocking pods are waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum BlockingPodsAfter {
    /// Nothing is claimed while there is one; others may come meanwhile.
    Request,
    /// No other can come, but the node holds its slot meanwhile.
    Cordon,
}

/// What happens when a drain takes too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnTimeout {
    /// The node is uncordoned and gives its slot back.
    Abort,
    /// It reboots, which ends the remaining pods.
    Reboot,
}

/// What happens to pods without a controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum BarePods {
    /// They stay: the kubelet starts them again after the reboot.
    Leave,
    /// They are evicted, and nothing recreates them.
    Evict,
    /// They stand in the way of the reboot.
    Refuse,
}

/// What happens to pods with emptyDir volumes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum EmptyDirPods {
    /// They are evicted, and the content of the volumes is lost.
    Evict,
    /// They stand in the way of the reboot.
    Refuse,
}

/// Pods whose eviction is refused for too long are deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeleteRefused {
    /// This long after the claim, or after the wait for blocking pods that follows it.
    pub after: Duration,
    /// In these namespaces.
    pub namespaces: BTreeSet<String>,
}

/// What happens to the slot of a node if something does not become well after its reboot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum AtLimit {
    /// It is kept until a person has looked.
    Keep,
    /// It is given back, and the next node may reboot.
    Release,
}

/// A field of a Kubernetes object, and the values that it must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectField {
    /// The path of the object, or of a list, at the API server.
    pub path: String,
    /// Names from the top down, separated by points; `*` stands for each item of a list.
    pub field: String,
    /// One of these.
    pub equals: Vec<String>,
}

/// A question to Prometheus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// The query, in PromQL.
    pub expression: String,
    /// Which Prometheus is asked.
    pub server: Prometheus,
}

/// How Prometheus is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Prometheus {
    /// Directly.
    Url {
        /// `http://` or `https://`, without a trailing slash.
        url: String,
        /// The file with the bearer token; it may be replaced at any time.
        token_file: Option<PathBuf>,
        /// Who must have signed its certificate.
        certificate_authority: PathBuf,
    },
    /// As a Service, through the API server and with the credential for the API server.
    Service {
        /// Its namespace.
        namespace: String,
        /// `NAME:PORT` or `SCHEME:NAME:PORT`, as a request through the API server names it.
        port: String,
    },
}

/// What happens when a hook fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnHookFailure {
    /// Before the reboot, the turn is undone; after the boot, the node stays cordoned and keeps its slot until a
    /// person has looked.
    Stop,
    /// The turn goes on as if there were no hook.
    Continue,
}
