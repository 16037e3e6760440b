//! A table that reads well on a terminal and is Markdown.

use std::fmt;

/// Rows below a head; the first column is text, all others are figures unless it is said.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
    /// Columns of text besides the first.
    text: Vec<usize>,
}

/// What a column holds, which decides where its cells begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Column {
    /// Words, from the left.
    Text,
    /// Figures, to the right.
    Figures,
}

impl Table {
    /// A table with nothing but its head.
    pub(crate) fn with_head<const COLUMNS: usize>(head: [&str; COLUMNS]) -> Self {
        Self::with_columns(head.map(str::to_owned).to_vec())
    }

    /// The same where only the run knows how many columns there are.
    pub(crate) fn with_columns(head: Vec<String>) -> Self {
        Self { rows: vec![head], text: Vec::new() }
    }

    /// Says which columns hold text, besides the first.
    pub(crate) fn with_text_in<const COLUMNS: usize>(mut self, columns: [usize; COLUMNS]) -> Self {
        self.text = columns.to_vec();
        self
    }

    /// Adds a row; cells that are missing stay empty.
    pub(crate) fn add(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// The head, and the rows below it.
    pub(crate) fn rows(&self) -> &[Vec<String>] {
        &self.rows
    }

    /// How many columns the longest row has.
    pub(crate) fn columns(&self) -> usize {
        self.rows.iter().map(Vec::len).max().unwrap_or(0)
    }

    /// What a column holds.
    pub(crate) fn column(&self, number: usize) -> Column {
        match number == 0 || self.text.contains(&number) {
            true => Column::Text,
            false => Column::Figures,
        }
    }

    /// The same table with other words in its cells.
    pub(crate) fn map(&self, change: impl Fn(&str) -> String) -> Self {
        let row = |row: &Vec<String>| row.iter().map(|cell| change(cell)).collect();
        Self { rows: self.rows.iter().map(row).collect(), text: self.text.clone() }
    }

    fn widths(&self) -> Vec<usize> {
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0).max(3)
        };
        (0..self.columns()).map(width).collect()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths = self.widths();
        for (number, row) in self.rows.iter().enumerate() {
            f.write_str("|")?;
            for (column, width) in widths.iter().enumerate() {
                let cell = row.get(column).map_or("", String::as_str);
                match self.column(column) {
                    Column::Text => write!(f, " {cell:<width$} |")?,
                    Column::Figures => write!(f, " {cell:>width$} |")?,
                }
            }
            writeln!(f)?;
            if number == 0 {
                f.write_str("|")?;
                for (column, width) in widths.iter().enumerate() {
                    match self.column(column) {
                        Column::Text => write!(f, "{}|", "-".repeat(width + 2))?,
                        Column::Figures => write!(f, "{}:|", "-".repeat(width + 1))?,
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

    #[test]
    fn columns_of_text_begin_at_the_left() {
        let mut table = Table::with_head(["target", "found", "remark"]).with_text_in([2]);
        table.add(vec!["rss".to_owned(), "8.0".to_owned(), "ok".to_owned()]);
        let expected =
            "| target | found | remark |\n|--------|------:|--------|\n| rss    |   8.0 | ok     |\n";
        assert_eq!(table.to_string(), expected);
    }
}
