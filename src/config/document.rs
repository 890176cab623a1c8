//! One text: its syntax, its keys, and each value by itself. All mistakes are reported, not only the first. Every key
//! is optional, and an unknown one is an error: otherwise a mistyped key would leave an unwanted default in force.

use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeArray, DeString, DeTable, DeValue};

use super::error::{ConfigError, Mistakes, Place, Position};
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
        document.refuse(errors.into_iter().map(|error| document.wrong_syntax(&error)))?;
        Ok(document)
    }

    fn wrong_syntax(&self, error: &toml::de::Error) -> Problem {
        let span = error.span().unwrap_or_default();
        let line = self.text.get(span.start..).and_then(|rest| rest.lines().next()).unwrap_or_default();
        let message = match error.message() {
            "duplicate key" => self.duplicate(&span),
            _ if line.contains(hint::TYPOGRAPHIC_QUOTES) => {
                "typographic quotes; write straight ones, as in \"always\"".to_owned()
            }
            message if message.starts_with("string values must be quoted") => {
                "a text must be in quotes, as in \"always\"".to_owned()
            }
            message => message.replace('\n', "; "),
        };
        Problem { span, message }
    }

    /// Names the key, and where it stands already.
    fn duplicate(&self, span: &Range<usize>) -> String {
        let key = self.text.get(span.clone()).unwrap_or_default().trim_matches(['"', '\'']);
        let earlier = places(&self.content, key).into_iter().filter(|start| *start < span.start).max();
        match self.same_header(span.start).or(earlier) {
            Some(first) => {
                let Position { line, column } = Position::of_byte(self.text, first);
                format!("duplicate key \"{key}\"; the first is at {line}:{column}")
            }
            None => format!("duplicate key \"{key}\""),
        }
    }

    /// Where the table that this header begins again begins, if it is one. The parser forgets that.
    fn same_header(&self, at: usize) -> Option<usize> {
        let before = self.text.get(..at)?;
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let header =
            self.text.get(start..)?.split_inclusive(']').next().filter(|line| line.starts_with('['))?;
        let lines = before.get(..start)?.split_inclusive('\n');
        let mut starts =
            lines.scan(0, |next, line| Some((std::mem::replace(next, *next + line.len()), line)));
        starts.find(|(_, line)| line.starts_with(header)).map(|(first, _)| first + at - start)
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
        return check_value(group, table.is_secret(), key, value, told);
    }
    let inner = table.dotted(name);
    let is_table = value.get_ref().is_table();
    match known.iter().any(|table| table.name == inner) {
        true if is_table => vec![],
        true => vec![Problem { span: value.span(), message: hint::no_table(known, table, name) }],
        false => vec![Problem { span: key.span(), message: hint::unknown(known, table, name, is_table) }],
    }
}

/// Reads the value as if its key were the only one. If there are several tables, each is read by itself.
fn check_value(
    group: &Group,
    is_secret: bool,
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
        let message = match (error.message(), is_secret) {
            // Which words there are is told only if it is a word.
            (hint::NO_WORD, _) => words_of(group, key).unwrap_or("expected a string".to_owned()),
            (message, true) => hint::without_value(key.get_ref(), message),
            (message, false) => hint::plain(key.get_ref(), message),
        };
        Some(Problem { span: error.span().unwrap_or(span), message })
    };
    values.into_iter().filter_map(read).collect()
}

/// The words that a key may have.
fn words_of(group: &Group, key: &Spanned<DeString>) -> Option<String> {
    let other = Spanned::new(key.span(), DeValue::String("".into()));
    let error = (group.check)(DeTable::from_iter([(key.clone(), other)])).err()?;
    hint::variants(error.message()).map(|(_, words)| format!("expected {words}"))
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

/// Where the keys of this name begin, in this table and in those within it.
fn places(table: &DeTable, name: &str) -> Vec<usize> {
    let within = |value: &DeValue| match value {
        DeValue::Table(table) => places(table, name),
        DeValue::Array(items) => {
            let tables = items.iter().filter_map(|item| item.get_ref().as_table());
            tables.flat_map(|table| places(table, name)).collect()
        }
        _ => vec![],
    };
    let of_entry = |(key, value): (&Spanned<DeString>, &Spanned<DeValue>)| {
        let here = (key.get_ref() == name).then(|| key.span().start);
        here.into_iter().chain(within(value.get_ref())).collect::<Vec<_>>()
    };
    table.iter().flat_map(of_entry).collect()
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
