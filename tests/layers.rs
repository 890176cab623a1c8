//! The house stands on its ground: no file imports from a higher layer, and no files import each other in a circle.
//!
//! Read from the sources: each path that begins with `crate::`, `super::` or `self::`, in `use` lines and elsewhere. A
//! module that only gives names on (`pub use`) is looked through to the file that has them.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// The layers from the ground up; what stands in one line may not import from another of the same line.
const LAYERS: &[&[&str]] = &[
    &["notation", "access", "read", "replace", "words", "yaml"],
    &["decide"],
    &["rehearse"],
    &["config", "cluster", "host"],
    &["report"],
    &["agent"],
    &["ctl", "cli", "daemon"],
];

/// A file of `src/`, by its module's path: `decide::phase::turn`.
struct Source {
    /// What it gives on: name → the path that has it.
    gives: BTreeMap<String, Vec<String>>,
    /// The paths that it names, absolute.
    names: BTreeSet<Vec<String>>,
}

fn words(path: &str) -> Vec<String> {
    path.split("::").map(|word| word.trim().to_owned()).collect()
}

/// All `.rs` files below, as module path → text.
fn sources(directory: &Path, module: &[String], found: &mut BTreeMap<Vec<String>, String>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let stem = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let mut inner = module.to_vec();
        if path.is_dir() {
            inner.push(stem);
            sources(&path, &inner, found);
        } else if path.extension().is_some_and(|it| it == "rs") && !["lib", "main", "tests"].contains(&&*stem)
        {
            if stem != "mod" {
                inner.push(stem);
            }
            found.insert(inner, fs::read_to_string(&path).unwrap());
        }
    }
}

/// Without tests, comments and the insides of texts.
fn code(text: &str) -> String {
    let shipped = text.split("#[cfg(test)]").next().unwrap();
    let lines = shipped.lines().map(|line| line.split("//").next().unwrap_or(""));
    let joined = lines.collect::<Vec<_>>().join("\n");
    let mut outside = String::new();
    for (number, part) in joined.split('"').enumerate() {
        if number.is_multiple_of(2) {
            outside.push_str(part);
        }
    }
    outside
}

/// `a::{b, c::d}` as `a::b`, `a::c::d`.
fn expand(tree: &str) -> Vec<String> {
    let Some((before, rest)) = tree.split_once('{') else { return vec![tree.trim().to_owned()] };
    let inner = rest.rsplit_once('}').unwrap().0;
    let (mut depth, mut start, mut parts) = (0, 0, Vec::new());
    for (at, letter) in inner.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&inner[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&inner[start..]);
    let parts = parts.into_iter().filter(|part| !part.trim().is_empty());
    parts.flat_map(expand).map(|part| format!("{}{part}", before.trim())).collect()
}

/// The path from the crate's root on, as this module names it.
fn absolute(module: &[String], path: &str) -> Option<Vec<String>> {
    let mut words = words(path.split(" as ").next().unwrap());
    if words.last().is_some_and(|last| last == "self") && words.len() > 1 {
        words.pop();
    }
    let mut base = match words.first()?.as_str() {
        "crate" | "rebootd" => Vec::new(),
        "super" | "self" => module.to_vec(),
        _ => return None,
    };
    for word in &words {
        match word.as_str() {
            "crate" | "rebootd" | "self" => {}
            "super" => drop(base.pop()),
            other => base.push(other.to_owned()),
        }
    }
    Some(base)
}

