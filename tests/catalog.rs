//! The journal's catalog: `journalctl -x` shows what docs/status.md says of a message. Its file is golden, made from that
//! document and the ids in the source: `BLESS=1 cargo test --test catalog` writes it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rebootd::decide::Reason;
use rebootd::report::messages::REASONS;

const CATALOG: &str = "packaging/usr/lib/systemd/catalog/rebootd.catalog";
const HEAD: &str = "\
# What journalctl -x says of rebootd's messages, in the words of docs/status.md.
# Written by: BLESS=1 cargo test --test catalog
";
const WIDTH: usize = 78;

fn place(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn read(path: &str) -> String {
    fs::read_to_string(place(path)).unwrap()
}

/// The steps as the source has them: `pub const EVICTION_REFUSED: &str = "ID";` is `eviction-refused`.
fn steps() -> BTreeMap<String, String> {
    let source = read("src/report/messages.rs");
    let constant = |line: &str| {
        let (name, id) = line.strip_prefix("pub const ")?.split_once(": &str = \"")?;
        Some((name.to_lowercase().replace('_', "-"), id.strip_suffix("\";")?.to_owned()))
    };
    source.lines().filter_map(constant).collect()
}

/// A section of docs/status.md.
fn section<'a>(document: &'a str, heading: &str) -> &'a str {
    let text = document.split_once(heading).unwrap().1;
    let depth = heading.trim_start().split(' ').next().unwrap();
    text.split_once(&format!("\n{depth} ")).map_or(text, |(text, _)| text)
}

/// What the document says of each kind of reason: the lines of its entry in the list.
fn of_reasons(document: &str) -> BTreeMap<String, Vec<String>> {
    let mut found = BTreeMap::<String, Vec<String>>::new();
    let mut current = None;
    for line in section(document, "\n## Reasons\n").lines() {
        if let Some((kind, rest)) = line.strip_prefix("- `").and_then(|line| line.split_once("` — ")) {
            current = Some(kind.to_owned());
            found.insert(kind.to_owned(), vec![rest.to_owned()]);
        } else if line.starts_with("  ") || line.is_empty() {
            let lines = current.as_ref().and_then(|kind| found.get_mut(kind));
            lines.into_iter().for_each(|lines| lines.push(line.to_owned()));
        } else {
            current = None;
        }
    }
    found
}

/// What the document says of each step, with its id: the rows of the table.
fn of_steps(document: &str) -> BTreeMap<String, (String, String)> {
    let rows = section(document, "\n### Message ids\n").lines().filter_map(|line| {
        let row = line.strip_prefix("| `")?.strip_suffix(" |")?;
        let [step, id, text] = row.splitn(3, " | ").collect::<Vec<_>>()[..] else { return None };
        let (step, id) = (step.trim_end_matches('`'), id.trim_matches('`'));
        Some((step.to_owned(), (id.to_owned(), text.to_owned())))
    });
    rows.collect()
}

/// Without Markdown: what is slanted is quoted, and a link names its document.
fn plain(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, link)) = rest.split_once('[') {
        out += before;
        match link.split_once("](") {
            Some((shown, after)) if !shown.contains(']') => {
                let (target, after) = after.split_once(')').unwrap();
                out += shown;
                let file = target.split('#').next().unwrap();
                if !file.is_empty() {
                    out += &format!(" ({file})");
                }
                rest = after;
            }
            _ => {
                out.push('[');
                rest = link;
            }
        }
    }
    out += rest;
    out.replace("**Do:**", "\nWhat to do:").replace('*', "\"")
}

/// Words in lines of a readable length.
fn wrap(text: &str, indent: &str) -> String {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().unwrap();
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > WIDTH - indent.len() {
            lines.push(word.to_owned());
        } else {
            *line += if line.is_empty() { "" } else { " " };
            *line += word;
        }
    }
    lines.iter().map(|line| format!("{indent}{line}\n")).collect()
}

/// An entry's text: paragraphs, inner lists and commands as they are.
fn body(lines: &[String]) -> String {
    let mut parts = vec![String::new()];
    for line in lines {
        let is_command = line.starts_with("      ");
        if line.is_empty() || line.starts_with("  - ") || is_command {
            parts.push(String::new());
        }
        let part = parts.last_mut().unwrap();
        *part += if part.is_empty() || is_command { "" } else { " " };
        *part += if is_command { line } else { line.trim() };
    }
    let text = |part: &String| {
        if part.starts_with("      ") {
            return format!("    {}\n", part.trim());
        }
        plain(part).lines().filter(|it| !it.trim().is_empty()).map(|it| wrap(it, "")).collect()
    };
    let texts = parts.iter().filter(|part| !part.is_empty()).map(text).collect::<Vec<_>>();
    texts.concat()
}

