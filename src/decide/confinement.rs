//! Whether the cluster leaves a node what is its own, and which manifests it has for that.

/// Whether the cluster confines this node's credential to what is the node's own: its turn, its Node, its pods.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Confinement {
    /// The credential is of another account than the one that the policies concern.
    OtherAccount,
    /// The policies were tried.
    Tried {
        /// Those that are not in force.
        missing: Vec<&'static str>,
        /// Of which version the manifests in the cluster say that they are.
        manifests: Option<u32>,
    },
}

/// The version of the manifests that come with this rebootd.
pub const MANIFESTS: u32 = 2;

impl Confinement {
    /// Whether these are not the manifests that come with this rebootd.
    pub fn is_of_other_manifests(&self) -> bool {
        matches!(self, Self::Tried { manifests: Some(version), .. } if *version != MANIFESTS)
    }

    /// The policies that are not in force.
    pub fn missing(&self) -> &[&'static str] {
        match self {
            Self::Tried { missing, .. } => missing,
            Self::OtherAccount => &[],
        }
    }
}
