//! The settings: complete, checked, and the only part of the configuration that
//! the rest of the program sees.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::checks;
use super::error::ConfigError;
use super::kubeconfig;
use super::merge::{Located, Merged};
use super::value::NodeName;
use crate::access::{ApiAccess, Credential, PemSource};
use crate::decide::settings::{
    DEFAULT_DEADLINE, DEFAULT_MIN_INTERVAL, DEFAULT_POOL, DEFAULT_REBOOT_TIMEOUT, DEFAULT_REBOOT_TRIES,
    DEFAULT_RETURN_TIMEOUT, DEFAULT_SETTLE, DEFAULT_WINDOW_LEFT, DeleteRefused, Drain, DrainMode, Gates,
    Hooks, Host, Mode, Policy, Settings, Signs,
};
use crate::decide::{Hook, Windows};

const SHORTEST_HOOK_TIMEOUT: Duration = Duration::from_secs(1);
const SHORTEST_SETTLE: Duration = Duration::from_secs(1);
/// Sooner, every return would cry for a person.
const SHORTEST_RETURN_TIMEOUT: Duration = Duration::from_secs(10);
/// More often, and an idle host would hardly do anything else.
const SHORTEST_COMMAND_INTERVAL: Duration = Duration::from_secs(10);
/// Sooner, a fleet would hardly do anything else.
const SHORTEST_MAX_UPTIME: Duration = Duration::from_secs(3600);
/// A shutdown takes that long on many hosts before the kernel restarts.
const SHORTEST_REBOOT_TIMEOUT: Duration = Duration::from_secs(30);
/// A drain that may take no time would be given up before its first eviction.
const SHORTEST_DRAIN_TIMEOUT: Duration = Duration::from_secs(1);
/// None at all would remove the pod's object at once, without waiting for the kubelet.
const SHORTEST_GRACE_PERIOD: Duration = Duration::from_secs(1);
/// More than anyone means, and little enough that no sum of times overflows.
const LONGEST: Duration = Duration::from_secs(10 * 31_557_600);
const MOST_REBOOT_TRIES: u32 = 10;
/// As many as are remembered.
const MOST_REBOOTS_PER_DAY: u32 = 10;

/// As in [`crate::decide::settings::HOLD`].
const HOLD: &str = "hold";

/// Completes what the files say to settings; `administrators` is the administrator's own directory.
pub(super) fn complete(
    merged: Merged,
    host_name: &str,
    administrators: &Path,
) -> Result<Settings, ConfigError> {
    let (api, kubeconfig) = api_access(&merged, &administrators.join("kubeconfig"))?;
    let host = host(&merged, administrators)?;
    let policy = policy(&merged)?;
    let drain = drain(&merged)?;
    let signs = signs(&merged)?;
    checks::prometheus(&merged)?;
    let after = checks::after(&merged)?;
    let gates = gates(&merged)?;
    let pool = pool(&merged).to_owned();
    let hooks = hooks(&merged)?;
    let node_name = match merged.node_name {
        Some(name) => name.value,
        None => node_name_of(host_name)?,
    };
    Ok(Settings {
        node_name,
        pool,
        mode: value_or(merged.mode, Mode::Active),
        api,
        host,
        policy,
        drain,
        signs,
        gates,
        after,
        hooks,
        sources: merged.sources.into_iter().chain(kubeconfig).collect(),
    })
}

fn value_or<T>(given: Option<Located<T>>, default: T) -> T {
    given.map_or(default, |given| given.value)
}

/// The name that the kubelet registers this host under, unless it is told another.
fn node_name_of(host_name: &str) -> Result<String, ConfigError> {
    NodeName::try_from(host_name.trim().to_lowercase()).map(|name| name.0).map_err(|message| {
        ConfigError::nowhere(format!("{message}; this is the host name, set \"name\" in [node]"))
    })
}

fn host(merged: &Merged, administrators: &Path) -> Result<Host, ConfigError> {
    let default = Host::default();
    let interval = &merged.sentinel_command_interval;
    let interval = within("sentinel_command_interval", interval, SHORTEST_COMMAND_INTERVAL)?;
    Ok(Host {
        sentinel: merged.sentinel.as_ref().map_or(default.sentinel, |path| path.value.clone()),
        sentinel_command: merged
            .sentinel_command
            .as_ref()
            .map_or(Vec::new(), |command| command.value.clone()),
        sentinel_command_interval: interval.unwrap_or(default.sentinel_command_interval),
        newer_kernel: merged.newer_kernel.as_ref().is_some_and(|yes| yes.value),
        livepatched_min_age: within("livepatched_min_age", &merged.livepatched_min_age, Duration::ZERO)?,
        needrestart: merged.needrestart.as_ref().is_some_and(|yes| yes.value),
        request_annotation: merged.request_annotation.as_ref().is_none_or(|yes| yes.value),
        max_uptime: within("max_uptime", &merged.max_uptime, SHORTEST_MAX_UPTIME)?,
        hold: administrators.join(HOLD),
    })
}

