//! What a rehearsal says of a shop of which one thing is broken, or only looks broken. The whole text is in `cases.txt`;
//! `BLESS=1` writes it, and its differences are read as code is.

mod cases;
mod shop;

use std::fmt::Write;
use std::path::Path;

use rebootd::rehearse::{Severity, Verdict, judge, lines};

use self::cases::{CASES, Case, Expects};
use self::shop::Shop;

#[test]
fn each_fault_is_told_with_its_remedy_and_nothing_else_is() {
    assert!(CASES.len() >= 40, "{} cases", CASES.len());
    let mut text = String::new();
    for Case { name, expects, make } in CASES {
        let mut shop = Shop::empty();
        make(&mut shop);
        let judged = judge(&shop.namespace());
        let verdict = judged.iter().map(|it| it.verdict).max().unwrap_or(Verdict::NobodyNotices);
        let findings = judged.iter().flat_map(|it| &it.findings);
        let told: Vec<&str> = findings
            .filter(|it| it.severity != Severity::Note && it.accepted.is_none())
            .map(|it| it.id)
            .collect();
        match expects {
            Expects::Silence => assert!(told.is_empty(), "{name}: {told:?}"),
            Expects::Is(wanted, ids) => assert_eq!((verdict, told.as_slice()), (*wanted, *ids), "{name}"),
        }
        let lines = lines("Namespace shop", &judged, |_, _| false);
        writeln!(text, "## {name}\n\n{}\n", lines.join("\n")).unwrap();
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/core/rehearse/cases.txt");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = golden.lines().zip(text.lines()).find(|(old, new)| old != new);
    assert!(golden == text, "cases.txt differs, first here: {differs:?}; BLESS=1 writes it");
}

/// Whoever may create a pod writes its owner's kind and name: neither may reach a terminal, nor YAML that is pasted.
#[test]
fn what_a_pod_says_of_its_owner_is_no_yaml() {
    let mut shop = Shop::empty();
    let name = "a\nspec: {}\n---\nkind: ClusterRoleBinding";
    shop.pods("x", ("evil.example.com/v1", "Foo\u{1b}[2J", name), &["n1", "n1"]);
    let judged = judge(&shop.namespace());
    let text = lines("Namespace shop", &judged, |_, _| false).join("\n");
    assert!(!text.contains('\u{1b}') && !text.contains("\nkind: ClusterRoleBinding"), "{text}");
    let yaml = judged.iter().flat_map(|it| &it.findings).filter_map(|it| it.remedy.as_ref());
    assert!(yaml.clone().count() > 0 && yaml.clone().all(|it| it.yaml.is_empty()), "{judged:?}");
}

/// What a rehearsal prints may go to a terminal, and what others have written must not control it.
#[test]
fn what_others_wrote_is_fit_for_people() {
    let mut shop = Shop::empty();
    shop.deployment("api", &["n1", "n2"]);
    shop.answers.insert("api-0".into(), rebootd::rehearse::Answer::ByOthers("\x1b[2Jno\n".into()));
    shop.get("deployments", "api")["metadata"]["annotations"] =
        serde_json::json!({"rebootd.io/accept": "x until \u{202e}now: why"});
    let text = lines("Namespace shop\x1b[2J", &judge(&shop.namespace()), |_, _| false).join("\n");
    assert!(text.chars().all(|it| it == '\n' || !it.is_control() && it != '\u{202e}'), "{text:?}");
}
