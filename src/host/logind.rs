//! logind and systemd over D-Bus: inhibitors, whether the host is shutting down, and the reboot itself.
//!
//! We call `Reboot(false)` and have no right to ignore inhibitors, so a block inhibitor stops us on every version of
//! systemd (versions before 257 let root ignore them).

use std::io::{self, ErrorKind};
use std::time::Duration;

use tokio::sync::OnceCell;
use tokio::time::timeout;
use zbus::OwnedObjectPath;
use zbus::{Connection, connection, proxy};

use crate::decide::{Inhibitor, ScheduledShutdown};
use crate::words::{MESSAGE, NOTE, words};

/// logind answers within milliseconds; polkit may evaluate its rules first.
const TIMEOUT: Duration = Duration::from_secs(10);
/// A reason names a few of those who are logged in.
const MOST_SESSIONS: usize = 50;

/// `SD_LOGIND_REBOOT_VIA_KEXEC` of org.freedesktop.login1(5).
const VIA_KEXEC: u64 = 1 << 1;
const UNKNOWN_FLAG: [&str; 2] =
    ["org.freedesktop.DBus.Error.UnknownMethod", "org.freedesktop.DBus.Error.InvalidArgs"];

#[proxy(
    interface = "org.freedesktop.login1.Manager",
    default_service = "org.freedesktop.login1",
    default_path = "/org/freedesktop/login1"
)]
trait Login {
    fn reboot(&self, interactive: bool) -> zbus::Result<()>;
    fn reboot_with_flags(&self, flags: u64) -> zbus::Result<()>;
    fn can_reboot(&self) -> zbus::Result<String>;
    #[allow(clippy::type_complexity, reason = "the signature is logind's")]
    fn list_sessions(&self) -> zbus::Result<Vec<(String, u32, String, String, OwnedObjectPath)>>;
    #[allow(clippy::type_complexity, reason = "the signature is logind's")]
    fn list_inhibitors(&self) -> zbus::Result<Vec<(String, String, String, String, u32, u32)>>;
    #[zbus(property(emits_changed_signal = "false"))]
    fn preparing_for_shutdown(&self) -> zbus::Result<bool>;
    #[zbus(property(emits_changed_signal = "false"))]
    fn scheduled_shutdown(&self) -> zbus::Result<(String, u64)>;
    #[zbus(property(emits_changed_signal = "false"), name = "InhibitDelayMaxUSec")]
    fn inhibit_delay_max(&self) -> zbus::Result<u64>;
}

#[proxy(
    interface = "org.freedesktop.systemd1.Manager",
    default_service = "org.freedesktop.systemd1",
    default_path = "/org/freedesktop/systemd1"
)]
trait Systemd {
    #[zbus(property(emits_changed_signal = "false"))]
    fn system_state(&self) -> zbus::Result<String>;
}

#[proxy(interface = "org.freedesktop.login1.Session", default_service = "org.freedesktop.login1")]
trait Session {
    #[zbus(property(emits_changed_signal = "false"))]
    fn class(&self) -> zbus::Result<String>;
    #[zbus(property(emits_changed_signal = "false"))]
    fn state(&self) -> zbus::Result<String>;
    #[zbus(property(emits_changed_signal = "false"), name = "TTY")]
    fn tty(&self) -> zbus::Result<String>;
    #[zbus(property(emits_changed_signal = "false"))]
    fn remote_host(&self) -> zbus::Result<String>;
}

#[proxy(
    interface = "org.freedesktop.timedate1",
    default_service = "org.freedesktop.timedate1",
    default_path = "/org/freedesktop/timedate1"
)]
trait Timedate {
    #[zbus(property(emits_changed_signal = "false"), name = "NTPSynchronized")]
    fn ntp_synchronized(&self) -> zbus::Result<bool>;
}

/// Why a call failed, in the words of the service that answered it.
pub fn told(error: zbus::Error) -> String {
    match &error {
        zbus::Error::InputOutput(why) if why.kind() == ErrorKind::TimedOut => {
            format!("no answer over D-Bus within {} s", TIMEOUT.as_secs())
        }
        _ => words(&error.to_string(), MESSAGE),
    }
}

/// The same calls, but all together within the time of one.
async fn in_time<T>(calls: impl Future<Output = zbus::Result<T>>) -> zbus::Result<T> {
    timeout(TIMEOUT, calls).await.unwrap_or_else(|_| Err(io::Error::from(ErrorKind::TimedOut).into()))
}

/// A connection to the system bus, opened when first needed.
#[derive(Debug, Default)]
pub struct Bus {
    connection: OnceCell<Connection>,
}

