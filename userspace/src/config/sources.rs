//! The files that a configuration is made of: the one that is named, and those that it names.
//!
//! Remembers what was found in each, so that whoever watches them knows whether anything is new.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::istio::Memory;
use super::{ConfigError, FILE_LIMIT, Place};

/// What was found where a file was looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Content(Vec<u8>),
    /// The files of a directory.
    Files(Vec<PathBuf>),
    /// The message that said why not.
    Unreadable(String),
}

/// Files that were read, in that order.
#[derive(Debug, Default)]
pub(super) struct Sources {
    found: Vec<(PathBuf, Found)>,
    /// What was understood of them.
    pub(super) memory: Memory,
}

impl Sources {
    /// Nothing read yet, but what was understood before is remembered.
    pub(super) fn remembering(memory: Memory) -> Self {
        Self { found: Vec::new(), memory: memory.again() }
    }

    /// Whether the same was found in the same files.
    pub(super) fn are_as(&self, other: &Self) -> bool {
        self.found == other.found
    }

    /// Whether looking once more at every file finds what was found; what could not be read never does.
    pub(super) fn stand(&self) -> bool {
        !self.found.is_empty()
            && self.found.iter().all(|(path, found)| match found {
                Found::Content(bytes) => read(path).is_ok_and(|now| now == *bytes),
                Found::Files(files) => list(path).is_ok_and(|now| now == *files),
                Found::Unreadable(_) => false,
            })
    }

    /// Reads a file that may be no larger than [`FILE_LIMIT`] and must be text.
    ///
    /// # Errors
    ///
    /// It cannot be read, is larger, or is no UTF-8.
    pub(super) fn read(&mut self, path: &Path) -> Result<String, ConfigError> {
        let bytes = read(path);
        let found = match &bytes {
            Ok(bytes) => Found::Content(bytes.clone()),
            Err(error) => Found::Unreadable(error.to_string()),
        };
        self.found.push((path.to_owned(), found));
        text(path, bytes?)
    }

    /// The files that a path stands for: itself, or if it is a directory those in it that hold resources, sorted. Files whose
    /// names begin with a dot are others' business: Kubernetes' own, and editors'.
    ///
    /// # Errors
    ///
    /// It is not there, or cannot be read.
    pub(super) fn files(&mut self, path: PathBuf) -> Result<Vec<PathBuf>, ConfigError> {
        if !path.is_dir() {
            return Ok(vec![path]);
        }
        let files = list(&path).map_err(|cause| ConfigError::Unreadable { file: path.clone(), cause });
        let found = match &files {
            Ok(files) => Found::Files(files.clone()),
            Err(error) => Found::Unreadable(error.to_string()),
        };
        self.found.push((path, found));
        files
    }

    /// Takes over what `before` knew of files that were not read this time.
    pub(super) fn fill_up(&mut self, before: &Self) {
        let missing = before.found.iter().filter(|(path, _)| self.paths().all(|known| known != path));
        let missing: Vec<_> = missing.cloned().collect();
        self.found.extend(missing);
    }

    /// The files and directories that were asked for, whether or not they could be read.
    pub(super) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.found.iter().map(|(path, _)| path.as_path())
    }
}

/// What files of resources are called.
const EXTENSIONS: [&str; 3] = ["yaml", "yml", "json"];

fn list(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in directory.read_dir()? {
        let path = entry?.path();
        let hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
        let named =
            path.extension().is_some_and(|extension| EXTENSIONS.iter().any(|known| extension == *known));
        if named && !hidden && !path.is_dir() {
            files.push(path);
        }
    }
    files.sort_unstable();
    Ok(files)
}

fn read(path: &Path) -> Result<Vec<u8>, ConfigError> {
    let unreadable = |cause| ConfigError::Unreadable { file: path.to_owned(), cause };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    // One byte more than allowed tells a file at the limit from one above it, whatever its metadata says.
    file.take(FILE_LIMIT + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > FILE_LIMIT {
        return Err(ConfigError::TooLarge { file: path.to_owned(), limit: FILE_LIMIT });
    }
    Ok(bytes)
}

fn text(path: &Path, bytes: Vec<u8>) -> Result<String, ConfigError> {
    String::from_utf8(bytes).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = good.iter().filter(|&&byte| byte == b'\n').count() as u64 + 1;
        ConfigError::Invalid {
            file: path.to_owned(),
            place: Some(Place { line, column: 1 }),
            field: String::new(),
            message: "expected UTF-8 text, found other bytes in this line".to_owned(),
        }
    })
}
