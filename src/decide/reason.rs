//! Reasons: what this node waits for, in words that a person can act upon (P9).

use std::fmt;
use std::time::Duration;

use super::text::span;
use super::{AbortReason, Hook, Inhibitor, Names};

/// One thing that this node waits for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "each variant's text is its documentation, and docs/status.md explains it")]
pub enum Reason {
    NotConfigured,
    NothingRead,
    Unreadable { what: &'static str, why: String },
    ApiFailing { why: String },
    Refused { why: String },
    NodeMissing { name: String },
    OtherMachine { node: String, host: String },
    BootNotReported,
    NoWindow,
    WindowClosed { left: Option<Duration> },
    WindowEndsSoon { left: Duration, needed: Duration },
    Frozen { by: String, left: Option<Duration> },
    Held { by: String, why: String },
    Paused { why: String },
    UpForTooShort { left: Duration },
    ShutdownScheduled { kind: String, left: Duration },
    NodeIsRemoved { by: String },
    RebootedRecently { left: Duration },
    TooManyReboots { most: u32, left: Duration },
    RequestTooNew { left: Duration },
    Livepatched { left: Duration },
    RequestOverdue { open: Duration, given_up: String },
    PolicyUnreadable { why: String },
    ConfigurationUnreadable { why: String },
    NotLive { kernel: String, running: String },
    SurvivedReboot { what: &'static str },
    BackingOff { left: Duration, because: AbortReason },
    PackageManager { lock: String },
    Inhibited { inhibitor: Inhibitor },
    MayNotReboot,
    ClockNotSynchronized,
    LoggedIn { who: Names, left: Duration },
    HookNotReady { hook: Hook, why: String },
    HookStarting { hook: Hook },
    HookRuns { hook: Hook, since: Duration, left: Duration },
    HookFailed { hook: Hook, why: String },
    NoSlots { pool: String },
    NoFreeSlot { pool: String, held: Vec<(String, String, String)> },
    HolderMissing { slot: String, holder: String, left: Duration },
    StampedHolderMissing { slot: String, holder: String },
    MyTurnComes,
    SlotOfOtherMachine { slot: String },
    SlotUnproven { slot: String },
    OtherNodesNotReady { pool: String, nodes: Names, allowed: u32 },
    ControlPlaneNotReady { parts: Names },
    Alerts { found: Names },
    OnlyNode,
    OnlyControlPlane,
    LeavingLoadBalancers { left: Duration },
    PodsRefused { first: String, more: usize },
    WouldBeBlocked { pod: String, by: String, left: Duration },
    PodsLeft { left: usize, total: usize, refused: Option<String>, more: usize },
    EvictionsHeldUp { why: String },
    GoesOn { left: usize },
    VolumesInUse { count: usize, left: Duration },
    RebootAsked { attempt: u32, left: Duration },
    RebootCallFailed { why: String },
    GoingDown,
    NotReady,
    NetworkUnavailable,
    KubeletNotSeen { renewals: u32 },
    NoHeartbeat,
    KubeletNotRenewing,
    Settling { left: Duration },
    FewerResources { resource: String, before: String, after: String },
    DaemonSetPods { pods: Names },
    ReturnOverdue { limit: Duration },
    Soaking { left: Duration },
    AfterCheck { why: String },
    AfterOverdue { limit: Duration },
    AfterGivenUp { limit: Duration },
    Aborting { because: AbortReason },
    Observing { would: String },
    SteppedBack,
}

impl Reason {
    /// Whether somebody should be woken: nothing goes on until a person has looked.
    pub fn is_alarm(&self) -> bool {
        matches!(
            self,
            Reason::ReturnOverdue { .. }
                | Reason::GoesOn { .. }
                | Reason::HookFailed { .. }
                | Reason::RequestOverdue { .. }
                | Reason::PolicyUnreadable { .. }
                | Reason::ConfigurationUnreadable { .. }
                | Reason::AfterOverdue { .. }
                | Reason::AfterGivenUp { .. }
        )
    }

    /// A short, stable name for scripts and metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Reason::NotConfigured => "not-configured",
            Reason::NothingRead => "nothing-read",
            Reason::Unreadable { .. } => "unreadable",
            Reason::ApiFailing { .. } => "api-failing",
            Reason::Refused { .. } => "refused",
            Reason::NodeMissing { .. } => "node-missing",
            Reason::OtherMachine { .. } => "other-machine",
            Reason::BootNotReported => "boot-not-reported",
            Reason::NoWindow => "no-window",
            Reason::WindowClosed { .. } => "window-closed",
            Reason::WindowEndsSoon { .. } => "window-ends-soon",
            Reason::Frozen { .. } => "frozen",
            Reason::Held { .. } => "held",
            Reason::Paused { .. } => "paused",
            Reason::UpForTooShort { .. } => "up-for-too-short",
            Reason::ShutdownScheduled { .. } => "shutdown-scheduled",
            Reason::NodeIsRemoved { .. } => "node-is-removed",
            Reason::RebootedRecently { .. } => "rebooted-recently",
            Reason::TooManyReboots { .. } => "too-many-reboots",
            Reason::RequestTooNew { .. } => "request-too-new",
            Reason::Livepatched { .. } => "livepatched",
            Reason::RequestOverdue { .. } => "request-overdue",
            Reason::PolicyUnreadable { .. } => "policy-unreadable",
            Reason::ConfigurationUnreadable { .. } => "configuration-unreadable",
            Reason::NotLive { .. } => "not-live",
            Reason::SurvivedReboot { .. } => "survived-reboot",
            Reason::BackingOff { .. } => "backing-off",
            Reason::PackageManager { .. } => "package-manager",
            Reason::Inhibited { .. } => "inhibited",
            Reason::MayNotReboot => "may-not-reboot",
            Reason::ClockNotSynchronized => "clock-not-synchronized",
            Reason::LoggedIn { .. } => "logged-in",
            Reason::HookNotReady { .. } => "hook-not-ready",
            Reason::HookStarting { .. } => "hook-starting",
            Reason::HookRuns { .. } => "hook-runs",
            Reason::HookFailed { .. } => "hook-failed",
            Reason::NoSlots { .. } => "no-slots",
            Reason::NoFreeSlot { .. } => "no-free-slot",
            Reason::HolderMissing { .. } => "holder-missing",
            Reason::StampedHolderMissing { .. } => "stamped-holder-missing",
            Reason::MyTurnComes => "my-turn-comes",
            Reason::SlotOfOtherMachine { .. } => "slot-of-other-machine",
            Reason::SlotUnproven { .. } => "slot-unproven",
            Reason::OtherNodesNotReady { .. } => "other-nodes-not-ready",
            Reason::ControlPlaneNotReady { .. } => "control-plane-not-ready",
            Reason::Alerts { .. } => "alerts",
            Reason::OnlyNode => "only-node",
            Reason::OnlyControlPlane => "only-control-plane",
            Reason::LeavingLoadBalancers { .. } => "leaving-load-balancers",
            Reason::PodsRefused { .. } => "pods-refused",
            Reason::WouldBeBlocked { .. } => "would-be-blocked",
            Reason::PodsLeft { .. } => "pods-left",
            Reason::EvictionsHeldUp { .. } => "evictions-held-up",
            Reason::GoesOn { .. } => "goes-on",
            Reason::VolumesInUse { .. } => "volumes-in-use",
            Reason::RebootAsked { .. } => "reboot-asked",
            Reason::RebootCallFailed { .. } => "reboot-call-failed",
            Reason::GoingDown => "going-down",
            Reason::NotReady => "not-ready",
            Reason::NetworkUnavailable => "network-unavailable",
            Reason::KubeletNotSeen { .. } => "kubelet-not-seen",
            Reason::NoHeartbeat => "no-heartbeat",
            Reason::KubeletNotRenewing => "kubelet-not-renewing",
            Reason::Settling { .. } => "settling",
            Reason::FewerResources { .. } => "fewer-resources",
            Reason::DaemonSetPods { .. } => "daemonset-pods",
            Reason::ReturnOverdue { .. } => "return-overdue",
            Reason::Soaking { .. } => "soaking",
            Reason::AfterCheck { .. } => "after-check",
            Reason::AfterOverdue { .. } => "after-overdue",
            Reason::AfterGivenUp { .. } => "after-given-up",
            Reason::Aborting { .. } => "aborting",
            Reason::Observing { .. } => "observing",
            Reason::SteppedBack => "stepped-back",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::NotConfigured => f.write_str(
                "not configured: put a kubeconfig at /etc/rebootd/kubeconfig, or set [api] in \
                 /etc/rebootd/config.toml; then: systemctl restart rebootd",
            ),
            Reason::NothingRead => f.write_str("nothing read yet"),
            Reason::Unreadable { what, why } => write!(f, "cannot read {what}: {why}"),
            Reason::ApiFailing { why } => write!(f, "reading from the Kubernetes API failed: {why}"),
            Reason::Refused { why } => write!(f, "the last step failed: {why}"),
            Reason::NodeMissing { name } => {
                write!(
                    f,
                    "there is no Node {name:?}; set `name` in [node] if this host has another name there, or restart \
                     the kubelet if the Node was deleted"
                )
            }
            Reason::OtherMachine { node, host } => write!(
                f,
                "the Node is another machine (machine id {node}, this host is {host}); set `name` in [node], \
                 or give a cloned image a machine id of its own"
            ),
            Reason::BootNotReported => f.write_str("the kubelet has not reported this boot yet"),
            Reason::NoWindow => f.write_str("no window is configured; set `window = \"always\"` in [policy]"),
            Reason::RebootedRecently { left } => {
                write!(f, "rebooted less than `min_interval` ago; {} left", span(*left))
            }
            Reason::TooManyReboots { most, left } => write!(
                f,
                "rebooted {most} times within a day, which is all that `max_reboots_per_day` allows; {} left",
                span(*left)
            ),
            Reason::RequestTooNew { left } => {
                write!(f, "the request is younger than `min_age`; {} left", span(*left))
            }
            Reason::Livepatched { left } => write!(
                f,
                "only packages of the kernel ask, and Livepatch covers them (`livepatched_min_age` in [host]); {} left",
                span(*left)
            ),
            Reason::RequestOverdue { open, given_up } => {
                write!(f, "the reboot has been asked for {} ago, longer than `deadline` in [policy]", span(*open))?;
                if given_up.is_empty() { Ok(()) } else { write!(f, "; not held by {given_up} any more") }
            }
            Reason::PolicyUnreadable { why } => {
                write!(f, "the fleet's policy is not understood, so nothing starts: {why}")
            }
            Reason::ConfigurationUnreadable { why } => {
                write!(f, "the configuration of this host is not understood, so nothing starts: {why}")
            }
            Reason::NotLive { kernel, running } => write!(
                f,
                "rebooted, but not live: kernel {kernel} is installed and {running} runs; does the boot loader start \
                 another one by default?"
            ),
            Reason::SurvivedReboot { what } => {
                write!(f, "{what} asked for the last reboot and still asks after it; is it ever cleared?")
            }
            Reason::BackingOff { left, because } => {
                write!(f, "backing off for {} because {because}", span(*left))
            }
            Reason::PackageManager { lock } => write!(f, "packages are being installed ({lock} is locked)"),
            Reason::Inhibited { inhibitor } => {
                write!(f, "{} inhibits shutdown: {}", inhibitor.who, inhibitor.why)
            }
            Reason::MayNotReboot => f.write_str(
                "logind would not let rebootd reboot; is polkit installed, with the rule of this package, and \
                 reboot.target not masked?",
            ),
            Reason::ClockNotSynchronized => f.write_str(
                "the clock is not synchronised, so nobody knows whether a window is open; see timedatectl, or set \
                 `require_synchronized_clock = false` in [gates]",
            ),
            Reason::LoggedIn { who, left } => write!(
                f,
                "somebody is logged in: {who}; was asked to log out, and is waited for for {} more",
                span(*left)
            ),
            Reason::HookNotReady { hook, why } => {
                write!(f, "hook {} cannot be started ({}): {why}", hook.word(), hook.unit())
            }
            Reason::HookStarting { hook } => {
                write!(f, "hook {} is being started ({})", hook.word(), hook.unit())
            }
            Reason::HookRuns { hook, since, left } => write!(
                f,
                "hook {} runs since {} ({}), {} left for it",
                hook.word(),
                span(*since),
                hook.unit(),
                span(*left)
            ),
            Reason::HookFailed { hook, why } => {
                write!(f, "hook {} failed: {why}; see: journalctl -u {}", hook.word(), hook.unit())
            }
            Reason::NoSlots { pool } => write!(
                f,
                "pool {pool} has no slots; see /usr/share/rebootd/manifests/slots.yaml, or `pool` in [node]"
            ),
            Reason::NoFreeSlot { pool, held } => {
                write!(f, "no free slot in pool {pool}: ")?;
                for (number, (slot, holder, why)) in held.iter().enumerate() {
                    let comma = if number == 0 { "" } else { ", " };
                    write!(f, "{comma}{holder} holds {slot} ({why})")?;
                }
                Ok(())
            }
            Reason::HolderMissing { slot, holder, left } => write!(
                f,
                "the Node of {holder}, which holds {slot}, is gone; unless it comes back, the slot is freed in {}",
                span(*left)
            ),
            Reason::StampedHolderMissing { slot, holder } => write!(
                f,
                "the Node of {holder}, which holds {slot} and was about to reboot, is gone; \
                 a person decides: rebootctl release {holder}"
            ),
            Reason::WindowClosed { left: Some(left) } => {
                write!(f, "no window is open; the next opens in {} (rebootctl windows)", span(*left))
            }
            Reason::WindowClosed { left: None } => {
                f.write_str("no window is open, and none comes (rebootctl windows)")
            }
            Reason::WindowEndsSoon { left, needed } => write!(
                f,
                "the window closes in {}, and a drain may only start with {} left (`window_left` in [policy])",
                span(*left),
                span(*needed)
            ),
            Reason::Frozen { by, left } => {
                write!(f, "reboots are frozen: {by}")?;
                left.map_or(Ok(()), |left| write!(f, "; the next window opens in {}", span(left)))
            }
            Reason::Held { by, why } => write!(f, "a person holds this node ({by}){}", said(why)),
            Reason::Paused { why } => {
                write!(f, "the fleet is paused{}; to go on: rebootctl fleet resume", said(why))
            }
            Reason::UpForTooShort { left } => {
                write!(f, "this host has not been up for `min_uptime`, {} left", span(*left))
            }
            Reason::ShutdownScheduled { kind, left } => write!(
                f,
                "somebody has scheduled a shutdown ({kind}) in {}; to call it off: shutdown -c",
                span(*left)
            ),
            Reason::NodeIsRemoved { by } => write!(f, "the node is about to be removed from the cluster: {by}"),
            Reason::MyTurnComes => f.write_str("about to claim a free slot"),
            Reason::SlotOfOtherMachine { slot } => write!(
                f,
                "slot {slot} is held under this node's name by another machine; \
                 once that machine is gone: rebootctl free {slot}"
            ),
            Reason::SlotUnproven { slot } => write!(
                f,
                "slot {slot} is ours by name, but its record was changed and proves no reboot; \
                 once the node is well: rebootctl free {slot}"
            ),
            Reason::OtherNodesNotReady { pool, nodes, allowed } => {
                let (count, are) = (nodes.count(), if nodes.count() == 1 { "node is" } else { "nodes are" });
                write!(
                    f,
                    "{count} other {are} not Ready in pool {pool} ({nodes}), {allowed} may be; mend what is \
                     down, delete the Node of what is gone, or set `max_nodes_not_ready` in [gates]"
                )
            }
            Reason::ControlPlaneNotReady { parts } => write!(
                f,
                "the control plane is not whole without this node: {parts}; it must be before this one goes down"
            ),
            Reason::Alerts { found } => {
                write!(f, "Prometheus finds {found}; no reboot beside it ([gates] says what counts)")
            }
            Reason::OnlyNode => f.write_str(
                "this is the only node of the cluster: pods that leave have nowhere to go; set `drain = \"never\"` in \
                 [policy] to reboot it with them",
            ),
            Reason::OnlyControlPlane => f.write_str(
                "this is the only node of the control plane: while it reboots the cluster has none; set \
                 `drain = \"never\"` in [policy] to reboot it with its pods, or \"always\" to drain it first",
            ),
            Reason::LeavingLoadBalancers { left } => write!(
                f,
                "load balancers have another {} to notice that this node leaves (`leave_load_balancers` in [drain])",
                span(*left)
            ),
            Reason::PodsRefused { first, more } => {
                let more = if *more > 0 { format!(" (and {more} more pods)") } else { String::new() };
                write!(f, "a pod stands in the way of the drain{more}: {first}")
            }
            Reason::WouldBeBlocked { pod, by, left } => write!(
                f,
                "the last drain failed, and {pod} would still be blocked by {by}; looked at again in {}",
                span(*left)
            ),
            Reason::PodsLeft { left, total, refused, more } => {
                let pods = if *total == 1 { "pod" } else { "pods" };
                write!(f, "{left} of {total} {pods} left")?;
                match (refused, more) {
                    (Some(refused), 0) => write!(f, "; {refused}"),
                    (Some(refused), more) => write!(f, "; {refused} (and {more} more)"),
                    (None, _) => Ok(()),
                }
            }
            Reason::EvictionsHeldUp { why } => write!(f, "the API server grants no evictions at the moment: {why}"),
            Reason::GoesOn { left } => write!(
                f,
                "the drain's time is over with {left} pods left, and `on_timeout` in [drain] is \"reboot\": the reboot ends \
                 them"
            ),
            Reason::VolumesInUse { count, left } => write!(
                f,
                "all pods have left, {count} volumes have not; waiting for them for at most {} more",
                span(*left)
            ),
            Reason::RebootAsked { attempt, left } => {
                write!(f, "the reboot is under way (try {attempt}), {} left for it", span(*left))
            }
            Reason::RebootCallFailed { why } => write!(f, "logind did not reboot: {why}"),
            Reason::GoingDown => f.write_str("the host is shutting down"),
            Reason::NotReady => f.write_str("the Node is not Ready"),
            Reason::NetworkUnavailable => f.write_str("the Node's network is not available"),
            Reason::KubeletNotSeen { renewals } => {
                write!(f, "waiting for the kubelet to renew its Lease ({renewals} of 2 renewals seen)")
            }
            Reason::NoHeartbeat => f.write_str("waiting for the kubelet to post its Node"),
            Reason::KubeletNotRenewing => f.write_str("waiting for the kubelet to renew its Lease"),
            Reason::Settling { left } => write!(f, "the Node is Ready; {} more to settle", span(*left)),
            Reason::FewerResources { resource, before, after } => {
                write!(f, "the Node has {after} of {resource}, {before} before the reboot")
            }
            Reason::DaemonSetPods { pods } => {
                write!(f, "waiting for DaemonSet pods of this node to be ready: {pods}")
            }
            Reason::ReturnOverdue { limit } => write!(
                f,
                "not healthy {} after the reboot: a person has to look; the slot is kept until the node is well",
                span(*limit)
            ),
            Reason::Soaking { left } => write!(
                f,
                "rebooted and uncordoned; the slot is kept for another {} (`soak` in [after])",
                span(*left)
            ),
            Reason::AfterCheck { why } => {
                write!(f, "the slot is kept until this is well: {why}")
            }
            Reason::AfterOverdue { limit } => write!(
                f,
                "what [after] asks for is not well {} after the uncordon and the soak: a person has to look; the slot is \
                 kept until it is, or until rebootctl release",
                span(*limit)
            ),
            Reason::AfterGivenUp { limit } => write!(
                f,
                "what [after] asks for is not well {} after the uncordon and the soak: the slot is given back all the \
                 same, as `at_limit` says",
                span(*limit)
            ),
            Reason::Aborting { because } => write!(f, "{because}"),
            Reason::Observing { would } => write!(f, "mode is \"observe\"; would now {would}"),
            Reason::SteppedBack => f.write_str("stepped back; claims nothing"),
        }
    }
}

/// What somebody has said, where he has said anything.
fn said(why: &str) -> String {
    if why.is_empty() { String::new() } else { format!(": {why}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_that_frees_a_slot_can_be_copied() {
        let text = Reason::SlotUnproven { slot: "worker-1".into() }.to_string();
        assert!(text.ends_with(": rebootctl free worker-1"));
    }
}
