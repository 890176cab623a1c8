//! Configuration files that do not belong to one host: a policy as it is kept among other manifests, to be checked
//! before it is applied.

use std::collections::BTreeMap;
use std::path::Path;

use toml::de::DeTable;

use super::document::Document;
use super::error::{ConfigError, Place};
use super::files::Files;
use super::fleet::{DATA_KEY, FleetPolicy};
use crate::read::read_named;
use crate::yaml::{self, Node};

/// The most bytes of a file, which may hold many other manifests.
const LONGEST: u64 = 16 << 20;

/// Checks a file by what it is: manifests (`.yaml`, `.yml`, `.json`) with the fleet's policy, the policy's text (with
/// a `version` or `[[nodes]]`), or a host's configuration. Whether the files it refers to exist on some host is not
/// checked.
pub fn check(path: &Path) -> Result<(), ConfigError> {
    let text = read_named(path, LONGEST).map_err(|error| ConfigError::unreadable(path, &error))?;
    let extension = path.extension().and_then(|extension| extension.to_str());
    if matches!(extension, Some("yaml" | "yml" | "json")) {
        return check_manifests(path, &text);
    }
    let is_policy = |keys: &DeTable| ["version", "nodes"].iter().any(|key| keys.contains_key(*key));
    if is_policy(&Document::parse_syntax(path, &text)?.content) {
        return FleetPolicy::parse(path, text).map(drop);
    }
    Files::from_texts(vec![(path.to_owned(), text)], Path::new("/etc/rebootd"))?.check()
}

fn check_manifests(path: &Path, text: &str) -> Result<(), ConfigError> {
    let refused = |message: String| ConfigError::at(Place::file(path), message);
    let manifests =
        yaml::parse_all(text).map_err(|error| refused(format!("these are not valid manifests: {error}")))?;
    let is_policy = |it: &&Node| {
        let name = it.get("metadata").and_then(|metadata| metadata.get("name"));
        it.get("kind").and_then(Node::text) == Some("ConfigMap")
            && name.and_then(Node::text) == Some("policy")
    };
    let Some(policy) = manifests.iter().find(is_policy) else {
        return Err(refused("has no ConfigMap with the name \"policy\"".to_owned()));
    };
    let data = policy.get("data");
    let mut plain = BTreeMap::new();
    for (key, value) in data.iter().flat_map(|data| data.entries()) {
        let Some(value) = value.text() else {
            return Err(refused(format!("\"{key}\" in its data is no text")));
        };
        plain.insert(key.to_owned(), value.to_owned());
    }
    FleetPolicy::from_config_map(&plain).map(drop).map_err(|error| {
        let content = data.and_then(|data| data.get(DATA_KEY));
        let (lines, columns) = content.map_or((0, 0), |content| begin(text, content));
        error.moved(path, lines, columns)
    })
}

/// How many lines and columns of the manifest come before the content of a block.
fn begin(manifest: &str, content: &Node) -> (u64, u64) {
    let first = content.text().and_then(|text| text.lines().next()).unwrap_or_default();
    let from = content.at.line().saturating_sub(1);
    let lines = manifest.lines().enumerate().skip(usize::try_from(from).unwrap_or_default());
    let found = lines.take(2).find(|(_, line)| line.trim_start() == first);
    let found = found.map(|(number, line)| (number as u64, (line.len() - line.trim_start().len()) as u64));
    found.unwrap_or((from, 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(policy: &str) -> Result<(), String> {
        let indented: String = policy.lines().map(|line| format!("    {line}\n")).collect();
        let text = format!(
            "kind: Namespace\nmetadata: {{name: rebootd}}\n---\napiVersion: v1\nkind: ConfigMap\n\
             metadata:\n  name: policy\ndata:\n  # a comment\n  policy.toml: |\n{indented}"
        );
        check_manifests(Path::new("m.yaml"), &text).map_err(|error| error.to_string())
    }

    #[test]
    fn errors_name_the_line_of_the_manifest() {
        assert_eq!(manifest("version = 1\n[policy]\nwindow = 'always'\n"), Ok(()));
        assert_eq!(
            manifest("version = 1\n\n[policy]\nfreze = []\n"),
            Err("m.yaml:14:5: unknown key \"freze\" in [policy]; did you mean \"freeze\"?".to_owned())
        );
    }

    #[test]
    fn what_is_no_policy_is_told() {
        let check = |text: &str| check_manifests(Path::new("m"), text).unwrap_err().to_string();
        assert_eq!(
            check("kind: ConfigMap\nmetadata: {name: other}"),
            "m: has no ConfigMap with the name \"policy\""
        );
        for broken in
            ["{", "kind: ConfigMap\nmetadata: {name: policy}\ndata:\n  policy.toml: |\n    a\n   b: ["]
        {
            let error = check(broken);
            assert!(error.starts_with("m: these are not valid manifests: "), "{error}");
            assert!(!error.contains("-->") && error.len() < 200, "{error}");
        }
        let odd = "kind: ConfigMap\nmetadata: {name: policy}\ndata: {policy.tml: x}";
        assert_eq!(check(odd), "m: unknown key \"policy.tml\" in its data; did you mean \"policy.toml\"");
    }

    #[test]
    fn a_policy_without_a_version_is_told_so() {
        let path = std::env::temp_dir().join(format!("rebootd-policy-{}.toml", std::process::id()));
        std::fs::write(&path, "[[nodes]]\npool = 'db'\npolicy.window = 'always'").unwrap();
        let error = check(&path).unwrap_err().to_string();
        std::fs::remove_file(&path).unwrap();
        assert!(error.ends_with("has no version; write \"version = 1\" at its top"), "{error}");
    }

    #[test]
    fn all_samples_are_valid() {
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging");
        for sample in ["etc/rebootd/config.toml", "usr/share/rebootd/manifests/optional/policy.yaml"] {
            assert_eq!(check(&shipped.join(sample)), Ok(()), "{sample}");
        }
    }
}
