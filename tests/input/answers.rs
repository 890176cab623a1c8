//! Every text in an answer of the API server or of Prometheus that others have written.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair};
use rebootd::access::{ApiAccess, Credential, PemSource, Secret};
use rebootd::cluster::{Api, ApiError, BoundNode};
use rebootd::config::FleetPolicy;
use rebootd::decide::settings::{ObjectField, Prometheus, Query};
use rebootd::decide::{
    Claim, Event, Failure, NodeChange, NodeView, NodeWrite, Outcome, Part, PodView, SignsWrite, SlotChange,
    SlotView, SlotWrite, Stamp, Successors,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::bad::BAD;
use crate::{Told, block_on};

/// The wall time of a write.
const NOW: Duration = Duration::from_secs(1_795_867_200);
/// The most bytes of all annotations of an object, for an API server.
const MOST_ANNOTATIONS: usize = 256 << 10;

/// The API server at this address, as the node `n1` asks it.
pub fn api(url: &str) -> Api {
    let ca = CertificateParams::new(Vec::new()).unwrap().self_signed(&KeyPair::generate().unwrap()).unwrap();
    let access = ApiAccess {
        server: url.to_owned(),
        certificate_authority: PemSource::Inline(ca.pem().into_bytes()),
        credential: Credential::Token(Secret::new("t".to_owned())),
    };
    Api::new(access, "n1".to_owned())
}

/// A server that gives the same answer to each request, and keeps what it was sent.
struct Server {
    url: String,
    sent: Arc<Mutex<Vec<u8>>>,
}

async fn server(answer: Vec<u8>) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let sent = Arc::new(Mutex::new(Vec::new()));
    let keeps = Arc::clone(&sent);
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            tokio::spawn(play(connection, answer.clone(), Arc::clone(&keeps)));
        }
    });
    Server { url, sent }
}

async fn play(mut connection: TcpStream, answer: Vec<u8>, keeps: Arc<Mutex<Vec<u8>>>) {
    let mut request = Vec::new();
    while !is_whole(&request) {
        if connection.read_buf(&mut request).await.unwrap_or_default() == 0 {
            return;
        }
    }
    *keeps.lock().unwrap() = request.clone();
    let _ = connection.write_all(&answer).await;
    let _ = connection.shutdown().await;
    while connection.read_buf(&mut request).await.unwrap_or_default() > 0 {}
}

fn is_whole(request: &[u8]) -> bool {
    let Some(end) = request.windows(4).position(|end| end == b"\r\n\r\n") else { return false };
    let head = String::from_utf8_lossy(&request[..end]).to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    request.len() >= end + 4 + length.unwrap_or(0)
}

fn http(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n{headers}\r\n");
    [head.as_bytes(), body].concat()
}

/// A JSON text in which `@` is the bad text, as it would be written there: what JSON cannot have is escaped, what is no
/// text stays as it is.
fn json(template: &str, text: &[u8]) -> Vec<u8> {
    let mut written = Vec::new();
    for byte in text {
        match byte {
            0..0x20 | b'"' | b'\\' => written.extend(format!("\\u{byte:04x}").into_bytes()),
            byte => written.push(*byte),
        }
    }
    let (before, after) = template.split_once('@').unwrap();
    http(
        "200 OK",
        "content-type: application/json\r\n",
        &[before.as_bytes(), &written, after.as_bytes()].concat(),
    )
}

/// A text in an answer.
struct Input {
    name: &'static str,
    good: &'static str,
    /// The answer with this text.
    answer: fn(&[u8]) -> Vec<u8>,
    /// Reads it.
    read: fn(&str) -> Result<String, String>,
}

fn told<T>(result: Result<T, ApiError>) -> Result<T, String> {
    result.map_err(|error| error.to_string())
}

fn shown(fact: &impl Debug) -> String {
    // Debug escapes what would be obeyed: so that it is seen if anything is left.
    let shown = format!("{fact:?}");
    for left in ["\\u{", "\\n", "\\r", "\\0", "\\t"] {
        assert!(!shown.contains(left), "{shown}");
    }
    shown
}

fn node<T: Debug>(url: &str, fact: impl Fn(NodeView) -> T) -> Result<String, String> {
    let node = told(block_on(api(url).node()))?.unwrap();
    writes_of_node(url, &node);
    Ok(shown(&fact(node)))
}

fn slot<T: Debug>(url: &str, fact: impl Fn(SlotView) -> T) -> Result<String, String> {
    Ok(shown(&fact(told(block_on(api(url).slots()))?.remove(0))))
}

