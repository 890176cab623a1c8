//! The package's bill of materials: what `debian/sbom` prints, held against `Cargo.lock` and `Cargo.toml`.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::Value;

fn printed() -> String {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/debian/sbom");
    let output = Command::new(script).env("SOURCE_DATE_EPOCH", "1790000000").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn toml(text: &str) -> toml::Table {
    toml::from_str(text).unwrap()
}

#[test]
fn the_bill_of_materials_names_what_is_linked_as_it_is_locked() {
    let text = printed();
    assert_eq!(text, printed(), "the same sources give the same file");
    let bill: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&bill["bomFormat"], &bill["specVersion"]), (&"CycloneDX".into(), &"1.5".into()));
    assert_eq!(bill["metadata"]["timestamp"], "2026-09-21T14:13:20Z");
    assert_eq!(bill["metadata"]["component"]["version"], env!("CARGO_PKG_VERSION"));

    let mut listed = BTreeMap::new();
    for component in bill["components"].as_array().unwrap() {
        let field = |name: &str| component[name].as_str().unwrap().to_owned();
        let hash = component["hashes"][0]["content"].as_str().unwrap().to_owned();
        assert!(component["licenses"][0]["expression"].is_string(), "{component}");
        assert!(listed.insert(field("name"), (field("version"), hash)).is_none(), "{component} comes twice");
    }
    let locked = toml(include_str!("../Cargo.lock"));
    let locked: BTreeMap<(&str, &str), &str> = locked["package"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|it| {
            Some(((it["name"].as_str()?, it["version"].as_str()?), it.get("checksum")?.as_str()?))
        })
        .collect();
    for (name, (version, hash)) in &listed {
        assert_eq!(locked.get(&(name.as_str(), version.as_str())), Some(&hash.as_str()), "{name}");
    }
    let manifest = toml(include_str!("../Cargo.toml"));
    for name in manifest["dependencies"].as_table().unwrap().keys() {
        assert!(listed.contains_key(name), "{name} is linked, and not listed");
    }
    // The first is only tested with, the second only generates code.
    assert!(!listed.contains_key("rcgen") && !listed.contains_key("serde_derive"));
    let known = |id: &Value| text.contains(&format!("\"bom-ref\": {id}"));
    let dependencies = bill["dependencies"].as_array().unwrap();
    assert_eq!(dependencies.len(), listed.len() + 1);
    for it in dependencies {
        assert!(known(&it["ref"]) && it["dependsOn"].as_array().unwrap().iter().all(known), "{it}");
    }
}
