//! What is wrong with the configuration, and where.

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::words::{MESSAGE, words};

/// A configuration that cannot be used: all its mistakes, each displayed on its own line. The display is meant for
/// the person who wrote the configuration, and never contains a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    mistakes: Vec<Mistake>,
}

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Mistake {
    place: Option<Place>,
    message: String,
}

impl ConfigError {
    /// An error at `place`; its message may quote what others wrote.
    pub(super) fn at(place: Place, message: impl Into<String>) -> Self {
        Self { mistakes: vec![Mistake { place: Some(place), message: words(&message.into(), MESSAGE) }] }
    }

    /// An error that is not in any file.
    pub fn nowhere(message: impl Into<String>) -> Self {
        Self { mistakes: vec![Mistake { place: None, message: words(&message.into(), MESSAGE) }] }
    }

    /// A file or directory that exists but cannot be read.
    pub(super) fn unreadable(path: &Path, error: &io::Error) -> Self {
        Self::at(Place::file(path), format!("cannot be read: {error}"))
    }

    /// The same errors in a file that contains the text after this many lines, each line indented by this many
    /// columns.
    pub(super) fn moved(mut self, path: &Path, lines: u64, columns: u64) -> Self {
        for mistake in &mut self.mistakes {
            let position = mistake.place.as_ref().and_then(|place| place.position);
            let position = position.map(|at| Position { line: at.line + lines, column: at.column + columns });
            mistake.place = Some(Place { path: path.to_owned(), position });
        }
        self
    }

    /// Where the first error is, unless it is not in any file.
    pub fn place(&self) -> Option<&Place> {
        self.mistakes.first()?.place.as_ref()
    }

    /// The first error, and how many others there are, in one line.
    pub fn summary(&self) -> String {
        match self.mistakes.as_slice() {
            [first, others @ ..] if !others.is_empty() => format!("{first} (and {} more)", others.len()),
            _ => self.to_string(),
        }
    }
}

impl std::error::Error for ConfigError {}

impl fmt::Display for ConfigError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.mistakes.iter().map(Mistake::to_string).collect();
        formatter.write_str(&lines.join("\n"))
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(place) => write!(formatter, "{place}: {}", self.message),
            None => formatter.write_str(&self.message),
        }
    }
}

/// The mistakes found so far.
#[derive(Debug, Default)]
pub(super) struct Mistakes(Vec<Mistake>);

impl Mistakes {
    /// The value; if there is none because of mistakes, those are noted and a default is returned instead.
    pub(super) fn note<T: Default>(&mut self, result: Result<T, ConfigError>) -> T {
        result.unwrap_or_else(|error| {
            self.0.extend(error.mistakes);
            T::default()
        })
    }

    /// Notes a mistake at `place`.
    pub(super) fn add(&mut self, place: Place, message: impl Into<String>) {
        self.0.push(Mistake { place: Some(place), message: words(&message.into(), MESSAGE) });
    }

    /// The value, if there was no mistake.
    pub(super) fn end<T>(mut self, value: T) -> Result<T, ConfigError> {
        if self.0.is_empty() {
            return Ok(value);
        }
        self.0.sort();
        Err(ConfigError { mistakes: self.0 })
    }
}

/// A place in a file, displayed as `file:line:column` as compilers do, so that
/// editors can jump there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The file.
    pub path: PathBuf,
    /// Where in the file, unless it is about the whole file.
    pub position: Option<Position>,
}

impl Place {
    /// The file as a whole.
    pub(super) fn file(path: &Path) -> Self {
        Self { path: path.to_owned(), position: None }
    }

    /// Where the byte range `span` of the file's `text` begins.
    pub(super) fn in_text(path: &Path, text: &str, span: Range<usize>) -> Self {
        Self { path: path.to_owned(), position: Some(Position::of_byte(text, span.start)) }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.path.display())?;
        match self.position {
            Some(position) => write!(formatter, ":{}:{}", position.line, position.column),
            None => Ok(()),
        }
    }
}

/// A line and a column, both counted from 1, the column in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The line, counted from 1.
    pub line: u64,
    /// The character in the line, counted from 1.
    pub column: u64,
}

impl Position {
    /// Where the byte at `offset` is; the end of the text if there is no such byte.
    pub(super) fn of_byte(text: &str, offset: usize) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let in_line = before.get(line_start..).unwrap_or_default();
        Self { line: before.matches('\n').count() as u64 + 1, column: in_line.chars().count() as u64 + 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_mistakes_are_told_in_order_and_in_short() {
        let mut mistakes = Mistakes::default();
        mistakes.add(Place::in_text(Path::new("f"), "a\nb", 2..3), "second");
        let () = mistakes.note(Err(ConfigError::at(Place::in_text(Path::new("f"), "a\nb", 0..1), "first")));
        let error = mistakes.end(()).unwrap_err();
        assert_eq!(error.to_string(), "f:1:1: first\nf:2:1: second");
        assert_eq!(error.summary(), "f:1:1: first (and 1 more)");
        assert_eq!(ConfigError::nowhere("x").summary(), "x");
    }

    #[test]
    fn position_counts_lines_and_characters() {
        let text = "a\nöä = 1\r\nlast";
        let at = |needle| {
            let position = Position::of_byte(text, text.find(needle).unwrap());
            (position.line, position.column)
        };
        assert_eq!(at("a"), (1, 1));
        assert_eq!(at("ä"), (2, 2));
        assert_eq!(at("="), (2, 4));
        assert_eq!(at("last"), (3, 1));
        assert_eq!(Position::of_byte(text, 1000), Position { line: 3, column: 5 });
    }
}
