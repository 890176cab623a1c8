//! Columns for people, and cells for spreadsheets.

/// The rows, each column as wide as its longest cell.
pub(super) fn table<R: AsRef<[String]>>(rows: &[R]) -> Vec<String> {
    let columns = rows.iter().map(|row| row.as_ref().len()).max().unwrap_or_default();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.as_ref().get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &R| {
        let cells = row.as_ref().iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

/// A cell of a file with commas: RFC 4180; and nothing that a spreadsheet would take for a formula.
pub(super) fn quoted(cell: &str) -> String {
    let harmless = if cell.starts_with(['=', '+', '-', '@']) { format!("'{cell}") } else { cell.to_owned() };
    if harmless.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", harmless.replace('"', "\"\""))
    } else {
        harmless
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_no_formula_and_ends_where_it_ends() {
        assert_eq!(quoted("=1+1"), "'=1+1");
        assert_eq!(quoted("a\"b"), "\"a\"\"b\"");
        assert_eq!(table(&[["a", "bc"], ["def", ""]].map(|row| row.map(str::to_owned))), ["a    bc", "def"]);
    }
}
