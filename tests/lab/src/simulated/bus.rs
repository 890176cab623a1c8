//! The system bus of a simulated machine: a socket, on it logind and systemd as far as rebootd asks them.

use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use anyhow::{Context, Result};
use tokio::net::UnixListener;
use zbus::export::futures_core::Stream;
use zbus::{Connection, Message, MessageStream, connection};

use super::machine::{Call, Machine};

const GUID: &str = "0123456789abcdef0123456789abcdef";
const FAILED: &str = "org.freedesktop.DBus.Error.Failed";

/// What a machine's logind answers.
pub(crate) enum Answer {
    Nothing,
    Text(&'static str),
    Number(u32),
    /// A property.
    Flag(bool),
    /// Another property.
    State(&'static str),
    /// No shutdown is.
    Scheduled,
    Inhibitors(Vec<(String, String, String, String, u32, u32)>),
    Error(&'static str),
}

/// Serves the bus of this machine until dropped with the runtime.
pub(crate) fn serve(machine: Arc<Machine>, path: &Path) -> Result<()> {
    let listener = UnixListener::bind(path).with_context(|| format!("bind {}", path.display()))?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let machine = Arc::clone(&machine);
            tokio::spawn(async move {
                if let Ok(stream) = stream.into_std() {
                    // A client that goes away is a matter of course here.
                    let _ = serve_one(machine, stream).await;
                }
            });
        }
    });
    Ok(())
}

async fn serve_one(machine: Arc<Machine>, stream: StdUnixStream) -> Result<()> {
    let broken = machine.connection_to_bus();
    let builder = connection::Builder::unix_stream(stream).server(GUID).p2p();
    let mut messages = builder.build_message_stream().await?;
    loop {
        let message = tokio::select! {
            () = broken.cancelled() => return Ok(()),
            message = next(&mut messages) => message,
        };
        let Some(Ok(message)) = message else { return Ok(()) };
        if message.message_type() != zbus::message::Type::MethodCall {
            continue;
        }
        // Told at arrival: from now on it may be carried out, whatever becomes of who sent it.
        let call = call(&message).map(|call| machine.arrived(call));
        let connection = Connection::from(&messages);
        let machine = Arc::clone(&machine);
        tokio::spawn(async move {
            let answer = match call {
                Some(arrived) => machine.answer(arrived).await,
                None => Some(to_the_bus(&message)),
            };
            if let Some(answer) = answer {
                let _ = send(&connection, &message, answer).await;
            }
        });
    }
}

async fn next(messages: &mut MessageStream) -> Option<zbus::Result<Message>> {
    std::future::poll_fn(|context| Pin::new(&mut *messages).poll_next(context)).await
}

fn call(message: &Message) -> Option<Call> {
    let header = message.header();
    let interface = header.interface()?.to_string();
    match (interface.as_str(), header.member()?.as_str()) {
        ("org.freedesktop.login1.Manager", "Reboot") => Some(Call::Reboot),
        ("org.freedesktop.login1.Manager", "CanReboot") => Some(Call::CanReboot),
        ("org.freedesktop.login1.Manager", "ListInhibitors") => Some(Call::ListInhibitors),
        ("org.freedesktop.DBus.Properties", "Get") => {
            let (_, property): (String, String) = message.body().deserialize().ok()?;
            match property.as_str() {
                "PreparingForShutdown" => Some(Call::PreparingForShutdown),
                "ScheduledShutdown" => Some(Call::ScheduledShutdown),
                "SystemState" => Some(Call::SystemState),
                _ => None,
            }
        }
        _ => None,
    }
}

/// What is asked of the bus itself; only `Hello` needs an answer that says something.
fn to_the_bus(message: &Message) -> Answer {
    match message.header().member().map(ToString::to_string).as_deref() {
        Some("Hello" | "GetNameOwner") => Answer::Text(":1.1"),
        Some("AddMatch" | "RemoveMatch") => Answer::Nothing,
        Some("RequestName") => Answer::Number(1),
        _ => Answer::Error("nobody here knows this method"),
    }
}

async fn send(connection: &Connection, message: &Message, answer: Answer) -> zbus::Result<()> {
    let header = message.header();
    match answer {
        Answer::Nothing => connection.reply(&header, &()).await,
        Answer::Text(text) => connection.reply(&header, &text).await,
        Answer::Number(number) => connection.reply(&header, &number).await,
        Answer::Flag(flag) => connection.reply(&header, &zbus::Variant::from(flag)).await,
        Answer::State(state) => connection.reply(&header, &zbus::Variant::from(state)).await,
        Answer::Scheduled => {
            let nothing = zbus::Variant::from(("", 0_u64));
            connection.reply(&header, &nothing).await
        }
        Answer::Inhibitors(all) => connection.reply(&header, &all).await,
        Answer::Error(text) => connection.reply_error(&header, FAILED, &text).await,
    }
}
