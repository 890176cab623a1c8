//! The merge of all files: what is read later wins, key by key, and every value
//! remembers where it was written, so that later complaints can say so.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use toml::Spanned;

use super::checks::ServicePort;
use super::error::Place;
use super::file::{
    AfterKeys, ApiKeys, DrainKeys, File, GatesKeys, HooksKeys, HostKeys, Keys, NodeKeys, PolicyKeys,
    PrometheusKeys,
};
use super::value::LabelSelector;
use crate::decide::settings::{
    AtLimit, BarePods, DrainMode, EmptyDirPods, Mode, ObjectField, OnHookFailure, OnTimeout, Yielding,
};
use crate::decide::{Freeze, Open};
use crate::notation::Selector;

/// A value and where it was written.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Located<T> {
    pub(super) value: T,
    pub(super) place: Place,
}

/// What all files together say.
#[derive(Debug, Clone, Default)]
pub(super) struct Merged {
    /// The files that were read, in this order.
    pub(super) sources: Vec<PathBuf>,
    pub(super) mode: Option<Located<Mode>>,
    pub(super) node_name: Option<Located<String>>,
    pub(super) pool: Option<Located<String>>,
    pub(super) waiting_label: Option<Located<bool>>,
    pub(super) waiting_taint: Option<Located<bool>>,
    pub(super) kubeconfig: Option<Located<PathBuf>>,
    pub(super) server: Option<Located<String>>,
    pub(super) certificate_authority: Option<Located<PathBuf>>,
    pub(super) token_file: Option<Located<PathBuf>>,
    pub(super) client_certificate: Option<Located<PathBuf>>,
    pub(super) client_key: Option<Located<PathBuf>>,
    pub(super) sentinel: Option<Located<PathBuf>>,
    pub(super) sentinel_command: Option<Located<Vec<String>>>,
    pub(super) sentinel_command_interval: Option<Located<Duration>>,
    pub(super) newer_kernel: Option<Located<bool>>,
    pub(super) livepatched_min_age: Option<Located<Duration>>,
    pub(super) needrestart: Option<Located<bool>>,
    pub(super) request_annotation: Option<Located<bool>>,
    pub(super) max_uptime: Option<Located<Duration>>,
    pub(super) window: Option<Located<Open>>,
    pub(super) freeze: Option<Located<Vec<Freeze>>>,
    pub(super) window_left: Option<Located<Duration>>,
    pub(super) drain: Option<Located<DrainMode>>,
    pub(super) min_interval: Option<Located<Duration>>,
    pub(super) max_reboots_per_day: Option<Located<u32>>,
    pub(super) min_age: Option<Located<Duration>>,
    pub(super) deadline: Option<Located<Duration>>,
    pub(super) yielding: Option<Located<Vec<Yielding>>>,
    pub(super) kexec: Option<Located<bool>>,
    pub(super) settle: Option<Located<Duration>>,
    pub(super) reboot_timeout: Option<Located<Duration>>,
    pub(super) reboot_tries: Option<Located<u32>>,
    pub(super) return_timeout: Option<Located<Duration>>,
    pub(super) drain_timeout: Option<Located<Duration>>,
    pub(super) on_timeout: Option<Located<OnTimeout>>,
    pub(super) bare_pods: Option<Located<BarePods>>,
    pub(super) empty_dir_pods: Option<Located<EmptyDirPods>>,
    pub(super) grace_period: Option<Located<Duration>>,
    pub(super) delete_after: Option<Located<Duration>>,
    pub(super) delete_namespaces: Option<Located<BTreeSet<String>>>,
    pub(super) volume_timeout: Option<Located<Duration>>,
    pub(super) drain_labels: Option<Located<BTreeMap<String, String>>>,
    pub(super) leave_load_balancers: Option<Located<Duration>>,
    pub(super) keep_from_autoscalers: Option<Located<bool>>,
    pub(super) max_nodes_not_ready: Option<Located<u32>>,
    pub(super) count_cordoned: Option<Located<bool>>,
    pub(super) min_uptime: Option<Located<Duration>>,
    pub(super) blocking_pods: Option<Located<Vec<Selector>>>,
    pub(super) alerts: Option<Located<bool>>,
    pub(super) ignore_alerts: Option<Located<Vec<String>>>,
    pub(super) query: Option<Located<String>>,
    pub(super) after_soak: Option<Located<Duration>>,
    pub(super) after_query: Option<Located<String>>,
    pub(super) after_objects: Option<Located<Vec<ObjectField>>>,
    pub(super) after_pods: Option<Located<Vec<Selector>>>,
    pub(super) after_limit: Option<Located<Duration>>,
    pub(super) at_limit: Option<Located<AtLimit>>,
    pub(super) prometheus_url: Option<Located<String>>,
    pub(super) prometheus_service: Option<Located<ServicePort>>,
    pub(super) prometheus_token_file: Option<Located<PathBuf>>,
    pub(super) prometheus_authority: Option<Located<PathBuf>>,
    pub(super) sessions: Option<Located<Option<Duration>>>,
    pub(super) require_synchronized_clock: Option<Located<bool>>,
    pub(super) before_drain: Option<Located<bool>>,
    pub(super) before_reboot: Option<Located<bool>>,
    pub(super) after_boot: Option<Located<bool>>,
    pub(super) hook_timeout: Option<Located<Duration>>,
    pub(super) on_hook_failure: Option<Located<OnHookFailure>>,
    pub(super) on_failure_after_boot: Option<Located<OnHookFailure>>,
}

