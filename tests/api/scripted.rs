//! Answers that a real API server does not give: bytes played by the test, on a port of its own.

use std::collections::BTreeMap;
use std::thread::JoinHandle;
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair};
use rebootd::access::{ApiAccess, Credential, PemSource, Secret};
use rebootd::cluster::Api;
use rebootd::decide::settings::ObjectField;
use rebootd::decide::{Event, EvictionOutcome, Failure, How, Outcome, Part, PodKey, SlotView};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::journal::Journal;

/// What is played to each request, and whether the connection stays open afterwards.
#[derive(Clone)]
struct Answer {
    bytes: Vec<u8>,
    hangs: bool,
}

/// An answer that is whole.
fn answer(status: &str, headers: &str, body: &str) -> Answer {
    let length = body.len();
    let text = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n{headers}\r\n{body}");
    Answer { bytes: text.into_bytes(), hangs: false }
}

fn json(body: &str) -> Answer {
    answer("200 OK", "content-type: application/json\r\n", body)
}

/// A watch that plays these lines, and then ends as told.
fn stream(lines: &str, end: End) -> Answer {
    let mut text =
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n".to_owned();
    text += &format!("{:x}\r\n{lines}\r\n", lines.len());
    if end == End::Whole {
        text += "0\r\n\r\n";
    }
    Answer { bytes: text.into_bytes(), hangs: end == End::Silent }
}

#[derive(Clone, Copy, PartialEq)]
enum End {
    /// As a server ends a watch.
    Whole,
    /// In the middle of the body.
    Broken,
    /// Not at all.
    Silent,
}

/// Plays the answer to each request until the test ends.
async fn server(answer: Answer) -> Api {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            tokio::spawn(play(connection, answer.clone()));
        }
    });
    let ca = CertificateParams::new(Vec::new()).unwrap().self_signed(&KeyPair::generate().unwrap()).unwrap();
    let access = ApiAccess {
        server: url,
        certificate_authority: PemSource::Inline(ca.pem().into_bytes()),
        credential: Credential::Token(Secret::new("t".to_owned())),
    };
    Api::new(access, "n1".to_owned())
}

async fn play(mut connection: TcpStream, answer: Answer) {
    let mut request = Vec::new();
    // Its body is short, and follows in the same segment or is not read: nobody here asks for it.
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        if connection.read_buf(&mut request).await.unwrap_or_default() == 0 {
            return;
        }
    }
    let _ = connection.write_all(&answer.bytes).await;
    if answer.hangs {
        std::future::pending::<()>().await;
    }
    // All of it arrives before the end does: what is left unread would reset the connection.
    let _ = connection.shutdown().await;
    while connection.read_buf(&mut request).await.unwrap_or_default() > 0 {}
}

fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
}

/// Why a reading fails, as the core hears of it.
async fn failure(answer: Answer) -> Failure {
    let failure = Failure::from(server(answer).await.pods().await.unwrap_err());
    assert!(!failure.message.contains(char::is_control), "{failure:?}");
    assert!(failure.message.chars().count() < 1000, "{}", failure.message.len());
    failure
}

#[test]
fn patience_is_obeyed_up_to_ten_minutes() {
    run(async {
        for (value, seconds) in [
            ("7", Some(7)),
            ("0", Some(0)),
            ("86400", Some(600)),
            ("18446744073709551615", Some(600)),
            ("99999999999999999999999", None),
            ("-1", None),
            ("1.5", None),
            ("soon", None),
            ("", None),
            ("Wed, 21 Oct 2099 07:28:00 GMT", None),
        ] {
            let header = format!("retry-after: {value}\r\n");
            let failure = failure(answer("429 Too Many Requests", &header, "slow down")).await;
            assert_eq!(failure.retry_after, seconds.map(Duration::from_secs), "{value:?}");
            assert_eq!(failure.message, "429 slow down");
        }
        let mut api = server(answer("429 Too Many Requests", "retry-after: 86400\r\n", "")).await;
        let pod = PodKey { namespace: "a".into(), name: "b".into(), uid: "c".into() };
        let outcome = api.eviction(&pod, How::Evict, None).await;
        let EvictionOutcome::Overloaded { retry_after, .. } = outcome else { panic!("{outcome:?}") };
        assert_eq!(retry_after, Some(Duration::from_secs(600)));
    });
}

