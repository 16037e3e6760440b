//! A document as one HTML page that is XML as well, so that any parser can say whether it is whole.

use std::fmt::Write as _;

use super::super::chart;
use super::super::table::{Column, Table};
use super::prose::{Piece, pieces};
use super::{Block, Figure};

/// How the page looks: the reader's own fonts, light or dark as the reader has it.
const STYLE: &str = "\
:root { color-scheme: light dark; --paper: #ffffff; --ink: #1f2328; --pale: #59636e; --faint: #dde1e6; --shade: #f5f7f9 }
@media (prefers-color-scheme: dark) {
:root { --paper: #15181c; --ink: #e8eaed; --pale: #a3abb5; --faint: #333a42; --shade: #1c2127 }
}
body { margin: 0 auto; padding: 2rem 1.25rem 4rem; max-width: 84rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.55 system-ui, sans-serif }
h1, h2, h3 { line-height: 1.25; margin: 2.2em 0 0.7em }
h1 { margin-top: 0 }
h2 { padding-bottom: 0.3em; border-bottom: 1px solid var(--faint) }
p, li { max-width: 50rem }
code { font: 0.9em ui-monospace, monospace; background: var(--shade); padding: 0.1em 0.35em; border-radius: 4px }
.wide { overflow-x: auto; margin: 1rem 0 }
table { border-collapse: collapse; font-size: 0.9rem }
th, td { padding: 0.4rem 0.7rem; border-bottom: 1px solid var(--faint); text-align: right; white-space: nowrap;
  vertical-align: top; font-variant-numeric: tabular-nums }
th { color: var(--pale); font-weight: 600; vertical-align: bottom; white-space: normal }
th.text, td.text { text-align: left; white-space: normal; min-width: 6rem }
th:first-child, td:first-child { min-width: 12rem }
tbody tr:hover { background: var(--shade) }
figure { margin: 1.8rem 0 }
figure svg { display: block; width: 100%; max-width: 60rem; height: auto }
figcaption { color: var(--pale); font-size: 0.9rem; max-width: 50rem; margin-top: 0.4rem }
";

pub(super) fn write(blocks: &[Block]) -> String {
    let title = blocks.iter().find_map(|block| match block {
        Block::Heading(_, text) => Some(escape(text)),
        _ => None,
    });
    let theme = chart::theme();
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n<title>{}</title>\n\
         <style>\n{STYLE}@media (prefers-color-scheme: dark) {{\n{theme}}}\n</style>\n</head>\n<body>\n{}</body>\n</html>\n",
        title.unwrap_or_default(),
        blocks.iter().map(block).collect::<String>(),
    )
}

fn block(block: &Block) -> String {
    match block {
        Block::Heading(level, text) => format!("<h{level}>{}</h{level}>\n", inline(text)),
        Block::Paragraph(text) => format!("<p>{}</p>\n", inline(text)),
        Block::List(items) => {
            let items: String = items.iter().map(|item| format!("<li>{}</li>\n", inline(item))).collect();
            format!("<ul>\n{items}</ul>\n")
        }
        Block::Table(rows) => table(rows),
        Block::Figure(Figure { caption, chart, .. }) => {
            let caption = inline(caption);
            format!("<figure>\n{}<figcaption>{caption}</figcaption>\n</figure>\n", chart.svg())
        }
    }
}

fn table(table: &Table) -> String {
    let mut text = String::from("<div class=\"wide\"><table>\n");
    for (number, row) in table.rows().iter().enumerate() {
        let cell = match number {
            0 => "th",
            _ => "td",
        };
        text.push_str(match number {
            0 => "<thead><tr>",
            _ => "<tr>",
        });
        for column in 0..table.columns() {
            let class = match table.column(column) {
                Column::Text => " class=\"text\"",
                Column::Figures => "",
            };
            let content = row.get(column).map(|content| inline(content)).unwrap_or_default();
            _ = write!(text, "<{cell}{class}>{content}</{cell}>");
        }
        text.push_str(match number {
            0 => "</tr></thead>\n<tbody>\n",
            _ => "</tr>\n",
        });
    }
    text.push_str("</tbody></table></div>\n");
    text
}

/// Text with its code.
fn inline(text: &str) -> String {
    let piece = |piece: &Piece<'_>| match piece {
        Piece::Plain(text) => escape(text),
        Piece::Code(code) => format!("<code>{}</code>", escape(code)),
    };
    pieces(text).iter().map(piece).collect()
}

/// Text in which every character means itself, in an element or an attribute. What XML has no character for (control
/// characters, as in what a failed program wrote to a terminal) is replaced.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\n' | '\t' => escaped.push(' '),
            control if control.is_control() => escaped.push('\u{fffd}'),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_character_means_itself() {
        assert_eq!(escape("<a href=\"x\">'&'"), "&lt;a href=&quot;x&quot;&gt;&#39;&amp;&#39;");
        assert_eq!(escape("a\u{1b}[1mb\nc"), "a\u{fffd}[1mb c");
        assert_eq!(inline("run `a<b`"), "run <code>a&lt;b</code>");
    }

    #[test]
    fn a_row_that_is_too_short_is_filled_up() {
        let mut rows = Table::with_head(["a", "b"]);
        rows.add(vec!["x".to_owned()]);
        assert!(table(&rows).contains("<tr><td class=\"text\">x</td><td></td></tr>"), "{}", table(&rows));
    }
}
