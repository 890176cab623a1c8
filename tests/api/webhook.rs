//! A webhook that refuses evictions, as a real API server passes its answer on.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{CertificateParams, KeyPair};
use rebootd::decide::{EvictionOutcome, How, Refuser};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

use crate::evictions::running;
use crate::server::with_server;

const WEBHOOKS: &str = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";

/// Starts a webhook that answers every review with this status; gives its address, and who vouches for it.
fn webhook(status: Value) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let certificate =
        CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().self_signed(&key).unwrap();
    let pem = certificate.pem();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = ServerConfig::builder().with_no_client_auth();
    let config = Arc::new(config.with_single_cert(vec![certificate.der().clone()], key).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            // The server may go away in the middle.
            let _ = review(StreamOwned::new(connection, stream), &status);
        }
    });
    (url, STANDARD.encode(pem))
}

/// Answers one review.
fn review(stream: StreamOwned<ServerConnection, TcpStream>, status: &Value) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let (mut line, mut length) = (String::new(), 0);
    while line != "\r\n" {
        line.clear();
        stream.read_line(&mut line)?;
        if let Some(text) = line.to_lowercase().strip_prefix("content-length:") {
            length = text.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    let uid = serde_json::from_slice::<Value>(&body)?["request"]["uid"].clone();
    let response = json!({ "uid": uid, "allowed": false, "status": status });
    let answer =
        json!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response });
    let (body, stream) = (answer.to_string(), stream.get_mut());
    let head =
        format!("content-type: application/json\r\ncontent-length: {}\r\nconnection: close", body.len());
    write!(stream, "HTTP/1.1 200 OK\r\n{head}\r\n\r\n{body}")?;
    stream.conn.send_close_notify();
    stream.flush()
}

#[test]
fn a_webhook_that_answers_429_with_causes_refuses_its_pod_and_is_no_overloaded_server() {
    with_server(async |server| {
        let causes =
            json!([{ "reason": "FieldValueInvalid", "field": "spec", "message": "the VM migrates" }]);
        let (url, ca) = webhook(json!({ "code": 429, "message": "busy", "details": { "causes": causes } }));
        let pod = running(server, "evict-vm", "evict-e").await;
        let rule = json!({
            "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods/eviction"],
        });
        // Other tests evict, too.
        let only = json!([{ "name": "only", "expression": "request.name == 'evict-vm'" }]);
        let webhook = json!({
            "name": "virt.example.com", "clientConfig": { "url": url, "caBundle": ca }, "rules": [rule],
            "matchConditions": only, "sideEffects": "None", "admissionReviewVersions": ["v1"],
        });
        server.create(WEBHOOKS, json!({ "metadata": { "name": "virt" }, "webhooks": [webhook] })).await;
        let mut api = server.api("evict-e");
        // The server takes a moment to know of it.
        let refusal = loop {
            match api.eviction(&pod, How::DryRun, None).await {
                EvictionOutcome::Granted => tokio::time::sleep(Duration::from_millis(100)).await,
                EvictionOutcome::Refused(refusal) => break refusal,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(refusal.by, Refuser::Webhook { name: "virt.example.com".into() }, "{refusal:?}");
        let told = "429 admission webhook \"virt.example.com\" denied the request: busy: the VM migrates";
        assert_eq!(refusal.message, told);
        let refused = api.eviction(&pod, How::Evict, None).await;
        assert!(matches!(refused, EvictionOutcome::Refused(_)), "{refused:?}");
    });
}
