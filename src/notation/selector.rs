//! Label selectors: in the form of `meta/v1 LabelSelector`, which objects contain, and in the form that `kubectl -l`
//! accepts.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

/// Selects by labels: all of its requirements must be met, so a selector without any selects everything.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Deserialize)]
#[serde(try_from = "String")]
pub struct Selector {
    /// `matchLabels` and `matchExpressions`.
    pub requirements: Vec<Requirement>,
}

/// What is required of a label.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Requirement {
    /// The label.
    pub label: String,
    /// The requirement.
    pub operator: Operator,
}

/// The operators of `matchExpressions`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Operator {
    /// It exists and has one of these values.
    In(BTreeSet<String>),
    /// It does not exist, or has none of these values.
    NotIn(BTreeSet<String>),
    /// It exists.
    Exists,
    /// It does not exist.
    DoesNotExist,
    /// An operator that this version does not know: it may select anything.
    Unknown,
}

impl Selector {
    /// Whether it selects, or may select, something with these labels.
    pub fn selects(&self, labels: &BTreeMap<String, String>) -> bool {
        self.requirements.iter().all(|requirement| {
            let value = labels.get(&requirement.label);
            match &requirement.operator {
                Operator::In(values) => value.is_some_and(|value| values.contains(value)),
                Operator::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
                Operator::Exists => value.is_some(),
                Operator::DoesNotExist => value.is_none(),
                Operator::Unknown => true,
            }
        })
    }
}

/// A `meta/v1 LabelSelector`, or a term of a `NodeSelector`, which has the same form.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LabelSelector {
    match_labels: Option<BTreeMap<String, String>>,
    match_expressions: Option<Vec<MatchExpression>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct MatchExpression {
    key: String,
    operator: String,
    values: Option<BTreeSet<String>>,
}

impl From<LabelSelector> for Selector {
    fn from(selector: LabelSelector) -> Selector {
        let labels = selector.match_labels.into_iter().flatten().map(|(label, value)| {
            let operator = Operator::In(BTreeSet::from([value]));
            Requirement { label, operator }
        });
        let expressions = selector.match_expressions.into_iter().flatten().map(|expression| {
            let values = expression.values.unwrap_or_default();
            let operator = match expression.operator.as_str() {
                "In" => Operator::In(values),
                "NotIn" => Operator::NotIn(values),
                "Exists" => Operator::Exists,
                "DoesNotExist" => Operator::DoesNotExist,
                _ => Operator::Unknown,
            };
            Requirement { label: expression.key, operator }
        });
        Selector { requirements: labels.chain(expressions).collect() }
    }
}

/// As `kubectl -l` accepts it: `app=db,tier!=test,zone in (a,b),!canary`.
impl FromStr for Selector {
    type Err = String;

    fn from_str(text: &str) -> Result<Selector, String> {
        let mut requirements = Vec::new();
        let mut rest = text.trim();
        loop {
            let (requirement, after) = requirement(rest)?;
            requirements.push(requirement);
            match after.trim_start().strip_prefix(',') {
                Some(next) => rest = next.trim_start(),
                None if after.trim().is_empty() => return Ok(Selector { requirements }),
                None => return Err(format!("expected \",\" before \"{}\"", after.trim())),
            }
        }
    }
}

/// In a configuration file.
impl TryFrom<String> for Selector {
    type Error = String;

    fn try_from(text: String) -> Result<Selector, String> {
        text.parse().map_err(|error| format!("\"{text}\" is not a label selector: {error}"))
    }
}

