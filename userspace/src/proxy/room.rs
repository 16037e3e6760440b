//! Room for connections that the instances of one process share: no instance may have more than is left for all the others.
//!
//! What runs out are descriptors, which belong to the process. One instance alone gets half of the room, two that are busy a
//! third each, and whoever is quiet always finds some. An instance that has a process to itself needs none of this: its
//! connections wait in the backlog.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Descriptors that a process has besides those of its instances.
const OF_PROCESS: usize = 512;
/// Descriptors that an instance has besides those of its connections: listeners, programs, maps, watches, spare pipes.
const OF_INSTANCE: usize = 64;
/// Descriptors that a connection has: one on each side.
const OF_CONNECTION: usize = 2;

/// The room.
#[derive(Debug)]
pub struct Room {
    descriptors: usize,
    instances: AtomicUsize,
    taken: AtomicUsize,
}

impl Room {
    /// What so many descriptors have room for.
    #[must_use]
    pub fn new(descriptors: usize) -> Arc<Self> {
        Arc::new(Self { descriptors, instances: AtomicUsize::new(0), taken: AtomicUsize::new(0) })
    }

    /// Connections that there is room for, all instances together.
    fn size(&self) -> usize {
        let fixed = OF_PROCESS + OF_INSTANCE * self.instances.load(Ordering::Relaxed);
        self.descriptors.saturating_sub(fixed) / OF_CONNECTION
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
            room.taken.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// One less is.
    pub(super) fn leave(&self) {
        if let Some(room) = &self.0 {
            room.taken.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Whether one more would be too many for an instance that has what `mine` says.
    pub(super) fn is_taken(&self, mine: impl FnOnce() -> usize) -> bool {
        self.0.as_ref().is_some_and(|room| {
            let taken = room.taken.load(Ordering::Relaxed) + 1;
            room.size().saturating_sub(taken) < mine() + 1
        })
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
    fn fill(part: &Part, mut mine: usize) -> usize {
        let before = mine;
        while !part.is_taken(|| mine) {
            part.enter();
            mine += 1;
        }
        mine - before
    }

    #[test]
    fn whoever_is_busy_leaves_room_for_the_others() {
        let room = Room::new(OF_PROCESS + 3 * OF_INSTANCE + 120 * OF_CONNECTION);
        let [one, two, three] = [(); 3].map(|()| Part::of(Some(Arc::clone(&room))));
        assert_eq!(fill(&one, 0), 60);
        assert_eq!(fill(&two, 0), 30);
        assert_eq!(fill(&three, 0), 15);
        (0..60).for_each(|_| one.leave());
        assert_eq!(fill(&three, 15), 30, "as much as is left then");
        (0..30).for_each(|_| two.leave());
        (0..45).for_each(|_| three.leave());
        drop((two, three));
        assert_eq!(fill(&one, 0), 60 + OF_INSTANCE / 2, "those that are gone need nothing");
    }

    #[test]
    fn whoever_is_alone_has_all_of_it() {
        assert!(!Part::of(None).is_taken(|| usize::MAX));
    }
}
