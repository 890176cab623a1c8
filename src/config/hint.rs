//! Messages about a wrong key or value, and which key may have been meant.

use super::tables::{Table, tables};

/// Says that the key is unknown, and which one may have been meant.
pub(super) fn unknown(known: &[Table], table: &Table, key: &str, is_table: bool) -> String {
    let name = &table.name;
    let what = match (name.as_str(), is_table) {
        ("", true) => format!("unknown table [{key}]"),
        ("", false) => format!("unknown key \"{key}\""),
        (_, true) => format!("unknown table [{name}.{key}]"),
        (_, false) => format!("unknown key \"{key}\" in [{name}]"),
    };
    let here = keys(known, table);
    let has = |other: &&Table| other.name != *name && keys(known, other).contains(&key);
    let below = known.iter().filter(|other| other.name.starts_with(&format!("{name}."))).find(has);
    // A table of the hosts' files may have the same name as a key.
    let is_host_table = is_table && tables().iter().any(|table| table.name == key);
    let elsewhere = below.or_else(|| known.iter().filter(|_| !is_host_table).find(has));
    let is_known_table = |near: &str| known.iter().any(|other| other.name == table.dotted(near));
    let hint = match (nearest(key, &here), elsewhere.map(|table| table.name.as_str())) {
        (Some(near), _) if is_table && is_known_table(near) => {
            format!("did you mean [{}]?", table.dotted(near))
        }
        (Some(near), _) => format!("did you mean \"{near}\"?"),
        (None, Some("")) => format!("\"{key}\" belongs to the top of the file, before any table"),
        (None, Some(other)) => format!("\"{key}\" belongs in [{other}]"),
        (None, None) => format!("known here: {}", here.join(", ")),
    };
    format!("{what}; {hint}")
}

/// The keys of a table, and the tables in it that are not the value of a key.
fn keys<'a>(known: &'a [Table], table: &Table) -> Vec<&'a str> {
    let Some(same) = known.iter().find(|other| other.name == table.name) else { return vec![] };
    let mut keys: Vec<&str> = same.keys().collect();
    for inner in known {
        let (outer, name) = inner.name.rsplit_once('.').unwrap_or(("", &inner.name));
        if outer == table.name && !name.is_empty() && !keys.contains(&name) {
            keys.push(name);
        }
    }
    keys
}

/// Says that a table is expected, and whether another one has a key of that name.
pub(super) fn no_table(known: &[Table], table: &Table, key: &str) -> String {
    let other = known.iter().find(|other| other.name != table.name && other.keys().any(|it| it == key));
    let hint = other.map(|other| format!("; the key \"{key}\" belongs in [{}]", other.name));
    format!("expected a table, as in [{}]{}", table.dotted(key), hint.unwrap_or_default())
}

/// Word processors and web pages write these.
pub(super) const TYPOGRAPHIC_QUOTES: [char; 8] = ['“', '”', '„', '‟', '‘', '’', '«', '»'];

/// What toml says if there should have been one of some words.
pub(super) const NO_WORD: &str = "wanted string or table";

/// The same as [`plain`], without the value: it may be a secret that was put in the wrong place.
pub(super) fn without_value(key: &str, message: &str) -> String {
    match message.rsplit_once(", expected ") {
        Some((_, expected)) => plain(key, &format!("expected {expected}")),
        // Our own types do not repeat it.
        None => plain(key, message),
    }
}

/// A word that is not known, and those that are.
pub(super) fn variants(message: &str) -> Option<(&str, String)> {
    let (value, expected) = message.strip_prefix("unknown variant `")?.rsplit_once("`, expected ")?;
    let words: Vec<String> =
        expected.split('`').skip(1).step_by(2).map(|word| format!("\"{word}\"")).collect();
    let words = match words.split_last() {
        Some((last, others)) if !others.is_empty() => format!("{} or {last}", others.join(", ")),
        _ => words.join(""),
    };
    Some((value, words))
}

/// What serde says about the key's value, in words for people. Limits, from our own types, begin with "must".
pub(super) fn plain(key: &str, message: &str) -> String {
    if message.starts_with("must ") {
        return format!("\"{key}\" {message}");
    }
    if let Some((value, words)) = variants(message) {
        return format!("unknown value \"{value}\"; expected {words}");
    }
    message
        .replace('\n', "; ")
        .replace("invalid type: sequence", "invalid type: list")
        .replace("invalid type: map", "invalid type: table")
        .replace("expected a sequence", "expected a list")
        .replace("expected a map", "expected a table")
        .replace("expected u32", "expected a whole number that is not negative")
}

/// No key has half as many bytes.
const LONGEST_MEANT: usize = 100;

/// The candidate that is the fewest edits away, if that is near enough to have been meant.
pub(super) fn nearest<'a>(word: &str, candidates: &[&'a str]) -> Option<&'a str> {
    if word.len() > LONGEST_MEANT {
        return None;
    }
    let (distance, candidate) =
        candidates.iter().map(|candidate| (edit_distance(word, candidate), *candidate)).min()?;
    // One edit in three letters; with more edits, any short word would be near any other.
    (distance <= candidate.len().div_ceil(3)).then_some(candidate)
}

/// How many letters have to be inserted, deleted or replaced to turn one word into the other (Levenshtein).
fn edit_distance(from: &str, to: &str) -> usize {
    // `row` holds the distances of the letters of `from` so far to each prefix of `to`.
    let mut row: Vec<usize> = (0..=to.chars().count()).collect();
    for (index, letter) in from.chars().enumerate() {
        let mut diagonal = index;
        let mut left = index + 1;
        let mut next = vec![left];
        for (above, other) in row.iter().skip(1).zip(to.chars()) {
            left = (diagonal + usize::from(letter != other)).min(above + 1).min(left + 1);
            diagonal = *above;
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edit_distance_counts_edits() {
        for (from, to, distance) in
            [("", "", 0), ("", "ab", 2), ("ab", "", 2), ("setle", "settle", 1), ("kitten", "sitting", 3)]
        {
            assert_eq!(edit_distance(from, to), distance);
        }
    }

    #[test]
    fn what_serde_says_is_put_plainly() {
        for (message, plain_message) in [
            ("unknown variant `x`, expected `a` or `b`", "unknown value \"x\"; expected \"a\" or \"b\""),
            (
                "unknown variant ``, expected `x`, expected one of `a`, `b`, `c`",
                "unknown value \"`, expected `x\"; expected \"a\", \"b\" or \"c\"",
            ),
            ("must be at least 1s", "\"settle\" must be at least 1s"),
            ("invalid type: a\nb", "invalid type: a; b"),
        ] {
            assert_eq!(plain("settle", message), plain_message);
        }
    }
}
