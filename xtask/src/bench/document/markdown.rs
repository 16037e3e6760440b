//! A document as Markdown (CommonMark, with the tables of GitHub).

use super::super::table::Table;
use super::prose::{Piece, pieces};
use super::{Block, Figure};

pub(super) fn write(blocks: &[Block]) -> String {
    let blocks: Vec<String> = blocks.iter().map(block).collect();
    blocks.join("\n")
}

fn block(block: &Block) -> String {
    match block {
        Block::Heading(level, text) => format!("{} {}\n", "#".repeat(usize::from(*level)), escape(text)),
        Block::Paragraph(text) => format!("{}\n", paragraph(text)),
        Block::List(items) => items.iter().map(|item| format!("- {}\n", paragraph(item))).collect(),
        Block::Table(rows) => table(rows).to_string(),
        Block::Figure(Figure { name, caption, .. }) => format!("![{}]({name}.svg)\n", escape(caption)),
    }
}

/// A bar ends a cell, even one in code.
fn table(table: &Table) -> Table {
    table.map(|cell| escape(cell).replace('|', "\\|"))
}

/// Text at the beginning of a line, where some characters would open a block of another kind.
fn paragraph(text: &str) -> String {
    let text = escape(text);
    let digits = text.chars().take_while(char::is_ascii_digit).count();
    let (number, rest) = text.split_at(digits);
    match rest.chars().next() {
        Some('#' | '+' | '-' | '=' | '~' | '|') if number.is_empty() => format!("\\{text}"),
        Some('.' | ')') if !number.is_empty() => format!("{number}\\{rest}"),
        _ => text,
    }
}

/// Text in one line in which every character means itself, but for code.
fn escape(text: &str) -> String {
    let one_line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let piece = |piece: &Piece<'_>| match piece {
        Piece::Plain(text) => escape_plain(text),
        Piece::Code(code) => format!("`{code}`"),
    };
    pieces(&one_line).iter().map(piece).collect()
}

fn escape_plain(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    let mut before = ' ';
    let mut rest = text.chars().peekable();
    while let Some(character) = rest.next() {
        let in_a_word = before.is_alphanumeric() && rest.peek().is_some_and(|next| next.is_alphanumeric());
        let means_more = match character {
            // Inside a word it emphasises nothing, and names of things are full of it.
            '_' => !in_a_word,
            '\\' | '`' | '*' | '[' | ']' | '<' | '>' | '&' | '~' => true,
            _ => false,
        };
        if means_more {
            escaped.push('\\');
        }
        escaped.push(character);
        before = character;
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expect: &str) {
        assert_eq!(paragraph(text), expect);
    }

    #[test]
    fn characters_that_mean_something_are_escaped_where_they_do() {
        check("x86_64 and _this_", "x86_64 and \\_this\\_");
        check("[a](b) <c> *d* ~e~", "\\[a\\](b) \\<c\\> \\*d\\* \\~e\\~");
        check("back\\slash, a lone ` and &amp;", "back\\\\slash, a lone \\` and \\&amp;");
        check("`a_b * <c>` stays", "`a_b * <c>` stays");
    }

    #[test]
    fn a_line_begins_no_block_by_accident() {
        check("# 1", "\\# 1");
        check("- 1", "\\- 1");
        check("+1.5 µs", "\\+1.5 µs");
        check("12. is not a list", "12\\. is not a list");
        check("12.5 is one neither", "12\\.5 is one neither");
        check("two\n\nlines", "two lines");
    }

    #[test]
    fn a_bar_in_code_ends_no_cell() {
        let mut rows = Table::with_head(["a"]);
        rows.add(vec!["`x|y`".to_owned()]);
        assert_eq!(table(&rows).to_string(), "| a      |\n|--------|\n| `x\\|y` |\n");
    }
}
