//! The command blocks of a document for people, and how each is to be run. Runs nothing itself.
//!
//! A block is fenced as sh and a second word: `sh test`. An HTML comment `<!-- prints: … -->` in front of it says what its
//! standard output has to contain.

use std::path::Path;

/// How a block is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// As a script, to its end, which must be a success.
    Script,
    /// As the one process of a container in a pod: gets ready, and ends well at SIGTERM.
    Service,
    /// As a script, beside a service that runs.
    Live,
    /// As the proxy beside the service of the next block.
    Proxy,
    /// As a chore of the checkout. These are what CI and people run; here it is asked only whether they exist.
    Chore,
    /// Line by line, around a pod of podman's.
    Podman,
    /// As the agent of a node.
    Node,
}

/// One block of commands.
#[derive(Clone, Debug)]
pub(super) struct Block {
    pub(super) kind: Kind,
    pub(super) text: String,
    /// What it has to print.
    pub(super) prints: Option<String>,
}

impl Block {
    /// Its lines, without empty ones.
    pub(super) fn lines(&self) -> Vec<&str> {
        self.text.lines().filter(|line| !line.trim().is_empty()).collect()
    }
}

/// Every command block of a document, in order.
///
/// # Panics
/// When a block does not say how it is run.
pub(super) fn blocks(document: &Path) -> Vec<Block> {
    let text = std::fs::read_to_string(document);
    parse(&text.unwrap_or_else(|error| panic!("read {}: {error}", document.display())))
}

/// The one block of a document that is fenced with exactly these words.
///
/// # Panics
/// When there is none.
pub(super) fn block_fenced(document: &Path, words: &str) -> String {
    let text = std::fs::read_to_string(document).unwrap_or_default();
    let found = fences(&text).into_iter().find(|fence| fence.words == words);
    found.unwrap_or_else(|| panic!("no block ```{words} in {}", document.display())).text
}

/// The cells of the rows of the one table with this head.
///
/// # Panics
/// When there is none.
pub(super) fn table_under(document: &Path, head: &str) -> Vec<Vec<String>> {
    let text = std::fs::read_to_string(document).unwrap_or_default();
    let rows: Vec<_> = text
        .lines()
        .skip_while(|line| *line != head)
        .skip(2)
        .map_while(|line| line.strip_prefix("| ")?.strip_suffix(" |"))
        .map(|row| row.split(" | ").map(|cell| cell.trim().to_owned()).collect())
        .collect();
    assert!(!rows.is_empty(), "no table under {head:?} in {}", document.display());
    rows
}

fn parse(text: &str) -> Vec<Block> {
    let commands = fences(text).into_iter().filter(|fence| fence.words.split(' ').next() == Some("sh"));
    commands
        .map(|fence| {
            let kind = match fence.words.strip_prefix("sh ") {
                Some("test") => Kind::Script,
                Some("pod") => Kind::Service,
                Some("live") => Kind::Live,
                Some("proxy") => Kind::Proxy,
                Some("xtask") => Kind::Chore,
                Some("podman") => Kind::Podman,
                Some("node") => Kind::Node,
                _ => panic!("line {}: ```{} does not say how a test runs it", fence.line, fence.words),
            };
            let prints =
                fence.before.strip_prefix("<!-- prints: ").and_then(|rest| rest.strip_suffix(" -->"));
            Block { kind, prints: prints.map(str::to_owned), text: fence.text }
        })
        .collect()
}

/// A fenced block with the line in front of it.
struct Fence<'a> {
    line: usize,
    before: &'a str,
    words: &'a str,
    text: String,
}

fn fences(text: &str) -> Vec<Fence<'_>> {
    let mut found: Vec<Fence<'_>> = Vec::new();
    let (mut inside, mut before) = (false, "");
    for (index, line) in text.lines().enumerate() {
        match (line.strip_prefix("```"), inside) {
            (Some(words), false) => {
                found.push(Fence { line: index + 1, before, words: words.trim(), text: String::new() });
                inside = true;
            }
            (Some(_), true) => inside = false,
            (None, true) => {
                if let Some(fence) = found.last_mut() {
                    fence.text.push_str(line);
                    fence.text.push('\n');
                }
            }
            (None, false) => {}
        }
        before = line;
    }
    found
}
