//! What destinations turned out to speak, so that it need not be found out anew for each connection.
//!
//! Only servers are believed: that a server speaks first is seen from what it sends by itself. What a client says is never held
//! against the next client, who would be served without being looked at.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::model::{Direction, OriginalDst};

/// Destinations that are remembered.
const MOST: usize = 1024;
/// How long.
const LONGEST: Duration = Duration::from_secs(600);

/// What a destination turned out to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Habit {
    /// It speaks first, and no HTTP.
    ServerFirst,
    /// It was sent HTTP, and is looked at as before, but not dialled ahead of the first request.
    Http,
}

/// What is remembered.
#[derive(Debug, Default)]
pub(in crate::proxy) struct Memory(Mutex<HashMap<(Direction, OriginalDst), (Habit, Instant)>>);

impl Memory {
    pub(super) fn recall(&self, direction: Direction, original: OriginalDst, now: Instant) -> Option<Habit> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (habit, since) = known.get(&(direction, original))?;
        (now.saturating_duration_since(*since) < LONGEST).then_some(*habit)
    }

    pub(super) fn note(&self, direction: Direction, original: OriginalDst, habit: Habit, now: Instant) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST && !known.contains_key(&(direction, original)) {
            known.retain(|_, (_, since)| now.saturating_duration_since(*since) < LONGEST);
            if known.len() >= MOST
                && let Some(oldest) = known.iter().min_by_key(|(_, (_, since))| *since).map(|(key, _)| *key)
            {
                known.remove(&oldest);
            }
        }
        known.insert((direction, original), (habit, now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_are_remembered_and_not_for_ever() {
        let (memory, start) = (Memory::default(), Instant::now());
        let at = |number: u16| OriginalDst(([10, 0, 0, 1], number).into());
        for number in 0..=MOST as u16 {
            let now = start + Duration::from_millis(number.into());
            memory.note(Direction::Outbound, at(number), Habit::ServerFirst, now);
        }
        let later = start + Duration::from_secs(2);
        assert_eq!(memory.0.lock().unwrap().len(), MOST);
        assert_eq!(memory.recall(Direction::Outbound, at(0), later), None, "the oldest made room");
        assert_eq!(memory.recall(Direction::Outbound, at(1), later), Some(Habit::ServerFirst));
        assert_eq!(memory.recall(Direction::Inbound, at(1), later), None);
        assert_eq!(memory.recall(Direction::Outbound, at(9), later + LONGEST), None);
    }
}
