//! What the policies in the cluster leave of this node's credential, and of which rebootd they are.

use std::cmp::Ordering;

use super::asked::{Asked, Closed, closed, read};
use crate::decide::world::World;
use crate::decide::{Confinement, MANIFESTS, Reason};

/// Why the cluster does not confine this node's credential, where it should.
pub(in crate::decide) fn unconfined(world: &World) -> Option<Reason> {
    match world.cluster.confinement.last() {
        Some(found) if world.cluster.unconfined > 1 => Some(not_in_force(found.missing())),
        _ => None,
    }
}

/// Whether the manifests in the cluster are those of another version of rebootd.
pub(in crate::decide) fn other_manifests(world: &World) -> Option<Reason> {
    let Some(Confinement::Tried { manifests: Some(found), .. }) = world.cluster.confinement.last() else {
        return None;
    };
    let (found, ours) = (*found, MANIFESTS);
    match found.cmp(&ours) {
        Ordering::Less => Some(Reason::ManifestsOlder { found, ours }),
        Ordering::Equal => None,
        Ordering::Greater => Some(Reason::ManifestsNewer { found, ours }),
    }
}

fn not_in_force(policies: &[&str]) -> Reason {
    Reason::PoliciesNotInForce { why: format!("{} not in force", policies.join(", ")) }
}

pub(in crate::decide) fn policies_are_in_force(asked: &Asked<'_>) -> Vec<Closed> {
    if !asked.settings.gates.require_policies {
        return vec![];
    }
    let reason = match read("whether the policies are in force", &asked.world.cluster.confinement) {
        Ok(Confinement::Tried { missing, .. }) if missing.is_empty() => None,
        Ok(Confinement::Tried { missing, .. }) => Some(not_in_force(missing)),
        Ok(Confinement::OtherAccount) => {
            let why = "it is not of the service account rebootd, and `require_policies` is on in [gates]"
                .to_owned();
            Some(Reason::PoliciesNotInForce { why })
        }
        Err(reason) => Some(reason),
    };
    reason.map(closed).into_iter().collect()
}
