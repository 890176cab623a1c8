//! A webhook: a server of somebody else, whose address is a secret.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::client::Client;
use super::error::ApiError;
use crate::read;

/// More bytes than an address has.
const LONGEST: u64 = 4 << 10;
/// Who signs the certificates of servers.
const AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";
/// How long is waited before it is tried again.
const AGAIN: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(30)];

/// Sends this, three times at most. The file contains the address, which no error repeats.
pub async fn send_to_webhook(file: &Path, body: Value) -> Result<(), ApiError> {
    let url = read::read_text(file, LONGEST).map_err(|error| unusable(file, &error.to_string()))?;
    let url = url.trim();
    let is_local = ["http://127.0.0.1:", "http://localhost:", "http://[::1]:"];
    if !url.starts_with("https://") && !is_local.iter().any(|start| url.starts_with(start)) {
        return Err(unusable(file, "the address does not begin with https://"));
    }
    let client = Client::for_url(url, None, Path::new(AUTHORITIES))?;
    let mut pauses = AGAIN.into_iter();
    loop {
        match client.tell(body.to_string().into_bytes()).await {
            // Nobody who does not understand it does so at the second time.
            Err(error) if !is_for_good(&error) => match pauses.next() {
                Some(pause) => tokio::time::sleep(pause).await,
                None => return Err(error),
            },
            result => return result,
        }
    }
}

fn is_for_good(error: &ApiError) -> bool {
    matches!(error, ApiError::Status { code: 400..=428 | 430..=499, .. })
}

fn unusable(file: &Path, why: &str) -> ApiError {
    ApiError::Credential { path: file.to_owned(), why: why.to_owned() }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::thread;

    use serde_json::json;

    use super::*;

    /// Sends to a server that gives these answers in turn; returns how often it was asked, and how it ended.
    fn sent(answers: &'static [u16]) -> (usize, Result<(), ApiError>) {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let file = std::env::temp_dir().join(format!("rebootd-webhook-{}-{answers:?}", std::process::id()));
        let address = listener.local_addr().unwrap();
        std::fs::write(&file, format!("http://{address}/secret\n")).unwrap();
        let server = thread::spawn(move || {
            for (count, code) in answers.iter().enumerate() {
                let (mut stream, _) = listener.accept().unwrap();
                let mut asked = [0; 4096];
                let length = stream.read(&mut asked).unwrap();
                assert!(asked[..length].starts_with(b"POST /secret HTTP/1.1"), "{count}");
                let answer = format!("HTTP/1.1 {code} x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                stream.write_all(answer.as_bytes()).unwrap();
            }
            answers.len()
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let result = runtime.block_on(send_to_webhook(&file, json!({ "a": 1 })));
        std::fs::remove_file(&file).unwrap();
        (server.join().unwrap(), result)
    }

    #[test]
    fn who_does_not_answer_well_is_told_again() {
        assert!(matches!(sent(&[500, 204]), (2, Ok(()))));
    }

    #[test]
    fn who_does_not_understand_it_is_not_told_again_and_the_address_stays_a_secret() {
        let (1, Err(error)) = sent(&[404]) else { panic!("not told once") };
        assert!(error.to_string().starts_with("404 ") && !error.to_string().contains("secret"), "{error}");
    }

    #[test]
    fn an_address_that_would_be_sent_unencrypted_is_refused() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let file = std::env::temp_dir().join(format!("rebootd-webhook-{}", std::process::id()));
        std::fs::write(&file, "http://example.com/secret").unwrap();
        let error = runtime.block_on(send_to_webhook(&file, json!({}))).unwrap_err().to_string();
        std::fs::remove_file(&file).unwrap();
        assert!(error.contains("https://") && !error.contains("secret"), "{error}");
    }
}
