//! The proxy between a client and a bus, both of which are the test.

use super::message::tests::{answer, call};
use super::*;

/// A client that has authenticated itself, and its bus.
struct Line {
    client: UnixStream,
    bus: UnixStream,
    shared: Arc<Shared>,
    serving: JoinHandle<()>,
}

impl Line {
    async fn open() -> Line {
        let (client, of_client) = UnixStream::pair().unwrap();
        let (bus, of_bus) = UnixStream::pair().unwrap();
        let shared = Arc::new(Shared::default());
        let serving = tokio::spawn(Connection::new(Arc::clone(&shared)).serve(of_client, of_bus));
        let mut line = Line { client, bus, shared, serving };
        let said = b"\0AUTH EXTERNAL 30\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\n";
        line.client.write_all(said).await.unwrap();
        assert_eq!(receive(&mut line.bus, said.len()).await, said);
        line.bus.write_all(b"OK 1234\r\nAGREE_UNIX_FD\r\n").await.unwrap();
        assert_eq!(receive(&mut line.client, 16).await, b"OK 1234\r\nERROR\r\n");
        line
    }

    fn hold(&self, place: Place, member: &'static str) -> mpsc::UnboundedReceiver<Held> {
        let (held, receiver) = mpsc::unbounded_channel();
        let test = Box::new(move |call: &Call| call.member == member);
        *self.shared.trap() = Some(Trap { test, place, held });
        receiver
    }
}

async fn receive(from: &mut UnixStream, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    from.read_exact(&mut bytes).await.unwrap();
    bytes
}

async fn is_closed(mut end: UnixStream) -> bool {
    end.read_u8().await.is_err()
}

#[tokio::test]
async fn what_is_not_held_passes() {
    let mut line = Line::open().await;
    let mut held = line.hold(Place::Before, "Reboot");
    let (call, answer) = (call("CanReboot"), answer("yes"));
    line.client.write_all(&call).await.unwrap();
    assert_eq!(receive(&mut line.bus, call.len()).await, call);
    line.bus.write_all(&answer).await.unwrap();
    assert_eq!(receive(&mut line.client, answer.len()).await, answer);
    assert!(held.try_recv().is_err());
    drop(line.client);
    assert!(is_closed(line.bus).await);
    line.serving.await.unwrap();
}

#[tokio::test]
async fn a_call_arrives_although_its_caller_is_gone_and_the_caller_stays_until_it_is_answered() {
    let mut line = Line::open().await;
    let mut held = line.hold(Place::Before, "Reboot");
    let call = call("Reboot");
    line.client.write_all(&call).await.unwrap();
    let held = held.recv().await.unwrap();
    assert_eq!(held.call.member, "Reboot");
    drop(line.client);
    held.release();
    assert_eq!(receive(&mut line.bus, call.len()).await, call);
    assert!(line.bus.try_read(&mut [0]).is_err(), "still open");
    line.bus.write_all(&answer("")).await.unwrap();
    assert!(is_closed(line.bus).await);
}

#[tokio::test]
async fn a_lost_answer_ends_the_connection() {
    let mut line = Line::open().await;
    let mut held = line.hold(Place::After, "Reboot");
    let call = call("Reboot");
    line.client.write_all(&call).await.unwrap();
    assert_eq!(receive(&mut line.bus, call.len()).await, call);
    line.bus.write_all(&answer("")).await.unwrap();
    drop(held.recv().await.unwrap());
    assert!(is_closed(line.client).await);
    assert!(is_closed(line.bus).await);
}
