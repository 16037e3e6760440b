//! A report as a small tree: headings, paragraphs, lists, tables and figures, before it is any particular text.
//!
//! All text is plain but for one thing: what stands between two backticks is code. Everything else means itself, in
//! [`markdown`] as in [`html`], whatever characters it has. What is told is not known here.

mod html;
mod markdown;
mod prose;

use super::chart::Chart;
use super::table::Table;

/// Something to read from top to bottom.
#[derive(Debug, Default, Clone)]
pub(crate) struct Document {
    blocks: Vec<Block>,
}

/// One piece of a document.
#[derive(Debug, Clone)]
enum Block {
    /// 1 is the document's own.
    Heading(u8, String),
    Paragraph(String),
    List(Vec<String>),
    Table(Table),
    Figure(Figure),
}

/// A chart with a name that is a file's, without its ending.
#[derive(Debug, Clone)]
struct Figure {
    name: String,
    caption: String,
    chart: Chart,
}

impl Document {
    /// Opens a section; level 1 is the document's title.
    pub(crate) fn heading(&mut self, level: u8, text: impl Into<String>) {
        self.blocks.push(Block::Heading(level.clamp(1, 6), text.into()));
    }

    pub(crate) fn paragraph(&mut self, text: impl Into<String>) {
        self.blocks.push(Block::Paragraph(text.into()));
    }

    /// Adds a list; one without items is none.
    pub(crate) fn list(&mut self, items: impl IntoIterator<Item = impl Into<String>>) {
        let items: Vec<String> = items.into_iter().map(Into::into).collect();
        if !items.is_empty() {
            self.blocks.push(Block::List(items));
        }
    }

    pub(crate) fn table(&mut self, table: Table) {
        self.blocks.push(Block::Table(table));
    }

    /// Adds a chart. `name` becomes a file's name: lower-case words with hyphens between them, no other figure's. A
    /// chart with nothing to see is left out.
    pub(crate) fn figure(&mut self, name: impl Into<String>, caption: impl Into<String>, chart: Chart) {
        if !chart.is_empty() {
            self.blocks.push(Block::Figure(Figure { name: name.into(), caption: caption.into(), chart }));
        }
    }

    /// The name of each figure, and its picture.
    pub(crate) fn figures(&self) -> impl Iterator<Item = (&str, String)> {
        self.blocks.iter().filter_map(|block| match block {
            Block::Figure(figure) => Some((figure.name.as_str(), figure.chart.svg())),
            _ => None,
        })
    }

    /// As Markdown that reads well on a terminal; figures are the SVG files beside it.
    pub(crate) fn markdown(&self) -> String {
        markdown::write(&self.blocks)
    }

    /// As one page that needs nothing besides itself: no script, no file, no network.
    pub(crate) fn html(&self) -> String {
        html::write(&self.blocks)
    }
}

#[cfg(test)]
mod tests {
    use super::super::chart::{Bar, Group};
    use super::*;

    fn document() -> Document {
        let mut document = Document::default();
        document.heading(1, "A & B");
        document.paragraph("a < b, `c < d`, 2 * 3 * 4 and _so_ on");
        document.list(["one", "<script>alert(1)</script>"]);
        document.list(Vec::<String>::new());
        let mut table = Table::with_head(["name", "µs"]);
        table.add(vec!["either|or".to_owned(), "1.0".to_owned()]);
        document.table(table);
        let bar = Bar { name: "x".to_owned(), value: 1.0, low: 0.5, high: 2.0 };
        let group = Group { name: "a group".to_owned(), bars: vec![bar] };
        document.figure("added", "What is \"added\"", Chart::groups("added", "µs", vec![group]));
        document.figure("nothing", "Nothing", Chart::groups("nothing", "µs", Vec::new()));
        document
    }

    #[test]
    fn markdown_shows_every_character_as_it_was_meant() {
        let expected = "# A \\& B\n\n\
             a \\< b, `c < d`, 2 \\* 3 \\* 4 and \\_so\\_ on\n\n\
             - one\n\
             - \\<script\\>alert(1)\\</script\\>\n\n\
             | name       |  µs |\n\
             |------------|----:|\n\
             | either\\|or | 1.0 |\n\n\
             ![What is \"added\"](added.svg)\n";
        assert_eq!(document().markdown(), expected);
    }

    #[test]
    fn the_page_is_well_formed_and_needs_nothing_besides_itself() {
        let page = document().html();
        let rest = page.strip_prefix("<!doctype html>\n").unwrap();
        let tree = roxmltree::Document::parse(rest).unwrap();
        let names: Vec<&str> = tree.descendants().map(|node| node.tag_name().name()).collect();
        for refused in ["script", "link", "img", "iframe", "object"] {
            assert!(!names.contains(&refused), "the page has a {refused}");
        }
        let attributes = tree.descendants().flat_map(|node| node.attributes());
        for attribute in attributes {
            assert!(!["href", "src", "style"].contains(&attribute.name()), "{attribute:?}");
        }
        let texts: Vec<&str> = tree.descendants().filter_map(|node| node.text()).collect();
        for expected in ["A & B", "c < d", "<script>alert(1)</script>", "either|or", "What is \"added\""] {
            assert!(texts.contains(&expected), "{expected} is not in {texts:?}");
        }
    }

    #[test]
    fn a_figure_is_one_picture_and_an_empty_one_none() {
        let document = document();
        let names: Vec<&str> = document.figures().map(|(name, _)| name).collect();
        assert_eq!(names, ["added"]);
    }
}
