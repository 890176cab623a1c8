//! A newer kernel asks, and the one that the hook before the reboot loads is started by kexec: no firmware comes between, and the boot is another.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::time::{Instant, sleep};

use super::stage::{CONFIG, SLOT, SOON, Stage};
use crate::command;
use crate::observer::State;
use crate::progress::say;
use crate::virtual_machine::{self, Kernels, VirtualMachine};

/// An emulated processor is slow.
const EMULATED: Duration = Duration::from_secs(300);

pub(super) async fn run(stage: &Stage) -> Result<()> {
    let host = stage.host(1);
    let name = host.name();
    let asks = "[host]\nnewer_kernel = true\n[hooks]\nbefore_reboot = true\n";
    stage.install(host, &format!("{CONFIG}kexec = true\n{asks}")).await?;
    let kernels = virtual_machine::fetch().await?;
    let hook = format!(
        "[Service]\nType=oneshot\nExecStart=/usr/sbin/kexec -s --load /boot/vmlinuz-{} \
         --initrd=/boot/initrd.img --command-line='console=ttyS0 rw lab=kexec'\n",
        kernels.newer
    );
    host.write_file("/etc/systemd/system/rebootd-before-reboot.service", hook).await?;
    host.run_ok(&["systemctl", "enable", "rebootd-hook@before-reboot.socket"]).await?;
    let pods = stage.pods_on(host, 2, 0).await?;
    host.stay_down(true);
    host.run(&["systemctl", "poweroff"]).await?;
    host.wait_off(SOON).await?;

    let work = stage.results.join("virtual-machine");
    let server = stage.lab.server_for(name);
    let mut machine = VirtualMachine::boot(host, &kernels, &server, &work, "lab=firmware").await?;
    let own = name.to_owned();
    // There no proxy adds what a hollow kubelet leaves empty.
    let moved = move |state: &State| {
        let node = state.node(&own);
        node.is_some_and(|node| node.raw["status"]["nodeInfo"]["bootID"] == "")
    };
    stage.wait_for("the virtual machine's kubelet reports", moved, EMULATED).await?;
    let own = name.to_owned();
    let holds = move |state: &State| state.holder(SLOT) == Some(&own);
    stage.wait_for("it has its turn", holds, EMULATED).await?;
    let own = name.to_owned();
    let is_back = move |state: &State| {
        let node = state.node(&own).is_some_and(|node| !node.unschedulable && !node.cordon_mark);
        node && state.holder(SLOT).is_none()
    };
    stage.wait_for("it is back, and has given its slot back", is_back, EMULATED).await?;
    ensure!(machine.is_on()?, "the firmware was asked for a reboot");
    let started = machine.started()?;
    let wanted = [(&kernels.older, "lab=firmware"), (&kernels.newer, "lab=kexec")];
    let is_wanted = started.len() == 2
        && started
            .iter()
            .zip(wanted)
            .all(|(it, (release, word))| it.release == *release && it.line.contains(word));
    ensure!(is_wanted, "kernels that started: {started:?}");
    say(format!("two kernels, and no firmware between them: {started:?}"));
    let deadline = Instant::now() + SOON;
    loop {
        let status = machine.statuses()?.pop().unwrap_or_default();
        let is_idle = status["phase"] == "idle" && status["reasons"].as_array().is_some_and(Vec::is_empty);
        if is_idle && status["not_live"].as_array().is_some_and(Vec::is_empty) {
            break;
        }
        ensure!(Instant::now() < deadline, "it is not idle, with nothing to say: {status:#}");
        sleep(Duration::from_secs(1)).await;
    }
    was_not_live(&machine, &kernels).await?;
    let evicted = stage.observer.history().pod_deletions();
    ensure!(evicted.iter().any(|it| it.pod.labels.get("app") == Some(&pods.name)), "nothing was drained");
    std::fs::remove_file(work.join("disk.img"))?;
    Ok(())
}

/// Until then it has told of the newer kernel, with the CVEs that its changelog names, read by other means than ours.
async fn was_not_live(machine: &VirtualMachine, kernels: &Kernels) -> Result<()> {
    let [older, newer] = &kernels.versions;
    let package = format!("linux-image-{}", kernels.newer);
    let statuses = machine.statuses()?;
    let mut told = statuses.iter().filter_map(|status| status["not_live"].as_array()?.first());
    let told = told.next_back().context("it has told of nothing that is not live")?;
    let is_right = told["package"] == package && told["running"] == *older && told["installed"] == *newer;
    ensure!(is_right, "{package}, {older} and {newer}: {told:#}");
    let changelog = kernels.changelog().display().to_string();
    // What the older version's own source has mended comes from its entry on.
    let newer_ones = format!(
        "zcat {changelog} | sed '/^linux ({older})/,$d' | grep --only-matching 'CVE-[0-9]*-[0-9]*' | sort -u | wc -l"
    );
    let expected: usize = command::run("sh", &["-c", &newer_ones]).await?.trim().parse()?;
    let cves = &told["cves"];
    ensure!(
        expected > 0 && cves["count"] == expected && cves["at_least"] == false,
        "{expected} CVEs: {cves}"
    );
    say(format!("{package} {newer} mends {expected} CVEs of {older}, which were open until the reboot"));
    Ok(())
}
