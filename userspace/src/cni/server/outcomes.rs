//! How often what was asked for, and what came of it.

use std::sync::atomic::{AtomicU64, Ordering};

/// What a plugin asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// ADD.
    Add,
    /// CHECK.
    Check,
    /// DEL.
    Delete,
    /// GC.
    Gc,
    /// STATUS.
    Status,
}

/// What came of somebody's asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was done.
    Done(Asked),
    /// The agent refused it.
    Refused(Asked),
    /// Nobody waited for it any more when its turn came.
    Abandoned,
    /// It was not understood.
    Invalid,
    /// Whoever asked is no runtime of this node, and was not heard.
    Stranger,
}

const ASKED: [Asked; 5] = [Asked::Add, Asked::Check, Asked::Delete, Asked::Gc, Asked::Status];
const ROOM: usize = 2 * ASKED.len() + 3;

impl Asked {
    /// As the specification has it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Add => "ADD",
            Self::Check => "CHECK",
            Self::Delete => "DEL",
            Self::Gc => "GC",
            Self::Status => "STATUS",
        }
    }
}

impl Outcome {
    /// Every outcome that there is.
    pub fn all() -> impl Iterator<Item = Self> {
        let asked = ASKED.into_iter().flat_map(|asked| [Self::Done(asked), Self::Refused(asked)]);
        asked.chain([Self::Abandoned, Self::Invalid, Self::Stranger])
    }

    /// What was asked for; a hyphen where that is not known.
    #[must_use]
    pub const fn command(self) -> &'static str {
        match self {
            Self::Done(asked) | Self::Refused(asked) => asked.word(),
            Self::Abandoned | Self::Invalid | Self::Stranger => "-",
        }
    }

    /// A word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Done(_) => "done",
            Self::Refused(_) => "refused",
            Self::Abandoned => "abandoned",
            Self::Invalid => "invalid",
            Self::Stranger => "stranger",
        }
    }

    const fn place(self) -> usize {
        match self {
            Self::Done(asked) => 2 * asked as usize,
            Self::Refused(asked) => 2 * asked as usize + 1,
            Self::Abandoned => ROOM - 3,
            Self::Invalid => ROOM - 2,
            Self::Stranger => ROOM - 1,
        }
    }
}

/// How often each outcome has been.
#[derive(Debug, Default)]
pub struct Outcomes {
    counts: [AtomicU64; ROOM],
}

impl Outcomes {
    pub(super) fn count(&self, outcome: Outcome) {
        self.counts[outcome.place()].fetch_add(1, Ordering::Relaxed);
    }

    /// How often it has been.
    #[must_use]
    pub fn of(&self, outcome: Outcome) -> u64 {
        self.counts[outcome.place()].load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_has_a_place_of_its_own() {
        let places: Vec<usize> = Outcome::all().map(Outcome::place).collect();
        assert_eq!(places, (0..ROOM).collect::<Vec<_>>());
    }
}