fn pod<T: Debug>(url: &str, fact: impl Fn(PodView) -> T) -> Result<String, String> {
    Ok(shown(&fact(told(block_on(api(url).pods()))?.remove(0))))
}

fn own_node(url: &str) -> Result<String, String> {
    let node = block_on(api(url).own_node("m")).map_err(|error| error.to_string())?;
    Ok(format!("bound to {}", node.name))
}

fn issued(url: &str) -> Result<String, String> {
    let node = BoundNode { name: "n1".into(), uid: "u".into() };
    let issued = told(block_on(api(url).issue(&node, Duration::from_secs(600))))?;
    Ok(format!("{issued:?}"))
}

macro_rules! node {
    ($name:literal, $good:literal, $template:literal, |$node:ident| $fact:expr) => {
        Input {
            name: concat!("Node: ", $name),
            good: $good,
            answer: |text| json($template, text),
            read: |url| node(url, |$node| $fact),
        }
    };
}

macro_rules! slot {
    ($name:literal, $good:literal, |$slot:ident| $fact:expr) => {
        Input {
            name: concat!("slot: annotation ", $name),
            good: $good,
            answer: |text| {
                let before = concat!(r#"{"metadata": {}, "items": [{"metadata": {"name": "worker-1", "annotations": {"rebootd.io/"#, $name);
                json(&format!("{before}\": \"@\"}}}}, \"spec\": {{\"holderIdentity\": \"n2\"}}}}]}}"), text)
            },
            read: |url| slot(url, |$slot| $fact),
        }
    };
}

const INPUTS: &[Input] = &[
    node!("hold", "disk", r#"{"metadata": {"uid": "u", "annotations": {"rebootd.io/hold": "@"}}}"#, |node| {
        node.hold
    }),
    node!(
        "request",
        "firmware",
        r#"{"metadata": {"uid": "u", "annotations": {"rebootd.io/request": "@"}}}"#,
        |node| node.request
    ),
    node!(
        "what we have added",
        "label:a annotation:b",
        r#"{"metadata": {"uid": "u", "annotations": {"rebootd.io/added": "@"}}}"#,
        |node| node.added.len()
    ),
    node!(
        "cordon mark",
        "firmware",
        r#"{"metadata": {"uid": "u", "annotations": {"rebootd.io/cordon": "@"}}}"#,
        |node| node.mark.is_some()
    ),
    node!(
        "deleted",
        "2026-11-27T17:00:00Z",
        r#"{"metadata": {"uid": "u", "deletionTimestamp": "@"}}"#,
        |node| node.removal
    ),
    node!(
        "boot id",
        "0f1e2d3c-0000-4000-8000-000000000001",
        r#"{"metadata": {"uid": "u"}, "status": {"nodeInfo": {"bootID": "@"}}}"#,
        |node| node.boot_id
    ),
    node!(
        "machine id",
        "0123456789abcdef0123456789abcdef",
        r#"{"metadata": {"uid": "u"}, "status": {"nodeInfo": {"machineID": "@"}}}"#,
        |node| node.machine_id
    ),
    node!(
        "Ready",
        "True",
        r#"{"metadata": {"uid": "u"}, "status": {"conditions": [{"type": "Ready", "status": "@"}]}}"#,
        |node| node.ready
    ),
    node!(
        "heartbeat",
        "2026-11-27T17:00:00Z",
        r#"{"metadata": {"uid": "u"}, "status": {"conditions": [{"type": "Ready", "lastHeartbeatTime": "@"}]}}"#,
        |node| node.heartbeat
    ),
    node!(
        "resource",
        "nvidia.com/gpu",
        r#"{"metadata": {"uid": "u"}, "status": {"allocatable": {"@": "1"}}}"#,
        |node| node.allocatable
    ),
    node!(
        "quantity",
        "4",
        r#"{"metadata": {"uid": "u"}, "status": {"allocatable": {"cpu": "@"}}}"#,
        |node| node.allocatable
    ),
    slot!("machine-id", "0123456789abcdef0123456789abcdef", |slot| slot.claim.machine_id),
    slot!("node-uid", "u", |slot| slot.claim.node_uid),
    slot!("boot-id", "b", |slot| slot.claim.boot_id),
    slot!("claimed-at", "12.500", |slot| slot.claim.at),
    slot!("allocatable", "cpu=4,nvidia.com/gpu=8", |slot| slot.claim.allocatable),
    slot!("taints", "dedicated:NoSchedule,x:NoExecute", |slot| slot.claim.taints),
    slot!("heartbeat", "2026-11-27T17:00:00Z", |slot| slot.claim.heartbeat),
    slot!("reason", "/run/reboot-required by libc6", |slot| slot.claim.reason),
    slot!("rebooting", "b 1 12.500", |slot| slot.stamp.map(|stamp| (stamp.boot_id, stamp.attempt, stamp.at))),
    slot!("step-back", "ada@laptop", |slot| slot.step_back),
    Input {
        name: "slot: holder",
        good: "n2",
        answer: |text| {
            json(
                r#"{"metadata": {}, "items": [{"metadata": {"name": "worker-1"}, "spec": {"holderIdentity": "@"}}]}"#,
                text,
            )
        },
        read: |url| {
            // Its Node is asked for by this name, if it can be one.
            let asked = |holder: &str| match block_on(api(url).node_exists(holder)) {
                Ok(_) => "asked for".to_owned(),
                Err(error) => error.to_string(),
            };
            slot(url, |slot| (slot.holder.as_deref().map(asked), slot.holder))
        },
    },
    Input {
        name: "pause",
        good: "move of racks",
        answer: |text| {
            json(
                r#"{"metadata": {}, "items": [{"metadata": {"name": "pause"}, "spec": {"holderIdentity": "@"}}]}"#,
                text,
            )
        },
        read: |url| slot(url, |slot| slot.holder),
    },
    Input {
        name: "kubelet's Lease: renewed",
        good: "2026-11-27T17:00:00.000000Z",
        answer: |text| json(r#"{"metadata": {"uid": "u"}, "spec": {"renewTime": "@"}}"#, text),
        read: |url| Ok(shown(&told(block_on(api(url).kubelet()))?.renewed)),
    },
    Input {
        name: "pod: owner",
        good: "cni",
        answer: |text| {
            json(
                r#"{"metadata": {}, "items": [{"metadata": {"ownerReferences": [{"kind": "DaemonSet", "controller": true, "name": "@"}]}}]}"#,
                text,
            )
        },
        read: |url| pod(url, |pod| pod.controller),
    },
    Input {
        name: "pod: grace as text",
        good: "30",
        answer: |text| {
            json(r#"{"metadata": {}, "items": [{"spec": {"terminationGracePeriodSeconds": "@"}}]}"#, text)
        },
        read: |url| pod(url, |pod| pod.grace),
    },
    Input {
        name: "fleet's policy",
        good: "version = 1\n[policy]\nwindow = \"always\"\n",
        answer: |text| json(r#"{"metadata": {}, "items": [{"data": {"policy.toml": "@"}}]}"#, text),
        read: policy,
    },
    Input {
        name: "fleet's policy: another key",
        good: "policy.toml",
        answer: |text| json(r#"{"metadata": {}, "items": [{"data": {"@": "version = 1"}}]}"#, text),
        read: policy,
    },
    Input {
        name: "another node: status",
        good: "NotReady",
        answer: |text| {
            json(
                r#"{"kind": "Table", "metadata": {}, "columnDefinitions": [{"name": "Name"}, {"name": "Status"}], "rows": [{"cells": ["n2", "@"]}]}"#,
                text,
            )
        },
        read: |url| {
            Ok(shown(&told(block_on(api(url).others("worker", &Default::default(), &[])))?.not_ready.first))
        },
    },
    Input {
        name: "whose a token is",
        good: "system:serviceaccount:rebootd:rebootd",
        answer: |text| json(r#"{"status": {"userInfo": {"username": "@"}}}"#, text),
        read: own_node,
    },
    Input {
        name: "which Node a token is bound to",
        good: "n1",
        answer: |text| {
            json(
                r#"{"metadata": {"uid": "u"}, "status": {"nodeInfo": {"machineID": "m"}, "userInfo": {"username": "system:serviceaccount:rebootd:rebootd", "extra": {"authentication.kubernetes.io/node-uid": ["u"], "authentication.kubernetes.io/node-name": ["@"]}}}}"#,
                text,
            )
        },
        read: own_node,
    },
    Input {
        name: "a new token",
        good: "abc",
        answer: |text| json(r#"{"spec": {"expirationSeconds": 600}, "status": {"token": "@"}}"#, text),
        read: issued,
    },
    Input {
        name: "a new token of another form",
        good: "abc",
        answer: |text| json(r#"{"spec": {"expirationSeconds": 600}, "status": "@"}"#, text),
        read: issued,
    },
    Input {
        name: "error: message",
        good: "nodes is forbidden",
        answer: |text| {
            let body = json(r#"{"kind": "Status", "message": "@"}"#, text);
            String::from_utf8_lossy(&body).replacen("200 OK", "403 Forbidden", 1).into_bytes()
        },
        read: |url| told(block_on(api(url).pods())).map(|_| "read".into()),
    },
    Input {
        name: "error: plain text",
        good: "upstream connect error",
        answer: |text| http("502 Bad Gateway", "", text),
        read: |url| told(block_on(api(url).pods())).map(|_| "read".into()),
    },
    Input {
        name: "list: anything else",
        good: r#"{"metadata": {}, "items": []}"#,
        answer: |text| http("200 OK", "", text),
        read: |url| told(block_on(api(url).pods())).map(|_| "read".into()),
    },
    Input {
        name: "header Retry-After",
        good: "7",
        answer: |text| {
            // What breaks a line is the next header.
            let value: Vec<u8> = text.iter().copied().filter(|byte| !b"\r\n".contains(byte)).collect();
            [
                b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 0\r\nconnection: close\r\nretry-after: ",
                value.as_slice(),
                b"\r\n\r\n",
            ]
            .concat()
        },
        read: |url| match block_on(api(url).pods()) {
            Ok(_) => Ok("read".into()),
            Err(error @ ApiError::Status { .. }) => {
                Ok(format!("after {:?}", Failure::from(error).retry_after))
            }
            Err(error) => Err(error.to_string()),
        },
    },
    Input {
        name: "Prometheus: label",
        good: "n2",
        answer: |text| {
            json(
                r#"{"status": "success", "data": {"resultType": "vector", "result": [{"metric": {"alertname": "NodeDown", "node": "@"}, "value": [1, "1"]}]}}"#,
                text,
            )
        },
        read: prometheus,
    },
    Input {
        name: "Prometheus: value",
        good: "1",
        answer: |text| {
            json(
                r#"{"status": "success", "data": {"resultType": "vector", "result": [{"metric": {}, "value": [1, "@"]}]}}"#,
                text,
            )
        },
        read: prometheus,
    },
    Input {
        name: "Prometheus: error",
        good: "query timed out",
        answer: |text| json(r#"{"status": "error", "error": "@"}"#, text),
        read: prometheus,
    },
    Input {
        name: "object of [after]",
        good: "HEALTH_OK",
        answer: |text| json(r#"{"status": {"health": "@"}}"#, text),
        read: |url| {
            let field = ObjectField { path: "/x".into(), field: "status.health".into(), equals: vec![] };
            Ok(told(block_on(api(url).values(&field)))?.into_iter().flatten().collect::<Vec<_>>().join(", "))
        },
    },
    Input {
        name: "kured's lock",
        good: "n1",
        answer: |text| {
            let before = r#"{"metadata": {}, "items": [{"metadata": {"name": "kured", "namespace": "kube-system", "annotations": {"#;
            json(&format!(r#"{before}"weave.works/kured-node-lock": "@"}}}}}}]}}"#), text)
        },
        read: |url| Ok(shown(&told(block_on(api(url).kured()))?)),
    },
    Input {
        name: "Plan: name",
        good: "os",
        answer: |text| json(r#"{"metadata": {}, "items": [{"metadata": {"name": "@"}}]}"#, text),
        read: |url| Ok(shown(&told(block_on(api(url).upgrade_plans()))?)),
    },
    Input {
        name: "watch: hold",
        good: "disk",
        answer: |text| {
            let mut line = json(
                r#"{"type": "ADDED", "object": {"metadata": {"uid": "u", "annotations": {"rebootd.io/hold": "@"}}}}"#,
                text,
            );
            let head = line.windows(4).position(|end| end == b"\r\n\r\n").unwrap() + 4;
            line.drain(..head);
            [b"HTTP/1.1 200 OK\r\n\r\n", line.as_slice(), b"\n"].concat()
        },
        read: |url| {
            let event = block_on(async {
                let mut watch = api(url).watch(Part::Annotations).unwrap();
                let next = std::future::poll_fn(|context| watch.poll_next(context));
                tokio::time::timeout(Duration::from_millis(1500), next).await
            });
            match event {
                Ok(Some(Event::Annotations { hold, .. })) => Ok(shown(&hold)),
                // It starts again later.
                Err(_elapsed) => Ok("no event".to_owned()),
                Ok(other) => panic!("{other:?}"),
            }
        },
    },
];

fn policy(url: &str) -> Result<String, String> {
    let data: BTreeMap<String, String> = told(block_on(api(url).policy()))?.unwrap();
    FleetPolicy::from_config_map(&data).map(|_| "understood".into()).map_err(|error| error.summary())
}

fn prometheus(url: &str) -> Result<String, String> {
    let server =
        Prometheus::Url { url: url.to_owned(), token_file: None, certificate_authority: "/unused".into() };
    let query = Query { expression: "up".into(), server };
    Ok(told(block_on(api(url).query(&query)))?.first.join(", "))
}

fn write(change: SlotChange) -> SlotWrite {
    SlotWrite { slot: "s".into(), uid: "u".into(), resource_version: "1".into(), nonce: "n".into(), change }
}

/// Whatever is on the Node, a claim, a cordon and a stamp that carry it are small enough.
fn writes_of_node(url: &str, node: &NodeView) {
    let reason = [&node.hold, &node.request].into_iter().flatten().cloned().collect::<Vec<_>>().join("; ");
    let claim = Claim {
        machine_id: Some(node.machine_id.clone()),
        boot_id: Some(node.boot_id.clone()),
        allocatable: node.allocatable.clone(),
        heartbeat: node.heartbeat.clone(),
        reason: reason.clone(),
        ..Claim::default()
    };
    let stamp = Stamp {
        boot_id: "b".into(),
        attempt: 1,
        at: std::time::Duration::ZERO,
        daemon_sets: Default::default(),
        request: node.request.clone(),
    };
    let cordon = NodeWrite {
        uid: "u".into(),
        resource_version: "1".into(),
        nonce: "n".into(),
        pool: "worker".into(),
        fulfils_request: false,
        signs: SignsWrite::default(),
        change: NodeChange::Cordon { why: reason },
    };
    block_on(async {
        let mut api = api(url);
        for outcome in [
            api.write_slot(&write(SlotChange::Claim(claim)), NOW).await,
            api.write_slot(&write(SlotChange::Stamp(stamp, Successors::default())), NOW).await,
            api.write_node(&cordon).await,
        ] {
            assert_eq!(outcome, Outcome::Answered);
        }
    });
}

#[test]
fn whatever_others_have_written() {
    let mut told = Told::default();
    for input in INPUTS {
        told.input(input.name);
        for (bad, kind) in BAD {
            let Some(text) = kind.content(input.good.as_bytes()) else { continue };
            let (url, sent) = serve((input.answer)(&text));
            let answer = (input.read)(&url).unwrap_or_else(|error| format!("ERROR {error}"));
            assert!(
                sent.lock().unwrap().len() < 4096,
                "{}, {bad}: a request is as long as what was read",
                input.name
            );
            told.answer(bad, Some(&text), &answer);
        }
    }
    told.compare("answers.txt");
}

/// The same server, on a thread of its own until the test ends.
fn serve(answer: Vec<u8>) -> (String, Arc<Mutex<Vec<u8>>>) {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        block_on(async move {
            let Server { url, sent } = server(answer).await;
            let _ = sender.send((url, sent));
            std::future::pending::<()>().await;
        })
    });
    receiver.recv().unwrap()
}

#[test]
fn a_claim_fits_however_many_resources_and_taints_a_node_has() {
    let resources: Vec<String> =
        (0..5000).map(|number| format!("\"example.com/device-{number:0100}\": \"1\"")).collect();
    let body = format!(
        r#"{{"metadata": {{"uid": "u"}}, "status": {{"allocatable": {{{}}}}}}}"#,
        resources.join(",")
    );
    let (url, sent) = serve(http("200 OK", "", body.as_bytes()));
    let node = block_on(api(&url).node()).unwrap().unwrap();
    assert_eq!(node.allocatable.len(), 5000);
    let taints = (0..5000).map(|number| format!("example.com/taint-{number:0100}:NoSchedule")).collect();
    let claim = Claim { allocatable: node.allocatable, taints: Some(taints), ..Claim::default() };
    assert_eq!(block_on(api(&url).write_slot(&write(SlotChange::Claim(claim)), NOW)), Outcome::Answered);
    let sent = sent.lock().unwrap().len();
    assert!((1000..MOST_ANNOTATIONS / 2).contains(&sent), "{sent}");
}
