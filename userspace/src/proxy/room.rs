//! Room for connections that the instances of one process share: no instance may have more than is left for all the others.
//!
//! What runs out are descriptors, which belong to the process. One busy instance gets half of what there is, two a third each,
//! and whoever has few connections is never asked: if descriptors do run out, its next ones wait in the backlog. An instance
//! that has a process to itself needs none of this.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Connections that an instance may have whatever the others have.
const FEW: usize = 32;
/// Descriptors that a connection has: one on each side.
const OF_CONNECTION: usize = 2;
/// Descriptors that a process has besides those of its instances, where they cannot be counted.
const OF_PROCESS: usize = 256;
/// Descriptors that an instance has besides those of its connections (listeners, programs, maps), where they cannot be counted.
const OF_INSTANCE: usize = 80;

/// The room.
pub struct Room {
    limit: usize,
    open: Box<dyn Fn() -> Option<usize> + Send + Sync>,
    instances: AtomicUsize,
    connections: AtomicUsize,
}

impl Room {
    /// That of a process which may have `limit` descriptors; `open` says how many it has now, if that can be said.
    #[must_use]
    pub fn new(limit: usize, open: impl Fn() -> Option<usize> + Send + Sync + 'static) -> Arc<Self> {
        let (instances, connections) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Arc::new(Self { limit, open: Box::new(open), instances, connections })
    }

    /// Descriptors that nobody has.
    fn left(&self) -> usize {
        let open = (self.open)().unwrap_or_else(|| {
            OF_PROCESS
                + OF_INSTANCE * self.instances.load(Ordering::Relaxed)
                + OF_CONNECTION * self.connections.load(Ordering::Relaxed)
        });
        self.limit.saturating_sub(open)
    }
}

impl fmt::Debug for Room {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Room").field("limit", &self.limit).finish_non_exhaustive()
    }
}

/// One instance's part in a room, if it shares one.
#[derive(Debug)]
pub(super) struct Part(Option<Arc<Room>>);

impl Part {
    pub(super) fn of(room: Option<Arc<Room>>) -> Self {
        if let Some(room) = &room {
            room.instances.fetch_add(1, Ordering::Relaxed);
        }
        Self(room)
    }

    /// One more is open.
    pub(super) fn enter(&self) {
        if let Some(room) = &self.0 {
            room.connections.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// One less is.
    pub(super) fn leave(&self) {
        if let Some(room) = &self.0 {
            room.connections.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Whether one more would be too many for an instance that has what `mine` says.
    pub(super) fn is_taken(&self, mine: impl FnOnce() -> usize) -> bool {
        let Some(room) = &self.0 else { return false };
        let mine = mine();
        mine >= FEW && room.left() < OF_CONNECTION * (mine + 2)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if let Some(room) = &self.0 {
            room.instances.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many more this one can have.
    fn fill(part: &Part, mine: usize) -> usize {
        let mut now = mine;
        while !part.is_taken(|| now) {
            part.enter();
            now += 1;
            assert!(now < 10_000, "there is no end");
        }
        now - mine
    }

    #[test]
    fn whoever_is_busy_leaves_room_for_the_others() {
        let fixed = OF_PROCESS + 3 * OF_INSTANCE;
        let room = Room::new(fixed + 400 * OF_CONNECTION, || None);
        let [one, two, three] = [(); 3].map(|()| Part::of(Some(Arc::clone(&room))));
        assert_eq!(fill(&one, 0), 200, "half of it");
        assert_eq!(fill(&two, 0), 100);
        assert_eq!(fill(&three, 0), 50);
        (0..200).for_each(|_| one.leave());
        assert_eq!(fill(&three, 50), 100, "as much as is left then");
    }

    #[test]
    fn whoever_has_few_finds_room_even_if_there_is_hardly_any() {
        let room = Room::new(1_000, || Some(999));
        assert_eq!(fill(&Part::of(Some(room)), 0), FEW);
    }

    #[test]
    fn whoever_is_alone_has_all_of_it() {
        assert!(!Part::of(None).is_taken(|| usize::MAX));
    }
}
