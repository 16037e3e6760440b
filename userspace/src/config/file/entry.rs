//! An entry of a list in the file, for messages about it.

use serde_saphyr::Location;

use crate::config::ConfigError;
use crate::config::yaml::Part;

/// An entry of a list.
#[derive(Clone, Copy)]
pub(super) struct Entry<'a> {
    /// What the list is called.
    pub(super) list: &'static str,
    /// From 0.
    pub(super) index: usize,
    /// Where it stands.
    pub(super) location: Location,
    /// The part of the file that it stands in.
    pub(super) part: Part<'a>,
}

impl Entry<'_> {
    /// What is wrong with one of its fields.
    pub(super) fn invalid(self, field: &str, message: impl Into<String>) -> ConfigError {
        self.part.invalid(self.location, format!("{}[{}].{field}", self.list, self.index), message)
    }
}