impl Merged {
    /// Lets what `file` says win over what was read before.
    pub(super) fn add(&mut self, file: File) {
        // Taken apart in full: a key that is forgotten below does not compile quietly.
        let Keys { mode, node, api, host, policy, drain, gates, after, prometheus, hooks } = file.keys;
        let NodeKeys { name, pool, waiting_label, waiting_taint } = node;
        let ApiKeys { kubeconfig, server, certificate_authority, token_file, client_certificate, client_key } =
            api;
        let HostKeys {
            sentinel,
            sentinel_command,
            sentinel_command_interval,
            newer_kernel,
            livepatched_min_age,
            needrestart,
            request_annotation,
            max_uptime,
        } = host;
        let PolicyKeys {
            window,
            freeze,
            window_left,
            drain: drain_mode,
            min_interval,
            max_reboots_per_day,
            min_age,
            deadline,
            give_up_after_deadline,
            kexec,
            settle,
            reboot_timeout,
            reboot_tries,
            return_timeout,
        } = policy;
        let DrainKeys {
            timeout,
            on_timeout,
            bare_pods,
            empty_dir_pods,
            grace_period,
            delete_after,
            delete_namespaces,
            volume_timeout,
            labels,
            leave_load_balancers,
            keep_from_autoscalers,
        } = drain;
        let GatesKeys {
            max_nodes_not_ready,
            count_cordoned,
            min_uptime,
            blocking_pods,
            alerts,
            ignore_alerts,
            query,
            sessions,
            require_synchronized_clock,
        } = gates;
        let AfterKeys { soak, query: after_query, object, pods, limit, at_limit } = after;
        let PrometheusKeys {
            url,
            service,
            token_file: prometheus_token_file,
            certificate_authority: prometheus_authority,
        } = prometheus;
        let HooksKeys {
            before_drain,
            before_reboot,
            after_boot,
            timeout: hook_timeout,
            on_failure,
            on_failure_after_boot,
        } = hooks;

        let place = |span| Place::in_text(&file.path, &file.text, span);
        replace(&mut self.mode, mode, |mode| mode, place);
        replace(&mut self.node_name, name, |name| name.0, place);
        replace(&mut self.pool, pool, |pool| pool.0, place);
        replace(&mut self.waiting_label, waiting_label, |yes| yes, place);
        replace(&mut self.waiting_taint, waiting_taint, |yes| yes, place);
        replace(&mut self.kubeconfig, kubeconfig, |path| path.0, place);
        replace(&mut self.server, server, |address| address.0, place);
        replace(&mut self.certificate_authority, certificate_authority, |path| path.0, place);
        replace(&mut self.token_file, token_file, |path| path.0, place);
        replace(&mut self.client_certificate, client_certificate, |path| path.0, place);
        replace(&mut self.client_key, client_key, |path| path.0, place);
        replace(&mut self.sentinel, sentinel, |path| path.0, place);
        replace(&mut self.sentinel_command, sentinel_command, |command| command.0, place);
        replace(&mut self.sentinel_command_interval, sentinel_command_interval, |span| span.0, place);
        replace(&mut self.newer_kernel, newer_kernel, |yes| yes, place);
        replace(&mut self.livepatched_min_age, livepatched_min_age, |span| span.0, place);
        replace(&mut self.needrestart, needrestart, |yes| yes, place);
        replace(&mut self.request_annotation, request_annotation, |yes| yes, place);
        replace(&mut self.max_uptime, max_uptime, |span| span.0, place);
        replace(&mut self.window, window, |it| it.0, place);
        replace(&mut self.freeze, freeze, |it| it.0, place);
        replace(&mut self.window_left, window_left, |span| span.0, place);
        replace(&mut self.drain, drain_mode, |it| it, place);
        replace(&mut self.min_interval, min_interval, |span| span.0, place);
        replace(&mut self.max_reboots_per_day, max_reboots_per_day, |number| number, place);
        replace(&mut self.deadline, deadline, |span| span.0, place);
        replace(&mut self.yielding, give_up_after_deadline, |gates| gates, place);
        replace(&mut self.min_age, min_age, |span| span.0, place);
        replace(&mut self.kexec, kexec, |yes| yes, place);
        replace(&mut self.settle, settle, |span| span.0, place);
        replace(&mut self.reboot_timeout, reboot_timeout, |span| span.0, place);
        replace(&mut self.reboot_tries, reboot_tries, |tries| tries, place);
        replace(&mut self.return_timeout, return_timeout, |span| span.0, place);
        replace(&mut self.drain_timeout, timeout, |span| span.0, place);
        replace(&mut self.on_timeout, on_timeout, |it| it, place);
        replace(&mut self.bare_pods, bare_pods, |it| it, place);
        replace(&mut self.empty_dir_pods, empty_dir_pods, |it| it, place);
        replace(&mut self.grace_period, grace_period, |span| span.0, place);
        replace(&mut self.delete_after, delete_after, |span| span.0, place);
        replace(&mut self.delete_namespaces, delete_namespaces, |it| it.0, place);
        replace(&mut self.volume_timeout, volume_timeout, |span| span.0, place);
        replace(&mut self.drain_labels, labels, |it| it.0, place);
        replace(&mut self.leave_load_balancers, leave_load_balancers, |span| span.0, place);
        replace(&mut self.keep_from_autoscalers, keep_from_autoscalers, |yes| yes, place);
        replace(&mut self.max_nodes_not_ready, max_nodes_not_ready, |number| number, place);
        replace(&mut self.count_cordoned, count_cordoned, |yes| yes, place);
        replace(&mut self.min_uptime, min_uptime, |span| span.0, place);
        let selectors = |given: Vec<LabelSelector>| given.into_iter().map(|selector| selector.0).collect();
        replace(&mut self.blocking_pods, blocking_pods, selectors, place);
        replace(&mut self.alerts, alerts, |yes| yes, place);
        replace(&mut self.ignore_alerts, ignore_alerts, |names| names, place);
        replace(&mut self.query, query, |it| it.0, place);
        replace(&mut self.after_soak, soak, |span| span.0, place);
        replace(&mut self.after_query, after_query, |it| it.0, place);
        replace(&mut self.after_objects, object, |it| it.0, place);
        replace(&mut self.after_pods, pods, selectors, place);
        replace(&mut self.after_limit, limit, |span| span.0, place);
        replace(&mut self.at_limit, at_limit, |it| it, place);
        replace(&mut self.prometheus_url, url, |url| url.0, place);
        replace(&mut self.prometheus_service, service, |it| it, place);
        replace(&mut self.prometheus_token_file, prometheus_token_file, |path| path.0, place);
        replace(&mut self.prometheus_authority, prometheus_authority, |path| path.0, place);
        replace(&mut self.sessions, sessions, |it| it.0, place);
        replace(&mut self.require_synchronized_clock, require_synchronized_clock, |yes| yes, place);
        replace(&mut self.before_drain, before_drain, |yes| yes, place);
        replace(&mut self.before_reboot, before_reboot, |yes| yes, place);
        replace(&mut self.after_boot, after_boot, |yes| yes, place);
        replace(&mut self.hook_timeout, hook_timeout, |span| span.0, place);
        replace(&mut self.on_hook_failure, on_failure, |it| it, place);
        replace(&mut self.on_failure_after_boot, on_failure_after_boot, |it| it, place);
        self.sources.push(file.path);
    }
}

