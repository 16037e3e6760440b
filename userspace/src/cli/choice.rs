//! Flags whose values are words of a closed set, the same words as in the file.

use clap::builder::{PossibleValuesParser, TypedValueParser};

use crate::config::Choice;

/// Reads one of the words of `T`, and lists them in help and errors.
pub(super) fn choice<T: Choice + Send + Sync>() -> impl TypedValueParser<Value = T> {
    let words = T::WORDS.iter().map(|(word, _)| *word);
    PossibleValuesParser::new(words)
        .try_map(|word| T::from_word(&word).ok_or_else(|| format!("expected one of {}", T::list())))
}
