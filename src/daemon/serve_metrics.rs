//! One answer over HTTP, for `rebootd-metrics@.service`: systemd listens, so that the daemon does not.

use std::io::{self, BufRead, Write};
use std::path::Path;

use crate::read::read;
use crate::report::metrics;

/// Nobody who asks for metrics has more to say.
const LONGEST_REQUEST: u64 = 16 << 10;
/// The metrics have a few kilobytes.
const LONGEST_PAGE: u64 = 1 << 20;

/// Reads a request and answers it by the metrics.
pub(super) fn serve(input: impl BufRead, mut output: impl Write) -> io::Result<()> {
    let request = request(input)?;
    let method = request.split(|byte| *byte == b' ').next();
    let (status, page) = match method {
        Some(b"GET" | b"HEAD") => match read(Path::new(metrics::PATH), LONGEST_PAGE) {
            Ok(page) => ("200 OK", page),
            Err(_) => ("503 Service Unavailable", b"rebootd has written no metrics in this boot\n".to_vec()),
        },
        _ => ("405 Method Not Allowed", b"only GET\n".to_vec()),
    };
    write!(
        output,
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n",
        page.len()
    )?;
    if method != Some(b"HEAD") {
        output.write_all(&page)?;
    }
    output.flush()
}

/// The head of a request; it is read to its end, because who still sends does not see an answer.
fn request(input: impl BufRead) -> io::Result<Vec<u8>> {
    let mut request = Vec::new();
    let mut input = input.take(LONGEST_REQUEST);
    while input.read_until(b'\n', &mut request)? > 0 {
        if request.ends_with(b"\r\n\r\n") || request.ends_with(b"\n\n") {
            break;
        }
    }
    Ok(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(request: &[u8]) -> String {
        let mut answer = Vec::new();
        serve(request, &mut answer).unwrap();
        String::from_utf8(answer).unwrap()
    }

    #[test]
    fn whatever_is_asked_gets_one_answer() {
        for (request, status) in [
            (&b"POST /metrics HTTP/1.1\r\n\r\n"[..], "HTTP/1.1 405 "),
            (b"", "HTTP/1.1 405 "),
            (&[b'x'; 100_000], "HTTP/1.1 405 "),
            (b"\xff\x00\n\n", "HTTP/1.1 405 "),
        ] {
            let answer = answer(request);
            assert!(answer.starts_with(status) && answer.ends_with("only GET\n"), "{answer}");
        }
        // There may be a daemon on the machine that runs this test.
        let answer = answer(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(answer.starts_with("HTTP/1.1 200 ") || answer.starts_with("HTTP/1.1 503 "), "{answer}");
    }
}