fn read(module: &[String], text: &str) -> Source {
    let code = code(text);
    let mut source = Source { gives: BTreeMap::new(), names: BTreeSet::new() };
    let mut rest = String::new();
    for statement in code.split_inclusive(';') {
        let Some(at) = statement.rfind("use ").filter(|at| {
            let before = statement[..*at].lines().next_back().unwrap_or("").trim();
            before.is_empty() || before.starts_with("pub")
        }) else {
            rest.push_str(statement);
            continue;
        };
        let line = statement[..at].lines().next_back().unwrap_or("").trim().to_owned();
        rest.push_str(&statement[..at]);
        for path in expand(statement[at + 4..].trim_end_matches(';')) {
            let given_on = line.starts_with("pub");
            let path = match given_on && absolute(module, &path).is_none() {
                true => format!("self::{path}"),
                false => path,
            };
            let name = path.rsplit(" as ").next().unwrap().rsplit("::").next().unwrap().to_owned();
            let Some(path) = absolute(module, &path) else { continue };
            if given_on {
                source.gives.insert(name, path);
            } else {
                source.names.insert(path);
            }
        }
    }
    for start in ["crate::", "super::"] {
        for (at, _) in rest.match_indices(start) {
            let before = rest[..at].chars().next_back();
            if before.is_some_and(|it| it.is_alphanumeric() || it == ':' || it == '_' || it == '(') {
                continue;
            }
            let end = rest[at..].find(|it: char| !(it.is_alphanumeric() || it == ':' || it == '_'));
            let path = rest[at..].get(..end.unwrap_or(rest.len() - at)).unwrap().trim_end_matches(':');
            source.names.extend(absolute(module, path));
        }
    }
    source
}

/// The file that has what this path names.
fn home(sources: &BTreeMap<Vec<String>, Source>, path: &[String]) -> Option<Vec<String>> {
    for length in (1..=path.len()).rev() {
        let Some(source) = sources.get(&path[..length]) else { continue };
        return match path.get(length).and_then(|name| source.gives.get(name)) {
            Some(given) => home(sources, given).or_else(|| Some(path[..length].to_vec())),
            None => Some(path[..length].to_vec()),
        };
    }
    None
}

/// Which file imports from which.
fn imports() -> BTreeMap<Vec<String>, BTreeSet<Vec<String>>> {
    let mut texts = BTreeMap::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &[], &mut texts);
    texts.retain(|module, _| module.first().is_none_or(|first| first != "bin"));
    assert!(texts.len() > 60, "the sources are not found: {}", texts.len());
    let sources: BTreeMap<Vec<String>, Source> =
        texts.iter().map(|(module, text)| (module.clone(), read(module, text))).collect();
    let of = |module: &Vec<String>, source: &Source| {
        let homes = source.names.iter().filter_map(|path| home(&sources, path));
        homes.filter(|home| home != module).collect()
    };
    sources.iter().map(|(module, source)| (module.clone(), of(module, source))).collect()
}

fn layer(module: &[String]) -> usize {
    let found = LAYERS.iter().position(|layer| layer.contains(&module[0].as_str()));
    found.unwrap_or_else(|| panic!("src/{} is in no layer: add it to LAYERS in this test", module[0]))
}

#[test]
fn no_file_imports_from_a_higher_layer() {
    let mut wrong = Vec::new();
    for (from, to) in imports() {
        for to in to {
            let neighbours = layer(&from) == layer(&to) && from[0] != to[0];
            if layer(&to) > layer(&from) || (neighbours && layer(&from) != LAYERS.len() - 1) {
                wrong.push(format!("{} imports {}", from.join("::"), to.join("::")));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let mut imports = imports();
    // What imports nothing that is left is in no circle.
    loop {
        let done: Vec<_> =
            imports.iter().filter(|(_, to)| to.is_empty()).map(|(from, _)| from.clone()).collect();
        if done.is_empty() {
            break;
        }
        imports.retain(|from, _| !done.contains(from));
        imports.values_mut().for_each(|to| to.retain(|to| !done.contains(to)));
    }
    // Nor is what nothing that is left imports.
    loop {
        let wanted: BTreeSet<_> = imports.values().flatten().cloned().collect();
        let before = imports.len();
        imports.retain(|from, _| wanted.contains(from));
        if imports.len() == before {
            break;
        }
    }
    let left = imports.iter().map(|(from, to)| {
        let to: Vec<_> = to.iter().map(|to| to.join("::")).collect();
        format!("{} imports {}", from.join("::"), to.join(", "))
    });
    assert!(imports.is_empty(), "a circle among these:\n{}", left.collect::<Vec<_>>().join("\n"));
}