/// Checks all that can be checked without this host and its credential.
pub(super) fn check(merged: &Merged, administrators: &Path) -> Result<(), ConfigError> {
    match &merged.server {
        Some(server) => drop(access_by_keys(merged, server)?),
        None => refuse_without_server(merged)?,
    }
    host(merged, administrators)?;
    policy(merged)?;
    drain(merged)?;
    signs(merged)?;
    checks::prometheus(merged)?;
    checks::after(merged)?;
    gates(merged)?;
    hooks(merged)?;
    Ok(())
}

pub(super) fn pool(merged: &Merged) -> &str {
    merged.pool.as_ref().map_or(DEFAULT_POOL, |pool| &pool.value)
}

fn gates(merged: &Merged) -> Result<Gates, ConfigError> {
    Ok(Gates {
        max_nodes_not_ready: merged.max_nodes_not_ready.as_ref().map_or(0, |number| number.value),
        count_cordoned: merged.count_cordoned.as_ref().is_some_and(|yes| yes.value),
        min_uptime: within("min_uptime", &merged.min_uptime, Duration::ZERO)?.unwrap_or_default(),
        blocking_pods: merged.blocking_pods.as_ref().map(|given| given.value.clone()).unwrap_or_default(),
        query: checks::before(merged)?,
        sessions: merged.sessions.as_ref().and_then(|wait| wait.value),
        require_synchronized_clock: merged.require_synchronized_clock.as_ref().is_none_or(|yes| yes.value),
    })
}

pub(super) fn policy(merged: &Merged) -> Result<Policy, ConfigError> {
    let min_interval = within("min_interval", &merged.min_interval, Duration::ZERO)?;
    let min_age = within("min_age", &merged.min_age, Duration::ZERO)?;
    let settle = within("settle", &merged.settle, SHORTEST_SETTLE)?;
    let reboot_timeout = within("reboot_timeout", &merged.reboot_timeout, SHORTEST_REBOOT_TIMEOUT)?;
    let return_timeout = within("return_timeout", &merged.return_timeout, SHORTEST_RETURN_TIMEOUT)?;
    Ok(Policy {
        windows: windows(merged),
        drain: merged.drain.as_ref().map_or(DrainMode::Auto, |it| it.value),
        window_left: window_left(merged)?,
        min_interval: min_interval.unwrap_or(DEFAULT_MIN_INTERVAL),
        max_reboots_per_day: max_reboots_per_day(&merged.max_reboots_per_day)?,
        min_age: min_age.unwrap_or_default(),
        deadline: deadline(merged)?,
        yielding: merged.yielding.as_ref().map(|gates| gates.value.clone()).unwrap_or_default(),
        kexec: merged.kexec.as_ref().is_some_and(|yes| yes.value),
        settle: settle.unwrap_or(DEFAULT_SETTLE),
        reboot_timeout: reboot_timeout.unwrap_or(DEFAULT_REBOOT_TIMEOUT),
        reboot_tries: reboot_tries(&merged.reboot_tries)?,
        return_timeout: return_timeout.unwrap_or(DEFAULT_RETURN_TIMEOUT),
    })
}

/// Zero is none.
fn deadline(merged: &Merged) -> Result<Option<Duration>, ConfigError> {
    let given = within("deadline", &merged.deadline, Duration::ZERO)?;
    let deadline = Some(given.unwrap_or(DEFAULT_DEADLINE)).filter(|deadline| !deadline.is_zero());
    match &merged.yielding {
        Some(yielding) if deadline.is_none() && !yielding.value.is_empty() => {
            let message = "\"give_up_after_deadline\" has no effect where \"deadline\" is 0";
            Err(ConfigError::at(yielding.place.clone(), message))
        }
        _ => Ok(deadline),
    }
}

/// What is configured, else the drain's timeout where that is.
fn window_left(merged: &Merged) -> Result<Duration, ConfigError> {
    let given = within("window_left", &merged.window_left, Duration::ZERO)?;
    let timeout = merged.drain_timeout.as_ref().map(|timeout| timeout.value);
    Ok(given.or(timeout).unwrap_or(DEFAULT_WINDOW_LEFT))
}

