//! The rules of this house that no public tool knows: how a file opens, how long it may be, what may lie where.
//!
//! It reads text, not syntax: what needs an understanding of Rust is clippy's.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::workspace::Workspace;

/// Where a file is no longer one concept.
const LONGEST_FILE: usize = 600;

/// What may lie at the top of the checkout, besides names that begin with a dot.
const TOP_LEVEL: [&str; 10] = [
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "deploy",
    "ebpf",
    "target",
    "tests",
    "userspace",
    "xtask",
];

/// Words of unfinished work, and why each is refused. In pieces, for this file is read too.
const UNFINISHED: [(&str, &str); 4] = [
    (concat!("#[ign", "ore"), "a test that does not run; skip it at run time, where skips are counted"),
    (concat!("to", "do!("), "unfinished code"),
    (concat!("unimple", "mented!("), "unfinished code"),
    (concat!("db", "g!("), "a debugging line"),
];

/// Checks every rule on the whole checkout and fails with all violations printed.
pub(super) fn check(workspace: &Workspace) -> Result<()> {
    let root = workspace.root();
    let mut violations = misplaced(&names_in(root)?);
    for room in ["ebpf", "userspace", "xtask", "tests"] {
        for path in sources(&root.join(room))? {
            let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
            let relative = path.strip_prefix(root).unwrap_or(&path);
            violations.extend(check_source(relative, &text));
        }
    }
    if violations.is_empty() {
        return Ok(());
    }
    for violation in &violations {
        eprintln!("{violation}");
    }
    bail!("{} violations of the house rules", violations.len());
}

fn names_in(directory: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(directory).with_context(|| format!("read {}", directory.display()))?;
    entries
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<Result<_>>()
        .with_context(|| format!("read {}", directory.display()))
}

fn misplaced(names: &[String]) -> Vec<String> {
    let stray = names.iter().filter(|name| !name.starts_with('.') && !TOP_LEVEL.contains(&name.as_str()));
    stray.map(|name| format!("{name}: has no place at the top level; move it into a room")).collect()
}

/// Every Rust file below `directory`, sorted; build results are not sources.
fn sources(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut open = vec![directory.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).with_context(|| format!("read {}", directory.display()))? {
            let path = entry?.path();
            if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

fn check_source(path: &Path, text: &str) -> Vec<String> {
    let shown = path.display();
    let mut violations = Vec::new();
    if !text.starts_with("//!") {
        violations.push(format!("{shown}:1: should open with //!, what the file is and what it is not"));
    }
    if path.file_name().is_some_and(|name| name == "mod.rs") {
        violations.push(format!("{shown}: name it after its module, beside the directory"));
    }
    let length = text.lines().count();
    if length > LONGEST_FILE {
        violations.push(format!("{shown}: {length} lines, at most {LONGEST_FILE}; split it by concept"));
    }
    let code = text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//"));
    for (index, line) in code {
        let place = format!("{shown}:{}", index + 1);
        for (word, reason) in UNFINISHED {
            if line.contains(word) {
                violations.push(format!("{place}: {word}: {reason}"));
            }
        }
        if opens_unsafe(line) && !may_hold_unsafe(path) {
            violations.push(format!("{place}: unsafe belongs in userspace/src/sys or ebpf"));
        }
    }
    violations
}

fn opens_unsafe(line: &str) -> bool {
    ["{", "fn ", "impl ", "extern "].iter().any(|next| line.contains(&format!("{} {next}", "unsafe")))
}

fn may_hold_unsafe(path: &Path) -> bool {
    ["ebpf", "userspace/src/sys", "userspace/src/sys.rs"].iter().any(|room| path.starts_with(room))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn violations(path: &str, text: &str) -> Vec<String> {
        check_source(Path::new(path), text)
    }

    #[test]
    fn a_file_must_say_what_it_is_first() {
        assert!(violations("xtask/src/a.rs", "//! A room.\nfn a() {}\n").is_empty());
        assert_eq!(violations("xtask/src/a.rs", "#![no_std]\n//! A room.\n").len(), 1);
        assert_eq!(violations("xtask/src/a.rs", "").len(), 1);
    }

    #[test]
    fn a_file_above_the_limit_is_named_with_its_length() {
        let text = format!("//! Long.\n{}", "//\n".repeat(LONGEST_FILE));
        assert!(violations("a.rs", &text)[0].contains("601 lines"));
    }

    #[test]
    fn unfinished_work_is_found_outside_comments_only() {
        for (word, _) in UNFINISHED {
            let found = violations("a.rs", &format!("//! A.\n// {word}\n    {word}\n"));
            assert_eq!(found.len(), 1);
            assert!(found[0].starts_with("a.rs:3: "), "{found:?}");
        }
    }

    #[test]
    fn unsafe_is_refused_outside_its_rooms() {
        let text = format!("//! A.\n{} {{ x() }}\n", "unsafe");
        assert_eq!(violations("userspace/src/proxy.rs", &text).len(), 1);
        assert!(violations("userspace/src/sys/link.rs", &text).is_empty());
        assert!(violations("ebpf/src/maps.rs", &text).is_empty());
    }

    #[test]
    fn strays_at_the_top_level_are_named() {
        let names = [".ci", "Cargo.toml", "notes.txt", "docs"].map(str::to_owned);
        let found = misplaced(&names);
        assert_eq!(found.len(), 2);
        assert!(found[0].starts_with("notes.txt") && found[1].starts_with("docs"));
    }

    #[test]
    fn a_module_is_not_named_mod() {
        assert_eq!(violations("userspace/src/proxy/mod.rs", "//! A.\n").len(), 1);
    }
}
