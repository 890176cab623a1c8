//! The documents, held against the code: what a person may see is explained, and nothing else is.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use rebootd::decide::{Ending, GATES, Gate, MidTurn, Moment, Reason};
use rebootd::report::metrics::FAMILIES;
use rebootd::report::shown::EVENT_REASONS;

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The words in `=> "word",` of a match over this type's variants.
fn words_of_match(source: &str, name: &str) -> BTreeSet<String> {
    let prefix = format!("{name}::");
    let arms = source.lines().map(str::trim).filter(|line| line.starts_with(&prefix));
    arms.filter_map(|line| {
        let word = line.split_once("=> \"")?.1.strip_suffix("\",")?;
        Some(word.to_owned())
    })
    .collect()
}

/// The words in code at the beginning of lines that begin like this, in a section of a document.
fn words_of_lines(document: &str, section: &str, beginning: &str) -> BTreeSet<String> {
    let text = document.split_once(section).unwrap().1;
    let text = text.split_once("\n## ").map_or(text, |(text, _)| text);
    let words = text.lines().filter_map(|line| line.strip_prefix(beginning)?.split('`').next());
    words.map(str::to_owned).collect()
}

#[test]
fn every_reason_is_explained_under_its_kind() {
    let kinds: BTreeSet<String> = Reason::KINDS.iter().map(|kind| (*kind).to_owned()).collect();
    assert_eq!(kinds.len(), Reason::KINDS.len(), "two reasons have the same kind");
    let explained = words_of_lines(&read("docs/status.md"), "\n## Reasons\n", "- `");
    assert_eq!(explained, kinds);
}

/// Before which steps a gate is asked, in the words of docs/gates.md.
fn steps(gate: &Gate) -> String {
    let asked = |moments: &[Moment]| moments.iter().any(|moment| gate.asked.contains(moment));
    let undoes = matches!(gate.mid_turn, MidTurn::Undo(_));
    use Moment::{Boot, Claim, Cordon, Node, Others, People, Pods, Request, Slot, Turn};
    let steps = [
        ("claim", asked(&[Request, Claim, Node, Boot, People, Slot, Pods])),
        ("cordon", undoes || asked(&[Turn, Cordon, Others, Pods])),
        ("evictions", undoes || asked(&[Turn])),
        ("reboot", undoes || asked(&[Turn, Others])),
    ];
    steps.iter().filter(|(_, asked)| *asked).map(|(step, _)| *step).collect::<Vec<_>>().join(", ")
}

#[test]
fn the_table_of_gates_is_that_of_the_code() {
    let text = read("docs/gates.md");
    let section = text.split_once("\n## Before a reboot\n").unwrap().1.split("\n## ").next().unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix('|'));
    let rows: Vec<Vec<&str>> = rows.map(|row| row.split(" | ").map(str::trim).collect()).skip(1).collect();
    let names = |rows: &mut dyn Iterator<Item = &str>| rows.map(str::to_owned).collect::<BTreeSet<_>>();
    let told = names(&mut rows.iter().map(|row| row[0]));
    assert_eq!(told, names(&mut GATES.iter().map(|gate| gate.name)));
    for gate in &GATES {
        let row = rows.iter().find(|row| row[0] == gate.name).unwrap();
        let mid_turn = match gate.mid_turn {
            MidTurn::Undo(_) => "undone",
            MidTurn::Wait => "waited for",
            MidTurn::GoOn => "goes on",
        };
        assert!(
            row[3].starts_with(&steps(gate)),
            "{}: checked before {}, not {}",
            gate.name,
            steps(gate),
            row[3]
        );
        assert!(row[4].starts_with(mid_turn), "{}: {mid_turn} in mid-turn, not {}", gate.name, row[4]);
    }
    let yields: Vec<String> = GATES.iter().filter_map(|gate| gate.yields).map(|it| it.word()).collect();
    let list = text.split_once("give_up_after_deadline = [").unwrap().1.split(']').next().unwrap();
    let list: BTreeSet<String> = list.split(", ").map(|word| word.trim_matches('"').to_owned()).collect();
    assert_eq!(list, yields.into_iter().collect());
}

