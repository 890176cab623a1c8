//! The units that ask Ubuntu's client about Livepatch, and what the daemon makes of its answer. Debian has no such client: a
//! script stands in for it, so this says nothing about the client itself.

use anyhow::{Result, ensure};

use super::stage::{CONFIG, CYCLE, SOON, Stage, request_reboot, run_anyway};
use super::status::{Status, wait_phase, wait_status};
use super::verdict;
use crate::host::Host;

const UNIT: &str = "rebootd-livepatch.service";
const SAYS: &str = "/var/tmp/pro-says";
const CLIENT: &str = "#!/bin/sh\ntest \"$*\" = 'system reboot-required' || exit 2\ntest -e /var/tmp/pro-says || exit 1\n\
     if test -e /run/reboot-required; then cat /var/tmp/pro-says; else echo no; fi\n";

pub(super) async fn run(stage: &Stage, host: &Host) -> Result<()> {
    host.write_file("/usr/bin/pro", CLIENT).await?;
    host.run_ok(&["chmod", "755", "/usr/bin/pro"]).await?;
    host.write_file(SAYS, "yes-kernel-livepatches-applied\n").await?;
    stage.install_alone(host, &format!("{CONFIG}[host]\nlivepatched_min_age = \"30d\"\n")).await?;
    host.run_ok(&["systemctl", "enable", "--now", "rebootd-livepatch.path"]).await?;
    // The unit that the path wants has ended: systemd would not start it again beside itself.
    host.run_ok(&["systemctl", "start", UNIT]).await?;
    wait_phase(host, "idle", SOON).await?;

    request_reboot(host).await?;
    let waits = |status: &Status| status.says("livepatched", &["livepatched_min_age", "29d"]);
    wait_status(host, "livepatched", waits, SOON).await?;

    host.run_ok(&["rm", SAYS]).await?;
    let (code, _) = run_anyway(host, &["systemctl", "start", UNIT]).await?;
    ensure!(code != Some(0), "the unit succeeds without an answer");
    let unknown = |status: &Status| status.says("unreadable", &["Livepatch", "rebootd-livepatch.path"]);
    wait_status(host, "told that there is no answer", unknown, SOON).await?;
    verdict::booted(host, 1)?;

    host.write_file(SAYS, "yes\n").await?;
    host.run_ok(&["systemctl", "start", UNIT]).await?;
    host.wait_boot_number(2, CYCLE).await?;
    verdict::settled(stage, host).await?;
    verdict::booted(host, 2)
}
