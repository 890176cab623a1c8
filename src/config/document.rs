//! One text: its syntax, its keys, and each value by itself. All mistakes are reported, not only the first. Every key
//! is optional, and an unknown one is an error: otherwise a mistyped key would leave an unwanted default in force.

use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeArray, DeString, DeTable, DeValue};

use super::error::{ConfigError, Mistakes, Place};
use super::hint;
use super::tables::{Group, Table};

/// The most bytes of a text: more than anybody writes, and little enough to be read in a moment.
pub(super) const LONGEST: usize = 1 << 20;
/// The most mistakes of one text that are told. Whoever made more has made one kind of them, and each costs time.
const MOST: usize = 50;

/// A text that was understood.
#[derive(Debug)]
pub(super) struct Document<'a> {
    pub(super) path: &'a Path,
    pub(super) text: &'a str,
    pub(super) content: DeTable<'a>,
}

/// What is wrong with the text, and in which bytes.
pub(super) struct Problem {
    pub(super) span: Range<usize>,
    pub(super) message: String,
}

impl<'a> Document<'a> {
    /// Parses the content of the file at `path`, which may have these tables.
    pub(super) fn parse(path: &'a Path, text: &'a str, known: &[Table]) -> Result<Self, ConfigError> {
        let document = Self::parse_syntax(path, text)?;
        document.check(known)?;
        Ok(document)
    }

    /// Only the syntax: keys and values are not checked.
    pub(super) fn parse_syntax(path: &'a Path, text: &'a str) -> Result<Self, ConfigError> {
        if text.len() > LONGEST {
            return Err(ConfigError::at(Place::file(path), format!("is longer than {LONGEST} bytes")));
        }
        let (content, errors) = DeTable::parse_recoverable(text);
        let document = Self { path, text, content: content.into_inner() };
        document.refuse(errors.into_iter().map(|error| Problem {
            span: error.span().unwrap_or_default(),
            message: error.message().replace('\n', "; "),
        }))?;
        Ok(document)
    }

    /// Checks that it has only these tables and keys, and values that can be read.
    pub(super) fn check(&self, known: &[Table]) -> Result<(), ConfigError> {
        self.refuse(problems(&self.content, known))
    }

    /// An error if there are problems.
    pub(super) fn refuse(&self, problems: impl IntoIterator<Item = Problem>) -> Result<(), ConfigError> {
        let mut mistakes = Mistakes::default();
        problems
            .into_iter()
            .take(MOST)
            .for_each(|problem| mistakes.add(self.place(problem.span), problem.message));
        mistakes.end(())
    }

    pub(super) fn place(&self, span: Range<usize>) -> Place {
        Place::in_text(self.path, self.text, span)
    }
}

fn problems(document: &DeTable, known: &[Table]) -> Vec<Problem> {
    let mut problems: Vec<Problem> = Vec::new();
    // Inner tables first: a mistake in one is not reported again for the value that contains it.
    for table in known.iter().rev() {
        for (key, value) in tables(document, &table.name).into_iter().flatten() {
            problems.extend(check_key(known, table, key, value, &problems));
            if problems.len() >= MOST {
                return problems;
            }
        }
    }
    problems
}

fn check_key(
    known: &[Table],
    table: &Table,
    key: &Spanned<DeString>,
    value: &Spanned<DeValue>,
    told: &[Problem],
) -> Vec<Problem> {
    let name = key.get_ref().as_ref();
    if let Some(group) = table.groups.iter().find(|group| group.keys.contains(&name)) {
        return check_value(group, key, value, told);
    }
    let inner = table.dotted(name);
    let is_table = value.get_ref().is_table();
    match known.iter().any(|table| table.name == inner) {
        true if is_table => vec![],
        true => vec![Problem { span: value.span(), message: format!("expected a table, as in [{inner}]") }],
        false => vec![Problem { span: key.span(), message: hint::unknown(known, table, name, is_table) }],
    }
}

/// Reads the value as if its key were the only one. If there are several tables, each is read by itself.
fn check_value(
    group: &Group,
    key: &Spanned<DeString>,
    value: &Spanned<DeValue>,
    told: &[Problem],
) -> Vec<Problem> {
    let several =
        value.get_ref().as_array().filter(|items| items.iter().all(|item| item.get_ref().is_table()));
    let values: Vec<_> = match several {
        Some(items) if items.len() > 1 => {
            let items = items.iter().filter(|item| !is_told(item, told));
            items.map(alone).collect()
        }
        _ if is_told(value, told) => vec![],
        _ => vec![value.clone()],
    };
    let read = |value: Spanned<DeValue>| {
        let span = value.span();
        let error = (group.check)(DeTable::from_iter([(key.clone(), value)])).err()?;
        let message = hint::plain(key.get_ref(), error.message());
        Some(Problem { span: error.span().unwrap_or(span), message })
    };
    values.into_iter().filter_map(read).collect()
}

/// An array with this item only.
fn alone<'i>(item: &Spanned<DeValue<'i>>) -> Spanned<DeValue<'i>> {
    Spanned::new(item.span(), DeValue::Array(DeArray::from_iter([item.clone()])))
}

/// Whether one of the problems is in the value. The span of a table does not tell.
fn is_told(value: &Spanned<DeValue>, problems: &[Problem]) -> bool {
    match value.get_ref() {
        DeValue::Table(table) => table.iter().any(|(key, value)| {
            problems.iter().any(|problem| problem.span == key.span()) || is_told(value, problems)
        }),
        DeValue::Array(items) => items.iter().any(|item| is_told(item, problems)),
        _ => problems.iter().any(|problem| value.span().contains(&problem.span.start)),
    }
}

/// The tables of this name; several if they are in an array.
pub(super) fn tables<'a, 'i>(document: &'a DeTable<'i>, name: &str) -> Vec<&'a DeTable<'i>> {
    if name.is_empty() {
        return vec![document];
    }
    let (outer, name) = name.rsplit_once('.').unwrap_or(("", name));
    let values = tables(document, outer).into_iter().filter_map(|table| Some(table.get(name)?.get_ref()));
    let in_value = |value: &'a DeValue<'i>| match value {
        DeValue::Table(table) => vec![table],
        DeValue::Array(items) => items.iter().filter_map(|item| item.get_ref().as_table()).collect(),
        _ => vec![],
    };
    values.flat_map(in_value).collect()
}

#[cfg(test)]
mod tests;