#[test]
fn whatever_is_no_list_is_an_error_in_words_for_people() {
    run(async {
        let much = "\u{1b}[31m<b>\r\n\u{202e}".repeat(32 << 10);
        let head = "content-type: text/html\r\n";
        for (played, told) in [
            (answer("502 Bad Gateway", head, "<html>\r\n<h1>502</h1>"), "502 <html> <h1>502</h1>"),
            (answer("503 Service Unavailable", "", ""), "503"),
            (answer("500 Internal Server Error", head, &much), "500 [31m<b>"),
            (answer("500 Internal Server Error", head, &"x".repeat(3 << 20)), "500"),
            (answer("301 Moved", "location: http://127.0.0.1:1/\r\n", ""), "301"),
            (answer("200 OK", head, "<html>Please log in</html>"), "the answer cannot be understood"),
            (
                answer("200 OK", "content-type: application/vnd.kubernetes.protobuf\r\n", "k8s\0\n"),
                "the answer cannot",
            ),
            (json(""), "the answer cannot be understood"),
            (json("null"), "the answer cannot be understood"),
            (json("[]"), "the answer cannot be understood"),
            (
                json(r#"{"kind": "Status", "status": "Failure"}"#),
                "the answer cannot be understood: missing field",
            ),
            (json(r#"{"metadata": {}, "items": {}}"#), "the answer cannot be understood"),
            (
                json(&format!(r#"{{"metadata": {{}}, "items": "{}"}}"#, "x\\u001b".repeat(64 << 10))),
                "the answer cannot",
            ),
            (json(&"[".repeat(100_000)), "the answer cannot be understood"),
        ] {
            let failure = failure(played).await;
            assert!(failure.message.starts_with(told), "{} is not {told}", failure.message);
        }
    });
}

#[test]
fn an_answer_that_is_not_whole_is_none() {
    run(async {
        let whole = json(r#"{"metadata": {"resourceVersion": "1"}, "items": []}"#);
        assert_eq!(server(whole.clone()).await.pods().await.unwrap(), []);
        // Cut anywhere: in the head, before the body, in the body.
        for length in [0, 1, 12, 40, whole.bytes.len() - 30, whole.bytes.len() - 1] {
            let cut = Answer { bytes: whole.bytes[..length].to_vec(), hangs: false };
            let error = server(cut.clone()).await.pods().await.unwrap_err();
            assert!(!error.is_about_the_request(), "{length}: {error}");
            let patch = server(cut).await.pause("x").await;
            assert!(matches!(patch, Outcome::Unanswered(_)), "{length}: {patch:?}");
        }
    });
}

#[test]
fn only_a_clear_no_is_taken_for_one() {
    run(async {
        let outcome = async |played: Answer| server(played).await.pause("x").await;
        assert_eq!(outcome(json("{}")).await, Outcome::Answered);
        for (status, conflict) in
            [("409 Conflict", true), ("403 Forbidden", false), ("429 Too Many Requests", false)]
        {
            let outcome = outcome(answer(status, "", "no")).await;
            assert!(
                matches!(outcome, Outcome::Refused { conflict: it, .. } if it == conflict),
                "{outcome:?}"
            );
        }
        for status in ["500 Internal Server Error", "504 Gateway Timeout", "408 Request Timeout", "302 Found"]
        {
            let outcome = outcome(answer(status, "", "{}")).await;
            assert!(matches!(outcome, Outcome::Unanswered(_)), "{status}: {outcome:?}");
        }
        // It may well have been written before the page of a proxy was.
        let page = outcome(answer("200 OK", "content-type: text/html\r\n", "<html>")).await;
        assert!(matches!(page, Outcome::Unanswered(_)), "{page:?}");
    });
}

#[test]
fn silence_is_waited_for_for_a_quarter_of_a_minute() {
    run(async {
        let silent = Answer { bytes: Vec::new(), hangs: true };
        let half = Answer {
            bytes: b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{\"metadata\"".to_vec(),
            hangs: true,
        };
        let (mut silent, mut half) = (server(silent).await, server(half).await);
        let both = async { tokio::join!(silent.pods(), half.pods()) };
        let both = tokio::time::timeout(Duration::from_secs(60), both).await;
        let (silent, half) = both.expect("it waits for ever");
        for error in [silent.unwrap_err(), half.unwrap_err()] {
            assert!(!error.is_about_the_request() && error.to_string().contains("time"), "{error}");
        }
    });
}

#[test]
fn a_list_of_five_megabytes_is_read() {
    run(async {
        let item = |number: usize| {
            let filler = "x".repeat(6000);
            let metadata =
                format!(r#"{{"name": "p{number}", "uid": "u{number}", "annotations": {{"a": "{filler}"}}}}"#);
            let grace = ["-9223372036854775808", "1e300", "null", "7"][number % 4];
            format!(r#"{{"metadata": {metadata}, "spec": {{"terminationGracePeriodSeconds": {grace}}}}}"#)
        };
        let items: Vec<String> = (0..1000).map(item).collect();
        let body = format!(r#"{{"metadata": {{"resourceVersion": "1"}}, "items": [{}]}}"#, items.join(","));
        assert!(body.len() > 5 << 20);
        let pods = server(json(&body)).await.pods().await.unwrap();
        let graces: Vec<u64> = pods.iter().take(4).map(|pod| pod.grace.as_secs()).collect();
        assert_eq!((pods.len(), graces), (1000, vec![1, 30, 30, 7]));
        // A field of any object has a limit.
        let endless = format!(r#"{{"a": "{}"}}"#, "x".repeat(9 << 20));
        let field = ObjectField { path: "/x".into(), field: "a".into(), equals: vec![] };
        let error = server(json(&endless)).await.values(&field).await.unwrap_err();
        assert!(error.to_string().contains("longer than 8 MiB"), "{error}");
    });
}

/// What a watch tells before it ends, and what the journal says of its end. Each lasts five seconds at least, so each has
/// a thread of its own.
fn watched(target: Part, played: Answer) -> JoinHandle<(Vec<Event>, String)> {
    std::thread::spawn(move || {
        let journal = Journal::new();
        let mut events = Vec::new();
        run(async {
            let mut watch = server(played).await.watch(target).unwrap();
            let all = async {
                while let Some(event) = crate::next(&mut watch).await {
                    events.push(event);
                }
            };
            tokio::time::timeout(Duration::from_secs(60), all).await.expect("it does not end");
        });
        assert_eq!(events.pop(), Some(Event::WatchEnded));
        let told = journal.text();
        assert!(told.lines().count() <= 1 && told.len() < 2000, "{told}");
        (events, told)
    })
}

const CHANGE: &str =
    "{\"type\":\"MODIFIED\",\"object\":{\"metadata\":{\"uid\":\"u\",\"resourceVersion\":\"7\"}}}\n";
const BOOKMARK: &str = "{\"type\":\"BOOKMARK\",\"object\":{\"metadata\":{\"resourceVersion\":\"9\"}}}\n";
const EXPIRED: &str = "{\"type\":\"ERROR\",\"object\":{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"metadata\":{},\
    \"status\":\"Failure\",\"message\":\"too old resource version: 3 (77)\\u001b[2J\",\"reason\":\"Expired\",\"code\":410}}\n";

#[test]
fn a_watch_tells_in_the_servers_words_why_it_ended() {
    let slot = SlotView { uid: "u".into(), resource_version: "7".into(), ..SlotView::default() };
    let change = Event::SlotSeen(slot);
    let lines = |more: &str| format!("{BOOKMARK}{CHANGE}{more}");
    let refused = r#"{"kind":"Status","message":"leases is forbidden","code":403}"#;
    // The object of an error is no pod, though it has a field that pods have, of another kind.
    let of_pods = watched(Part::Pods, stream(EXPIRED, End::Silent));
    let of_slots = [
        (stream(&lines(""), End::Whole), 1, ""),
        (stream(&lines(EXPIRED), End::Silent), 1, "ended: 410 too old resource version: 3 (77) [2J;"),
        (stream(&lines("{\"type\":\"MODIF"), End::Whole), 1, "ended: half a watch event"),
        (stream(&lines("{\"type\":\"MODIF"), End::Broken), 1, "ended: "),
        (stream(&lines(""), End::Broken), 1, "ended: "),
        (stream(&lines("<html>\n"), End::Silent), 1, "ended: the answer cannot be understood"),
        (stream(&lines("{\"type\":\"SURPRISE\",\"object\":{}}\n"), End::Silent), 1, "watch event SURPRISE"),
        (stream(&lines("{\"type\":\"ERROR\",\"object\":7}\n"), End::Silent), 1, "ended: the answer cannot"),
        (stream(&"x".repeat(9 << 20), End::Silent), 0, "a watch event without end"),
        (answer("410 Gone", "", "too old"), 0, "ended: 410 too old"),
        (answer("403 Forbidden", "", refused), 0, "ended: 403 leases is forbidden"),
        (answer("429 Too Many Requests", "retry-after: 86400\r\n", ""), 0, "ended: 429"),
        (Answer { bytes: Vec::new(), hangs: false }, 0, "ended: "),
    ]
    .map(|(played, seen, why)| (watched(Part::Slots, played), seen, why));
    for (watched, seen, why) in of_slots {
        let (events, told) = watched.join().unwrap();
        assert_eq!(events, vec![change.clone(); seen], "{told}");
        assert_eq!(told.is_empty(), why.is_empty(), "{told}");
        assert!(told.contains(why), "{told}");
    }
    let (events, told) = of_pods.join().unwrap();
    assert!(events.is_empty() && told.contains("the watch of the pods ended: 410 too old"), "{told}");
}

#[test]
fn a_watch_of_what_people_write_tells_why_it_is_not_there() {
    run(async {
        let journal = Journal::new();
        let mut watch = server(stream(EXPIRED, End::Silent)).await.watch(Part::Annotations).unwrap();
        let event = tokio::time::timeout(Duration::from_secs(2), crate::next(&mut watch)).await;
        assert!(event.is_err(), "{event:?}");
        let told = journal.text();
        assert!(
            told.contains("not watched for the moment: 410 too old resource version: 3 (77) [2J"),
            "{told}"
        );
        let annotated = "{\"type\":\"ADDED\",\"object\":{\"metadata\":{\"uid\":\"u\",\"annotations\":\
            {\"rebootd.io/hold\":\"a\\nb\"}}}}\n";
        let mut watch = server(stream(annotated, End::Silent)).await.watch(Part::Annotations).unwrap();
        let labels = BTreeMap::new();
        let hold = Some("a b".to_owned());
        assert_eq!(
            crate::next(&mut watch).await,
            Some(Event::Annotations { uid: "u".into(), hold, request: None, labels })
        );
    });
}