/// The first requirement of a text, and what follows it.
fn requirement(text: &str) -> Result<(Requirement, &str), String> {
    if let Some(text) = text.strip_prefix('!') {
        let (label, after) = word(text.trim_start(), "a label")?;
        return Ok((Requirement { label, operator: Operator::DoesNotExist }, after));
    }
    let (label, after) = word(text, "a label")?;
    let after = after.trim_start();
    for (sign, is_in) in [("!=", false), ("==", true), ("=", true)] {
        if let Some(after) = after.strip_prefix(sign) {
            // An empty value is a value.
            let (value, after) = word(after.trim_start(), "").unwrap_or((String::new(), after));
            return Ok((Requirement { label, operator: of_values(is_in, BTreeSet::from([value])) }, after));
        }
    }
    for (name, is_in) in [("in", true), ("notin", false)] {
        let list = after.strip_prefix(name).and_then(|after| after.trim_start().strip_prefix('('));
        if let Some((values, after)) = list.and_then(|list| list.split_once(')')) {
            let values = values.split(',').map(|value| value.trim().to_owned()).collect();
            return Ok((Requirement { label, operator: of_values(is_in, values) }, after));
        }
    }
    Ok((Requirement { label, operator: Operator::Exists }, after))
}

fn of_values(is_in: bool, values: BTreeSet<String>) -> Operator {
    if is_in { Operator::In(values) } else { Operator::NotIn(values) }
}

/// The characters at the start of a text that labels and their values may contain; at least one.
fn word<'a>(text: &'a str, what: &str) -> Result<(String, &'a str), String> {
    let belongs = |letter: char| letter.is_ascii_alphanumeric() || "-_./".contains(letter);
    let end = text.find(|letter| !belongs(letter)).unwrap_or(text.len());
    match text.split_at(end) {
        ("", rest) => Err(format!("expected {what} at \"{rest}\"; write for example \"app=db\"")),
        (word, rest) => Ok((word.to_owned(), rest)),
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, Requirement { label, operator }) in self.requirements.iter().enumerate() {
            f.write_str(if number == 0 { "" } else { "," })?;
            let joined = |values: &BTreeSet<String>| values.iter().cloned().collect::<Vec<_>>().join(",");
            match operator {
                Operator::In(values) if values.len() == 1 => write!(f, "{label}={}", joined(values))?,
                Operator::In(values) => write!(f, "{label} in ({})", joined(values))?,
                Operator::NotIn(values) if values.len() == 1 => write!(f, "{label}!={}", joined(values))?,
                Operator::NotIn(values) => write!(f, "{label} notin ({})", joined(values))?,
                Operator::Exists => f.write_str(label)?,
                Operator::DoesNotExist => write!(f, "!{label}")?,
                Operator::Unknown => write!(f, "{label}?")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_are_read_as_kubectl_reads_them() {
        for (text, told) in [
            ("app=db", "app=db"),
            (" app == db , tier!=test ", "app=db,tier!=test"),
            ("zone in (a, b),role notin (x,y)", "zone in (a,b),role notin (x,y)"),
            ("example.org/canary,!done", "example.org/canary,!done"),
            ("app=", "app="),
            ("inner", "inner"),
        ] {
            assert_eq!(text.parse::<Selector>().map(|selector| selector.to_string()).as_deref(), Ok(told));
        }
        for text in ["", ",", "=db", "app=db tier=x", "app in (a", "app in a,b", "!", "app=db,", "äpp=1"] {
            assert!(text.parse::<Selector>().is_err(), "{text:?}");
        }
    }

    fn selects(operator: Operator, labels: &[(&str, &str)]) -> bool {
        let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let selector = Selector { requirements: vec![Requirement { label: "app".into(), operator }] };
        selector.selects(&labels)
    }

    #[test]
    fn each_operator_means_what_kubernetes_says() {
        let values = || BTreeSet::from(["a".to_owned(), "b".to_owned()]);
        let (a, c, none) = ([("app", "a")], [("app", "c")], [("x", "a")]);
        let table = [
            (Operator::In(values()), [true, false, false]),
            (Operator::NotIn(values()), [false, true, true]),
            (Operator::Exists, [true, true, false]),
            (Operator::DoesNotExist, [false, false, true]),
            (Operator::Unknown, [true, true, true]),
        ];
        for (operator, expected) in table {
            let found = [&a, &c, &none].map(|labels| selects(operator.clone(), labels));
            assert_eq!(found, expected, "{operator:?}");
        }
    }

    #[test]
    fn a_selector_without_requirements_selects_everything() {
        assert!(Selector::default().selects(&BTreeMap::new()));
    }
}
