//! The daemon on a real bus: what it serves, and that it goes on where there is no bus, none any more, or none with its name
//! left. Left out where there is no dbus-daemon.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::future::poll_fn;
use std::path::PathBuf;
use std::pin::Pin;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rebootd::report::dbus::{NAME, PATH};
use zbus::export::futures_core::Stream;
use zbus::message::Type;
use zbus::{MatchRule, MessageStream, OwnedVariant};

/// Ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Place {
        let place = std::env::temp_dir().join(format!("rebootd-dbus-{}-{name}", std::process::id()));
        fs::create_dir_all(&place).unwrap();
        let sentinel = format!("[host]\nsentinel = \"{}\"\n", place.join("sentinel").display());
        fs::write(place.join("config.toml"), sentinel).unwrap();
        Place(place)
    }

    fn address(&self) -> String {
        format!("unix:path={}", self.0.join("bus").display())
    }

    /// `None` where there is no dbus-daemon.
    fn bus(&self) -> Option<Running> {
        let _ = fs::remove_file(self.0.join("bus"));
        let mut command = Command::new("dbus-daemon");
        command.args(["--session", "--nofork", "--nopidfile", "--address", &self.address()]);
        let bus = command.stderr(Stdio::null()).spawn().ok().map(Running)?;
        until("the bus listens", || self.0.join("bus").exists());
        Some(bus)
    }

    fn daemon(&self) -> Running {
        let said = fs::File::create(self.0.join("said")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_rebootd"));
        command.args(["run", "--boot-id", &"0".repeat(32), "--config-dir"]).arg(&self.0);
        command.env("DBUS_SYSTEM_BUS_ADDRESS", self.address());
        for variable in ["JOURNAL_STREAM", "NOTIFY_SOCKET", "STATE_DIRECTORY"] {
            command.env_remove(variable);
        }
        Running(command.stderr(said).spawn().unwrap())
    }

    fn said(&self) -> String {
        fs::read_to_string(self.0.join("said")).unwrap()
    }

    /// The answer of busctl, or nothing if it fails.
    fn busctl(&self, arguments: &[&str]) -> String {
        let address = format!("--address={}", self.address());
        let output = Command::new("busctl").arg(address).args(arguments).output().unwrap();
        if output.status.success() { String::from_utf8(output.stdout).unwrap() } else { String::new() }
    }

    fn property(&self, name: &str) -> String {
        self.busctl(&["get-property", NAME, PATH, NAME, name])
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Within half a minute.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..600 {
        if is_so() {
            return;
        }
        sleep(Duration::from_millis(50));
    }
    panic!("not within half a minute: {what}");
}

/// It reads its configuration again, and so decides again.
fn reload(daemon: &Running) {
    kill(Pid::from_raw(i32::try_from(daemon.0.id()).unwrap()), Signal::SIGHUP).unwrap();
}

#[test]
fn the_status_is_served_and_again_on_a_bus_that_was_restarted() {
    let place = Place::new("served");
    let Some(bus) = place.bus() else {
        println!("left out: there is no dbus-daemon here");
        return;
    };
    let daemon = place.daemon();
    until("it waits for a credential", || place.property("Reasons").contains("\"not-enrolled\""));
    assert_eq!(place.property("Phase"), "s \"idle\"\n");
    assert!(place.property("Line").starts_with("s \"idle: no credential yet"), "{}", place.property("Line"));
    let shown = place.busctl(&["introspect", NAME, PATH, NAME]);
    let members: Vec<&str> =
        shown.lines().skip(1).filter_map(|line| line.split_whitespace().next()).collect();
    let expected =
        [".Line", ".Mode", ".Node", ".Phase", ".Pool", ".Reasons", ".Requests", ".Slots", ".RebootEnded"];
    assert_eq!(members, expected);
    assert!(shown.lines().all(|line| !line.contains("writable")), "{shown}");
    drop(bus);
    let bus = place.bus();
    reload(&daemon);
    until("it is back", || place.property("Reasons").contains("\"not-enrolled\""));
    drop(bus);
}

#[test]
fn without_a_bus_it_goes_on_says_so_once_and_finds_the_bus_later() {
    let place = Place::new("late");
    let daemon = place.daemon();
    until("it says so", || place.said().contains("is not on D-Bus"));
    reload(&daemon);
    until("it goes on", || place.said().contains("configuration reloaded"));
    sleep(Duration::from_millis(500));
    assert_eq!(place.said().matches("is not on D-Bus").count(), 1, "{}", place.said());
    let Some(bus) = place.bus() else { return };
    reload(&daemon);
    until("it is there", || !place.property("Phase").is_empty());
    drop(bus);
}

#[tokio::test]
async fn a_name_that_somebody_else_has_is_taken_once_it_is_free() {
    let place = Place::new("taken");
    let Some(_bus) = place.bus() else { return };
    let address = place.address();
    let other = zbus::connection::Builder::address(&*address).build().await.unwrap();
    other.request_name(NAME).await.unwrap();
    let daemon = place.daemon();
    until("it says so", || place.said().contains("is not on D-Bus"));
    // A connection that is dropped may keep its name for a while.
    other.release_name(NAME).await.unwrap();
    reload(&daemon);
    until("it is there", || !place.property("Phase").is_empty());
}

#[tokio::test]
async fn a_change_is_one_signal() {
    let place = Place::new("signal");
    let Some(_bus) = place.bus() else { return };
    let address = place.address();
    let _daemon = place.daemon();
    until("it is there", || place.property("Reasons").contains("\"not-enrolled\""));
    let client = zbus::connection::Builder::address(&*address).build().await.unwrap();
    let rule = MatchRule::builder().msg_type(Type::Signal).path(PATH).build().unwrap();
    let mut signals = MessageStream::for_match_rule(rule, &client, None).await.unwrap();
    fs::write(place.0.join("sentinel"), "").unwrap();
    let signal = poll_fn(|context| Pin::new(&mut signals).poll_next(context));
    let signal = tokio::time::timeout(Duration::from_secs(30), signal).await.unwrap().unwrap().unwrap();
    type Changed = (String, HashMap<String, OwnedVariant>, Vec<String>);
    let (name, changed, gone): Changed = signal.body().deserialize().unwrap();
    let changed: BTreeSet<&str> = changed.keys().map(String::as_str).collect();
    assert_eq!((name.as_str(), gone.len()), (NAME, 0));
    assert!(changed.contains("Requests") && !changed.contains("Node"), "{changed:?}");
}