#[test]
fn every_phase_is_explained() {
    let words = words_of_match(&read("src/decide/decision.rs"), "Phase");
    let explained = words_of_lines(&read("docs/status.md"), "\n## Phases\n", "| `");
    assert!(words.len() > 8, "the source is not understood any more: {words:?}");
    assert_eq!(explained, words);
}

#[test]
fn every_ending_of_a_reboot_is_explained() {
    let words = Ending::ALL.into_iter().map(|ending| ending.word().to_owned()).collect();
    let explained = words_of_lines(&read("docs/status.md"), "\n### The last reboot\n", "| `");
    assert_eq!(explained, words);
}

#[test]
fn every_event_is_explained() {
    let told: BTreeSet<String> = EVENT_REASONS.iter().map(|reason| (*reason).to_owned()).collect();
    assert_eq!(words_of_lines(&read("docs/status.md"), "\n### The Events\n", "| `"), told);
    for source in ["src/agent/announce.rs", "src/report/shown.rs"] {
        let text = read(source);
        let literals =
            text.split('"').skip(1).step_by(2).filter(|it| it.starts_with("Reboot") && !it.contains(' '));
        let unknown: Vec<&str> = literals.filter(|it| !told.contains(*it)).collect();
        assert_eq!(unknown, Vec::<&str>::new(), "{source}");
    }
}

#[test]
fn every_setback_is_explained_in_its_own_words() {
    let texts = words_of_match(&read("src/decide/abort.rs"), "AbortReason");
    let explained: BTreeSet<String> =
        words_of_lines(&read("docs/status.md"), "\n## Setbacks and pauses\n", "| *")
            .iter()
            .filter_map(|line| Some(line.split_once('*')?.0.to_owned()))
            .collect();
    assert!(texts.len() > 6, "the source is not understood any more: {texts:?}");
    assert_eq!(explained, texts);
}

#[test]
fn links_between_documents_lead_somewhere() {
    for document in documents() {
        let text = fs::read_to_string(&document).unwrap();
        let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for target in targets.filter(|target| !target.starts_with("https://")) {
            let place = format!("{}: {target}", document.display());
            let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
            let path = if path.is_empty() { document.clone() } else { document.with_file_name(path) };
            assert!(path.exists(), "{place} leads nowhere");
            if !anchor.is_empty() {
                let headings = fs::read_to_string(&path).unwrap();
                let is_there = headings.lines().any(|line| anchor_of(line).as_deref() == Some(anchor));
                assert!(is_there, "{place}: there is no such heading");
            }
        }
    }
}

/// What people read on GitHub: the documents at the top and those in `docs/`.
fn documents() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = [root.to_owned(), root.join("docs")].into_iter().flat_map(|it| fs::read_dir(it).unwrap());
    let paths = files.map(|file| file.unwrap().path());
    let documents: Vec<PathBuf> =
        paths.filter(|path| path.extension().is_some_and(|it| it == "md")).collect();
    assert!(documents.len() > 10, "the documents are not found: {documents:?}");
    documents
}

/// The name that GitHub gives a heading.
fn anchor_of(line: &str) -> Option<String> {
    let title = line.strip_prefix('#')?.trim_start_matches('#').trim().to_lowercase();
    let kept = title.chars().filter(|letter| letter.is_alphanumeric() || " -_".contains(*letter));
    Some(kept.map(|letter| if letter == ' ' { '-' } else { letter }).collect())
}

/// The names of metrics in a text.
fn metrics_in(text: &str) -> BTreeSet<String> {
    let names = text.split("rebootd_").skip(1);
    names
        .map(|rest| rest.split(|it: char| !it.is_ascii_lowercase() && it != '_').next().unwrap().to_owned())
        .collect()
}

