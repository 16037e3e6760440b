//! Why there is no configuration, in words for whoever wrote it.

use std::fmt;
use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// Where in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// From 1.
    pub line: u64,
    /// In characters, from 1.
    pub column: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.line, self.column)
    }
}

/// Why there is no configuration. Messages are complete: there is no further cause to print.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{}: cannot read the configuration: {cause}", file.display())]
    Unreadable {
        /// Which file.
        file: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// The file is too large to be a configuration.
    #[error("{}: expected a configuration of at most {limit} bytes, found a larger file", file.display())]
    TooLarge {
        /// Which file.
        file: PathBuf,
        /// Bytes that it may have.
        limit: u64,
    },
    /// The file says something that is not valid.
    #[error("{}{}: {}{message}", file.display(), Prefixed(":", place), Suffixed(field, ": "))]
    Invalid {
        /// Which file.
        file: PathBuf,
        /// Where in it.
        place: Option<Place>,
        /// Path of the field, such as `outbound.rules[2].deny`; empty if the file as a whole is meant.
        field: String,
        /// What was expected and what was found.
        message: String,
    },
    /// Flags, or flags and file together, say something that is not valid.
    #[error("{flags}: {message}")]
    Flags {
        /// The flags that are meant.
        flags: String,
        /// What is wrong with them.
        message: String,
    },
    /// The file cannot be watched for changes.
    #[error("{}: cannot watch for changes: {message}", directory.display())]
    Unwatchable {
        /// The directory that holds the file.
        directory: PathBuf,
        /// What the system says, and what helps.
        message: String,
    },
}

/// Something optional with text in front of it.
struct Prefixed<'a, T>(&'static str, &'a Option<T>);

impl<T: fmt::Display> fmt::Display for Prefixed<'_, T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.1.as_ref().map_or(Ok(()), |value| write!(formatter, "{}{value}", self.0))
    }
}

/// A text, unless it is empty, with another behind it.
struct Suffixed<'a>(&'a str, &'static str);

impl fmt::Display for Suffixed<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(formatter, "{}{}", self.0, self.1) }
    }
}
