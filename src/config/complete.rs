//! The settings: complete, checked, and the only part of the configuration that the rest of the program sees. Most
//! tables are settings as written; this file has the settings that result from several keys together.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::access;
use super::error::{ConfigError, Mistakes};
use super::kubeconfig;
use super::merge::Merged;
use super::parts::{ApiKeys, DeleteKeys, HookKeys, NodeKeys, TopKeys};
use super::questions::questions;
use super::value::{Namespaces, NodeName};
use super::windows::WindowKeys;
use crate::access::ApiAccess;
use crate::decide::settings::{
    AfterSettings, DeleteRefused, DrainSettings, GatesSettings, HooksSettings, HostSettings, PolicySettings,
    Settings,
};
use crate::decide::{Hook, Windows, is_control_plane, span};

/// As in [`crate::decide::settings::HOLD`].
const HOLD: &str = "hold";

/// Turns what the files say into settings; `administrators` is the administrator's own directory.
pub(super) fn complete(
    merged: &Merged,
    sources: Vec<PathBuf>,
    host_name: &str,
    administrators: &Path,
) -> Result<Settings, ConfigError> {
    let mut mistakes = Mistakes::default();
    let mut settings = without_host(merged, administrators, &mut mistakes);
    settings.sources = sources;
    if merged.get("api.server").is_none() {
        let (api, path) = mistakes.note(by_kubeconfig(merged, &administrators.join("kubeconfig")));
        settings.api = api;
        settings.sources.extend(path);
    }
    settings.credential_node = settings.api.as_ref().and_then(access::bound_node);
    if settings.node_name.is_empty() {
        settings.node_name = match (&settings.credential_node, &settings.api) {
            (Some(bound), _) => bound.clone(),
            (None, Some(_)) => mistakes.note(node_name_of(host_name)),
            // The credential that the node is going to get says it.
            (None, None) => node_name_of(host_name).unwrap_or_default(),
        };
    }
    mistakes.end(settings)
}

/// Checks everything that can be checked without this host and its credential.
pub(super) fn check(merged: &Merged, administrators: &Path) -> Result<(), ConfigError> {
    let mut mistakes = Mistakes::default();
    without_host(merged, administrators, &mut mistakes);
    mistakes.end(())
}

/// The settings without what only the host can tell: its name, if none is written, and its kubeconfig.
fn without_host(merged: &Merged, administrators: &Path, mistakes: &mut Mistakes) -> Settings {
    let TopKeys { mode } = mistakes.note(merged.read(""));
    let NodeKeys { name, pool: written, .. } = mistakes.note(merged.read("node"));
    let (gates, after, measure) = mistakes.note(questions(merged));
    let name_is_written = name.is_some();
    Settings {
        node_name: name.map(|name| name.0).unwrap_or_default(),
        pool: mistakes.note(pool(merged, None, &BTreeMap::new())),
        pool_is_written: written.is_some(),
        node_is_written: name_is_written,
        credential_node: None,
        credential_ends: None,
        mode,
        api: mistakes.note(access::by_keys(merged)),
        token_life: mistakes.note(access::token_life(merged)),
        host: HostSettings { hold: administrators.join(HOLD), ..mistakes.note(merged.read("host")) },
        policy: mistakes.note(policy(merged)),
        drain: mistakes.note(drain(merged)),
        signs: mistakes.note(merged.read("node")),
        gates,
        after,
        measure,
        hooks: mistakes.note(hooks(merged)),
        notify: mistakes.note(merged.read("notify")),
        sources: Vec::new(),
    }
}

/// The name under which the kubelet registers this host, unless it is told another.
fn node_name_of(host_name: &str) -> Result<String, ConfigError> {
    NodeName::try_from(host_name.trim().to_lowercase()).map(|name| name.0).map_err(|message| {
        ConfigError::nowhere(format!("{message}; this is the host name, set \"name\" in [node]"))
    })
}

/// The pool of a node with these labels: what its files say, else the fleet's policy, else the pool of what it is.
pub(super) fn pool(
    merged: &Merged,
    of_policy: Option<String>,
    labels: &BTreeMap<String, String>,
) -> Result<String, ConfigError> {
    let NodeKeys { pool, .. } = merged.read("node")?;
    if let Some(pool) = pool.map(|pool| pool.0).or(of_policy) {
        return Ok(pool);
    }
    let GatesSettings { control_plane_labels, .. } = merged.read("gates")?;
    let pool = if is_control_plane(labels, &control_plane_labels) { "control-plane" } else { "worker" };
    Ok(pool.to_owned())
}

/// When and how to reboot.
pub(super) fn policy(merged: &Merged) -> Result<PolicySettings, ConfigError> {
    let mut policy = PolicySettings { windows: windows(merged)?, ..merged.read("policy")? };
    // If the drain has a time limit, it starts only if that much of the window is left, unless another time is
    // written.
    if merged.get("policy.window_left").is_none() {
        let DrainSettings { timeout, .. } = merged.read("drain")?;
        policy.window_left = timeout.unwrap_or(policy.window_left);
    }
    let mut mistakes = Mistakes::default();
    if let Some(place) = merged.place(&["policy.give_up_after_deadline"])
        && policy.deadline.is_none()
        && !policy.yielding.is_empty()
    {
        mistakes.add(place, "\"give_up_after_deadline\" has no effect if \"deadline\" is 0");
    }
    // These were allowed once.
    if !merged.are_kept {
        never_in_time(merged, &policy, &mut mistakes);
    }
    mistakes.end(policy)
}