/// Puts the new value, if there is one, in the place of the old one.
fn replace<Written, Value>(
    old: &mut Option<Located<Value>>,
    new: Option<Spanned<Written>>,
    unwrap: impl FnOnce(Written) -> Value,
    place: impl Fn(std::ops::Range<usize>) -> Place,
) {
    if let Some(new) = new {
        let place = place(new.span());
        *old = Some(Located { value: unwrap(new.into_inner()), place });
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn later_wins_key_by_key_and_keeps_its_place() {
        let mut merged = Merged::default();
        for (path, text) in [
            ("1.toml", "mode = 'observe'\n[policy]\nsettle = '1min'\nreboot_tries = 3"),
            ("2.toml", "\n\n[policy]\nsettle = '2min'"),
        ] {
            merged.add(File::parse(Path::new(path), text.to_owned()).unwrap());
        }
        let settle = merged.settle.unwrap();
        assert_eq!((settle.value.as_secs(), settle.place.to_string().as_str()), (120, "2.toml:4:10"));
        let tries = merged.reboot_tries.unwrap();
        assert_eq!((tries.value, tries.place.to_string().as_str()), (3, "1.toml:4:16"));
        assert_eq!(merged.mode.unwrap().value, Mode::Observe);
        assert_eq!(merged.window, None);
        assert_eq!(merged.sources, [Path::new("1.toml"), Path::new("2.toml")]);
    }
}
