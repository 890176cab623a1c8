//! Ids of machines and boots.

/// An id as systemd writes it: systemd's `%b` has no dashes, while the boot ids of kernel and kubelet have.
pub fn plain_id(id: &str) -> String {
    id.trim().chars().filter(|character| *character != '-').collect::<String>().to_ascii_lowercase()
}
