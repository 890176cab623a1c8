//! What `rebootctl check --fleet` reads of the cluster. A right that is missing hides only what it is needed for.

use crate::cluster::{Api, ApiError, FleetNode, HeldSlot, Kured, PolicyMap, PolicyState, TokenPods};
use crate::host::clock;

/// Why something could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unread {
    /// The right that is missing, if that is why.
    pub(super) right: Option<&'static str>,
    pub(super) why: String,
}

pub(super) type Read<T> = Result<T, Unread>;

/// All that the checks of a cluster judge.
pub(super) struct Inventory {
    /// Seconds since 1970.
    pub(super) now: u64,
    pub(super) nodes: Read<Vec<FleetNode>>,
    /// The Nodes that are members of the control plane.
    pub(super) members: Read<Vec<String>>,
    pub(super) slots: Read<Vec<HeldSlot>>,
    pub(super) paused: Read<Option<String>>,
    pub(super) policy: Read<Option<PolicyMap>>,
    pub(super) policies: Read<Vec<PolicyState>>,
    pub(super) token_pods: Read<Option<TokenPods>>,
    pub(super) kured: Read<Vec<Kured>>,
    pub(super) plans: Read<Vec<String>>,
}

/// Reads all of them. Nothing is written.
pub(super) async fn gather(api: &mut Api) -> Inventory {
    Inventory {
        now: clock::now().wall.as_secs(),
        nodes: read("list nodes", api.fleet("").await),
        members: read("list nodes", api.members().await),
        slots: read("list leases in the namespace rebootd", api.held_slots().await),
        paused: read("get leases in the namespace rebootd", api.paused().await),
        policy: read("list configmaps in the namespace rebootd", api.policy_map().await),
        policies: read(
            "list validatingadmissionpolicies and validatingadmissionpolicybindings (admissionregistration.k8s.io)",
            api.policies().await,
        ),
        token_pods: read("get daemonsets (apps) in the namespace rebootd", api.token_pods().await),
        kured: read("list daemonsets (apps)", api.kured().await),
        plans: read("list plans (upgrade.cattle.io)", api.upgrade_plans().await),
    }
}

fn read<T>(right: &'static str, result: Result<T, ApiError>) -> Read<T> {
    result.map_err(|error| Unread {
        right: matches!(error, ApiError::Status { code: 403, .. }).then_some(right),
        why: error.to_string(),
    })
}
