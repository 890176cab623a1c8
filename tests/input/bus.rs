//! Every answer of logind, systemd and timedated.

use std::collections::BTreeSet;
use std::os::unix::net::UnixListener as StdUnixListener;
use std::path::Path;
use std::pin::Pin;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rebootd::decide::Hook;
use rebootd::host::hooks;
use rebootd::host::logind::{Bus, told};
use tokio::net::{UnixListener, UnixStream};
use zbus::export::futures_core::Stream;
use zbus::{Connection, Message, ObjectPath, Variant, connection};

use crate::bad::BAD;
use crate::{Told, block_on, directory};

const ADDRESS: &str = "DBUS_SYSTEM_BUS_ADDRESS";
const GUID: &str = "0123456789abcdef0123456789abcdef";

/// How the bus behaves.
#[derive(Clone, PartialEq)]
enum Mood {
    /// This method, or the property of this name, has this text, or this number, in its answer.
    Text(&'static str, String),
    Number(u64),
    /// All answers are of another type.
    OtherType,
    /// All answers are errors with this text.
    Error(String),
    /// Calls are not answered; what belongs to the connection itself is.
    Silent,
    /// The connection is not even greeted.
    Mute,
}

/// The bus can only be chosen for a whole process: so this test runs itself once more.
#[test]
fn whatever_comes_over_d_bus() {
    if std::env::var_os(ADDRESS)
        .is_some_and(|address| address.to_string_lossy().contains("rebootd-input-bus"))
    {
        return block_on(all());
    }
    let socket = directory("bus").join("socket");
    let again = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "bus::whatever_comes_over_d_bus", "--nocapture"])
        .env(ADDRESS, format!("unix:path={}", socket.display()))
        .output()
        .unwrap();
    assert!(again.status.success(), "{}", String::from_utf8_lossy(&again.stderr));
}

async fn all() {
    let address = std::env::var(ADDRESS).unwrap();
    let mood = serve(Path::new(address.strip_prefix("unix:path=").unwrap()));
    let mut shown = Told::default();
    let texts: Vec<(&str, String)> = BAD
        .iter()
        .filter_map(|(name, bad)| Some((*name, String::from_utf8(bad.content(b"x")?).ok()?)))
        // Which D-Bus does not transport.
        .filter(|(_, text)| !text.contains('\0'))
        .collect();
    for member in [
        "SystemState",
        "CanReboot",
        "ScheduledShutdown",
        "ListInhibitors",
        "Reboot",
        "Class",
        "TTY",
        "LoadState",
        "Result",
    ] {
        shown.input(member);
        for (name, text) in &texts {
            *mood.lock().unwrap() = Mood::Text(member, text.clone());
            let content = Some(text.as_bytes());
            shown.answer(name, content, &ask(member).await.unwrap_or_else(|error| format!("ERROR {error}")));
        }
    }
    shown.input("all of them, asked for one");
    let escapes = "\u{1b}[2J\r\nMAINPID=1 ".repeat(1000);
    let moods = [
        ("a huge number", Mood::Number(u64::MAX), "ScheduledShutdown"),
        ("of another type", Mood::OtherType, "SystemState"),
        ("of another type", Mood::OtherType, "ListInhibitors"),
        ("of another type", Mood::OtherType, "Class"),
        ("an error", Mood::Error(escapes), "CanReboot"),
        ("not answered", Mood::Silent, "CanReboot"),
        ("not even greeted", Mood::Mute, "CanReboot"),
    ];
    for (name, bad, member) in moods {
        *mood.lock().unwrap() = bad;
        let answer = tokio::time::timeout(Duration::from_secs(15), ask(member)).await;
        let answer = answer.unwrap_or_else(|_| panic!("{name}: it waits for ever"));
        shown.answer(name, None, &answer.unwrap_or_else(|error| format!("ERROR {error}")));
    }
    shown.compare("bus.txt");
}

/// Asks for what depends on this.
async fn ask(member: &str) -> Result<String, String> {
    let bus = Bus::default();
    match member {
        "SystemState" => {
            bus.going_down().await.map(|it| if it { "going down" } else { "stays" }.into()).map_err(told)
        }
        "CanReboot" => {
            bus.may_reboot().await.map(|it| if it { "may" } else { "may not" }.into()).map_err(told)
        }
        "ScheduledShutdown" => {
            let scheduled = bus.scheduled().await.map_err(told)?;
            Ok(scheduled.map_or("none".into(), |it| format!("{} at {:?}", it.kind, it.at)))
        }
        "ListInhibitors" => {
            let all = bus.inhibitors().await.map_err(told)?;
            Ok(all.iter().map(|it| format!("{}: {}", it.who, it.why)).collect::<Vec<_>>().join(", "))
        }
        "Reboot" => bus.reboot(false).await.map(|()| "reboots".into()).map_err(told),
        "Class" | "TTY" => bus.sessions().await.map(|people| people.join(", ")).map_err(told),
        _ => {
            let units = hooks::read(&bus, &BTreeSet::from([Hook::BeforeDrain])).await;
            units.into_values().next().unwrap().map(|unit| format!("{:?} {:?}", unit.obstacle, unit.state))
        }
    }
}