/// Settings with which every request would be overdue before anything is done about it, or no window long enough.
fn never_in_time(merged: &Merged, policy: &PolicySettings, mistakes: &mut Mistakes) {
    let is_known = |key: &str| merged.get(key).is_some() || !merged.is_section;
    let min_age = policy.min_age;
    if let Some(deadline) = policy.deadline.filter(|deadline| min_age > *deadline)
        && is_known("policy.deadline")
        && let Some(place) = merged.place(&["policy.min_age", "policy.deadline"])
    {
        let (min_age, deadline) = (span(min_age), span(deadline));
        let message = format!(
            "\"min_age\" ({min_age}) is longer than \"deadline\" ({deadline}): every request would be overdue first"
        );
        mistakes.add(place, message);
    }
    let left = policy.window_left;
    if let Some(windows) = &policy.windows
        && is_known("policy.window_left")
        && !windows.may_last(left)
        && let Some(place) = merged.place(&["policy.window_left", "drain.timeout", "policy.window"])
    {
        let left = span(left);
        mistakes.add(
            place,
            format!("\"window_left\" ({left}) is longer than every window, so no reboot could ever start"),
        );
    }
}

/// The rest of what the fleet's policy may say something about.
pub(super) fn around_policy(
    merged: &Merged,
) -> Result<(DrainSettings, (GatesSettings, AfterSettings)), ConfigError> {
    let mut mistakes = Mistakes::default();
    let drain = mistakes.note(drain(merged));
    let (gates, after, _) = mistakes.note(questions(merged));
    mistakes.end((drain, (gates, after)))
}

/// When reboots may start; the rest of the policy is not read.
pub(super) fn windows(merged: &Merged) -> Result<Option<Windows>, ConfigError> {
    merged.read("policy").map(WindowKeys::windows)
}

fn drain(merged: &Merged) -> Result<DrainSettings, ConfigError> {
    let mut drain: DrainSettings = merged.read("drain")?;
    let mut mistakes = Mistakes::default();
    drain.delete = mistakes.note(delete_refused(merged));
    if let Some((leave, timeout)) = drain.leave_load_balancers.zip(drain.timeout)
        && leave >= timeout
        && let Some(place) = merged.place(&["drain.leave_load_balancers"])
    {
        mistakes.add(
            place,
            "\"leave_load_balancers\" must be shorter than \"timeout\": nothing leaves before it is over",
        );
    }
    mistakes.end(drain)
}

/// Either key alone is a mistake: one would delete everywhere, the other nowhere.
fn delete_refused(merged: &Merged) -> Result<Option<DeleteRefused>, ConfigError> {
    let DeleteKeys { delete_after, delete_namespaces } = merged.read("drain")?;
    if let (Some(after), Some(Namespaces(namespaces))) = (delete_after, delete_namespaces) {
        return Ok(Some(DeleteRefused { after, namespaces: namespaces.into_iter().collect() }));
    }
    // The other one may be written in the files of the hosts.
    if merged.is_section {
        return Ok(None);
    }
    for (key, other) in [("delete_after", "delete_namespaces"), ("delete_namespaces", "delete_after")] {
        if let Some(place) = merged.place(&[&format!("drain.{key}")]) {
            return Err(ConfigError::at(place, format!("\"{key}\" needs \"{other}\" as well")));
        }
    }
    Ok(None)
}

fn hooks(merged: &Merged) -> Result<HooksSettings, ConfigError> {
    let HookKeys { before_drain, before_reboot, after_boot } = merged.read("hooks")?;
    let keys = [
        (Hook::BeforeDrain, before_drain),
        (Hook::BeforeReboot, before_reboot),
        (Hook::AfterBoot, after_boot),
    ];
    let wanted = keys.into_iter().filter_map(|(hook, wanted)| wanted.then_some(hook)).collect();
    Ok(HooksSettings { wanted, ..merged.read("hooks")? })
}

/// How to reach the cluster, and the kubeconfig that says so, if one does.
fn by_kubeconfig(
    merged: &Merged,
    default: &Path,
) -> Result<(Option<ApiAccess>, Option<PathBuf>), ConfigError> {
    let keys: ApiKeys = merged.read("api")?;
    let path = keys.kubeconfig.unwrap_or_else(|| default.to_owned());
    match (kubeconfig::read(&path)?, merged.place(&["api.kubeconfig"])) {
        (Some(access), _) => Ok((Some(access), Some(path))),
        // The default kubeconfig does not have to exist.
        (None, None) => Ok((None, None)),
        (None, Some(place)) => Err(ConfigError::at(place, "there is no such kubeconfig")),
    }
}
