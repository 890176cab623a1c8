//! Ids of machines and boots.

/// An id as systemd writes it: systemd's `%b` has no dashes, the kernel's and the kubelet's boot id has.
pub fn plain_id(id: &str) -> String {
    id.trim().chars().filter(|character| *character != '-').collect::<String>().to_ascii_lowercase()
}
