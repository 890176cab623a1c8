//! Which Nodes are members of the control plane.

use std::collections::BTreeMap;

/// On Nodes that are members of etcd: by RKE2 and k3s, which can run it on nodes of its own.
pub const ETCD: &str = "node-role.kubernetes.io/etcd";
/// On Nodes that are members of the control plane or of its etcd: by kubeadm and everybody after it, by older versions,
/// of etcd alone, by MicroK8s.
const CONTROL_PLANE: [&str; 4] = [
    "node-role.kubernetes.io/control-plane",
    "node-role.kubernetes.io/master",
    ETCD,
    "node.kubernetes.io/microk8s-controlplane",
];

/// The labels of members of the control plane: the well-known ones, and those that people have added.
pub fn control_plane_labels(added: &[String]) -> impl Iterator<Item = &str> {
    CONTROL_PLANE.into_iter().chain(added.iter().map(String::as_str))
}

/// Whether a Node with these labels is a member of the control plane.
pub fn is_control_plane(labels: &BTreeMap<String, String>, added: &[String]) -> bool {
    control_plane_labels(added).any(|label| labels.contains_key(label))
}
