//! The part of the room `routing` that requests of strangers meet: what they have to look like.

#[path = "../../../userspace/src/routing/matching.rs"]
mod matching;

pub use matching::{HostPattern, Match, PathMatch, RequestView, path_value};

impl Match {
    /// Whether this match stands in front of another one.
    pub fn precedes(&self, other: &Self) -> bool {
        self.rank() < other.rank()
    }
}
