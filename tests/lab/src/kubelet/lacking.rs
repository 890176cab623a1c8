//! What the machine that the lab runs on may lack for real kubelets, and what is done about it, all in this file.
//!
//! A virtual machine or a container that builds software often has no controllers in its cgroup 2 hierarchy, no
//! `CAP_SYS_RESOURCE`, and sysctls that are not the lab's to change. So, on every machine alike:
//!
//! - *Controllers of cgroup 2*: the kubelet makes no cgroups for classes of pods and enforces nothing, and no container
//!   has limits. Each is still a systemd scope in `kubepods.slice`, as elsewhere, so that a shutdown treats it the same.
//! - *`CAP_SYS_RESOURCE`*: nobody's `oom_score_adj` is set.
//! - *Sysctls* that the kubelet insists on: it sees files with the values that it wants, and nothing is changed.

use anyhow::Result;

use crate::host::Host;

/// Lines of the kubelet's configuration.
pub(super) const KUBELET_CONFIG: &str = "cgroupsPerQOS: false\nenforceNodeAllocatable: [none]\n";

/// What containerd starts instead of runc.
pub(super) const RUNC: &str = "/usr/local/sbin/lab-runc";
/// `create` finds the container in its bundle; `exec` gets a process in a file of its own.
const RUNC_WRAPPER: &str = r#"#!/bin/sh
bundle=
process=
before=
for argument in "$@"; do
    case "$before" in
    --bundle) bundle=$argument ;;
    --process) process=$argument ;;
    esac
    before=$argument
done
change() { jq "$2" "$1" > "$1.lab" && mv "$1.lab" "$1"; }
if [ -n "$bundle" ]; then
    change "$bundle/config.json" "del(.linux.resources, .process.oomScoreAdj)
        | .linux.cgroupsPath = \"kubepods.slice:cri-containerd:$before\""
elif [ -n "$process" ]; then
    change "$process" "del(.oomScoreAdj)"
fi
exec runc "$@"
"#;

/// Run before the kubelet starts.
pub(super) const SYSCTLS: &str = "/usr/local/sbin/lab-sysctls";
const SYSCTLS_SCRIPT: &str = r#"#!/bin/sh -e
mkdir -p /run/lab-sysctls
while read -r path value; do
    file=/run/lab-sysctls/$(echo "$path" | tr / .)
    [ ! -e "$file" ] || continue
    echo "$value" > "$file"
    mount --bind "$file" "/proc/sys/$path"
done <<'WANTED'
vm/overcommit_memory 1
vm/panic_on_oom 0
kernel/panic 10
kernel/panic_on_oops 1
kernel/keys/root_maxkeys 1000000
kernel/keys/root_maxbytes 25000000
WANTED
"#;

/// Puts both programs on a host that is off.
pub(super) fn install(host: &Host) -> Result<()> {
    super::write_program(host, RUNC, RUNC_WRAPPER)?;
    super::write_program(host, SYSCTLS, SYSCTLS_SCRIPT)
}
