//! Operators that move what runs on a node by themselves, once they see the cordon: a budget that refuses until then is
//! their tool, and no mistake.

/// API groups, and what the operator does.
const OPERATORS: [(&str, &str); 4] = [
    ("postgresql.cnpg.io", "CloudNativePG moves its primary once the node is cordoned"),
    ("kafka.strimzi.io", "Strimzi rolls its pods by its Drain Cleaner, if that is installed"),
    ("core.strimzi.io", "Strimzi rolls its pods by its Drain Cleaner, if that is installed"),
    ("ceph.rook.io", "Rook opens the budgets of one failure domain at a time"),
];

/// Webhooks that refuse evictions on purpose, by a part of their names, and what follows.
const WEBHOOKS: [(&str, &str); 1] =
    [("kubevirt.io", "KubeVirt moves the virtual machine once it is asked for its eviction")];

/// What a webhook does that has refused in these words.
pub(super) fn of_refusal(why: &str) -> Option<&'static str> {
    WEBHOOKS.iter().find(|(name, _)| why.contains(name)).map(|(_, does)| *does)
}

/// What the operator of this API group does.
pub(super) fn of(api_version: &str) -> Option<&'static str> {
    let group = api_version.split('/').next().unwrap_or_default();
    OPERATORS.iter().find(|(name, _)| *name == group).map(|(_, does)| *does)
}
