//! Why a host asks: an annotation of its Node, a command of the administrator's in the daemon's own sandbox, and a kernel that is installed.
//!
//! The hosts share this machine's kernel, so no reboot ever makes another one live: just what has to be told.

use anyhow::{Context, Result, ensure};
use tokio::time::timeout;

use super::stage::{CONFIG, CYCLE, SOON, Stage, is_absent, slot_of};
use super::status::{Status, wait_phase, wait_status};
use super::verdict;
use crate::host::Host;
use crate::observer::State;
use crate::progress::say;

const HOST: &str = "[host]\nsentinel_command = [\"/usr/local/bin/needs-reboot\", \"firmware\"]\n\
    sentinel_command_interval = \"10s\"\nnewer_kernel = true\n";
/// What an ordinary script does: other programs, pipes, a temporary file, a look at the system.
const COMMAND: &str = "#!/bin/sh\nset -e\nfile=$(mktemp)\nuname -r | sort > $file\ntest -s $file\n\
    test \"$(id -un)\" = rebootd || exit 9\ngrep -q . /etc/os-release || exit 8\n\
    test -e /run/$1-answer || exit 1\necho \"the $1 is old\"\nexit $(cat /run/$1-answer)\n";
const ANSWER: &str = "/run/firmware-answer";

pub(super) async fn run(stage: &Stage) -> Result<()> {
    let host = stage.host(1);
    host.write_file("/usr/local/bin/needs-reboot", COMMAND).await?;
    host.run_ok(&["chmod", "755", "/usr/local/bin/needs-reboot"]).await?;
    stage.install_alone(host, &format!("{CONFIG}{HOST}")).await?;
    wait_phase(host, "idle", SOON).await?;

    supervised(stage, host).await?;
    host.wait_boot_number(2, SOON).await?;
    verdict::settled(stage, host).await?;
    let request = "jsonpath={.metadata.annotations.rebootd\\.io/request}";
    let left = stage.lab.kubectl(&["get", "node", host.name(), "-o", request]).await?;
    ensure!(left.is_empty(), "the request outlived its reboot: {left}");
    say("the annotation's reboot fulfilled it");

    host.write_file(ANSWER, "7").await?;
    let unknown =
        |status: &Status| status.phase == "idle" && status.says("unreadable", &["the sentinel command", "7"]);
    wait_status(host, "told that the command fails", unknown, SOON).await?;
    verdict::booted(host, 2)?;

    host.write_file(ANSWER, "0").await?;
    host.wait_boot_number(3, CYCLE).await?;
    verdict::settled(stage, host).await?;
    ensure!(is_absent(host, ANSWER).await?, "the answer outlived the boot");
    say("the command's yes was a reboot");

    let running = host.run_ok(&["uname", "-r"]).await?;
    let flavour = running.trim().split_once('-').map_or("", |(_, flavour)| flavour);
    let kernel = format!("99.0-{flavour}");
    host.run_ok(&["sh", "-c", &format!("mkdir -p /boot && touch /boot/vmlinuz-{kernel}")]).await?;
    // The reboot may be quicker than the whole of the reload.
    host.run_ok(&["systemctl", "reload", "--no-block", "rebootd"]).await?;
    host.wait_boot_number(4, CYCLE).await?;
    let told =
        |status: &Status| status.phase == "idle" && status.says("not-live", &[&kernel, running.trim()]);
    wait_status(host, "idle, and told that the kernel is not live", told, CYCLE).await?;
    let slot = slot_of(host);
    ensure!(stage.observer.state().holder(&slot).is_none(), "the slot is kept");
    verdict::booted(host, 4)
}

/// A person rehearses, has the host reboot by the annotation, and is told how it goes and how it ended.
async fn supervised(stage: &Stage, host: &Host) -> Result<()> {
    let name = host.name();
    let own = name.to_owned();
    let is_heard = move |state: &State| {
        state.node(&own).is_some_and(|node| node.annotation("rebootd.io/agent").is_some())
    };
    stage.wait_for("rebootd says something about itself", is_heard, SOON).await?;
    let program = host.root().join("usr/bin/rebootctl");
    let unasked = stage.lab.control_plane.rebootctl_output(&program, &["rehearse", "--reboot", name]).await?;
    ensure!(unasked.status.code() == Some(64), "nobody said yes, and yet: {unasked:?}");
    let arguments = ["rehearse", "--reboot", "--yes", name];
    let told = timeout(CYCLE, stage.lab.control_plane.rebootctl(&program, &arguments)).await;
    let told = told.context("rebootctl rehearse --reboot does not end")??;
    say(format!("rebootctl rehearse --reboot:\n{told}"));
    let steps = ["is asked to reboot in its turn", "has rebooted", "  well  ", "rehearse --reboot ("];
    for step in steps {
        ensure!(told.contains(step), "{step:?} is not in what it told");
    }
    Ok(())
}
