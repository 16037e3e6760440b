//! Files that are there in full or not at all, whenever the run is interrupted.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;
use tempfile::{Builder, NamedTempFile};

/// The file that says which others belong to it.
pub(super) const REPORT: &str = "report.json";

/// A file's name and its text.
pub(super) type File = (String, String);

/// What a report says about the files beside it.
#[derive(Debug, Deserialize)]
struct Beside {
    #[serde(default)]
    figures: BTreeSet<String>,
}

/// Puts the files of one run into a directory, in place of those of the run before. Each is written under a name of its
/// own first, and only when all are written they are renamed: until then the run before is untouched.
pub(super) fn publish(directory: &Path, files: &[File]) -> Result<()> {
    fs::create_dir_all(directory).with_context(|| format!("create {}", directory.display()))?;
    let before = figures_beside(directory)?;
    let mut written = Vec::new();
    for (name, text) in files {
        written
            .push((directory.join(name), write(directory, text).with_context(|| format!("write {name}"))?));
    }
    for (path, file) in written {
        let placed = file.persist(&path).map_err(|failed| failed.error);
        placed.with_context(|| format!("put {} in its place", path.display()))?;
    }
    // Only what a report of ours has named is removed: the directory is the caller's, and may hold more.
    for name in before.iter().filter(|name| is_plain(name)) {
        let file = format!("{name}.svg");
        if files.iter().all(|(other, _)| *other != file) {
            remove(&directory.join(file))?;
        }
    }
    Ok(())
}

fn write(directory: &Path, text: &str) -> Result<NamedTempFile> {
    let readable = Permissions::from_mode(0o644);
    let mut file = Builder::new().prefix(".report-").permissions(readable).tempfile_in(directory)?;
    file.write_all(text.as_bytes())?;
    Ok(file)
}

/// The figures of the run before; none if there was no run, or if it left something that is no report.
fn figures_beside(directory: &Path) -> Result<BTreeSet<String>> {
    let path = directory.join(REPORT);
    match fs::read_to_string(&path) {
        Ok(text) => {
            Ok(serde_json::from_str::<Beside>(&text).map(|beside| beside.figures).unwrap_or_default())
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(BTreeSet::new()),
        Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
    }
}

/// Whether a figure's name leads nowhere but into the directory.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|it| it.is_ascii_lowercase() || it.is_ascii_digit() || it == '-')
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, text: &str) -> File {
        (name.to_owned(), text.to_owned())
    }

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_run_replaces_the_files_of_the_run_before_and_no_others() {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path();
        fs::write(at.join("mine.svg"), "kept").unwrap();
        let first = [file("a.svg", "1"), file("b.svg", "1"), file(REPORT, r#"{"figures":["a","b"]}"#)];
        publish(at, &first).unwrap();
        publish(at, &[file("b.svg", "2"), file(REPORT, r#"{"figures":["b"]}"#)]).unwrap();
        assert_eq!(names(at), ["b.svg", "mine.svg", REPORT]);
        assert_eq!(fs::read_to_string(at.join("b.svg")).unwrap(), "2");
        let mode = at.join(REPORT).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o644);
    }

    #[test]
    fn a_run_that_cannot_be_written_leaves_the_run_before_as_it_was() {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path();
        publish(at, &[file("a.svg", "1"), file(REPORT, r#"{"figures":["a"]}"#)]).unwrap();
        fs::create_dir(at.join("b.svg")).unwrap();
        let error = publish(at, &[file("b.svg", "2"), file("a.svg", "2")]).unwrap_err();
        assert!(error.to_string().starts_with("put "), "{error:#}");
        assert_eq!(names(at), ["a.svg", "b.svg", REPORT]);
        assert_eq!(fs::read_to_string(at.join("a.svg")).unwrap(), "1");
    }

    #[test]
    fn a_name_that_leads_elsewhere_is_not_followed() {
        assert!(is_plain("latency-ping-pong-64"));
        for name in ["", "../x", "a/b", ".hidden", "A"] {
            assert!(!is_plain(name), "{name}");
        }
    }
}
