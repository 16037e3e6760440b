//! One YAML document as it is written, with errors that say where.
//!
//! Knows nothing of settings: what a field means is known by the type that is read.

use std::cell::RefCell;
use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_path_to_error::Track;
use serde_saphyr::{Location, Options};

use super::{ConfigError, FILE_LIMIT, Place};

mod message;

/// Declares a mapping of the file: every field may be absent, none may be unknown.
macro_rules! section {
    ($visibility:vis $name:ident { $($field:ident: $type:ty),+ $(,)? }) => {
        #[derive(Debug, Default, serde::Deserialize)]
        #[serde(deny_unknown_fields, rename_all = "kebab-case", expecting = "a mapping of settings")]
        $visibility struct $name { $(pub(super) $field: Option<$type>),+ }
    };
}
pub(super) use section;

/// A document, or several in a row, as part of a file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part<'a> {
    /// The file.
    pub(super) file: &'a Path,
    /// What stands in this part of it.
    pub(super) text: &'a str,
    /// Lines of the file in front of this part.
    pub(super) before: u64,
}

impl<'a> Part<'a> {
    /// A file as a whole.
    pub(super) const fn whole(file: &'a Path, text: &'a str) -> Self {
        Self { file, text, before: 0 }
    }

    /// The documents of this part, each a part of its own.
    ///
    /// A line that begins with `---` and a blank is a document's first line wherever it stands: not even a block of text
    /// can have it (YAML 1.2.2, rule 206 `c-forbidden`).
    pub(super) fn documents(self) -> Vec<Self> {
        let mut documents = Vec::new();
        let (mut start, mut first, mut at) = (0, 0, 0);
        for (line, written) in self.text.split_inclusive('\n').enumerate() {
            let marker =
                written.strip_prefix("---").is_some_and(|rest| rest.trim_start() != rest || rest.is_empty());
            if marker && at > start {
                documents.push(Self { text: &self.text[start..at], before: self.before + first, ..self });
                (start, first) = (at, line as u64);
            }
            at += written.len();
        }
        documents.push(Self { text: &self.text[start..], before: self.before + first, ..self });
        documents
    }

    /// Reads the one document of this part; nothing if it is empty.
    ///
    /// # Errors
    ///
    /// What is not YAML, not one document, or not what `T` expects.
    pub(super) fn read<T: DeserializeOwned>(self) -> Result<Option<T>, ConfigError> {
        let track = RefCell::new(Track::new());
        let read =
            serde_saphyr::with_deserializer_from_str_with_options(self.text, options(), |deserializer| {
                let mut track = track.borrow_mut();
                Option::<T>::deserialize(serde_path_to_error::Deserializer::new(deserializer, &mut track))
            });
        read.map_err(|error| {
            let error = error.without_snippet();
            let place = error.location().and_then(place);
            let field = message::field(&track.into_inner().path(), error);
            let message = message::of(error, self.text, place);
            ConfigError::Invalid { file: self.file.to_owned(), place: self.in_file(place), field, message }
        })
    }

    /// What is wrong with a field, and where it stands.
    pub(super) fn invalid(
        self,
        at: Location,
        field: impl Into<String>,
        message: impl Into<String>,
    ) -> ConfigError {
        ConfigError::Invalid {
            file: self.file.to_owned(),
            place: self.in_file(place(at)),
            field: field.into(),
            message: message.into(),
        }
    }

    fn in_file(self, place: Option<Place>) -> Option<Place> {
        place.map(|Place { line, column }| Place { line: line + self.before, column })
    }
}

/// The place that the parser means.
pub(super) fn place(location: Location) -> Option<Place> {
    (location != Location::UNKNOWN).then(|| Place { line: location.line(), column: location.column() })
}

/// Bounds for the parser that fit [`FILE_LIMIT`] and the kernel's tables, and no snippets in error messages.
fn options() -> Options {
    serde_saphyr::options! {
        with_snippet: false,
        reject_unsupported_tags: true,
        budget: serde_saphyr::budget! {
            max_reader_input_bytes: Some(FILE_LIMIT as usize),
            max_nodes: 2_000_000,
            max_events: 8_000_000,
            max_depth: 16,
            max_documents: 2,
            max_aliases: 1_000,
            max_anchors: 1_000,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_told_apart_and_know_where_they_stand() {
        for (text, expected) in [
            ("", vec![("", 0)]),
            ("a: 1\n", vec![("a: 1\n", 0)]),
            ("---\na: 1\n---\nb: 2", vec![("---\na: 1\n", 0), ("---\nb: 2", 2)]),
            (
                "# hello\n--- # first\na: |\n ---\n---x: 1\n---",
                vec![("# hello\n", 0), ("--- # first\na: |\n ---\n---x: 1\n", 1), ("---", 5)],
            ),
        ] {
            let found = Part::whole(Path::new("f"), text).documents();
            let found: Vec<_> = found.iter().map(|part| (part.text, part.before)).collect();
            assert_eq!(found, expected, "{text:?}");
        }
    }
}