impl Bus {
    pub(super) async fn connection(&self) -> zbus::Result<&Connection> {
        let builder = || connection::Builder::system().method_timeout(TIMEOUT);
        // The limit of a method does not include the greeting that comes before the first one.
        self.connection.get_or_try_init(|| in_time(builder().build())).await
    }

    async fn login(&self) -> zbus::Result<LoginProxy<'_>> {
        LoginProxy::builder(self.connection().await?)
            .cache_properties(zbus::proxy::CacheProperties::No)
            .build()
            .await
    }

    /// Whether logind is preparing a shutdown, or systemd is already stopping.
    pub async fn going_down(&self) -> zbus::Result<bool> {
        if self.login().await?.preparing_for_shutdown().await? {
            return Ok(true);
        }
        let systemd = SystemdProxy::builder(self.connection().await?)
            .cache_properties(zbus::proxy::CacheProperties::No)
            .build()
            .await?;
        Ok(systemd.system_state().await? == "stopping")
    }

    /// The inhibitors on shutdown.
    pub async fn inhibitors(&self) -> zbus::Result<Vec<Inhibitor>> {
        let all = self.login().await?.list_inhibitors().await?;
        Ok(all
            .into_iter()
            .filter(|(what, ..)| what.split(':').any(|one| one == "shutdown"))
            // `block-weak` (systemd 257) binds everybody but root, so it binds us.
            .map(|(_, who, why, mode, _, _)| Inhibitor {
                who: words(&who, NOTE),
                why: words(&why, NOTE),
                delays: mode == "delay",
            })
            .collect())
    }

    /// For how long an inhibitor may delay a shutdown.
    pub async fn longest_delay(&self) -> zbus::Result<Duration> {
        Ok(Duration::from_micros(self.login().await?.inhibit_delay_max().await?))
    }

    /// The shutdown that somebody has scheduled, for example with `shutdown +10`.
    pub async fn scheduled(&self) -> zbus::Result<Option<ScheduledShutdown>> {
        let (kind, at) = self.login().await?.scheduled_shutdown().await?;
        // If there is none, the kind is empty. `dry-` kinds only tell people (`shutdown -k`).
        let is_one = !kind.is_empty() && !kind.starts_with("dry-");
        Ok(is_one.then(|| ScheduledShutdown { kind: words(&kind, NOTE), at: Duration::from_micros(at) }))
    }

    /// Who is logged in: people at a terminal, remotely or on a desktop; not services, and not what runs while its
    /// user is away.
    pub async fn sessions(&self) -> zbus::Result<Vec<String>> {
        in_time(self.people()).await
    }

    async fn people(&self) -> zbus::Result<Vec<String>> {
        let mut people = Vec::new();
        for (_, _, user, _, path) in self.login().await?.list_sessions().await? {
            let session = SessionProxy::builder(self.connection().await?)
                .path(path)
                .cache_properties(zbus::proxy::CacheProperties::No)
                .build()
                .await?;
            // `user-early` and `user-light` are people, too; `manager` and `background` are not.
            if !session.class().await?.starts_with("user") || session.state().await? == "closing" {
                continue;
            }
            let places = [session.tty().await?, session.remote_host().await?];
            let places: Vec<String> = places.into_iter().filter(|place| !place.is_empty()).collect();
            let person = if places.is_empty() { user } else { format!("{user} ({})", places.join(", ")) };
            people.push(words(&person, NOTE));
            if people.len() == MOST_SESSIONS {
                break;
            }
        }
        people.sort_unstable();
        Ok(people)
    }

    /// Whether the clock is synchronised. The service that answers is started on demand and ends by itself.
    pub async fn clock_synchronized(&self) -> zbus::Result<bool> {
        let timedate = TimedateProxy::builder(self.connection().await?)
            .cache_properties(zbus::proxy::CacheProperties::No)
            .build()
            .await?;
        timedate.ntp_synchronized().await
    }

    /// Whether logind would allow us to reboot now. It says no to everybody while shutdown is inhibited.
    pub async fn may_reboot(&self) -> zbus::Result<bool> {
        Ok(self.login().await?.can_reboot().await? == "yes")
    }

    /// Asks for the reboot. The answer comes before the reboot, which may still be delayed by minutes. With kexec, if
    /// a kernel is loaded for it: the same right and the same inhibitors apply.
    pub async fn reboot(&self, kexec: bool) -> zbus::Result<()> {
        let login = self.login().await?;
        if kexec {
            match login.reboot_with_flags(VIA_KEXEC).await {
                // A version that does not know the flag, or any flags, has refused the call and done nothing.
                Err(zbus::Error::MethodError(name, ..)) if UNKNOWN_FLAG.contains(&name.as_str()) => {}
                answered => return answered,
            }
        }
        login.reboot(false).await
    }
}
