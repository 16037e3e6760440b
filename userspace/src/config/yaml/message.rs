//! The parser's errors in our words: where, which field, what was expected and what was found.

use std::borrow::Cow;

use serde_path_to_error::{Path, Segment};
use serde_saphyr::{Error, MessageFormatter, UserMessageFormatter};

use crate::config::Place;

/// Characters of the file that a message quotes at most.
const QUOTED: usize = 40;

/// The message for an error in `text`, without its place.
pub(super) fn of(error: &Error, text: &str, place: Option<Place>) -> String {
    let found = || place.and_then(|place| quote(text, place)).unwrap_or_else(|| "nothing".to_owned());
    let message: Cow<'_, str> = match error {
        Error::SerdeUnknownField { field, expected, .. } => {
            format!("expected one of {}, found unknown field {field:?}", expected.join(", ")).into()
        }
        Error::SerdeUnknownVariant { variant, expected, .. } => {
            format!("expected one of {}, found {variant:?}", expected.join(", ")).into()
        }
        Error::SerdeInvalidType { unexpected, expected, .. }
        | Error::SerdeInvalidValue { unexpected, expected, .. } => {
            format!("expected {expected}, found {}", kind(unexpected)).into()
        }
        Error::SerdeMissingField { field, .. } => format!("expected the field {field:?}, found none").into(),
        Error::DuplicateMappingKey { key: Some(key), .. } => {
            format!("expected every field once, found {key:?} again").into()
        }
        Error::Unexpected { expected: "string scalar", .. } => {
            format!("expected a single value, found {}", found()).into()
        }
        Error::Unexpected { expected: "sequence start", .. } => {
            format!("expected a list, found {}", found()).into()
        }
        Error::Unexpected { expected: "mapping start", .. } => {
            format!("expected a mapping of settings, found {}", found()).into()
        }
        Error::UnexpectedSequenceEnd { .. } | Error::UnexpectedMappingEnd { .. } => {
            "expected a value, found the end".into()
        }
        Error::ExpectedMappingEndAfterEnumVariantValue { .. } => {
            format!("expected one verdict per entry of the list, found {} in the same one", found()).into()
        }
        Error::UnsupportedTag { .. } => format!("expected a value without a tag, found {}", found()).into(),
        Error::MultipleDocuments { .. } => "expected one YAML document, found several".into(),
        error => UserMessageFormatter.format_message(error),
    };
    printable(&message)
}

/// The same text without what would drive the terminal of whoever reads it.
fn printable(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}

/// The path of the field that an error is about.
pub(super) fn field(path: &Path, error: &Error) -> String {
    let mut written = String::new();
    let last = path.iter().count().saturating_sub(1);
    for (index, segment) in path.iter().enumerate() {
        let name = match segment {
            // What the parser puts around a value to remember its place looks like a field of this name.
            Segment::Map { key } if key == "value" => match error {
                Error::SerdeUnknownField { .. } if index == last => key,
                _ => continue,
            },
            Segment::Map { key } => key,
            Segment::Enum { variant } => variant,
            Segment::Seq { index } => {
                written.push_str(&format!("[{index}]"));
                continue;
            }
            Segment::Unknown => continue,
        };
        if !written.is_empty() {
            written.push('.');
        }
        written.push_str(name);
    }
    printable(&written)
}

/// Our word for what serde calls a kind of value.
fn kind(unexpected: &str) -> &str {
    match unexpected {
        "unit value" => "nothing",
        "map" => "a mapping",
        "sequence" => "a list",
        other => other,
    }
}

/// What stands at a place of the file, up to the end of its line.
fn quote(text: &str, place: Place) -> Option<String> {
    let line = text.lines().nth(usize::try_from(place.line).ok()?.checked_sub(1)?)?;
    let rest = line.chars().skip(usize::try_from(place.column).ok()?.checked_sub(1)?);
    let quoted: String = rest.take(QUOTED).collect();
    let quoted = quoted.trim_end();
    (!quoted.is_empty()).then(|| format!("{quoted:?}"))
}
