//! What is wrong with the configuration, and where.

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::words::{MESSAGE, words};

/// A configuration that cannot be used. What it displays is meant for the person
/// who wrote the configuration; it never contains a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{message}", prefix(.place))]
pub struct ConfigError {
    place: Option<Place>,
    message: String,
}

impl ConfigError {
    /// An error in what stands at `place`, where a message may quote what others wrote.
    pub(super) fn at(place: Place, message: impl Into<String>) -> Self {
        Self { place: Some(place), message: words(&message.into(), MESSAGE) }
    }

    /// An error that no file is to blame for.
    pub(super) fn nowhere(message: impl Into<String>) -> Self {
        Self { place: None, message: message.into() }
    }

    /// A file or directory that is there but cannot be read.
    pub(super) fn unreadable(path: &Path, error: &io::Error) -> Self {
        Self::at(Place::file(path), format!("cannot be read: {error}"))
    }

    /// The same error in a file that holds that text after so many lines, each after so many columns.
    pub(super) fn moved(self, path: &Path, lines: u64, columns: u64) -> Self {
        let position = self.place.and_then(|place| place.position);
        let position = position.map(|at| Position { line: at.line + lines, column: at.column + columns });
        Self { place: Some(Place { path: path.to_owned(), position }), message: self.message }
    }

    /// Where the error is, unless no file is to blame.
    pub fn place(&self) -> Option<&Place> {
        self.place.as_ref()
    }
}

/// `file:line:column: `, or nothing.
fn prefix(place: &Option<Place>) -> String {
    place.as_ref().map(|place| format!("{place}: ")).unwrap_or_default()
}

/// A place in a file, displayed as `file:line:column` as compilers do, so that
/// editors can jump there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub path: PathBuf,
    /// Where in the file, if it is not about the file as a whole.
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The line, counted from 1.
    pub line: u64,
    /// The character in the line, counted from 1.
    pub column: u64,
}

impl Position {
    /// Where the byte at `offset` is; the end of the text if there is no such byte.
    fn of_byte(text: &str, offset: usize) -> Self {
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
