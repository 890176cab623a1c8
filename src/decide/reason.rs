//! Reasons: what this node waits for, in words that a person can act upon (P9).

use std::fmt;
use std::time::Duration;

use super::text::span;
use super::{AbortReason, Hook, Inhibitor, Names, PodKey};

/// A reason is one entry: its variant, its kind (a short name that never changes, because scripts match it) and its
/// text. `alarm` means that somebody should be woken: nothing goes on until a person has looked. docs/status.md
/// explains each kind.
macro_rules! reasons {
    (@alarm alarm) => { true };
    (@alarm) => { false };
    ($($($alarm:ident)? => $variant:ident $({ $($field:ident: $type:ty),* })? = $kind:literal => $text:literal $(, $argument:expr)*;)*) => {
        /// One thing that this node waits for.
        #[derive(Debug, Clone, PartialEq, Eq, Hash)]
        #[allow(missing_docs, reason = "each variant's text is its documentation, and docs/status.md explains it")]
        pub enum Reason {
            $($variant $({ $($field: $type),* })?,)*
        }

        impl Reason {
            /// The kinds of all reasons.
            pub const KINDS: &[&str] = &[$($kind),*];

            /// Whether somebody should be woken: nothing goes on until a person has looked.
            pub fn is_alarm(&self) -> bool {
                match self {
                    $(Reason::$variant { .. } => reasons!(@alarm $($alarm)?),)*
                }
            }

            /// A short, stable name for scripts and metrics.
            pub fn kind(&self) -> &'static str {
                match self {
                    $(Reason::$variant { .. } => $kind,)*
                }
            }
        }

        impl fmt::Display for Reason {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Reason::$variant $({ $($field),* })? => write!(f, $text $(, $argument)*),)*
                }
            }
        }
    };
}

