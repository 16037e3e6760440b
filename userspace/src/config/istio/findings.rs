//! What is found wrong with one document while it is put together.
//!
//! Everything is found, not only the first: whoever only wants to know whether it is valid takes that.

use serde_saphyr::Location;

use crate::config::ConfigError;
use crate::config::yaml::Part;

/// What was found so far.
pub(super) struct Findings<'a> {
    pub(super) part: Part<'a>,
    /// What makes it no policy in anybody's eyes.
    pub(super) invalid: Vec<ConfigError>,
    /// What it asks for that cannot be done here.
    pub(super) unsupported: Vec<ConfigError>,
}

impl<'a> Findings<'a> {
    /// Nothing yet.
    pub(super) const fn new(part: Part<'a>) -> Self {
        Self { part, invalid: Vec::new(), unsupported: Vec::new() }
    }

    /// It is no policy in anybody's eyes.
    pub(super) fn invalid(&mut self, at: Location, field: impl Into<String>, message: impl Into<String>) {
        self.invalid.push(self.part.invalid(at, field, message));
    }

    /// It asks for what cannot be done here.
    pub(super) fn unsupported(&mut self, at: Location, field: impl Into<String>, message: impl Into<String>) {
        self.unsupported.push(self.part.invalid(at, field, message));
    }

    /// What it asks for that cannot be done here, if it is valid otherwise.
    ///
    /// # Errors
    ///
    /// The first thing that makes it invalid.
    pub(super) fn valid(self) -> Result<Vec<ConfigError>, ConfigError> {
        match self.invalid.into_iter().next() {
            Some(error) => Err(error),
            None => Ok(self.unsupported),
        }
    }
}
