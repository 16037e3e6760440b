//! A table that reads well on a terminal and is Markdown.

use std::fmt;

/// Rows below a head; the first column is text, all others are figures.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with nothing but its head.
    pub(crate) fn with_head<const COLUMNS: usize>(head: [&str; COLUMNS]) -> Self {
        Self::with_columns(head.map(str::to_owned).to_vec())
    }

    /// The same where only the run knows how many columns there are.
    pub(crate) fn with_columns(head: Vec<String>) -> Self {
        Self { rows: vec![head] }
    }

    /// Adds a row; cells that are missing stay empty.
    pub(crate) fn add(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    fn widths(&self) -> Vec<usize> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0).max(3)
        };
        (0..columns).map(width).collect()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths = self.widths();
        for (number, row) in self.rows.iter().enumerate() {
            for (column, width) in widths.iter().enumerate() {
                let cell = row.get(column).map_or("", String::as_str);
                match column {
                    0 => write!(f, "| {cell:<width$} |")?,
                    _ => write!(f, " {cell:>width$} |")?,
                }
            }
            writeln!(f)?;
            if number == 0 {
                for (column, width) in widths.iter().enumerate() {
                    match column {
                        0 => write!(f, "|{}|", "-".repeat(width + 2))?,
                        _ => write!(f, "{}:|", "-".repeat(width + 1))?,
                    }
                }
                writeln!(f)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::with_head(["mode", "p50 µs"]);
        table.add(vec!["direct".to_owned(), "12.7".to_owned()]);
        let expected = "| mode   | p50 µs |\n|--------|-------:|\n| direct |   12.7 |\n";
        assert_eq!(table.to_string(), expected);
    }
}