/// When reboots may start; without a window never, whatever is frozen.
pub(super) fn windows(merged: &Merged) -> Option<Windows> {
    let open = merged.window.as_ref()?.value.clone();
    Some(Windows { open, freezes: merged.freeze.as_ref().map_or(vec![], |freezes| freezes.value.clone()) })
}

fn drain(merged: &Merged) -> Result<Drain, ConfigError> {
    let default = Drain::default();
    let volume_timeout = within("volume_timeout", &merged.volume_timeout, Duration::ZERO)?;
    Ok(Drain {
        timeout: within("timeout", &merged.drain_timeout, SHORTEST_DRAIN_TIMEOUT)?,
        on_timeout: merged.on_timeout.as_ref().map_or(default.on_timeout, |it| it.value),
        bare_pods: merged.bare_pods.as_ref().map_or(default.bare_pods, |it| it.value),
        empty_dir_pods: merged.empty_dir_pods.as_ref().map_or(default.empty_dir_pods, |it| it.value),
        grace_period: within("grace_period", &merged.grace_period, SHORTEST_GRACE_PERIOD)?,
        delete: delete_refused(merged)?,
        volume_timeout: volume_timeout.unwrap_or(default.volume_timeout),
    })
}

fn signs(merged: &Merged) -> Result<Signs, ConfigError> {
    let default = Signs::default();
    let leave = within("leave_load_balancers", &merged.leave_load_balancers, Duration::ZERO)?;
    if let (Some(given), Some(timeout)) = (&merged.leave_load_balancers, &merged.drain_timeout)
        && given.value >= timeout.value
    {
        let message =
            "\"leave_load_balancers\" must be shorter than \"timeout\": nothing leaves before it is over";
        return Err(ConfigError::at(given.place.clone(), message));
    }
    Ok(Signs {
        waiting_label: merged.waiting_label.as_ref().map_or(default.waiting_label, |yes| yes.value),
        waiting_taint: merged.waiting_taint.as_ref().map_or(default.waiting_taint, |yes| yes.value),
        labels: merged.drain_labels.as_ref().map_or(default.labels, |labels| labels.value.clone()),
        leave_load_balancers: leave,
        keep_from_autoscalers: merged
            .keep_from_autoscalers
            .as_ref()
            .map_or(default.keep_from_autoscalers, |yes| yes.value),
    })
}

fn hooks(merged: &Merged) -> Result<Hooks, ConfigError> {
    let default = Hooks::default();
    let keys = [
        (Hook::BeforeDrain, &merged.before_drain),
        (Hook::BeforeReboot, &merged.before_reboot),
        (Hook::AfterBoot, &merged.after_boot),
    ];
    let wanted = keys.into_iter().filter(|(_, given)| given.as_ref().is_some_and(|yes| yes.value));
    let timeout = within("timeout", &merged.hook_timeout, SHORTEST_HOOK_TIMEOUT)?;
    Ok(Hooks {
        wanted: wanted.map(|(hook, _)| hook).collect(),
        timeout: timeout.unwrap_or(default.timeout),
        on_failure: merged.on_hook_failure.as_ref().map_or(default.on_failure, |it| it.value),
        on_failure_after_boot: merged
            .on_failure_after_boot
            .as_ref()
            .map_or(default.on_failure_after_boot, |it| it.value),
    })
}

/// Either key alone is a mistake: one would delete everywhere, or nowhere.
fn delete_refused(merged: &Merged) -> Result<Option<DeleteRefused>, ConfigError> {
    let after = within("delete_after", &merged.delete_after, SHORTEST_DRAIN_TIMEOUT)?;
    match (after, &merged.delete_after, &merged.delete_namespaces) {
        (Some(after), _, Some(namespaces)) => {
            Ok(Some(DeleteRefused { after, namespaces: namespaces.value.clone() }))
        }
        (None, _, None) | (Some(_), None, None) => Ok(None),
        (Some(_), Some(given), None) => {
            Err(ConfigError::at(given.place.clone(), "\"delete_after\" needs \"delete_namespaces\" as well"))
        }
        (None, _, Some(given)) => {
            Err(ConfigError::at(given.place.clone(), "\"delete_namespaces\" needs \"delete_after\" as well"))
        }
    }
}

