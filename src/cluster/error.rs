//! Why a request failed: what the server says about it, and what that means.
//!
//! Whatever others wrote in it is made fit for people here, once.

use std::fmt::Display;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::Response;
use reqwest::header::RETRY_AFTER;
use serde::Deserialize;

use crate::decide::{Failure, Outcome};
use crate::words::{MESSAGE, NOTE, words};

/// No server has a reason to make a node wait longer than this.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(600);
/// Longer text does not explain an error.
const LONGEST_STATUS: usize = 1 << 20;

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// A credential could not be read or used: nothing was sent.
    #[error("{path}: {why}", path = path.display())]
    Credential {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The request or its client could not be made: nothing was sent.
    #[error("{0}")]
    Client(String),
    /// No answer, or an incomplete one: it is unknown whether the request was carried out.
    #[error("{0}")]
    NoAnswer(String),
    /// The server's answer is an error.
    #[error("{code} {}", told(message, causes))]
    Status {
        /// HTTP status code.
        code: u16,
        /// What the server says, and what to do about it if we know.
        message: String,
        /// The causes that the server gives. If a budget refuses, only they say which, with its numbers.
        causes: Vec<Cause>,
        /// How long it asks us to wait.
        retry_after: Option<Duration>,
    },
    /// The answer is not what it should be.
    #[error("the answer cannot be understood: {0}")]
    Garbled(String),
}

impl ApiError {
    /// No answer, or an incomplete one.
    pub(super) fn no_answer(why: impl Display) -> ApiError {
        ApiError::NoAnswer(words(&why.to_string(), MESSAGE))
    }

    /// An answer that is not what it should be.
    pub(super) fn garbled(why: impl Display) -> ApiError {
        ApiError::Garbled(words(&why.to_string(), MESSAGE))
    }

    /// An answer that is an error, in the server's words.
    pub(super) fn status(code: u16, message: &str) -> ApiError {
        ApiError::Status { code, message: words(message, MESSAGE), causes: Vec::new(), retry_after: None }
    }

    /// Whether only this request fails while others may well succeed: a missing right, a missing object, an odd
    /// answer.
    pub fn is_about_the_request(&self) -> bool {
        match self {
            // The credential, the time and the load concern all requests.
            ApiError::Status { code, .. } => (400..500).contains(code) && ![401, 408, 429].contains(code),
            ApiError::Garbled(_) => true,
            ApiError::Credential { .. } | ApiError::Client(_) | ApiError::NoAnswer(_) => false,
        }
    }

    /// Whether the server does not know, or no longer, who asks.
    pub fn refuses_the_credential(&self) -> bool {
        matches!(self, ApiError::Status { code: 401, .. })
    }

    /// The outcome of a write that ended with this error.
    pub fn outcome(self) -> Outcome {
        match &self {
            // A client error other than a timeout is a decision of the server: the write is not applied.
            ApiError::Status { code, .. } if (400..500).contains(code) && *code != 408 => {
                Outcome::Refused { conflict: *code == 409, failure: self.into() }
            }
            ApiError::Credential { .. } | ApiError::Client(_) => {
                Outcome::Refused { conflict: false, failure: self.into() }
            }
            ApiError::Status { .. } | ApiError::NoAnswer(_) | ApiError::Garbled(_) => {
                Outcome::Unanswered(self.into())
            }
        }
    }
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Failure {
        let retry_after = match &error {
            ApiError::Status { retry_after, .. } => *retry_after,
            _ => None,
        };
        Failure { message: error.to_string(), retry_after }
    }
}

/// The parts of `meta/v1 Status` that we need.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Status {
    code: u16,
    message: String,
    details: Option<Details>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Details {
    causes: Option<Vec<Cause>>,
}

/// A cause in a `meta/v1 Status`.
#[derive(Debug, Clone, Deserialize, Default)]
#[serde(default)]
pub struct Cause {
    /// One word for programs.
    pub reason: String,
    /// For people.
    pub message: String,
}

impl From<Status> for ApiError {
    fn from(status: Status) -> ApiError {
        let mut causes = status.details.and_then(|details| details.causes).unwrap_or_default();
        causes.iter_mut().for_each(|cause| cause.message = words(&cause.message, MESSAGE));
        let message = words(&status.message, MESSAGE);
        ApiError::Status { code: status.code, message, causes, retry_after: None }
    }
}