fn entry(name: &str, id: &str, text: &str) -> String {
    format!(
        "\n-- {id}\nSubject: {name}\nDefined-By: rebootd\n\
         Support: https://github.com/rebootd/rebootd/issues\n\
         Documentation: file:///usr/share/doc/rebootd/docs/status.md\n\n{text}"
    )
}

/// The catalog that the document and the source make.
fn wanted() -> String {
    let document = read("docs/status.md");
    let reasons = of_reasons(&document);
    let of_reasons = REASONS.iter().map(|(kind, id)| {
        let lines = reasons.get(*kind).map(Vec::as_slice).unwrap_or_default();
        entry(kind, id, &body(lines))
    });
    let of_steps = of_steps(&document).into_iter();
    let of_steps = of_steps.map(|(step, (id, text))| entry(&step, &id, &body(&[text])));
    HEAD.to_owned() + &of_reasons.chain(of_steps).collect::<String>()
}

#[test]
fn every_reason_and_step_has_an_id_of_its_own() {
    let kinds: BTreeSet<&str> = Reason::KINDS.iter().copied().collect();
    let with_id: BTreeSet<&str> = REASONS.iter().map(|(kind, _)| *kind).collect();
    for kind in kinds.difference(&with_id) {
        let new = fs::read_to_string("/proc/sys/kernel/random/uuid").unwrap().trim().replace('-', "");
        assert!(
            with_id.contains(kind),
            "the reason {kind:?} has no MESSAGE_ID. Add the line\n    (\"{kind}\", \"{new}\"),\n\
             to REASONS in src/report/messages.rs, explain the kind in docs/status.md, and write its catalog entry:\n    \
             BLESS=1 cargo test --test catalog"
        );
    }
    assert_eq!(with_id, kinds, "a MESSAGE_ID of a reason that there is not, in src/report/messages.rs");
    let steps = steps();
    let ids = REASONS.iter().map(|(_, id)| (*id).to_owned()).chain(steps.values().cloned());
    let ids: Vec<String> = ids.collect();
    let is_digit = |digit: char| digit.is_ascii_digit() || ('a'..='f').contains(&digit);
    for id in &ids {
        assert!(id.len() == 32 && id.chars().all(is_digit), "{id}: not 32 hexadecimal digits in lower case");
    }
    assert_eq!(
        ids.iter().collect::<BTreeSet<_>>().len(),
        REASONS.len() + steps.len(),
        "an id is there twice"
    );
    let told = of_steps(&read("docs/status.md")).into_iter().map(|(step, (id, _))| (step, id));
    assert_eq!(
        told.collect::<BTreeMap<_, _>>(),
        steps,
        "the table under \"Message ids\" in docs/status.md (left) is not that of src/report/messages.rs (right)"
    );
}

#[test]
fn the_catalog_says_what_the_document_says() {
    let wanted = wanted();
    if std::env::var_os("BLESS").is_some() {
        fs::create_dir_all(place(CATALOG).parent().unwrap()).unwrap();
        fs::write(place(CATALOG), &wanted).unwrap();
    }
    assert_eq!(read(CATALOG), wanted, "to write {CATALOG} again: BLESS=1 cargo test --test catalog");
    // journald takes these lines for comments.
    let mut lost = wanted.lines().skip(2).filter(|line| line.starts_with(['#', ';']));
    assert_eq!(lost.next(), None);
}

#[test]
fn journalctl_takes_the_catalog() {
    let root = std::env::temp_dir().join(format!("rebootd-catalog-{}", std::process::id()));
    fs::create_dir_all(root.join("usr/lib/systemd/catalog")).unwrap();
    fs::create_dir_all(root.join("var/lib/systemd/catalog")).unwrap();
    fs::write(root.join("usr/lib/systemd/catalog/rebootd.catalog"), wanted()).unwrap();
    let journalctl =
        |what: &str| Command::new("journalctl").arg(format!("--root={}", root.display())).arg(what).output();
    let Ok(updated) = journalctl("--update-catalog") else {
        println!("left out: there is no journalctl here");
        return;
    };
    assert!(updated.status.success() && updated.stderr.is_empty(), "{updated:?}");
    let listed = String::from_utf8(journalctl("--list-catalog").unwrap().stdout).unwrap();
    let known = |name: &str, id: &str| {
        assert!(listed.contains(&format!("{id} rebootd: {name}\n")), "{name}: {listed}")
    };
    REASONS.iter().for_each(|(kind, id)| known(kind, id));
    steps().iter().for_each(|(step, id)| known(step, id));
    assert_eq!(listed.lines().count(), REASONS.len() + steps().len());
    fs::remove_dir_all(&root).unwrap();
}
