//! Answers that never end, and answers that come in drops.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rebootd::cluster::Api;
use rebootd::decide::settings::{ObjectField, Prometheus, Query};
use rebootd::decide::{Event, How, Part, PodKey};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::answers::api;
use crate::block_on;

/// What the network may hold besides what was read.
const ON_THE_WAY: usize = 12 << 20;

/// A server that answers every request with this head, and then with spaces for ever; how many it got rid of.
async fn endless(head: &'static str) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let sent = Arc::new(AtomicUsize::new(0));
    let counts = Arc::clone(&sent);
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            let counts = Arc::clone(&counts);
            tokio::spawn(async move {
                let _ = connection.read(&mut [0; 4096]).await;
                let _ = connection.write_all(head.as_bytes()).await;
                let spaces = vec![b' '; 64 << 10];
                while connection.write_all(&spaces).await.is_ok() {
                    counts.fetch_add(spaces.len(), Ordering::Relaxed);
                }
            });
        }
    });
    (url, sent)
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n";
const ERROR: &str = "HTTP/1.1 500 Internal Server Error\r\n\r\n";

#[test]
fn no_answer_is_read_without_end() {
    block_on(async {
        let (url, sent) = endless(OK).await;
        let (refusing, refused) = endless(ERROR).await;
        let query = Query {
            expression: "up".into(),
            server: Prometheus::Url {
                url: url.clone(),
                token_file: None,
                certificate_authority: "/unused".into(),
            },
        };
        let field = ObjectField { path: "/x".into(), field: "a".into(), equals: vec![] };
        let pod = PodKey { namespace: "a".into(), name: "b".into(), uid: "c".into() };
        // What is asked, what is told, and the most MiB that are read for it.
        let told = async |told: String, sent: &AtomicUsize, words: &str, most: usize| {
            assert!(told.contains(words), "{told}");
            let sent = sent.swap(0, Ordering::Relaxed);
            assert!(sent <= (most << 20) + ON_THE_WAY, "{told}: {sent} bytes");
        };
        let mut api = api(&url);
        told(api.node().await.unwrap_err().to_string(), &sent, "longer than 64 MiB", 64).await;
        told(api.pods().await.unwrap_err().to_string(), &sent, "longer than 64 MiB", 64).await;
        told(api.slots().await.unwrap_err().to_string(), &sent, "longer than 64 MiB", 64).await;
        told(
            api.others("p", &Default::default(), &[]).await.unwrap_err().to_string(),
            &sent,
            "longer than 64 MiB",
            64,
        )
        .await;
        told(format!("{:?}", api.pause("x").await), &sent, "longer than 64 MiB", 64).await;
        told(format!("{:?}", api.eviction(&pod, How::Evict, None).await), &sent, "longer than 64 MiB", 64)
            .await;
        told(api.values(&field).await.unwrap_err().to_string(), &sent, "longer than 8 MiB", 8).await;
        told(api.query(&query).await.unwrap_err().to_string(), &sent, "longer than 1 MiB", 1).await;
        assert!(api.node_exists("n2").await.unwrap());
        let mut api = self::api(&refusing);
        told(api.node().await.unwrap_err().to_string(), &refused, "500", 1).await;
    });
}

#[test]
fn no_line_of_a_watch_is_read_without_end() {
    block_on(async {
        let (url, sent) = endless(OK).await;
        let mut api = api(&url);
        for part in [Part::Node, Part::Pods, Part::Kubelet] {
            let mut watch = api.watch(part).unwrap();
            let next = std::future::poll_fn(|context| watch.poll_next(context));
            let event = tokio::time::timeout(Duration::from_secs(30), next).await;
            assert_eq!(event.expect("it is read for ever"), Some(Event::WatchEnded), "{part:?}");
            let sent = sent.swap(0, Ordering::Relaxed);
            assert!(sent <= (8 << 20) + ON_THE_WAY, "{part:?}: {sent} bytes");
        }
    });
}

#[test]
fn an_answer_in_drops_is_waited_for_for_a_quarter_of_a_minute() {
    block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut api: Api = api(&format!("http://{}", listener.local_addr().unwrap()));
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                tokio::spawn(drip(connection));
            }
        });
        let read = tokio::time::timeout(Duration::from_secs(30), api.pods()).await;
        let error = read.expect("it waits for ever").unwrap_err();
        assert!(!error.is_about_the_request() && error.to_string().contains("time"), "{error}");
    });
}

async fn drip(mut connection: TcpStream) {
    let _ = connection.read(&mut [0; 4096]).await;
    let _ = connection.write_all(OK.as_bytes()).await;
    while connection.write_all(b" ").await.is_ok() {
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}
