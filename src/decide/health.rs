//! How long the node has been well, folded from readings.

use std::time::Duration;

use super::{Failure, KubeletLease, NodeView};

/// How long the node has been well, folded from readings.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Health {
    /// Since when it has been Ready, with network, and ours, as far as it was seen.
    pub ready_since: Option<Duration>,
    /// `lastTransitionTime` of Ready then. If it changes, the Node was not Ready in between.
    pub transition: String,
    /// The kubelet's Lease as last read.
    pub lease: Option<KubeletLease>,
    /// How often this process has seen the Lease renewed.
    pub renewals: u32,
    /// When it last saw a renewal.
    pub renewed_at: Option<Duration>,
    /// The latest attempt to read the Lease failed.
    pub kubelet_failed: bool,
}

impl Health {
    pub(super) fn node(
        &mut self,
        result: &Result<Option<NodeView>, Failure>,
        boot_id: &str,
        machine_id: &str,
        now: Duration,
    ) {
        // A read that failed says nothing. If the node was not well meanwhile, the next one shows another transition.
        let Ok(node) = result else { return };
        let Some(node) = node else {
            self.ready_since = None;
            return;
        };
        let ours = |reported: &str, own: &str| reported.is_empty() || reported == own;
        let well = node.ready
            && !node.network_unavailable
            && ours(&node.boot_id, boot_id)
            && ours(&node.machine_id, machine_id);
        if !well {
            self.ready_since = None;
        } else if self.ready_since.is_none() || self.transition != node.ready_since {
            self.ready_since = Some(now);
            self.transition.clone_from(&node.ready_since);
        }
    }

    pub(super) fn kubelet(&mut self, result: &Result<KubeletLease, Failure>, now: Duration) {
        self.kubelet_failed = result.is_err();
        let Ok(lease) = result else { return };
        if self.lease.as_ref().is_some_and(|known| known.renewed != lease.renewed) {
            self.renewals = self.renewals.saturating_add(1);
            self.renewed_at = Some(now);
        }
        self.lease = Some(lease.clone());
    }

    /// The kubelet's Lease, if the latest attempt to read it succeeded.
    pub(super) fn kubelet_lease(&self) -> Option<&KubeletLease> {
        self.lease.as_ref().filter(|_| !self.kubelet_failed)
    }
}