reasons! {
    => NotEnrolled { why: String } = "not-enrolled" => "no credential yet: {why}";
    alarm => CredentialOfOtherNode { named: String, bound: String } = "credential-of-other-node" => "`name` in [node] says {named}, \
         but the credential is bound to the Node {bound}; nothing is read or written until they agree";
    alarm => CredentialFailing { why: String } = "credential-failing" => "the credential of this node fails: {why}; nothing reboots without one";
    => NothingRead = "nothing-read" => "nothing read yet";
    => Unreadable { what: &'static str, why: String } = "unreadable" => "cannot read {what}: {why}";
    => ApiFailing { why: String, again: Option<Duration> } = "api-failing" => "reading from the Kubernetes API failed: {why}{}", asked_again(*again);
    alarm => TurnOverdue { held: Duration } = "turn-overdue" => "this node has held its slot for {}, longer than its drain and reboot may take; it stays cordoned, and no other node follows, until that is mended", span(*held);
    => Refused { why: String } = "refused" => "the last step failed: {why}";
    alarm => StepFailing { why: String, since: Duration } = "step-failing" => "the last step has failed for {}: {why}; a person has to look", span(*since);
    => NodeMissing { name: String } = "node-missing" => "there is no Node {name:?}; if it was deleted, restart the kubelet; if this host is another Node, and its credential \
         does not tell which, set `name` in [node]";
    alarm => NodeMissingForLong { name: String, lasted: Duration } = "node-missing-for-long" => "there has been no Node {name:?} for {}, so this host does nothing; if it was deleted, restart the kubelet; if this host is another Node, and its \
         credential does not tell which, set `name` in [node]", span(*lasted);
    => OtherMachine { node: String, host: String } = "other-machine" => "the Node is another machine (machine id {node}, this host is {host}); give a cloned image a machine id of its \
         own; if this host is another Node, and its credential does not tell which, set `name` in [node]";
    => BootNotReported = "boot-not-reported" => "the kubelet has not reported this boot yet";
    => NoWindow = "no-window" => "no window is configured; set `window = \"always\"` in [policy]";
    => WindowClosed { left: Option<Duration> } = "window-closed" => "no window is open{} (rebootctl windows)", next_window(*left);
    => WindowEndsSoon { left: Duration, needed: Duration } = "window-ends-soon" => "the window closes in {}, and a drain may only start with {} left (`window_left` in [policy])", span(*left), span(*needed);
    => Frozen { by: String, left: Option<Duration> } = "frozen" => "reboots are frozen: {by}{}", after_freeze(*left);
    => Held { by: String, why: String, end: String } = "held" => "a person holds this node ({by}){}; to go on: {end}", said(why);
    => Paused { why: String } = "paused" => "the fleet is paused{}; to go on: rebootctl fleet resume", said(why);
    => UpForTooShort { left: Duration } = "up-for-too-short" => "this host has not been up for `min_uptime`, {} left", span(*left);
    => ShutdownScheduled { kind: String, left: Duration } = "shutdown-scheduled" => "somebody has scheduled a shutdown ({kind}) in {}; to call it off: shutdown -c", span(*left);
    => ForeignCordon { node: String } = "foreign-cordon" => "somebody else has cordoned this node, and may be at work on it; to go on: kubectl uncordon {node}, or set \
         `foreign_cordon = \"reboot\"` in [gates]";
    => NodeIsRemoved { by: String } = "node-is-removed" => "the node is about to be removed from the cluster: {by}";
    => RebootedRecently { left: Duration } = "rebooted-recently" => "rebooted less than `min_interval` ago; {} left", span(*left);
    => TooManyReboots { most: u32, left: Duration } = "too-many-reboots" => "rebooted {most} times within a day, which is all that `max_reboots_per_day` allows; {} left", span(*left);
    => RequestTooNew { left: Duration } = "request-too-new" => "the request is younger than `min_age`; {} left", span(*left);
    => Livepatched { left: Duration } = "livepatched" => "only packages of the kernel ask, and Livepatch covers them (`livepatched_min_age` in [host]); {} left", span(*left);
    alarm => RequestOverdue { open: Duration, given_up: String } = "request-overdue" => "the reboot has been asked for {} ago, longer than `deadline` in [policy]{}", span(*open), given_up_gates(given_up);
    alarm => PolicyUnreadable { why: String } = "policy-unreadable" => "the fleet's policy is not understood, so nothing starts: {why}";
    alarm => ConfigurationUnreadable { why: String } = "configuration-unreadable" => "the configuration of this host is not understood, so nothing starts: {why}";
    alarm => OlderKernel { before: String, running: String } = "older-kernel" => "kernel {running} runs, and before this boot it was the newer {before}; does the boot loader start an older one by default?";
    alarm => NotLive { kernel: String, running: String } = "not-live" => "booted, but not live: kernel {kernel} was installed before this boot, and {running} runs; does the boot loader start another one by \
         default?";
    => SurvivedReboot { what: &'static str } = "survived-reboot" => "{what} asked for the last reboot and still asks after it; is it ever cleared?";
    alarm => RecordNotKept { why: String } = "record-not-kept" => "the record of the last reboot cannot be written, so `min_interval` could not be kept and nothing starts: {why}";
    => BackingOff { left: Duration, because: AbortReason } = "backing-off" => "backing off for {} because {because}", span(*left);
    => PackageManager { lock: String } = "package-manager" => "packages are being installed ({lock} is locked)";
    alarm => MachineIdIsTransient = "machine-id-is-transient" => "/etc/machine-id is another one after each boot, so no reboot could be proven; write one that lasts: systemd-machine-id-setup \
         --commit";
    => PackagesHalfInstalled { packages: Names } = "packages-half-installed" => "half-installed: {packages}; see dpkg --audit, mend it with dpkg --configure -a or apt --fix-broken install, or set \
         `require_installed_packages = false` in [gates]";
    alarm => KernelCannotStart { why: String } = "kernel-cannot-start" => "the host would not come up again: {why}";
    => Inhibited { inhibitor: Inhibitor } = "inhibited" => "{} inhibits shutdown: {}", inhibitor.who, inhibitor.why;
    => MayNotReboot = "may-not-reboot" => "logind would not let rebootd reboot; is polkit installed, with the rule of this package, and \
         reboot.target not masked?";
    => ClockNotSynchronized = "clock-not-synchronized" => "the clock is not synchronised, so nobody knows whether a window is open; see timedatectl, or set \
         `require_synchronized_clock = false` in [gates]";
    => LoggedIn { who: Names, left: Duration } = "logged-in" => "somebody is logged in: {who}; asked to log out, waiting up to {} longer", span(*left);
    => HookNotReady { hook: Hook, why: String } = "hook-not-ready" => "hook {} cannot be started ({}): {why}", hook.word(), hook.unit();
    => HookStarting { hook: Hook } = "hook-starting" => "hook {} is being started ({})", hook.word(), hook.unit();
    => HookRuns { hook: Hook, since: Duration, left: Duration } = "hook-runs" => "hook {} runs since {} ({}), {} left for it", hook.word(), span(*since), hook.unit(), span(*left);
    alarm => HookFailed { hook: Hook, why: String } = "hook-failed" => "hook {} failed: {why}; see: journalctl -u {}", hook.word(), hook.unit();
    alarm => PoliciesNotInForce { why: String } = "policies-not-in-force" => "the cluster does not confine this node's credential: {why}; kubectl apply -f /usr/share/rebootd/manifests/";
    => ManifestsOlder { found: u32, ours: u32 } = "manifests-older" => "the manifests in the cluster are those of an older rebootd (version {found}, this one comes with {ours}); once all \
         nodes have this package: kubectl apply -f /usr/share/rebootd/manifests/";
    => ManifestsNewer { found: u32, ours: u32 } = "manifests-newer" => "the manifests in the cluster are those of a newer rebootd (version {found}, this one comes with {ours}); upgrade the \
         package on this node";
    => NoSlots { pool: String } = "no-slots" => "pool {pool} has no slots; see /usr/share/rebootd/manifests/slots.yaml, or `pool` in [node]";
    => NoFreeSlot { pool: String, held: Vec<(String, String, String)> } = "no-free-slot" => "no free slot in pool {pool}: {}", who_holds(held);
    => HolderMissing { slot: String, holder: String, left: Duration } = "holder-missing" => "the Node of {holder}, which holds {slot}, is gone; unless it comes back, the slot is freed in {}", span(*left);
    alarm => StampedHolderMissing { slot: String, holder: String } = "stamped-holder-missing" => "the Node of {holder}, which holds {slot} and was about to reboot, is gone; a person decides: rebootctl release {holder}";
    => MyTurnComes = "my-turn-comes" => "about to claim a free slot";
    alarm => SlotUnderOldName { slot: String, name: String } = "slot-under-old-name" => "this machine holds slot {slot} under the name {name}, and has another one now; once that Node is deleted, or mended by hand: \
         rebootctl free {slot}";
    alarm => SlotOfOtherMachine { slot: String } = "slot-of-other-machine" => "slot {slot} is held under this node's name by another machine; once that machine is gone: rebootctl free {slot}";
    alarm => SlotUnproven { slot: String } = "slot-unproven" => "slot {slot} is ours by name, but its record was changed and proves no reboot; once the node is well: \
         rebootctl free {slot}";
    => MembersTurn { turns: Names } = "members-turn" => "another member of the control plane has its turn: {turns}";
    => ZonesTurn { turns: Names } = "zones-turn" => "nodes of another zone have their turn: {turns} (`zones` in [policy])";
    => CanaryFirst { turns: Names } = "canary-first" => "what this node would start is tried elsewhere first: {turns} (`canary` in [policy])";
    alarm => CanaryFailed { why: String } = "canary-failed" => "this node tried it first, and others wait for it: {why}; the slot is kept, and nobody follows, until that is mended or rebootctl release";
    => NodeNotBack { slot: String, holder: String, since: Duration } = "node-not-back" => "{holder}, which holds {slot}, was about to reboot {} ago and is not back: nobody follows until it is, or until rebootctl release \
         {holder} (`breaker` in [policy])", span(*since);
    => OtherNodesNotReady { pool: String, nodes: Names, allowed: usize } = "other-nodes-not-ready" => "{} not Ready in pool {pool} ({nodes}), {allowed} may be; mend what is down, delete the Node of what is gone, or set \
         `max_nodes_not_ready` in [gates]", other_nodes_are(nodes);
    => ControlPlaneNotReady { parts: Names } = "control-plane-not-ready" => "the control plane is not whole without this node: {parts}; it must be before this one goes down";
    => Alerts { found: Names } = "alerts" => "Prometheus finds {found}; no reboot beside it ([gates] says what counts)";
    => OnlyNode = "only-node" => "this is the only node of the cluster: pods that leave have nowhere to go; set `drain = \"never\"` in \
         [policy] to reboot it with them";
    => OnlyControlPlane { ready: usize } = "only-control-plane" => "{} of the control plane is Ready besides this node, and etcd needs two of three members; if this cluster can do without, \
         set `drain = \"never\"` in [policy] to reboot this node with its pods, or \"always\" to drain it first", other_members(*ready);
    => KuredHere { pod: String } = "kured-here" => "kured runs on this node ({pod}), and both would reboot it for the same request; nothing is claimed until it does not run \
         here any more (docs/kured.md)";
    => LeavingLoadBalancers { left: Duration } = "leaving-load-balancers" => "load balancers have another {} to notice that this node leaves (`leave_load_balancers` in [drain])", span(*left);
    => PodsRefused { first: String, others: Names } = "pods-refused" => "a pod stands in the way of the drain: {first}{}", so_do(others);
    => BlockingPods { pods: Names, left: Duration, then: &'static str } = "blocking-pods" => "cordoned, and waiting for these pods to end before any is evicted: {pods}; for at most {} more, {then} (`blocking_pods_limit` in [gates])", span(*left);
    => BlockingPodsStay { pods: Names, left: Duration } = "blocking-pods-stay" => "these pods have not ended within `blocking_pods_limit`: {pods}; the others leave, and in {} at most the reboot ends these", span(*left);
    => WouldBeBlocked { pod: String, by: String, left: Duration } = "would-be-blocked" => "the last drain failed, and {pod} would still be blocked by {by}; looked at again in {}", span(*left);
    => PodsLeft { left: usize, total: usize, within: Duration, refused: Option<String>, more: usize } = "pods-left" => "{left} of {total} {} still to leave within {}{}", if *total == 1 { "pod" } else { "pods" }, span(*within), refused_pods(refused.as_deref(), *more);
    => PodsStuck { pods: Names, first: PodKey } = "pods-stuck" => "being deleted, but still here after their grace periods: {pods}; see kubectl describe pod -n {} {}, or `leaving_pods` in [drain]", first.namespace, first.name;
    => EvictionsHeldUp { why: String } = "evictions-held-up" => "the API server grants no evictions at the moment: {why}";
    alarm => GoesOn { left: usize } = "goes-on" => "the drain's time is over with {left} pods left, and `on_timeout` in [drain] is \"reboot\": the reboot ends \
         them";
    => VolumesInUse { count: usize, left: Duration } = "volumes-in-use" => "all pods have left, {count} volumes have not; waiting for them for at most {} more", span(*left);
    => RebootAsked { attempt: u32, left: Duration } = "reboot-asked" => "the reboot is under way (try {attempt}), {} left for it", span(*left);
    => RebootCallFailed { why: String } = "reboot-call-failed" => "logind did not reboot: {why}";
    => GoingDown = "going-down" => "the host is shutting down";
    => NotReady { why: String } = "not-ready" => "the Node is not Ready{}", said(why);
    => NetworkUnavailable = "network-unavailable" => "the Node's network is not available";
    => KubeletNotSeen { renewals: u32 } = "kubelet-not-seen" => "waiting for the kubelet to renew its Lease ({renewals} of 2 renewals seen)";
    => NoHeartbeat = "no-heartbeat" => "waiting for the kubelet to post its Node";
    => KubeletNotRenewing = "kubelet-not-renewing" => "waiting for the kubelet to renew its Lease";
    => Settling { left: Duration } = "settling" => "the Node is Ready; {} more to settle", span(*left);
    => FewerResources { resource: String, before: String, after: String } = "fewer-resources" => "the Node has {after} of {resource}, {before} before the reboot; if that is right, name it in `ignore_resources` in [after]";
    => NewTaint { taint: String } = "new-taint" => "the Node has the taint {taint}, which it did not have before the reboot; if that is right, name its key in `ignore_taints` in [after]";
    => DaemonSetPods { pods: Names } = "daemonset-pods" => "waiting for pods of DaemonSets and static pods of this node to be ready again: {pods}";
    alarm => DaemonSetPodsOverdue { pods: Names, limit: Duration } = "daemonset-pods-overdue" => "uncordoned, because these pods run but are not ready {} after the boot: {pods}; the slot is kept until they are, or until rebootctl release; `ignore_daemon_sets` and `at_limit` are in [after]", span(*limit);
    alarm => ReturnOverdue { limit: Duration } = "return-overdue" => "not healthy {} after the reboot: a person has to look; the slot is kept until the node is well", span(*limit);
    => Soaking { left: Duration } = "soaking" => "rebooted and uncordoned; the slot is kept for another {} (`soak` in [after])", span(*left);
    => AfterCheck { why: String } = "after-check" => "the slot is kept until this is well: {why}";
    alarm => AfterOverdue { limit: Duration } = "after-overdue" => "what [after] asks for is not well {} after the uncordon and the soak: a person has to look; the slot is kept until \
         it is, or until rebootctl release", span(*limit);
    alarm => AfterGivenUp { limit: Duration } = "after-given-up" => "what [after] asks for is not well {} after the uncordon and the soak: the slot is given back all the \
         same, as `at_limit` says", span(*limit);
    => Aborting { because: AbortReason } = "aborting" => "{because}";
    => Urgent { why: String, left: Duration } = "urgent" => "urgent for another {}, so neither windows nor `min_age` hold: {why}", span(*left);
    => Observing { would: String } = "observing" => "mode is \"observe\"; would now {would}";
    => SteppedBack = "stepped-back" => "stepped back; claims nothing";
}

fn asked_again(left: Option<Duration>) -> String {
    left.map(|left| format!("; asked again in {}", span(left))).unwrap_or_default()
}

/// When the next window opens; comes after "no window is open".
fn next_window(left: Option<Duration>) -> String {
    left.map_or(", and none comes".to_owned(), |left| format!("; the next opens in {}", span(left)))
}

fn after_freeze(left: Option<Duration>) -> String {
    left.map(|left| format!("; the next window opens in {}", span(left))).unwrap_or_default()
}

fn given_up_gates(gates: &str) -> String {
    if gates.is_empty() { String::new() } else { format!("; not held by {gates} any more") }
}

/// How many holders of slots are named.
const MOST_HOLDERS: usize = 10;

/// For each: slot, holder, and what the holder does.
fn who_holds(held: &[(String, String, String)]) -> String {
    let each = held.iter().map(|(slot, holder, doing)| format!("{holder} holds {slot} ({doing})"));
    Names { first: each.collect(), more: 0 }.shortened(MOST_HOLDERS).to_string()
}

fn other_members(ready: usize) -> String {
    match ready {
        0 => "no other member".to_owned(),
        1 => "only one other member".to_owned(),
        more => format!("only {more} other members"),
    }
}

fn other_nodes_are(nodes: &Names) -> String {
    format!("{} other {}", nodes.count(), if nodes.count() == 1 { "node is" } else { "nodes are" })
}

fn so_do(others: &Names) -> String {
    if others.count() == 0 { String::new() } else { format!("; as do {others}") }
}

fn refused_pods(first: Option<&str>, more: usize) -> String {
    let and_more = if more == 0 { String::new() } else { format!(" (and {more} more)") };
    first.map(|first| format!("; {first}{and_more}")).unwrap_or_default()
}

/// What somebody has said, if anything.
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
