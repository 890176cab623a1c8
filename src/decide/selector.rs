//! Label selectors, as `meta/v1 LabelSelector` defines them.

use std::collections::{BTreeMap, BTreeSet};

/// Selects by labels: all of its requirements have to be met, so that one without any selects everything.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Selector {
    /// `matchLabels` and `matchExpressions`.
    pub requirements: Vec<Requirement>,
}

/// What a label has to be.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Requirement {
    /// The label.
    pub label: String,
    /// What is asked of it.
    pub operator: Operator,
}

/// The operators of `matchExpressions`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Operator {
    /// It is there and has one of these values.
    In(BTreeSet<String>),
    /// It is not there, or has none of these values.
    NotIn(BTreeSet<String>),
    /// It is there.
    Exists,
    /// It is not there.
    DoesNotExist,
    /// One that this version does not know: it may select anything.
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

#[cfg(test)]
mod tests {
    use super::*;

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