#[test]
fn every_metric_is_explained_with_its_type() {
    let text = read("docs/metrics.md");
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `rebootd_"));
    let explained: Vec<(String, String)> = rows
        .map(|row| {
            let (name, rest) = row.split_once('`').unwrap();
            let kind = rest.split('|').nth(1).unwrap().trim();
            (name.split('{').next().unwrap().to_owned(), kind.to_owned())
        })
        .collect();
    let families: Vec<(String, String)> =
        FAMILIES.iter().map(|(name, kind, _)| ((*name).to_owned(), (*kind).to_owned())).collect();
    assert_eq!(explained, families);
}

#[test]
fn alerts_and_dashboard_ask_for_metrics_that_exist_and_every_alert_is_explained() {
    let known: BTreeSet<String> = FAMILIES.iter().map(|it| it.0.to_owned()).collect();
    let rules = read("packaging/usr/share/rebootd/prometheus/rebootd.rules.yaml");
    let dashboard = read("packaging/usr/share/rebootd/grafana/rebootd.json");
    for text in [&rules, &dashboard] {
        let unknown: Vec<String> = metrics_in(text).difference(&known).cloned().collect();
        assert_eq!(unknown, Vec::<String>::new());
    }
    let alerts: Vec<&str> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    let text = read("docs/metrics.md");
    let section = text.split_once("\n## Alerts\n").unwrap().1.split("\n## ").next().unwrap();
    let explained: Vec<&str> =
        section.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    let sorted = |list: &[&str]| list.iter().map(|it| (*it).to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(sorted(&explained), sorted(&alerts));
    let tests = read("tests/alerts.test.yaml");
    let untested: Vec<&&str> = alerts.iter().filter(|alert| !tests.contains(**alert)).collect();
    assert!(untested.is_empty(), "no test fires {untested:?}");
}

#[test]
fn each_alert_names_a_page_that_the_package_brings() {
    let rules = read("packaging/usr/share/rebootd/prometheus/rebootd.rules.yaml");
    let pages: Vec<&str> = rules.split("/usr/share/doc/rebootd/").skip(1).collect();
    assert_eq!(pages.len(), rules.matches("- alert: ").count());
    for page in pages {
        let page = page.split('"').next().unwrap();
        let (path, anchor) = page.split_once('#').unwrap();
        let is_there = read(path).lines().any(|line| anchor_of(line).as_deref() == Some(anchor));
        assert!(is_there, "{page}: there is no such heading");
    }
}

#[test]
fn the_list_of_alarms_is_that_of_the_code() {
    let source = read("src/decide/reason.rs");
    let lines = source.lines().filter(|line| line.trim().starts_with("alarm => "));
    let alarms: BTreeSet<&str> =
        lines.map(|line| line.split_once(" = \"").unwrap().1.split('"').next().unwrap()).collect();
    assert!(alarms.len() > 20, "the source is not understood any more: {alarms:?}");
    let text = read("docs/metrics.md");
    let section = text.split_once("\n## Alarms\n").unwrap().1.split("\n## ").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| ["));
    let told: BTreeSet<&str> = rows.flat_map(|row| row.split('`').skip(1).step_by(2)).collect();
    assert_eq!(told, alarms);
}

/// A file that nobody installs is noticed by nobody who builds.
#[test]
fn every_file_of_packaging_is_in_a_package() {
    let lists = ["debian/rebootd.install", "debian/rebootctl.install"].map(read).join("\n");
    let installed: Vec<&str> = lists.lines().filter_map(|line| line.split(' ').next()).collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut directories = vec![root.join("packaging")];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
                continue;
            }
            let name = path.strip_prefix(root).unwrap();
            assert!(installed.iter().any(|it| name.starts_with(it)), "no package has {}", name.display());
        }
    }
}
