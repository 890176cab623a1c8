//! What `rebootctl check` reads of this host. Whatever cannot be read says why.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::unistd::{Uid, User};
use tokio::runtime::Runtime;

use super::super::config::{ask_cluster, read_files};
use super::super::status;
use crate::access::{ApiAccess, Credential, PemSource};
use crate::cli::ConfigDirectories;
use crate::config::{Files, FleetPolicy};
use crate::decide::settings::{PolicySettings, Settings};
use crate::decide::{Inhibitor, Kernel, Names, Windows};
use crate::host::graceful::{self, Graceful};
use crate::host::kernel::{self, Room};
use crate::host::logind::{Bus, told};
use crate::host::others::{self, Jobs, Service};
use crate::host::packages::{self, HalfInstalled};
use crate::host::{clock, credential, identity};
use crate::report::status::Status;

const PROC: &str = "/proc";
const ZONES: &str = "/usr/share/zoneinfo";
/// The user that the daemon runs as.
const USER: &str = "rebootd";

/// What could be read, or why it could not.
pub(super) type Read<T> = Result<T, String>;

/// All that the checks of a node judge.
pub(super) struct Facts {
    /// Wall time since 1970.
    pub(super) now: Duration,
    pub(super) service: Read<Service>,
    pub(super) status: Read<Status>,
    /// What the files of this host say.
    pub(super) settings: Read<Settings>,
    /// The same under the fleet's policy.
    pub(super) policy: Read<Policy>,
    /// Files with secrets, and their modes, less what their directories take from them; no mode if only root can find it
    /// out.
    pub(super) secrets: Vec<(PathBuf, Option<u32>)>,
    /// logind's answer to the daemon's user.
    pub(super) may_reboot: Read<String>,
    pub(super) inhibitors: Read<Vec<Inhibitor>>,
    pub(super) longest_delay: Read<Duration>,
    pub(super) clock_synchronized: Read<bool>,
    /// The zone of local time.
    pub(super) zone: Read<String>,
    /// Whether other zones can be named.
    pub(super) has_zones: bool,
    pub(super) graceful: Read<Option<Graceful>>,
    pub(super) room: Read<Room>,
    pub(super) half_installed: Read<Names>,
    pub(super) kernel: Read<Kernel>,
    pub(super) automatic_reboot: Read<Option<bool>>,
    pub(super) cron: Jobs,
    pub(super) timers: Read<Vec<String>>,
    pub(super) kured_runs: Read<bool>,
    pub(super) sentinel_makers: Vec<&'static str>,
    pub(super) has_needrestart: bool,
}

/// When and how to reboot.
pub(super) struct Policy {
    pub(super) settings: PolicySettings,
    pub(super) windows: Option<Windows>,
    /// Why the fleet's policy is not in it, if that could not be read.
    pub(super) without_fleet: Option<String>,
}

/// Reads all of them. Nothing is written.
pub(super) fn gather(runtime: &Runtime, config: &ConfigDirectories) -> Facts {
    let files = read_files(config).map_err(|error| format!("{error:#}"));
    let settings = files.as_ref().map_err(Clone::clone).and_then(|files| {
        let host = identity::host_name().map_err(|error| error.to_string())?;
        files.settings(&host).map_err(|error| error.to_string())
    });
    // Before the runtime is entered: this one has a runtime of its own.
    let policy = files.as_ref().map_err(Clone::clone).and_then(policy);
    let secrets = secrets(settings.as_ref().ok().and_then(|settings| settings.api.as_ref()));
    runtime.block_on(async {
        let bus = Bus::default();
        let (service, status) = daemon().await;
        Facts {
            now: clock::now().wall,
            service,
            status,
            settings,
            policy,
            secrets,
            may_reboot: may_reboot().await,
            inhibitors: bus.inhibitors().await.map_err(told),
            longest_delay: bus.longest_delay().await.map_err(told),
            clock_synchronized: bus.clock_synchronized().await.map_err(told),
            zone: zone(),
            has_zones: Path::new(ZONES).join("Etc/UTC").exists(),
            graceful: graceful::read(Path::new(PROC)),
            room: kernel::room(),
            half_installed: HalfInstalled::default().read(Path::new(packages::STATUS)),
            kernel: kernel::read(),
            automatic_reboot: others::automatic_reboot().await,
            cron: others::cron_jobs(),
            timers: others::timers().await,
            kured_runs: others::kured_runs(Path::new(PROC)),
            sentinel_makers: others::sentinel_makers(),
            has_needrestart: others::has_needrestart(),
        }
    })
}

/// What systemd and the daemon say of it. Both are read until they agree: the daemon may write in between.
async fn daemon() -> (Read<Service>, Read<Status>) {
    let mut last = (others::service().await, status::read().map_err(|error| format!("{error:#}")));
    for _ in 0..5 {
        match &last {
            (Ok(service), Ok(status)) if !says(service, status) => {}
            _ => break,
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        last = (others::service().await, status::read().map_err(|error| format!("{error:#}")));
    }
    last
}

/// Whether the line that systemd shows is the one that was published. systemd has only so much room for it.
pub(super) fn says(service: &Service, status: &Status) -> bool {
    status.line.starts_with(service.line.trim_end_matches('…'))
}

fn policy(files: &Files) -> Read<Policy> {
    let asked = ask_cluster(files).map_err(|error| format!("{error:#}"));
    let (fleet, labels, without_fleet) = match asked {
        Ok((data, labels)) => {
            let fleet = data.as_ref().map(FleetPolicy::from_config_map).transpose();
            (fleet.map_err(|error| error.to_string())?, labels, None)
        }
        Err(why) => (None, Default::default(), Some(why)),
    };
    let settings = files.policy(fleet.as_ref(), &labels).map_err(|error| error.to_string())?;
    let windows = files.windows(fleet.as_ref(), &labels).map_err(|error| error.to_string())?;
    Ok(Policy { settings, windows, without_fleet })
}

fn secrets(configured: Option<&ApiAccess>) -> Vec<(PathBuf, Option<u32>)> {
    let mut paths = vec![Path::new(credential::DIRECTORY).join(credential::TOKEN)];
    if let Some(
        Credential::TokenFile(path) | Credential::ClientCertificate { key: PemSource::File(path), .. },
    ) = configured.map(|access| &access.credential)
    {
        paths.push(path.clone());
    }
    let mode = |path: PathBuf| match fs::metadata(&path) {
        Ok(file) => {
            let closed = path.ancestors().skip(1).any(is_closed);
            let mode = file.permissions().mode();
            Some((path, Some(if closed { mode & !0o007 } else { mode })))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(_) => Some((path, None)),
    };
    paths.into_iter().filter_map(mode).collect()
}

/// Whether nobody but its owner and group gets to what is in it.
fn is_closed(directory: &Path) -> bool {
    fs::metadata(directory).is_ok_and(|it| it.permissions().mode() & 0o001 == 0)
}

async fn may_reboot() -> Read<String> {
    let user = User::from_name(USER).map_err(|error| error.to_string())?;
    let user = user.ok_or_else(|| format!("there is no user {USER}"))?;
    if !Uid::effective().is_root() {
        return Err("only root can ask in its name: run this with sudo".to_owned());
    }
    others::may_reboot_as(user.uid.as_raw(), user.gid.as_raw()).await
}

fn zone() -> Read<String> {
    let zone = jiff::tz::TimeZone::try_system().map_err(|error| error.to_string())?;
    Ok(zone.iana_name().unwrap_or("the local time").to_owned())
}
