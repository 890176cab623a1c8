//! Hooks: the state of their units, which systemd shows to everybody, and the only way in which we can start them.
//!
//! `rebootd-hook@NAME.socket` holds a named pipe that only our user may write to; a byte in it makes systemd start
//! `rebootd-NAME.service`. Whoever enables the socket permits exactly that.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::libc::O_NONBLOCK;
use zbus::OwnedObjectPath;
use zbus::proxy;
use zbus::proxy::CacheProperties;

use super::logind::{Bus, told};
use crate::decide::{Hook, HookUnit, UnitState};
use crate::words::{NOTE, words};

/// Where the sockets create their pipes.
const DIRECTORY: &str = "/run/rebootd-hooks";
/// Asks people to log out: a unit of this package, started in the same way.
pub const WALL: &str = "wall";

#[proxy(
    interface = "org.freedesktop.systemd1.Manager",
    default_service = "org.freedesktop.systemd1",
    default_path = "/org/freedesktop/systemd1"
)]
trait Systemd {
    fn load_unit(&self, name: &str) -> zbus::Result<OwnedObjectPath>;
}

#[proxy(interface = "org.freedesktop.systemd1.Unit", default_service = "org.freedesktop.systemd1")]
trait Unit {
    #[zbus(property(emits_changed_signal = "false"))]
    fn load_state(&self) -> zbus::Result<String>;
    #[zbus(property(emits_changed_signal = "false"))]
    fn active_state(&self) -> zbus::Result<String>;
    #[zbus(property(emits_changed_signal = "false"))]
    fn sub_state(&self) -> zbus::Result<String>;
    #[zbus(property(emits_changed_signal = "false"), name = "InvocationID")]
    fn invocation_id(&self) -> zbus::Result<Vec<u8>>;
}

#[proxy(interface = "org.freedesktop.systemd1.Service", default_service = "org.freedesktop.systemd1")]
trait Service {
    #[zbus(property(emits_changed_signal = "false"))]
    fn result(&self) -> zbus::Result<String>;
    #[zbus(property(emits_changed_signal = "false"))]
    fn exec_main_status(&self) -> zbus::Result<i32>;
}

/// The state of the units of these hooks.
pub async fn read(bus: &Bus, hooks: &BTreeSet<Hook>) -> BTreeMap<Hook, Result<HookUnit, String>> {
    let mut units = BTreeMap::new();
    for hook in hooks {
        units.insert(*hook, unit(bus, *hook).await.map_err(told));
    }
    units
}

/// Makes systemd start `rebootd-NAME.service`. Fails immediately if nothing listens.
pub fn start(name: &str) -> io::Result<()> {
    let pipe = Path::new(DIRECTORY).join(name);
    OpenOptions::new().write(true).custom_flags(O_NONBLOCK).open(pipe)?.write_all(b"\n")
}

async fn unit(bus: &Bus, hook: Hook) -> zbus::Result<HookUnit> {
    let path = load(bus, &hook.unit()).await?;
    let unit = proxy_of(bus, path.clone()).await?;
    let (active, sub) = (unit.active_state().await?, unit.sub_state().await?);
    // A unit with RemainAfterExit= has ended just like one without it.
    let has_ended = matches!(active.as_str(), "inactive" | "failed") || sub == "exited";
    let state =
        if has_ended { UnitState::Ended { failure: failure(bus, path).await? } } else { UnitState::Runs };
    let socket = proxy_of(bus, load(bus, &hook.socket()).await?).await?;
    let obstacle = match unit.load_state().await?.as_str() {
        "loaded" if sub == "exited" => Some("it stays active; remove RemainAfterExit= from it".to_owned()),
        "loaded" if socket.active_state().await? == "active" => None,
        "loaded" => Some(format!("systemctl enable --now {}", hook.socket())),
        other => Some(words(&format!("the unit is {other}"), NOTE)),
    };
    let invocation = unit.invocation_id().await?.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(HookUnit { obstacle, invocation, state })
}

async fn failure(bus: &Bus, path: OwnedObjectPath) -> zbus::Result<Option<String>> {
    let service = ServiceProxy::builder(bus.connection().await?)
        .path(path)
        .cache_properties(CacheProperties::No)
        .build()
        .await?;
    let result = service.result().await?;
    if result == "success" {
        return Ok(None);
    }
    Ok(Some(words(&format!("{result} ({})", service.exec_main_status().await?), NOTE)))
}

async fn load(bus: &Bus, name: &str) -> zbus::Result<OwnedObjectPath> {
    let systemd =
        SystemdProxy::builder(bus.connection().await?).cache_properties(CacheProperties::No).build().await?;
    systemd.load_unit(name).await
}

async fn proxy_of(bus: &Bus, path: OwnedObjectPath) -> zbus::Result<UnitProxy<'_>> {
    UnitProxy::builder(bus.connection().await?).path(path).cache_properties(CacheProperties::No).build().await
}
