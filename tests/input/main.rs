//! Whatever rebootd reads is fed the same bad inputs, from one table: files, what the API server and Prometheus answer,
//! what others write into Kubernetes objects, and what comes over D-Bus. Without root.
//!
//! Each answer has to be a fact or a clear error, in words that a terminal, the journal and systemd can take, after a
//! bounded time and a bounded number of bytes read. All of them are in the `.txt` files beside this one, so that a
//! person can judge them; `BLESS=1` writes these again.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    missing_docs,
    reason = "tests"
)]

mod answers;
mod bad;
mod bus;
mod endless;
mod files;

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

/// The answers to one input after the other, as a text to be compared.
#[derive(Default)]
pub struct Told(Vec<Answers>);

/// The answers to an input, each with what was answered so.
struct Answers {
    input: String,
    answers: Vec<(String, Vec<String>)>,
}

impl Told {
    /// Begins with another input.
    pub fn input(&mut self, name: &str) {
        self.0.push(Answers { input: name.to_owned(), answers: Vec::new() });
    }

    /// Adds the answer to this content, which has to be fit for people. Where it repeats the content as it is, there is
    /// `TEXT` instead.
    pub fn answer(&mut self, bad: &str, content: Option<&[u8]>, answer: &str) {
        let Answers { input, answers } = self.0.last_mut().unwrap();
        let length = answer.chars().count();
        assert!(length < 1200, "{input}, {bad}: {length} characters");
        for letter in answer.chars() {
            let obeyed = letter.is_control() || ('\u{202a}'..='\u{202e}').contains(&letter);
            assert!(!obeyed, "{input}, {bad}: {answer:?}");
        }
        let text = content.and_then(|content| str::from_utf8(content).ok()).unwrap_or_default().trim();
        let quoted = format!("{text:?}");
        let mut answer = shortened(answer);
        if !text.is_empty() && text.len() < 100 {
            answer = answer.replace(text, "TEXT").replace(quoted.trim_matches('"'), "TEXT");
        }
        match answers.iter_mut().find(|(same, _)| *same == answer) {
            Some((_, all)) => all.push(bad.to_owned()),
            None => answers.push((answer, vec![bad.to_owned()])),
        }
    }

    /// Compares it with the file of this name beside the sources.
    pub fn compare(self, file: &str) {
        let mut told = String::new();
        for Answers { input, answers } in self.0 {
            let gap = if told.is_empty() { "" } else { "\n" };
            writeln!(told, "{gap}{input}").unwrap();
            for (answer, bad) in answers {
                writeln!(told, "    {answer}").unwrap();
                writeln!(told, "        <- {}", bad.join(", ")).unwrap();
            }
        }
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/input").join(file);
        if std::env::var_os("BLESS").is_some() {
            fs::write(&path, &told).unwrap();
        }
        let expected = fs::read_to_string(&path).unwrap_or_default();
        for (expected, told) in expected.lines().zip(told.lines()) {
            assert_eq!(expected, told, "{file}: see BLESS=1 in docs/development.md");
        }
        assert_eq!(expected.len(), told.len(), "{file}");
    }
}

/// What is as long as somebody wanted it to be says little in a file for people.
fn shortened(answer: &str) -> String {
    let length = answer.chars().count();
    if length < 160 {
        return answer.to_owned();
    }
    let (first, last): (String, String) =
        (answer.chars().take(70).collect(), answer.chars().skip(length - 40).collect());
    format!("{first} [...] {last} ({length} characters)")
}

/// An empty directory of a test's own.
pub fn directory(name: &str) -> PathBuf {
    let directory = std::env::temp_dir().join(format!("rebootd-input-{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir_all(&directory).unwrap();
    directory
}

pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    let _ = rustls::crypto::ring::default_provider().install_default();
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}