fn serve(path: &Path) -> Arc<Mutex<Mood>> {
    let mood = Arc::new(Mutex::new(Mood::Silent));
    let listener = StdUnixListener::bind(path).unwrap();
    listener.set_nonblocking(true).unwrap();
    let listener = UnixListener::from_std(listener).unwrap();
    let given = Arc::clone(&mood);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let mood = given.lock().unwrap().clone();
            tokio::spawn(async move {
                // A client that goes away is a matter of course here.
                let _ = serve_one(mood, stream).await;
            });
        }
    });
    mood
}

async fn serve_one(mood: Mood, stream: UnixStream) -> zbus::Result<()> {
    if mood == Mood::Mute {
        std::future::pending::<()>().await;
    }
    let builder = connection::Builder::unix_stream(stream.into_std()?).server(GUID).p2p();
    let mut messages = builder.build_message_stream().await?;
    while let Some(message) = std::future::poll_fn(|context| Pin::new(&mut messages).poll_next(context)).await
    {
        let message = message?;
        if message.message_type() == zbus::message::Type::MethodCall {
            answer(&Connection::from(&messages), &message, &mood).await?;
        }
    }
    Ok(())
}

async fn answer(bus: &Connection, message: &Message, mood: &Mood) -> zbus::Result<()> {
    let header = message.header();
    let mut member = header.member().unwrap().to_string();
    match member.as_str() {
        "Hello" => return bus.reply(&header, &":1.1").await,
        "AddMatch" | "RemoveMatch" => return bus.reply(&header, &()).await,
        _ => {}
    }
    let is_property = member == "Get";
    if is_property {
        member = message.body().deserialize::<(String, String)>()?.1;
    }
    match mood {
        Mood::Silent | Mood::Mute => return Ok(()),
        Mood::OtherType if is_property => return bus.reply(&header, &Variant::from(7_u8)).await,
        Mood::OtherType => return bus.reply(&header, &7_u8).await,
        Mood::Error(text) => {
            return bus.reply_error(&header, "org.freedesktop.DBus.Error.Failed", text).await;
        }
        Mood::Text("Reboot", text) if member == "Reboot" => {
            return bus.reply_error(&header, "org.freedesktop.DBus.Error.Failed", text).await;
        }
        Mood::Text(..) | Mood::Number(_) => {}
    }
    // What a good answer has in this place.
    let text = |good: &str| match mood {
        Mood::Text(bad, text) if *bad == member => text.clone(),
        _ => good.to_owned(),
    };
    let path = ObjectPath::try_from("/x")?;
    match member.as_str() {
        "PreparingForShutdown" | "NTPSynchronized" => bus.reply(&header, &Variant::from(false)).await,
        "SystemState" => bus.reply(&header, &Variant::from(text("running"))).await,
        "ScheduledShutdown" => {
            let at = if let Mood::Number(at) = mood { *at } else { 7_000_000 };
            bus.reply(&header, &Variant::from((text("reboot"), at))).await
        }
        "CanReboot" => bus.reply(&header, &text("yes")).await,
        "ListInhibitors" => {
            let one =
                ("shutdown".to_owned(), text("apt"), text("upgrades"), "block".to_owned(), 0_u32, 1_u32);
            bus.reply(&header, &vec![one]).await
        }
        "ListSessions" => bus.reply(&header, &vec![("1", 0_u32, "ada", "seat0", path)]).await,
        "Class" => bus.reply(&header, &Variant::from(text("user"))).await,
        "State" => bus.reply(&header, &Variant::from("active")).await,
        "TTY" => bus.reply(&header, &Variant::from(text("tty1"))).await,
        "RemoteHost" => bus.reply(&header, &Variant::from("")).await,
        "LoadUnit" => bus.reply(&header, &path).await,
        "LoadState" => bus.reply(&header, &Variant::from(text("loaded"))).await,
        "ActiveState" => bus.reply(&header, &Variant::from("failed")).await,
        "SubState" => bus.reply(&header, &Variant::from("failed")).await,
        "InvocationID" => bus.reply(&header, &Variant::from(vec![1_u8; 16])).await,
        "Result" => bus.reply(&header, &Variant::from(text("exit-code"))).await,
        "ExecMainStatus" => bus.reply(&header, &Variant::from(1_i32)).await,
        _ => bus.reply_error(&header, "org.freedesktop.DBus.Error.UnknownMethod", &"unknown").await,
    }
}