/// What the server says, with those of its causes that it has not named in that.
fn told(message: &str, causes: &[Cause]) -> String {
    let texts = causes.iter().map(|it| it.message.as_str()).filter(|it| !message.contains(it));
    let texts = texts.collect::<Vec<_>>().join("; ");
    if texts.is_empty() {
        return message.to_owned();
    }
    words(&format!("{}: {texts}", message.trim_end_matches('.')), MESSAGE)
}

/// The error, if the answer is one.
pub(super) async fn status_of(response: Response) -> ApiError {
    let code = response.status().as_u16();
    let asked = retry_after(&response);
    let mut error = match whole(response, LONGEST_STATUS).await {
        Ok(body) => status_in(code, &body),
        Err(unread) => ApiError::status(code, &unread.to_string()),
    };
    if let ApiError::Status { message, retry_after, .. } = &mut error {
        *retry_after = asked;
        if code == 401 {
            message.push_str(" (the credential is not accepted)");
        }
    }
    error
}

/// The error in the body of an answer with this code.
pub(super) fn status_in(code: u16, body: &[u8]) -> ApiError {
    match serde_json::from_slice::<Status>(body) {
        Ok(status) if !status.message.is_empty() => Status { code, ..status }.into(),
        // Overload and proxies answer in plain text.
        _ => Status { code, message: words(&String::from_utf8_lossy(body), NOTE), details: None }.into(),
    }
}

/// How many seconds the answer asks us to wait. A date, or anything else that is not a number, counts as none.
fn retry_after(response: &Response) -> Option<Duration> {
    let text = response.headers().get(RETRY_AFTER)?.to_str().ok()?;
    let seconds: u64 = text.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(LONGEST_RETRY_AFTER))
}

/// Reads the body of an answer, if it is not longer than this many bytes.
pub(super) async fn whole(mut response: Response, most: usize) -> Result<Vec<u8>, ApiError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(no_answer)? {
        if body.len() + chunk.len() > most {
            return Err(ApiError::garbled(format!("it is longer than {} MiB", most >> 20)));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// A request that ended without an answer.
pub(super) fn no_answer(error: reqwest::Error) -> ApiError {
    let broke = error.is_body() || error.is_decode();
    let text = with_advice(chain(&error.without_url()));
    ApiError::no_answer(if broke { format!("the connection broke: {text}") } else { text })
}

/// A host without a battery for its clock starts years in the past.
fn with_advice(text: String) -> String {
    match ["certificate not valid yet", "certificate expired"].iter().any(|words| text.contains(words)) {
        true => text + " (is the clock of this host right?)",
        false => text,
    }
}

/// An error with its causes: reqwest's own text says little.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut texts = vec![error.to_string()];
    let mut source = error.source();
    while let Some(cause) = source {
        let text = cause.to_string();
        if !texts.iter().any(|known| known.contains(&text)) {
            texts.push(text);
        }
        source = cause.source();
    }
    texts.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_that_is_out_of_its_time_asks_for_the_clock() {
        // The wording of rustls.
        let early =
            "invalid peer certificate: certificate not valid yet: verification time 1763905185 (UNIX)";
        let late = "invalid peer certificate: certificate expired: verification time 1826977185 (UNIX)";
        for text in [early, late] {
            assert!(with_advice(text.to_owned()).ends_with("(is the clock of this host right?)"));
        }
        assert_eq!(with_advice("connection refused".to_owned()), "connection refused");
    }

    #[test]
    fn an_error_is_told_in_the_servers_words_made_fit_for_people() {
        let told = |body: &str| status_in(500, body.as_bytes()).to_string();
        assert_eq!(told(r#"{"message": "no\n\u001b[2Jmore"}"#), "500 no [2Jmore");
        assert_eq!(told("<html>\r\n<h1>502</h1>"), "500 <html> <h1>502</h1>");
        let causes = r#"{"message": "x", "details": {"causes": [{"message": "a\nb"}, {"message": "c"}]}}"#;
        assert_eq!(told(causes), "500 x: a b; c");
        let again =
            r#"{"message": "x is bad.", "details": {"causes": [{"message": "is bad"}, {"message": ""}]}}"#;
        assert_eq!(told(again), "500 x is bad.");
        assert_eq!(told(r#"{"message": "x", "details": {"causes": null}}"#), "500 x");
        assert_eq!(told(r#"{"message": "x", "code": 77}"#), "500 x");
        assert!(told(&"x".repeat(256 << 10)).chars().count() < 2 * MESSAGE);
    }
}