/// Checks that a time, if one is given, is at least `shortest` and not absurd.
pub(super) fn within(
    key: &str,
    given: &Option<Located<Duration>>,
    shortest: Duration,
) -> Result<Option<Duration>, ConfigError> {
    let Some(given) = given else { return Ok(None) };
    if given.value < shortest {
        let message = format!("\"{key}\" must be at least {}s", shortest.as_secs());
        return Err(ConfigError::at(given.place.clone(), message));
    }
    if given.value > LONGEST {
        let message = format!("\"{key}\" must be at most 10 years");
        return Err(ConfigError::at(given.place.clone(), message));
    }
    Ok(Some(given.value))
}

fn max_reboots_per_day(given: &Option<Located<u32>>) -> Result<Option<u32>, ConfigError> {
    match given {
        Some(given) if !(1..=MOST_REBOOTS_PER_DAY).contains(&given.value) => {
            let message = format!("\"max_reboots_per_day\" must be between 1 and {MOST_REBOOTS_PER_DAY}");
            Err(ConfigError::at(given.place.clone(), message))
        }
        given => Ok(given.as_ref().map(|given| given.value)),
    }
}

fn reboot_tries(given: &Option<Located<u32>>) -> Result<u32, ConfigError> {
    match given {
        None => Ok(DEFAULT_REBOOT_TRIES),
        Some(given) if (1..=MOST_REBOOT_TRIES).contains(&given.value) => Ok(given.value),
        Some(given) => {
            let message = format!("\"reboot_tries\" must be between 1 and {MOST_REBOOT_TRIES}");
            Err(ConfigError::at(given.place.clone(), message))
        }
    }
}

/// How to reach the cluster, and the kubeconfig that says so, if one does.
fn api_access(
    merged: &Merged,
    default_kubeconfig: &Path,
) -> Result<(Option<ApiAccess>, Option<PathBuf>), ConfigError> {
    if let Some(server) = &merged.server {
        return Ok((Some(access_by_keys(merged, server)?), None));
    }
    refuse_without_server(merged)?;
    let (path, written_at) = match &merged.kubeconfig {
        Some(given) => (given.value.as_path(), Some(&given.place)),
        None => (default_kubeconfig, None),
    };
    match (kubeconfig::read(path)?, written_at) {
        (Some(access), _) => Ok((Some(access), Some(path.to_owned()))),
        // Nobody promised the default one.
        (None, None) => Ok((None, None)),
        (None, Some(place)) => {
            Err(ConfigError::at(place.clone(), format!("there is no kubeconfig {}", path.display())))
        }
    }
}

/// The access that `server` and the keys beside it describe.
fn access_by_keys(merged: &Merged, server: &Located<String>) -> Result<ApiAccess, ConfigError> {
    if let Some(kubeconfig) = &merged.kubeconfig {
        let message = format!("either \"kubeconfig\" or \"server\" ({}), not both", server.place);
        return Err(ConfigError::at(kubeconfig.place.clone(), message));
    }
    let missing = |key| ConfigError::at(server.place.clone(), format!("\"server\" needs {key} as well"));
    let authority = merged.certificate_authority.as_ref();
    let authority = authority.ok_or_else(|| missing("\"certificate_authority\""))?;
    let credential = match (&merged.token_file, &merged.client_certificate, &merged.client_key) {
        (Some(token), None, None) => Credential::TokenFile(token.value.clone()),
        (None, Some(certificate), Some(key)) => Credential::ClientCertificate {
            certificate: PemSource::File(certificate.value.clone()),
            key: PemSource::File(key.value.clone()),
        },
        (Some(_), Some(other), _) | (Some(_), _, Some(other)) => {
            let message = "either \"token_file\" or a client certificate, not both";
            return Err(ConfigError::at(other.place.clone(), message));
        }
        (None, Some(_), None) => return Err(missing("\"client_key\"")),
        (None, None, Some(_)) => return Err(missing("\"client_certificate\"")),
        (None, None, None) => {
            return Err(missing("\"token_file\", or \"client_certificate\" and \"client_key\""));
        }
    };
    Ok(ApiAccess {
        server: server.value.clone(),
        certificate_authority: PemSource::File(authority.value.clone()),
        credential,
    })
}

/// Keys that would silently do nothing are mistakes.
fn refuse_without_server(merged: &Merged) -> Result<(), ConfigError> {
    let keys =
        [&merged.certificate_authority, &merged.token_file, &merged.client_certificate, &merged.client_key];
    match keys.into_iter().flatten().next() {
        Some(key) => Err(ConfigError::at(
            key.place.clone(),
            "this has no effect without \"server\"; a kubeconfig brings its own credential",
        )),
        None => Ok(()),
    }
}
